-- counts 100: SELECT count(*) FROM cas_internal.alloc_past
-- keeps: SELECT count(*) FROM alloc_units WHERE pool = 'plenty'
\set k random(1, 2000000) * 1000
SELECT count(*) FROM alloc_many('plenty', ARRAY(SELECT lpad((:k + n)::text, 32, '0')::uuid FROM generate_series(1, 100) AS n));
SELECT alloc_release_many('plenty', ARRAY(SELECT lpad((:k + n)::text, 32, '0')::uuid FROM generate_series(1, 100) AS n));
