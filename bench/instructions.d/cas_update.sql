\set i :i + 1
SELECT cas_update('doc', 'k' || :i, 1, :payload);
