/*
 * run.c
 *		Several units in a row that one key has: taking, ending and changing
 *		all of them.  The functions here also do for a single unit.
 *
 * Each unit has a row, which guards its slots like any other.  All rows of a
 * run have the same generation, and the size of the run and their place in it;
 * only the first one is in the index by key, and has the note.
 *
 * A run is taken and changed as a whole, in a subtransaction.  If one of its
 * units cannot be had, the subtransaction is rolled back, which makes the
 * others free again at once.  If we deleted their rows instead, they would
 * look busy to others until our transaction ended.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "alloc/search.h"

/* A step that is made for each unit of a run. */
typedef struct Step
{
	bool		(*act) (struct Step *step, int place);
	Store	   *store;
	const Pool *pool;

	/* run_take() */
	Search	   *search;
	u128		lo;
	SlotRow    *worst;
	SlotRow		first;			/* the run's first unit, once it is taken */

	/* unit_end() and unit_change() */
	const SlotRow *unit;
	TimestampTz ended_at;
	TimestampTz ready_at;
	const char *reason;
	SlotRow    *to;
} Step;

/* The slots of n blocks in a row. */
Extent
run_slots(u128 lo, int order, int n)
{
	Extent		slots = {lo, lo + (((u128) Max(1, n) << order) - 1)};

	return slots;
}

/* Make the step for each of the n units, until one fails. */
static bool
step_all(Step *step, int n)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext cxt = AllocSetContextCreate(caller, "alloc run",
											  ALLOCSET_DEFAULT_SIZES);
	bool		done = true;

	for (int place = 0; place < n && done; place++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(cxt);
		done = step->act(step, place);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(cxt);
	}
	MemoryContextDelete(cxt);
	return done;
}

/* The same, for in_subtransaction(). */
typedef struct Steps
{
	Step	   *step;
	int			n;
	ResourceOwner owner;
} Steps;

static bool
step_through(void *arg)
{
	Steps	   *steps = arg;

	/* What the store opens has to last longer than the subtransaction. */
	CurrentResourceOwner = steps->owner;
	return step_all(steps->step, steps->n);
}

/* The same as a whole: if one step fails, none is made. */
static bool
step_whole(Step *step, int n)
{
	Steps		steps = {step, n, CurrentResourceOwner};

	return in_subtransaction(step_through, &steps, NULL);
}

/* Take one unit of a run. */
static bool
take_step(Step *step, int place)
{
	Search	   *search = step->search;
	int			order = search->request->order;

	/* which block is in the way, if this one is */
	if (step->worst != NULL)
	{
		step->worst->lo = step->lo + ((u128) place << order);
		step->worst->order = order;
	}
	search->run_place = place;
	if (!take_block(search, step->lo + ((u128) place << order), step->worst))
		return false;
	/* all units of the run have the first one's generation */
	search->generation = search->unit.generation;
	if (place == 0)
		step->first = search->unit;
	return true;
}

/*
 * Give the requested number of blocks, from lo on, to the request's key if
 * they are free.  Otherwise return false; worst, if not NULL, is then set to
 * the row or the block that is in the way.
 */
bool
run_take(Search *search, u128 lo, SlotRow *worst)
{
	Step		step = {
		.act = take_step,
		.search = search,
		.lo = lo,
		.worst = worst
	};
	int64		generation = search->generation;
	bool		taken;

	if (search->request->n <= 1)
		return take_block(search, lo, worst);
	taken = step_whole(&step, search->request->n);
	search->run_place = 0;
	search->generation = generation;
	if (taken)
		search->unit = step.first;
	return taken;
}

/*
 * Find the row of one unit of the run that the key has.  What it points to is
 * copied to the current memory context.
 */
static bool
find_unit(Step *step, int place, SlotRow *row)
{
	const SlotRow *unit = step->unit;
	u128		lo = unit->lo + ((u128) place << unit->order);
	Extent		slot = {lo, lo};
	SlotScan	scan;
	bool		found = false;

	scan_by_slot(&scan, step->store, step->pool->id, slot,
				 ForwardScanDirection, NULL);
	while (!found && slot_scan_next(&scan, row))
	{
		/* what a running transaction deletes was taken by another key */
		wait_add_row(&step->store->waits, row);
		found = row->held && row->generation == unit->generation &&
			memcmp(&row->key, &unit->key, UUID_LEN) == 0;
	}
	if (found)
		row_keep(row);
	slot_scan_end(&scan);
	return found;
}

/*
 * End the row's unit; it can be given out again from ready_at on.  Returns
 * false if another transaction is changing the row.  That can only happen to a
 * row that can expire; all others are protected by the key's lock, which the
 * caller holds.
 */
bool
row_end(Store *store, const Pool *pool, SlotRow *row, TimestampTz ended_at,
		TimestampTz ready_at, const char *reason)
{
	TM_Result	result;

	/*
	 * In mixed pools a block without a row is free; a row is only needed while
	 * it cools.
	 */
	if (pool->mixed && ready_at <= ended_at)
		result = store_free(store, pool, row);
	else
	{
		SlotRow		waiting = {
			.lo = row->lo,
			.order = row->order,
			.tid = row->tid,
			.expires = true,
			.expires_at = ready_at
		};

		result = store_update(store, pool, &waiting, false, !row->expires);
	}
	if (result != TM_Ok)
		return false;
	store_history(store, pool, row, ended_at, reason);
	return true;
}

/* End one unit of a run. */
static bool
end_step(Step *step, int place)
{
	SlotRow		row;

	return find_unit(step, place, &row) &&
		row_end(step->store, step->pool, &row, step->ended_at, step->ready_at,
				step->reason);
}

/* The same for a run that has run out: others may have taken some of it. */
static bool
expire_step(Step *step, int place)
{
	(void) end_step(step, place);
	return true;
}

/*
 * End what the key has, all units of a run, under the conditions of row_end().
 */
bool
unit_end(Store *store, const Pool *pool, SlotRow *unit, TimestampTz ended_at,
		 TimestampTz ready_at, const char *reason)
{
	Step		step = {
		.act = end_step,
		.store = store,
		.pool = pool,
		.unit = unit,
		.ended_at = ended_at,
		.ready_at = ready_at,
		.reason = reason
	};

	return is_run(unit) ? step_whole(&step, unit->run_size) :
		row_end(store, pool, unit, ended_at, ready_at, reason);
}

/* End what the key had, as far as nobody else has it; it has run out. */
void
unit_expire(Store *store, const Pool *pool, SlotRow *unit)
{
	Step		step = {
		.act = expire_step,
		.store = store,
		.pool = pool,
		.unit = unit,
		.ended_at = unit->expires_at,
		.ready_at = unit->expires_at,
		.reason = "expired"
	};

	if (is_run(unit))
		(void) step_all(&step, unit->run_size);
	else
		(void) row_end(store, pool, unit, unit->expires_at, unit->expires_at,
					   "expired");
}

/* Write a new version of a row. */
static bool
change_row(Step *step, SlotRow *row)
{
	SlotRow		version = *step->to;

	version.lo = row->lo;
	version.tid = row->tid;
	version.run_place = row->run_place;
	version.has_note &= row->run_place == 0;
	if (store_update(step->store, step->pool, &version,
					 memcmp(&row->key, &version.key, UUID_LEN) != 0,
					 false) != TM_Ok)
		return false;
	if (step->reason != NULL)
		store_history(step->store, step->pool, row, version.allocated_at,
					  step->reason);
	if (row->run_place == 0)
		step->to->tid = version.tid;
	return true;
}

/* Change one unit of a run. */
static bool
change_step(Step *step, int place)
{
	SlotRow		row;

	return find_unit(step, place, &row) && change_row(step, &row);
}

/*
 * Change what the key has, all units of a run, from one state to another: its
 * key, generation, times and note.  If reason is not NULL, this is recorded in
 * the history as the end of the former state.  Returns false if another
 * transaction is changing a row.
 */
bool
unit_change(Store *store, const Pool *pool, const SlotRow *from, SlotRow *to,
			const char *reason)
{
	SlotRow		row = *from;
	Step		step = {
		.act = change_step,
		.store = store,
		.pool = pool,
		.unit = from,
		.reason = reason,
		.to = to
	};

	return is_run(from) ? step_whole(&step, from->run_size) :
		change_row(&step, &row);
}
