-- Rows are taken one after another, by the script's counter, so that each is
-- known to have version 1.
CREATE TABLE doc (id text PRIMARY KEY, payload jsonb NOT NULL, resource_version bigint NOT NULL DEFAULT 1);
INSERT INTO doc SELECT 'k' || i, document(0), 1 FROM generate_series(1, 20000) AS i;
CREATE TABLE peer (LIKE doc INCLUDING ALL);
INSERT INTO peer SELECT * FROM doc;
CREATE TABLE spi (LIKE doc INCLUDING ALL);
INSERT INTO spi SELECT * FROM doc;
CREATE TABLE plain (LIKE doc INCLUDING ALL);
INSERT INTO plain SELECT * FROM doc;
CREATE TABLE merged (LIKE doc INCLUDING ALL);
INSERT INTO merged SELECT * FROM doc;
SELECT cas_enable(t, payload_column => 'payload') FROM unnest('{doc,spi,plain,merged}'::regclass[]) AS t;

-- The same with what most tables have: constraints, a generated column, and a
-- foreign key.
CREATE TABLE owner (id int PRIMARY KEY);
INSERT INTO owner VALUES (1);
CREATE TABLE checked (
    id text PRIMARY KEY,
    payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    n text GENERATED ALWAYS AS (payload ->> 'n') STORED,
    owner int NOT NULL DEFAULT 1 REFERENCES owner,
    resource_version bigint NOT NULL DEFAULT 1 CHECK (resource_version > 0));
INSERT INTO checked SELECT 'k' || i, document(0) FROM generate_series(1, 20000) AS i;
CREATE TABLE checked_peer (LIKE checked INCLUDING ALL, FOREIGN KEY (owner) REFERENCES owner);
INSERT INTO checked_peer (id, payload) SELECT id, payload FROM checked;
SELECT cas_enable('checked', payload_column => 'payload');

-- Half of p is held; the others of its units have come and gone many times,
-- and so have rows of bare.
SELECT alloc_pool_create('p', '{10.0.0.0-10.0.7.255}');
SELECT count(alloc_ip('p', lpad(i::text, 32, '0')::uuid)) FROM generate_series(1, 1024) AS i;
CREATE TABLE bare (pool int, key uuid, slot bigint, UNIQUE (pool, key), UNIQUE (pool, slot));
INSERT INTO bare SELECT 0, lpad(i::text, 32, '0')::uuid, i FROM generate_series(1, 1024) AS i;
CREATE PROCEDURE come_and_go(n int) LANGUAGE plpgsql AS $$
DECLARE
    k uuid;
BEGIN
    FOR i IN 1..n LOOP
        k := lpad((i + 10000)::text, 32, '0')::uuid;
        PERFORM alloc_ip('p', k);
        INSERT INTO bare VALUES (1, k, -i);
        COMMIT;
        PERFORM alloc_release('p', k);
        DELETE FROM bare WHERE pool = 1 AND key = k;
        COMMIT;
    END LOOP;
END $$;
CALL come_and_go(4000);

CREATE TABLE name (name text PRIMARY KEY);
INSERT INTO name SELECT i FROM generate_series(0, 7999) AS i;
BEGIN;
SELECT count(*) FROM (SELECT lock_acquire(array_agg(name)) FROM name) AS l;
COMMIT;
VACUUM ANALYZE;
SELECT alloc_pool_create('plenty', '{0-1000000000}', 'int');
SELECT alloc_pool_create('member' || n, '{0-1000000000}', 'int') FROM generate_series(1, 100) AS n;
-- a request as the text that a client sends
CREATE TABLE set_request AS
SELECT '[' || string_agg(format('{"pool": "member%s"}', n), ', ') || ']' AS members FROM generate_series(1, 100) AS n;
