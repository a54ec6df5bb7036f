-- before: CALL start_again()
-- start: i=0
-- counts 100: SELECT sum(resource_version) FROM many_doc
\set i :i + 1
BEGIN;
-- hundred: SELECT cas_update('many_doc', :client_id || '/{n}', :i, document(:i::int));
COMMIT;
