/*
 * mixed.c
 *		Finding a free block in mixed pools: prefixes, chunks beside addresses.
 *
 * One walk along (pool, first_slot) looks at the gaps between rows.  It begins where
 * this backend's last one ended ("lowest": at the range's start), and if it
 * has not walked yet, behind the last row, and if there is no room, at a
 * random place.  So the cost depends on how full the pool is, not on how
 * large.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "alloc/alloc.h"

/* The first slot at or after this one that no block holds or blocks. */
static u128
first_beyond(Search *search, u128 slot)
{
	const Extent there = {slot, slot};
	u128		first = slot;
	BlockScan	scan;
	SlotRow		row;

	block_scan_begin(&scan, search->store, search->pool, there, NULL);
	while (block_scan_next(&scan, &row))
	{
		wait_add_row(&search->store->waits, &row);
		if (row_state(&row, search->now) != BLOCK_FREE)
			first = Max(first, block_last(row.lo, row.order) + 1);
	}
	block_scan_end(&scan);
	return first;
}

/*
 * Walk over the gaps of the extent, which lies in one range, and take the
 * first block that fits; or if order is not the request's, just say whether a
 * block of that order is free.
 *
 * Rows are looked for part by part, one block first and then ever more, so
 * that where nothing is held, which may be far, no scan goes through all that
 * was.
 */
bool
mixed_walk(Search *search, Extent slots, int order)
{
	const Space *space = &search->pool->space;
	bool		take = order == search->request->order;
	u128		window = (u128) 1 << order;
	Extent		part = {slots.first, slots.first};
	Extent		gap = slots;
	SlotRow		row;
	bool		found = false;

	/* a block that begins before the extent may reach into it */
	gap.first = first_beyond(search, slots.first);

	for (;;)
	{
		SlotScan	scan;
		bool		more;

		/* parts end where blocks end */
		part.last = slots.last;
		if (part.last - part.first >= window)
			part.last = ((part.first + window) & ~block_last(0, order)) - 1;

		scan_by_slot(&scan, search->store, search->pool->id, part,
					 ForwardScanDirection, NULL);
		do
		{
			u128		lo;

			more = slot_scan_next(&scan, &row);
			if (more)
			{
				wait_add_row(&search->store->waits, &row);
				if (row_state(&row, search->now) == BLOCK_FREE)
					continue;
			}

			/* here the gap ends; an empty one has its last before its first */
			gap.last = more ? row.lo - 1 : part.last;
			while (!found && gap.first <= gap.last && (!more || row.lo > 0) &&
				   space_fit(space, gap, order, &lo))
			{
				SlotRow		met = {.lo = lo,.order = order};

				CHECK_FOR_INTERRUPTS();
				found = take ? take_block(search, lo, &met) : true;

				/* what is in the way may be longer than the block */
				gap.first = Max(block_last(lo, order),
								block_last(met.lo, met.order)) + 1;
			}
			if (more)
				gap.first = Max(gap.first, block_last(row.lo, row.order) + 1);
		} while (more && !found);
		slot_scan_end(&scan);

		if (found || part.last == slots.last)
			return found;
		part.first = part.last + 1;
		if (window < slots.last - slots.first)
			window *= 2;
	}
}

/* Walk over the room behind the last row of each range. */
static bool
walk_behind(Search *search)
{
	const Space *space = &search->pool->space;

	for (int i = 0; i < space->nranges; i++)
	{
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);
		SlotScan	scan;
		SlotRow		row;

		if (space->ranges[i].draining)
			continue;
		scan_by_slot(&scan, search->store, search->pool->id, slots,
					 BackwardScanDirection, NULL);
		if (slot_scan_next(&scan, &row))
			slots.first = block_last(row.lo, row.order) + 1;
		slot_scan_end(&scan);
		if (slots.first <= slots.last &&
			mixed_walk(search, slots, search->request->order))
			return true;
	}
	return false;
}

/* Walk over all ranges, from the slot on and round to it again. */
static bool
walk_round(Search *search, u128 from)
{
	const Space *space = &search->pool->space;
	int			order = search->request->order;
	const Range *range = space_range_of_slot(space, from);
	int			start = range == NULL ? 0 : (int) (range - space->ranges);

	for (int n = 0; n <= space->nranges; n++)
	{
		int			i = (start + n) % space->nranges;
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

		if (space->ranges[i].draining)
			continue;
		if (range != NULL && n == 0)
			slots.first = from;
		else if (range == NULL && n == space->nranges)
			break;
		else if (n == space->nranges &&
				 slots.last - from > block_last(0, order))
			slots.last = block_last(from, order);	/* blocks across from */
		if (mixed_walk(search, slots, order))
			return true;
	}
	return false;
}

bool
mixed_search(Search *search)
{
	Pool	   *pool = search->pool;
	u128		from = pool->cursor;
	bool		taken = false;

	if (pool->space.nranges == 0)
		return false;
	if (pool->strategy == STRATEGY_LOWEST)
		return walk_round(search, range_slots(&pool->space.ranges[0],
											  pool->space.chunk_bits).first);

	if (pool->strategy == STRATEGY_RANDOM || !pool->cursor_valid)
	{
		if (pool->strategy == STRATEGY_ANY)
			taken = walk_behind(search);
		if (!taken && !random_slot(search, &from))
			return false;
	}
	if (!taken)
		taken = walk_round(search, from);
	if (taken)
		pool->cursor = block_last(search->unit.lo, search->unit.order) + 1;
	pool->cursor_valid = taken;
	return taken;
}
