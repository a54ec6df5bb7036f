-- Claim: at most as much of a counted pool is given out as its capacity, in one
-- piece or in several, and by the same functions as units of other kinds.
SET client_min_messages = warning;
SET search_path = public, cas_test;
CREATE VIEW held AS SELECT pool, key, value, n, kind, expires_at, note
	FROM alloc_units ORDER BY pool, key;

SELECT alloc_pool_create('gpu', '{}', kind => 'count', capacity => 5);
SELECT alloc_count('gpu', k(1)), alloc_count('gpu', k(2), 2, note => '{"a": 1}'),
	alloc_count('gpu', k(1));
SELECT raises($$SELECT alloc_count('gpu', k(2))$$);
SELECT raises($$SELECT alloc_count('gpu', k(3), 3)$$);
SELECT raises($$SELECT alloc_count('gpu', k(3), 6)$$);
SELECT outcome, value FROM alloc_try_count('gpu', k(3), 2);
SELECT outcome, value FROM alloc_try_count('gpu', k(3), 2);
SELECT outcome, value FROM alloc_try_count('gpu', k(3), 1);
SELECT outcome, value, ready_at FROM alloc_try_count('gpu', k(4));
SELECT * FROM held;
SELECT pool, key, value, n FROM alloc_get('gpu', k(2));
SELECT * FROM alloc_usage('gpu');
SELECT * FROM alloc_map('gpu');
SELECT pool, kind, parent, capacity, ranges FROM alloc_pools;

-- what is free is found wherever it is, in several pieces if need be
SELECT alloc_release('gpu', k(1)), alloc_release('gpu', k(3)), alloc_release('gpu', k(3));
SELECT alloc_count('gpu', k(5), 3);
SELECT outcome FROM alloc_try_count('gpu', k(6));
SELECT * FROM held;
SELECT alloc_release('gpu', k(5)), alloc_release('gpu', k(2));
SELECT alloc_count('gpu', k(7), 5);
SELECT alloc_release('gpu', k(7));
SELECT value, key, reason FROM alloc_history ORDER BY generation;

-- resize
SELECT alloc_count('gpu', k(1), 2), alloc_count('gpu', k(2), 2);
SELECT alloc_resize('gpu', k(1), 3), alloc_resize('gpu', k(1), 3);
SELECT raises($$SELECT alloc_resize('gpu', k(1), 4)$$);
SELECT alloc_resize('gpu', k(2), 1), alloc_resize('gpu', k(1), 4), alloc_resize('gpu', k(1), 1);
SELECT * FROM held;
SELECT value, key, reason FROM alloc_history WHERE reason = 'resized' ORDER BY generation;
SELECT raises($$SELECT alloc_resize('gpu', k(9), 1)$$);
SELECT raises($$SELECT alloc_resize('gpu', k(1), 0)$$);
SELECT left(raises($$SELECT alloc_resize('gpu', k(1), 2, 1)$$), 5);
SELECT alloc_release('gpu', k(1)), alloc_release('gpu', k(2));

-- time
SELECT alloc_count('gpu', k(1), 3, ttl => '1 us'), alloc_count('gpu', k(2), 2, ttl => '1 hour');
SELECT pool, key FROM held;
SELECT outcome, ready_at > clock_timestamp() AS ready FROM alloc_try_count('gpu', k(3), 4);
SELECT alloc_count('gpu', k(3), 1);
SELECT value, key, reason FROM alloc_history WHERE reason = 'expired' ORDER BY generation;
SELECT alloc_count('gpu', k(1), 2);
SELECT alloc_renew('gpu', k(2), NULL), alloc_renew('gpu', k(1), '1 hour') > now() AS renewed;
SELECT raises($$SELECT alloc_renew('gpu', k(9), NULL)$$);
SELECT alloc_release('gpu', key) FROM held;
SELECT alloc_pool_set('gpu', cooldown => '1 hour');
SELECT alloc_count('gpu', k(1), 4);
SELECT alloc_release('gpu', k(1));
SELECT capacity, allocated, cooling, free FROM alloc_usage('gpu');
SELECT outcome, ready_at > clock_timestamp() AS ready FROM alloc_try_count('gpu', k(2), 2);
SELECT alloc_count('gpu', k(2), 1);

-- a pool of many, of which few are taken at a time
SELECT alloc_pool_create('many', '{}', kind => 'count', capacity => 9223372036854775807);
SELECT alloc_count('many', k(1), 9223372036854775806), alloc_count('many', k(2));
SELECT outcome FROM alloc_try_count('many', k(3));
SELECT * FROM alloc_usage('many');
SELECT alloc_pool_create('none', '{}', kind => 'count', capacity => 0);
SELECT outcome FROM alloc_try_count('none', k(1));

-- parents: what is taken below is taken above, under its own pool's name
SELECT alloc_pool_create('dc', '{}', kind => 'count', capacity => 6);
SELECT alloc_pool_create('rack', '{}', kind => 'count', capacity => 4, parent => 'dc');
SELECT alloc_pool_create('seat', '{}', kind => 'count', capacity => 3, parent => 'rack');
SELECT alloc_pool_create('ip', '{10.0.0.0-10.0.0.9}', parent => 'dc');
SELECT alloc_pool_create('net', '{10.0.0.0/24}', 'prefix', parent => 'dc');
SELECT alloc_count('seat', k(1), 3), alloc_count('rack', k(1)), alloc_ip('ip', k(1)), alloc_prefix('net', k(1), 25);
SELECT pool, allocated, free FROM alloc_usage() WHERE pool IN ('dc', 'rack', 'seat', 'ip');
SELECT * FROM held WHERE pool IN ('dc', 'rack', 'seat', 'ip', 'net');
SELECT raises($$SELECT alloc_count('seat', k(2))$$);
SELECT raises($$SELECT alloc_count('rack', k(2))$$);
SELECT raises($$SELECT alloc_ip('ip', k(2))$$);
SELECT raises($$SELECT alloc_prefix('net', k(2), 26)$$);
SELECT raises($$SELECT alloc_count('dc', k(1))$$);
SELECT alloc_count('rack', k(1)), alloc_ip('ip', k(1)), alloc_release('dc', k(1));
SELECT alloc_resize('seat', k(1), 1), alloc_ip('ip', k(2)), alloc_count('dc', k(1));
SELECT raises($$SELECT alloc_resize('seat', k(1), 2)$$);
SELECT alloc_release('ip', k(2)), alloc_release('net', k(1)), alloc_release('seat', k(1)), alloc_release('rack', k(1));
SELECT pool, allocated, free FROM alloc_usage() WHERE pool IN ('dc', 'rack', 'seat', 'ip') ORDER BY pool;
SELECT raises($$SELECT alloc_pool_drop('dc')$$);
SELECT raises($$SELECT alloc_pool_drop('rack')$$);
SELECT alloc_release('dc', k(1)), alloc_release('ip', k(1));
SELECT alloc_pool_drop('seat'), alloc_pool_drop('rack');

-- several units in a row count as many; a unit that is moved is moved in all levels
SELECT alloc_pool_create('vlan', '{1-9}', 'int', parent => 'dc');
SELECT alloc_int('vlan', k(1), consecutive => 5), alloc_count('dc', k(9), 1);
SELECT left(raises($$SELECT alloc_int('vlan', k(2))$$), 28);
SELECT value, key, n FROM alloc_move('vlan', k(1), k(3));
SELECT value, key, n FROM alloc_move('dc', k(9), k(3));
SELECT value, key, n FROM alloc_move('dc', k(9), k(3));
SELECT alloc_annotate('dc', k(3), '"mine"');
SELECT pool, key, n, note FROM alloc_get('dc', k(3));
SELECT key, origin = pool AS own, sum(n), count(DISTINCT generation) FROM cas_internal.alloc_share
	WHERE pool = (SELECT id FROM cas_internal.alloc_pool WHERE name = 'dc') AND key IS NOT NULL
	GROUP BY key, own ORDER BY own;
SELECT alloc_release('vlan', k(3)), alloc_release('dc', k(3)), alloc_pool_drop('vlan');

-- everything of a unit runs out, cools and is renewed at once
SELECT alloc_pool_set('ip', cooldown => '1 hour');
SELECT alloc_ip('ip', k(1), ttl => '1 hour') = alloc_ip('ip', k(1));
SELECT alloc_renew('ip', k(1), '2 hours') > now() AS renewed;
SELECT count(*), count(DISTINCT expires_at), count(DISTINCT generation) FROM (
	SELECT expires_at, generation FROM cas_internal.alloc_share
	WHERE key = k(1) AND expires_at > now()
	UNION ALL SELECT expires_at, generation FROM cas_internal.alloc_slot WHERE key = k(1)) AS u;
SELECT alloc_release('ip', k(1));
SELECT pool, allocated, cooling, free FROM alloc_usage() WHERE pool IN ('dc', 'ip');
SELECT alloc_pool_set('dc', capacity => 1);
SELECT raises(format($$SELECT alloc_ip('ip', k(2))$$)) ~ 'reason": "cooling"' AS cooling;

-- what is not for counted pools, and what is not for others
SELECT raises($$SELECT alloc_pool_create('x', '{}', 'count', 'lowest', capacity => 1)$$);
SELECT raises($$SELECT alloc_pool_create('bad', '{1-2}', 'count', capacity => 1)$$);
SELECT raises($$SELECT alloc_pool_create('bad', '{}', 'count')$$);
SELECT raises($$SELECT alloc_pool_create('bad', '{}', 'count', capacity => -1)$$);
SELECT raises($$SELECT alloc_pool_create('bad', '{1-2}', 'int', capacity => 1)$$);
SELECT raises($$SELECT alloc_pool_create('bad', '{1-2}', 'int', parent => 'ip')$$);
SELECT raises($$SELECT alloc_pool_create('bad', '{1-2}', 'int', parent => 'bad')$$);
SELECT raises($$SELECT alloc_pool_grow('gpu', '1-2')$$);
SELECT raises($$SELECT alloc_pool_shrink('gpu', '1-2')$$);
SELECT raises($$SELECT alloc_reserve('gpu', '1-2')$$);
SELECT raises($$SELECT alloc_unreserve('gpu', '1-2')$$);
SELECT raises($$SELECT alloc_pool_set('gpu', strategy => 'lowest')$$);
SELECT raises($$SELECT alloc_pool_set('ip', capacity => 1)$$);
SELECT raises($$SELECT * FROM alloc_find('gpu', '1')$$);
SELECT raises($$SELECT * FROM alloc_free('gpu')$$);
SELECT raises($$SELECT alloc_int('gpu', k(1))$$);
SELECT raises($$SELECT alloc_count('ip', k(1))$$);
SELECT raises($$SELECT alloc_resize('ip', k(1), 1)$$);
SELECT raises($$SELECT alloc_count('gpu', k(1), 0)$$);
SELECT raises($$SELECT alloc_count('gpu', k(1), NULL)$$);
SELECT raises($$SELECT alloc_count('gpu', NULL)$$);
SELECT raises($$SELECT alloc_count('gpu', k(1), wait => '-1 s')$$);
SELECT raises($$SELECT alloc_count('nowhere', k(1))$$);
SELECT pool, key, n FROM alloc_many('many', ARRAY[k(2)]);
SELECT alloc_release('many', k(1));
SELECT pool, key, n FROM alloc_many('many', ARRAY[k(3), k(2), k(4)]);

-- each of many keys does not pass the rows of those before it
SELECT alloc_pool_create('large', '{}', 'count', capacity => 5000);
SET debug_discard_caches = 0;
BEGIN;
SELECT count(*) FROM alloc_many('large', ARRAY(SELECT k(n) FROM generate_series(1, 500) AS n));
SELECT idx_tup_fetch < 10 * 500 AS few FROM pg_stat_xact_all_tables WHERE relname = 'alloc_share';
-- what a savepoint has given back is found again
SAVEPOINT s;
SELECT count(*) FROM alloc_many('large', ARRAY(SELECT k(n) FROM generate_series(501, 2500) AS n));
ROLLBACK TO s;
SELECT alloc_count('large', k(501), 4500);
SAVEPOINT s;
SELECT alloc_release('large', k(501));
SELECT count(alloc_count('large', k(n), 45)) FROM generate_series(502, 601) AS n;
ROLLBACK TO s;
SELECT alloc_release('large', k(501)), alloc_count('large', k(502), 4500);
ROLLBACK;
RESET debug_discard_caches;
SELECT alloc_count('large', k(1), 5000);
SELECT * FROM alloc_verify('large');

-- a place that was held when a gap was looked at, and taken then, does not
-- stand for one that was free
SELECT alloc_pool_create('lost', '{}', 'count', capacity => 4);
SELECT alloc_count('lost', k(1), 2), alloc_count('lost', k(2), 2);
SELECT alloc_release('lost', k(1)), alloc_release('lost', k(2));
SELECT alloc_count('lost', k(3), 3, '10 ms');
DO $$ BEGIN WHILE EXISTS (SELECT FROM alloc_get('lost', k(3))) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT alloc_count('lost', k(4), 3), alloc_count('lost', k(5), 1);
SELECT * FROM alloc_verify('lost');

-- at most eight pools above one another
SELECT alloc_pool_create('l1', '{}', 'count', capacity => 9);
SELECT count(alloc_pool_create('l' || i, '{}', 'count', capacity => 9, parent => 'l' || i - 1)) FROM generate_series(2, 8) AS i;
SELECT raises($$SELECT alloc_pool_create('l9', '{}', 'count', capacity => 9, parent => 'l8')$$);
SELECT alloc_count('l8', k(1), 2), alloc_count('l1', k(1), 7);
SELECT raises($$SELECT alloc_count('l5', k(1))$$);
SELECT alloc_release('l8', k(1)), alloc_count('l5', k(1), 2);

DROP VIEW held;
CALL drop_pools();
