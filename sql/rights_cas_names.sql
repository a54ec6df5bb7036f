-- Claim: no name of a table, column, schema, operator, type or path can do
-- anything but name its thing, and nothing in the caller's search_path is
-- ever taken for one of PostgreSQL's own functions, operators or types.
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE SCHEMA "ri""ghts'; DROP TABLE x; --";
SET search_path = "ri""ghts'; DROP TABLE x; --", public;

-- Run a statement; the answer is its value, or the SQLSTATE and what the
-- DETAIL, which has to be JSON, says of the table and the id.
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    detail text;
BEGIN
    EXECUTE statement INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN CASE WHEN SQLSTATE ~ '^PT|23505' THEN concat_ws(' ', SQLSTATE,
            detail::jsonb ->> 'table', detail::jsonb ->> 'id')
        ELSE concat_ws(' ', SQLSTATE, SQLERRM) END;
END
$$;

-- 1. Names.  The key has two columns, the payload is the row's columns.
CREATE TABLE "ta'ble"";{%s}$1 tä" (
    "k'""ey,1" text,
    "$1" int,
    "ver""sion' = ver" int NOT NULL DEFAULT 1,
    "pay'""load\" jsonb,
    "ig,no""re','" text,
    PRIMARY KEY ("k'""ey,1", "$1"));
SELECT cas_enable('"ta''ble"";{%s}$1 tä"',
    version_column => 'ver"sion'' = ver',
    ignore_columns => ARRAY['ig,no"re'',''']);
SELECT rel, version_column, ignore_columns, problem FROM cas_tables
WHERE rel = '"ta''ble"";{%s}$1 tä"'::regclass;
SELECT c AS call, try(format('SELECT cas_%s', format(c,
    $$'"ta''ble"";{%s}$1 tä"', '{"k''\"ey,1": "a''\\\"", "$1": 1}'$$))) AS answer
FROM unnest(ARRAY[
    $$create(%s, '{"pay''\"load\\": {"n": 1}}')$$,
    $$create(%s, '{}')$$,
    $$get(%s)$$,
    $$update(%s, 1, '{"ig,no\"re'',''": "x"}')$$,
    $$try_update(%s, 1, '{"pay''\"load\\": {"n": 2}}')$$,
    $$update(%s, 1, '{}')$$,
    $$patch(%s, 2, '{"pay''\"load\\": {"m''": "%%s"}}')$$,
    $$merge(%s, '{"pay''\"load\\": {"n": null}}')$$,
    $$rename(%s, 4, '{"k''\"ey,1": "b", "$1": 2}')$$,
    $$try_delete(%s, 4)$$]) AS c;
UPDATE "ta'ble"";{%s}$1 tä" SET "ig,no""re','" = 'y';
TABLE "ta'ble"";{%s}$1 tä";
SELECT try($$UPDATE "ta'ble"";{%s}$1 tä" SET "ver""sion' = ver" = 9$$);

-- The same with a document, a path and a sequence.
CREATE TABLE "do""c'" ("i""d'" uuid PRIMARY KEY, "d""oc'" jsonb);
INSERT INTO "do""c'" VALUES ('00000000-0000-0000-0000-000000000001', '{}');
SELECT cas_enable('"do""c''"', version_column => '"v"', payload_column => 'd"oc''',
    writers => 'echo', versions => 'table',
    version_path => ARRAY['a"b', 'c,d', 'e''f', '', '\', ' x ']);
SELECT try($$SELECT cas_update('"do""c''"', '00000000-0000-0000-0000-000000000001', 1, '{"n": 1}')$$);
SELECT try($$SELECT cas_update('"do""c''"', '00000000-0000-0000-0000-000000000001', 1, '{"n": 2}')$$);
SELECT version_path, problem FROM cas_tables WHERE rel = '"do""c''"'::regclass;
TABLE "do""c'";
SELECT cas_disable('"do""c''"');
SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = '"ri""ghts''; DROP TABLE x; --"'::regnamespace;

-- 2. A key of a type whose operators have names of their own, in a schema
-- that is not in the search_path.
CREATE SCHEMA "rights ""ops";
CREATE TYPE "rights ""ops"."k'ey" AS (n int);
SET search_path = "rights ""ops", public;
CREATE FUNCTION cmp("k'ey", "k'ey") RETURNS int LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT pg_catalog.btint4cmp(($1).n, ($2).n)';
CREATE FUNCTION lt("k'ey", "k'ey") RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT ($1).n OPERATOR(pg_catalog.<) ($2).n';
CREATE FUNCTION le("k'ey", "k'ey") RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT ($1).n OPERATOR(pg_catalog.<=) ($2).n';
CREATE FUNCTION eq("k'ey", "k'ey") RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT ($1).n OPERATOR(pg_catalog.=) ($2).n';
CREATE OPERATOR <<<# (FUNCTION = lt, LEFTARG = "k'ey", RIGHTARG = "k'ey");
CREATE OPERATOR <=@# (FUNCTION = le, LEFTARG = "k'ey", RIGHTARG = "k'ey");
CREATE OPERATOR ~!@#%^&|`?= (FUNCTION = eq, LEFTARG = "k'ey", RIGHTARG = "k'ey");
CREATE FUNCTION ge("k'ey", "k'ey") RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT ($1).n OPERATOR(pg_catalog.>=) ($2).n';
CREATE FUNCTION gt("k'ey", "k'ey") RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
    AS 'SELECT ($1).n OPERATOR(pg_catalog.>) ($2).n';
CREATE OPERATOR >=@# (FUNCTION = ge, LEFTARG = "k'ey", RIGHTARG = "k'ey");
CREATE OPERATOR >>># (FUNCTION = gt, LEFTARG = "k'ey", RIGHTARG = "k'ey");
CREATE OPERATOR CLASS "k'ey_ops" DEFAULT FOR TYPE "k'ey" USING btree AS
    OPERATOR 1 <<<#, OPERATOR 2 <=@#, OPERATOR 3 ~!@#%^&|`?=,
    OPERATOR 4 >=@#, OPERATOR 5 >>>#, FUNCTION 1 cmp("k'ey", "k'ey");
CREATE TABLE keyed (id "k'ey" PRIMARY KEY, n int);
SELECT cas_enable('keyed');
SET search_path = public;
SELECT cas_create('"rights ""ops".keyed', '(7)', '{"n": 1}');
SELECT * FROM cas_try_update('"rights ""ops".keyed', '(7)', 1, '{"n": 2}');
SELECT * FROM cas_try_rename('"rights ""ops".keyed', '(7)', 2, '(8)');
SELECT * FROM cas_lock('"rights ""ops".keyed', '{(8),(7)}'::text[]);
SELECT cas_delete('"rights ""ops".keyed', '(8)', 3);

-- 3. Look-alikes in front of everything, of just the argument types in use.
-- Each raises when it is called.
RESET search_path;
CREATE SCHEMA rights_evil;
CREATE FUNCTION rights_evil.trap() RETURNS boolean LANGUAGE plpgsql
    AS $$BEGIN RAISE EXCEPTION 'trapped'; END$$;
DO $$
DECLARE
    f text;
    o record;
    t text;
BEGIN
    SET LOCAL check_function_bodies = off;
    FOREACH f IN ARRAY '{to_jsonb(record),to_jsonb(bigint),to_jsonb(integer),
        to_jsonb(text),max(bigint),set_config(text\,text\,boolean),
        "nextval(regclass)","setval(regclass\,bigint)",concat_ws(text\,text\,text),
        format(text\,regclass\,text),pg_has_role(oid\,text),
        "cas_differs(jsonb\,jsonb\,text[])",cas_differs(integer\,integer),
        cas_differs(text\,text),cas_differs(jsonb\,jsonb),
        cas_guard(),"cas_table_settings(oid)","cas_table_settings(regclass)",
        has_any_column_privilege(oid\,text),
        "jsonb_populate_record(anyelement\,jsonb)",now()}'::text[]
    LOOP
        EXECUTE format('CREATE FUNCTION rights_evil.%s RETURNS %s LANGUAGE plpgsql
            AS ''BEGIN RAISE EXCEPTION ''''trapped''''; END''', f,
            CASE WHEN f = 'cas_guard()' THEN 'trigger'
                WHEN f ~ 'anyelement' THEN 'anyelement' ELSE 'boolean' END);
    END LOOP;
    FOREACH t IN ARRAY '{integer,bigint,smallint,text,uuid,jsonb,oid,name,boolean,record,regclass}'::text[] LOOP
        EXECUTE format('CREATE FUNCTION rights_evil.op(a %1$s, b %1$s) RETURNS boolean
            LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION ''''trapped''''; END''', t);
        FOR o IN SELECT * FROM unnest('{=,<>,*<>,<,>,||}'::text[]) AS op LOOP
            EXECUTE format('CREATE OPERATOR rights_evil.%s (FUNCTION = rights_evil.op,
                LEFTARG = %s, RIGHTARG = %2$s)', o.op, t);
        END LOOP;
    END LOOP;
    CREATE FUNCTION rights_evil.op(a integer, b bigint) RETURNS boolean
        LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
    CREATE OPERATOR rights_evil.= (FUNCTION = rights_evil.op, LEFTARG = integer, RIGHTARG = bigint);
    CREATE FUNCTION rights_evil.op(a jsonb, b text[]) RETURNS jsonb
        LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END';
    CREATE OPERATOR rights_evil.#> (FUNCTION = rights_evil.op, LEFTARG = jsonb, RIGHTARG = text[]);
END
$$;
CREATE DOMAIN rights_evil.int8 AS pg_catalog.int8 CHECK (rights_evil.trap());
CREATE DOMAIN rights_evil.text AS pg_catalog.text CHECK (rights_evil.trap());
CREATE DOMAIN rights_evil.jsonb AS pg_catalog.jsonb CHECK (rights_evil.trap());
CREATE TABLE rights_evil.pg_trigger (a int);
CREATE TABLE rights_evil.pg_class (a int);
CREATE TABLE rights_evil.victim (id pg_catalog.int4);
CREATE SCHEMA rights_victim;
CREATE TABLE rights_victim.victim (id int PRIMARY KEY, d jsonb, n int);
CREATE TABLE rights_victim.cols (id text PRIMARY KEY, n int, t text, j jsonb);
INSERT INTO rights_victim.victim VALUES (1, '{}', 1);

-- A privileged role, with that path in its session, enables, reads, swaps,
-- looks, and writes past the guard.
SET search_path = rights_evil, pg_catalog, public;
SELECT 1 = 1;
SELECT cas_enable('rights_victim.victim', payload_column => 'd', ignore_columns => '{n}',
    writers => 'echo', versions => 'table', version_path => '{meta,version}');
SELECT cas_enable('rights_victim.cols', unversioned => 'reject');
SELECT cas_get('rights_victim.victim', '1');
SELECT cas_create('rights_victim.victim', '2', '{}');
SELECT cas_update('rights_victim.victim', '1', 1, '{"n": 1}');
SELECT cas_try_update('rights_victim.victim', '1', 3, '{"n": 1}');
SELECT cas_try_patch('rights_victim.victim', '1', 3, '{"m": 1}');
SELECT cas_merge('rights_victim.victim', '1', '{"k": 1}');
SELECT cas_lock('rights_victim.victim', '{2,1}'::pg_catalog.text[]);
SELECT cas_try_rename('rights_victim.victim', '2', 2, '3');
SELECT cas_put('rights_victim.cols', 'a', '{"n": 1, "t": "x"}');
SELECT cas_try_update('rights_victim.cols', 'a', 1, '{"n": 2, "t": "y", "j": {}}');
SELECT cas_try_patch('rights_victim.cols', 'a', 2, '{"j": {"k": 1}}');
SELECT cas_get('rights_victim.cols', 'a');
SELECT cas_delete('rights_victim.cols', 'a', 3);
UPDATE rights_victim.victim SET n = 2;
UPDATE rights_victim.victim SET d = '{"plain": true}' WHERE id OPERATOR(pg_catalog.=) 1;
SELECT rel, writers, versions, problem FROM cas_tables
WHERE rel OPERATOR(pg_catalog.=) 'rights_victim.victim'::pg_catalog.regclass;
SELECT * FROM rights_victim.victim ORDER BY id USING OPERATOR(pg_catalog.<);
SELECT cas_disable('rights_victim.victim');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA "ri""ghts'; DROP TABLE x; --", "rights ""ops", rights_evil, rights_victim CASCADE;
