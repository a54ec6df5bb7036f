-- counts 1: SELECT sum(resource_version) FROM doc
\set i random(0, 100000 / {clients} - 1) * {clients} + :client_id
\set n random(1, 1000000000)
UPDATE doc SET payload = document(:n) WHERE id = 'k' || :i;
