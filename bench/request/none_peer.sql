-- latency: logged
-- counts 1: SELECT sum(resource_version) FROM claimed
\set i random(0, 100000 / {clients} - 1) * {clients} + :client_id
SELECT cas_merge('claimed', 'k' || :i, jsonb_build_object('n', random()));
