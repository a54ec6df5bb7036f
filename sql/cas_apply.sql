-- Claim: cas_apply() replaces a row's payload by what a function makes of it,
-- calls the function once, with the caller's rights, under the row's lock, and
-- refuses what is no such function or no payload; nothing that the function
-- itself does to the row is lost or overwritten in silence.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_apply;
SET search_path = cas_apply, public, cas_test;

CREATE TABLE d (id text PRIMARY KEY, body jsonb);
CREATE TABLE c (id int PRIMARY KEY, n int, body jsonb, j json, num numeric, g int GENERATED ALWAYS AS (n * 2) STORED);
SELECT cas_enable('d', payload_column => 'body'), cas_enable('c', unversioned => 'reject');
SELECT cas_create('d', 'a', '{"n": 1}'), cas_create('c', 1, '{"n": 1, "num": 1.50}');
UPDATE c SET j = '{"b":  1, "a":2}', resource_version = resource_version + 1;

-- Called once, with the payload and the arguments.
CREATE FUNCTION add_n(payload jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'called with % and %', payload, args;
	RETURN payload || jsonb_build_object('n', (payload ->> 'n')::int + coalesce((args ->> 'by')::int, 1));
END
$$;
SELECT cas_apply('d', 'a', 'add_n(jsonb, jsonb)', '{"by": 5}');
SELECT cas_apply('d', 'a', 'add_n(jsonb, jsonb)');
SELECT cas_apply('d', 'a', 'add_n(jsonb, jsonb)', 'null');
SELECT cas_apply('d', 'a', 'cas_apply.add_n(jsonb,jsonb)'::regprocedure, args => '{"by": 0}');
SELECT * FROM cas_get('d', 'a');
-- columns: what the function leaves as it was is not written
SELECT cas_apply('c', 1, 'add_n(jsonb, jsonb)', '{"by": 10}');
SELECT * FROM c;
SELECT cas_apply('c', 1, 'add_n(jsonb, jsonb)', '{"by": 0}');
-- ids of any type
SELECT cas_apply('c', '1', 'add_n(jsonb, jsonb)'), cas_apply('c', 1::bigint, 'add_n(jsonb, jsonb)');
-- a row that is missing: the function is not called
SELECT raises($$SELECT cas_apply('d', 'none', 'add_n(jsonb, jsonb)')$$);
SELECT raises($$SELECT cas_apply('c', 99, 'add_n(jsonb, jsonb)')$$);

-- Any language, volatility and strictness.
CREATE FUNCTION in_sql(jsonb, jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT $1 || '{"sql": true}' $$;
CREATE FUNCTION strictly(jsonb, jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT $1 || $2 $$;
SELECT cas_apply('d', 'a', 'in_sql(jsonb, jsonb)');
SELECT cas_apply('d', 'a', 'pg_catalog.jsonb_concat(jsonb, jsonb)', '{"internal": true}');
SELECT cas_apply('d', 'a', 'strictly(jsonb, jsonb)', '{"strict": true}');
SELECT * FROM cas_get('d', 'a');
-- in a cas_txn() it sees the operations before it, also if it is not volatile
CREATE FUNCTION n_of_a(jsonb, jsonb) RETURNS jsonb LANGUAGE sql STABLE AS
	$$ SELECT jsonb_build_object('n', (SELECT body->>'n' FROM d WHERE id = 'a')) $$;
SELECT cas_create('d', 'after', '{}');
SELECT cas_txn('[]', '[{"op": "merge", "table": "d", "id": "a", "patch": {"n": 77}},
	{"op": "apply", "table": "d", "id": "after", "fn": "n_of_a(jsonb,jsonb)"}]') -> 'succeeded';
SELECT payload FROM cas_get('d', 'after');
-- strict, and there is a NULL: the result would be NULL
SELECT raises($$SELECT cas_apply('d', 'a', 'strictly(jsonb, jsonb)')$$);
CREATE FUNCTION nothing(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL::jsonb $$;
SELECT raises($$SELECT cas_apply('d', 'a', 'nothing(jsonb, jsonb)')$$);
SELECT raises($$SELECT cas_apply('c', 1, 'nothing(jsonb, jsonb)')$$);
-- a document that is NULL comes as NULL
INSERT INTO d VALUES ('null', NULL);
CREATE FUNCTION was_null(p jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('was_null', p IS NULL) $$;
SELECT cas_apply('d', 'null', 'was_null(jsonb, jsonb)');
SELECT * FROM cas_get('d', 'null');

-- What is no such function.
CREATE FUNCTION one_argument(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION three(jsonb, jsonb, jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION other_types(jsonb, text) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION as_json(jsonb, jsonb) RETURNS json LANGUAGE sql AS $$ SELECT $1::json $$;
CREATE FUNCTION many(jsonb, jsonb) RETURNS SETOF jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION poly(anyelement, anyelement) RETURNS anyelement LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION vari(jsonb, VARIADIC jsonb[]) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION trig() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION nothing_at_all(jsonb, jsonb) RETURNS void LANGUAGE sql AS '';
CREATE PROCEDURE proc(INOUT jsonb, jsonb) LANGUAGE plpgsql AS 'BEGIN END';
CREATE AGGREGATE agg(jsonb, jsonb) (SFUNC = three, STYPE = jsonb);
SELECT format('%-30s', f) || split_part(raises(format('SELECT cas_apply(''d'', ''a'', %L)', f)), E'\n', 1)
FROM unnest(ARRAY['one_argument(jsonb)', 'three(jsonb,jsonb,jsonb)', 'other_types(jsonb,text)', 'as_json(jsonb,jsonb)',
	'many(jsonb,jsonb)', 'poly(anyelement,anyelement)', 'vari(jsonb,jsonb[])', 'trig()', 'nothing_at_all(jsonb,jsonb)',
	'proc(jsonb,jsonb)', 'agg(jsonb,jsonb)', 'lag(anyelement,int)', 'no_function(jsonb,jsonb)', 'add_n', '1', '0'
	]) WITH ORDINALITY AS u (f, i) ORDER BY i;
SELECT raises($$SELECT cas_apply('d', 'a', 'one_argument(jsonb)')$$);

-- Payloads that are none.
CREATE FUNCTION give(jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args $$;
SELECT cas_apply('d', 'a', 'give(jsonb, jsonb)', '[1]'), cas_apply('d', 'a', 'give(jsonb, jsonb)', 'null');
SELECT * FROM cas_get('d', 'a');
SELECT raises($$SELECT cas_apply('c', 1, 'give(jsonb, jsonb)', '[1]')$$);
SELECT raises($$SELECT cas_apply('c', 1, 'give(jsonb, jsonb)', '{"nothing": 1}')$$);
SELECT raises($$SELECT cas_apply('c', 1, 'give(jsonb, jsonb)', '{"g": 1}')$$);
SELECT raises($$SELECT cas_apply('c', 1, 'give(jsonb, jsonb)', '{"resource_version": 1}')$$);
SELECT raises($$SELECT cas_apply('c', 1, 'give(jsonb, jsonb)', '{"id": 2}')$$);
SELECT raises($$SELECT cas_apply('c', 1, 'give(jsonb, jsonb)', '{"n": "x"}')$$);
SELECT cas_apply('c', 1, 'give(jsonb, jsonb)', '{"id": 1, "n": 7, "body": {"x": null}}');
-- what it leaves out stays, as with cas_update
SELECT * FROM c;

-- Errors pass through, and nothing is written.
CREATE FUNCTION fails(jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = 'XY123'; END $$;
SELECT raises($$SELECT cas_apply('d', 'a', 'fails(jsonb, jsonb)')$$);
SELECT version FROM cas_get('d', 'a');

--
-- Functions that write to the row themselves: never lost in silence.
--
SELECT cas_put('d', 'w', '{"n": 1}'), cas_put('d', 'other', '{"n": 1}');
CREATE FUNCTION writes(p jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE args ->> 'do';
	RETURN p || '{"result": 1}';
END
$$;
SELECT raises($$SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "UPDATE d SET body = ''{\"lost\": 1}'' WHERE id = ''w''"}')$$);
SELECT raises($$SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "SELECT cas_merge(''d'', ''w'', ''{\"lost\": 1}'')"}')$$);
SELECT raises($$SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "DELETE FROM d WHERE id = ''w''"}')$$);
SELECT raises($$SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "UPDATE d SET id = ''w2'' WHERE id = ''w''"}')$$);
SELECT raises($$SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "SELECT cas_rename(''d'', ''w'', 1, ''w2'')"}')$$);
SELECT * FROM cas_get('d', 'w');
-- another row is nobody's business
SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "SELECT cas_merge(''d'', ''other'', ''{\"m\": 1}'')"}');
SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "SELECT cas_apply(''d'', ''other'', ''in_sql(jsonb,jsonb)'')"}');
SELECT * FROM cas_lock('d', ARRAY['w', 'other']);
-- nor is one that it writes and undoes
CREATE FUNCTION repents(p jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		UPDATE d SET body = '{"lost": 1}' WHERE id = 'w';
		RAISE 'undo';
	EXCEPTION WHEN raise_exception THEN
	END;
	RETURN p || '{"result": 2}';
END
$$;
SELECT cas_apply('d', 'w', 'repents(jsonb, jsonb)');
SELECT * FROM cas_get('d', 'w');
-- with 'reject', what it writes is not the call's
SELECT cas_create('c', 2, '{"n": 2}');
SELECT raises($$SELECT cas_apply('c', 1, 'writes(jsonb, jsonb)', '{"do": "UPDATE c SET n = 9 WHERE id = 2"}')$$) LIKE 'PT428%';
SELECT raises($$SELECT cas_apply('c', 1, 'writes(jsonb, jsonb)', '{"do": "UPDATE c SET n = 9 WHERE id = 1"}')$$) LIKE 'PT428%';
-- DDL on the table in the middle of it
SELECT raises($$SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "ALTER TABLE d ADD extra int"}')$$);
SELECT raises($$SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "DROP TABLE d"}')$$);
SELECT raises($$SELECT cas_apply('d', 'w', 'writes(jsonb, jsonb)', '{"do": "SELECT cas_disable(''d'')"}')$$) <> 'no error' AS refused;
SELECT count(*) FROM cas_tables WHERE rel = 'd'::regclass;

--
-- Rights: the caller's, whoever wrote the function; EXECUTE is needed.
--
CREATE ROLE regress_cas_apply_user;
CREATE ROLE regress_cas_apply_owner;
GRANT USAGE ON SCHEMA cas_apply TO regress_cas_apply_user, regress_cas_apply_owner;
GRANT SELECT, UPDATE ON d TO regress_cas_apply_user;
CREATE FUNCTION who(p jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p || jsonb_build_object('who', current_user) $$;
CREATE FUNCTION definer(p jsonb, jsonb) RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$ SELECT p || jsonb_build_object('who', current_user) $$;
ALTER FUNCTION definer OWNER TO regress_cas_apply_owner;
REVOKE EXECUTE ON FUNCTION add_n FROM PUBLIC;
SET ROLE regress_cas_apply_user;
SELECT cas_apply('d', 'w', 'who(jsonb, jsonb)') > 0;
SELECT body ->> 'who' FROM d WHERE id = 'w';
SELECT cas_apply('d', 'w', 'definer(jsonb, jsonb)') > 0;
SELECT body ->> 'who' FROM d WHERE id = 'w';
SELECT raises($$SELECT cas_apply('d', 'w', 'add_n(jsonb, jsonb)')$$);
SELECT raises($$SELECT cas_apply('c', 1, 'who(jsonb, jsonb)')$$);
RESET ROLE;
-- after EXECUTE is gone, it is gone
REVOKE EXECUTE ON FUNCTION who FROM PUBLIC;
SET ROLE regress_cas_apply_user;
SELECT raises($$SELECT cas_apply('d', 'w', 'who(jsonb, jsonb)')$$);
RESET ROLE;
-- the family's server-driven writes can be revoked by themselves
BEGIN;
REVOKE EXECUTE ON FUNCTION cas_apply(regclass, text, regprocedure, jsonb) FROM PUBLIC;
SET ROLE regress_cas_apply_user;
SELECT raises($$SELECT cas_apply('d', 'w', 'in_sql(jsonb, jsonb)')$$);
ROLLBACK;
-- a function that is replaced between two calls is called as it now is
CREATE OR REPLACE FUNCTION in_sql(jsonb, jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT $1 || '{"sql": "new"}' $$;
SELECT cas_apply('d', 'w', 'in_sql(jsonb, jsonb)') > 0;
SELECT body ->> 'sql' FROM d WHERE id = 'w';
REVOKE ALL ON d FROM regress_cas_apply_user;
REVOKE ALL ON SCHEMA cas_apply FROM regress_cas_apply_user, regress_cas_apply_owner;
DROP FUNCTION definer;
DROP ROLE regress_cas_apply_user, regress_cas_apply_owner;

-- a function that makes the transaction read-only
CREATE TABLE plain (id int PRIMARY KEY, n int);
SELECT cas_enable('plain');
INSERT INTO plain VALUES (1, 1);
CREATE FUNCTION read_only(payload jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	SET TRANSACTION READ ONLY;
	RETURN '{"n": 2}';
END
$$;
SELECT raises($$SELECT cas_apply('plain', 1, 'read_only(jsonb, jsonb)')$$);
TABLE plain;

-- Functions that alter the table in the middle of it, also by a trigger of
-- another table: the same is done, or said, with and without the direct path.
CREATE TABLE other (id int PRIMARY KEY, n int);
SELECT cas_enable('other');
INSERT INTO other VALUES (1, 1);
CREATE FUNCTION alters(payload jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE args ->> 'do';
	RETURN coalesce(args -> 'payload', payload || '{"n": 2}');
END
$$;
CREATE FUNCTION notes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.n = NEW.n + 100;
	RETURN NEW;
END
$$;
CREATE FUNCTION alters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.n = 7 THEN
		EXECUTE TG_ARGV[0];
	END IF;
	RETURN NEW;
END
$$;
CREATE FUNCTION both_ways(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	path text; answer text; answers text[];
BEGIN
	FOREACH path IN ARRAY '{on,off}'::text[] LOOP
		BEGIN
			PERFORM set_config('pg_cas.direct_path', path, true);
			EXECUTE call INTO answer;
			EXECUTE 'SELECT concat_ws('' '', $1, (SELECT jsonb_agg(to_jsonb(plain)) FROM plain), (SELECT jsonb_agg(to_jsonb(other)) FROM other))' INTO answer USING answer;
			RAISE EXCEPTION USING ERRCODE = 'YYYYY';
		EXCEPTION WHEN SQLSTATE 'YYYYY' THEN
			answers := answers || answer;
		WHEN OTHERS THEN
			answers := answers || (SQLSTATE || ': ' || SQLERRM);
		END;
	END LOOP;
	RETURN CASE WHEN answers[1] = answers[2] THEN answers[1] ELSE answers::text END;
END
$$;
CREATE TEMP TABLE altering AS SELECT * FROM unnest(ARRAY[
	'ALTER TABLE plain RENAME n TO m',
	'ALTER TABLE plain RENAME id TO key',
	'ALTER TABLE plain RENAME resource_version TO v',
	'ALTER TABLE plain RENAME TO renamed; CREATE TEMP VIEW plain AS SELECT * FROM renamed',
	'CREATE SCHEMA elsewhere; ALTER TABLE plain SET SCHEMA elsewhere; CREATE TEMP VIEW plain AS SELECT * FROM elsewhere.plain',
	'ALTER TABLE plain ALTER n TYPE bigint',
	'ALTER TABLE plain ADD m int',
	$$SELECT cas_enable('plain', unversioned => 'reject')$$,
	$$SELECT cas_enable('plain', ignore_columns => '{n}')$$,
	$$SELECT cas_disable('plain')$$,
	$$CREATE OR REPLACE TRIGGER zzz_cas_guard BEFORE INSERT OR DELETE OR UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION cas_guard('version_column=resource_version', 'writers=echo')$$,
	'CREATE TRIGGER note BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION notes()',
	'CREATE RULE r AS ON UPDATE TO plain DO ALSO UPDATE other SET n = NEW.n + 10',
	'CREATE TABLE child () INHERITS (plain)',
	'CREATE INDEX ON plain (n)',
	'GRANT SELECT ON plain TO PUBLIC',
	'ALTER TABLE other RENAME n TO m',
	'SET LOCAL pg_cas.direct_path = off']) WITH ORDINALITY a (ddl, n);
SELECT ddl, both_ways(format('SELECT cas_apply(''plain'', 1, ''alters(jsonb, jsonb)'', %L)', jsonb_build_object('do', ddl)))
	FROM altering ORDER BY n;
SELECT both_ways($$SELECT cas_apply('plain', 1, 'alters(jsonb, jsonb)', '{"do": "ALTER TABLE plain RENAME n TO m", "payload": {"m": 2}}')$$);
-- cas_txn goes on with the table, or another
SELECT ddl, both_ways(format('SELECT cas_txn(''[]'', %L) #>> ''{results,1,outcome}''',
	jsonb_build_array(jsonb_build_object('op', 'apply', 'table', 'other', 'id', 1, 'fn', 'alters(jsonb, jsonb)', 'args', jsonb_build_object('do', ddl)),
		jsonb_build_object('op', 'merge', 'table', 'plain', 'id', 1, 'patch', '{"n": 2}'::jsonb))))
	FROM altering WHERE ddl ~ 'RENAME|note' ORDER BY n;
CREATE TRIGGER alters AFTER UPDATE ON other FOR EACH ROW EXECUTE FUNCTION alters('ALTER TABLE cas_apply.plain RENAME n TO m');
SELECT both_ways($$SELECT cas_txn('[]', '[{"op": "merge", "table": "other", "id": 1, "patch": {"n": 7}}, {"op": "get", "table": "plain", "id": 1}]') #>> '{results,1,outcome}'$$);
-- its owner takes the right away from itself
CREATE ROLE regress_cas_apply_owner;
GRANT USAGE ON SCHEMA cas_apply TO regress_cas_apply_owner;
ALTER TABLE plain OWNER TO regress_cas_apply_owner;
SET ROLE regress_cas_apply_owner;
SELECT both_ways($$SELECT cas_apply('plain', 1, 'alters(jsonb, jsonb)', '{"do": "REVOKE UPDATE ON plain FROM regress_cas_apply_owner"}')$$);
RESET ROLE;
TABLE plain;

SET client_min_messages = warning;
DROP SCHEMA cas_apply CASCADE;
DROP ROLE regress_cas_apply_owner;
