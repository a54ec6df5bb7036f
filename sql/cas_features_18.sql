-- Claim: what PostgreSQL 18 has brought works with guarded tables, or is refused
-- with the reason.
\pset format unaligned
\pset tuples_only on
SELECT current_setting('server_version_num')::int < 180000 AS skip \gset
\if :skip
\echo 'skipped: needs PostgreSQL 18'
\quit
\endif
CREATE SCHEMA cas_features_18;
SET search_path = cas_features_18, public, cas_test;

-- Virtual generated columns: they are shown, cannot be written, do not count as
-- changes, and their constraints hold.
CREATE TABLE v (id int PRIMARY KEY, n int, doc jsonb,
	twice int GENERATED ALWAYS AS (n * 2) VIRTUAL NOT NULL,
	part jsonb GENERATED ALWAYS AS (doc -> 'part') VIRTUAL,
	CHECK (twice < 100));
SELECT raises($$SELECT cas_enable('v', version_column => 'twice')$$);
SELECT cas_enable('v');
SELECT cas_create('v', 1, '{"n": 1, "doc": {"part": 7}}');
SELECT * FROM cas_get('v', 1);
SELECT cas_update('v', 1, 1, '{"n": 2}');
SELECT * FROM cas_try_update('v', 1, 1, '{"n": 3}');
SELECT cas_update('v', 1, version, payload) FROM cas_get('v', 1);
SELECT raises($$SELECT cas_update('v', 1, 2, '{"twice": 5}')$$);
SELECT raises($$SELECT cas_put('v', 2, '{"n": 1, "twice": 5}')$$);
SELECT raises($$SELECT cas_update('v', 1, 2, '{"n": null}')$$);
SELECT raises($$SELECT cas_create('v', 2, '{}')$$);
SELECT raises($$SELECT cas_update('v', 1, 2, '{"n": 50}')$$);
SELECT raises($$SELECT cas_merge('v', 1, '{"n": null}')$$);
SELECT cas_merge('v', 1, '{"doc": {"part": 8}}'), cas_patch('v', 1, 3, '{"doc": {"part": 9}}');
SELECT cas_rename('v', 1, 4, 2);
SELECT * FROM cas_lock('v', '{2}');
SELECT jsonb_array_elements(cas_txn('[{"table": "v", "id": 2, "version": 5}]',
	'[{"op": "merge", "table": "v", "id": 2, "patch": {"n": 3}}, {"op": "get", "table": "v", "id": 2}]') -> 'results');
SELECT raises($$SELECT cas_txn('[]', '[{"op": "merge", "table": "v", "id": 2, "patch": {"n": null}}]')$$);
SELECT raises($$SELECT cas_enable('v', payload_column => 'part')$$);
-- nor does the guard take their changes for a write
SELECT cas_enable('v', writers => 'echo', unversioned => 'reject', ignore_columns => '{n}');
UPDATE v SET n = 4;
SELECT raises($$UPDATE v SET doc = '{}'$$);
UPDATE v SET doc = '{"part": 1}', resource_version = 6;
SELECT * FROM v;

-- The old and the new row of a statement, as the guard has left them.
CREATE TABLE r (id int PRIMARY KEY, n int);
SELECT cas_enable('r');
INSERT INTO r VALUES (1, 1) RETURNING old.resource_version, new.resource_version;
UPDATE r SET n = 2 RETURNING old.resource_version, new.resource_version, old.n, new.n;
INSERT INTO r VALUES (1, 3), (2, 3) ON CONFLICT (id) DO UPDATE SET n = excluded.n
	RETURNING old.*, new.*;
MERGE INTO r USING (VALUES (1), (3)) AS s (id) ON r.id = s.id
	WHEN MATCHED THEN UPDATE SET n = 4
	WHEN NOT MATCHED THEN INSERT VALUES (s.id, 4)
	RETURNING merge_action(), old.resource_version, new.resource_version;
DELETE FROM r WHERE id = 1 RETURNING old.resource_version, new.resource_version;
SELECT cas_disable('r'), cas_enable('r', writers => 'echo', unversioned => 'reject');
UPDATE r SET n = 5, resource_version = 1 WHERE id = 2 RETURNING old.resource_version, new.resource_version;
SELECT raises($$UPDATE r SET n = 6, resource_version = 1 WHERE id = 2 RETURNING old.n, new.n$$);

-- A primary key WITHOUT OVERLAPS does not identify a row.
CREATE TABLE temporal (id int4range, valid daterange, doc jsonb, PRIMARY KEY (id, valid WITHOUT OVERLAPS));
SELECT raises($$SELECT cas_enable('temporal')$$);
SELECT raises($$SELECT cas_enable('temporal', payload_column => 'doc')$$);
CREATE TABLE parted (id int4range, valid daterange, PRIMARY KEY (id, valid WITHOUT OVERLAPS)) PARTITION BY LIST (id);
SELECT raises($$SELECT cas_enable('parted')$$);
-- ... also one that takes the place of another
CREATE TABLE turned (id int4range PRIMARY KEY, valid daterange NOT NULL, n int);
SELECT cas_enable('turned');
INSERT INTO turned VALUES ('[1,2)', '[2026-01-01,2026-02-01)', 1);
SELECT cas_update('turned', '[1,2)', 1, '{"n": 2}');
ALTER TABLE turned DROP CONSTRAINT turned_pkey, ADD PRIMARY KEY (id, valid WITHOUT OVERLAPS);
SELECT problem FROM cas_tables WHERE rel = 'turned'::regclass;
SELECT raises($$SELECT cas_update('turned', '{"id": "[1,2)", "valid": "[2026-01-01,2026-02-01)"}', 2, '{"n": 3}')$$);
SELECT raises($$SELECT cas_txn('[]', '[{"op": "get", "table": "turned", "id": "[1,2)"}]')$$);
SELECT raises($$SELECT cas_rename('turned', '{"id": "[1,2)", "valid": "[2026-01-01,2026-02-01)"}', 2, '{"id": "[2,3)", "valid": "[2026-01-01,2026-02-01)"}')$$);
UPDATE turned SET n = 4 RETURNING *;
ALTER TABLE turned DROP CONSTRAINT turned_pkey, ADD PRIMARY KEY (id);
SELECT cas_update('turned', '[1,2)', 3, '{"n": 5}');
-- Other keys WITHOUT OVERLAPS, and foreign keys that refer to them, are constraints
-- as any other.
CREATE TABLE price (id int PRIMARY KEY, item int4range, valid daterange, n int, UNIQUE (item, valid WITHOUT OVERLAPS));
CREATE TABLE sale (id int PRIMARY KEY, item int4range, during daterange,
	FOREIGN KEY (item, PERIOD during) REFERENCES price (item, PERIOD valid));
SELECT cas_enable('price'), cas_enable('sale');
SELECT cas_create('price', 1, '{"item": "[1,2)", "valid": "[2026-01-01,2026-02-01)"}'),
	cas_create('price', 2, '{"item": "[1,2)", "valid": "[2026-02-01,2026-03-01)"}'),
	cas_create('sale', 1, '{"item": "[1,2)", "during": "[2026-01-20,2026-02-10)"}');
SELECT raises($$SELECT cas_update('price', 2, 1, '{"valid": "[2026-01-31,2026-03-01)"}')$$);
SELECT raises($$SELECT cas_update('price', 2, 1, '{"valid": "[2026-02-05,2026-03-01)"}')$$);
SELECT raises($$SELECT cas_update('sale', 1, 1, '{"during": "[2026-01-20,2026-03-10)"}')$$);
SELECT cas_update('price', 2, 1, '{"valid": "[2026-02-01,2026-04-01)"}'), cas_update('sale', 1, 1, '{"during": "[2026-01-20,2026-03-10)"}');

-- NOT NULL NOT VALID: there may be NULLs, in the version column, too.
CREATE TABLE loose (id int PRIMARY KEY, n int, doc jsonb, resource_version bigint);
INSERT INTO loose VALUES (1, NULL, NULL, NULL), (2, 2, '{}', 1);
ALTER TABLE loose ADD CONSTRAINT versioned NOT NULL resource_version NOT VALID,
	ADD CONSTRAINT numbered NOT NULL n NOT VALID;
SELECT raises($$SELECT cas_enable('loose')$$);
UPDATE loose SET resource_version = 1 WHERE id = 1;
ALTER TABLE loose DROP CONSTRAINT numbered;
UPDATE loose SET resource_version = 1 WHERE id = 1;
ALTER TABLE loose ADD CONSTRAINT numbered NOT NULL n NOT VALID;
SELECT raises($$SELECT cas_enable('loose')$$);
ALTER TABLE loose VALIDATE CONSTRAINT versioned;
SELECT cas_enable('loose');
SELECT raises($$SELECT cas_update('loose', 1, 1, '{"doc": {}}')$$);
SELECT raises($$SELECT cas_update('loose', 2, 1, '{"n": null}')$$);
SELECT raises($$SELECT cas_merge('loose', 1, '{"doc": {}}')$$);
SELECT cas_update('loose', 1, 1, '{"n": 1}');
SELECT id, version, payload FROM cas_get('loose', 1);

-- Constraints that are not enforced
CREATE TABLE lax (id int PRIMARY KEY, n int CHECK (n > 0) NOT ENFORCED, ref int REFERENCES loose NOT ENFORCED);
SELECT cas_enable('lax');
SELECT cas_create('lax', 1, '{"n": -1, "ref": 99}'), cas_update('lax', 1, 1, '{"n": -2, "ref": 98}');
SELECT version, payload FROM cas_get('lax', 1);

-- Triggers do not see virtual columns, so a resource cannot be made of them.
CREATE TABLE box (id int PRIMARY KEY, n int, odd int GENERATED ALWAYS AS (n % 2) VIRTUAL,
	half int GENERATED ALWAYS AS (n / 2) STORED);
SELECT raises($$SELECT lock_protect('box', 'box:{odd}')$$);
SELECT lock_protect('box', 'box:{half}');
BEGIN;
SELECT mode FROM lock_acquire('{box:2}');
INSERT INTO box VALUES (1, 4);
COMMIT;
SELECT raises($$INSERT INTO box VALUES (2, 4)$$);

SET client_min_messages = warning;
DROP SCHEMA cas_features_18 CASCADE;
