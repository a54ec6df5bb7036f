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
-- The tables are the functions' own: nobody has rights on them but the role
-- that installs the extension.  src/alloc/store.c says what the rows of
-- alloc_slot mean and which constraints are the truth.
--
CREATE TABLE alloc_pool (
    id         integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    name       text COLLATE "C" NOT NULL UNIQUE,
    kind       text NOT NULL CHECK (kind IN ('ip', 'prefix', 'int')),
    strategy   text NOT NULL CHECK (strategy IN ('any', 'lowest', 'random')),
    cooldown   interval NOT NULL,
    port_chunk integer,
    family     integer,
    owner      regrole NOT NULL,
    granted    regrole[] NOT NULL DEFAULT '{}',
    epoch      bigint NOT NULL DEFAULT 1
);
COMMENT ON TABLE alloc_pool IS
    'pools; read them through the view alloc_pools';

CREATE FUNCTION alloc_pool_changed() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_pool_changed() IS
    'private: tells all backends that a pool has changed';
CREATE TRIGGER alloc_pool_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON alloc_pool
    EXECUTE FUNCTION alloc_pool_changed();
ALTER TABLE alloc_pool ENABLE ALWAYS TRIGGER alloc_pool_changed;

-- Values, as numbers; base is the slot of the first one (src/alloc/space.c).
CREATE TABLE alloc_range (
    id       integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    pool     integer NOT NULL REFERENCES alloc_pool ON DELETE CASCADE,
    first    numeric NOT NULL,
    last     numeric NOT NULL CHECK (last >= first),
    base     numeric NOT NULL,
    draining boolean NOT NULL DEFAULT false,
    CONSTRAINT alloc_range_overlap EXCLUDE USING gist
        (pg_catalog.int4range(pool, pool, '[]') WITH OPERATOR(pg_catalog.&&),
         pg_catalog.numrange(first, last, '[]') WITH OPERATOR(pg_catalog.&&))
);
CREATE INDEX alloc_range_pool ON alloc_range (pool, first);
COMMENT ON TABLE alloc_range IS 'the ranges that pools consist of';

CREATE TABLE alloc_reserved (
    pool  integer NOT NULL REFERENCES alloc_pool ON DELETE CASCADE,
    first numeric NOT NULL,
    last  numeric NOT NULL CHECK (last >= first),
    note  jsonb,
    PRIMARY KEY (pool, first),
    CONSTRAINT alloc_reserved_overlap EXCLUDE USING gist
        (pg_catalog.int4range(pool, pool, '[]') WITH OPERATOR(pg_catalog.&&),
         pg_catalog.numrange(first, last, '[]') WITH OPERATOR(pg_catalog.&&))
);
COMMENT ON TABLE alloc_reserved IS 'values that pools do not give out';

-- lo and rank are PLAIN so that comparing them in an index does not copy them.
CREATE TABLE alloc_slot (
    pool         integer NOT NULL,
    lo           numeric NOT NULL,
    ord          smallint NOT NULL,
    turn         smallint NOT NULL DEFAULT 0,
    key          uuid,
    generation   bigint,
    allocated_at timestamptz,
    expires_at   timestamptz,
    note         jsonb,
    rank         numeric,
    span         numrange,
    PRIMARY KEY (pool, lo),
    CONSTRAINT alloc_slot_span EXCLUDE USING gist
        (pg_catalog.int4range(pool, pool, '[]') WITH OPERATOR(pg_catalog.&&),
         span WITH OPERATOR(pg_catalog.&&))
        WHERE (span IS NOT NULL)
);
ALTER TABLE alloc_slot ALTER lo SET STORAGE PLAIN, ALTER rank SET STORAGE PLAIN;
CREATE UNIQUE INDEX alloc_slot_key ON alloc_slot (pool, key, turn)
    WHERE key IS NOT NULL;
CREATE INDEX alloc_slot_rank ON alloc_slot (pool, rank)
    WHERE rank IS NOT NULL;
CREATE INDEX alloc_slot_expiry ON alloc_slot (pool, expires_at)
    WHERE expires_at IS NOT NULL AND rank IS NULL;
COMMENT ON TABLE alloc_slot IS
    'units: held by a key, cooling, or waiting to be given out again';

CREATE TABLE alloc_frontier (
    range   integer PRIMARY KEY REFERENCES alloc_range ON DELETE CASCADE,
    slot    numeric NOT NULL,
    pending numeric[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE alloc_frontier IS
    'an accelerator: every slot of the range before this one has a row, or is pending (first, last, first, last, ...)';

CREATE TABLE alloc_past (
    pool         integer NOT NULL,
    value        text NOT NULL,
    key          uuid NOT NULL,
    generation   bigint NOT NULL,
    allocated_at timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL,
    reason       text NOT NULL
);
CREATE INDEX alloc_past_ended ON alloc_past (ended_at);
ALTER TABLE alloc_past REPLICA IDENTITY FULL;
COMMENT ON TABLE alloc_past IS 'units that were held, and when';

CREATE SEQUENCE alloc_generation;
COMMENT ON SEQUENCE alloc_generation IS 'numbers every allocation made';


-- What pg_dump carries along.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alloc_pool', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alloc_range', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alloc_reserved', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alloc_slot', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alloc_frontier', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alloc_past', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alloc_generation', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alloc_pool_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alloc_range_id_seq', '');

CREATE TYPE alloc_unit AS (
    pool text, key uuid, value text, address inet, ports int4range, kind text,
    generation bigint, allocated_at timestamptz, expires_at timestamptz,
    note jsonb);
COMMENT ON TYPE alloc_unit IS
    'a unit that a key holds; kind is ip, ports, prefix or int, expires_at null for good';

CREATE TYPE alloc_result AS (
    outcome text, value text, generation bigint, ready_at timestamptz);
COMMENT ON TYPE alloc_result IS
    'what a try form answers: allocated, held, exhausted, cooling (until ready_at), fragmented, taken or reused';

CREATE TYPE alloc_port_range AS (
    address inet, first_port integer, last_port integer);
COMMENT ON TYPE alloc_port_range IS 'a chunk of the ports of an address';

-- Pools

CREATE FUNCTION alloc_pool_create(pool text, ranges text[],
    kind text DEFAULT 'ip', strategy text DEFAULT 'any',
    cooldown interval DEFAULT '0', port_chunk integer DEFAULT NULL)
    RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_pool_create(text, text[], text, text, interval, integer) IS
    'make a pool of kind ip, prefix or int that the calling role owns; strategy any, lowest or random; 23505 if it exists, 23P01 if ranges overlap';

CREATE FUNCTION alloc_pool_set(pool text, strategy text DEFAULT NULL,
    cooldown interval DEFAULT NULL, owner regrole DEFAULT NULL)
    RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_pool_set(text, text, interval, regrole) IS
    'change what is not null';

CREATE FUNCTION alloc_pool_grow(pool text, range text)
    RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_pool_grow(text, text) IS
    'add a range, or undo the draining of one; 23P01 if it overlaps';

CREATE FUNCTION alloc_pool_shrink(pool text, range text,
    drain boolean DEFAULT false)
    RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_pool_shrink(text, text, boolean) IS
    'take a range away; 55006 while it has allocations, unless drain: then nothing more of it is given out, and it is gone with its last unit';

CREATE FUNCTION alloc_pool_drop(pool text)
    RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_pool_drop(text) IS
    'drop a pool with its history; 55006 while it has allocations';

CREATE FUNCTION alloc_reserve(pool text, range text, note jsonb DEFAULT NULL)
    RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_reserve(text, text, jsonb) IS
    'give nothing more out of this range; units that are held in it stay so; 23P01 if it overlaps with another reservation';

CREATE FUNCTION alloc_unreserve(pool text, range text)
    RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_unreserve(text, text) IS
    'undo the reservation of exactly this range; PT404 if there is none';

CREATE FUNCTION alloc_grant(pool text, role regrole)
    RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_grant(text, regrole) IS
    'let a role and its members allocate, release and look';

CREATE FUNCTION alloc_revoke(pool text, role regrole)
    RETURNS void AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_revoke(text, regrole) IS
    'undo alloc_grant';

-- Units

CREATE FUNCTION alloc_ip(pool text, key uuid, address inet DEFAULT NULL,
    ttl interval DEFAULT NULL, note jsonb DEFAULT NULL)
    RETURNS inet AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_ip(text, uuid, inet, interval, jsonb) IS
    'the address that the key has, or now gets; PT507 exhausted, PT409 address taken, PT422 key used for another request';

CREATE FUNCTION alloc_ports(pool text, key uuid, ttl interval DEFAULT NULL,
    note jsonb DEFAULT NULL)
    RETURNS alloc_port_range AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_ports(text, uuid, interval, jsonb) IS
    'the chunk of ports that the key has, or now gets; PT507, PT422 as alloc_ip';

CREATE FUNCTION alloc_prefix(pool text, key uuid, masklen integer,
    prefix cidr DEFAULT NULL, ttl interval DEFAULT NULL,
    note jsonb DEFAULT NULL)
    RETURNS cidr AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_prefix(text, uuid, integer, cidr, interval, jsonb) IS
    'the prefix of this length that the key has, or now gets; PT507, PT409, PT422 as alloc_ip';

CREATE FUNCTION alloc_int(pool text, key uuid, value bigint DEFAULT NULL,
    ttl interval DEFAULT NULL, note jsonb DEFAULT NULL)
    RETURNS bigint AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_int(text, uuid, bigint, interval, jsonb) IS
    'the number that the key has, or now gets; PT507, PT409, PT422 as alloc_ip';

CREATE FUNCTION alloc_try_ip(pool text, key uuid, address inet DEFAULT NULL,
    ttl interval DEFAULT NULL, note jsonb DEFAULT NULL)
    RETURNS alloc_result AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_try_ip(text, uuid, inet, interval, jsonb) IS
    'alloc_ip, with an outcome instead of an error';

CREATE FUNCTION alloc_try_ports(pool text, key uuid,
    ttl interval DEFAULT NULL, note jsonb DEFAULT NULL)
    RETURNS alloc_result AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_try_ports(text, uuid, interval, jsonb) IS
    'alloc_ports, with an outcome instead of an error';

CREATE FUNCTION alloc_try_prefix(pool text, key uuid, masklen integer,
    prefix cidr DEFAULT NULL, ttl interval DEFAULT NULL,
    note jsonb DEFAULT NULL)
    RETURNS alloc_result AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_try_prefix(text, uuid, integer, cidr, interval, jsonb) IS
    'alloc_prefix, with an outcome instead of an error';

CREATE FUNCTION alloc_try_int(pool text, key uuid, value bigint DEFAULT NULL,
    ttl interval DEFAULT NULL, note jsonb DEFAULT NULL)
    RETURNS alloc_result AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_try_int(text, uuid, bigint, interval, jsonb) IS
    'alloc_int, with an outcome instead of an error';

CREATE FUNCTION alloc_many(pool text, keys uuid[],
    masklen integer DEFAULT NULL, ttl interval DEFAULT NULL,
    note jsonb DEFAULT NULL)
    RETURNS SETOF alloc_unit AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_many(text, uuid[], integer, interval, jsonb) IS
    'a unit for every key, in the order asked, or none for any';

CREATE FUNCTION alloc_release(pool text, key uuid,
    generation bigint DEFAULT NULL)
    RETURNS boolean AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_release(text, uuid, bigint) IS
    'give the key''s unit back; false if it has none, PT412 if generation is older than the present one';

CREATE FUNCTION alloc_renew(pool text, key uuid, ttl interval,
    generation bigint DEFAULT NULL)
    RETURNS timestamptz AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_renew(text, uuid, interval, bigint) IS
    'let the key''s unit run out ttl from now, or if null, never; PT404 if it has none, PT412 as alloc_release';

CREATE FUNCTION alloc_get(pool text, key uuid)
    RETURNS SETOF alloc_unit AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_get(text, uuid) IS
    'the key''s unit, or no row';

CREATE FUNCTION alloc_find(pool text, value text, port integer DEFAULT NULL)
    RETURNS SETOF alloc_unit AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_find(text, text, integer) IS
    'who has this address, number or part of this prefix; port narrows it to one chunk';

-- What a block is called, for the views; and a range.
CREATE FUNCTION alloc_describe(kind text, family integer, port_chunk integer,
    first numeric, last numeric, base numeric, lo numeric, ord smallint,
    OUT value text, OUT address inet, OUT ports int4range, OUT unit_kind text)
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION alloc_describe(text, integer, integer, numeric, numeric, numeric, numeric, smallint) IS
    'serves the view alloc_units';

CREATE FUNCTION alloc_range_text(family integer, first numeric, last numeric)
    RETURNS text AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION alloc_range_text(integer, numeric, numeric) IS
    'serves the view alloc_pools';

-- Views.  They are read with their owner's rights, and show what the caller
-- may see.

CREATE VIEW alloc_range_slots AS
    SELECT r.pool, r.id, r.first, r.last, r.base, r.draining,
           r.base AS slot_first,
           r.base OPERATOR(pg_catalog.+)
               (((r.last OPERATOR(pg_catalog.-) r.first) OPERATOR(pg_catalog.+) 1::numeric)
                OPERATOR(pg_catalog.*) n.chunks)
               OPERATOR(pg_catalog.-) 1::numeric AS slot_last,
           n.chunks, p.kind, p.family, p.port_chunk
    FROM @extschema@.alloc_range AS r
    JOIN @extschema@.alloc_pool AS p ON p.id OPERATOR(pg_catalog.=) r.pool,
    LATERAL (SELECT COALESCE(65536 OPERATOR(pg_catalog./) p.port_chunk, 1)::numeric AS chunks) AS n;
COMMENT ON VIEW alloc_range_slots IS
    'private: the slots that each range''s values have';

CREATE VIEW alloc_visible WITH (security_barrier) AS
    SELECT p.*
    FROM @extschema@.alloc_pool AS p
    WHERE pg_catalog.pg_has_role(p.owner::oid, 'USAGE')
       OR pg_catalog.pg_has_role('pg_monitor', 'USAGE')
       OR EXISTS (SELECT 1 FROM pg_catalog.unnest(p.granted) AS g(role)
                  WHERE pg_catalog.pg_has_role(g.role::oid, 'USAGE'));
COMMENT ON VIEW alloc_visible IS
    'private: the pools that the calling role may see';

CREATE VIEW alloc_pools WITH (security_barrier) AS
    SELECT p.name AS pool, p.kind, p.strategy, p.cooldown, p.port_chunk,
           p.owner, p.granted,
           ARRAY(SELECT @extschema@.alloc_range_text(p.family, r.first, r.last)
                 FROM @extschema@.alloc_range AS r
                 WHERE r.pool OPERATOR(pg_catalog.=) p.id AND NOT r.draining
                 ORDER BY r.first) AS ranges,
           ARRAY(SELECT @extschema@.alloc_range_text(p.family, r.first, r.last)
                 FROM @extschema@.alloc_range_slots AS r
                 WHERE r.pool OPERATOR(pg_catalog.=) p.id AND r.draining
                   AND EXISTS (SELECT 1 FROM @extschema@.alloc_slot AS s
                               WHERE s.pool OPERATOR(pg_catalog.=) r.pool
                                 AND s.lo OPERATOR(pg_catalog.>=) r.slot_first
                                 AND s.lo OPERATOR(pg_catalog.<=) r.slot_last
                                 AND s.key IS NOT NULL)
                 ORDER BY r.first) AS draining,
           ARRAY(SELECT @extschema@.alloc_range_text(p.family, v.first, v.last)
                 FROM @extschema@.alloc_reserved AS v
                 WHERE v.pool OPERATOR(pg_catalog.=) p.id
                 ORDER BY v.first) AS reserved
    FROM @extschema@.alloc_visible AS p;
COMMENT ON VIEW alloc_pools IS
    'the pools that the calling role may see, and what they consist of';

CREATE VIEW alloc_units WITH (security_barrier) AS
    SELECT p.name AS pool, s.key, d.value, d.address, d.ports,
           d.unit_kind AS kind, s.generation, s.allocated_at, s.expires_at,
           s.note
    FROM @extschema@.alloc_visible AS p
    JOIN @extschema@.alloc_range_slots AS r ON r.pool OPERATOR(pg_catalog.=) p.id
    JOIN @extschema@.alloc_slot AS s ON s.pool OPERATOR(pg_catalog.=) r.pool
        AND s.lo OPERATOR(pg_catalog.>=) r.slot_first
        AND s.lo OPERATOR(pg_catalog.<=) r.slot_last,
    LATERAL @extschema@.alloc_describe(p.kind, p.family, p.port_chunk,
        r.first, r.last, r.base, s.lo, s.ord) AS d
    WHERE s.key IS NOT NULL
      AND (s.expires_at IS NULL
           OR s.expires_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp());
COMMENT ON VIEW alloc_units IS
    'the units that are held in the pools that the calling role may see';

CREATE VIEW alloc_history WITH (security_barrier) AS
    SELECT p.name AS pool, h.value, h.key, h.generation,
           pg_catalog.tstzrange(h.allocated_at, h.ended_at) AS during,
           h.reason
    FROM @extschema@.alloc_visible AS p
    JOIN @extschema@.alloc_past AS h ON h.pool OPERATOR(pg_catalog.=) p.id;
COMMENT ON VIEW alloc_history IS
    'who had which unit when, up to its end (reason released or expired); kept for pg_cas.history_retention';

GRANT SELECT ON alloc_pools, alloc_units, alloc_history TO PUBLIC;

-- Looking at a pool as a whole.  These run as the owner, with pg_catalog as
-- search_path, called by the C function that has checked the caller.

CREATE FUNCTION alloc_usage_of(pools integer[])
    RETURNS TABLE (pool text, capacity numeric, reserved numeric,
                   allocated numeric, cooling numeric, free numeric,
                   chunks_free numeric, percent_used numeric)
    LANGUAGE sql AS $$
    WITH slots AS (
        -- one line for each address that a row is about, or block of them
        SELECT r.pool, r.id AS range, div(s.lo, r.chunks) AS address,
               max(CASE WHEN r.chunks > 1 THEN 1 ELSE trunc(power(2::numeric, s.ord)) END) AS addresses,
               sum(trunc(power(2::numeric, s.ord))) AS slots,
               bool_or(s.key IS NOT NULL) AS held,
               bool_or(EXISTS (
                   SELECT 1 FROM @extschema@.alloc_reserved AS v
                   WHERE v.pool = r.pool
                     AND r.first + div(s.lo - r.base, r.chunks) BETWEEN v.first AND v.last)) AS reserved
        FROM @extschema@.alloc_range_slots AS r
        JOIN @extschema@.alloc_slot AS s
          ON s.pool = r.pool AND s.lo BETWEEN r.slot_first AND r.slot_last
        WHERE r.pool = ANY (pools)
          AND CASE WHEN s.key IS NULL THEN s.expires_at > clock_timestamp()
                   ELSE coalesce(s.expires_at > clock_timestamp(), true) END
        GROUP BY 1, 2, 3
    ), ranges AS (
        SELECT r.pool, r.id, r.draining, r.chunks,
               r.last - r.first + 1 AS size,
               coalesce((SELECT sum(least(r.last, v.last) - greatest(r.first, v.first) + 1)
                         FROM @extschema@.alloc_reserved AS v
                         WHERE v.pool = r.pool AND v.first <= r.last AND v.last >= r.first), 0) AS reserved
        FROM @extschema@.alloc_range_slots AS r
        WHERE r.pool = ANY (pools)
    ), used AS (
        SELECT s.range,
               coalesce(sum(addresses) FILTER (WHERE held), 0) AS allocated,
               coalesce(sum(addresses) FILTER (WHERE NOT held), 0) AS cooling,
               coalesce(sum(addresses) FILTER (WHERE s.reserved), 0) AS reserved,
               coalesce(sum(slots) FILTER (WHERE NOT s.reserved), 0) AS slots
        FROM slots AS s
        GROUP BY 1
    ), sums AS (
        SELECT r.pool, r.chunks,
               CASE WHEN r.draining THEN coalesce(u.allocated, 0) ELSE r.size END AS capacity,
               CASE WHEN r.draining THEN 0 ELSE r.reserved - coalesce(u.reserved, 0) END AS reserved,
               coalesce(u.allocated, 0) AS allocated,
               CASE WHEN r.draining THEN 0 ELSE coalesce(u.cooling, 0) END AS cooling,
               CASE WHEN r.draining THEN 0
                    ELSE (r.size - r.reserved) * r.chunks - coalesce(u.slots, 0) END AS slots_free
        FROM ranges AS r
        LEFT JOIN used AS u ON u.range = r.id
    )
    SELECT p.name, coalesce(sum(s.capacity), 0), coalesce(sum(s.reserved), 0),
           coalesce(sum(s.allocated), 0), coalesce(sum(s.cooling), 0),
           coalesce(sum(s.capacity - s.reserved - s.allocated - s.cooling), 0),
           CASE WHEN p.port_chunk IS NOT NULL THEN coalesce(sum(s.slots_free), 0) END,
           round(100 * coalesce(sum(s.allocated), 0) / nullif(sum(s.capacity), 0), 2)
    FROM @extschema@.alloc_pool AS p
    LEFT JOIN sums AS s ON s.pool = p.id
    WHERE p.id = ANY (pools)
    GROUP BY p.id
    ORDER BY p.name
    $$;
COMMENT ON FUNCTION alloc_usage_of(integer[]) IS 'private: serves alloc_usage';

CREATE FUNCTION alloc_usage(pool text DEFAULT NULL)
    RETURNS TABLE (pool text, capacity numeric, reserved numeric,
                   allocated numeric, cooling numeric, free numeric,
                   chunks_free numeric, percent_used numeric)
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_usage(text) IS
    'a pool''s fill, or that of all visible ones, in addresses or numbers; chunks_free in chunks';

CREATE FUNCTION alloc_map_of(pools integer[]) RETURNS SETOF text
    LANGUAGE sql AS $$
    -- each range in up to eight lines of 64 cells
    WITH ranges AS (
        SELECT r.*, p.name, slot_last - slot_first + 1 AS size,
               least(512, slot_last - slot_first + 1)::integer AS cells
        FROM @extschema@.alloc_range_slots AS r
        JOIN @extschema@.alloc_pool AS p ON p.id = r.pool
        WHERE r.pool = ANY (pools)
    ), filled AS (
        SELECT r.id, c.cell,
               sum(least(s.lo + trunc(power(2::numeric, s.ord)), c.upper)
                   - greatest(s.lo, c.lower)) / (c.upper - c.lower) AS share
        FROM ranges AS r
        JOIN @extschema@.alloc_slot AS s
          ON s.pool = r.pool AND s.lo BETWEEN r.slot_first AND r.slot_last
         AND s.key IS NOT NULL
         AND coalesce(s.expires_at > clock_timestamp(), true),
        LATERAL generate_series(
            div((s.lo - r.base) * r.cells, r.size),
            div((s.lo + trunc(power(2::numeric, s.ord)) - 1 - r.base) * r.cells, r.size)) AS g(cell),
        LATERAL (SELECT g.cell::integer,
                        r.base + ceil(g.cell * r.size / r.cells) AS lower,
                        r.base + ceil((g.cell + 1) * r.size / r.cells) AS upper) AS c
        GROUP BY r.id, c.cell, c.lower, c.upper
    ), lines AS (
        SELECT r.first, (c - 1) / 64 AS line,
               '  ' || string_agg(CASE WHEN f.share IS NULL THEN '.'
                                       WHEN f.share < 0.5 THEN '-'
                                       WHEN f.share < 1 THEN '+'
                                       ELSE '#' END, '' ORDER BY c) AS drawn
        FROM ranges AS r
        CROSS JOIN LATERAL generate_series(1, r.cells) AS c
        LEFT JOIN filled AS f ON f.id = r.id AND f.cell = c - 1
        GROUP BY 1, 2
        UNION ALL
        SELECT first, -1, @extschema@.alloc_range_text(family, first, last)
               || CASE WHEN draining THEN ' (draining)' ELSE '' END
        FROM ranges
    )
    SELECT drawn FROM lines ORDER BY first, line
    $$;
COMMENT ON FUNCTION alloc_map_of(integer[]) IS 'private: serves alloc_map';

CREATE FUNCTION alloc_map(pool text) RETURNS SETOF text
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_map(text) IS
    'the pool''s fill drawn for people: . nothing, - less than half, + more, # all allocated';

-- Where in the queue each waiting row of a pool should stand.
CREATE FUNCTION alloc_ranks(of_pool integer)
    RETURNS TABLE (lo numeric, rank numeric)
    LANGUAGE sql AS $$
    SELECT s.lo,
           CASE WHEN p.strategy = 'lowest' THEN s.lo
                ELSE greatest(0, trunc((extract(epoch FROM s.expires_at) - 946684800) * 1000000)) END
    FROM @extschema@.alloc_slot AS s
    JOIN @extschema@.alloc_pool AS p ON p.id = s.pool
    WHERE s.pool = of_pool AND s.key IS NULL
      AND p.kind <> 'prefix' AND p.port_chunk IS NULL
    $$;
COMMENT ON FUNCTION alloc_ranks(integer) IS
    'private: the order in which waiting units are given out again';

CREATE FUNCTION alloc_verify_of(pools integer[])
    RETURNS TABLE (pool text, problem text, detail text)
    LANGUAGE sql AS $$
    WITH p AS (
        SELECT id, name, kind, kind = 'prefix' OR port_chunk IS NOT NULL AS mixed
        FROM @extschema@.alloc_pool WHERE id = ANY (pools)
    ), blocks AS (
        SELECT p.name, p.mixed, s.*,
               s.lo + trunc(power(2::numeric, s.ord)) - 1 AS hi
        FROM p JOIN @extschema@.alloc_slot AS s ON s.pool = p.id
    ), problems AS (
        -- the truth
        SELECT name, 'overlap' AS problem, 'slots ' || before || ' and ' || lo AS detail
        FROM (SELECT *, lag(lo) OVER w AS before, max(hi) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_hi
              FROM blocks WINDOW w AS (PARTITION BY blocks.pool ORDER BY lo)) AS b
        WHERE before_hi >= lo
        UNION ALL
        SELECT name, 'key has several units', key::text
        FROM blocks
        WHERE key IS NOT NULL AND coalesce(expires_at > clock_timestamp(), true)
        GROUP BY name, key HAVING count(*) > 1
        UNION ALL
        SELECT name, 'outside of the pool''s ranges', 'slot ' || lo
        FROM blocks AS b
        WHERE NOT EXISTS (SELECT 1 FROM @extschema@.alloc_range_slots AS r
                          WHERE r.pool = b.pool AND b.lo >= r.slot_first
                            AND b.lo <= r.slot_last)
        UNION ALL
        SELECT name, 'unit of a wrong size', 'slot ' || lo
        FROM blocks WHERE ord < 0 OR mod(lo, hi - lo + 1) <> 0 OR (NOT mixed AND ord <> 0)
        UNION ALL
        SELECT name, 'incomplete row', 'slot ' || lo
        FROM blocks
        WHERE CASE WHEN key IS NULL THEN expires_at IS NULL
                   ELSE generation IS NULL OR allocated_at IS NULL END
        UNION ALL
        SELECT name, 'span does not match its slots', 'slot ' || lo
        FROM blocks
        WHERE span IS DISTINCT FROM CASE WHEN mixed THEN numrange(lo, hi, '[]') END
        UNION ALL
        SELECT p.name, 'ranges share slots', 'slot ' || r.slot_first
        FROM p JOIN @extschema@.alloc_range_slots AS r ON r.pool = p.id
        JOIN @extschema@.alloc_range_slots AS o ON o.pool = r.pool AND o.id < r.id
             AND o.slot_first <= r.slot_last AND o.slot_last >= r.slot_first
        UNION ALL
        -- the accelerators
        SELECT name, 'not in its place in the queue', 'slot ' || b.lo
        FROM blocks AS b
        LEFT JOIN (SELECT p.id, r.* FROM p, LATERAL @extschema@.alloc_ranks(p.id) AS r) AS r
          ON r.id = b.pool AND r.lo = b.lo
        WHERE b.rank IS DISTINCT FROM r.rank
        UNION ALL
        SELECT p.name, 'frontier is missing or outside of its range', 'range ' || r.id
        FROM p JOIN @extschema@.alloc_range_slots AS r ON r.pool = p.id
        LEFT JOIN @extschema@.alloc_frontier AS f ON f.range = r.id
        WHERE (f.range IS NULL) <> p.mixed
           OR f.slot < r.slot_first OR f.slot > r.slot_last + 1
        UNION ALL
        SELECT p.name, 'lost: slots before the frontier that have no row',
               (f.slot - r.slot_first - n.present - n.kept) || ' in range ' || r.id
        FROM p JOIN @extschema@.alloc_range_slots AS r ON r.pool = p.id AND NOT r.draining
        JOIN @extschema@.alloc_frontier AS f ON f.range = r.id,
        LATERAL (SELECT
            (SELECT count(*) FROM @extschema@.alloc_slot AS s
             WHERE s.pool = r.pool AND s.lo >= r.slot_first AND s.lo < f.slot) AS present,
            (SELECT coalesce(sum(upper(k) - lower(k) - (
                 SELECT count(*) FROM @extschema@.alloc_slot AS s
                 WHERE s.pool = r.pool AND s.lo >= lower(k) AND s.lo < upper(k))), 0)
             FROM unnest((
                 -- what is reserved or pending is not lost
                 SELECT range_agg(numrange(k.lower, least(f.slot, k.upper)))
                 FROM (SELECT r.base + greatest(v.first, r.first) - r.first,
                              r.base + least(v.last, r.last) - r.first + 1
                       FROM @extschema@.alloc_reserved AS v
                       WHERE v.pool = r.pool AND v.first <= r.last AND v.last >= r.first
                       UNION ALL
                       SELECT greatest(f.pending[2 * i - 1], r.slot_first),
                              f.pending[2 * i] + 1
                       FROM generate_series(1, cardinality(f.pending) / 2) AS i
                       WHERE f.pending[2 * i - 1] IS NOT NULL)
                     AS k(lower, upper)
                 WHERE k.upper > k.lower AND k.lower < f.slot)) AS k) AS kept) AS n
        WHERE f.slot - r.slot_first <> n.present + n.kept
    )
    SELECT * FROM problems ORDER BY 1, 2, 3
    $$;
COMMENT ON FUNCTION alloc_verify_of(integer[]) IS 'private: serves alloc_verify';

CREATE FUNCTION alloc_verify(pool text DEFAULT NULL)
    RETURNS TABLE (pool text, problem text, detail text)
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_verify(text) IS
    'what is wrong in a pool, or in all visible ones: no rows if it is sound';

CREATE FUNCTION alloc_rebuild(pool text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_rebuild(text) IS
    'recompute from the allocations what serves to find free units; others'' calls wait until it is committed';

CREATE FUNCTION alloc_reap(batch integer) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION alloc_reap(integer) IS
    'internal: the part of pg_cas_reap that is about allocation';
REVOKE EXECUTE ON FUNCTION alloc_reap(integer) FROM PUBLIC;

REVOKE EXECUTE ON FUNCTION alloc_usage_of(integer[]), alloc_map_of(integer[]),
    alloc_ranks(integer), alloc_verify_of(integer[]) FROM PUBLIC;

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

-- Each number is the last of so many fences: see fence.c.
CREATE SEQUENCE lock_fence INCREMENT 32 START 32;
COMMENT ON SEQUENCE lock_fence IS
    'internal: the source of the fences of all locks and leases';

-- Not lock_name: its rows are made anew, and why only these see names.c.
SELECT pg_catalog.pg_extension_config_dump('lease_state', 'WHERE holder IS NOT NULL');
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

-- An expression, not a text, goes along if the schema is renamed.
CREATE FUNCTION pg_cas_reap(batch integer DEFAULT 10000) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    RETURN @extschema@.alloc_reap($1)
        OPERATOR(pg_catalog.+) @extschema@.lock_reap($1)
        OPERATOR(pg_catalog.+) @extschema@.request_reap($1);
COMMENT ON FUNCTION pg_cas_reap(integer) IS
    'removes what is no longer of use, up to so many of each kind, and returns how many that were: units that have run out, old history, unused lock names, old requests';
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
