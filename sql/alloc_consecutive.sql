-- Claim: a key can have several units in a row, in pools of every kind that
-- has single values; they are allocated, shown, renewed, released and run out
-- as a whole; where they are not in a row, the outcome says so.
CREATE SCHEMA alloc_consecutive_test;
SET search_path = alloc_consecutive_test, public, cas_test;
-- the units of a pool by key, as first-last
CREATE FUNCTION held(of_pool text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(ltrim(key::text, '0-') || ': ' || value || coalesce('-' || last, ''), ', ' ORDER BY number, address, mac)
    FROM (SELECT DISTINCT ON (key) * FROM alloc_units WHERE pool = of_pool ORDER BY key, number, address, mac) AS u
$$;

-- every kind: a row each, the first is returned, asked again it is the same
SELECT alloc_pool_create('c-ip', '{10.0.0.0/28}', strategy => 'lowest');
SELECT alloc_pool_create('c-port', '{10.0.0.0/28}', strategy => 'lowest', port_chunk => 16384);
SELECT alloc_pool_create('c-v6', '{2001:db8::10-2001:db8::1f}', strategy => 'lowest', port_chunk => 16384);
SELECT alloc_pool_create('c-int', '{100-115}', 'int', strategy => 'lowest');
SELECT alloc_pool_create('c-mac', '{02:00:00:00:00:f0-02:00:00:00:01:0f}', 'mac', strategy => 'lowest');
SELECT alloc_pool_create('c-mac8', '{02:00:00:00:00:00:00:f0-02:00:00:00:00:00:01:0f}', 'mac8', strategy => 'lowest');
SELECT alloc_ip('c-ip', k(1), consecutive => 4), alloc_ip('c-port', k(1), consecutive => 4), alloc_ip('c-v6', k(1), consecutive => 4),
       alloc_int('c-int', k(1), consecutive => 4), alloc_mac('c-mac', k(1), consecutive => 20), alloc_mac8('c-mac8', k(1), consecutive => 20);
SELECT alloc_ip('c-ip', k(1), consecutive => 4), alloc_ip('c-port', k(1), consecutive => 4), alloc_ip('c-v6', k(1), consecutive => 4),
       alloc_int('c-int', k(1), consecutive => 4), alloc_mac('c-mac', k(1), consecutive => 20), alloc_mac8('c-mac8', k(1), consecutive => 20);
SELECT pool, value, last, n FROM unnest('{c-ip, c-port, c-v6, c-int, c-mac, c-mac8}'::text[]) AS p, alloc_get(p, k(1));
SELECT pool, count(*), count(DISTINCT generation), min(last) = max(last), min(n), max(n) FROM alloc_units WHERE pool LIKE 'c-%' GROUP BY pool ORDER BY pool;
SELECT value, number, last, n FROM alloc_units WHERE pool = 'c-int' ORDER BY number;
SELECT key = k(1), value, last, n FROM alloc_find('c-int', '102');
SELECT key = k(1), value, last, n FROM alloc_find('c-port', '10.0.0.4', 80);
SELECT count(*) FROM alloc_find('c-mac', '02:00:00:00:00:00/40');
SELECT pool, allocated, free FROM alloc_usage() WHERE pool LIKE 'c-%' ORDER BY pool;
SELECT * FROM alloc_map('c-int');
SELECT * FROM alloc_free('c-int');

-- another number under the same key is another request
SELECT alloc_int('c-int', k(1));
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_int('c-int', k(1), consecutive => 5);
SELECT outcome, value FROM alloc_try_int('c-int', k(1), consecutive => 3);
SELECT outcome, value FROM alloc_try_int('c-int', k(1), 100, consecutive => 4);
SELECT outcome, value FROM alloc_try_int('c-int', k(1), 101, consecutive => 4);
SELECT alloc_int('c-int', k(2)), alloc_int('c-int', k(2), consecutive => 1), alloc_int('c-int', k(2), consecutive => NULL);
SELECT outcome, value FROM alloc_try_int('c-int', k(2), consecutive => 2);
SELECT alloc_int('c-int', k(3), consecutive => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_int('c-int', k(3), consecutive => -1);
SELECT alloc_int('c-int', k(3), consecutive => 65537);

-- an explicit first value
SELECT alloc_int('c-int', k(4), 110, consecutive => 3);
SELECT alloc_int('c-int', k(5), 108, consecutive => 3);
\echo :LAST_ERROR_SQLSTATE
SELECT outcome, value FROM alloc_try_int('c-int', k(5), 108, consecutive => 3);
SELECT outcome, value FROM alloc_try_int('c-int', k(5), 108, consecutive => 2);
SELECT outcome, value FROM alloc_try_int('c-int', k(6), 114, consecutive => 3);
\echo :LAST_ERROR_SQLSTATE
SELECT outcome, value FROM alloc_try_int('c-int', k(6), 9223372036854775807, consecutive => 3);
SELECT outcome, value FROM alloc_try_ip('c-v6', k(6), '2001:db8::1e', consecutive => 2), held('c-v6');
SELECT held('c-int');

-- the lowest run; none in a row; too few
SELECT outcome, value FROM alloc_try_int('c-int', k(7), consecutive => 3);
SELECT outcome, value FROM alloc_try_int('c-int', k(8), consecutive => 4);
SELECT alloc_int('c-int', k(8), consecutive => 4);
\echo :LAST_ERROR_SQLSTATE
SELECT outcome, value FROM alloc_try_int('c-int', k(8), consecutive => 5);
SELECT outcome, value FROM alloc_try_int('c-int', k(8), consecutive => 2);
SELECT outcome, value FROM alloc_try_int('c-int', k(8), consecutive => 65536);

-- released as a whole, and recorded unit by unit
SELECT generation AS old FROM alloc_get('c-int', k(1)) \gset
SELECT alloc_release('c-int', k(1)), alloc_release('c-int', k(1));
SELECT value, key = k(1), generation = :old, reason FROM alloc_history WHERE pool = 'c-int' ORDER BY value;
SELECT alloc_int('c-int', k(9), consecutive => 3), alloc_int('c-int', k(1));
\set VERBOSITY terse
SELECT alloc_release('c-int', k(1), :old - :old + 1);
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_release('c-port', k(1)), alloc_release('c-mac', k(1)), alloc_release('c-v6', k(1));
SELECT pool, free FROM alloc_usage() WHERE pool IN ('c-port', 'c-mac', 'c-v6') ORDER BY pool;
SELECT alloc_ip('c-port', k(2), consecutive => 14), alloc_mac('c-mac', k(2), consecutive => 32);
SELECT * FROM alloc_verify() WHERE pool LIKE 'c-%';

-- ranges without a gap, draining ranges, reservations
SELECT alloc_pool_create('parts', '{1-10, 11-20, 22-30}', 'int', strategy => 'lowest');
SELECT alloc_int('parts', k(1), 6, consecutive => 10), alloc_release('parts', k(1));
SELECT outcome, value FROM alloc_try_int('parts', k(1), 16, consecutive => 10);
SELECT alloc_int('parts', k(2), consecutive => 20), alloc_release('parts', k(2));
SELECT outcome FROM alloc_try_int('parts', k(2), consecutive => 21);
SELECT outcome FROM alloc_try_int('parts', k(2), consecutive => 30);
SELECT alloc_reserve('parts', '5-7'), alloc_reserve('parts', '12', on_request => true);
SELECT alloc_int('parts', k(2), consecutive => 5), alloc_int('parts', k(3), consecutive => 4), alloc_int('parts', k(4), consecutive => 4);
SELECT outcome, value FROM alloc_try_int('parts', k(5), 3, consecutive => 4);
SELECT outcome, value FROM alloc_try_int('parts', k(5), 12, consecutive => 1);
SELECT alloc_release('parts', k(n)) FROM generate_series(2, 5) AS n;
SELECT alloc_int('parts', k(5), 9, consecutive => 5);
SELECT alloc_pool_shrink('parts', '22-25', drain => true);
SELECT outcome, value FROM alloc_try_int('parts', k(6), consecutive => 7);
SELECT outcome, value FROM alloc_try_int('parts', k(6), 25, consecutive => 2);
SELECT alloc_int('parts', k(7), consecutive => 5);
SELECT held('parts');
SELECT alloc_pool_shrink('parts', '9-20');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM alloc_verify('parts');

-- beside chunks
SELECT alloc_pool_create('beside', '{10.0.0.1-10.0.0.8}', strategy => 'lowest', port_chunk => 32768);
SELECT alloc_ports('beside', k(1), address => '10.0.0.4'), alloc_ip('beside', k(2), consecutive => 4);
SELECT outcome, value FROM alloc_try_ip('beside', k(3), consecutive => 4);
SELECT alloc_ip('beside', k(3), consecutive => 3), alloc_ports('beside', k(4));
SELECT outcome FROM alloc_try_ports('beside', k(6));
SELECT alloc_release('beside', k(3)), alloc_ports('beside', k(6)), alloc_ip('beside', k(7), consecutive => 2);
SELECT chunks_free FROM alloc_usage('beside');
SELECT * FROM alloc_verify('beside');

-- the other strategies
SELECT alloc_pool_create('s-' || s, '{1-20, 21-30}', 'int', strategy => s) FROM unnest('{any, random}'::text[]) AS s;
SELECT s, count(DISTINCT g.number), bool_and(g.n = 3) FROM unnest('{any, random}'::text[]) AS s, generate_series(1, 2) AS i,
    alloc_try_int('s-' || s, k(i), consecutive => 3) AS t, alloc_get('s-' || s, k(i)) AS g GROUP BY s ORDER BY s;
SELECT s, bool_or(alloc_release('s-' || s, k(i))) FROM unnest('{any, random}'::text[]) AS s, generate_series(1, 2) AS i GROUP BY s ORDER BY s;
SELECT s, outcome FROM unnest('{any, random}'::text[]) AS s, alloc_try_int('s-' || s, k(9), consecutive => 30);
SELECT s, outcome FROM unnest('{any, random}'::text[]) AS s, alloc_try_int('s-' || s, k(10));
SELECT alloc_release('s-any', k(9)), alloc_release('s-random', k(9));
SELECT s, count(*) FROM unnest('{any, random}'::text[]) AS s, generate_series(1, 40) AS i, alloc_try_int('s-' || s, k(i)) WHERE outcome = 'allocated' GROUP BY s ORDER BY s;
SELECT * FROM alloc_verify() WHERE pool LIKE 's-%';

-- cooling, and running out
SELECT alloc_pool_create('cool', '{1-8}', 'int', strategy => 'lowest', cooldown => '1 hour');
SELECT alloc_int('cool', k(1), consecutive => 3), alloc_int('cool', k(2), consecutive => 3), alloc_int('cool', k(3), ttl => '2 hours');
SELECT alloc_release('cool', k(1)), alloc_release('cool', k(2), cooldown => '3 hours');
SELECT cooling FROM alloc_usage('cool');
CREATE FUNCTION ready(n int, OUT outcome text, OUT hours int) LANGUAGE sql AS $$
    SELECT outcome, round(extract(epoch FROM ready_at - now()) / 3600) FROM alloc_try_int('cool', k(9), consecutive => n)
$$;
SELECT n, r.* FROM generate_series(2, 9) AS n, ready(n) AS r;
SELECT outcome, round(extract(epoch FROM ready_at - now()) / 3600) FROM alloc_try_int('cool', k(9), 2, consecutive => 3);
SELECT alloc_int('cool', k(4));
SELECT n, r.* FROM generate_series(2, 9) AS n, ready(n) AS r;
SELECT alloc_reserve('cool', '4');
SELECT n, r.* FROM generate_series(2, 5) AS n, ready(n) AS r;
SELECT alloc_verify('cool');

SELECT alloc_pool_create('out', '{1-6}', 'int', strategy => 'lowest');
SELECT alloc_int('out', k(1), consecutive => 4, ttl => '1 us');
SELECT alloc_renew('out', k(1), '1 hour');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_int('out', k(2), consecutive => 4, ttl => '1 us') = 1;
-- its own key gets it again, with a new generation; other keys take some of it
SELECT count(DISTINCT alloc_int('out', k(2), consecutive => 4, ttl => '1 us')) FROM generate_series(1, 3);
SELECT count(*) FROM alloc_history WHERE pool = 'out' AND key = k(2);
SELECT alloc_int('out', k(3), 3);
SELECT outcome, value FROM alloc_try_int('out', k(2), consecutive => 4);
SELECT outcome, value FROM alloc_try_int('out', k(2), consecutive => 3);
SELECT held('out');
SELECT value, count(*), min(reason) FROM alloc_history WHERE pool = 'out' GROUP BY value ORDER BY value;
SELECT alloc_release('out', k(2)), alloc_release('out', k(3));
SELECT alloc_int('out', k(4), consecutive => 6, ttl => '1 us');
SELECT value FROM alloc_units WHERE pool = 'out';
SELECT alloc_find('out', '3');
SELECT alloc_release('out', k(4)), pg_cas_reap() > 0;
SELECT count(*) FROM alloc_history WHERE pool = 'out' AND key = k(4) AND reason = 'expired';
SELECT alloc_int('out', k(4), consecutive => 6);
SELECT alloc_renew('out', k(4), '1 us') IS NOT NULL, alloc_int('out', k(5), consecutive => 2), alloc_int('out', k(4), consecutive => 4);
SELECT held('out');
SELECT * FROM alloc_verify('out');

-- renewed, annotated and moved as a whole
SELECT alloc_renew('out', k(4), '1 hour') > now(), alloc_annotate('out', k(4), '{"for": "four"}');
SELECT value, expires_at > now() AS expires, note FROM alloc_units WHERE pool = 'out' ORDER BY number;
SELECT value, last, n, key = k(6) AS moved FROM alloc_move('out', k(4), k(6));
SELECT held('out');
SELECT count(*) FROM alloc_history WHERE pool = 'out' AND reason = 'moved';
SELECT alloc_release('out', k(6));

-- the note is stored once, and shown for each unit, whatever happens to them
SELECT alloc_int('out', k(8), consecutive => 4, note => '"eight"');
CREATE FUNCTION notes() RETURNS TABLE (stored bigint, shown bigint, found text, got text) LANGUAGE sql AS $$
    SELECT (SELECT count(s.note) FROM cas_internal.alloc_slot AS s JOIN cas_internal.alloc_pool AS p ON p.id = s.pool WHERE p.name = 'out'),
           (SELECT count(note) FROM alloc_units WHERE pool = 'out'),
           (SELECT string_agg(DISTINCT coalesce(f.note, '0')::text, ',') FROM generate_series(3, 6) AS v, alloc_find('out', v::text) AS f),
           (SELECT g.note::text FROM alloc_units AS u, alloc_get('out', u.key) AS g WHERE u.pool = 'out' AND u.number = 3) $$;
SELECT * FROM notes();
SELECT alloc_renew('out', k(8), '1 hour') > now(), alloc_move('out', k(8), k(9)) IS NULL;
SELECT * FROM notes();
SELECT alloc_annotate('out', k(9), '"nine"');
SELECT * FROM notes();
SELECT alloc_annotate('out', k(9), NULL);
SELECT * FROM notes();
SELECT alloc_annotate('out', k(9), '9');
-- (to_jsonb() of a row reads names that are freed, if caches are discarded)
SET debug_discard_caches = 0;
SELECT outcome FROM (SELECT jsonb_agg(to_jsonb(u)) AS units, alloc_release('out', k(9)) FROM alloc_units AS u WHERE pool = 'out') AS u, alloc_import('out', units);
RESET debug_discard_caches;
SELECT * FROM notes();
SELECT alloc_release('out', k(9));

-- in transactions: undone as a whole, at every level of isolation
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT alloc_int('out', k(7), consecutive => 4);
SAVEPOINT s;
SELECT alloc_release('out', k(7)), alloc_int('out', k(7), consecutive => 3), alloc_int('out', k(8));
ROLLBACK TO s;
SELECT alloc_int('out', k(7), consecutive => 4);
SELECT outcome FROM alloc_try_int('out', k(8), consecutive => 2);
ROLLBACK;
SELECT held('out');
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT alloc_int('out', k(5), consecutive => 2);
SELECT alloc_int('out', k(7), consecutive => 2);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- an error in the middle leaves nothing behind, and the transaction goes on
CREATE INDEX breaks ON cas_internal.alloc_slot
    ((1 / CASE WHEN key = '00000000-0000-0000-0000-000000000077' AND run_place = 2 THEN 0 ELSE 1 END));
DO $$
BEGIN
    PERFORM alloc_int('out', k(6));
    FOR i IN 1..3 LOOP
        BEGIN
            PERFORM alloc_int('out', k(77), consecutive => 3);
        EXCEPTION WHEN division_by_zero THEN
            RAISE NOTICE 'division by zero';
        END;
    END LOOP;
    PERFORM alloc_int('out', k(77), consecutive => 2);
END
$$;
DROP INDEX cas_internal.breaks;
SELECT held('out');
SELECT outcome FROM alloc_try_int('out', k(8), consecutive => 2);
SELECT outcome FROM alloc_try_int('out', k(8));
SELECT * FROM alloc_verify('out');

-- what verify finds
UPDATE cas_internal.alloc_slot SET run_place = 5, run_size = 9 WHERE key = k(77) AND run_place = 1;
SELECT problem FROM alloc_verify('out');

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_consecutive_test CASCADE;
