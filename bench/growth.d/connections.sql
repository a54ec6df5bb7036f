-- work: cas_merge, alloc_int and alloc_release
-- of: idle connections
-- sizes: 1 10 100 500
-- quick: 1 5
-- setup: INSERT INTO grown SELECT 'k' || i, document(i), 1 FROM generate_series(1, 1000) AS i
-- idle: SELECT cas_merge('grown', 'k1', '{"n": 1}'), alloc_int('units', gen_random_uuid())
\set i random(2, 1000)
\set a random(100000000, 1000000000)
SELECT cas_merge('grown', 'k' || :i, '{"n": 8}');
SELECT alloc_int('units', lpad(:a::text, 32, '0')::uuid);
SELECT alloc_release('units', lpad(:a::text, 32, '0')::uuid);
