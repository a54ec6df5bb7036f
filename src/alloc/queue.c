/*
 * queue.c
 *		The waiting rows, and held ones that have run out, of pools of one
 *		size.
 *
 * Waiting rows are queued in one index, (pool, queue_place): by the time from which
 * they may be had, which gives the one that has been waiting longest; or in
 * pools whose strategy was "lowest" when they were released, by slot.  The
 * places of the two sorts are apart (number.c), and a search looks at both, at
 * its own first: so a change of strategy loses none, though it cannot move the
 * rows that running transactions are just releasing.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "alloc/alloc.h"

/*
 * Take the scan's first row that is free.
 */
static bool
take_first(Search *search, SlotScan *scan)
{
	SlotRow		row;
	bool		taken = false;

	while (!taken && slot_scan_next(scan, &row))
	{
		wait_add_row(&search->store->waits, &row);
		taken = row_state(&row, search->now) == BLOCK_FREE &&
			space_open(&search->pool->space, row.lo, row.order) &&
			take_row(search, &row);
		if (taken && !row.held)
			search->pool->queue_from = row.expires_at;
	}
	slot_scan_end(scan);
	return taken;
}

/* Take the unit that has been waiting longest. */
static bool
take_waiting(Search *search)
{
	const Extent all = {0, U128_MAX};
	SlotScan	scan;

	scan_queue_by_time(&scan, search->store, search->pool->id, 0,
					   search->now);
	if (take_first(search, &scan))
		return true;

	/* what is left of another strategy's queue */
	scan_queue_by_slot(&scan, search->store, search->pool->id, all);
	return take_first(search, &scan);
}

/* Take the held unit that has run out first. */
static bool
take_expired(Search *search)
{
	SlotScan	scan;

	scan_by_expiry(&scan, search->store, search->pool->id, search->now);
	return take_first(search, &scan);
}

/*
 * To find the head of the queue, the index has to read a page of it, with some
 * hundred rows.  So what a search finds there is kept for the next ones, which
 * have but to look whether it is still so.  Without that, an allocation and
 * its release cost 54 % more instructions where units go and come back.
 *
 * A place is good for one file.  VACUUM FULL and the like give the table
 * another one, and VACUUM may cut off its end.
 */
static bool
take_ready(Search *search)
{
	Pool	   *pool = search->pool;
	Relation	rel = search->store->slot;
	BlockNumber nblocks;

	if (pool->nready == 0 || pool->ready_file != rel->rd_rel->relfilenode)
		return false;
	nblocks = RelationGetNumberOfBlocks(rel);
	while (pool->nready > 0)
	{
		ReadyRow   *ready = pool->next_ready++;
		SlotRow		row;

		pool->nready--;
		CHECK_FOR_INTERRUPTS();
		if (ItemPointerGetBlockNumber(&ready->tid) < nblocks &&
			store_look(search->store, pool, &ready->tid, &row) &&
			!row.held && row.lo == ready->lo &&
			row_state(&row, search->now) == BLOCK_FREE &&
			space_open(&pool->space, row.lo, row.order) &&
			take_row(search, &row))
		{
			pool->queue_from = row.expires_at;
			return true;
		}
	}
	return false;
}

/* Keep the first free waiting rows that are queued by time as ready. */
static void
find_ready(Search *search)
{
	Pool	   *pool = search->pool;
	SlotScan	scan;
	SlotRow		row;

	pool->nready = 0;
	pool->next_ready = pool->ready;
	pool->ready_file = search->store->slot->rd_rel->relfilenode;
	scan_queue_by_time(&scan, search->store, pool->id, pool->queue_from,
					   search->now);
	while (pool->nready < MAX_READY && slot_scan_next(&scan, &row))
	{
		if (row_state(&row, search->now) != BLOCK_FREE)
			continue;
		pool->ready[pool->nready].tid = row.tid;
		pool->ready[pool->nready++].lo = row.lo;
	}
	slot_scan_end(&scan);
}

/*
 * Take what a search knows to be ready, or what comes next where it took the
 * last one: so it need not wade through the dead entries at the queue's head
 * for as long as some old snapshot keeps them.
 */
bool
queue_take_ready(Search *search)
{
	Pool	   *pool = search->pool;

	if (take_ready(search))
		return true;
	if (pool->queue_from <= 0 || pool->queue_from > search->now)
		return false;
	find_ready(search);
	return take_ready(search);
}

/* Take the unit that has been waiting longest, or that has run out first. */
bool
queue_take(Search *search)
{
	return take_waiting(search) || take_expired(search);
}

/*
 * Lower *lowest to the first of the scan's rows that is free and lies in the
 * extent; if there is one, set *found to it.
 */
static void
lower(Search *search, SlotScan *scan, Extent slots, bool in_order,
	  u128 *lowest, SlotRow *found)
{
	SlotRow		row;

	while (slot_scan_next(scan, &row))
	{
		wait_add_row(&search->store->waits, &row);
		if (row.lo < slots.first || row.lo > slots.last || row.lo >= *lowest ||
			row_state(&row, search->now) != BLOCK_FREE ||
			!space_open(&search->pool->space, row.lo, row.order))
			continue;
		*lowest = row.lo;
		*found = row;
		if (in_order)
			break;
	}
	slot_scan_end(scan);
}

/*
 * Find the row with the lowest slot of the extent that is free; false if there
 * is none.
 */
bool
queue_lowest(Search *search, Extent slots, SlotRow *row)
{
	Store	   *store = search->store;
	int32		pool = search->pool->id;
	u128		lowest = U128_MAX;
	SlotScan	scan;

	scan_queue_by_slot(&scan, store, pool, slots);
	lower(search, &scan, slots, true, &lowest, row);
	scan_queue_by_time(&scan, store, pool, 0, search->now);
	lower(search, &scan, slots, false, &lowest, row);
	scan_by_expiry(&scan, store, pool, search->now);
	lower(search, &scan, slots, false, &lowest, row);
	return lowest != U128_MAX;
}
