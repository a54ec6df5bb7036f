-- keeps: SELECT count(*) FROM alloc_units WHERE pool = 'leases'
\set a random(1, 30000)
SELECT alloc_renew('leases', lpad(:a::text, 32, '0')::uuid, '1 day');
