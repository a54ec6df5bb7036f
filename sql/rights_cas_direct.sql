-- Claim: a plain table's swaps, which go past the executor, need what SQL would
-- need: the right to use the schema, though an oid names the table, and the
-- rights of whom the session has become in the middle of a call.
CREATE SCHEMA rights_cas_direct;
SET search_path = rights_cas_direct, public;
CREATE ROLE regress_cas_nobody;
CREATE ROLE regress_cas_worker;
GRANT regress_cas_nobody TO regress_cas_worker;
CREATE TABLE doc (id text PRIMARY KEY, payload jsonb, v bigint NOT NULL DEFAULT 1);
SELECT cas_enable('doc', 'v', 'payload');
INSERT INTO doc VALUES ('x', '{"n": 1}');
GRANT SELECT, UPDATE ON doc TO regress_cas_worker;
CREATE FUNCTION becomes(payload jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', args #>> '{}', true);
    RETURN payload || '{"n": 2}';
END $$;
SELECT 'doc'::regclass::oid AS doc, 'becomes(jsonb, jsonb)'::regprocedure::oid AS becomes \gset

\set VERBOSITY sqlstate
SET ROLE regress_cas_worker;
SELECT cas_update(:doc::regclass, 'x', 1, '{"n": 5}');
SELECT * FROM cas_try_update(:doc::regclass, 'x', 7, '{"n": 5}');
SELECT * FROM cas_get(:doc::regclass, 'x');
RESET ROLE;
GRANT USAGE ON SCHEMA rights_cas_direct TO regress_cas_worker, regress_cas_nobody;
SET ROLE regress_cas_worker;
SELECT cas_apply('doc', 'x', :becomes::regprocedure, '"regress_cas_nobody"');
SELECT current_user;
SELECT cas_apply('doc', 'x', :becomes::regprocedure, '"regress_cas_worker"');
SELECT cas_update('doc', 'x', 2, '{"n": 5}');
RESET ROLE;
SELECT * FROM doc;

SET client_min_messages = warning;
DROP SCHEMA rights_cas_direct CASCADE;
DROP ROLE regress_cas_nobody, regress_cas_worker;
