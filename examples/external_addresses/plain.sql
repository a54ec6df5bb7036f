-- The failure: the query looks for a free address first, and for the row that
-- the instance has already only by way of a conflict.  As long as there is a
-- free address, that works.
CREATE TEMP TABLE external_ip (instance uuid PRIMARY KEY, ip inet UNIQUE);

CREATE FUNCTION pg_temp.next_external_ip(uuid) RETURNS inet
LANGUAGE sql AS $$
    INSERT INTO external_ip
    SELECT $1, free.ip
    FROM (SELECT '198.51.100.1'::inet + n AS ip FROM generate_series(0, 2) AS n) AS free
    LEFT JOIN external_ip AS taken USING (ip)
    WHERE taken.ip IS NULL
    ORDER BY free.ip
    LIMIT 1
    ON CONFLICT (instance) DO UPDATE SET ip = external_ip.ip
    RETURNING ip
$$;

SELECT pg_temp.next_external_ip('00000000-0000-0000-0000-000000000001');
SELECT pg_temp.next_external_ip('00000000-0000-0000-0000-000000000002');
-- a retry gets what the instance has
SELECT pg_temp.next_external_ip('00000000-0000-0000-0000-000000000002');
SELECT pg_temp.next_external_ip('00000000-0000-0000-0000-000000000003');
-- the pool is full, and the same retry gets nothing
SELECT pg_temp.next_external_ip('00000000-0000-0000-0000-000000000003');

DROP FUNCTION pg_temp.next_external_ip(uuid);
DROP TABLE external_ip;
