-- Claim: alloc_move() gives a unit to another key without its being free in
-- between, and asked again, says what it has moved; alloc_annotate() replaces a
-- note.  Both are fenced by generation.
CREATE SCHEMA alloc_move_test;
SET search_path = alloc_move_test, public, cas_test;
SELECT alloc_pool_create('mv', '{10.0.0.0/29}', strategy => 'lowest');

-- value, note and end stay; the generation is new, and the history says why
SELECT alloc_ip('mv', k(1), note => '{"vm": 1}', ttl => '1 day');
SELECT generation AS g1, expires_at AS e1 FROM alloc_get('mv', k(1)) \gset
SELECT pool, key = k(2) AS new_key, value, note, generation > :g1 AS newer, expires_at = :'e1' AS same_end
FROM alloc_move('mv', k(1), k(2), :g1);
SELECT generation AS g2 FROM alloc_get('mv', k(2)) \gset
SELECT count(*) FROM alloc_get('mv', k(1));
SELECT value, key = k(1) AS k1, generation = :g1 AS g1, reason,
       upper(during) = (SELECT allocated_at FROM alloc_get('mv', k(2))) AS without_gap
FROM alloc_history WHERE pool = 'mv';

-- asked again: the same answer, nothing written; also where nothing can be
SELECT generation = :g2 AS same FROM alloc_move('mv', k(1), k(2));
SELECT generation = :g2 AS same FROM alloc_move('mv', k(1), k(2), :g1);
BEGIN READ ONLY;
SELECT generation = :g2 AS same FROM alloc_move('mv', k(1), k(2), :g1);
SAVEPOINT s;
SELECT alloc_move('mv', k(2), k(3));
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- what is done to the unit since does not matter
SELECT alloc_annotate('mv', k(2), '{"vm": 2}');
SELECT alloc_renew('mv', k(2), NULL);
SELECT generation = :g2 AS same, note FROM alloc_move('mv', k(1), k(2));
-- nor that the former key has been used anew, if the generation says which unit was meant
SELECT alloc_ip('mv', k(1));
SELECT generation = :g2 AS same FROM alloc_move('mv', k(1), k(2), :g1);
\set VERBOSITY sqlstate
SELECT alloc_move('mv', k(1), k(2));            -- the new key is in use
SELECT alloc_move('mv', k(1), k(1));
SELECT alloc_move('mv', k(1), k(3), :g1);       -- fenced
SELECT alloc_move('mv', k(9), k(2));            -- nothing to move
SELECT alloc_move('mv', k(9), k(8), :g1);
SELECT alloc_move('mv', k(1), k(3), 1000000000000000);
SELECT alloc_move('mv', k(1), NULL);
SELECT alloc_move('nowhere', k(1), k(2));
\set VERBOSITY default
SELECT alloc_move('mv', k(1), k(2));
-- moved on: the first move is over
SELECT key = k(4) AS k4 FROM alloc_move('mv', k(2), k(4));
\set VERBOSITY sqlstate
SELECT alloc_move('mv', k(1), k(2), :g1);
\set VERBOSITY default
SELECT generation > :g2 AS newer FROM alloc_get('mv', k(4));

-- a new key whose former unit has run out
SELECT alloc_ip('mv', k(5), ttl => '1 us');
SELECT value FROM alloc_move('mv', k(4), k(5));
SELECT value, note FROM alloc_get('mv', k(5));
SELECT value, reason FROM alloc_history WHERE pool = 'mv' ORDER BY upper(during), value;
-- a unit that has run out is not there to be moved
SELECT alloc_ip('mv', k(6), ttl => '1 us');
SELECT alloc_move('mv', k(6), k(7));

-- a savepoint undoes it
BEGIN;
SAVEPOINT s;
SELECT value FROM alloc_move('mv', k(5), k(8));
ROLLBACK TO s;
SELECT count(*) FROM alloc_get('mv', k(8));
SELECT alloc_ip('mv', k(8)) IS NOT NULL AS another;
COMMIT;
SELECT count(DISTINCT value) FROM alloc_units WHERE pool = 'mv' AND key IN (k(5), k(8));

-- prefixes and chunks
SELECT alloc_pool_create('nets', '{10.1.0.0/24}', 'prefix', cooldown => '1 h');
SELECT alloc_prefix('nets', k(1), 28), alloc_prefix('nets', k(2), 28, '10.1.0.128/28');
SELECT value FROM alloc_move('nets', k(2), k(3));
SELECT alloc_prefix('nets', k(3), 28) AS idempotent;
SELECT outcome, value FROM alloc_try_prefix('nets', k(2), 28, '10.1.0.128/28');
SELECT alloc_pool_create('nat', '{10.2.0.0/30}', port_chunk => 32768);
SELECT alloc_ports('nat', k(1)) AS chunk \gset
SELECT m.value = f.value AND m.key = f.key AND f.key = k(2) AS same FROM alloc_move('nat', k(1), k(2)) AS m, alloc_find('nat', m.value) AS f;

-- notes: replaced, removed, fenced
SELECT alloc_annotate('nets', k(1), '{"tenant": "a"}');
SELECT note FROM alloc_get('nets', k(1));
SELECT alloc_annotate('nets', k(1), NULL, generation) FROM alloc_get('nets', k(1));
SELECT note, note IS NULL AS removed FROM alloc_get('nets', k(1));
\set VERBOSITY sqlstate
SELECT alloc_annotate('nets', k(1), '1', 1);
SELECT alloc_annotate('nets', k(9), '1');
SELECT alloc_annotate('nets', NULL, '1');
\set VERBOSITY default
SELECT alloc_annotate('nets', k(1), to_jsonb(repeat('x', 1000000)));
SELECT length(note #>> '{}') FROM alloc_move('nets', k(1), k(7));
SELECT length(note #>> '{}') FROM alloc_get('nets', k(7));

-- not mine
CREATE ROLE alloc_move_stranger;
SET ROLE alloc_move_stranger;
SELECT alloc_move('mv', k(5), k(9));
SELECT alloc_annotate('mv', k(5), '1');
RESET ROLE;
DROP ROLE alloc_move_stranger;
SELECT pool, problem FROM alloc_verify();
SELECT count(alloc_release(pool, key)) FROM alloc_units WHERE pool IN ('mv', 'nets', 'nat');
SELECT alloc_pool_drop(pool) FROM alloc_pools WHERE pool IN ('mv', 'nets', 'nat');
