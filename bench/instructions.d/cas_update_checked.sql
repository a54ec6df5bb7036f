\set i :i + 1
SELECT cas_update('checked', 'k' || :i, 1, :payload);
