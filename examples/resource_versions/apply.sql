-- The same, done by the server on the row as it is under its lock: there is no
-- version to expect, and nothing to try again.
\set procedure :fn (jsonb,jsonb)
SELECT cas_apply('object', :'id', :'procedure', to_jsonb(:'provider'::text)) AS version \gset
\echo :id :fn :provider updated 1
