/*
 * search.c
 *		Finds something free for a request, or the reason why there is nothing.
 *
 * A block is free unless a row that overlaps it is held and has not run out,
 * is cooling, or is being changed by a running transaction.  Searches use
 * dirty snapshots, which see the uncommitted rows of others, so a search never
 * waits.  If two sessions choose the same block, the constraints tell the
 * second one, which then goes on searching.
 *
 * A search that finds nothing has met every transaction that could still make
 * room, because it runs an allocation that may roll back, or a release that
 * may commit.  These transactions are in store->waits.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "alloc/search.h"

/* Number of random slots to try before any free one is taken. */
#define RANDOM_TRIES 32

/* Take a slot that was never used, from the first range that has one. */
static bool
take_unused(Search *search, bool reopened)
{
	const Space *space = &search->pool->space;

	for (int i = 0; i < space->nranges; i++)
	{
		u128		slot;

		if (space->ranges[i].draining)
			continue;
		while (frontier_find_unused(search, i, reopened, &slot))
		{
			CHECK_FOR_INTERRUPTS();
			if (frontier_take(search, i, slot))
				return true;
		}
	}
	return false;
}

/*
 * Strategy "any": take a slot that was never used, or a unit that was
 * released, or at last a slot that a rollback has left before the frontier.
 */
static bool
search_any(Search *search)
{
	return take_unused(search, false) || queue_take_ready(search) ||
		queue_take(search) || take_unused(search, true);
}

/*
 * Strategy "lowest": in each range, take the lowest slot that was never used
 * or is waiting.
 */
static bool
search_lowest(Search *search)
{
	const Space *space = &search->pool->space;

	for (int i = 0; i < space->nranges; i++)
	{
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

		if (space->ranges[i].draining)
			continue;
		for (;;)
		{
			u128		unused;
			bool		is_unused = frontier_find_unused(search, i, true,
														 &unused);
			Extent		lower = slots;
			SlotRow		row;

			CHECK_FOR_INTERRUPTS();
			/* look only at waiting rows below the never-used slot */
			if (is_unused)
				lower.last = unused;
			if (queue_lowest(search, lower, &row))
			{
				/* if somebody was faster, search this range again */
				if (take_row(search, &row))
					return true;
			}
			else if (!is_unused)
				break;
			else if (frontier_take(search, i, unused))
				return true;
		}
	}
	return false;
}

/*
 * Strategy "random": try random slots.  In a nearly full pool this would take
 * for ever, so give up and take any free slot.
 */
static bool
search_random(Search *search)
{
	for (int try = 0; try < RANDOM_TRIES; try++)
	{
		u128		slot;

		if (!random_slot(search, &slot))
			break;
		if (space_open(&search->pool->space, slot, 0) &&
			take_block(search, slot, NULL))
			return true;
	}
	return search_any(search);
}

/* Find something free and give it to the request's key. */
bool
search_free(Search *search)
{
	if (pool_notes_freed(search->pool) && search->request->n <= 1 &&
		!search->request->of_value)
		return lowest_search(search);
	if (search->pool->mixed || search->request->n > 1)
		return mixed_search(search);
	switch (search->pool->strategy)
	{
		case STRATEGY_ANY:
			return search_any(search);
		case STRATEGY_LOWEST:
			return search_lowest(search);
		case STRATEGY_RANDOM:
			return search_random(search);
	}
	pg_unreachable();
}

/*
 * Give the block that the request names to its key.  If another key has the
 * block, *holder is set to that key's row.  If the outcome is OUTCOME_BUSY,
 * the transactions in store->waits decide who gets it.
 */
Outcome
search_exact(Search *search, SlotRow *holder)
{
	const Request *request = search->request;

	switch (extent_state(search, run_slots(request->lo, request->order,
										   request->n), false, holder))
	{
		case BLOCK_HELD:
			return OUTCOME_TAKEN;
		case BLOCK_COOLING:
			search->ready = true;
			search->ready_at = holder->expires_at;
			return OUTCOME_COOLING;
		case BLOCK_BUSY:
			return OUTCOME_BUSY;
		case BLOCK_FREE:
			/*
			 * the transaction that was faster is in store->waits, or will be
			 * found
			 */
			return run_take(search, request->lo, NULL) ?
				OUTCOME_ALLOCATED : OUTCOME_BUSY;
	}
	pg_unreachable();
}

/*
 * The reason why there is nothing.
 */
typedef struct Reason
{
	bool		cooling;		/* a block will be free at cool_at */
	TimestampTz cool_at;
	bool		held;			/* one will be at end_at, unless renewed */
	TimestampTz end_at;
} Reason;

/*
 * Compute when the block at lo will be free.  Returns false if that cannot be
 * known.  *held is set if a key has some of the block until then.
 */
static bool
free_at(Search *search, u128 lo, TimestampTz *at, bool *held)
{
	Extent		block = {lo, block_last(lo, search->request->order)};
	bool		known = true;
	BlockScan	scan;
	SlotRow		row;

	*at = 0;
	*held = false;
	block_scan_begin(&scan, search->store, search->pool, block, NULL);
	while (known && block_scan_next(&scan, &row))
	{
		BlockState	state = row_state(&row, search->now);

		/*
		 * Unknown while a transaction is at work, and for units held for good.
		 */
		known = state != BLOCK_BUSY && row.expires;
		*held |= state == BLOCK_HELD;
		*at = Max(*at, row.expires_at);
	}
	block_scan_end(&scan);
	return known;
}

/*
 * Return a block of the request's order that overlaps the row's block and lies
 * wholly in one range that gives out units.
 */
static bool
block_of_row(const Search *search, const SlotRow *row, u128 *lo)
{
	const Space *space = &search->request->space;
	int			order = search->request->order;
	u128		row_last = block_last(row->lo, row->order);

	*lo = row->lo & ~block_last(0, order);

	/*
	 * Only one aligned block of the request's order contains the row's block.
	 * If that is larger, search it for a part that fits.
	 */
	if (row->order <= order)
		return space_open(space, *lo, order);
	for (int i = 0; i < space->nranges; i++)
	{
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

		slots.first = Max(slots.first, row->lo);
		slots.last = Min(slots.last, row_last);
		if (!space->ranges[i].draining && slots.first <= slots.last &&
			space_fit(space, slots, order, lo))
			return true;
	}
	return false;
}

/*
 * Find out when the blocks of the scan's rows will be free.  by_time says that
 * the scan returns the rows in the order of their times.
 */
static void
reason_look(Search *search, SlotScan *scan, bool by_time, Reason *reason)
{
	SlotRow		row;

	while (slot_scan_next(scan, &row))
	{
		BlockState	state = row_state(&row, search->now);
		TimestampTz at;
		bool		held;
		u128		lo;

		/*
		 * Not earlier than what we know already; and if the scan goes by time,
		 * neither is any row that follows.
		 */
		if (reason->cooling && row.expires_at >= reason->cool_at)
		{
			if (by_time)
				break;
			continue;
		}

		/*
		 * A held row is of interest only if it runs out, and only as long as
		 * nothing is found that cools: that comes free for sure.
		 */
		if (state != BLOCK_COOLING &&
			(state != BLOCK_HELD || !row.expires || reason->cooling ||
			 (reason->held && row.expires_at >= reason->end_at)))
			continue;
		if (!block_of_row(search, &row, &lo) ||
			!free_at(search, lo, &at, &held))
			continue;
		if (held && (!reason->held || at < reason->end_at))
		{
			reason->held = true;
			reason->end_at = at;
		}
		if (!held && (!reason->cooling || at < reason->cool_at))
		{
			reason->cooling = true;
			reason->cool_at = at;
		}
	}
	slot_scan_end(scan);
}

/* Find out when a block of the request's order will be free. */
static void
reason_of_unit(Search *search, Reason *reason)
{
	const Extent all = {0, U128_MAX};
	Store	   *store = search->store;
	int32		pool = search->pool->id;
	SlotScan	scan;

	if (!search->pool->mixed)
	{
		/* In pools of one size, the rows that cool are in the queue. */
		scan_queue_by_time(&scan, store, pool, search->now, PG_INT64_MAX);
		reason_look(search, &scan, true, reason);
		scan_queue_by_slot(&scan, store, pool, all);
		reason_look(search, &scan, false, reason);
	}
	if (search->pool->mixed || !reason->cooling)
	{
		scan_to_expire(&scan, store, pool, search->now);
		reason_look(search, &scan, true, reason);
	}
}

/* Find out when the requested number of units in a row will be free. */
static void
reason_of_run(Search *search, Reason *reason)
{
	TimestampTz ready_at;
	bool		cooling;

	if (!run_ready(search, &cooling, &ready_at))
		return;
	if (cooling)
	{
		reason->cooling = true;
		reason->cool_at = ready_at;
	}
	else
	{
		reason->held = true;
		reason->end_at = ready_at;
	}
}

/*
 * Find out why search_free() found nothing: a block is cooling, there is room
 * but not in one piece, or there is not enough.  Sets search->ready_at to the time from
 * which there will be something, if that can be known.  Returns OUTCOME_BUSY
 * if there is something by now.
 */
Outcome
search_reason(Search *search)
{
	Reason		reason = {0};

	if (search->request->n > 1)
		reason_of_run(search, &reason);
	else
		reason_of_unit(search, &reason);

	search->ready = reason.cooling || reason.held;
	search->ready_at = reason.cooling ? reason.cool_at : reason.end_at;
	/* That time has come while we looked, so search once more. */
	if (search->ready && search->ready_at <= GetCurrentTimestamp())
		return OUTCOME_BUSY;
	if (reason.cooling)
		return OUTCOME_COOLING;

	/* Would there be room, if it were in one piece? */
	if ((search->request->order > 0 || search->request->n > 1) &&
		mixed_has_room(search))
	{
		search->ready = false;
		return OUTCOME_FRAGMENTED;
	}
	return OUTCOME_EXHAUSTED;
}
