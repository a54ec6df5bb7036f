-- Claim: a scope belongs to the role that used it first and to the members of
-- that role; the function runs with the caller's rights, never more, and needs
-- EXECUTE; nobody but the installing role gets at the stored requests; and a
-- hostile search_path does not matter.
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA request_rights;
SET search_path = request_rights, public;
CREATE ROLE request_team;
CREATE ROLE request_alice IN ROLE request_team;
CREATE ROLE request_bob IN ROLE request_team;
CREATE ROLE request_mallory;
GRANT USAGE ON SCHEMA request_rights TO PUBLIC;
GRANT CREATE ON SCHEMA request_rights TO request_mallory;
CREATE FUNCTION who(jsonb) RETURNS jsonb LANGUAGE sql
	AS $$ SELECT to_jsonb(pg_catalog.regexp_replace(current_user, '^(?!request_).*', 'superuser')) $$;
CREATE FUNCTION secret(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
REVOKE EXECUTE ON FUNCTION secret(jsonb) FROM PUBLIC;
CREATE TABLE owned (n int);
CREATE FUNCTION write(jsonb) RETURNS jsonb LANGUAGE sql
	AS 'INSERT INTO request_rights.owned VALUES (1) RETURNING to_jsonb(n)';
-- what the function sees of our own rights: none
CREATE FUNCTION peek(jsonb) RETURNS jsonb LANGUAGE sql
	AS 'SELECT to_jsonb(count(*)) FROM cas_internal.request_result';

-- the caller's rights
SET ROLE request_alice;
SELECT request_once('alice', 'who', '{}', 'who(jsonb)');
SELECT request_once('alice', 'secret', '{}', 'secret(jsonb)');
\echo :LAST_ERROR_SQLSTATE
SELECT request_once('alice', 'write', '{}', 'write(jsonb)');
\echo :LAST_ERROR_SQLSTATE
SELECT request_once('alice', 'peek', '{}', 'peek(jsonb)');
\echo :LAST_ERROR_SQLSTATE
-- EXECUTE is asked for even when the result is there
RESET ROLE;
GRANT EXECUTE ON FUNCTION secret(jsonb) TO request_alice;
SET ROLE request_alice;
SELECT request_once('alice', 'secret', '{}', 'secret(jsonb)');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION secret(jsonb) FROM request_alice;
SET ROLE request_alice;
SELECT request_once('alice', 'secret', '{}', 'secret(jsonb)');

-- alice's scope is closed to others, her team's is open to the team
SET ROLE request_bob;
SELECT request_once('alice', 'who', '{}', 'who(jsonb)');
\echo :LAST_ERROR_SQLSTATE
SELECT request_once('alice', 'new', '{}', 'who(jsonb)');
BEGIN;
SELECT * FROM request_begin('alice', 'who', '{}');
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM request_begin('alice', 'who', '{}');
ROLLBACK;
SET ROLE request_team;
SELECT request_once('team', 'who', '{}', 'who(jsonb)');
SET ROLE request_alice;
SELECT request_once('team', 'who', '{}', 'who(jsonb)');
SET ROLE request_bob;
SELECT request_once('team', 'who 2', '{}', 'who(jsonb)');
SET ROLE request_mallory;
SELECT request_once('team', 'who', '{}', 'who(jsonb)');
-- A scope whose first use was rolled back is nobody's.
BEGIN;
SELECT request_once('mallory', 'a', '{}', 'who(jsonb)');
ROLLBACK;
SET ROLE request_alice;
SELECT request_once('mallory', 'a', '{}', 'who(jsonb)');
-- What one role has begun another one cannot end.
BEGIN;
SELECT state FROM request_begin('alice', 'b', '{}');
SET LOCAL ROLE request_mallory;
SELECT request_done('alice', 'b', '{}');
ROLLBACK;

-- the stored requests
SET ROLE request_mallory;
SELECT count(*) FROM cas_internal.request_result;
SELECT count(*) FROM cas_internal.request_scope;
INSERT INTO cas_internal.request_scope VALUES ('x', 'request_mallory');
SELECT cas_internal.request_reap(1);
SELECT pg_cas_reap();
\echo :LAST_ERROR_SQLSTATE

-- look-alikes in front
CREATE FUNCTION request_rights.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql
	AS 'BEGIN RAISE ''captured''; END';
CREATE FUNCTION request_rights.text_eq(text, text) RETURNS boolean LANGUAGE plpgsql
	AS 'BEGIN RAISE ''captured''; END';
CREATE FUNCTION request_rights.jsonb_eq(jsonb, jsonb) RETURNS boolean LANGUAGE plpgsql
	AS 'BEGIN RAISE ''captured''; END';
CREATE OPERATOR request_rights.= (FUNCTION = request_rights.text_eq, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR request_rights.= (FUNCTION = request_rights.jsonb_eq, LEFTARG = jsonb, RIGHTARG = jsonb);
CREATE TABLE request_rights.request_result (scope text, key text, request jsonb, result jsonb);
CREATE TABLE request_rights.request_scope (scope text, owner regrole);
RESET ROLE;
SET search_path = request_rights, pg_catalog, public;
SELECT public.request_once('hostile', 'a', '{}', 'request_rights.who(jsonb)');
SELECT public.request_once('hostile', 'a', '{}', 'request_rights.who(jsonb)');
SELECT public.request_once('hostile', 'a', '[]', 'request_rights.who(jsonb)');
SELECT public.pg_cas_reap() >= 0;
SET search_path = request_rights, public;

-- Every role may set the settings.
SET ROLE request_mallory;
SET pg_cas.request = 'x';
SET pg_cas.on_leak = 'off';
SET pg_cas.require_autocommit = on;
-- But not what removes others' results.
SET pg_cas.request_retention = 0;

RESET ALL;
RESET ROLE;
SET client_min_messages = warning;
DELETE FROM cas_internal.request_result WHERE scope IN ('alice', 'team', 'mallory', 'hostile');
DELETE FROM cas_internal.request_scope WHERE scope IN ('alice', 'team', 'mallory', 'hostile');
DROP SCHEMA request_rights CASCADE;
DROP ROLE request_alice, request_bob, request_team, request_mallory;
