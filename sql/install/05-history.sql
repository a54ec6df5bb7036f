--
-- Numbers that rise through the history of the database (src/base/history.c)
--

-- Both are variables that no rollback undoes, rather than sources of numbers.
CREATE SEQUENCE cas_internal.history;
COMMENT ON SEQUENCE cas_internal.history IS
    'internal: which turn of the database''s history the floor is of';
CREATE SEQUENCE cas_internal.floor MINVALUE 0 START 0;
COMMENT ON SEQUENCE cas_internal.floor IS
    'internal: fences, generations and table-wide versions are larger than this';

SELECT pg_catalog.pg_extension_config_dump('cas_internal.history', '');
SELECT pg_catalog.pg_extension_config_dump('cas_internal.floor', '');

CREATE FUNCTION cas_internal.history_begin() RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.history_begin() IS
    'internal: lets numbers begin at 1 where the extension is created';
SELECT cas_internal.history_begin();

CREATE FUNCTION cas_internal.history_promoted(by bigint) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.history_promoted(bigint) IS
    'internal: lets the floor jump, for pg_cas_promoted';
REVOKE EXECUTE ON FUNCTION cas_internal.history_promoted(bigint) FROM PUBLIC;

CREATE FUNCTION cas_internal.history_raise_sequence(sequence regclass, value bigint)
    RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.history_raise_sequence(regclass, bigint) IS
    'internal: sets a sequence that is behind, for pg_cas_promoted';
REVOKE EXECUTE ON FUNCTION cas_internal.history_raise_sequence(regclass, bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION cas_internal.history_begin() FROM PUBLIC;
