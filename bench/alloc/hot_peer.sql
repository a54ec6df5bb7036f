-- keeps: SELECT sum(used) FROM seats
UPDATE seats SET used = used + 1 WHERE id = 1 AND used < cap;
UPDATE seats SET used = used - 1 WHERE id = 1;
