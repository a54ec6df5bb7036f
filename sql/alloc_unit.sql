-- Claim: a key gets one unit and keeps it, however often, in whatever state
-- of the pool and of the transaction it asks; the reasons for getting none
-- are told apart; addresses and chunks of one pool never overlap.
CREATE SCHEMA alloc_unit_test;
SET search_path = alloc_unit_test, public, cas_test;
SELECT alloc_pool_create('u', '{10.0.0.0/29}', strategy => 'lowest');

-- the same again: also when full
SELECT alloc_ip('u', k(n)) FROM generate_series(1, 6) AS n;
SELECT alloc_ip('u', k(7));
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_ip('u', k(6)), alloc_ip('u', k(1));
SELECT outcome, value, generation IS NOT NULL AS has_generation FROM alloc_try_ip('u', k(3));
SELECT alloc_try_ip('u', k(7));

-- another request under the same key
SELECT alloc_ip('u', k(1), '10.0.0.2');
\echo :LAST_ERROR_SQLSTATE
SELECT outcome, value FROM alloc_try_ip('u', k(1), '10.0.0.2');
SELECT alloc_ip('u', k(1), '10.0.0.1');                     -- the same one
-- somebody else's
SELECT alloc_ip('u', k(7), '10.0.0.2');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_try_ip('u', k(7), '10.0.0.2');
-- nobody's
SELECT alloc_ip('u', k(7), '10.0.0.7');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_ip('u', k(7), '10.0.0.0/24');
SELECT alloc_ip('u', k(7), '2001:db8::1');

-- ttl and note are not part of the request, and a repeat changes neither
SELECT alloc_release('u', k(6));
SELECT alloc_ip('u', k(6), note => '{"vm": 6}');
SELECT alloc_ip('u', k(6), ttl => '1 hour', note => '{"vm": 7}');
SELECT expires_at, note FROM alloc_get('u', k(6));

-- release: once, idempotent, fenced by generation
SELECT generation AS old_generation FROM alloc_get('u', k(2)) \gset
SELECT alloc_release('u', k(2)), alloc_release('u', k(2));
SELECT * FROM alloc_get('u', k(2));
SELECT alloc_ip('u', k(2));
SELECT generation > :old_generation AS newer FROM alloc_get('u', k(2));
\set VERBOSITY sqlstate
SELECT alloc_release('u', k(2), gen) FROM (SELECT :old_generation AS gen) AS g;
SELECT count(*) FROM alloc_get('u', k(2));
SELECT alloc_release('u', k(2), 1000000000000000);
SELECT alloc_release('u', k(2), generation) FROM alloc_get('u', k(2));
SELECT alloc_release('u', k(99), 1);
\set VERBOSITY default

-- within one transaction, with savepoints
BEGIN;
SELECT alloc_ip('u', k(8));
SAVEPOINT s;
SELECT alloc_ip('u', k(8));
SELECT alloc_release('u', k(8));
SELECT alloc_ip('u', k(9));
ROLLBACK TO s;
SELECT alloc_ip('u', k(8));
SELECT outcome FROM alloc_try_ip('u', k(9));
ROLLBACK;
SELECT * FROM alloc_get('u', k(8));
BEGIN;
SAVEPOINT s;
SELECT alloc_ip('u', k(8));
ROLLBACK TO s;
SELECT alloc_ip('u', k(9));
COMMIT;
SELECT value FROM alloc_get('u', k(9));
SELECT * FROM alloc_verify('u');

-- in a statement that does it twice
SELECT alloc_release('u', k(9));
SELECT alloc_ip('u', k(10)) = alloc_ip('u', k(10)) AS same;

-- the same key in two pools
SELECT alloc_pool_create('v', '{10.1.0.0/29}', strategy => 'lowest');
SELECT alloc_ip('v', k(1)), alloc_ip('u', k(1));

-- reading only
BEGIN READ ONLY;
SELECT alloc_ip('v', k(1));
SELECT value FROM alloc_get('v', k(1));
SELECT alloc_ip('v', k(2));
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT alloc_ip('v', k(1));
SELECT alloc_release('v', k(1));
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- any: never used ones first, then the one released longest ago
SELECT alloc_pool_create('any', '{0-4}', 'int');
SELECT alloc_int('any', k(n)) FROM generate_series(1, 4) AS n;
SELECT alloc_release('any', k(3)), alloc_release('any', k(1));
SELECT alloc_int('any', k(5)), alloc_int('any', k(6)), alloc_int('any', k(7));
-- random: all of them, and no other
SELECT alloc_pool_create('random', '{10-29}', 'int', 'random');
SELECT count(DISTINCT alloc_int('random', k(n))), min(n), max(n) FROM generate_series(1, 20) AS n;
SELECT min(value::int), max(value::int) FROM alloc_units WHERE pool = 'random';
SELECT outcome FROM alloc_try_int('random', k(21));

-- many: in the order asked, what is held included, all or none
SELECT alloc_pool_create('many', '{0-4}', 'int', 'lowest');
SELECT alloc_int('many', k(2));
SELECT key, value FROM alloc_many('many', ARRAY[k(3), k(2), k(1), k(3)]);
SELECT key, value FROM alloc_many('many', ARRAY[k(4), k(5), k(6)]);
SELECT count(*) FROM alloc_units WHERE pool = 'many';
SELECT * FROM alloc_many('many', '{}');
SELECT * FROM alloc_many('many', ARRAY[k(1), NULL]);
SELECT * FROM alloc_many('many', ARRAY[k(1)], 24);

-- prefixes
SELECT alloc_pool_create('p', '{10.0.0.0/22}', 'prefix', 'lowest');
SELECT alloc_prefix('p', k(1), 24), alloc_prefix('p', k(2), 26), alloc_prefix('p', k(3), 24);
SELECT alloc_prefix('p', k(2), 27);                          -- reused
SELECT alloc_prefix('p', k(4), 26, '10.0.0.64/26');          -- inside a held one
SELECT alloc_prefix('p', k(4), 23, '10.0.2.0/23');           -- around a held one
SELECT alloc_prefix('p', k(4), 25, '10.0.1.128/25');
SELECT alloc_prefix('p', k(5), 22);
SELECT alloc_prefix('p', k(5), 21);
SELECT alloc_prefix('p', k(5), 33);
SELECT alloc_prefix('p', k(5), 24, '10.0.3.0/25');
SELECT alloc_ip('p', k(5));
SELECT * FROM alloc_map('p');
SELECT key, value FROM alloc_find('p', '10.0.0.77');
SELECT key, value FROM alloc_find('p', '10.0.0.0/23');
SELECT alloc_prefix('p', k(6), 24), alloc_try_prefix('p', k(7), 24);
SELECT alloc_release('p', k(1)), alloc_release('p', k(2)), alloc_release('p', k(4));
SELECT alloc_prefix('p', k(8), 23);                          -- put together again
SELECT alloc_try_prefix('p', k(9), 32);
SELECT * FROM alloc_verify('p');
-- a child as long as its parent
SELECT alloc_pool_create('p6', '{2001:db8::/56}', 'prefix');
SELECT alloc_prefix('p6', k(1), 56);
SELECT alloc_try_prefix('p6', k(2), 128);
SELECT alloc_release('p6', k(1));
SELECT alloc_prefix('p6', k(2), 128), alloc_try_prefix('p6', k(1), 56);
-- longer than any range, draining ones included, is no request that could
-- ever be met; the key that has such a prefix is answered all the same
SELECT alloc_pool_create('cut', '{10.0.0.0/24, 10.0.2.0/23}', 'prefix', 'lowest');
SELECT alloc_prefix('cut', k(1), 23), alloc_prefix('cut', k(2), 24);
SELECT alloc_prefix('cut', k(3), 22);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM alloc_many('cut', ARRAY[k(3)], 22);
SELECT outcome FROM alloc_try_prefix('cut', k(3), 23);
SELECT alloc_pool_shrink('cut', '10.0.2.0/23', drain => true);
SELECT outcome FROM alloc_try_prefix('cut', k(3), 23);
SELECT alloc_pool_grow('cut', '10.0.2.0/23'), alloc_pool_shrink('cut', '10.0.2.0/24', drain => true);
SELECT outcome, value FROM alloc_try_prefix('cut', k(1), 23);
SELECT outcome, value FROM alloc_try_prefix('cut', k(3), 23);
-- a range that is not a network
SELECT alloc_pool_create('odd', '{10.0.0.5-10.0.0.20}', 'prefix', 'lowest');
SELECT alloc_prefix('odd', k(1), 30), alloc_prefix('odd', k(2), 29),
       alloc_prefix('odd', k(3), 32), alloc_try_prefix('odd', k(4), 28);
SELECT capacity, allocated, free FROM alloc_usage('odd');

-- whole addresses and chunks from one pool
SELECT alloc_pool_create('nat', '{10.0.0.1-10.0.0.3}', strategy => 'lowest', port_chunk => 16384);
SELECT * FROM alloc_ports('nat', k(1));
SELECT alloc_ip('nat', k(2));
SELECT * FROM alloc_ports('nat', k(1));
SELECT alloc_ip('nat', k(1));                                -- reused
SELECT alloc_ip('nat', k(3), '10.0.0.1');                    -- a chunk is out
SELECT (alloc_ports('nat', k(n))).* FROM generate_series(4, 7) AS n;
SELECT outcome FROM alloc_try_ip('nat', k(8));               -- 3 chunks are too few
SELECT outcome FROM alloc_try_ports('nat', k(8));
SELECT capacity, allocated, free, chunks_free FROM alloc_usage('nat');
SELECT key, address, ports, kind FROM alloc_find('nat', '10.0.0.1');
SELECT key, address, ports, kind FROM alloc_find('nat', '10.0.0.1', 20000);
SELECT key, address, ports, kind FROM alloc_find('nat', '10.0.0.2', 20000);
SELECT count(alloc_release('nat', k(n))) FROM generate_series(1, 8) AS n;
SELECT alloc_ip('nat', k(n)) FROM generate_series(1, 3) AS n;
SELECT outcome FROM alloc_try_ports('nat', k(8));
SELECT * FROM alloc_map('nat');
SELECT * FROM alloc_verify();
SELECT alloc_ports('u', k(1));
SELECT alloc_int('u', k(1));
-- down to one port, in IPv6, from far ranges
SELECT alloc_pool_create('nat6', '{2001:db8::/32, fd00::/64}', strategy => 'lowest', port_chunk => 1);
SELECT * FROM alloc_ports('nat6', k(1));
SELECT alloc_ip('nat6', k(2)), alloc_ip('nat6', k(3), 'fd00::1'), alloc_ip('nat6', k(4), 'fd00::ffff:ffff:ffff:ffff');
SELECT * FROM alloc_ports('nat6', k(5));
SELECT value FROM alloc_units WHERE pool = 'nat6' ORDER BY value;
SELECT * FROM alloc_verify();

-- what is missing or malformed
SELECT alloc_ip(NULL, k(1));
SELECT alloc_ip('u', NULL);
SELECT alloc_ip('nowhere', k(1));
SELECT alloc_ip('u', k(1), ttl => '0');
SELECT alloc_ip('u', k(1), ttl => '300000 years');
SELECT alloc_ip('u', k(1), ttl => '-300000 years');
SELECT alloc_ip('u', k(1), ttl => '40000 years -18000000 days');
SELECT alloc_ip('u', k(1), ttl => '1 month -40 days');
SELECT * FROM alloc_many('u', ARRAY[k(1)], ttl => '200000000 days');
SELECT alloc_renew('u', k(1), '300000 years');
SELECT outcome FROM alloc_try_ip('u', k(1), ttl => '49999 years');
SELECT alloc_renew('u', k(77), '1 hour');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_find('u', 'x');
SELECT alloc_find('u', '10.0.0.1', 70000);
SELECT alloc_prefix('p', k(1), NULL);

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_unit_test CASCADE;
