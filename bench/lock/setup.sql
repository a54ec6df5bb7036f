CREATE TABLE name (name text PRIMARY KEY);
INSERT INTO name SELECT c * 1000 + i FROM generate_series(0, 31) AS c, generate_series(0, 799) AS i;
BEGIN;
SELECT count(*) FROM (SELECT lock_acquire(array_agg(name)) FROM name) AS l;
COMMIT;
