-- Claim: a BEFORE trigger that writes the row itself and suppresses the
-- statement makes no conflict, nor a missing or an existing row: 09000 is
-- raised, and nothing is written.  What somebody else wrote before is answered.
CREATE SCHEMA cas_suppressed;
SET search_path = cas_suppressed, public;
\set VERBOSITY sqlstate

-- a soft deletion
CREATE TABLE soft (id int PRIMARY KEY, n int, deleted bool NOT NULL DEFAULT false);
SELECT cas_enable('soft');
INSERT INTO soft SELECT i, 1 FROM generate_series(1, 3) AS i;
CREATE FUNCTION soft_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE soft SET deleted = true WHERE id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER soft BEFORE DELETE ON soft FOR EACH ROW EXECUTE FUNCTION soft_delete();
SELECT * FROM cas_try_delete('soft', 1, 1);
SELECT cas_delete('soft', 1, 1);
SELECT cas_txn('[]', '[{"op": "delete", "table": "soft", "id": 1, "version": 1}]');
SELECT * FROM cas_try_delete('soft', 1, 2);
SELECT * FROM cas_try_delete('soft', 9, 1);
-- a plain DELETE does what it did
DELETE FROM soft WHERE id = 2;
SELECT * FROM cas_try_delete('soft', 2, 1);
SELECT * FROM soft ORDER BY id;
\set VERBOSITY terse
SELECT * FROM cas_try_delete('soft', 1, 1);
\set VERBOSITY sqlstate
-- nor does the row look as if it had never been there
CREATE OR REPLACE FUNCTION soft_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() > 1 THEN
        RETURN OLD;
    END IF;
    DELETE FROM soft WHERE id = OLD.id;
    RETURN NULL;
END $$;
SELECT * FROM cas_try_delete('soft', 1, 1);
SELECT * FROM soft ORDER BY id;

-- an UPDATE
CREATE TABLE twice (id int PRIMARY KEY, n int, j jsonb);
SELECT cas_enable('twice');
INSERT INTO twice VALUES (1, 1, '{}'), (2, 1, '{}');
CREATE FUNCTION write_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() > 1 THEN
        RETURN NEW;
    ELSIF NEW.n = 99 THEN
        DELETE FROM twice WHERE id = OLD.id;
    ELSE
        UPDATE twice SET n = NEW.n + 100 WHERE id = OLD.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER twice BEFORE UPDATE ON twice FOR EACH ROW EXECUTE FUNCTION write_it();
CREATE FUNCTION fn(payload jsonb, args jsonb) RETURNS jsonb LANGUAGE sql
    AS $$SELECT payload || '{"n": 7}'$$;
SELECT * FROM cas_try_update('twice', 1, 1, '{"n": 2}');
SELECT cas_update('twice', 1, 1, '{"n": 2}');
SELECT * FROM cas_try_update('twice', 1, 1, '{"n": 99}');
SELECT * FROM cas_try_patch('twice', 1, 1, '{"j": {"a": 1}}');
SELECT * FROM cas_try_rename('twice', 1, 1, 5);
SELECT cas_merge('twice', 1, '{"n": 2}');
SELECT cas_merge('twice', 1, '{"j": {"a": 1}}');
SELECT cas_put('twice', 1, '{"n": 2}');
SELECT cas_apply('twice', 1, 'fn(jsonb, jsonb)');
SELECT cas_txn('[]', '[{"op": "merge", "table": "twice", "id": 1, "patch": {"n": 2}}]');
SELECT * FROM cas_try_update('twice', 1, 7, '{"n": 2}');
SELECT * FROM cas_try_update('twice', 1, 1, '{"n": 1}');
SELECT * FROM twice ORDER BY id;
\set VERBOSITY terse
SELECT cas_txn('[]', '[{"op": "merge", "table": "twice", "id": 1, "patch": {"n": 2}}]');
\set VERBOSITY sqlstate
-- the function that computes the payload is still told from the trigger
CREATE OR REPLACE FUNCTION fn(payload jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    UPDATE twice SET n = n + 1 WHERE id = 1;
    RETURN payload || '{"n": 7}';
END $$;
ALTER TABLE twice DISABLE TRIGGER twice;
CREATE TRIGGER a BEFORE DELETE ON twice FOR EACH ROW EXECUTE FUNCTION write_it();
SELECT cas_apply('twice', 1, 'fn(jsonb, jsonb)');

-- an INSERT
CREATE TABLE made (id int PRIMARY KEY, n int);
SELECT cas_enable('made');
CREATE FUNCTION make_it() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    INSERT INTO made VALUES (NEW.id, NEW.n + 100) ON CONFLICT DO NOTHING;
    RETURN CASE WHEN NEW.n = 5 THEN NEW END;
END $$;
CREATE TRIGGER made BEFORE INSERT ON made FOR EACH ROW EXECUTE FUNCTION make_it();
SELECT * FROM cas_try_create('made', 1, '{"n": 1}');
SELECT * FROM cas_try_create('made', 1, '{"n": 5}');
SELECT cas_create('made', 1, '{"n": 1}');
SELECT cas_put('made', 1, '{"n": 1}');
SELECT cas_txn('[]', '[{"op": "create", "table": "made", "id": 1, "payload": {"n": 1}}]');
SELECT * FROM made;
INSERT INTO made VALUES (1, 1);
SELECT * FROM cas_try_create('made', 1, '{"n": 1}');
SELECT * FROM made;
-- also in the snapshot of a transaction
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT * FROM cas_try_create('made', 2, '{"n": 1}');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM cas_try_delete('soft', 1, 1);
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA cas_suppressed CASCADE;
