-- counts 1: SELECT resource_version FROM hot_peer
\set n random(1, 1000000000)
UPDATE hot_peer SET payload = payload || jsonb_build_object('n', :n::int), resource_version = resource_version + 1 WHERE id = 'hot';
