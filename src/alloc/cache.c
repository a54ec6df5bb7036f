/*
 * cache.c
 *		Pools as a backend has read them.
 *
 * A pool's row is kept until the trigger on its table reports a change
 * (pool.c).  The pool's ranges and reservations, which are not in that row,
 * are kept together with what the backend has learned about free slots.  All
 * of this is valid for one epoch of the pool.  A change to a range or a
 * reservation, or anything else that frees slots before the frontier
 * (frontier.c), assigns a new epoch.  Epochs are drawn from a sequence, so a
 * number whose change was rolled back is never used again for another change.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "alloc/read.h"

/*
 * The pools that this backend has used.  The cache is limited in pools and in
 * bytes; beyond that, the least recently used pools are dropped.  Whatever is
 * lost that way can be read or learned again.
 *
 * Names are found by their hash.  Comparing a name with those of all pools took a
 * fifth of a call of alloc_set() for 100 pools.
 */
#define MAX_POOLS 2048
#define MAX_POOL_BYTES (16 * 1024 * 1024)

static dlist_head by_name[MAX_POOLS];
static dlist_head by_use = DLIST_STATIC_INIT(by_use);	/* the last one first */
static int	ncached = 0;
static Size cached_bytes = 0;

/*
 * Number of changes that alloc_pool_changed() has reported to this backend.
 * Counting starts before the first row is read, so that no change is missed.
 */
static uint64 pools_changed = 0;
static Oid	watched = InvalidOid;	/* OID of alloc_pool, when last read */

/* Relcache callback: rows of alloc_pool or alloc_grantee may have changed. */
static void
forget_rows(Datum arg, Oid relid)
{
	/* an invalid OID means any relation */
	if (!OidIsValid(relid) || relid == watched)
		pools_changed++;
}

/* Have changes to pools counted from now on. */
static void
watch_rows(Oid relid)
{
	static bool watching = false;

	watched = relid;
	/* callbacks cannot be unregistered, so register this one only once */
	if (watching)
		return;
	CacheRegisterRelcacheCallback(forget_rows, (Datum) 0);
	watching = true;
}

/* Memory context callback: release a pin on the pool. */
static void
unpin_pool(void *arg)
{
	Pool	   *pool = arg;

	Assert(pool->pins > 0);
	pool->pinned_in = NULL;

	/* if the cache has dropped the pool, this was the last use of it */
	if (--pool->pins == 0 && !pool->is_cached)
		MemoryContextDelete(pool->cxt);
}

/*
 * Keep the pool and what it points to until the current memory context is
 * reset, even if the cache drops the pool before.
 */
static void
pin_pool(Pool *pool)
{
	MemoryContextCallback *callback;

	if (pool->pinned_in == CurrentMemoryContext)
		return;					/* a call that looks repeatedly pins once */
	callback = palloc(sizeof(MemoryContextCallback));
	callback->func = unpin_pool;
	callback->arg = pool;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	pool->pins++;
	pool->pinned_in = CurrentMemoryContext;
}

/* The list that contains the pools of that name. */
static dlist_head *
name_list(const char *name)
{
	uint32		hash = hash_bytes((const unsigned char *) name, strlen(name));

	return &by_name[hash % MAX_POOLS];
}

/* Return the cached pool of that name, current or not; NULL if there is none. */
static Pool *
cache_find(Oid relid, const char *name)
{
	dlist_iter	iter;

	dlist_foreach(iter, name_list(name))
	{
		Pool	   *pool = dlist_container(Pool, by_name, iter.cur);

		if (pool->relid == relid && strcmp(pool->name, name) == 0)
			return pool;
	}
	return NULL;
}

/* Drop a pool from the cache.  Its memory is freed with the last pin. */
static void
cache_forget(Pool *pool)
{
	ncached--;
	cached_bytes -= pool->bytes;
	dlist_delete(&pool->by_name);
	dlist_delete(&pool->by_use);
	pool->is_cached = false;
	if (pool->pins == 0)
		MemoryContextDelete(pool->cxt);
}

/* Drop the pools that were used longest ago, as far as there are too many. */
static void
cache_limit(void)
{
	while (ncached > 1 &&
		   (ncached > MAX_POOLS || cached_bytes > MAX_POOL_BYTES))
		cache_forget(dlist_tail_element(Pool, by_use, &by_use));
}

/* Count the pool's memory, to which something may have been added. */
static void
cache_count(Pool *pool)
{
	Size		bytes = MemoryContextMemAllocated(pool->cxt, true);

	cached_bytes += bytes - pool->bytes;
	pool->bytes = bytes;
}

/* Add a complete pool to the cache, dropping others to make room. */
static void
cache_add(Pool *pool)
{
	/*
	 * From here on the pool outlives the transaction.  It has been built under
	 * the caller's context, so an error before this point has freed it.
	 */
	MemoryContextSetParent(pool->cxt, CacheMemoryContext);
	pool->is_cached = true;
	dlist_push_head(name_list(pool->name), &pool->by_name);
	dlist_push_head(&by_use, &pool->by_use);
	ncached++;
	cache_count(pool);
	cache_limit();
}

/*
 * Return a copy of the pool's row, in the caller's memory, or NULL if there is
 * none.  The scan has ended then, so another row can be read by another index.
 */
static TupleTableSlot *
read_row(Oid nsp, const char *name, Snapshot snapshot)
{
	TupleTableSlot *row = NULL;
	ScanKeyData key;
	PoolScan	scan;

	own_text_key(&key, 1, cstring_to_text(name));
	pool_scan_begin(&scan, nsp, ALLOC_POOL, ALLOC_POOL_NAME, snapshot, &key);
	if (pool_scan_next(&scan))
	{
		row = MakeSingleTupleTableSlot(RelationGetDescr(scan.table.rel),
									   &TTSOpsHeapTuple);
		ExecCopySlot(row, scan.table.slot);
		slot_getallattrs(row);
	}
	pool_scan_end(&scan);
	return row;
}

/* Read the pool of that name into the cache.  NULL if there is none. */
static Pool *
read_pool(Oid nsp, const char *name)
{
	Oid			relid = alloc_relation(nsp, ALLOC_POOL);
	Snapshot	snapshot;
	TupleTableSlot *row;
	uint64		seen;
	Pool	   *pool = NULL;

	/*
	 * Take the count of changes before the snapshot.  A change in between
	 * makes us read the row once more than needed, but none can be missed.
	 */
	watch_rows(relid);
	seen = pools_changed;
	snapshot = RegisterSnapshot(latest_snapshot());
	row = read_row(nsp, name, snapshot);
	if (row != NULL)
	{
		Datum	   *values = row->tts_values - 1;
		int32		id = DatumGetInt32(values[POOL_ID]);
		int			ngrantees;
		Oid		   *grantees = read_grantees(nsp, id, snapshot, &ngrantees);

		/* if only settings changed, keep what the backend has learned */
		pool = cache_find(relid, name);
		if (pool != NULL &&
			(pool->id != id ||
			 pool->epoch != DatumGetInt64(values[POOL_EPOCH])))
		{
			cache_forget(pool);
			pool = NULL;
		}
		if (pool == NULL)
		{
			pool = read_epoch(nsp, relid, row, snapshot);
			pool->frontiers =
				MemoryContextAllocExtended(pool->cxt,
										   sizeof(Frontier) *
										   Max(1, pool->space.nranges),
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
			read_settings(pool, row, grantees, ngrantees);
			cache_add(pool);
		}
		else
			read_settings(pool, row, grantees, ngrantees);
		pool->seen = seen;
		ExecDropSingleTupleTableSlot(row);
	}
	UnregisterSnapshot(snapshot);
	return pool;
}

/*
 * Return the pool of that name as the snapshot shows it, in the caller's
 * memory context and apart from the cache, for functions that only look.
 * Returns NULL if there is none.
 */
Pool *
cache_read(Oid nsp, const char *name, Snapshot snapshot)
{
	TupleTableSlot *row = read_row(nsp, name, snapshot);
	Pool	   *pool;
	Oid		   *grantees;
	int			ngrantees;

	if (row == NULL)
		return NULL;
	pool = read_epoch(nsp, alloc_relation(nsp, ALLOC_POOL), row, snapshot);
	grantees = read_grantees(nsp, pool->id, snapshot, &ngrantees);
	read_settings(pool, row, grantees, ngrantees);
	ExecDropSingleTupleTableSlot(row);
	return pool;
}

/*
 * Return the pool of that name as it is now, or NULL if there is none.  It is
 * valid at least until the current memory context is reset.
 */
Pool *
cache_get(Oid nsp, const char *name)
{
	Pool	   *pool;

	/* Learn of changes that were committed before we got our locks. */
	AcceptInvalidationMessages();
	pool = cache_find(alloc_relation(nsp, ALLOC_POOL), name);
	if (pool == NULL || pool->seen != pools_changed)
		pool = read_pool(nsp, name);
	if (pool == NULL)
		return NULL;
	dlist_move_head(&by_use, &pool->by_use);
	pin_pool(pool);
	cache_count(pool);
	cache_limit();
	return pool;
}
