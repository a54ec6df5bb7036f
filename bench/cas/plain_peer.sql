-- counts: SELECT sum(resource_version) FROM peer
\set i :client_id * 3000 + random(0, 2999)
\set n random(1, 1000000000)
UPDATE peer SET payload = document(:n), resource_version = resource_version + 1 WHERE id = 'k' || :i;
