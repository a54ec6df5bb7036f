/*
 * free.c
 *		The SQL function alloc_free(), which lists what is free in a pool.
 *
 * It goes through the pool's ranges, and through the rows in each, with one
 * snapshot for everything.  It locks and takes nothing, so what it lists may
 * be allocated by the time that the caller asks for it.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "alloc/alloc.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_free);

/* A call's list. */
typedef struct Free
{
	Snapshot	snapshot;
	const Pool *pool;
	TimestampTz now;
	Store		store;
	int			order;			/* of the prefixes to list; -1: stretches */
	int64		room;			/* number of rows that may still be listed */
	ReturnSetInfo *rsinfo;
} Free;

/*
 * Return a row for the values from first to last, unless max rows have been
 * returned.
 */
static void
put_values(Free *list, u128 first, u128 last)
{
	const Pool *pool = list->pool;
	Datum		values[3];
	bool		nulls[3] = {0};

	if (list->room-- <= 0)
		return;
	values[0] = CStringGetTextDatum(value_text(pool->kind, pool->width,
											   first));
	values[1] = CStringGetTextDatum(value_text(pool->kind, pool->width, last));
	values[2] = u128_numeric(last - first + 1);
	tuplestore_putvalues(list->rsinfo->setResult, list->rsinfo->setDesc,
						 values, nulls);
}

/*
 * List a gap: slots of one range that have no row and are not reserved.  Lists
 * the values that lie wholly in it as one stretch, or the prefixes that fit
 * into it.
 */
static void
put_gap(Free *list, u128 first, u128 last)
{
	const Space *space = &list->pool->space;
	u128		mask = ((u128) 1 << Max(list->order, space->chunk_bits)) - 1;
	u128		aligned = (first + mask) & ~mask;

	/* aligned < first: the addition has wrapped around */
	if (aligned < first || aligned > last || last - aligned < mask)
		return;
	if (list->order < 0)
	{
		/* A chunk of the last address is in use: that address is not free. */
		if ((last & mask) != mask)
			last = (last & ~mask) - 1;
		put_values(list, space_value(space, aligned),
				   space_value(space, last));
		return;
	}
	for (; list->room > 0; aligned += mask + 1)
	{
		CHECK_FOR_INTERRUPTS();
		put_values(list, space_value(space, aligned),
				   space_value(space, aligned + mask));
		/* stop at the last prefix without computing a slot beyond the gap */
		if (last - aligned - mask <= mask)
			break;
	}
}

/* List slots of one range that have no row, except what is reserved. */
static void
put_unreserved(Free *list, u128 first, u128 last)
{
	const Space *space = &list->pool->space;
	int			low = 0;
	int			high = space->nreserved;

	/*
	 * Binary search for the first reserved extent that ends at or after first.
	 */
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (space->reserved[middle].last < first)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < space->nreserved && list->room > 0; low++)
	{
		const Extent *reserved = &space->reserved[low];

		if (reserved->first > last)
			break;
		if (reserved->first > first)
			put_gap(list, first, reserved->first - 1);
		if (reserved->last >= last)
			return;
		first = reserved->last + 1;
	}
	put_gap(list, first, last);
}

/* List what is free in one range. */
static void
put_range(Free *list, const Range *range)
{
	Extent		slots = range_slots(range, list->pool->space.chunk_bits);
	u128		from = slots.first;
	BlockScan	scan;
	SlotRow		row;

	block_scan_begin(&scan, &list->store, list->pool, slots, list->snapshot);
	while (list->room > 0 && block_scan_next(&scan, &row))
	{
		/* anybody may have this block, so it is part of the gap */
		if (has_run_out(&row, list->now))
			continue;
		if (row.lo > from)
			put_unreserved(list, from, row.lo - 1);

		from = Max(from, block_last(row.lo, row.order) + 1);
	}
	block_scan_end(&scan);
	if (list->room > 0 && from <= slots.last)
		put_unreserved(list, from, slots.last);
}

/*
 * The order of the prefixes to list, from the argument masklen; -1 if it is
 * NULL.
 */
static int
prefix_order(FunctionCallInfo fcinfo, const Pool *pool)
{
	int			masklen;

	if (PG_ARGISNULL(1))
		return -1;
	masklen = PG_GETARG_INT32(1);
	if (kind_request(pool->kind) != REQUEST_PREFIX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("masklen is for pools of prefixes"),
				 errhint("Leave it out.")));
	if (masklen < 0 || masklen > pool->width ||
		pool->width - masklen > MAX_PREFIX_ORDER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mask length: %d", masklen),
				 errhint("The pool has addresses of %d bits.", pool->width)));
	return pool->width - masklen;
}

/*
 * alloc_free(pool, masklen, max) RETURNS TABLE (first, last, size)
 */
Datum
alloc_free(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	Free		list = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};
	char	   *name;
	int32		id;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	list.room = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT32(2);
	if (list.room < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be negative", "max")));
	InitMaterializedSRF(fcinfo, 0);

	/*
	 * Check the right on the pool as it is now, but look at it with one
	 * snapshot: ranges, reservations and rows must be of the same time.
	 */
	list.pool = pool_open(nsp, name, RIGHT_SEE);
	pool_require_values(list.pool);
	list.order = prefix_order(fcinfo, list.pool);
	id = list.pool->id;
	list.now = GetCurrentTimestamp();
	list.snapshot = RegisterSnapshot(latest_snapshot());
	list.pool = pool_read(nsp, name, list.snapshot);
	/* not dropped in between, nor another one created, maybe of another kind */
	if (list.pool != NULL && list.pool->id == id)
	{
		store_open(&list.store, nsp, AccessShareLock);
		for (int i = 0; i < list.pool->space.nranges && list.room > 0; i++)
		{
			if (!list.pool->space.ranges[i].draining)
				put_range(&list, &list.pool->space.ranges[i]);
		}
		store_close(&list.store);
	}
	UnregisterSnapshot(list.snapshot);
	return (Datum) 0;
}
