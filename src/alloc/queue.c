/*
 * queue.c
 *		The queue of waiting rows, and the search for held rows that have run
 *		out, in pools of one size.
 *
 * Waiting rows are queued in one index, (pool, queue_place).  The place is the
 * time from which the unit can be given out again, so that the unit that has
 * been waiting longest comes first; or, in pools whose strategy was "lowest"
 * at the release, the slot.  The two kinds of places do not mix (number.c).  A
 * search looks at both, beginning with those of its own strategy.  So a change
 * of strategy loses no row, although it cannot move the rows that running
 * transactions are just releasing.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "alloc/search.h"
#include "alloc/store.h"

/* Take the first row of the scan that is free, and end the scan. */
static bool
take_first(Search *search, SlotScan *scan)
{
	SlotRow		row;
	bool		taken = false;

	while (!taken && slot_scan_next(scan, &row))
	{
		/*
		 * The caller may have to wait for a transaction that is changing this
		 * row.
		 */
		wait_add_row(&search->store->waits, &row);
		taken = row_state(&row, search->now) == BLOCK_FREE &&
			space_open(&search->pool->space, row.lo, row.order) &&
			take_row(search, &row);
		/* the next search by time can begin here */
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

	/* Rows may be left that were queued under the strategy "lowest". */
	scan_queue_by_slot(&scan, search->store, search->pool->id, all);
	return take_first(search, &scan);
}

/* Take the held unit that ran out first. */
static bool
take_expired(Search *search)
{
	SlotScan	scan;

	scan_by_expiry(&scan, search->store, search->pool->id, search->now);
	return take_first(search, &scan);
}

/*
 * Take the first of the remembered waiting rows that is still free.
 *
 * To find the head of the queue, an index scan has to read a page with some
 * hundred entries.  So we remember what a search finds there for the following
 * ones, which only have to check that it is still true.  Without this, an
 * allocation and its release cost 54 % more instructions where units are
 * released and allocated again.
 */
static bool
take_ready(Search *search)
{
	Pool	   *pool = search->pool;
	Relation	rel = search->store->slot;
	BlockNumber nblocks;

	/*
	 * VACUUM FULL and the like create another file.  The checks below would
	 * find that out row by row.
	 */
	if (pool->nready == 0 || pool->ready_file != rel->rd_rel->relfilenode)
		return false;
	nblocks = RelationGetNumberOfBlocks(rel);
	while (pool->nready > 0)
	{
		ReadyRow   *ready = pool->next_ready++;
		SlotRow		row;

		pool->nready--;
		CHECK_FOR_INTERRUPTS();

		/*
		 * VACUUM may have truncated the file, and another row may be in this
		 * place.
		 */
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

/* Remember the first free rows of those queued by time. */
static void
find_ready(Search *search)
{
	Pool	   *pool = search->pool;
	SlotScan	scan;
	SlotRow		row;

	if (pool->ready == NULL)
		pool->ready = MemoryContextAlloc(pool->cxt,
										 MAX_READY * sizeof(ReadyRow));
	pool->nready = 0;
	pool->next_ready = pool->ready;
	pool->ready_file = search->store->slot->rd_rel->relfilenode;

	/*
	 * Begin where a unit was taken last, so that we need not go through the
	 * dead entries at the head of the queue, which an old snapshot may keep
	 * for long.
	 */
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
 * Take a remembered row; if there is none, look for more to remember.  Returns
 * false if there is nothing behind the place where a unit was taken last.
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

/*
 * Take the unit that has been waiting longest, or if none is waiting, the one
 * that ran out first.
 */
bool
queue_take(Search *search)
{
	return take_waiting(search) || take_expired(search);
}

/*
 * Search the scan for a free row in the extent whose slot is lower than
 * *lowest.  If there is one, set *lowest and *found to it.
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
		/* who changes a row locks it before, and may be held up in between */
		if (store_meet_lockers(search->store, scan->base.slot))
			continue;
		*lowest = row.lo;
		*found = row;
		/* all others are higher */
		if (in_order)
			break;
	}
	slot_scan_end(scan);
}

/*
 * Find the free row with the lowest slot in the extent.  Returns false if
 * there is none.
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

	/*
	 * Only the first scan returns the rows by slot, so go through the others
	 * completely.
	 */
	scan_queue_by_time(&scan, store, pool, 0, search->now);
	lower(search, &scan, slots, false, &lowest, row);
	scan_by_expiry(&scan, store, pool, search->now);
	lower(search, &scan, slots, false, &lowest, row);
	return lowest != U128_MAX;
}
