/*
 * bulk.c
 *		Takes several never-used slots at once, in pools of one size.
 *
 * The slots are found by one scan, and their rows are inserted together.  They
 * are not inserted speculatively, which can be done only row by row.  So a row
 * whose slot turns out to be taken is deleted again.  Until our transaction
 * ends, the slot looks to others as if it were being allocated; they wait for
 * us only if they request this very slot.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "alloc/search.h"
#include "alloc/store.h"

/* Maximal number of units that are inserted together. */
#define MAX_ROWS 256

/* Rows that are being inserted, and their images. */
typedef struct Run
{
	int			n;
	SlotRow		units[MAX_ROWS];
	TupleTableSlot *rows[MAX_ROWS];
	bool		taken[MAX_ROWS]; /* by somebody else */
	bool		key_used[MAX_ROWS];	/* the key has a row already */
} Run;

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

		/* If others are here, look for a better place the next time. */
		frontier->quiet = n == part.last - part.first + 1;
		frontier->tip = part.last + 1;
		if (n > 0)
			return n;
	}
	return 0;
}


/* Delete the row, whose slot somebody else has taken. */
static void
withdraw_row(Store *store, Run *run, int j)
{
	TM_FailureData failure;
	TM_Result	result;

	run->taken[j] = true;
	result = table_tuple_delete(store->slot, &run->rows[j]->tts_tid,
								GetCurrentCommandId(true), 0, SnapshotAny,
								InvalidSnapshot, true, &failure);
	if (result != TM_Ok)
		elog(ERROR, "could not delete a row that was just inserted: %d",
			 (int) result);
}

/*
 * Find the slots of the run at which a committed row exists, although the
 * unique index has reported no conflict; see slot_has_row() in store.c.
 */
static void
find_missed_rows(Store *store, const Pool *pool, Run *run)
{
	Extent		slots = {run->units[0].lo, run->units[run->n - 1].lo};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SlotScan	scan;
	ItemPointer tid;
	int			own = 0;

	scan_by_slot(&scan, store, pool->id, slots, ForwardScanDirection,
				 SnapshotAny);
	while ((tid = index_getnext_tid(scan.base.desc,
									scan.base.direction)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		/* our own rows come in the order of their slots */
		if (own < run->n &&
			ItemPointerEquals(tid, &run->rows[own]->tts_tid))
		{
			own++;
			continue;
		}
		while (index_fetch_heap(scan.base.desc, scan.base.slot))
		{
			bool		isnull;
			u128		lo;

			if (!row_seen_by(&scan, snapshot))
				continue;
			lo = numeric_u128(slot_getattr(scan.base.slot, SLOT_FIRST,
										   &isnull));
			for (int j = 0; j < run->n; j++)
			{
				if (run->units[j].lo == lo && !run->taken[j])
					withdraw_row(store, run, j);
			}
		}
	}
	slot_scan_end(&scan);
	UnregisterSnapshot(snapshot);
}

/*
 * Must the keys be looked up before they are given units?  If not, the unique
 * index on keys tells us which of them have one: unless a key has a row whose
 * key_row is not 0, which is rare.
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

/* Insert the rows of a run.  The locks of the keys are held. */
static void
insert_run(Store *store, const Pool *pool, Run *run)
{
	Writer	   *writer = store_writer(store);
	MemoryContext caller;

	MemoryContextReset(writer->cxt);
	caller = MemoryContextSwitchTo(writer->cxt);
	for (int j = 0; j < run->n; j++)
	{
		run->taken[j] = run->key_used[j] = false;
		store_form(pool, &run->units[j], run->rows[j]);
	}
	table_multi_insert(store->slot, run->rows, run->n,
					   GetCurrentCommandId(true), 0, NULL);
	CommandCounterIncrement();

	/*
	 * Of two backends that insert a row at one slot at least one finds the
	 * other's index entry.
	 */
	for (int j = 0; j < run->n; j++)
	{
		if (!store_index_row(writer, run->rows[j],
							 store_index(store, BY_SLOT),
							 UNIQUE_CHECK_PARTIAL, false))
			withdraw_row(store, run, j);
	}
	find_missed_rows(store, pool, run);
	for (int j = 0; j < run->n; j++)
	{
		SlotRow    *unit = &run->units[j];

		if (run->taken[j])
			continue;
		if (!store_index_row(writer, run->rows[j], store_index(store, BY_KEY),
							 UNIQUE_CHECK_PARTIAL, false))
		{
			run->key_used[j] = true;
			withdraw_row(store, run, j);
			continue;
		}
		if (unit->expires)
			(void) store_index_row(writer, run->rows[j],
								   store_index(store, BY_EXPIRY),
								   UNIQUE_CHECK_NO, false);
		unit->tid = run->rows[j]->tts_tid;
	}
	CommandCounterIncrement();
	MemoryContextSwitchTo(caller);
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

/* Fill in the units of a run, for the chosen keys. */
static void
fill_run(Search *search, Run *run, const SlotRow *units, const int *which,
		 const u128 *slots)
{
	store_draw_generations(search->store, run->n);
	for (int j = 0; j < run->n; j++)
	{
		search->request->key = units[which[j]].key;
		run->units[j] = *make_unit(search, slots[j]);
	}
	store_drop_generations(search->store);
}

/*
 * Give never-used slots to keys that are locked, as long as there are any.
 * units has the keys, and gets their units.  The states, all BULK_UNSERVED,
 * become what has become of each key.
 */
void
bulk_take_unused(Search *search, SlotRow *units, BulkState *states,
				 int nunits)
{
	const Pool *pool = search->pool;
	Store	   *store = search->store;
	Run		   *run = palloc(sizeof(Run));
	u128	   *slots = palloc(MAX_ROWS * sizeof(u128));
	int		   *which = palloc(MAX_ROWS * sizeof(int));
	int			nrows = 0;

	for (int i = 0; i < pool->space.nranges; i++)
	{
		if (pool->space.ranges[i].draining)
			continue;
		while ((search->wanted = choose_keys(states, nunits, which)) > 0 &&
			   (run->n = find_run(search, i, slots)) > 0)
		{
			int			got = 0;

			for (; nrows < run->n; nrows++)
				run->rows[nrows] = table_slot_create(store->slot, NULL);
			fill_run(search, run, units, which, slots);
			insert_run(store, pool, run);
			for (int j = 0; j < run->n; j++)
			{
				if (run->key_used[j])
					states[which[j]] = BULK_KEY_USED;
				if (run->taken[j])
					continue;
				states[which[j]] = BULK_SERVED;
				units[which[j]] = run->units[j];
				slots[got++] = run->units[j].lo;
			}
			frontier_took(search, i, slots, got);
		}
	}
	search->wanted = 0;
	for (int j = 0; j < nrows; j++)
		ExecDropSingleTupleTableSlot(run->rows[j]);
	pfree(which);
	pfree(slots);
	pfree(run);
}
