-- Claim: with writers => 'echo', a version that comes back is compared wherever
-- it stands: in the column, inside the document at version_path, in what an
-- upsert sends.  It is written as it stood there.  A sequence that is behind
-- the table's versions is told before one comes again.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_echo;
SET search_path = cas_echo, public, cas_test;

-- What a command raises: SQLSTATE and message, and detail.

--
-- A document that carries its version, as plain writers send it back.
--
CREATE TABLE doc (id text PRIMARY KEY, body jsonb, n int);
SELECT cas_enable('doc', 'v', 'body', writers => 'echo', version_path => '{meta,version}');
INSERT INTO doc VALUES ('a', '{"x": 0}'), ('b', '{"meta": {"version": "77"}}'),
	('c', '{"meta": {"version": null}}'), ('d', '{"meta": {"version": "first"}}');
SELECT * FROM doc ORDER BY id;
-- two who both read 1
UPDATE doc SET body = '{"x": 1, "meta": {"version": 1}}' WHERE id = 'a' RETURNING v, body;
SELECT raises($$UPDATE doc SET body = '{"x": 2, "meta": {"version": 1}}' WHERE id = 'a'$$);
-- what is not there is not mentioned
UPDATE doc SET body = '{"x": 3}' WHERE id = 'a' RETURNING v, body;
UPDATE doc SET body = '{"x": 3, "meta": {}}' WHERE id = 'a' RETURNING v, body;
-- as a string where one stood; a string is compared, too
UPDATE doc SET body = '{"meta": {"version": "1"}, "x": 1}' WHERE id = 'b' RETURNING v, body;
SELECT raises($$UPDATE doc SET body = '{"meta": {"version": "1"}, "x": 2}' WHERE id = 'b'$$);
UPDATE doc SET body = '{"x": 2}' WHERE id = 'b' RETURNING v, body;
UPDATE doc SET n = 1 WHERE id = 'b' RETURNING v, body;
UPDATE doc SET body = '{"meta": {"version": 4}, "x": 3}' WHERE id = 'b' RETURNING v, body;
-- computed from what is there
UPDATE doc SET body = jsonb_set(body, '{x}', '9') WHERE id = 'a' RETURNING v, body;
-- nothing else changed
UPDATE doc SET body = body WHERE id = 'a' RETURNING v, body;
UPDATE doc SET body = '{"x": 9, "meta": {"version": 4}}' WHERE id = 'a' RETURNING v, body;
-- what is no version skips nothing
SELECT raises(format($$UPDATE doc SET body = '{"x": 2, "meta": {"version": %s}}' WHERE id = 'a'$$, value))
FROM unnest('{"null",true,"\"\"","\"x\"","\"5x\"","\" 5\"",5.5,1e30,"[5]","{\"a\": 5}",-5,"\"99999999999999999999\""}'::text[]) AS value;
-- in both places: either may be wrong
SELECT raises($$UPDATE doc SET v = 4, body = '{"x": 2, "meta": {"version": 3}}' WHERE id = 'a'$$);
SELECT raises($$UPDATE doc SET v = 3, body = '{"x": 2, "meta": {"version": 4}}' WHERE id = 'a'$$);
UPDATE doc SET v = 4, body = '{"x": 2, "meta": {"version": 4}}' WHERE id = 'a' RETURNING v, body;
-- a trigger that writes it afterwards changes nothing
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.body = jsonb_set(NEW.body, '{meta}', jsonb_build_object('version', OLD.v));
	RETURN NEW;
END
$$;
CREATE TRIGGER a BEFORE UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT raises($$UPDATE doc SET body = '{"x": 3, "meta": {"version": 4}}' WHERE id = 'a'$$);
UPDATE doc SET body = '{"x": 3, "meta": {"version": 5}}' WHERE id = 'a' RETURNING v, body;
UPDATE doc SET n = 7 WHERE id = 'a' RETURNING v, body;
DROP TRIGGER a ON doc;
-- a mentioned version is what 'reject' demands
SELECT cas_enable('doc', unversioned => 'reject');
SELECT raises($$UPDATE doc SET body = '{"x": 4}' WHERE id = 'a'$$);
UPDATE doc SET body = '{"x": 4, "meta": {"version": 7}}' WHERE id = 'a' RETURNING v, body;
SELECT cas_enable('doc', unversioned => 'allow');
-- a dry run says it, and lets it pass
SELECT cas_enable('doc', enforce => 'warn');
UPDATE doc SET body = '{"x": 5, "meta": {"version": 1}}' WHERE id = 'a' RETURNING v, body;
SELECT cas_enable('doc', enforce => 'error');

--
-- The functions' payloads.
--
SELECT raises($$SELECT cas_update('doc', 'a', 9, '{"x": 6, "meta": {"version": 8}}')$$);
SELECT raises($$SELECT cas_update('doc', 'a', 8, '{"x": 6, "meta": {"version": 9}}')$$);
SELECT outcome, version FROM cas_try_update('doc', 'a', 9, '{"x": 6, "meta": {"version": 8}}');
SELECT outcome, version FROM cas_try_update('doc', 'none', 10, '{"x": 6, "meta": {"version": 9}}');
SELECT raises($$SELECT cas_update('doc', 'a', 9, '{"x": 6, "meta": {"version": null}}')$$);
SELECT cas_update('doc', 'a', 9, '{"x": 6, "meta": {"version": 9}}');
SELECT cas_update('doc', 'a', 10, '{"x": 7}');
SELECT raises($$SELECT cas_put('doc', 'a', '{"x": 8, "meta": {"version": 10}}')$$);
SELECT cas_put('doc', 'a', '{"x": 8, "meta": {"version": "11"}}');
SELECT cas_put('doc', 'a', '{"x": 9}');
SELECT cas_put('doc', 'new', '{"x": 9, "meta": {"version": 5}}');
SELECT raises($$SELECT cas_txn('[]', '[{"op": "update", "table": "cas_echo.doc", "id": "a", "version": 13,
	"payload": {"x": 1, "meta": {"version": 12}}}]')$$);
SELECT raises($$SELECT cas_txn('[]', '[{"op": "put", "table": "cas_echo.doc", "id": "a",
	"payload": {"x": 1, "meta": {"version": 12}}}]')$$);
-- patches are no payloads; what the server computes is its own
SELECT cas_patch('doc', 'a', 13, '{"y": 1}'), cas_merge('doc', 'a', '{"y": 2}');
SELECT * FROM doc ORDER BY id;

--
-- Upserts: EXCLUDED has what the INSERT sent, not what the guard made of it.
--
CREATE TABLE t (id int PRIMARY KEY, n int, d jsonb);
SELECT cas_enable('t', 'v', 'd', writers => 'echo', versions => 'table', version_path => '{v}');
INSERT INTO t VALUES (1, 0, '{}'), (2, 0, '{}');
INSERT INTO t (id, n, d, v) VALUES (1, 1, '{}', 1) ON CONFLICT (id)
	DO UPDATE SET n = excluded.n, v = excluded.v RETURNING id, n, v > 2 AS advanced;
SELECT raises($$INSERT INTO t (id, n, d, v) VALUES (1, 2, '{}', 1) ON CONFLICT (id)
	DO UPDATE SET n = excluded.n, v = excluded.v$$) ~ '"expected": 1' AS sent;
SELECT v AS now FROM t WHERE id = 1 \gset
-- by the document
INSERT INTO t (id, d) VALUES (1, jsonb_build_object('v', :now, 'x', 1)) ON CONFLICT (id)
	DO UPDATE SET d = excluded.d RETURNING v > :now AS advanced, (d ->> 'v')::int = v AS stamped;
SELECT raises(format($$INSERT INTO t (id, d) VALUES (1, jsonb_build_object('v', %s, 'x', 2)) ON CONFLICT (id)
	DO UPDATE SET d = excluded.d$$, :now)) LIKE format('PT409%%"expected": %s%%', :now) AS refused;
-- not mentioned, it is not compared
INSERT INTO t (id, d) VALUES (1, '{"x": 3}') ON CONFLICT (id)
	DO UPDATE SET d = excluded.d RETURNING (d ->> 'v')::int = v AS stamped;
-- many at once, new ones among them
SELECT v AS one FROM t WHERE id = 1 \gset
SELECT v AS two FROM t WHERE id = 2 \gset
INSERT INTO t (id, n, d, v) VALUES (3, 5, '{}', 0), (1, 5, '{}', :one), (4, 5, '{}', 0), (2, 5, '{}', :two)
	ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v;
SELECT id, n, count(*) OVER (PARTITION BY v) FROM t ORDER BY id;
-- a number that was drawn is no excuse in another statement
BEGIN;
INSERT INTO t (id, n, d, v) VALUES (5, 0, '{}', 99) RETURNING v AS drawn \gset
UPDATE t SET n = 1, v = :drawn WHERE id = 5 RETURNING n;
SELECT raises(format('UPDATE t SET n = 2, v = %s WHERE id = 1', :drawn)) LIKE 'PT409%';
ROLLBACK;

--
-- A sequence that has fallen behind: after a restore of the data alone, or on
-- a subscriber that is promoted.
--
CREATE TABLE s (id int PRIMARY KEY, n int);
SELECT cas_enable('s', 'v', writers => 'echo', versions => 'table');
INSERT INTO s SELECT i, 0 FROM generate_series(1, 10) AS i;
SELECT setval('s_v_seq', 3);
\c -
SET search_path = cas_echo, public, cas_test;
-- the row's own version is not the greatest
SELECT raises('INSERT INTO s VALUES (11, 0)');
SELECT raises('UPDATE s SET n = 1 WHERE id = 1');
SELECT raises('UPDATE s SET n = 1 WHERE id = 10');
DELETE FROM s WHERE id = 10;
SELECT raises('INSERT INTO s VALUES (10, 0)');
SELECT cas_enable('s');
INSERT INTO s VALUES (10, 0) RETURNING v;
-- the same with an index, and set back within a session
CREATE INDEX ON s (v);
SELECT setval('s_v_seq', 3);
SELECT raises('INSERT INTO s VALUES (11, 0)');
\c -
SET search_path = cas_echo, public, cas_test;
SELECT raises('INSERT INTO s VALUES (11, 0)');
SELECT cas_enable('s');
INSERT INTO s VALUES (11, 0) RETURNING v;
-- one that was never drawn from, under a table that is not small
DROP INDEX s_v_idx;
ALTER TABLE s ADD pad text;
INSERT INTO s (id, n, pad) SELECT i, 0, repeat('x', 1000) FROM generate_series(100, 1900) AS i;
SELECT pg_relation_size('s') > 128 * 8192 AS large;
ALTER SEQUENCE s_v_seq RESTART;
\c -
SET search_path = cas_echo, public, cas_test;
SELECT raises('INSERT INTO s VALUES (20, 0)');
-- nor has the refusal made it look as if it were drawn from
\c -
SET search_path = cas_echo, public, cas_test;
SELECT raises('INSERT INTO s VALUES (20, 0)');
SELECT raises('UPDATE s SET n = 1 WHERE id = 1');
SELECT cas_enable('s');
INSERT INTO s VALUES (20, 0) RETURNING v > 1800 AS beyond;

-- Statistics that show rows which are gone do not make the sequence behind.
CREATE TABLE purged (id int PRIMARY KEY, n int, pad text, v bigint NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO purged SELECT i, 0, repeat('x', 1000), i FROM generate_series(1, 2000) AS i;
ANALYZE purged;
DELETE FROM purged WHERE id > 10;
SELECT cas_enable('purged', version_column => 'v', versions => 'table', writers => 'echo');
UPDATE purged SET n = 1 WHERE id = 1 RETURNING v;

-- A partition that was detached and written must not bring versions back that
-- clients have: enabled by itself, it advances them.
CREATE TABLE p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
SELECT cas_enable('p');
INSERT INTO p VALUES (1, 0);
ALTER TABLE p DETACH PARTITION p1;
SELECT cas_enable('p1');
UPDATE p1 SET n = 1;
SELECT cas_disable('p1');
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10);
SELECT outcome, version FROM cas_try_update('p', 1, 1, '{"n": 2}');
SELECT raises($$ALTER TABLE p DETACH PARTITION p1$$), cas_enable('p1');
SELECT raises($$ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)$$);

-- A partition whose columns are in another order: the key is read as it was made.
CREATE TABLE own (id int PRIMARY KEY, k text NOT NULL, n int) PARTITION BY RANGE (id);
CREATE TABLE own1 (n int, k text NOT NULL UNIQUE, id int NOT NULL UNIQUE);
ALTER TABLE own ATTACH PARTITION own1 FOR VALUES FROM (0) TO (10);
SELECT cas_enable('own', unversioned => 'reject');
INSERT INTO own VALUES (1, 'one', 0);
SELECT cas_update('own', 1, 1, '{"n": 1}'), cas_rename('own', 1, 2, 2);
SELECT raises($$UPDATE own SET n = 9$$);

SET client_min_messages = warning;
DROP SCHEMA cas_echo CASCADE;
