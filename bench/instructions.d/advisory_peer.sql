\set i (:i + 1) % 100
\set n0 :i * 8 + 0
\set n1 :i * 8 + 1
\set n2 :i * 8 + 2
\set n3 :i * 8 + 3
\set n4 :i * 8 + 4
\set n5 :i * 8 + 5
\set n6 :i * 8 + 6
\set n7 :i * 8 + 7
BEGIN;
SELECT pg_advisory_xact_lock(:n0), pg_advisory_xact_lock(:n1), pg_advisory_xact_lock(:n2), pg_advisory_xact_lock(:n3), pg_advisory_xact_lock(:n4), pg_advisory_xact_lock(:n5), pg_advisory_xact_lock(:n6), pg_advisory_xact_lock(:n7);
COMMIT;
