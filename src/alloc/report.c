/*
 * report.c
 *		The SQL functions that look at pools as a whole: alloc_usage() and
 *		alloc_verify(); alloc_map() is in map.c.
 *
 * They look at one pool after the other, and at everything of a pool with one
 * snapshot.  So what they report was true at one time, even while the pool is
 * in use.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "alloc/report.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_usage);
PG_FUNCTION_INFO_V1(alloc_verify);

/*
 * Return the name of the pool that the first argument names, or if it is NULL,
 * the names of all pools that the caller may see.
 */
static char **
named_pools(FunctionCallInfo fcinfo, uint64 *n)
{
	MemoryContext caller = CurrentMemoryContext;
	OwnerScope	scope;
	char	  **names;

	if (!PG_ARGISNULL(0))
	{
		names = palloc(sizeof(char *));
		names[0] = text_to_cstring(PG_GETARG_TEXT_PP(0));
		(void) pool_open(alloc_namespace(fcinfo), names[0], RIGHT_SEE);
		*n = 1;
		return names;
	}

	owner_sql_begin(&scope);
	owner_sql("SELECT p.name, p.owner, ARRAY(SELECT g.role "
			  "FROM @alloc_grantee AS g WHERE g.pool = p.id) "
			  "FROM @alloc_pool AS p ORDER BY p.name", 0, NULL, NULL);
	owner_leave(&scope);		/* pool_shows() goes by the caller */
	names = MemoryContextAlloc(caller, (SPI_processed + 1) * sizeof(char *));
	*n = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		owner = owner_sql_value(i, 2, &isnull);

		if (pool_shows(isnull ? InvalidOid : DatumGetObjectId(owner),
					   DatumGetArrayTypeP(owner_sql_value(i, 3, &isnull))))
		{
			Datum		name = owner_sql_value(i, 1, &isnull);

			names[(*n)++] = MemoryContextStrdup(caller,
												TextDatumGetCString(name));
		}
	}
	owner_sql_end(&scope);
	return names;
}

/* Call a function for each of these pools, with memory of its own. */
Datum
look_at_pools(FunctionCallInfo fcinfo, bool required, void (*at) (Look *look))
{
	Oid			nsp = alloc_namespace(fcinfo);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext cxt;
	char	  **names;
	uint64		n;
	Look		look = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};

	request_enter(fcinfo, ENTRY_JOINS);
	if (required)
		require_argument(fcinfo, 0, "pool");
	InitMaterializedSRF(fcinfo, required ? MAT_SRF_USE_EXPECTED_DESC : 0);
	names = named_pools(fcinfo, &n);

	cxt = AllocSetContextCreate(caller, "alloc report", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cxt);
	for (uint64 i = 0; i < n; i++)
	{
		look.now = GetCurrentTimestamp();

		/*
		 * Read the ranges and reservations with the snapshot, too, because the
		 * rows must be compared with those of the same time.
		 */
		look.snapshot = RegisterSnapshot(latest_snapshot());
		look.pool = pool_read(nsp, names[i], look.snapshot);
		if (look.pool != NULL)	/* not dropped in between */
		{
			store_open(&look.store, nsp, AccessShareLock);
			at(&look);
			store_close(&look.store);
		}
		UnregisterSnapshot(look.snapshot);
		MemoryContextReset(cxt);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(cxt);
	return (Datum) 0;
}

/* qsort comparator */
static int
compare_parts(const void *a, const void *b)
{
	u128		x = ((const Part *) a)->slots.first;
	u128		y = ((const Part *) b)->slots.first;

	return x < y ? -1 : x > y;
}

/* The pool's ranges in the order of their slots. */
Part *
parts_of(const Pool *pool)
{
	const Space *space = &pool->space;
	Part	   *parts = palloc_extended(Max(1, space->nranges) * sizeof(Part),
										MCXT_ALLOC_HUGE);

	for (int i = 0; i < space->nranges; i++)
	{
		parts[i].range = &space->ranges[i];
		parts[i].slots = range_slots(&space->ranges[i], space->chunk_bits);
	}
	qsort(parts, space->nranges, sizeof(Part), compare_parts);
	return parts;
}

/* The number of slots that two extents have in common. */
static u128
common_slots(Extent a, Extent b)
{
	u128		first = Max(a.first, b.first);
	u128		last = Min(a.last, b.last);

	return first > last ? 0 : last - first + 1;
}

/* a - b, or 0 if b is larger, which can happen in a damaged pool */
static u128
less(u128 a, u128 b)
{
	return a > b ? a - b : 0;
}

/* What alloc_usage() counts, in values except for free_slots. */
typedef struct Usage
{
	u128		open;			/* in ranges that do not drain */
	u128		reserved;		/* ... and reserved */
	u128		held;			/* ... and held */
	u128		cooling;		/* ... and cooling */
	u128		unreserved;		/* ... reserved, but held or cooling */
	u128		draining;		/* held, in ranges that drain */
	u128		free_slots;		/* without excluded chunks */
} Usage;

/* The number of values that a number of slots stands for. */
static u128
values_of(const Pool *pool, u128 slots)
{
	return slots >> pool->space.chunk_bits;
}

/* Count sizes, before looking at any row. */
static void
count_space(const Pool *pool, const Part *parts, Usage *usage)
{
	const Space *space = &pool->space;
	int			r = 0;

	for (int i = 0; i < space->nranges; i++)
	{
		Extent		slots = parts[i].slots;
		u128		size = slots.last - slots.first + 1;
		u128		reserved = 0;

		if (parts[i].range->draining)
			continue;
		/* parts and reservations are both in ascending order */
		while (r < space->nreserved && space->reserved[r].last < slots.first)
			r++;
		for (int k = r; k < space->nreserved &&
			 space->reserved[k].first <= slots.last; k++)
			reserved += common_slots(space->reserved[k], slots);
		usage->open += values_of(pool, size);
		usage->reserved += values_of(pool, reserved);
		/* what is reserved are whole addresses, with the same chunks each */
		slots.last -= reserved;
		usage->free_slots += size == reserved ? 0 : space_chunks(space, slots);
	}
}

/*
 * The number of reserved slots in an extent.  *next is where to begin; the
 * caller's extents must be in ascending order.
 */
static u128
reserved_slots(const Space *space, Extent slots, int *next)
{
	u128		n = 0;

	while (*next < space->nreserved &&
		   space->reserved[*next].last < slots.first)
		(*next)++;
	for (int i = *next; i < space->nreserved &&
		 space->reserved[i].first <= slots.last; i++)
		n += common_slots(space->reserved[i], slots);
	return n;
}

/*
 * Count the rows of a mixed pool.  An address that is divided into chunks is
 * in use if any of its chunks is; otherwise it is cooling if any chunk is.
 */
static void
count_blocks(Look *look, const Part *parts, Usage *usage)
{
	const Pool *pool = look->pool;
	const Space *space = &pool->space;
	Extent		all = {0, U128_MAX};
	SlotScan	scan;
	SlotRow		row;
	int			part = 0;
	int			reserved = 0;
	u128		address = U128_MAX; /* of the chunks that were counted last */
	bool		its_held = false;

	scan_by_slot(&scan, &look->store, pool->id, all, ForwardScanDirection,
				 look->snapshot);
	while (slot_scan_next(&scan, &row))
	{
		Extent		block = {row.lo, block_last(row.lo, row.order)};
		bool		held = is_in_use(look, &row);
		bool		again;

		if (!held && !is_cooling(look, &row))
			continue;
		/* is this another chunk of the address that was counted last? */
		again = pool->port_chunk > 0 &&
			block.first >> space->chunk_bits == address;
		/* skip the ranges that end before this block */
		while (part < space->nranges && parts[part].slots.last < block.first)
			part++;
		/* a block that cools can lie across ranges that were cut from one */
		for (int i = part; i < space->nranges &&
			 parts[i].slots.first <= block.last; i++)
		{
			Extent		shared = {
				Max(block.first, parts[i].slots.first),
				Min(block.last, parts[i].slots.last)
			};
			u128		size = shared.last - shared.first + 1;
			u128		kept = reserved_slots(space, shared, &reserved);
			u128		values = pool->port_chunk > 0 ? 1 : size;

			/*
			 * What drains counts as allocated while it is held, and not at all
			 * when it cools.
			 */
			if (parts[i].range->draining)
			{
				if (held && !(again && its_held))
					usage->draining += values;
				continue;
			}
			usage->free_slots = less(usage->free_slots, size == kept ? 0 :
									 space_chunks(space, shared) - kept);
			if (again)
			{
				/* counted as cooling, but now in use */
				if (held && !its_held)
				{
					usage->cooling--;
					usage->held++;
				}
				continue;
			}
			if (held)
				usage->held += values;
			else
				usage->cooling += values;
			usage->unreserved += pool->port_chunk > 0 ? kept > 0 : kept;
		}
		/* remember the address, in case that more of its chunks follow */
		its_held = held || (again && its_held);
		address = block.first >> space->chunk_bits;
	}
	slot_scan_end(&scan);
}

/* Count the rows in these slots, in a pool of one size. */
static void
count_rows(Look *look, Extent slots, u128 *held, u128 *cooling)
{
	SlotScan	scan;
	SlotRow		row;

	scan_by_slot(&scan, &look->store, look->pool->id, slots,
				 ForwardScanDirection, look->snapshot);
	while (slot_scan_next(&scan, &row))
	{
		if (is_in_use(look, &row))
			(*held)++;
		else if (is_cooling(look, &row))
			(*cooling)++;
	}
	slot_scan_end(&scan);
}

/*
 * Count the rows of a pool of one size.  That does not tell where they are, so
 * those in draining ranges and in reservations are counted again.
 */
static void
count_units(Look *look, const Part *parts, Usage *usage)
{
	const Space *space = &look->pool->space;
	u128		unused = 0;
	uint64		held;
	uint64		cooling;

	tally(look, &held, &cooling);
	usage->held = held;
	usage->cooling = cooling;
	for (int i = 0; i < space->nranges; i++)
	{
		if (parts[i].range->draining)
			count_rows(look, parts[i].slots, &usage->draining, &unused);
	}
	usage->held = less(usage->held, usage->draining);
	usage->cooling = less(usage->cooling, unused);
	for (int i = 0; i < space->nreserved; i++)
	{
		const Range *range = space_range_of_slot(space,
												 space->reserved[i].first);

		if (!range->draining)
			count_rows(look, space->reserved[i], &usage->unreserved,
					   &usage->unreserved);
	}
}

/* 100 * part / whole, rounded to two digits */
static Datum
percentage(Datum part, Datum whole)
{
	Datum		share;

	share = DirectFunctionCall2(numeric_mul, u128_numeric(100), part);
	share = DirectFunctionCall2(numeric_div, share, whole);
	return DirectFunctionCall2(numeric_round, share, Int32GetDatum(2));
}

/* Count what is taken from a counted pool. */
static void
count_shares(Look *look, Usage *usage)
{
	uint64		held;
	uint64		cooling;

	tally_shares(look, &held, &cooling);
	usage->open = (u128) look->pool->capacity;
	usage->held = held;
	usage->cooling = cooling;
}

/* Add the pool's row to the result of alloc_usage(). */
static void
usage_of(Look *look)
{
	const Pool *pool = look->pool;
	const Part *parts = parts_of(pool);
	Usage		usage = {0};
	u128		numbers[5];
	Datum		values[8];
	bool		nulls[8] = {0};

	count_space(pool, parts, &usage);
	if (pool->counted)
		count_shares(look, &usage);
	else if (pool->mixed)
		count_blocks(look, parts, &usage);
	else
		count_units(look, parts, &usage);

	/* capacity, reserved, allocated, cooling and free */
	numbers[0] = usage.open + usage.draining;
	numbers[1] = less(usage.reserved, usage.unreserved);
	numbers[2] = usage.held + usage.draining;
	numbers[3] = usage.cooling;
	numbers[4] = less(numbers[0], numbers[1] + numbers[2] + numbers[3]);
	values[0] = CStringGetTextDatum(pool->name);
	for (int i = 0; i < lengthof(numbers); i++)
		values[i + 1] = u128_numeric(numbers[i]);
	nulls[6] = pool->port_chunk == 0;
	values[6] = u128_numeric(usage.free_slots);
	/* a pool without ranges has no percentage */
	nulls[7] = numbers[0] == 0;
	if (!nulls[7])
		values[7] = percentage(values[3], values[1]);
	tuplestore_putvalues(look->rsinfo->setResult, look->rsinfo->setDesc,
						 values, nulls);
}

/* alloc_usage(pool) RETURNS TABLE (pool, capacity, ...) */
Datum
alloc_usage(PG_FUNCTION_ARGS)
{
	return look_at_pools(fcinfo, false, usage_of);
}

/*
 * Add a pool's problems to the result of alloc_verify().  One SQL statement
 * finds them all, because everything has to be compared with everything.
 */
static void
verify(Look *look)
{
	OwnerScope	scope;

	owner_sql_begin(&scope);
	owner_sql_at(look->snapshot,
				 look->pool->counted ?
				 "SELECT v.* FROM @alloc_verify_shares($1, $2) AS v" :
				 look->pool->parent != NULL ?
				 "SELECT v.* FROM @alloc_verify_of($1, $2) AS v UNION ALL "
				 "SELECT v.* FROM @alloc_verify_shares($1, $2) AS v" :
				 "SELECT v.* FROM @alloc_verify_of($1, $2) AS v",
				 ARGS(INT4OID, TIMESTAMPTZOID),
				 VALUES(Int32GetDatum(look->pool->id),
						TimestampTzGetDatum(look->now)));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[3];
		bool		nulls[3];

		for (int col = 0; col < lengthof(values); col++)
			values[col] = owner_sql_value(i, col + 1, &nulls[col]);
		tuplestore_putvalues(look->rsinfo->setResult, look->rsinfo->setDesc,
							 values, nulls);
	}
	owner_sql_end(&scope);
}

/* alloc_verify(pool) RETURNS TABLE (pool, problem, detail) */
Datum
alloc_verify(PG_FUNCTION_ARGS)
{
	return look_at_pools(fcinfo, false, verify);
}
