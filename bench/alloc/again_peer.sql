\set a random(1, 30000)
SELECT slot FROM bare WHERE pool = 0 AND key = lpad(:a::text, 32, '0')::uuid;
