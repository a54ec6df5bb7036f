-- What Kea 2.2 sends for a DHCPREQUEST that extends a lease.
-- set: search_path=kea
-- keeps: SELECT count(*) FROM kea.lease4
\set a random(0, 936) * 32 + :client_id + 1
SELECT address, hwaddr, client_id, valid_lifetime, extract(epoch from expire)::bigint AS expires, subnet_id, fqdn_fwd, fqdn_rev, hostname, state, user_context FROM lease4 WHERE client_id = '\x01' || int8send(:a) AND subnet_id = 1 \gset lease_
UPDATE lease4 SET address = :lease_address, hwaddr = int8send(:a), client_id = '\x01' || int8send(:a), valid_lifetime = 86400, expire = date_trunc('second', now()) + '1 day', subnet_id = 1, fqdn_fwd = false, fqdn_rev = false, hostname = 'host' || :a, state = 0, user_context = '' WHERE address = :lease_address AND expire = to_timestamp(:lease_expires);
