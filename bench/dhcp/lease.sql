-- keeps: SELECT count(*) FROM alloc_units WHERE pool = 'leases'
-- sound: SELECT * FROM alloc_verify('leases')
\set a random(1000000, 1000000000)
SELECT alloc_ip('leases', lpad(:a::text, 32, '0')::uuid, ttl => '1 day', note => jsonb_build_object('hostname', 'host' || :a));
SELECT alloc_release('leases', lpad(:a::text, 32, '0')::uuid);
