--
-- 5. Housekeeping
--

-- A parsed body keeps working if the extension's schema is renamed.  Allocation
-- comes last: pools that it changes stay locked, and the others may wait for a table.
CREATE FUNCTION pg_cas_reap(batch integer DEFAULT 10000) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    RETURN cas_internal.lock_reap($1)
        OPERATOR(pg_catalog.+) cas_internal.request_reap($1)
        OPERATOR(pg_catalog.+) cas_internal.alloc_reap($1);
COMMENT ON FUNCTION pg_cas_reap(integer) IS
    'removes expired units, old history, unused lock names and old results of requests, up to batch of each kind; returns how many were removed';
REVOKE EXECUTE ON FUNCTION pg_cas_reap(integer) FROM PUBLIC;

CREATE FUNCTION pg_cas_promoted(by bigint DEFAULT 1000000) RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
BEGIN ATOMIC
    SELECT cas_internal.history_raise_sequence('cas_internal.alloc_pool_id_seq',
        (SELECT pg_catalog.max(p.id) FROM cas_internal.alloc_pool AS p));
    SELECT cas_internal.history_raise_sequence('cas_internal.alloc_range_id_seq',
        (SELECT pg_catalog.max(r.id) FROM cas_internal.alloc_range AS r));
    SELECT cas_internal.history_promoted($1);
END;
COMMENT ON FUNCTION pg_cas_promoted(bigint) IS
    'to be called after a promotion that the server itself cannot notice (of a logical subscriber or of copied storage, or a data-only restore): fences, generations and table-wide versions continue above a number that no earlier one can have reached; returns that number';
REVOKE EXECUTE ON FUNCTION pg_cas_promoted(bigint) FROM PUBLIC;

--
-- 6. Ownership.  A trusted extension's script runs as superuser.  The public
-- functions and views are given to the role that installs the extension, which
-- can then grant and revoke privileges on them.  The types and everything in
-- cas_internal stay with the script's role, so that nobody can alter what C
-- code reads.  The installing role, as which the functions act, gets the
-- privileges to use, dump and restore them.
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
              ('{function,view}'::pg_catalog.text[])
          AND i.schema OPERATOR(pg_catalog.<>) 'cas_internal'
    LOOP
        EXECUTE pg_catalog.format('ALTER %s %s OWNER TO @extowner@',
            obj.type, obj.identity);
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA cas_internal TO @extowner@;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cas_internal
    TO @extowner@;
GRANT ALL ON ALL SEQUENCES IN SCHEMA cas_internal TO @extowner@;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cas_internal TO @extowner@;

--
-- 7. Storage.  VACUUM locks a table exclusively for a moment to cut off empty
-- pages at its end.  A call that must not wait would take that for a session that
-- alters the table, and fail.
--
DO $$
DECLARE
    rel pg_catalog.regclass;
BEGIN
    FOR rel IN
        SELECT c.oid FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace OPERATOR(pg_catalog.=) 'cas_internal'::pg_catalog.regnamespace
          AND c.relkind OPERATOR(pg_catalog.=) 'r'
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s SET (vacuum_truncate = off)', rel);
    END LOOP;
END
$$;
