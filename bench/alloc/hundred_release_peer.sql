-- counts 100: SELECT count(*) FROM cas_internal.alloc_past
-- keeps: SELECT count(*) FROM alloc_units WHERE pool = 'plenty'
\set k random(1, 2000000) * 1000
BEGIN;
-- hundred: SELECT alloc_int('plenty', lpad((:k + {n})::text, 32, '0')::uuid);
COMMIT;
BEGIN;
-- hundred: SELECT alloc_release('plenty', lpad((:k + {n})::text, 32, '0')::uuid);
COMMIT;
