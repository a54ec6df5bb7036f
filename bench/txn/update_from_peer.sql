-- before: CALL start_again()
-- start: i=0
-- counts 100: SELECT sum(resource_version) FROM many_peer
\set i :i + 1
UPDATE many_peer SET payload = new.payload, resource_version = resource_version + 1 FROM request, jsonb_to_recordset(replace(updates, '@', :i)::jsonb) AS new (id text, version bigint, payload jsonb) WHERE client = :client_id AND many_peer.id = new.id AND many_peer.resource_version = new.version;
