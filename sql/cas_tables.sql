-- Claim: cas_tables shows the settings of every guarded table and says what
-- is wrong with it.  A guard whose table was renamed, moved or changed goes
-- on working or raises an error that says what is missing; it never lets a
-- writer pass in silence.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_tables;
SET search_path = cas_tables, public, cas_test;

-- The problem of one table, or "none"; no row: it is not guarded.
CREATE FUNCTION problem(t regclass) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(problem, 'none') FROM cas_tables WHERE rel = t
$$;

--
-- A setting has one name: as an argument of cas_enable(), as a column of the
-- view, and of the function below it, which C makes of its own table.
--
SELECT array_to_string(proargnames[2:], ' ') FROM pg_proc
WHERE oid = 'cas_enable'::regproc;
SELECT array_to_string(e.proargnames[2:], ' ') || ' problem' =
		array_to_string(s.proargnames[2:], ' ') AS function,
	array_to_string(e.proargnames, ' ') || ' problem' = (
		SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
		WHERE attrelid = 'cas_tables'::regclass AND attnum > 0) AS view
FROM pg_proc AS e, pg_proc AS s
WHERE e.oid = 'cas_enable'::regproc
	AND s.oid = 'cas_internal.cas_table_settings'::regproc;

--
-- Settings as they were given, of any name.
--
CREATE TABLE d (id text PRIMARY KEY, body jsonb, seen int, "a,b" int,
	"q""q" int, "b\s" int, "it's" int);
SELECT cas_enable('d');
SELECT * FROM cas_tables WHERE rel = 'd'::regclass;
SELECT cas_disable('d');
SELECT cas_enable('d', version_column => 'Version 2', payload_column => 'body',
	writers => 'echo', unversioned => 'reject', versions => 'table',
	ignore_columns => '{seen,"a,b","q\"q","b\\s",it''s}',
	version_path => '{meta,"a,b","q\"q",it''s,"back\\slash"," ",ünï}',
	enforce => 'warn');
SELECT * FROM cas_tables WHERE rel = 'd'::regclass;
INSERT INTO d VALUES ('a', '{}');
SELECT body FROM d;
-- ignored columns of such names are ignored
UPDATE d SET seen = 1, "a,b" = 1, "q""q" = 1, "b\s" = 1, "it's" = 1;
SELECT "Version 2" FROM d;

--
-- Every kind of damage.
--
CREATE TABLE t (id int PRIMARY KEY, body jsonb, seen int, n int);
INSERT INTO t VALUES (1, '{}', 0, 0);
SELECT cas_enable('t', 'v', 'body', writers => 'echo', versions => 'table',
	ignore_columns => '{seen}');
SELECT problem('t');

-- The guard is disabled.
SELECT tgname AS guard FROM pg_trigger
WHERE tgrelid = 't'::regclass AND tgfoid = 'cas_guard()'::regprocedure \gset
ALTER TABLE t DISABLE TRIGGER :"guard";
SELECT problem('t');
SELECT raises('SELECT * FROM cas_get(''t'', 1)');
SELECT raises('SELECT cas_update(''t'', 1, 1, ''{"a": 1}'')');
ALTER TABLE t ENABLE REPLICA TRIGGER :"guard";
SELECT problem('t');
SELECT raises('SELECT cas_update(''t'', 1, 1, ''{"a": 1}'')');
ALTER TABLE t ENABLE ALWAYS TRIGGER :"guard";
SELECT cas_update('t', 1, 1, '{"a": 1}');
ALTER TABLE t ENABLE TRIGGER :"guard";
SELECT problem('t');

-- So is any part of it.
ALTER TABLE t DISABLE TRIGGER USER;
SELECT problem('t') <> 'none';
ALTER TABLE t ENABLE TRIGGER USER;
SELECT problem('t');
DO $$
DECLARE
	part name;
BEGIN
	FOR part IN SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass
		ORDER BY tgname COLLATE "C" LOOP
		EXECUTE format('ALTER TABLE t DISABLE TRIGGER %I', part);
		RAISE NOTICE 'without %: told: %', part, problem('t') <> 'none';
		EXECUTE format('ALTER TABLE t ENABLE TRIGGER %I', part);
		RAISE NOTICE 'with it: told: %', problem('t') <> 'none';
		EXECUTE format('ALTER TABLE t ENABLE REPLICA TRIGGER %I', part);
		RAISE NOTICE 'as a replica''s: told: %', problem('t') <> 'none';
		EXECUTE format('ALTER TABLE t ENABLE TRIGGER %I', part);
		BEGIN
			EXECUTE format('DROP TRIGGER %I ON t', part);
			RAISE NOTICE 'dropped: %', coalesce(problem('t'), 'not guarded');
			RAISE 'undo';
		EXCEPTION WHEN raise_exception THEN
		END;
	END LOOP;
END
$$;

-- A later trigger, created afterwards.
CREATE FUNCTION nop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER zzzz BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION nop();
SELECT problem('t');
DROP TRIGGER zzzz ON t;
CREATE TRIGGER zzzz BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nop();
SELECT problem('t');
DROP TRIGGER zzzz ON t;
CREATE TRIGGER zzzz BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION nop();
SELECT problem('t');
DROP TRIGGER zzzz ON t;
-- an earlier one
CREATE TRIGGER " " BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION nop();
SELECT problem('t');
DROP TRIGGER " " ON t;

-- Columns renamed: every writer is told, and none passes.
ALTER TABLE t RENAME v TO w;
SELECT problem('t');
SELECT raises('UPDATE t SET n = 1');
SELECT raises('INSERT INTO t VALUES (2)');
SELECT raises('SELECT cas_update(''t'', 1, 1, ''{}'')');
SELECT raises('SELECT * FROM cas_get(''t'', 1)');
ALTER TABLE t RENAME w TO v;
ALTER TABLE t RENAME body TO document;
SELECT problem('t');
SELECT raises('UPDATE t SET n = 1');
ALTER TABLE t RENAME document TO body;
ALTER TABLE t RENAME seen TO heard;
SELECT problem('t');
SELECT raises('UPDATE t SET n = 1');
ALTER TABLE t RENAME heard TO seen;
SELECT problem('t');
UPDATE t SET n = 1;
SELECT id, v FROM t;
-- renamed and enabled with the new name
ALTER TABLE t RENAME v TO w;
SELECT cas_enable('t', 'w', 'body', writers => 'echo', versions => 'table');
UPDATE t SET n = 2;
SELECT id, w FROM t;
ALTER TABLE t RENAME w TO v;
SELECT cas_enable('t', 'v', 'body', writers => 'echo', versions => 'table');

-- Types changed.
BEGIN;
ALTER TABLE t ALTER v TYPE numeric;
SELECT problem('t');
SELECT raises('UPDATE t SET n = 1');
ROLLBACK;
BEGIN;
ALTER TABLE t ALTER body TYPE json USING body::json;
SELECT problem('t');
SELECT raises('UPDATE t SET n = 1');
ROLLBACK;
BEGIN;
ALTER TABLE t ALTER v TYPE integer;
SELECT problem('t');
UPDATE t SET n = 3;
SELECT id, v, pg_typeof(v) FROM t;
ROLLBACK;

-- The column dropped; added again, the table is as new.
BEGIN;
ALTER TABLE t DROP COLUMN v;
SELECT problem('t');
SELECT raises('UPDATE t SET n = 1');
SELECT cas_enable('t', 'v', writers => 'echo', versions => 'table');
SELECT problem('t');
SELECT id, v FROM t;
ROLLBACK;

-- The primary key dropped.
ALTER TABLE t DROP CONSTRAINT t_pkey;
SELECT problem('t');
SELECT raises('SELECT * FROM cas_get(''t'', 1)');
SELECT raises('SELECT cas_create(''t'', 5, ''{}'')');
-- the guard needs none
UPDATE t SET n = 5 RETURNING v > 1 AS advanced;
ALTER TABLE t ADD PRIMARY KEY (id) DEFERRABLE;
SELECT problem('t');
SELECT raises('SELECT * FROM cas_get(''t'', 1)');
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id);
SELECT problem('t');

-- The sequence dropped, renamed, moved.
BEGIN;
DROP SEQUENCE t_v_seq;
SELECT problem('t');
SELECT raises('UPDATE t SET n = 6');
SELECT raises('INSERT INTO t VALUES (7)');
SELECT v AS before FROM t \gset
SELECT cas_enable('t', 'v', 'body', writers => 'echo', versions => 'table');
SELECT problem('t');
UPDATE t SET n = 6 RETURNING v > :before AS advanced;
ROLLBACK;

-- Inheritance, made afterwards: the child's rows are not guarded.
CREATE TABLE heir () INHERITS (t);
SELECT problem('t');
DROP TABLE heir;
SELECT problem('t');
CREATE TABLE heir (LIKE t INCLUDING ALL);
CREATE TABLE mother (id int NOT NULL);
SELECT cas_enable('heir', 'v');
SELECT problem('heir');
ALTER TABLE heir INHERIT mother;
SELECT problem('heir');
DROP TABLE heir, mother;

-- A partition's guard disabled.
CREATE TABLE p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
SELECT cas_enable('p');
SELECT problem('p');
ALTER TABLE p1 DISABLE TRIGGER :"guard";
SELECT problem('p');
ALTER TABLE p1 ENABLE TRIGGER :"guard";
CREATE TRIGGER zzzz BEFORE UPDATE ON p2 FOR EACH ROW EXECUTE FUNCTION nop();
SELECT problem('p');
DROP TRIGGER zzzz ON p2;
SELECT problem('p');
-- one line for all of it
SELECT rel FROM cas_tables WHERE rel::text LIKE 'p%' ORDER BY 1;
-- a partition that is detached is guarded no longer, and says so
ALTER TABLE p DETACH PARTITION p2;
SELECT problem('p2') IS NULL AS not_guarded;

-- A guard made by hand, with arguments that are none.
CREATE TABLE hand (id int PRIMARY KEY, resource_version bigint);
CREATE TRIGGER zzz_cas_guard BEFORE INSERT OR UPDATE ON hand
	FOR EACH ROW EXECUTE FUNCTION cas_guard('version_column=resource_version', 'colour=red');
SELECT problem('hand');
SELECT raises('INSERT INTO hand VALUES (1, 1)');
DROP TRIGGER zzz_cas_guard ON hand;
CREATE TRIGGER zzz_cas_guard BEFORE INSERT OR UPDATE ON hand
	FOR EACH ROW EXECUTE FUNCTION cas_guard();
SELECT raises('INSERT INTO hand VALUES (1, 1)');
SELECT cas_enable('hand');
SELECT problem('hand');
SELECT raises('SELECT cas_guard()');

--
-- Table, schema and sequence renamed: all of it goes on working.
--
CREATE TABLE r (id int PRIMARY KEY, n int);
SELECT cas_enable('r', writers => 'echo', versions => 'table');
INSERT INTO r VALUES (1, 1);
CREATE SCHEMA cas_tables_2;
ALTER TABLE r RENAME TO s;
UPDATE s SET n = n + 1 RETURNING id, n, resource_version;
SELECT cas_update('s', 1, 2, '{"n": 9}');
ALTER TABLE s SET SCHEMA cas_tables_2;
SELECT problem('cas_tables_2.s');
UPDATE cas_tables_2.s SET n = n + 1 RETURNING id, n, resource_version;
ALTER SCHEMA cas_tables_2 RENAME TO "cas_tables Drei";
SELECT problem('"cas_tables Drei".s');
UPDATE "cas_tables Drei".s SET n = n + 1 RETURNING id, n, resource_version;
SELECT * FROM cas_get('"cas_tables Drei".s', 1);
SELECT rel FROM cas_tables WHERE rel = '"cas_tables Drei".s'::regclass;
SELECT cas_disable('"cas_tables Drei".s');
DROP SCHEMA "cas_tables Drei" CASCADE;

-- A table's versions do not begin again, whatever was renamed: the sequence is
-- found, or a writer is told which one is missing and cas_enable() goes on
-- beyond every version that there ever was.
CREATE SCHEMA cas_tables_2;
CREATE TABLE cas_tables_2.t2 (id int PRIMARY KEY, n int);
SELECT cas_enable('cas_tables_2.t2', writers => 'echo', versions => 'table');
INSERT INTO cas_tables_2.t2 VALUES (1, 1), (2, 1), (3, 1);
DELETE FROM cas_tables_2.t2 WHERE id > 1;
ALTER SCHEMA cas_tables_2 RENAME TO cas_tables_4;
SELECT cas_enable('cas_tables_4.t2', writers => 'echo', versions => 'table');
SELECT problem('cas_tables_4.t2');
INSERT INTO cas_tables_4.t2 VALUES (3, 2) RETURNING resource_version > 3 AS new;
DELETE FROM cas_tables_4.t2 WHERE id > 1;
ALTER SEQUENCE cas_tables_4.t2_resource_version_seq RENAME TO "Quell'";
SELECT cas_enable('cas_tables_4.t2', writers => 'echo', versions => 'table');
INSERT INTO cas_tables_4.t2 VALUES (3, 3) RETURNING resource_version > 4 AS new;
-- one sequence, which stays when the guard goes
SELECT count(*) FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'cas_tables_4'::regnamespace;
ALTER SCHEMA cas_tables_4 RENAME TO cas_tables_5;
SELECT cas_disable('cas_tables_5.t2');
SELECT count(*) FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'cas_tables_5'::regnamespace;
SET client_min_messages = warning;
DROP SCHEMA cas_tables_5 CASCADE;
RESET client_min_messages;

-- DROP EXTENSION names the guarded tables, CASCADE leaves their data.
DROP TABLE d, p, p2, hand;
DROP EXTENSION pg_cas;
BEGIN;
SET LOCAL client_min_messages = warning;
DROP EXTENSION pg_cas CASCADE;
UPDATE t SET n = 7;
SELECT id, n, v > 1 AS version_kept FROM t;
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA cas_tables CASCADE;
