-- Claim: a payload is a document, or an object of the row's columns of which
-- those it names are written; what does not fit is refused with an error that
-- says why, and a payload that is the row's already, by stored image, writes
-- nothing.  A merge patch does what RFC 7396 says.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_payload;
SET search_path = cas_payload, public, cas_test;

--
-- Columns as the payload.
--
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE point2 AS (x int, y int);
CREATE DOMAIN short AS text CHECK (length(VALUE) <= 3) NOT NULL;
CREATE TABLE t (id int PRIMARY KEY, n int, big bigint, num numeric(6, 2), t text, vc varchar(4), c char(4),
	b boolean, d date, ts timestamptz, u uuid, m mood, p point2, a int[], jb jsonb, j json, by bytea,
	r int4range, s short DEFAULT 'abc', f float8,
	g int GENERATED ALWAYS AS (n * 2) STORED, v bigint NOT NULL DEFAULT 1,
	must int NOT NULL DEFAULT 0, def text DEFAULT 'default');
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SELECT cas_enable('t', 'v');
SELECT cas_create('t', 1, '{"n": 1, "big": 9007199254740993, "num": 1.5, "t": "ä", "vc": "vc", "c": "c", "b": true,
	"d": "2024-02-29", "ts": "2024-02-29T12:00:00+01:00", "u": "11111111-1111-1111-1111-111111111111", "m": "happy",
	"p": {"x": 1, "y": null}, "a": [1, null, 3], "jb": {"k": [1, {"l": null}]}, "j": {"z":1, "a": 2 }, "by": "\\x00ff",
	"r": "[1,5)", "f": 0.1}');
SELECT * FROM t;
SELECT payload FROM cas_get('t', 1);
-- what is read can be written back, the generated column included
SELECT raises($$SELECT cas_update('t', 1, 1, payload) FROM cas_get('t', 1)$$);
SELECT u.outcome, u.version FROM cas_get('t', 1) g, cas_try_update('t', 1, 1, g.payload - 'g') u;
SELECT u.outcome, u.version FROM cas_get('t', 1) g, cas_try_patch('t', 1, 1, g.payload - 'g') u;
-- what is not named stays; what is left out of a new row has its default
SELECT cas_update('t', 1, 1, '{"n": 2}');
SELECT * FROM t;
-- JSON null sets NULL, a JSON null inside jsonb is what it says
SELECT cas_update('t', 1, 2, '{"n": null, "t": null, "jb": null, "m": null, "a": null, "p": null, "def": null}');
SELECT n, t, jb, m, a, p, def, g, v FROM t;
SELECT cas_update('t', 1, 3, '{"jb": [null], "j": [null]}');
SELECT jb, j FROM t;
SELECT cas_create('t', 2, '{"def": null}');
SELECT n, def, must, s FROM t WHERE id = 2;

-- Values that do not fit: their type's own error, and nothing is written.
SELECT format('%-50s ', p) || split_part(raises(format('SELECT cas_update(''t'', 1, 4, %L)', p)), E'\n', 1)
FROM unnest(ARRAY['{"n": "one"}', '{"n": 1.5}', '{"n": 99999999999}', '{"n": true}', '{"n": [1]}', '{"n": {"a": 1}}',
	'{"num": 99999}', '{"vc": "longer"}', '{"b": "maybe"}', '{"d": "2023-02-29"}', '{"d": 5}', '{"u": "x"}', '{"m": "sorry"}',
	'{"p": [1]}', '{"p": {"x": "a"}}', '{"a": 5}', '{"a": ["x"]}', '{"r": "[5,1)"}', '{"by": "\\xzz"}',
	'{"s": "four"}', '{"s": null}', '{"must": null}', '{"f": "NaN?"}'
	]) WITH ORDINALITY AS u (p, i) ORDER BY i;
-- strings are read by the type's input function, as jsonb_populate_record does
SELECT cas_update('t', 1, 4, '{"n": "5", "num": "2.345", "b": "yes", "a": "{7,8}", "p": "(3,4)", "t": 12, "vc": true, "f": "Infinity"}');
SELECT n, num, b, a, p, t, vc, f FROM t WHERE id = 1;
SELECT cas_update('t', 1, 5, '{"t": {"a": 1}, "by": "abc"}');
SELECT t, by FROM t WHERE id = 1;

-- Columns that cannot be written.
SELECT raises($$SELECT cas_update('t', 1, 6, '{"nothing": 1}')$$);
SELECT raises($$SELECT cas_create('t', 3, '{"nothing": 1}')$$);
SELECT raises($$SELECT cas_patch('t', 1, 6, '{"nothing": null}')$$);
SELECT raises($$SELECT cas_merge('t', 1, '{"nothing": {"a": 1}}')$$);
SELECT raises($$SELECT cas_put('t', 1, '{"nothing": 1}')$$);
SELECT raises($$SELECT cas_put('t', 4, '{"nothing": 1}')$$);
SELECT raises($$SELECT cas_update('t', 1, 6, '{"N": 1}')$$);
SELECT raises($$SELECT cas_update('t', 1, 6, '{"": 1}')$$);
SELECT raises($$SELECT cas_update('t', 1, 6, '{"ctid": "(0,1)"}')$$);
SELECT raises($$SELECT cas_update('t', 1, 6, '{"xmin": 1}')$$);
SELECT raises($$SELECT cas_update('t', 1, 6, '{"tableoid": 1}')$$);
SELECT raises($$SELECT cas_update('t', 1, 6, '{"g": 4}')$$);
SELECT raises($$SELECT cas_update('t', 1, 6, '{"g": null}')$$);
SELECT raises($$SELECT cas_create('t', 3, '{"n": 2, "g": 4}')$$);
SELECT raises($$SELECT cas_merge('t', 1, '{"g": 4}')$$);
-- the version, be it the right one
SELECT raises($$SELECT cas_update('t', 1, 6, '{"v": 6}')$$);
SELECT raises($$SELECT cas_update('t', 1, 6, '{"v": 7}')$$);
SELECT raises($$SELECT cas_create('t', 3, '{"v": 1}')$$);
SELECT raises($$SELECT cas_merge('t', 1, '{"v": null}')$$);
-- the key: its own value may be sent back, another is no rename
SELECT cas_update('t', 1, 6, '{"id": 1, "n": 6}'), cas_update('t', 1, 7, '{"id": "1", "n": 7}');
SELECT cas_merge('t', 1, '{"id": 1, "n": 8}'), cas_patch('t', 1, 9, '{"id": 1, "n": 9}'), cas_put('t', 1, '{"id": 1, "n": 10}');
SELECT cas_create('t', 3, '{"id": 3}'), cas_put('t', 4, '{"id": 4}');
SELECT raises($$SELECT cas_update('t', 1, 11, '{"id": 2}')$$);
SELECT raises($$SELECT cas_update('t', 1, 11, '{"id": null}')$$);
SELECT raises($$SELECT cas_patch('t', 1, 11, '{"id": 2}')$$);
SELECT raises($$SELECT cas_patch('t', 1, 11, '{"id": null}')$$);
SELECT raises($$SELECT cas_merge('t', 1, '{"id": 2, "jb": {"x": 1}}')$$);
SELECT raises($$SELECT cas_merge('t', 1, '{"id": null, "jb": {"x": 1}}')$$);
SELECT raises($$SELECT cas_create('t', 5, '{"id": 6}')$$);
SELECT raises($$SELECT cas_put('t', 5, '{"id": 6}')$$);
SELECT raises($$SELECT cas_put('t', 1, '{"id": 6}')$$);
SELECT raises($$SELECT cas_update('t', 1, 11, '{"id": "x"}')$$);
-- not an object
SELECT format('%-10s', p) || split_part(raises(format('SELECT cas_update(''t'', 1, 11, %L)', p)), E'\n', 1)
	|| '; ' || split_part(raises(format('SELECT cas_create(''t'', 11, %L)', p)), E'\n', 1)
	|| '; ' || split_part(raises(format('SELECT cas_patch(''t'', 1, 11, %L)', p)), E'\n', 1)
	|| '; ' || split_part(raises(format('SELECT cas_merge(''t'', 1, %L)', p)), E'\n', 1)
FROM unnest(ARRAY['null', '1', '"n"', '[]', '[{"n": 1}]', 'true']) WITH ORDINALITY AS u (p, i) ORDER BY i;
SELECT id, n, v FROM t ORDER BY id;
-- a dropped column is no column
ALTER TABLE t DROP COLUMN def;
SELECT raises($$SELECT cas_update('t', 1, 11, '{"def": 1}')$$);
SELECT raises($$SELECT cas_update('t', 1, 11, '{"........pg.dropped.24........": 1}')$$);
SELECT payload ? 'def' FROM cas_get('t', 1);

--
-- Unchanged is by stored image.
--
CREATE TABLE u (id int PRIMARY KEY, num numeric, jb jsonb, t text, c char(3), ts timestamptz, f float8, arr int[]);
SELECT cas_enable('u');
SELECT cas_create('u', 1, '{"num": 1.0, "jb": {"a": 1, "b": 2.0}, "t": "x", "c": "c", "ts": "2024-01-01T00:00Z", "f": 0, "arr": [1]}');
CREATE FUNCTION outcome_of(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN outcome FROM cas_try_update('u', 1, (SELECT version FROM cas_get('u', 1)), p);
END
$$;
SELECT format('%-40s', p) || outcome_of(p::jsonb)
FROM unnest(ARRAY['{"num": 1.0}', '{"num": 1.00}', '{"num": 1.00}', '{"num": "1.00"}', '{"num": 1}',
	'{"jb": {"b": 2.0, "a": 1}}', '{"jb": {"b": 2.00, "a": 1}}', '{"jb": {"b": 2.00, "a": 1}}',
	'{"t": "x"}', '{"t": "x "}', '{"c": "c  "}', '{"c": "d"}', '{"ts": "2024-01-01 01:00+01"}',
	'{"f": -0.0}', '{"f": "-0"}', '{"f": 0}', '{"arr": "{1}"}', '{"arr": "[0:0]={1}"}', '{"arr": [1]}',
	'{"num": null}', '{"num": null}', '{}', '{"num": null, "t": "x "}', '{"num": null, "t": "y"}'
	]) WITH ORDINALITY AS x (p, i) ORDER BY i;
SELECT * FROM u;
-- documents, by all functions
CREATE TABLE d (id text PRIMARY KEY, body jsonb);
SELECT cas_enable('d', payload_column => 'body');
SELECT cas_create('d', 'a', '{"a": 1.0, "b": {"c": [1, 2], "d": "é"}}');
SELECT outcome, version FROM cas_try_update('d', 'a', 1, '{"b":{"d":"\u00e9","c":[1,2]},"a":1.0}');
SELECT outcome, version FROM cas_try_update('d', 'a', 1, '{"b": {"c": [1, 2], "d": "é"}, "a": 1.00}');
SELECT outcome, version FROM cas_try_update('d', 'a', 2, '{"b": {"c": [2, 1], "d": "é"}, "a": 1.00}');
SELECT outcome, version FROM cas_try_patch('d', 'a', 3, '{"a": 1.00}');
SELECT outcome, version FROM cas_try_patch('d', 'a', 3, '{"a": 1.0}');
SELECT cas_merge('d', 'a', '{"a": 1.0, "b": {"c": [2, 1]}}'), cas_put('d', 'a', '{"a": 1.0, "b": {"c": [2, 1], "d": "é"}}');
-- unchanged writes nothing: the row stays where it is, no trigger fires
SELECT ctid AS place FROM d \gset
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% fires', TG_WHEN; RETURN NEW; END $$;
CREATE TRIGGER before BEFORE UPDATE ON d FOR EACH ROW EXECUTE FUNCTION shout();
CREATE TRIGGER after AFTER UPDATE ON d FOR EACH ROW EXECUTE FUNCTION shout();
SELECT cas_update('d', 'a', 4, payload), cas_patch('d', 'a', 4, '{}'), cas_merge('d', 'a', payload),
	cas_put('d', 'a', payload) FROM cas_get('d', 'a');
SELECT ctid = :'place' AS not_moved FROM d;
SELECT cas_update('d', 'a', 4, '{"a": 2}');
DROP TRIGGER before ON d;
DROP TRIGGER after ON d;
-- what writes ignored columns only is a write, and leaves the version
CREATE TABLE i (id int PRIMARY KEY, n int, seen int);
SELECT cas_enable('i', ignore_columns => '{seen}');
SELECT cas_create('i', 1, '{"n": 1}');
SELECT * FROM cas_try_update('i', 1, 1, '{"seen": 5}');
SELECT * FROM cas_try_update('i', 1, 1, '{"seen": 5}');
SELECT * FROM cas_try_patch('i', 1, 1, '{"seen": 6}');
SELECT cas_merge('i', 1, '{"seen": 7}'), cas_put('i', 1, '{"seen": 8}');
SELECT * FROM cas_try_update('i', 1, 1, '{"seen": 9, "n": 2}');
SELECT * FROM i;
-- a document that is NULL
INSERT INTO d VALUES ('null', NULL);
SELECT * FROM cas_get('d', 'null');
SELECT * FROM cas_try_update('d', 'null', 1, 'null');
SELECT * FROM cas_try_update('d', 'null', 2, 'null');
INSERT INTO d VALUES ('null2', NULL), ('null3', NULL), ('null4', NULL);
SELECT * FROM cas_try_patch('d', 'null2', 1, '{}');
SELECT * FROM cas_try_patch('d', 'null3', 1, '{"a": {"b": null, "c": 1}}');
SELECT cas_merge('d', 'null4', '{"a": 1}');
SELECT * FROM cas_get('d', 'null4');
-- out of line
CREATE TABLE fat (id int PRIMARY KEY, jb jsonb, t text, n int);
ALTER TABLE fat ALTER jb SET STORAGE EXTERNAL, ALTER t SET STORAGE EXTERNAL;
SELECT cas_enable('fat');
SELECT jsonb_object_agg(i, md5(i::text)) AS doc, string_agg(md5(i::text), '') AS txt FROM generate_series(1, 500) i \gset
SELECT cas_create('fat', 1, jsonb_build_object('jb', :'doc'::jsonb, 't', :'txt'));
SELECT outcome, version FROM cas_try_update('fat', 1, 1, jsonb_build_object('jb', :'doc'::jsonb, 't', :'txt'));
SELECT outcome, version FROM cas_try_update('fat', 1, 1, jsonb_build_object('n', 1));
SELECT outcome, version FROM cas_try_update('fat', 1, 2, jsonb_build_object('jb', :'doc'::jsonb, 't', :'txt' || '.'));
SELECT outcome, version FROM cas_try_patch('fat', 1, 3, '{"jb": {"7": "seven"}}');
SELECT outcome, version FROM cas_try_patch('fat', 1, 4, '{"jb": {"7": "seven"}}');
SELECT cas_merge('fat', 1, '{"jb": {"1": null}}'), cas_update('fat', 1, 5, payload) FROM cas_get('fat', 1);
SELECT pg_column_size(t), jb ->> '7', jb ? '1', resource_version FROM fat;
SELECT cas_enable('fat', payload_column => 'jb', version_path => '{v}');
SELECT outcome, version FROM cas_try_update('fat', 1, 6, :'doc'::jsonb || '{"7": "seven"}');
UPDATE fat SET jb = jb RETURNING resource_version, jb -> 'v';
UPDATE fat SET n = 2 RETURNING resource_version, jb -> 'v';

--
-- RFC 7396, Appendix A: every example, on a document; and what is not an
-- object as the value of a field, since a patch of that kind replaces all.
--
SELECT cas_enable('d', payload_column => 'body');
CREATE TABLE rfc (i serial, original jsonb, patch jsonb, result jsonb);
INSERT INTO rfc (original, patch, result) VALUES
	('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
	('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
	('{"a":"b"}', '{"a":null}', '{}'),
	('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
	('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
	('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
	('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
	('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
	('["a","b"]', '["c","d"]', '["c","d"]'),
	('{"a":"b"}', '["c"]', '["c"]'),
	('{"a":"foo"}', 'null', 'null'),
	('{"a":"foo"}', '"bar"', '"bar"'),
	('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
	('[1,2]', '{"a":"b","c":null}', '{"a":"b"}'),
	('{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
	-- its section 3
	('{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],"content":"This will be unchanged"}',
	 '{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}',
	 '{"title":"Hello!","author":{"givenName":"John"},"tags":["example"],"content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}'),
	-- beyond it
	('{"a":{"b":1}}', '{"a":{}}', '{"a":{"b":1}}'),
	('{"a":[1]}', '{"a":{"b":null}}', '{"a":{}}'),
	('1', '{"a":{"b":{"c":null,"d":[null]}}}', '{"a":{"b":{"d":[null]}}}'),
	('{"a":{"b":{"c":1,"d":2},"e":3}}', '{"a":{"b":{"c":null,"x":{"y":null}}}}', '{"a":{"b":{"d":2,"x":{}},"e":3}}'),
	('{"":1}', '{"":null,"a b":{"":2}}', '{"a b":{"":2}}');
SELECT i, original, patch, p.payload, p.payload = result AS right_, (p.outcome = 'unchanged') = (original = result) AS said
FROM rfc, cas_create('d', i::text, original) c, LATERAL cas_try_patch('d', i::text, c, patch) p ORDER BY i;
SELECT i, cas_put('d', i::text, original), cas_merge('d', i::text, patch),
	(SELECT payload = result FROM cas_get('d', i::text)) AS right_ FROM rfc ORDER BY i;
-- the same one level down: the columns are the object, and merge in jsonb
CREATE TABLE w (id int PRIMARY KEY, body jsonb, n int);
SELECT cas_enable('w');
SELECT i, cas_create('w', i, jsonb_build_object('body', original, 'n', i)),
	(cas_try_patch('w', i, 1, jsonb_build_object('body', patch))).payload,
	result FROM rfc ORDER BY i;
SELECT i, body IS NOT DISTINCT FROM CASE result WHEN 'null' THEN NULL ELSE result END AS right_, n = i AS kept
FROM rfc JOIN w ON id = i ORDER BY i;
-- a patch of several columns at once, and into columns that are no objects
SELECT cas_patch('w', 1, 2, '{"n": null, "body": {"a": {"b": 1}}}');
SELECT * FROM w WHERE id = 1;
SELECT raises($$SELECT cas_patch('w', 1, 3, '{"n": {"a": 1}}')$$);
SELECT cas_patch('w', 1, 3, '{"n": 1, "body": null}');
SELECT cas_patch('w', 1, 4, '{"body": {"x": null, "y": {"z": null}}}');
SELECT * FROM w WHERE id = 1;
-- depth
SELECT raises(format('SELECT cas_merge(''w'', 1, jsonb_build_object(''body'', %L::jsonb))',
	repeat('{"a":', 100) || '1' || repeat('}', 100)));
SELECT length(body::text) > 500 FROM w WHERE id = 1;

SET client_min_messages = warning;
DROP SCHEMA cas_payload CASCADE;
