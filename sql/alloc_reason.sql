-- Claim: who gets nothing is told the true reason, and when there may be
-- something; a vain try changes nothing; searches do not read notes.
CREATE SCHEMA alloc_reason_test;
SET search_path = alloc_reason_test, public, cas_test;
-- the SQLSTATE and what DETAIL says, without the times
CREATE FUNCTION raised(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    code text; message text; detail text;
BEGIN
    EXECUTE statement;
    RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN code || ': ' || message || ' ' || coalesce((nullif(detail, '')::jsonb - 'ready_at')::text, '')
        || coalesce(' ready ' || ((nullif(detail, '')::jsonb ->> 'ready_at')::timestamptz > now())::text, '');
END $$;

-- how many hours after now a time is, where "now" was since the test began
SELECT set_config('alloc_reason_test.began', now()::text, false) <> '' AS began;
CREATE FUNCTION hours(at timestamptz) RETURNS int LANGUAGE sql AS $$
    SELECT n FROM generate_series(0, 100) AS n
    WHERE at - n * interval '1 hour' BETWEEN current_setting('alloc_reason_test.began')::timestamptz AND clock_timestamp()
$$;

-- an exact request: reserved, outside, draining, cooling, taken, run out
SELECT alloc_pool_create('i', '{0-9}', 'int', cooldown => '1 hour');
SELECT alloc_reserve('i', '5-6'), alloc_pool_shrink('i', '9-9', drain => true);
SELECT alloc_int('i', k(1), 1), alloc_int('i', k(2), 2);
SELECT alloc_release('i', k(1));
SELECT v, outcome, value, generation IS NOT NULL AS generation, ready_at > now() AS ready
FROM unnest('{1,2,3,5}'::int[]) AS v, alloc_try_int('i', k(10 + v), v);
SELECT v, raised(format('SELECT alloc_int(%L, %L, %s)', 'i', k(20 + v), v)) FROM unnest('{1,2,5,9,10}'::int[]) AS v;
SELECT raised('SELECT alloc_try_int(''i'', ''1e000000-0000-0000-0000-000000000000'', 9)');
SELECT raised('SELECT alloc_try_int(''i'', ''1e000000-0000-0000-0000-000000000000'', 10)');
SELECT outcome FROM alloc_try_int('i', k(2), 5);

-- of prefixes and addresses
SELECT alloc_pool_create('p', '{10.0.0.0/28}', 'prefix'), alloc_pool_create('a', '{10.0.0.0-10.0.0.9}', port_chunk => 16384);
SELECT alloc_reserve('p', '10.0.0.3-10.0.0.3'), alloc_reserve('a', '10.0.0.3-10.0.0.3');
SELECT outcome, value FROM alloc_try_prefix('p', k(1), 30, '10.0.0.0/30')
UNION ALL SELECT outcome, value FROM alloc_try_prefix('p', k(1), 28, '10.0.0.0/28')
UNION ALL SELECT outcome, value FROM alloc_try_ip('a', k(1), '10.0.0.3');
SELECT raised('SELECT alloc_prefix(''p'', k(1), 30, ''10.0.0.0/30'')'), raised('SELECT alloc_ip(''a'', k(1), ''10.0.0.3'')');

-- everything is held for a time, or will be
SELECT alloc_pool_create('t' || s, '{0-3}', 'int', s) FROM unnest('{any,lowest,random}'::text[]) AS s;
SELECT alloc_pool_create('tp', '{10.0.0.0/30}', 'prefix');
SELECT count(*) FROM unnest('{any,lowest,random}'::text[]) AS s, generate_series(1, 4) AS n, alloc_int('t' || s, k(n), ttl => n * '1 hour'::interval);
SELECT count(*) FROM generate_series(1, 4) AS n, alloc_prefix('tp', k(n), 32, ttl => n * '1 hour'::interval);
SELECT s, outcome, hours(ready_at)
FROM unnest('{any,lowest,random}'::text[]) AS s, alloc_try_int('t' || s, k(9))
UNION ALL SELECT 'a /32', outcome, hours(ready_at) FROM alloc_try_prefix('tp', k(9), 32)
UNION ALL SELECT 'a /31', outcome, hours(ready_at) FROM alloc_try_prefix('tp', k(9), 31)
UNION ALL SELECT 'the /30', outcome, hours(ready_at) FROM alloc_try_prefix('tp', k(9), 30);
SELECT raised('SELECT alloc_int(''tany'', k(9))');
-- unless one of them is for good, or reserved meanwhile, or draining
SELECT alloc_renew('tp', k(1), NULL), alloc_renew('tany', k(1), NULL);
SELECT outcome, hours(ready_at) FROM alloc_try_int('tany', k(9))
UNION ALL SELECT outcome, hours(ready_at) FROM alloc_try_prefix('tp', k(9), 31)
UNION ALL SELECT outcome, hours(ready_at) FROM alloc_try_prefix('tp', k(9), 30);
SELECT alloc_reserve('tany', '0-3'), alloc_pool_shrink('tp', '10.0.0.0/30', drain => true);
SELECT outcome, ready_at FROM alloc_try_int('tany', k(9)) UNION ALL SELECT outcome, ready_at FROM alloc_try_prefix('tp', k(9), 32);
-- what cools is told before what may be renewed
SELECT alloc_pool_set('tlowest', cooldown => '30 hours'), alloc_release('tlowest', k(4));
SELECT outcome, hours(ready_at) FROM alloc_try_int('tlowest', k(9));

-- a key whose unit has run out keeps it if it gets nothing else, and gives it
-- up for what it gets
SELECT alloc_pool_create('v', '{10.0.0.0/30}', 'prefix'), alloc_pool_create('vi', '{0-3}', 'int');
SELECT alloc_prefix('v', k(1), 32, '10.0.0.1', ttl => '10 ms'), alloc_prefix('v', k(2), 32, '10.0.0.2');
SELECT alloc_int('vi', k(1), 1, ttl => '10 ms'), alloc_int('vi', k(2), 2);
DO $$ BEGIN WHILE (SELECT count(*) FROM alloc_units WHERE pool IN ('v', 'vi') AND key = cas_test.k(1)) > 0 LOOP PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT outcome FROM alloc_try_prefix('v', k(1), 31, '10.0.0.2/31') UNION ALL SELECT outcome FROM alloc_try_prefix('v', k(1), 30)
UNION ALL SELECT outcome FROM alloc_try_int('vi', k(1), 2);
SELECT pool, value, reason FROM alloc_history WHERE pool IN ('v', 'vi');
SELECT count(*) FROM cas_internal.alloc_slot WHERE key = k(1) AND pool IN (SELECT id FROM cas_internal.alloc_pool WHERE name IN ('v', 'vi'));
SELECT outcome, value FROM alloc_try_prefix('v', k(1), 31) UNION ALL SELECT outcome, value FROM alloc_try_int('vi', k(1), 3);
SELECT pool, value, reason FROM alloc_history WHERE pool IN ('v', 'vi') ORDER BY 1;
SELECT pool, value FROM alloc_units WHERE pool IN ('v', 'vi') ORDER BY 1, 2;
SELECT * FROM alloc_verify();

-- alloc_many takes chunks if told so
SELECT alloc_pool_create('m', '{10.0.0.1-10.0.0.2}', port_chunk => 16384, strategy => 'lowest');
SELECT key, value, kind FROM alloc_many('m', ARRAY[k(2), k(1)], ports => true);
SELECT key, value, kind FROM alloc_many('m', ARRAY[k(3)]);
SELECT key, value, kind FROM alloc_many('m', ARRAY[k(1), k(4), k(5)], ports => true);
SELECT raised('SELECT alloc_many(''m'', ARRAY[k(6)], ports => true)'), raised('SELECT alloc_many(''m'', ARRAY[k(3)], ports => true)'),
       raised('SELECT alloc_many(''i'', ARRAY[k(6)], ports => true)'), raised('SELECT alloc_many(''m'', ARRAY[k(6)], 32, ports => true)');
SELECT value FROM alloc_find('m', '10.0.0.1') ORDER BY 1;
SELECT value FROM alloc_find('m', '0.0.0.0/0') ORDER BY 1;

-- waiting units are found in whatever order they have been queued
SELECT alloc_pool_create('s' || s, '{0-3}', 'int', s) FROM unnest('{any,lowest}'::text[]) AS s;
SELECT count(alloc_int('s' || s, k(n))) FROM unnest('{any,lowest}'::text[]) AS s, generate_series(1, 4) AS n;
SELECT count(alloc_release('s' || s, k(n))) FROM unnest('{any,lowest}'::text[]) AS s, generate_series(1, 4) AS n;
UPDATE cas_internal.alloc_pool SET strategy = CASE strategy WHEN 'any' THEN 'lowest' ELSE 'any' END WHERE name IN ('sany', 'slowest');
SELECT * FROM alloc_verify();
SELECT s, string_agg(value, ',') FROM unnest('{any,lowest}'::text[]) AS s, generate_series(5, 8) AS n, alloc_try_int('s' || s, k(n)) WHERE outcome = 'allocated' GROUP BY 1;
SELECT alloc_pool_set('s' || s, cooldown => '1 hour') FROM unnest('{any,lowest}'::text[]) AS s;
SELECT count(alloc_release('s' || s, k(n))) FROM unnest('{any,lowest}'::text[]) AS s, generate_series(5, 8) AS n;
UPDATE cas_internal.alloc_pool SET strategy = CASE strategy WHEN 'any' THEN 'lowest' ELSE 'any' END WHERE name IN ('sany', 'slowest');
SELECT s, outcome, ready_at > now() AS ready FROM unnest('{any,lowest}'::text[]) AS s, alloc_try_int('s' || s, k(9));

-- notes are read by who looks at them
CREATE FUNCTION toast_reads() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT pg_stat_force_next_flush();
    SELECT pg_stat_clear_snapshot();
    SELECT toast_blks_read + toast_blks_hit FROM pg_statio_all_tables WHERE relid = 'cas_internal.alloc_slot'::regclass $$;
SELECT alloc_pool_create('noted', '{0-5}', 'int', 'lowest'), alloc_pool_create('notedp', '{10.0.0.0/29}', 'prefix', 'lowest');
CREATE TABLE note AS SELECT to_jsonb(string_agg(md5(n::text), '')) AS note FROM generate_series(1, 1000) AS n;
SELECT count(alloc_int('noted', k(n), note => note)), count(alloc_prefix('notedp', k(n), 32, note => note)) FROM note, generate_series(1, 3) AS n;
SELECT alloc_release('noted', k(2)), alloc_release('notedp', k(2));
SELECT count(*) FROM (SELECT pg_stat_force_next_flush()) AS f;
SELECT toast_reads() AS before \gset
SELECT outcome FROM generate_series(5, 9) AS n, alloc_try_int('noted', k(n));
SELECT outcome FROM generate_series(5, 6) AS n, alloc_try_prefix('notedp', k(n), 31);
SELECT outcome FROM alloc_try_int('noted', k(10), 2);
SELECT alloc_int('noted', k(1)), alloc_renew('noted', k(1), '1 hour') > now() AS renewed;
SELECT count(*) FROM (SELECT pg_stat_force_next_flush()) AS f;
SELECT toast_reads() - :before AS reads;
SELECT key, u.note = note.note AS same FROM note, alloc_get('noted', k(1)) AS u;
SELECT key, u.note = note.note AS same FROM note, alloc_many('noted', ARRAY[k(1), k(3)]) AS u;
SELECT key, u.note = note.note AS same FROM note, alloc_find('notedp', '10.0.0.0/30') AS u WHERE u.note IS NOT NULL;
SELECT * FROM alloc_verify();
-- whatever the strategy, by several at once, and in counted pools
CREATE OR REPLACE FUNCTION toast_reads() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT pg_stat_force_next_flush();
    SELECT pg_stat_clear_snapshot();
    SELECT sum(toast_blks_read + toast_blks_hit)::bigint FROM pg_statio_all_tables
    WHERE relid IN ('cas_internal.alloc_slot'::regclass, 'cas_internal.alloc_share'::regclass) $$;
SELECT alloc_pool_create('notedany', '{0-5}', 'int'), alloc_pool_create('notedrandom', '{0-5}', 'int', 'random'),
    alloc_pool_create('notedchunks', '{10.0.0.0}', port_chunk => 8192), alloc_pool_create('notedcount', '{}', 'count', capacity => 9);
SELECT count(alloc_int('notedany', k(n), note => note)), count(alloc_int('notedrandom', k(n), note => note)),
    count(alloc_ports('notedchunks', k(n), note => note)), count(alloc_count('notedcount', k(n), 2, note => note))
FROM note, generate_series(1, 3) AS n;
SELECT alloc_release('noted' || s, k(2)) FROM unnest('{any,random,chunks,count}'::text[]) AS s;
SELECT count(*) FROM (SELECT pg_stat_force_next_flush()) AS f;
SELECT toast_reads() AS before \gset
SELECT s, outcome, count(*) FROM unnest('{any,random}'::text[]) AS s, generate_series(5, 7) AS n, alloc_try_int('noted' || s, k(n)) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(alloc_release('noted' || s, k(n))) FROM unnest('{any,random}'::text[]) AS s, generate_series(5, 7) AS n;
SELECT s, count(*) FROM unnest('{any,random}'::text[]) AS s, alloc_many('noted' || s, ARRAY[k(4), k(6), k(5), k(7)]) GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM alloc_many('notedchunks', ARRAY[k(4), k(6), k(5)], ports => true);
SELECT count(*) FROM alloc_many('notedcount', ARRAY[k(4), k(6), k(5)]);
SELECT s, alloc_renew('noted' || s, k(1), '1 hour') > now() AS renewed FROM unnest('{any,random,chunks,count}'::text[]) AS s;
SELECT outcome FROM alloc_try_int('notedany', k(8), 0);
SELECT outcome FROM alloc_try_int('notedrandom', k(8));
SELECT outcome FROM generate_series(7, 10) AS n, alloc_try_ports('notedchunks', k(n));
SELECT outcome FROM alloc_try_count('notedcount', k(8), 4);
SELECT alloc_int('notedany', k(1)) IS NOT NULL AS held, alloc_resize('notedcount', k(4), 2), alloc_resize('notedcount', k(4), 1);
SELECT count(*) FROM (SELECT pg_stat_force_next_flush()) AS f;
SELECT toast_reads() - :before AS reads;
SELECT s, u.note = note.note AS same FROM note, unnest('{any,random,chunks,count}'::text[]) AS s, alloc_get('noted' || s, k(1)) AS u;
SELECT * FROM alloc_verify();

-- of several that cool, the last; nothing of what is draining; beside the last
-- of all addresses, which is reserved; and no negative number
SELECT alloc_pool_create('cools', '{10.0.0.0/28}', 'prefix', cooldown => '1 hour');
SELECT count(alloc_prefix('cools', k(n), 32, ('10.0.0.' || n || '/32')::cidr)) FROM generate_series(1, 3) AS n;
SELECT alloc_release('cools', k(1)), alloc_pool_set('cools', cooldown => '3 hours'), alloc_release('cools', k(2)),
    alloc_pool_set('cools', cooldown => '2 hours'), alloc_release('cools', k(3));
SELECT outcome, hours(ready_at) FROM alloc_try_prefix('cools', k(4), 30, '10.0.0.0/30');
SELECT alloc_pool_create('drains', '{10.0.0.0/28, 10.0.1.0/30}', 'prefix');
SELECT alloc_prefix('drains', k(1), 28, '10.0.0.0/28', ttl => '1 hour'), alloc_prefix('drains', k(2), 30, '10.0.1.0/30');
SELECT outcome, ready_at > now() AS ready FROM alloc_try_prefix('drains', k(3), 32);
SELECT alloc_pool_shrink('drains', '10.0.0.0/28', drain => true);
SELECT outcome, ready_at > now() AS ready FROM alloc_try_prefix('drains', k(3), 32);
SELECT alloc_pool_create('last', '{ffff:ffff:ffff:ffff:ffff:ffff:ffff:8000-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe}', 'prefix');
SELECT raised('SELECT alloc_prefix(''last'', k(1), 112)');
SELECT alloc_reserve('last', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff');
SELECT n, outcome, value FROM generate_series(1, 3) AS n, alloc_try_prefix('last', k(n), 114);
SELECT outcome, value FROM alloc_try_prefix('last', k(3), 115);
SELECT * FROM alloc_free('last');
SELECT alloc_pool_create('end', '{ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe}', 'prefix', 'lowest');
SELECT alloc_reserve('end', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff2-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff');
SELECT n, outcome, value FROM generate_series(1, 3) AS n, alloc_try_prefix('end', k(n), 128);
SELECT raised('SELECT alloc_int(''i'', k(30), -1)');

-- fragmented: what is free would be enough; else it is exhausted, or cooling
SELECT alloc_pool_create('half', '{10.0.0.0/24}', 'prefix', 'lowest');
SELECT alloc_prefix('half', k(1), 25, '10.0.0.0/25');
SELECT outcome, ready_at FROM alloc_try_prefix('half', k(9), 24);
SELECT alloc_prefix('half', k(2), 26, '10.0.0.192/26'), alloc_release('half', k(1));
SELECT alloc_prefix('half', k(3), 26, '10.0.0.0/26');
SELECT outcome, ready_at FROM alloc_try_prefix('half', k(9), 25);
SELECT raised('SELECT alloc_prefix(''half'', k(9), 24)'), raised('SELECT alloc_prefix(''half'', k(9), 25)');
-- one address less is too few
SELECT alloc_reserve('half', '10.0.0.191-10.0.0.191');
SELECT outcome, ready_at FROM alloc_try_prefix('half', k(9), 25);
SELECT alloc_unreserve('half', '10.0.0.191-10.0.0.191'), alloc_prefix('half', k(4), 32, '10.0.0.64');
SELECT outcome, ready_at FROM alloc_try_prefix('half', k(9), 25);
-- with it, but in another range; not in one that drains
SELECT alloc_pool_grow('half', '10.0.1.0/32');
SELECT outcome, ready_at FROM alloc_try_prefix('half', k(9), 25);
SELECT alloc_prefix('half', k(5), 32, '10.0.1.0'), alloc_release('half', k(4));
SELECT alloc_pool_grow('half', '10.0.2.0/24'), alloc_prefix('half', k(6), 24, '10.0.2.0/24'), alloc_prefix('half', k(7), 32, '10.0.0.127');
SELECT outcome, ready_at FROM alloc_try_prefix('half', k(9), 25);
SELECT alloc_release('half', k(6)), alloc_prefix('half', k(6), 32, '10.0.2.0'), alloc_pool_shrink('half', '10.0.2.0/24', drain => true);
SELECT outcome, ready_at FROM alloc_try_prefix('half', k(9), 25);
-- waiting helps
SELECT alloc_pool_create('later', '{10.0.0.0/24}', 'prefix', cooldown => '1 hour');
SELECT alloc_prefix('later', k(1), 25, '10.0.0.0/25', ttl => '1 hour');
SELECT outcome, ready_at > now() AS ready FROM alloc_try_prefix('later', k(9), 24);
SELECT alloc_release('later', k(1));
SELECT outcome, ready_at > now() AS ready FROM alloc_try_prefix('later', k(9), 24);
-- chunks of addresses
SELECT alloc_pool_create('chunks', '{10.0.0.1}', strategy => 'lowest', port_chunk => 16384);
SELECT count(alloc_ports('chunks', k(n))) FROM generate_series(1, 4) AS n;
SELECT alloc_release('chunks', k(1)), alloc_release('chunks', k(2));
SELECT outcome FROM alloc_try_ip('chunks', k(9));
SELECT alloc_pool_grow('chunks', '10.0.0.2');
SELECT count(alloc_ports('chunks', k(n))) FROM generate_series(5, 8) AS n;
SELECT outcome FROM alloc_try_ip('chunks', k(9));
SELECT alloc_release('chunks', k(3));
SELECT outcome FROM alloc_try_ip('chunks', k(9));
SELECT alloc_release('chunks', k(4));
SELECT outcome FROM alloc_try_ip('chunks', k(9));
SELECT * FROM alloc_verify();

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools;
SET client_min_messages = warning;
DROP SCHEMA alloc_reason_test CASCADE;
