-- Claim: whatever the extension's owner writes into the tables, a constraint
-- refuses it or a call ends with an error that says what is wrong; once it is
-- mended, the same session goes on.
CREATE SCHEMA alloc_hostile_test;
SET search_path = alloc_hostile_test, public, cas_test;
CREATE FUNCTION tried(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE statement INTO answer;
    RETURN coalesce(answer, 'done');
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
SELECT alloc_pool_create('p', '{10.0.0.0-10.0.0.9}', strategy => 'lowest');
SELECT alloc_pool_create('m', '{10.0.0.0/24}', 'prefix');
SELECT alloc_pool_create('c', '{2001:db8::/120}', port_chunk => 256);
SELECT alloc_pool_create('i', '{0-9}', 'int');
SELECT alloc_ip('p', k(1)), alloc_prefix('m', k(1), 28), alloc_ports('c', k(1)), alloc_int('i', k(1));

-- refused
SELECT s, tried('UPDATE cas_internal.alloc_pool SET ' || s || ' WHERE name = ''p''') FROM unnest(ARRAY[
    'kind = ''mac''', 'kind = ''int''', 'strategy = ''highest''', 'cooldown = ''-1 s''',
    'cooldown = ''178000000 years''', 'port_chunk = 3', 'port_chunk = 0', 'port_chunk = 65536',
    'family = 5', 'family = NULL', 'name = NULL', 'owner_name = NULL', 'epoch = NULL']) AS s;
SELECT v, tried('UPDATE cas_internal.alloc_range SET first = ' || v || ', last = ' || v),
       tried('INSERT INTO cas_internal.alloc_reserved (pool, first, last) SELECT id, ' || v || ', ' || v || ' FROM cas_internal.alloc_pool WHERE name = ''p'''),
       tried('UPDATE cas_internal.alloc_frontier SET slot = ' || v),
       tried('UPDATE cas_internal.alloc_slot SET first_slot = ' || v)
FROM unnest('{''NaN'',''Infinity'',''-Infinity'',-1,0.5,1e40}'::text[]) AS v;
SELECT v, tried('UPDATE cas_internal.alloc_slot SET size_log2 = ' || v || ' RETURNING 1')
FROM unnest('{-1,113,32767}'::text[]) AS v;

-- not refused: an error each time, and nothing is kept of it
CREATE FUNCTION calls(n int) RETURNS TABLE (call text, answer text) LANGUAGE sql AS $$
    SELECT c, tried('SELECT ' || replace(c, 'k(2)', format('k(%s)', n))) FROM unnest(ARRAY[
        'value FROM alloc_try_ip(''p'', k(2))', 'value FROM alloc_try_prefix(''m'', k(2), 28)',
        'value FROM alloc_try_ports(''c'', k(2))', 'value FROM alloc_try_int(''i'', k(2))',
        'count(*) FROM alloc_find(''p'', ''10.0.0.1'')', 'count(*) FROM alloc_units',
        'count(*) FROM alloc_pools', 'count(*) FROM alloc_usage()', 'count(*) FROM alloc_map(''p'')',
        'count(*) > 0 FROM alloc_verify()', 'alloc_rebuild(''p'')', 'alloc_pool_grow(''i'', ''90'')',
        'alloc_pool_shrink(''i'', ''90'')']) AS c
$$;
-- ranges that the pools cannot have
BEGIN;
UPDATE cas_internal.alloc_range AS r SET first = 0, last = 4294967296 FROM cas_internal.alloc_pool AS p WHERE p.id = r.pool AND p.name = 'p';
UPDATE cas_internal.alloc_range AS r SET first = 0, last = 340282366920938463463374607431768211455 FROM cas_internal.alloc_pool AS p WHERE p.id = r.pool AND p.name IN ('m', 'c', 'i');
UPDATE cas_internal.alloc_pool SET epoch = nextval('cas_internal.alloc_generation');
SELECT * FROM calls(2);
ROLLBACK;
SELECT * FROM calls(3);
-- accelerators full of nonsense
BEGIN;
UPDATE cas_internal.alloc_frontier SET slot = 340282366920938463463374607431768211456, pending = '{{NaN,-1},{1e40,0.5}}';
UPDATE cas_internal.alloc_pool SET epoch = nextval('cas_internal.alloc_generation');
SELECT * FROM calls(4);
UPDATE cas_internal.alloc_frontier SET slot = 0, pending = '{5,3,NULL,1}';
UPDATE cas_internal.alloc_slot SET queue_place = 'NaN' WHERE key IS NULL;
UPDATE cas_internal.alloc_pool SET epoch = nextval('cas_internal.alloc_generation');
SELECT * FROM calls(5);
ROLLBACK;
-- times and generations
BEGIN;
UPDATE cas_internal.alloc_slot SET expires_at = 'infinity', allocated_at = '-infinity', generation = NULL;
SELECT * FROM calls(6);
SELECT tried('SELECT alloc_release(''p'', k(1))'), tried('SELECT alloc_renew(''i'', k(1), ''1 hour'') > now()'), tried('SELECT pg_cas_reap() >= 0');
ROLLBACK;
-- no ranges, no frontiers, no rows of a pool
BEGIN;
DELETE FROM cas_internal.alloc_range;
UPDATE cas_internal.alloc_pool SET epoch = nextval('cas_internal.alloc_generation');
SELECT * FROM calls(7);
ROLLBACK;
BEGIN;
DELETE FROM cas_internal.alloc_frontier;
UPDATE cas_internal.alloc_pool SET epoch = nextval('cas_internal.alloc_generation');
SELECT * FROM calls(8);
ROLLBACK;
SELECT count(*) FROM alloc_verify();

-- counted pools: a key has 3 of u, and another 2 of b below it, which has a root above
SELECT alloc_pool_create('root', '{}', 'count', capacity => 20), alloc_pool_create('u', '{}', 'count', capacity => 9, parent => 'root'),
       alloc_pool_create('b', '{0-9}', 'int', parent => 'u');
SELECT alloc_count('u', k(1), 3), alloc_int('b', k(1), consecutive => 2);
-- refused
SELECT s, tried('UPDATE cas_internal.alloc_pool SET ' || s || ' WHERE name = $$u$$') FROM unnest(ARRAY[
    'capacity = -1', 'capacity = NULL', 'kind = $$int$$', 'lowered = NULL']) AS s;
SELECT s, tried('UPDATE cas_internal.alloc_share SET ' || s || ' WHERE key IS NOT NULL AND pool = origin') FROM unnest(ARRAY[
    'first = -1', 'n = 0', 'n = -1', 'n = NULL', 'generation = NULL', 'allocated_at = NULL', 'first = 9223372036854775807',
    'n = 9223372036854775807', 'n = 10', 'first = 0, n = 9', 'first = NULL', 'origin = NULL']) AS s;
SELECT s, tried('UPDATE cas_internal.alloc_gap SET ' || s) FROM unnest(ARRAY[
    'first = -1', 'n = 0', 'n = NULL', 'freed_at = NULL', 'first = 9223372036854775807, n = 9223372036854775807']) AS s;
-- not refused
CREATE FUNCTION counts(n int) RETURNS TABLE (call text, answer text) LANGUAGE sql AS $$
    SELECT c, tried('SELECT ' || replace(c, 'k(2)', format('k(%s)', n))) FROM unnest(ARRAY[
        'outcome FROM alloc_try_count(''u'', k(2), 2)', 'outcome FROM alloc_try_count(''root'', k(2), 2, wait => ''0'')',
        'outcome FROM alloc_try_int(''b'', k(2))', 'count(*) FROM alloc_many(''u'', ARRAY[k(1000), k(2000)])',
        'count(*) FROM alloc_set(''[{"pool": "u"}, {"pool": "b", "consecutive": 2}]'', k(3000))',
        'alloc_resize(''u'', k(2), 4)', 'alloc_resize(''u'', k(1), 1)', 'n FROM alloc_move(''u'', k(1), k(4000))',
        'alloc_renew(''u'', k(2), ''1 hour'') > now()', 'alloc_release(''u'', k(2))', 'alloc_release(''b'', k(1))',
        'n FROM alloc_get(''u'', k(4000))', 'count(*) FROM alloc_units', 'count(*) FROM alloc_pools', 'count(*) FROM alloc_usage()',
        'count(*) FROM alloc_map(''u'')', 'count(*) > 0 FROM alloc_verify()', 'alloc_pool_set(''u'', capacity => 8)',
        'alloc_rebuild(''u'')', 'alloc_pool_drop(''u'')', 'pg_cas_reap() >= 0']) AS c
$$;
-- more capacity than places, and less
BEGIN;
UPDATE cas_internal.alloc_pool SET capacity = 1000, epoch = nextval('cas_internal.alloc_generation') WHERE name = 'u';
SELECT tried('SELECT outcome FROM alloc_try_count(''u'', k(2), 500)');
SELECT * FROM counts(2);
ROLLBACK;
BEGIN;
UPDATE cas_internal.alloc_pool SET capacity = 1, lowered = true, epoch = nextval('cas_internal.alloc_generation') WHERE capacity IS NOT NULL;
SELECT * FROM counts(3);
ROLLBACK;
-- parents that cannot be: the pool itself, and one of another kind
BEGIN;
UPDATE cas_internal.alloc_pool SET parent = id, epoch = nextval('cas_internal.alloc_generation') WHERE name = 'root';
SELECT * FROM counts(4);
ROLLBACK;
BEGIN;
UPDATE cas_internal.alloc_pool SET parent = (SELECT id FROM cas_internal.alloc_pool WHERE name = 'i'), epoch = nextval('cas_internal.alloc_generation')
WHERE name = 'u';
SELECT * FROM counts(5);
ROLLBACK;
-- no wall; no gaps; gaps wherever there can be some
BEGIN;
DELETE FROM cas_internal.alloc_share WHERE n IS NULL;
SELECT * FROM counts(6);
ROLLBACK;
BEGIN;
DELETE FROM cas_internal.alloc_gap;
SELECT * FROM counts(7);
ROLLBACK;
BEGIN;
INSERT INTO cas_internal.alloc_gap (pool, first, n, freed_at)
SELECT p.id, f, n, 'infinity' FROM cas_internal.alloc_pool AS p, unnest('{0,1,8,100,9000000000000000000}'::bigint[]) AS f,
       unnest('{1,2,5,200000000000000000}'::bigint[]) AS n WHERE capacity IS NOT NULL;
SELECT * FROM counts(8);
ROLLBACK;
-- shares that do not match their unit, times, and shares of nobody
BEGIN;
UPDATE cas_internal.alloc_share SET total = 5, expires_at = 'infinity', allocated_at = '-infinity', part = 7 WHERE key IS NOT NULL;
SELECT * FROM counts(9);
ROLLBACK;
BEGIN;
UPDATE cas_internal.alloc_share SET total = NULL, generation = -1, expires_at = '-infinity' WHERE key IS NOT NULL AND pool = origin;
SELECT * FROM counts(10);
ROLLBACK;
BEGIN;
DELETE FROM cas_internal.alloc_share WHERE key IS NOT NULL AND pool <> origin;
SELECT * FROM counts(11);
ROLLBACK;
BEGIN;
UPDATE cas_internal.alloc_share SET key = NULL, total = NULL WHERE key IS NOT NULL;
SELECT * FROM counts(12);
ROLLBACK;
SELECT count(*) FROM alloc_verify();
SELECT * FROM counts(13);
CALL drop_pools();
DROP SCHEMA alloc_hostile_test CASCADE;
