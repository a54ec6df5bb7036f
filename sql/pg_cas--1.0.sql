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

--
-- 2. Allocation (src/alloc)
--

--
-- 3. Named resources and leases (src/lock)
--

--
-- 4. Requests (src/request)
--

--
-- 5. Ownership.  A trusted extension's script runs as superuser; what it made
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
