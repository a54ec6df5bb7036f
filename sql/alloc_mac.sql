-- Claim: pools give out MAC addresses of 6 and of 8 bytes as they do other
-- values, in every function and view that shows values; a range that is
-- refused is refused with what is wrong with it.
CREATE SCHEMA alloc_mac_test;
SET search_path = alloc_mac_test, public, cas_test;

-- ranges
SELECT alloc_pool_create('mac', '{02:00:00:00:00:00-02:00:00:00:00:ff, aa:bb:cc:00:00:00/24}',
    'mac', strategy => 'lowest');
SELECT alloc_pool_create('mac8', '{2:0:0:0:0:0:0:fe-02:00:00:00:00:00:01:01, AA:BB:CC:DD:00:00:00:00/32}',
    'mac8', strategy => 'lowest');
SELECT alloc_pool_create('every-mac', '{00:00:00:00:00:00/0}', 'mac');
SELECT alloc_pool_create('every-mac8', '{00:00:00:00:00:00:00:00-ff:ff:ff:ff:ff:ff:ff:ff}', 'mac8');
SELECT pool, kind, ranges FROM alloc_pools WHERE pool LIKE '%mac%' ORDER BY pool;
SELECT pool, capacity, free FROM alloc_usage() WHERE pool LIKE '%mac%' ORDER BY pool;

-- ranges that are refused
\set VERBOSITY terse
CREATE FUNCTION refused(range text, kind text DEFAULT 'mac') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    PERFORM alloc_pool_create('refused', ARRAY[range], kind);
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN SQLSTATE || ': ' || SQLERRM || E'\n    ' || hint;
END
$$;
\pset format unaligned
\pset tuples_only on
SELECT refused(r) FROM unnest(ARRAY[
    '02-00-00-00-00-00', '0200.0000.0000', '020000000000', '02:00:00:00:00', '02:00:00:00:00:00:00:00',
    '02:00:00:00:00:0g', '02:00:00:00:00:000', ':02:00:00:00:00:00', '02:00:00:00:00:00:', '02::00:00:00:00',
    '02:00:00:00:00:00/', '02:00:00:00:00:00/49', '02:00:00:00:00:00/x', '02:00:00:00:00:00/024', '02:00:00:00:00:01/24',
    '02:00:00:00:00:09-02:00:00:00:00:01', '02:00:00:00:00:00/24-02:00:00:00:ff:ff', '02:00:00:00:00:00 ',
    '02:00:00:00:00:00-', '-02:00:00:00:00:00', '', '100-200', '10.0.0.0/24', '[1,5)',
    '02-00-00-00-00-00-02-00-00-00-00-ff', '02:00:00:00:00:00-02:00:00:00:00:01-02:00:00:00:00:02']) AS r;
SELECT refused('02:00:00:00:00:00', 'mac8');
SELECT refused('02:00:00:00:00:00-02:00:00:00:00:01', 'ip');
SELECT refused('02:00:00:00:00:00-02:00:00:00:00:01', 'int');
\pset format aligned
\pset tuples_only off
\set VERBOSITY default
SELECT alloc_pool_create('refused', '{02:00:00:00:00:00, 02:00:00:00:00:00/40}', 'mac');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_pool_create('refused', '{02:00:00:00:00:00}', 'mac', port_chunk => 1024);
SELECT alloc_pool_grow('mac', '02:00:00:00:00:ff-02:00:00:00:01:00');
\echo :LAST_ERROR_SQLSTATE

-- units
SELECT alloc_mac('mac', k(1)), alloc_mac('mac', k(1)), alloc_mac('mac', k(2));
SELECT alloc_mac('mac', k(3), 'aa:bb:cc:00:00:07'), alloc_mac('mac', k(3), 'aabb.cc00.0007');
SELECT alloc_mac('mac', k(4), 'aa:bb:cc:00:00:07');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_mac('mac', k(3));
SELECT alloc_mac('mac', k(3), '02:00:00:00:00:01');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_mac('mac', k(4), '02:00:00:00:01:00');
\echo :LAST_ERROR_SQLSTATE
SELECT pg_typeof(alloc_mac('mac', k(1))), pg_typeof(alloc_mac8('mac8', k(1)));
SELECT alloc_mac8('mac8', k(n)) FROM generate_series(1, 5) AS n;
SELECT alloc_mac8('mac8', k(6), 'aa:bb:cc:dd:ff:ff:ff:ff');
SELECT alloc_mac8('every-mac8', k(1), 'ff:ff:ff:ff:ff:ff:ff:ff'), alloc_mac('every-mac', k(1), 'ff:ff:ff:ff:ff:ff');
SELECT outcome, value FROM alloc_try_mac('mac', k(4), '02:00:00:00:00:01');
SELECT outcome, value FROM alloc_try_mac('mac', k(4), '02:00:00:00:00:fe');
SELECT outcome, value FROM alloc_try_mac8('mac8', k(6));
SELECT outcome, value FROM alloc_try_mac8('mac8', k(6), '02:00:00:00:00:00:00:fe');

-- functions of other kinds, and these in pools of other kinds
SELECT alloc_mac('mac8', k(9));
SELECT alloc_mac8('mac', k(9));
SELECT alloc_int('mac', k(9));
SELECT alloc_ports('mac', k(9));
SELECT alloc_pool_create('mac-int', '{1-9}', 'int');
SELECT alloc_mac('mac-int', k(9));

-- wherever values are shown
SELECT value, number, address, ports, kind, mac, mac::macaddr = value::macaddr AS same, last, n
FROM alloc_units WHERE pool = 'mac' ORDER BY mac;
SELECT value, mac, mac = value::macaddr8 AS same FROM alloc_units WHERE pool = 'mac8' ORDER BY mac DESC;
SELECT value, key = k(3) AS found FROM alloc_find('mac', 'aa:bb:cc:00:00:07');
SELECT value FROM alloc_find('mac', '02:00:00:00:00:00/40') ORDER BY mac;
SELECT value FROM alloc_find('mac', '02-00-00-00-00-00');
SELECT value FROM alloc_find('mac', '02:00:00:00:00:00', 80);
SELECT value FROM alloc_many('mac', ARRAY[k(3), k(5), k(1)]);
SELECT value FROM alloc_many('mac', ARRAY[k(3)], 24);
SELECT * FROM alloc_map('mac8');
SELECT alloc_reserve('mac', '02:00:00:00:00:00/41', '{"for": "gateways"}');
SELECT alloc_reserve('mac8', 'aa:bb:cc:dd:00:00:00:00-aa:bb:cc:dd:00:00:00:0f');
SELECT range, note FROM alloc_reservations WHERE pool LIKE 'mac%' ORDER BY 1;
SELECT alloc_mac('mac', k(6)), alloc_mac8('mac8', k(7));
SELECT outcome, value FROM alloc_try_mac('mac', k(7), '02:00:00:00:00:70');
SELECT * FROM alloc_free('mac');
SELECT * FROM alloc_free('mac8');
SELECT * FROM alloc_free('mac', 24);
SELECT * FROM alloc_usage('mac');
SELECT alloc_release('mac', k(2)), alloc_renew('mac', k(3), '1 day') > now();
SELECT value, reason FROM alloc_history WHERE pool = 'mac';
SELECT alloc_pool_shrink('mac', 'aa:bb:cc:00:00:00/24');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_pool_shrink('mac', 'aa:bb:cc:00:00:00/24', drain => true);
SELECT ranges, draining, reserved FROM alloc_pools WHERE pool = 'mac';
SELECT * FROM alloc_verify() WHERE pool LIKE '%mac%';

-- the other strategies, up to exhaustion
SELECT alloc_pool_create('mac-' || s, '{02:00:00:00:00:10-02:00:00:00:00:1f}', 'mac', s)
FROM unnest('{any, random}'::text[]) AS s;
SELECT s, count(DISTINCT alloc_mac('mac-' || s, k(n))) FROM unnest('{any, random}'::text[]) AS s, generate_series(1, 16) AS n
GROUP BY s;
SELECT outcome FROM unnest('{any, random}'::text[]) AS s, alloc_try_mac('mac-' || s, k(17));
SELECT * FROM alloc_verify() WHERE pool LIKE '%mac%';
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_mac_test CASCADE;
