\set a random(1000000, 1000000000)
SELECT alloc_ip('sized', lpad(:a::text, 32, '0')::uuid);
SELECT alloc_release('sized', lpad(:a::text, 32, '0')::uuid);
