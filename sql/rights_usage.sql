-- Claim: who may not use a schema gets at nothing in it, though an OID names
-- the function or the table, and though others have used it in the session.
CREATE SCHEMA rights_usage;
SET search_path = rights_usage, public;
CREATE ROLE regress_usage_joe;
CREATE TABLE secret (id int PRIMARY KEY, s text);
CREATE TABLE plain (id int PRIMARY KEY, s text);
CREATE TABLE joes (id int PRIMARY KEY, s text);
CREATE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER a AFTER INSERT ON secret EXECUTE FUNCTION raises();
SELECT cas_enable('secret'), cas_enable('plain');
INSERT INTO secret VALUES (1, 'top');
INSERT INTO plain VALUES (1, 'top');
GRANT ALL ON secret, plain TO regress_usage_joe;
ALTER TABLE joes OWNER TO regress_usage_joe;
CREATE FUNCTION works(jsonb) RETURNS jsonb LANGUAGE sql SECURITY DEFINER
    AS 'SELECT to_jsonb((SELECT s FROM rights_usage.secret))';
CREATE FUNCTION applies(jsonb, jsonb) RETURNS jsonb LANGUAGE sql SECURITY DEFINER
    AS $$SELECT jsonb_build_object('s', (SELECT s FROM rights_usage.secret))$$;
CREATE FUNCTION unfit(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
-- the caller's own table, in a schema that it may use
CREATE SCHEMA rights_usage_joe AUTHORIZATION regress_usage_joe;
CREATE TABLE rights_usage_joe.mine (id int PRIMARY KEY, s text);
SELECT cas_enable('rights_usage_joe.mine');
INSERT INTO rights_usage_joe.mine VALUES (1, 'own');
GRANT ALL ON rights_usage_joe.mine TO regress_usage_joe;
SELECT 'secret'::regclass::oid AS secret, 'plain'::regclass::oid AS plain, 'joes'::regclass::oid AS joes,
    'works'::regproc::oid AS works, 'applies'::regproc::oid AS applies, 'unfit'::regproc::oid AS unfit \gset
-- plans of these statements are kept in the session
SELECT * FROM cas_get('secret', 1);
SELECT * FROM cas_try_update('secret', 1, 7, '{}');
SELECT * FROM cas_get('plain', 1);
SELECT request_once('usage', 'all', '1', 'works(jsonb)');

\set VERBOSITY terse
SET ROLE regress_usage_joe;
SELECT request_once('joes', 'k', '1', :works::regprocedure);
SELECT request_once('joes', 'k', '1', :unfit::regprocedure);
SELECT cas_apply('rights_usage_joe.mine', 1, :applies::regprocedure);
SELECT cas_txn('[]', jsonb_build_array(jsonb_build_object('op', 'apply', 'table', 'rights_usage_joe.mine', 'id', 1, 'fn', :'applies')));
SELECT * FROM cas_get(:secret::regclass, 1);
SELECT * FROM cas_get(:plain::regclass, 1);
SELECT * FROM cas_lock(:secret::regclass, '{1}');
SELECT * FROM cas_try_update(:secret::regclass, 1, 1, '{"s": "x"}');
SELECT * FROM cas_try_create(:secret::regclass, 2, '{"s": "x"}');
SELECT * FROM cas_try_delete(:secret::regclass, 1, 1);
SELECT cas_txn('[]', jsonb_build_array(jsonb_build_object('op', 'get', 'table', :'secret', 'id', 1)));
-- not even whether it is guarded
SELECT * FROM cas_get(:joes::regclass, 1);
-- the owner, as ALTER TABLE and CREATE TRIGGER
SELECT cas_enable(:joes::regclass);
SELECT lock_protect(:joes::regclass, 'r');
RESET ROLE;

-- with the right to use it, all of these work
GRANT USAGE ON SCHEMA rights_usage TO regress_usage_joe;
SET ROLE regress_usage_joe;
SELECT request_once('joes', 'k', '1', :works::regprocedure);
SELECT cas_apply('rights_usage_joe.mine', 1, :applies::regprocedure);
SELECT * FROM cas_get(:secret::regclass, 1);
SELECT * FROM cas_get(:plain::regclass, 1);
RESET ROLE;
SELECT * FROM rights_usage_joe.mine;

SET client_min_messages = warning;
DROP SCHEMA rights_usage, rights_usage_joe CASCADE;
DROP ROLE regress_usage_joe;
