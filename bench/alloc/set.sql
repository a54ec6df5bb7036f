-- counts 100: SELECT count(*) FROM alloc_units WHERE pool LIKE 'member%'
-- after: SELECT count(alloc_release(pool, key)) FROM alloc_units WHERE pool LIKE 'member%'
SELECT count(*) FROM alloc_set((SELECT members::jsonb FROM set_request), gen_random_uuid());
