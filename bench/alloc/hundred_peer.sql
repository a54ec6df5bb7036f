-- counts 100: SELECT count(*) FROM alloc_units WHERE pool = 'plenty'
-- after: SELECT count(alloc_release(pool, key)) FROM alloc_units WHERE pool = 'plenty'
BEGIN;
-- hundred: SELECT alloc_int('plenty', gen_random_uuid());
COMMIT;
