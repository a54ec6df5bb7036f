-- Claim: a scope belongs to the role that used it first, by oid: a renamed role
-- stays the owner, a dropped one owns nothing more and leaves the scope to the
-- extension's owner, and so does a restore where there is no such role; never
-- is it open to whoever comes next. request_scope_set() hands it over and says
-- how long its results are kept.
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA request_scope;
SET search_path = request_scope, public;
GRANT USAGE ON SCHEMA request_scope TO PUBLIC;
CREATE ROLE scope_team;
CREATE ROLE scope_alice IN ROLE scope_team;
CREATE ROLE scope_bob IN ROLE scope_team;
CREATE ROLE scope_mallory;
CREATE FUNCTION who(jsonb) RETURNS jsonb LANGUAGE sql
	AS 'SELECT to_jsonb(current_user::text)';
-- What the role is told: the result, or the SQLSTATE.
CREATE FUNCTION told(scope text, key text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN public.request_once(scope, key, '{}', 'request_scope.who(jsonb)') #>> '{}';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

-- renamed, dropped, a namesake
CREATE ROLE scope_temp;
SET ROLE scope_temp;
SELECT told('temp', 'a');
RESET ROLE;
ALTER ROLE scope_temp RENAME TO scope_renamed;
CREATE ROLE scope_temp;
SET ROLE scope_renamed;
SELECT told('temp', 'a'), told('temp', 'b');
SET ROLE scope_temp;
SELECT told('temp', 'a'), told('temp', 'c');
RESET ROLE;
DROP ROLE scope_temp;
DROP ROLE scope_renamed;
CREATE ROLE scope_renamed;
SET ROLE scope_renamed;
SELECT told('temp', 'a'), told('temp', 'c');
RESET ROLE;
SELECT told('temp', 'a');
-- The extension's owner hands it over.
SELECT request_scope_set('temp', 'scope_team');
SET ROLE scope_alice;
SELECT told('temp', 'a'), told('temp', 'b'), told('temp', 'd');
SET ROLE scope_renamed;
SELECT told('temp', 'a');
RESET ROLE;
DROP ROLE scope_renamed;

-- pg_cas.owner: the logins of one group
SET ROLE scope_alice;
SET pg_cas.owner = 'scope_team';
SELECT told('shared', 'a');
RESET pg_cas.owner;
SET ROLE scope_bob;
SELECT told('shared', 'a'), told('shared', 'b');
SET ROLE scope_mallory;
SELECT told('shared', 'a');
SET pg_cas.owner = 'scope_team';
SELECT told('not mine', 'a');
SET pg_cas.owner = 'scope_nobody';
SELECT told('not mine', 'a');
RESET pg_cas.owner;
SELECT told('mine', 'a');

-- request_scope_set: for the owner, who must be able to become the new one
SELECT request_scope_set('shared', 'scope_mallory');
SELECT request_scope_set('mine', 'scope_team');
SELECT request_scope_set('mine', 'scope_nobody');
SELECT request_scope_set('shared', retention => '0');
SET ROLE scope_alice;
SELECT request_scope_set('shared', 'scope_alice');
SELECT told('shared', 'a'), told('shared', 'c');
SET ROLE scope_bob;
SELECT told('shared', 'a');
-- a scope that is new
SELECT request_scope_set('set', 'scope_team', '1 day');
SET ROLE scope_alice;
SELECT told('set', 'a');
SET ROLE scope_mallory;
SELECT told('set', 'a'), told('set', 'b');
-- What is rolled back was not set.
SET ROLE scope_alice;
BEGIN;
SELECT request_scope_set('set', 'scope_alice', '2 days');
SELECT told('set', 'c');
ROLLBACK;
BEGIN;
SELECT request_scope_set('undone', 'scope_alice', '2 days');
ROLLBACK;
SET ROLE scope_bob;
SELECT told('set', 'a'), told('undone', 'a');
-- malformed
SELECT request_scope_set(NULL);
SELECT request_scope_set('');
SELECT request_scope_set(repeat('s', 1025));
SELECT request_scope_set('undone', retention => '300000 years');
SELECT request_scope_set('undone', retention => '-300000 years');
BEGIN READ ONLY;
SELECT request_scope_set('undone');
ROLLBACK;
RESET ROLE;

-- A dump restored, where one of the roles is missing: by copy, as it is done.
CREATE TABLE dumped AS SELECT * FROM cas_internal.request_scope WHERE scope = 'undone';
DELETE FROM cas_internal.request_scope WHERE scope = 'undone';
UPDATE dumped SET owner = 4711;
INSERT INTO cas_internal.request_scope SELECT * FROM dumped;
SELECT owner = 'scope_bob'::regrole, owner_name FROM cas_internal.request_scope WHERE scope = 'undone';
DELETE FROM cas_internal.request_scope WHERE scope = 'undone';
UPDATE dumped SET owner_name = 'scope_nobody';
SET session_replication_role = replica;
INSERT INTO cas_internal.request_scope SELECT * FROM dumped;
RESET session_replication_role;
SELECT owner IS NULL, owner_name FROM cas_internal.request_scope WHERE scope = 'undone';
SET ROLE scope_mallory;
SELECT told('undone', 'a'), told('undone', 'b');
SET ROLE scope_bob;
SELECT told('undone', 'a');
RESET ROLE;
SELECT told('undone', 'a');
-- Results whose scope has got lost are not open to who comes first.
DELETE FROM cas_internal.request_scope WHERE scope = 'undone';
SET ROLE scope_mallory;
SELECT told('undone', 'a'), told('undone', 'b');
SELECT request_scope_set('undone', 'scope_mallory');
BEGIN READ ONLY;
SELECT told('undone', 'a');
ROLLBACK;
RESET ROLE;
BEGIN READ ONLY;
SELECT told('undone', 'a');
ROLLBACK;
SELECT told('undone', 'a');
SELECT request_scope_set('undone', 'scope_bob');
SET ROLE scope_bob;
SELECT told('undone', 'a'), told('undone', 'b');
RESET ROLE;

--
-- How long results are kept
--
CREATE FUNCTION same(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION grow_older(scope text, by interval) RETURNS void LANGUAGE sql AS $$
	UPDATE cas_internal.request_result AS r
	SET at = at - by, expires_at = expires_at - by WHERE r.scope = grow_older.scope $$;
CREATE FUNCTION kept(scope text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(key, ' ' ORDER BY key), 'none')
	FROM cas_internal.request_result AS r WHERE r.scope = kept.scope $$;
-- the setting, a time of its own, both
SELECT request_once('time', 'plain', '1', 'same(jsonb)');
SELECT request_once('time', 'minute', '1', 'same(jsonb)', ttl => '1 min');
SELECT request_once('time', 'month', '1', 'same(jsonb)', ttl => '1 mon');
BEGIN;
SELECT state FROM request_begin('time', 'begun', '1', ttl => '1 min');
SELECT request_done('time', 'begun', '1');
COMMIT;
SELECT cas_internal.request_reap(1000) >= 0, kept('time');
SELECT grow_older('time', '2 min');
SELECT cas_internal.request_reap(1000), kept('time');
SELECT grow_older('time', '8 days');
SELECT cas_internal.request_reap(1000), kept('time');
SET pg_cas.request_retention = -1;
SELECT request_once('time', 'plain', '1', 'same(jsonb)');
SELECT grow_older('time', '8 days');
SELECT cas_internal.request_reap(1000), kept('time');
SET pg_cas.request_retention = 0;
BEGIN;
SELECT state FROM request_begin('time', 'begun', '1');
SELECT cas_internal.request_reap(1000) > 0, kept('time');
SELECT request_done('time', 'begun', '1');
SELECT cas_internal.request_reap(1000) > 0, kept('time');
COMMIT;
SELECT cas_internal.request_reap(1000) > 0, kept('time');
RESET pg_cas.request_retention;
SELECT grow_older('time', '1 mon');
SELECT cas_internal.request_reap(1000), kept('time');
SELECT request_once('time', 'k', '1', 'same(jsonb)', ttl => '0');
SELECT request_once('time', 'k', '1', 'same(jsonb)', ttl => '-1 s');
SELECT request_once('time', 'k', '1', 'same(jsonb)', ttl => '300000 years');
SELECT request_once('time', 'k', '1', 'same(jsonb)', wait => '300000 years');
SELECT request_once('time', 'k', '1', 'same(jsonb)', wait => '-1 s');

-- a scope's own, shorter and longer than the setting, for what is there too
SELECT request_once('short', 'before', '1', 'same(jsonb)');
SELECT request_once('short', 'month', '1', 'same(jsonb)', ttl => '1 mon');
SELECT request_scope_set('short', retention => '1 hour');
SELECT request_once('short', 'after', '1', 'same(jsonb)');
SELECT cas_internal.request_reap(1000), kept('short');
SELECT grow_older('short', '61 min');
SELECT cas_internal.request_reap(1), kept('short');
SELECT cas_internal.request_reap(1000), kept('short');
SELECT request_once('long', 'before', '1', 'same(jsonb)');
SELECT request_scope_set('long', retention => '30 days');
SELECT request_once('long', 'after', '1', 'same(jsonb)');
SELECT grow_older('long', '8 days');
SELECT cas_internal.request_reap(1000), kept('long');
-- a row that a running transaction made before its scope had a retention
UPDATE cas_internal.request_result SET retained_by = NULL WHERE scope = 'long' AND key = 'before';
SELECT cas_internal.request_reap(1000), kept('long');
SELECT retained_by FROM cas_internal.request_result WHERE scope = 'long';
SELECT request_scope_set('long', retention => '1 week');
SELECT cas_internal.request_reap(1000), kept('long');
-- for ever, and nothing
SELECT request_once('ever', 'k', '1', 'same(jsonb)');
SELECT request_scope_set('ever', retention => '-1 s');
SELECT grow_older('ever', '100 years');
SELECT cas_internal.request_reap(1000), kept('ever');
SELECT request_scope_set('ever', retention => '0');
SELECT cas_internal.request_reap(1000), kept('ever');
-- what request_scope_set() refuses, written by who can: for ever, and no error,
-- which would keep pg_cas_reap() from all others
SELECT request_once('ever', 'k', '1', 'same(jsonb)');
SELECT grow_older('ever', '100 years');
CREATE FUNCTION reaped(retention interval) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE cas_internal.request_scope AS s SET retention = reaped.retention WHERE scope = 'ever' AND made_by = '0';
	PERFORM pg_cas_reap();
	RETURN kept('ever');
END $$;
SELECT i, reaped(i) FROM unnest('{178000000 years, -178000000 years, 2147483647 days, -2147483648 days,
	2562047788 hours, -2562047788 hours, 178000000 years -2147483648 days, -178000000 years 2147483647 days,
	2147483647 days -2562047788 hours, 2001 years, 2000 years}'::interval[]) AS i;
SELECT reaped('90 years');
SELECT request_scope_set('ever', retention => '0');
-- handed over, it keeps its retention
SELECT request_scope_set('ever', 'scope_team');
SELECT DISTINCT CASE owner_name WHEN session_user THEN 'me' ELSE owner_name END, retention
FROM cas_internal.request_scope WHERE scope = 'ever' ORDER BY 1;

-- a scope whose row is lost: its results are kept as long as the setting says
SELECT request_once('lost', 'k', '1', 'same(jsonb)');
DELETE FROM cas_internal.request_scope WHERE scope = 'lost';
SELECT cas_internal.request_reap(1000) >= 0, kept('lost');
SELECT grow_older('lost', '8 days');
SELECT cas_internal.request_reap(1000) > 0, kept('lost');

RESET ALL;
SET client_min_messages = warning;
DELETE FROM cas_internal.request_result WHERE scope IN
	('temp', 'shared', 'mine', 'set', 'undone', 'time', 'short', 'long', 'ever', 'lost');
DELETE FROM cas_internal.request_scope WHERE scope IN
	('temp', 'shared', 'mine', 'set', 'undone', 'time', 'short', 'long', 'ever', 'lost');
DROP SCHEMA request_scope CASCADE;
DROP ROLE scope_alice, scope_bob, scope_team, scope_mallory;
