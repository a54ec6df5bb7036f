-- Claim: a released unit cools, a unit with a ttl runs out, at the time said
-- and not before; each is told from a pool that is exhausted; what has run
-- out is found by whoever needs it, whether anything was reaped or not.
-- (Time passes here by moving the times in the tables back.)
CREATE SCHEMA alloc_time_test;
SET search_path = alloc_time_test, public, cas_test;
-- a day passes
CREATE FUNCTION day(p text) RETURNS void LANGUAGE sql AS $$
    UPDATE cas_internal.alloc_slot AS s SET expires_at = s.expires_at - interval '1 day',
        allocated_at = allocated_at - interval '1 day',
        queue_place = CASE WHEN o.strategy <> 'lowest' THEN queue_place - 86400000000 ELSE queue_place END
    FROM cas_internal.alloc_pool AS o WHERE s.pool = o.id AND o.name = p $$;

SELECT alloc_pool_create(s, '{0-2}', 'int', s, cooldown => '1 hour')
FROM unnest('{any,lowest,random}'::text[]) AS s;
SELECT p, count(alloc_int(p, k(n))) FROM unnest('{any,lowest,random}'::text[]) AS p,
    generate_series(1, 3) AS n GROUP BY p ORDER BY p;
-- cooling, and until when
SELECT bool_and(alloc_release(p, k(1))) FROM unnest('{any,lowest,random}'::text[]) AS p;
SELECT p, outcome, ready_at > now() + '59 min' AND ready_at < now() + '61 min' AS in_an_hour
FROM unnest('{any,lowest,random}'::text[]) AS p, alloc_try_int(p, k(4));
\set VERBOSITY sqlstate
SELECT alloc_int('any', k(4));
\set VERBOSITY default
SELECT pool, allocated, cooling, free FROM alloc_usage();
SELECT p, outcome FROM unnest('{any,lowest,random}'::text[]) AS p,
    alloc_try_int(p, k(4), (SELECT value::int FROM alloc_history WHERE pool = p));
-- the first one back waits as well
SELECT outcome FROM alloc_try_int('any', k(1));
SELECT day(p) FROM unnest('{any,lowest,random}'::text[]) AS p;
SELECT p, outcome FROM unnest('{any,lowest,random}'::text[]) AS p, alloc_try_int(p, k(4));
SELECT p, outcome, ready_at FROM unnest('{any,lowest,random}'::text[]) AS p, alloc_try_int(p, k(5));
SELECT * FROM alloc_verify();

-- ttl
SELECT bool_and(alloc_release(p, k(2))) FROM unnest('{any,lowest,random}'::text[]) AS p;
SELECT day(p) FROM unnest('{any,lowest,random}'::text[]) AS p;
SELECT p, outcome FROM unnest('{any,lowest,random}'::text[]) AS p,
    alloc_try_int(p, k(6), ttl => '1 hour');
SELECT pool, expires_at > now() + '59 min' AS in_an_hour FROM alloc_units
WHERE key = k(6) ORDER BY pool;
SELECT day(p) FROM unnest('{any,lowest,random}'::text[]) AS p;
SELECT count(*) FROM alloc_units WHERE key = k(6);
SELECT count(*) FROM alloc_get('any', k(6));
SELECT pool, allocated, cooling, free FROM alloc_usage();
-- it has nothing to release or renew any more
SELECT alloc_release('any', k(6));
\set VERBOSITY sqlstate
SELECT alloc_renew('any', k(6), '1 hour');
\set VERBOSITY default
-- coming back: the same unit, a new generation
SELECT value AS old, generation AS old_generation FROM alloc_history WHERE pool = 'any' AND key = k(2) \gset
SELECT outcome, value = :'old' AS same, generation > :old_generation AS newer
FROM alloc_try_int('any', k(6), ttl => '1 hour');
SELECT day('any');
-- somebody else came first; and the one that comes back gets another, or none
SELECT p, outcome FROM unnest('{any,lowest,random}'::text[]) AS p, alloc_try_int(p, k(7));
SELECT p, outcome FROM unnest('{any,lowest,random}'::text[]) AS p, alloc_try_int(p, k(6));
SELECT pool, key, count(*), min(reason) FROM alloc_history WHERE key = k(6) GROUP BY 1, 2 ORDER BY 1;
SELECT * FROM alloc_verify();

-- asked for by value, or with another request
SELECT alloc_pool_create('p', '{10.0.0.0/24}', 'prefix', 'lowest', cooldown => '1 hour');
SELECT alloc_prefix('p', k(1), 26, ttl => '1 minute'), alloc_prefix('p', k(2), 26),
       alloc_prefix('p', k(3), 25);
SELECT outcome FROM alloc_try_prefix('p', k(4), 26, '10.0.0.0/26');
SELECT day('p');
SELECT alloc_prefix('p', k(1), 27);                          -- what it had is void
SELECT alloc_prefix('p', k(4), 27, '10.0.0.32/27');
SELECT alloc_release('p', k(n)) FROM generate_series(1, 4) AS n;
SELECT outcome, ready_at > now() AS later FROM alloc_try_prefix('p', k(5), 24);
SELECT outcome, ready_at > now() AS later FROM alloc_try_prefix('p', k(5), 32);
SELECT day('p');
SELECT alloc_prefix('p', k(5), 24);
SELECT value, key, reason FROM alloc_history WHERE pool = 'p' ORDER BY generation;

-- renewal
SELECT alloc_pool_create('r', '{0-0}', 'int');
SELECT alloc_int('r', k(1), ttl => '1 hour');
SELECT alloc_renew('r', k(1), '36 hours') > now() + '35 hours' AS renewed;
SELECT day('r');
SELECT outcome FROM alloc_try_int('r', k(2));
SELECT alloc_renew('r', k(1), NULL);
SELECT day('r');
SELECT outcome FROM alloc_try_int('r', k(2));
SELECT expires_at FROM alloc_get('r', k(1));
\set VERBOSITY sqlstate
SELECT alloc_renew('r', k(1), '1 hour', generation - 1) FROM alloc_get('r', k(1));
\set VERBOSITY default
SELECT alloc_renew('r', k(1), '-1 hour');
SELECT alloc_renew('r', k(1), '1 hour', generation) IS NOT NULL AS renewed FROM alloc_get('r', k(1));

-- reaping changes nothing that can be seen but history and the size on disk
SELECT day('r');
SELECT pg_cas_reap() > 0 AS reaped;
SELECT value, key, reason FROM alloc_history WHERE pool = 'r';
SELECT * FROM alloc_verify();
SELECT outcome FROM alloc_try_int('r', k(2));
SELECT count(*) > 0 FROM alloc_history;
SET pg_cas.history_retention = '1min';
UPDATE cas_internal.alloc_past SET ended_at = ended_at - interval '1 day';
SELECT pg_cas_reap() > 0 AS reaped;
SELECT count(*) FROM alloc_history;
SELECT pg_cas_reap();
SET pg_cas.history_retention = 0;
SELECT alloc_release('r', k(2));
SELECT count(*) FROM alloc_history;
RESET pg_cas.history_retention;
SHOW pg_cas.history_retention;
SELECT pg_cas_reap(0);
SELECT cas_internal.alloc_reap(-1);
-- rows of units that were released do not pile up for ever, and their units
-- are there as before
SELECT alloc_pool_create('pile', '{1-5000}', 'int');
SET debug_discard_caches = 0;
SELECT count(*) FROM alloc_many('pile', ARRAY(SELECT k(n) FROM generate_series(1, 3000) AS n));
SELECT count(alloc_release('pile', k(n))) FROM generate_series(1, 2990) AS n;
RESET debug_discard_caches;
SELECT pg_cas_reap(2000), pg_cas_reap();
SELECT count(*) FROM cas_internal.alloc_slot AS s JOIN cas_internal.alloc_pool AS p ON p.id = s.pool WHERE p.name = 'pile';
SELECT * FROM alloc_verify();
SELECT alloc_int('pile', k(5000)) > 0 AS allocated, pg_cas_reap();
SET debug_discard_caches = 0;
SELECT count(*) FROM generate_series(5001, 11000) AS n, alloc_try_int('pile', k(n)) WHERE outcome = 'allocated';
RESET debug_discard_caches;
SELECT * FROM alloc_verify();

-- with nothing to do, pg_cas_reap() reads a piece of each pool and no history
SELECT alloc_pool_create('idle', '{1-20000}', 'int');
SET debug_discard_caches = 0;
SELECT count(*) FROM alloc_many('idle', ARRAY(SELECT k(n) FROM generate_series(1, 20000) AS n), ttl => '1 day');
SELECT alloc_release_many('idle', ARRAY(SELECT k(5 * n) FROM generate_series(1, 4000) AS n));
RESET debug_discard_caches;
ANALYZE cas_internal.alloc_slot, cas_internal.alloc_past;
SELECT count(*) FROM (SELECT pg_stat_force_next_flush()) AS f; -- what was read until now is not counted
BEGIN;
SELECT pg_cas_reap();
SELECT relname, seq_tup_read + idx_tup_fetch < 8000 AS few FROM pg_stat_xact_all_tables
WHERE relid IN ('cas_internal.alloc_slot'::regclass, 'cas_internal.alloc_past'::regclass) ORDER BY relname;
ROLLBACK;
-- else it goes on to the next piece
SELECT alloc_release_many('idle', ARRAY(SELECT k(n) FROM generate_series(1, 20000) AS n));
SELECT pg_cas_reap();
SELECT * FROM alloc_verify();

-- a peak is over: what is held is at one end, and with it the first unit of the queue
SELECT alloc_pool_create('peak', '{1-8000}', 'int', 'lowest');
SET debug_discard_caches = 0;
SELECT count(*) FROM alloc_many('peak', ARRAY(SELECT k(n) FROM generate_series(1, 8000) AS n));
SELECT alloc_release_many('peak', ARRAY(SELECT key FROM alloc_units WHERE pool = 'peak' AND number NOT BETWEEN 6 AND 1000));
-- the last unit has been waiting longest
SELECT alloc_pool_create('down', '{1-5000}', 'int');
SELECT count(*) FROM alloc_many('down', ARRAY(SELECT k(n) FROM generate_series(1, 5000) AS n));
SELECT count(alloc_release('down', key)) FROM (SELECT key FROM alloc_units WHERE pool = 'down' ORDER BY number DESC) AS u;
-- nor does it lock a pool of which all units cool
SELECT alloc_pool_create('cool', '{1-5000}', 'int', cooldown => '1 day');
SELECT count(*) FROM alloc_many('cool', ARRAY(SELECT k(n) FROM generate_series(1, 3000) AS n));
SELECT alloc_release_many('cool', ARRAY(SELECT k(n) FROM generate_series(1, 3000) AS n));
SELECT epoch AS cool_epoch FROM cas_internal.alloc_pool WHERE name = 'cool' \gset
SELECT sum(pg_cas_reap(1000)) > 0 AS reaped FROM generate_series(1, 60);
RESET debug_discard_caches;
SELECT p.name, count(*) FILTER (WHERE s.key IS NULL) < 5000 AS few, count(s.key)
FROM cas_internal.alloc_slot AS s JOIN cas_internal.alloc_pool AS p ON p.id = s.pool
WHERE p.name IN ('peak', 'down', 'cool') GROUP BY 1 ORDER BY 1;
SELECT epoch = :cool_epoch AS same_epoch FROM cas_internal.alloc_pool WHERE name = 'cool';
SELECT * FROM alloc_verify();

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_time_test CASCADE;
