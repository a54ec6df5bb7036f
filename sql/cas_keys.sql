-- Claim: a row is found by its primary key whatever the key's types are, and
-- an id can be given as text, as a value of the key's type or of one that
-- casts to it implicitly, as any integer for an integer, and as jsonb for a
-- key of several columns; in results it is the key's text, or that object.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_keys;
SET search_path = cas_keys, public, cas_test;

-- All that can be done to a row, once with ids as text and once as they come.
CREATE FUNCTION life(t regclass, id text, other text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', cas_create(t, id, '{"n": 1}'),
		cas_update(t, id, 1, '{"n": 2}'), cas_patch(t, id, 2, '{"n": 3}'),
		cas_merge(t, id, '{"n": 4}'), cas_put(t, id, '{"n": 5}'),
		cas_rename(t, id, 5, other), cas_put(t, id, '{"n": 1}'),
		(SELECT string_agg(l.id || ':' || l.version, ',')
		 FROM cas_lock(t, ARRAY[other, id, other]) l),
		(SELECT g.id || ':' || g.version FROM cas_get(t, other) g),
		(cas_try_update(t, id, 7, '{"n": 7}')).id,
		(cas_try_create(t, other, '{}')).outcome,
		cas_delete(t, id, 1), (cas_try_delete(t, other, 6)).id)
$$;
CREATE FUNCTION life(t regclass, id anyelement, other anyelement) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', cas_create(t, id, '{"n": 1}'),
		cas_update(t, id, 1, '{"n": 2}'), cas_patch(t, id, 2, '{"n": 3}'),
		cas_merge(t, id, '{"n": 4}'), cas_put(t, id, '{"n": 5}'),
		cas_rename(t, id, 5, other), cas_put(t, id, '{"n": 1}'),
		(SELECT string_agg(l.id || ':' || l.version, ',')
		 FROM cas_lock(t, ARRAY[other, id, other]) l),
		(SELECT g.id || ':' || g.version FROM cas_get(t, other) g),
		(cas_try_update(t, id, 7, '{"n": 7}')).id,
		(cas_try_create(t, other, '{}')).outcome,
		cas_delete(t, id, 1), (cas_try_delete(t, other, 6)).id)
$$;

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE DOMAIN code AS text CHECK (VALUE ~ '^[a-z]{3}$') NOT NULL;
CREATE DOMAIN deep AS posint CHECK (VALUE < 1000);
CREATE TABLE k_text (id text PRIMARY KEY, n int);
CREATE TABLE k_varchar (id varchar(8) PRIMARY KEY, n int);
CREATE TABLE k_char (id char(6) PRIMARY KEY, n int);
CREATE TABLE k_name (id name PRIMARY KEY, n int);
CREATE TABLE k_uuid (id uuid PRIMARY KEY, n int);
CREATE TABLE k_int2 (id smallint PRIMARY KEY, n int);
CREATE TABLE k_int4 (id int PRIMARY KEY, n int);
CREATE TABLE k_int8 (id bigint PRIMARY KEY, n int);
CREATE TABLE k_numeric (id numeric PRIMARY KEY, n int);
CREATE TABLE k_date (id date PRIMARY KEY, n int);
CREATE TABLE k_stamp (id timestamptz PRIMARY KEY, n int);
CREATE TABLE k_enum (id mood PRIMARY KEY, n int);
CREATE TABLE k_posint (id posint PRIMARY KEY, n int);
CREATE TABLE k_deep (id deep PRIMARY KEY, n int);
CREATE TABLE k_code (id code PRIMARY KEY, n int);
CREATE TABLE k_bytea (id bytea PRIMARY KEY, n int);
CREATE TABLE k_inet (id inet PRIMARY KEY, n int);
CREATE TABLE k_bool (id boolean PRIMARY KEY, n int);
CREATE TABLE k_jsonb (id jsonb PRIMARY KEY, n int);
CREATE TABLE k_array (id int[] PRIMARY KEY, n int);
CREATE TABLE k_range (id int4range PRIMARY KEY, n int);
SELECT count(cas_enable(oid::regclass)::text) FROM pg_class
WHERE relnamespace = 'cas_keys'::regnamespace AND relkind = 'r';
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

SELECT life('k_text', 'a', 'b');
SELECT life('k_text', '', ' ');
SELECT life('k_text', 'Ünïcode', '''"; DROP TABLE k_text; --');
SELECT life('k_varchar', 'a', 'b');
SELECT life('k_varchar', 'a'::varchar, 'b'::varchar);
SELECT life('k_char', 'a', 'b');
SELECT life('k_char', 'a'::bpchar, 'b   '::bpchar);
SELECT life('k_name', 'a', 'b');
SELECT life('k_name', 'a'::name, 'b'::name);
SELECT life('k_uuid', '11111111-1111-1111-1111-111111111111', '{22222222222222222222222222222222}');
SELECT life('k_uuid', '11111111-1111-1111-1111-111111111111'::uuid, '22222222-2222-2222-2222-222222222222'::uuid);
SELECT life('k_int2', '1', '-2');
SELECT life('k_int2', 1::smallint, 2::smallint);
SELECT life('k_int2', 1, 2);
SELECT life('k_int2', 1::bigint, 2::bigint);
SELECT life('k_int4', '1', ' 2 ');
SELECT life('k_int4', 1, 2147483647);
SELECT life('k_int4', 1::smallint, 2::smallint);
SELECT life('k_int4', 1::bigint, 2::bigint);
SELECT life('k_int8', '1', '9223372036854775807');
SELECT life('k_int8', 1, 2);
SELECT life('k_int8', 1::smallint, 2::smallint);
SELECT life('k_int8', 1::bigint, -9223372036854775808);
SELECT life('k_numeric', '1', '2.50');
SELECT life('k_numeric', 1, 2);
SELECT life('k_numeric', 1.5, 2.5);
SELECT life('k_date', '2024-02-29', '1 Jan 2025');
SELECT life('k_date', '2024-02-29'::date, '2025-01-01'::date);
SELECT life('k_stamp', '2024-02-29', '2025-01-01 12:00+01');
SELECT life('k_stamp', '2024-02-29'::date, '2025-01-01'::date);
SELECT life('k_stamp', '2024-02-29'::timestamp, '2025-01-01 12:00'::timestamp);
SELECT life('k_stamp', '2024-02-29'::timestamptz, '2025-01-01 12:00'::timestamptz);
SELECT life('k_enum', 'happy', 'sad');
SELECT life('k_enum', 'happy'::mood, 'sad'::mood);
SELECT life('k_posint', '1', '2');
SELECT life('k_posint', 1, 2);
SELECT life('k_posint', 1::posint, 2::posint);
SELECT life('k_posint', 1::bigint, 2::bigint);
SELECT life('k_deep', '1', '2');
SELECT life('k_deep', 1::smallint, 2::smallint);
SELECT life('k_deep', 1::posint, 2::posint);
SELECT life('k_code', 'abc', 'xyz');
SELECT life('k_code', 'abc'::code, 'xyz'::code);
SELECT life('k_bytea', '\x00ff', '\x01');
SELECT life('k_bytea', '\x00ff'::bytea, '\x01'::bytea);
SELECT life('k_inet', '10.0.0.1', '10.0.0.2/24');
SELECT life('k_inet', '10.0.0.1'::inet, '10.0.0.2'::inet);
SELECT life('k_inet', '10.0.0.0/8'::cidr, '10.1.0.0/16'::cidr);
SELECT life('k_bool', 't', 'off');
SELECT life('k_bool', true, false);
SELECT life('k_jsonb', '{"a":1}', '[2]');
SELECT life('k_jsonb', '{"a":1}'::jsonb, '[2]'::jsonb);
SELECT life('k_range', '[1,5]', 'empty');
SELECT life('k_range', '[1,5]'::int4range, 'empty'::int4range);
SELECT life('k_array', '{1,2}', '{}');
SELECT cas_create('k_array', '{3}'::int[], '{}'), cas_delete('k_array', '{3}'::int[], 1);

-- char(n): trailing blanks do not count, as everywhere.
SELECT cas_create('k_char', 'x', '{"n": 1}');
SELECT '[' || id || ']', version FROM cas_get('k_char', 'x     ');
SELECT '[' || id || ']', version FROM cas_get('k_char', 'x'::text);
SELECT '[' || id || ']', version FROM cas_get('k_char', 'x'::char(2));
SELECT outcome FROM cas_try_create('k_char', 'x  ', '{}');
-- numeric: equal is equal; the id is the row's own text
SELECT cas_create('k_numeric', '1.50', '{"n": 1}');
SELECT * FROM cas_get('k_numeric', 1.5);
SELECT * FROM cas_try_update('k_numeric', '1.5', 1, '{"n": 2}');

-- The key's order, not the text's; duplicates once.
SELECT cas_create('k_int4', i, '{}') FROM (VALUES (10), (9), (100), (-1)) v (i);
SELECT id FROM cas_lock('k_int4', '{100,9,10,-1,9,7,010}');
SELECT id FROM cas_lock('k_int4', '{100,9,10,-1,9}'::bigint[]);
SELECT cas_create('k_enum', m, '{}') FROM unnest(enum_range(NULL::mood)) m;
SELECT id FROM cas_lock('k_enum', '{happy,ok,sad,ok}');
SELECT id FROM cas_lock('k_enum', '{happy,ok,sad,ok}'::mood[]);

--
-- Keys of several columns, in another order than the table's.
--
CREATE TABLE pair (n int, b int, "A b" text, c date, resource_version bigint NOT NULL DEFAULT 1,
	PRIMARY KEY (c, "A b", b));
SELECT cas_enable('pair');
SELECT cas_create('pair', '{"b": 1, "A b": "x", "c": "2024-01-01"}', '{"n": 1}');
SELECT * FROM pair;
SELECT * FROM cas_get('pair', '{"c": "2024-01-01", "A b": "x", "b": 1}');
SELECT * FROM cas_get('pair', '{"c": "2024-01-01", "A b": "x", "b": 1}'::jsonb);
SELECT * FROM cas_get('pair', '{"c": "2024-01-01", "A b": "x", "b": "1"}'::varchar);
SELECT * FROM cas_get('pair', '{"c": "1 Jan 2024", "A b": "x", "b": 1}');
SELECT cas_update('pair', jsonb_build_object('b', 1, 'A b', 'x', 'c', date '2024-01-01'), 1, '{"n": 2}');
-- the id that results give is one that can be given
SELECT cas_patch('pair', g.id, g.version, '{"n": 3}')
FROM cas_get('pair', '{"c": "2024-01-01", "A b": "x", "b": 1}') g;
SELECT * FROM cas_try_rename('pair', '{"c": "2024-01-01", "A b": "x", "b": 1}', 3,
	'{"c": "2024-01-02", "A b": "Y\"", "b": -1}');
SELECT * FROM cas_try_rename('pair', '{"c": "2024-01-02", "A b": "Y\"", "b": -1}'::jsonb, 4,
	'{"c": "2024-01-02", "A b": "x", "b": 2}'::jsonb);
SELECT cas_put('pair', '{"c": "2024-01-01", "A b": "z", "b": 5}', '{"n": 9}');
SELECT cas_put('pair', '{"c": "2024-01-01", "A b": "a", "b": 9}', '{"n": 9, "b": 9, "c": "2024-01-01"}');
SELECT * FROM cas_lock('pair', ARRAY['{"c": "2024-01-02", "A b": "x", "b": 2}',
	'{"c": "2024-01-01", "A b": "z", "b": 5}', '{"b": 5, "c": "2024-01-01", "A b": "z"}',
	'{"c": "2024-01-01", "A b": "a", "b": 9}', '{"c": "2024-01-01", "A b": "a", "b": 10}']);
SELECT id FROM cas_lock('pair', ARRAY['{"c": "2024-01-02", "A b": "x", "b": 2}',
	'{"c": "2024-01-01", "A b": "a", "b": 9}']::jsonb[], 'share');
SELECT raises($$SELECT cas_create('pair', '{"c": "2024-01-01", "A b": "z", "b": 5}', '{}')$$);
SELECT raises($$SELECT cas_update('pair', '{"c": "2024-01-01", "A b": "z", "b": 5}', 4, '{}')$$);
SELECT * FROM cas_try_delete('pair', '{"c": "2024-01-01", "A b": "z", "b": 5}', 1);
SELECT raises($$SELECT cas_update('pair', '{"c": "2024-01-01", "A b": "z", "b": 5}', 1, '{}')$$);
-- what the key's texts hold is data
SELECT cas_create('pair', jsonb_build_object('b', 1, 'c', '2024-01-01', 'A b', E'''; -- "\\ \n ü'), '{}');
SELECT * FROM cas_get('pair', jsonb_build_object('b', 1, 'c', '2024-01-01', 'A b', E'''; -- "\\ \n ü'));
-- a composite key without an id: the defaults make it, or it is NULL
CREATE TABLE made (a uuid DEFAULT '00000000-0000-0000-0000-000000000001', b int GENERATED ALWAYS AS IDENTITY,
	n int, PRIMARY KEY (b, a));
SELECT cas_enable('made');
SELECT * FROM cas_try_create('made', NULL, '{"n": 1}');
SELECT * FROM cas_try_create('made', NULL, '{"n": 2}');
SELECT * FROM cas_try_create('made', '{"a": "00000000-0000-0000-0000-000000000001", "b": 2}', '{"n": 2}');
SELECT * FROM cas_try_create('made', '{"a": "00000000-0000-0000-0000-000000000002", "b": 7}', '{"n": 2}');
SELECT raises($$SELECT cas_create('pair', NULL, '{}')$$);

--
-- Keys that make themselves.
--
CREATE TABLE always (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int);
CREATE TABLE bydef (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, n int);
CREATE TABLE ser (id serial PRIMARY KEY, n int);
CREATE TABLE fixed (id text DEFAULT 'only' PRIMARY KEY, n int DEFAULT 7);
SELECT cas_enable('always'), cas_enable('bydef'), cas_enable('ser'), cas_enable('fixed');
SELECT * FROM cas_try_create('always', NULL, '{"n": 1}');
SELECT * FROM cas_try_create('bydef', NULL, '{"n": 1}');
SELECT * FROM cas_try_create('ser', NULL, '{"n": 1}');
SELECT * FROM cas_try_create('fixed', NULL, '{}');
SELECT * FROM cas_try_create('always', NULL::bigint, '{"n": 1}');
-- an id that is given overrides
SELECT * FROM cas_try_create('always', 10, '{"n": 1}');
SELECT * FROM cas_try_create('bydef', 10, '{"n": 1}');
SELECT cas_put('always', 11, '{"n": 1}'), cas_put('always', 11, '{"n": 2}');
SELECT * FROM always ORDER BY id;
-- the default is taken: an error, since nothing was asked for that exists
SELECT raises($$SELECT cas_create('fixed', NULL, '{}')$$);
SELECT raises($$SELECT cas_try_create('fixed', NULL, '{}')$$);
-- GENERATED ALWAYS cannot be updated, so not renamed either
SELECT raises($$SELECT cas_rename('always', 10, 1, 12)$$);
SELECT cas_rename('bydef', 10, 1, 12);
-- no default: the key's own NOT NULL
SELECT raises($$SELECT cas_create('k_text', NULL, '{}')$$);
-- a key that a trigger makes
CREATE FUNCTION slug() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.id = coalesce(NEW.id, 'slug-' || NEW.n);
	RETURN NEW;
END
$$;
CREATE TRIGGER slug BEFORE INSERT ON k_text FOR EACH ROW EXECUTE FUNCTION slug();
SELECT * FROM cas_try_create('k_text', NULL, '{"n": 5}');
SELECT * FROM cas_try_create('k_text', 'own', '{"n": 5}');

-- implicit casts whose functions have more arguments than a value
CREATE TYPE label;
SET client_min_messages = warning;
CREATE FUNCTION label_in(cstring) RETURNS label LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION label_out(label) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
RESET client_min_messages;
CREATE TYPE label (INPUT = label_in, OUTPUT = label_out, LIKE = text);
CREATE FUNCTION label_inet(label, int) RETURNS inet LANGUAGE sql IMMUTABLE
	AS $$ SELECT set_masklen(inet(label_out($1)::text), 24 + $2) $$;
CREATE FUNCTION label_name(label, int, boolean) RETURNS name LANGUAGE sql IMMUTABLE
	AS $$ SELECT textin(label_out($1)) || ' ' || $2 || ' ' || $3 $$;
CREATE CAST (label AS inet) WITH FUNCTION label_inet AS IMPLICIT;
CREATE CAST (label AS name) WITH FUNCTION label_name AS IMPLICIT;
CREATE TABLE k_label_inet (id inet PRIMARY KEY, v label);
CREATE TABLE k_label_name (id name PRIMARY KEY, v label);
SELECT cas_enable('k_label_inet'), cas_enable('k_label_name');
SELECT cas_create('k_label_inet', '10.0.0.1'::label, '{"v": "b"}'), cas_create('k_label_name', 'a'::label, '{"v": "b"}');
SELECT * FROM cas_get('k_label_inet', '10.0.0.1'::label);
SELECT * FROM cas_try_update('k_label_inet', '10.0.0.1/23', 1, '{"v": "b"}');
SELECT * FROM cas_try_update('k_label_name', 'a'::label, 1, '{"v": "b"}');
SELECT * FROM cas_try_update('k_label_name', 'a -1 false', 1, '{"v": "c"}');
-- they need EXECUTE, as in any statement
CREATE ROLE regress_cas_caster;
GRANT USAGE ON SCHEMA cas_keys TO regress_cas_caster;
GRANT SELECT ON k_label_inet TO regress_cas_caster;
REVOKE EXECUTE ON FUNCTION label_inet(label, int) FROM PUBLIC;
SELECT call, cas_test.try_as('regress_cas_caster', call) FROM unnest(ARRAY[
	$$SELECT version FROM cas_get('k_label_inet', '10.0.0.1'::label)$$,
	$$SELECT '10.0.0.1'::label::inet$$,
	$$SELECT version FROM cas_get('k_label_inet', '10.0.0.1/23')$$]) AS call;

SET client_min_messages = warning;
DROP SCHEMA cas_keys CASCADE;
DROP ROLE regress_cas_caster;
