-- Claim: ranges are read as people write them, arrays of cidr and int8range
-- included; one that is refused is named, with what is wrong with it.
CREATE SCHEMA alloc_range_test;
SET search_path = alloc_range_test, public, cas_test;
CREATE FUNCTION tried(range text, kind text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    shown text;
    help text;
BEGIN
    PERFORM alloc_pool_create('tried', ARRAY[range], kind);
    SELECT ranges::text INTO shown FROM alloc_pools WHERE pool = 'tried';
    PERFORM alloc_pool_drop('tried');
    RETURN shown;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS help = PG_EXCEPTION_HINT;
    RETURN sqlstate || ' ' || sqlerrm || coalesce(' (' || nullif(help, '') || ')', '');
END $$;
SELECT r AS range, tried(r, 'ip') FROM unnest('{
    10.0.0.0/24, 10.0.0.5, 10.0.0.5/32, 10.0.0.4/31, 10.0.0.4/30, 10.0.0.9-10.0.0.9,
    2001:db8::/64, 2001:db8::/127, 2001:db8::1-2001:db8::ff, 0.0.0.0/8,
    0.0.0.0/0, ::/0, 0.0.0.0/7, 10.0.0.0-11.0.0.0, 2000::/31,
    10.0.0.1/24, 10.0.0.0/33, 10.0.0.0/x, 2001:db8::1/64,
    10.0.0.9-10.0.0.1, 192.168.1.240-250, 10.0.0.1-, -10.0.0.1, 10.0.0.1-10.0.0.2-10.0.0.3,
    "10.0.0.1 - 10.0.0.9", " 10.0.0.0/24", "10.0.0.0/24 ", "10.0.0.0\t/24", "", "-",
    10.0.0.0-10.0.0.9/32, 10.0.0.0/24-10.0.1.0/24, 10.0.0.0-2001:db8::,
    10.0.0, 10, 10.0.0.256, 100-200, "[100,200)", host.example, 10.0.0.*, 10.0.0.0/255.255.255.0}'::text[]) AS r;
SELECT r AS range, tried(r, 'int') FROM unnest('{
    100-4094, 7, 0-0, 0-9223372036854775807, "[100,4095)", "[100,4095]", "(99,4095)", "(99,4094]",
    -5, -5-10, 5--10, 9-1, 1-9223372036854775808, 99999999999999999999999999999999999999999999,
    "1 - 5", 1-2-3, a-b, 0x10, 1e3, +5, 10.0.0.1,
    "[100,)", "[,5]", "(,)", empty, "[5,5)", "[5,4]", "[-5,4]", "[100,200", "[", "[]", "()", "[1]", "[1,2,3]",
    "[9223372036854775807,9223372036854775807]", "(9223372036854775807,9223372036854775807)"}'::text[]) AS r;
SELECT tried('10.0.0.0/24', 'prefix'), tried('10.0.0.1', 'prefix'), tried('0.0.0.0/0', 'prefix');
-- what people have
SELECT alloc_pool_create('cidrs', '{10.0.0.0/29,10.0.1.0/29}'::cidr[]::text[], 'prefix');
SELECT alloc_pool_create('inets', '{10.0.0.7,10.0.0.9}'::inet[]::text[]);
SELECT alloc_pool_create('ranges', ARRAY['[100,4095)'::int8range, '[5000,5001)']::text[], 'int');
SELECT pool, ranges FROM alloc_pools ORDER BY pool;
\set VERBOSITY terse
SELECT alloc_pool_create('array', '{10.0.0.0/24}'::cidr[]);
\set VERBOSITY default
-- which of many it is
SELECT alloc_pool_create('many', '{1-2, 4-5, 7-9x, 11}', 'int');
SELECT alloc_pool_create('many', '{1-2, 4-9, 12, 7-8}', 'int');
SELECT alloc_pool_create('many', '{10.0.0.0/24, 10.1.0.0/24, 2001:db8::/64}');
-- in the other functions, too
SELECT alloc_pool_grow('ranges', '200-50');
SELECT alloc_pool_grow('ranges', '4000-6000');
SELECT alloc_pool_grow('inets', '2001:db8::1');
SELECT alloc_pool_shrink('cidrs', '10.0.0.1/29');
SELECT alloc_pool_shrink('ranges', '[100,200)');
SELECT alloc_reserve('cidrs', '10.0.0.0/0');
SELECT alloc_reserve('ranges', '[200,300)');
SELECT alloc_unreserve('ranges', '200-299');

-- values to find: as the views show them, and part of them
SELECT alloc_pool_create('chunks', '{10.0.0.1-10.0.0.9}', port_chunk => 1024, strategy => 'lowest');
SELECT alloc_pool_create('chunks6', '{2001:db8::1-2001:db8::9}', port_chunk => 1024, strategy => 'lowest');
SELECT (alloc_ports(p, k(n))).first_port FROM unnest('{chunks,chunks6}'::text[]) AS p, generate_series(1, 3) AS n;
SELECT u.pool, u.value, (SELECT string_agg(f.value, ' ') FROM alloc_find(u.pool, u.value) AS f)
FROM alloc_units AS u ORDER BY u.pool, u.value;
SELECT value FROM alloc_find('chunks', '10.0.0.1:1000-1030');
SELECT value FROM alloc_find('chunks', '10.0.0.1:4000-4001');
SELECT value FROM alloc_find('chunks', '10.0.0.1', port => 2047);
SELECT value FROM alloc_find('chunks6', '2001:db8::1');
SELECT value FROM alloc_find('chunks', '0.0.0.0/0');
SELECT value FROM alloc_find('chunks6', '::/0');
SELECT alloc_find('chunks', v) FROM unnest('{10.0.0.1:9-5}'::text[]) AS v;
SELECT alloc_find('chunks', '10.0.0.1:0-70000');
SELECT alloc_find('chunks', '10.0.0.1:');
SELECT alloc_find('chunks', '255.255.255.255:0-65536');
SELECT alloc_find('chunks6', '[2001:db8::1]:0-65536');
SELECT alloc_find('chunks6', '[2001:db8::zz]:0-9');
SELECT alloc_find('chunks', '10.0.0.256:0-9');
SELECT alloc_find('chunks', '');
SELECT alloc_find('chunks', '10.0.0.1:0-9', port => 5);
SELECT alloc_find('inets', '10.0.0.7:0-9');
SELECT alloc_find('inets', '::1');
SELECT alloc_find('ranges', '10.0.0.1'), alloc_find('ranges', '-1');

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_range_test CASCADE;
