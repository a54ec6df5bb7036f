\set i :i + 1
UPDATE peer SET payload = document(8), resource_version = resource_version + 1 WHERE id = 'k' || (:i + 10000);
