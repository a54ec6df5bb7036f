-- The request is made where the client's would be parsed.
-- before: CALL start_again()
-- start: i=0
-- counts 100: SELECT sum(resource_version) FROM many_doc
\set i :i + 1
SELECT cas_txn('[]', (SELECT jsonb_agg(jsonb_build_object('op', 'update', 'table', 'many_doc', 'id', :client_id || '/' || n, 'version', :i::bigint, 'payload', document(:i::int))) FROM generate_series(1, 100) AS n));
