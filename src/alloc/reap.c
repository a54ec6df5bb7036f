/*
 * reap.c
 *		Housekeeping: the SQL function alloc_reap(), which pg_cas_reap() calls.
 *
 * It only saves disk space; nothing else depends on it.  It runs as the
 * extension's owner, and skips what is locked instead of waiting for it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "alloc/capacity.h"
#include "alloc/search.h"

/* So many rows of alloc_freed are forgotten. */
#define MANY_FREED 10000

PG_FUNCTION_INFO_V1(alloc_reap);

/* End the units of a pool that have run out. */
static int64
reap_pool(Oid nsp, const char *name, int64 batch)
{
	TimestampTz now = GetCurrentTimestamp();
	Store		store;
	SlotScan	scan;
	SlotRow		row;
	PoolUse		use;
	Pool	   *pool;
	int64		reaped = 0;

	/* dropped in the meantime, or being changed: a later call will do it */
	if (!pool_use(&use, nsp, name, RIGHT_NONE) ||
		!pool_lock_at_once(&use, ShareLock))
		return 0;
	pool = use.pool;
	store_open(&store, nsp, RowExclusiveLock);
	if (pool->counted)
	{
		reaped = levels_reap(&store, pool, batch);
		store_close(&store);
		pool_unlock(&use);
		return reaped;
	}
	scan_by_expiry(&scan, &store, pool->id, now);
	while (reaped < batch && slot_scan_next(&scan, &row))
	{
		/* someone is at work here; a later call will get it */
		if (TransactionIdIsValid(row.inserter) ||
			TransactionIdIsValid(row.deleter))
			continue;
		if (row.held ? row_end(&store, pool, &row, row.expires_at,
							   row.expires_at, "expired") :
			store_free(&store, pool, &row) == TM_Ok)
			reaped++;
	}
	slot_scan_end(&scan);
	store_close(&store);
	pool_unlock(&use);
	return reaped;
}

/*
 * Lock a pool to change it, and its row, running SQL as the owner.  Returns
 * false if that would take waiting: others work in the pool, or an idle
 * transaction has changed it; or if it is no longer the pool of its name.
 */
static bool
lock_to_change(PoolUse *use)
{
	if (!pool_lock_at_once(use, ExclusiveLock))
		return false;
	if (owner_sql("SELECT FROM @alloc_pool WHERE id = $1 "
				  "FOR NO KEY UPDATE SKIP LOCKED",
				  ARGS(INT4OID), VALUES(Int32GetDatum(use->pool->id))) > 0)
		return true;
	pool_unlock(use);
	return false;
}

/*
 * If a counted pool's capacity was lowered below what was held, and that fits
 * by now, let the constraint say so.
 */
static void
settle_capacity(Oid nsp, const char *name)
{
	OwnerScope	scope;
	PoolUse		use;
	Store		store;

	if (!pool_use(&use, nsp, name, RIGHT_NONE) || !use.pool->counted ||
		!use.pool->lowered)
		return;
	owner_sql_begin(&scope);
	if (lock_to_change(&use))
	{
		store_open(&store, nsp, RowExclusiveLock);
		capacity_set(&store, use.pool, use.pool->capacity);
		store_close(&store);
	}
	owner_sql_end(&scope);
}

/*
 * Find out whether a piece of a pool, from *low to *high, has many more waiting rows
 * than others.  It has up to 3,000 rows around a random place of a random range, for
 * any place that the pool's state determines could always be among held units, or at
 * the end of the others.  To look at all rows took 95 ms for 1,000,000 held units.
 */
static bool
find_waiting(int32 pool, Datum *low, Datum *high)
{
	owner_sql("WITH range AS (SELECT r.first_slot, r.last_slot "
			  "FROM @alloc_range_slots AS r WHERE r.pool = $1 "
			  "ORDER BY random() LIMIT 1), "
			  "ends AS (SELECT r.first_slot, (SELECT s.first_slot "
			  "FROM @alloc_slot AS s WHERE s.pool = $1 "
			  "AND s.first_slot BETWEEN r.first_slot AND r.last_slot "
			  "ORDER BY s.first_slot LIMIT 1) AS lowest, (SELECT s.first_slot "
			  "FROM @alloc_slot AS s WHERE s.pool = $1 "
			  "AND s.first_slot BETWEEN r.first_slot AND r.last_slot "
			  "ORDER BY s.first_slot DESC LIMIT 1) AS highest FROM range AS r), "
			  "place AS (SELECT coalesce(e.lowest + (e.highest - e.lowest) * "
			  "random()::numeric, e.first_slot) AS slot FROM ends AS e "
			  "WHERE (SELECT q.queue_place FROM @alloc_slot AS q "
			  "WHERE q.pool = $1 AND q.queue_place IS NOT NULL "
			  "ORDER BY q.queue_place LIMIT 1) IS NOT NULL), "
			  "piece AS ((SELECT s.first_slot, "
			  "s.key IS NULL AND s.expires_at <= $2 AS waiting "
			  "FROM @alloc_slot AS s WHERE s.pool = $1 "
			  "AND s.first_slot >= (SELECT slot FROM place) "
			  "ORDER BY s.first_slot LIMIT 1500) UNION ALL ("
			  "SELECT s.first_slot, s.key IS NULL AND s.expires_at <= $2 "
			  "FROM @alloc_slot AS s WHERE s.pool = $1 "
			  "AND s.first_slot < (SELECT slot FROM place) "
			  "ORDER BY s.first_slot DESC LIMIT 1500)) "
			  "SELECT count(*) FILTER (WHERE waiting) > "
			  "1000 + 2 * count(*) FILTER (WHERE NOT waiting), "
			  "min(first_slot), max(first_slot) FROM piece",
			  ARGS(INT4OID, TIMESTAMPTZOID),
			  VALUES(Int32GetDatum(pool),
					 TimestampTzGetDatum(GetCurrentTimestamp())));
	if (!DatumGetBool(owner_sql_not_null(0, 1)))
		return false;
	*low = datumCopy(owner_sql_not_null(0, 2), false, -1);
	*high = datumCopy(owner_sql_not_null(0, 3), false, -1);
	return true;
}

/*
 * Delete waiting rows of a pool where there are many more of them than others,
 * lowest slots first.  Their slots then count as never used.
 */
static int64
forget_waiting(Oid nsp, const char *name, int64 batch)
{
	OwnerScope	scope;
	PoolUse		use;
	Datum		low;
	Datum		high;
	uint64		nranges;
	int64		forgotten = 0;
	int32		id;

	if (!pool_use(&use, nsp, name, RIGHT_NONE) || use.pool->mixed ||
		use.pool->counted)
		return 0;
	id = use.pool->id;
	owner_sql_begin(&scope);
	if (find_waiting(id, &low, &high))
	{
		/*
		 * All frontiers have to be moved back before the deleted slots.  Do
		 * nothing now if an idle transaction has locked one of them.
		 */
		nranges = owner_sql("SELECT FROM @alloc_range WHERE pool = $1",
							ARGS(INT4OID), VALUES(Int32GetDatum(id)));
		if (pool_lock_frontiers(id, "SKIP LOCKED") == nranges &&
			lock_to_change(&use))
		{
			owner_sql("WITH gone AS ("
					  "DELETE FROM @alloc_slot WHERE ctid = ANY (ARRAY("
					  "SELECT ctid FROM @alloc_slot WHERE pool = $1 "
					  "AND first_slot BETWEEN $3 AND $4 "
					  "AND key IS NULL AND expires_at <= clock_timestamp() "
					  "ORDER BY first_slot LIMIT $2 FOR UPDATE SKIP LOCKED)) "
					  "RETURNING first_slot), back AS ("
					  "UPDATE @alloc_frontier AS f "
					  "SET slot = least(f.slot, b.lowest) FROM ("
					  "SELECT r.id, min(g.first_slot) AS lowest FROM gone AS g "
					  "JOIN @alloc_range_slots AS r ON r.pool = $1 "
					  "AND g.first_slot BETWEEN r.first_slot AND r.last_slot "
					  "GROUP BY r.id) AS b WHERE f.range = b.id) "
					  "SELECT count(*) FROM gone",
					  ARGS(INT4OID, INT8OID, NUMERICOID, NUMERICOID),
					  VALUES(Int32GetDatum(id), Int64GetDatum(batch), low,
							 high));
			forgotten = DatumGetInt64(owner_sql_not_null(0, 1));
			/* Other backends must forget their frontiers and queues. */
			pool_new_epoch(id);
		}
	}
	owner_sql_end(&scope);
	return forgotten;
}

/*
 * Forget where something has come free in a pool, if that is noted for very many
 * places; those who name values take them without anybody looking at it.
 */
static void
forget_freed(Oid nsp, const char *name)
{
	Extent		all = {0, U128_MAX};
	OwnerScope	scope;
	PoolUse		use;
	Store		store;
	SlotScan	scan;
	FreedRow	row;
	int			n = 0;

	if (!pool_use(&use, nsp, name, RIGHT_NONE) || !pool_notes_freed(use.pool))
		return;
	store_open(&store, nsp, RowExclusiveLock);
	freed_scan_begin(&scan, &store, use.pool, all);
	while (n < MANY_FREED && freed_scan_next(&scan, &row))
		n++;
	slot_scan_end(&scan);
	store_close(&store);
	if (n < MANY_FREED)
		return;
	owner_sql_begin(&scope);
	if (lock_to_change(&use))
	{
		pool_forget_freed(use.pool->id);
		pool_new_epoch(use.pool->id);
	}
	owner_sql_end(&scope);
}

/*
 * Store the present names of roles that have been renamed, because a dump is
 * restored by names.
 */
static void
refresh_role_names(void)
{
	owner_sql("UPDATE @alloc_pool AS p SET owner_name = r.rolname "
			  "FROM pg_catalog.pg_roles AS r WHERE r.oid = p.owner AND p.id IN ("
			  "SELECT p.id FROM @alloc_pool AS p JOIN pg_catalog.pg_roles AS r "
			  "ON r.oid = p.owner AND r.rolname <> p.owner_name "
			  "FOR NO KEY UPDATE OF p SKIP LOCKED)",
			  0, NULL, NULL);
	owner_sql("UPDATE @alloc_grantee AS g SET role_name = r.rolname "
			  "FROM pg_catalog.pg_roles AS r WHERE r.oid = g.role AND g.id IN ("
			  "SELECT g.id FROM @alloc_grantee AS g JOIN pg_catalog.pg_roles AS r "
			  "ON r.oid = g.role AND r.rolname <> g.role_name "
			  "FOR NO KEY UPDATE OF g SKIP LOCKED)",
			  0, NULL, NULL);
}

/*
 * Delete history that is older than pg_cas.history_retention.  The time must be a
 * constant for the index to be of use.
 */
static int64
forget_history(int64 batch)
{
	TimestampTz oldest;

	if (pg_cas_history_retention < 0)
		return 0;
	oldest = GetCurrentTimestamp() - pg_cas_history_retention * USECS_PER_SEC;
	return owner_sql("DELETE FROM @alloc_past WHERE ctid = ANY (ARRAY("
					 "SELECT ctid FROM @alloc_past WHERE ended_at < $1 "
					 "ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
					 ARGS(TIMESTAMPTZOID, INT8OID),
					 VALUES(TimestampTzGetDatum(oldest),
							Int64GetDatum(batch)));
}

/*
 * alloc_reap(batch) RETURNS bigint
 *
 * Returns the number of rows that were removed or ended.
 */
Datum
alloc_reap(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	int64		batch;
	int64		reaped = 0;
	int64		forgotten;
	OwnerScope	scope;
	char	  **names;
	int			nnames;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext cxt;

	batch = batch_argument(fcinfo, 0);
	PreventCommandIfReadOnly("pg_cas_reap()");
	PreventCommandIfParallelMode("pg_cas_reap()");

	pool_lock_tables(nsp);
	owner_sql_begin(&scope);
	/* locks are kept: those of a pool before those of the pools above it */
	nnames = (int) owner_sql("SELECT name FROM @alloc_pool ORDER BY id DESC", 0,
							 NULL, NULL);
	names = MemoryContextAlloc(caller, Max(nnames, 1) * sizeof(char *));
	for (int i = 0; i < nnames; i++)
	{
		char	   *name = TextDatumGetCString(owner_sql_not_null(i, 1));

		/* the statement's result goes away with the next one */
		names[i] = MemoryContextStrdup(caller, name);
	}
	refresh_role_names();
	reaped = forget_history(batch);
	owner_sql_end(&scope);

	/* A pool that we use is pinned until the context is reset. */
	cxt = AllocSetContextCreate(caller, "alloc_reap", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cxt);
	for (int i = 0; i < nnames && reaped < batch; i++)
	{
		reaped += reap_pool(nsp, names[i], batch - reaped);
		while (reaped < batch &&
			   (forgotten = forget_waiting(nsp, names[i], batch - reaped)) > 0)
			reaped += forgotten;
		forget_freed(nsp, names[i]);
		settle_capacity(nsp, names[i]);
		MemoryContextReset(cxt);
	}
	MemoryContextSwitchTo(caller);
	PG_RETURN_INT64(reaped);
}
