-- Claim: alloc_set() gives one key several units, from several pools, all or
-- none; each member stands for itself, a list of pools is tried in its order,
-- and whatever is wrong is named with its position.
CREATE SCHEMA alloc_set_test;
SET search_path = alloc_set_test, public, cas_test;
SELECT alloc_pool_create('v4', '{10.0.0.0/29}', strategy => 'lowest'),
       alloc_pool_create('v6-a', '{2001:db8::1-2001:db8::2}', strategy => 'lowest'),
       alloc_pool_create('v6-b', '{2001:db8:1::1-2001:db8:1::4}', strategy => 'lowest'),
       alloc_pool_create('macs', '{02:00:00:00:00:00-02:00:00:00:00:0f}', 'mac', 'lowest'),
       alloc_pool_create('nets', '{10.1.0.0/26}', 'prefix', 'lowest'),
       alloc_pool_create('nat', '{10.2.0.1-10.2.0.2}', port_chunk => 32768, strategy => 'lowest'),
       alloc_pool_create('vlans', '{100-109}', 'int', 'lowest');

-- one of each
SELECT pool, value, ports, last, note, expires_at > now() AS expires, key = k(1) AS k1
FROM alloc_set('[{"pool": "v4"}, {"pool": ["v6-a", "v6-b"]}, {"pool": "macs"}, {"pool": "nets", "masklen": 28},
                 {"pool": "nat", "ports": true}, {"pool": "vlans", "consecutive": 3}]', k(1), '1 h', '{"vm": 1}');
-- again; more; less; in another order; with what it has; read-only
SELECT pool, value FROM alloc_set('[{"pool": "nets", "masklen": 28}, {"pool": "v4"}]', k(1));
SELECT pool, value FROM alloc_set('[{"pool": "v4", "value": "10.0.0.1"}, {"pool": "vlans", "consecutive": 3, "value": 100},
    {"pool": "nets", "value": "10.1.0.0/28"}, {"pool": "nat", "value": "10.2.0.1:0-32767"}]', k(1));
BEGIN READ ONLY;
SELECT pool, value FROM alloc_set('[{"pool": "v4"}, {"pool": ["v6-b", "v6-a"]}]', k(1));
SAVEPOINT s;
SELECT alloc_set('[{"pool": "v4"}]', k(2));
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT pool, value FROM alloc_set('[]', k(2));
-- a value that is asked for
SELECT pool, value, n, last FROM alloc_set('[{"pool": "vlans", "value": "107", "consecutive": 2}, {"pool": "macs", "value": "02:00:00:00:00:0a"},
    {"pool": "nat", "value": "10.2.0.2"}, {"pool": "nets", "masklen": 30, "value": "10.1.0.60/30"}]', k(2));

-- all or none: the member is named
SELECT alloc_set('[{"pool": "v4"}, {"pool": "vlans", "consecutive": 5}]', k(3));
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_set('[{"pool": "macs"}, {"pool": "nets", "masklen": 27}, {"pool": "v4"}]', k(3));
SELECT alloc_set('[{"pool": "v4"}, {"pool": "macs", "value": "02:00:00:00:00:0a"}]', k(3));
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_set('[{"pool": "v4"}, {"pool": "nets", "masklen": 29}]', k(1));
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_set('[{"pool": "v4"}, {"pool": "vlans", "value": 7}]', k(3));
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM alloc_units WHERE key = k(3);

-- pools in a list: the first that has room; the one that has something
SELECT value FROM alloc_set('[{"pool": ["v6-a", "v6-b"]}]', k(4));
SELECT value FROM alloc_set('[{"pool": ["v6-a", "v6-b"]}]', k(5));
SELECT value FROM alloc_set('[{"pool": ["v6-b", "v6-a"]}]', k(4));
SELECT alloc_release('v6-a', k(4));
SELECT value FROM alloc_set('[{"pool": ["v6-a", "v6-b"]}]', k(5));
SELECT value FROM alloc_set('[{"pool": ["v6-a", "v6-b"]}]', k(6));
-- the value says which
SELECT value FROM alloc_set('[{"pool": ["v6-a", "v6-b"], "value": "2001:db8:1::3"}]', k(7));
SELECT alloc_set('[{"pool": ["v6-a", "v6-b"], "value": "2001:db8:1::3"}]', k(8));
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_set('[{"pool": ["v6-a", "v6-b"], "value": "2001:db8:2::3"}]', k(8));
SELECT alloc_set('[{"pool": ["v6-a", "v6-b"], "value": "2001:db8::1"}]', k(7));
\echo :LAST_ERROR_SQLSTATE
-- none has room
SELECT count(alloc_ip('v6-b', k(n))) FROM generate_series(10, 11) AS n;
\set VERBOSITY terse
SELECT alloc_set('[{"pool": "v4"}, {"pool": ["v6-a", "v6-b"]}]', k(12));
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_renew('v6-b', k(11), '1 d') > now() AS renewed;
\set VERBOSITY terse
SELECT alloc_set('[{"pool": "v4"}, {"pool": ["v6-a", "v6-b"]}]', k(12));
\set VERBOSITY default
SELECT count(*) FROM alloc_units WHERE key = k(12);
-- what has run out counts as free
SELECT alloc_renew('v6-b', k(11), '1 us') IS NOT NULL AS renewed;
SELECT value FROM alloc_set('[{"pool": ["v6-a", "v6-b"]}]', k(12));

-- malformed
CREATE FUNCTION malformed(request jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text; detail text; hint text;
BEGIN
    PERFORM alloc_set(request, k(20));
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN sqlstate || ' ' || message || ' ' || detail || coalesce(' ' || hint, '');
END $$;
SELECT malformed(request) FROM unnest(ARRAY['{}', '1', '"v4"', 'null', '["v4"]', '[{}]', '[{"pool": 1}]', '[{"pool": null}]', '[{"pool": []}]',
    '[{"pool": {}}]', '[{"pool": ["v4", 1]}]', '[{"pool": "nowhere"}]', '[{"pool": "v4"}, {"pool": "v4"}]',
    '[{"pool": "v4"}, {"pool": ["v6-a", "v4"]}]', '[{"pool": "v4", "size": 1}]', '[{"pool": "v4"}, {"pool": "vlans"}, {"pool": "nets"}]',
    '[{"pool": "v4"}, {"pool": "vlans"}, {"pool": "nets", "masklen": "28"}]', '[{"pool": "nets", "masklen": 33}]',
    '[{"pool": "nets", "masklen": 28.5}]', '[{"pool": "nets", "masklen": 4}]', '[{"pool": "v4", "masklen": 32}]',
    '[{"pool": "v4", "value": true}]', '[{"pool": "v4", "value": "10.0.0"}]', '[{"pool": "v4", "value": "10.0.0.1/29"}]',
    '[{"pool": "v4", "value": "2001:db8::1"}]', '[{"pool": "vlans", "value": -1}]', '[{"pool": "nets", "value": "10.1.0.1/28"}]',
    '[{"pool": "nets", "value": "10.1.0.0/28", "masklen": 29}]', '[{"pool": "v4", "ports": true}]', '[{"pool": "nat", "ports": 1}]',
    '[{"pool": "nat", "ports": true, "value": "10.2.0.1"}]', '[{"pool": "nat", "value": "10.2.0.1:5-6"}]',
    '[{"pool": "vlans", "consecutive": 0}]', '[{"pool": "vlans", "consecutive": "2"}]', '[{"pool": "vlans", "consecutive": 70000}]',
    '[{"pool": "nets", "masklen": 28, "consecutive": 2}]', '[{"pool": "nat", "ports": true, "consecutive": 2}]']::jsonb[]) AS request;
\set VERBOSITY sqlstate
SELECT alloc_set(NULL, k(1));
SELECT alloc_set('[]', NULL);
SELECT alloc_set('[{"pool": "v4"}]', k(20), '-1 s');
\set VERBOSITY default
CREATE ROLE alloc_set_stranger;
SELECT alloc_grant('v4', 'alloc_set_stranger');
SET ROLE alloc_set_stranger;
SELECT alloc_set('[{"pool": "v4"}, {"pool": "macs"}]', k(20));
RESET ROLE;
SELECT alloc_revoke('v4', 'alloc_set_stranger');
DROP ROLE alloc_set_stranger;
SELECT count(*) FROM alloc_units WHERE key = k(20);

-- counted pools, also above others; a level that is full is named
SELECT alloc_pool_create('quota', '{}', 'count', capacity => 4), alloc_pool_create('gpus', '{}', 'count', capacity => 3, parent => 'quota'),
       alloc_pool_create('ips', '{10.3.0.0-10.3.0.9}', strategy => 'lowest', parent => 'quota');
SELECT pool, value, n FROM alloc_set('[{"pool": "ips"}, {"pool": "gpus", "n": 2}]', k(30));
SELECT pool, value, n FROM alloc_set('[{"pool": "gpus", "n": 2}, {"pool": "ips"}]', k(30));
SELECT alloc_set('[{"pool": "gpus", "n": 1}, {"pool": "ips"}]', k(31));
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_set('[{"pool": "gpus"}, {"pool": "ips"}]', k(30));
\echo :LAST_ERROR_SQLSTATE
SELECT pool, value FROM alloc_set('[{"pool": ["gpus", "vlans"], "n": 2}]', k(30));
SELECT pool, value FROM alloc_set('[{"pool": "gpus"}]', k(31));
SELECT pool, value FROM alloc_set('[{"pool": ["ips", "v4"]}]', k(32));
SELECT malformed(request) FROM unnest(ARRAY['[{"pool": "gpus", "n": 0}]', '[{"pool": "gpus", "n": "1"}]', '[{"pool": "gpus", "value": 1}]',
    '[{"pool": "gpus", "consecutive": 1}]', '[{"pool": "v4", "n": 1}]']::jsonb[]) AS request;
SELECT pool, allocated FROM alloc_usage() WHERE pool IN ('quota', 'gpus', 'ips') ORDER BY pool;

-- why there is nothing in a pool is remembered while the others are searched
SELECT count(alloc_pool_create('full-' || n, '{}', 'count', capacity => 0)), count(alloc_pool_create('below-' || n, '{10.4.0.0-10.4.0.9}', parent => 'full-' || n))
FROM generate_series(1, 30) AS n;
SELECT alloc_set(jsonb_build_array(jsonb_build_object('pool', (SELECT jsonb_agg('below-' || n) FROM generate_series(1, 30) AS n))), k(33));
SELECT count(alloc_pool_drop('below-' || n)), count(alloc_pool_drop('full-' || n)) FROM generate_series(1, 30) AS n;

-- a savepoint undoes it
BEGIN;
SAVEPOINT s;
SELECT count(*) FROM alloc_set('[{"pool": "v4"}, {"pool": "macs"}, {"pool": "vlans", "consecutive": 2}]', k(21));
ROLLBACK TO s;
SELECT count(*) FROM alloc_units WHERE key = k(21);
SELECT pool, value FROM alloc_set('[{"pool": "v4"}]', k(21));
COMMIT;
SELECT pool, problem, detail FROM alloc_verify();
SELECT count(alloc_release(pool, key)) FROM (SELECT DISTINCT pool, key FROM alloc_units) AS u;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools WHERE pool IN ('v4', 'v6-a', 'v6-b', 'macs', 'nets', 'nat', 'vlans', 'ips', 'gpus');
SELECT alloc_pool_drop('quota');
