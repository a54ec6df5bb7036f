-- Claim: what is said of a pool as a whole counts values, whatever parts of
-- units are reserved, drain or lie across ranges: nothing is negative, nothing
-- counted twice, and what is open is reserved, allocated, cooling or free.
CREATE SCHEMA alloc_report_test;
SET search_path = alloc_report_test, public, cas_test;
-- the same from the units listed, value by value
CREATE FUNCTION recount(of_pool text) RETURNS TABLE (capacity bigint, reserved bigint, allocated bigint, free bigint) LANGUAGE sql AS $$
    WITH v(list) AS (
        SELECT array_agg(n) FROM generate_series(0, 255) AS n
    ), open AS (
        SELECT DISTINCT n FROM alloc_pools AS p, unnest(p.ranges) AS r, generate_series(
            split_part(split_part(r, '-', 1), '.', 4)::int,
            split_part(CASE WHEN r LIKE '%-%' THEN split_part(r, '-', 2) ELSE r END, '.', 4)::int) AS n
        WHERE p.pool = of_pool
    ), kept AS (
        SELECT DISTINCT n FROM alloc_pools AS p, unnest(p.reserved) AS r, generate_series(
            split_part(split_part(r, '-', 1), '.', 4)::int,
            split_part(CASE WHEN r LIKE '%-%' THEN split_part(r, '-', 2) ELSE r END, '.', 4)::int) AS n
        WHERE p.pool = of_pool
    ), held AS (
        SELECT DISTINCT h AS n FROM alloc_units AS u, generate_series(
            split_part(host(u.address), '.', 4)::int,
            split_part(host(broadcast(u.address)), '.', 4)::int) AS h
        WHERE u.pool = of_pool
    )
    SELECT (SELECT count(*) FROM (TABLE open UNION TABLE held) AS n),
           (SELECT count(*) FROM (TABLE kept INTERSECT TABLE open EXCEPT TABLE held) AS n),
           (SELECT count(*) FROM held),
           (SELECT count(*) FROM (TABLE open EXCEPT TABLE kept EXCEPT TABLE held) AS n)
$$;
CREATE FUNCTION looked(of_pool text) RETURNS TABLE (capacity numeric, reserved numeric, allocated numeric,
        cooling numeric, free numeric, used numeric, agreed boolean) LANGUAGE sql AS $$
    SELECT u.capacity, u.reserved, u.allocated, u.cooling, u.free, u.percent_used,
           -- what cools is not listed
           ROW(u.capacity, u.allocated, u.reserved + u.cooling + u.free)
               = ROW(r.capacity::numeric, r.allocated::numeric, (r.reserved + r.free)::numeric)
               AND u.reserved <= r.reserved AND u.free <= r.free
    FROM alloc_usage(of_pool) AS u, recount(of_pool) AS r
$$;

-- a unit whose first value is reserved, and others beside
SELECT alloc_pool_create('kept', '{10.0.0.0/24}', 'prefix');
SELECT alloc_prefix('kept', k(1), 25, '10.0.0.0/25');
SELECT alloc_reserve('kept', '10.0.0.0'), alloc_reserve('kept', '10.0.0.100-10.0.0.140');
SELECT * FROM looked('kept');
SELECT alloc_prefix('kept', k(2), 26, '10.0.0.192/26');
SELECT * FROM looked('kept');
SELECT alloc_release('kept', k(1));
SELECT * FROM looked('kept');

-- a unit that drains in part: at its beginning, in the middle, at its end
SELECT alloc_pool_create('half', '{10.0.0.0/24}', 'prefix');
SELECT alloc_prefix('half', k(1), 24);
SELECT alloc_pool_shrink('half', '10.0.0.128/25', drain => true);
SELECT * FROM looked('half');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'half';
SELECT * FROM alloc_map('half');
SELECT * FROM alloc_verify('half');
SELECT alloc_pool_shrink('half', '10.0.0.32/27', drain => true);
SELECT * FROM looked('half');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'half';
SELECT * FROM alloc_map('half');
SELECT alloc_pool_shrink('half', '10.0.0.0/24', drain => true);
SELECT * FROM looked('half');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'half';
SELECT alloc_pool_grow('half', '10.0.0.0/25');
SELECT * FROM looked('half');
SELECT * FROM alloc_map('half');
SELECT * FROM alloc_verify('half');
SELECT alloc_release('half', k(1));
SELECT * FROM looked('half');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'half';
-- what has run out is in use no more
SELECT alloc_pool_create('past', '{10.0.0.0/24}', 'prefix');
SELECT alloc_prefix('past', k(1), 25, ttl => '1 us');
SELECT alloc_pool_shrink('past', '10.0.0.64/26', drain => true);
SELECT ranges, draining FROM alloc_pools WHERE pool = 'past';
SELECT * FROM looked('past');

-- cooling
SELECT alloc_pool_create('cool', '{10.0.0.0/24}', 'prefix', cooldown => '1 hour');
SELECT alloc_prefix('cool', k(1), 26), alloc_prefix('cool', k(2), 26), alloc_release('cool', k(1));
SELECT * FROM looked('cool');
SELECT alloc_reserve('cool', '10.0.0.0/27');
SELECT * FROM looked('cool');
SELECT alloc_pool_shrink('cool', '10.0.0.32/27', drain => true);
SELECT * FROM looked('cool');
SELECT * FROM alloc_map('cool');

-- units of one size
SELECT alloc_pool_create('ips', '{10.0.0.0/28, 10.0.0.100-10.0.0.119}', strategy => 'lowest', cooldown => '1 hour');
SELECT count(alloc_ip('ips', k(n))) FROM generate_series(1, 20) AS n;
SELECT count(alloc_release('ips', k(n))) FROM generate_series(3, 20, 5) AS n;
SELECT alloc_reserve('ips', '10.0.0.2-10.0.0.5'), alloc_reserve('ips', '10.0.0.12-10.0.0.102'), alloc_reserve('ips', '10.0.0.110');
SELECT * FROM looked('ips');
SELECT alloc_pool_shrink('ips', '10.0.0.4-10.0.0.104', drain => true);
SELECT * FROM looked('ips');
SELECT ranges, draining, reserved FROM alloc_pools WHERE pool = 'ips';
SELECT * FROM alloc_map('ips');
SELECT * FROM alloc_verify('ips');

-- chunks: an address counts once
SELECT alloc_pool_create('ports', '{10.0.0.1-10.0.0.8}', port_chunk => 16384, strategy => 'lowest', cooldown => '1 hour');
SELECT count(alloc_ports('ports', k(n))) FROM generate_series(1, 10) AS n;
SELECT alloc_ip('ports', k(11)), alloc_ip('ports', k(12), '10.0.0.8');
SELECT capacity, reserved, allocated, cooling, free, chunks_free, percent_used FROM alloc_usage('ports');
SELECT count(alloc_release('ports', k(n))) FROM generate_series(4, 9) AS n;    -- .2 cools, .3 is in use
SELECT capacity, reserved, allocated, cooling, free, chunks_free, percent_used FROM alloc_usage('ports');
SELECT alloc_reserve('ports', '10.0.0.3-10.0.0.5');
SELECT capacity, reserved, allocated, cooling, free, chunks_free, percent_used FROM alloc_usage('ports');
SELECT alloc_pool_shrink('ports', '10.0.0.1-10.0.0.2', drain => true);
SELECT capacity, reserved, allocated, cooling, free, chunks_free, percent_used FROM alloc_usage('ports');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'ports';
SELECT * FROM alloc_map('ports');
SELECT * FROM alloc_verify('ports');

-- many ranges: nothing takes their number times that of the units
SELECT alloc_pool_create('many', ARRAY(SELECT format('%s-%s', 100 * n, 100 * n + 49) FROM generate_series(0, 999) AS n), 'int');
SET debug_discard_caches = 0;
SELECT count(alloc_int('many', k(n))) FROM generate_series(1, 5000) AS n;
RESET debug_discard_caches;
SELECT alloc_reserve('many', '49000-50000');
SELECT count(*) FROM (SELECT pg_stat_force_next_flush()) AS f; -- what was read until now is not counted
BEGIN;
CREATE FUNCTION read(tables text[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_all_tables
    WHERE schemaname = 'cas_internal' AND relname = ANY (tables) $$;
SELECT capacity, reserved, allocated, free FROM alloc_usage('many');
SELECT count(*) FROM alloc_map('many');
SELECT cardinality(ranges) FROM alloc_pools WHERE pool = 'many';
SELECT count(*), max(value::int) FROM alloc_units WHERE pool = 'many';
SELECT count(*) FROM alloc_verify('many');
SELECT read('{alloc_range}') < 50000 AS ranges, read('{alloc_slot}') < 100000 AS slots;
ROLLBACK;

-- wherever the functions have gone
ALTER SCHEMA public RENAME TO alloc_report_moved;
SELECT pool, capacity, free FROM alloc_report_moved.alloc_usage('past');
SELECT count(*) FROM alloc_report_moved.alloc_map('past');
SELECT count(*) FROM alloc_report_moved.alloc_verify('past');
SELECT alloc_report_moved.alloc_pool_grow('past', '10.0.1.0/24'), alloc_report_moved.alloc_pool_shrink('past', '10.0.1.0/24');
SELECT value FROM alloc_report_moved.alloc_units WHERE pool = 'half';
SELECT draining FROM alloc_report_moved.alloc_pools WHERE pool = 'half';
SELECT alloc_report_moved.alloc_rebuild('past'), alloc_report_moved.pg_cas_reap() >= 0;
ALTER SCHEMA alloc_report_moved RENAME TO public;

-- under SERIALIZABLE, what is counted, or drawn, does not count as read, and is the same
SELECT alloc_pool_create('read', '{1-1000}', 'int', cooldown => '1 day'), alloc_pool_create('shares', '{}', 'count', capacity => 100, cooldown => '1 day');
SELECT count(alloc_int('read', k(i))), count(alloc_release('read', k(i))) FILTER (WHERE i <= 3) FROM generate_series(1, 300) i;
SELECT alloc_count('shares', k(1), 20), alloc_count('shares', k(2), 7), alloc_release('shares', k(2));
SELECT (alloc_int('read', k(0), ttl => '1 microsecond'), alloc_count('shares', k(3), 5, '1 microsecond')) IS NOT NULL;
CREATE TEMP TABLE counted AS SELECT * FROM alloc_usage('read') UNION ALL SELECT * FROM alloc_usage('shares');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT * FROM alloc_usage('read') UNION ALL SELECT * FROM alloc_usage('shares') EXCEPT SELECT * FROM counted;
SELECT alloc_map FROM alloc_map('shares') UNION ALL SELECT count(*)::text FROM alloc_map('read') UNION ALL SELECT count(*)::text FROM alloc_free('read');
SELECT relation::regclass FROM pg_locks WHERE mode = 'SIReadLock' AND pid = pg_backend_pid()
AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'cas_internal'::regnamespace);
COMMIT;
SELECT pool, allocated, cooling FROM counted;
DROP TABLE counted;
SELECT count(alloc_release(pool, key)) FROM alloc_units WHERE pool IN ('read', 'shares');
SELECT alloc_rebuild('read'), alloc_rebuild('shares');
SELECT alloc_pool_drop('read'), alloc_pool_drop('shares');

-- all that there are, by name
SELECT pool, capacity, free FROM alloc_usage();
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_report_test CASCADE;
