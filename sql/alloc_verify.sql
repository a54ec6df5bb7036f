-- Claim: alloc_verify finds every kind of damage that is planted behind the
-- functions' back, alloc_rebuild mends what can be recomputed, and whatever
-- is damaged no unit is given out twice.
CREATE SCHEMA alloc_verify_test;
SET search_path = alloc_verify_test, public, cas_test;
CREATE FUNCTION problems() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT pool || ': ' || problem || ': ' || regexp_replace(detail, 'range \d+', 'range') FROM alloc_verify() $$;
SELECT alloc_pool_create('a', '{0-9}', 'int');
SELECT alloc_pool_create('l', '{0-9}', 'int', 'lowest');
SELECT alloc_pool_create('m', '{10.0.0.0/24}', 'prefix', 'lowest');
SELECT count(alloc_int(p, k(n))) FROM generate_series(1, 8) AS n, unnest('{a,l}'::text[]) AS p;
SELECT count(alloc_release(p, k(n))) FROM generate_series(1, 3) AS n, unnest('{a,l}'::text[]) AS p;
SELECT count(alloc_prefix('m', k(n), 26)) FROM generate_series(1, 3) AS n;
SELECT alloc_rebuild(p) FROM unnest('{a,l,m}'::text[]) AS p;
SELECT problems();

-- accelerators: out of the queue, in it wrongly, in a wrong place
UPDATE cas_internal.alloc_slot SET queue_place = NULL WHERE first_slot = 0 AND size_log2 = 0 AND key IS NULL;
UPDATE cas_internal.alloc_slot SET queue_place = 7 WHERE first_slot = 5 AND slots IS NULL;
UPDATE cas_internal.alloc_slot SET queue_place = queue_place + 100 WHERE first_slot = 1 AND key IS NULL;
SELECT problems();
SELECT alloc_rebuild(p) FROM unnest('{a,l,m}'::text[]) AS p;
SELECT problems();
-- the frontier too far, missing, too much, outside
UPDATE cas_internal.alloc_frontier SET slot = 10;
SELECT problems();
SELECT outcome FROM generate_series(11, 15) AS n, alloc_try_int('a', k(n));
SELECT count(DISTINCT value) = count(*) FROM alloc_units WHERE pool = 'a';
SELECT alloc_rebuild(p) FROM unnest('{a,l,m}'::text[]) AS p;
SELECT outcome FROM generate_series(16, 20) AS n, alloc_try_int('a', k(n));
SELECT problems();
DELETE FROM cas_internal.alloc_frontier WHERE slot = 0;
INSERT INTO cas_internal.alloc_frontier SELECT r.id, r.first FROM cas_internal.alloc_range AS r JOIN cas_internal.alloc_pool AS p ON p.id = r.pool WHERE p.name = 'm';
SELECT problems();
SELECT alloc_rebuild(p) FROM unnest('{a,l,m}'::text[]) AS p;
-- pending slots: told of, not told of, and nonsense
BEGIN;
UPDATE cas_internal.alloc_frontier SET slot = 10, pending = '{8,9}' WHERE range IN (SELECT r.id FROM cas_internal.alloc_range AS r JOIN cas_internal.alloc_pool AS p ON p.id = r.pool WHERE p.name = 'l');
SELECT problems();
UPDATE cas_internal.alloc_frontier SET pending = '{8,8,NULL,9,9}' WHERE slot = 10;
SELECT problems();
SELECT outcome, value FROM generate_series(31, 35) AS n, alloc_try_int('l', k(n));
ROLLBACK;
UPDATE cas_internal.alloc_frontier SET slot = 1000;
SELECT problems();
SELECT alloc_rebuild(p) FROM unnest('{a,l,m}'::text[]) AS p;
SELECT problems();
-- waiting rows gone, or where there is no range
DELETE FROM cas_internal.alloc_slot AS s USING cas_internal.alloc_pool AS p WHERE p.id = s.pool AND p.name = 'l' AND key IS NULL;
UPDATE cas_internal.alloc_frontier SET slot = 8 WHERE range = (SELECT r.id FROM cas_internal.alloc_range AS r JOIN cas_internal.alloc_pool AS p ON p.id = r.pool WHERE p.name = 'l');
INSERT INTO cas_internal.alloc_slot (pool, first_slot, size_log2, expires_at, queue_place) SELECT id, 50, 0, 'epoch', -9223372036854775808 FROM cas_internal.alloc_pool WHERE name = 'a';
SELECT problems();
SELECT alloc_rebuild(p) FROM unnest('{a,l,m}'::text[]) AS p;
SELECT problems();
SELECT alloc_int('l', k(21)), alloc_int('l', k(22)), alloc_int('l', k(23)), alloc_int('l', k(24));
SELECT problems();

-- the truth: constraints refuse what they can
\set VERBOSITY terse
INSERT INTO cas_internal.alloc_slot (pool, first_slot, size_log2, key) SELECT id, 5, 0, k(99) FROM cas_internal.alloc_pool WHERE name = 'a';
INSERT INTO cas_internal.alloc_slot (pool, first_slot, size_log2, key) SELECT id, 77, 0, k(5) FROM cas_internal.alloc_pool WHERE name = 'a';
INSERT INTO cas_internal.alloc_slot (pool, first_slot, size_log2, key, slots) SELECT id, 167772160 + 16, 4, k(99), '[167772176,167772191]' FROM cas_internal.alloc_pool WHERE name = 'm';
\set VERBOSITY default
-- and alloc_verify finds what is made in spite of them
BEGIN;
ALTER TABLE cas_internal.alloc_slot DROP CONSTRAINT alloc_slot_overlap;
INSERT INTO cas_internal.alloc_slot (pool, first_slot, size_log2, key, generation, allocated_at, slots) SELECT id, 167772160 + 16, 4, k(3), 1, now(), '[167772176,167772191]' FROM cas_internal.alloc_pool WHERE name = 'm' ON CONFLICT DO NOTHING;
INSERT INTO cas_internal.alloc_slot (pool, first_slot, size_log2, key, generation, allocated_at, slots) SELECT id, 167772160 + 17, 4, k(99), 1, now(), '[167772177,167772192]' FROM cas_internal.alloc_pool WHERE name = 'm';
UPDATE cas_internal.alloc_slot SET slots = '[0,1]' WHERE slots = '[167772224,167772287]';
UPDATE cas_internal.alloc_slot SET generation = NULL WHERE first_slot = 5 AND slots IS NULL;
DELETE FROM cas_internal.alloc_range AS r USING cas_internal.alloc_pool AS p WHERE p.id = r.pool AND p.name = 'l';
SELECT problems();
ROLLBACK;
-- a unit that begins in a range and does not end there; one that lies across
-- two is sound
BEGIN;
UPDATE cas_internal.alloc_range AS r SET last = r.first + 159 FROM cas_internal.alloc_pool AS p WHERE p.id = r.pool AND p.name = 'm';
SELECT problems();
ROLLBACK;
-- ranges that share values
BEGIN;
ALTER TABLE cas_internal.alloc_range DROP CONSTRAINT alloc_range_overlap;
INSERT INTO cas_internal.alloc_range (pool, first, last, whole) SELECT pool, last - 9, last + 10, whole FROM cas_internal.alloc_range WHERE last - first = 255;
SELECT problems();
ROLLBACK;
BEGIN;
SELECT alloc_pool_shrink('m', '10.0.0.160/27', drain => true);
SELECT problems();
ROLLBACK;
BEGIN;
DROP INDEX cas_internal.alloc_slot_key;
UPDATE cas_internal.alloc_slot SET key = k(5) WHERE key = k(6);
SELECT problems();
ROLLBACK;
SELECT problems();

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_verify_test CASCADE;
