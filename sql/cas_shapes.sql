-- Claim: tables of every shape can be under compare-and-swap: partitioned
-- ones, with rows that move and partitions that come and go; ones with
-- generated columns, CHECKs, exclusion and deferred constraints and foreign
-- keys; ones with names that need quotes, in schemas outside the search_path.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_shapes;
SET search_path = cas_shapes, public, cas_test;

--
-- Partitioned by hash, by range, in two levels.
--
CREATE TABLE h (id text PRIMARY KEY, n int) PARTITION BY HASH (id);
CREATE TABLE h0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
-- its columns stand in another order
CREATE TABLE h1 (n int, gone int, id text NOT NULL);
ALTER TABLE h1 DROP COLUMN gone;
ALTER TABLE h ATTACH PARTITION h1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT cas_enable('h', unversioned => 'reject');
SELECT cas_create('h', i::text, jsonb_build_object('n', i)) FROM generate_series(1, 8) i;
SELECT count(DISTINCT tableoid) FROM h;
SELECT cas_update('h', i::text, 1, jsonb_build_object('n', -i)) FROM generate_series(1, 8) i;
SELECT cas_rename('h', i::text, 2, 'r' || i) FROM generate_series(1, 8) i;
SELECT id, n, resource_version FROM h ORDER BY id;
SELECT id FROM cas_lock('h', ARRAY['r5', 'r1', 'r8', 'x', 'r2']);
SELECT raises($$UPDATE h SET n = 0$$) LIKE 'PT428%';
SELECT raises($$UPDATE h0 SET n = 0$$) LIKE 'PT428%';
SELECT raises($$UPDATE h1 SET n = 0$$) LIKE 'PT428%';
SELECT * FROM cas_try_create('h', 'r1', '{}');
SELECT * FROM cas_try_rename('h', 'r1', 3, 'r2');
SELECT raises($$SELECT cas_rename('h', 'r1', 3, 'r2')$$);
SELECT cas_delete('h', 'r' || i, 3) FROM generate_series(1, 8) i;

CREATE TABLE r (region int, id int, n int, v int DEFAULT 1, twice int GENERATED ALWAYS AS (n * 2) STORED,
	PRIMARY KEY (id, region)) PARTITION BY RANGE (region);
CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (10);
CREATE TABLE r2 PARTITION OF r FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
CREATE TABLE r2a PARTITION OF r2 FOR VALUES IN (1, 2, 3);
CREATE TABLE r2b PARTITION OF r2 DEFAULT;
INSERT INTO r VALUES (1, 1, 0), (11, 1, 0), (12, 5, 0);
SELECT cas_enable('r', 'v');
-- a row moves: by UPDATE, with its version said or not, and by cas_rename
UPDATE r SET region = 13 WHERE region = 1;
SELECT tableoid::regclass, * FROM r ORDER BY region, id;
SELECT raises('UPDATE r SET region = 2, v = v WHERE region = 13') LIKE 'PT409%';
UPDATE r SET region = 2, v = v + 1 WHERE region = 13;
SELECT tableoid::regclass, * FROM r ORDER BY region, id;
DELETE FROM r WHERE region = 11;
UPDATE r SET region = 15 WHERE region = 2;
SELECT tableoid::regclass, * FROM r ORDER BY region, id;
SELECT * FROM cas_try_rename('r', '{"id": 1, "region": 15}', 4, '{"id": 4, "region": 5}');
SELECT * FROM cas_try_rename('r', '{"id": 4, "region": 5}', 5, '{"id": 5, "region": 12}');
SELECT tableoid::regclass, * FROM r ORDER BY region, id;
SELECT cas_enable('r', 'v', writers => 'echo', unversioned => 'reject');
UPDATE r SET region = 15, v = v WHERE id = 4;
SELECT cas_rename('r', '{"id": 4, "region": 15}', 6, '{"id": 3, "region": 15}');
SELECT cas_patch('r', '{"id": 3, "region": 15}', 7, '{"n": 7}');
SELECT tableoid::regclass, * FROM r ORDER BY region, id;
-- no partition for it: PostgreSQL's own error
SELECT raises($$SELECT cas_rename('r', '{"id": 3, "region": 15}', 8, '{"id": 3, "region": 99}')$$);
SELECT raises($$SELECT cas_create('r', '{"id": 3, "region": 99}', '{}')$$);
-- each function on a partition itself
SELECT * FROM cas_get('r2', '{"id": 3, "region": 15}');
SELECT * FROM cas_try_update('r2a', '{"id": 3, "region": 15}', 8, '{"n": 8}');
SELECT cas_create('r1', '{"id": 9, "region": 9}', '{"n": 9}');
SELECT raises($$SELECT cas_create('r1', '{"id": 9, "region": 19}', '{"n": 9}')$$);

-- Partitions that come later.
CREATE TABLE p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
SELECT cas_enable('p', unversioned => 'reject');
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
CREATE TABLE p3 (resource_version bigint NOT NULL DEFAULT 1, n int, id int PRIMARY KEY);
INSERT INTO p3 VALUES (5, 0, 25);
ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30);
INSERT INTO p VALUES (1, 0), (11, 0), (21, 0);
SELECT raises('UPDATE p2 SET n = 1') LIKE 'PT428%';
SELECT raises('UPDATE p SET n = 1 WHERE id = 25') LIKE 'PT428%';
SELECT cas_merge('p', 25, '{"n": 1}'), cas_merge('p', 11, '{"n": 1}');
-- one with a guard of its own is disabled first
CREATE TABLE p4 (id int PRIMARY KEY, n int);
SELECT cas_enable('p4');
INSERT INTO p4 VALUES (31, 0);
UPDATE p4 SET n = 1;
SELECT raises('ALTER TABLE p ATTACH PARTITION p4 FOR VALUES FROM (30) TO (40)') LIKE '42710 trigger%exists';
SELECT cas_disable('p4');
ALTER TABLE p ATTACH PARTITION p4 FOR VALUES FROM (30) TO (40);
SELECT cas_update('p', 31, 2, '{"n": 2}');
SELECT raises('UPDATE p SET n = 5 WHERE id = 31') LIKE 'PT428%';
-- detached, it can be enabled by itself
ALTER TABLE p DETACH PARTITION p4;
UPDATE p4 SET n = 3;
SELECT cas_enable('p4');
UPDATE p4 SET n = 4;
SELECT * FROM p4;
SELECT * FROM cas_try_update('p', 31, 3, '{"n": 2}');
-- settings changed at the root are the partitions'
SELECT cas_enable('p', writers => 'echo', unversioned => 'allow');
UPDATE p SET n = 9;
UPDATE p3 SET n = 10, resource_version = resource_version;
SELECT tableoid::regclass, id, n, resource_version FROM p ORDER BY id;
SELECT cas_disable('p');
UPDATE p SET n = 0;
SELECT tableoid::regclass, id, n, resource_version FROM p ORDER BY id;
SELECT count(*) FROM pg_trigger WHERE tgfoid = 'cas_guard()'::regprocedure
	AND tgrelid IN ('p'::regclass, 'p1'::regclass, 'p2'::regclass, 'p3'::regclass);
-- versions with NULLs in a partition
ALTER TABLE p ADD v int;
SELECT raises($$SELECT cas_enable('p', 'v')$$);
UPDATE p SET v = 1;
SELECT cas_enable('p', 'v');

--
-- Constraints: what a plain statement meets, a swap meets.
--
CREATE TABLE c (id int PRIMARY KEY, n int CHECK (n >= 0), name text UNIQUE,
	during int4range, later int, half int GENERATED ALWAYS AS (n / 2) STORED,
	must text NOT NULL DEFAULT 'x',
	EXCLUDE USING gist (during WITH &&),
	CONSTRAINT c_later UNIQUE (later) DEFERRABLE INITIALLY DEFERRED);
SELECT cas_enable('c');
SELECT cas_create('c', 1, '{"n": 1, "name": "one", "during": "[1,5)", "later": 1}');
SELECT cas_create('c', 2, '{"n": 2, "name": "two", "during": "[5,9)", "later": 2}');
SELECT raises($$SELECT cas_try_update('c', 1, 1, '{"n": -1}')$$);
SELECT raises($$SELECT cas_try_create('c', 3, '{"n": -1}')$$);
SELECT raises($$SELECT cas_try_update('c', 1, 1, '{"name": "two"}')$$);
-- 'exists' is about the primary key; another unique violation is an error
SELECT raises($$SELECT cas_try_create('c', 3, '{"name": "two"}')$$);
SELECT raises($$SELECT cas_put('c', 3, '{"name": "two"}')$$);
SELECT outcome FROM cas_try_create('c', 1, '{"name": "two"}');
SELECT raises($$SELECT cas_try_create('c', 3, '{"during": "[4,6)"}')$$);
SELECT raises($$SELECT cas_try_patch('c', 1, 1, '{"during": "[4,6)"}')$$);
SELECT raises($$SELECT cas_try_update('c', 1, 1, '{"must": null}')$$);
SELECT id, n, half, name, during, later, resource_version FROM c ORDER BY id;
-- deferred: at COMMIT, or when it is set immediate; meanwhile all goes on
BEGIN;
SELECT cas_update('c', 1, 1, '{"later": 2}'), cas_update('c', 2, 1, '{"later": 1}');
COMMIT;
SELECT id, later, resource_version FROM c ORDER BY id;
BEGIN;
SELECT cas_update('c', 1, 2, '{"later": 1}');
COMMIT;
SELECT id, later, resource_version FROM c ORDER BY id;

-- Foreign keys both ways.
CREATE TABLE dept (id text PRIMARY KEY, head int);
CREATE TABLE emp (id int PRIMARY KEY, dept text REFERENCES dept, n int);
ALTER TABLE dept ADD FOREIGN KEY (head) REFERENCES emp DEFERRABLE INITIALLY DEFERRED;
SELECT cas_enable('dept'), cas_enable('emp', unversioned => 'reject');
BEGIN;
SELECT cas_create('dept', 'd', '{"head": 1}'), cas_create('emp', 1, '{"dept": "d"}');
COMMIT;
SELECT raises($$SELECT cas_create('emp', 2, '{"dept": "nowhere"}')$$);
SELECT raises($$SELECT cas_try_update('emp', 1, 1, '{"dept": "nowhere"}')$$);
SELECT raises($$SELECT cas_delete('dept', 'd', 1)$$);
SELECT raises($$SELECT cas_try_delete('dept', 'd', 1)$$);
SELECT raises($$SELECT cas_try_rename('dept', 'd', 1, 'e')$$);
BEGIN;
SELECT cas_update('dept', 'd', 1, '{"head": 99}');
COMMIT;
SELECT * FROM dept, emp;

-- A conflict on the version comes before all of these.
SELECT outcome FROM cas_try_delete('dept', 'd', 7);
SELECT outcome FROM cas_try_update('c', 1, 7, '{"n": -1}');
SELECT outcome FROM cas_try_update('c', 99, 7, '{"n": -1}');

--
-- Indexes, a primary key with INCLUDE, one on part of a wide row, a table of
-- nothing but its key.
--
CREATE TABLE inc (a int, b int, n int, PRIMARY KEY (a) INCLUDE (b));
SELECT cas_enable('inc');
SELECT cas_create('inc', 1, '{"b": 1, "n": 1}');
SELECT * FROM cas_try_update('inc', 1, 1, '{"b": 2}');
CREATE TABLE only_key (id int PRIMARY KEY);
SELECT cas_enable('only_key');
SELECT * FROM cas_try_create('only_key', 1, '{}');
SELECT * FROM cas_try_update('only_key', 1, 1, '{}');
SELECT * FROM cas_try_update('only_key', 1, 1, '{"id": 1}');
SELECT * FROM cas_try_update('only_key', 1, 2, '{}');
SELECT * FROM cas_try_rename('only_key', 1, 1, 2);
SELECT * FROM cas_get('only_key', 2);
SELECT * FROM cas_try_patch('only_key', 2, 2, '{}');
SELECT cas_merge('only_key', 2, '{}'), cas_put('only_key', 2, '{}'), cas_put('only_key', 3, '{}');
SELECT cas_delete('only_key', 2, 2);
CREATE TABLE only_key_v (id int PRIMARY KEY, v int NOT NULL);
SELECT cas_enable('only_key_v', 'v');
SELECT raises($$INSERT INTO only_key_v VALUES (1, NULL)$$);
SELECT * FROM cas_try_create('only_key_v', 5, '{}');
DO $$
BEGIN
	EXECUTE (SELECT 'CREATE TABLE wide (id int PRIMARY KEY, '
		|| string_agg('c' || i || ' int', ', ') || ')' FROM generate_series(1, 1500) i);
END
$$;
SELECT cas_enable('wide');
SELECT cas_create('wide', 1, '{"c1": 1, "c1500": 1}');
SELECT cas_update('wide', 1, 1, payload || '{"c700": 7}') FROM cas_get('wide', 1);
SELECT c1, c700, c1500, resource_version FROM wide;

--
-- Names.
--
CREATE SCHEMA "cas_shapes Größe; DROP TABLE x;--";
CREATE TABLE "cas_shapes Größe; DROP TABLE x;--"."Tab""le $1 'x' \ %s" (
	"i""d" text PRIMARY KEY, "select" int, "größe" text, "a.b" int, "$2" int, "t" int, "r" int,
	"pay load" jsonb, "ver'sion" smallint);
SELECT c.oid::regclass AS odd FROM pg_class c WHERE relname LIKE 'Tab%' AND relkind = 'r' \gset
SELECT cas_enable(:'odd', 'ver''sion', ignore_columns => '{a.b}', unversioned => 'reject');
SELECT cas_create(:'odd', $$'"; --$$, '{"select": 1, "größe": "groß", "a.b": 1, "$2": 2, "t": 3, "r": 4, "pay load": {}}');
SELECT * FROM cas_try_update(:'odd', $$'"; --$$, 1, '{"select": 2, "größe": "größer", "a.b": 2, "$2": 3}');
SELECT * FROM cas_try_patch(:'odd', $$'"; --$$, 2, '{"pay load": {"x": {"y": 1}}}');
SELECT * FROM cas_try_rename(:'odd', $$'"; --$$, 3, '$1');
SELECT * FROM cas_try_create(:'odd', '$1', '{}');
SELECT * FROM cas_lock(:'odd', ARRAY['$1']);
SELECT raises(format('SELECT cas_update(%L, %L, 2, ''{}'')', :'odd', '$1'));
SELECT raises(format('SELECT cas_create(%L, %L, ''{}'')', :'odd', '$1'));
SELECT raises(format('UPDATE %s SET "select" = 5', :'odd'));
SELECT raises(format('SELECT cas_update(%L, %L, 4, ''{"i\"d": "other"}'')', :'odd', '$1'));
SELECT raises(format('SELECT cas_update(%L, %L, 4, ''{"ver''''sion": 4}'')', :'odd', '$1'));
SELECT cas_enable(:'odd', 'ver''sion', 'pay load', writers => 'echo', versions => 'table',
	version_path => '{"a.b",it''s}');
SELECT * FROM cas_try_update(:'odd', '$1', 4, '{"z": 1}');
SELECT cas_delete(:'odd', '$1', 5);
SELECT rel = :'odd'::regclass, version_column, payload_column, version_path, problem FROM cas_tables
WHERE rel::text LIKE '%Tab%';
SELECT cas_disable(:'odd');
SET client_min_messages = warning;
DROP SCHEMA "cas_shapes Größe; DROP TABLE x;--" CASCADE;
RESET client_min_messages;
-- names of 63 bytes
CREATE TABLE a123456789b123456789c123456789d123456789e123456789f123456789ghi (
	a123456789b123456789c123456789d123456789e123456789f123456789ghi int PRIMARY KEY,
	b123456789b123456789c123456789d123456789e123456789f123456789ghi int,
	c123456789b123456789c123456789d123456789e123456789f123456789ghi int);
SELECT cas_enable('a123456789b123456789c123456789d123456789e123456789f123456789ghi',
	'c123456789b123456789c123456789d123456789e123456789f123456789ghi',
	writers => 'echo', versions => 'table');
SELECT cas_create('a123456789b123456789c123456789d123456789e123456789f123456789ghi', 1, '{}'),
	cas_merge('a123456789b123456789c123456789d123456789e123456789f123456789ghi', 1,
		'{"b123456789b123456789c123456789d123456789e123456789f123456789ghi": 5}');
SELECT problem FROM cas_tables WHERE rel = 'a123456789b123456789c123456789d123456789e123456789f123456789ghi'::regclass;
-- a table that is named like what the code calls things
CREATE TABLE t (t int PRIMARY KEY, r int, v int, pg_catalog int, excluded int);
SELECT cas_enable('t', 'v');
SELECT cas_create('t', 1, '{"r": 1, "excluded": 2}'), cas_update('t', 1, 1, '{"r": 2, "pg_catalog": 1}');
SELECT * FROM cas_get('t', 1);

-- A schema outside the search_path.
CREATE SCHEMA cas_shapes_far;
CREATE TABLE cas_shapes_far.x (id int PRIMARY KEY, n int);
SELECT cas_enable('cas_shapes_far.x', versions => 'table', writers => 'echo');
SET search_path = pg_catalog;
SELECT public.cas_create('cas_shapes_far.x', 1, '{"n": 1}'), public.cas_put('cas_shapes_far.x', 1, '{"n": 2}');
UPDATE cas_shapes_far.x SET n = 3;
SELECT cas_test.raises($$SELECT public.cas_update('cas_shapes_far.x', 1, 1, '{"n": 2}')$$);
SELECT * FROM public.cas_get('cas_shapes_far.x', 1);
SET search_path = '';
SELECT * FROM public.cas_try_update('cas_shapes_far.x', 1, 3, '{"n": 9}');
SET search_path = cas_shapes, public;
DROP TABLE cas_shapes_far.x;
DROP SCHEMA cas_shapes_far;

-- a row type of which an attribute was dropped
CREATE TYPE cut AS (a int, b text, c int);
CREATE TABLE with_cut (id int PRIMARY KEY, v cut);
INSERT INTO with_cut VALUES (1, (1, 'b', 3));
ALTER TYPE cut DROP ATTRIBUTE b;
SELECT cas_enable('with_cut');
SELECT * FROM cas_get('with_cut', 1);
SELECT * FROM cas_try_update('with_cut', 1, 1, '{"v": {"a": 1, "c": 3}}');
SELECT * FROM cas_try_update('with_cut', 1, 1, '{"v": {"a": 1, "c": 4}}');
SELECT * FROM with_cut;

SET client_min_messages = warning;
DROP SCHEMA cas_shapes CASCADE;
