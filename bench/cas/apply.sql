-- counts 1: SELECT resource_version FROM hot_doc
SELECT cas_apply('hot_doc', 'hot'::text, 'bump(jsonb, jsonb)');
