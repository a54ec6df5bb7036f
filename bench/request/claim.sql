-- counts: SELECT sum(resource_version) FROM claimed
\set i :client_id * 3000 + random(0, 2999)
SELECT request_claim('request ' || :i), cas_merge('claimed', 'k' || :i, jsonb_build_object('n', random()));
