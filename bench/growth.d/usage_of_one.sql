-- work: alloc_usage of a pool with 100 units
-- of: units of other pools
-- sizes: 100 10000 1000000
-- quick: 100 1000
-- setup: SELECT alloc_pool_create('some', '{0-1000}', 'int'), alloc_pool_create('others', '{0-2000000000}', 'int'), (SELECT count(*) FROM alloc_many('some', (SELECT array_agg(lpad(i::text, 32, '0')::uuid) FROM generate_series(1, 100) AS i)))
-- grow: CALL hold_units('others', {from}, {to})
SELECT * FROM alloc_usage('some');
