SELECT count(*) FROM alloc_many('plenty', ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 100)));
