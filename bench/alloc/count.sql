-- counts 1: SELECT count(*) FROM cas_internal.alloc_past
-- keeps: SELECT count(*) FROM alloc_units WHERE pool = '{pool}'
-- sound: SELECT * FROM alloc_verify('{pool}')
\set a random(1000000, 1000000000)
SELECT alloc_count('{pool}', lpad(:a::text, 32, '0')::uuid);
SELECT alloc_release('{pool}', lpad(:a::text, 32, '0')::uuid);
