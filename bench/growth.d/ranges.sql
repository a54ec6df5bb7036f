-- work: alloc_int and alloc_release
-- of: ranges of the pool
-- sizes: 1 10 100 1000
-- quick: 1 10
-- setup: SELECT alloc_pool_create('ranges', '{0-99}', 'int')
-- grow: SELECT alloc_pool_grow('ranges', format('%s-%s', i * 1000, i * 1000 + 99)) FROM generate_series(greatest({from}, 1), {to} - 1) AS i
\set a random(100000000, 1000000000)
SELECT alloc_int('ranges', lpad(:a::text, 32, '0')::uuid);
SELECT alloc_release('ranges', lpad(:a::text, 32, '0')::uuid);
