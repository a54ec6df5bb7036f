/*
 * mixed.c
 *		Finds free blocks in mixed pools, which have prefixes, or chunks beside
 *		addresses; and in all pools, several units in a row.
 *
 * A walk along (pool, first_slot) looks at the gaps between rows.  With the
 * strategy "lowest" it begins at the start of the first range, if lowest.c has
 * not found anything before, with "random" at a random slot.  With "any" it
 * begins where this backend's last walk ended.  If there was none, it begins
 * behind the last row, and if there is no room, at a random slot.  The cost
 * depends on how full the pool is, not on its size.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "alloc/search.h"

/* Note that something at the slot may be free, or may come free. */
static void
walked_stop(Walked *walked, u128 slot)
{
	if (slot < walked->from)
		return;
	walked->stop = Min(walked->stop, slot);
	walked->own_stop = Min(walked->own_stop, slot);
}

/*
 * Note that a walk has met a row, whose block overlaps the slots from at on.  If
 * its transaction has ended, alloc_freed will say when it comes free.
 */
static void
walked_row(Walked *walked, const Search *search, u128 at, const SlotRow *row)
{
	BlockState	state = row_state(row, search->now);
	u128		slot = Max(row->lo, at);

	if (state == BLOCK_BUSY)
		walked_stop(walked, slot);
	else if (row->own && slot >= walked->from)
		walked->stop = Min(walked->stop, slot);
	walked->all_held &= state > BLOCK_BUSY;
	walked->nheld++;
}

/*
 * The first slot behind all rows in use that cover the given slot; the slot
 * itself if there are none.
 */
static u128
first_beyond(Search *search, u128 slot, Walked *walked)
{
	const Extent there = {slot, slot};
	u128		first = slot;
	BlockScan	scan;
	SlotRow		row;

	block_scan_begin(&scan, search->store, search->pool, there, NULL);
	while (block_scan_next(&scan, &row))
	{
		wait_add_row(&search->store->waits, &row);
		if (walked != NULL)
			walked_row(walked, search, slot, &row);
		if (row_state(&row, search->now) != BLOCK_FREE)
			first = Max(first, block_last(row.lo, row.order) + 1);
	}
	block_scan_end(&scan);
	return first;
}

/*
 * Walk over the gaps in the extent, which lies in one range, and take the
 * first block that fits.  If walked is not NULL, note there what was met.
 *
 * The rows are read in parts: one block first, then more and more.  A scan of
 * the whole extent would go through all dead rows up to the first gap's end,
 * which may be far away where nothing is held.
 */
bool
mixed_walk(Search *search, Extent slots, Walked *walked)
{
	const Space *space = &search->request->space;
	int			order = search->request->order;
	int			n = Max(1, search->request->n);
	u128		window = (u128) n << order;
	Extent		part = {slots.first, slots.first};
	Extent		gap = slots;
	SlotRow		row;
	bool		found = false;

	Assert(slots.first <= slots.last);
	/* A block that begins before the extent may reach into it. */
	gap.first = first_beyond(search, slots.first, walked);
	if (walked != NULL && walked->all_held)
		walked->held = gap.first;

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
				if (walked != NULL)
					walked_row(walked, search, slots.first, &row);

				/*
				 * Rows that have run out count as part of the gap;
				 * run_take() will delete them.
				 */
				if (row_state(&row, search->now) == BLOCK_FREE)
					continue;
			}

			/* The gap ends here; it may be empty. */
			gap.last = more ? row.lo - 1 : part.last;
			if (walked != NULL && gap.first <= gap.last &&
				(!more || row.lo > 0))
				walked->all_held = false;
			while (!found && gap.first <= gap.last && (!more || row.lo > 0) &&
				   space_fit_run(space, gap, order, n, &lo))
			{
				SlotRow		met = {.lo = lo,.order = order};

				CHECK_FOR_INTERRUPTS();
				if (walked != NULL)
					walked_stop(walked, lo);

				/*
				 * run_take() looks again at all rows that overlap the block, or
				 * the blocks.  If one is in the way after all, met is set to
				 * it.
				 */
				found = run_take(search, lo, &met);

				/* That row may be longer than the block that we tried. */
				gap.first = Max(block_last(lo, order),
								block_last(met.lo, met.order)) + 1;
			}
			if (more)
				gap.first = Max(gap.first, block_last(row.lo, row.order) + 1);
			if (walked != NULL && walked->all_held)
				walked->held = gap.first;
		} while (more && !found);
		slot_scan_end(&scan);

		if (found || part.last == slots.last)
			return found;
		part.first = part.last + 1;
		if (window < slots.last - slots.first)
			window *= 2;
	}
}

/*
 * The slots of range i.  A run of several units can lie across ranges without
 * a gap between them, so for these they are a part: the ranges from i on.
 * *next is set to the range after the part.
 */
static Extent
part_from(const Search *search, int i, int *next)
{
	const Space *space = &search->request->space;

	if (search->request->n > 1)
		return space_part(space, i, next);
	*next = i + 1;
	return range_slots(&space->ranges[i], space->chunk_bits);
}

/* Walk over the room behind the last row of each part. */
static bool
walk_behind(Search *search)
{
	const Space *space = &search->request->space;
	int			next;

	for (int i = 0; i < space->nranges; i = next)
	{
		Extent		slots = part_from(search, i, &next);
		SlotScan	scan;
		SlotRow		row;

		if (space->ranges[i].draining)
			continue;
		scan_by_slot(&scan, search->store, search->pool->id, slots,
					 BackwardScanDirection, NULL);
		if (slot_scan_next(&scan, &row))
			slots.first = block_last(row.lo, row.order) + 1;
		slot_scan_end(&scan);
		if (slots.first <= slots.last && mixed_walk(search, slots, NULL))
			return true;
	}
	return false;
}

/* Walk over all parts, beginning and ending at the given slot. */
static bool
walk_round(Search *search, u128 from)
{
	const Space *space = &search->request->space;
	int			n = Max(1, search->request->n);
	u128		size = (u128) n << search->request->order;
	const Range *range = space_range_of_slot(space, from);
	int			start = 0;
	Extent		slots;
	int			next = 0;

	/* the part that the slot is in */
	while (range != NULL && next <= range - space->ranges)
	{
		start = next;
		(void) part_from(search, start, &next);
	}

	/* first from the slot on */
	slots = part_from(search, start, &next);
	if (range != NULL)
		slots.first = from;
	if (!space->ranges[start].draining && mixed_walk(search, slots, NULL))
		return true;
	for (int i = next % space->nranges; i != start; i = next % space->nranges)
	{
		slots = part_from(search, i, &next);
		if (!space->ranges[i].draining && mixed_walk(search, slots, NULL))
			return true;
	}

	/* at last up to it; blocks that we want may contain it */
	if (range == NULL || space->ranges[start].draining)
		return false;
	slots = part_from(search, start, &next);
	if (slots.last - from > size - 1)
		slots.last = from + size - 1;
	return mixed_walk(search, slots, NULL);
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
	/* The next search of this backend goes on behind what it got. */
	if (search->request->of_value)
		return taken;
	if (taken)
		pool->cursor = run_slots(search->unit.lo, search->unit.order,
								 search->unit.run_size).last + 1;
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
	u128		missing = (u128) Max(1, search->request->n) <<
		search->request->order;

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
