-- Moves prefixes, addresses and VLANs from NetBox's CSV to pools.
--     psql -X -v ON_ERROR_STOP=1 -f netbox.sql
CREATE TEMP TABLE prefixes (prefix cidr, vrf text, tenant text, site text, vlan_group text, vlan int,
    status text, role text, is_pool boolean, mark_utilized boolean, description text);
CREATE TEMP TABLE addresses (address inet, vrf text, tenant text, status text, role text, device text,
    interface text, is_primary boolean, dns_name text, description text);
CREATE TEMP TABLE vlans (site text, "group" text, vid int, name text, tenant text, status text, role text, description text);
\copy prefixes FROM 'netbox/prefixes.csv' (FORMAT csv, HEADER)
\copy addresses FROM 'netbox/ip_addresses.csv' (FORMAT csv, HEADER)
\copy vlans FROM 'netbox/vlans.csv' (FORMAT csv, HEADER)

-- A container is what prefixes are allocated from; the prefixes in it are units.
-- A prefix with is_pool gives out its addresses.  VLANs are numbers.  The same prefix
-- can be in several VRFs, which are different networks.
SELECT alloc_pool_create('prefixes of ' || concat_ws(' ', vrf, prefix), ARRAY[prefix::text], 'prefix', if_not_exists => true)
FROM prefixes WHERE status = 'container';
SELECT alloc_pool_create('addresses of ' || concat_ws(' ', vrf, prefix), ARRAY[prefix::text], if_not_exists => true)
FROM prefixes WHERE is_pool;
SELECT alloc_pool_create('vlans of ' || "group", '{2-4094}', 'int', if_not_exists => true)
FROM vlans GROUP BY "group";

-- What is in each pool, in the form of alloc_import().  NetBox does not show ids
-- in this export, so the key is made of what a row is called.
CREATE TEMP TABLE inventory AS
SELECT 'prefixes of ' || concat_ws(' ', c.vrf, c.prefix) AS pool,
       jsonb_agg(jsonb_build_object('value', p.prefix, 'name', 'netbox prefix ' || concat_ws(' ', p.vrf, p.prefix),
                                    'note', jsonb_strip_nulls(to_jsonb(p)))) AS units
FROM prefixes AS c JOIN prefixes AS p ON p.prefix << c.prefix AND p.vrf IS NOT DISTINCT FROM c.vrf
WHERE c.status = 'container' AND p.status <> 'container' GROUP BY c.vrf, c.prefix
UNION ALL
SELECT 'addresses of ' || concat_ws(' ', p.vrf, p.prefix),
       jsonb_agg(jsonb_build_object('value', a.address, 'name', 'netbox address ' || concat_ws(' ', a.vrf, host(a.address)),
                                    'note', jsonb_strip_nulls(to_jsonb(a))))
FROM prefixes AS p JOIN addresses AS a ON a.address <<= p.prefix AND a.vrf IS NOT DISTINCT FROM p.vrf
WHERE p.is_pool GROUP BY p.vrf, p.prefix
UNION ALL
SELECT 'vlans of ' || "group",
       jsonb_agg(jsonb_build_object('value', vid, 'name', 'netbox vlan ' || "group" || ' ' || vid,
                                    'note', jsonb_strip_nulls(to_jsonb(v))))
FROM vlans AS v GROUP BY "group";

\ir import.sql
