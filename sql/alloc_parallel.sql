-- Claim: what looks at units works in parallel queries, and what changes them
-- says that it cannot; a call for many keys costs no more for each than one.
CREATE SCHEMA alloc_parallel_test;
SET search_path = alloc_parallel_test, public, cas_test;
SELECT alloc_pool_create('i', '{0-999}', 'int'), alloc_pool_create('c', '{10.0.0.0/24}', port_chunk => 4096),
       alloc_pool_create('p', '{10.0.0.0/22}', 'prefix'), alloc_pool_create('top', '{}', 'count', capacity => 1000),
       alloc_pool_create('n', '{}', 'count', capacity => 200, parent => 'top');
SELECT n, (SELECT count(DISTINCT value) FROM alloc_many('i', ARRAY(SELECT k(i) FROM generate_series(1, n) AS i))),
       (SELECT count(DISTINCT value) FROM alloc_many('c', ARRAY(SELECT k(i) FROM generate_series(1, n) AS i), ports => true)),
       (SELECT count(DISTINCT value) FROM alloc_many('p', ARRAY(SELECT k(i) FROM generate_series(1, n) AS i), 30))
FROM unnest('{1,2,100}'::int[]) AS n;
SELECT n, (SELECT sum(a.n) FROM alloc_many('n', ARRAY(SELECT k(i) FROM generate_series(1, n) AS i)) AS a) FROM unnest('{1,2,100}'::int[]) AS n;
-- keys that are named twice, and none
SELECT key, value FROM alloc_many('i', ARRAY[k(2), k(1), k(2)]);
SELECT * FROM alloc_many('i', '{}');

-- functions that say that they are safe, in workers only
CREATE TABLE keys AS SELECT k(n) AS key FROM generate_series(1, 200) AS n;
CREATE FUNCTION got(key uuid) RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN (SELECT value FROM alloc_get('i', key)); END $$;
CREATE FUNCTION found(key uuid) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN (SELECT count(*) FROM alloc_find('c', '10.0.0.1')); END $$;
CREATE FUNCTION taken(key uuid) RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN (SELECT outcome FROM alloc_try_int('i', key)); END $$;
CREATE FUNCTION counted(key uuid) RETURNS text LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN (SELECT outcome FROM alloc_try_count('n', key)); END $$;
CREATE FUNCTION resized(key uuid) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN alloc_resize('n', key, 2); END $$;
CREATE FUNCTION has(key uuid) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN (SELECT n FROM alloc_get('n', key)); END $$;
CREATE FUNCTION given(key uuid) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE
    AS $$ BEGIN RETURN alloc_release('i', key); END $$;
-- the setting has been called debug_parallel_query since PostgreSQL 16
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SET max_parallel_workers_per_gather = 2;
SELECT count(got(key)), min(found(key)) FROM keys;
SELECT count(has(key)), sum(has(key)) FROM keys;
SELECT count(value), count(address), count(ports) FROM alloc_units;
SELECT count(*) FROM alloc_pools;
\set VERBOSITY sqlstate
SELECT count(given(key)) FROM keys;
SELECT count(taken(key)) FROM keys WHERE key > k(100);
SELECT count(counted(key)) FROM keys WHERE key > k(100);
SELECT count(resized(key)) FROM keys WHERE key <= k(100);
\set VERBOSITY default
SELECT count(taken(key)) FROM keys WHERE key <= k(100);
SELECT count(counted(key)), min(counted(key)), max(counted(key)) FROM keys WHERE key <= k(100);
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
RESET parallel_leader_participation;
SELECT * FROM alloc_verify();

CALL drop_pools();
SET client_min_messages = warning;
DROP SCHEMA alloc_parallel_test CASCADE;
