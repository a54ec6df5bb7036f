\set i :i + 1
SELECT request_claim('request ' || :i), cas_merge('merged', 'k' || (:i + 5000), jsonb_build_object('n', :i::int));
