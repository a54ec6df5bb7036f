-- One try.  A conflict comes with the row as it now stands.
\if :again
    SELECT outcome, version, payload, outcome = 'conflict' AS again, :tries + 1 AS tries
    FROM cas_try_update('object', :'id', :version, :fn(:'payload', to_jsonb(:'provider'::text))) \gset
\endif
