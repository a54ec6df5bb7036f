--
-- 1. Versioned rows (src/cas)
--

CREATE TYPE cas_row AS (id text, version bigint, payload jsonb);
COMMENT ON TYPE cas_row IS
    'a versioned row: its key as text, its version, and its payload';

CREATE TYPE cas_result AS (outcome text, id text, version bigint, payload jsonb);
COMMENT ON TYPE cas_result IS
    'the result of a swap: created, updated, unchanged, deleted or renamed; if nothing was written, conflict, missing or exists; with the row as it was written or as it is now';

-- 1.1 Tables

CREATE FUNCTION cas_guard() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_guard() IS
    'the guard: advances the version of every row that is written; raises PT409 if the UPDATE sets another version than the protocol requires, PT428 if it must set one and does not, 22003 if the next version is out of range for the column''s type; the trigger is created by cas_enable()';

CREATE FUNCTION cas_witness() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_witness() IS
    'the guard''s witness: records the version that an UPDATE sets, before other triggers assign to it; the trigger is created by cas_enable()';

CREATE FUNCTION cas_truncate() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_truncate() IS
    'keeps TRUNCATE ... RESTART IDENTITY from resetting the sequence of a table''s versions; the trigger is created by cas_enable()';

CREATE FUNCTION cas_enable(
        rel regclass,
        version_column name DEFAULT NULL,
        payload_column name DEFAULT NULL,
        writers text DEFAULT NULL,
        unversioned text DEFAULT NULL,
        versions text DEFAULT NULL,
        ignore_columns name[] DEFAULT NULL,
        version_path text[] DEFAULT NULL,
        enforce text DEFAULT NULL,
        big_numbers text DEFAULT NULL)
    RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_enable(regclass, name, name, text, text, text, name[], text[], text, text) IS
    'puts a table under compare-and-swap, or changes the settings that are given; version_column: by default resource_version, added if it is missing; writers: bump | echo, unversioned: allow | reject, versions: row | table, enforce: error | warn, big_numbers: number | string, by default the first; raises 42501 unless the caller owns the table, 22023 for invalid values, 42809 if it is not a table that can be guarded, 55000 without a primary key, with a trigger that fires after the guard or for another version column, 23502 if versions are null, 22003 if they are negative';

CREATE FUNCTION cas_disable(rel regclass) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_disable(regclass) IS
    'removes the guard from a table; keeps its version column, and the sequence of versions => ''table''; raises 42501 unless the caller owns the table, PT400 if it has no guard';

CREATE FUNCTION cas_internal.cas_table_settings(
        rel regclass,
        OUT version_column name, OUT payload_column name, OUT writers text,
        OUT unversioned text, OUT versions text, OUT ignore_columns name[],
        OUT version_path text[], OUT enforce text, OUT big_numbers text,
        OUT problem text)
    RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_internal.cas_table_settings(regclass) IS
    'internal: the settings and problems of a guarded table or partition, for the view cas_tables';

CREATE VIEW cas_tables AS
    SELECT t.tgrelid::pg_catalog.regclass AS rel,
           s.version_column, s.payload_column, s.writers, s.unversioned,
           s.versions, s.ignore_columns, s.version_path, s.enforce,
           s.big_numbers,
           pg_catalog.concat_ws('; ', s.problem, p.problem)
               OPERATOR(pg_catalog.||) CASE
               WHEN s.problem IS NULL AND p.problem IS NULL THEN NULL
               ELSE '' END AS problem
    FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid
    CROSS JOIN LATERAL cas_internal.cas_table_settings(t.tgrelid) AS s
    LEFT JOIN LATERAL (
        SELECT pg_catalog.string_agg(
                   pg_catalog.format('partition %s: %s', tree.relid, leaf.problem), '; ')
        FROM pg_catalog.pg_partition_tree(t.tgrelid) AS tree
        CROSS JOIN LATERAL cas_internal.cas_table_settings(tree.relid) AS leaf
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
    'the guarded tables that the role has a privilege on (members of pg_monitor see all), with their settings and problems (null if there are none)';
GRANT SELECT ON cas_tables TO PUBLIC;

CREATE FUNCTION cas_internal.cas_reached() RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_internal.cas_reached() IS
    'internal: returns false and records that it was called, to find out whether policies let a DELETE see a row';

-- 1.2 Reading and locking.  Every function with an id exists in two forms:
-- literals, varchar and untyped parameters resolve to the first, ids of the
-- key's own type to the second.

CREATE FUNCTION cas_get(rel regclass, id text)
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION cas_get(regclass, text) IS
    'reads a row by its id and returns 0 or 1 row; payload is null without SELECT on it; raises PT400 if the table is not under compare-and-swap';
CREATE FUNCTION cas_get(rel regclass, id anyelement)
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION cas_get(regclass, anyelement) IS
    'reads a row by its id and returns 0 or 1 row; payload is null without SELECT on it; raises PT400 if the table is not under compare-and-swap';

-- An untyped array, such as a literal or a driver's parameter, resolves to text.
-- Without the form for varchar[], a varchar[] would be ambiguous.
CREATE FUNCTION cas_lock(rel regclass, ids text[], mode text DEFAULT 'update')
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION cas_lock(regclass, text[], text) IS
    'locks rows until the end of the transaction, in the order of their keys, and returns them as read under the lock; missing rows are left out; mode: update | share';
CREATE FUNCTION cas_lock(rel regclass, ids text, mode text DEFAULT 'update')
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION cas_lock(regclass, text, text) IS
    'locks rows until the end of the transaction, in the order of their keys, and returns them as read under the lock; missing rows are left out; mode: update | share';
CREATE FUNCTION cas_lock(rel regclass, ids varchar[], mode text DEFAULT 'update')
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION cas_lock(regclass, varchar[], text) IS
    'locks rows until the end of the transaction, in the order of their keys, and returns them as read under the lock; missing rows are left out; mode: update | share';
CREATE FUNCTION cas_lock(rel regclass, ids anyarray, mode text DEFAULT 'update')
    RETURNS SETOF cas_row
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION cas_lock(regclass, anyarray, text) IS
    'locks rows until the end of the transaction, in the order of their keys, and returns them as read under the lock; missing rows are left out; mode: update | share';

-- 1.3 Swaps: the forms that return the version, or raise an error

CREATE FUNCTION cas_create(rel regclass, id text, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_create(regclass, text, jsonb) IS
    'creates a row and returns its version; if id is null, the key''s default is used; raises 23505 if the id is taken';
CREATE FUNCTION cas_create(rel regclass, id anyelement, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_create(regclass, anyelement, jsonb) IS
    'creates a row and returns its version; if id is null, the key''s default is used; raises 23505 if the id is taken';
CREATE FUNCTION cas_update(rel regclass, id text, expected_version bigint, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_update(regclass, text, bigint, jsonb) IS
    'replaces a row''s payload if the row has the expected version; returns the new version, or the current one if nothing changed; raises PT404 if the row is missing, PT409 if it has another version';
CREATE FUNCTION cas_update(rel regclass, id anyelement, expected_version bigint, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_update(regclass, anyelement, bigint, jsonb) IS
    'replaces a row''s payload if the row has the expected version; returns the new version, or the current one if nothing changed; raises PT404 if the row is missing, PT409 if it has another version';
CREATE FUNCTION cas_patch(rel regclass, id text, expected_version bigint, patch jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_patch(regclass, text, bigint, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload if the row has the expected version; returns the new version, or the current one if nothing changed; raises PT404 if the row is missing, PT409 if it has another version';
CREATE FUNCTION cas_patch(rel regclass, id anyelement, expected_version bigint, patch jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_patch(regclass, anyelement, bigint, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload if the row has the expected version; returns the new version, or the current one if nothing changed; raises PT404 if the row is missing, PT409 if it has another version';
CREATE FUNCTION cas_delete(rel regclass, id text, expected_version bigint)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_delete(regclass, text, bigint) IS
    'deletes a row if it has the expected version; returns the version that was deleted; raises PT404 if the row is missing, PT409 if it has another version';
CREATE FUNCTION cas_delete(rel regclass, id anyelement, expected_version bigint)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_delete(regclass, anyelement, bigint) IS
    'deletes a row if it has the expected version; returns the version that was deleted; raises PT404 if the row is missing, PT409 if it has another version';
CREATE FUNCTION cas_rename(rel regclass, id text, expected_version bigint, new_id text)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_rename(regclass, text, bigint, text) IS
    'gives a row another id if it has the expected version; returns the new version; raises PT404 if the row is missing, PT409 if it has another version, 23505 if a row has the new id, even if it is the row itself';
CREATE FUNCTION cas_rename(rel regclass, id anyelement, expected_version bigint, new_id anyelement)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_rename(regclass, anyelement, bigint, anyelement) IS
    'gives a row another id if it has the expected version; returns the new version; raises PT404 if the row is missing, PT409 if it has another version, 23505 if a row has the new id, even if it is the row itself';

-- Writes without an expected version: the row is read under its lock

CREATE FUNCTION cas_merge(rel regclass, id text, patch jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_merge(regclass, text, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload under the row''s lock; returns the version; raises PT404 if the row is missing';
CREATE FUNCTION cas_merge(rel regclass, id anyelement, patch jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_merge(regclass, anyelement, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload under the row''s lock; returns the version; raises PT404 if the row is missing';
CREATE FUNCTION cas_apply(rel regclass, id text, fn regprocedure, args jsonb DEFAULT NULL)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_apply(regclass, text, regprocedure, jsonb) IS
    'replaces a row''s payload by fn(payload jsonb, args jsonb) under the row''s lock; fn runs once, with the caller''s rights; returns the version; raises PT404 if the row is missing, 42501 without EXECUTE on fn';
CREATE FUNCTION cas_apply(rel regclass, id anyelement, fn regprocedure, args jsonb DEFAULT NULL)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_apply(regclass, anyelement, regprocedure, jsonb) IS
    'replaces a row''s payload by fn(payload jsonb, args jsonb) under the row''s lock; fn runs once, with the caller''s rights; returns the version; raises PT404 if the row is missing, 42501 without EXECUTE on fn';
CREATE FUNCTION cas_put(rel regclass, id text, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_put(regclass, text, jsonb) IS
    'creates a row, or replaces its payload; returns the version';
CREATE FUNCTION cas_put(rel regclass, id anyelement, payload jsonb)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_put(regclass, anyelement, jsonb) IS
    'creates a row, or replaces its payload; returns the version';

-- The forms that return an outcome and the row

CREATE FUNCTION cas_try_create(rel regclass, id text, payload jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_create(regclass, text, jsonb) IS
    'creates a row; if id is null, the key''s default is used; outcome: created | exists, with the row as written or, if nothing was written, as it is now';
CREATE FUNCTION cas_try_create(rel regclass, id anyelement, payload jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_create(regclass, anyelement, jsonb) IS
    'creates a row; if id is null, the key''s default is used; outcome: created | exists, with the row as written or, if nothing was written, as it is now';
CREATE FUNCTION cas_try_update(rel regclass, id text, expected_version bigint, payload jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_update(regclass, text, bigint, jsonb) IS
    'replaces a row''s payload if the row has the expected version; outcome: updated | unchanged | conflict | missing, with the row as written or, if nothing was written, as it is now';
CREATE FUNCTION cas_try_update(rel regclass, id anyelement, expected_version bigint, payload jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_update(regclass, anyelement, bigint, jsonb) IS
    'replaces a row''s payload if the row has the expected version; outcome: updated | unchanged | conflict | missing, with the row as written or, if nothing was written, as it is now';
CREATE FUNCTION cas_try_patch(rel regclass, id text, expected_version bigint, patch jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_patch(regclass, text, bigint, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload if the row has the expected version; outcome: updated | unchanged | conflict | missing, with the row as written or, if nothing was written, as it is now';
CREATE FUNCTION cas_try_patch(rel regclass, id anyelement, expected_version bigint, patch jsonb)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_patch(regclass, anyelement, bigint, jsonb) IS
    'merges a patch (RFC 7396) into a row''s payload if the row has the expected version; outcome: updated | unchanged | conflict | missing, with the row as written or, if nothing was written, as it is now';
CREATE FUNCTION cas_try_delete(rel regclass, id text, expected_version bigint)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_delete(regclass, text, bigint) IS
    'deletes a row if it has the expected version; outcome: deleted | conflict | missing, with the row as it was or, if nothing was deleted, as it is now';
CREATE FUNCTION cas_try_delete(rel regclass, id anyelement, expected_version bigint)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_delete(regclass, anyelement, bigint) IS
    'deletes a row if it has the expected version; outcome: deleted | conflict | missing, with the row as it was or, if nothing was deleted, as it is now';
CREATE FUNCTION cas_try_rename(rel regclass, id text, expected_version bigint, new_id text)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_rename(regclass, text, bigint, text) IS
    'gives a row another id if it has the expected version; outcome: renamed | conflict | missing | exists, with the row as written or, if nothing was written, as it is now';
CREATE FUNCTION cas_try_rename(rel regclass, id anyelement, expected_version bigint, new_id anyelement)
    RETURNS cas_result
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_try_rename(regclass, anyelement, bigint, anyelement) IS
    'gives a row another id if it has the expected version; outcome: renamed | conflict | missing | exists, with the row as written or, if nothing was written, as it is now';

-- 1.4 Many rows at once

CREATE FUNCTION cas_txn(compare jsonb, success jsonb, failure jsonb DEFAULT '[]')
    RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_txn(jsonb, jsonb, jsonb) IS
    'locks all rows named, evaluates the comparisons, and runs the operations of success if all hold, otherwise those of failure, all or none; returns {"succeeded", "compare": [{"table", "id", "ok", "version"}], "results": [{"op", "table", "id", "outcome", "version"}]}; raises 22023 for a malformed request, or the SQLSTATE of the operation that fails; DETAIL has the position';

