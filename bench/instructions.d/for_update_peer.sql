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
SELECT FROM name WHERE name = :n0 FOR UPDATE;
SELECT FROM name WHERE name = :n1 FOR UPDATE;
SELECT FROM name WHERE name = :n2 FOR UPDATE;
SELECT FROM name WHERE name = :n3 FOR UPDATE;
SELECT FROM name WHERE name = :n4 FOR UPDATE;
SELECT FROM name WHERE name = :n5 FOR UPDATE;
SELECT FROM name WHERE name = :n6 FOR UPDATE;
SELECT FROM name WHERE name = :n7 FOR UPDATE;
COMMIT;
