-- set: pg_cas.conflict_lock=off
\set i random(0, 99999)
SELECT * FROM cas_try_update('doc', 'k' || :i, 1000000000, document(7));
