-- keeps: SELECT sum(used) FROM seats
BEGIN;
UPDATE seats SET used = used + 1 WHERE id = 1 AND used < cap;
UPDATE seats SET used = used + 1 WHERE id = 2 AND used < cap;
UPDATE seats SET used = used + 1 WHERE id = 3 AND used < cap;
COMMIT;
BEGIN;
UPDATE seats SET used = used - 1 WHERE id = 1;
UPDATE seats SET used = used - 1 WHERE id = 2;
UPDATE seats SET used = used - 1 WHERE id = 3;
COMMIT;
