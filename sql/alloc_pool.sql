-- Claim: pools hold exactly the values that their ranges name, of any size at
-- the same cost; they grow, shrink, drain, reserve and drop as told, and what
-- is malformed is refused with a hint.
CREATE SCHEMA alloc_pool_test;
SET search_path = alloc_pool_test, public, cas_test;

-- network and broadcast addresses are left out where they exist
SELECT alloc_pool_create('pool/' || r, ARRAY[r])
FROM unnest('{10.0.0.0/30, 10.0.0.0/31, 10.0.0.7/32, 10.0.0.7, 2001:db8::/126,
    2001:db8::/127, 2001:db8::1/128, 10.0.0.0-10.0.0.3}'::text[]) AS r;
SELECT pool, ranges FROM alloc_pools WHERE pool LIKE 'pool/%' ORDER BY pool;
SELECT pool, capacity, free FROM alloc_usage() WHERE pool LIKE 'pool/%' ORDER BY pool;
-- each of them can be emptied, and not more than that
SELECT p.pool, count(*) FILTER (WHERE r.outcome = 'allocated') AS allocated,
       count(*) FILTER (WHERE r.outcome = 'exhausted') AS exhausted,
       min(r.value::inet) AS lowest, max(r.value::inet) AS highest
FROM alloc_pools AS p, generate_series(1, 6) AS n,
     alloc_try_ip(p.pool, k(n)) AS r
WHERE p.pool LIKE 'pool/%' GROUP BY p.pool ORDER BY p.pool;
SELECT * FROM alloc_verify();

-- the largest
SELECT alloc_pool_create('large4', '{10.0.0.0/8}', strategy => 'lowest');
SELECT alloc_pool_create('large6', '{2001:db8::/32}', strategy => 'lowest');
SELECT alloc_ip('large4', k(1)), alloc_ip('large4', k(2), '10.255.255.254');
SELECT alloc_ip('large6', k(1)),
       alloc_ip('large6', k(2), '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff');
SELECT pool, capacity, allocated, free FROM alloc_usage() WHERE pool LIKE 'large%';
SELECT * FROM alloc_verify();

-- several ranges: "lowest" goes by value, not by the order they came in
SELECT alloc_pool_create('ranges', '{10.0.1.0-10.0.1.1, 10.0.0.8-10.0.0.9}',
                         strategy => 'lowest');
SELECT alloc_pool_grow('ranges', '10.0.0.10-10.0.0.11');     -- adjacent
SELECT alloc_pool_grow('ranges', '10.0.0.11-10.0.0.20');
SELECT alloc_ip('ranges', k(n)) FROM generate_series(1, 6) AS n;
SELECT alloc_try_ip('ranges', k(7));

-- a reservation hides values, also those not used yet, and nothing else
SELECT alloc_pool_create('reserve', '{100-109}', 'int', 'lowest');
SELECT alloc_reserve('reserve', '100-102', '{"for": "routers"}');
SELECT alloc_reserve('reserve', '102-103');
SELECT alloc_reserve('reserve', '300-301');
SELECT alloc_int('reserve', k(n)) FROM generate_series(1, 3) AS n;
SELECT alloc_int('reserve', k(4), 101);
SELECT alloc_reserve('reserve', '103-104');                 -- held ones stay
SELECT alloc_int('reserve', k(1)), alloc_release('reserve', k(2));
SELECT alloc_int('reserve', k(5));
SELECT capacity, reserved, allocated, cooling, free FROM alloc_usage('reserve');
SELECT alloc_unreserve('reserve', '100-101');
SELECT alloc_unreserve('reserve', '100-102');
SELECT alloc_unreserve('reserve', '103-104');
SELECT alloc_int('reserve', k(n)) FROM generate_series(6, 9) AS n;
SELECT * FROM alloc_verify('reserve');
-- one that covers everything
SELECT alloc_reserve('reserve', '0-1000');
SELECT alloc_try_int('reserve', k(10));
SELECT alloc_unreserve('reserve', '0-1000');

-- shrinking: refused while in use; drained; undone
SELECT alloc_pool_create('shrink', '{10.0.0.0-10.0.0.15}', strategy => 'lowest');
SELECT alloc_ip('shrink', k(n)) FROM generate_series(1, 6) AS n;
SELECT alloc_pool_shrink('shrink', '10.0.0.4-10.0.0.7');
SELECT alloc_pool_shrink('shrink', '10.9.0.0/16');
SELECT alloc_pool_shrink('shrink', '10.0.0.12-10.0.0.15');
SELECT alloc_pool_shrink('shrink', '10.0.0.4-10.0.0.7', drain => true);
SELECT ranges, draining FROM alloc_pools WHERE pool = 'shrink';
SELECT alloc_ip('shrink', k(6));                            -- still its own
SELECT alloc_ip('shrink', k(7)), alloc_ip('shrink', k(8), '10.0.0.6');
SELECT alloc_ip('shrink', k(7));
SELECT capacity, allocated, free FROM alloc_usage('shrink');
SELECT alloc_release('shrink', k(5)), alloc_release('shrink', k(6));
SELECT ranges, draining FROM alloc_pools WHERE pool = 'shrink';
SELECT alloc_ip('shrink', k(8));
SELECT alloc_pool_grow('shrink', '10.0.0.4-10.0.0.7');
SELECT alloc_ip('shrink', k(9));
SELECT alloc_pool_shrink('shrink', '10.0.0.4-10.0.0.7', drain => true);
SELECT alloc_pool_grow('shrink', '10.0.0.4-10.0.0.7');      -- undone
SELECT ranges, draining FROM alloc_pools WHERE pool = 'shrink';
SELECT alloc_ip('shrink', k(10));
SELECT * FROM alloc_verify('shrink');

-- a network, which draining takes whole, is taken back whole
SELECT alloc_pool_create('network', '{10.0.0.0/24}');
SELECT alloc_ip('network', k(1), '10.0.0.127');
SELECT alloc_pool_shrink('network', '10.0.0.0/25', drain => true);
SELECT ranges, draining FROM alloc_pools WHERE pool = 'network';
SELECT alloc_pool_grow('network', '10.0.0.0/25');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'network';
SELECT alloc_pool_grow('network', '10.0.0.0/25');            -- has it
SELECT capacity, allocated, free FROM alloc_usage('network');
SELECT * FROM alloc_verify('network');

-- taken back, it is one with what it was cut from, as long as it is drained in
-- parts and when its last unit has gone; only ranges that were one become so
SELECT alloc_pool_create('whole', '{10.0.0.0/24}', 'prefix', cooldown => '1 hour');
SELECT alloc_prefix('whole', k(1), 28, '10.0.0.80/28'), alloc_prefix('whole', k(2), 28, '10.0.0.96/28');
SELECT alloc_release('whole', k(2));
SELECT alloc_pool_shrink('whole', '10.0.0.64/27', drain => true);
SELECT alloc_pool_shrink('whole', '10.0.0.96/27', drain => true);
SELECT alloc_pool_shrink('whole', '10.0.0.80/28', drain => true);
SELECT ranges, draining FROM alloc_pools WHERE pool = 'whole';
SELECT alloc_pool_grow('whole', '10.0.0.80/28');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'whole';
SELECT alloc_pool_grow('whole', '10.0.0.64/28'), alloc_pool_grow('whole', '10.0.0.96/27');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'whole';
SELECT outcome FROM alloc_try_prefix('whole', k(3), 28, '10.0.0.96/28');  -- cooling as before
SELECT alloc_pool_shrink('whole', '10.0.0.64/26', drain => true);
SELECT alloc_pool_set('whole', cooldown => '0');
SELECT alloc_release('whole', k(1));
SELECT ranges, draining FROM alloc_pools WHERE pool = 'whole';
SELECT alloc_pool_grow('whole', '10.0.0.64/26');
SELECT alloc_prefix('whole', k(4), 25, '10.0.0.128/25'), alloc_prefix('whole', k(5), 26, '10.0.0.0/26'),
       alloc_prefix('whole', k(6), 27, '10.0.0.64/27');
SELECT alloc_pool_grow('whole', '10.0.1.0/24');
SELECT ranges FROM alloc_pools WHERE pool = 'whole';
SELECT alloc_pool_shrink('whole', '10.0.0.0-10.0.0.255', drain => true);
SELECT alloc_pool_grow('whole', '10.0.0.0-10.0.0.255');
SELECT ranges FROM alloc_pools WHERE pool = 'whole';
-- of a range that drains, a part is taken back, and of one that has been
-- drained to the end, added anew
SELECT alloc_pool_create('part', '{0-9}', 'int', 'lowest');
SELECT alloc_int('part', k(1), 5), alloc_int('part', k(2), 7);
SELECT alloc_pool_shrink('part', '3-7', drain => true);
SELECT alloc_pool_grow('part', '4-5');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'part';
SELECT alloc_pool_grow('part', '2-6');
SELECT alloc_pool_grow('part', '6-20');
SELECT alloc_int('part', k(n)) FROM generate_series(1, 8) AS n;
SELECT outcome FROM alloc_try_int('part', k(9));
SELECT alloc_pool_grow('part', '3-3'), alloc_pool_grow('part', '6-7');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'part';
SELECT alloc_int('part', k(n)) FROM generate_series(9, 10) AS n;
SELECT count(alloc_release('part', k(n))) FROM generate_series(1, 10) AS n;
SELECT alloc_pool_shrink('part', '4-7', drain => true);
SELECT alloc_pool_grow('part', '4-5');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'part';
SELECT alloc_int('part', k(n)) FROM generate_series(1, 8) AS n;
-- with a unit that lies across the part
SELECT alloc_pool_create('across', '{10.0.0.0/24}', 'prefix');
SELECT alloc_prefix('across', k(1), 26, '10.0.0.64/26');
SELECT alloc_pool_shrink('across', '10.0.0.0/24', drain => true);
SELECT alloc_pool_grow('across', '10.0.0.96/27');
SELECT outcome, value FROM generate_series(1, 2) AS n, alloc_try_prefix('across', k(n), 26);
SELECT outcome FROM alloc_try_prefix('across', k(3), 32);
SELECT pool, key, value FROM alloc_find('across', '10.0.0.100');
SELECT alloc_pool_grow('across', '10.0.0.0-10.0.0.95');
SELECT ranges, draining FROM alloc_pools WHERE pool = 'across';
SELECT outcome, value FROM generate_series(1, 3) AS n, alloc_try_prefix('across', k(n), 26);
SELECT alloc_release('across', k(1)), alloc_prefix('across', k(4), 26);
SELECT * FROM alloc_verify();

-- dropping
SELECT alloc_pool_drop('shrink');
SELECT count(alloc_release('shrink', key)) FROM alloc_units WHERE pool = 'shrink';
SELECT alloc_pool_drop('shrink');
SELECT alloc_ip('shrink', k(1));
SELECT alloc_pool_create('shrink', '{7}', 'int');            -- anew, other kind
SELECT alloc_int('shrink', k(1));

-- settings
SELECT alloc_pool_create('set', '{0-9}', 'int');
SELECT alloc_int('set', k(n), v) FROM (VALUES (1, 0), (2, 1), (3, 2)) AS t(n, v);
SELECT alloc_release('set', k(3)), alloc_release('set', k(2)), alloc_release('set', k(1));
SELECT alloc_pool_set('set', strategy => 'lowest', cooldown => '0');
SELECT alloc_int('set', k(4)), alloc_int('set', k(5)), alloc_int('set', k(6));
SELECT * FROM alloc_verify('set');
SELECT strategy, cooldown FROM alloc_pools WHERE pool = 'set';

-- malformed
SELECT alloc_pool_create('bad', ARRAY[r], kind)
FROM (VALUES ('10.0.0.1/24', 'ip')) AS t(r, kind);
SELECT alloc_pool_create('bad', '{10.0.0.9-10.0.0.1}');
SELECT alloc_pool_create('bad', '{10.0.0.0/7}');
SELECT alloc_pool_create('bad', '{2000::/31}');
SELECT alloc_pool_create('bad', '{10.0.0.0-10.0.0.9/32}');
SELECT alloc_pool_create('bad', '{10.0.0.0-2001:db8::}');
SELECT alloc_pool_create('bad', '{10.0.0.0/24, 2001:db8::/64}');
SELECT alloc_pool_create('bad', '{10.0.0.0/24, 10.0.0.128/25}');
SELECT alloc_pool_create('bad', '{}');
SELECT alloc_pool_create('bad', '{NULL}');
SELECT alloc_pool_create('bad', '{-1-5}', 'int');
SELECT alloc_pool_create('bad', '{1-9223372036854775808}', 'int');
SELECT alloc_pool_create('bad', '{100000000000000000000000000000000000000000}', 'int');
SELECT alloc_pool_create('bad', '{nonsense}');
SELECT alloc_pool_create('bad', '{10.0.0.0/24}', 'port');
SELECT alloc_pool_create('bad', '{10.0.0.0/24}', strategy => 'highest');
SELECT alloc_pool_create('bad', '{10.0.0.0/24}', cooldown => '-1 s');
SELECT alloc_pool_create('bad', '{10.0.0.0/24}', cooldown => '300000 years');
SELECT alloc_pool_create('bad', '{10.0.0.0/24}', cooldown => '-300000 years');
SELECT alloc_pool_create('bad', '{10.0.0.0/24}', cooldown => '50001 years');
SELECT alloc_pool_create('bad', '{10.0.0.0/24}', cooldown => '1 month -31 days');
SELECT alloc_pool_set('set', cooldown => '50001 years');
SELECT alloc_pool_create('bad', '{10.0.0.0/24}', cooldown => NULL);
SELECT alloc_pool_set('set', cooldown => '300000 years');
SELECT alloc_pool_create('bad', '{10.0.0.0/24}', port_chunk => 1000);
SELECT alloc_pool_create('bad', '{1-9}', 'int', port_chunk => 1024);
SELECT alloc_pool_create('', '{1-9}', 'int');
SELECT alloc_pool_create(NULL, '{1-9}', 'int');
SELECT alloc_pool_create('bad', NULL);
SELECT alloc_pool_create('set', '{1-9}', 'int');             -- exists
SELECT alloc_pool_create('top', '{9223372036854775806-9223372036854775807}', 'int');
SELECT alloc_int('top', k(n)) FROM generate_series(1, 2) AS n;
SELECT count(*) FROM alloc_pools WHERE pool = 'bad';

-- a change that is rolled back was never there
BEGIN;
SELECT alloc_pool_create('gone', '{1-2}', 'int');
SELECT alloc_int('gone', k(1));
ROLLBACK;
SELECT alloc_int('gone', k(1));
BEGIN;
SELECT alloc_pool_grow('set', '20-29');
SELECT alloc_int('set', k(20), 20);
ROLLBACK;
SELECT alloc_int('set', k(20), 20);

SELECT * FROM alloc_verify();
-- leave nothing
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
SELECT * FROM alloc_usage();
DROP SCHEMA alloc_pool_test CASCADE;
