-- Claim: request_once() runs its function once per scope and key and gives the
-- stored result to whoever repeats the call; request_begin() and request_done()
-- do the same around statements, nothing of a request is stored by what was
-- rolled back, and what was begun cannot be committed before it is done.
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA request_once;
SET search_path = request_once, public;
CREATE TABLE run (n serial, request jsonb);
CREATE FUNCTION work(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO request_once.run (request) VALUES (request);
	IF request ? 'fail' THEN
		RAISE EXCEPTION 'failed';
	END IF;
	RETURN request -> 'answer';
END $$;

-- once
SELECT request_once('once', 'a', '{"answer": {"x": 1}}', 'work(jsonb)');
SELECT request_once('once', 'a', '{"answer": {"x": 1.00}}', 'work(jsonb)');
SELECT count(*) FROM run;
-- another request under the key, another key, another scope
SELECT request_once('once', 'a', '{"answer": 2}', 'work(jsonb)');
\echo :LAST_ERROR_SQLSTATE
SELECT request_once('once', 'b', '{"answer": 2}', 'work(jsonb)');
SELECT request_once('once, too', 'a', '{"answer": 3}', 'work(jsonb)');
-- a null result is a result, JSON null is another
SELECT request_once('once', 'null', '{}', 'work(jsonb)') IS NULL;
SELECT request_once('once', 'null', '{}', 'work(jsonb)') IS NULL;
SELECT request_once('once', 'json null', '{"answer": null}', 'work(jsonb)');
SELECT request_once('once', 'json null', '{"answer": null}', 'work(jsonb)');
-- a large one
SELECT length(request_once('once', 'large',
	jsonb_build_object('answer', (SELECT string_agg(md5(i::text), '')
		FROM generate_series(1, 10000) AS i)), 'work(jsonb)')::text);
SELECT count(*) FROM run;

-- What failed has not run.
SELECT request_once('once', 'fail', '{"fail": true}', 'work(jsonb)');
SELECT request_once('once', 'fail', '{"answer": "another request"}', 'work(jsonb)');
-- What was rolled back has not run, nor what was rolled back to a savepoint.
BEGIN;
SELECT request_once('once', 'c', '{"answer": 1}', 'work(jsonb)');
SELECT request_once('once', 'c', '{"answer": 1}', 'work(jsonb)');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT request_once('once', 'c', '{"answer": 2}', 'work(jsonb)');
ROLLBACK TO s;
SELECT request_once('once', 'c', '{"answer": 3}', 'work(jsonb)');
COMMIT;
SELECT request_once('once', 'c', '{"answer": 3}', 'work(jsonb)');
SELECT count(*) FROM run WHERE request = '{"answer": 3}' OR request = '{"answer": 2}';
-- A function that asks for the same request would wait for itself.
CREATE FUNCTION again(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT public.request_once('once', 'again', request, 'request_once.again(jsonb)') $$;
SELECT request_once('once', 'again', '{}', 'again(jsonb)');
\echo :LAST_ERROR_SQLSTATE
-- ... and that catches the error: nothing was begun twice.
CREATE FUNCTION again_caught(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN public.request_once('once', 'caught', request, 'request_once.again_caught(jsonb)');
EXCEPTION WHEN object_in_use THEN
	RETURN to_jsonb(SQLERRM);
END $$;
SELECT request_once('once', 'caught', '{}', 'again_caught(jsonb)');
SELECT request_once('once', 'caught', '{}', 'again_caught(jsonb)');
-- One that would commit its row without its result.
CREATE FUNCTION commits(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	COMMIT;
	RETURN request;
END $$;
SELECT request_once('once', 'commits', '{}', 'commits(jsonb)');
CREATE PROCEDURE through_procedure() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.request_once('once', 'commits', '{}', 'request_once.commits(jsonb)');
END $$;
CALL through_procedure();
CREATE PROCEDURE two_transactions() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.request_once('once', 'first', '{"answer": 1}', 'request_once.work(jsonb)');
	COMMIT;
	PERFORM public.request_once('once', 'second', '{"answer": 2}', 'request_once.work(jsonb)');
	ROLLBACK;
END $$;
CALL two_transactions();
SELECT key FROM cas_internal.request_result WHERE key IN ('commits', 'first', 'second');
-- One that drops itself, and one that puts another in its place.
CREATE FUNCTION drops(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	DROP FUNCTION request_once.drops(jsonb);
	RETURN request;
END $$;
SELECT request_once('once', 'drops', '{"x": 1}', 'drops(jsonb)');
CREATE FUNCTION replaces(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	CREATE OR REPLACE FUNCTION request_once.replaces(request jsonb) RETURNS jsonb
		LANGUAGE sql AS 'SELECT ''"replaced"''::jsonb';
	RETURN request;
END $$;
SELECT request_once('once', 'replaces', '1', 'replaces(jsonb)');
SELECT request_once('once', 'replaces too', '1', 'replaces(jsonb)');
-- One with settings and rights of its own, and a strict one.
CREATE FUNCTION set_up(request jsonb) RETURNS jsonb LANGUAGE plpgsql STRICT
	SECURITY DEFINER SET work_mem = '123kB'
	AS 'BEGIN RETURN to_jsonb(current_setting(''work_mem'')); END';
SELECT request_once('once', 'set up', '1', 'set_up(jsonb)');
-- One that does another request.
CREATE FUNCTION other(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT public.request_once('once', 'inner', request, 'request_once.work(jsonb)') $$;
SELECT request_once('once', 'outer', '{"answer": "inner"}', 'other(jsonb)');
SELECT request_once('once', 'inner', '{"answer": "inner"}', 'work(jsonb)');

-- The function reads what is there when it runs, even if it says it is stable.
CREATE FUNCTION look(jsonb) RETURNS jsonb STABLE LANGUAGE sql
	AS 'SELECT to_jsonb(count(*)) FROM request_once.run WHERE request = $1';
WITH before AS MATERIALIZED (SELECT work('"look"') AS ran)
SELECT request_once('once', 'look', '"look"', 'look(jsonb)')
FROM before WHERE ran IS NULL;

-- malformed
SELECT request_once(NULL, 'k', '{}', 'work(jsonb)');
SELECT request_once('once', NULL, '{}', 'work(jsonb)');
SELECT request_once('once', 'k', NULL, 'work(jsonb)');
SELECT request_once('once', 'k', '{}', NULL);
SELECT request_once('', 'k', '{}', 'work(jsonb)');
SELECT request_once('once', '', '{}', 'work(jsonb)');
SELECT request_once('once', repeat('k', 1025), '{}', 'work(jsonb)');
SELECT request_once(repeat('s', 1024), repeat('k', 1024), '{"answer": 1}', 'work(jsonb)');
SELECT request_once('once', 'k', '{}', 'nothing(jsonb)');
SELECT request_once('once', 'k', '{}', 0);
SELECT request_once('once', 'k', '{}', 'jsonb_pretty(jsonb)');
SELECT request_once('once', 'k', '{}', 'jsonb_each(jsonb)');
SELECT request_once('once', 'k', '{}', 'jsonb_concat(jsonb,jsonb)');

--
-- request_begin and request_done
--
BEGIN;
SELECT * FROM request_begin('begin', 'a', '{"x": 1}');
SELECT request_done('begin', 'a', '{"y": 1}');
SELECT * FROM request_begin('begin', 'a', '{"x": 1}');
COMMIT;
BEGIN;
SELECT * FROM request_begin('begin', 'a', '{"x": 1}');
SELECT * FROM request_begin('begin', 'a', '{"x": 2}');
ROLLBACK;
SELECT request_once('begin', 'a', '{"x": 1}', 'work(jsonb)');
-- not begun, done already, begun twice
SELECT request_done('begin', 'b', '{}');
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT (request_begin('begin', 'b', '{}')).state;
SELECT request_done('begin', 'b', NULL);
SELECT request_done('begin', 'b', NULL);
ROLLBACK;
BEGIN;
SELECT state FROM request_begin('begin', 'b', '{}');
SELECT state FROM request_begin('begin', 'b', '{}');
ROLLBACK;
-- at top level outside a transaction block
SELECT * FROM request_begin('begin', 'b', '{}');
\echo :LAST_ERROR_SQLSTATE
SELECT request_begin('begin', 'b', '{}');
-- in a function it lasts as long as the statement
SET debug_discard_caches = 0;
DO $$
DECLARE
	r public.request_state;
BEGIN
	r := public.request_begin('begin', 'do', '{}');
	PERFORM public.request_done('begin', 'do', to_jsonb(r));
	FOR r IN SELECT * FROM public.request_begin('begin', 'do', '{}') LOOP
		RAISE NOTICE '%', r;
	END LOOP;
END $$;
RESET debug_discard_caches;
DO $$ BEGIN PERFORM public.request_begin('begin', 'do not', '{}'); END $$;
\echo :LAST_ERROR_SQLSTATE

-- 25000 at COMMIT, at PREPARE TRANSACTION, at a procedure's COMMIT
BEGIN;
SELECT state FROM request_begin('begin', 'c', '{}');
COMMIT;
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT state FROM request_begin('begin', 'c', '{}');
PREPARE TRANSACTION 'c';
DO $$
BEGIN
	PERFORM public.request_begin('begin', 'c', '{}');
	COMMIT;
END $$;
-- subtransactions: what is undone
BEGIN;
SAVEPOINT s;
SELECT state FROM request_begin('begin', 'd', '{}');
ROLLBACK TO s;
COMMIT;
BEGIN;
SAVEPOINT s;
SELECT state FROM request_begin('begin', 'd', '{}');
RELEASE s;
COMMIT;
BEGIN;
SAVEPOINT a;
SAVEPOINT b;
SELECT state FROM request_begin('begin', 'd', '{}');
RELEASE b;
ROLLBACK TO a;
COMMIT;
BEGIN;
SELECT state FROM request_begin('begin', 'd', '{}');
SAVEPOINT s;
SELECT request_done('begin', 'd', '"undone"');
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT state FROM request_begin('begin', 'd', '{}');
SAVEPOINT s;
SELECT request_done('begin', 'd', '"undone"');
ROLLBACK TO s;
SELECT request_done('begin', 'd', '"done"');
COMMIT;
BEGIN;
SAVEPOINT a;
SELECT state FROM request_begin('begin', 'e', '{}');
SAVEPOINT b;
SAVEPOINT c;
SELECT request_done('begin', 'e', '"done"');
RELEASE b;
RELEASE a;
SELECT * FROM request_begin('begin', 'e', '{}');
COMMIT;
BEGIN;
SAVEPOINT a;
SELECT state FROM request_begin('begin', 'f', '{}');
SAVEPOINT b;
SELECT request_done('begin', 'f', '"undone"');
RELEASE b;
ROLLBACK TO a;
SELECT state FROM request_begin('begin', 'f', '{}');
SELECT request_done('begin', 'f', '"done"');
COMMIT;
BEGIN;
SELECT key, result FROM unnest('{d,e,f}'::text[]) AS key, request_begin('begin', key, '{}');
COMMIT;

BEGIN;
SELECT state FROM request_begin('begin', 'committed', '{}');
SELECT request_done('begin', 'committed', '1');
COMMIT;

-- In a read-only transaction what is done can be asked for.
BEGIN READ ONLY;
SELECT * FROM request_begin('begin', 'committed', '{}');
SELECT request_once('once', 'c', '{"answer": 3}', 'work(jsonb)');
SAVEPOINT s;
SELECT request_once('once', 'c', '{"answer": 4}', 'work(jsonb)');
ROLLBACK TO s;
SELECT request_begin('begin', 'new', '{}');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO s;
SELECT request_once('new scope', 'new', '{}', 'work(jsonb)');
ROLLBACK TO s;
SELECT pg_cas_reap();
ROLLBACK;

--
-- Many in one transaction
--
-- begun and left open, each in a subtransaction, then done or undone
SET debug_discard_caches = 0;
CREATE FUNCTION begin_many(n int, undo int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	begun int := 0;
BEGIN
	FOR i IN 1 .. n LOOP
		BEGIN
			PERFORM public.request_begin('begin many', i::text, '1');
			IF i % undo = 0 THEN
				RAISE division_by_zero;
			END IF;
			begun := begun + 1;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
	RETURN begun;
END $$;
BEGIN;
SELECT begin_many(2000, 100);
SAVEPOINT s;
SELECT count(request_done('begin many', i::text, to_jsonb(i)))
FROM generate_series(1, 2000) AS i WHERE i % 100 <> 0;
ROLLBACK TO s;
SELECT count(request_done('begin many', i::text, to_jsonb(i)))
FROM generate_series(1, 2000) AS i WHERE i % 100 <> 0 AND i <> 77;
SAVEPOINT s;
SELECT request_done('begin many', '100', '1');
ROLLBACK TO s;
SELECT request_done('begin many', '77', '77');
COMMIT;
SELECT count(*), count(*) FILTER (WHERE result = to_jsonb(key::int))
FROM cas_internal.request_result WHERE scope = 'begin many';
BEGIN;
SELECT begin_many(2200, 2100);
COMMIT;
DELETE FROM cas_internal.request_result WHERE scope = 'begin many';
DELETE FROM cas_internal.request_scope WHERE scope = 'begin many';
BEGIN;
SELECT sum((request_once('many', i::text, jsonb_build_object('answer', i), 'work(jsonb)'))::int)
FROM generate_series(1, 3000) AS i;
SELECT sum((request_once('many', i::text, jsonb_build_object('answer', i), 'work(jsonb)'))::int)
FROM generate_series(1, 3000) AS i;
COMMIT;

RESET debug_discard_caches;

--
-- pg_cas_reap: what is older than pg_cas.request_retention, in batches
--
SHOW pg_cas.request_retention;
SET pg_cas.request_retention = '90min';
SET pg_cas.request_retention = 'a week';
\set VERBOSITY sqlstate
SET pg_cas.request_retention = '-1d';
\set VERBOSITY default
SELECT min_val, max_val, unit FROM pg_settings WHERE name = 'pg_cas.request_retention';
SHOW pg_cas.request_retention;
UPDATE cas_internal.request_result SET at = at - interval '91 min'
WHERE scope = 'many' AND key::int > 1000;
SELECT cas_internal.request_reap(500);
SELECT pg_cas_reap(1000) >= 1000;
SELECT cas_internal.request_reap(10000);
SELECT count(*) FROM cas_internal.request_result WHERE scope = 'many';
SELECT cas_internal.request_reap(10000);
-- what was purged runs again, what was not does not
TRUNCATE run;
SELECT request_once('many', '1', '{"answer": 1}', 'work(jsonb)');
SELECT request_once('many', '3000', '{"answer": 3000}', 'work(jsonb)');
SELECT request FROM run;
SELECT cas_internal.request_reap(-1);
SELECT cas_internal.request_reap(NULL);

-- a function that makes the transaction read-only, and a client that does
CREATE FUNCTION read_only(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	SET TRANSACTION READ ONLY;
	RETURN $1;
END
$$;
SELECT request_once('once', 'read only', '{}', 'read_only(jsonb)');
BEGIN;
SELECT state FROM request_begin('once', 'read only', '{}');
SET TRANSACTION READ ONLY;
SELECT request_done('once', 'read only', '1');
ROLLBACK;

-- a row that was deleted by hand is none, in the transaction that began it
BEGIN;
SELECT state FROM request_begin('once', 'by hand', '{}');
DELETE FROM cas_internal.request_result WHERE scope = 'once' AND key = 'by hand';
SELECT state FROM request_begin('once', 'by hand', '{}');
SELECT request_done('once', 'by hand', '1');
COMMIT;
SELECT request_once('once', 'by hand', '{}', 'read_only(jsonb)');
BEGIN;
SELECT state FROM request_begin('once', 'by hand again', '{}');
DELETE FROM cas_internal.request_result WHERE scope = 'once' AND key = 'by hand again';
SELECT request_done('once', 'by hand again', '1');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;


DELETE FROM cas_internal.request_result WHERE scope IN ('once', 'once, too', 'begin', 'many', repeat('s', 1024));
DELETE FROM cas_internal.request_scope WHERE scope IN ('once', 'once, too', 'begin', 'many', repeat('s', 1024));
RESET ALL;
SET client_min_messages = warning;
DROP SCHEMA request_once CASCADE;
