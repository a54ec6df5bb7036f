\set i :i + 1
BEGIN;
SELECT pg_advisory_xact_lock(:i * 8), pg_advisory_xact_lock(:i * 8 + 1), pg_advisory_xact_lock(:i * 8 + 2), pg_advisory_xact_lock(:i * 8 + 3), pg_advisory_xact_lock(:i * 8 + 4), pg_advisory_xact_lock(:i * 8 + 5), pg_advisory_xact_lock(:i * 8 + 6), pg_advisory_xact_lock(:i * 8 + 7);
COMMIT;
