-- work: alloc_prefix and alloc_release, strategy lowest
-- of: units
-- sizes: 100 1000 10000 100000
-- quick: 100 1000
-- setup: SELECT alloc_pool_create('prefixes', '{10.0.0.0/8}', 'prefix', 'lowest')
-- grow: SELECT alloc_prefix('prefixes', lpad(i::text, 32, '0')::uuid, 28) FROM generate_series({from} + 1, {to}) AS i
\set a random(100000000, 1000000000)
SELECT alloc_prefix('prefixes', lpad(:a::text, 32, '0')::uuid, 28);
SELECT alloc_release('prefixes', lpad(:a::text, 32, '0')::uuid);
