/*
 * bulk.c
 *		Takes several never-used slots at once, in pools of one size: of one
 *		pool for several keys, or of several pools for one key.
 *
 * Their rows are inserted together (insert.c).
 */
#include "postgres.h"

#include "miscadmin.h"

#include "alloc/search.h"
#include "alloc/store.h"

/* Maximal number of units that are inserted together. */
#define MAX_ROWS 256

/*
 * Find never-used slots of range i for several units: those among the next
 * search->wanted ones that have no row and are not reserved.  Returns how many
 * there are, in ascending order; 0 if the range has none.
 */
static int
find_run(Search *search, int i, u128 *found)
{
	const Space *space = &search->pool->space;
	Frontier   *frontier = &search->pool->frontiers[i];
	Extent		window = range_slots(&space->ranges[i], space->chunk_bits);

	/* The next slots may all be taken where another backend is at work. */
	while (frontier_find_unused(search, i, false, &window.first))
	{
		Extent		part = window;
		u128		from = window.first;
		int			n = 0;
		bool		more;
		SlotScan	scan;
		SlotRow		row;

		CHECK_FOR_INTERRUPTS();
		if (part.last - part.first >= search->wanted)
			part.last = part.first + search->wanted - 1;
		scan_by_slot(&scan, search->store, search->pool->id, part,
					 ForwardScanDirection, NULL);
		do
		{
			more = slot_scan_next(&scan, &row);
			for (u128 end = more ? row.lo : part.last + 1; from < end; from++)
			{
				if (!space_reserved(space, from, 0))
					found[n++] = from;
			}
			if (more)
				wait_add_row(&search->store->waits, &row);
			from++;
		} while (more);
		slot_scan_end(&scan);

		/*
		 * If others are here, look for a better place the next time.  Slots
		 * before the frontier, which have been reopened, say nothing about
		 * that.
		 */
		if (part.last >= frontier->next)
		{
			frontier->quiet = n == part.last - part.first + 1;
			frontier->tip = part.last + 1;
		}
		if (n > 0)
			return n;
	}
	return 0;
}

/*
 * Must keys, which are locked, be looked up before they are given units?  If not,
 * the unique index on keys tells us whether one of them has one: unless a key has
 * a row whose key_row is not 0, which is rare.
 */
bool
bulk_needs_look(Store *store, const Pool *pool)
{
	SlotScan	scan;
	SlotRow		row;
	bool		found;

	scan_again_rows(&scan, store, pool->id);
	found = slot_scan_next(&scan, &row);
	slot_scan_end(&scan);
	return found;
}

/*
 * Choose the keys that have not been served for the next run.  Returns their
 * number; which holds their places in units.
 */
static int
choose_keys(const BulkState *states, int nunits, int *which)
{
	int			n = 0;

	for (int i = 0; i < nunits && n < MAX_ROWS; i++)
	{
		if (states[i] == BULK_UNSERVED)
			which[n++] = i;
	}
	return n;
}

/* Fill in the rows of a run, for the chosen keys. */
static void
fill_run(Search *search, NewRow *rows, int n, const SlotRow *units,
		 const int *which, const u128 *slots)
{
	store_draw_generations(search->store, n);
	for (int j = 0; j < n; j++)
	{
		search->request->key = units[which[j]].key;
		rows[j].pool = search->pool;
		rows[j].unit = *make_unit(search, slots[j]);
	}
	store_drop_generations(search->store);
}

/*
 * Give never-used slots to keys that are locked, as long as there are any and
 * nobody is faster.  units has the keys, and gets their units.  The states, all
 * BULK_UNSERVED, become what has become of each key.
 */
void
bulk_take_unused(Search *search, SlotRow *units, BulkState *states,
				 int nunits)
{
	const Pool *pool = search->pool;
	int			nrows = Min(nunits, MAX_ROWS);
	NewRow	   *rows = palloc0(nrows * sizeof(NewRow));
	u128	   *slots = palloc(nrows * sizeof(u128));
	int		   *which = palloc(nrows * sizeof(int));
	bool		done = true;
	int			n;

	for (int i = 0; i < pool->space.nranges && done; i++)
	{
		if (pool->space.ranges[i].draining)
			continue;
		while (done &&
			   (search->wanted = choose_keys(states, nunits, which)) > 0 &&
			   (n = find_run(search, i, slots)) > 0)
		{
			fill_run(search, rows, n, units, which, slots);
			done = insert_rows(search->store, rows, n);
			if (!done)
				frontier_ignore_rollback();
			for (int j = 0; j < n; j++)
			{
				if (done)
				{
					states[which[j]] = BULK_SERVED;
					units[which[j]] = rows[j].unit;
				}
				else if (rows[j].key_used)
					states[which[j]] = BULK_KEY_USED;
			}
			if (done)
				frontier_took(search, i, slots, n);
		}
	}
	search->wanted = 0;
	insert_end(rows, nrows);
	pfree(which);
	pfree(slots);
	pfree(rows);
}

/* Find a never-used slot, and the number of its range. */
static bool
find_one(Search *search, int *range, u128 *slot)
{
	const Space *space = &search->pool->space;

	for (*range = 0; *range < space->nranges; (*range)++)
	{
		if (!space->ranges[*range].draining &&
			frontier_find_unused(search, *range, false, slot))
			return true;
	}
	return false;
}

/*
 * Give a never-used slot of each search's pool to its request's key, which is
 * locked and has nothing there.  served says which of the searches were
 * successful.
 */
void
bulk_take_each(Search *searches, bool *served, int n)
{
	Store	   *store = searches[0].store;
	NewRow	   *rows = palloc0(n * sizeof(NewRow));
	int		   *which = palloc(n * sizeof(int));
	int		   *ranges = palloc(n * sizeof(int));
	u128	   *slots = palloc(n * sizeof(u128));
	int			nrows = 0;
	bool		done;

	for (int i = 0; i < n; i++)
	{
		served[i] = false;
		CHECK_FOR_INTERRUPTS();
		if (find_one(&searches[i], &ranges[nrows], &slots[nrows]))
			which[nrows++] = i;
	}
	store_draw_generations(store, nrows);
	for (int j = 0; j < nrows; j++)
	{
		rows[j].pool = searches[which[j]].pool;
		rows[j].unit = *make_unit(&searches[which[j]], slots[j]);
	}
	store_drop_generations(store);
	done = nrows > 0 && insert_rows(store, rows, nrows);
	if (nrows > 0 && !done)
		frontier_ignore_rollback();
	for (int j = 0; j < nrows && done; j++)
	{
		Search	   *search = &searches[which[j]];

		served[which[j]] = true;
		search->unit = rows[j].unit;
		frontier_tried(search, ranges[j], slots[j], true);
	}
	insert_end(rows, nrows);
	pfree(slots);
	pfree(ranges);
	pfree(which);
	pfree(rows);
}
