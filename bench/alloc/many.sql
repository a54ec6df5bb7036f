-- counts 100: SELECT count(*) FROM alloc_units WHERE pool = 'plenty'
-- after: SELECT count(alloc_release(pool, key)) FROM alloc_units WHERE pool = 'plenty'
SELECT count(*) FROM alloc_many('plenty', ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 100)));
