-- A client takes its share of the keys one after another, again and again, so
-- that it knows their versions.
-- before: CALL small_again()
-- start: i=-1
-- counts 1: SELECT sum(resource_version) FROM small
\set i :i + 1
\set key :i % (9600 / {clients}) * {clients} + :client_id
\set version :i / (9600 / {clients}) + 1
\set n random(1, 1000000000)
SELECT cas_update('small', 'k' || :key, :version, jsonb_build_object('n', :n::int));
