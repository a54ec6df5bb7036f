\set n random(0, 99) * 8
BEGIN;
SELECT FROM name WHERE name = :client_id || '/' || :n + 0 FOR UPDATE;
SELECT FROM name WHERE name = :client_id || '/' || :n + 1 FOR UPDATE;
SELECT FROM name WHERE name = :client_id || '/' || :n + 2 FOR UPDATE;
SELECT FROM name WHERE name = :client_id || '/' || :n + 3 FOR UPDATE;
SELECT FROM name WHERE name = :client_id || '/' || :n + 4 FOR UPDATE;
SELECT FROM name WHERE name = :client_id || '/' || :n + 5 FOR UPDATE;
SELECT FROM name WHERE name = :client_id || '/' || :n + 6 FOR UPDATE;
SELECT FROM name WHERE name = :client_id || '/' || :n + 7 FOR UPDATE;
COMMIT;
