-- keeps: SELECT count(*) FROM alloc_units WHERE pool = 'p16_50'
\set a random(1, 30000)
SELECT alloc_ip('p16_50', lpad(:a::text, 32, '0')::uuid);
