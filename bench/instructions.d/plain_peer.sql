\set i :i + 1
UPDATE peer SET payload = :payload, resource_version = resource_version + 1 WHERE id = 'k' || (:i + 10000);
