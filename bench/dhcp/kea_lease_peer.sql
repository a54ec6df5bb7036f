-- What Kea 2.2 sends for a DHCPREQUEST of a new client and its DHCPRELEASE: the
-- prepared statements of its PostgreSQL backend, each in a transaction of its own.
-- The address is one of the client's own, so it is always free.
-- set: search_path=kea
-- keeps: SELECT count(*) FROM kea.lease4
\set a random(1000000, 1000000000)
\set address 167772160 + 32769 + random(0, 1022) * 32 + :client_id
SELECT address, hwaddr, client_id, valid_lifetime, extract(epoch from expire)::bigint, subnet_id, fqdn_fwd, fqdn_rev, hostname, state, user_context FROM lease4 WHERE client_id = '\x01' || int8send(:a) AND subnet_id = 1;
SELECT address, hwaddr, client_id, valid_lifetime, extract(epoch from expire)::bigint, subnet_id, fqdn_fwd, fqdn_rev, hostname, state, user_context FROM lease4 WHERE hwaddr = int8send(:a) AND subnet_id = 1;
SELECT address, hwaddr, client_id, valid_lifetime, extract(epoch from expire)::bigint, subnet_id, fqdn_fwd, fqdn_rev, hostname, state, user_context FROM lease4 WHERE address = :address;
INSERT INTO lease4(address, hwaddr, client_id, valid_lifetime, expire, subnet_id, fqdn_fwd, fqdn_rev, hostname, state, user_context) VALUES (:address, int8send(:a), '\x01' || int8send(:a), 86400, date_trunc('second', now()) + '1 day', 1, false, false, 'host' || :a, 0, '');
SELECT address, hwaddr, client_id, valid_lifetime, extract(epoch from expire)::bigint AS expires, subnet_id, fqdn_fwd, fqdn_rev, hostname, state, user_context FROM lease4 WHERE address = :address \gset lease_
DELETE FROM lease4 WHERE address = :address AND expire = to_timestamp(:lease_expires);
