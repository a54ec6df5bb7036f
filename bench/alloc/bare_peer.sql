-- latency: logged
-- keeps: SELECT count(*) FROM bare
\set a random(1000000, 1000000000)
INSERT INTO bare VALUES (1, lpad(:a::text, 32, '0')::uuid, :a);
DELETE FROM bare WHERE pool = 1 AND key = lpad(:a::text, 32, '0')::uuid;
