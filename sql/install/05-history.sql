--
-- Numbers that increase even through failovers and restores (src/base/history.c)
--

-- Both sequences are used as variables whose changes no rollback undoes.
-- Nothing is drawn from them.
CREATE SEQUENCE cas_internal.history;
COMMENT ON SEQUENCE cas_internal.history IS
    'internal: identifies the history (timeline, restore) for which the floor is valid';
CREATE SEQUENCE cas_internal.floor MINVALUE 0 START 0;
COMMENT ON SEQUENCE cas_internal.floor IS
    'internal: all fences, generations and table-wide versions drawn are larger than this';

SELECT pg_catalog.pg_extension_config_dump('cas_internal.history', '');
SELECT pg_catalog.pg_extension_config_dump('cas_internal.floor', '');

CREATE FUNCTION cas_internal.history_begin() RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.history_begin() IS
    'internal: records the history in which the extension is created, so that numbers begin at 1';
SELECT cas_internal.history_begin();

CREATE FUNCTION cas_internal.history_promoted(by bigint) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.history_promoted(bigint) IS
    'internal: raises the floor, for pg_cas_promoted';
REVOKE EXECUTE ON FUNCTION cas_internal.history_promoted(bigint) FROM PUBLIC;

CREATE FUNCTION cas_internal.history_raise_sequence(sequence regclass, value bigint)
    RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.history_raise_sequence(regclass, bigint) IS
    'internal: sets a sequence to a value if it is below, for pg_cas_promoted';
REVOKE EXECUTE ON FUNCTION cas_internal.history_raise_sequence(regclass, bigint) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION cas_internal.history_begin() FROM PUBLIC;
