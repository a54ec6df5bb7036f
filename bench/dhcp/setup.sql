-- 65,536 addresses, half of which are leased for a day, in each of the three.
-- Renewals are of the leases numbered from 1 to 30000.
SELECT alloc_pool_create('leases', '{10.0.0.0/16}');
SELECT alloc_ip('leases', lpad(i::text, 32, '0')::uuid, ttl => '1 day', note => jsonb_build_object('hostname', 'host' || i)) FROM generate_series(1, 32768) AS i;

SET search_path = kea;
INSERT INTO lease4 (address, hwaddr, client_id, valid_lifetime, expire, subnet_id, fqdn_fwd, fqdn_rev, hostname, state, user_context)
SELECT 167772160 + i, int8send(i), '\x01' || int8send(i), 86400, date_trunc('second', now()) + '1 day', 1, false, false, 'host' || i, 0, '' FROM generate_series(1, 32768) AS i;
RESET search_path;

INSERT INTO radius.radippool (pool_name, framedipaddress, nasipaddress, pool_key, callingstationid, username, expiry_time)
SELECT 'leases', '10.0.0.0'::inet + i, CASE WHEN held THEN '192.0.2.1' ELSE '' END, CASE WHEN held THEN i::text ELSE '' END, CASE WHEN held THEN 'mac' || i ELSE '' END, CASE WHEN held THEN 'user' || i ELSE '' END, now() + CASE WHEN held THEN '1 day' ELSE '-1 day' END::interval
FROM generate_series(1, 65536) AS i, LATERAL (SELECT i <= 32768) AS _ (held);
