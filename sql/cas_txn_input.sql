-- Claim: cas_txn() reads the request whole before it does anything. One that
-- is malformed in any place, also in the list that would not have run, raises
-- 22023 with the place in its DETAIL, and nothing is done.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_txn_input;
SET search_path = cas_txn_input, public;

CREATE TABLE doc (id text PRIMARY KEY, body jsonb);
CREATE TABLE num (id int PRIMARY KEY, n int);
CREATE TABLE pair (a text, b int, n int, PRIMARY KEY (a, b));
CREATE TABLE uid (id uuid PRIMARY KEY, n int);
CREATE TABLE plain (id int PRIMARY KEY);
CREATE VIEW look AS SELECT * FROM doc;
SELECT cas_enable('doc', payload_column => 'body');
SELECT cas_enable(t) FROM unnest('{num,pair,uid}'::regclass[]) t;
INSERT INTO doc VALUES ('a', '{"n": 1}');
INSERT INTO num VALUES (1, 1);
CREATE FUNCTION same(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION wrong(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION wrong(jsonb, text) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION many(jsonb, jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT $1';

-- SQLSTATE, the position in DETAIL, the message, what is expected; each
-- request would also write, and must not.
CREATE FUNCTION try(compare jsonb, success jsonb, failure jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; written int;
BEGIN
	BEGIN
		PERFORM cas_txn(compare, success, failure);
		RETURN 'no error';
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
			detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
		SELECT count(*) INTO written FROM doc WHERE id <> 'a';
		RETURN concat_ws(' | ', SQLSTATE, nullif(detail, '')::jsonb ->> 'position', message,
			nullif(hint, ''), CASE WHEN written > 0 THEN 'BUT SOMETHING WAS DONE' END);
	END;
END $$;
CREATE FUNCTION lists(success jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT '[{"op": "put", "table": "doc", "id": "w", "payload": {}}]'::jsonb || success
$$;
-- a bad comparison, second of two
CREATE FUNCTION bad_comparison(c jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT try('[{"table": "doc", "id": "a", "exists": true}]'::jsonb || jsonb_build_array(c), lists('[]'), '[]')
$$;
-- a bad operation, second of two: in success, and, not to be run, in failure
CREATE FUNCTION bad_operation(o jsonb) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT try('[]', lists(jsonb_build_array(o)), '[]')
	UNION ALL
	SELECT replace(f, 'failure', 'success') || ' -- other than in failure'
	FROM try('[]', lists('[]'), lists(jsonb_build_array(o))) f
	WHERE f NOT LIKE '%failure[1]%'
		OR replace(f, 'failure', 'success') <> try('[]', lists(jsonb_build_array(o)), '[]')
$$;
-- an error of PostgreSQL 15 with the SQLSTATE and the object of later ones
CREATE FUNCTION as_since_16(error text, state text, object text) RETURNS text LANGUAGE sql AS $$
	SELECT replace(replace(error, '3F000', state), 'schema "no"', object)
$$;

--
-- Arguments
--
SELECT try(NULL, '[]', '[]');
SELECT try('[]', NULL, '[]');
SELECT try('[]', '[]', NULL);
SELECT arg, try(CASE i WHEN 1 THEN arg ELSE '[]' END, CASE i WHEN 2 THEN arg ELSE lists('[]') END, CASE i WHEN 3 THEN arg ELSE '[]' END)
	FROM unnest('{"{}", "null", "1", "\"text\"", "true"}'::jsonb[]) WITH ORDINALITY a (arg, n), generate_series(1, 3) i ORDER BY n, i;
SELECT try('[]', lists('{"op": "put", "table": "doc", "id": "v", "payload": {}}'::jsonb || '{"op": "get"}'::jsonb), '[]');

--
-- Elements
--
SELECT e, bad_comparison(e), bad_operation(e) FROM unnest('{null, 1, "\"text\"", "[]", "[{}]", "{}"}'::jsonb[]) WITH ORDINALITY a (e, n) WHERE e IS NOT NULL ORDER BY n;
SELECT bad_comparison('null'), bad_operation('null');

--
-- Comparisons
--
SELECT c, bad_comparison(c) FROM unnest(ARRAY[
	'{"id": "a", "exists": true}',
	'{"table": null, "id": "a", "exists": true}',
	'{"table": 1, "id": "a", "exists": true}',
	'{"table": ["doc"], "id": "a", "exists": true}',
	'{"table": "doc", "exists": true}',
	'{"table": "doc", "id": null, "exists": true}',
	'{"table": "doc", "id": "a"}',
	'{"table": "doc", "id": "a", "exists": false}',
	'{"table": "doc", "id": "a", "absent": false}',
	'{"table": "doc", "id": "a", "exists": null}',
	'{"table": "doc", "id": "a", "exists": "true"}',
	'{"table": "doc", "id": "a", "exists": 1}',
	'{"table": "doc", "id": "a", "exists": true, "absent": true}',
	'{"table": "doc", "id": "a", "exists": true, "version": 1}',
	'{"table": "doc", "id": "a", "version": -1}',
	'{"table": "doc", "id": "a", "version": 1.5}',
	'{"table": "doc", "id": "a", "version": "1"}',
	'{"table": "doc", "id": "a", "version": null}',
	'{"table": "doc", "id": "a", "version": true}',
	'{"table": "doc", "id": "a", "version": []}',
	'{"table": "doc", "id": "a", "version": 9223372036854775808}',
	'{"table": "doc", "id": "a", "version": 1e300}',
	'{"table": "doc", "id": "a", "exists": true, "Version": 1}',
	'{"table": "doc", "id": "a", "exists": true, "op": "get"}',
	'{"table": "doc", "id": "a", "exists": true, "": 1}',
	'{"table": "num", "id": "one", "exists": true}',
	'{"table": "num", "id": 1.5, "exists": true}',
	'{"table": "num", "id": true, "exists": true}',
	'{"table": "num", "id": [1], "exists": true}',
	'{"table": "num", "id": {"no": 1}, "exists": true}',
	'{"table": "num", "id": {"id": 1, "no": 1}, "exists": true}',
	'{"table": "num", "id": {"id": null}, "exists": true}',
	'{"table": "num", "id": {}, "exists": true}',
	'{"table": "doc", "id": true, "absent": true}',
	'{"table": "doc", "id": ["a"], "absent": true}',
	'{"table": "doc", "id": {"x": "a"}, "absent": true}',
	'{"table": "doc", "id": {}, "absent": true}',
	'{"table": "num", "id": 3000000000, "exists": true}',
	'{"table": "num", "id": "", "exists": true}',
	'{"table": "uid", "id": "not-a-uuid", "exists": true}',
	'{"table": "pair", "id": "x", "exists": true}',
	'{"table": "pair", "id": 1, "exists": true}',
	'{"table": "pair", "id": ["x", 1], "exists": true}',
	'{"table": "pair", "id": {"a": "x"}, "exists": true}',
	'{"table": "pair", "id": {"a": "x", "b": null}, "exists": true}',
	'{"table": "pair", "id": {"a": "x", "b": "one"}, "exists": true}',
	'{"table": "pair", "id": {"a": "x", "b": 1, "c": 1}, "exists": true}'
	]::jsonb[]) WITH ORDINALITY a (c, n) ORDER BY n;

--
-- Operations
--
SELECT o, bad_operation(o) FROM unnest(ARRAY[
	'{"table": "doc", "id": "a", "payload": {}}',
	'{"op": null, "table": "doc", "id": "a"}',
	'{"op": 1, "table": "doc", "id": "a"}',
	'{"op": "upsert", "table": "doc", "id": "a"}',
	'{"op": "GET", "table": "doc", "id": "a"}',
	'{"op": "", "table": "doc", "id": "a"}',
	'{"op": "get", "id": "a"}',
	'{"op": "get", "table": 7, "id": "a"}',
	'{"op": "get", "table": "doc"}',
	'{"op": "get", "table": "doc", "id": null}',
	'{"op": "get", "table": "num", "id": "one"}',
	'{"op": "get", "table": "pair", "id": {"a": "x"}}',
	'{"op": "get", "table": "doc", "id": "a", "version": 1}',
	'{"op": "get", "table": "doc", "id": "a", "payload": {}}',
	'{"op": "create", "table": "doc", "id": "c"}',
	'{"op": "create", "table": "doc", "id": "c", "payload": {}, "version": 1}',
	'{"op": "create", "table": "num", "id": "c", "payload": {}}',
	'{"op": "update", "table": "doc", "id": "a", "version": 1}',
	'{"op": "update", "table": "doc", "payload": {}, "version": 1}',
	'{"op": "update", "table": "doc", "id": "a", "version": -1, "payload": {}}',
	'{"op": "update", "table": "doc", "id": "a", "version": "1", "payload": {}}',
	'{"op": "update", "table": "doc", "id": "a", "version": null, "payload": {}}',
	'{"op": "update", "table": "doc", "id": "a", "version": 0.1, "payload": {}}',
	'{"op": "update", "table": "doc", "id": "a", "payload": {}}',
	'{"op": "update", "table": "doc", "id": "a", "version": 1, "patch": {}}',
	'{"op": "patch", "table": "doc", "id": "a", "version": 1}',
	'{"op": "patch", "table": "doc", "id": "a", "version": 1, "payload": {}}',
	'{"op": "delete", "table": "doc", "version": 1}',
	'{"op": "delete", "table": "doc", "id": "a"}',
	'{"op": "delete", "table": "doc", "id": "a", "version": 1, "payload": {}}',
	'{"op": "rename", "table": "doc", "id": "a", "version": 1}',
	'{"op": "rename", "table": "doc", "id": "a", "version": 1, "new_id": null}',
	'{"op": "rename", "table": "num", "id": 1, "version": 1, "new_id": "two"}',
	'{"op": "rename", "table": "pair", "id": {"a": "x", "b": 1}, "version": 1, "new_id": {"a": "x"}}',
	'{"op": "rename", "table": "doc", "id": "a", "new_id": "b"}',
	'{"op": "merge", "table": "doc", "id": "a"}',
	'{"op": "merge", "table": "doc", "id": "a", "patch": {}, "version": 1}',
	'{"op": "put", "table": "doc", "id": "a"}',
	'{"op": "put", "table": "doc", "payload": {}}',
	'{"op": "put", "table": "doc", "id": "a", "payload": {}, "version": 1}',
	'{"op": "apply", "table": "doc", "id": "a"}',
	'{"op": "apply", "table": "doc", "id": "a", "fn": null}',
	'{"op": "apply", "table": "doc", "id": "a", "fn": 1}',
	'{"op": "apply", "table": "doc", "id": "a", "fn": "wrong(jsonb)"}',
	'{"op": "apply", "table": "doc", "id": "a", "fn": "wrong(jsonb, text)"}',
	'{"op": "apply", "table": "doc", "id": "a", "fn": "many(jsonb, jsonb)"}',
	'{"op": "apply", "table": "doc", "id": "a", "fn": "same(jsonb, jsonb)", "version": 1}'
	]::jsonb[]) WITH ORDINALITY a (o, n) ORDER BY n;

--
-- Names that are well-formed and of nothing, or of what is not guarded: their
-- own SQLSTATE, with the position all the same
--
SELECT t, bad_comparison(jsonb_build_object('table', t, 'id', '1', 'exists', true)),
	bad_operation(jsonb_build_object('op', 'get', 'table', t, 'id', '1'))
	FROM unnest('{nowhere, plain, look, "\"Doc\"", a.b.c.d, "", "doc doc", "\"doc", pg_class, 999999999}'::text[]) WITH ORDINALITY a (t, n) ORDER BY n;
SELECT f, bad_operation(jsonb_build_object('op', 'apply', 'table', 'doc', 'id', 'a', 'fn', f))
	FROM unnest('{nothing(jsonb\, jsonb), same, same(jsonb, "", count(*), "same(nothing, jsonb)"}'::text[]) WITH ORDINALITY a (f, n) ORDER BY n;
-- The schema does not exist: since PostgreSQL 16, the errors are those of names
-- without a schema.
SELECT as_since_16(bad_comparison('{"table": "no.where", "id": "1", "exists": true}'), '42P01', 'relation "no.where"'),
	as_since_16(bad_operation('{"op": "get", "table": "no.where", "id": "1"}'), '42P01', 'relation "no.where"'),
	as_since_16(bad_operation('{"op": "apply", "table": "doc", "id": "a", "fn": "no.where(jsonb, jsonb)"}'),
		'42883', 'function "no.where(jsonb, jsonb)"');

--
-- A row that a partition and its partitioned table name, or two partitions:
-- what the one finds, the other may not. In any two places, whatever is asked.
--
CREATE TABLE parted (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
CREATE TABLE parted_first PARTITION OF parted_low FOR VALUES FROM (0) TO (50);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (200);
SELECT cas_enable('parted');
INSERT INTO parted SELECT i, 0 FROM unnest('{1,2,3,150}'::int[]) i;
CREATE TEMP TABLE ops AS SELECT o FROM unnest(ARRAY['{"op": "get"}', '{"op": "create", "payload": {"n": 1}}',
	'{"op": "update", "version": 1, "payload": {"n": 1}}', '{"op": "patch", "version": 1, "patch": {"n": 1}}',
	'{"op": "delete", "version": 1}', '{"op": "rename", "version": 1, "new_id": 99}', '{"op": "merge", "patch": {"n": 1}}',
	'{"op": "apply", "fn": "same(jsonb, jsonb)"}', '{"op": "put", "payload": {"n": 1}}']::jsonb[]) o;
CREATE TEMP TABLE names AS SELECT a, b, id FROM unnest('{parted,parted_low,parted_first,parted_high}'::text[]) a,
	unnest('{parted,parted_low,parted_first,parted_high}'::text[]) b, unnest('{1,60,150,170}'::int[]) id WHERE a <> b;
SET debug_discard_caches = 0;
SELECT count(*), try('[]', jsonb_build_array('{"op": "get", "table": "doc", "id": "a"}'::jsonb,
		x.o || jsonb_build_object('table', a, 'id', id), y.o || jsonb_build_object('table', b, 'id', id)), '[]')
	FROM ops x, ops y, names GROUP BY 2 ORDER BY 2;
SELECT count(*), try(jsonb_build_array(c || jsonb_build_object('table', a, 'id', id)), jsonb_build_array(o || jsonb_build_object('table', b, 'id', id)), '[]'),
	try('[]', jsonb_build_array(o || jsonb_build_object('table', b, 'id', id)), jsonb_build_array('{"op": "get"}' || jsonb_build_object('table', a, 'id', id)))
	FROM unnest('{"{\"version\": 1}","{\"exists\": true}","{\"absent\": true}"}'::jsonb[]) c, ops, names GROUP BY 2, 3 ORDER BY 2, 3;
SELECT count(*), try(jsonb_build_array(c || jsonb_build_object('table', a, 'id', id), c || jsonb_build_object('table', b, 'id', id)), '[]', '[]')
	FROM unnest('{"{\"version\": 1}","{\"exists\": true}","{\"absent\": true}"}'::jsonb[]) c, names GROUP BY 2 ORDER BY 2;
RESET debug_discard_caches;
-- also as the new id, and as the third name
SELECT try('[{"table": "parted_first", "id": 9, "absent": true}]', '[{"op": "rename", "table": "parted", "id": 1, "version": 1, "new_id": 9}]', '[]');
SELECT try('[{"table": "parted", "id": 1, "exists": true}]', '[{"op": "get", "table": "parted", "id": 1}, {"op": "get", "table": "parted_low", "id": "001"}]', '[]');
-- other rows of the two, and two names of one table, are no matter
SELECT jsonb_array_elements(a -> 'compare') FROM cas_txn('[{"table": "parted_high", "id": 150, "version": 1}, {"table": "parted", "id": 1, "version": 1}, {"table": "parted_high", "id": 2, "absent": true}]', '[]') a;
SELECT jsonb_array_elements(cas_txn('[]', '[{"op": "put", "table": "parted_low", "id": 1, "payload": {"n": 5}}, {"op": "merge", "table": "parted", "id": 2, "patch": {"n": 5}},
	{"op": "merge", "table": "parted_first", "id": 3, "patch": {"n": 5}}, {"op": "create", "table": "parted", "id": 4, "payload": {"n": 5}}]') -> 'results');
SELECT jsonb_array_elements(cas_txn('[{"table": "parted", "id": 1, "version": 2}]', '[{"op": "update", "table": "cas_txn_input.parted", "id": 1, "payload": {"n": 6}}, {"op": "get", "table": "\"parted\"", "id": 1}]') -> 'results');
SELECT id, n, resource_version FROM parted ORDER BY id;

-- The first mistake is told, and ids that hold quotes, backslashes or braces
-- are ids.
SELECT try('[{"table": "doc", "id": "a", "exists": true}, {"table": "doc"}, {}]', '[{}]', '[{}]');
SELECT try('[]', '[{"op": "get", "table": "doc", "id": "a"}, {"op": "get", "table": "doc", "id": "a"}, {}]', '[{}]');
SELECT cas_txn(jsonb_build_array(jsonb_build_object('table', 'doc', 'id', id, 'absent', true)),
	jsonb_build_array(jsonb_build_object('op', 'put', 'table', 'doc', 'id', id, 'payload', '{}'::jsonb)))
	FROM unnest(ARRAY['', ' ', '"', '\', '{"id": 1}', $$'; --$$, 'é', repeat('x', 100), 'null']) id;
-- for a key of text, numbers are ids by their text
SELECT cas_txn('[]', '[{"op": "put", "table": "doc", "id": 1, "payload": {}}, {"op": "put", "table": "doc", "id": "1", "payload": {}}, {"op": "put", "table": "doc", "id": "{\"a\": 1}", "payload": {}}]') -> 'results';
-- payloads of every JSON type
SELECT cas_txn('[]', jsonb_agg(o ORDER BY n, i)) -> 'results' FROM unnest('{"null", "1.50", "\"\"", "true", "[]", "{}"}'::jsonb[]) WITH ORDINALITY a (payload, n),
	LATERAL (VALUES (1, jsonb_build_object('op', 'put', 'table', 'doc', 'id', 'j' || n, 'payload', payload)), (2, jsonb_build_object('op', 'get', 'table', 'doc', 'id', 'j' || n))) o (i, o);
-- the answer's numbers are numbers, its keys those of the contract
SELECT jsonb_typeof(a #> '{results,0,version}'), jsonb_typeof(a #> '{compare,0,version}'), a #> '{compare,0}', a #> '{results,0}'
	FROM cas_txn('[{"table": "num", "id": 1, "exists": true}]', '[{"op": "merge", "table": "num", "id": 1, "patch": {"n": 2}}]') a;
-- strict callers: by name, failure left out
SELECT cas_txn(success => '[]', compare => '[]');

SET client_min_messages = warning;
DROP SCHEMA cas_txn_input CASCADE;
