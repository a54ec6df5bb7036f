/*
 * read.c
 *		Reads pools from our tables.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "alloc/read.h"

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

static int
compare_extents(const void *a, const void *b)
{
	u128		x = ((const Extent *) a)->first;
	u128		y = ((const Extent *) b)->first;

	return x < y ? -1 : x > y;
}

/* Start a scan for one key. */
void
pool_scan_begin(PoolScan *scan, Oid nsp, AllocRelation rel,
				AllocRelation index, Snapshot snapshot, ScanKey key)
{
	Oid			relid = alloc_relation(nsp, rel);

	/* REINDEX CONCURRENTLY drops no index that was there when we had a lock. */
	LockRelationOid(relid, AccessShareLock);
	own_open_by_index(&scan->table, relid, alloc_relation(nsp, index),
					  AccessShareLock);
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
bool
pool_scan_next(PoolScan *scan)
{
	if (!own_scan_next(&scan->rows))
		return false;
	slot_getallattrs(scan->table.slot);
	return true;
}

/* End a scan.  The lock on the table is kept. */
void
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
	u128		before = 0;		/* the last slot of the range before */

	pool->ascending = true;
	pool_scan_pool(&scan, nsp, ALLOC_RANGE, ALLOC_RANGE_POOL, snapshot,
				   pool->id);
	while (pool_scan_next(&scan))
	{
		Datum	   *values = scan.table.slot->tts_values - 1;
		Range	   *range;
		Extent		slots;

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
		slots = range_slots(range, space->chunk_bits);
		pool->ascending &= space->nranges == 1 || slots.first > before;
		before = slots.last;
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
Oid *
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
 * The name of the pool with that id, in a memory context.  If there is none, which
 * only damage can bring about, return a name that no pool has: whoever takes
 * from what is below it finds out (level.c).
 */
static char *
read_name(Oid nsp, MemoryContext cxt, int32 id, Snapshot snapshot)
{
	PoolScan	scan;
	char	   *name = "";

	pool_scan_pool(&scan, nsp, ALLOC_POOL, ALLOC_POOL_PKEY, snapshot, id);
	if (pool_scan_next(&scan))
		name = TextDatumGetCString(scan.table.slot->tts_values[POOL_NAME - 1]);
	pool_scan_end(&scan);
	return MemoryContextStrdup(cxt, name);
}

/*
 * Build a pool from its row: all that depends on the epoch, which is the
 * pool's identity and kind, its ranges and its reservations.  What the backend
 * will learn about free slots is still empty.
 */
Pool *
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
	pool->counted = kind_is_counted(pool->kind);
	if (pool->counted)
	{
		pool->capacity = DatumGetInt64(values[POOL_CAPACITY]);
		pool->lowered = DatumGetBool(values[POOL_LOWERED]);
	}
	if (!isnull[POOL_PARENT])
		pool->parent = read_name(nsp, cxt, DatumGetInt32(values[POOL_PARENT]),
								 snapshot);
	read_ranges(nsp, pool, snapshot);
	read_reserved(nsp, pool, snapshot);
	return pool;
}

/* Copy those settings from the pool's row that may change within an epoch. */
void
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
