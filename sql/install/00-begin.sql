/* pg_cas--1.0.sql: made by make from sql/install/ */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_cas" to load this file. \quit

-- The schema of the extension's tables, sequences and internal functions.  They
-- belong to the role that runs this script (see 90-owner.sql).
CREATE SCHEMA cas_internal;
COMMENT ON SCHEMA cas_internal IS
    'tables and internal functions of pg_cas; not for use by applications';

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
    'settings of pg_cas, with their present values and who may set them (user or superuser)';
GRANT SELECT ON pg_cas_settings TO PUBLIC;

-- Trigger function for tables that store a role as OID and name.
CREATE FUNCTION cas_internal.role_of_name() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.role_of_name() IS
    'internal: sets a role''s OID from its name in rows inserted by a restore or by logical replication';
