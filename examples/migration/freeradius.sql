-- Moves the addresses of FreeRADIUS' sqlippool to pools.
--     psql -X -v ON_ERROR_STOP=1 -f freeradius/radippool.sql
--     psql -X -v ON_ERROR_STOP=1 -f freeradius.sql

-- A pool's ranges are its rows; addresses that follow one another are one range.
SELECT alloc_pool_create('radius ' || pool_name, array_agg(host(first) || '-' || host(last)), if_not_exists => true)
FROM (SELECT pool_name, min(framedipaddress) AS first, max(framedipaddress) AS last
      FROM (SELECT pool_name, framedipaddress,
                   framedipaddress - row_number() OVER (PARTITION BY pool_name ORDER BY framedipaddress) AS island
            FROM radippool) AS a
      GROUP BY pool_name, island) AS r
GROUP BY pool_name;

-- Rows whose time is over are free.  A session is known by its server and key.
CREATE TEMP TABLE inventory AS
SELECT 'radius ' || pool_name AS pool,
       jsonb_agg(jsonb_build_object('value', framedipaddress,
           'name', format('radius session %s %s', nasipaddress, pool_key),
           'expires_at', expiry_time::timestamptz,
           'note', jsonb_build_object('user', username, 'station', callingstationid))) AS units
FROM radippool WHERE expiry_time > now() GROUP BY pool_name;

\ir import.sql
