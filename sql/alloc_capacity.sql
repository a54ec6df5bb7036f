-- Claim: a capacity that is lowered below what is held takes nothing from
-- anybody, and nothing is given out until it fits; alloc_verify() finds what does
-- not match; what is free is found again after alloc_rebuild().
SET client_min_messages = warning;
SET search_path = public, cas_test;
CREATE FUNCTION usage(pool text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s of %s, %s free', allocated, capacity, free) FROM alloc_usage(pool) $$;
CREATE FUNCTION try_count(pool text, n int, v bigint DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT outcome FROM alloc_try_count(pool, k(n), v) $$;

SELECT alloc_pool_create('p', '{}', 'count', capacity => 10);
SELECT count(alloc_count('p', k(i))) FROM generate_series(1, 8) AS i;
SELECT alloc_pool_set('p', capacity => 5);
SELECT usage('p'), (SELECT lowered FROM cas_internal.alloc_pool WHERE name = 'p');
SELECT try_count('p', 9), alloc_release('p', k(1)), alloc_release('p', k(5)), try_count('p', 9), try_count('p', 8);
SELECT alloc_release('p', k(8)), try_count('p', 9), usage('p');
SELECT alloc_release('p', k(2)), try_count('p', 9), try_count('p', 10), usage('p');
SELECT * FROM alloc_verify('p');
-- the constraint allows no more than were held when the capacity was lowered
SELECT max(first) FILTER (WHERE n IS NULL) - coalesce(sum(n) FILTER (WHERE n IS NOT NULL AND key IS NULL), 0) AS places
	FROM cas_internal.alloc_share;
SELECT pg_cas_reap() >= 0 AS reaped;
SELECT max(first) FILTER (WHERE n IS NULL) - coalesce(sum(n) FILTER (WHERE n IS NOT NULL AND key IS NULL), 0) AS places
	FROM cas_internal.alloc_share;
SELECT lowered FROM cas_internal.alloc_pool WHERE name = 'p';
SELECT * FROM alloc_verify('p');
SELECT try_count('p', 10), alloc_release('p', k(9)), try_count('p', 10), try_count('p', 11);

-- raised again, and lowered to what is held, or to nothing
SELECT alloc_pool_set('p', capacity => 7);
SELECT try_count('p', 11), try_count('p', 12), try_count('p', 13), usage('p');
SELECT alloc_pool_set('p', capacity => 12);
SELECT try_count('p', 13, 5), try_count('p', 14), usage('p');
SELECT alloc_pool_set('p', capacity => 0);
SELECT count(alloc_release('p', key)) FROM alloc_units WHERE pool = 'p';
SELECT try_count('p', 14), usage('p');
SELECT alloc_pool_set('p', capacity => 100);
SELECT try_count('p', 14, 100), usage('p'), alloc_release('p', k(14));
SELECT * FROM alloc_verify('p');

-- lowered by somebody who sees what running transactions have taken
BEGIN;
SELECT alloc_count('p', k(1), 60);
SELECT alloc_pool_set('p', capacity => 50);
SELECT try_count('p', 2), usage('p');
ROLLBACK;
SELECT try_count('p', 2, 100), alloc_release('p', k(2));

-- what is in many pieces
SELECT count(alloc_count('p', k(i))) FROM generate_series(1, 100) AS i;
SELECT count(alloc_release('p', k(i))) FROM generate_series(1, 100, 2) AS i;
SELECT try_count('p', 200, 51), try_count('p', 200, 50);
SELECT count(*) > 1 AS many, sum(n), count(total), max(total) FROM cas_internal.alloc_share WHERE key = k(200);
SELECT count(*) AS gaps FROM cas_internal.alloc_gap;
SELECT alloc_resize('p', k(200), 20), alloc_resize('p', k(200), 30);
SELECT * FROM alloc_verify('p');
SELECT alloc_release('p', k(200)), count(alloc_release('p', k(i))) FROM generate_series(2, 100, 2) AS i;
SELECT usage('p'), try_count('p', 1, 100), alloc_release('p', k(1));

-- alloc_verify() finds damage, and alloc_rebuild() mends gaps
SELECT alloc_pool_create('c', '{}', 'count', capacity => 100, parent => 'p');
SELECT alloc_pool_create('i', '{1-9}', 'int', parent => 'c');
SELECT alloc_int('i', k(1)), alloc_count('c', k(1), 3, ttl => '1 day');
SELECT * FROM alloc_verify();
BEGIN;
DELETE FROM cas_internal.alloc_gap;
SELECT pool, problem, sum(substring(detail, '^\d+')::int) FROM alloc_verify() GROUP BY pool, problem ORDER BY pool;
SELECT try_count('c', 2);
SELECT alloc_rebuild('p'), alloc_rebuild('c');
SELECT * FROM alloc_verify();
SELECT try_count('c', 2);
ROLLBACK;
BEGIN;
UPDATE cas_internal.alloc_share SET total = 4 WHERE total = 3;
SELECT * FROM alloc_verify();
ROLLBACK;
BEGIN;
UPDATE cas_internal.alloc_share SET expires_at = expires_at + interval '1 day'
WHERE pool <> origin AND expires_at IS NOT NULL;
SELECT * FROM alloc_verify();
ROLLBACK;
BEGIN;
DELETE FROM cas_internal.alloc_share WHERE pool <> origin;
SELECT pool, problem FROM alloc_verify();
ROLLBACK;
BEGIN;
DELETE FROM cas_internal.alloc_slot;
SELECT pool, problem FROM alloc_verify() WHERE problem !~ '^lost';
ROLLBACK;
BEGIN;
DELETE FROM cas_internal.alloc_share WHERE n IS NULL;
SELECT * FROM alloc_verify();
ROLLBACK;
BEGIN;
UPDATE cas_internal.alloc_pool SET epoch = nextval('cas_internal.alloc_generation'),
	parent = (SELECT id FROM cas_internal.alloc_pool WHERE name = 'i')
WHERE name = 'p';
SELECT * FROM alloc_verify() WHERE problem ~ '^pool';
-- going up does not go round for ever
SELECT raises($$SELECT alloc_pool_create('below', '{}', 'count', capacity => 1, parent => 'p')$$);
ROLLBACK;
BEGIN;
UPDATE cas_internal.alloc_pool SET epoch = nextval('cas_internal.alloc_generation'), parent = 0
WHERE name = 'p';
SELECT * FROM alloc_verify() WHERE problem ~ '^pool';
SELECT raises($$SELECT alloc_count('c', k(50))$$);
ROLLBACK;
BEGIN;
DELETE FROM cas_internal.alloc_pool WHERE name = 'i';
SELECT DISTINCT pool, problem FROM alloc_verify() ORDER BY pool;
ROLLBACK;
-- the constraint keeps out what would be too much
SELECT split_part(raises(format($$INSERT INTO cas_internal.alloc_share
	(pool, origin, key, first, n, total, generation, allocated_at)
	SELECT id, id, k(99), %s, %s, 1, 1, now() FROM cas_internal.alloc_pool WHERE name = 'p'$$,
	first, n)), E'\n', 1)
FROM (VALUES (100, 1), (99, 2), (0, 100), (9223372036854775807, 1)) AS v(first, n);

CALL drop_pools();
DROP FUNCTION usage, try_count;
