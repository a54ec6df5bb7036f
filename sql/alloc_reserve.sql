-- Claim: what is reserved on request is kept from who asks for any, and given
-- to who asks for it by value; a reservation without that is given to nobody.
CREATE SCHEMA alloc_reserve_test;
SET search_path = alloc_reserve_test, public, cas_test;
SELECT alloc_pool_create('rs-' || s, '{1-20}', 'int', strategy => s) FROM unnest('{any, lowest, random}'::text[]) AS s;
SELECT alloc_reserve('rs-' || s, '1-5', '{"for": "VIPs"}', on_request => true), alloc_reserve('rs-' || s, '6-10', '{"for": "nobody"}')
FROM unnest('{any, lowest, random}'::text[]) AS s;
SELECT pool, range, note, on_request FROM alloc_reservations WHERE pool LIKE 'rs-%' ORDER BY 1, 2;
SELECT reserved FROM alloc_pools WHERE pool = 'rs-any';
SELECT count(alloc_int('rs-' || s, k(i))) FROM unnest('{any, lowest, random}'::text[]) AS s, generate_series(1, 10) AS i;
SELECT s, count(number), min(number), max(number) FROM unnest('{any, lowest, random}'::text[]) AS s, generate_series(1, 10) AS i,
    alloc_get('rs-' || s, k(i)) GROUP BY s ORDER BY s;
SELECT outcome FROM unnest('{any, lowest, random}'::text[]) AS s, alloc_try_int('rs-' || s, k(11));
SELECT outcome, value FROM unnest('{any, lowest, random}'::text[]) AS s, alloc_try_int('rs-' || s, k(11), 3);
SELECT outcome, value FROM unnest('{any, lowest, random}'::text[]) AS s, alloc_try_int('rs-' || s, k(12), 8);
SELECT * FROM alloc_free('rs-any');
SELECT pool, reserved, allocated, free FROM alloc_usage() WHERE pool LIKE 'rs-%' ORDER BY pool;
-- asked again, the key gets what it has
SELECT alloc_int('rs-any', k(11)), alloc_int('rs-any', k(11), 3);
-- released, it is again kept from who asks for any
SELECT alloc_release('rs-' || s, k(11)), outcome FROM unnest('{any, lowest, random}'::text[]) AS s, alloc_try_int('rs-' || s, k(13));
SELECT outcome, value FROM unnest('{any, lowest, random}'::text[]) AS s, alloc_try_int('rs-' || s, k(13), 3, ttl => '1 us');
-- and run out, also from its own key, unless that asks for it
SELECT outcome, value FROM unnest('{any, lowest, random}'::text[]) AS s, alloc_try_int('rs-' || s, k(13));
SELECT outcome, value FROM unnest('{any, lowest, random}'::text[]) AS s, alloc_try_int('rs-' || s, k(13), 3);
SELECT alloc_unreserve('rs-any', '1-5');
SELECT outcome, value FROM alloc_try_int('rs-any', k(14), 7);
SELECT count(*) FROM generate_series(20, 25) AS i, alloc_try_int('rs-any', k(i)) WHERE outcome = 'allocated';
SELECT * FROM alloc_verify() WHERE pool LIKE 'rs-%';

-- prefixes, addresses and their chunks
SELECT alloc_pool_create('rs-net', '{10.0.0.0/24}', 'prefix');
SELECT alloc_reserve('rs-net', '10.0.0.0/25', on_request => true), alloc_reserve('rs-net', '10.0.0.128/26');
SELECT outcome, value FROM alloc_try_prefix('rs-net', k(1), 25);
SELECT outcome, value FROM alloc_try_prefix('rs-net', k(1), 25, '10.0.0.0/25');
SELECT outcome, value FROM alloc_try_prefix('rs-net', k(2), 25, '10.0.0.128/25');
SELECT outcome, value FROM alloc_try_prefix('rs-net', k(2), 26);
SELECT alloc_pool_create('rs-ip', '{10.0.0.1-10.0.0.2}', port_chunk => 32768);
SELECT alloc_reserve('rs-ip', '10.0.0.1', on_request => true), alloc_reserve('rs-ip', '10.0.0.2');
SELECT outcome FROM alloc_try_ports('rs-ip', k(1));
SELECT outcome, value FROM alloc_try_ports('rs-ip', k(1), address => '10.0.0.1');
SELECT outcome, value FROM alloc_try_ports('rs-ip', k(2), address => '10.0.0.1', first_port => 32768);
SELECT outcome, value FROM alloc_try_ports('rs-ip', k(3), address => '10.0.0.2');
SELECT alloc_ports('rs-ip', k(3), address => '10.0.0.2');
SELECT alloc_ports('rs-ip', k(3), address => '10.0.0.2', first_port => 0);
SELECT outcome, value FROM alloc_try_ip('rs-ip', k(3), '10.0.0.1');
SELECT * FROM alloc_verify() WHERE pool LIKE 'rs-%';
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_reserve_test CASCADE;
