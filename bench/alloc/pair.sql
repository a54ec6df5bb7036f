\set a random(1, 1000000000)
SELECT alloc_ip('{pool}', lpad(:a::text, 32, '0')::uuid);
SELECT alloc_release('{pool}', lpad(:a::text, 32, '0')::uuid);
