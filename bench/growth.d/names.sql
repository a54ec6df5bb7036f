-- work: lock_acquire of 8 names
-- of: names
-- sizes: 10 1000 100000 1000000
-- quick: 10 1000
-- grow: CALL make_names({from}, {to})
\set n random(0, {size} - 9)
BEGIN;
SELECT count(*) FROM lock_acquire(ARRAY['name ' || :n + 1, 'name ' || :n + 2, 'name ' || :n + 3, 'name ' || :n + 4, 'name ' || :n + 5, 'name ' || :n + 6, 'name ' || :n + 7, 'name ' || :n + 8]);
COMMIT;
