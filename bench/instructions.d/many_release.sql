-- counts 100:
\set i :i + 1
SELECT count(*) FROM alloc_many('plenty', ARRAY(SELECT lpad((:i * 1000 + n)::text, 32, '0')::uuid FROM generate_series(1, 100) AS n));
SELECT alloc_release_many('plenty', ARRAY(SELECT lpad((:i * 1000 + n)::text, 32, '0')::uuid FROM generate_series(1, 100) AS n));
