-- Claim: a pool whose capacity was lowered below what is held, and which has
-- room again, is as good as any other in every call, also several of them in
-- one call; nothing needs to be done first. Nor does a call fail because gaps
-- promise what is not there.
SET client_min_messages = warning;
SET search_path = public, cas_test;
SET statement_timeout = '10min';
CREATE FUNCTION usage(pool text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s of %s', allocated, capacity) FROM alloc_usage(pool) $$;
CREATE FUNCTION get_set(request jsonb, n int) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s', pool, value), ', ') FROM alloc_set(request, k(n)) $$;
CREATE FUNCTION try(kind text, pool text, n int, arguments text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
	EXECUTE format('SELECT outcome FROM alloc_try_%s($1, $2%s)', kind, arguments) INTO answer USING pool, k(n);
	RETURN answer;
END $$;
CREATE FUNCTION release_all() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(alloc_release(pool, key)) FROM (SELECT DISTINCT pool, key FROM alloc_units WHERE key < k(100)) AS u $$;
-- Five are held, the capacity is lowered to two, and left are so many.
CREATE PROCEDURE lower(pool text, left_over int) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM alloc_count(pool, k(100 + i)) FROM generate_series(1, 5) AS i;
	PERFORM alloc_pool_set(pool, capacity => 2);
	PERFORM alloc_release(pool, k(100 + i)) FROM generate_series(left_over + 1, 5) AS i;
END $$;

SELECT alloc_pool_create('p', '{}', 'count', capacity => 5), alloc_pool_create('child', '{}', 'count', capacity => 9, parent => 'p'),
       alloc_pool_create('ints', '{1-9}', 'int', 'lowest', parent => 'p'), alloc_pool_create('q', '{}', 'count', capacity => 5),
       alloc_pool_create('full', '{}', 'count', capacity => 0), alloc_pool_create('room', '{}', 'count', capacity => 9);
CALL lower('p', 0);
CALL lower('q', 0);

-- a member in a lowered pool and another below it; the second fits, or not
SELECT get_set('[{"pool": ["p", "full"], "n": 1}, {"pool": "child"}]', 1);
SELECT usage('p'), release_all();
SELECT get_set('[{"pool": ["p", "full"], "n": 2}, {"pool": "child"}]', 1);
SELECT get_set('[{"pool": "child"}, {"pool": "ints", "consecutive": 2}]', 1);
-- the list's second pool has what the first one lacks
SELECT get_set('[{"pool": "child", "n": 1}, {"pool": ["p", "room"], "n": 2}]', 1);
SELECT usage('p'), release_all();
-- two below it; two lowered pools
SELECT get_set('[{"pool": "child"}, {"pool": "ints"}]', 1), release_all();
SELECT get_set('[{"pool": "p"}, {"pool": "q", "n": 2}]', 1), release_all();
SELECT get_set('[{"pool": ["full", "p"], "n": 2}, {"pool": "q", "n": 2}]', 1);
SELECT raises($$SELECT get_set('[{"pool": "q"}, {"pool": "p"}]', 2)$$);
SELECT usage('p'), usage('q'), (SELECT count(*) FROM cas_internal.alloc_pool WHERE lowered) AS lowered, release_all();
-- one of them has no room yet
CALL lower('room', 3);
SELECT raises($$SELECT get_set('[{"pool": "p"}, {"pool": "room"}]', 1)$$);
SELECT get_set('[{"pool": ["room", "q"]}, {"pool": "p"}]', 1), release_all();

-- the other calls, with two lowered levels
SELECT alloc_pool_set('p', capacity => 5);
CALL lower('child', 0);
CALL lower('p', 0);
SELECT count(*) AS lowered FROM cas_internal.alloc_pool WHERE lowered;
SELECT alloc_count('child', k(1)), alloc_resize('child', k(1), 2), usage('p');
SELECT try('count', 'child', 2), alloc_count('child', k(1), 2) AS again, alloc_count('child', k(1), 2, wait => '0') AS at_once;
SELECT alloc_resize('child', k(1), 1), try('count', 'child', 2, $$, wait => '0'$$);
SELECT value, n, key = k(3) AS k3 FROM alloc_move('child', k(2), k(3));
SELECT alloc_release_many('child', ARRAY[k(1), k(3)]);
SELECT count(*) FROM alloc_many('child', ARRAY[k(1), k(2)]);
SELECT raises($$SELECT alloc_many('child', ARRAY[k(1), k(2), k(3)])$$);
SELECT release_all();
SELECT value, outcome FROM alloc_import('child', jsonb_build_array(
	jsonb_build_object('key', k(1), 'n', 2), jsonb_build_object('key', k(2))));
SELECT value, outcome FROM alloc_import('ints', jsonb_build_array(jsonb_build_object('key', k(1), 'value', 4)));
SELECT release_all();
SELECT alloc_int('ints', k(1), consecutive => 2), try('int', 'ints', 2), release_all();
SELECT count(*) FROM alloc_many('ints', ARRAY[k(1), k(2)]);
SELECT raises($$SELECT alloc_many('ints', ARRAY[k(1), k(2), k(3)])$$);
SELECT * FROM alloc_verify();
SELECT release_all();

-- What has run out is not counted.
SELECT alloc_count('p', k(1), 2, ttl => '1 us'), try('count', 'p', 2, $$, 2, ttl => '1 us'$$);
SELECT alloc_count('p', k(3), 2), release_all();

-- more than a pool above can ever have: no use to stand in line for the pool
SELECT alloc_pool_create('small', '{}', 'count', capacity => 2), alloc_pool_create('below', '{}', 'count', capacity => 4, parent => 'small');
SELECT alloc_count('below', k(1), 2);
SELECT alloc_count('below', k(2), 3, wait => '1 hour');
\echo :LAST_ERROR_SQLSTATE

-- Each of some pools has a gap whose places are held.
SELECT alloc_pool_set('room', capacity => 9), alloc_pool_set('q', capacity => 9), alloc_pool_set('p', capacity => 9),
       alloc_pool_set('child', capacity => 9);
CREATE PROCEDURE promise() LANGUAGE sql AS $$
	INSERT INTO cas_internal.alloc_gap (pool, first, n, freed_at)
	SELECT s.pool, s.first, s.n, now() FROM cas_internal.alloc_share AS s WHERE s.key = k(1) AND s.n = 3 $$;
SELECT alloc_count('room', k(1), 3), alloc_count('q', k(1), 3), alloc_count('child', k(1), 3);
CALL promise();
SELECT get_set('[{"pool": "room", "n": 3}, {"pool": "q", "n": 3}, {"pool": "child", "n": 3}, {"pool": "ints", "consecutive": 3}]', 2);
CALL promise();
SELECT raises($$SELECT get_set('[{"pool": "room", "n": 4}, {"pool": "q", "n": 3}, {"pool": "child", "n": 3}]', 3)$$);
SELECT release_all();
SELECT alloc_count('room', k(1), 3), alloc_count('q', k(1), 3);
CALL promise();
SELECT alloc_count('room', k(2), 3), (SELECT count(*) FROM alloc_many('q', ARRAY[k(4), k(5)])) AS many;
SELECT * FROM alloc_verify();

-- what cools is the reason, if there is room when that is over
SELECT alloc_pool_create('cooling', '{}', 'count', capacity => 3);
SELECT count(alloc_count('cooling', k(n))) FROM generate_series(1, 3) AS n;
SELECT count(alloc_release('cooling', k(n), cooldown => make_interval(hours => n))) FROM generate_series(1, 2) AS n;
SELECT alloc_pool_set('cooling', capacity => 2);
SELECT outcome, date_trunc('hour', ready_at - now() + '1 min') FROM alloc_try_count('cooling', k(9));
SELECT alloc_pool_set('cooling', capacity => 1);
SELECT outcome, ready_at FROM alloc_try_count('cooling', k(9));

CALL drop_pools();
DROP FUNCTION usage, get_set, try, release_all;
DROP PROCEDURE lower, promise;
