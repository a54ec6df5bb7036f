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
SELECT s, tried('UPDATE cas_internal.alloc_pool SET ' || s) FROM unnest(ARRAY[
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

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_hostile_test CASCADE;
