-- Pools p8 to p24, named for their size in bits and their fill in percent.  A
-- large one is filled by reserving what is not to be given out, but for some
-- thousands that are really held, by keys below 1000000: the rows that a
-- search could trip over.  lowest, random and ports are p16_50 with another
-- strategy, or with port chunks beside whole addresses.
CREATE PROCEDURE fill(pool text, base inet, size bigint, percent int, strategy text DEFAULT 'any', port_chunk int DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    wanted bigint := size * percent / 100;
    held int := least(wanted, 60000);
BEGIN
    PERFORM alloc_pool_create(pool, ARRAY[host(base) || '-' || host(base + size - 1)], strategy => strategy, port_chunk => port_chunk);
    PERFORM alloc_ip(pool, lpad(i::text, 32, '0')::uuid) FROM generate_series(1, held) AS i;
    IF wanted > held THEN
        PERFORM alloc_reserve(pool, host(base + held) || '-' || host(base + wanted - 1));
    END IF;
    COMMIT;
END $$;
SELECT format('CALL fill(%L, ''10.0.0.0'', %s, %s)', 'p' || bits || '_' || percent, 1 << bits, percent)
FROM unnest('{8,12,16,20,24}'::int[]) AS bits, unnest('{50,99}'::int[]) AS percent \gexec
CALL fill('lowest', '10.0.0.0', 65536, 50, 'lowest');
CALL fill('random', '10.0.0.0', 65536, 50, 'random');
CALL fill('ports', '10.0.0.0', 65536, 50, 'any', 32768);
SELECT alloc_pool_create('plenty', '{0-1000000000}', 'int');
SELECT alloc_pool_create('member' || n, '{0-1000000000}', 'int') FROM generate_series(1, 100) AS n;
-- a request as the text that a client sends
CREATE TABLE set_request AS
SELECT '[' || string_agg(format('{"pool": "member%s"}', n), ', ') || ']' AS members FROM generate_series(1, 100) AS n;

-- A counted pool alone, and one with two above it; half of each is held.
SELECT alloc_pool_create('seats', '{}', 'count', capacity => 1000);
SELECT alloc_pool_create('seats_above_all', '{}', 'count', capacity => 1000);
SELECT alloc_pool_create('seats_above', '{}', 'count', capacity => 1000, parent => 'seats_above_all');
SELECT alloc_pool_create('seats_below', '{}', 'count', capacity => 1000, parent => 'seats_above');
SELECT count(alloc_count(pool, lpad(i::text, 32, '0')::uuid))
FROM unnest('{seats,seats_below}'::text[]) AS pool, generate_series(1, 500) AS i;
-- What people count with.
CREATE TABLE seats (id int PRIMARY KEY, used int NOT NULL, cap int NOT NULL);
INSERT INTO seats SELECT i, 500, 1000 FROM generate_series(1, 3) AS i;

-- What a row with the same two unique indexes costs, among as many.
CREATE TABLE bare (pool int, key uuid, slot bigint, UNIQUE (pool, key), UNIQUE (pool, slot));
INSERT INTO bare SELECT 0, lpad(i::text, 32, '0')::uuid, i FROM generate_series(1, 60000) AS i;

CREATE TABLE antijoin (key uuid PRIMARY KEY, address inet UNIQUE);
INSERT INTO antijoin SELECT gen_random_uuid(), '10.0.0.0'::inet + i FROM generate_series(0, 32767) AS i;

-- tuned has what one adds when this gets slow: an index of what is free.
CREATE TABLE skip16 (address inet PRIMARY KEY, key uuid UNIQUE);
INSERT INTO skip16 SELECT '10.0.0.0'::inet + i, CASE WHEN i < 32768 THEN gen_random_uuid() END FROM generate_series(0, 65535) AS i;
CREATE TABLE skip20 (address inet PRIMARY KEY, key uuid UNIQUE);
INSERT INTO skip20 SELECT '10.0.0.0'::inet + i, CASE WHEN i < 524288 THEN gen_random_uuid() END FROM generate_series(0, 1048575) AS i;
CREATE TABLE tuned20 (LIKE skip20 INCLUDING ALL);
INSERT INTO tuned20 SELECT * FROM skip20;
CREATE INDEX ON tuned20 (address) WHERE key IS NULL;
