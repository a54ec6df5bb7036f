-- Claim: with pg_cas.conflict_lock = off, a try form answers a conflict with the
-- row as last committed, without a lock and without a transaction ID; all else is
-- as with the lock.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_conflict_lock;
SET search_path = cas_conflict_lock, public, cas_test;

CREATE TABLE plain (id int PRIMARY KEY, n int, doc jsonb);
CREATE TABLE checked (LIKE plain INCLUDING ALL, CHECK (n < 100));
CREATE TABLE document (id int PRIMARY KEY, doc jsonb);
SELECT cas_enable('plain'), cas_enable('checked'),
       cas_enable('document', payload_column => 'doc');
INSERT INTO plain VALUES (1, 0, '{}'), (2, 0, '{}');
INSERT INTO checked SELECT * FROM plain;
INSERT INTO document VALUES (1, '{"a": {"b": 1}}'), (2, '{}');
UPDATE plain SET n = 1;
UPDATE checked SET n = 1;
UPDATE document SET doc = doc || '{"c": 1}';

-- what a call has done besides answering
CREATE FUNCTION traces(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer cas_result;
    locked text;
BEGIN
    EXECUTE 'SELECT * FROM ' || call INTO answer;
    locked := CASE WHEN pg_current_xact_id_if_assigned() IS NULL
              THEN 'no transaction ID' ELSE 'transaction ID' END;
    RETURN format('%s %s %s: %s', answer.outcome, answer.version, answer.payload, locked);
END $$;

CREATE VIEW calls AS
    SELECT format('SELECT %L, traces(%L)', t || ' ' || f, format('cas_try_' || f, t)) AS call
    FROM unnest('{plain,checked,document}'::text[]) AS t,
         unnest(ARRAY[
             $$update('%s', '1', 1, '{"n": 5}')$$,
             $$patch('%s', '1', 1, '{"n": 5}')$$,
             $$patch('%s', '1', 1, '{"doc": {"x": {"y": 1}}, "a": {"z": 1}}')$$,
             $$delete('%s', '1', 1)$$,
             $$rename('%s', '1', 1, '9')$$,
             $$rename('%s', '2', 1, '0')$$]) WITH ORDINALITY AS f(f, n)
    ORDER BY n, t;

-- each in a transaction of its own
SELECT call FROM calls \gexec
SET pg_cas.conflict_lock = off;
SELECT call FROM calls \gexec

-- what is no conflict is as it was
SELECT traces($$cas_try_update('plain', '1', 2, '{"n": 1}')$$);
SELECT traces($$cas_try_update('plain', '7', 2, '{"n": 1}')$$);
SELECT outcome, version FROM cas_try_update('plain', '1', 2, '{"n": 2}');
SELECT outcome, version FROM cas_try_patch('document', '1', 2, '{"a": {"b": null}}');
SELECT outcome, version FROM cas_try_delete('checked', '1', 2);

-- the forms that raise lock the row before they raise, whatever the setting
SELECT raises($$SELECT cas_update('plain', '1', 1, '{"n": 1}')$$);

-- policies: a row that may not be updated is missing, not in conflict
CREATE ROLE cas_conflict_reader;
GRANT USAGE ON SCHEMA cas_conflict_lock TO cas_conflict_reader;
GRANT SELECT, UPDATE, DELETE ON plain TO cas_conflict_reader;
ALTER TABLE plain ENABLE ROW LEVEL SECURITY;
CREATE POLICY see ON plain FOR SELECT USING (true);
CREATE POLICY change ON plain FOR UPDATE USING (id = 1);
SET ROLE cas_conflict_reader;
SELECT id, traces(format($$cas_try_update('plain', '%s', 1, '{"n": 7}')$$, id)) FROM unnest('{1,2}'::int[]) AS id;
RESET ROLE;
ALTER TABLE plain DISABLE ROW LEVEL SECURITY;

-- who may not update is told so
REVOKE UPDATE ON plain FROM cas_conflict_reader;
SET ROLE cas_conflict_reader;
SELECT raises($$SELECT cas_try_patch('plain', '1', 1, '{"doc": {"x": {}}}')$$);
SELECT raises($$SELECT cas_try_update('plain', '1', 1, '{"n": 7}')$$);
RESET ROLE;

-- REPEATABLE READ: the snapshot decides, and a change after it is 40001 (see
-- the spec cas-conflict-unlocked)
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT traces($$cas_try_update('plain', '1', 1, '{"n": 7}')$$);
COMMIT;

SET client_min_messages = warning;
DROP SCHEMA cas_conflict_lock CASCADE;
DROP ROLE cas_conflict_reader;
