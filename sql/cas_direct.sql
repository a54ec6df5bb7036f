-- Claim: where the direct path serves tables with CHECK constraints, generated
-- columns and foreign keys, it does what an UPDATE does: computes, refuses, and
-- leaves to the executor what foreign keys have to check.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_direct;
SET search_path = cas_direct, public, cas_test;
CREATE FUNCTION told(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text;
    version bigint;
    payload jsonb;
BEGIN
    EXECUTE 'SELECT outcome, version, payload FROM ' || command INTO outcome, version, payload;
    RETURN concat_ws(' ', outcome, version, payload);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

CREATE TABLE parent (id int PRIMARY KEY, code text UNIQUE, seen int);
CREATE TABLE item (
    id int PRIMARY KEY,
    n int CHECK (n < 100),
    twice int GENERATED ALWAYS AS (n * 2) STORED,
    label text GENERATED ALWAYS AS ('n' || n::text) STORED NOT NULL,
    parent int REFERENCES parent ON UPDATE CASCADE,
    code text REFERENCES parent (code) DEFERRABLE INITIALLY DEFERRED,
    CHECK (twice <> 10));
CREATE INDEX ON item (twice);
SELECT cas_enable('parent'), cas_enable('item', ignore_columns => '{parent}');
INSERT INTO parent SELECT i, 'c' || i FROM generate_series(1, 4) AS i;
INSERT INTO item (id, n, parent, code) SELECT i, i, i, 'c' || i FROM generate_series(1, 4) AS i;

-- constraints and generated columns
SELECT told($$cas_try_update('item', '1', 1, '{"n": 7}')$$);
SELECT told($$cas_try_update('item', '2', 1, '{"n": 100}')$$);
SELECT told($$cas_try_update('item', '2', 1, '{"n": 5}')$$);
SELECT told($$cas_try_update('item', '2', 1, '{"n": null}')$$);
SELECT told($$cas_try_update('item', '2', 1, '{"n": 2, "twice": 4, "label": "n2"}')$$);
SELECT told($$cas_try_update('item', '2', 1, '{"n": 3, "twice": 4}')$$);
SELECT told($$cas_try_patch('item', '2', 1, '{"n": 30}')$$);
SELECT told($$cas_try_update('item', '2', 1, '{"n": 31}')$$);
SET enable_seqscan = off;
SELECT id, n, twice, label, parent, code, resource_version FROM item WHERE twice BETWEEN 6 AND 60 ORDER BY id;
RESET enable_seqscan;
SELECT raises($$SELECT cas_update('item', '2', 2, '{"n": 100}')$$);

-- foreign keys: what does not exist, what does, and what is not touched
SELECT told($$cas_try_update('item', '3', 1, '{"parent": 9}')$$);
SELECT told($$cas_try_update('item', '3', 1, '{"parent": 4}')$$);
SELECT told($$cas_try_update('item', '3', 1, '{"n": 33, "parent": 4, "code": "c3"}')$$);
SELECT told($$cas_try_update('parent', '3', 1, '{"code": "c3", "seen": 1}')$$);
SELECT told($$cas_try_update('parent', '3', 2, '{"code": "c9"}')$$);
SELECT told($$cas_try_update('parent', '3', 2, '{"seen": 2}')$$);

-- a deferred check of a row that is new passes over it once it is updated: the
-- update has to be checked as well
BEGIN;
INSERT INTO item (id, n, parent, code) VALUES (8, 1, 1, 'none');
SELECT told($$cas_try_update('item', '8', 1, '{"n": 2}')$$);
COMMIT;
BEGIN;
INSERT INTO item (id, n, parent, code) VALUES (8, 1, 1, 'c1');
SELECT told($$cas_try_update('item', '8', 1, '{"n": 2}')$$);
SELECT told($$cas_try_update('item', '8', 2, '{"n": 3}')$$);
COMMIT;
-- so does one of a row that was updated to what does not exist
BEGIN;
UPDATE item SET code = 'none' WHERE id = 8;
SELECT told($$cas_try_update('item', '8', 4, '{"n": 4}')$$);
COMMIT;
SELECT id, n, code, resource_version FROM item WHERE id = 8;

-- a foreign key may be a generated column, or refer to the version
CREATE TABLE of_made (id int PRIMARY KEY, n int, made int GENERATED ALWAYS AS (n % 10) STORED REFERENCES parent);
SELECT cas_enable('of_made');
INSERT INTO of_made VALUES (1, 11);
SELECT told($$cas_try_update('of_made', '1', 1, '{"n": 12}')$$);
SELECT told($$cas_try_update('of_made', '1', 2, '{"n": 19}')$$);
CREATE TABLE versioned (id int PRIMARY KEY, n int);
SELECT cas_enable('versioned');
INSERT INTO versioned VALUES (1, 1);
ALTER TABLE versioned ADD UNIQUE (resource_version);
CREATE TABLE of_version (v bigint REFERENCES versioned (resource_version));
INSERT INTO of_version VALUES (1);
SELECT told($$cas_try_update('versioned', '1', 1, '{"n": 2}')$$);
DELETE FROM of_version;
SELECT told($$cas_try_update('versioned', '1', 1, '{"n": 2}')$$);

-- a CHECK constraint whose function runs commands
CREATE TABLE audit (n int);
CREATE TABLE odd (id int PRIMARY KEY, n int, other int);
CREATE FUNCTION odd_check(k int, n int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO cas_direct.audit VALUES (n);
    IF n = 13 THEN
        UPDATE cas_direct.odd SET other = 1 WHERE id = k AND other IS DISTINCT FROM 1;
    END IF;
    RETURN n <> 14;
END $$;
ALTER TABLE odd ADD CHECK (odd_check(id, n));
SELECT cas_enable('odd');
INSERT INTO odd VALUES (1, 1), (2, 2);
TRUNCATE audit;
SELECT told($$cas_try_update('odd', '1', 1, '{"n": 3}')$$);
SELECT told($$cas_try_update('odd', '1', 2, '{"n": 14}')$$);
SELECT told($$cas_try_update('odd', '1', 2, '{"n": 13}')$$);
SELECT told($$cas_try_update('odd', '1', 2, '{"n": 4}')$$);
SELECT n FROM audit;
SELECT * FROM odd ORDER BY id;

-- a constraint that is added meanwhile, or not valid for rows that are there
ALTER TABLE odd ADD CONSTRAINT small CHECK (n < 3) NOT VALID;
SELECT told($$cas_try_update('odd', '1', 3, '{"other": 2}')$$);
ALTER TABLE odd DROP CONSTRAINT small;
SELECT told($$cas_try_update('odd', '1', 3, '{"other": 2}')$$);

-- the one system column that such expressions may use
CREATE TABLE here (id int PRIMARY KEY, n int,
    is_at text GENERATED ALWAYS AS (CASE WHEN tableoid > 0 THEN 'here' ELSE 'nowhere' END || n::text) STORED,
    CHECK (tableoid > 0));
SELECT cas_enable('here');
INSERT INTO here VALUES (1, 1);
SELECT told($$cas_try_update('here', '1', 1, '{"n": 2}')$$);
SELECT * FROM here;

-- the updates of one call share what they need of the executor
CREATE TABLE two (id int PRIMARY KEY, a int, b int,
    of_a int GENERATED ALWAYS AS (a * 10) STORED, of_b int GENERATED ALWAYS AS (b * 10) STORED);
CREATE INDEX two_of_b ON two (of_b);
SELECT cas_enable('two');
INSERT INTO two SELECT i, i, i FROM generate_series(1, 4) AS i;
SELECT cas_txn('[]', '[{"op": "update", "table": "two", "id": 1, "version": 1, "payload": {"a": 11}},
    {"op": "update", "table": "two", "id": 2, "version": 1, "payload": {"b": 12}},
    {"op": "update", "table": "two", "id": 3, "version": 1, "payload": {"b": 13}},
    {"op": "update", "table": "two", "id": 4, "version": 1, "payload": {"a": 14, "b": 14}}]') ->> 'succeeded';
SET enable_seqscan = off;
SELECT * FROM two WHERE of_b > 0 ORDER BY id;
RESET enable_seqscan;
-- with indexes of all sorts, which keep something from one row to the next
CREATE TABLE indexed (id int PRIMARY KEY, doc jsonb NOT NULL);
CREATE INDEX ON indexed USING gin (doc);
CREATE INDEX ON indexed USING brin (id);
CREATE INDEX ON indexed USING hash ((doc ->> 'n'));
CREATE UNIQUE INDEX ON indexed (((doc ->> 'n')::int)) WHERE doc ->> 'kind' = 'x';
SELECT cas_enable('indexed', payload_column => 'doc');
INSERT INTO indexed SELECT i, '{}' FROM generate_series(1, 300) AS i;
SELECT cas_txn('[]', (SELECT jsonb_agg(jsonb_build_object('op', 'update', 'table', 'indexed', 'id', i, 'version', 1,
        'payload', jsonb_build_object('n', i, 'kind', CASE WHEN i % 3 = 0 THEN 'x' ELSE 'y' END)))
    FROM generate_series(1, 300) AS i)) ->> 'succeeded';
SELECT raises($$SELECT cas_txn('[]', '[{"op": "update", "table": "indexed", "id": 1, "version": 2, "payload": {"n": 2, "kind": "x"}},
    {"op": "update", "table": "indexed", "id": 2, "version": 2, "payload": {"n": 3, "kind": "x"}}]')$$);
SET enable_seqscan = off;
SELECT count(*) FROM indexed WHERE doc @> '{"kind": "x"}';
SELECT count(*) FROM generate_series(1, 300) AS i, indexed WHERE doc ->> 'n' = i::text AND id = i;
SELECT count(*) FROM indexed WHERE doc ->> 'kind' = 'x' AND (doc ->> 'n')::int > 0;
RESET enable_seqscan;
-- but a function that the call runs finds nothing open
CREATE FUNCTION reindexed(payload jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    REINDEX INDEX cas_direct.two_of_b;
    RETURN payload || '{"a": 0}';
END $$;
SELECT cas_txn('[]', '[{"op": "update", "table": "two", "id": 1, "version": 2, "payload": {"b": 21}},
    {"op": "apply", "table": "two", "id": 2, "fn": "cas_direct.reindexed(jsonb, jsonb)"},
    {"op": "update", "table": "two", "id": 3, "version": 2, "payload": {"b": 23}}]') ->> 'succeeded';
SET enable_seqscan = off;
SELECT * FROM two WHERE of_b > 0 ORDER BY id;
RESET enable_seqscan;

-- the table is read anew while it is renamed in a subtransaction: what was opened
-- before that is closed outside of it
CREATE TABLE anew (id text PRIMARY KEY, n int);
CREATE FUNCTION look_anew() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ANALYZE cas_direct.anew; RETURN NEW; END $$;
CREATE TRIGGER look BEFORE UPDATE ON anew FOR EACH ROW EXECUTE FUNCTION look_anew();
SELECT cas_enable('anew');
INSERT INTO anew VALUES ('a', 1), ('c', 1);
SELECT told($$cas_try_rename('anew', 'a', 1, 'b')$$);
SELECT told($$cas_try_rename('anew', 'b', 2, 'c')$$);
CREATE UNIQUE INDEX ON anew ((CASE WHEN id > 'x' THEN 'x' ELSE id END));
INSERT INTO anew VALUES ('x', 1);
SELECT told($$cas_try_rename('anew', 'b', 2, 'z')$$);
SELECT * FROM anew ORDER BY id;

-- a foreign key that a function of the call has created counts from then on
CREATE TABLE referred_to (id int PRIMARY KEY, code text UNIQUE, n int);
SELECT cas_enable('referred_to');
INSERT INTO referred_to VALUES (1, 'c1', 1), (2, 'c2', 1);
CREATE FUNCTION refer(code text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass('cas_direct.child') IS NULL THEN
        CREATE TABLE cas_direct.child (code text REFERENCES cas_direct.referred_to (code));
        INSERT INTO cas_direct.child VALUES (code);
    END IF;
    RETURN true;
END $$;
CREATE FUNCTION referred(payload jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cas_direct.refer('c1');
    RETURN payload || '{"code": "gone"}';
END $$;
SELECT raises($$SELECT cas_apply('referred_to', '1', 'cas_direct.referred(jsonb, jsonb)')$$);
SELECT to_regclass('child'), code FROM referred_to ORDER BY id;
ALTER TABLE referred_to ADD CHECK (n <> 2 OR refer('c2'));
SELECT raises($$SELECT cas_txn('[]', '[{"op": "update", "table": "referred_to", "id": 1, "version": 1, "payload": {"n": 2}},
    {"op": "update", "table": "referred_to", "id": 2, "version": 1, "payload": {"code": "gone"}}]')$$);
SELECT to_regclass('child'), code FROM referred_to ORDER BY id;

-- a row that a foreign key that is NOT VALID has left half referenced
CREATE TABLE pair (a int, b int, PRIMARY KEY (a, b));
INSERT INTO pair VALUES (1, 1);
CREATE TABLE half (id int PRIMARY KEY, a int, b int, note text);
INSERT INTO half VALUES (1, 1, NULL, 'x'), (2, 1, 1, 'x'), (3, NULL, NULL, 'x');
ALTER TABLE half ADD CONSTRAINT to_pair FOREIGN KEY (a, b) REFERENCES pair MATCH FULL NOT VALID;
SELECT cas_enable('half');
SELECT id, raises(format($$SELECT cas_update('half', %s, 1, '{"note": "y"}')$$, id)) FROM generate_series(1, 3) AS id;
-- MATCH SIMPLE allows it
ALTER TABLE half DROP CONSTRAINT to_pair, ADD FOREIGN KEY (a, b) REFERENCES pair;
SELECT raises($$SELECT cas_update('half', 1, 1, '{"note": "z"}')$$);

-- a document that another table refers to is compared without its version, too
CREATE TABLE document (id int PRIMARY KEY, doc jsonb NOT NULL UNIQUE);
SELECT cas_enable('document', payload_column => 'doc', version_path => '{v}');
INSERT INTO document VALUES (1, '{"a": 1}');
CREATE TABLE of_document (id int PRIMARY KEY REFERENCES document);
SELECT outcome, version FROM cas_try_update('document', 1, 1, '{"a": 1}');

SET client_min_messages = warning;
DROP SCHEMA cas_direct CASCADE;
