-- Claim: in a read-only transaction reads work and writes raise 25006; and
-- nothing that stands in the caller's search_path in front of pg_catalog, nor
-- the caller's settings, changes what a function does.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_hostile;
SET search_path = cas_hostile, public, cas_test;

CREATE TABLE t (id text PRIMARY KEY, n bigint, body jsonb);
CREATE TABLE d (id bigint PRIMARY KEY, body jsonb);
CREATE TABLE pair (a int, b text, n numeric, PRIMARY KEY (b, a));
SELECT cas_enable('t'), cas_enable('d', payload_column => 'body', version_path => '{m,v}'), cas_enable('pair');
SELECT cas_create('t', 'a', '{"n": 1}'), cas_create('d', 1, '{}'), cas_create('pair', '{"a": 1, "b": "x"}', '{}');
CREATE FUNCTION same(p jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT p';

--
-- Read-only.
--
BEGIN READ ONLY;
SELECT * FROM cas_get('t', 'a');
SELECT * FROM cas_get('d', 1);
SELECT * FROM cas_get('t', 'none');
SELECT rel, problem FROM cas_tables WHERE rel = 't'::regclass;
SELECT format('%-55s ', call) || split_part(raises('SELECT ' || call), E'\n', 1) FROM unnest(ARRAY[
	'cas_enable(''t'')', 'cas_disable(''t'')', 'cas_lock(''t'', ARRAY[''a''])', 'cas_lock(''t'', ARRAY[''a''], ''share'')',
	'cas_create(''t'', ''b'', ''{}'')', 'cas_create(''t'', ''a'', ''{}'')', 'cas_update(''t'', ''a'', 1, ''{"n": 2}'')',
	'cas_update(''t'', ''a'', 1, ''{"n": 1}'')', 'cas_update(''t'', ''a'', 7, ''{}'')', 'cas_update(''t'', ''none'', 7, ''{}'')',
	'cas_patch(''t'', ''a'', 1, ''{}'')', 'cas_delete(''t'', ''a'', 1)', 'cas_delete(''t'', ''none'', 1)', 'cas_rename(''t'', ''a'', 1, ''b'')',
	'cas_merge(''t'', ''a'', ''{}'')', 'cas_apply(''t'', ''a'', ''same(jsonb,jsonb)'')', 'cas_put(''t'', ''a'', ''{}'')',
	'cas_try_create(''t'', ''b'', ''{}'')', 'cas_try_update(''t'', ''a'', 7, ''{}'')', 'cas_try_patch(''t'', ''a'', 7, ''{}'')',
	'cas_try_delete(''t'', ''a'', 7)', 'cas_try_rename(''t'', ''a'', 7, ''b'')'
	]) WITH ORDINALITY AS u (call, i) ORDER BY i;
ROLLBACK;
BEGIN;
SELECT cas_update('t', 'a', 1, '{"n": 2}');
SET TRANSACTION READ ONLY;
SELECT raises($$SELECT cas_update('t', 'a', 2, '{"n": 3}')$$) LIKE '25006%';
SELECT * FROM cas_get('t', 'a');
COMMIT;
SET default_transaction_read_only = on;
SELECT raises($$SELECT cas_merge('t', 'a', '{"n": 3}')$$) LIKE '25006%';
SELECT version FROM cas_get('t', 'a');
RESET default_transaction_read_only;

--
-- Look-alikes of what the code calls, in front of the real ones: each would
-- raise, or lie.
--
CREATE SCHEMA cas_hostile_path;
CREATE FUNCTION cas_hostile_path.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
DO $$
DECLARE
	f record;
	types text[] = ARRAY['text', 'int8', 'int4', 'int2', 'jsonb', 'bool', 'numeric', 'oid', 'name', '"char"',
		'regclass', 'record', 'text[]', 'varchar'];
BEGIN
	-- every operator that a query on these types might name
	FOR f IN SELECT oprname, l, r
		FROM unnest('{=,<>,<,>,<=,>=,~~,!~~,||,->,->>,#>,#>>,-,#-,@>,?,+,*,*=,*<>,~}'::text[]) AS oprname,
			unnest(types) AS l,
			unnest(types) AS r
		WHERE (l = r OR (l IN ('int2', 'int4', 'int8') AND r IN ('int2', 'int4', 'int8'))
			OR (l = 'jsonb' AND r IN ('text', 'text[]', 'int4')) OR (l IN ('text', 'name', 'varchar') AND r IN ('text', 'name', 'varchar')))
	LOOP
		EXECUTE format('CREATE OR REPLACE FUNCTION cas_hostile_path.%I(%s, %s) RETURNS boolean LANGUAGE plpgsql AS $x$ BEGIN RAISE ''trapped by operator''; END $x$',
			'op_' || f.oprname, f.l, f.r);
		EXECUTE format('CREATE OPERATOR cas_hostile_path.%s (FUNCTION = cas_hostile_path.%I, LEFTARG = %s, RIGHTARG = %s)',
			f.oprname, 'op_' || f.oprname, f.l, f.r);
	END LOOP;
	-- functions, of the extension and of PostgreSQL
	FOR f IN SELECT * FROM (VALUES ('cas_differs(anyelement, anyelement)'), ('cas_differs(jsonb, jsonb)'), ('cas_differs(jsonb, jsonb, text[])'),
		('cas_differs(text, text)'), ('cas_differs(bigint, bigint)'),
		('to_jsonb(anyelement)'), ('to_jsonb(record)'), ('row_to_json(record)'), ('jsonb_populate_record(anyelement, jsonb)'), ('max(bigint)'), ('nextval(regclass)'),
		('setval(regclass, bigint)'), ('concat_ws(text, text, text)'), ('format(text, regclass, text)'), ('pg_has_role(oid, text)'),
		('pg_partition_tree(regclass)'), ('has_table_privilege(oid, text)'), ('has_any_column_privilege(oid, text)'), ('string_agg(text, text)'),
		('cas_guard_(bigint)'), ('int8(text)'), ('jsonb(text)'), ('text(bigint)'), ('texteq(text, text)'), ('int8eq(bigint, bigint)'),
		('cas_table_settings(regclass)'), ('coalesce_(text)')) AS v (signature)
	LOOP
		EXECUTE format('CREATE FUNCTION cas_hostile_path.%s RETURNS boolean LANGUAGE plpgsql AS $x$ BEGIN RAISE ''trapped by function''; END $x$', f.signature);
	END LOOP;
	-- types and relations
	EXECUTE 'CREATE DOMAIN cas_hostile_path.int8 AS text';
	EXECUTE 'CREATE DOMAIN cas_hostile_path.jsonb AS text';
	EXECUTE 'CREATE DOMAIN cas_hostile_path.text AS pg_catalog.int4';
	EXECUTE 'CREATE TYPE cas_hostile_path.cas_row AS (x pg_catalog.int4)';
	EXECUTE 'CREATE TYPE cas_hostile_path.cas_result AS (x pg_catalog.int4)';
	EXECUTE 'CREATE TABLE cas_hostile_path.t (id pg_catalog.text, n pg_catalog.int8)';
	EXECUTE 'CREATE VIEW cas_hostile_path.pg_trigger AS SELECT 1 AS tgrelid';
	EXECUTE 'CREATE VIEW cas_hostile_path.pg_class AS SELECT 1 AS oid';
END
$$;
CREATE TABLE p (id int PRIMARY KEY, body jsonb) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
INSERT INTO p VALUES (1, '{}');
CREATE TABLE fresh (id text PRIMARY KEY, v bigint, body jsonb);
INSERT INTO fresh VALUES ('a', 3, '{}'), ('b', 4, '{}');
SET search_path = cas_hostile_path, pg_catalog, public;
-- the trap works
SELECT 'a'::pg_catalog.text = 'a'::pg_catalog.text;
SELECT public.cas_enable('cas_hostile.fresh', 'v', 'body', writers => 'echo', versions => 'table',
	version_path => '{m,v}', ignore_columns => '{}');
SELECT public.cas_enable('cas_hostile.p', payload_column => 'body', version_path => '{v}');
SELECT public.cas_enable('cas_hostile.t', unversioned => 'reject');
SELECT public.cas_create('cas_hostile.t', 'b', '{"n": 1, "body": {"x": 1}}');
SELECT public.cas_update('cas_hostile.t', 'b', 1, '{"n": 2}');
SELECT public.cas_update('cas_hostile.t', 'b', 2, '{"n": 2}');
SELECT public.cas_patch('cas_hostile.t', 'b', 2, '{"body": {"y": 2}}');
SELECT public.cas_merge('cas_hostile.t', 'b', '{"body": {"y": 3}}');
SELECT public.cas_put('cas_hostile.t', 'b', '{"n": 5}');
SELECT public.cas_apply('cas_hostile.t', 'b', 'cas_hostile.same(pg_catalog.jsonb, pg_catalog.jsonb)');
SELECT public.cas_rename('cas_hostile.t', 'b', 5, 'c');
SELECT * FROM public.cas_get('cas_hostile.t', 'c');
SELECT * FROM public.cas_lock('cas_hostile.t', ARRAY['c', 'a']::pg_catalog.text[]);
SELECT * FROM public.cas_lock('cas_hostile.t', '{c,a}', 'share');
SELECT * FROM public.cas_try_create('cas_hostile.t', 'c', '{}');
SELECT * FROM public.cas_try_update('cas_hostile.t', 'c', 1, '{}');
SELECT * FROM public.cas_try_patch('cas_hostile.t', 'c', 6, '{"n": 6}');
SELECT * FROM public.cas_try_rename('cas_hostile.t', 'c', 7, 'a');
SELECT * FROM public.cas_try_delete('cas_hostile.t', 'c', 7);
SELECT * FROM public.cas_try_update('cas_hostile.d', 1::pg_catalog.int8, 1, '{"x": 1}');
SELECT * FROM public.cas_try_rename('cas_hostile.pair', '{"a": 1, "b": "x"}', 1, '{"a": 2, "b": "y"}');
SELECT * FROM public.cas_try_update('cas_hostile.pair', '{"a": 2, "b": "y"}', 2, '{"n": 1.0}');
SELECT * FROM public.cas_try_update('cas_hostile.fresh', 'a', 3, '{"z": 1}');
SELECT * FROM public.cas_try_update('cas_hostile.p', 1, 1, '{"z": 1}');
UPDATE cas_hostile.fresh SET body = '{}';
UPDATE cas_hostile.d SET body = '{"q": 1}';
SELECT id, v, body FROM cas_hostile.fresh ORDER BY id;
SELECT version_column, versions, problem FROM public.cas_tables WHERE rel OPERATOR(pg_catalog.=) 'cas_hostile.fresh'::pg_catalog.regclass;
SELECT version_column, versions, problem FROM public.cas_tables WHERE rel OPERATOR(pg_catalog.=) 'cas_hostile.p'::pg_catalog.regclass;
SELECT public.cas_disable('cas_hostile.fresh');
-- the same with the path empty, and with pg_temp in front
SET search_path = '';
SELECT * FROM public.cas_try_update('cas_hostile.t', 'a', 2, '{"n": 3}');
SET search_path = pg_temp, cas_hostile_path, pg_catalog;
SELECT * FROM public.cas_try_update('cas_hostile.t', 'a', 3, '{"n": 4}');
UPDATE cas_hostile.d SET body = '{"q": 2}';
SET search_path = cas_hostile, public;

-- Settings of the session that change how text is read or written.
SET datestyle = 'German, DMY';
SET intervalstyle = 'sql_standard';
SET bytea_output = 'escape';
SET extra_float_digits = -15;
SET timezone = 'Asia/Tokyo';
SET xmloption = 'document';
-- PostgreSQL 19 has no such settings
DO $$ BEGIN
    IF current_setting('server_version_num')::int < 190000 THEN
        SET standard_conforming_strings = off;
        SET escape_string_warning = off;
    END IF;
END $$;
SET backslash_quote = on;
SET quote_all_identifiers = on;
SET transform_null_equals = on;
SET array_nulls = off;
CREATE TABLE s (id text PRIMARY KEY, ts timestamptz, d date, f float8, i interval, by bytea, n int);
SELECT cas_enable('s', versions => 'table', writers => 'echo', ignore_columns => '{"d"}');
SELECT cas_create('s', E'back\\slash''', '{"ts": "2024-02-29T12:00:00Z", "d": "2024-02-29", "f": 0.1234567890123456789, "i": "1 day", "by": "\\\\x00"}');
SELECT outcome, version, payload -> 'ts', payload -> 'd' FROM cas_try_update('s', E'back\\slash''', 1, '{"n": 1}');
-- a float is written back without loss whatever extra_float_digits says
SELECT outcome FROM cas_try_update('s', E'back\\slash''', 2, '{"f": 0.1234567890123456789}');
SELECT cas_merge('s', E'back\\slash''', '{"n": 2}'), cas_apply('s', E'back\\slash''', 'same(jsonb,jsonb)');
SELECT resource_version FROM s;
CREATE TABLE sd (id date PRIMARY KEY, n int);
SELECT cas_enable('sd');
SELECT cas_create('sd', '29.02.2024', '{"n": 1}');
SELECT id, version FROM cas_get('sd', '2024-02-29'::date);
RESET ALL;
SET search_path = cas_hostile, public;
SELECT f = 0.1234567890123456789 AS whole FROM s;

-- plpgsql variables, prepared statements and cursors around the functions.
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM cas_lock('t', ARRAY['a']);
SELECT cas_update('t', 'a', 4, '{"n": 9}');
FETCH c;
COMMIT;
-- a cursor's row is the one its statement wrote
SELECT cas_update('t', 'a', 5, '{"n": 10}') FROM generate_series(1, 1);
CREATE VIEW through AS SELECT * FROM cas_get('t', 'a');
SELECT * FROM through;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM cas_get('t', 'a');
SELECT * FROM kept;
-- no function may be called by a parallel worker, nor folded into a constant
SELECT proname, provolatile, proparallel FROM pg_proc
WHERE proname IN ('cas_get', 'cas_update', 'cas_try_update', 'cas_lock') GROUP BY 1, 2, 3 ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA cas_hostile_path CASCADE;

SET client_min_messages = warning;
DROP SCHEMA cas_hostile CASCADE;
