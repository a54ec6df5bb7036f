\set i :i + 1
BEGIN;
SELECT count(*) FROM lock_acquire(ARRAY['name ' || :i * 8, 'name ' || :i * 8 + 1, 'name ' || :i * 8 + 2, 'name ' || :i * 8 + 3, 'name ' || :i * 8 + 4, 'name ' || :i * 8 + 5, 'name ' || :i * 8 + 6, 'name ' || :i * 8 + 7]);
COMMIT;
