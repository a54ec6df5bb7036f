-- Claim: what once ended the server, or made a session answer wrongly from
-- then on, ends in an answer or an error that says what is wrong.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_faults;
SET search_path = cas_faults, public, cas_test;

-- A partition may have its columns in another order, and other keys before the
-- table's: its rows are named by the table's key.
CREATE TABLE p (id int PRIMARY KEY, k text, other int) PARTITION BY RANGE (id);
CREATE TABLE c (other int NOT NULL, gone int, k text NOT NULL UNIQUE, id int NOT NULL UNIQUE);
ALTER TABLE c DROP COLUMN gone;
CREATE TABLE e (other int NOT NULL UNIQUE, id int NOT NULL UNIQUE, k text);
ALTER TABLE p ATTACH PARTITION c FOR VALUES FROM (1) TO (100);
ALTER TABLE p ATTACH PARTITION e FOR VALUES FROM (100) TO (200);
SELECT cas_enable('p', unversioned => 'reject');
SELECT cas_create('p', 1, '{"k": "a", "other": 2}'), cas_create('p', 2, '{"k": "b", "other": 1}'),
	cas_create('p', 101, '{"k": "c", "other": 102}'), cas_create('p', 102, '{"k": "d", "other": 101}');
SELECT cas_update('p', 1, 1, '{"k": "A"}'), cas_update('p', 101, 1, '{"k": "C"}');
SELECT * FROM cas_try_update('p', 2, 1, '{"other": 7}');
-- the announced write is that of the row with this id, not of one whose own
-- key has the number
CREATE FUNCTION neighbour() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 102 AND NEW.k = 'stop' THEN
		UPDATE p SET k = 'sneaked in' WHERE other = 102;
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER a BEFORE UPDATE ON p FOR EACH ROW EXECUTE FUNCTION neighbour();
SELECT raises($$SELECT cas_update('p', 102, 1, '{"k": "stop"}')$$);
DROP TRIGGER a ON p;
-- ids in errors of the guard, and a call on the partition itself
DO $$
DECLARE
	detail text;
BEGIN
	UPDATE c SET resource_version = 9 WHERE k = 'b';
EXCEPTION WHEN SQLSTATE 'PT409' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE NOTICE '%', detail::jsonb ->> 'id';
END
$$;
SELECT cas_update('e', 102, 1, '{"k": "D"}'), cas_put('e', 103, '{"k": "E", "other": 3}');
SELECT id, version, payload FROM cas_get('e', 102);
SELECT * FROM p ORDER BY id;

-- A rule that puts something in the place of a write.
CREATE TABLE ruled (id int PRIMARY KEY, n int);
SELECT cas_enable('ruled');
INSERT INTO ruled VALUES (1, 1);
CREATE RULE instead AS ON UPDATE TO ruled DO INSTEAD
	UPDATE ruled SET n = 0 WHERE false RETURNING NULL::int, NULL::int, NULL::bigint;
CREATE RULE "when" AS ON DELETE TO ruled WHERE OLD.n = 7 DO INSTEAD NOTHING;
SELECT raises($$SELECT cas_try_update('ruled', 1, 1, '{"n": 2}')$$);
SELECT raises($$SELECT cas_delete('ruled', 1, 1)$$);
DROP RULE instead ON ruled;
SELECT raises($$SELECT cas_delete('ruled', 1, 1)$$);
SELECT raises($$SELECT cas_txn('[]', '[{"op": "get", "table": "ruled", "id": 1}]')$$);
SELECT version, payload FROM cas_get('ruled', 1);
SELECT version, payload FROM cas_lock('ruled', '{1}');
DROP RULE "when" ON ruled;
CREATE RULE also AS ON UPDATE TO ruled DO ALSO NOTHING;
SELECT raises($$SELECT cas_create('ruled', 2, '{"n": 2}')$$);
SELECT raises($$SELECT cas_put('ruled', 1, '{"n": 2}')$$);
DROP RULE also ON ruled;
CREATE RULE instead AS ON UPDATE TO ruled DO INSTEAD NOTHING;
ALTER TABLE ruled DISABLE RULE instead;
SELECT cas_update('ruled', 1, version, '{"n": 3}') FROM cas_get('ruled', 1);
-- a condition that compares records of a rule's own, of values of any types
CREATE TABLE compared (id int PRIMARY KEY, a text, n bigint, u uuid);
SELECT cas_enable('compared');
CREATE TABLE noted (what text);
INSERT INTO compared VALUES (1, 'aaa', 5);
CREATE FUNCTION with_rule(a text, b text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE OR REPLACE RULE also AS ON UPDATE TO compared
		WHERE ROW(%s)::record OPERATOR(pg_catalog.*<>) ROW(%s)::record
		DO ALSO INSERT INTO noted VALUES (NEW.id)', a, b);
	RETURN format('%s, %s: %s; %s', a, b,
		try_as(current_user, $q$UPDATE compared SET a = 'b', n = 4294967296 WHERE id = 1 RETURNING n$q$),
		try_as(current_user, $q$SELECT cas_merge('compared', 1, '{"a": "b", "n": 4294967296}')$q$));
END $$;
SELECT with_rule(a, b) FROM (VALUES ('old.a', 'new.n'), ('old.n', 'new.a'), ('old.a', 'new.u'),
	('old.u', 'new.a'), ('old.a', $$'b'$$), ('old.a', 'new.a'), ('old.n', 'new.n')) AS v (a, b);

-- Recursion has an end.
CREATE TABLE d (id int PRIMARY KEY, body jsonb);
SELECT cas_enable('d', payload_column => 'body');
CREATE FUNCTION deep(n int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT (repeat('{"a":', n) || '1' || repeat('}', n))::jsonb
$$;
SELECT cas_create('d', 1, deep(3000));
SELECT cas_patch('d', 1, 1, deep(3001));
SELECT cas_merge('d', 1, '{"b": 1}');
BEGIN;
SELECT raises($$SELECT cas_enable('d', payload_column => 'body', version_path => array_fill('x'::text, array[100]))$$);
SELECT length(body::text) > 500 FROM d;
ROLLBACK;
SELECT raises($$SELECT cas_enable('d', payload_column => 'body', version_path => array_fill('a'::text, array[50000]))$$);
-- also where the stack allows less than the patch that is given
CREATE TABLE given AS SELECT deep(3000) AS patch;
SET max_stack_depth = '100kB';
SELECT left(raises('SELECT cas_merge(''d'', 1, patch) FROM given'), 5);
SELECT left(raises('SELECT cas_patch(''d'', 1, 3, patch) FROM given'), 5);
RESET max_stack_depth;
SELECT version FROM cas_get('d', 1);

-- A type that is altered is read as it is by now.
CREATE TYPE ct AS (a int);
CREATE DOMAIN dom AS int CHECK (VALUE < 10);
CREATE TABLE ty (id dom PRIMARY KEY, c ct, ds dom);
SELECT cas_enable('ty');
SELECT cas_create('ty', 1, '{"c": {"a": 1}, "ds": 1}');
ALTER TYPE ct ADD ATTRIBUTE z int;
SELECT outcome, payload FROM cas_try_update('ty', 1, 1, '{"c": {"a": 1, "z": 2}}');
SELECT cas_put('ty', 1, '{"c": {"a": 1, "z": 3}}');
SELECT payload FROM cas_get('ty', 1);
ALTER DOMAIN dom DROP CONSTRAINT dom_check;
ALTER DOMAIN dom ADD CHECK (VALUE < 20);
SELECT cas_create('ty', 15, '{"ds": 16}');
SELECT raises($$SELECT cas_create('ty', 25, '{}')$$);
SELECT raises($$SELECT cas_create('ty', 16, '{"ds": 25}')$$);
-- a value that a later constraint forbids is no change
ALTER DOMAIN dom DROP CONSTRAINT dom_check;
ALTER DOMAIN dom ADD CHECK (VALUE < 16) NOT VALID;
SELECT outcome FROM cas_try_update('ty', '15', 1, '{"ds": 16, "c": null}');
SELECT raises($$SELECT cas_create('ty', 16, '{}')$$);

-- A CHECK that fails leaves nothing behind in the session, however often.
-- (What is read anew is kept until the transaction ends.)
SET debug_discard_caches = 0;
CREATE FUNCTION remembered() RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(total_bytes) FROM pg_backend_memory_contexts
	WHERE name IN ('CacheMemoryContext', 'pg_cas table', 'pg_cas plan', 'TopMemoryContext')
$$;
DO $$
DECLARE
	before bigint;
BEGIN
	FOR i IN 1 .. 600 LOOP
		IF i = 100 THEN
			before = remembered();
		END IF;
		BEGIN
			PERFORM cas_get('ty', '99');
		EXCEPTION WHEN invalid_parameter_value THEN
		END;
		BEGIN
			PERFORM cas_put('ty', 1, '{"ds": 77}');
		EXCEPTION WHEN check_violation THEN
		END;
	END LOOP;
	RAISE NOTICE 'less than 64 kB more: %', remembered() - before < 65536;
END
$$;
RESET debug_discard_caches;

-- What a call answers with is the row at its end, whoever wrote to it.
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree ON UPDATE CASCADE ON DELETE SET NULL, n int DEFAULT 0);
SELECT cas_enable('tree');
INSERT INTO tree VALUES (1, 1), (2, 1);
SELECT cas_rename('tree', 1, 1, 10);
SELECT id, resource_version FROM tree ORDER BY id;
SELECT cas_update('tree', 10, 2, '{"n": 1}');
SELECT outcome, id, version, payload FROM cas_try_rename('tree', 10, 3, 11);
SELECT id, resource_version FROM tree ORDER BY id;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE tree SET n = n + 100 WHERE id = NEW.id AND n < 100;
	RETURN NULL;
END
$$;
CREATE TRIGGER touch AFTER INSERT OR UPDATE ON tree FOR EACH ROW EXECUTE FUNCTION touch();
SELECT * FROM cas_try_create('tree', 20, '{"n": 5}');
SELECT * FROM cas_try_update('tree', 20, 2, '{"n": 6}');
SELECT cas_put('tree', 21, '{"n": 5}'), cas_merge('tree', 21, '{"n": 6}');
SELECT cas_txn('[]', '[{"op": "update", "table": "tree", "id": 21, "version": 4, "payload": {"n": 7}}]') -> 'results';
SELECT id, n, resource_version FROM tree WHERE id >= 20 ORDER BY id;
-- one that the call leaves without its row
CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM tree WHERE id = NEW.id;
	RETURN NULL;
END
$$;
CREATE TRIGGER touch2 AFTER UPDATE ON tree FOR EACH ROW WHEN (NEW.n = -1) EXECUTE FUNCTION vanish();
SELECT outcome, id, version FROM cas_try_update('tree', 21, 6, '{"n": -1}');
SELECT count(*) FROM tree WHERE id = 21;
CREATE TABLE auto (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int);
SELECT cas_enable('auto');
CREATE FUNCTION touch_auto() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE auto SET n = n + 100 WHERE id = NEW.id AND n < 100;
	RETURN NULL;
END
$$;
CREATE TRIGGER touch AFTER INSERT ON auto FOR EACH ROW EXECUTE FUNCTION touch_auto();
SELECT * FROM cas_try_create('auto', NULL::text, '{"n": 1}');
SELECT cas_create('auto', NULL::text, '{"n": 1}');

-- Many ids, and plans without end.
SELECT version FROM cas_lock('d', array_fill(1, ARRAY[4200000]));
CREATE TABLE wide (id int PRIMARY KEY, a int, b int, c int, d int, e int, f int, g int, h int, i int);
SELECT cas_enable('wide');
CREATE TRIGGER off BEFORE DELETE ON wide FOR EACH ROW WHEN (false) EXECUTE FUNCTION neighbour();
SELECT cas_create('wide', 1, '{}');
SET debug_discard_caches = 0;
CREATE FUNCTION plans() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'pg_cas plan'
$$;
DO $$
DECLARE
	payload jsonb;
	before bigint = plans();
BEGIN
	FOR n IN 1 .. 300 LOOP
		SELECT jsonb_object_agg(chr(96 + i), n) INTO payload
		FROM generate_series(1, 9) i WHERE n & (1 << (i - 1)) > 0;
		PERFORM cas_put('wide', 1, payload);
	END LOOP;
	RAISE NOTICE 'no more than 64 plans: %', plans() - before <= 64;
END
$$;
RESET debug_discard_caches;
SELECT a, b, c, i FROM wide;

-- Plans that are thrown away while one of them is running.
CREATE TABLE deep (id int PRIMARY KEY, a int, b int, c int, d int, e int, f int, g int);
SELECT cas_enable('deep');
INSERT INTO deep VALUES (1), (2);
CREATE FUNCTION deepen() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE payload jsonb;
BEGIN
	FOR n IN 1 .. 127 LOOP
		SELECT jsonb_object_agg(chr(96 + i), n) INTO payload
		FROM generate_series(1, 7) i WHERE n & (1 << (i - 1)) > 0;
		PERFORM cas_update('deep', 2, n, payload);
	END LOOP;
	RETURN NULL;
END $$;
CREATE TRIGGER deepen AFTER UPDATE ON deep FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION deepen();
SELECT cas_update('deep', 1, 1, '{"a": 7}');
SELECT * FROM deep ORDER BY id;
SELECT raises($$SELECT cas_update('deep', 1, 2, '{"a": 8}')$$) ~ '^PT409';
SELECT * FROM cas_try_update('deep', 2, 128, '{"b": 1}');

SET client_min_messages = warning;
DROP SCHEMA cas_faults CASCADE;
