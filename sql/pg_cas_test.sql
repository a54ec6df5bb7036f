-- The helpers of the other tests; it runs before all of them.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/helpers/pg_cas_test.sql'
\set ECHO none
\set QUIET on
\i :helpers
SELECT 'helpers' AS loaded;
-- Under scripts/test --discard-caches, planning the long query of alloc_verify()
-- would take minutes each time.
SELECT current_setting('debug_discard_caches') <> '0' AS discards \gset
\if :discards
GRANT SET ON PARAMETER debug_discard_caches TO PUBLIC;
ALTER FUNCTION alloc_verify(text) SET debug_discard_caches = 0;
\endif
