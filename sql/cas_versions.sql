-- Claim: with versions => 'table' all versions of a table come from one
-- sequence, so that none is seen twice, not after a delete, a TRUNCATE or a
-- re-creation; with version_path the document holds the row's true version,
-- whatever a client sends.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_versions;
SET search_path = cas_versions, public, cas_test;

--
-- versions => 'table'
--
CREATE TABLE t (id int PRIMARY KEY, n int, seen int);
INSERT INTO t VALUES (1, 0), (2, 0);
SELECT cas_enable('t', versions => 'table', writers => 'echo', ignore_columns => '{seen}');
SELECT id, n, resource_version FROM t ORDER BY id;
-- every INSERT and every advance draws one, whatever was sent
INSERT INTO t VALUES (3, 0);
INSERT INTO t VALUES (4, 0, NULL, 1000);
INSERT INTO t VALUES (5, 0, NULL, NULL);
SELECT id, n, resource_version FROM t ORDER BY id;
UPDATE t SET n = 1 WHERE id = 1;
UPDATE t SET n = 1, resource_version = 1 WHERE id = 2;
SELECT raises('UPDATE t SET n = 2, resource_version = 7 WHERE id = 2');
UPDATE t SET n = n, seen = 1 WHERE id = 3;
SELECT id, n, resource_version FROM t ORDER BY id;
SELECT cas_create('t', 6, '{"n": 0}') AS created \gset
SELECT cas_update('t', 6, :created, '{"n": 1}') AS updated \gset
SELECT :created > 6 AND :updated > :created AS rising;
SELECT cas_update('t', 6, :updated, '{"n": 1}') = :updated AS unchanged;
COPY t (id, n, resource_version) FROM stdin;
7	0	2
\.
SELECT resource_version > :updated AS rising FROM t WHERE id = 7;

-- A row deleted and made again, with whatever version it is made.
SELECT resource_version AS former FROM t WHERE id = 7 \gset
DELETE FROM t WHERE id = 7;
INSERT INTO t VALUES (7, 0, 0, :former);
SELECT raises(format('SELECT cas_update(''t'', 7, %s, ''{"n": 5}'')', :former)) LIKE 'PT409%';
SELECT outcome FROM cas_try_delete('t', 7, :former);
SELECT raises(format('UPDATE t SET n = 1, resource_version = %s WHERE id = 7', :former)) LIKE 'PT409%';
SELECT version AS former FROM cas_get('t', 7) \gset
SELECT cas_delete('t', 7, :former) = :former;
SELECT cas_create('t', 7, '{"n": 5}') > :former AS never_again;
-- upsert
INSERT INTO t (id, n) VALUES (7, 6) ON CONFLICT (id) DO UPDATE SET n = excluded.n
	RETURNING resource_version > :former + 1 AS rising;

-- TRUNCATE, with and without RESTART IDENTITY.
SELECT max(resource_version) AS top FROM t \gset
TRUNCATE t RESTART IDENTITY;
INSERT INTO t VALUES (1, 0);
SELECT resource_version > :top AS rising FROM t;
SELECT max(resource_version) AS top FROM t \gset
TRUNCATE t;
INSERT INTO t VALUES (1, 0);
SELECT resource_version > :top AS rising FROM t;
SELECT max(resource_version) AS top FROM t \gset

-- with other tables, by way of a foreign key, as a replica, rolled back
CREATE TABLE t_child (id int PRIMARY KEY, tid int REFERENCES t);
CREATE TABLE t_parent (id int PRIMARY KEY);
ALTER TABLE t ADD pid int REFERENCES t_parent;
CREATE FUNCTION after_truncate(command text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	top bigint = max(resource_version) FROM t;
BEGIN
	EXECUTE command;
	DELETE FROM t;
	INSERT INTO t VALUES (1, 0);
	RETURN resource_version > top FROM t;
END
$$;
SELECT after_truncate('TRUNCATE t_parent, t, t_child RESTART IDENTITY');
SELECT after_truncate('TRUNCATE t_parent RESTART IDENTITY CASCADE');
SELECT after_truncate('TRUNCATE t RESTART IDENTITY CASCADE');
-- (a replica's INSERT brings its version along: here it is the default, 1)
SET session_replication_role = replica;
SELECT after_truncate('TRUNCATE t RESTART IDENTITY CASCADE');
RESET session_replication_role;
TRUNCATE t CASCADE;
INSERT INTO t VALUES (1, 0);
SELECT resource_version > :top AS rising FROM t;
SELECT max(resource_version) AS top FROM t \gset
BEGIN;
TRUNCATE t RESTART IDENTITY CASCADE;
INSERT INTO t VALUES (2, 0);
ROLLBACK;
INSERT INTO t VALUES (2, 0);
SELECT resource_version > :top AS rising FROM t WHERE id = 2;
SELECT max(resource_version) AS top FROM t \gset
TRUNCATE t CASCADE;

-- Settings changed and changed back keep on rising above what is present.
SELECT cas_enable('t', versions => 'table', writers => 'echo', unversioned => 'reject');
INSERT INTO t VALUES (2, 0);
SELECT resource_version > :top AS rising FROM t WHERE id = 2;
-- beginning above the greatest present version
CREATE TABLE high (id int PRIMARY KEY, n int, v bigint);
INSERT INTO high VALUES (1, 0, 5000), (2, 0, 7), (3, 0, 12);
SELECT cas_enable('high', 'v', versions => 'table', writers => 'echo');
UPDATE high SET n = 1 WHERE id = 2 RETURNING v;
INSERT INTO high VALUES (4, 0) RETURNING v;
CREATE TABLE low (id int PRIMARY KEY, n int, v bigint);
INSERT INTO low VALUES (1, 0, -7);
SELECT raises($$SELECT cas_enable('low', 'v', versions => 'table', writers => 'echo')$$);
UPDATE low SET v = 0;
SELECT cas_enable('low', 'v', versions => 'table', writers => 'echo');
UPDATE low SET n = 1 RETURNING v;
CREATE TABLE none (id int PRIMARY KEY, n int, v bigint);
SELECT cas_enable('none', 'v', versions => 'table', writers => 'echo');
INSERT INTO none VALUES (1, 0, 77) RETURNING v;
-- calling it again catches up with versions that came while the guard was off
ALTER TABLE none DISABLE TRIGGER USER;
UPDATE none SET v = 10000;
ALTER TABLE none ENABLE TRIGGER USER;
SELECT raises('UPDATE none SET n = 5');
SELECT cas_enable('none', 'v', versions => 'table', writers => 'echo');
UPDATE none SET n = 5 RETURNING v;
-- a version drawn by a transaction that rolls back is not given out again
BEGIN;
UPDATE none SET n = 6 RETURNING v AS rolled_back \gset
ROLLBACK;
UPDATE none SET n = 6 RETURNING v > :rolled_back AS rising;
-- 'reject' and foreign keys with it
CREATE TABLE child (id int PRIMARY KEY, nid int REFERENCES none ON DELETE SET NULL);
SELECT cas_enable('child', versions => 'table', writers => 'echo', unversioned => 'reject');
INSERT INTO child VALUES (1, 1);
DELETE FROM none;
SELECT * FROM child;

-- The top of a narrow column's type.
CREATE TABLE narrow (id int PRIMARY KEY, n int, v smallint);
INSERT INTO narrow VALUES (1, 0, 32766);
SELECT cas_enable('narrow', 'v', versions => 'table', writers => 'echo');
UPDATE narrow SET n = 1 RETURNING v;
SELECT raises('UPDATE narrow SET n = 2');
SELECT raises('INSERT INTO narrow VALUES (2, 0)');
SELECT * FROM narrow;
-- a partitioned table has one sequence, and keeps it when a row moves
CREATE TABLE parted (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
SELECT cas_enable('parted', versions => 'table', writers => 'echo');
INSERT INTO parted VALUES (1, 0), (11, 0);
SELECT cas_rename('parted', 1, 1, 12) > 2 AS rising;
UPDATE parted SET n = 1 WHERE id = 11;
SELECT count(DISTINCT resource_version) FROM parted;
INSERT INTO parted_1 VALUES (1, 0) RETURNING resource_version > 3 AS rising;
SELECT max(resource_version) AS top FROM parted \gset
TRUNCATE parted RESTART IDENTITY;
INSERT INTO parted VALUES (1, 0), (11, 0) RETURNING resource_version > :top AS rising;
SELECT max(resource_version) AS top FROM parted \gset
TRUNCATE parted_1 RESTART IDENTITY;
INSERT INTO parted VALUES (1, 0) RETURNING resource_version > :top AS rising;
-- without partitions, with two triggers
CREATE TABLE bare (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE bare_1 PARTITION OF bare FOR VALUES FROM (0) TO (10);
SELECT cas_enable('bare', writers => 'echo', versions => 'table');
INSERT INTO bare VALUES (1, 0), (2, 0), (3, 0);
SELECT max(resource_version) AS top FROM bare \gset
DROP TABLE bare_1;
CREATE TRIGGER again BEFORE TRUNCATE ON bare EXECUTE FUNCTION cas_truncate();
TRUNCATE bare RESTART IDENTITY;
CREATE TABLE bare_1 PARTITION OF bare FOR VALUES FROM (0) TO (10);
INSERT INTO bare VALUES (1, 0) RETURNING resource_version > :top AS rising;

-- A sequence that is behind is refused by each session, also one that a crash
-- could set back: the table is too large to be read after a first draw.
CREATE TABLE behind (id int PRIMARY KEY, n int) WITH (autovacuum_enabled = off);
SELECT cas_enable('behind', writers => 'echo', versions => 'table');
ALTER TABLE behind SET UNLOGGED;
SET session_replication_role = replica;
INSERT INTO behind SELECT n, 0, 1790000000000000 + n FROM generate_series(1, 30000) AS n;
RESET session_replication_role;
SELECT pg_relation_size('behind') / current_setting('block_size')::int > 128 AS large;
INSERT INTO behind VALUES (0, 0);
\c -
SET search_path = cas_versions, public, cas_test;
INSERT INTO behind VALUES (0, 0);

--
-- version_path
--
CREATE TABLE doc (id text PRIMARY KEY, body jsonb, n int);
INSERT INTO doc VALUES ('bare', '{}'), ('stale', '{"meta": {"version": 0, "name": "x"}}'),
	('right', '{"meta": {"version": 1}}'), ('text', '{"meta": {"version": "1"}}'),
	('null', NULL), ('deep', '{"meta": {"version": {"a": 1}}, "b": [1, {"c": 2}]}');
SELECT cas_enable('doc', payload_column => 'body', version_path => '{meta,version}');
SELECT id, resource_version, body FROM doc ORDER BY id COLLATE "C";
-- enabled again, there is nothing to be done, and nothing is said
SELECT cas_enable('doc', payload_column => 'body', version_path => '{meta,version}');
-- the versions that are there already are the ones written
CREATE TABLE doc2 (id text PRIMARY KEY, body jsonb, v int);
INSERT INTO doc2 VALUES ('a', '{"v": 0}', 41), ('b', '{"v": 7}', 7);
SELECT cas_enable('doc2', 'v', 'body', version_path => '{v}', unversioned => 'reject');
SELECT id, v, body, (body ->> 'v')::int = v AS true FROM doc2 ORDER BY id;

-- Every write keeps it true, whatever the client sent.
CREATE VIEW truth AS SELECT id, resource_version, body,
	body #> '{meta,version}' IS NOT DISTINCT FROM
		CASE WHEN body IS NOT NULL THEN to_jsonb(resource_version) END AS true
FROM doc;
INSERT INTO doc VALUES ('new', '{"meta": {"version": 17}}');
INSERT INTO doc VALUES ('kept', '{"x": 1}', NULL, 9);
UPDATE doc SET body = '{"meta": {"version": 0}, "x": 1}' WHERE id = 'bare';
UPDATE doc SET body = body - 'meta' WHERE id = 'right';
UPDATE doc SET n = 1 WHERE id = 'deep';
UPDATE doc SET n = 1 WHERE id = 'null';
UPDATE doc SET body = '{}' WHERE id = 'null';
SELECT cas_update('doc', 'text', 1, '{"meta": {"version": 999}, "y": 2}');
SELECT cas_create('doc', 'made', '{"meta": {"name": "m"}}');
SELECT cas_merge('doc', 'made', '{"meta": {"version": null, "name": "n"}}');
SELECT cas_patch('doc', 'made', 2, '{"meta": null}');
SELECT cas_put('doc', 'put', '{}'), cas_put('doc', 'put', '{"z": 1}');
SELECT * FROM truth ORDER BY id COLLATE "C";
-- What a swap answers with is the row as written.
SELECT * FROM cas_try_update('doc', 'put', 2, '{"z": 2}');
SELECT * FROM cas_get('doc', 'put');

-- The path is left out when payloads are compared.
SELECT * FROM cas_try_update('doc', 'put', 3, '{"z": 2}');
SELECT * FROM cas_try_update('doc', 'put', 3, '{"z": 2, "meta": {"version": 77}}');
SELECT * FROM cas_try_update('doc', 'put', 3, '{"z": 2, "meta": {"version": 3}}');
UPDATE doc SET body = '{"z": 2}' WHERE id = 'put';
UPDATE doc SET body = '{"z": 2, "meta": {"version": -1}}' WHERE id = 'put';
SELECT * FROM truth WHERE id = 'put';
SELECT * FROM cas_try_update('doc', 'put', 3, '{"z": 2, "meta": {"version": 3, "more": 1}}');
-- also where it says nothing but the version: null, {} and {"meta": {}} differ
UPDATE doc SET body = NULL WHERE id = 'put';
SELECT * FROM truth WHERE id = 'put';
SELECT * FROM cas_get('doc', 'put');
SELECT * FROM cas_try_update('doc', 'put', 5, '{}');
UPDATE doc SET body = 'null' WHERE id = 'bare';

-- What is not an object, and is in the way.
SELECT raises($$UPDATE doc SET body = 'null' WHERE id = 'put'$$);
SELECT raises($$UPDATE doc SET body = '[]' WHERE id = 'put'$$);
SELECT raises($$UPDATE doc SET body = '"meta"' WHERE id = 'put'$$);
SELECT raises($$UPDATE doc SET body = '{"meta": null}' WHERE id = 'put'$$);
SELECT raises($$UPDATE doc SET body = '{"meta": 1}' WHERE id = 'put'$$);
SELECT raises($$UPDATE doc SET body = '{"meta": [{"version": 1}]}' WHERE id = 'put'$$);
SELECT raises($$INSERT INTO doc VALUES ('bad', '{"meta": "x"}')$$);
SELECT raises($$SELECT cas_create('doc', 'bad', '{"meta": "x"}')$$);
SELECT raises($$SELECT cas_update('doc', 'put', 6, '{"meta": "x"}')$$);
SELECT raises($$SELECT cas_update('doc', 'put', 6, '7')$$);
SELECT raises($$SELECT cas_merge('doc', 'put', '{"meta": "x"}')$$);
CREATE TABLE doc3 (id text PRIMARY KEY, body jsonb);
INSERT INTO doc3 VALUES ('a', '{"ok": 1}'), ('b', '{"m": 3}');
SELECT raises($$SELECT cas_enable('doc3', payload_column => 'body', version_path => '{m,v}')$$);
SELECT * FROM doc3 ORDER BY id;
SELECT count(*) FROM cas_tables WHERE rel = 'doc3'::regclass;
-- a deep path, of which nothing is there
UPDATE doc3 SET body = '{}';
SELECT cas_enable('doc3', payload_column => 'body', version_path => '{a,"b c",0,d}');
SELECT * FROM doc3 ORDER BY id;
-- the path changed: the new one is written, the old one is the client's again
SELECT cas_enable('doc3', payload_column => 'body', version_path => '{top}');
SELECT * FROM doc3 ORDER BY id;

-- With writers => 'echo' and versions => 'table'.
SELECT cas_enable('doc', payload_column => 'body', version_path => '{meta,version}',
	writers => 'echo', versions => 'table', unversioned => 'reject');
SELECT bool_and(true) FROM truth;
UPDATE doc SET body = '{"q": 1}', resource_version = resource_version WHERE id = 'made';
SELECT raises($$UPDATE doc SET body = '{"q": 2}' WHERE id = 'made'$$) LIKE 'PT428%';
INSERT INTO doc VALUES ('late', '{"meta": {"version": 1}}', NULL, 1);
SELECT cas_apply('doc', 'made', 'pg_catalog.jsonb_concat(jsonb, jsonb)', '{"r": 1}') > 0;
SELECT bool_and(true), count(DISTINCT resource_version) > 2 FROM truth;
-- an unchanged write with 'echo'
UPDATE doc SET body = body - 'meta', resource_version = resource_version WHERE id = 'made'
	RETURNING resource_version = (SELECT version FROM cas_get('doc', 'made')) AS same;
SELECT bool_and(true) FROM truth;
-- a foreign key's action
CREATE TABLE owner (id int PRIMARY KEY);
ALTER TABLE doc ADD FOREIGN KEY (n) REFERENCES owner ON UPDATE CASCADE NOT VALID;
INSERT INTO owner VALUES (50);
INSERT INTO doc VALUES ('owned', '{}', 50);
SELECT resource_version AS before FROM doc WHERE id = 'owned' \gset
UPDATE owner SET id = 51;
SELECT n, resource_version > :before AS advanced, true FROM truth JOIN doc USING (id, resource_version) WHERE id = 'owned';

-- A version that a double cannot hold, exactly.
CREATE TABLE big (id int PRIMARY KEY, body jsonb, v bigint);
INSERT INTO big VALUES (1, '{}', 9007199254740993);
SELECT cas_enable('big', 'v', 'body', version_path => '{v}');
SELECT body FROM big;
UPDATE big SET body = '{"a": 1}' RETURNING body;
-- a CHECK that reads the version from the document sees the true one
CREATE TABLE checked (id int PRIMARY KEY, body jsonb, v bigint DEFAULT 1,
	CHECK ((body ->> 'v')::bigint = v));
SELECT cas_enable('checked', 'v', 'body', version_path => '{v}');
SELECT cas_create('checked', 1, '{"v": 5}'), cas_update('checked', 1, 1, '{"v": 5, "w": 1}');
SELECT * FROM checked;

SET client_min_messages = warning;
DROP SCHEMA cas_versions CASCADE;
