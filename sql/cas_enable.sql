-- Claim: cas_enable() puts any table with a usable primary key under
-- compare-and-swap, with every option, and can be called again to change the
-- settings; it refuses, and leaves untouched, what it cannot guard;
-- cas_disable() takes the guard off and keeps the column.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_enable;
SET search_path = cas_enable, public, cas_test;

-- The settings of one table.
CREATE FUNCTION settings(t regclass) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', version_column, payload_column, writers, unversioned,
		versions, 'ignore', ignore_columns, 'path', version_path, enforce,
		big_numbers, 'problem', problem)
	FROM cas_tables WHERE rel = t
$$;

--
-- The version column is added if it is missing: existing rows read 1, and
-- nothing is rewritten.
--
CREATE TABLE plain (id text PRIMARY KEY, n int);
INSERT INTO plain VALUES ('a', 1), ('b', 2);
SELECT pg_relation_filenode('plain') AS node \gset
SELECT cas_enable('plain');
SELECT pg_relation_filenode('plain') = :node AS not_rewritten;
SELECT id, n, resource_version FROM plain ORDER BY id;
SELECT format_type(atttypid, atttypmod), attnotnull,
	pg_get_expr(adbin, adrelid)
FROM pg_attribute JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = 'plain'::regclass AND attname = 'resource_version';
SELECT settings('plain');
INSERT INTO plain VALUES ('c', 3);
UPDATE plain SET n = 4 WHERE id = 'c';
SELECT id, n, resource_version FROM plain WHERE id = 'c';

-- Called again, it changes the settings: what is not said is kept.
SELECT cas_enable('plain', writers => 'echo', unversioned => 'reject',
	ignore_columns => '{n}', enforce => 'warn');
SELECT settings('plain');
SELECT cas_enable('plain', versions => 'table', writers => 'echo');
SELECT settings('plain');
SELECT cas_enable('plain', unversioned => 'allow', big_numbers => 'string');
SELECT settings('plain');
-- what does not go together with what is kept is refused
SELECT raises($$SELECT cas_enable('plain', writers => 'bump')$$);
SELECT cas_enable('plain', writers => 'bump', versions => 'row',
	ignore_columns => '{}', enforce => 'error');
SELECT settings('plain');
-- nothing at all, and nothing new
SELECT xmin AS guard_row, oid AS guard_oid FROM pg_trigger
WHERE tgrelid = 'plain'::regclass AND tgfoid = 'cas_guard()'::regprocedure \gset
SELECT cas_enable('plain');
SELECT cas_enable('plain', writers => 'bump', big_numbers => 'string');
SELECT settings('plain');
SELECT xmin = :guard_row AND oid = :guard_oid AS untouched FROM pg_trigger
WHERE tgrelid = 'plain'::regclass AND tgfoid = 'cas_guard()'::regprocedure;
SELECT count(*) FROM pg_trigger
WHERE tgrelid = 'plain'::regclass AND tgfoid = 'cas_guard()'::regprocedure;
-- back to counting by row, there is no sequence any more
SELECT count(*) FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'cas_enable'::regnamespace;
-- another version column: not while the present one is there
SELECT raises($$SELECT cas_enable('plain', version_column => 'rev')$$);
SELECT settings('plain');
-- it was renamed: nobody but its owner knows to what
ALTER TABLE plain RENAME resource_version TO rev;
SELECT raises($$SELECT cas_enable('plain')$$);
SELECT cas_enable('plain', version_column => 'rev');
SELECT settings('plain');
UPDATE plain SET n = 5 WHERE id = 'c';
SELECT id, n, rev FROM plain ORDER BY id;
-- disabled, it begins anew with another
SELECT cas_disable('plain');
SELECT cas_enable('plain', version_column => 'number');
SELECT settings('plain');
SELECT id, rev, number FROM plain ORDER BY id;
SELECT cas_disable('plain');
ALTER TABLE plain DROP COLUMN number;
SELECT cas_enable('plain', version_column => 'rev');

-- The sequence goes along with a rename, and stays with cas_disable().
CREATE TABLE seq (id int PRIMARY KEY, n int);
SELECT cas_enable('seq', versions => 'table', writers => 'echo');
INSERT INTO seq VALUES (1, 1), (2, 2), (3, 3);
DELETE FROM seq WHERE id > 1;
ALTER TABLE seq RENAME resource_version TO v;
SELECT cas_enable('seq', 'v');
INSERT INTO seq VALUES (4, 4) RETURNING v;
DELETE FROM seq WHERE id > 1;
SELECT cas_disable('seq');
SELECT cas_enable('seq', 'v', versions => 'table', writers => 'echo');
INSERT INTO seq VALUES (5, 5) RETURNING v;
SELECT settings('seq');
SELECT count(*) FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'cas_enable'::regnamespace;
-- one that feeds the column's default is not taken for it
CREATE TABLE serial (id int PRIMARY KEY, v serial);
SELECT cas_enable('serial', 'v', versions => 'table', writers => 'echo');
INSERT INTO serial VALUES (1), (2);
SELECT cas_enable('serial', versions => 'row');
INSERT INTO serial VALUES (3) RETURNING v;

-- The firing modes are kept, those of partitions, too.
CREATE TABLE modes (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE modes1 PARTITION OF modes FOR VALUES FROM (0) TO (10);
CREATE TABLE modes2 PARTITION OF modes FOR VALUES FROM (10) TO (20);
SELECT cas_enable('modes');
ALTER TABLE modes1 ENABLE ALWAYS TRIGGER zzz_cas_guard;
ALTER TABLE modes2 DISABLE TRIGGER "!cas_witness";
SELECT cas_enable('modes', unversioned => 'reject');
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
WHERE tgrelid::regclass::text LIKE 'modes%' ORDER BY 1, 2;
SELECT settings('modes');
DROP TABLE seq, serial, modes;

--
-- An existing column of each integer type is taken as it is.
--
CREATE TABLE small (id int PRIMARY KEY, v smallint NOT NULL DEFAULT 0, n int);
CREATE TABLE medium (id int PRIMARY KEY, v integer DEFAULT 7, n int);
CREATE TABLE large (id int PRIMARY KEY, v bigint, n int);
INSERT INTO small VALUES (1, 5, 0), (2, DEFAULT, 0);
INSERT INTO medium VALUES (1, 5, 0), (2, DEFAULT, 0);
INSERT INTO large VALUES (1, 5, 0), (2, 1000000000000, 0);
SELECT cas_enable('small', 'v');
SELECT cas_enable('medium', 'v');
SELECT cas_enable('large', 'v');
UPDATE small SET n = n + 1;
UPDATE medium SET n = n + 1;
UPDATE large SET n = n + 1;
SELECT 'small', id, v, pg_typeof(v) FROM small
UNION ALL SELECT 'medium', id, v, pg_typeof(v) FROM medium
UNION ALL SELECT 'large', id, v, pg_typeof(v) FROM large ORDER BY 1, 2;
SELECT attrelid::regclass, attnotnull, pg_get_expr(adbin, adrelid)
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid IN ('small'::regclass, 'medium'::regclass, 'large'::regclass)
	AND attname = 'v' ORDER BY attrelid::regclass::text COLLATE "C";

-- With NULLs in it, it is refused; the hint is the UPDATE to run.
CREATE TABLE "Mit Lücken" (id int PRIMARY KEY, "Vers""ion" integer, n int);
INSERT INTO "Mit Lücken" VALUES (1, NULL), (2, 8), (3, NULL);
SELECT raises($$SELECT cas_enable('"Mit Lücken"', 'Vers"ion')$$);
DO $$
DECLARE
	remedy text;
BEGIN
	PERFORM cas_enable('"Mit Lücken"', 'Vers"ion');
EXCEPTION WHEN not_null_violation THEN
	GET STACKED DIAGNOSTICS remedy = PG_EXCEPTION_HINT;
	EXECUTE remedy;
END
$$;
SELECT * FROM "Mit Lücken" ORDER BY id;
SELECT cas_enable('"Mit Lücken"', 'Vers"ion');
SELECT settings('"Mit Lücken"');

-- Columns that cannot be a version.
CREATE TABLE wrong (id int PRIMARY KEY, t text, num numeric, b boolean,
	g bigint GENERATED ALWAYS AS (id + 1) STORED,
	i bigint GENERATED BY DEFAULT AS IDENTITY,
	ia bigint GENERATED ALWAYS AS IDENTITY);
SELECT raises($$SELECT cas_enable('wrong', 't')$$);
SELECT raises($$SELECT cas_enable('wrong', 'num')$$);
SELECT raises($$SELECT cas_enable('wrong', 'b')$$);
SELECT raises($$SELECT cas_enable('wrong', 'g')$$);
SELECT raises($$SELECT cas_enable('wrong', 'i')$$);
SELECT raises($$SELECT cas_enable('wrong', 'ia')$$);
SELECT raises($$SELECT cas_enable('wrong', 'id')$$);
SELECT raises($$SELECT cas_enable('wrong', 'ctid')$$);
SELECT raises($$SELECT cas_enable('wrong', 'xmin')$$);
SELECT settings('wrong') IS NULL AS untouched;

--
-- The payload column.
--
CREATE TABLE doc (id text PRIMARY KEY, body jsonb, j json, t text,
	g jsonb GENERATED ALWAYS AS (body -> 'g') STORED, n int);
SELECT raises($$SELECT cas_enable('doc', payload_column => 'nothing')$$);
SELECT raises($$SELECT cas_enable('doc', payload_column => 'j')$$);
SELECT raises($$SELECT cas_enable('doc', payload_column => 't')$$);
SELECT raises($$SELECT cas_enable('doc', payload_column => 'g')$$);
SELECT attname FROM pg_attribute
WHERE attrelid = 'doc'::regclass AND attname = 'resource_version';
SELECT cas_enable('doc', payload_column => 'body');
SELECT settings('doc');
CREATE DOMAIN document AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
CREATE TABLE doc2 (id text PRIMARY KEY, body document);
SELECT cas_enable('doc2', payload_column => 'body', version_path => '{m,v}');
SELECT settings('doc2');
SELECT cas_create('doc2', 'a', '{"x": 1}');
SELECT * FROM doc2;
SELECT raises($$SELECT cas_update('doc2', 'a', 1, '[1]')$$);

--
-- Words, lists and paths.
--
SELECT raises($$SELECT cas_enable('doc', writers => 'both')$$);
SELECT raises($$SELECT cas_enable('doc', writers => 'BUMP')$$);
SELECT raises($$SELECT cas_enable('doc', unversioned => 'deny')$$);
SELECT raises($$SELECT cas_enable('doc', versions => '')$$);
SELECT raises($$SELECT cas_enable('doc', enforce => 'off')$$);
SELECT raises($$SELECT cas_enable('doc', versions => 'table')$$);
SELECT raises($$SELECT cas_enable('doc', versions => 'table', writers => 'bump')$$);
SELECT raises($$SELECT cas_enable('doc', payload_column => '', version_path => '{v}')$$);
SELECT raises($$SELECT cas_enable('doc', big_numbers => 'text')$$);
SELECT raises($$SELECT cas_enable('doc', payload_column => 'body', version_path => '{a,NULL}')$$);
SELECT raises($$SELECT cas_enable('doc', ignore_columns => '{nothing}')$$);
SELECT raises($$SELECT cas_enable('doc', ignore_columns => '{n,NULL}')$$);
SELECT raises($$SELECT cas_enable('doc', ignore_columns => '{id}')$$);
SELECT raises($$SELECT cas_enable('doc', ignore_columns => '{resource_version}')$$);
-- the settings are those of before
SELECT settings('doc');
-- '' and '{}' take away
SELECT cas_enable('doc', version_path => '{v}', ignore_columns => '{n}');
SELECT settings('doc');
SELECT cas_enable('doc', version_path => '{}');
SELECT settings('doc');
SELECT cas_enable('doc', version_path => '{v}', ignore_columns => '{}');
SELECT settings('doc');
SELECT cas_enable('doc', payload_column => '');
SELECT settings('doc');
SELECT cas_enable('doc', payload_column => 'body');
SELECT settings('doc');

-- NULL is what is not said, but for the table.
SELECT raises($$SELECT cas_enable(NULL)$$);
SELECT cas_enable('doc', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT settings('doc');
SELECT raises($$SELECT cas_disable(NULL)$$);

--
-- Tables that cannot be guarded.
--
CREATE TABLE nokey (id int, n int);
SELECT raises($$SELECT cas_enable('nokey')$$);
CREATE TABLE uniquekey (id int UNIQUE NOT NULL, n int);
SELECT raises($$SELECT cas_enable('uniquekey')$$);
CREATE TABLE laterkey (id int PRIMARY KEY DEFERRABLE, n int);
SELECT raises($$SELECT cas_enable('laterkey')$$);
CREATE VIEW aview AS SELECT * FROM plain;
SELECT raises($$SELECT cas_enable('aview')$$);
CREATE MATERIALIZED VIEW matview AS SELECT * FROM plain;
SELECT raises($$SELECT cas_enable('matview')$$);
CREATE SEQUENCE aseq;
SELECT raises($$SELECT cas_enable('aseq')$$);
SELECT raises($$SELECT cas_enable('plain_pkey')$$);
CREATE TYPE atype AS (id int);
SELECT raises($$SELECT cas_enable('atype')$$);
CREATE FOREIGN DATA WRAPPER regress_cas_enable_fdw;
CREATE SERVER regress_cas_enable_server
	FOREIGN DATA WRAPPER regress_cas_enable_fdw;
CREATE FOREIGN TABLE faraway (id int, n int) SERVER regress_cas_enable_server;
SELECT raises($$SELECT cas_enable('faraway')$$);
CREATE TABLE parted (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
SELECT raises($$SELECT cas_enable('part1')$$);
CREATE TABLE parent (id int PRIMARY KEY, n int);
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
SELECT raises($$SELECT cas_enable('parent')$$);
SELECT raises($$SELECT cas_enable('child')$$);
SELECT raises($$SELECT cas_enable('pg_class')$$);
SELECT raises($$SELECT cas_enable('pg_authid')$$);
SELECT raises(format('SELECT cas_enable(%L)', c.oid::regclass)) AS "the extension's own"
FROM pg_class AS c WHERE relnamespace = 'cas_internal'::regnamespace
	AND relkind = 'r' ORDER BY relname COLLATE "C" LIMIT 1;
SELECT count(*) FROM pg_class AS c
WHERE relnamespace = 'cas_internal'::regnamespace AND relkind = 'r'
	AND raises(format('SELECT cas_enable(%L)', c.oid::regclass))
		NOT LIKE '42809 %belongs to the extension itself%';
CREATE TABLE ruled (id int PRIMARY KEY, n int);
CREATE RULE for_some AS ON UPDATE TO ruled WHERE OLD.n > 5 DO INSTEAD NOTHING;
SELECT raises($$SELECT cas_enable('ruled')$$);
DROP RULE for_some ON ruled;
SELECT cas_enable('ruled');
CREATE RULE for_some AS ON UPDATE TO ruled WHERE OLD.n > 5 DO INSTEAD NOTHING;
SELECT settings('ruled');
SELECT raises($$SELECT cas_enable(1::oid)$$);
-- none of them was changed
SELECT attrelid::regclass FROM pg_attribute
WHERE attname = 'resource_version' AND attrelid IN ('nokey'::regclass,
	'uniquekey'::regclass, 'laterkey'::regclass, 'faraway'::regclass,
	'part1'::regclass, 'parent'::regclass, 'child'::regclass);
-- once its child is gone, the parent is a table like any other
ALTER TABLE child NO INHERIT parent;
SELECT cas_enable('parent');
SELECT cas_enable('child');

-- A temporary table of one's own will do.
CREATE TEMP TABLE mine (id int PRIMARY KEY, n int);
SELECT cas_enable('mine');
SELECT cas_create('mine', 1, '{"n": 1}'), cas_update('mine', 1, 1, '{"n": 2}');
SELECT * FROM mine;
CREATE UNLOGGED TABLE fast (id int PRIMARY KEY, n int);
SELECT cas_enable('fast');

-- A BEFORE trigger that would fire after the guard.
CREATE FUNCTION nop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE trig (id int PRIMARY KEY, n int);
CREATE TRIGGER zzz_last BEFORE UPDATE ON trig
	FOR EACH ROW EXECUTE FUNCTION nop();
SELECT raises($$SELECT cas_enable('trig')$$);
ALTER TRIGGER zzz_last ON trig RENAME TO a_first;
SELECT cas_enable('trig');
SELECT cas_disable('trig');
CREATE TRIGGER zzz_insert BEFORE INSERT ON trig
	FOR EACH ROW EXECUTE FUNCTION nop();
SELECT raises($$SELECT cas_enable('trig')$$);
DROP TRIGGER zzz_insert ON trig;
-- one that would fire before the guard has seen what the statement sets
CREATE TRIGGER " " BEFORE UPDATE ON trig FOR EACH ROW EXECUTE FUNCTION nop();
SELECT raises($$SELECT cas_enable('trig')$$);
DROP TRIGGER " " ON trig;
-- triggers that cannot change the row may have any name
CREATE TRIGGER zzz_delete BEFORE DELETE ON trig
	FOR EACH ROW EXECUTE FUNCTION nop();
CREATE TRIGGER zzz_after AFTER UPDATE ON trig
	FOR EACH ROW EXECUTE FUNCTION nop();
CREATE TRIGGER zzz_statement BEFORE UPDATE ON trig
	FOR EACH STATEMENT EXECUTE FUNCTION nop();
SELECT cas_enable('trig');

--
-- For the table's owner only, or a member of it.
--
CREATE ROLE regress_cas_enable_owner;
CREATE ROLE regress_cas_enable_member IN ROLE regress_cas_enable_owner;
CREATE ROLE regress_cas_enable_other;
GRANT USAGE, CREATE ON SCHEMA cas_enable TO PUBLIC;
CREATE TABLE owned (id int PRIMARY KEY, n int);
ALTER TABLE owned OWNER TO regress_cas_enable_owner;
GRANT ALL ON owned TO regress_cas_enable_other;
SET ROLE regress_cas_enable_other;
SELECT raises($$SELECT cas_enable('owned')$$);
SET ROLE regress_cas_enable_owner;
SELECT cas_enable('owned', versions => 'table', writers => 'echo');
SET ROLE regress_cas_enable_other;
SELECT raises($$SELECT cas_enable('owned')$$);
SELECT raises($$SELECT cas_disable('owned')$$);
-- who may write the table needs no right on its sequence
INSERT INTO owned VALUES (1, 1);
UPDATE owned SET n = 2;
SELECT * FROM owned;
-- a role that has no right on a table does not see it in the view
RESET ROLE;
REVOKE ALL ON owned FROM regress_cas_enable_other;
SET ROLE regress_cas_enable_other;
SELECT count(*) FROM cas_tables WHERE rel = 'owned'::regclass;
RESET ROLE;
GRANT SELECT (id) ON owned TO regress_cas_enable_other;
SET ROLE regress_cas_enable_other;
SELECT count(*) FROM cas_tables WHERE rel = 'owned'::regclass;
RESET ROLE;
REVOKE SELECT (id) ON owned FROM regress_cas_enable_other;
GRANT pg_monitor TO regress_cas_enable_other;
SET ROLE regress_cas_enable_other;
SELECT settings('owned');
SET ROLE regress_cas_enable_member;
SELECT settings('owned');
SELECT cas_disable('owned');
RESET ROLE;
SELECT settings('owned') IS NULL AS disabled;

--
-- cas_disable() keeps the column and what is in it.
--
SELECT id, rev FROM plain ORDER BY id;
SELECT cas_disable('plain');
UPDATE plain SET n = 0, rev = 100 WHERE id = 'a';
UPDATE plain SET n = 0 WHERE id = 'b';
SELECT id, rev FROM plain ORDER BY id;
SELECT raises($$SELECT cas_disable('plain')$$);
SELECT raises($$SELECT * FROM cas_get('plain', 'a')$$);
SELECT raises($$SELECT cas_update('plain', 'a', 1, '{"n": 1}')$$);
SELECT raises($$SELECT cas_disable('aview')$$);
SELECT raises($$SELECT cas_disable('part1')$$);
SELECT cas_enable('parted');
SELECT raises($$SELECT cas_disable('part1')$$);
SELECT cas_disable('parted');
-- and on again
SELECT cas_enable('plain', 'rev');
SELECT settings('plain');
UPDATE plain SET n = 1 WHERE id = 'a';
SELECT rev FROM plain WHERE id = 'a';
-- the sequence of versions goes with the table
CREATE TABLE counted (id int PRIMARY KEY);
SELECT cas_enable('counted', versions => 'table', writers => 'echo');
SELECT relname FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'cas_enable'::regnamespace
	AND relname LIKE 'counted%';
DROP TABLE counted;
SELECT relname FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'cas_enable'::regnamespace
	AND relname LIKE 'counted%';

-- All of it is rolled back with the transaction.
CREATE TABLE undone (id int PRIMARY KEY, n int);
BEGIN;
SELECT cas_enable('undone', versions => 'table', writers => 'echo');
ROLLBACK;
SELECT settings('undone') IS NULL AS undone;
SELECT raises($$SELECT * FROM cas_get('undone', 1)$$);

-- A payload column that is the key; a path of the same length as before, and
-- one that is longer than most statements.
CREATE TABLE by_doc (doc jsonb PRIMARY KEY, n int);
SELECT raises($$SELECT cas_enable('by_doc', payload_column => 'doc')$$);
CREATE TABLE pathed (id int PRIMARY KEY, doc jsonb);
SELECT cas_enable('pathed', payload_column => 'doc', version_path => '{meta, v}');
SELECT cas_enable('pathed', version_path => '{meta, w}');
INSERT INTO pathed VALUES (1, '{}');
SELECT cas_enable('pathed', version_path => ARRAY[repeat('x', 2000), '"it''s"']);
INSERT INTO pathed VALUES (2, '{}');
SELECT id, doc #>> '{meta, w}' AS former, doc #>> ARRAY[repeat('x', 2000), '"it''s"'] AS now FROM pathed ORDER BY id;

-- A path is refused as long as the version is not in all documents: nobody would
-- write it there later.
ALTER TABLE pathed DISABLE TRIGGER zzz_cas_guard;
SELECT raises($$SELECT cas_enable('pathed', version_path => '{meta, x}')$$);
ALTER TABLE pathed ENABLE TRIGGER zzz_cas_guard;
SET session_replication_role = replica;
SELECT raises($$SELECT cas_enable('pathed', version_path => '{meta, x}')$$);
RESET session_replication_role;
CREATE FUNCTION keep_second() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN RETURN CASE NEW.id WHEN 1 THEN NEW END; END';
CREATE TRIGGER keep_second BEFORE UPDATE ON pathed FOR EACH ROW EXECUTE FUNCTION keep_second();
SELECT raises($$SELECT cas_enable('pathed', version_path => '{meta, x}')$$);
DROP TRIGGER keep_second ON pathed;
SELECT cas_enable('pathed', version_path => '{meta, x}');
SELECT doc #> '{meta, x}' = to_jsonb(resource_version) AS written FROM pathed;

-- A guarded table that has become a partition of another one, which is not
-- guarded, says so, and can be disabled.
CREATE TABLE whole (id int PRIMARY KEY, n int, resource_version bigint NOT NULL DEFAULT 1)
	PARTITION BY RANGE (id);
CREATE TABLE piece (LIKE whole INCLUDING ALL);
SELECT cas_enable('piece');
ALTER TABLE whole ATTACH PARTITION piece FOR VALUES FROM (1) TO (10);
SELECT rel, problem FROM cas_tables WHERE rel::text IN ('whole', 'piece');
INSERT INTO whole VALUES (1, 1);
UPDATE whole SET n = 2 RETURNING resource_version;
SELECT cas_disable('piece');
UPDATE whole SET n = 3 RETURNING resource_version;
SELECT cas_enable('whole');
SELECT raises($$SELECT cas_disable('piece')$$);
SELECT rel, problem FROM cas_tables WHERE rel::text IN ('whole', 'piece');

-- The firing mode of a trigger that goes.
CREATE TABLE firing (id int PRIMARY KEY, n int);
SELECT cas_enable('firing', versions => 'table', writers => 'echo');
ALTER TABLE firing ENABLE ALWAYS TRIGGER cas_truncate;
ALTER TABLE firing ENABLE ALWAYS TRIGGER zzz_cas_guard;
SELECT cas_enable('firing', versions => 'row');
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'firing'::regclass ORDER BY tgname;
SELECT problem FROM cas_tables WHERE rel = 'firing'::regclass;

-- A guard made by hand that names no sequence.
CREATE TABLE by_hand (id int PRIMARY KEY, resource_version bigint NOT NULL DEFAULT 1);
CREATE TRIGGER cas_guard BEFORE INSERT OR UPDATE OR DELETE ON by_hand FOR EACH ROW
	EXECUTE FUNCTION cas_guard('version_column=resource_version', 'versions=table');
SELECT problem FROM cas_tables WHERE rel = 'by_hand'::regclass;
SELECT raises('INSERT INTO by_hand VALUES (1)');

SET client_min_messages = warning;
DROP SCHEMA cas_enable CASCADE;
DROP FOREIGN DATA WRAPPER regress_cas_enable_fdw CASCADE;
DROP ROLE regress_cas_enable_owner, regress_cas_enable_member,
	regress_cas_enable_other;
