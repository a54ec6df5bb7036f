-- work: alloc_int and alloc_release in a random pool
-- of: pools
-- sizes: 1 10 100 1000 2000
-- quick: 1 10
-- grow: CALL make_pools({from}, {to})
\set i random(1, {size})
\set a random(100000000, 1000000000)
SELECT alloc_int('pool' || :i, lpad(:a::text, 32, '0')::uuid);
SELECT alloc_release('pool' || :i, lpad(:a::text, 32, '0')::uuid);
