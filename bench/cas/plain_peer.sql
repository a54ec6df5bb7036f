-- counts 1: SELECT sum(resource_version) FROM peer
\set i random(0, 100000 / {clients} - 1) * {clients} + :client_id
\set n random(1, 1000000000)
UPDATE peer SET payload = document(:n), resource_version = resource_version + 1 WHERE id = 'k' || :i;
