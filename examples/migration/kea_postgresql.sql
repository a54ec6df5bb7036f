-- Moves the leases of Kea's DHCPv4 server from its PostgreSQL database to pools.
--     psql -X -v ON_ERROR_STOP=1 -f kea/lease4.sql
--     psql -X -v ON_ERROR_STOP=1 -f kea_postgresql.sql
SELECT alloc_pool_create('kea 3', '{10.42.0.10-10.42.0.199}', if_not_exists => true);

-- Addresses are numbers, and ids are bytes.  0xffffffff is the lifetime of a lease
-- that does not expire; its column expire is when the client was last seen.
CREATE TEMP TABLE inventory AS
SELECT 'kea ' || subnet_id AS pool,
       jsonb_agg(jsonb_strip_nulls(jsonb_build_object('value', '0.0.0.0'::inet + address,
           'name', CASE WHEN state = 1 THEN 'kea declined ' || ('0.0.0.0'::inet + address)
                        ELSE 'kea client ' || COALESCE(encode(client_id, 'hex'), encode(hwaddr, 'hex')) END,
           'expires_at', CASE WHEN valid_lifetime < 4294967295 THEN expire END,
           'note', jsonb_build_object('hwaddr', NULLIF(encode(hwaddr, 'hex'), ''),
               'hostname', NULLIF(hostname, ''), 'context', user_context::jsonb)))) AS units
FROM public.lease4
WHERE state < 2 AND valid_lifetime > 0 AND (valid_lifetime = 4294967295 OR expire > now())
  AND '0.0.0.0'::inet + address << '10.42.0.0/16'
GROUP BY subnet_id;

\ir import.sql
