-- FreeRADIUS with its procedure, and its query for the end of a session.
-- set: search_path=radius
-- keeps: SELECT count(*) FROM radius.radippool WHERE expiry_time > now()
\set a random(1000000, 1000000000)
SELECT fr_allocate_previous_or_new_framedipaddress('leases', 'user' || :a, 'mac' || :a, '192.0.2.1', :a::text, 86400) AS address \gset
UPDATE radippool SET expiry_time = 'now'::timestamp(0) - '1 second'::interval WHERE nasipaddress = '192.0.2.1' AND pool_key = :a::text AND username = 'user' || :a AND callingstationid = 'mac' || :a AND framedipaddress = :address;
