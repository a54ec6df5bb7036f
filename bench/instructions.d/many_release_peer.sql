-- counts 100:
\set i :i + 1
BEGIN;
-- hundred: SELECT alloc_int('plenty', lpad((:i * 1000 + {n})::text, 32, '0')::uuid);
-- hundred: SELECT alloc_release('plenty', lpad((:i * 1000 + {n})::text, 32, '0')::uuid);
COMMIT;
