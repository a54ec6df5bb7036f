-- work: pg_cas_reap with nothing to do
-- of: units with a ttl
-- sizes: 100 10000 1000000
-- quick: 100 1000
-- setup: SELECT alloc_pool_create('expiring', '{0-2000000000}', 'int')
-- grow: SELECT count(alloc_int('expiring', lpad(i::text, 32, '0')::uuid, ttl => '1 day')) FROM generate_series({from} + 1, {to}) AS i
SELECT pg_cas_reap();
