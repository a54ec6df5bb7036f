\set i :i + 1
SELECT cas_txn('[]', (SELECT jsonb_agg(jsonb_build_object('op', 'update', 'table', 'many_doc', 'id', n::text, 'version', :i::bigint, 'payload', document(:i::int))) FROM generate_series(1, 100) AS n));
