\set i :i + 1
UPDATE checked_peer SET payload = :payload, resource_version = resource_version + 1 WHERE id = 'k' || :i AND resource_version = 1 RETURNING resource_version;
