-- counts 1: SELECT resource_version FROM hot_peer
BEGIN;
SELECT (payload ->> 'n')::int AS n FROM hot_peer WHERE id = 'hot' FOR UPDATE \gset
UPDATE hot_peer SET payload = jsonb_set(payload, '{n}', to_jsonb(:n::int % 1000000 + 1)), resource_version = resource_version + 1 WHERE id = 'hot';
COMMIT;
