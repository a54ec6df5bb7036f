-- Claim: with writers => 'echo', an upsert is compared by the version that the
-- statement sent, also where it takes the version from EXCLUDED and whatever runs
-- between its INSERT and its UPDATE; and no other UPDATE is, even if it is in the
-- same statement as an INSERT.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_upsert;
SET search_path = cas_upsert, public, cas_test;

--
-- Commands that run between the INSERT and the UPDATE.
--
CREATE TABLE log (x int PRIMARY KEY);
CREATE FUNCTION logged(x int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO cas_upsert.log VALUES (x);
	RETURN x;
END
$$;
CREATE TABLE t (id int PRIMARY KEY, n int, other int UNIQUE);
SELECT cas_enable('t', 'v', writers => 'echo', versions => 'table');
INSERT INTO t VALUES (1, 0, 10);
SELECT v AS now FROM t WHERE id = 1 \gset
INSERT INTO t (id, n, v) VALUES (1, 1, :now) ON CONFLICT (id)
	DO UPDATE SET n = logged(excluded.n), v = excluded.v RETURNING n, v > :now AS advanced;
SELECT raises(format('INSERT INTO t (id, n, v) VALUES (1, 2, %s) ON CONFLICT (id)
	DO UPDATE SET n = logged(excluded.n), v = excluded.v', :now)) LIKE format('PT409%%"expected": %s%%', :now) AS refused;
-- also inserts and upserts of the same table, and of another one
CREATE FUNCTION inserted(x int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO cas_upsert.t VALUES (x, 0), (x + 1, 0);
	INSERT INTO cas_upsert.t (id, v) SELECT id, v FROM cas_upsert.t WHERE id IN (x, x + 1)
		ON CONFLICT (id) DO UPDATE SET n = 1, v = excluded.v;
	RETURN x;
END
$$;
SELECT cas_enable('log', 'v', writers => 'echo', versions => 'table');
SELECT v AS now FROM t WHERE id = 1 \gset
INSERT INTO t (id, n, v) VALUES (1, 20, :now) ON CONFLICT (id)
	DO UPDATE SET n = logged(inserted(excluded.n)), v = excluded.v RETURNING n, v > :now AS advanced;
SELECT id, n FROM t ORDER BY id;
-- one that fails, and is caught
CREATE FUNCTION failed(x int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO cas_upsert.t VALUES (x, 0) ON CONFLICT (id) DO UPDATE SET n = 1 / (excluded.n - t.n * 0);
	RETURN 0;
EXCEPTION WHEN division_by_zero THEN
	RETURN x;
END
$$;
SELECT v AS now FROM t WHERE id = 1 \gset
INSERT INTO t (id, n, v) VALUES (1, 20, :now) ON CONFLICT (id)
	DO UPDATE SET n = failed(excluded.n) + 1, v = excluded.v RETURNING n, v > :now AS advanced;
-- in a trigger, too
CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO cas_upsert.log SELECT max(x) + 1 FROM cas_upsert.log;
	RETURN NEW;
END
$$;
CREATE TRIGGER logs BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION logs();
CREATE TRIGGER "!" BEFORE UPDATE ON t EXECUTE FUNCTION logs();
SELECT v AS now FROM t WHERE id = 1 \gset
INSERT INTO t (id, n, v) VALUES (1, 30, :now) ON CONFLICT (id)
	DO UPDATE SET n = excluded.n, v = excluded.v RETURNING n, v > :now AS advanced;
-- the conflict may be on another key than the primary one
SELECT v AS now FROM t WHERE id = 1 \gset
INSERT INTO t (id, n, other, v) VALUES (50, 31, 10, :now) ON CONFLICT (other)
	DO UPDATE SET n = excluded.n, v = excluded.v RETURNING id, n, v > :now AS advanced;
-- A data-modifying CTE that runs first in the SET list resets the row's memory.
-- What the INSERT has sent is unknown then, and the version in EXCLUDED refused.
SELECT v AS now FROM t WHERE id = 1 \gset
SELECT raises(format('WITH w AS (INSERT INTO log VALUES (100) RETURNING x)
	INSERT INTO t (id, n, v) VALUES (1, 0, %s) ON CONFLICT (id)
	DO UPDATE SET n = (SELECT x FROM w), v = excluded.v', :now)) LIKE 'PT409%' AS refused;
WITH w AS (INSERT INTO log VALUES (100) RETURNING x)
	INSERT INTO t (id, n) VALUES (1, 0) ON CONFLICT (id)
	DO UPDATE SET n = (SELECT x FROM w), v = :now RETURNING n, v > :now AS advanced;

--
-- Other UPDATEs in a statement that inserts, of a row that has the version that
-- the INSERT sends.
--
DROP TRIGGER logs ON t;
DROP TRIGGER "!" ON t;
SELECT raises($$WITH i AS (INSERT INTO t (id, v) SELECT 60, v FROM t WHERE id = 1 RETURNING v)
	UPDATE t SET n = 32, v = i.v FROM i WHERE id = 1$$) LIKE 'PT409%' AS refused;
CREATE TABLE doc (id text PRIMARY KEY, body jsonb) PARTITION BY LIST (id);
CREATE TABLE doc_a PARTITION OF doc FOR VALUES IN ('a', 'b', 'c');
CREATE TABLE doc_z PARTITION OF doc FOR VALUES IN ('z');
SELECT cas_enable('doc', 'v', 'body', writers => 'echo', version_path => '{v}');
INSERT INTO doc VALUES ('a', '{"x": 0}'), ('z', '{"x": 0}');
UPDATE doc SET body = '{"x": 1}';
UPDATE doc SET body = '{"x": 2}';
SELECT raises($$WITH i AS (INSERT INTO doc VALUES ('c', '{"v": 3}') RETURNING id)
	UPDATE doc SET body = '{"x": 3, "v": 1}' FROM i WHERE doc.id = 'a'$$);
SELECT raises($$WITH i AS (INSERT INTO doc VALUES ('c', '{"v": 3}') RETURNING id)
	UPDATE doc SET body = '{"x": 3, "v": 1}' FROM (SELECT count(*) FROM i) AS n WHERE doc.id = 'a'$$);
-- a branch of MERGE, after another row's
SELECT raises($$MERGE INTO doc USING (SELECT * FROM (VALUES
		(1, 'b', '{"x": 3, "v": 3}'::jsonb), (2, 'a', '{"x": 3, "v": 1}')) AS v (n, id, body) ORDER BY n) AS s
	ON doc.id = s.id
	WHEN MATCHED THEN UPDATE SET body = s.body
	WHEN NOT MATCHED THEN INSERT (id, body) VALUES (s.id, s.body)$$);
MERGE INTO doc USING (SELECT * FROM (VALUES
		(1, 'b', '{"x": 3, "v": 3}'::jsonb), (2, 'a', '{"x": 3, "v": 3}')) AS v (n, id, body) ORDER BY n) AS s
	ON doc.id = s.id
	WHEN MATCHED THEN UPDATE SET body = s.body
	WHEN NOT MATCHED THEN INSERT (id, body) VALUES (s.id, s.body);
SELECT * FROM doc ORDER BY id;
-- upserts of the same rows
INSERT INTO doc VALUES ('a', '{"x": 4, "v": 4}'), ('z', '{"x": 4, "v": 3}') ON CONFLICT (id)
	DO UPDATE SET body = excluded.body RETURNING *;
SELECT raises($$INSERT INTO doc VALUES ('a', '{"x": 5, "v": 5}'), ('z', '{"x": 5, "v": 3}') ON CONFLICT (id)
	DO UPDATE SET body = excluded.body$$);

--
-- With versions => 'row', EXCLUDED may have the number that a client read long
-- ago.  It counts as sent by the UPDATE, unless the INSERT sends one.
--
SELECT v FROM doc WHERE id = 'a';
SELECT raises($$INSERT INTO doc VALUES ('a', '{"x": 9}') ON CONFLICT (id)
	DO UPDATE SET body = '{"x": 9, "v": 1}'$$);
SELECT raises($$INSERT INTO doc VALUES ('a', '{"x": 9}') ON CONFLICT (id) DO UPDATE SET body = excluded.body$$);
SELECT raises($$INSERT INTO doc VALUES ('a', '{"x": 9, "v": 4}') ON CONFLICT (id) DO UPDATE SET body = excluded.body$$);
INSERT INTO doc VALUES ('a', '{"x": 9, "v": 5}') ON CONFLICT (id) DO UPDATE SET body = excluded.body RETURNING *;
-- without the version, it is not mentioned
INSERT INTO doc VALUES ('a', '{"x": 10}') ON CONFLICT (id) DO UPDATE SET body = excluded.body - 'v' RETURNING *;
-- the row's own version is right, even if it is the number in EXCLUDED
UPDATE doc SET body = '{"x": 0}' WHERE id = 'b';
INSERT INTO doc VALUES ('c', '{}'), ('b', '{"v": 2}') ON CONFLICT (id) DO UPDATE SET body = excluded.body RETURNING *;
CREATE TABLE plain (id int PRIMARY KEY, n int, v int);
SELECT cas_enable('plain', 'v', writers => 'echo');
INSERT INTO plain VALUES (1, 1);
INSERT INTO plain (id, n) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = plain.v RETURNING *;
SELECT raises('INSERT INTO plain (id, n) VALUES (1, 3) ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v');
INSERT INTO plain VALUES (1, 3, 2) ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v RETURNING *;
CREATE TABLE two (id int PRIMARY KEY, body jsonb, v int);
SELECT cas_enable('two', 'v', 'body', writers => 'echo', version_path => '{v}');
INSERT INTO two VALUES (1, '{}');
INSERT INTO two (id, body) VALUES (1, '{"x": 1}') ON CONFLICT (id)
	DO UPDATE SET body = excluded.body, v = two.v RETURNING *;
SELECT cas_enable('plain', writers => 'bump');
INSERT INTO plain VALUES (2, 0, 0);
INSERT INTO plain (id, n) VALUES (2, 1) ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = plain.v + 1 RETURNING *;
INSERT INTO plain VALUES (2, 2, 2) ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v RETURNING *;

--
-- The guard's function may have been altered.
--
BEGIN;
ALTER FUNCTION cas_guard() SECURITY DEFINER SET work_mem = '1MB';
SELECT v AS now FROM t WHERE id = 1 \gset
INSERT INTO t (id, n, v) VALUES (1, 40, :now) ON CONFLICT (id)
	DO UPDATE SET n = excluded.n, v = excluded.v RETURNING n, v > :now AS advanced;
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA cas_upsert CASCADE;
