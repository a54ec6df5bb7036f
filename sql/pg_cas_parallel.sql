-- Claim: in a parallel query, where a function that calls pg_cas is wrongly
-- declared PARALLEL SAFE, what reads works, and what writes, locks or claims
-- says that it cannot.
CREATE SCHEMA parallel_test;
SET search_path = parallel_test, public, cas_test;
CREATE TABLE t (id int PRIMARY KEY, n int);
SELECT cas_enable('t');
SELECT cas_create('t', 1, '{"n": 1}');
SELECT alloc_pool_create('parallel', '{0-9}', 'int');
SELECT alloc_int('parallel', k(1), 3);
CREATE FUNCTION same(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION same(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';

-- A query that returns one value, in a worker.
CREATE FUNCTION in_worker(query text, leader int) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$
DECLARE
	answer text;
BEGIN
	IF pg_backend_pid() = leader THEN
		RAISE 'not in a worker';
	END IF;
	EXECUTE query INTO answer;
	RETURN answer;
END $$;
-- What it answers, or raises.
CREATE FUNCTION told(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SELECT in_worker(%L, %s)', query, pg_backend_pid()) INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE TABLE calls (n serial, call text, reads boolean);
INSERT INTO calls (call, reads) VALUES
	('payload FROM cas_get(''t'', 1)', true),
	('count(*) FROM cas_tables WHERE rel = ''parallel_test.t''::regclass', true),
	('count(*) FROM cas_lock(''t'', ''{1}''::int[])', false),
	('cas_create(''t'', 2, ''{}'')', false),
	('cas_try_create(''t'', 2, ''{}'')', false),
	('cas_update(''t'', 1, 1, ''{"n": 2}'')', false),
	('cas_try_update(''t'', 1, 0, ''{"n": 2}'')', false),
	('cas_patch(''t'', 1, 1, ''{"n": 2}'')', false),
	('cas_try_patch(''t'', 1, 0, ''{"n": 2}'')', false),
	('cas_delete(''t'', 1, 1)', false),
	('cas_try_delete(''t'', 1, 0)', false),
	('cas_rename(''t'', 1, 1, 2)', false),
	('cas_try_rename(''t'', 1, 0, 2)', false),
	('cas_merge(''t'', 1, ''{"n": 2}'')', false),
	('cas_apply(''t'', 1, ''same(jsonb,jsonb)'')', false),
	('cas_put(''t'', 1, ''{"n": 2}'')', false),
	('cas_txn(''[{"table": "t", "id": 1, "exists": true}]'', ''[]'')', false),
	('cas_enable(''t'')', false),
	('cas_disable(''t'')', false),
	('value FROM alloc_get(''parallel'', k(1))', true),
	('value FROM alloc_find(''parallel'', ''3'')', true),
	('allocated FROM alloc_usage(''parallel'')', true),
	('count(*) > 0 FROM alloc_map(''parallel'')', true),
	('count(*) FROM alloc_verify(''parallel'')', true),
	('count(*) FROM alloc_free(''parallel'')', true),
	('count(*) FROM alloc_units WHERE pool = ''parallel''', true),
	('alloc_int(''parallel'', k(2))', false),
	('outcome FROM alloc_try_int(''parallel'', k(2))', false),
	('count(*) FROM alloc_many(''parallel'', ARRAY[k(2)])', false),
	('alloc_release(''parallel'', k(1))', false),
	('alloc_renew(''parallel'', k(1), ''1 h'')', false),
	('alloc_rebuild(''parallel'')', false),
	('alloc_pool_create(''parallel2'', ''{0-9}'', ''int'')', false),
	('alloc_pool_grow(''parallel'', ''10-19'')', false),
	('alloc_pool_drop(''parallel'')', false),
	('count(*) FROM lock_acquire(''{parallel}'')', false),
	('lock_try_acquire(''{parallel}'')', false),
	('lock_assert(''parallel'')', false),
	('lock_protect(''t'', ''parallel'')', false),
	('lock_unprotect(''t'')', false),
	('lock_fence_advance(1)', false),
	('count(*) FROM lock_holders', false),
	('lease_renew(''parallel'', 1, ''1 h'')', false),
	('lease_guard(''parallel'', 1)', false),
	('lease_release(''parallel'', 1)', false),
	('lease_set_owner(''parallel'', current_user)', false),
	('count(*) FROM lease_holders WHERE name = ''parallel''', true),
	('lease_acquire(''parallel'', ''h'', ''1 h'')', false),
	('count(*) FROM lease_try_acquire(''parallel'', ''h'', ''1 h'')', false),
	('request_claim(''parallel'')', false),
	('request_once(''parallel'', ''k'', ''1'', ''same(jsonb)'')', false),
	('state FROM request_begin(''parallel'', ''k'', ''1'')', false),
	('request_done(''parallel'', ''k'', NULL)', false),
	('request_scope_set(''parallel'', retention => ''1 day'')', false),
	('pg_cas_reap()', false),
	('pg_cas_promoted()', false),
	('count(*) > 0 FROM pg_cas_settings', true),
	('pg_cas_version() > ''''', true);
-- none is missing
SELECT p.proname FROM pg_proc AS p
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_cas'
WHERE p.pronamespace <> 'cas_internal'::regnamespace AND p.prorettype <> 'trigger'::regtype AND p.proname !~ '^alloc'
	AND NOT EXISTS (SELECT FROM calls WHERE call LIKE '%' || p.proname || '(%')
ORDER BY 1;

-- the setting has been called debug_parallel_query since PostgreSQL 16
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SET parallel_leader_participation = off;
SELECT call, told('SELECT ' || call) AS answer FROM calls WHERE reads ORDER BY n;
SELECT count(*) AS calls, left(answer, 5) AS sqlstate, answer LIKE '% during a parallel operation' AS says_so
FROM (SELECT told('SELECT ' || call) AS answer FROM calls WHERE NOT reads) AS a GROUP BY 2, 3 ORDER BY 2, 3;
SELECT call, answer FROM (SELECT n, call, told('SELECT ' || call) AS answer FROM calls WHERE NOT reads) AS a
WHERE answer NOT LIKE '25000 % during a parallel operation' ORDER BY n;
-- with a transaction ID, which the workers have, too
BEGIN;
INSERT INTO t VALUES (3, 3);
SELECT lock_try_acquire('{parallel}');
SELECT call, told('SELECT ' || call) AS answer FROM calls WHERE call ~ 'cas_lock|update|lock_acquire|once' ORDER BY n;
ROLLBACK;
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
RESET parallel_leader_participation;
-- nothing has happened
TABLE t;
SELECT value FROM alloc_units WHERE pool = 'parallel';
SELECT name FROM lock_holders;

SELECT alloc_release('parallel', k(1)), alloc_pool_drop('parallel');
SET client_min_messages = warning;
DROP SCHEMA parallel_test CASCADE;
