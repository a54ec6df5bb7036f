-- Claim: if an index that is not ours refuses every new row, each call that
-- needs one raises an error after a bounded number of tries, and keeps nothing.
-- A call that went round for ever would be cancelled, which raises() does not
-- catch, and that would end the test.
CREATE SCHEMA alloc_wall_test;
SET search_path = alloc_wall_test, public, cas_test;
\pset format unaligned
\pset tuples_only on
-- the first line of what a call raises, without the unit that it could not have
CREATE FUNCTION wall(statement text) RETURNS text LANGUAGE sql AS
    $$ SELECT regexp_replace(split_part(raises(statement), E'\n', 1), '^(\w+) \S+ of pool', '\1 a unit of pool') $$;
-- thousands of tries, which would take hours if caches were discarded in each
SET debug_discard_caches = 0;
SET statement_timeout = '10min';
\set ON_ERROR_STOP on
SELECT alloc_pool_create('count', '{}', 'count', capacity => 10), alloc_pool_create('above', '{}', 'count', capacity => 10);
SELECT alloc_pool_create('below', '{0-9}', 'int', parent => 'above'), alloc_pool_create('part', '{}', 'count', capacity => 10, parent => 'above');
SELECT alloc_count('count', k(1), 2);

-- shares of counted pools: in the pool itself, or in one above it
CREATE UNIQUE INDEX wall ON cas_internal.alloc_share ((key IS NOT NULL)) WHERE key IS NOT NULL;
SELECT wall($$SELECT alloc_count('count', k(2))$$);
SELECT wall($$SELECT alloc_count('count', k(2), wait => '1 h')$$);
SELECT wall($$SELECT alloc_try_count('count', k(2))$$);
SELECT wall($$SELECT alloc_count('part', k(2))$$);
SELECT wall($$SELECT alloc_resize('count', k(1), 3)$$);
SELECT wall($$SELECT alloc_many('count', ARRAY[k(2), k(3)])$$);
SELECT wall($$SELECT alloc_set('[{"pool": "count", "n": 1}]', k(2))$$);
SELECT wall(format($$SELECT alloc_import('count', '[{"n": 3, "key": "%s"}]')$$, k(2)));
SELECT wall($$SELECT alloc_int('below', k(2))$$);
SELECT wall($$SELECT alloc_int('below', k(2), 3)$$);
SELECT wall($$SELECT alloc_try_int('below', k(2))$$);
SELECT wall($$SELECT alloc_int('below', k(2), consecutive => 3)$$);
SELECT wall($$SELECT alloc_many('below', ARRAY[k(2), k(3)])$$);
SELECT wall($$SELECT alloc_set('[{"pool": ["below", "part"]}]', k(2))$$);
SELECT wall(format($$SELECT alloc_import('below', '[{"value": "3", "key": "%s"}]')$$, k(2)));
SELECT raises($$SELECT alloc_count('count', k(2))$$);
-- what needs no new share
SELECT alloc_resize('count', k(1), 1);
SELECT alloc_release('count', k(1));
DROP INDEX cas_internal.wall;
SELECT pool, key, value FROM alloc_units;
SELECT alloc_count('count', k(2), 10), alloc_int('below', k(1));

-- units
CREATE UNIQUE INDEX wall ON cas_internal.alloc_slot ((key IS NOT NULL)) WHERE key IS NOT NULL;
SELECT alloc_pool_create('any', '{0-9}', 'int'), alloc_pool_create('lowest', '{0-9}', 'int', 'lowest'),
    alloc_pool_create('random', '{0-9}', 'int', 'random'), alloc_pool_create('prefix', '{10.0.0.0/8}', 'prefix');
-- where there are fewer units than a call tries
SELECT alloc_pool_create('small', '{10.1.0.0/28}', 'prefix'), alloc_pool_create('ports', '{10.2.0.1-10.2.0.2}', port_chunk => 8192);
SELECT wall($$SELECT alloc_prefix('small', k(2), 30)$$);
SELECT wall($$SELECT alloc_prefix('small', k(2), 28)$$);
SELECT wall($$SELECT alloc_try_prefix('small', k(2), 30)$$);
SELECT wall($$SELECT alloc_ports('ports', k(2))$$);
SELECT wall($$SELECT alloc_many('small', ARRAY[k(2), k(3)], 30)$$);
SELECT wall(format('SELECT alloc_many(%L, ARRAY[k(2), k(3)])', p)) FROM unnest('{any, lowest, random, below}'::text[]) AS p;
SELECT wall($$SELECT alloc_many('prefix', ARRAY[k(2), k(3)], 30)$$);
SELECT wall($$SELECT alloc_set('[{"pool": "any"}]', k(2))$$);
SELECT wall($$SELECT alloc_set('[{"pool": "any"}, {"pool": "lowest"}]', k(2))$$);
SELECT wall($$SELECT alloc_set('[{"pool": "any", "value": 3}]', k(2))$$);
SELECT wall($$SELECT alloc_int('any', k(2), consecutive => 3)$$);
SELECT wall($$SELECT alloc_int('any', k(2), 4, consecutive => 3)$$);
SELECT wall(format($$SELECT alloc_import('any', '[{"value": "3", "key": "%s"}]')$$, k(2)));
SELECT wall($$SELECT alloc_int('below', k(2))$$);
SELECT wall($$SELECT alloc_int('below', k(2), 3)$$);
DROP INDEX cas_internal.wall;
SELECT pool, key, value FROM alloc_units ORDER BY pool;

-- Two members of a set that are refused in turns, each as often as the other is
-- not: every try finds that the other one has no room.
SELECT alloc_pool_create('a', '{0-2}', 'int'), alloc_pool_create('b', '{0-2}', 'int');
CREATE SEQUENCE tries;
CREATE FUNCTION refused(pool int, place int) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p.name
        WHEN 'a' THEN CASE nextval('alloc_wall_test.tries') % 2 WHEN 0 THEN true END
        WHEN 'b' THEN (SELECT CASE last_value % 2 WHEN 1 THEN true END FROM alloc_wall_test.tries)
        WHEN 'any' THEN true END
    FROM cas_internal.alloc_pool AS p WHERE p.id = pool AND coalesce(place, 0) = 0 $$;
SELECT alloc_int('any', k(2));
CREATE UNIQUE INDEX wall ON cas_internal.alloc_slot (alloc_wall_test.refused(pool, run_place));
SELECT wall($$SELECT alloc_set('[{"pool": "a", "consecutive": 3}, {"pool": "b", "consecutive": 3}]', k(2))$$);
SELECT last_value FROM tries;
DROP INDEX cas_internal.wall;
SELECT pool, value, last FROM alloc_set('[{"pool": "a", "consecutive": 3}, {"pool": "b", "consecutive": 3}]', k(2));
RESET debug_discard_caches;
SELECT * FROM alloc_verify();
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools WHERE parent IS NOT NULL;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools;
SET client_min_messages = warning;
DROP SCHEMA alloc_wall_test CASCADE;
