-- Claim: the guard gets on with what else is on the table: foreign keys' own
-- actions advance the version and never fail, what other triggers assign to
-- the version is overwritten, what they assign to other columns counts, and
-- nothing that a trigger does gets past the guard.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_triggers;
SET search_path = cas_triggers, public, cas_test;

--
-- Rule 1: a foreign key's own action.
--
CREATE TABLE team (name text PRIMARY KEY, boss text);
CREATE TABLE member (id int PRIMARY KEY, team text DEFAULT 'none', other text,
	n int, v bigint NOT NULL DEFAULT 1,
	shout text GENERATED ALWAYS AS (upper(team)) STORED,
	FOREIGN KEY (team) REFERENCES team ON UPDATE CASCADE ON DELETE SET NULL,
	FOREIGN KEY (other) REFERENCES team ON UPDATE SET NULL ON DELETE CASCADE);
SELECT cas_enable('team');
CREATE FUNCTION enable_member(writers text, unversioned text, enforce text DEFAULT 'error')
RETURNS void LANGUAGE sql AS $$
	SELECT cas_enable('member', 'v', writers => $1, unversioned => $2, enforce => $3)
$$;
SELECT enable_member('bump', 'allow');
INSERT INTO team VALUES ('red'), ('blue'), ('green'), ('none');
INSERT INTO member (id, team, other) VALUES (1, 'red', NULL), (2, 'blue', 'red'),
	(3, 'blue', 'blue'), (4, NULL, 'green');
UPDATE team SET name = 'crimson' WHERE name = 'red';
SELECT id, team, other, shout, v FROM member ORDER BY id;
SELECT enable_member('bump', 'reject');
UPDATE team SET name = 'red' WHERE name = 'crimson';
DELETE FROM team WHERE name = 'red';
SELECT id, team, other, shout, v FROM member ORDER BY id;
SELECT enable_member('echo', 'reject');
UPDATE team SET name = 'navy' WHERE name = 'blue';
SELECT id, team, other, shout, v FROM member ORDER BY id;
SELECT enable_member('echo', 'reject', 'warn');
DELETE FROM team WHERE name = 'navy';
SELECT id, team, other, shout, v FROM member ORDER BY id;
-- by way of the functions
SELECT enable_member('bump', 'reject');
INSERT INTO member (id, team) VALUES (5, 'green');
SELECT cas_rename('team', 'green', 1, 'lime');
SELECT id, team, other, shout, v FROM member ORDER BY id;
SELECT cas_delete('team', 'lime', 2);
SELECT id, team, other, v FROM member ORDER BY id;

-- SET DEFAULT, and an action on columns that are ignored: no new version.
CREATE TABLE visit (id int PRIMARY KEY, team text DEFAULT 'none'
	REFERENCES team ON DELETE SET DEFAULT ON UPDATE CASCADE, n int);
SELECT cas_enable('visit', unversioned => 'reject');
INSERT INTO team VALUES ('red'), ('blue');
INSERT INTO visit VALUES (1, 'red'), (2, 'blue');
DELETE FROM team WHERE name = 'red';
SELECT * FROM visit ORDER BY id;
SELECT cas_enable('visit', unversioned => 'reject', ignore_columns => '{team}');
UPDATE team SET name = 'cyan' WHERE name = 'blue';
SELECT * FROM visit ORDER BY id;

-- A key that refers to its own table, and one of several columns.
CREATE TABLE tree (id int PRIMARY KEY, parent int
	REFERENCES tree ON UPDATE CASCADE ON DELETE SET NULL, n int);
SELECT cas_enable('tree');
INSERT INTO tree VALUES (1, NULL, 0), (2, 1, 0), (3, 2, 0), (4, 1, 0);
UPDATE tree SET id = 10 WHERE id = 1;
SELECT * FROM tree ORDER BY id;
SELECT cas_enable('tree', unversioned => 'reject');
SELECT cas_rename('tree', 10, 2, 100);
DELETE FROM tree WHERE id = 2;
SELECT * FROM tree ORDER BY id;

-- Not a foreign key's action: what a trigger does beneath one.
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE tree SET n = n + 1 WHERE id = 100;
	RETURN NULL;
END
$$;
CREATE TRIGGER meddle AFTER UPDATE OF team ON visit
	FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT raises($$UPDATE team SET name = 'red' WHERE name = 'cyan'$$);
SELECT id, team FROM visit ORDER BY id;
-- even if it writes the columns of a foreign key
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE tree SET parent = NULL WHERE id = 4;
	RETURN NULL;
END
$$;
SELECT raises($$UPDATE team SET name = 'red' WHERE name = 'cyan'$$);
SELECT * FROM tree ORDER BY id;
-- a foreign key's action inside a trigger is still one
DROP TRIGGER meddle ON visit;
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE team SET name = name || '!' WHERE name = 'cyan';
	RETURN NULL;
END
$$;
CREATE TABLE bell (id int PRIMARY KEY, n int);
SELECT cas_enable('bell');
CREATE TRIGGER ring AFTER INSERT ON bell FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT cas_enable('visit', ignore_columns => '{}');
SELECT cas_create('bell', 1, '{}');
SELECT * FROM visit ORDER BY id;

--
-- Other BEFORE triggers.
--
CREATE TABLE t (id int PRIMARY KEY, n int, changed text, v bigint);
CREATE FUNCTION assign() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE TG_ARGV[0]
		WHEN 'version' THEN NEW.v = 99;
		WHEN 'null' THEN NEW.v = NULL;
		WHEN 'bump' THEN NEW.v = NEW.v + 1;
		WHEN 'column' THEN NEW.changed = TG_OP;
		WHEN 'undo' THEN NEW.n = OLD.n;
	END CASE;
	RETURN NEW;
END
$$;
SELECT cas_enable('t', 'v');
INSERT INTO t VALUES (1, 0), (2, 0), (3, 0);

-- Assigning to the version: overwritten, whether anything else changed or not.
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION assign('version');
UPDATE t SET n = 1 WHERE id = 1;
UPDATE t SET n = n WHERE id = 2;
SELECT id, n, v FROM t ORDER BY id;
SELECT cas_update('t', 3, 1, '{"n": 3}');
SELECT raises($$SELECT cas_update('t', 3, 99, '{"n": 4}')$$);
SELECT id, n, v FROM t ORDER BY id;
DROP TRIGGER a ON t;
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION assign('null');
UPDATE t SET n = 2 WHERE id = 1;
SELECT id, n, v FROM t ORDER BY id;
DROP TRIGGER a ON t;
-- a trigger that counts versions by itself, as tables had before
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION assign('bump');
UPDATE t SET n = 3 WHERE id = 1;
SELECT cas_update('t', 1, 4, '{"n": 4}');
SELECT id, n, v FROM t ORDER BY id;
DROP TRIGGER a ON t;
SELECT cas_enable('t', 'v', unversioned => 'reject');
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION assign('version');
SELECT raises('UPDATE t SET n = 4 WHERE id = 2');
DROP TRIGGER a ON t;
-- a trigger's assignment does not count as the statement's mentioning it
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION assign('bump');
SELECT raises('UPDATE t SET n = 4 WHERE id = 2');
-- and what the statement mentions is the statement's, not the trigger's
UPDATE t SET n = 4, v = v + 1 WHERE id = 2;
SELECT raises('UPDATE t SET n = 5, v = v WHERE id = 2');
SELECT id, n, v FROM t ORDER BY id;
DROP TRIGGER a ON t;

-- So it is whatever the name of the trigger is.
CREATE TRIGGER " " BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION assign('bump');
SELECT raises('UPDATE t SET n = 6, v = v WHERE id = 2') LIKE 'PT409%'
	OR (SELECT problem IS NOT NULL FROM cas_tables WHERE rel = 't'::regclass) AS refused_or_said;
DROP TRIGGER " " ON t;
-- with 'echo', too: a trigger cannot make a stale version right
SELECT cas_enable('t', 'v', writers => 'echo', unversioned => 'reject');
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION assign('bump');
UPDATE t SET n = 6, v = v WHERE id = 2;
SELECT raises('UPDATE t SET n = 7, v = v - 1 WHERE id = 2');
SELECT raises('UPDATE t SET n = 7, v = v - 1, id = 20 WHERE id = 2') LIKE 'PT409%';
-- a statement of many rows, and a trigger that writes another one between
UPDATE t SET n = n + 10, v = v;
SELECT raises('UPDATE t SET n = n + 10, v = CASE WHEN id = 2 THEN v - 1 ELSE v END');
SELECT id, n, v FROM t ORDER BY id;
DROP TRIGGER a ON t;

SELECT cas_enable('t', writers => 'bump');
DELETE FROM t;
INSERT INTO t VALUES (1, 4, NULL, 5), (2, 4, NULL, 2), (3, 3, NULL, 2);

-- Assigning to another column: a change like any other.
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION assign('column');
SELECT raises('UPDATE t SET n = n WHERE id = 1');
SELECT cas_enable('t', unversioned => 'allow');
UPDATE t SET n = n WHERE id = 1;
SELECT id, n, changed, v FROM t WHERE id = 1;
UPDATE t SET n = n WHERE id = 1;
SELECT id, n, changed, v FROM t WHERE id = 1;
-- 'unchanged' is decided before triggers run
SELECT outcome, version FROM cas_try_update('t', 2, 2, '{"n": 4}');
SELECT id, n, changed, v FROM t WHERE id = 2;
SELECT outcome, version, payload FROM cas_try_update('t', 2, 2, '{"n": 5}');
DROP TRIGGER a ON t;
-- one that undoes the change: nothing has changed
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION assign('undo');
UPDATE t SET n = 100 WHERE id = 1;
SELECT id, n, v FROM t WHERE id = 1;
SELECT outcome, version, payload FROM cas_try_update('t', 1, 6, '{"n": 100}');
DROP TRIGGER a ON t;

-- One that suppresses the row: nothing is written, and a swap says so.
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON t
	FOR EACH ROW EXECUTE FUNCTION suppress();
UPDATE t SET n = 100 WHERE id = 1;
SELECT id, n, v FROM t WHERE id = 1;
SELECT raises($$SELECT cas_create('t', 50, '{}')$$) LIKE '09000 %';
SELECT raises($$SELECT cas_delete('t', 1, 6)$$) LIKE '09000 %';
SELECT raises($$SELECT cas_rename('t', 1, 6, 60)$$) LIKE '09000 %';
SELECT raises($$SELECT cas_update('t', 1, 6, '{"n": 100}')$$) LIKE '09000 %';
SELECT raises($$SELECT cas_merge('t', 1, '{"n": 100}')$$) LIKE '09000 %';
SELECT raises($$SELECT cas_patch('t', 1, 6, '{"n": 100}')$$) LIKE '09000 %';
SELECT id, n, v FROM t ORDER BY id;
DROP TRIGGER a ON t;

-- AFTER triggers see the row with its new version; one that writes the row
-- again advances it again.
CREATE TABLE log (line text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log VALUES (concat_ws(' ', TG_OP, OLD.v, NEW.v));
	IF NEW.n = 1000 THEN
		UPDATE t SET n = 1001 WHERE id = NEW.id;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON t
	FOR EACH ROW EXECUTE FUNCTION note();
SELECT cas_create('t', 7, '{"n": 1}'), cas_update('t', 7, 1, '{"n": 2}'),
	cas_rename('t', 7, 2, 8), cas_delete('t', 8, 3);
SELECT * FROM log;
TRUNCATE log;
SELECT cas_update('t', 1, 6, '{"n": 1000}');
SELECT id, n, v FROM t WHERE id = 1;
SELECT * FROM log;
-- a trigger's error is passed on, and nothing is written
CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE 'not today' USING ERRCODE = 'XX123';
END
$$;
SELECT raises($$SELECT cas_try_update('t', 1, 8, '{"n": 0}')$$);
SELECT raises($$SELECT cas_try_create('t', 9, '{"n": 0}')$$);
SELECT raises($$SELECT cas_try_rename('t', 1, 8, 9)$$);
SELECT id, n, v FROM t ORDER BY id;
DROP TRIGGER note ON t;

-- A BEFORE trigger that writes another row of the table, 'reject': its writes
-- are not the function's.
CREATE FUNCTION neighbour() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 1 THEN
		UPDATE t SET n = -1 WHERE id = 3;
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION neighbour();
SELECT cas_enable('t', 'v', unversioned => 'reject');
SELECT raises($$SELECT cas_update('t', 1, 8, '{"n": 0}')$$);
SELECT id, n, v FROM t ORDER BY id;
DROP TRIGGER a ON t;
SELECT cas_update('t', 1, 8, '{"n": 0}');

-- A BEFORE trigger that calls a swap on another row.
CREATE OR REPLACE FUNCTION neighbour() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 1 THEN
		PERFORM cas_merge('t', 3, '{"n": -1}');
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION neighbour();
SELECT cas_update('t', 1, 9, '{"n": 1}');
SELECT id, n, v FROM t ORDER BY id;

-- A rule on the table.
CREATE TABLE ruled (id int PRIMARY KEY, n int);
SELECT cas_enable('ruled');
CREATE TABLE audit (id int, n int);
CREATE RULE also AS ON UPDATE TO ruled DO ALSO INSERT INTO audit VALUES (NEW.id, NEW.n);
INSERT INTO ruled VALUES (1, 1);
UPDATE ruled SET n = 2;
SELECT cas_update('ruled', 1, 2, '{"n": 3}');
SELECT * FROM ruled;
SELECT * FROM audit;

-- What a trigger for the statement writes to the same row is the trigger's own
-- UPDATE, which has to mention the version.
CREATE TABLE strict (id int PRIMARY KEY, n int);
SELECT cas_enable('strict', unversioned => 'reject');
INSERT INTO strict VALUES (1, 1);
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE strict SET n = n + 100 WHERE id = 1;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER again AFTER UPDATE ON strict FOR EACH STATEMENT EXECUTE FUNCTION again();
SET pg_cas.direct_path = off;
SELECT outcome, version FROM cas_try_update('strict', 1, 99, '{"n": 5}');
SELECT outcome, version FROM cas_try_update('strict', 1, 1, '{"n": 5}');
RESET pg_cas.direct_path;
TABLE strict;

-- Functions that the statement calls without a trigger write to the same row,
-- once: in a policy, in another policy, as a row is checked, generated, indexed.
-- None of them passes for the announced statement.
CREATE ROLE regress_cas_triggers;
GRANT USAGE, CREATE ON SCHEMA cas_triggers TO regress_cas_triggers;
SET ROLE regress_cas_triggers;
CREATE FUNCTION meddle(id int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	-- whether to, and what to answer
	todo text := current_setting('cas_test.meddle', true);
BEGIN
	IF todo <> '' THEN
		PERFORM set_config('cas_test.meddle', '', true);
		UPDATE cas_triggers.meddled m SET n = 99 WHERE m.id = meddle.id;
	END IF;
	RETURN coalesce(nullif(todo, ''), 'true')::boolean;
END
$$;
CREATE FUNCTION meddling(id int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT cas_triggers.meddle(id)';
CREATE FUNCTION try_meddled(how text, answer text, OUT said text, OUT n int, OUT v bigint) LANGUAGE plpgsql AS $$
BEGIN
	CREATE TABLE meddled (id int PRIMARY KEY, n int);
	PERFORM cas_enable('meddled', unversioned => 'reject');
	INSERT INTO meddled VALUES (1, 1), (2, 2);
	ALTER TABLE meddled ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	CREATE POLICY everything ON meddled USING (true);
	EXECUTE how;
	PERFORM set_config('cas_test.meddle', answer, true);
	BEGIN
		SELECT t.outcome INTO said FROM cas_try_update('meddled', 1, 1, '{"n": 5}') t;
	EXCEPTION WHEN OTHERS THEN
		said := SQLSTATE || ': ' || SQLERRM;
	END;
	PERFORM set_config('cas_test.meddle', '', true);
	SELECT m.n, m.resource_version INTO n, v FROM meddled m WHERE m.id = 1;
	DROP TABLE meddled;
END
$$;
SELECT how, a.answer, t.* FROM unnest(ARRAY[
	'CREATE POLICY p ON meddled AS RESTRICTIVE USING (meddle(id))',
	'CREATE POLICY p ON meddled AS RESTRICTIVE FOR UPDATE USING (meddle(id))',
	'CREATE POLICY p ON meddled AS RESTRICTIVE FOR UPDATE USING (true) WITH CHECK (meddle(id))',
	'ALTER TABLE meddled ADD CHECK (meddle(id))',
	'ALTER TABLE meddled ADD m boolean GENERATED ALWAYS AS (meddling(id)) STORED',
	'CREATE INDEX ON meddled (meddling(id), n)',
	'CREATE INDEX ON meddled (n) WHERE meddling(id)']) WITH ORDINALITY h (how, i), unnest('{t,f}'::text[]) a (answer),
	try_meddled(how, a.answer) t ORDER BY i, a.answer DESC;
-- cas_enable announces all rows, for one statement, too.
CREATE TABLE meddled (id int PRIMARY KEY, n int, doc jsonb, CHECK (id = 1 OR meddle(1)));
SELECT cas_enable('meddled', payload_column => 'doc', unversioned => 'reject');
INSERT INTO meddled VALUES (1, 1, '{}'), (2, 2, '{}');
SET cas_test.meddle = true;
SELECT cas_enable('meddled', version_path => '{v}');
SELECT id, n, doc, resource_version FROM meddled ORDER BY id;
RESET cas_test.meddle;
SELECT cas_enable('meddled', version_path => '{v}');
SELECT id, n, doc, resource_version FROM meddled ORDER BY id;
RESET ROLE;

-- What changes nothing has no triggers fire, and no rules apply.
SELECT outcome, version FROM cas_try_update('ruled', 1, 3, '{"n": 3}');
SELECT count(*) FROM audit;
CREATE TABLE fired (id int PRIMARY KEY, n int, doc jsonb);
SELECT cas_enable('fired');
INSERT INTO fired VALUES (1, 1, '{"a": 1.0}');
SELECT outcome, version FROM cas_try_update('fired', 1, 1, '{"n": 1, "doc": {"a": 1.0}}');
SELECT outcome, version FROM cas_try_update('fired', 1, 1, '{"n": 1, "doc": {"a": 1.00}}');
CREATE FUNCTION jot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO audit VALUES (0, NEW.n);
	RETURN NEW;
END
$$;
CREATE TRIGGER note BEFORE UPDATE ON fired FOR EACH ROW EXECUTE FUNCTION jot();
SELECT outcome, version FROM cas_try_update('fired', 1, 2, '{"n": 1, "doc": {"a": 1.00}}');
SELECT count(*) FROM audit;
DROP TRIGGER note ON fired;
CREATE TRIGGER note AFTER UPDATE ON fired FOR EACH ROW EXECUTE FUNCTION jot();
SELECT outcome, version FROM cas_try_update('fired', 1, 2, '{"n": 1, "doc": {"a": 1.00}}');
SELECT count(*) FROM audit;
SELECT outcome, version FROM cas_try_update('fired', 1, 2, '{"n": 2}');
SELECT count(*) FROM audit;

-- A rule's commands have numbers of their own.
SELECT cas_enable('ruled', unversioned => 'reject');
SELECT cas_update('ruled', 1, 3, '{"n": 4}');
SELECT cas_update('ruled', 1, 4, '{"n": 3}');

-- The extension's trigger functions, called by hand, from triggers that a user
-- has created, and on a table that has no guard.
CREATE TABLE own (id int PRIMARY KEY, n int);
INSERT INTO own VALUES (1, 0);
CREATE TRIGGER t AFTER UPDATE ON own FOR EACH ROW EXECUTE FUNCTION cas_witness();
SELECT raises('UPDATE own SET n = 1');
DROP TRIGGER t ON own;
CREATE TRIGGER t BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION cas_witness();
SELECT raises('INSERT INTO own VALUES (2, 0)');
DROP TRIGGER t ON own;
CREATE TRIGGER t AFTER UPDATE ON own FOR EACH ROW EXECUTE FUNCTION cas_guard();
SELECT raises('UPDATE own SET n = 1');
DROP TRIGGER t ON own;
CREATE TRIGGER t BEFORE TRUNCATE ON own EXECUTE FUNCTION cas_truncate();
TRUNCATE own;
SELECT count(*) FROM own;

-- What the owner's triggers do during a foreign key's action is no such action.
CREATE TABLE above (id int PRIMARY KEY);
CREATE TABLE below (id int PRIMARY KEY, above int REFERENCES above ON DELETE SET NULL, n int);
SELECT cas_enable('below', unversioned => 'reject');
INSERT INTO above VALUES (1);
INSERT INTO below VALUES (1, 1, 0), (2, NULL, 0);
CREATE FUNCTION beside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE below SET n = 1 WHERE id = 2;
	RETURN NEW;
END $$;
CREATE TRIGGER beside BEFORE UPDATE ON below FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION beside();
SELECT raises('DELETE FROM above');
DROP TRIGGER beside ON below;
DELETE FROM above;
SELECT * FROM below ORDER BY id;

-- A rule's command on a partition is not the announced one, if it is for
-- another row.
CREATE TABLE parted (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
SELECT cas_enable('parted', unversioned => 'reject');
INSERT INTO parted VALUES (1, 0), (2, 0);
CREATE RULE also AS ON UPDATE TO parted DO ALSO UPDATE parted_1 SET n = 9 WHERE id = 2;
SELECT raises($$SELECT cas_update('parted', 1, 1, '{"n": 1}')$$);
DROP RULE also ON parted;
SELECT cas_update('parted', 1, 1, '{"n": 1}');
SELECT * FROM parted ORDER BY id;

-- Without the witness, the guard goes by what the new row has.
CREATE TABLE alone (id int PRIMARY KEY, n int);
SELECT cas_enable('alone', unversioned => 'reject');
INSERT INTO alone VALUES (1, 0);
ALTER TABLE alone DISABLE TRIGGER "!cas_witness";
SELECT problem FROM cas_tables WHERE rel = 'alone'::regclass;
SELECT raises('UPDATE alone SET n = 1');
SELECT raises('UPDATE alone SET n = 1, resource_version = 3');
UPDATE alone SET n = 1, resource_version = 2 RETURNING *;
SELECT cas_update('alone', 1, 2, '{"n": 2}');
SELECT * FROM alone;

-- Plans for another search_path are kept beside the others, also within one
-- transaction and while the table's plans run.
CREATE TABLE paths (id int PRIMARY KEY, n int);
SELECT cas_enable('paths');
INSERT INTO paths VALUES (1, 0), (2, 0);
CREATE FUNCTION other_path() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
	IF new.id = 1 THEN
		PERFORM cas_merge('cas_triggers.paths', '2', jsonb_build_object('n', new.n));
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER other_path AFTER UPDATE ON paths FOR EACH ROW EXECUTE FUNCTION other_path();
SET debug_discard_caches = 0;
DO $$
DECLARE
	plans bigint;
BEGIN
	FOR i IN 1..100 LOOP
		PERFORM cas_merge('paths', '1', jsonb_build_object('n', i));
		IF i = 10 THEN
			SELECT count(*) INTO plans FROM pg_backend_memory_contexts WHERE name = 'pg_cas plan';
		END IF;
	END LOOP;
	SELECT count(*) - plans INTO plans FROM pg_backend_memory_contexts WHERE name = 'pg_cas plan';
	RAISE NOTICE '% plans more', plans;
END $$;
RESET debug_discard_caches;
SELECT * FROM paths ORDER BY id;

-- Triggers that are nested more deeply than anybody needs: what an UPDATE has
-- sent is compared, whatever triggers assign to the version.
CREATE TABLE deep (id int PRIMARY KEY, n int, v bigint);
SELECT cas_enable('deep', 'v');
INSERT INTO deep SELECT g, 0, 1 FROM generate_series(1, 100) g;
CREATE FUNCTION next_one() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE deep SET n = NEW.n, v = v + 1 WHERE id = NEW.id + 1;
	NEW.v := CASE NEW.n WHEN 1 THEN 77 ELSE OLD.v + 1 END;
	RETURN NEW;
END
$$;
CREATE TRIGGER next_one BEFORE UPDATE ON deep FOR EACH ROW EXECUTE FUNCTION next_one();
UPDATE deep SET n = 1, v = 2 WHERE id = 1;
SELECT count(*), min(v), max(v) FROM deep WHERE n = 1;
-- this one is stale
SELECT raises('UPDATE deep SET n = 2, v = 2 WHERE id = 1');
DROP TABLE deep;
-- nor if the condition of a trigger runs another UPDATE, on the same level
CREATE TABLE beside (id int PRIMARY KEY, n int, v bigint);
SELECT cas_enable('beside', 'v');
INSERT INTO beside VALUES (1, 0, 1), (2, 0, 1);
CREATE FUNCTION update_beside() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	UPDATE beside SET n = n + 1, v = v + 1 WHERE id = 2;
	RETURN true;
END $$;
CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.v := OLD.v + 1;
	RETURN NEW;
END $$;
CREATE TRIGGER count_up BEFORE UPDATE ON beside FOR EACH ROW WHEN (OLD.id = 1 AND update_beside()) EXECUTE FUNCTION count_up();
SELECT raises('UPDATE beside SET n = 1, v = 7 WHERE id = 1');
UPDATE beside SET n = 1, v = 2 WHERE id = 1;
SELECT * FROM beside ORDER BY id;
DROP TABLE beside;

SET client_min_messages = warning;
DROP SCHEMA cas_triggers CASCADE;
DROP ROLE regress_cas_triggers;
