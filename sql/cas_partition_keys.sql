-- Claim: a partition may have a primary key of its own, which PostgreSQL allows
-- before version 17: rows are named by the table's key.
\pset format unaligned
\pset tuples_only on
SELECT current_setting('server_version_num')::int >= 170000 AS skip \gset
\if :skip
\echo 'skipped: a partition has no primary key of its own'
\quit
\endif
CREATE SCHEMA cas_partition_keys;
SET search_path = cas_partition_keys, public, cas_test;

-- A partition may have a primary key of its own, with other columns, in
-- another order, of another type: its rows are named by the table's key.
CREATE TABLE p (id int PRIMARY KEY, k text, other int) PARTITION BY RANGE (id);
CREATE TABLE c (other int NOT NULL, gone int, k text PRIMARY KEY, id int NOT NULL UNIQUE);
ALTER TABLE c DROP COLUMN gone;
CREATE TABLE e (other int PRIMARY KEY, id int NOT NULL UNIQUE, k text);
ALTER TABLE p ATTACH PARTITION c FOR VALUES FROM (1) TO (100);
ALTER TABLE p ATTACH PARTITION e FOR VALUES FROM (100) TO (200);
SELECT cas_enable('p', unversioned => 'reject');
SELECT cas_create('p', 1, '{"k": "a", "other": 2}'), cas_create('p', 2, '{"k": "b", "other": 1}'),
	cas_create('p', 101, '{"k": "c", "other": 102}'), cas_create('p', 102, '{"k": "d", "other": 101}');
SELECT cas_update('p', 1, 1, '{"k": "A"}'), cas_update('p', 101, 1, '{"k": "C"}');
SELECT * FROM cas_try_update('p', 2, 1, '{"other": 7}');
-- the announced write is that of the row with this id, not of one whose own
-- key has the number
CREATE FUNCTION neighbour() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 102 AND NEW.k = 'stop' THEN
		UPDATE p SET k = 'sneaked in' WHERE other = 102;
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER a BEFORE UPDATE ON p FOR EACH ROW EXECUTE FUNCTION neighbour();
SELECT raises($$SELECT cas_update('p', 102, 1, '{"k": "stop"}')$$);
DROP TRIGGER a ON p;
-- ids in errors of the guard, and a call on the partition itself
DO $$
DECLARE
	detail text;
BEGIN
	UPDATE c SET resource_version = 9 WHERE k = 'b';
EXCEPTION WHEN SQLSTATE 'PT409' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE NOTICE '%', detail::jsonb ->> 'id';
END
$$;
SELECT cas_update('e', 102, 1, '{"k": "D"}'), cas_put('e', 103, '{"k": "E", "other": 3}');
SELECT id, version, payload FROM cas_get('e', 102);
SELECT * FROM p ORDER BY id;

-- The key of the announced write is read as it was made.
CREATE TABLE own (id int PRIMARY KEY, k text NOT NULL, n int) PARTITION BY RANGE (id);
CREATE TABLE own1 (n int, k text PRIMARY KEY, id int NOT NULL UNIQUE);
ALTER TABLE own ATTACH PARTITION own1 FOR VALUES FROM (0) TO (10);
SELECT cas_enable('own', unversioned => 'reject');
INSERT INTO own VALUES (1, 'one', 0);
SELECT cas_update('own', 1, 1, '{"n": 1}'), cas_rename('own', 1, 2, 2);
SELECT raises($$UPDATE own SET n = 9$$);

SET client_min_messages = warning;
DROP SCHEMA cas_partition_keys CASCADE;
