-- The next free address is the first of all that has no row.
-- keeps: SELECT count(*) FROM antijoin
\set a random(1000000, 1000000000)
INSERT INTO antijoin SELECT lpad(:a::text, 32, '0')::uuid, '10.0.0.0'::inet + i FROM generate_series(0, 65535) AS i LEFT JOIN antijoin ON address = '10.0.0.0'::inet + i WHERE address IS NULL ORDER BY i LIMIT 1 RETURNING address \gset
DELETE FROM antijoin WHERE key = lpad(:a::text, 32, '0')::uuid;
