/* pg_cas--1.0.sql: the install script */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_cas" to load this file. \quit

CREATE FUNCTION pg_cas_version() RETURNS text
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pg_cas_version() IS
    'the version of the loaded pg_cas library';

--
-- 1. Versioned rows (src/cas)
--

CREATE TYPE cas_row AS (id text, version bigint, payload jsonb);
COMMENT ON TYPE cas_row IS
    'a versioned row: its key''s text, its version, its payload';

CREATE TYPE cas_result AS (outcome text, id text, version bigint, payload jsonb);
COMMENT ON TYPE cas_result IS
    'what came of a swap (created, updated, unchanged, deleted, renamed; or, with nothing written, conflict, missing, exists), with the row as written or as it now stands';

-- 1.1 Tables

CREATE FUNCTION cas_guard() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_guard() IS
    'the guard: advances the version of every row that is written; PT409 for a version that is not the protocol''s, PT428 for none where one is demanded, 22003 at the top of the version''s type; made by cas_enable()';

CREATE FUNCTION cas_witness() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_witness() IS
    'the guard''s witness: remembers the version that an UPDATE sets, before other triggers assign to it; made by cas_enable()';

CREATE FUNCTION cas_truncate() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_truncate() IS
    'keeps TRUNCATE ... RESTART IDENTITY from starting the sequence of a table''s versions again; made by cas_enable()';

CREATE FUNCTION cas_enable(
        rel regclass,
        version_column name DEFAULT 'resource_version',
        payload_column name DEFAULT NULL,
        writers text DEFAULT 'bump',
        unversioned text DEFAULT 'allow',
        versions text DEFAULT 'row',
        ignore_columns name[] DEFAULT '{}',
        version_path text[] DEFAULT NULL,
        enforce text DEFAULT 'error')
    RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_enable(regclass, name, name, text, text, text, name[], text[], text) IS
    'puts a table under compare-and-swap, or changes its settings; for its owner (42501); writers: bump | echo, unversioned: allow | reject, versions: row | table, enforce: error | warn; 22023 for other words, 42809 for what is no such table, 55000 without a primary key or with a trigger that fires after the guard, 23502 for versions that are null';

CREATE FUNCTION cas_disable(rel regclass) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_disable(regclass) IS
    'removes the guard from a table and keeps its version column; for its owner (42501); PT400 if it has none';

CREATE FUNCTION cas_table_settings(
        rel regclass,
        OUT version_column name, OUT payload_column name, OUT writers text,
        OUT unversioned text, OUT versions text, OUT ignore_columns name[],
        OUT version_path text[], OUT enforce text, OUT problem text)
    RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_table_settings(regclass) IS
    'internal: the settings of a guarded table or partition, and what is wrong with it; the view cas_tables is made of it';

CREATE VIEW cas_tables AS
    SELECT t.tgrelid::pg_catalog.regclass AS rel,
           s.version_column, s.payload_column, s.writers, s.unversioned,
           s.versions, s.ignore_columns, s.version_path, s.enforce,
           pg_catalog.concat_ws('; ', s.problem, p.problem)
               OPERATOR(pg_catalog.||) CASE
               WHEN s.problem IS NULL AND p.problem IS NULL THEN NULL
               ELSE '' END AS problem
    FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid
    CROSS JOIN LATERAL @extschema@.cas_table_settings(t.tgrelid) AS s
    LEFT JOIN LATERAL (
        SELECT pg_catalog.string_agg(
                   pg_catalog.format('partition %s: %s', tree.relid, leaf.problem), '; ')
        FROM pg_catalog.pg_partition_tree(t.tgrelid) AS tree
        CROSS JOIN LATERAL @extschema@.cas_table_settings(tree.relid) AS leaf
        WHERE tree.relid OPERATOR(pg_catalog.<>) t.tgrelid
          AND leaf.problem IS NOT NULL) AS p (problem)
        ON c.relkind OPERATOR(pg_catalog.=) 'p'
    WHERE t.tgfoid OPERATOR(pg_catalog.=) '@extschema@.cas_guard()'::pg_catalog.regprocedure
      AND t.tgparentid OPERATOR(pg_catalog.=) 0
      AND (pg_catalog.pg_has_role(c.relowner, 'USAGE')
           OR pg_catalog.has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE')
           OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE')
           OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'));
COMMENT ON VIEW cas_tables IS
    'the guarded tables that the role has a privilege on (pg_monitor: all), their settings, and what is wrong with them (problem; null: nothing)';
GRANT SELECT ON cas_tables TO PUBLIC;

CREATE FUNCTION cas_differs(old jsonb, new jsonb, path text[]) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION cas_differs(jsonb, jsonb, text[]) IS
    'internal: whether two payloads differ in their stored image, what is at the path left out';

CREATE FUNCTION cas_reached() RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_reached() IS
    'internal: false; a DELETE that asks it learns whether policies let it come to a row';

-- 1.2 Reading and locking.  Every function that takes an id is there twice:
-- literals, varchar and untyped driver parameters go to the first, ids of the
-- key's own type to the second.

CREATE FUNCTION cas_get(rel regclass, id text)
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION cas_get(regclass, text) IS
    'reads a row by its id, 0 or 1 row; payload is null without SELECT on it; PT400 if the table is not under compare-and-swap';
CREATE FUNCTION cas_get(rel regclass, id anyelement)
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION cas_get(regclass, anyelement) IS
    'reads a row by its id, 0 or 1 row; payload is null without SELECT on it; PT400 if the table is not under compare-and-swap';

-- An untyped array, as a literal or a driver's parameter, is taken as text;
-- without the one for varchar[], that would not know which of two to go to.
CREATE FUNCTION cas_lock(rel regclass, ids text[], mode text DEFAULT 'update')
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION cas_lock(regclass, text[], text) IS
    'locks rows until the end of the transaction, in the order of their keys, and returns them as they are under the lock; missing ones give no row; mode: update | share';
CREATE FUNCTION cas_lock(rel regclass, ids text, mode text DEFAULT 'update')
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION cas_lock(regclass, text, text) IS
    'locks rows until the end of the transaction, in the order of their keys, and returns them as they are under the lock; missing ones give no row; mode: update | share';
CREATE FUNCTION cas_lock(rel regclass, ids varchar[], mode text DEFAULT 'update')
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION cas_lock(regclass, varchar[], text) IS
    'locks rows until the end of the transaction, in the order of their keys, and returns them as they are under the lock; missing ones give no row; mode: update | share';
CREATE FUNCTION cas_lock(rel regclass, ids anyarray, mode text DEFAULT 'update')
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION cas_lock(regclass, anyarray, text) IS
    'locks rows until the end of the transaction, in the order of their keys, and returns them as they are under the lock; missing ones give no row; mode: update | share';

-- 1.3 Swaps: the forms that return the version and raise what is in the way

CREATE FUNCTION cas_create(rel regclass, id text, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_create(regclass, text, jsonb) IS
    'creates a row; id null: the key''s default makes one; returns the version; 23505 if the id is taken';
CREATE FUNCTION cas_create(rel regclass, id anyelement, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_create(regclass, anyelement, jsonb) IS
    'creates a row; id null: the key''s default makes one; returns the version; 23505 if the id is taken';
CREATE FUNCTION cas_update(rel regclass, id text, expected_version bigint, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_update(regclass, text, bigint, jsonb) IS
    'replaces a row''s payload, if it has the expected version; returns the new version, or the present one if nothing changed; PT404 if it is missing, PT409 if its version is another';
CREATE FUNCTION cas_update(rel regclass, id anyelement, expected_version bigint, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_update(regclass, anyelement, bigint, jsonb) IS
    'replaces a row''s payload, if it has the expected version; returns the new version, or the present one if nothing changed; PT404 if it is missing, PT409 if its version is another';
CREATE FUNCTION cas_patch(rel regclass, id text, expected_version bigint, patch jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_patch(regclass, text, bigint, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload, if it has the expected version; returns the new version, or the present one if nothing changed; PT404 if it is missing, PT409 if its version is another';
CREATE FUNCTION cas_patch(rel regclass, id anyelement, expected_version bigint, patch jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_patch(regclass, anyelement, bigint, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload, if it has the expected version; returns the new version, or the present one if nothing changed; PT404 if it is missing, PT409 if its version is another';
CREATE FUNCTION cas_delete(rel regclass, id text, expected_version bigint)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_delete(regclass, text, bigint) IS
    'deletes a row, if it has the expected version; returns the version that was deleted; PT404 if it is missing, PT409 if its version is another';
CREATE FUNCTION cas_delete(rel regclass, id anyelement, expected_version bigint)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_delete(regclass, anyelement, bigint) IS
    'deletes a row, if it has the expected version; returns the version that was deleted; PT404 if it is missing, PT409 if its version is another';
CREATE FUNCTION cas_rename(rel regclass, id text, expected_version bigint, new_id text)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_rename(regclass, text, bigint, text) IS
    'gives a row another id, if it has the expected version; returns the new version; PT404 if it is missing, PT409 if its version is another, 23505 if the id is taken, be it by the row itself';
CREATE FUNCTION cas_rename(rel regclass, id anyelement, expected_version bigint, new_id anyelement)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_rename(regclass, anyelement, bigint, anyelement) IS
    'gives a row another id, if it has the expected version; returns the new version; PT404 if it is missing, PT409 if its version is another, 23505 if the id is taken, be it by the row itself';

-- Server-driven writes: no version is expected, the row is read under its lock

CREATE FUNCTION cas_merge(rel regclass, id text, patch jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_merge(regclass, text, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload as it is under the row''s lock; returns the version; PT404 if it is missing';
CREATE FUNCTION cas_merge(rel regclass, id anyelement, patch jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_merge(regclass, anyelement, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload as it is under the row''s lock; returns the version; PT404 if it is missing';
CREATE FUNCTION cas_apply(rel regclass, id text, fn regprocedure, args jsonb DEFAULT NULL)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_apply(regclass, text, regprocedure, jsonb) IS
    'replaces a row''s payload by fn(payload jsonb, args jsonb) of what it is under the row''s lock; fn runs with the caller''s rights (42501 without EXECUTE) and once; returns the version; PT404 if it is missing';
CREATE FUNCTION cas_apply(rel regclass, id anyelement, fn regprocedure, args jsonb DEFAULT NULL)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_apply(regclass, anyelement, regprocedure, jsonb) IS
    'replaces a row''s payload by fn(payload jsonb, args jsonb) of what it is under the row''s lock; fn runs with the caller''s rights (42501 without EXECUTE) and once; returns the version; PT404 if it is missing';
CREATE FUNCTION cas_put(rel regclass, id text, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_put(regclass, text, jsonb) IS
    'creates a row or replaces its payload; returns the version';
CREATE FUNCTION cas_put(rel regclass, id anyelement, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_put(regclass, anyelement, jsonb) IS
    'creates a row or replaces its payload; returns the version';

-- The forms that answer with an outcome and the row

CREATE FUNCTION cas_try_create(rel regclass, id text, payload jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_create(regclass, text, jsonb) IS
    'creates a row; id null: the key''s default makes one; outcome: created | exists, with the row as written, or, where nothing was, as it now stands';
CREATE FUNCTION cas_try_create(rel regclass, id anyelement, payload jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_create(regclass, anyelement, jsonb) IS
    'creates a row; id null: the key''s default makes one; outcome: created | exists, with the row as written, or, where nothing was, as it now stands';
CREATE FUNCTION cas_try_update(rel regclass, id text, expected_version bigint, payload jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_update(regclass, text, bigint, jsonb) IS
    'replaces a row''s payload, if it has the expected version; outcome: updated | unchanged | conflict | missing, with the row as written, or, where nothing was, as it now stands';
CREATE FUNCTION cas_try_update(rel regclass, id anyelement, expected_version bigint, payload jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_update(regclass, anyelement, bigint, jsonb) IS
    'replaces a row''s payload, if it has the expected version; outcome: updated | unchanged | conflict | missing, with the row as written, or, where nothing was, as it now stands';
CREATE FUNCTION cas_try_patch(rel regclass, id text, expected_version bigint, patch jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_patch(regclass, text, bigint, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload, if it has the expected version; outcome: updated | unchanged | conflict | missing, with the row as written, or, where nothing was, as it now stands';
CREATE FUNCTION cas_try_patch(rel regclass, id anyelement, expected_version bigint, patch jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_patch(regclass, anyelement, bigint, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload, if it has the expected version; outcome: updated | unchanged | conflict | missing, with the row as written, or, where nothing was, as it now stands';
CREATE FUNCTION cas_try_delete(rel regclass, id text, expected_version bigint)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_delete(regclass, text, bigint) IS
    'deletes a row, if it has the expected version; outcome: deleted | conflict | missing, with the row as written, or, where nothing was, as it now stands';
CREATE FUNCTION cas_try_delete(rel regclass, id anyelement, expected_version bigint)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_delete(regclass, anyelement, bigint) IS
    'deletes a row, if it has the expected version; outcome: deleted | conflict | missing, with the row as written, or, where nothing was, as it now stands';
CREATE FUNCTION cas_try_rename(rel regclass, id text, expected_version bigint, new_id text)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_rename(regclass, text, bigint, text) IS
    'gives a row another id, if it has the expected version; outcome: renamed | conflict | missing | exists, with the row as written, or, where nothing was, as it now stands';
CREATE FUNCTION cas_try_rename(rel regclass, id anyelement, expected_version bigint, new_id anyelement)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_rename(regclass, anyelement, bigint, anyelement) IS
    'gives a row another id, if it has the expected version; outcome: renamed | conflict | missing | exists, with the row as written, or, where nothing was, as it now stands';

-- 1.4 Many rows at once

CREATE FUNCTION cas_txn(compare jsonb, success jsonb, failure jsonb DEFAULT '[]')
    RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_txn(jsonb, jsonb, jsonb) IS
    'locks all rows named, decides the comparisons, and does the operations of success if all hold, else those of failure, all or none; returns {"succeeded", "compare": [{"table", "id", "ok", "version"}], "results": [{"op", "table", "id", "outcome", "version"}]}; 22023 for a malformed request, with its position; an operation''s own SQLSTATE, with its position in DETAIL';

--
-- 2. Allocation (src/alloc)
--

--
-- 3. Named resources and leases (src/lock)
--

CREATE TABLE lock_name (
    name text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE lock_name IS
    'internal: the rows whose locks are the locks on named resources';

CREATE TABLE lease_state (
    name text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL,
    holder text,
    owner regrole,
    acquired_at timestamptz,
    expires_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE lease_state IS
    'internal: leases, those that were released (holder null) included';

CREATE SEQUENCE lock_fence;
COMMENT ON SEQUENCE lock_fence IS
    'internal: the source of the fences of all locks and leases';

SELECT pg_catalog.pg_extension_config_dump('lock_name', '');
SELECT pg_catalog.pg_extension_config_dump('lease_state', '');
SELECT pg_catalog.pg_extension_config_dump('lock_fence', '');

CREATE FUNCTION lock_acquire(exclusive text[], shared text[] DEFAULT '{}', wait interval DEFAULT NULL)
    RETURNS TABLE (name text, mode text, fence bigint)
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_acquire(text[], text[], interval) IS
    'locks named resources until the end of the transaction, in byte order; each exclusive holder gets a new, larger fence; 55P03 when wait is over, 40001 for a snapshot older than the last holder''s commit';

CREATE FUNCTION lock_assert(name text, mode text DEFAULT 'exclusive') RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_assert(text, text) IS
    'raises PT428 unless this transaction holds the named resource in this mode or a stronger one';

CREATE FUNCTION lock_protect_trigger() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_protect_trigger() IS
    'internal: the trigger of tables under lock_protect';

CREATE FUNCTION lock_protect(rel regclass, resource text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_protect(regclass, text) IS
    'lets rows of the table be written only under the exclusive lock on the resource, in which {column} stands for the row''s value';

CREATE FUNCTION lock_unprotect(rel regclass) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_unprotect(regclass) IS
    'undoes lock_protect';

CREATE FUNCTION lock_holders_read()
    RETURNS TABLE (name text, mode text, pid integer, waiting boolean, since timestamptz)
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_holders_read() IS
    'internal: the rows of lock_holders';

CREATE VIEW lock_holders AS
    SELECT h.name, h.mode, h.pid, h.waiting, h.since, NULL::text AS request
    FROM lock_holders_read() AS h;
COMMENT ON VIEW lock_holders IS
    'who holds and who waits for named resources; pid is null for a prepared transaction';
GRANT SELECT ON lock_holders TO PUBLIC;

CREATE FUNCTION lock_fence_advance(by bigint DEFAULT 1000000) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C SECURITY DEFINER;
COMMENT ON FUNCTION lock_fence_advance(bigint) IS
    'skips so many fences, after a restore or a failover to a standby that lagged';
REVOKE EXECUTE ON FUNCTION lock_fence_advance(bigint) FROM PUBLIC;

CREATE FUNCTION lock_reap(batch integer) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_reap(integer) IS
    'internal: purges up to so many names that are not in use, for pg_cas_reap';
REVOKE EXECUTE ON FUNCTION lock_reap(integer) FROM PUBLIC;

CREATE FUNCTION lease_acquire(name text, holder text, ttl interval) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lease_acquire(text, text, interval) IS
    'acquires a lease and returns its fence; PT423 if another holder has it; a statement of its own';

CREATE FUNCTION lease_try_acquire(name text, holder text, ttl interval)
    RETURNS TABLE (fence bigint, holder text, expires_at timestamptz)
    AS 'MODULE_PATHNAME' LANGUAGE C ROWS 1;
COMMENT ON FUNCTION lease_try_acquire(text, text, interval) IS
    'acquires a lease, or with a null fence says which holder has it until when; a statement of its own';

CREATE FUNCTION lease_renew(name text, fence bigint, ttl interval) RETURNS timestamptz
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lease_renew(text, bigint, interval) IS
    'lets the lease end so long from now and returns when; PT412 with an older fence, PT404 if it was released';

CREATE FUNCTION lease_release(name text, fence bigint) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lease_release(text, bigint) IS
    'releases the lease; false if there is nothing to release, PT412 with an older fence';

CREATE FUNCTION lease_guard(name text, fence bigint) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lease_guard(text, bigint) IS
    'raises PT412 unless the fence is the lease''s current one, and keeps takeover and release off until the end of the transaction';

CREATE VIEW lease_holders WITH (security_barrier) AS
    SELECT s.name, s.holder, s.owner, s.fence, s.acquired_at, s.expires_at,
           s.expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() AS expired
    FROM lease_state AS s
    WHERE s.holder IS NOT NULL
      AND (pg_catalog.pg_has_role(s.owner, 'USAGE')
           OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'));
COMMENT ON VIEW lease_holders IS
    'the leases that were granted and not released, of this role and roles that it is a member of; all for members of pg_monitor';
GRANT SELECT ON lease_holders TO PUBLIC;

--
-- 4. Requests (src/request)
--

CREATE TABLE request_scope (
    scope text COLLATE "C" PRIMARY KEY,
    owner regrole NOT NULL
);
COMMENT ON TABLE request_scope IS
    'internal: scopes of requests, and the role that each belongs to';

CREATE TABLE request_result (
    scope text COLLATE "C",
    key text COLLATE "C",
    request jsonb NOT NULL,
    result jsonb,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (scope, key)
);
COMMENT ON TABLE request_result IS
    'internal: the requests that were done, and their results';
CREATE INDEX request_result_at ON request_result (at);

SELECT pg_catalog.pg_extension_config_dump('request_scope', '');
SELECT pg_catalog.pg_extension_config_dump('request_result', '');

CREATE TYPE request_state AS (state text, result jsonb);
COMMENT ON TYPE request_state IS
    'whether a request is new or done, and its result if it is done';

CREATE FUNCTION request_claim(token text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_claim(text) IS
    'binds the transaction to a request; 25001 if it is bound to another one: pg_cas.on_leak says how';

CREATE FUNCTION request_once(scope text, key text, request jsonb, fn regprocedure)
    RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_once(text, text, jsonb, regprocedure) IS
    'runs fn(request jsonb) once per scope and key, with the caller''s rights (42501 without EXECUTE), and returns its result, or the stored one if it ran before; PT422 if the key was used for another request, 42501 if the scope belongs to another role';

CREATE FUNCTION request_begin(scope text, key text, request jsonb)
    RETURNS request_state
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_begin(text, text, jsonb) IS
    'state new: do the work, then call request_done() in the same transaction, which cannot be committed before (25000); state done: use the result; PT422 if the key was used for another request, 42501 if the scope belongs to another role, 25P01 outside a transaction block';

CREATE FUNCTION request_done(scope text, key text, result jsonb) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_done(text, text, jsonb) IS
    'stores the result of a request that this transaction has begun; PT404 for any other';

CREATE FUNCTION request_reap(batch integer) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_reap(integer) IS
    'internal: removes up to so many old requests, for pg_cas_reap';
REVOKE EXECUTE ON FUNCTION request_reap(integer) FROM PUBLIC;

--
-- 5. Housekeeping
--

CREATE FUNCTION pg_cas_reap(batch integer DEFAULT 10000) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    AS 'SELECT @extschema@.lock_reap($1)
        OPERATOR(pg_catalog.+) @extschema@.request_reap($1)';
COMMENT ON FUNCTION pg_cas_reap(integer) IS
    'removes what is no longer of use, up to so many of each kind, and returns how many that were: unused lock names, requests older than pg_cas.request_retention';
REVOKE EXECUTE ON FUNCTION pg_cas_reap(integer) FROM PUBLIC;

--
-- 6. Ownership.  A trusted extension's script runs as superuser; what it made
-- is given to the role that installs it, which can then grant, revoke, dump
-- and restore, and whose rights are all that a definer's function has.
--
DO $$
DECLARE
    obj record;
BEGIN
    FOR obj IN
        SELECT i.type, i.identity
        FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_extension AS e ON d.refobjid OPERATOR(pg_catalog.=) e.oid
        CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS i
        WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
          AND e.extname OPERATOR(pg_catalog.=) 'pg_cas'
          AND d.deptype OPERATOR(pg_catalog.=) 'e'
          AND i.type OPERATOR(pg_catalog.=) ANY
              ('{function,procedure,view,table,sequence,type,"composite type"}'::pg_catalog.text[])
        -- a table takes its own sequences along
        ORDER BY i.type OPERATOR(pg_catalog.=) 'sequence'
    LOOP
        EXECUTE pg_catalog.format('ALTER %s %s OWNER TO @extowner@',
            CASE obj.type WHEN 'composite type' THEN 'type' ELSE obj.type END,
            obj.identity);
    END LOOP;
END
$$;
