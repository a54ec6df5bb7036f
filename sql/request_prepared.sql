-- Claim: a prepared transaction takes its claim along, and a request that is
-- done in it is waited for until its end.  (Where prepared transactions are
-- off, request_prepared_1.out says so.)
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA request_prepared;
SET search_path = request_prepared, public;
CREATE FUNCTION work(request jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT request $$;
SET pg_cas.on_leak = 'error';

BEGIN;
SELECT request_claim('a');
\set VERBOSITY terse
PREPARE TRANSACTION 'request_prepared a';
\set VERBOSITY default
BEGIN;
SELECT request_claim('b');
COMMIT;
COMMIT PREPARED 'request_prepared a';

-- between done and commit
BEGIN;
SELECT state FROM request_begin('prepared', 'p', '{}');
SELECT request_done('prepared', 'p', '1');
\set VERBOSITY terse
PREPARE TRANSACTION 'request_prepared p';
\set VERBOSITY default
SET lock_timeout = '10ms';
SELECT request_once('prepared', 'p', '{}', 'work(jsonb)');
\echo :LAST_ERROR_SQLSTATE
RESET lock_timeout;
COMMIT PREPARED 'request_prepared p';
SELECT request_once('prepared', 'p', '{}', 'work(jsonb)');

DELETE FROM cas_internal.request_result WHERE scope = 'prepared';
DELETE FROM cas_internal.request_scope WHERE scope = 'prepared';
RESET ALL;
SET client_min_messages = warning;
DROP SCHEMA request_prepared CASCADE;
