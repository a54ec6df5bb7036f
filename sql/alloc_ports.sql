-- Claim: a chunk with an excluded port is never given out as a chunk, whether
-- the pool excludes it or the call, by no strategy and not on request; a call
-- gets the chunk it names, or one of the address it names.
CREATE SCHEMA alloc_ports_test;
SET search_path = alloc_ports_test, public, cas_test;
CREATE FUNCTION take(pool text, n int, address inet DEFAULT NULL, first_port int DEFAULT NULL, exclude int4range DEFAULT NULL)
RETURNS text LANGUAGE sql AS $$
    SELECT r.outcome || coalesce(' ' || r.value, '') FROM alloc_try_ports($1, k($2), NULL, NULL, $3, $4, $5) AS r
$$;

-- what the pool excludes
SELECT alloc_pool_create('po-' || s, '{10.0.0.1-10.0.0.2}', strategy => s, port_chunk => 8192, exclude_ports => '{"[0,1024)", "[32767,32767]"}')
FROM unnest('{any, lowest, random}'::text[]) AS s;
SELECT pool, exclude_ports FROM alloc_pools WHERE pool LIKE 'po-%' ORDER BY pool;
SELECT pool, free, chunks_free FROM alloc_usage() WHERE pool LIKE 'po-%' ORDER BY pool;
SELECT take('po-lowest', n) FROM generate_series(1, 13) AS n;
SELECT s, count(DISTINCT g.value), bool_or(ports && '[0,1024)' OR ports @> 32767) AS excluded
FROM unnest('{any, lowest, random}'::text[]) AS s, generate_series(1, 12) AS i, alloc_try_ports('po-' || s, k(i)) AS t,
    alloc_get('po-' || s, k(i)) AS g GROUP BY s ORDER BY s;
SELECT outcome FROM unnest('{any, random}'::text[]) AS s, alloc_try_ports('po-' || s, k(99));
SELECT pool, free, chunks_free FROM alloc_usage() WHERE pool LIKE 'po-%' ORDER BY pool;
SELECT count(*) FROM alloc_verify() WHERE pool LIKE 'po-%';
-- whole addresses have all of their ports
SELECT alloc_release('po-any', k(i)) FROM generate_series(1, 12) AS i;
SELECT alloc_ip('po-any', k(50));
SELECT chunks_free FROM alloc_usage('po-any');
SELECT chunks_free FROM alloc_usage('po-lowest');

-- it can be changed; what is held remains held
SELECT alloc_pool_set('po-lowest', exclude_ports => '{"[0,40000)"}');
SELECT take('po-lowest', 1), alloc_release('po-lowest', k(1)), take('po-lowest', 1);
SELECT alloc_pool_set('po-lowest', exclude_ports => '{}');
SELECT exclude_ports FROM alloc_pools WHERE pool = 'po-lowest';
SELECT take('po-lowest', 14), take('po-lowest', 15);

-- one chunk; chunks of one address
SELECT alloc_pool_create('px', '{10.0.0.0/29, 10.0.1.7}', strategy => 'lowest', port_chunk => 16384, exclude_ports => '{"[60000,)"}');
SELECT alloc_ports('px', k(1), address => '10.0.0.3', first_port => 16384);
SELECT take('px', 1, '10.0.0.3', 16384), take('px', 1, '10.0.0.3'), take('px', 1), take('px', 1, '10.0.0.3', 0), take('px', 1, '10.0.0.4');
SELECT take('px', 2, '10.0.0.3', 16384);
SELECT alloc_ports('px', k(2), address => '10.0.0.3', first_port => 16384);
\echo :LAST_ERROR_SQLSTATE
SELECT take('px', n, '10.0.0.3') FROM generate_series(2, 4) AS n;
SELECT take('px', 5), take('px', 6, '10.0.1.7'), take('px', 6);
-- ports excluded by the call: the same request, unless the chunk has them
SELECT take('px', 7, exclude => '[0,16384)'), take('px', 7, exclude => '[0,16385)'), take('px', 7, exclude => '[,)'), take('px', 7, exclude => 'empty');
SELECT take('px', 8, '10.0.0.5', exclude => '[0,16383]'), take('px', 9, '10.0.0.5', 0, '[16384,)');
SELECT take('px', 10, '10.0.0.5', exclude => '[0,16383]'), take('px', 11, '10.0.0.5');
SELECT take('px', 12, '10.0.0.5', exclude => '[0,0]');

-- what cannot be had
SELECT take('px', 20, '10.0.0.3', 49152);
\echo :LAST_ERROR_SQLSTATE
SELECT take('px', 20, '10.0.0.6', 0, '[100,100]');
SELECT take('px', 20, exclude => '[,)');
\echo :LAST_ERROR_SQLSTATE
SELECT take('px', 20, '10.0.0.3', 100);
SELECT take('px', 20, '10.0.0.3', -1);
SELECT take('px', 20, '10.0.0.3', 65536);
SELECT take('px', 20, NULL, 0);
SELECT take('px', 20, '10.0.0.0/24');
SELECT take('px', 20, '10.0.0.9');
SELECT take('px', 20, '10.0.0.9', 0);
SELECT take('px', 20, '2001:db8::1');
SELECT take('px', 20, exclude => '[-5,1)');
SELECT take('px', 20, exclude => '[0,65536]');
SELECT alloc_pool_create('bad', '{10.0.0.1}', exclude_ports => '{"[0,1024)"}');
SELECT alloc_pool_create('bad', '{10.0.0.1}', port_chunk => 1024, exclude_ports => '{"[0,65537)"}');
SELECT alloc_pool_create('bad', '{10.0.0.1}', port_chunk => 1024, exclude_ports => ARRAY[NULL]::int4range[]);
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_pool_create('bad', '{10.0.0.1}', port_chunk => 32768, exclude_ports => '{"[0,0]", "[65535,65535]"}');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_pool_create('numbers', '{1-9}', 'int');
SELECT alloc_pool_set('numbers', exclude_ports => '{"[0,1024)"}');

-- a chunk that cools, or is held until a time, is one that the call could get
SELECT alloc_pool_create('cool', '{10.0.0.1}', cooldown => '1 hour', port_chunk => 16384);
SELECT take('cool', n, '10.0.0.1', (n - 1) * 16384) FROM generate_series(1, 4) AS n;
SELECT alloc_release('cool', k(1));
SELECT take('cool', 5), take('cool', 5, exclude => '[0,0]');
SELECT alloc_renew('cool', k(2), '1 hour') IS NOT NULL;
SELECT outcome, ready_at IS NOT NULL FROM alloc_try_ports('cool', k(5), exclude => '[0,0]');
SELECT outcome, ready_at IS NOT NULL FROM alloc_try_ports('cool', k(5), exclude => '[0,16384]');

-- alloc_many()
SELECT alloc_pool_create('many', '{10.0.0.1-10.0.0.2}', port_chunk => 16384, exclude_ports => '{"[0,0]"}');
SELECT count(DISTINCT value), bool_or(ports @> 0) FROM alloc_many('many', ARRAY[k(1), k(2), k(3), k(4), k(5)], ports => true);
SELECT count(*) FROM alloc_many('many', ARRAY[k(6), k(7)], ports => true);
\echo :LAST_ERROR_SQLSTATE

-- IPv6, and the smallest chunks
SELECT alloc_pool_create('v6', '{2001:db8::10-2001:db8::1f, 2001:db9::1}', strategy => 'lowest', port_chunk => 1, exclude_ports => '{"[0,1023]"}');
SELECT take('v6', 1), take('v6', 2), take('v6', 3, '2001:db9::1'), take('v6', 4, '2001:db9::1', 65535), take('v6', 5, '2001:db8::1f', exclude => '[0,65535)');
SELECT take('v6', 6, '2001:db8::1f', exclude => '[0,65535)');
SELECT chunks_free FROM alloc_usage('v6');
SELECT * FROM alloc_verify() WHERE pool IN ('px', 'v6', 'cool');

-- ports in a text: nothing but first-last, from 0 to 65535, or else the text is malformed, and not another value
CREATE FUNCTION request(pool text, value text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT s.value FROM alloc_set(jsonb_build_array(jsonb_build_object('pool', $1, 'value', $2)), alloc_key('request ' || $2)) AS s);
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
CREATE FUNCTION find(pool text, value text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT coalesce(string_agg(f.value, ' '), 'none') FROM alloc_find($1, $2) AS f);
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate || ' ' || sqlerrm;
END $$;
SELECT alloc_pool_create('nat', '{192.0.2.1-192.0.2.40}', port_chunk => 1024), alloc_pool_create('nat6', '{2001:db8::1-2001:db8::9}', port_chunk => 1024),
       alloc_pool_create('one', '{192.0.2.1-192.0.2.9}', port_chunk => 1);
CREATE TABLE texts (pool text, value text);
INSERT INTO texts SELECT 'nat', '192.0.2.' || n || ':' || ports
FROM unnest('{0-1023, -5, -5-1023, 4294967296-4294968319, 18446744073709551616-18446744073709552639, +0-1023, 0-+1023, " 0-1023", "0- 1023", 0-1023x, 0-,
    -, x, "", "[0,1024)", 0, 64512-65535, 65536-66559, 0x0-0x3ff, 00-01023}'::text[]) WITH ORDINALITY AS t(ports, n);
INSERT INTO texts VALUES ('nat', '[192.0.2.30]:0-1023'), ('nat', '[192.0.2.312:0-1023'), ('nat', '192.0.2.32]:0-1023'), ('nat', '192.0.2.33:0-1023:0-1023'),
    ('nat', '2001:db8::1:0-1023'), ('nat6', '[2001:db8::1]:0-1023'), ('nat6', '[2001:db8::1]:-5'), ('nat6', '[2001:db8::2]:4294967296-4294968319'),
    ('nat6', '2001:db8::3:0-1023'), ('nat6', '[2001:db8::4:0-1023'), ('one', '192.0.2.1:0-'), ('one', '192.0.2.2:5'), ('one', '192.0.2.3:5-5'),
    ('one', '192.0.2.4:4294967301'), ('one', '192.0.2.5:[5,6)'), ('one', '192.0.2.6:5-');
SELECT t.pool, t.value, i.outcome FROM texts AS t, alloc_import(t.pool, jsonb_build_array(jsonb_build_object('value', t.value, 'name', t.value))) AS i;
SELECT pool, value FROM alloc_units WHERE pool IN ('nat', 'nat6', 'one') ORDER BY pool, address;
SELECT count(alloc_release(pool, key)) FROM alloc_units WHERE pool IN ('nat', 'nat6', 'one');
SELECT pool, value, request(pool, value) FROM texts;
SELECT pool, value, find(pool, value) FROM texts;
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_ports_test CASCADE;
