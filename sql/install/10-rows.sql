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
    'puts a table under compare-and-swap, or changes those of its settings that are given; for its owner (42501); version_column: resource_version if not given, added if it is missing; writers: bump | echo, unversioned: allow | reject, versions: row | table, enforce: error | warn, big_numbers: number | string, the first by default; 22023 for other words, 42809 for what is no such table, 55000 without a primary key, with a trigger that fires after the guard or for another version column, 23502 for versions that are null, 22003 for negative ones';

CREATE FUNCTION cas_disable(rel regclass) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_disable(regclass) IS
    'removes the guard from a table and keeps its version column, and the sequence of versions => ''table''; for its owner (42501); PT400 if it has none';

CREATE FUNCTION cas_internal.cas_table_settings(
        rel regclass,
        OUT version_column name, OUT payload_column name, OUT writers text,
        OUT unversioned text, OUT versions text, OUT ignore_columns name[],
        OUT version_path text[], OUT enforce text, OUT big_numbers text,
        OUT problem text)
    RETURNS record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_internal.cas_table_settings(regclass) IS
    'internal: the settings of a guarded table or partition, and what is wrong with it; the view cas_tables is made of it';

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
    'the guarded tables that the role has a privilege on (pg_monitor: all), their settings, and what is wrong with them (problem; null: nothing)';
GRANT SELECT ON cas_tables TO PUBLIC;

CREATE FUNCTION cas_internal.cas_reached() RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_internal.cas_reached() IS
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

