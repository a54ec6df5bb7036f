-- before: CALL start_again()
-- start: i=0
-- counts 100: SELECT sum(resource_version) FROM many_doc
\set i :i + 1
SELECT cas_txn('[]', replace(swaps, '@', :i)::jsonb) FROM request WHERE client = :client_id;
