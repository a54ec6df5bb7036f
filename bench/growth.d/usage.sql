-- work: alloc_usage of a pool, against a count of its units
-- of: units
-- sizes: 100 1000 10000 100000 1000000
-- quick: 100 1000
-- setup: SELECT alloc_pool_create('used', '{0-2000000000}', 'int')
-- grow: CALL hold_units('used', {from}, {to})
-- peer: usage
SELECT * FROM alloc_usage('used');
