-- What several cases share.

-- Give keys units {from} + 1 to {to}, a thousand in a transaction.
CREATE PROCEDURE hold_units(pool text, low int, high int) LANGUAGE plpgsql AS $$
BEGIN
    FOR at IN low + 1 .. high BY 1000 LOOP
        PERFORM alloc_many(pool, array_agg(lpad(i::text, 32, '0')::uuid))
        FROM generate_series(at, least(at + 999, high)) AS i;
        COMMIT;
    END LOOP;
END $$;

CREATE TABLE grown (id text PRIMARY KEY, payload jsonb NOT NULL, resource_version bigint NOT NULL DEFAULT 1);
CREATE TABLE plain (LIKE grown INCLUDING ALL);
SELECT cas_enable('grown', payload_column => 'payload');
SELECT alloc_pool_create('units', '{0-2000000000}', 'int');

CREATE PROCEDURE make_requests(low int, high int) LANGUAGE plpgsql AS $$
BEGIN
    FOR at IN low + 1 .. high BY 1000 LOOP
        PERFORM request_once('grown', 'key ' || i, '{}', 'nothing(jsonb)')
        FROM generate_series(at, least(at + 999, high)) AS i;
        COMMIT;
    END LOOP;
END $$;
CREATE FUNCTION nothing(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT jsonb ''{}''';

CREATE PROCEDURE make_names(low int, high int) LANGUAGE plpgsql AS $$
BEGIN
    FOR at IN low + 1 .. high BY 1000 LOOP
        PERFORM lock_acquire(array_agg('name ' || i))
        FROM generate_series(at, least(at + 999, high)) AS i;
        COMMIT;
    END LOOP;
END $$;

CREATE PROCEDURE make_pools(low int, high int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN low + 1 .. high LOOP
        PERFORM alloc_pool_create('pool' || i, '{0-1000}', 'int');
        CALL hold_units('pool' || i, 0, 100);
    END LOOP;
END $$;
