-- set: pg_cas.request=of_this_session
\set i :i + 1
SELECT cas_merge('merged', 'k' || (:i + 10000), jsonb_build_object('n', :i::int));
