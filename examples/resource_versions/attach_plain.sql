-- A replica's attach, as it was: read, add, write.  It checks nothing, and is
-- told that all went well.
SELECT doc FROM object WHERE id = :'id' \gset
-- the other replicas are doing the same
SELECT pg_advisory_lock_shared(:gate) \g /dev/null
UPDATE object SET doc = attach(:'doc', to_jsonb(:'provider'::text))
WHERE id = :'id' RETURNING 'attached ' || :'provider';
