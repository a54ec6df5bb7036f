-- Claim: the guard makes every writer of the table advance the version, by the
-- rules of its settings in their order, whatever the statement is: UPDATE,
-- MERGE, COPY, INSERT, ON CONFLICT DO UPDATE.  With enforce => 'warn' it says
-- what it would refuse, and lets it pass.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_guard;
SET search_path = cas_guard, public, cas_test;

-- One table with rows of version 5, anew for each combination of settings.
CREATE FUNCTION guarded(writers text DEFAULT 'bump', unversioned text DEFAULT 'allow',
	enforce text DEFAULT 'error') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL client_min_messages = warning;
	DROP TABLE IF EXISTS t;
	CREATE TABLE t (id int PRIMARY KEY, n int, seen int, v bigint,
		twice int GENERATED ALWAYS AS (n * 2) STORED, num numeric, body text);
	INSERT INTO t VALUES (1, 0, 0, 5), (2, 0, 0, 5), (3, 0, 0, 5), (4, 0, 0, 5);
	PERFORM cas_enable('t', 'v', writers => $1, unversioned => $2,
		ignore_columns => '{seen}', enforce => $3);
END
$$;

--
-- Rule 2, writers => 'bump': a version that is mentioned is old + 1.
--
SELECT guarded('bump');
UPDATE t SET n = 1, v = v + 1 WHERE id = 1;
UPDATE t SET n = 1, v = 6 WHERE id = 2 AND v = 5;
-- it stays so if nothing else changed
UPDATE t SET v = 6 WHERE id = 3;
-- the present value is a stale writer's, or none of this protocol's
SELECT raises('UPDATE t SET n = 1, v = v WHERE id = 4');
SELECT raises('UPDATE t SET v = v WHERE id = 4');
SELECT raises('UPDATE t SET n = 1, v = v - 1 WHERE id = 4');
SELECT raises('UPDATE t SET n = 1, v = v + 2 WHERE id = 4');
SELECT raises('UPDATE t SET n = 1, v = NULL WHERE id = 4');
SELECT raises('UPDATE t SET n = 1, v = DEFAULT WHERE id = 4');
SELECT raises('UPDATE t SET n = 1, v = 0 WHERE id = 4');
SELECT raises('UPDATE t SET n = 1, v = -1 WHERE id = 4');
SELECT raises('UPDATE t SET n = 1, v = 9223372036854775807 WHERE id = 4');
SELECT raises('UPDATE t SET n = 1, v = -9223372036854775808 WHERE id = 4');
SELECT raises('UPDATE t SET seen = 1, v = v WHERE id = 4');
-- one stale row stops the statement
SELECT raises('UPDATE t SET n = 9, v = 7');
SELECT id, n, v FROM t ORDER BY id;

-- Rules 3 and 4, 'allow': not mentioned.
UPDATE t SET n = 1 WHERE id = 4;
SELECT id, n, v, twice FROM t WHERE id = 4;
-- nothing changed: left as it is
UPDATE t SET n = n;
UPDATE t SET n = 1, seen = seen, body = NULL WHERE id = 4;
UPDATE t SET n = DEFAULT WHERE n IS NULL;
SELECT id, n, v FROM t ORDER BY id;
-- nothing but ignored columns
UPDATE t SET seen = seen + 1;
SELECT id, seen, v FROM t ORDER BY id;
-- an ignored one and another
UPDATE t SET seen = seen + 1, n = n + 1 WHERE id = 4;
SELECT id, seen, n, v FROM t WHERE id = 4;
-- by stored image: 1.0 is another value than 1.00, and than NULL
UPDATE t SET num = 1.0 WHERE id = 4 RETURNING v;
UPDATE t SET num = 1.00 WHERE id = 4 RETURNING v;
UPDATE t SET num = 1.00 WHERE id = 4 RETURNING v;
UPDATE t SET num = NULL WHERE id = 4 RETURNING v;
UPDATE t SET num = NULL WHERE id = 4 RETURNING v;
-- out of line as well
UPDATE t SET body = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i)
WHERE id = 4 RETURNING v;
UPDATE t SET body = body WHERE id = 4 RETURNING v;
UPDATE t SET body = body || '' WHERE id = 4 RETURNING v;
UPDATE t SET body = body || '.' WHERE id = 4 RETURNING v;
UPDATE t SET n = 8 WHERE id = 4 RETURNING v;
-- the key itself changes
UPDATE t SET id = 40 WHERE id = 4 RETURNING id, v;

-- 'reject': what would be advanced is refused, the rest passes.
SELECT guarded('bump', 'reject');
SELECT raises('UPDATE t SET n = 1 WHERE id = 1');
SELECT raises('UPDATE t SET n = 1, seen = 1 WHERE id = 1');
SELECT raises('UPDATE t SET id = 10 WHERE id = 1');
UPDATE t SET n = n, seen = 7 WHERE id = 1;
UPDATE t SET n = 1, v = v + 1 WHERE id = 2;
SELECT raises('UPDATE t SET n = 1, v = v WHERE id = 3');
DELETE FROM t WHERE id = 4;
INSERT INTO t (id, n) VALUES (5, 0);
-- the functions of the extension name a version
SELECT cas_update('t', 3, 5, '{"n": 3}'), cas_merge('t', 5, '{"n": 5}'),
	cas_patch('t', 1, 5, '{"n": 6}');
SELECT id, n, seen, v FROM t ORDER BY id;
-- and let no other statement through after them
SELECT raises('UPDATE t SET n = 1 WHERE id = 3');
SELECT raises($$WITH w AS (SELECT cas_update('t', 3, 6, '{"n": 4}'))
	UPDATE t SET n = 1 FROM w WHERE id = 5$$);

--
-- Rule 2, writers => 'echo': a version that is mentioned is the present one.
--
SELECT guarded('echo');
UPDATE t SET n = 1, v = 5 WHERE id = 1;
UPDATE t SET n = 1, v = v WHERE id = 2;
-- left as it is if nothing else changed; an ignored column is something else
UPDATE t SET v = 5, n = 0 WHERE id = 3;
UPDATE t SET v = 5, seen = 1 WHERE id = 4;
SELECT raises('UPDATE t SET n = 2, v = 5 WHERE id = 1');
SELECT raises('UPDATE t SET n = 2, v = v + 1 WHERE id = 1');
SELECT raises('UPDATE t SET n = 2, v = NULL WHERE id = 1');
SELECT raises('UPDATE t SET v = 0 WHERE id = 1');
SELECT raises('UPDATE t SET v = v + 1 WHERE id = 1');
SELECT id, n, seen, v FROM t ORDER BY id;
UPDATE t SET n = 7 WHERE id = 1;
UPDATE t SET seen = 7 WHERE id = 2;
UPDATE t SET n = n WHERE id = 3;
SELECT id, n, seen, v FROM t ORDER BY id;
SELECT guarded('echo', 'reject');
SELECT raises('UPDATE t SET n = 1 WHERE id = 1');
UPDATE t SET n = 1, v = 5 WHERE id = 1;
UPDATE t SET seen = 1 WHERE id = 2;
SELECT id, n, seen, v FROM t ORDER BY id;

--
-- enforce => 'warn': the same, said and done.
--
SELECT guarded('bump', 'reject', 'warn');
UPDATE t SET n = 1, v = 3 WHERE id = 1;
UPDATE t SET n = 1, v = NULL WHERE id = 2;
UPDATE t SET n = 1 WHERE id = 3;
UPDATE t SET n = 1, v = v + 1 WHERE id = 4;
SELECT id, n, v FROM t ORDER BY id;
-- the functions compare all the same
SELECT raises($$SELECT cas_update('t', 1, 5, '{"n": 2}')$$);
SELECT cas_update('t', 1, 6, '{"n": 2}');
SELECT guarded('echo', 'allow', 'warn');
UPDATE t SET n = 1, v = 6 WHERE id = 1;
UPDATE t SET n = 1, v = 5 WHERE id = 2;
UPDATE t SET n = 1 WHERE id = 3;
SELECT id, n, v FROM t ORDER BY id;
-- the warning's code and fields are the error's
\set VERBOSITY sqlstate
UPDATE t SET n = 2, v = 9 WHERE id = 2;
SELECT guarded('echo', 'reject', 'warn');
UPDATE t SET n = 2 WHERE id = 2;
\set VERBOSITY default

--
-- INSERT: what it supplies is kept, NULL becomes 1.
--
SELECT guarded('bump', 'reject');
INSERT INTO t (id, v) VALUES (10, 0), (11, 1), (12, 99), (13, NULL);
SELECT raises('INSERT INTO t (id, v) VALUES (14, -3)');
INSERT INTO t (id) VALUES (15);
INSERT INTO t (id, v) VALUES (16, DEFAULT);
INSERT INTO t (id, v) SELECT 17, 17;
COPY t (id, n, v) FROM stdin;
20	1	9
21	1	\N
\.
COPY t (id, n) FROM stdin;
22	1
\.
SELECT id, v FROM t WHERE id >= 10 ORDER BY id;

-- ON CONFLICT DO UPDATE is an UPDATE like any other.
SELECT guarded('bump', 'reject');
INSERT INTO t (id, n, v) VALUES (1, 1, 1) ON CONFLICT (id) DO NOTHING;
SELECT raises('INSERT INTO t (id, n) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = excluded.n');
SELECT raises('INSERT INTO t (id, n, v) VALUES (1, 1, 1) ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v');
INSERT INTO t (id, n, v) VALUES (1, 1, 6)
	ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v RETURNING id, n, v;
INSERT INTO t (id, n) VALUES (1, 2)
	ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = t.v + 1 RETURNING id, n, v;
SELECT guarded('bump');
INSERT INTO t (id, n) VALUES (1, 1), (9, 9)
	ON CONFLICT (id) DO UPDATE SET n = excluded.n RETURNING id, n, v;

-- MERGE: mentioned is what any of its branches sets.
SELECT guarded('bump', 'reject');
CREATE TABLE source (id int, n int, v bigint);
INSERT INTO source VALUES (1, 1, 6), (7, 7, 70);
MERGE INTO t USING source s ON t.id = s.id
	WHEN MATCHED THEN UPDATE SET n = s.n, v = s.v
	WHEN NOT MATCHED THEN INSERT (id, n, v) VALUES (s.id, s.n, s.v);
SELECT id, n, v FROM t ORDER BY id;
SELECT raises('MERGE INTO t USING source s ON t.id = s.id
	WHEN MATCHED THEN UPDATE SET n = s.n + 1');
SELECT raises('MERGE INTO t USING source s ON t.id = s.id
	WHEN MATCHED THEN UPDATE SET n = s.n + 1, v = s.v');
MERGE INTO t USING source s ON t.id = s.id
	WHEN MATCHED AND t.id = 1 THEN UPDATE SET n = s.n + 1, v = t.v + 1
	WHEN MATCHED THEN DELETE;
SELECT id, n, v FROM t ORDER BY id;
-- a branch that mentions no version is taken for one that does
SELECT raises('MERGE INTO t USING source s ON t.id = s.id
	WHEN MATCHED AND s.id = 7 THEN UPDATE SET v = t.v + 1
	WHEN MATCHED THEN UPDATE SET n = 100');
SELECT guarded('echo');
MERGE INTO t USING source s ON t.id = s.id
	WHEN MATCHED AND s.id = 7 THEN UPDATE SET v = t.v
	WHEN MATCHED THEN UPDATE SET n = 100;
SELECT id, n, v FROM t ORDER BY id;

-- UPDATE through a view, through FROM, with a row list, in a CTE.
SELECT guarded('bump');
CREATE VIEW window_on_t AS SELECT id, n AS amount, v AS version FROM t WHERE id < 4;
UPDATE window_on_t SET amount = 1 WHERE id = 1 RETURNING *;
UPDATE window_on_t SET amount = 1, version = version + 1 WHERE id = 2 RETURNING *;
SELECT raises('UPDATE window_on_t SET amount = 2, version = version WHERE id = 2');
UPDATE t SET (n, v) = (SELECT 3, 6) WHERE id = 3 RETURNING id, n, v;
WITH w AS (UPDATE t SET n = 4 WHERE id = 4 RETURNING *) SELECT id, n, v FROM w;
SELECT raises('UPDATE t SET n = 5, v = s.v FROM (VALUES (4, 6)) AS s (id, v) WHERE t.id = s.id');
DROP VIEW window_on_t;
-- twice in one transaction
BEGIN;
UPDATE t SET n = n + 1 WHERE id = 1;
UPDATE t SET n = n + 1 WHERE id = 1;
SAVEPOINT s;
UPDATE t SET n = n + 1 WHERE id = 1;
ROLLBACK TO s;
SELECT id, n, v FROM t WHERE id = 1;
COMMIT;
SELECT id, n, v FROM t WHERE id = 1;
-- at a cursor
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t WHERE id = 1 FOR UPDATE;
FETCH c;
UPDATE t SET n = n WHERE CURRENT OF c RETURNING v;
UPDATE t SET n = 40 WHERE CURRENT OF c RETURNING v;
ROLLBACK;
-- twice in one statement, the second is not done: PostgreSQL's own rule
WITH a AS (UPDATE t SET n = 50 WHERE id = 1 RETURNING v),
	b AS (UPDATE t SET n = 60 WHERE id = 1 RETURNING v)
SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b);
SELECT v FROM t WHERE id = 1;

--
-- Replication apply passes.
--
SELECT guarded('bump', 'reject');
SET session_replication_role = replica;
UPDATE t SET n = 1 WHERE id = 1;
UPDATE t SET n = 1, v = 50 WHERE id = 2;
INSERT INTO t (id, v) VALUES (8, NULL);
RESET session_replication_role;
SELECT id, n, v FROM t ORDER BY id;
-- a row without a version gets one as soon as the guard sees it
SELECT raises($$SELECT cas_update('t', 8, 0, '{"n": 1}')$$);
SELECT raises($$SELECT cas_update('t', 8, 1, '{"n": 1}')$$);
SELECT * FROM cas_get('t', 8);
UPDATE t SET n = 1, v = 1 WHERE id = 8 RETURNING id, n, v;

--
-- The top of each type: never a wrap.
--
CREATE TABLE top2 (id int PRIMARY KEY, n int, v smallint);
CREATE TABLE top4 (id int PRIMARY KEY, n int, v integer);
CREATE TABLE top8 (id int PRIMARY KEY, n int, v bigint);
INSERT INTO top2 VALUES (1, 0, 32766);
INSERT INTO top4 VALUES (1, 0, 2147483646);
INSERT INTO top8 VALUES (1, 0, 9223372036854775806);
SELECT cas_enable('top2', 'v'), cas_enable('top4', 'v'), cas_enable('top8', 'v');
UPDATE top2 SET n = 1 RETURNING v;
UPDATE top4 SET n = 1, v = v + 1 RETURNING v;
SELECT cas_update('top8', 1, 9223372036854775806, '{"n": 1}');
SELECT raises('UPDATE top2 SET n = 2');
SELECT raises('UPDATE top4 SET n = 2');
SELECT raises('UPDATE top8 SET n = 2');
SELECT raises('UPDATE top2 SET n = 2, v = v + 1');
SELECT raises('UPDATE top4 SET n = 2, v = v + 1');
SELECT raises('UPDATE top8 SET n = 2, v = v + 1');
SELECT raises('UPDATE top2 SET n = 2, v = -32768');
SELECT raises($$SELECT cas_update('top2', 1, 32767, '{"n": 2}')$$);
SELECT raises($$SELECT cas_update('top4', 1, 2147483647, '{"n": 2}')$$);
SELECT raises($$SELECT cas_update('top8', 1, 9223372036854775807, '{"n": 2}')$$);
SELECT raises($$SELECT cas_merge('top2', 1, '{"n": 2}')$$);
SELECT raises($$SELECT cas_rename('top2', 1, 32767, 2)$$);
-- what changes nothing still passes, and so does DELETE
UPDATE top2 SET n = n;
SELECT cas_update('top2', 1, 32767, '{"n": 1}'), cas_delete('top4', 1, 2147483647);
-- an expected version beyond the column's type is a conflict, no overflow
SELECT outcome, version FROM cas_try_update('top2', 1, 32768, '{"n": 2}');
SELECT outcome, version FROM cas_try_update('top2', 1, 98303, '{"n": 2}');
SELECT outcome, version FROM cas_try_delete('top2', 1, 9223372036854775807);
-- no version is negative; one that came by apply goes up
SELECT raises('INSERT INTO top2 VALUES (2, 0, -32768)');
SET session_replication_role = replica;
INSERT INTO top2 VALUES (2, 0, -32768);
RESET session_replication_role;
UPDATE top2 SET n = 1 WHERE id = 2 RETURNING v;

--
-- pg_cas.log_conflicts disturbs nobody.
--
SELECT guarded('bump', 'reject');
SET pg_cas.log_conflicts = on;
SELECT raises('UPDATE t SET n = 1, v = 1 WHERE id = 1');
SELECT raises('UPDATE t SET n = 1 WHERE id = 1');
SELECT outcome FROM cas_try_update('t', 1, 4, '{"n": 1}');
SELECT raises($$SELECT cas_update('t', 1, 4, '{"n": 1}')$$);
SELECT outcome FROM cas_try_delete('t', 1, 4);
SELECT raises('UPDATE t SET n = 2 WHERE id = 1');
SELECT cas_update('t', 1, 5, '{"n": 1}');
RESET pg_cas.log_conflicts;

SET client_min_messages = warning;
DROP SCHEMA cas_guard CASCADE;
