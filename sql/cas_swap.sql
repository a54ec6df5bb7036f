-- Claim: each function of compare-and-swap has just the outcomes that it is
-- said to have, in both forms, whether the payload is a document or the row's
-- columns; an error says by SQLSTATE, JSON detail and fields what the try form
-- says by its outcome, and nothing is written then.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_swap;
SET search_path = cas_swap, public, cas_test;

-- Two tables with the same rows: v1 'a', v7 'b'.
CREATE TABLE doc (id text PRIMARY KEY, body jsonb, extra int DEFAULT 5, v bigint NOT NULL DEFAULT 1);
CREATE TABLE col (id text PRIMARY KEY, n int, body jsonb, v bigint NOT NULL DEFAULT 1);
SELECT cas_enable('doc', 'v', 'body');
SELECT cas_enable('col', 'v');
INSERT INTO doc VALUES ('a', '{"n": 1}', 5, 1), ('b', '{"n": 2}', 6, 7);
INSERT INTO col VALUES ('a', 1, NULL, 1), ('b', 2, '{"x": 1}', 7);
CREATE FUNCTION whole(t regclass, OUT id text, OUT v bigint, OUT payload jsonb) RETURNS SETOF record
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT id, v, to_jsonb(t) - ''v'' - ''id'' FROM %s AS t ORDER BY id COLLATE "C"', t);
END
$$;

--
-- cas_get
--
SELECT * FROM cas_get('doc', 'a');
SELECT * FROM cas_get('col', 'b');
SELECT * FROM cas_get('doc', 'none');
SELECT count(*) FROM cas_get('col', 'none');
SELECT d.id, g.* FROM doc d, cas_get('col', d.id) g ORDER BY d.id COLLATE "C";

--
-- cas_create
--
SELECT cas_create('doc', 'c', '{"n": 3}'), cas_create('col', 'c', '{"n": 3}');
SELECT * FROM cas_try_create('doc', 'd', '{"n": 4}');
SELECT * FROM cas_try_create('col', 'd', '{"body": [1, 2]}');
SELECT raises($$SELECT cas_create('doc', 'b', '{"n": 5}')$$);
SELECT raises($$SELECT cas_create('col', 'b', '{"n": 5}')$$);
SELECT * FROM cas_try_create('doc', 'b', '{"n": 5}');
SELECT * FROM cas_try_create('col', 'b', '{"n": 5}');
SELECT * FROM cas_try_create('doc', 'b', '{"n": 2}');
SELECT * FROM cas_try_create('doc', 'e', 'null');
SELECT * FROM cas_try_create('doc', 'f', '"text"');
SELECT * FROM cas_try_create('doc', '', '[]');
SELECT * FROM whole('doc');
SELECT * FROM whole('col');

--
-- cas_update
--
SELECT cas_update('doc', 'a', 1, '{"m": 1}'), cas_update('col', 'a', 1, '{"n": 10}');
SELECT * FROM cas_try_update('doc', 'a', 2, '{"m": 2}');
SELECT * FROM cas_try_update('col', 'a', 2, '{"n": 11, "body": {"y": 1}}');
-- unchanged
SELECT cas_update('doc', 'a', 3, '{"m": 2}'), cas_update('col', 'a', 3, '{"n": 11}');
SELECT * FROM cas_try_update('doc', 'a', 3, '{"m": 2}');
SELECT * FROM cas_try_update('col', 'a', 3, '{"n": 11}');
SELECT * FROM cas_try_update('col', 'a', 3, '{}');
-- conflict: older, newer, zero; even if the payload would be unchanged
SELECT raises($$SELECT cas_update('doc', 'a', 2, '{"m": 3}')$$);
SELECT raises($$SELECT cas_update('col', 'a', 4, '{"n": 12}')$$);
SELECT raises($$SELECT cas_update('doc', 'a', 0, '{"m": 2}')$$);
SELECT * FROM cas_try_update('doc', 'a', 2, '{"m": 3}');
SELECT * FROM cas_try_update('doc', 'a', 2, '{"m": 2}');
SELECT * FROM cas_try_update('col', 'a', 4, '{"n": 12}');
SELECT * FROM cas_try_update('col', 'a', 0, '{}');
-- missing
SELECT raises($$SELECT cas_update('doc', 'none', 1, '{}')$$);
SELECT raises($$SELECT cas_update('col', 'none', 0, '{}')$$);
SELECT * FROM cas_try_update('doc', 'none', 1, '{}');
SELECT * FROM cas_try_update('col', 'none', 0, '{"n": 1}');
-- a row of version 0 is compared like any other
INSERT INTO doc VALUES ('zero', '{}', 0, 0);
SELECT raises($$SELECT cas_update('doc', 'zero', 1, '{"z": 1}')$$);
SELECT cas_update('doc', 'zero', 0, '{"z": 1}'), cas_delete('doc', 'zero', 1);
-- the other columns of a document's row stay
SELECT * FROM whole('doc') WHERE id IN ('a', 'b');

--
-- cas_patch
--
SELECT cas_patch('doc', 'b', 7, '{"o": {"p": 1, "q": 2}}'), cas_patch('col', 'b', 7, '{"body": {"y": 2}}');
SELECT * FROM cas_try_patch('doc', 'b', 8, '{"n": null, "o": {"p": null}}');
SELECT * FROM cas_try_patch('col', 'b', 8, '{"n": null, "body": {"x": null}}');
-- unchanged
SELECT * FROM cas_try_patch('doc', 'b', 9, '{}');
SELECT * FROM cas_try_patch('doc', 'b', 9, '{"o": {"q": 2}, "no": null}');
SELECT * FROM cas_try_patch('col', 'b', 9, '{}');
SELECT * FROM cas_try_patch('col', 'b', 9, '{"n": null, "body": {"y": 2}}');
SELECT cas_patch('doc', 'b', 9, '{}'), cas_patch('col', 'b', 9, '{"n": null}');
-- conflict, missing
SELECT raises($$SELECT cas_patch('doc', 'b', 8, '{"o": 1}')$$);
SELECT raises($$SELECT cas_patch('col', 'b', 8, '{"n": 1}')$$);
SELECT * FROM cas_try_patch('doc', 'b', 8, '{"o": 1}');
SELECT * FROM cas_try_patch('col', 'b', 8, '{"body": {"o": 1}}');
SELECT * FROM cas_try_patch('col', 'b', 10, '{}');
SELECT raises($$SELECT cas_patch('doc', 'none', 8, '{"o": 1}')$$);
SELECT * FROM cas_try_patch('doc', 'none', 8, '{"o": 1}');
SELECT * FROM cas_try_patch('col', 'none', 8, '{"n": 1}');
SELECT * FROM cas_try_patch('col', 'none', 8, '{"body": {"o": 1}}');

--
-- cas_rename
--
SELECT cas_rename('doc', 'c', 1, 'C'), cas_rename('col', 'c', 1, 'C');
SELECT * FROM cas_try_rename('doc', 'C', 2, 'c');
SELECT * FROM cas_try_rename('col', 'C', 2, 'c');
-- taken, be it by the row itself
SELECT raises($$SELECT cas_rename('doc', 'c', 3, 'b')$$);
SELECT raises($$SELECT cas_rename('col', 'c', 3, 'c')$$);
SELECT * FROM cas_try_rename('doc', 'c', 3, 'b');
SELECT * FROM cas_try_rename('col', 'c', 3, 'b');
SELECT * FROM cas_try_rename('doc', 'c', 3, 'c');
-- conflict and missing come before
SELECT raises($$SELECT cas_rename('doc', 'c', 1, 'x')$$);
SELECT * FROM cas_try_rename('doc', 'c', 1, 'x');
SELECT * FROM cas_try_rename('doc', 'c', 1, 'b');
SELECT * FROM cas_try_rename('col', 'c', 1, 'c');
SELECT raises($$SELECT cas_rename('col', 'none', 1, 'x')$$);
SELECT * FROM cas_try_rename('col', 'none', 1, 'x');
SELECT * FROM cas_try_rename('doc', 'none', 1, 'none');
SELECT * FROM whole('col');
-- a name that was given up can be taken
SELECT cas_rename('doc', 'c', 3, 'moved'), cas_create('doc', 'c', '{}'), cas_delete('doc', 'moved', 4);

--
-- cas_delete
--
SELECT cas_delete('doc', 'c', 1), cas_delete('col', 'c', 3);
SELECT * FROM cas_try_delete('doc', 'd', 1);
SELECT raises($$SELECT cas_delete('doc', 'a', 1)$$);
SELECT * FROM cas_try_delete('doc', 'a', 1);
SELECT * FROM cas_try_delete('col', 'a', 9);
SELECT raises($$SELECT cas_delete('doc', 'c', 1)$$);
SELECT * FROM cas_try_delete('doc', 'c', 1);
SELECT * FROM whole('doc');
SELECT * FROM whole('col');

--
-- cas_merge
--
SELECT cas_merge('doc', 'b', '{"r": [1]}'), cas_merge('col', 'b', '{"n": 5}');
SELECT cas_merge('doc', 'b', '{"r": [1]}'), cas_merge('col', 'b', '{"n": 5, "body": {}}');
SELECT cas_merge('col', 'b', '{"body": {"z": {"y": 1}}}'), cas_merge('col', 'b', '{"body": {"z": {"y": null}}}');
SELECT raises($$SELECT cas_merge('doc', 'none', '{}')$$);
SELECT raises($$SELECT cas_merge('col', 'none', '{"n": 1}')$$);
SELECT * FROM whole('doc') WHERE id = 'b';
SELECT * FROM whole('col') WHERE id = 'b';

--
-- cas_put
--
SELECT cas_put('doc', 'p', '{"p": 1}'), cas_put('col', 'p', '{"n": 1}');
SELECT cas_put('doc', 'p', '{"q": 1}'), cas_put('col', 'p', '{"body": 1}');
SELECT cas_put('doc', 'p', '{"q": 1}'), cas_put('col', 'p', '{"body": 1}');
SELECT * FROM whole('doc') WHERE id = 'p';
SELECT * FROM whole('col') WHERE id = 'p';
-- twice in one statement
SELECT cas_put('doc', 'pp', '{"q": 1}'), cas_put('doc', 'pp', '{"q": 2}'), cas_delete('doc', 'pp', 2), cas_put('doc', 'pp', '{}');

--
-- cas_lock
--
SELECT * FROM cas_lock('doc', ARRAY['p', 'b', 'none', 'b', 'a']);
SELECT * FROM cas_lock('doc', ARRAY['p', 'b', 'none', 'b', 'a'], 'share');
SELECT * FROM cas_lock('col', ARRAY['b'], mode => 'update');
SELECT * FROM cas_lock('col', ARRAY[]::text[]);
SELECT * FROM cas_lock('col', ARRAY['none', 'nothing']);
SELECT * FROM cas_lock('col', ARRAY[['b', 'a'], ['a', 'p']]);
SELECT raises($$SELECT cas_lock('col', ARRAY['b'], 'exclusive')$$);
SELECT raises($$SELECT cas_lock('col', ARRAY['b'], 'UPDATE')$$);
SELECT raises($$SELECT cas_lock('col', ARRAY['b'], '')$$);
-- it reads fresh what the same transaction wrote, and the statement itself
BEGIN;
SELECT id, version FROM cas_lock('doc', ARRAY['a']);
SELECT cas_update('doc', 'a', 3, '{"m": 4}');
SELECT id, version, payload FROM cas_lock('doc', ARRAY['a']);
SELECT (SELECT cas_update('doc', 'a', 4, '{"m": 5}')), (SELECT version FROM cas_lock('doc', ARRAY['a']));
ROLLBACK;
SELECT version, payload FROM cas_get('doc', 'a');

--
-- Many calls in one statement: each sees what the one before has written.
--
SELECT cas_update('doc', 'a', 3, '{"i": 1}'), cas_update('doc', 'a', 4, '{"i": 2}'),
	cas_patch('doc', 'a', 5, '{"j": 1}'), cas_merge('doc', 'a', '{"k": 1}'),
	(cas_try_update('doc', 'a', 3, '{}')).outcome, cas_rename('doc', 'a', 7, 'A'),
	cas_delete('doc', 'A', 8), cas_create('doc', 'A', '{}');
SELECT sum(cas_merge('doc', 'A', jsonb_build_object('i', i))) FROM generate_series(1, 10) i;
SELECT version, payload FROM cas_get('doc', 'A');
-- nothing of a failed statement stays
SELECT cas_merge('doc', 'A', '{"lost": 1}'), cas_update('doc', 'A', 1, '{}');
SELECT version, payload FROM cas_get('doc', 'A');
-- a conflict caught in a block leaves the rest of the transaction usable
DO $$
BEGIN
	BEGIN
		PERFORM cas_update('doc', 'A', 1, '{}');
	EXCEPTION WHEN SQLSTATE 'PT409' THEN
		RAISE NOTICE 'conflict: %', SQLERRM;
	END;
	PERFORM cas_update('doc', 'A', 11, '{"caught": true}');
END
$$;
SELECT version, payload FROM cas_get('doc', 'A');
-- savepoints
BEGIN;
SELECT cas_update('doc', 'A', 12, '{"s": 1}');
SAVEPOINT s;
SELECT cas_update('doc', 'A', 13, '{"s": 2}');
ROLLBACK TO s;
SELECT outcome, version, payload FROM cas_try_update('doc', 'A', 14, '{"s": 3}');
SELECT outcome, version, payload FROM cas_try_update('doc', 'A', 13, '{"s": 3}');
COMMIT;
SELECT version, payload FROM cas_get('doc', 'A');
-- What a transaction did itself is no conflict to it, at any isolation level:
-- rows made, changed, renamed, deleted and made again after its snapshot.
CREATE PROCEDURE busy(t regclass, key text, p text) LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM %s', t) INTO n;
	RAISE NOTICE '%: % % % % % % % % % % %', current_setting('transaction_isolation'),
		cas_create(t, key, p::jsonb), cas_update(t, key, 1, '{"n": 2}'),
		(cas_try_update(t, key, 1, '{"n": 3}')).outcome, cas_delete(t, key, 2),
		(cas_try_update(t, key, 2, '{"n": 3}')).outcome, cas_create(t, key, '{"n": 4}'),
		cas_rename(t, key, 1, key || '2'), cas_put(t, key, '{"n": 5}'),
		(cas_try_rename(t, key, 1, key || '2')).outcome,
		(SELECT string_agg(id || version, ' ' ORDER BY id) FROM cas_lock(t, ARRAY[key, key || '2'])),
		(SELECT version FROM cas_get(t, key || '2'));
	EXECUTE format('UPDATE %s SET v = v + 1 WHERE id = $1', t) USING key;
	RAISE NOTICE '% % % %', (cas_try_update(t, key, 1, '{"n": 6}')).outcome, cas_merge(t, key, '{"n": 7}'),
		cas_delete(t, key, 3), cas_delete(t, key || '2', 2);
END
$$;
BEGIN ISOLATION LEVEL REPEATABLE READ;
CALL busy('doc', 'rr', '{"n": 1}');
CALL busy('col', 'rr', '{"n": 1}');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
CALL busy('doc', 'ser', '{"n": 1}');
CALL busy('col', 'ser', '{"n": 1}');
SAVEPOINT s;
CALL busy('col', 'sp', '{"n": 1}');
ROLLBACK TO s;
CALL busy('col', 'sp', '{"n": 1}');
COMMIT;
CALL busy('doc', 'rc', '{"n": 1}');
-- a try form's composite, used as a value
SELECT (r).outcome, (r).version, r IS NULL FROM cas_try_update('doc', 'A', 14, '{"s": 4}') r;
SELECT cas_try_update('doc', 'A', 14, '{"s": 4}');
SELECT pg_typeof(cas_try_create('doc', 'A', '{}')), pg_typeof(cas_create('doc', 'B', '{}'));
-- in a function, with its own plans
CREATE FUNCTION bump(k text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	r cas_result;
	g cas_row;
BEGIN
	SELECT * INTO g FROM cas_get('doc', k);
	LOOP
		r = cas_try_update('doc', k, g.version, g.payload || '{"bumped": true}');
		EXIT WHEN r.outcome IN ('updated', 'unchanged');
		g = ROW(r.id, r.version, r.payload);
	END LOOP;
	RETURN r.version;
END
$$;
SELECT bump('A'), bump('A'), bump('b');

-- a trigger's own violation is no answer about the key, whatever its constraint's name
CREATE TABLE named (id text PRIMARY KEY);
CREATE SCHEMA other CREATE TABLE holder (id text CONSTRAINT named_pkey PRIMARY KEY);
INSERT INTO named VALUES ('a');
SELECT cas_enable('named');
INSERT INTO other.holder VALUES ('b');
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO other.holder VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER hold AFTER UPDATE ON named FOR EACH ROW EXECUTE FUNCTION hold();
SELECT * FROM cas_try_rename('named', 'a', 1, 'b');
SELECT outcome, id FROM cas_try_rename('named', 'a', 1, 'c');

-- nor is it one about another key of the table
CREATE FUNCTION alias() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO cas_swap.named VALUES ('alias'); RETURN NULL; END $$;
DROP TRIGGER hold ON named;
INSERT INTO named VALUES ('alias');
CREATE TRIGGER alias AFTER UPDATE ON named FOR EACH ROW EXECUTE FUNCTION alias();
SELECT * FROM cas_try_rename('named', 'c', 2, 'd');
-- a rename that finds nothing to rename holds off nobody
BEGIN;
SELECT outcome, id FROM cas_try_rename('named', 'nobody', 1, 'somebody');
SELECT outcome, id FROM cas_try_rename('named', 'c', 1, 'somebody');
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;

SET client_min_messages = warning;
DROP SCHEMA other CASCADE;
DROP SCHEMA cas_swap CASCADE;
