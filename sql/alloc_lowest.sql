-- Claim: in pools of prefixes and of chunks, strategy "lowest" gives the lowest value
-- that is free, whatever has come free below the last one: released, run out or cooled,
-- in part or joined with what is beside it, rolled back.  Oracle: what alloc_free()
-- lists first.
CREATE SCHEMA alloc_lowest_test;
SET search_path = alloc_lowest_test, public, cas_test;
SELECT alloc_pool_create('nets', '{10.0.0.0/16}', 'prefix', 'lowest'),
       alloc_pool_create('nat', '{10.3.0.0/24}', strategy => 'lowest', port_chunk => 16384);
SELECT count(*) FROM alloc_many('nets', ARRAY(SELECT k(n) FROM generate_series(1, 2000) AS n), 28);
SELECT count(*) FROM alloc_many('nat', ARRAY(SELECT k(n) FROM generate_series(1, 500) AS n), ports => true);
SELECT alloc_prefix('nets', k(2001), 28), alloc_ports('nat', k(501));
SELECT alloc_release('nets', k(2001)), alloc_release('nat', k(501));
SELECT alloc_prefix('nets', k(2002), 28), alloc_ports('nat', k(502));
SELECT alloc_prefix('nets', k(2003), 28), alloc_ports('nat', k(503));

-- a released network is given out in parts, and joined again; an address likewise
SELECT alloc_release('nets', u.key) FROM alloc_find('nets', '10.0.1.0') AS u;
SELECT alloc_prefix('nets', k(3001), 30), alloc_prefix('nets', k(3002), 29), alloc_prefix('nets', k(3003), 30), alloc_prefix('nets', k(3004), 28);
SELECT alloc_release('nets', k(n)) FROM generate_series(3001, 3003) AS n;
SELECT alloc_prefix('nets', k(3005), 29), alloc_prefix('nets', k(3006), 29), alloc_prefix('nets', k(3007), 28);
SELECT count(alloc_release('nat', u.key)) FROM alloc_find('nat', '10.3.0.7') AS u;
SELECT alloc_ip('nat', k(601)), alloc_release('nat', k(601)), alloc_ports('nat', k(602)), alloc_ip('nat', k(603)), alloc_ports('nat', k(604));

-- whatever happens
SELECT alloc_pool_create('any', '{10.4.0.0/25, 10.5.0.64/26}', 'prefix', 'lowest'),
       alloc_reserve('any', '10.4.0.16/29'), alloc_reserve('any', '10.5.0.65/32', on_request => true);
CREATE FUNCTION take(n int, masklen int, ttl interval) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    wanted text := (SELECT first FROM alloc_free('any', masklen, 1));
    got record := alloc_try_prefix('any', k(n), masklen, ttl => ttl);
BEGIN
    RETURN CASE WHEN got.outcome = 'allocated' THEN 'allocated' WHEN wanted IS NULL THEN 'none' ELSE got.outcome END ||
        CASE WHEN got.outcome = 'allocated' AND split_part(got.value, '/', 1) IS DISTINCT FROM wanted
             THEN format(', %s, not %s', got.value, wanted) ELSE '' END;
END $$;
CREATE TABLE did (what text);
DO $$
DECLARE
    key int := 0;
    what text;
    undo boolean;
BEGIN
    PERFORM setseed(0.25);
    FOR i IN 1 .. 3000 LOOP
        IF i = 100 THEN
            SET debug_discard_caches = 0;       -- the rest would take hours
        END IF;
        undo := random() < 0.1;
        BEGIN
            IF random() < 0.55 THEN
                key := key + 1;
                what := take(key, 26 + floor(7 * random() ^ 0.7)::int, CASE WHEN random() < 0.15 THEN interval '1 us' END);
            ELSE
                PERFORM alloc_release('any', u.key, cooldown => CASE WHEN random() < 0.1 THEN interval '1 us' END)
                FROM (SELECT u.key FROM alloc_units AS u WHERE pool = 'any' ORDER BY md5(u.key::text || i) LIMIT 1) AS u;
                what := 'released';
            END IF;
            IF undo THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN
            what := what || ', undone';
        END;
        INSERT INTO did VALUES (what);
        IF i % 500 = 0 THEN
            PERFORM alloc_pool_set('any', CASE WHEN i % 1000 = 0 THEN 'lowest' ELSE 'any' END);
            PERFORM alloc_pool_set('any', 'lowest');
        ELSIF i % 700 = 0 THEN
            PERFORM alloc_rebuild('any');
        END IF;
    END LOOP;
END $$;
RESET debug_discard_caches;
SELECT what, count(*) > 50 AS many FROM did GROUP BY what ORDER BY what;
SELECT * FROM alloc_verify();

-- several that are rolled back at once
BEGIN;
SAVEPOINT s;
SELECT alloc_prefix('nets', k(9001), 28), alloc_prefix('nets', k(9002), 28);
ROLLBACK TO s;
SELECT alloc_prefix('nets', k(9003), 28), alloc_prefix('nets', k(9004), 28);
ROLLBACK;
SELECT alloc_prefix('nets', k(9005), 28);

-- another strategy, and back: who waits is where it should be
SELECT count(alloc_release('nets', u.key)), count(alloc_release('nets', v.key, cooldown => '1 h'))
FROM alloc_find('nets', '10.0.2.0') AS u, alloc_find('nets', '10.0.2.16') AS v;
SELECT alloc_pool_set('nets', 'any');
SELECT count(*) FROM alloc_verify();
SELECT count(alloc_release('nets', u.key)) FROM alloc_find('nets', '10.0.2.32') AS u;
SELECT alloc_pool_set('nets', 'lowest');
SELECT count(*) FROM alloc_verify();
SELECT alloc_prefix('nets', k(9011), 28), alloc_prefix('nets', k(9012), 28);

-- what waits in a range that has gone is not given out
SELECT count(alloc_release('nets', u.key)) FROM alloc_units AS u WHERE pool = 'nets' AND address << '10.0.4.0/23';
SELECT alloc_pool_shrink('nets', '10.0.4.0/24');
SELECT alloc_prefix('nets', k(9021), 24), alloc_prefix('nets', k(9022), 28);
SELECT alloc_pool_grow('nets', '10.0.4.0/24');
SELECT alloc_prefix('nets', k(9023), 28), alloc_prefix('nets', k(9024), 25);

-- a full pool says so, and what comes free then is found
SELECT alloc_pool_create('few', '{10.6.0.0/29}', 'prefix', 'lowest');
SELECT count(*) FROM alloc_many('few', ARRAY(SELECT k(n) FROM generate_series(1, 8) AS n), 32);
SELECT outcome FROM alloc_try_prefix('few', k(9), 32);
SELECT count(alloc_release('few', u.key)) FROM alloc_find('few', '10.6.0.2/31') AS u;
SELECT alloc_prefix('few', k(9), 31);
SELECT outcome FROM alloc_try_prefix('few', k(10), 32);
SELECT count(alloc_release('few', u.key, cooldown => '1 h')) FROM alloc_find('few', '10.6.0.7') AS u;
SELECT outcome, ready_at > now() AS later FROM alloc_try_prefix('few', k(10), 32);

-- What a call reads does not grow with what is held below: in one transaction, in many, in
-- what has been released and is taken in parts.
CREATE FUNCTION fetched() RETURNS bigint LANGUAGE sql AS
    $$ SELECT sum(idx_tup_fetch)::bigint FROM pg_stat_xact_all_tables WHERE schemaname = 'cas_internal' $$;
CREATE TABLE reads (what text, n bigint);
CREATE PROCEDURE each(what text, call text, first int, last int) LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    FOR key IN first .. last LOOP
        n := fetched();
        EXECUTE call USING key;
        INSERT INTO reads VALUES (what, fetched() - n);
        COMMIT;
    END LOOP;
END $$;
SELECT alloc_pool_create('long', '{10.7.0.0/16}', 'prefix', 'lowest');
SET debug_discard_caches = 0;
CALL each('many at once', $$SELECT count(alloc_prefix('long', cas_test.k(n), 28)) FROM generate_series($1, 2000) AS n$$, 1, 1);
RESET debug_discard_caches;
CALL each('taken and released', $$SELECT alloc_prefix('long', cas_test.k($1), 28), alloc_release('long', cas_test.k($1))$$, 5001, 5020);
SELECT count(*) < 3 AS few FROM cas_internal.alloc_freed AS f
JOIN cas_internal.alloc_pool AS p ON p.id = f.pool WHERE p.name = 'long';
SELECT alloc_prefix('long', k(6000), 20), alloc_release('long', k(6000));
SET debug_discard_caches = 0;
CALL each('in parts', $$SELECT alloc_prefix('long', cas_test.k($1), 28)$$, 6001, 6256);
RESET debug_discard_caches;
SELECT alloc_prefix('long', k(6257), 28);
SELECT count(alloc_release('long', k(10 * n))) FROM generate_series(100, 139) AS n;
CALL each('too small', $$SELECT alloc_prefix('long', cas_test.k($1), 27), alloc_release('long', cas_test.k($1))$$, 5031, 5050);
SELECT count(alloc_prefix('long', k(10 * n), 28)) FROM generate_series(100, 139) AS n;
SELECT what, count(*) AS calls, percentile_disc(0.75) WITHIN GROUP (ORDER BY n) < CASE what WHEN 'many at once' THEN 20 * 2000 ELSE 100 END AS few FROM reads GROUP BY what ORDER BY what;

-- what has been taken again, wholly or in parts, is not named as free
SELECT count(*) < 3 AS few FROM cas_internal.alloc_freed AS f
JOIN cas_internal.alloc_pool AS p ON p.id = f.pool WHERE p.name = 'long';

-- more places than are looked at, none of which is large enough
SELECT count(alloc_release('long', k(2 * n))) FROM generate_series(1, 200) AS n;
SELECT first FROM alloc_free('long', 27, 1);
SELECT alloc_prefix('long', k(6301), 27), alloc_release('long', k(341)), alloc_prefix('long', k(6302), 27), alloc_prefix('long', k(6303), 28);
-- more units that have run out than are read
UPDATE cas_internal.alloc_slot AS s SET expires_at = now() - interval '1 s'
FROM cas_internal.alloc_pool AS p WHERE p.id = s.pool AND p.name = 'long' AND s.key IN (SELECT k(n) FROM generate_series(801, 1950) AS n);
SELECT alloc_prefix('long', k(6304), 28), alloc_release('long', k(5)), alloc_prefix('long', k(6305), 28), first FROM alloc_free('long', 20, 1);
SELECT alloc_prefix('long', k(6306), 20), alloc_prefix('long', k(6307), 21);
-- what was too small is remembered by its place in a table that is rewritten
SELECT alloc_pool_create('moved', '{10.10.0.0/24}', 'prefix', 'lowest');
SELECT count(alloc_prefix('moved', k(n), 28)) FROM generate_series(1, 4) AS n;
SELECT alloc_prefix('moved', k(5), 27), alloc_prefix('moved', k(6), 27);
SELECT alloc_prefix('moved', k(7), 27);
VACUUM FULL cas_internal.alloc_freed;
SELECT alloc_release('moved', k(2)), alloc_release('moved', k(5)), alloc_release('moved', k(6));
SELECT alloc_prefix('moved', k(8), 27);
SELECT alloc_prefix('moved', k(9), 28);
VACUUM FULL cas_internal.alloc_freed;
SELECT alloc_prefix('moved', k(10), 27);

-- very many places are forgotten, and found again
INSERT INTO cas_internal.alloc_freed SELECT p.id, n, n FROM cas_internal.alloc_pool AS p, generate_series(1, 10000) AS n WHERE name = 'moved';
SELECT alloc_release('moved', k(1)), pg_cas_reap(1000) >= 0 AS reaped;
SELECT count(*) FROM cas_internal.alloc_freed AS f JOIN cas_internal.alloc_pool AS p ON p.id = f.pool WHERE p.name = 'moved';
SELECT alloc_prefix('moved', k(11), 28);

-- more sizes than a session remembers
SELECT alloc_pool_create('sizes', '{10.8.0.0/16}', 'prefix', 'lowest');
CREATE TABLE sized AS SELECT n, 17 + n * 7 % 13 AS masklen, NULL::text AS lowest, NULL::text AS got FROM generate_series(1, 39) AS n;
DO $$
BEGIN
    FOR i IN 1 .. 39 LOOP
        UPDATE sized SET lowest = (SELECT first FROM alloc_free('sizes', masklen, 1)) WHERE n = i;
        UPDATE sized SET got = (SELECT value FROM alloc_try_prefix('sizes', k(i), masklen)) WHERE n = i;
        IF i % 3 = 0 THEN
            PERFORM alloc_release('sizes', k(i / 2));
        END IF;
    END LOOP;
END $$;
SELECT count(*), count(got) FROM sized WHERE split_part(got, '/', 1) IS NOT DISTINCT FROM lowest;
SELECT * FROM sized WHERE split_part(got, '/', 1) IS DISTINCT FROM lowest;

-- chunks of addresses of which the slots are not in the order of the values
SELECT alloc_pool_create('far', '{2001:db8::1-2001:db8::2, 2600:1::1-2600:1::2, fd00::1-fd00::2}', strategy => 'lowest', port_chunk => 1024),
       alloc_pool_create('farther', '{2001:db8::1-2001:db8::2, fd00::1-fd00::2, fe80:fff::1-fe80:fff::2}', strategy => 'lowest', port_chunk => 1);
SELECT alloc_ip('far', k(n)) FROM generate_series(1, 6) AS n;
SELECT alloc_ip('farther', k(1)), alloc_ip('farther', k(2)), alloc_ip('farther', k(3));
SELECT alloc_release('farther', k(1)), alloc_release('far', k(3)), alloc_release('far', k(2));
SELECT alloc_ports('farther', k(4)), alloc_ip('far', k(7)), alloc_ip('far', k(8));
SELECT outcome FROM alloc_try_ip('far', k(9));
SELECT * FROM alloc_verify();

-- ports that one call excludes are there for the next one
SELECT alloc_pool_create('cgn', '{10.9.0.0/28}', strategy => 'lowest', port_chunk => 16384);
SELECT alloc_ports('cgn', k(1)), alloc_ports('cgn', k(2), exclude => '[0,40000)'), alloc_ports('cgn', k(3)), alloc_ports('cgn', k(4));

-- what a superuser has deleted is found, too, if nothing else is left
DELETE FROM cas_internal.alloc_slot USING alloc_pools AS p
WHERE p.pool = 'few' AND key IN (SELECT u.key FROM alloc_find('few', '10.6.0.4') AS u);
SELECT alloc_prefix('few', k(11), 32);

SELECT count(alloc_release(pool, key)) > 0 AS all FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools;
SET client_min_messages = warning;
DROP SCHEMA alloc_lowest_test CASCADE;
