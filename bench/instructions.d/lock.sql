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
SELECT count(*) FROM lock_acquire(ARRAY[:n0, :n1, :n2, :n3, :n4, :n5, :n6, :n7]::text[]);
COMMIT;
