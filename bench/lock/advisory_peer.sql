-- latency: logged
\set n0 :client_id * 1000 + random(0, 99) * 8
\set n1 :n0 + 1
\set n2 :n0 + 2
\set n3 :n0 + 3
\set n4 :n0 + 4
\set n5 :n0 + 5
\set n6 :n0 + 6
\set n7 :n0 + 7
BEGIN;
SELECT pg_advisory_xact_lock(:n0), pg_advisory_xact_lock(:n1), pg_advisory_xact_lock(:n2), pg_advisory_xact_lock(:n3), pg_advisory_xact_lock(:n4), pg_advisory_xact_lock(:n5), pg_advisory_xact_lock(:n6), pg_advisory_xact_lock(:n7);
COMMIT;
