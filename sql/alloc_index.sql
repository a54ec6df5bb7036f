-- Claim: whatever further indexes the tables of allocation have, a call works
-- as without them; and what a transaction has changed it can change again, in
-- pools of every kind.
CREATE SCHEMA alloc_index_test;
SET search_path = alloc_index_test, public, cas_test;
CREATE TABLE pools (pool text PRIMARY KEY, masklen int);
INSERT INTO pools VALUES ('any', NULL), ('lowest', NULL), ('random', NULL), ('chunks', NULL), ('prefix', 31);
SELECT alloc_pool_create(s, '{0-9}', 'int', s) FROM unnest('{any, lowest, random}'::text[]) AS s;
SELECT alloc_pool_create('chunks', '{10.0.0.0-10.0.0.9}', port_chunk => 16384);
SELECT alloc_pool_create('prefix', '{10.0.0.0/27}', 'prefix');

-- if caches are discarded: one round, with one index of four, and a check without
-- looking up everything again
CREATE FUNCTION rounds(n int) RETURNS int LANGUAGE sql
    RETURN CASE current_setting('debug_discard_caches') WHEN '0' THEN n ELSE 1 END;
CREATE FUNCTION skips(index text) RETURNS boolean LANGUAGE sql
    RETURN rounds(2) = 1 AND hashtext(index) % 4 <> 0;
CREATE FUNCTION check_all() RETURNS void LANGUAGE plpgsql SET debug_discard_caches = 0 AS $$
BEGIN
    IF EXISTS (SELECT FROM alloc_verify()) THEN
        RAISE 'damage: %', (SELECT string_agg(v::text, ', ') FROM alloc_verify() AS v);
    END IF;
END $$;

-- keys come and go by the hundred, in one call and in several, run out and
-- come back; two of a call's keys have a unit that has run out
CREATE PROCEDURE play() LANGUAGE plpgsql AS $$
DECLARE p pools;
BEGIN
    FOR p IN SELECT * FROM pools LOOP
        FOR round IN 1 .. rounds(5) LOOP
            PERFORM alloc_many(p.pool, ARRAY[k(1)], p.masklen);
            PERFORM alloc_many(p.pool, ARRAY[k(3), k(2)], p.masklen, '1 us');
            PERFORM alloc_many(p.pool, ARRAY[k(4), k(3), k(5)], p.masklen, note => '"x"');
            PERFORM alloc_renew(p.pool, k(4), '1 hour');
            IF (SELECT array_agg(key ORDER BY key) FROM alloc_units AS u WHERE u.pool = p.pool)
                <> ARRAY[k(1), k(3), k(4), k(5)] THEN
                RAISE 'wrong units in %', p.pool;
            END IF;
            PERFORM alloc_release(p.pool, k(n)) FROM generate_series(1, 5) AS n;
        END LOOP;
    END LOOP;
    PERFORM check_all();
END $$;
CALL play();

-- one more index of each sort on each table
CREATE FUNCTION shout(uuid) RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN upper($1::text); END $$;
CREATE TABLE more (index text);
INSERT INTO more VALUES
    ('CREATE INDEX more ON cas_internal.alloc_slot (key)'),
    ('CREATE INDEX more ON cas_internal.alloc_slot (allocated_at) WHERE note IS NOT NULL'),
    ('CREATE INDEX more ON cas_internal.alloc_slot (alloc_index_test.shout(key))'),
    ('CREATE UNIQUE INDEX more ON cas_internal.alloc_slot (generation)'),
    ('ALTER TABLE cas_internal.alloc_slot ADD CONSTRAINT more EXCLUDE USING gist (int8range(generation, generation, ''[]'') WITH &&) WHERE (generation IS NOT NULL)'),
    ('CREATE INDEX more ON cas_internal.alloc_slot USING brin (allocated_at)'),
    ('CREATE INDEX more ON cas_internal.alloc_slot USING hash (key)'),
    ('CREATE INDEX more ON cas_internal.alloc_past (key)'),
    ('CREATE INDEX more ON cas_internal.alloc_past (ended_at) WHERE reason = ''expired'''),
    ('CREATE INDEX more ON cas_internal.alloc_past (alloc_index_test.shout(key))'),
    ('CREATE UNIQUE INDEX more ON cas_internal.alloc_past (generation)'),
    ('ALTER TABLE cas_internal.alloc_past ADD CONSTRAINT more EXCLUDE USING gist (int8range(generation, generation, ''[]'') WITH &&) WHERE (generation IS NOT NULL)'),
    ('CREATE INDEX more ON cas_internal.alloc_past USING brin (ended_at)'),
    ('CREATE INDEX more ON cas_internal.alloc_past USING hash (key)'),
    ('CREATE INDEX more ON cas_internal.alloc_frontier (range) WHERE pending <> ''{}''');
CREATE PROCEDURE play_with(index text) LANGUAGE plpgsql AS $$
BEGIN
    IF skips(index) THEN
        RETURN;
    END IF;
    EXECUTE index;
    CALL play();
    IF index LIKE '%alloc_slot%' THEN
        ALTER TABLE cas_internal.alloc_slot DROP CONSTRAINT IF EXISTS more;
    ELSE
        ALTER TABLE cas_internal.alloc_past DROP CONSTRAINT IF EXISTS more;
    END IF;
    DROP INDEX IF EXISTS cas_internal.more;
END $$;
SET client_min_messages = warning;
SELECT format('CALL play_with(%L)', index) FROM more \gexec
RESET client_min_messages;

-- The same on the tables of counted pools, of pools with strategy lowest whose units
-- differ in size, and of the pools themselves.
SELECT alloc_pool_create('root', '{}', 'count', capacity => 60);
SELECT alloc_pool_create('part', '{}', 'count', capacity => 30, parent => 'root'), alloc_pool_create('nets', '{10.1.0.0/24}', 'prefix', 'lowest'),
    alloc_pool_create('ips', '{10.2.0.0-10.2.0.9}', 'ip', 'lowest', port_chunk => 16384, parent => 'root');
CREATE PROCEDURE play_more() LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
    FOR round IN 1 .. rounds(2) LOOP
        PERFORM alloc_count('part', k(n), n, note => to_jsonb(n)) FROM generate_series(1, 4) AS n;
        PERFORM alloc_prefix('nets', k(n), 26 + n) FROM generate_series(1, 4) AS n;
        PERFORM alloc_ports('ips', k(n)), alloc_ip('ips', k(n + 4)) FROM generate_series(1, 4) AS n;
        PERFORM alloc_release('part', k(2)), alloc_release('nets', k(2)), alloc_release('ips', k(2));
        PERFORM alloc_count('part', k(5), 12), alloc_resize('part', k(3), 1), alloc_count('part', k(6), 1, '1 us');
        PERFORM alloc_set('[{"pool": "part", "n": 2}, {"pool": "nets", "masklen": 28}, {"pool": "ips", "ports": true}]', k(9));
        PERFORM alloc_prefix('nets', k(8), 30, ttl => '1 us');
        PERFORM alloc_move('part', k(1), k(7)), alloc_annotate('part', k(7), '7'), alloc_renew('part', k(7), '1 hour');
        PERFORM alloc_many('nets', ARRAY[k(11), k(10)], 32);
        PERFORM alloc_pool_create('passing', ARRAY['0-9'], 'int'), alloc_pool_set('root', capacity => 61), alloc_pool_set('root', capacity => 60);
        PERFORM alloc_pool_grow('passing', '20-29'), alloc_reserve('passing', '22-23'), alloc_pool_shrink('passing', '5-9'), alloc_pool_drop('passing');
        SELECT string_agg(pool || ' ' || n, ', ' ORDER BY pool) INTO found
        FROM (SELECT pool, count(*) AS n FROM alloc_units WHERE pool IN ('part', 'nets', 'ips') GROUP BY 1) AS u;
        IF found <> 'ips 8, nets 6, part 5' THEN
            RAISE 'wrong units: %', found;
        END IF;
        PERFORM alloc_release(pool, key) FROM alloc_units WHERE pool IN ('part', 'nets', 'ips');
    END LOOP;
    PERFORM check_all();
END $$;
CALL play_more();
-- then a condition that the index serves is true of as many rows as without it
CREATE PROCEDURE play_more_with(rel text, index text, condition text) LANGUAGE plpgsql AS $$
DECLARE
    by_index bigint; by_table bigint;
BEGIN
    IF skips(rel || index) THEN
        RETURN;
    END IF;
    EXECUTE format(index, 'cas_internal.' || rel);
    CALL play_more();
    -- so that there is something in all of the tables
    PERFORM alloc_count('part', k(1), 3), alloc_prefix('nets', k(1), 28), alloc_prefix('nets', k(2), 28);
    PERFORM alloc_release('nets', k(1));
    SET LOCAL enable_seqscan = off;
    EXECUTE format('SELECT count(*) FROM cas_internal.%I WHERE %s', rel, condition) INTO by_index;
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_indexscan = off;
    SET LOCAL enable_bitmapscan = off;
    SET LOCAL enable_indexonlyscan = off;
    EXECUTE format('SELECT count(*) FROM cas_internal.%I WHERE %s', rel, condition) INTO by_table;
    SET LOCAL enable_indexscan = on;
    SET LOCAL enable_bitmapscan = on;
    SET LOCAL enable_indexonlyscan = on;
    IF by_index <> by_table OR by_table = 0 THEN
        RAISE '% rows of % by index, % by table: %', by_index, rel, by_table, index;
    END IF;
    PERFORM alloc_release('part', k(1)), alloc_release('nets', k(2));
    EXECUTE format('ALTER TABLE cas_internal.%I DROP CONSTRAINT IF EXISTS more', rel);
    DROP INDEX IF EXISTS cas_internal.more;
END $$;
CREATE TABLE more_still (rel text, index text, condition text);
INSERT INTO more_still
SELECT rel, replace(i, 'COLUMN', col), replace(replace(c, 'COLUMN', col), 'TABLE', rel)
FROM (VALUES ('alloc_share', 'first'), ('alloc_gap', 'first'), ('alloc_freed', 'first_slot'), ('alloc_pool', 'id'), ('alloc_range', 'first')) AS t (rel, col),
    (VALUES ('CREATE INDEX more ON %s (COLUMN)', 'COLUMN >= 0'),
        ('CREATE INDEX more ON %s ((COLUMN + 1))', 'COLUMN + 1 >= 1'),
        ('CREATE INDEX more ON %s (alloc_index_test.shout(md5(COLUMN::text)::uuid))', 'alloc_index_test.shout(md5(COLUMN::text)::uuid) > chr(32)'),
        ('CREATE INDEX more ON %s USING hash (COLUMN)', 'COLUMN = ANY (ARRAY(SELECT COLUMN FROM cas_internal.TABLE))'),
        ('CREATE INDEX more ON %s USING brin (COLUMN)', 'COLUMN >= 0')) AS s (i, c);
INSERT INTO more_still VALUES
    ('alloc_share', 'CREATE UNIQUE INDEX more ON %s (pool, first)', 'pool > 0'),
    ('alloc_share', 'CREATE INDEX more ON %s (expires_at) WHERE key IS NOT NULL', 'key IS NOT NULL'),
    ('alloc_share', 'CREATE INDEX more ON %s USING hash (key)', 'key = k(1)'),
    ('alloc_pool', 'CREATE UNIQUE INDEX more ON %s (name, id)', 'name >= chr(32)'),
    ('alloc_range', 'ALTER TABLE %s ADD CONSTRAINT more UNIQUE (pool, first) DEFERRABLE INITIALLY DEFERRED', 'pool > 0');
SET client_min_messages = warning;
SELECT format('CALL play_more_with(%L, %L, %L)', rel, index, condition) FROM more_still \gexec
RESET client_min_messages;
SELECT count(*) FROM more_still;
SELECT * FROM alloc_verify();
SELECT count(alloc_pool_drop(pool)) FROM unnest('{part,nets,ips}'::text[]) AS pool;
SELECT alloc_pool_drop('root');

-- what this transaction has written it can write again, and end
BEGIN;
SELECT u.pool, count(*) FROM pools AS p, alloc_many(p.pool, ARRAY[k(1), k(2)], masklen) AS u GROUP BY 1 ORDER BY 1;
COMMIT;
BEGIN;
SELECT count(alloc_renew(pool, k(1), '1 hour')), count(alloc_renew(pool, k(2), '1 hour')) FROM pools;
SELECT count(*) FILTER (WHERE alloc_release(pool, k(1))) FROM pools;
SAVEPOINT s;
SELECT count(*) FILTER (WHERE alloc_release(pool, k(2))) FROM pools;
ROLLBACK TO s;
SELECT count(*) FILTER (WHERE alloc_release(pool, k(2))) FROM pools;
COMMIT;
SELECT * FROM alloc_verify();
SELECT count(*) FROM alloc_units;
-- with a unit that runs out meanwhile, and a rest before it is given out
SELECT alloc_pool_set(pool, cooldown => '1 us') FROM pools WHERE pool <> 'random';
BEGIN;
SELECT count(*) FROM pools AS p, alloc_many(p.pool, ARRAY[k(1), k(2)], masklen);
SELECT count(alloc_renew(pool, k(1), '1 us')), count(alloc_renew(pool, k(2), '1 hour')) FROM pools;
SELECT count(*) FROM pools AS p, alloc_many(p.pool, ARRAY[k(1), k(3)], masklen);
SELECT count(*) FILTER (WHERE alloc_release(pool, k(n))) FROM pools, generate_series(1, 3) AS n;
SELECT count(*) FROM pools AS p, alloc_many(p.pool, ARRAY[k(1), k(3)], masklen);
SELECT count(*) FILTER (WHERE alloc_release(pool, k(n))) FROM pools, generate_series(1, 3) AS n;
COMMIT;
SELECT count(alloc_pool_shrink(pool, CASE WHEN masklen IS NULL THEN '0-9' ELSE '10.0.0.0/27' END))
FROM pools WHERE pool <> 'chunks';
SELECT * FROM alloc_verify();

-- The row of a frontier gets index entries on the page to which it goes when
-- its own is full.
SELECT alloc_pool_create('frontier', '{0-9999}', 'int', 'lowest');
SET debug_discard_caches = 0;
SELECT count(alloc_int('frontier', k(n))) FROM generate_series(1, 600) AS n;
RESET debug_discard_caches;
CREATE VIEW frontier AS SELECT f.slot, (f.ctid::text::point)[0] AS page, f.range
FROM cas_internal.alloc_frontier AS f JOIN cas_internal.alloc_range AS r ON r.id = f.range
JOIN cas_internal.alloc_pool AS p ON p.id = r.pool WHERE p.name = 'frontier';
SELECT page AS was FROM frontier \gset
BEGIN;
DO $$
DECLARE was float; now float;
BEGIN
    LOOP
        BEGIN
            SELECT page INTO was FROM frontier;
            UPDATE cas_internal.alloc_frontier SET slot = slot WHERE range = (SELECT range FROM frontier)
            RETURNING (ctid::text::point)[0] INTO now;
            IF was <> now THEN
                RAISE division_by_zero;      -- the page is full, and the row stays there
            END IF;
        EXCEPTION WHEN division_by_zero THEN
            EXIT;
        END;
    END LOOP;
END $$;
SELECT slot, page = :was AS same FROM frontier;
SELECT alloc_int('frontier', k(601));
COMMIT;
SET enable_seqscan = off;
SELECT slot, page = :was AS same FROM frontier;
RESET enable_seqscan;
SELECT * FROM alloc_verify();
SELECT count(alloc_release(pool, key)) FROM alloc_units;

-- it is saved, too, by those who forget it after each unit, as sessions that end do
SET debug_discard_caches = 0;
SELECT alloc_pool_create('shortly', '{0-9999}', 'int');
DO $$ BEGIN
    FOR n IN 1 .. 1500 LOOP
        PERFORM alloc_int('shortly', k(n));
        COMMIT;
        BEGIN
            PERFORM 1 / 0;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END $$;
SELECT max(f.slot) > 1000 AS saved FROM cas_internal.alloc_frontier AS f JOIN cas_internal.alloc_range AS r ON r.id = f.range
JOIN cas_internal.alloc_pool AS p ON p.id = r.pool WHERE p.name = 'shortly';
SELECT max(value::int) FROM alloc_units WHERE pool = 'shortly';
SELECT count(alloc_release(pool, key)) FROM alloc_units;
RESET debug_discard_caches;
DROP VIEW frontier;

SELECT count(alloc_pool_drop(pool)) FROM alloc_pools;
SET client_min_messages = warning;
DROP SCHEMA alloc_index_test CASCADE;
