--
-- Whatever index a superuser adds to the tables of names, locks and leases
-- work, and the index says what the table says.
--
CREATE SCHEMA lock_indexes_test;
SET search_path = lock_indexes_test, public;
\set VERBOSITY terse
\set SHOW_CONTEXT never

-- Make, write, give up and purge names of both kinds; then compare each index
-- with its table.  A function in an index does not act as the caller.
CREATE FUNCTION use() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    n int;
BEGIN
    PERFORM lock_acquire('{i1,i2}', '{i3}');
    PERFORM lock_acquire('{i3}');
    BEGIN
        PERFORM lock_acquire('{i4}');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
    END;
    PERFORM lock_acquire('{i4}');
    SELECT count(*) INTO n FROM lock_holders;
    RETURN n;
END
$$;
CREATE FUNCTION compare(index regclass, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    by_index text;
    by_table text;
    line text;
    plan text := '';
BEGIN
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_indexscan = on;
    FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
        plan := plan || line;
    END LOOP;
    EXECUTE query INTO by_index;
    SET LOCAL enable_seqscan = on;
    SET LOCAL enable_indexscan = off;
    SET LOCAL enable_bitmapscan = off;
    SET LOCAL enable_indexonlyscan = off;
    EXECUTE query INTO by_table;
    RETURN CASE WHEN position(split_part(index::text, '.', 2) IN plan) = 0 THEN 'not used: ' || plan
                WHEN by_index IS DISTINCT FROM by_table
                THEN format('index says %s, table %s', by_index, by_table)
                WHEN by_table::int > 0 THEN 'same' END;
END
$$;
CREATE ROLE lock_indexes_user;
GRANT USAGE ON SCHEMA lock_indexes_test TO lock_indexes_user;
CREATE FUNCTION lower_of(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF current_user = 'lock_indexes_user' THEN
        RAISE 'called as the user';
    END IF;
    RETURN lower($1);
END
$$;

-- Each sort by itself.
CREATE FUNCTION attempt(definition text, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'CREATE ' || replace(definition, 'INDEX ON', 'INDEX mine ON');
    SET LOCAL ROLE lock_indexes_user;
    RETURN NEXT lock_indexes_test.use();
    RESET ROLE;
    RETURN NEXT lock_indexes_test.compare('cas_internal.mine', query);
    DROP INDEX cas_internal.mine;
END
$$;
SELECT * FROM attempt('INDEX ON cas_internal.lock_name (fence)',
    'SELECT count(*) FROM cas_internal.lock_name WHERE fence > 0');
SELECT * FROM attempt('UNIQUE INDEX ON cas_internal.lock_name (fence, name)',
    'SELECT count(*) FROM cas_internal.lock_name WHERE fence > 0');
SELECT * FROM attempt('INDEX ON cas_internal.lock_name (lock_indexes_test.lower_of(name))',
    $$SELECT count(*) FROM cas_internal.lock_name WHERE lock_indexes_test.lower_of(name) = 'i3'$$);
SELECT * FROM attempt('INDEX ON cas_internal.lock_name (since) WHERE fence > 0',
    $$SELECT count(*) FROM cas_internal.lock_name WHERE fence > 0 AND since > '2000-01-01'$$);
SELECT * FROM attempt('INDEX ON cas_internal.lock_name USING hash (fence)',
    $$SELECT count(*) FROM cas_internal.lock_name WHERE fence = (SELECT fence FROM cas_internal.lock_name WHERE name = 'i2')$$);
SELECT * FROM attempt('INDEX ON cas_internal.lock_name USING brin (fence)',
    'SELECT count(*) FROM cas_internal.lock_name WHERE fence > 0');
SELECT * FROM attempt('INDEX ON cas_internal.lock_name USING gin (to_tsvector(''simple'', name))',
    $$SELECT count(*) FROM cas_internal.lock_name WHERE to_tsvector('simple', name) @@ 'i3'$$);
SELECT * FROM attempt('INDEX ON cas_internal.lock_name USING spgist (name)',
    $$SELECT count(*) FROM cas_internal.lock_name WHERE name ~>=~ 'i'$$);

-- Constraints too, and leases.
ALTER TABLE cas_internal.lock_name
    ADD CONSTRAINT mine UNIQUE (fence, name) DEFERRABLE INITIALLY DEFERRED,
    ADD CONSTRAINT its EXCLUDE USING btree (name WITH =);
SELECT use();
ALTER TABLE cas_internal.lock_name DROP CONSTRAINT mine, DROP CONSTRAINT its;
CREATE INDEX mine ON cas_internal.lease_state (lower_of(holder)) WHERE fence > 0;
CREATE INDEX its ON cas_internal.lease_state (expires_at);
SET ROLE lock_indexes_user;
SELECT lease_acquire('indexed', 'ME', '1h') AS fence \gset
SELECT lease_renew('indexed', :fence, '2h') > now() AS renewed;
SELECT fence AS other FROM lease_try_acquire('indexed other', 'you', '1h') \gset
SELECT lease_release('indexed', :fence);
RESET ROLE;
SELECT compare('cas_internal.mine',
    $$SELECT count(*) FROM cas_internal.lease_state WHERE lock_indexes_test.lower_of(holder) = 'you' AND fence > 0$$);
SELECT compare('cas_internal.its',
    $$SELECT count(*) FROM cas_internal.lease_state WHERE expires_at > now()$$);
SELECT lease_release('indexed other', :other);
SELECT pg_cas_reap() >= 2 AS purged;
DROP INDEX cas_internal.mine, cas_internal.its;

-- Rebuilt, it is the same again.
SELECT use();
REINDEX TABLE CONCURRENTLY cas_internal.lock_name;
SELECT use();
REINDEX TABLE CONCURRENTLY cas_internal.lease_state;
SELECT lease_acquire('indexed', 'me', '1h') > 0 AS granted;
SELECT lease_release('indexed', fence) FROM lease_holders WHERE name = 'indexed';

DROP SCHEMA lock_indexes_test CASCADE;
DROP ROLE lock_indexes_user;
