-- As many small values as swap.go has keys.
CREATE TABLE small (id text PRIMARY KEY, payload jsonb NOT NULL, resource_version bigint NOT NULL DEFAULT 1);
SELECT cas_enable('small', payload_column => 'payload');
CREATE PROCEDURE small_again() LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE small;
    INSERT INTO small SELECT 'k' || i, '{"n": 0}', 1 FROM generate_series(0, 9599) AS i;
END $$;
CALL small_again();
