-- Claim: what a session knows of pools is bounded, whole and follows changes,
-- and what a call uses is not forgotten under it.
CREATE SCHEMA alloc_cache_test;
SET search_path = alloc_cache_test, public, cas_test;
CREATE FUNCTION known() RETURNS TABLE (pools bigint, bytes numeric) LANGUAGE sql AS $$
    SELECT count(*), sum(total_bytes) FROM pg_backend_memory_contexts WHERE name = 'pg_cas pool' $$;

-- (where each look into a catalog takes long, this would take hours)
SET debug_discard_caches = 0;
-- many pools: what was used longest ago is forgotten
SELECT count(alloc_pool_create('p' || n, '{1-9}', 'int')) FROM generate_series(1, 2100) AS n;
SELECT count(alloc_int('p' || n, k(1))) FROM generate_series(1, 2100) AS n;
SELECT pools <= 2048 AS bounded, pools > 2000 AS used, bytes < 4096 * pools AS small FROM known();
SELECT count(alloc_int('p' || n, k(2))) FROM generate_series(1, 2100) AS n;
SELECT pg_cas_reap() >= 0;
SELECT pools <= 2048 AS bounded FROM known();
-- large pools
SELECT count(alloc_pool_create('large' || n, ARRAY(SELECT (3 * v)::text FROM generate_series(1, 20000) AS v), 'int'))
FROM generate_series(1, 6) AS n;
SELECT count(alloc_int('large' || n, k(1))) FROM generate_series(1, 6) AS n;
SELECT bytes < 16.5 * 1024 * 1024 AS bounded, bytes > 10 * 1024 * 1024 AS used FROM known();
SELECT count(alloc_int('large' || n, k(2))) FROM generate_series(1, 6) AS n;

-- a call that makes others use pools meanwhile: an index of somebody's own
CREATE FUNCTION churn(key uuid) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.alloc_get('p' || n, key) FROM generate_series(1, 300) AS n;
    RETURN 1;
END $$;
CREATE INDEX churn ON cas_internal.alloc_past (alloc_cache_test.churn(key));
SELECT alloc_int('large1', k(3)), alloc_release('large1', k(3));
SELECT count(*) FROM alloc_many('large2', ARRAY(SELECT k(n) FROM generate_series(10, 20) AS n), ttl => '1 us');
SELECT count(*) FROM alloc_many('large2', ARRAY(SELECT k(n) FROM generate_series(10, 20) AS n), ttl => '1 us');
SELECT count(*) FROM alloc_many('large2', ARRAY(SELECT k(n) FROM generate_series(21, 29) AS n));
RESET debug_discard_caches;
DROP INDEX cas_internal.churn;
SELECT * FROM alloc_verify('large2');

-- an error on the way leaves nothing half known
BEGIN;
UPDATE cas_internal.alloc_range AS r SET last = 340282366920938463463374607431768211455
FROM cas_internal.alloc_pool AS p WHERE p.id = r.pool AND p.name = 'p300';
UPDATE cas_internal.alloc_pool SET epoch = nextval('cas_internal.alloc_generation') WHERE name = 'p300';
SAVEPOINT s;
SELECT alloc_int('p300', k(9));
ROLLBACK TO s;
SELECT alloc_int('p300', k(9));
ROLLBACK TO s;
UPDATE cas_internal.alloc_range AS r SET last = 9
FROM cas_internal.alloc_pool AS p WHERE p.id = r.pool AND p.name = 'p300';
SELECT alloc_int('p300', k(9));
ROLLBACK;
SELECT alloc_int('p300', k(9));

SET debug_discard_caches = 0;
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
-- (plans made when the tables were empty would read them whole for each pool)
ANALYZE cas_internal.alloc_range, cas_internal.alloc_past;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_cache_test CASCADE;
