\set i random(0, 124) * 8 + :client_id
\set n random(1, 1000000000)
SELECT resource_version AS version FROM sized WHERE id = 'k' || :i \gset
SELECT cas_update('sized', 'k' || :i, :version, document(:n));
