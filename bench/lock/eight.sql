\set n random(0, 99) * 8
BEGIN;
SELECT count(*) FROM lock_acquire(ARRAY[:client_id || '/' || :n, :client_id || '/' || :n + 1, :client_id || '/' || :n + 2, :client_id || '/' || :n + 3, :client_id || '/' || :n + 4, :client_id || '/' || :n + 5, :client_id || '/' || :n + 6, :client_id || '/' || :n + 7]);
COMMIT;
