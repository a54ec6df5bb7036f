-- A replica's change to a document, :fn being attach or detach: read it, change
-- it, write it if nobody else did meanwhile; if somebody did, again, from the
-- row that came with the answer, five times at most.  After that the caller is
-- told, as he would be by gRPC's ABORTED.
SELECT version, payload FROM cas_get('object', :'id') \gset
\set again t
\set tries 0
\ir try.sql
\ir try.sql
\ir try.sql
\ir try.sql
\ir try.sql
\ir try.sql
\echo :id :fn :provider :outcome :tries
