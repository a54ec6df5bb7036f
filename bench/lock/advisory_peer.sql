\set n :client_id * 1000 + random(0, 99) * 8
BEGIN;
SELECT pg_advisory_xact_lock(:n), pg_advisory_xact_lock(:n + 1), pg_advisory_xact_lock(:n + 2), pg_advisory_xact_lock(:n + 3), pg_advisory_xact_lock(:n + 4), pg_advisory_xact_lock(:n + 5), pg_advisory_xact_lock(:n + 6), pg_advisory_xact_lock(:n + 7);
COMMIT;
