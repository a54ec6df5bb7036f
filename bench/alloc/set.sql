-- counts 100: SELECT count(*) FROM alloc_units WHERE pool LIKE 'member%'
-- after: SELECT count(alloc_release(pool, key)) FROM alloc_units WHERE pool LIKE 'member%'
SELECT count(*) FROM alloc_set((SELECT jsonb_agg(jsonb_build_object('pool', 'member' || n)) FROM generate_series(1, 100) AS n), gen_random_uuid());
