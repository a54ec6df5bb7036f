-- Claim: alloc_many() and alloc_release_many() do for many keys what the
-- single calls do for one, all or none, however the keys are named: twice, held
-- already, run out, in another size; in every kind of pool, with and without
-- never-used units.
CREATE SCHEMA alloc_many_test;
SET search_path = alloc_many_test, public, cas_test;

-- keys from..to of a pool: how many units, values, generations
CREATE FUNCTION many(pool text, a int, b int, masklen int DEFAULT NULL, ports bool DEFAULT false,
    OUT units bigint, OUT "values" bigint, OUT generations bigint, OUT in_order bool)
    LANGUAGE sql AS $$
    SELECT count(*), count(DISTINCT m.value || coalesce(m.ports::text, '')), count(DISTINCT m.generation),
           array_agg(m.key ORDER BY m.ordinality) = ARRAY(SELECT k(g) FROM generate_series(a, b) AS g)
    FROM alloc_many(pool, ARRAY(SELECT k(g) FROM generate_series(a, b) AS g), masklen, ports => ports)
         WITH ORDINALITY AS m $$;
CREATE FUNCTION release(pool text, a int, b int) RETURNS bigint LANGUAGE sql AS
    $$ SELECT alloc_release_many(pool, ARRAY(SELECT k(n) FROM generate_series(a, b) AS n)) $$;

-- every kind of pool, from empty to full and beyond
SELECT alloc_pool_create('any', '{0-299, 1000-1099}', 'int');
SELECT alloc_pool_create('lowest', '{0-399}', 'int', 'lowest');
SELECT alloc_pool_create('random', '{0-399}', 'int', 'random');
SELECT alloc_pool_create('ip6', '{2001:db8::1-2001:db8::190}');
SELECT alloc_pool_create('nat', '{10.0.0.0-10.0.0.99}', port_chunk => 16384);
SELECT alloc_pool_create('nets', '{10.1.0.0/22, 10.2.0.0/23, 10.3.0.0/26}', 'prefix');
CREATE TABLE pools(pool text, masklen int, ports bool);
INSERT INTO pools VALUES ('any', NULL, false), ('lowest', NULL, false), ('random', NULL, false),
    ('ip6', NULL, false), ('nat', NULL, true), ('nets', 30, false);
SELECT p.pool, m.* FROM pools AS p, many(p.pool, 1, 150, p.masklen, p.ports) AS m;
-- some are there already
SELECT p.pool, m.* FROM pools AS p, many(p.pool, 101, 250, p.masklen, p.ports) AS m;
SELECT pool, release(pool, 50, 149) FROM pools;
SELECT pool, release(pool, 50, 149) FROM pools;
SELECT p.pool, m.* FROM pools AS p, many(p.pool, 1, 400, p.masklen, p.ports) AS m;
SELECT p.pool, m.* FROM pools AS p, many(p.pool, 1, 400, p.masklen, p.ports) AS m;
SELECT pool, problem, detail FROM alloc_verify();
-- full: all or none
\set VERBOSITY sqlstate
SELECT many('any', 400, 401), many('any', 300, 400);
SELECT many('lowest', 400, 401);
SELECT many('random', 400, 401);
SELECT many('ip6', 390, 401);
SELECT many('nat', 400, 401, NULL, true);
SELECT many('nets', 400, 401, 30);
\set VERBOSITY default
SELECT count(*) FROM pools, alloc_get(pool, k(401));
-- all released, and allocated again from what was released
SELECT pool, release(pool, 1, 1000) FROM pools;
SELECT p.pool, m.* FROM pools AS p, many(p.pool, 1001, 1400, p.masklen, p.ports) AS m;
SELECT pool, problem, detail FROM alloc_verify();
SELECT pool, release(pool, 1001, 1400) FROM pools;

-- named twice, in any order
SELECT key = k(2) AS k2, value FROM alloc_many('lowest', ARRAY[k(2), k(1), k(2), k(3), k(1)]);
SELECT alloc_release_many('lowest', ARRAY[k(1), k(1), k(99), k(2), k(3)]);

-- run out, another request, nothing to do
SELECT count(alloc_int('any', k(n), ttl => '1 us')) FROM generate_series(1, 40) AS n;
SELECT many('any', 1, 100);
SELECT count(*) FROM alloc_units WHERE pool = 'any' AND expires_at IS NULL;
SELECT reason, count(*) FROM alloc_history WHERE pool = 'any' GROUP BY reason ORDER BY reason;
SELECT alloc_ip('nat', k(7));
\set VERBOSITY sqlstate
SELECT many('nat', 1, 50, NULL, true);
SELECT alloc_release_many('any', ARRAY[k(1), NULL]);
SELECT alloc_release_many('any', NULL);
SELECT alloc_release_many('nowhere', '{}');
\set VERBOSITY default
SELECT alloc_release_many('any', '{}');
SELECT * FROM alloc_many('any', '{}');
SELECT count(*) FROM alloc_units WHERE pool = 'nat';

-- ttl, note
SELECT DISTINCT note, expires_at > now() AS expires
FROM alloc_many('ip6', ARRAY(SELECT k(n) FROM generate_series(1, 70) AS n), ttl => '1 h', note => '{"job": 1}');
SELECT DISTINCT note, expires_at > now() AS expires FROM alloc_units WHERE pool = 'ip6';

-- a cooldown holds for each
SELECT alloc_pool_set('ip6', cooldown => '1 d');
SELECT release('ip6', 1, 70);
SELECT cooling FROM alloc_usage('ip6');

-- savepoints
BEGIN;
SELECT many('any', 101, 180);
SAVEPOINT s;
SELECT many('any', 101, 260);
SELECT release('any', 101, 140);
ROLLBACK TO s;
SELECT count(*) FROM alloc_units WHERE pool = 'any';
SELECT many('any', 141, 200);
COMMIT;
SELECT count(*) FROM alloc_units WHERE pool = 'any';
SELECT pool, problem, detail FROM alloc_verify();

-- where nothing can be written
BEGIN READ ONLY;
SELECT many('any', 1, 200);
SAVEPOINT s;
\set VERBOSITY sqlstate
SELECT many('any', 1, 201);
ROLLBACK TO s;
SELECT release('any', 1, 1);
\set VERBOSITY default
ROLLBACK;

-- a snapshot from before
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT (SELECT units FROM many('any', 1, 200)) = 200 AS held, units, in_order FROM many('any', 201, 300);
SELECT release('any', 250, 300);
COMMIT;
SELECT pool, problem, detail FROM alloc_verify();

-- with an index of the owner's on the table
CREATE INDEX alloc_many_mine ON cas_internal.alloc_slot (note);
SELECT many('any', 250, 350);
SELECT release('any', 250, 350);
DROP INDEX cas_internal.alloc_many_mine;
SELECT pool, problem, detail FROM alloc_verify();
-- where some slots behind a gap are held, what the last key did not get is told
SELECT alloc_pool_create('gaps', '{0-5}', 'int', 'lowest'), alloc_pool_create('gaps_top', '{}', 'count', capacity => 10);
SELECT alloc_pool_create('gaps_below', '{0-1}', 'int', parent => 'gaps_top');
SELECT alloc_int('gaps', k(1), 1), alloc_int('gaps', k(3), 3), alloc_int('gaps_below', k(1), 1);
SELECT raises($$SELECT * FROM alloc_many('gaps', ARRAY[k(11), k(12), k(13), k(14), k(15)])$$);
SELECT raises($$SELECT * FROM alloc_many('gaps_below', ARRAY[k(11), k(12)])$$);
SELECT value FROM alloc_many('gaps', ARRAY[k(11), k(12), k(13), k(14)]);
SELECT count(alloc_release_many(p, ARRAY(SELECT key FROM alloc_units AS u WHERE u.pool = p))) FROM unnest(ARRAY['gaps', 'gaps_below']) AS p;
SELECT count(alloc_pool_drop(p)) FROM unnest(ARRAY['gaps', 'gaps_below', 'gaps_top']) AS p;

-- units that run out while the call goes on are given out again, and no call is
-- without an end, though a key had its unit before
SET statement_timeout = '10min';
SELECT alloc_pool_create('brief', '{0-69}', 'int'), alloc_pool_create('brief_low', '{0-1}', 'int', 'lowest'),
    alloc_pool_create('brief_random', '{0-1}', 'int', 'random'), alloc_pool_create('brief_nets', '{10.9.0.0/31}', 'prefix'),
    alloc_pool_create('brief_top', '{}', 'count', capacity => 1000);
SELECT alloc_pool_create('brief_below', '{0-1}', 'int', parent => 'brief_top');
SELECT alloc_int('brief', k(1));
SELECT count(*) FROM alloc_many('brief', ARRAY(SELECT k(n) FROM generate_series(1, 100) AS n), ttl => '1 us');
SELECT count(*) FROM alloc_many('brief_low', ARRAY[k(1), k(2), k(3)], ttl => '1 us');
SELECT count(*) FROM alloc_many('brief_random', ARRAY[k(1), k(2), k(3)], ttl => '1 us');
SELECT count(*) FROM alloc_many('brief_nets', ARRAY[k(1), k(2), k(3)], 32, ttl => '1 us');
SELECT count(*) FROM alloc_many('brief_below', ARRAY(SELECT k(n) FROM generate_series(1, 100) AS n), ttl => '1 us');
SELECT count(alloc_int('brief_below', k(n), ttl => '1 us')) FROM generate_series(1, 100) AS n;
RESET statement_timeout;
SELECT count(alloc_release_many(pool, ARRAY(SELECT key FROM alloc_units AS u WHERE u.pool = p.pool)))
FROM unnest(ARRAY['brief_below', 'brief_top', 'brief', 'brief_low', 'brief_random', 'brief_nets']) AS p(pool);
SELECT count(alloc_pool_drop(pool)) FROM unnest(ARRAY['brief_below', 'brief_top', 'brief', 'brief_low', 'brief_random', 'brief_nets']) AS pool;

SELECT count(alloc_release_many(pool, ARRAY(SELECT key FROM alloc_units AS u WHERE u.pool = p.pool))) FROM pools AS p;
SELECT alloc_pool_drop(pool) FROM pools;
