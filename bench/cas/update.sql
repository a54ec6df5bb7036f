-- counts: SELECT sum(resource_version) FROM doc
\set i :client_id * 3000 + random(0, 2999)
\set n random(1, 1000000000)
SELECT resource_version AS version FROM doc WHERE id = 'k' || :i \gset
SELECT cas_update('doc', 'k' || :i, :version, document(:n));
