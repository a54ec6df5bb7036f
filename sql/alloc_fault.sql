-- Claim: what stands in the tables against all rules raises an error that says
-- so; no call crashes or goes round for ever, and none gives out a value that
-- is not the pool's.
CREATE SCHEMA alloc_fault_test;
SET search_path = alloc_fault_test, public, cas_test;
CREATE FUNCTION id(pool text) RETURNS int LANGUAGE sql AS 'SELECT id FROM cas_internal.alloc_pool WHERE name = $1';
\set VERBOSITY sqlstate
-- each call, in a subtransaction that is rolled back: what it raises, or that
-- it gives values of the pool
CREATE FUNCTION calls(pool text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    mixed boolean := pool LIKE 'p%';
    act text; code text; message text; value text; n int := 0;
BEGIN
    FOREACH act IN ARRAY CASE WHEN mixed THEN ARRAY[
        'SELECT value FROM alloc_try_prefix(%L, gen_random_uuid(), 30)', 'SELECT value FROM alloc_try_prefix(%L, gen_random_uuid(), 28)',
        'SELECT value FROM alloc_try_prefix(%L, gen_random_uuid(), 30, ''10.0.0.0/30'')',
        'SELECT alloc_prefix(%L, k(1), 30)'] ELSE ARRAY[
        'SELECT value FROM alloc_try_int(%L, gen_random_uuid())', 'SELECT value FROM alloc_try_int(%L, gen_random_uuid(), 100)', 'SELECT alloc_int(%L, k(1))'] END
        || ARRAY['SELECT min(value) FROM alloc_get(%L, k(1))', 'SELECT min(value) FROM alloc_find(%L, ' || CASE WHEN mixed THEN '''0.0.0.0/0''' ELSE '''100''' END || ')',
        'SELECT alloc_release(%L, k(1))', 'SELECT min(problem) FROM alloc_verify(%L)', 'SELECT alloc_rebuild(%L)',
        'SELECT capacity FROM alloc_usage(%L)'] LOOP
        n := n + 1;
        BEGIN
            EXECUTE format(act, pool) INTO value;
            IF (act ~ 'try|int|prefix|get|find' AND value <> '' AND NOT CASE WHEN mixed THEN value::inet <<= '10.0.0.0/28' ELSE value::numeric BETWEEN 100 AND 103 END) THEN
                RETURN NEXT format('%s gives %s', act, value);
            END IF;
            RAISE 'back' USING ERRCODE = 'P0002';
        EXCEPTION WHEN no_data_found THEN NULL;
        WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
            RETURN NEXT code || CASE code WHEN 'XX001' THEN ' ' || message WHEN 'XX000' THEN ' ' || act ELSE '' END;
        END;
    END LOOP;
END $$;
CREATE FUNCTION breaking(statement text, VARIADIC pools text[] DEFAULT '{}') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    code text; line text; pool text;
BEGIN
    BEGIN
        EXECUTE statement;
        UPDATE cas_internal.alloc_pool SET epoch = nextval('cas_internal.alloc_generation');
        FOREACH pool IN ARRAY pools LOOP
            FOR line IN SELECT DISTINCT c FROM calls(pool) AS c ORDER BY 1 LOOP
                RETURN NEXT pool || ': ' || line;
            END LOOP;
        END LOOP;
        RAISE 'back' USING ERRCODE = 'P0002';
    EXCEPTION WHEN no_data_found THEN NULL;
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE;
        RETURN NEXT 'refused: ' || code;
    END;
END $$;
SELECT alloc_pool_create('any', '{100-103}', 'int'), alloc_pool_create('lowest', '{100-103}', 'int', 'lowest'),
       alloc_pool_create('random', '{100-103}', 'int', 'random'), alloc_pool_create('p', '{10.0.0.0/28}', 'prefix');
SELECT alloc_int(p, k(1)) IS NOT NULL, alloc_int(p, k(2)) IS NOT NULL, alloc_release(p, k(2)) FROM unnest('{any,lowest,random}'::text[]) AS p;
SELECT alloc_prefix('p', k(1), 30);
SELECT calls(p) FROM unnest('{any,lowest,random,p}'::text[]) AS p;

-- numbers that are none of ours: refused by the tables
SELECT n, t, breaking(format(t, n)) FROM unnest('{NaN,-1,Infinity,-Infinity,1.5,340282366920938463463374607431768211456}'::text[]) AS n,
    unnest(ARRAY['UPDATE cas_internal.alloc_slot SET first_slot = %L WHERE pool = id(''any'') AND key = k(1)',
                 'UPDATE cas_internal.alloc_frontier SET slot = %L', 'UPDATE cas_internal.alloc_range SET last = %L WHERE pool = id(''any'')',
                 'INSERT INTO cas_internal.alloc_reserved VALUES (id(''any''), %1$L, %1$L)']) AS t;
SELECT o, breaking(format('UPDATE cas_internal.alloc_slot SET size_log2 = %s WHERE pool = id(''p'')', o)) FROM unnest('{-1,113,32767}'::int[]) AS o;

-- those that are, in the wrong place
SELECT breaking('UPDATE cas_internal.alloc_slot SET first_slot = 340282366920938463463374607431768211455 WHERE key = k(1)', 'any', 'lowest', 'random', 'p');
SELECT breaking('UPDATE cas_internal.alloc_slot SET size_log2 = 112 WHERE key = k(1)', 'any', 'lowest', 'random', 'p');
SELECT breaking('UPDATE cas_internal.alloc_slot SET first_slot = first_slot + 1 WHERE key = k(1) AND pool = id(''p'')', 'p');
SELECT breaking('UPDATE cas_internal.alloc_slot SET key = NULL, expires_at = NULL', 'any', 'lowest', 'random', 'p');
SELECT breaking('UPDATE cas_internal.alloc_slot SET key = NULL, queue_place = ''NaN'', expires_at = ''-infinity''', 'any', 'lowest', 'random', 'p');
SELECT breaking('UPDATE cas_internal.alloc_slot SET expires_at = ''infinity''', 'any', 'lowest', 'random', 'p');
SELECT breaking('UPDATE cas_internal.alloc_slot SET generation = NULL, allocated_at = NULL', 'any', 'lowest', 'random', 'p');
SELECT breaking('UPDATE cas_internal.alloc_slot SET queue_place = -1 WHERE key IS NULL', 'any', 'lowest', 'random');
SELECT breaking('UPDATE cas_internal.alloc_slot SET slots = NULL', 'p');
SELECT breaking('UPDATE cas_internal.alloc_slot SET slots = ''empty''', 'p');
SELECT breaking('INSERT INTO cas_internal.alloc_slot (pool, first_slot, size_log2, key, key_row, generation, allocated_at) SELECT pool, 1000 + n, 0, key, n, generation, now() FROM cas_internal.alloc_slot, generate_series(1, 40) AS n WHERE key = k(1) AND first_slot < 1000', 'any', 'lowest', 'random');
SELECT f, breaking(format('UPDATE cas_internal.alloc_frontier SET slot = %s', f), 'any', 'lowest', 'random') FROM unnest('{0,99,104,1000000000000000000000}'::numeric[]) AS f;
SELECT f, breaking(format('UPDATE cas_internal.alloc_frontier SET slot = 104, pending = %L', f), 'any', 'lowest', 'random')
FROM unnest(ARRAY['{}', '{102}', '{102,103,104}', '{103,102}', '{NULL,NULL}', '{102,NULL}', '{NaN,NaN}', '{-5,103}', '{0,1000000000000000000000}', '{{102,102},{103,103}}', '[5:6]={102,103}', '{1e60,1e60}']) AS f;
SELECT breaking('DELETE FROM cas_internal.alloc_frontier', 'any', 'lowest', 'random');
SELECT breaking('DELETE FROM cas_internal.alloc_range', 'any', 'lowest', 'random', 'p');
SELECT breaking('UPDATE cas_internal.alloc_range SET first = 0, last = 340282366920938463463374607431768211454 WHERE pool = id(''random'')', 'random') IS NULL;

-- an index that lets nothing more in: an error, after a bounded number of tries
-- (thousands, which would take hours if caches were discarded in each)
SET debug_discard_caches = 0;
DELETE FROM cas_internal.alloc_slot WHERE key IS NOT NULL AND NOT (pool = id('any') AND key = k(1));
CREATE UNIQUE INDEX wall ON cas_internal.alloc_slot ((key IS NOT NULL)) WHERE key IS NOT NULL;
SELECT alloc_pool_create('big', '{0-1000000}', 'int', 'lowest'), alloc_pool_create('bigp', '{10.0.0.0/8}', 'prefix');
SELECT alloc_int('any', k(9));
SELECT alloc_int('big', k(9));
SELECT alloc_prefix('bigp', k(9), 30);
SELECT alloc_int('big', k(9), 7);
SELECT alloc_prefix('bigp', k(9), 30, '10.0.0.0/30');
\set VERBOSITY terse
SELECT alloc_int('big', k(9));
SELECT alloc_int('big', k(9), 7);
DROP INDEX cas_internal.wall;
SELECT alloc_int('big', k(9), 7);

-- a sequence that counts down: generations rise all the same, versions do not
SELECT alloc_pool_create('floor', '{0-9}', 'int');
SELECT last_value AS last FROM cas_internal.alloc_generation \gset
ALTER SEQUENCE cas_internal.alloc_generation INCREMENT -1 MINVALUE -1000;
SELECT generation > :last AS rising FROM alloc_try_int('floor', k(2));
ALTER SEQUENCE cas_internal.alloc_generation INCREMENT 1 MINVALUE 1;
CREATE TABLE falling (id int PRIMARY KEY);
SELECT cas_enable('falling', writers => 'echo', versions => 'table');
ALTER SEQUENCE falling_resource_version_seq INCREMENT -1 MINVALUE -1000 RESTART 0;
SELECT regexp_replace(raises('INSERT INTO falling VALUES (1)'), 'sequence \d+', 'sequence N');
DROP TABLE falling;
RESET debug_discard_caches;
SELECT alloc_int('floor', k(1));

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools;
SET client_min_messages = warning;
DROP SCHEMA alloc_fault_test CASCADE;
