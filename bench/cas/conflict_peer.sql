\set i random(0, 99999)
UPDATE peer SET payload = document(7), resource_version = resource_version + 1 WHERE id = 'k' || :i AND resource_version = 1000000000 RETURNING resource_version;
SELECT id, resource_version, payload FROM peer WHERE id = 'k' || :i;
