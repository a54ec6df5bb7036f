-- work: alloc_pool_create and alloc_pool_drop
-- of: pools
-- sizes: 1 10 100 1000 2000
-- quick: 1 10
-- grow: CALL make_pools({from}, {to})
SELECT alloc_pool_create('new', '{0-1000}', 'int');
SELECT alloc_pool_drop('new');
