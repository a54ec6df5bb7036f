-- Reads, and writes if nobody was faster; that often enough is one success.
-- achieves: SELECT resource_version FROM hot_peer
SELECT resource_version AS version, (payload ->> 'n')::int AS n FROM hot_peer WHERE id = 'hot' \gset
UPDATE hot_peer SET payload = jsonb_set(payload, '{n}', to_jsonb(:n::int % 1000000 + 1)), resource_version = resource_version + 1 WHERE id = 'hot' AND resource_version = :version;
