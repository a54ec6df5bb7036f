-- work: alloc_ports and alloc_release, strategy lowest
-- of: units
-- sizes: 100 1000 10000 100000
-- quick: 100 1000
-- setup: SELECT alloc_pool_create('chunks', '{10.0.0.0/16}', strategy => 'lowest', port_chunk => 8192)
-- grow: SELECT alloc_ports('chunks', lpad(i::text, 32, '0')::uuid) FROM generate_series({from} + 1, {to}) AS i
\set a random(100000000, 1000000000)
SELECT alloc_ports('chunks', lpad(:a::text, 32, '0')::uuid);
SELECT alloc_release('chunks', lpad(:a::text, 32, '0')::uuid);
