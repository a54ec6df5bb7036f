-- The same through pg_cas.
SELECT alloc_pool_create('external', '{198.51.100.1-198.51.100.3, 203.0.113.8/30}',
                         strategy => 'lowest', port_chunk => 16384);
SELECT alloc_pool_create('external6', '{2001:db8:1::/64}', strategy => 'lowest');

-- A saga's step: an address of each family for an instance.  It may run any
-- number of times.
CREATE FUNCTION pg_temp.attach(instance uuid, OUT ip4 inet, OUT ip6 inet)
LANGUAGE sql AS $$
    SELECT alloc_ip('external', instance), alloc_ip('external6', instance)
$$;
-- and the step that undoes it
CREATE FUNCTION pg_temp.detach(instance uuid) RETURNS boolean
LANGUAGE sql AS $$
    SELECT bool_or(alloc_release(pool, instance))
    FROM unnest('{external,external6}'::text[]) AS pool
$$;

SELECT * FROM pg_temp.attach('00000000-0000-0000-0000-000000000001');
-- the saga crashes before it has noted the answer, and starts the step again
SELECT * FROM pg_temp.attach('00000000-0000-0000-0000-000000000001');
-- a step that fails later leaves nothing behind
BEGIN;
SELECT * FROM pg_temp.attach('00000000-0000-0000-0000-000000000002');
ROLLBACK;

-- source-NAT: a quarter of an address's ports, for instances without their own
SELECT * FROM alloc_ports('external', '00000000-0000-0000-0000-0000000000a1');
SELECT * FROM alloc_ports('external', '00000000-0000-0000-0000-0000000000a2');
-- an address that the customer has in the DNS already
SELECT alloc_ip('external', '00000000-0000-0000-0000-000000000003', '203.0.113.9');

-- until the pool is full
SELECT * FROM pg_temp.attach('00000000-0000-0000-0000-000000000004');
SELECT * FROM pg_temp.attach('00000000-0000-0000-0000-000000000005');
SELECT outcome FROM alloc_try_ip('external', '00000000-0000-0000-0000-000000000006');
-- for whole addresses; there are ports still
SELECT outcome FROM alloc_try_ports('external', '00000000-0000-0000-0000-0000000000a3');
-- and a retry gets what the instance has
SELECT * FROM pg_temp.attach('00000000-0000-0000-0000-000000000001');
SELECT value, kind, key FROM alloc_units WHERE pool = 'external' ORDER BY address, ports;
SELECT * FROM alloc_map('external');

-- who has this address, and this port of it?
SELECT key FROM alloc_find('external', '203.0.113.9');
SELECT key FROM alloc_find('external', '198.51.100.2', 20000);

-- given back, it goes to the next one; the pool cannot be dropped before
SELECT pg_temp.detach('00000000-0000-0000-0000-000000000001');
SELECT * FROM pg_temp.attach('00000000-0000-0000-0000-000000000006');
SELECT alloc_pool_drop('external');
SELECT pool, capacity, allocated, free, chunks_free FROM alloc_usage() ORDER BY pool;
SELECT * FROM alloc_verify();
