-- Claim: the first claim in a transaction binds it to a token; another token
-- in the same transaction is a leak, whoever makes the claim: request_claim(),
-- a function of pg_cas under pg_cas.request, or a plain write to a guarded
-- table.  Under on_leak = 'error' the transaction cannot be committed any
-- more, however the error is swallowed.  (on_leak = 'fatal' ends the session:
-- test/t/400_request_settings.pl.)
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA request_claim;
SET search_path = request_claim, public;
CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO counter VALUES (1, 1);
SELECT cas_enable('counter');
SHOW pg_cas.on_leak;
SET pg_cas.on_leak = 'error';

-- the same token as often as one likes, and another one in the next transaction
BEGIN;
SELECT request_claim('a'), request_claim('a');
COMMIT;
BEGIN;
SELECT request_claim('b');
COMMIT AND CHAIN;
SELECT request_claim('c');
COMMIT;

-- a leak, with the tokens in its detail
BEGIN;
SELECT request_claim('say "a"');
SELECT request_claim('b');
\echo :LAST_ERROR_SQLSTATE
COMMIT;

-- malformed
SELECT request_claim(NULL);
SELECT request_claim('');
SET pg_cas.on_leak = 'panic';

-- A claim survives the rollback to a savepoint, and so does the bar.
BEGIN;
SAVEPOINT s;
SELECT request_claim('a');
ROLLBACK TO s;
SELECT request_claim('b');
ROLLBACK TO s;
SELECT request_claim('a');
ROLLBACK TO s;
INSERT INTO counter VALUES (2, 1);
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM counter;

-- An EXCEPTION block swallows the error, and COMMIT raises it again; so does
-- PREPARE TRANSACTION; turning the setting off later does not help.
CREATE FUNCTION swallow(token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.request_claim(token);
	RETURN 'claimed';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
BEGIN;
SELECT swallow('a'), swallow('b'), swallow('a');
CREATE TABLE half_of_a ();
COMMIT;
BEGIN;
SELECT swallow('a'), swallow('b');
PREPARE TRANSACTION 'half';
BEGIN;
SELECT swallow('a'), swallow('b');
SET LOCAL pg_cas.on_leak = 'off';
SELECT swallow('a');
COMMIT;
DO $$
BEGIN
	PERFORM public.request_claim('a');
	PERFORM request_claim.swallow('b');
	COMMIT;
END $$;
-- in a statement of its own, too
SELECT swallow('a'), swallow('b');
SELECT to_regclass('half_of_a'), (SELECT count(*) FROM pg_prepared_xacts);

--
-- pg_cas.request
--
-- plain writes
BEGIN;
SET LOCAL pg_cas.request = 'a';
UPDATE counter SET n = n + 1;
SET LOCAL pg_cas.request = 'b';
UPDATE counter SET n = n + 1;
ROLLBACK;
BEGIN;
SET LOCAL pg_cas.request = 'a';
INSERT INTO counter VALUES (3, 1);
SET LOCAL pg_cas.request = 'b';
COPY counter (id, n) FROM stdin;
4	1
\.
ROLLBACK;
BEGIN;
SET LOCAL pg_cas.request = 'a';
UPDATE counter SET n = 7 WHERE id = 1;
SET LOCAL pg_cas.request = 'b';
MERGE INTO counter USING (VALUES (1)) AS v (id) ON counter.id = v.id
WHEN MATCHED THEN UPDATE SET n = 8;
ROLLBACK;

BEGIN;
SELECT request_claim('a');
SET LOCAL pg_cas.request = 'b';
DELETE FROM counter WHERE id = 1;
ROLLBACK;

-- reading a table or setting the setting is no claim
BEGIN;
SET LOCAL pg_cas.request = 'a';
SELECT n FROM counter WHERE id = 1;
SET LOCAL pg_cas.request = 'b';
UPDATE counter SET n = n + 1 WHERE id = 1;
COMMIT;

-- every function
CREATE FUNCTION same(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION same(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION leaks(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'no leak in ' || command;
EXCEPTION WHEN OTHERS THEN
	IF SQLSTATE = '25001' THEN
		RETURN NULL;
	END IF;
	RETURN format('%s %s in %s', SQLSTATE, SQLERRM, command);
END $$;
BEGIN;
SELECT request_claim('a');
SET LOCAL pg_cas.request = 'b';
SELECT leaks(command) FROM (VALUES
	('SELECT cas_enable(''counter'')'),
	('SELECT cas_disable(''counter'')'),
	('SELECT cas_get(''counter'', 1)'),
	('SELECT cas_lock(''counter'', ''{1}''::int[])'),
	('SELECT cas_create(''counter'', 9, ''{"n": 1}'')'),
	('SELECT cas_update(''counter'', 1, 1, ''{"n": 1}'')'),
	('SELECT cas_patch(''counter'', 1, 1, ''{"n": 1}'')'),
	('SELECT cas_delete(''counter'', 1, 1)'),
	('SELECT cas_rename(''counter'', 1, 1, 2)'),
	('SELECT cas_merge(''counter'', 1, ''{"n": 1}'')'),
	('SELECT cas_apply(''counter'', 1, ''same(jsonb,jsonb)'')'),
	('SELECT cas_put(''counter'', 1, ''{"n": 1}'')'),
	('SELECT cas_try_create(''counter'', 9, ''{"n": 1}'')'),
	('SELECT cas_try_update(''counter'', 1, 1, ''{"n": 1}'')'),
	('SELECT cas_try_patch(''counter'', 1, 1, ''{"n": 1}'')'),
	('SELECT cas_try_delete(''counter'', 1, 1)'),
	('SELECT cas_try_rename(''counter'', 1, 1, 2)'),
	('SELECT cas_txn(''[]'', ''[]'')'),
	('SELECT alloc_ip(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_ports(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_prefix(''pool'', ''00000000-0000-0000-0000-000000000001'', 24)'),
	('SELECT alloc_int(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_try_ip(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_try_ports(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_try_prefix(''pool'', ''00000000-0000-0000-0000-000000000001'', 24)'),
	('SELECT alloc_try_int(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_many(''pool'', ''{}'')'),
	('SELECT alloc_release(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_renew(''pool'', ''00000000-0000-0000-0000-000000000001'', ''1 h'')'),
	('SELECT alloc_get(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_find(''pool'', ''10.0.0.1'')'),
	('SELECT alloc_usage()'),
	('SELECT alloc_map(''pool'')'),
	('SELECT alloc_verify()'),
	('SELECT alloc_rebuild(''pool'')'),
	('SELECT alloc_pool_create(''pool'', ''{1-9}'', ''int'')'),
	('SELECT alloc_pool_set(''pool'')'),
	('SELECT alloc_pool_grow(''pool'', ''1-9'')'),
	('SELECT alloc_pool_shrink(''pool'', ''1-9'')'),
	('SELECT alloc_pool_drop(''pool'')'),
	('SELECT alloc_reserve(''pool'', ''1-9'')'),
	('SELECT alloc_unreserve(''pool'', ''1-9'')'),
	('SELECT alloc_grant(''pool'', ''pg_monitor'')'),
	('SELECT alloc_revoke(''pool'', ''pg_monitor'')'),
	('SELECT lock_acquire(''{a}'')'),
	('SELECT lock_assert(''a'')'),
	('SELECT lock_protect(''counter'', ''a'')'),
	('SELECT lock_unprotect(''counter'')'),
	('SELECT lock_fence_advance(1)'),
	('SELECT lease_acquire(''a'', ''b'', ''1 s'')'),
	('SELECT lease_try_acquire(''a'', ''b'', ''1 s'')'),
	('SELECT lease_renew(''a'', 1, ''1 s'')'),
	('SELECT lease_release(''a'', 1)'),
	('SELECT lease_guard(''a'', 1)'),
	('SELECT request_once(''claim'', ''k'', ''{}'', ''same(jsonb)'')'),
	('SELECT request_begin(''claim'', ''k'', ''{}'')'),
	('SELECT request_done(''claim'', ''k'', ''{}'')')) AS v (command)
WHERE leaks(command) IS NOT NULL;
ROLLBACK;

-- A setting that is undone with its subtransaction claims no more.
BEGIN;
SET LOCAL pg_cas.request = 'a';
UPDATE counter SET n = n + 1 WHERE id = 1;
SAVEPOINT s;
SET LOCAL pg_cas.request = 'b';
ROLLBACK TO s;
UPDATE counter SET n = n + 1 WHERE id = 1;
COMMIT;

-- A function's own setting is a claim, too.
CREATE FUNCTION bump() RETURNS void LANGUAGE sql SET pg_cas.request = 'bump'
	AS 'UPDATE request_claim.counter SET n = n + 1 WHERE id = 1';
BEGIN;
SELECT bump();
SELECT bump();
COMMIT;
BEGIN;
SELECT request_claim('a');
SELECT bump();
ROLLBACK;

-- A session's setting holds for transaction after transaction.
SET pg_cas.request = 'a';
UPDATE counter SET n = n + 1 WHERE id = 1;
SET pg_cas.request = 'b';
UPDATE counter SET n = n + 1 WHERE id = 1;
-- the next transaction is claimed by its own first write
BEGIN;
UPDATE counter SET n = n + 1 WHERE id = 1;
SELECT request_claim('c');
ROLLBACK;
RESET pg_cas.request;

--
-- on_leak = 'warning': once per change; 'off': never
--
SET pg_cas.on_leak = 'warning';
BEGIN;
SET LOCAL pg_cas.request = 'a';
UPDATE counter SET n = n + 1 WHERE id = 1;
SET LOCAL pg_cas.request = 'b';
UPDATE counter SET n = n + 1 WHERE id = 1;
UPDATE counter SET n = n + 1 WHERE id = 1;
SELECT request_claim('a');
SELECT request_claim('c');
COMMIT;
SET pg_cas.on_leak = 'off';
BEGIN;
SELECT request_claim('a'), request_claim('b');
-- the harness' own requests are told apart when it is turned on again
SET LOCAL pg_cas.on_leak = 'error';
SELECT request_claim('a');
SELECT request_claim('b');
ROLLBACK;
SET pg_cas.on_leak = 'error';

--
-- require_autocommit
--
SET pg_cas.require_autocommit = on;
SELECT cas_merge('counter', 1, '{"n": 100}') > 0;
BEGIN;
SELECT n FROM cas_get('counter', 1), jsonb_to_record(payload) AS p (n int);
SELECT request_claim('a');
UPDATE counter SET n = n + 1 WHERE id = 1;
SELECT cas_merge('counter', 1, '{"n": 101}');
ROLLBACK;

-- every writer, and nothing else
BEGIN;
SELECT leaks(command) FROM (VALUES
	('SELECT cas_get(''counter'', 1)'),
	('SELECT cas_lock(''counter'', ''{1}''::int[])'),
	('SELECT cas_create(''counter'', 9, ''{"n": 1}'')'),
	('SELECT cas_update(''counter'', 1, 1, ''{"n": 1}'')'),
	('SELECT cas_patch(''counter'', 1, 1, ''{"n": 1}'')'),
	('SELECT cas_delete(''counter'', 1, 1)'),
	('SELECT cas_rename(''counter'', 1, 1, 2)'),
	('SELECT cas_merge(''counter'', 1, ''{"n": 1}'')'),
	('SELECT cas_apply(''counter'', 1, ''same(jsonb,jsonb)'')'),
	('SELECT cas_put(''counter'', 1, ''{"n": 1}'')'),
	('SELECT cas_try_create(''counter'', 9, ''{"n": 1}'')'),
	('SELECT cas_try_update(''counter'', 1, 1, ''{"n": 1}'')'),
	('SELECT cas_try_patch(''counter'', 1, 1, ''{"n": 1}'')'),
	('SELECT cas_try_delete(''counter'', 1, 1)'),
	('SELECT cas_try_rename(''counter'', 1, 1, 2)'),
	('SELECT cas_txn(''[]'', ''[]'')'),
	('SELECT alloc_ip(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_ports(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_prefix(''pool'', ''00000000-0000-0000-0000-000000000001'', 24)'),
	('SELECT alloc_int(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_try_ip(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_try_ports(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_try_prefix(''pool'', ''00000000-0000-0000-0000-000000000001'', 24)'),
	('SELECT alloc_try_int(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_many(''pool'', ''{}'')'),
	('SELECT alloc_release(''pool'', ''00000000-0000-0000-0000-000000000001'')'),
	('SELECT alloc_renew(''pool'', ''00000000-0000-0000-0000-000000000001'', ''1 h'')'),
	('SELECT request_once(''claim'', ''k'', ''{}'', ''same(jsonb)'')')) AS v (command)
WHERE leaks(command) IS NOT NULL;
ROLLBACK;

-- Several statements sent together are one transaction.
SELECT 1 \; SELECT cas_merge('counter', 1, '{"n": 102}');
SELECT cas_merge('counter', 1, '{"n": 103}') \; SELECT 1;
-- A function or a DO block is a statement, which commits as a whole ...
CREATE FUNCTION merge_twice() RETURNS void LANGUAGE sql AS $$
	SELECT public.cas_merge('request_claim.counter', 1, '{"n": 104}');
	SELECT public.cas_merge('request_claim.counter', 1, '{"n": 105}') $$;
SELECT merge_twice();
DO $$ BEGIN PERFORM public.cas_merge('request_claim.counter', 1, '{"n": 106}'); END $$;
-- ... unless it is called in a block.
BEGIN;
SELECT merge_twice();
ROLLBACK;
-- A subtransaction counts as a block, as it does for VACUUM ...
CREATE FUNCTION merge_and_catch() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN public.cas_merge('request_claim.counter', 1, '{"n": 107}') > 0;
EXCEPTION WHEN SQLSTATE '25001' THEN
	RETURN SQLERRM;
END $$;
SELECT merge_and_catch();
-- ... and a function that knows better says so.
ALTER FUNCTION merge_and_catch() SET pg_cas.require_autocommit = off;
SELECT merge_and_catch();
RESET pg_cas.require_autocommit;
SELECT n FROM counter WHERE id = 1;

RESET ALL;
SET client_min_messages = warning;
DROP SCHEMA request_claim CASCADE;
