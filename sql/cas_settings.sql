-- Claim: ids and payloads say the same under whatever settings a session has,
-- and mean the same to one that has others; what was read can be sent back,
-- and is then no change, whatever the columns' types; and nothing of the
-- user's runs under settings that are not the session's.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_settings;
SET search_path = cas_settings, public, cas_test;

-- The settings that have a say in what output functions write.
CREATE TABLE sessions (n int, names text[], vals text[]);
INSERT INTO sessions
SELECT row_number() OVER (ORDER BY d, i, z, f), '{datestyle,intervalstyle,timezone,extra_float_digits,bytea_output,search_path,quote_all_identifiers}',
	ARRAY[d, i, z, f::text, CASE WHEN f = 0 THEN 'escape' ELSE 'hex' END,
		CASE WHEN f = 3 THEN 'cas_settings, public' ELSE 'public, cas_settings, pg_catalog' END,
		CASE WHEN f = 0 THEN 'on' ELSE 'off' END]
FROM unnest('{"ISO, DMY","German","SQL, MDY","Postgres, DMY"}'::text[]) d,
	unnest('{postgres,postgres_verbose,sql_standard,iso_8601}'::text[]) i,
	unnest('{UTC,Asia/Kathmandu,America/St_Johns}'::text[]) z, unnest('{-15,0,3}'::int[]) f;
CREATE FUNCTION become(session sessions) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. cardinality(session.names) LOOP
		PERFORM set_config(session.names[i], session.vals[i], true);
	END LOOP;
END
$$;

-- One column of each type whose text depends on something, and of others.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT '{"a": "mood"}'::json$$;
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
CREATE TYPE pair AS (x float8, at timestamptz, for_ interval, of regclass);
CREATE DOMAIN sampled AS float8 CHECK (VALUE < 1000);
CREATE DOMAIN samples AS float8[];
CREATE TABLE t (id float8 PRIMARY KEY,
	f float8, r float4, n numeric, big bigint, b boolean, d date, ts timestamp, tz timestamptz, t time, ttz timetz,
	iv interval, by bytea, cl regclass, ty regtype, pr regprocedure, op regoperator, ns regnamespace, ro regrole,
	pt point, bx box, ci circle, m money, u uuid, ip inet, x bit(4), j json, jb jsonb, e mood, p pair, ps pair[], fs float8[], tzs timestamptz[][],
	rg tstzrange, fr numrange, ms tstzmultirange, dr daterange, ivs interval[], s sampled, ss samples, v tsvector, c char(5), q "char", nm name, tid tid,
	e2 text, g text GENERATED ALWAYS AS (upper(e2)) STORED);
SELECT cas_enable('t');
CREATE TABLE u (LIKE t INCLUDING ALL);
SELECT cas_enable('u');

SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
INSERT INTO t VALUES (0.1::float8 + 0.2,
	0.1::float8 + 0.2, 0.1::float4, 1.50, 9007199254740993, true, '2024-02-03', '2024-02-03 04:05:06.789', '2024-02-03 04:05:06.789+00', '04:05:06', '04:05:06+02',
	'-1 year 2 mons -3 days +04:05:06.7', '\xdeadbeef00', 't', 'mood', 'become(sessions)', '+(integer,integer)', 'cas_settings', 'pg_monitor',
	point(0.1::float8 + 0.2, 1), box(point(1, 0.1::float8 + 0.2), point(0, 0)), circle(point(0, 0), 0.1::float8 + 0.2), '-1234.56', '11111111-1111-1111-1111-111111111111', '10.0.0.1/8', B'1010', '{"z":1,  "a": [1.50, null]}', 'null', 'happy',
	ROW(0.1::float8 + 0.2, '2024-02-03 04:05:06+00', '-1 day +1 hour', 't'), ARRAY[ROW(0.1::float8 + 0.2, '2024-02-03 04:05:06+00', '1 day', 't'), NULL]::pair[],
	'[0:1]={0.1,-0}', '{{2024-02-03 04:05:06+00,infinity}}', '[2024-02-03 04:05:06+00,)', '[0.10,1]', '{[2024-02-03 04:05:06+00,2024-02-04 04:05:06+00)}', '[2024-02-03,2024-03-04)', '{1 day,-1 mon}', 0.1::float8 + 0.2, ARRAY[0.1::float8 + 0.2, NULL], 'a:1 b:2A', 'ab', 'q', 'name', '(1,2)', 'x');
INSERT INTO t VALUES ('-0', '-0', '-0', 'NaN', NULL, NULL, 'infinity', '-infinity', '12024-02-03 04:05:06+00', '24:00', '04:05:06.5-15:59',
	'1 mon -1 day', '', 'pg_class', 'int4[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '0.05', NULL, '::1', NULL, 'null', '{"k": 1.0}');
INSERT INTO t (id, f, r, d, ts, iv, jb, p, fs) VALUES ('Infinity', 'NaN', '-Infinity', '0044-03-15 BC', '0044-03-15 04:05:06 BC', '-00:00:01', '"s"', ROW(NULL, NULL, NULL, NULL), '{}');
SELECT id FROM cas_get('t', (SELECT id FROM t WHERE jb = 'null'));
SELECT k, v FROM cas_get('t', '0.30000000000000004'), jsonb_each(payload) WITH ORDINALITY AS e (k, v, i) ORDER BY k;

-- What is read is the same in every session; sent back it is no change, and
-- sent as another row it makes one of the same image.
CREATE TABLE read AS SELECT c.id, c.payload FROM t, cas_get('t', t.id) c;
CREATE FUNCTION disagreements(session sessions) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	was read; now_ cas_row; outcome_ text;
BEGIN
	PERFORM cas_settings.become(session);
	FOR was IN SELECT * FROM cas_settings.read LOOP
		SELECT * INTO now_ FROM public.cas_get('cas_settings.t', was.id);
		IF now_.id IS DISTINCT FROM was.id THEN
			RETURN NEXT format('%s: %s is not found by its id, or another: %s', session.vals, was.id, now_.id);
		END IF;
		RETURN QUERY SELECT format('%s: %s.%s is read as %s, not %s', session.vals, was.id, k, now_.payload -> k, v)
			FROM jsonb_each(was.payload) AS e (k, v) WHERE v IS DISTINCT FROM now_.payload -> k;
		SELECT outcome INTO outcome_ FROM public.cas_try_update('cas_settings.t', was.id, now_.version, was.payload);
		IF outcome_ <> 'unchanged' THEN
			RETURN NEXT format('%s: %s sent back is %s', session.vals, was.id, outcome_);
		END IF;
		PERFORM public.cas_put('cas_settings.u', was.id, was.payload - 'g' - 'fs' - 'j' - 'jb');
	END LOOP;
	RETURN QUERY SELECT format('%s: %s is read differently: %s and %s', session.vals, t.id, t.*, u.*)
		FROM cas_settings.t FULL JOIN cas_settings.u USING (id)
		WHERE (to_jsonb(t.*) - 'fs' - 'j' - 'jb')::text <> (to_jsonb(u.*) - 'fs' - 'j' - 'jb')::text
			OR ROW(t.f + 0, t.r + 0, t.n, t.ts, t.tz, t.iv, t.rg, t.p, t.s, t.cl)::record *<> ROW(u.f + 0, u.r + 0, u.n, u.ts, u.tz, u.iv, u.rg, u.p, u.s, u.cl)::record;
	DELETE FROM cas_settings.u;
END
$$;
SELECT count(*) AS sessions FROM sessions;
-- (thousands of calls, which would take hours if caches were discarded in each)
SET debug_discard_caches = 0;
SELECT d FROM sessions s, disagreements(s) d ORDER BY s.n LIMIT 10;
RESET debug_discard_caches;
SELECT DISTINCT resource_version FROM t;

-- Nor does the name of an object depend on a temporary one of the same name.
CREATE TEMP TABLE pg_class ();
SELECT payload -> 'cl' FROM cas_get('t', '-0');
DROP TABLE pg_temp.pg_class;

-- Composite ids, and ids in errors.
CREATE TABLE k (at timestamptz, f float8, n int, PRIMARY KEY (at, f));
SELECT cas_enable('k');
INSERT INTO k VALUES ('2024-02-03 04:05:06+00', 0.1::float8 + 0.2);
BEGIN;
SELECT become(s) FROM sessions s WHERE n = 70;
SHOW datestyle;
SHOW timezone;
SELECT cas_get.id AS kid FROM k, cas_get('k', jsonb_build_object('at', at, 'f', 0.30000000000000004)) \gset
SELECT :'kid';
SELECT version FROM cas_get('k', :'kid');
SELECT answer -> 'compare' -> 0 ->> 'id' FROM cas_txn(jsonb_build_array(jsonb_build_object('table', 'cas_settings.k', 'id', :'kid'::jsonb, 'exists', true)), '[]') answer;
COMMIT;
BEGIN;
SET LOCAL extra_float_digits = 0;
DO $$
DECLARE detail text;
BEGIN
	PERFORM cas_update('t', 0.1::float8 + 0.2, 5, '{}');
EXCEPTION WHEN SQLSTATE 'PT409' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE NOTICE '%', detail::jsonb ->> 'id';
END
$$;
COMMIT;

-- A column that is given another value is written, whatever the session.
BEGIN;
SELECT become(s) FROM sessions s WHERE n = 70;
SELECT outcome, payload -> 'tz', payload -> 'iv', payload -> 'p', payload -> 'fs'
FROM cas_try_update('t', '0.30000000000000004', 1, '{"tz": "3.2.2024 04:05", "iv": "-1 2:03:04", "p": {"x": 2}, "fs": [1]}');
SELECT tz, iv FROM t WHERE f = 0.1::float8 + 0.2;
ROLLBACK;

-- Generated and identity columns: the present value is passed over, another
-- is an error; so is any value for a new row, and one that is not readable.
CREATE TABLE fixed (id int PRIMARY KEY, n int, i int GENERATED ALWAYS AS IDENTITY, g numeric GENERATED ALWAYS AS (n * 1.50) STORED);
SELECT cas_enable('fixed');
SELECT cas_create('fixed', 1, '{"n": 2}');
SELECT payload FROM cas_get('fixed', 1);
SELECT outcome, version, payload FROM cas_try_update('fixed', 1, 1, '{"n": 3, "i": 1, "g": 3.00}');
SELECT outcome, version FROM cas_try_update('fixed', 1, 2, '{"i": "1", "g": "4.50"}');
SELECT outcome, version FROM cas_try_patch('fixed', 1, 2, '{"i": 1, "n": 3}');
SELECT cas_put('fixed', 1, '{"i": 1, "n": 4, "g": 4.50}');
SELECT raises($$SELECT cas_update('fixed', 1, 3, '{"g": 4.5}')$$);
SELECT raises($$SELECT cas_update('fixed', 1, 3, '{"i": 2}')$$);
SELECT raises($$SELECT cas_update('fixed', 1, 3, '{"i": null}')$$);
SELECT raises($$SELECT cas_create('fixed', 2, '{"i": 2}')$$);
SELECT raises($$SELECT cas_create('fixed', 2, '{"g": 2}')$$);
SELECT raises($$SELECT cas_put('fixed', 2, '{"g": 2}')$$);

-- JSON null: in a jsonb column that holds one it stays, else it is NULL.
SELECT cas_create('t', 1, '{"jb": "x", "j": "x"}');
SELECT outcome, payload -> 'jb' FROM cas_try_update('t', 1, 1, '{"jb": null, "j": null}');
SELECT jb IS NULL, j IS NULL FROM t WHERE id = 1;
UPDATE t SET jb = 'null', j = 'null' WHERE id = 1;
SELECT outcome FROM cas_try_update('t', 1, 3, '{"jb": null, "j": null, "b": true}');
SELECT jb, j, b FROM t WHERE id = 1;

-- Numbers that JavaScript would round, as strings: in columns, arrays and
-- composite values; sent back they are no change, nor are they as numbers.
CREATE TYPE bigs AS (i int, big bigint, n numeric);
CREATE TABLE big (id bigint PRIMARY KEY, i int, big bigint, n numeric(20, 2), f float8, bigs bigint[], c bigs, r numrange, jb jsonb);
SELECT cas_enable('big', big_numbers => 'string');
SELECT cas_create('big', 9007199254740993, '{"i": 1, "big": 9007199254740993, "n": "12345678901234567.5", "f": 1.5, "bigs": [1, "9007199254740993"],
	"c": {"i": 1, "big": 2, "n": "NaN"}, "r": "[1,2]", "jb": 9007199254740993}');
SELECT * FROM cas_get('big', 9007199254740993);
SELECT u.outcome FROM cas_get('big', 9007199254740993) g, cas_try_update('big', g.id, 1, g.payload) u;
SELECT outcome FROM cas_try_update('big', 9007199254740993, 1, '{"big": 9007199254740993, "n": 12345678901234567.50, "bigs": [1, 9007199254740993], "c": {"i": 1, "big": 2, "n": "NaN"}}');
SELECT outcome, payload -> 'big' FROM cas_try_update('big', 9007199254740993, 1, '{"big": "9007199254740994"}');
SELECT cas_txn('[]', '[{"op": "get", "table": "big", "id": 9007199254740993}]') -> 'results' -> 0 -> 'payload' -> 'n';
CREATE FUNCTION count_up(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT $1 || jsonb_build_object('i', ($1 ->> 'i')::int + 1)$$;
SELECT cas_apply('big', 9007199254740993, 'count_up(jsonb, jsonb)');
SELECT cas_patch('big', 9007199254740993, 3, '{"c": {"i": 7}}');
SELECT i, big, n, c FROM big;
SELECT cas_enable('big', big_numbers => 'number');
SELECT payload FROM cas_get('big', 9007199254740993);

-- What the user's functions see: their own settings, always.
CREATE FUNCTION own_settings() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('datestyle') <> 'German, DMY' OR current_setting('timezone') <> 'Asia/Kathmandu' OR
		current_setting('intervalstyle') <> 'postgres_verbose' OR current_setting('extra_float_digits') <> '-15' OR
		current_setting('bytea_output') <> 'escape' OR current_setting('search_path') NOT LIKE 'cas_settings%' THEN
		RAISE 'settings of others: % % %', current_setting('datestyle'), current_setting('timezone'), current_setting('search_path');
	END IF;
	RETURN true;
END
$$;
CREATE DOMAIN watched AS interval CHECK (own_settings());
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cas_settings.own_settings();
	RETURN coalesce(NEW, OLD);
END
$$;
CREATE FUNCTION mind(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT $1 || $2 FROM cas_settings.own_settings()$$;
CREATE TABLE w (id watched PRIMARY KEY, iv watched, by bytea, cl regclass, ws watched[], e mood, tz tstzrange CHECK (own_settings()),
	x boolean DEFAULT own_settings());
SELECT cas_enable('w');
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON w FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON w FOR EACH ROW EXECUTE FUNCTION watch();
SET datestyle = 'German, DMY';
SET timezone = 'Asia/Kathmandu';
SET intervalstyle = postgres_verbose;
SET extra_float_digits = -15;
SET bytea_output = escape;
SELECT outcome, id, payload FROM cas_try_create('w', '1 day -1 hour', '{"iv": "1 mon", "by": "\\x00", "cl": "w", "ws": ["1 hour"], "e": "sad", "tz": "[01.02.2024 00:00,)"}');
SELECT outcome, u.payload FROM cas_get('w', '1 day -1 hour') g, cas_try_update('w', g.id, 1, g.payload) u;
SELECT outcome FROM cas_get('w', '1 day -1 hour') g, cas_try_update('w', g.id, 1, g.payload || '{"by": "a"}') u;
SELECT cas_apply('w', '1 day -1 hour', 'mind(jsonb, jsonb)', '{"iv": "2 mons"}');
SELECT cas_rename('w', '1 day -1 hour', 3, '1 hour'::interval);
SELECT id, version FROM cas_lock('w', '{1 hour}'::interval[]);
SELECT cas_txn('[]', '[{"op": "get", "table": "w", "id": "1 hour"}]') -> 'results' -> 0 -> 'payload';
SELECT outcome, payload FROM cas_try_delete('w', '1 hour', 4);
RESET datestyle;
RESET timezone;
RESET intervalstyle;
RESET extra_float_digits;
RESET bytea_output;
-- and the settings are the session's again, after an error, too
BEGIN;
SET LOCAL bytea_output = escape;
SELECT payload -> 'by' FROM cas_get('t', '0.30000000000000004');
SHOW bytea_output;
ROLLBACK;

-- a name in a DETAIL
SET quote_all_identifiers = on;
SELECT cas_update('u', '7', 1, '{}');
CREATE TABLE locked (id int);
SELECT lock_protect('locked', 'resource');
INSERT INTO locked VALUES (1);
RESET quote_all_identifiers;

-- amounts of money, in the first of these locales that there is
CREATE TABLE amount (id money PRIMARY KEY, v money);
SELECT cas_enable('amount');
SELECT cas_create('amount', '$1.50', '{"v": "$2.25"}');
DO $$
DECLARE locale text;
BEGIN
	FOREACH locale IN ARRAY '{de_DE.UTF-8, de_DE.utf8, en_US.UTF-8, en_US.utf8, C.UTF-8, C.utf8}'::text[] LOOP
		BEGIN
			PERFORM set_config('lc_monetary', locale, false);
			EXIT;
		EXCEPTION WHEN invalid_parameter_value THEN
		END;
	END LOOP;
END $$;
SELECT * FROM cas_get('amount', '$1.50');
SELECT * FROM cas_try_update('amount', '$1.50', 1, '{"v": "$2.25"}');
RESET lc_monetary;

SET client_min_messages = warning;
DROP SCHEMA cas_settings CASCADE;
