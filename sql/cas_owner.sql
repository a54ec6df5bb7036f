-- Claim: what the extension's owner can change, who need be no superuser, is
-- not believed: a guard whose function was given settings or SECURITY DEFINER
-- goes on guarding, one whose function was replaced is none, and says so.
\pset format unaligned
\pset tuples_only on
CREATE ROLE regress_cas_ext;
CREATE ROLE regress_cas_user;
DROP EXTENSION pg_cas CASCADE;
SELECT current_database() AS db \gset
GRANT CREATE ON DATABASE :"db" TO regress_cas_ext;
CREATE SCHEMA cas_owner AUTHORIZATION regress_cas_ext;
CREATE SCHEMA elsewhere AUTHORIZATION regress_cas_ext;
SET ROLE regress_cas_ext;
SET search_path = cas_owner, cas_test;
CREATE EXTENSION pg_cas;

CREATE TABLE team (name text PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, n int, team text REFERENCES team ON UPDATE CASCADE);
CREATE TABLE plain (id int PRIMARY KEY, n int);
SELECT cas_enable('t', unversioned => 'reject'), cas_enable('plain');
INSERT INTO team VALUES ('red');
INSERT INTO t VALUES (1, 0, 'red');
INSERT INTO plain VALUES (1, 0);
GRANT USAGE ON SCHEMA cas_owner TO regress_cas_user;
GRANT UPDATE (n, resource_version) ON t TO regress_cas_user;

-- Types and what is in cas_internal are not his.
SELECT raises('ALTER TYPE cas_row ALTER ATTRIBUTE version TYPE text');
SELECT raises('ALTER TYPE cas_result DROP ATTRIBUTE id');
SELECT raises('ALTER TYPE cas_row SET SCHEMA elsewhere');
SELECT raises('ALTER FUNCTION cas_internal.cas_table_settings(regclass) SECURITY DEFINER');
SELECT raises($$CREATE OR REPLACE FUNCTION cas_internal.cas_table_settings(rel regclass,
	OUT version_column name) LANGUAGE sql AS 'SELECT NULL'$$);
SELECT raises($$CREATE FUNCTION cas_internal.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'$$);
SELECT raises($$CREATE FUNCTION mine() RETURNS trigger LANGUAGE c AS '$libdir/pg_cas', 'cas_guard'$$);

-- A usual hardening: the functions run in a wrapper.
CREATE FUNCTION use() RETURNS TABLE (what text) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT 'stale: ' || raises('UPDATE t SET n = n + 1, resource_version = 1');
	RETURN QUERY SELECT 'unversioned: ' || raises('UPDATE t SET n = n + 1');
	RETURN QUERY SELECT 'plain: ' || raises('UPDATE plain SET n = n + 1');
	RETURN QUERY SELECT 'a swap: ' || outcome || ' ' || version FROM cas_try_update('t', 1,
		(SELECT version FROM cas_get('t', 1)), '{"n": 0}');
	RETURN QUERY SELECT 'another: ' || outcome FROM cas_try_update('plain', 1,
		(SELECT version FROM cas_get('plain', 1)), jsonb_build_object('n', 1 + (SELECT max(n) FROM plain)));
	RETURN QUERY SELECT 'a key''s action: ' || raises($q$UPDATE team SET name = name || '!'$q$);
	RETURN QUERY SELECT 'a blind: ' || coalesce(as_user, 'none') FROM as_user();
	RETURN QUERY SELECT 'problem: ' || string_agg(coalesce(problem, 'none'), ', ') FROM cas_tables;
END
$$;
RESET ROLE;
-- what somebody is told who may write the table and not read it
CREATE FUNCTION cas_owner.as_user() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	SET LOCAL ROLE regress_cas_user;
	UPDATE cas_owner.t SET n = 3, resource_version = 1;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || detail;
END
$$;
GRANT regress_cas_user TO regress_cas_ext;
SET ROLE regress_cas_ext;
SELECT * FROM use();
ALTER FUNCTION cas_guard() SET search_path = pg_catalog;
ALTER FUNCTION cas_witness() SET work_mem = '1MB';
\c -
SET ROLE regress_cas_ext;
SET search_path = cas_owner, cas_test;
SELECT * FROM use();
SELECT cas_enable('t', unversioned => 'reject', enforce => 'error');
SELECT cas_enable('plain', versions => 'table', writers => 'echo');
ALTER FUNCTION cas_truncate() SET search_path = pg_catalog;
TRUNCATE plain RESTART IDENTITY;
INSERT INTO plain VALUES (1, 0) RETURNING resource_version > 1 AS goes_on;
ALTER FUNCTION cas_guard() SECURITY DEFINER;
ALTER FUNCTION cas_witness() SECURITY DEFINER;
\c -
SET ROLE regress_cas_ext;
SET search_path = cas_owner, cas_test;
SELECT * FROM use();
ALTER FUNCTION cas_guard() SECURITY INVOKER RESET ALL;
ALTER FUNCTION cas_witness() SECURITY INVOKER RESET ALL;
-- the functions that are called
ALTER FUNCTION cas_try_update(regclass, anyelement, bigint, jsonb) SET search_path = pg_catalog;
ALTER FUNCTION cas_get(regclass, anyelement) SECURITY DEFINER;
ALTER FUNCTION cas_enable SET search_path = cas_owner;
SELECT * FROM use();
SELECT cas_enable('plain', writers => 'echo');
ALTER FUNCTION cas_try_update(regclass, anyelement, bigint, jsonb) RESET ALL;
ALTER FUNCTION cas_get(regclass, anyelement) SECURITY INVOKER;

-- Renamed, it is still the guard.
ALTER FUNCTION cas_guard() RENAME TO the_guard;
SELECT raises('UPDATE t SET n = n + 1');
CREATE TABLE later (id int PRIMARY KEY);
SELECT raises($$SELECT cas_enable('later')$$);
ALTER FUNCTION the_guard() RENAME TO cas_guard;
SELECT cas_enable('later');

-- Replaced, it is none: whoever asks is told, and nobody is made to believe
-- that a table is guarded.
CREATE OR REPLACE FUNCTION cas_guard() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN RETURN CASE TG_OP WHEN ''DELETE'' THEN OLD ELSE NEW END; END';
\c -
SET ROLE regress_cas_ext;
SET search_path = cas_owner, cas_test;
SELECT raises($$SELECT cas_update('t', 1, 5, '{"n": 1}')$$);
SELECT raises($$SELECT * FROM cas_get('plain', 1)$$);
SELECT problem FROM cas_tables;
CREATE TABLE never (id int PRIMARY KEY);
SELECT raises($$SELECT cas_enable('never')$$);
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'never'::regclass;
-- his view is what he makes of it, and nothing of ours reads it
CREATE OR REPLACE VIEW cas_tables AS
	SELECT NULL::regclass AS rel, ''::name AS version_column, NULL::name AS payload_column,
		''::text AS writers, ''::text AS unversioned, ''::text AS versions, '{}'::name[] AS ignore_columns,
		'{}'::text[] AS version_path, ''::text AS enforce, ''::text AS big_numbers, NULL::text AS problem;
SELECT raises($$SELECT cas_enable('never')$$);

-- The table's owner and his sequence.
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA cas_owner CASCADE;
DROP EXTENSION IF EXISTS pg_cas CASCADE;
RESET client_min_messages;
CREATE SCHEMA cas_owner AUTHORIZATION regress_cas_ext;
SET search_path = public;
CREATE EXTENSION pg_cas;
SET ROLE regress_cas_ext;
SET search_path = cas_owner, public, cas_test;
CREATE TABLE s (id int PRIMARY KEY, n int);
SELECT cas_enable('s', writers => 'echo', versions => 'table');
INSERT INTO s VALUES (1, 0), (2, 0);
CREATE FUNCTION told() RETURNS text LANGUAGE sql AS
	$$SELECT coalesce(problem, 'none') FROM cas_tables WHERE rel = 's'::regclass$$;
CREATE FUNCTION written() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	v bigint;
BEGIN
	UPDATE s SET n = n + 1 WHERE id = 1 RETURNING resource_version INTO v;
	RETURN 'written' || CASE WHEN v > 2 THEN '' ELSE ', again ' || v END;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT raises('ALTER SEQUENCE s_resource_version_seq SET SCHEMA elsewhere');
ALTER SEQUENCE s_resource_version_seq RENAME TO q;
SELECT told(), written();
SELECT cas_enable('s');
SELECT told(), written();
BEGIN;
ALTER SEQUENCE q INCREMENT -1 MINVALUE -100;
SELECT written();
ROLLBACK;
BEGIN;
ALTER SEQUENCE q MAXVALUE 100 CYCLE;
SELECT setval('q', 100);
SELECT written();
SELECT written();
ROLLBACK;
BEGIN;
ALTER SEQUENCE q OWNED BY NONE;
SELECT told(), written();
SELECT cas_enable('s');
SELECT told(), written();
ROLLBACK;
BEGIN;
DROP SEQUENCE q;
SELECT told(), written();
ROLLBACK;
SELECT told(), written();

RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA cas_owner CASCADE;
DROP SCHEMA elsewhere CASCADE;
REVOKE ALL ON DATABASE :"db" FROM regress_cas_ext;
DROP ROLE regress_cas_ext, regress_cas_user;
