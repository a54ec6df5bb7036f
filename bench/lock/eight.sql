-- latency: logged
-- Fewer than eight names are a division by zero.
\set n0 :client_id * 1000 + random(0, 99) * 8
\set n1 :n0 + 1
\set n2 :n0 + 2
\set n3 :n0 + 3
\set n4 :n0 + 4
\set n5 :n0 + 5
\set n6 :n0 + 6
\set n7 :n0 + 7
BEGIN;
SELECT count(*) AS names FROM lock_acquire(ARRAY[:n0, :n1, :n2, :n3, :n4, :n5, :n6, :n7]::text[]) \gset
COMMIT;
\set checked 1 / (:names / 8)
