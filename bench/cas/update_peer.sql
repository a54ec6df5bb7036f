-- latency: logged
-- counts 1: SELECT sum(resource_version) FROM peer
\set i random(0, 100000 / {clients} - 1) * {clients} + :client_id
\set n random(1, 1000000000)
SELECT resource_version AS version FROM peer WHERE id = 'k' || :i \gset
UPDATE peer SET payload = document(:n), resource_version = resource_version + 1 WHERE id = 'k' || :i AND resource_version = :version RETURNING resource_version;
