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

#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "alloc/alloc.h"

/* alloc_pool's columns */
enum
{
	POOL_ID = 1,
	POOL_NAME,
	POOL_KIND,
	POOL_STRATEGY,
	POOL_COOLDOWN,
	POOL_PORT_CHUNK,
	POOL_FAMILY,
	POOL_OWNER,
	POOL_OWNER_NAME,
	POOL_EPOCH,
	POOL_EXCLUDE_PORTS
};

/* alloc_range's columns */
enum
{
	RANGE_ID = 1,
	RANGE_POOL,
	RANGE_FIRST,
	RANGE_LAST,
	RANGE_WHOLE,
	RANGE_DRAINING
};

/* alloc_grantee's columns */
enum
{
	GRANTEE_ID = 1,
	GRANTEE_POOL,
	GRANTEE_ROLE
};

/*
 * The pools that this backend has used, most recently used first.  The cache
 * is limited in pools and in bytes; beyond that, the least recently used pools
 * are dropped.  Whatever is lost that way can be read or learned again.
 */
#define MAX_POOLS 256
#define MAX_POOL_BYTES (16 * 1024 * 1024)

static Pool *cached[MAX_POOLS];
static int	ncached = 0;

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

static int
compare_extents(const void *a, const void *b)
{
	u128		x = ((const Extent *) a)->first;
	u128		y = ((const Extent *) b)->first;

	return x < y ? -1 : x > y;
}

/* A scan of one of our own tables for the rows that have one index key. */
typedef struct PoolScan
{
	OwnTable	table;
	OwnScan		rows;
} PoolScan;

/* Start a scan for one key. */
static void
pool_scan_begin(PoolScan *scan, Oid nsp, AllocRelation rel,
				AllocRelation index, Snapshot snapshot, ScanKey key)
{
	own_open_by_index(&scan->table, alloc_relation(nsp, rel),
					  alloc_relation(nsp, index), AccessShareLock);
	own_scan_begin(&scan->rows, &scan->table, scan->table.index, snapshot, key,
				   1);
}

/* Scan a pool's rows, by an index whose first column is the pool. */
static void
pool_scan_pool(PoolScan *scan, Oid nsp, AllocRelation rel, AllocRelation index,
			   Snapshot snapshot, int32 pool)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(pool));
	pool_scan_begin(scan, nsp, rel, index, snapshot, &key);
}

/* Go on to the next row, which is then in the table's slot. */
static bool
pool_scan_next(PoolScan *scan)
{
	if (!own_scan_next(&scan->rows))
		return false;
	slot_getallattrs(scan->table.slot);
	return true;
}

/* End a scan.  The locks on the table and the index are kept. */
static void
pool_scan_end(PoolScan *scan)
{
	own_scan_end(&scan->rows);
	own_close(&scan->table);
}

/* Make room for one more element in an array in the pool's memory. */
static void *
pool_array(Pool *pool, void *array, int n, int *room, Size size)
{
	if (n < *room)
		return array;
	*room = Max(4, *room * 2);
	return array == NULL ? MemoryContextAlloc(pool->cxt, *room * size) :
		repalloc_huge(array, *room * size);
}

/* Read the pool's ranges, in the order of their values. */
static void
read_ranges(Oid nsp, Pool *pool, Snapshot snapshot)
{
	Space	   *space = &pool->space;
	PoolScan		scan;
	int			room = 0;

	pool_scan_pool(&scan, nsp, ALLOC_RANGE, ALLOC_RANGE_POOL, snapshot,
				   pool->id);
	while (pool_scan_next(&scan))
	{
		Datum	   *values = scan.table.slot->tts_values - 1;
		Range	   *range;

		space->ranges = pool_array(pool, space->ranges, space->nranges, &room,
								   sizeof(Range));
		range = &space->ranges[space->nranges++];
		range->id = DatumGetInt32(values[RANGE_ID]);
		range->first = numeric_u128(values[RANGE_FIRST]);
		range->last = numeric_u128(values[RANGE_LAST]);
		range->whole = DatumGetInt32(values[RANGE_WHOLE]);
		range->draining = DatumGetBool(values[RANGE_DRAINING]);

		/* The owner can write anything here, and space.c relies on this. */
		if (!kind_admits(pool->kind, pool->width, range->first, range->last))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("table alloc_range holds a range that pool \"%s\" cannot have",
							pool->name)));
	}
	pool_scan_end(&scan);
}

/* The first range that ends at or after the value, or nranges. */
static int
first_range_from(const Space *space, u128 value)
{
	int			low = 0;
	int			high = space->nranges;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (space->ranges[middle].last < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Read the pool's reservations. */
static void
read_reserved(Oid nsp, Pool *pool, Snapshot snapshot)
{
	Space	   *space = &pool->space;
	PoolScan		scan;
	int			room = 0;
	int			refused_room = 0;

	pool_scan_pool(&scan, nsp, ALLOC_RESERVED, ALLOC_RESERVED_PKEY, snapshot,
				   pool->id);
	while (pool_scan_next(&scan))
	{
		u128		first = numeric_u128(scan.table.slot->tts_values[1]);
		u128		last = numeric_u128(scan.table.slot->tts_values[2]);
		bool		on_request = DatumGetBool(scan.table.slot->tts_values[4]);

		/*
		 * A reservation may lie across several ranges.  Split it, because
		 * ranges that are adjacent in values need not be adjacent in slots.
		 */
		for (int i = first_range_from(space, first);
			 i < space->nranges && space->ranges[i].first <= last; i++)
		{
			const Range *range = &space->ranges[i];

			space->reserved = pool_array(pool, space->reserved,
										 space->nreserved, &room,
										 sizeof(Extent));
			space->reserved[space->nreserved++] =
				slots_of_values(space, Max(first, range->first),
								Min(last, range->last));
			if (on_request)
				continue;
			pool->refused = pool_array(pool, pool->refused, pool->nrefused,
									   &refused_room, sizeof(Extent));
			pool->refused[pool->nrefused++] =
				space->reserved[space->nreserved - 1];
		}
	}
	pool_scan_end(&scan);
	if (space->nreserved > 1)
		qsort(space->reserved, space->nreserved, sizeof(Extent),
			  compare_extents);
	if (pool->nrefused > 1)
		qsort(pool->refused, pool->nrefused, sizeof(Extent), compare_extents);
}

/* Return the roles that the pool was granted to, in the caller's memory. */
static Oid *
read_grantees(Oid nsp, int32 id, Snapshot snapshot, int *ngrantees)
{
	PoolScan		scan;
	int			room = 4;
	Oid		   *grantees = palloc(room * sizeof(Oid));

	*ngrantees = 0;
	pool_scan_pool(&scan, nsp, ALLOC_GRANTEE, ALLOC_GRANTEE_PKEY, snapshot,
				   id);
	while (pool_scan_next(&scan))
	{
		if (scan.table.slot->tts_isnull[GRANTEE_ROLE - 1])
			continue;			/* no role of that name in this cluster */
		if (*ngrantees == room)
		{
			room *= 2;
			grantees = repalloc(grantees, room * sizeof(Oid));
		}
		grantees[(*ngrantees)++] =
			DatumGetObjectId(scan.table.slot->tts_values[GRANTEE_ROLE - 1]);
	}
	pool_scan_end(&scan);
	return grantees;
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

/* Drop a pool from the cache.  Its memory is freed with the last pin. */
static void
cache_forget(int i)
{
	Pool	   *pool = cached[i];

	ncached--;
	memmove(&cached[i], &cached[i + 1], (ncached - i) * sizeof(Pool *));
	pool->is_cached = false;
	if (pool->pins == 0)
		MemoryContextDelete(pool->cxt);
}

/* Move a pool to the front of the cache, and return it. */
static Pool *
cache_use(int i)
{
	Pool	   *pool = cached[i];

	memmove(&cached[1], &cached[0], i * sizeof(Pool *));
	cached[0] = pool;
	return pool;
}

/* Return the pool of that name if it is cached and up to date, or NULL. */
static Pool *
cache_current(Oid relid, const char *name)
{
	for (int i = 0; i < ncached; i++)
	{
		if (cached[i]->seen == pools_changed && cached[i]->relid == relid &&
			strcmp(cached[i]->name, name) == 0)
			return cache_use(i);
	}
	return NULL;
}

/* Return the cached pool if it is of that epoch; if it is not, drop it. */
static Pool *
cache_find(Oid relid, int32 id, int64 epoch)
{
	for (int i = 0; i < ncached; i++)
	{
		if (cached[i]->relid != relid || cached[i]->id != id)
			continue;
		if (cached[i]->epoch == epoch)
			return cache_use(i);
		cache_forget(i);
		return NULL;
	}
	return NULL;
}

/* Add a complete pool to the cache, dropping others to make room. */
static void
cache_add(Pool *pool)
{
	Size		bytes;

	/*
	 * From here on the pool outlives the transaction.  It has been built under
	 * the caller's context, so an error before this point has freed it.
	 */
	MemoryContextSetParent(pool->cxt, CacheMemoryContext);
	pool->bytes = bytes = MemoryContextMemAllocated(pool->cxt, true);
	if (ncached == MAX_POOLS)
		cache_forget(ncached - 1);
	/* Starting with the most recently used pool, keep as many as fit. */
	for (int i = 0; i < ncached; i++)
	{
		bytes += cached[i]->bytes;
		if (bytes > MAX_POOL_BYTES)
		{
			while (ncached > i)
				cache_forget(ncached - 1);
		}
	}
	memmove(&cached[1], &cached[0], ncached * sizeof(Pool *));
	cached[0] = pool;
	ncached++;
	pool->is_cached = true;
}

/* The strategy in a pool's row; a CHECK constraint allows three words. */
static PoolStrategy
parse_strategy(const char *strategy)
{
	switch (strategy[0])
	{
		case 'l':
			return STRATEGY_LOWEST;
		case 'r':
			return STRATEGY_RANDOM;
		default:
			return STRATEGY_ANY;
	}
}

/*
 * Build a pool from its row: all that depends on the epoch, which is the
 * pool's identity and kind, its ranges and its reservations.  What the backend
 * will learn about free slots is still empty.
 */
static Pool *
read_epoch(Oid nsp, Oid relid, TupleTableSlot *row, Snapshot snapshot)
{
	Datum	   *values = row->tts_values - 1;
	bool	   *isnull = row->tts_isnull - 1;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext,
											  "pg_cas pool",
											  ALLOCSET_SMALL_SIZES);
	Pool	   *pool = MemoryContextAllocZero(cxt, sizeof(Pool));

	pool->cxt = cxt;
	pool->relid = relid;
	pool->id = DatumGetInt32(values[POOL_ID]);
	pool->epoch = DatumGetInt64(values[POOL_EPOCH]);
	pool->name =
		MemoryContextStrdup(cxt, TextDatumGetCString(values[POOL_NAME]));
	pool->kind = kind_of_name(TextDatumGetCString(values[POOL_KIND]));
	pool->width = kind_width(pool->kind, isnull[POOL_FAMILY] ? 0 :
							 DatumGetInt32(values[POOL_FAMILY]));
	if (!isnull[POOL_PORT_CHUNK])
	{
		/* an address has 65536 ports, and port_chunk is a power of two */
		pool->port_chunk = DatumGetInt32(values[POOL_PORT_CHUNK]);
		pool->space.chunk_bits =
			16 - pg_leftmost_one_pos32(pool->port_chunk);
	}
	if (!isnull[POOL_EXCLUDE_PORTS] && pool->port_chunk > 0)
	{
		MemoryContext caller = MemoryContextSwitchTo(cxt);
		uint64	   *excluded = ports_new(pool->port_chunk);

		ports_exclude_array(excluded,
							DatumGetArrayTypeP(values[POOL_EXCLUDE_PORTS]),
							pool->port_chunk);
		pool->space.excluded = excluded;
		MemoryContextSwitchTo(caller);
	}
	pool->mixed = kind_is_mixed(pool->kind, pool->port_chunk);
	read_ranges(nsp, pool, snapshot);
	read_reserved(nsp, pool, snapshot);
	return pool;
}

/* Copy those settings from the pool's row that may change within an epoch. */
static void
read_settings(Pool *pool, TupleTableSlot *row, Oid *grantees, int ngrantees)
{
	Datum	   *values = row->tts_values - 1;
	PoolStrategy strategy =
		parse_strategy(TextDatumGetCString(values[POOL_STRATEGY]));
	Oid		   *kept = MemoryContextAlloc(pool->cxt,
										  Max(ngrantees, 1) * sizeof(Oid));

	/*
	 * Nothing may fail from here on: the pool may already be in the cache, and
	 * must not be left half changed.
	 */
	memcpy(kept, grantees, ngrantees * sizeof(Oid));
	if (pool->grantees != NULL)
		pfree(pool->grantees);
	pool->grantees = kept;
	pool->ngrantees = ngrantees;
	pool->strategy = strategy;
	pool->cooldown = *DatumGetIntervalP(values[POOL_COOLDOWN]);
	pool->has_cooldown = pool->cooldown.time != 0 ||
		pool->cooldown.day != 0 || pool->cooldown.month != 0;
	pool->owner = row->tts_isnull[POOL_OWNER - 1] ? InvalidOid :
		DatumGetObjectId(values[POOL_OWNER]);
}

/* Scan for the pool's row; false if there is none.  End it in either case. */
static bool
row_scan_begin(PoolScan *scan, Oid nsp, const char *name, Snapshot snapshot)
{
	ScanKeyData key;

	own_text_key(&key, 1, cstring_to_text(name));
	pool_scan_begin(scan, nsp, ALLOC_POOL, ALLOC_POOL_NAME, snapshot, &key);
	return pool_scan_next(scan);
}

/* Read the pool of that name into the cache.  NULL if there is none. */
static Pool *
read_pool(Oid nsp, const char *name)
{
	Oid			relid = alloc_relation(nsp, ALLOC_POOL);
	Snapshot	snapshot;
	PoolScan		scan;
	uint64		seen;
	Pool	   *pool = NULL;

	/*
	 * Take the count of changes before the snapshot.  A change in between
	 * makes us read the row once more than needed, but none can be missed.
	 */
	watch_rows(relid);
	seen = pools_changed;
	snapshot = RegisterSnapshot(latest_snapshot());
	if (row_scan_begin(&scan, nsp, name, snapshot))
	{
		Datum	   *values = scan.table.slot->tts_values - 1;
		int32		id = DatumGetInt32(values[POOL_ID]);
		int			ngrantees;
		Oid		   *grantees = read_grantees(nsp, id, snapshot, &ngrantees);

		/* if only settings changed, keep what the backend has learned */
		pool = cache_find(relid, id, DatumGetInt64(values[POOL_EPOCH]));
		if (pool == NULL)
		{
			pool = read_epoch(nsp, relid, scan.table.slot, snapshot);
			pool->frontiers =
				MemoryContextAllocExtended(pool->cxt,
										   sizeof(Frontier) *
										   Max(1, pool->space.nranges),
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
			read_settings(pool, scan.table.slot, grantees, ngrantees);
			cache_add(pool);
		}
		else
			read_settings(pool, scan.table.slot, grantees, ngrantees);
		pool->seen = seen;
	}
	pool_scan_end(&scan);
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
	PoolScan		scan;
	Pool	   *pool = NULL;

	if (row_scan_begin(&scan, nsp, name, snapshot))
		pool = read_epoch(nsp, alloc_relation(nsp, ALLOC_POOL),
						  scan.table.slot, snapshot);
	pool_scan_end(&scan);
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
	pool = cache_current(alloc_relation(nsp, ALLOC_POOL), name);
	if (pool == NULL)
		pool = read_pool(nsp, name);
	if (pool != NULL)
		pin_pool(pool);
	return pool;
}
