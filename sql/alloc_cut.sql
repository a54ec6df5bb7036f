-- Claim: no two keys hold values that overlap, whatever of a pool has been
-- cut, drained and grown back while units ran out or cooled in it; a block is
-- given out only if it lies wholly in one range that is given out.
CREATE SCHEMA alloc_cut_test;
SET search_path = alloc_cut_test, public, cas_test;
-- the units that are held, and those that overlap
CREATE VIEW held AS SELECT pool, key, value FROM alloc_units ORDER BY pool, address, value;
CREATE VIEW twice AS
    SELECT a.pool, a.value, b.value AS other FROM alloc_units AS a JOIN alloc_units AS b
    ON a.pool = b.pool AND a.key < b.key AND a.address && b.address
       AND coalesce(a.ports && b.ports, true);
CREATE PROCEDURE until_free(pool text) LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM alloc_units AS u WHERE u.pool = until_free.pool) LOOP
        PERFORM pg_sleep(0.001);
    END LOOP;
END $$;

-- a prefix that has run out, and then half of it is taken away
SELECT alloc_pool_create('p', '{10.0.0.0/24}', 'prefix');
SELECT alloc_prefix('p', k(1), 24, ttl => '10 ms');
CALL until_free('p');
SELECT alloc_pool_shrink('p', '10.0.0.128/25');
SELECT outcome, value FROM alloc_try_prefix('p', k(1), 24);
SELECT alloc_prefix('p', k(1), 24);
SELECT alloc_pool_grow('p', '10.0.0.128/25');
SELECT alloc_prefix('p', k(2), 25);
SELECT alloc_prefix('p', k(3), 25);
SELECT * FROM held;
SELECT * FROM twice;
SELECT * FROM alloc_verify();

-- the other half; in it the unit's row does not begin
SELECT alloc_pool_create('q', '{10.0.0.0/24}', 'prefix');
SELECT alloc_prefix('q', k(1), 24, ttl => '10 ms');
CALL until_free('q');
SELECT alloc_pool_shrink('q', '10.0.0.0/25');
SELECT outcome, value FROM alloc_try_prefix('q', k(1), 25);
SELECT alloc_pool_grow('q', '10.0.0.0/25');
SELECT outcome, value FROM generate_series(2, 3) AS n, alloc_try_prefix('q', k(n), 25);
SELECT * FROM held WHERE pool = 'q';
SELECT * FROM twice;

-- renewed meanwhile, it can be neither cut nor given to others
SELECT alloc_pool_create('r', '{10.0.0.0/24}', 'prefix');
SELECT alloc_prefix('r', k(1), 24, ttl => '1 hour');
SELECT alloc_pool_shrink('r', '10.0.0.0/25');
SELECT alloc_pool_shrink('r', '10.0.0.128/25');
SELECT alloc_pool_shrink('r', '10.0.0.128/25', drain => true);
SELECT outcome, value FROM alloc_try_prefix('r', k(1), 24);
SELECT outcome FROM alloc_try_prefix('r', k(2), 25);
SELECT alloc_pool_grow('r', '10.0.0.128/25');
SELECT outcome FROM alloc_try_prefix('r', k(2), 25);

-- run out in a pool of which half drains, it is not its key's again as a whole,
-- in neither half the key's who asks for less
SELECT alloc_pool_create('s' || n, '{10.0.0.0/24}', 'prefix') FROM generate_series(1, 2) AS n;
SELECT alloc_prefix('s' || n, k(1), 24, ttl => '1 hour') FROM generate_series(1, 2) AS n;
SELECT alloc_pool_shrink('s1', '10.0.0.128/25', drain => true), alloc_pool_shrink('s2', '10.0.0.0/25', drain => true);
UPDATE cas_internal.alloc_slot AS s SET expires_at = 'epoch' FROM cas_internal.alloc_pool AS p WHERE p.id = s.pool AND p.name IN ('s1', 's2');
SELECT alloc_prefix('s1', k(1), 24);
SELECT alloc_prefix('s2', k(1), 24);
SELECT outcome, value FROM generate_series(1, 2) AS n, alloc_try_prefix('s' || n, k(2), 25);
SELECT outcome, value FROM generate_series(1, 2) AS n, alloc_try_prefix('s' || n, k(1), 25);
SELECT * FROM twice;
SELECT * FROM alloc_verify();

-- what cools goes on cooling, whichever end of it is cut
SELECT alloc_pool_create('c' || n, '{10.0.0.0/24}', 'prefix', cooldown => '1 hour') FROM generate_series(1, 2) AS n;
SELECT alloc_prefix('c' || n, k(1), 24) FROM generate_series(1, 2) AS n;
SELECT alloc_release('c' || n, k(1)) FROM generate_series(1, 2) AS n;
SELECT alloc_pool_shrink('c1', '10.0.0.0/25'), alloc_pool_shrink('c2', '10.0.0.128/25');
SELECT outcome, value, ready_at > now() AS later FROM generate_series(1, 2) AS n, alloc_try_prefix('c' || n, k(2), 25);
SELECT outcome, value, ready_at > now() AS later FROM generate_series(1, 2) AS n, alloc_try_prefix('c' || n, k(2), 28);
SELECT outcome, ready_at > now() AS later FROM generate_series(1, 2) AS n, alloc_try_prefix('c' || n, k(2), 28, CASE n WHEN 1 THEN '10.0.0.240/28' ELSE '10.0.0.0/28' END::cidr);
SELECT alloc_pool_grow('c1', '10.0.0.0/25'), alloc_pool_grow('c2', '10.0.0.128/25');
SELECT outcome FROM generate_series(1, 2) AS n, alloc_try_prefix('c' || n, k(2), 28, CASE n WHEN 1 THEN '10.0.0.0/28' ELSE '10.0.0.240/28' END::cidr);
SELECT alloc_rebuild('c1'), alloc_pool_shrink('c1', '10.0.0.128/25'), alloc_rebuild('c1');
SELECT outcome FROM alloc_try_prefix('c1', k(2), 28);
-- and is forgotten where nothing of it stays
SELECT alloc_pool_shrink('c2', '10.0.0.0/24');
SELECT alloc_pool_grow('c2', '10.0.0.0/24');
SELECT outcome, value FROM alloc_try_prefix('c2', k(2), 24);

-- addresses and chunks of them
SELECT alloc_pool_create('n', '{10.0.0.0-10.0.0.3}', port_chunk => 16384);
SELECT alloc_ip('n', k(1), ttl => '10 ms') IS NOT NULL AS given;
CALL until_free('n');
SELECT alloc_pool_shrink('n', '10.0.0.0/31');
SELECT count(*), count(DISTINCT value) FROM generate_series(1, 9) AS n, alloc_try_ports('n', k(n)) WHERE outcome = 'allocated';
SELECT alloc_pool_grow('n', '10.0.0.0/31');
SELECT outcome FROM generate_series(11, 15) AS n, alloc_try_ip('n', k(n));
SELECT count(*) FROM held WHERE pool = 'n';
SELECT * FROM twice;

-- numbers that come back are the same ones, and have what happened to them
SELECT alloc_pool_create('i', '{0-3}', 'int', 'lowest', cooldown => '1 hour');
SELECT alloc_int('i', k(n), n) FROM generate_series(0, 3) AS n;
SELECT alloc_release('i', k(2));
SELECT alloc_pool_shrink('i', '0-1', drain => true);
SELECT alloc_pool_grow('i', '0-1');
SELECT outcome FROM alloc_try_int('i', k(9));
SELECT outcome FROM alloc_try_int('i', k(9), 2);
SELECT outcome FROM alloc_try_int('i', k(9), 1);
-- where a range has gone by hand, its units are still in the way
DELETE FROM cas_internal.alloc_range AS r USING cas_internal.alloc_pool AS p WHERE p.id = r.pool AND p.name = 'i';
UPDATE cas_internal.alloc_pool SET epoch = epoch + 1 WHERE name = 'i';
SELECT alloc_int('i', k(1)), alloc_int('i', k(0), 0);
SELECT key, value FROM alloc_units WHERE pool = 'i' ORDER BY value;
SELECT alloc_pool_grow('i', '0-9');
SELECT value FROM generate_series(10, 15) AS n, alloc_try_int('i', k(n)) ORDER BY 1;
SELECT * FROM alloc_verify('i');

-- IPv6 with chunks: the first bits are left out of slots, and must tell no two
-- ranges apart; the last address of all is nobody's
SELECT alloc_pool_create('w', '{2001:db8::/64, fd00:db8::/64}', port_chunk => 1);
SELECT alloc_pool_create('w', '{2001:db8::/126, fd00:db9::/126}', port_chunk => 1);
SELECT alloc_pool_grow('w', 'fd00:db8::/64');
SELECT alloc_pool_grow('w', '2001:ffff:ffff:ffff::-2002::');
SELECT address, first_port, last_port FROM generate_series(1, 2) AS n, alloc_ports('w', k(n));
SELECT alloc_ip('w', k(3), 'fd00:db9::2'), alloc_ip('w', k(4), '2001:db8::2');
SELECT alloc_ip('w', k(5), 'fd00:db8::3');
SELECT a.outcome, b.outcome FROM alloc_try_ip('w', k(3), 'fd00:db9::2') AS a, alloc_try_ip('w', k(3), '2001:db8::1') AS b;
SELECT key, value FROM alloc_units WHERE pool = 'w' ORDER BY key;
SELECT key, value FROM alloc_find('w', 'fd00:db9::/32') ORDER BY key;
SELECT key, value FROM alloc_find('w', '2001:db9::/32');
SELECT count(*) FROM alloc_find('w', '::/0');
SELECT alloc_pool_create('last', '{ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120}', 'prefix');
SELECT alloc_pool_create('last', '{ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe}', 'prefix');
SELECT alloc_prefix('last', k(n), 121) FROM generate_series(1, 1) AS n;
SELECT outcome FROM alloc_try_prefix('last', k(2), 121);
SELECT value FROM generate_series(3, 4) AS n, alloc_try_prefix('last', k(n), 122);
SELECT value FROM alloc_find('last', '::/0') ORDER BY 1;
SELECT * FROM twice;
SELECT * FROM alloc_verify();

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools;
SET client_min_messages = warning;
DROP SCHEMA alloc_cut_test CASCADE;
