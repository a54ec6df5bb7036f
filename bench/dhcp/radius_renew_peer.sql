-- The query of FreeRADIUS for an interim update of a session.
-- set: search_path=radius
-- keeps: SELECT count(*) FROM radius.radippool WHERE expiry_time > now()
\set a random(1, 30000)
UPDATE radippool SET expiry_time = 'now'::timestamp(0) + '86400 seconds'::interval WHERE nasipaddress = '192.0.2.1' AND pool_key = :a::text AND framedipaddress = '10.0.0.0'::inet + :a AND username = 'user' || :a AND callingstationid = 'mac' || :a;
