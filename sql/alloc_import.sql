-- Claim: alloc_import() takes over what another system has given out, one by
-- one, and can be repeated; alloc_reconcile() then finds nothing that differs,
-- and otherwise what does. What is malformed is named with its position.
CREATE SCHEMA alloc_import_test;
SET search_path = alloc_import_test, public, cas_test;
SELECT alloc_pool_create('i4', '{10.0.0.0/28}'), alloc_pool_create('nets', '{10.1.0.0/24}', 'prefix'),
       alloc_pool_create('nat', '{10.2.0.1-10.2.0.4}', port_chunk => 16384), alloc_pool_create('vlans', '{100-199}', 'int'),
       alloc_pool_create('macs', '{02:00:00:00:00:00-02:00:00:00:00:ff}', 'mac'),
       alloc_pool_create('v6nat', '{2001:db8::1-2001:db8::2}', port_chunk => 32768),
       alloc_pool_create('seats', '{}', 'count', capacity => 5);

-- every outcome
SELECT alloc_ip('i4', k(1), '10.0.0.1'), alloc_ip('i4', k(2), '10.0.0.2');
SELECT alloc_reserve('i4', '10.0.0.14'), alloc_reserve('i4', '10.0.0.13', on_request => true);
CREATE TABLE units AS SELECT jsonb_build_array(
    jsonb_build_object('value', '10.0.0.1', 'key', k(1)),                                   -- held
    jsonb_build_object('value', '10.0.0.3/28', 'key', k(3), 'note', jsonb_build_object('host', 'db3')),
    jsonb_build_object('value', '10.0.0.4', 'name', 'db4', 'ttl', '1 day'),
    jsonb_build_object('value', '10.0.0.5', 'key', k(5), 'expires_at', '2199-01-01'),
    jsonb_build_object('value', '10.0.0.2', 'key', k(6)),                                   -- taken
    jsonb_build_object('value', '10.0.0.6', 'key', k(1)),                                   -- reused
    jsonb_build_object('value', '10.0.0.6', 'key', k(3)),                                   -- reused
    jsonb_build_object('value', '10.0.1.1', 'key', k(7)),                                   -- outside
    jsonb_build_object('value', '2001:db8::1', 'key', k(7)),
    jsonb_build_object('value', '10.0.0.14', 'key', k(8)),                                  -- reserved
    jsonb_build_object('value', '10.0.0.13', 'key', k(9)),
    jsonb_build_object('value', '10.0.0.3', 'key', upper(k(3)::text))) AS units;
SELECT i.value, k.n AS k, i.outcome FROM units, alloc_import('i4', units) AS i
LEFT JOIN (SELECT n, k(n) AS key FROM generate_series(1, 9) AS n) AS k USING (key);
SELECT value, key = alloc_key('db4') AS db4, note, expires_at > now() AS expires FROM alloc_units WHERE pool = 'i4' ORDER BY address;
-- again
SELECT outcome, count(*) FROM units, alloc_import('i4', units) AS i GROUP BY outcome ORDER BY outcome;
SELECT r.value, r.problem, r.generation IS NOT NULL AS here FROM units, alloc_reconcile('i4', units) AS r ORDER BY 1, 2;

-- malformed
SELECT value, key IS NOT NULL AS has_key, outcome FROM alloc_import('i4', '[1, {}, {"value": "10.0.0.7"}, {"key": "00000000-0000-0000-0000-000000000010"},
    {"value": "10.0.0.300", "key": "00000000-0000-0000-0000-000000000010"}, {"value": "10.0.0.7", "key": "x"}, {"value": "10.0.0.7", "name": []},
    {"value": "10.0.0.7", "name": "a", "ttl": "soon"}, {"value": "10.0.0.7", "name": "a", "ttl": "-1 s"}, {"value": "10.0.0.7", "name": "a", "expires_at": "then"},
    {"value": "10.0.0.7", "name": "a", "expires_at": "2001-01-01"}, {"value": "10.0.0.7", "name": "a", "expires_at": "2199-01-01", "ttl": "1 h"},
    {"value": "10.0.0.7", "name": "a", "note": 1, "comment": "x"}, {"value": "10.0.0.7", "name": "a", "pool": "nets"}, {"value": "10.0.0.7", "name": "a", "n": 0},
    {"value": true, "name": "a"}, {"value": null, "name": "a"}, {"value": "10.0.0.7", "name": "a"}]');
\set VERBOSITY sqlstate
SELECT alloc_import('i4', '{}');
SELECT alloc_import('i4', NULL);
SELECT alloc_import('nowhere', '[]');
SELECT alloc_reconcile('i4', '{}');
SELECT alloc_reconcile('nowhere', '[]');
SELECT alloc_reconcile('i4', '[]', NULL);
\set VERBOSITY default
\set VERBOSITY terse
SELECT alloc_reconcile('i4', '[{"value": "10.0.0.7", "name": "a"}, {"value": "10.0.0.7/33", "name": "a"}]');
\set VERBOSITY default
SELECT * FROM alloc_import('i4', '[]');

-- a copy of a pool of any kind
SELECT alloc_prefix('nets', k(1), 28), alloc_prefix('nets', k(2), 30, note => '"x"');
SELECT alloc_ports('nat', k(1)) IS NOT NULL, alloc_ip('nat', k(2)) IS NOT NULL, alloc_ports('v6nat', k(1)) IS NOT NULL,
       alloc_int('vlans', k(1)), alloc_int('vlans', k(2), consecutive => 3), alloc_mac('macs', k(1), consecutive => 2), alloc_count('seats', k(1), 2);
-- (to_jsonb() of a row reads names that are freed, if caches are discarded)
SET debug_discard_caches = 0;
CREATE TABLE copy AS SELECT pool, jsonb_agg(to_jsonb(u)) AS units FROM alloc_units AS u GROUP BY pool;
RESET debug_discard_caches;
SELECT c.pool, count(r.*) FROM copy AS c LEFT JOIN alloc_reconcile(c.pool, c.units) AS r ON true GROUP BY c.pool ORDER BY c.pool;
SELECT count(alloc_release(pool, key)) FROM (SELECT DISTINCT pool, key FROM alloc_units) AS u;
SELECT c.pool, r.problem, count(*) FROM copy AS c, alloc_reconcile(c.pool, c.units) AS r GROUP BY c.pool, r.problem ORDER BY c.pool;
SELECT c.pool, i.outcome, count(*) FROM copy AS c, alloc_import(c.pool, c.units) AS i GROUP BY c.pool, i.outcome ORDER BY c.pool, i.outcome;
SELECT c.pool, i.outcome, count(*) FROM copy AS c, alloc_import(c.pool, c.units) AS i GROUP BY c.pool, i.outcome ORDER BY c.pool, i.outcome;
SELECT c.pool, count(r.*) FROM copy AS c LEFT JOIN alloc_reconcile(c.pool, c.units) AS r ON true GROUP BY c.pool ORDER BY c.pool;
SELECT pool, problem, detail FROM alloc_verify();
-- other ways to write them
SELECT value, outcome FROM alloc_import('nets', '[{"value": "10.1.0.64", "masklen": 27, "name": "a"}, {"value": "10.1.0.1/28", "name": "b"},
    {"value": "10.1.0.0/16", "name": "c"}, {"value": "10.1.0.0/0", "name": "d"}, {"value": "0.0.0.0/0", "name": "d"}, {"value": "10.1.0.128/27", "n": 2, "name": "e"}]');
SELECT value, outcome FROM alloc_import('nat', '[{"value": "10.2.0.4", "ports": "16384-32767", "name": "a"}, {"value": "10.2.0.4", "ports": "[0,16384)", "name": "b"},
    {"value": "10.2.0.4:5-6", "name": "c"}, {"value": "10.2.0.4", "ports": 7, "name": "d"}]');
SELECT value, outcome FROM alloc_import('vlans', '[{"value": 150, "name": "a"}, {"value": "151", "name": "b", "n": 2}, {"value": -1, "name": "c"}, {"value": 1, "last": 0, "n": 2, "name": "d"}]');
SELECT value, outcome FROM alloc_import('seats', '[{"n": 3, "name": "a"}, {"n": 2, "name": "b"}]');

-- What contradicts itself is malformed, as is what cannot be stored; nothing of it is imported.
SELECT alloc_pool_create('s', '{}', 'count', capacity => 9), alloc_pool_create('n', '{1-99}', 'int'),
       alloc_pool_create('x', '{10.3.0.0/24}', 'prefix'), alloc_pool_create('c', '{10.4.0.0/24}', port_chunk => 16384);
SELECT value, outcome FROM alloc_import('s', '[{"value": -5, "name": "a"}, {"value": 0, "name": "a"}, {"n": -5, "name": "a"}, {"value": 5, "n": 3, "name": "a"}, {"value": "x", "name": "a"},
    {"value": 9223372036854775808, "name": "a"}, {"value": 3, "n": 3, "name": "b"},
    {"value": 3, "name": "b", "key": "00000000-0000-0000-0000-000000000001"}, {"value": 3, "name": "b", "key": "b757316e-230e-5bcf-8e9f-468bafeadebf"}]');
SELECT value, outcome FROM alloc_import('n', '[{"value": 10, "n": 3, "last": 20, "name": "a"}, {"value": 21, "n": 3, "last": 20, "name": "a"}, {"value": 19, "n": 3, "last": "x", "name": "a"},
    {"value": 19, "n": 3, "last": [], "name": "a"}, {"value": [], "name": "a"}, {"value": 19, "n": 3, "last": 20, "name": "b"}]');
SELECT value, outcome FROM alloc_import('x', '[{"value": "10.3.0.0/26", "masklen": 28, "name": "a"}, {"value": "10.3.0.0/26", "masklen": 26, "name": "b"}]');
SELECT value, outcome FROM alloc_import('c', '[{"value": "10.4.0.1:0-16383", "ports": "[16384,32768)", "name": "a"}, {"value": "10.4.0.1", "ports": "[0,16384]", "name": "a"},
    {"value": "10.4.0.1", "ports": "(0,16384)", "name": "a"}, {"value": "10.4.0.1", "ports": "0-99999999999", "name": "a"}, {"value": "10.4.0.1/99", "ports": "0-16383", "name": "a"},
    {"value": "10.4.0.1", "ports": "0-16383", "n": 2, "last": "10.4.0.2", "name": "a"},
    {"value": "10.4.0.1/24", "ports": "0-16383", "name": "b"}, {"value": "10.4.0.1:16384-32767", "ports": "[16384,32768)", "name": "c"}]');
SELECT value, outcome FROM alloc_import('c', '[{"value": "10.4.0.2", "name": "a", "ttl": "300000 years"}, {"value": "10.4.0.2", "name": "a", "ttl": "-178000000 years"},
    {"value": "10.4.0.2", "name": "a", "expires_at": "-infinity"}, {"value": "10.4.0.2", "name": "a", "expires_at": "294276-12-31 00:00:00Z"},
    {"value": "10.4.0.2", "name": "a", "expires_at": "infinity", "ttl": "1 h"}, {"value": "10.4.0.2", "name": "d", "expires_at": "infinity"}]');
SELECT pool, value, n, last, expires_at FROM alloc_units WHERE pool IN ('s', 'n', 'x', 'c') ORDER BY pool, number, value;

-- Capacities are compared by key, several units in a row as one, by how many they are if the
-- inventory says so.
CREATE FUNCTION differences(pool text, held jsonb) RETURNS TABLE (value text, key text, problem text, generation_of text) LANGUAGE sql AS $$
    SELECT r.value, right(r.key::text, 1), r.problem, (SELECT right(min(u.key::text), 1) FROM alloc_units AS u WHERE u.pool = $1 AND u.generation = r.generation)
    FROM alloc_reconcile($1, held) AS r ORDER BY r.key, r.value, r.problem $$;
SELECT count(alloc_release(pool, key)) FROM (SELECT DISTINCT pool, key FROM alloc_units WHERE pool IN ('s', 'n')) AS u;
SELECT alloc_count('s', k(1), 3), alloc_count('s', k(2), 3), alloc_int('n', k(1), 10, consecutive => 4), alloc_int('n', k(2), 50);
SELECT * FROM differences('s', jsonb_build_array(jsonb_build_object('n', 3, 'key', k(1)), jsonb_build_object('n', 3, 'key', k(3))));
SELECT * FROM differences('s', jsonb_build_array(jsonb_build_object('n', 2, 'key', k(1)), jsonb_build_object('key', k(2))));
SELECT * FROM differences('n', jsonb_build_array(jsonb_build_object('value', 10, 'n', 4, 'key', k(1)), jsonb_build_object('value', 50, 'key', k(2), 'n', 1)));
SELECT * FROM differences('n', jsonb_build_array(jsonb_build_object('value', 11, 'key', k(1)), jsonb_build_object('value', 13, 'key', k(1)), jsonb_build_object('value', 50, 'key', k(2))));
SELECT * FROM differences('n', jsonb_build_array(jsonb_build_object('value', 10, 'n', 3, 'key', k(1)), jsonb_build_object('value', 11, 'n', 4, 'key', k(1)), jsonb_build_object('value', 50, 'n', 2, 'key', k(2))));
SELECT * FROM differences('n', jsonb_build_array(jsonb_build_object('value', 12, 'key', k(3))));
\set VERBOSITY terse
SELECT alloc_reconcile('n', '[]', '-1 s');
SELECT alloc_reconcile('n', '[]', '300000 years');
\set VERBOSITY default
SELECT count(alloc_release(pool, key)) FROM (SELECT DISTINCT pool, key FROM alloc_units WHERE pool IN ('s', 'n', 'x', 'c')) AS u;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools WHERE pool IN ('s', 'n', 'x', 'c');

-- leaks, and their release by generation
SELECT value, problem FROM alloc_reconcile('vlans', '[{"value": 150, "name": "a"}, {"value": 151, "name": "c"}, {"value": 190, "name": "b"}]') ORDER BY 1, 2;
SELECT count(*) FROM alloc_reconcile('vlans', '[]', '1 day');
SELECT count(*) FROM alloc_reconcile('vlans', '[]');
SELECT count(*) FILTER (WHERE alloc_release('vlans', r.key, r.generation)) FROM (SELECT DISTINCT key, generation FROM alloc_reconcile('vlans', '[]')) AS r;
SELECT count(*) FROM alloc_reconcile('vlans', '[]');

-- rights; read-only
CREATE ROLE alloc_import_stranger;
SET ROLE alloc_import_stranger;
\set VERBOSITY terse
SELECT alloc_import('i4', '[]');
SELECT alloc_reconcile('i4', '[]');
\set VERBOSITY default
RESET ROLE;
SELECT alloc_grant('i4', 'alloc_import_stranger');
SET ROLE alloc_import_stranger;
SELECT count(*) FROM alloc_reconcile('i4', '[]');
RESET ROLE;
SELECT alloc_revoke('i4', 'alloc_import_stranger');
DROP ROLE alloc_import_stranger;
BEGIN READ ONLY;
SELECT count(*) FROM alloc_reconcile('i4', '[]');
SELECT alloc_import('i4', '[]');
ROLLBACK;
-- what is cooling down of a capacity belongs to nobody
SELECT alloc_pool_create('resting', '{}', 'count', cooldown => '1 day', capacity => 2), alloc_pool_create('under', '{0-9}', 'int', parent => 'resting');
SELECT alloc_count('resting', k(1), 2), alloc_release('resting', k(1));
SELECT outcome FROM alloc_import('resting', '[{"name": "a", "n": 2}]');
SELECT outcome FROM alloc_import('under', '[{"name": "a", "value": 3}, {"name": "b", "value": 10}]');
SELECT alloc_pool_drop('under'), alloc_pool_drop('resting');
-- units run out exactly when the inventory says, however long the call takes
SELECT alloc_pool_create('many', '{1-200}', 'int');
SELECT count(*) FROM alloc_import('many', (SELECT jsonb_agg(jsonb_build_object('name', i::text, 'value', i, 'expires_at', '2999-01-01 00:00:00.000001Z')) FROM generate_series(1, 200) AS i));
SELECT count(*) FROM alloc_units WHERE pool = 'many' AND expires_at = '2999-01-01 00:00:00.000001Z';
SELECT count(alloc_release('many', key)) FROM (SELECT key FROM alloc_units WHERE pool = 'many') AS u;
SELECT alloc_pool_drop('many');
SELECT pool, problem, detail FROM alloc_verify();
SELECT count(alloc_release(pool, key)) FROM (SELECT DISTINCT pool, key FROM alloc_units) AS u;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools WHERE pool IN ('i4', 'nets', 'nat', 'vlans', 'macs', 'v6nat', 'seats');
