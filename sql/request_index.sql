-- Claim: requests work whatever other indexes a superuser has added to their
-- tables, one of each sort, and these say the same as the tables.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA request_index;
SET search_path = request_index, public;
CREATE FUNCTION same(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE INDEX mine_expression ON cas_internal.request_result (lower(key));
CREATE UNIQUE INDEX mine_partial ON cas_internal.request_result (scope, md5(key)) WHERE at > '2000-01-01';
CREATE INDEX mine_gin ON cas_internal.request_result USING gin (request);
CREATE INDEX mine_brin ON cas_internal.request_result USING brin (at);
CREATE INDEX mine_hash ON cas_internal.request_result USING hash (key);
CREATE INDEX mine_owner ON cas_internal.request_scope (lower(owner_name));
ALTER TABLE cas_internal.request_result
	ADD CONSTRAINT mine_deferred UNIQUE (scope, key, at) DEFERRABLE INITIALLY DEFERRED,
	ADD CONSTRAINT mine_exclusion EXCLUDE USING btree (scope WITH =, key WITH =);
SELECT count(request_once('index', i::text, to_jsonb(i), 'same(jsonb)')) FROM generate_series(1, 200) AS i;
SELECT count(request_once('index', i::text, to_jsonb(i), 'same(jsonb)')) FROM generate_series(1, 200) AS i;
SELECT request_scope_set('index', retention => '1 hour');
SET enable_seqscan = off;
SELECT retained_by, result FROM cas_internal.request_result WHERE lower(key) = '77';
SELECT retained_by, result FROM cas_internal.request_result WHERE key = '77';
SELECT retained_by, result FROM cas_internal.request_result
WHERE scope = 'index' AND md5(key) = md5('77') AND at > '2000-01-01';
UPDATE cas_internal.request_result SET at = at - interval '2 hours' WHERE scope = 'index' AND key <> '77';
SELECT cas_internal.request_reap(1000) >= 199;
SELECT key FROM cas_internal.request_result WHERE scope = 'index';
SELECT key FROM cas_internal.request_result WHERE lower(key) = '77';
-- one that says no to another request, or to another scope: an error, not a loop
CREATE UNIQUE INDEX mine_unique ON cas_internal.request_result (scope) WHERE scope = 'index';
SELECT request_once('index', '78', '1', 'same(jsonb)');
CREATE UNIQUE INDEX mine_wall ON cas_internal.request_scope ((true))
	WHERE scope IN ('second', 'third') OR (scope = 'index' AND made_by = '0');
SET statement_timeout = '10min';
SELECT request_scope_set('second', retention => '1 hour');
SELECT request_once('third', '1', '1', 'same(jsonb)');
SELECT request_once('index', '77', '77', 'same(jsonb)');
RESET statement_timeout;
DROP INDEX cas_internal.mine_wall;
SELECT DISTINCT scope FROM cas_internal.request_scope WHERE scope IN ('index', 'second', 'third');
DROP INDEX cas_internal.mine_expression, cas_internal.mine_partial, cas_internal.mine_gin,
	cas_internal.mine_brin, cas_internal.mine_hash, cas_internal.mine_owner, cas_internal.mine_unique;
ALTER TABLE cas_internal.request_result
	DROP CONSTRAINT mine_deferred, DROP CONSTRAINT mine_exclusion;
DELETE FROM cas_internal.request_result WHERE scope = 'index';
DELETE FROM cas_internal.request_scope WHERE scope = 'index';
SET client_min_messages = warning;
DROP SCHEMA request_index CASCADE;
