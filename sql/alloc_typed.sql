-- Claim: a unit's value is also there in its own type, by which it sorts as
-- what it is, in results and in the view; a single unit has no last.
CREATE SCHEMA alloc_typed_test;
SET search_path = alloc_typed_test, public, cas_test;
SELECT alloc_pool_create('ty-int', '{2-200}', 'int');
SELECT alloc_pool_create('ty-ip', '{10.0.0.0/24}', port_chunk => 16384);
SELECT alloc_pool_create('ty-net', '{10.0.0.0/8}', 'prefix');

-- numbers
SELECT count(alloc_int('ty-int', k(n), n)) FROM unnest('{100, 20, 3}'::int[]) AS n;
SELECT value, number, address, mac, last, n FROM alloc_units WHERE pool = 'ty-int' ORDER BY number;
SELECT value, number, last, n FROM alloc_get('ty-int', k(20));
SELECT value, number, last, n FROM alloc_find('ty-int', '100');
SELECT value, number, last, n FROM alloc_many('ty-int', ARRAY[k(3), k(200)]) ORDER BY number;

-- addresses, chunks and prefixes
SELECT count(alloc_ip('ty-ip', k(n), ('10.0.0.' || n)::inet)) FROM unnest('{100, 20}'::int[]) AS n;
SELECT alloc_ports('ty-ip', k(1));
SELECT alloc_prefix('ty-net', k(1), 28);
SELECT pool, value, number, address, ports, mac, last, n FROM alloc_units
WHERE pool IN ('ty-ip', 'ty-net') ORDER BY address;
SELECT DISTINCT pg_typeof(address), pg_typeof(number), pg_typeof(mac), pg_typeof(last), pg_typeof(n)
FROM alloc_units WHERE pool = 'ty-int';

SELECT * FROM alloc_verify() WHERE pool LIKE 'ty-%';
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_typed_test CASCADE;
