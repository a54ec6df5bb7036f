-- The helpers of the other tests; it runs before all of them.
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/test/helpers/pg_cas_test.sql'
\set ECHO none
\set QUIET on
\i :helpers
SELECT 'helpers' AS loaded;
