--
-- lock_acquire takes the names it is given in one canonical order, each once
-- and in the stronger mode, until the transaction's end or the savepoint's
-- rollback; each exclusive holder's fence is larger than all before it.
--
CREATE SCHEMA lock_acquire_test;
SET search_path = lock_acquire_test, public;
\set VERBOSITY default
\set SHOW_CONTEXT never

-- What a fence was is not the same in each run: keep them, and compare.
CREATE TABLE fences (n serial, name text, fence bigint);

-- Whatever the order and the duplicates, the answer is in byte order.
BEGIN;
SELECT name, mode, fence IS NOT NULL AS fenced
FROM lock_acquire('{b,a,b,Z,é,a}', '{c,a,c}');
SELECT name, mode, waiting, pid = pg_backend_pid() AS me
FROM lock_holders ORDER BY name COLLATE "C";
COMMIT;
SELECT * FROM lock_holders;

-- Nothing asked for, nothing done.
BEGIN;
SELECT * FROM lock_acquire('{}');
COMMIT;

-- Fences rise from holder to holder, over all names, rolled back or not.
BEGIN;
INSERT INTO fences (name, fence) SELECT name, fence FROM lock_acquire('{a,b}');
COMMIT;
BEGIN;
SELECT count(fence) FROM lock_acquire('{a,b}');
ROLLBACK;
BEGIN;
INSERT INTO fences (name, fence) SELECT name, fence FROM lock_acquire('{b,a}');
COMMIT;
SELECT count(*), bool_and(fence > before) AS rising
FROM (SELECT fence, lag(fence, 1, 0::bigint) OVER (ORDER BY n) AS before
      FROM fences) AS f;

-- Asked for again, it is the same holder, who keeps its fence and the
-- stronger mode; asked for exclusively, a sharer becomes the holder.
BEGIN;
CREATE TEMP TABLE first AS SELECT * FROM lock_acquire('{a}', '{b}');
SELECT n.name, n.mode, n.fence = f.fence AS same, n.fence IS NULL AS none
FROM lock_acquire('{}', '{a,b}') AS n JOIN first AS f USING (name);
SELECT n.name, n.mode, n.fence = f.fence AS same,
       n.fence > (SELECT max(fence) FROM first) AS newer
FROM lock_acquire('{b,a}') AS n JOIN first AS f USING (name);
SELECT name, mode FROM lock_holders ORDER BY name;
ROLLBACK;

-- Twice in one statement.
BEGIN;
SELECT x.fence = y.fence AS same
FROM lock_acquire('{a}') AS x, lock_acquire('{a}') AS y;
ROLLBACK;

-- A savepoint rolled back gives back what was taken or raised after it, and
-- nothing else; a released one gives back nothing.
BEGIN;
SELECT name, mode FROM lock_acquire('{}', '{a}');
SAVEPOINT s;
SELECT name, mode FROM lock_acquire('{a,b,new}');
SELECT lock_assert('a'), lock_assert('b'), lock_assert('new');
ROLLBACK TO s;
SELECT lock_assert('a', 'shared');
SAVEPOINT t;
SELECT lock_assert('a');
\echo :SQLSTATE
ROLLBACK TO t;
SELECT lock_assert('b', 'shared');
\echo :SQLSTATE
ROLLBACK TO t;
SELECT lock_assert('new', 'shared');
\echo :SQLSTATE
ROLLBACK TO t;
SELECT name, mode FROM lock_acquire('{c}');
RELEASE t;
RELEASE s;
SELECT lock_assert('c');
SELECT name, mode FROM lock_holders ORDER BY name;
COMMIT;
SELECT lock_assert('c');
\echo :SQLSTATE

-- Outside a transaction block the lock would be gone at once.
SELECT * FROM lock_acquire('{a}');
\echo :SQLSTATE
SELECT lock_acquire('{a}');
\echo :SQLSTATE
SELECT (SELECT fence FROM lock_acquire('{a}'));
\echo :SQLSTATE
PREPARE p AS SELECT * FROM lock_acquire($1);
EXECUTE p('{a}');
\echo :SQLSTATE
-- Inside a function it lasts as long as the statement.
DO $$
DECLARE
    r record;
BEGIN
    PERFORM lock_acquire('{a}');
    PERFORM lock_assert('a');
    FOR r IN SELECT * FROM lock_acquire('{b}') LOOP
        RAISE NOTICE '% %', r.name, r.mode;
    END LOOP;
END
$$;
CREATE FUNCTION take(name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    c CURSOR FOR SELECT l.mode FROM lock_acquire(ARRAY[name]) AS l;
    mode text;
BEGIN
    OPEN c;
    FETCH c INTO mode;
    PERFORM lock_assert(name);
    RETURN mode;
END
$$;
SELECT take('a');
-- And statements sent together are a transaction.
SELECT mode FROM lock_acquire('{a}')\; SELECT lock_assert('a');

-- Malformed arguments.
BEGIN;
SAVEPOINT s;
SELECT lock_acquire(NULL);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_acquire('{}', NULL);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_acquire('{a,NULL}');
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_acquire('{""}');
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_acquire('{}', ARRAY[repeat('x', 1025)]);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_acquire('{a}', wait => '-1s');
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_assert(NULL);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_assert('a', NULL);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_assert('a', 'EXCLUSIVE');
\echo :SQLSTATE
ROLLBACK TO s;
SELECT mode FROM lock_acquire(ARRAY[repeat('x', 1024)], wait => '0');
ROLLBACK;

-- Times are of this world, and names as many as memory has room for.
BEGIN;
SELECT lock_acquire('{a}', wait => '300000 years');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT lock_acquire(array_fill('a'::text, ARRAY[10000001]));
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT lock_try_acquire('{}', array_fill('a'::text, ARRAY[10000001]));
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT count(*) FROM lock_acquire(array_fill('a'::text, ARRAY[500000]), array_fill('a'::text, ARRAY[500000]));
ROLLBACK;

-- To try is as to acquire, but for the answer.  What others hold is tested
-- elsewhere.
BEGIN;
SELECT lock_try_acquire('{b,a}', '{c,a}');
SELECT name, mode FROM lock_holders;
SELECT lock_try_acquire('{c}'), lock_try_acquire('{}', '{a,b,c}');
SELECT name, mode, fence > 0 AS fenced FROM lock_acquire('{}', '{a,b,c}');
SAVEPOINT s;
SELECT lock_try_acquire('{d}');
ROLLBACK TO s;
SELECT lock_assert('d');
\echo :SQLSTATE
ROLLBACK;
SELECT lock_try_acquire('{a}');
\echo :SQLSTATE
DO $$BEGIN
    IF lock_try_acquire('{a}') THEN PERFORM lock_assert('a'); END IF;
END$$;
BEGIN;
SAVEPOINT s;
SELECT lock_try_acquire(NULL);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_try_acquire('{a}', NULL);
\echo :SQLSTATE
ROLLBACK TO s;
SELECT lock_try_acquire('{a,NULL}');
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT lock_try_acquire('{a}');
\echo :SQLSTATE
ROLLBACK;

-- An exclusive holder says since when, and for which request.
SET application_name = 'lock test';
BEGIN;
SELECT count(*) FROM lock_acquire('{a}', '{b}');
SET LOCAL pg_cas.request = 'request 7';
SELECT count(*) FROM lock_acquire('{c}');
SELECT name, mode, waiting, since BETWEEN now() AND clock_timestamp() AS since, request, application_name, gid
FROM lock_holders ORDER BY name;
SELECT count(*) FROM lock_acquire('{b}');
SELECT name, request FROM lock_holders ORDER BY name;
ROLLBACK;
BEGIN;
SELECT set_config('pg_cas.request', repeat('é', 200), true) IS NOT NULL AS set;
SELECT count(*) FROM lock_acquire('{c}');
SELECT request = repeat('é', 128) AS cut FROM lock_holders;
ROLLBACK;
RESET application_name;

-- Read-only transactions write no locks, and hold none.
BEGIN READ ONLY;
SELECT lock_acquire('{a}');
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT lock_assert('a');
\echo :SQLSTATE
ROLLBACK;

-- At each level, one's own earlier lock is no obstacle.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT name, mode FROM lock_acquire('{}', '{s}');
SELECT name, mode FROM lock_acquire('{s,t}');
SELECT name, mode FROM lock_acquire('{s,t}');
COMMIT;

SET debug_discard_caches = 0;
-- Ten thousand names in one call, new and old, do not fill the lock table.
BEGIN;
SELECT count(*), count(fence), count(DISTINCT fence)
FROM lock_acquire((SELECT array_agg('many:' || n) FROM generate_series(1, 10000) AS n));
SELECT count(*) < 100 AS few FROM pg_locks WHERE pid = pg_backend_pid();
COMMIT;
BEGIN;
SELECT count(*), count(fence)
FROM lock_acquire('{many:5}', (SELECT array_agg('many:' || n) FROM generate_series(1, 10000) AS n));
ROLLBACK;
RESET debug_discard_caches;

-- Unused names are purged; a purged name's fences go on where they were.
BEGIN;
SELECT name, mode FROM lock_acquire('{kept}', '{shared too}');
SELECT cas_internal.lock_reap(5000);
SELECT pg_cas_reap() > 5000 AS rest;
SELECT lock_assert('kept'), lock_assert('shared too', 'shared');
COMMIT;
SELECT pg_cas_reap() >= 0 AS done;
BEGIN;
SELECT l.fence > (SELECT max(f.fence) FROM fences AS f) AS larger
FROM lock_acquire('{a}') AS l;
COMMIT;
SELECT pg_cas_reap(-1);
\echo :SQLSTATE
SELECT pg_cas_reap(NULL);
\echo :SQLSTATE

-- Fences can be pushed forward, never back.
BEGIN;
TRUNCATE fences;
INSERT INTO fences (fence) SELECT fence FROM lock_acquire('{a}');
COMMIT;
SELECT lock_fence_advance(1000);
BEGIN;
SELECT l.fence > f.fence + 1000 AS advanced FROM fences AS f, lock_acquire('{a}') AS l;
COMMIT;
-- Nor does the owner of the sequence push them back unnoticed.
SELECT setval('cas_internal.lock_fence', last_value - 1000, true) > 0 AS "set back" FROM cas_internal.lock_fence;
BEGIN;
SELECT lock_acquire('{a}');
\echo :SQLSTATE
ROLLBACK;
DO $$BEGIN PERFORM lock_try_acquire('{a}'); END$$;
\echo :SQLSTATE
SELECT 'and the session goes on' AS then;
BEGIN;
SAVEPOINT s;
SELECT lock_try_acquire('{a}');
ROLLBACK TO s;
SELECT count(*) FROM lock_holders;
COMMIT;
SELECT lock_fence_advance(2000);
BEGIN;
SELECT l.fence > f.fence + 2000 AS advanced FROM fences AS f, lock_acquire('{a}') AS l;
COMMIT;
SELECT lock_fence_advance(0);
\echo :SQLSTATE
SELECT lock_fence_advance(NULL);
\echo :SQLSTATE
SELECT lock_fence_advance(9223372036854775807);
\echo :SQLSTATE
-- beyond what a promoted standby would begin with
SELECT lock_fence_advance(9000000000000000);
\echo :SQLSTATE
-- many names at once in lock_holders
BEGIN;
SELECT count(*), count(DISTINCT fence) AS fences FROM lock_acquire(ARRAY(SELECT 'many ' || n FROM generate_series(1, 300) AS n));
SELECT count(*), count(DISTINCT name) AS names, min(mode), max(mode) FROM lock_holders;
ROLLBACK;
-- It visits each page of the table once, and nothing for locks of others.
CREATE FUNCTION blocks() RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING off, SUMMARY off, FORMAT json) SELECT * FROM lock_holders' INTO plan;
    plan := plan -> 0 -> 'Plan';
    RETURN (plan ->> 'Shared Hit Blocks')::int + (plan ->> 'Shared Read Blocks')::int;
END $$;
SET debug_discard_caches = 0;
DO $$ BEGIN PERFORM lock_acquire(ARRAY(SELECT 'many ' || n FROM generate_series(1, 3000) AS n)); END $$;
BEGIN;
SELECT count(*) FROM lock_acquire(ARRAY(SELECT 'many ' || n FROM generate_series(1, 300) AS n));
SELECT blocks() > 0 AS warm;
SELECT blocks() AS before \gset
SELECT :before <= pg_relation_size('cas_internal.lock_name') / current_setting('block_size')::int + 20 AS each_page_once;
SELECT count(pg_advisory_xact_lock(n)) FROM generate_series(1, 4000) AS n;
SELECT blocks() - :before AS more;
ROLLBACK;
RESET debug_discard_caches;

-- The session remembers where the rows of these names were.  Then the table has
-- another file, first without them, then with other rows in their places.
CREATE FUNCTION locked(prefix text) RETURNS text LANGUAGE sql AS $$
	SELECT count(*) || ' names, fences rise: ' || coalesce(bool_and(fence > before), true)
	FROM (SELECT l.fence, lag(l.fence, 1, 0) OVER (ORDER BY l.name COLLATE "C") AS before
		FROM lock_acquire(ARRAY(SELECT prefix || n FROM generate_series(1, 2000) AS n)) AS l) AS _ $$;
CREATE FUNCTION times(prefix text) RETURNS text LANGUAGE sql AS $$
	SELECT count(*) || ' rows of ' || count(DISTINCT name) || ' names'
	FROM cas_internal.lock_name WHERE starts_with(name, prefix) $$;
BEGIN;
SELECT locked('place ');
COMMIT;
BEGIN;
SELECT locked('place ');
COMMIT;
DELETE FROM cas_internal.lock_name;
VACUUM FULL cas_internal.lock_name;
BEGIN;
SELECT locked('place ');
COMMIT;
SELECT times('place ');
DELETE FROM cas_internal.lock_name WHERE starts_with(name, 'place 1');
VACUUM FULL cas_internal.lock_name;
BEGIN;
SELECT locked('place ');
COMMIT;
SELECT times('place ');
DELETE FROM cas_internal.lock_name;

DROP SCHEMA lock_acquire_test CASCADE;
