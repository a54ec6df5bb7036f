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
SELECT name FROM name WHERE name = :n0 FOR UPDATE \gset
SELECT name FROM name WHERE name = :n1 FOR UPDATE \gset
SELECT name FROM name WHERE name = :n2 FOR UPDATE \gset
SELECT name FROM name WHERE name = :n3 FOR UPDATE \gset
SELECT name FROM name WHERE name = :n4 FOR UPDATE \gset
SELECT name FROM name WHERE name = :n5 FOR UPDATE \gset
SELECT name FROM name WHERE name = :n6 FOR UPDATE \gset
SELECT name FROM name WHERE name = :n7 FOR UPDATE \gset
COMMIT;
