-- counts 1: SELECT resource_version FROM hot_doc
\set n random(1, 1000000000)
SELECT cas_merge('hot_doc', 'hot'::text, jsonb_build_object('n', :n::int));
