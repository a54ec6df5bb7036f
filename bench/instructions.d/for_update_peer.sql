\set i :i + 1
BEGIN;
SELECT FROM name WHERE name = 'name ' || :i * 8 + 0 FOR UPDATE;
SELECT FROM name WHERE name = 'name ' || :i * 8 + 1 FOR UPDATE;
SELECT FROM name WHERE name = 'name ' || :i * 8 + 2 FOR UPDATE;
SELECT FROM name WHERE name = 'name ' || :i * 8 + 3 FOR UPDATE;
SELECT FROM name WHERE name = 'name ' || :i * 8 + 4 FOR UPDATE;
SELECT FROM name WHERE name = 'name ' || :i * 8 + 5 FOR UPDATE;
SELECT FROM name WHERE name = 'name ' || :i * 8 + 6 FOR UPDATE;
SELECT FROM name WHERE name = 'name ' || :i * 8 + 7 FOR UPDATE;
COMMIT;
