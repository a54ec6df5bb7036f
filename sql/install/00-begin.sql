/* pg_cas--1.0.sql: made by make from sql/install/ */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_cas" to load this file. \quit

-- What only the extension itself uses: its tables, sequences and helpers.
-- They stay with the role that runs this script (90-owner.sql).
CREATE SCHEMA cas_internal;
COMMENT ON SCHEMA cas_internal IS
    'the tables and helpers of pg_cas; nothing in it is for applications';

CREATE FUNCTION pg_cas_version() RETURNS text
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pg_cas_version() IS
    'the version of the loaded pg_cas library';

CREATE FUNCTION cas_internal.pg_cas_settings_read(
        OUT name text, OUT value text, OUT set_by text, OUT meaning text,
        OUT details text)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION cas_internal.pg_cas_settings_read() IS
    'the rows of pg_cas_settings';

CREATE VIEW pg_cas_settings AS
    SELECT s.name, s.value, s.set_by, s.meaning, s.details
    FROM cas_internal.pg_cas_settings_read() AS s;
COMMENT ON VIEW pg_cas_settings IS
    'the settings of pg_cas, with their present values and who may set them (user, superuser)';
GRANT SELECT ON pg_cas_settings TO PUBLIC;

-- BEFORE INSERT OR UPDATE on tables that keep a role as oid and name.
CREATE FUNCTION cas_internal.role_of_name() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.role_of_name() IS
    'sets a role''s oid from its name in rows that come in by restore or replication';
