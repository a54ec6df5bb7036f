\set i :i + 1
UPDATE many_peer SET payload = new.payload, resource_version = resource_version + 1 FROM jsonb_to_recordset((SELECT jsonb_agg(jsonb_build_object('id', n::text, 'version', :i::bigint, 'payload', document(:i::int))) FROM generate_series(1, 100) AS n)) AS new (id text, version bigint, payload jsonb) WHERE many_peer.id = new.id AND many_peer.resource_version = new.version;
