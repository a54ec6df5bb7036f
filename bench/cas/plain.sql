-- counts: SELECT sum(resource_version) FROM doc
\set i :client_id * 3000 + random(0, 2999)
\set n random(1, 1000000000)
UPDATE doc SET payload = document(:n) WHERE id = 'k' || :i;
