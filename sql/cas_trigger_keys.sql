-- Claim: where a trigger changes the key, what is answered is the row that was
-- written, not another one that has the key that was sent; and a creation whose
-- key is taken after that says so.
CREATE SCHEMA cas_trigger_keys;
SET search_path = cas_trigger_keys, public;
\set VERBOSITY terse
CREATE TABLE nt (k text PRIMARY KEY, n int);
INSERT INTO nt VALUES ('Q', 98), ('ROW', 98);
SELECT cas_enable('nt');
CREATE FUNCTION low() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.k = lower(NEW.k); RETURN NEW; END';
CREATE TRIGGER low BEFORE INSERT OR UPDATE ON nt FOR EACH ROW EXECUTE FUNCTION low();
SELECT * FROM cas_try_create('nt', 'ABC', '{"n": 1}');
SELECT * FROM cas_try_create('nt', 'ABC', '{"n": 2}');
SELECT cas_create('nt', 'ABC', '{"n": 2}');
SELECT * FROM cas_try_create('nt', 'abc', '{"n": 2}');
-- the reason that remains without a key
CREATE TABLE numbered (k int PRIMARY KEY DEFAULT 1, n int);
SELECT cas_enable('numbered');
CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER never BEFORE INSERT ON numbered FOR EACH ROW EXECUTE FUNCTION never();
SELECT cas_create('numbered', NULL, '{}');
SELECT cas_create('numbered', 5, '{}');
-- a trigger that writes after the row, so that the row is read again
CREATE TABLE log (line text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log VALUES (NEW.k);
    UPDATE nt SET n = n + 100 WHERE k = NEW.k AND n < 98;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON nt FOR EACH ROW WHEN (NEW.n < 98) EXECUTE FUNCTION note();
SELECT * FROM cas_try_create('nt', 'Q', '{"n": 1}');
SELECT cas_create('nt', 'W', '{"n": 1}');
SELECT * FROM cas_try_rename('nt', 'w', 2, 'Q');
SELECT * FROM cas_try_rename('nt', 'w', 2, 'ROW');
SELECT * FROM cas_try_update('nt', 'ROW', 1, '{"n": 2}');
INSERT INTO nt VALUES ('x', 98);
ALTER TABLE nt DISABLE TRIGGER low;
UPDATE nt SET k = 'X' WHERE k = 'x';
ALTER TABLE nt ENABLE TRIGGER low;
SELECT * FROM cas_try_update('nt', 'X', 2, '{"n": 2}');
SELECT * FROM nt ORDER BY k COLLATE "C";

SET client_min_messages = warning;
DROP SCHEMA cas_trigger_keys CASCADE;
