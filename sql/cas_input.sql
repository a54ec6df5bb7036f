-- Claim: every argument is checked before anything is done.  NULL where a
-- value is needed raises 22004; a malformed id, a negative version, a wrong
-- mode raise 22023 and say what was expected; ids come in as literals, as
-- untyped driver parameters, and as values of any type that fits.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_input;
SET search_path = cas_input, public, cas_test;

CREATE TABLE t (id int PRIMARY KEY, n int);
CREATE TABLE d (id text PRIMARY KEY, body jsonb);
CREATE TABLE pair (a int, b text, n int, PRIMARY KEY (a, b));
SELECT cas_enable('t'), cas_enable('d', payload_column => 'body'), cas_enable('pair');
INSERT INTO t VALUES (1, 1);
INSERT INTO d VALUES ('1', '{}');
INSERT INTO pair VALUES (1, 'x', 1);
CREATE FUNCTION same(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT p';

--
-- NULL in every argument of every function.
--
SELECT format('%-60s', call) || split_part(raises('SELECT ' || call), E'\n', 1) FROM unnest(ARRAY[
	'cas_get(NULL, 1)', 'cas_get(NULL, ''1'')', 'cas_get(''t'', NULL)', 'cas_get(''t'', NULL::int)', 'cas_get(''pair'', NULL::jsonb)',
	'cas_lock(NULL, ARRAY[1])', 'cas_lock(''t'', NULL::text[])', 'cas_lock(''t'', NULL::int[])',
	'cas_lock(''t'', ARRAY[1, NULL])', 'cas_lock(''t'', ARRAY[''1'', NULL])', 'cas_lock(''t'', ARRAY[1], NULL)',
	'cas_create(NULL, 1, ''{}'')', 'cas_create(NULL, NULL, ''{}'')', 'cas_create(''t'', 1, NULL)', 'cas_create(''t'', NULL, NULL)',
	'cas_update(NULL, 1, 1, ''{}'')', 'cas_update(''t'', NULL, 1, ''{}'')', 'cas_update(''t'', NULL::int, 1, ''{}'')',
	'cas_update(''t'', 1, NULL, ''{}'')', 'cas_update(''t'', 1, 1, NULL)',
	'cas_patch(NULL, 1, 1, ''{}'')', 'cas_patch(''t'', NULL, 1, ''{}'')', 'cas_patch(''t'', 1, NULL, ''{}'')', 'cas_patch(''t'', 1, 1, NULL)',
	'cas_delete(NULL, 1, 1)', 'cas_delete(''t'', NULL, 1)', 'cas_delete(''t'', 1, NULL)',
	'cas_rename(NULL, 1, 1, 2)', 'cas_rename(''t'', NULL, 1, ''2'')', 'cas_rename(''t'', 1, NULL, 2)',
	'cas_rename(''t'', ''1'', 1, NULL)', 'cas_rename(''t'', 1, 1, NULL::int)',
	'cas_merge(NULL, 1, ''{}'')', 'cas_merge(''t'', NULL, ''{}'')', 'cas_merge(''t'', 1, NULL)',
	'cas_apply(NULL, 1, ''same(jsonb,jsonb)'')', 'cas_apply(''t'', NULL, ''same(jsonb,jsonb)'')', 'cas_apply(''t'', 1, NULL)',
	'cas_put(NULL, 1, ''{}'')', 'cas_put(''t'', NULL, ''{}'')', 'cas_put(''t'', 1, NULL)',
	'cas_try_create(NULL, 1, ''{}'')', 'cas_try_create(''t'', 1, NULL)',
	'cas_try_update(NULL, 1, 1, ''{}'')', 'cas_try_update(''t'', NULL, 1, ''{}'')', 'cas_try_update(''t'', 1, NULL, ''{}'')', 'cas_try_update(''t'', 1, 1, NULL)',
	'cas_try_patch(NULL, 1, 1, ''{}'')', 'cas_try_patch(''t'', NULL, 1, ''{}'')', 'cas_try_patch(''t'', 1, NULL, ''{}'')', 'cas_try_patch(''t'', 1, 1, NULL)',
	'cas_try_delete(NULL, 1, 1)', 'cas_try_delete(''t'', NULL, 1)', 'cas_try_delete(''t'', 1, NULL)',
	'cas_try_rename(NULL, 1, 1, 2)', 'cas_try_rename(''t'', NULL::int, 1, 2)', 'cas_try_rename(''t'', 1, NULL, 2)', 'cas_try_rename(''t'', 1, 1, NULL)'
	]) WITH ORDINALITY AS u (call, i) ORDER BY i;
-- the answer is the same for a row that is not there, and for a table of
-- documents; cas_apply's args may be NULL
SELECT split_part(raises('SELECT cas_update(''d'', ''none'', NULL, ''{}'')'), E'\n', 1);
SELECT split_part(raises('SELECT cas_patch(''d'', ''none'', 1, NULL)'), E'\n', 1);
SELECT split_part(raises('SELECT cas_merge(''d'', ''none'', NULL)'), E'\n', 1);
SELECT split_part(raises('SELECT cas_apply(''d'', ''none'', NULL)'), E'\n', 1);
SELECT split_part(raises('SELECT cas_rename(''d'', ''none'', 1, NULL::text)'), E'\n', 1);
SELECT cas_apply('t', 1, 'same(jsonb,jsonb)', NULL);

--
-- expected_version: negative is malformed, the rest is compared.
--
SELECT format('%-50s ', call) || raises('SELECT ' || call) FROM unnest(ARRAY[
	'cas_update(''t'', 1, -1, ''{}'')', 'cas_patch(''t'', 1, -1, ''{}'')', 'cas_delete(''t'', 1, -1)', 'cas_rename(''t'', 1, -1, 2)',
	'cas_try_update(''t'', 1, -1, ''{}'')', 'cas_try_patch(''t'', 1, -1, ''{}'')', 'cas_try_delete(''t'', 1, -1)', 'cas_try_rename(''t'', 1, -1, 2)',
	'cas_update(''t'', 9, -9223372036854775808, ''{}'')'
	]) WITH ORDINALITY AS u (call, i) ORDER BY i;
SELECT outcome, version FROM cas_try_update('t', 1, 0, '{}');
SELECT outcome, version FROM cas_try_delete('t', 1, 0);
SELECT outcome, version FROM cas_try_update('t', 1, 9223372036854775807, '{}');

--
-- Malformed ids.
--
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE TABLE k_uuid (id uuid PRIMARY KEY);
CREATE TABLE k_int2 (id smallint PRIMARY KEY);
CREATE TABLE k_int8 (id bigint PRIMARY KEY);
CREATE TABLE k_date (id date PRIMARY KEY);
CREATE TABLE k_enum (id mood PRIMARY KEY);
CREATE TABLE k_posint (id posint PRIMARY KEY);
CREATE TABLE k_varchar (id varchar(3) PRIMARY KEY);
CREATE TABLE k_numeric (id numeric(4, 1) PRIMARY KEY);
SELECT cas_enable('k_uuid'), cas_enable('k_int2'), cas_enable('k_int8'), cas_enable('k_date'),
	cas_enable('k_enum'), cas_enable('k_posint'), cas_enable('k_varchar'), cas_enable('k_numeric');
SELECT raises($$SELECT cas_get('t', 'one')$$);
SELECT raises($$SELECT cas_get('t', '')$$);
SELECT raises($$SELECT cas_get('t', '1.5')$$);
SELECT raises($$SELECT cas_get('t', '99999999999')$$);
SELECT raises($$SELECT cas_get('t', 99999999999)$$);
SELECT raises($$SELECT cas_get('k_int2', 70000)$$);
SELECT raises($$SELECT cas_get('k_int8', '99999999999999999999')$$);
SELECT raises($$SELECT cas_get('k_uuid', '11111111')$$);
SELECT raises($$SELECT cas_get('k_date', 'tomorrow or so')$$);
SELECT raises($$SELECT cas_get('k_date', '2023-02-29')$$);
SELECT raises($$SELECT cas_get('k_enum', 'sorry')$$);
SELECT raises($$SELECT cas_get('k_varchar', 'four')$$);
SELECT raises($$SELECT cas_get('k_numeric', '99999')$$);
SELECT raises($$SELECT cas_get('k_posint', '0')$$) LIKE '22023 %hint: %';
SELECT raises($$SELECT cas_get('k_posint', 0)$$) LIKE '22023 %hint: %';
SELECT raises($$SELECT cas_create('k_posint', -1::bigint, '{}')$$) LIKE '22023 %hint: %';
-- in every function
SELECT format('%-45s', call) || split_part(raises('SELECT ' || call), ' ', 1) FROM unnest(ARRAY[
	'cas_lock(''t'', ARRAY[''1'', ''x''])', 'cas_create(''t'', ''x'', ''{}'')', 'cas_update(''t'', ''x'', 1, ''{}'')',
	'cas_patch(''t'', ''x'', 1, ''{}'')', 'cas_delete(''t'', ''x'', 1)', 'cas_rename(''t'', ''x'', 1, ''2'')',
	'cas_rename(''t'', ''1'', 1, ''x'')', 'cas_merge(''t'', ''x'', ''{}'')', 'cas_put(''t'', ''x'', ''{}'')',
	'cas_apply(''t'', ''x'', ''same(jsonb,jsonb)'')', 'cas_try_create(''t'', ''x'', ''{}'')',
	'cas_try_update(''t'', ''x'', 1, ''{}'')', 'cas_try_patch(''t'', ''x'', 1, ''{}'')',
	'cas_try_delete(''t'', ''x'', 1)', 'cas_try_rename(''t'', ''1'', 1, ''x'')'
	]) WITH ORDINALITY AS u (call, i) ORDER BY i;
-- composite
SELECT raises($$SELECT cas_get('pair', 'x')$$);
SELECT raises($$SELECT cas_get('pair', '')$$);
SELECT raises($$SELECT cas_get('pair', '[1, "x"]')$$);
SELECT raises($$SELECT cas_get('pair', '{"a": 1}')$$);
SELECT raises($$SELECT cas_get('pair', '{"a": 1, "b": "x", "n": 1}')$$);
SELECT raises($$SELECT cas_get('pair', '{"a": 1, "c": "x"}')$$);
SELECT raises($$SELECT cas_get('pair', '{"a": null, "b": "x"}')$$);
SELECT raises($$SELECT cas_get('pair', '{"a": "one", "b": "x"}')$$);
SELECT raises($$SELECT cas_get('pair', '{"a": 99999999999, "b": "x"}')$$);
SELECT raises($$SELECT cas_get('pair', 1)$$);
SELECT raises($$SELECT cas_get('pair', '"x"'::jsonb)$$);
SELECT raises($$SELECT cas_get('pair', '{"a": 1, "b": "x"}'::json)$$);
SELECT raises($$SELECT cas_rename('pair', '{"a": 1, "b": "x"}', 1, '{"a": 2}')$$);
SELECT raises($$SELECT cas_lock('pair', ARRAY['{"a": 1, "b": "x"}', '{}'])$$);

--
-- Types that do not fit.
--
SELECT raises($$SELECT cas_get('t', 1.5)$$);
SELECT raises($$SELECT cas_get('t', true)$$);
SELECT raises($$SELECT cas_get('t', '1'::jsonb)$$);
SELECT raises($$SELECT cas_get('t', ARRAY[1])$$);
SELECT raises($$SELECT cas_get('k_uuid', 1)$$);
SELECT raises($$SELECT cas_get('k_date', now())$$);
SELECT raises($$SELECT cas_get('k_int8', 1.0::float8)$$);
SELECT raises($$SELECT cas_lock('t', ARRAY[1.5])$$);
SELECT raises($$SELECT cas_lock('k_uuid', ARRAY[1])$$);
SELECT raises($$SELECT cas_update('t', now(), 1, '{}')$$);
-- text reads everything, so an int for a text key needs a cast or quotes
SELECT raises($$SELECT cas_get('d', 1)$$);
SELECT * FROM cas_get('d', 1::text);
SELECT * FROM cas_get('d', '1');

--
-- Those that do.
--
SELECT version FROM cas_get('t', '1');
SELECT version FROM cas_get('t', ' +1 ');
SELECT version FROM cas_get('t', '1'::text);
SELECT version FROM cas_get('t', '1'::varchar);
SELECT version FROM cas_get('t', '1'::varchar(20));
SELECT version FROM cas_get('t', '1'::name);
SELECT version FROM cas_get('t', '1'::bpchar);
SELECT version FROM cas_get('t', 1::smallint);
SELECT version FROM cas_get('t', 1);
SELECT version FROM cas_get('t', 1::bigint);
SELECT version FROM cas_get('t', 1::posint);
SELECT version FROM cas_get('pair', '{"a": 1, "b": "x"}'::text);
SELECT version FROM cas_get('pair', '{"a": 1, "b": "x"}'::jsonb);
SELECT version FROM cas_get('pair', '  {"b":"x","a":"1"} ');
SELECT version FROM cas_lock('t', '{1,2}');
SELECT version FROM cas_lock('t', '{1,2}', 'share');
SELECT version FROM cas_lock('t', ARRAY[1, 2]::smallint[]);
SELECT version FROM cas_lock('t', ARRAY['1', '2']::varchar[]);
SELECT raises($$SELECT cas_lock('t', '1')$$) LIKE '22023 %hint: %';
SELECT cas_rename('t', 1, 1, 2), cas_rename('t', '2', 2, '3'), cas_rename('t', 3::bigint, 3, 1::bigint);
-- from a query, of each type
SELECT x.id, g.version FROM (VALUES (1), (2)) x (id) LEFT JOIN LATERAL cas_get('t', x.id) g ON true ORDER BY 1;
SELECT x.id, g.version FROM (VALUES ('1'), ('2')) x (id) LEFT JOIN LATERAL cas_get('t', x.id) g ON true ORDER BY 1;

--
-- Untyped parameters, as drivers send them: PREPARE without types asks the
-- parser just what the extended protocol's Parse with no types asks.
--
PREPARE get AS SELECT * FROM cas_get($1, $2);
PREPARE lock AS SELECT * FROM cas_lock($1, $2);
PREPARE lock_mode AS SELECT * FROM cas_lock($1, $2, $3);
PREPARE create_ AS SELECT cas_create($1, $2, $3);
PREPARE update_ AS SELECT cas_update($1, $2, $3, $4);
PREPARE patch AS SELECT cas_patch($1, $2, $3, $4);
PREPARE delete_ AS SELECT cas_delete($1, $2, $3);
PREPARE rename AS SELECT cas_rename($1, $2, $3, $4);
PREPARE merge_ AS SELECT cas_merge($1, $2, $3);
PREPARE put AS SELECT cas_put($1, $2, $3);
PREPARE apply AS SELECT cas_apply($1, $2, $3);
PREPARE apply_args AS SELECT cas_apply($1, $2, $3, $4);
PREPARE try_create AS SELECT * FROM cas_try_create($1, $2, $3);
PREPARE try_update AS SELECT * FROM cas_try_update($1, $2, $3, $4);
PREPARE try_patch AS SELECT * FROM cas_try_patch($1, $2, $3, $4);
PREPARE try_delete AS SELECT * FROM cas_try_delete($1, $2, $3);
PREPARE try_rename AS SELECT * FROM cas_try_rename($1, $2, $3, $4);
SELECT name, parameter_types FROM pg_prepared_statements
WHERE statement LIKE '%cas\_%' ORDER BY name COLLATE "C";
-- and \gdesc sends them as a driver does
SELECT cas_update($1, $2, $3, $4), cas_create($1, $2, $4), cas_delete($1, $2, $3) \gdesc
SELECT * FROM cas_get($1, $2) \gdesc
SELECT * FROM cas_lock($1, $2, $3) \gdesc
SELECT * FROM cas_try_rename($1, $2, $3, $4) \gdesc
EXECUTE create_('t', '7', '{"n": 1}');
EXECUTE update_('t', '7', '1', '{"n": 2}');
EXECUTE patch('t', '7', 2, '{"n": 3}');
EXECUTE merge_('t', '7', '{"n": 4}');
EXECUTE put('t', '7', '{"n": 5}');
EXECUTE apply('t', '7', 'same(jsonb,jsonb)');
EXECUTE apply_args('t', '7', 'same(jsonb,jsonb)', NULL);
EXECUTE rename('t', '7', 5, '8');
EXECUTE get('t', '8');
EXECUTE lock('t', '{8,1}');
EXECUTE lock_mode('t', '{8,1}', 'share');
EXECUTE try_update('t', '8', 1, '{"n": 6}');
EXECUTE try_patch('t', '8', 6, '{"n": 6}');
EXECUTE try_create('t', '8', '{}');
EXECUTE try_rename('t', '8', 7, '9');
EXECUTE try_delete('t', '9', 8);
EXECUTE delete_('t', '9', 8);
-- the same statements serve any table
EXECUTE create_('pair', '{"a": 7, "b": "y"}', '{"n": 1}');
EXECUTE get('pair', '{"a": 7, "b": "y"}');
EXECUTE create_('d', '7', '{"n": 1}');
EXECUTE get('d', '7');
EXECUTE create_('t', NULL, '{}');
-- and through five executions and more, where a generic plan may come
DO $$
DECLARE
	v bigint = 1;
BEGIN
	FOR i IN 1 .. 12 LOOP
		EXECUTE 'SELECT cas_update($1, $2, $3, $4)' INTO v
		USING 'd'::regclass, '7'::text, v, jsonb_build_object('i', i);
	END LOOP;
	RAISE NOTICE 'version %', v;
END
$$;
-- typed parameters
PREPARE get_int (regclass, int) AS SELECT version FROM cas_get($1, $2);
PREPARE get_big (regclass, bigint) AS SELECT version FROM cas_get($1, $2);
PREPARE get_uuid (regclass, uuid) AS SELECT count(*) FROM cas_get($1, $2);
PREPARE get_varchar (regclass, varchar) AS SELECT version FROM cas_get($1, $2);
EXECUTE get_int('t', 1);
EXECUTE get_big('t', 1);
EXECUTE get_uuid('k_uuid', '11111111-1111-1111-1111-111111111111');
EXECUTE get_varchar('d', '7');
DEALLOCATE ALL;

--
-- rel: as regclass reads it.
--
SELECT count(*) FROM cas_get('cas_input.t', 1);
SELECT count(*) FROM cas_get('t'::regclass::oid, 1);
SELECT raises($$SELECT cas_get('nowhere', 1)$$);
SELECT raises($$SELECT cas_get(0::oid, 1)$$);
SELECT raises($$SELECT cas_update(4294967295::oid, 1, 1, '{}')$$);
CREATE TABLE plain (id int PRIMARY KEY);
CREATE VIEW v AS SELECT * FROM t;
SELECT raises($$SELECT cas_get('plain', 1)$$);
SELECT raises($$SELECT cas_lock('plain', ARRAY[1])$$);
SELECT raises($$SELECT cas_create('plain', 1, '{}')$$);
SELECT raises($$SELECT cas_try_update('plain', 1, 1, '{}')$$);
SELECT raises($$SELECT cas_get('v', 1)$$);
SELECT raises($$SELECT cas_put('t_pkey', 1, '{}')$$);
SELECT raises($$SELECT cas_put('pg_class', 1, '{}')$$);

SET client_min_messages = warning;
DROP SCHEMA cas_input CASCADE;
