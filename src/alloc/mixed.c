/*
 * mixed.c
 *		Finds free blocks in mixed pools, which have prefixes, or chunks beside
 *		addresses.
 *
 * A walk along (pool, first_slot) looks at the gaps between rows.  With the
 * strategy "lowest" it begins at the start of the first range, with "random"
 * at a random slot.  With "any" it begins where this backend's last walk
 * ended.  If there was none, it begins behind the last row, and if there is no
 * room, at a random slot.  The cost depends on how full the pool is, not on
 * its size.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "alloc/alloc.h"

/*
 * The first slot behind all rows in use that cover the given slot; the slot
 * itself if there are none.
 */
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
 * Walk over the gaps in the extent, which lies in one range, and take the
 * first block that fits.
 *
 * The rows are read in parts: one block first, then more and more.  A scan of
 * the whole extent would go through all dead rows up to the first gap's end,
 * which may be far away where nothing is held.
 */
static bool
walk(Search *search, Extent slots)
{
	const Space *space = &search->request->space;
	int			order = search->request->order;
	u128		window = (u128) 1 << order;
	Extent		part = {slots.first, slots.first};
	Extent		gap = slots;
	SlotRow		row;
	bool		found = false;

	/* A block that begins before the extent may reach into it. */
	gap.first = first_beyond(search, slots.first);

	for (;;)
	{
		SlotScan	scan;
		bool		more;

		/* Let the parts end where blocks end. */
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

				/*
				 * Rows that have run out count as part of the gap;
				 * take_block() will delete them.
				 */
				if (row_state(&row, search->now) == BLOCK_FREE)
					continue;
			}

			/* The gap ends here; it may be empty. */
			gap.last = more ? row.lo - 1 : part.last;
			while (!found && gap.first <= gap.last && (!more || row.lo > 0) &&
				   space_fit(space, gap, order, &lo))
			{
				SlotRow		met = {.lo = lo,.order = order};

				CHECK_FOR_INTERRUPTS();

				/*
				 * take_block() looks again at all rows that overlap the block.
				 * If one is in the way after all, met is set to it.
				 */
				found = take_block(search, lo, &met);

				/* That row may be longer than the block that we tried. */
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
	const Space *space = &search->request->space;

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
		if (slots.first <= slots.last && walk(search, slots))
			return true;
	}
	return false;
}

/* Walk over all ranges, beginning and ending at the given slot. */
static bool
walk_round(Search *search, u128 from)
{
	const Space *space = &search->request->space;
	int			order = search->request->order;
	const Range *range = space_range_of_slot(space, from);
	int			start = range == NULL ? 0 : (int) (range - space->ranges);

	for (int n = 0; n <= space->nranges; n++)
	{
		int			i = (start + n) % space->nranges;
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

		if (space->ranges[i].draining)
			continue;

		/*
		 * The range that we begin in is visited twice, first from the slot on
		 * and at last up to it.
		 */
		if (range != NULL && n == 0)
			slots.first = from;
		else if (range == NULL && n == space->nranges)
			break;
		else if (n == space->nranges &&
				 slots.last - from > block_last(0, order))
			slots.last = block_last(from, order);	/* a block may contain from */
		if (walk(search, slots))
			return true;
	}
	return false;
}

/*
 * Find a free block for the request and take it.  Returns false if there is
 * none.
 */
bool
mixed_search(Search *search)
{
	Pool	   *pool = search->pool;
	const Space *space = &search->request->space;
	u128		from = pool->cursor;
	bool		taken = false;

	if (space->nranges == 0)
		return false;
	if (pool->strategy == STRATEGY_LOWEST)
		return walk_round(search, range_slots(&space->ranges[0],
											  space->chunk_bits).first);

	/* Choose where to begin; see the head of this file. */
	if (pool->strategy == STRATEGY_RANDOM || !pool->cursor_valid)
	{
		if (pool->strategy == STRATEGY_ANY)
			taken = walk_behind(search);
		if (!taken && !random_slot(search, &from))
			return false;
	}
	if (!taken)
		taken = walk_round(search, from);
	/* The next search of this backend goes on behind this unit. */
	if (search->request->of_value)
		return taken;
	if (taken)
		pool->cursor = block_last(search->unit.lo, search->unit.order) + 1;
	pool->cursor_valid = taken;
	return taken;
}

/*
 * Return whether all that is free would be enough for the request, if it were
 * in one piece.
 */
bool
mixed_has_room(Search *search)
{
	const Space *space = &search->request->space;
	u128		missing = block_last(0, search->request->order) + 1;

	for (int i = 0; i < space->nranges && missing > 0; i++)
	{
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);
		Extent		gap = slots;
		bool		more = true;
		BlockScan	scan;
		SlotRow		row;

		if (space->ranges[i].draining)
			continue;
		block_scan_begin(&scan, search->store, search->pool, slots, NULL);
		while (more && missing > 0)
		{
			more = block_scan_next(&scan, &row);
			/* what has run out is part of the gap */
			if (more && row_state(&row, search->now) == BLOCK_FREE)
				continue;
			gap.last = more ? row.lo - 1 : slots.last;
			if (!more || row.lo > gap.first)
				missing -= Min(missing, space_unreserved(space, gap));

			/* there is no slot behind the last of all */
			if (more && block_last(row.lo, row.order) >= slots.last)
				break;
			if (more)
				gap.first = Max(gap.first,
								block_last(row.lo, row.order) + 1);
		}
		block_scan_end(&scan);
	}
	return missing == 0;
}
