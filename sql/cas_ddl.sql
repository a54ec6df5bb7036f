-- Claim: whatever is done to a table between two calls in one session, the
-- next call works with the table as it then is: no plan and no cache survives
-- a change of columns, types, names, keys, guard or place.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_ddl;
SET search_path = cas_ddl, public, cas_test;

CREATE TABLE t (id int PRIMARY KEY, n int);
CREATE TABLE d (id text PRIMARY KEY, body jsonb);
SELECT cas_enable('t'), cas_enable('d', payload_column => 'body');
-- every statement that there is has been planned
CREATE FUNCTION warm(t regclass, p jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	v bigint = cas_create(t, '100', p);
BEGIN
	v = cas_update(t, '100', v, p);
	v = cas_patch(t, '100', v, p);
	v = cas_merge(t, '100', p);
	v = cas_put(t, '100', p);
	v = cas_rename(t, '100', v, '101');
	PERFORM cas_get(t, '101'), cas_lock(t, ARRAY['101']), cas_lock(t, ARRAY['101'], 'share'),
		cas_try_create(t, '101', p), cas_try_update(t, '101', 0, p), cas_try_patch(t, '101', 0, p),
		cas_try_rename(t, '101', 0, '1'), cas_try_delete(t, '101', 0);
	v = cas_delete(t, '101', v);
END
$$;
SELECT warm('t', '{"n": 1}'), warm('d', '{"n": 1}');
SELECT cas_create('t', 1, '{"n": 1}'), cas_create('d', '1', '{"n": 1}');

--
-- Columns.
--
ALTER TABLE t ADD m int DEFAULT 7;
SELECT * FROM cas_get('t', 1);
SELECT * FROM cas_try_update('t', 1, 1, '{"m": 8}');
SELECT * FROM cas_lock('t', ARRAY[1]);
SELECT warm('t', '{"n": 1, "m": 2}');
ALTER TABLE t RENAME m TO k;
SELECT * FROM cas_get('t', 1);
SELECT raises($$SELECT cas_update('t', 1, 2, '{"m": 9}')$$);
SELECT * FROM cas_try_patch('t', 1, 2, '{"k": 9}');
ALTER TABLE t ALTER k TYPE text USING 'k' || k;
SELECT * FROM cas_get('t', 1);
SELECT * FROM cas_try_update('t', 1, 3, '{"k": "text"}');
ALTER TABLE t ALTER k DROP DEFAULT, ALTER k TYPE jsonb USING jsonb_build_object('was', k);
SELECT * FROM cas_try_patch('t', 1, 4, '{"k": {"more": 1}}');
ALTER TABLE t DROP k;
SELECT * FROM cas_get('t', 1);
SELECT raises($$SELECT cas_update('t', 1, 5, '{"k": 1}')$$);
SELECT cas_update('t', 1, 5, '{"n": 2}');
ALTER TABLE t ADD k boolean;
SELECT * FROM cas_try_update('t', 1, 6, '{"k": true}');
-- a column of the same name in another place
ALTER TABLE t DROP n, ADD n text;
SELECT * FROM cas_try_update('t', 1, 7, '{"n": "now text"}');
-- generated, defaults, NOT NULL, CHECK
ALTER TABLE t ADD g text GENERATED ALWAYS AS (upper(n)) STORED;
SELECT * FROM cas_try_update('t', 1, 8, '{"n": "x"}');
SELECT raises($$SELECT cas_update('t', 1, 9, '{"g": "x"}')$$);
ALTER TABLE t ALTER g DROP EXPRESSION;
SELECT * FROM cas_try_update('t', 1, 9, '{"g": "y"}');
ALTER TABLE t ALTER k SET DEFAULT false, ALTER k SET NOT NULL, ADD CHECK (length(n) < 3);
SELECT * FROM cas_try_create('t', 2, '{}');
SELECT raises($$SELECT cas_update('t', 2, 1, '{"n": "long"}')$$);
ALTER TABLE t DROP CONSTRAINT t_n_check;
SELECT cas_update('t', 2, 1, '{"n": "long"}');
-- the version's type, narrower and wider
ALTER TABLE t ALTER resource_version TYPE smallint;
SELECT * FROM cas_try_update('t', 2, 2, '{"n": "a"}');
UPDATE t SET n = 'b' WHERE id = 2 RETURNING resource_version, pg_typeof(resource_version);
ALTER TABLE t ALTER resource_version TYPE bigint;
SELECT * FROM cas_try_update('t', 2, 4, '{"n": "c"}');
-- the payload's
ALTER TABLE d ADD extra int;
SELECT cas_update('d', '1', 1, '{"n": 2}');
CREATE DOMAIN document AS jsonb;
ALTER TABLE d ALTER body TYPE document;
SELECT cas_update('d', '1', 2, '{"n": 3}');
ALTER DOMAIN document ADD CHECK (jsonb_typeof(VALUE) = 'object');
SELECT raises($$SELECT cas_update('d', '1', 3, '[]')$$);
SELECT cas_update('d', '1', 3, '{"n": 4}');
ALTER DOMAIN document DROP CONSTRAINT document_check;
SELECT cas_update('d', '1', 4, '[]');
ALTER TABLE d RENAME body TO payload;
SELECT raises($$SELECT cas_update('d', '1', 5, '{}')$$);
SELECT cas_enable('d', payload_column => 'payload');
SELECT * FROM cas_try_update('d', '1', 5, '{"n": 6}');
ALTER TABLE d RENAME resource_version TO rev;
SELECT raises($$SELECT * FROM cas_get('d', '1')$$);
SELECT cas_enable('d', 'rev', 'payload');
SELECT * FROM cas_try_update('d', '1', 6, '{"n": 7}');
-- an enum gets a value, a domain another check
CREATE TYPE mood AS ENUM ('sad');
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE TABLE e (id mood PRIMARY KEY, p posint);
SELECT cas_enable('e');
SELECT cas_create('e', 'sad', '{"p": 1}');
SELECT raises($$SELECT cas_get('e', 'happy')$$);
ALTER TYPE mood ADD VALUE 'happy' BEFORE 'sad';
SELECT cas_create('e', 'happy', '{"p": 2}');
SELECT id FROM cas_lock('e', ARRAY['sad', 'happy']);
ALTER TYPE mood RENAME VALUE 'happy' TO 'glad';
SELECT id, version FROM cas_get('e', 'glad');
ALTER TYPE mood RENAME TO temper;
SELECT id, version FROM cas_get('e', 'glad'::temper);
SELECT raises($$SELECT cas_update('e', 'sad', 1, '{"p": 0}')$$);
ALTER DOMAIN posint DROP CONSTRAINT posint_check;
SELECT cas_update('e', 'sad', 1, '{"p": 0}');
ALTER DOMAIN posint ADD CONSTRAINT even CHECK (VALUE % 2 = 0);
SELECT raises($$SELECT cas_update('e', 'sad', 2, '{"p": 3}')$$);

--
-- The key.
--
TRUNCATE t;
SELECT warm('t', '{"n": "1"}');
SELECT cas_create('t', 1, '{}');
ALTER TABLE t RENAME id TO key;
SELECT * FROM cas_try_update('t', 1, 1, '{"n": "2"}');
SELECT raises($$SELECT cas_update('t', 1, 2, '{"key": 3}')$$);
ALTER TABLE t ALTER key TYPE text;
SELECT * FROM cas_try_update('t', '1', 2, '{"n": "3"}');
SELECT cas_create('t', 'text now', '{}');
ALTER TABLE t RENAME CONSTRAINT t_pkey TO "new name";
SELECT cas_create('t', 'after', '{}');
SELECT raises($$SELECT cas_create('t', 'after', '{}')$$);
ALTER INDEX "new name" RENAME TO t_pkey;
SELECT raises($$SELECT cas_create('t', 'after', '{}')$$);
-- replaced by another, of several columns, with the same name
UPDATE t SET n = key;
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_pkey PRIMARY KEY (n, key);
SELECT raises($$SELECT cas_get('t', '1')$$);
SELECT * FROM cas_get('t', '{"n": "1", "key": "1"}');
SELECT * FROM cas_try_update('t', '{"n": "1", "key": "1"}', 4, '{"k": true}');
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_pkey PRIMARY KEY (n);
SELECT * FROM cas_try_update('t', '1', 5, '{"k": false}');
SELECT raises($$SELECT cas_update('t', '1', 6, '{"key": null}')$$);
ALTER TABLE t ALTER key DROP NOT NULL;
SELECT cas_update('t', '1', 6, '{"key": null}');
-- by an index that was there
CREATE UNIQUE INDEX other ON t (n);
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_pkey PRIMARY KEY USING INDEX other;
SELECT * FROM cas_try_create('t', '1', '{}');
REINDEX TABLE t;
SELECT * FROM cas_try_create('t', '1', '{}');

--
-- Its rows and its storage.
--
TRUNCATE t;
SELECT count(*) FROM cas_get('t', '1');
SELECT cas_create('t', '1', '{"k": true}');
SELECT warm('t', '{"k": true}');
VACUUM FULL t;
SELECT cas_update('t', '1', 1, '{"k": false}');
CLUSTER t USING t_pkey;
SELECT cas_update('t', '1', 2, '{"k": true}');
VACUUM (FREEZE, ANALYZE) t;
SELECT cas_update('t', '1', 3, '{"k": false}');
ALTER TABLE t SET UNLOGGED;
SELECT cas_update('t', '1', 4, '{"k": true}');
ALTER TABLE t SET LOGGED;
SELECT cas_update('t', '1', 5, '{"k": false}');
ALTER TABLE t SET (fillfactor = 50);
SELECT cas_rename('t', '1', 6, '2');

--
-- Its name and place.
--
ALTER TABLE t RENAME TO t2;
SELECT raises($$SELECT cas_get('t', '2')$$);
SELECT * FROM cas_try_update('t2', '2', 7, '{"k": true}');
SELECT raises($$SELECT cas_update('t2', '2', 7, '{"k": true}')$$);
-- another table takes its name
CREATE TABLE t (id bigint PRIMARY KEY, other text);
SELECT raises($$SELECT cas_get('t', 2)$$);
SELECT cas_enable('t');
SELECT * FROM cas_try_create('t', 2, '{"other": "table"}');
SELECT * FROM cas_get('t2', '2');
CREATE SCHEMA cas_ddl_2;
ALTER TABLE t2 SET SCHEMA cas_ddl_2;
SELECT * FROM cas_try_update('cas_ddl_2.t2', '2', 8, '{"k": false}');
SELECT raises($$SELECT cas_update('cas_ddl_2.t2', '2', 8, '{"k": true}')$$);
ALTER SCHEMA cas_ddl_2 RENAME TO "cas_ddl drei";
SELECT * FROM cas_try_update('"cas_ddl drei".t2', '2', 9, '{"k": true}');
SELECT raises($$SELECT cas_update('"cas_ddl drei".t2', '2', 9, '{"k": true}')$$);
-- swapped names, as migrations do
BEGIN;
ALTER TABLE t RENAME TO tmp;
ALTER TABLE "cas_ddl drei".t2 SET SCHEMA cas_ddl;
ALTER TABLE t2 RENAME TO t;
ALTER TABLE tmp RENAME TO t2;
SELECT * FROM cas_get('t', '2');
SELECT * FROM cas_get('t2', 2);
SELECT cas_update('t', '2', 10, '{"k": false}'), cas_update('t2', 2, 1, '{"other": "swapped"}');
COMMIT;
SELECT * FROM cas_get('t', '2');
SELECT * FROM cas_get('t2', 2);
DROP SCHEMA "cas_ddl drei";
-- dropped and made anew under the same name
DROP TABLE t;
CREATE TABLE t (a int, b int, PRIMARY KEY (a, b), z text);
SELECT cas_enable('t', 'v');
SELECT cas_create('t', '{"a": 1, "b": 2}', '{"z": "z"}');
SELECT * FROM cas_get('t', '{"a": 1, "b": 2}');
-- a function that has planned its calls follows, too
CREATE FUNCTION reads(OUT id text, OUT version bigint, OUT payload jsonb) LANGUAGE plpgsql AS $$
BEGIN
	SELECT * INTO id, version, payload FROM cas_get('t2', 2);
END
$$;
SELECT * FROM reads();
ALTER TABLE t2 ADD later int DEFAULT 3;
SELECT * FROM reads();
ALTER TABLE t2 DROP other;
SELECT * FROM reads();

--
-- The guard.
--
SELECT tgname AS guard FROM pg_trigger WHERE tgrelid = 't2'::regclass
	AND tgfoid = 'cas_guard()'::regprocedure \gset
SELECT cas_update('t2', 2, 2, '{"later": 4}');
ALTER TABLE t2 DISABLE TRIGGER :"guard";
SELECT raises($$SELECT cas_update('t2', 2, 3, '{"later": 5}')$$);
SELECT raises($$SELECT * FROM cas_get('t2', 2)$$);
ALTER TABLE t2 ENABLE TRIGGER :"guard";
SELECT cas_update('t2', 2, 3, '{"later": 5}');
SELECT cas_enable('t2', writers => 'echo', unversioned => 'reject');
SELECT raises('UPDATE t2 SET later = 6') LIKE 'PT428%';
SELECT cas_update('t2', 2, 4, '{"later": 6}');
SELECT cas_enable('t2', unversioned => 'allow', versions => 'table');
UPDATE t2 SET later = 7 RETURNING resource_version;
SELECT cas_update('t2', 2, 6, '{"later": 8}');
SELECT cas_disable('t2');
UPDATE t2 SET later = 9 RETURNING resource_version;
SELECT raises($$SELECT cas_update('t2', 2, 7, '{"later": 10}')$$) LIKE 'PT400%';
SELECT cas_enable('t2');
SELECT cas_update('t2', 2, 7, '{"later": 10}');
ALTER TRIGGER :"guard" ON t2 RENAME TO zzzz_my_guard;
UPDATE t2 SET later = 11 RETURNING resource_version;
SELECT cas_update('t2', 2, 9, '{"later": 12}');
SELECT problem FROM cas_tables WHERE rel = 't2'::regclass;
SELECT cas_enable('t2');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 't2'::regclass
	AND tgfoid = 'cas_guard()'::regprocedure;
-- in one transaction, and rolled back
BEGIN;
SELECT cas_update('t2', 2, 10, '{"later": 13}');
ALTER TABLE t2 ADD much_later int;
SELECT cas_update('t2', 2, 11, '{"much_later": 14}');
SAVEPOINT s;
ALTER TABLE t2 DROP much_later;
SELECT * FROM cas_get('t2', 2);
ROLLBACK TO s;
SELECT * FROM cas_get('t2', 2);
ROLLBACK;
SELECT * FROM cas_get('t2', 2);
SELECT raises($$SELECT cas_update('t2', 2, 10, '{"much_later": 1}')$$);
SELECT cas_update('t2', 2, 10, '{"later": 13}');
-- triggers and policies that come and go
CREATE FUNCTION upper_() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.later = NEW.later * 10; RETURN NEW; END $$;
CREATE TRIGGER a BEFORE UPDATE ON t2 FOR EACH ROW EXECUTE FUNCTION upper_();
SELECT payload FROM cas_try_update('t2', 2, 11, '{"later": 1}');
DROP TRIGGER a ON t2;
SELECT payload FROM cas_try_update('t2', 2, 12, '{"later": 1}');
-- more plans than are kept
DO $$
BEGIN
	FOR i IN 1 .. 80 LOOP
		EXECUTE format('ALTER TABLE t2 ADD c%s int', i);
	END LOOP;
	FOR i IN 1 .. 80 LOOP
		PERFORM cas_merge('t2', 2, jsonb_build_object('c' || i, i));
	END LOOP;
END
$$;
SELECT version, payload ->> 'c1', payload ->> 'c80' FROM cas_get('t2', 2);

SET client_min_messages = warning;
DROP SCHEMA cas_ddl CASCADE;
