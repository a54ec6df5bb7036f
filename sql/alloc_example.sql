-- Claim: examples/external_addresses does what it says: plain SQL fails the retry when
-- the pool is full, pg_cas does not.
\set plain `cat "$PG_ABS_SRCDIR/examples/external_addresses/plain.sql"`
\set pg_cas `cat "$PG_ABS_SRCDIR/examples/external_addresses/pg_cas.sql"`
:plain
:pg_cas
SELECT count(alloc_release(pool, key)) FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) FROM alloc_pools;
