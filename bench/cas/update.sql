-- latency: logged
-- counts 1: SELECT sum(resource_version) FROM doc
\set i random(0, 100000 / {clients} - 1) * {clients} + :client_id
\set n random(1, 1000000000)
SELECT resource_version AS version FROM doc WHERE id = 'k' || :i \gset
SELECT cas_update('doc', 'k' || :i, :version, document(:n));
