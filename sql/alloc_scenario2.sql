-- Claim: examples/scenario2 does what it says: plain SQL fails the retry when
-- the pool is full, pg_cas does not.
\set plain `cat "$PG_ABS_SRCDIR/examples/scenario2/plain.sql"`
\set pg_cas `cat "$PG_ABS_SRCDIR/examples/scenario2/pg_cas.sql"`
:plain
:pg_cas
SELECT count(alloc_release(pool, key)) FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools;
