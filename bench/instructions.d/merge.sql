\set i :i + 1
SELECT cas_merge('merged', 'k' || :i, jsonb_build_object('n', :i::int));
