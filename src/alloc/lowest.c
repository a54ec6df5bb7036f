/*
 * lowest.c
 *		Finds the lowest free block in mixed pools with strategy "lowest".
 *
 * A walk from the beginning (mixed.c) goes over every unit below the one that it
 * finds.  A backend that has made it remembers how far it came: before that slot
 * all was held, or too small.  What comes free there later is in alloc_freed
 * (freed.c), or has run out or cooled down, which the index by time says.  So a
 * search looks at these spots first, lowest first, and then goes on from that
 * slot.
 *
 * That slot is never behind something that could come free otherwise: a block
 * that somebody else was faster to take, or a row of a running transaction, which
 * may roll back.  How far it is if our own transaction does not is remembered
 * separately.
 *
 * A spot that turns out to be held is no longer named in alloc_freed, nor is its
 * beginning if that is.  One that is too small is remembered, by its row: it can
 * become large enough only when something beside it comes free, which is another
 * row.  If many others are too small, looking at each costs more than the walk,
 * so it is made from there.
 *
 * A search that finds nothing is not believed: mixed_search() walks over all.
 */
#include "postgres.h"

#include "alloc/search.h"

/* After so many spots that did not do, walk. */
#define MAX_SPOTS 16

/* If more rows have run out, wherever they are, walk from the beginning. */
#define MAX_RUN_OUT 100

/* After so many held rows at a spot's beginning, name the rest of it only. */
#define TRIM_ROWS 32

/* A spot where something has come free. */
typedef struct Spot
{
	Extent		slots;
	bool		noted;			/* by this row of alloc_freed, */
	FreedRow	row;
	u128		held;			/* which is held before this slot */
	bool		all_held;		/* or wholly */
} Spot;

/* A search at work. */
typedef struct Lowest
{
	Search	   *search;
	Known	   *known;
	u128		start;			/* nothing is free before, but for the spots */
	u128		resume;			/* likewise, if they have all been looked at */
	int			nspots;
	Spot		spots[MAX_SPOTS];
} Lowest;

/* What the backend knows about units of that order. */
static Known *
known_get(Pool *pool, int order)
{
	Known	   *known;

	for (int i = 0; i < pool->nknown; i++)
	{
		if (pool->known[i].order == order)
			return &pool->known[i];
	}
	if (pool->known == NULL)
		pool->known = MemoryContextAlloc(pool->cxt,
										 MAX_KNOWN * sizeof(Known));
	if (pool->nknown < MAX_KNOWN)
	{
		known = &pool->known[pool->nknown++];
		memset(known, 0, sizeof(Known));
	}
	else
	{
		known = &pool->known[pool->next_known];
		pool->next_known = (pool->next_known + 1) % MAX_KNOWN;
	}
	known->order = order;
	known->from = known->own_from = 0;
	known->nrejected = 0;
	return known;
}

/* Round a slot down to where a block of the order can begin. */
static u128
block_first(u128 slot, int order)
{
	return slot & ~block_last(0, order);
}

/* Find the row among those that are of no use, or where it would be. */
static bool
rejected_find(Known *known, FreedRow *row, int *at)
{
	int			i = 0;

	for (int above = known->nrejected; i < above;)
	{
		int			middle = i + (above - i) / 2;
		Rejected   *its = &known->rejected[middle];
		int			cmp = ItemPointerCompare(&its->tid, &row->tid);

		if (cmp == 0 && its->xmin == row->xmin)
		{
			*at = middle;
			return true;
		}
		if (cmp < 0 || (cmp == 0 && its->xmin < row->xmin))
			i = middle + 1;
		else
			above = middle;
	}
	*at = i;
	return false;
}

/* Remember that a row is of no use. */
static void
reject(Pool *pool, Known *known, FreedRow *row)
{
	int			at;

	if (known->rejected == NULL)
		known->rejected = MemoryContextAlloc(pool->cxt,
											 MAX_REJECTED * sizeof(Rejected));
	/* many of them may have gone by now */
	if (known->nrejected == MAX_REJECTED)
		known->nrejected = 0;
	if (rejected_find(known, row, &at))
		return;
	memmove(&known->rejected[at + 1], &known->rejected[at],
			(known->nrejected - at) * sizeof(Rejected));
	known->rejected[at].tid = row->tid;
	known->rejected[at].xmin = row->xmin;
	known->nrejected++;
}

/*
 * Forget the rows that are of no use if the table has another file, where they
 * may be in other places.
 */
static void
check_rejected(Known *known, const Store *store)
{
	Oid			file = store->freed->rd_rel->relfilenode;

	if (known->rejected_file != file)
		known->nrejected = 0;
	known->rejected_file = file;
}

/* Add a spot, in the order of their slots.  Returns false if there are too many. */
static bool
add_spot(Lowest *lowest, Extent slots, const FreedRow *row)
{
	int			i = lowest->nspots;

	if (i == MAX_SPOTS)
		return false;
	lowest->nspots++;
	for (; i > 0 && lowest->spots[i - 1].slots.first > slots.first; i--)
		lowest->spots[i] = lowest->spots[i - 1];
	memset(&lowest->spots[i], 0, sizeof(Spot));
	lowest->spots[i].slots = slots;
	lowest->spots[i].noted = row != NULL;
	if (row != NULL)
		lowest->spots[i].row = *row;
	return true;
}

/*
 * Find the spots before the start, where blocks have run out or cooled down.
 * Returns false if there are too many.
 */
static bool
find_run_out(Lowest *lowest)
{
	Search	   *search = lowest->search;
	int			nrows = 0;
	bool		complete = true;
	SlotScan	scan;
	SlotRow		row;

	scan_by_expiry(&scan, search->store, search->pool->id, search->now);
	while (complete && slot_scan_next(&scan, &row))
	{
		Extent		slots = {row.lo, block_last(row.lo, row.order)};

		complete = ++nrows <= MAX_RUN_OUT &&
			(row.lo >= lowest->start || add_spot(lowest, slots, NULL));
	}
	slot_scan_end(&scan);
	return complete;
}

/*
 * Find the lowest spots.  Sets resume to where a walk has to begin if none of them
 * does: at the first one that there is no room for, or the start.
 */
static void
find_spots(Lowest *lowest)
{
	Extent		before = {0, lowest->start - 1};
	SlotScan	scan;
	FreedRow	row;
	int			at;

	lowest->resume = lowest->start;
	if (lowest->start == 0)
		return;
	if (!find_run_out(lowest))
	{
		lowest->nspots = 0;
		lowest->resume = 0;
		return;
	}
	/* these come in the order of their slots */
	freed_scan_begin(&scan, lowest->search->store, lowest->search->pool,
					 before);
	check_rejected(lowest->known, lowest->search->store);
	while (lowest->resume == lowest->start && freed_scan_next(&scan, &row))
	{
		if (rejected_find(lowest->known, &row, &at))
			continue;
		if (!add_spot(lowest, row.slots, &row))
			lowest->resume = block_first(row.slots.first,
										 lowest->search->request->order);
	}
	slot_scan_end(&scan);
	while (lowest->nspots > 0 &&
		   lowest->spots[lowest->nspots - 1].slots.first >= lowest->resume)
		lowest->nspots--;
}

/* The first range that does not end before the slot. */
static int
first_range(const Space *space, u128 slot)
{
	int			i = 0;

	for (int above = space->nranges; i < above;)
	{
		int			middle = i + (above - i) / 2;

		if (range_slots(&space->ranges[middle],
						space->chunk_bits).last < slot)
			i = middle + 1;
		else
			above = middle;
	}
	return i;
}

/* Walk over the part of the slots that the pool gives out. */
static bool
walk_ranges(Search *search, Extent slots, Walked *walked)
{
	const Space *space = &search->request->space;

	for (int i = first_range(space, slots.first); i < space->nranges; i++)
	{
		Extent		part = range_slots(&space->ranges[i], space->chunk_bits);

		if (part.first > slots.last)
			break;
		walked->all_held &= part.first <= slots.first &&
			!space->ranges[i].draining;
		part.first = Max(part.first, slots.first);
		part.last = Min(part.last, slots.last);
		if (!space->ranges[i].draining && mixed_walk(search, part, walked))
			return true;
	}
	return false;
}

/* Look for a block in one of the spots; take the first one that fits. */
static bool
take_in_spot(Lowest *lowest)
{
	Search	   *search = lowest->search;
	int			order = search->request->order;
	Extent		former = {1, 0};
	bool		useless = false;	/* is there nothing in that? */

	for (int i = 0; i < lowest->nspots; i++)
	{
		Spot	   *spot = &lowest->spots[i];
		Extent		slots = {
			block_first(spot->slots.first, order),
			block_last(block_first(spot->slots.last, order), order)
		};
		Walked		walked = {
			.from = slots.first,
			.stop = U128_MAX,
			.own_stop = U128_MAX,
			.all_held = true,
			.held = slots.first
		};
		bool		taken;

		/* two spots can be in one block */
		if (slots.first < former.first || slots.last > former.last)
		{
			taken = walk_ranges(search, slots, &walked);
			spot->all_held = walked.all_held;
			if (walked.all_held || walked.nheld >= TRIM_ROWS)
				spot->held = walked.held;
			if (taken)
				return true;
			/* nothing was busy, or excluded for this call alone */
			useless = walked.stop == U128_MAX && !search->request->has_exclude;
			former = slots;
		}
		if (useless && spot->noted)
			reject(search->pool, lowest->known, &spot->row);
	}
	return false;
}

/* Let alloc_freed no longer name what has been found to be held. */
static void
trim_spots(Lowest *lowest)
{
	Store	   *store = lowest->search->store;
	const Pool *pool = lowest->search->pool;

	for (int i = 0; i < lowest->nspots; i++)
	{
		const Spot *spot = &lowest->spots[i];
		Extent		rest = {spot->held, spot->slots.last};

		if (!spot->noted ||
			!(spot->all_held || spot->held > spot->slots.first) ||
			!freed_delete(store, &spot->row))
			continue;
		if (!spot->all_held && rest.first <= rest.last)
			freed_insert(store, pool, rest);
	}
}

/*
 * Walk on behind the spots that have been looked at, and remember how far there
 * is nothing.
 */
static bool
take_behind(Lowest *lowest)
{
	Search	   *search = lowest->search;
	Known	   *known = lowest->known;
	int			order = search->request->order;
	Extent		rest = {lowest->resume, U128_MAX};
	Walked		walked = {
		.from = lowest->start,
		.stop = U128_MAX,
		.own_stop = U128_MAX
	};
	bool		taken = walk_ranges(search, rest, &walked);

	/* for this call alone, other ports are excluded */
	if (search->request->has_exclude ||
		(taken && search->unit.lo < lowest->start))
		return taken;
	if (lowest->start == known->from)
		known->from = Max(known->from, block_first(walked.stop, order));
	known->own_from = Max(lowest->start, block_first(walked.own_stop, order));
	known->own_lxid = my_lxid();
	known->own_aborts = frontier_rollbacks();
	return taken;
}

/*
 * Find the lowest free block for the request and take it.  Returns false if there is
 * none.
 */
bool
lowest_search(Search *search)
{
	Lowest		lowest;
	Known	   *known = known_get(search->pool, search->request->order);

	lowest.search = search;
	lowest.known = known;
	lowest.nspots = 0;
	lowest.start = known->from;
	if (known->own_from > known->from && known->own_lxid == my_lxid() &&
		known->own_aborts == frontier_rollbacks())
		lowest.start = known->own_from;
	find_spots(&lowest);
	if (take_in_spot(&lowest) || take_behind(&lowest))
	{
		trim_spots(&lowest);
		return true;
	}
	return lowest.start > 0 && mixed_search(search);
}
