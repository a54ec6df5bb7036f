-- Claim: alloc_free lists exactly what an allocation could have, and takes
-- nothing; alloc_reservations shows what is reserved, to who may see it.
CREATE SCHEMA alloc_free_test;
SET search_path = alloc_free_test, public, cas_test;
SELECT alloc_pool_create('i', '{0-9, 20-29, 40-40}', 'int', 'lowest', cooldown => '1 hour');
SELECT * FROM alloc_free('i');
SELECT count(alloc_int('i', k(n), v)) FROM (VALUES (1, 0), (2, 1), (3, 5), (4, 29), (5, 40)) AS t(n, v);
SELECT alloc_int('i', k(6), 22, ttl => '1 us') > 0, alloc_release('i', k(2)), alloc_reserve('i', '7-25', '"a note"'), alloc_reserve('i', '28-28');
SELECT * FROM alloc_free('i');
SELECT * FROM alloc_free('i', max => 1);
SELECT * FROM alloc_free('i', max => 0);
SELECT alloc_pool_shrink('i', '3-3', drain => true);
SELECT * FROM alloc_free('i', max => NULL);
SELECT * FROM alloc_reservations;
-- as many as usage says, and the next to be had
SELECT u.free = sum(f.size) FROM alloc_usage('i') AS u, alloc_free('i') AS f GROUP BY u.free;
SELECT count(*) FILTER (WHERE outcome = 'allocated') FROM generate_series(10, 20) AS n, alloc_try_int('i', k(n));
SELECT * FROM alloc_free('i');

SELECT alloc_pool_create('p', '{10.0.0.0/24, 10.0.2.0/25}', 'prefix');
SELECT alloc_prefix('p', k(1), 26, '10.0.0.64/26'), alloc_prefix('p', k(2), 28, '10.0.0.160/28'), alloc_reserve('p', '10.0.2.0');
SELECT * FROM alloc_free('p');
SELECT * FROM alloc_free('p', 26);
SELECT * FROM alloc_free('p', 27, 3);
SELECT * FROM alloc_free('p', 24);
SELECT count(*), sum(size) FROM alloc_free('p', 32, NULL);
-- a unit across what is cut
SELECT alloc_pool_shrink('p', '10.0.0.0-10.0.0.79', drain => true);
SELECT * FROM alloc_free('p');
SELECT alloc_free('p', 33);
SELECT alloc_free('p', 0);
SELECT alloc_free('p', -1);
SELECT alloc_free('p', max => -1);
SELECT alloc_free('i', 24);
SELECT alloc_free(NULL);
SELECT alloc_free('none');

SELECT alloc_pool_create('c', '{10.0.0.1-10.0.0.9}', port_chunk => 16384, strategy => 'lowest');
SELECT count(alloc_ports('c', k(n))) FROM generate_series(1, 5) AS n;
SELECT alloc_ip('c', k(6), '10.0.0.5');
SELECT * FROM alloc_free('c');

-- what is left of an address of which a chunk is in use, at either end
SELECT alloc_pool_create('left', '{10.0.0.0-10.0.0.9}', port_chunk => 16384);
SELECT count(alloc_ports('left', k(n))) FROM generate_series(1, 6) AS n;
SELECT count(alloc_release('left', k(n))) FROM generate_series(1, 5) AS n;
SELECT * FROM alloc_free('left');
-- the last row that is asked for, before what is reserved
SELECT alloc_reserve('left', '10.0.0.5-10.0.0.6');
SELECT n, f.* FROM generate_series(0, 3) AS n, alloc_free('left', max => n) AS f;


CREATE ROLE regress_free_stranger;
SET ROLE regress_free_stranger;
SELECT count(*) FROM alloc_reservations;
SELECT alloc_free('p');
RESET ROLE;
DROP ROLE regress_free_stranger;
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_free_test CASCADE;
