-- Moves the leases of Kea's DHCPv4 server from its memfile to pools.
--     psql -X -v ON_ERROR_STOP=1 -f kea_memfile.sql
CREATE TEMP TABLE leases (id int GENERATED ALWAYS AS IDENTITY, address inet, hwaddr macaddr, client_id text,
    valid_lifetime bigint, expire bigint, subnet_id int, fqdn_fwd int, fqdn_rev int, hostname text,
    state int, user_context text, pool_id int);
\copy leases (address, hwaddr, client_id, valid_lifetime, expire, subnet_id, fqdn_fwd, fqdn_rev, hostname, state, user_context, pool_id) FROM 'kea/kea-leases4.csv' (FORMAT csv, HEADER, QUOTE E'\b')

-- The pools of the subnets are in Kea's configuration.
SELECT alloc_pool_create('kea 1', '{10.41.0.10-10.41.0.199}', if_not_exists => true),
       alloc_pool_create('kea 2', '{10.41.1.10-10.41.1.199}', if_not_exists => true);

-- The file is a log: the last line for an address is what is true.  A lease with
-- state 1 is an address that a client has declined; nobody may have it until it
-- expires.  State 2 is expired, and a lease with the lifetime 0xffffffff does not expire.
-- The server knows a client by its client id, or
-- else by its hardware address.
CREATE TEMP TABLE inventory AS
SELECT 'kea ' || subnet_id AS pool,
       jsonb_agg(jsonb_build_object('value', address,
           'name', CASE WHEN state = 1 THEN 'kea declined ' || host(address)
                        ELSE 'kea client ' || COALESCE(client_id, hwaddr::text) END,
           'expires_at', CASE WHEN valid_lifetime < 4294967295 THEN to_timestamp(expire) END,
           'note', jsonb_strip_nulls(jsonb_build_object('hwaddr', hwaddr, 'hostname', NULLIF(hostname, ''),
               'context', replace(NULLIF(user_context, ''), '&#x2c', ',')::jsonb)))) AS units
FROM (SELECT DISTINCT ON (address) * FROM leases ORDER BY address, id DESC) AS l
WHERE state < 2 AND valid_lifetime > 0 AND (valid_lifetime = 4294967295 OR to_timestamp(expire) > now())
GROUP BY subnet_id;

\ir import.sql
