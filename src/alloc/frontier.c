/*
 * frontier.c
 *		Finds the never-used slots of a range, in pools of one size.
 *
 * We walk along (pool, first_slot) to the first gap.  In these pools rows are
 * never removed by allocations and releases, so the statement "all slots
 * before this one have a row", once true for committed rows, stays true.  This
 * slot is the frontier of the range.  Every backend keeps its own copy, and
 * saves it now and then in alloc_frontier for backends that come later.
 *
 * A row of a running transaction may vanish again.  The frontier passes such
 * slots, too, but remembers them as pending, with the transaction's id, and
 * looks at them again when that transaction has ended.  Pending slots are
 * saved with the frontier.  A backend's own rows count as present, since any
 * rollback in the backend makes it forget what it has learned.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "alloc/search.h"
#include "alloc/store.h"

/* The frontier is saved each time that it has moved by this many slots. */
#define FRONTIER_STEP 256

/* Distance in slots between backends that insert at the same frontier. */
#define STRIDE 64

/*
 * A search under strategy "any" that walks over so many rows of others leaps
 * over the rest.  With 8 backends at work, each of which would walk over what
 * all insert, that was a third of the time of alloc_set().
 */
#define MAX_WALK 32

/* See frontier_rollbacks(). */
static uint64 aborts = 0;

/* Transaction callback: count rollbacks. */
static void
count_abort(XactEvent event, void *arg)
{
	/* We do not learn how a transaction ends that this backend prepares. */
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		aborts++;
}

/* Subtransaction callback: count rollbacks to a savepoint. */
static void
count_subabort(SubXactEvent event, SubTransactionId mine,
			   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		aborts++;
}

/*
 * Return the number of rollbacks in this backend, of transactions or savepoints,
 * since this was called first.
 */
uint64
frontier_rollbacks(void)
{
	static bool watching = false;

	if (!watching)
	{
		RegisterXactCallback(count_abort, NULL);
		RegisterSubXactCallback(count_subabort, NULL);
		watching = true;
	}
	return aborts;
}

/*
 * The subtransaction that has just been rolled back was one in which nothing was
 * learned about any frontier.
 */
void
frontier_ignore_rollback(void)
{
	aborts--;
}

/*
 * Add a run to the pending runs.  Most frontiers never have any, and a session
 * can use thousands: so there is room only from the first one on.
 */
static void
add_pending(Search *search, Frontier *frontier, PendingRun run)
{
	Size		size = MAX_PENDING * sizeof(PendingRun);

	if (frontier->pending == NULL)
		frontier->pending = MemoryContextAlloc(search->pool->cxt, size);
	frontier->pending[frontier->npending++] = run;
}

/*
 * Return what the backend knows about the frontier of range i, read from
 * alloc_frontier if that is not known or a rollback has made it uncertain.
 */
static Frontier *
frontier_get(Search *search, int i)
{
	const Range *range = &search->pool->space.ranges[i];
	Frontier   *frontier = &search->pool->frontiers[i];

	if (!frontier->valid || frontier->aborts != frontier_rollbacks())
	{
		Extent		slots = range_slots(range, search->pool->space.chunk_bits);
		PendingRun *room = frontier->pending;
		PendingRun	pending[MAX_PENDING];
		int			npending = 0;

		memset(frontier, 0, sizeof(*frontier));
		frontier->pending = room;
		frontier->saved = slots.first;
		(void) store_frontier(search->store, range->id, &frontier->saved,
							  pending, &npending);
		frontier->saved = Max(frontier->saved, slots.first);

		/*
		 * A saved run may lie partly outside of the range, if that was cut
		 * since.  The transactions of saved runs are not known, so
		 * frontier_reopened() looks at all of them.
		 */
		for (int n = 0; n < npending; n++)
		{
			PendingRun	run = pending[n];

			run.slots.first = Max(run.slots.first, slots.first);
			run.slots.last = Min(run.slots.last, slots.last);
			if (run.slots.first <= run.slots.last)
				add_pending(search, frontier, run);
		}
		frontier->next = frontier->saved;
		frontier->aborts = frontier_rollbacks();
		frontier->valid = true;
	}
	return frontier;
}

/*
 * Record that this transaction itself inserted a row at this slot, which lies
 * before the frontier.  Should it roll back, a frontier that was saved behind
 * the slot would be wrong for everybody.
 */
static void
frontier_own(Frontier *frontier, u128 slot)
{
	if (frontier->own_lxid != my_lxid())
	{
		frontier->own_lxid = my_lxid();
		frontier->own_first = slot;
	}
	else if (slot < frontier->own_first)
		frontier->own_first = slot;
}

/*
 * Add a slot of a running transaction to the pending runs.  Returns false if
 * there is no room.
 */
static bool
frontier_pend(Search *search, Frontier *frontier, u128 slot,
			  TransactionId xid)
{
	PendingRun	pending = {{slot, slot}, xid};

	for (int i = 0; i < frontier->npending; i++)
	{
		PendingRun *run = &frontier->pending[i];

		if (TransactionIdEquals(run->xid, xid) &&
			slot >= run->slots.first && slot <= run->slots.last + 1)
		{
			run->slots.last = Max(run->slots.last, slot);
			return true;
		}
	}
	if (frontier->npending == MAX_PENDING)
		return false;
	add_pending(search, frontier, pending);
	return true;
}

/*
 * Find the first gap: the lowest slot of the extent that has no row and is not
 * reserved.  *walked is advanced over the slots that have one.  Rows of
 * running transactions are added to the frontier's pending runs; if there is
 * no room for them, *walked stops there.
 *
 * Gives up if the first nrows slots have rows: then *slot is the first one that
 * was not looked at.  Otherwise, it is behind the extent if there is no gap.
 */
static bool
find_gap(Search *search, Frontier *frontier, Extent slots, uint64 nrows,
		 u128 *walked, u128 *slot)
{
	const Space *space = &search->pool->space;
	u128		from = slots.first;
	u128		window = 8;
	bool		stuck = false;

	for (;;)
	{
		Extent		part = {from, slots.last};
		SlotScan	scan;
		SlotRow		row;
		bool		found = false;

		/*
		 * Look at a few slots first and then at more and more, because the gap
		 * is usually near.
		 */
		if (part.last - part.first >= window)
			part.last = part.first + window - 1;

		scan_by_slot(&scan, search->store, search->pool->id, part,
					 ForwardScanDirection, NULL);
		while (nrows > 0 && slot_scan_next(&scan, &row))
		{
			Extent		gap = {from, row.lo - 1};

			if (row.lo > from && space_fit(space, gap, 0, slot))
			{
				found = true;
				break;
			}

			/*
			 * No gap before this row.  If a transaction is inserting it, that
			 * may roll back, so the caller may have to wait for it.
			 */
			wait_add_row(&search->store->waits, &row);
			if (TransactionIdIsValid(row.inserter) && !stuck)
				stuck = !frontier_pend(search, frontier, row.lo, row.inserter);
			else if (row.own)
				frontier_own(frontier, row.lo);
			if (!stuck)
				*walked = row.lo + 1;
			from = row.lo + 1;
			nrows--;
		}
		slot_scan_end(&scan);
		if (found)
			return true;
		if (nrows == 0)
		{
			*slot = from;
			return false;
		}

		/* the rest of this part has no row */
		if (from <= part.last)
		{
			Extent		gap = {from, part.last};

			if (space_fit(space, gap, 0, slot))
				return true;
		}
		/* go on behind this part, passing over what is reserved */
		slots.first = part.last + 1;
		if (part.last == slots.last || !space_fit(space, slots, 0, &from))
			from = slots.last + 1;
		if (!stuck)
			*walked = from;
		*slot = from;
		if (from > slots.last)
			return false;
		window = Min(window * 2, 65536);
	}
}

/* Has the slot neither a row, as far as can be seen, nor a reservation? */
static bool
is_unused(Search *search, u128 slot)
{
	Extent		slots = {slot, slot};
	SlotScan	scan;
	SlotRow		row;
	bool		used;

	if (space_reserved(&search->pool->space, slot, 0))
		return false;
	scan_by_slot(&scan, search->store, search->pool->id, slots,
				 ForwardScanDirection, NULL);
	used = slot_scan_next(&scan, &row);
	if (used)
		wait_add_row(&search->store->waits, &row);
	slot_scan_end(&scan);
	return !used;
}

/*
 * Find an unused slot of the extent, whose preceding slot is used, without
 * walking over all rows: probe farther and farther ahead, and then go back to
 * where the rows end.  If they have no gaps, that is the first unused slot; if
 * they have, later searches find those.
 */
static bool
find_behind(Search *search, Extent slots, u128 *slot)
{
	u128		used = slots.first - 1;
	u128		step = STRIDE;
	Extent		rows;
	SlotScan	scan;
	SlotRow		row;

	for (;; used = *slot, step *= 8)
	{
		CHECK_FOR_INTERRUPTS();
		*slot = used + Min(step, slots.last - used);
		if (is_unused(search, *slot))
			break;
		if (*slot == slots.last)
			return false;
	}
	rows.first = used + 1;
	rows.last = *slot;
	scan_by_slot(&scan, search->store, search->pool->id, rows,
				 BackwardScanDirection, NULL);
	if (slot_scan_next(&scan, &row))
	{
		wait_add_row(&search->store->waits, &row);
		rows.first = row.lo + 1;
	}
	slot_scan_end(&scan);
	/* it may have been taken meanwhile, or what follows is reserved */
	return rows.first > rows.last ||
		space_fit(&search->pool->space, rows, 0, slot);
}

/*
 * Look again at the pending runs whose transactions have ended.  Returns the
 * lowest gap that a rollback has left there.
 */
static bool
frontier_reopened(Search *search, Frontier *frontier, u128 *slot)
{
	bool		found = false;

	for (int i = frontier->npending - 1; i >= 0; i--)
	{
		PendingRun	run = frontier->pending[i];
		u128		walked = run.slots.first;
		u128		gap;

		/* still running; the caller may have to wait for it */
		if (TransactionIdIsValid(run.xid) &&
			TransactionIdIsInProgress(run.xid))
		{
			SlotRow		row = {.inserter = run.xid};

			wait_add_row(&search->store->waits, &row);
			continue;
		}

		/*
		 * Remove the run.  find_gap() may add parts of it again, if other
		 * transactions are inserting there now.
		 */
		frontier->pending[i] = frontier->pending[--frontier->npending];
		if (find_gap(search, frontier, run.slots, PG_UINT64_MAX, &walked,
					 &gap))
		{
			if (!found || gap < *slot)
				*slot = gap;
			found = true;
		}
		if (walked > run.slots.last)
			continue;

		/* keep what was not walked, to look at it again */
		if (frontier->npending == MAX_PENDING)
			frontier->valid = false;
		else
		{
			run.slots.first = walked;
			run.xid = InvalidTransactionId;
			add_pending(search, frontier, run);
		}
	}
	return found;
}

/* Save the frontier if it has moved far enough since it was saved last. */
static void
frontier_save(Search *search, Frontier *frontier, const Range *range)
{
	u128		sure = frontier->next;
	u128		gap;

	/*
	 * Slots with rows of this transaction do not count: nobody would look for
	 * them again if it rolled back.
	 */
	if (frontier->own_lxid == my_lxid() && frontier->own_first < sure)
		sure = frontier->own_first;
	if (sure < frontier->saved || sure - frontier->saved < FRONTIER_STEP)
		return;

	/*
	 * Drop pending runs whose transactions have ended.  If this runs out of
	 * room, the frontier is no longer valid and must not be saved.
	 */
	(void) frontier_reopened(search, frontier, &gap);
	if (!frontier->valid)
		return;
	store_save_frontier(search->store, range->id, sure, frontier->pending,
						frontier->npending);
	frontier->saved = sure;
}

/*
 * Choose where this backend goes on inserting, given the first slot that was
 * never used.  If we had to pass rows of other running transactions to get
 * there, those are about to take the same slot, and all would walk again and
 * again over what all are inserting.  So under strategy "any" choose a slot
 * some way ahead, a different one for each backend.  Later searches find the
 * slots left out.
 */
static u128
frontier_tip(Search *search, Extent slots, u128 slot, bool passed_others)
{
	u128		stride = STRIDE;

	while (stride < search->wanted)
		stride *= 2;
	stride *= 1 + MyProcPid % 16;

	/* the last slot can be the last there is */
	if (passed_others && search->pool->strategy == STRATEGY_ANY &&
		stride <= slots.last - slot &&
		!space_reserved(&search->pool->space, slot + stride, 0))
		return slot + stride;
	return slot;
}

/*
 * Find where this backend goes on inserting, from the frontier on, given the
 * slots from there to the end of the range.
 */
static bool
find_place(Search *search, Frontier *frontier, Extent slots, u128 *slot)
{
	int			nwaits = search->store->waits.n;
	uint64		nrows = MAX_WALK;
	bool		found;

	if (search->pool->strategy != STRATEGY_ANY)
		nrows = PG_UINT64_MAX;
	else if (frontier->next == frontier->saved)
		/* or else sessions that do not last long would never save it */
		nrows = FRONTIER_STEP;
	found = find_gap(search, frontier, slots, nrows, &frontier->next, slot);
	if (!found && *slot <= slots.last)
	{
		Extent		rest = {*slot, slots.last};

		found = find_behind(search, rest, slot);
		if (!found)
		{
			/* walk to the end; some that were passed may be looked at again */
			slots.first = frontier->next;
			found = find_gap(search, frontier, slots, PG_UINT64_MAX,
							 &frontier->next, slot);
		}
	}
	if (found)
		*slot = frontier_tip(search, slots, *slot,
							 search->store->waits.n > nwaits);
	return found;
}

/*
 * Find a never-used slot of range i: the first one, or if no other backend has
 * been there lately, the one after this backend's last.  Slots before the
 * frontier count if reopened is true: those whose pending transaction rolled
 * back.
 */
bool
frontier_find_unused(Search *search, int i, bool reopened, u128 *slot)
{
	const Range *range = &search->pool->space.ranges[i];
	Extent		slots = range_slots(range, search->pool->space.chunk_bits);
	Frontier   *frontier = frontier_get(search, i);
	bool		found;

	/*
	 * Also look at pending runs when there are many, before there is no room
	 * for more.
	 */
	if ((reopened || frontier->npending > MAX_PENDING / 2) &&
		frontier_reopened(search, frontier, slot))
		return true;
	if (frontier->next > slots.last)
		return false;

	/* Nobody else seems to be at the tip: try it without a scan. */
	if (frontier->quiet && frontier->tip <= slots.last &&
		!space_reserved(&search->pool->space, frontier->tip, 0))
	{
		*slot = frontier->tip;
		found = true;
	}
	else
	{
		slots.first = frontier->next;
		found = find_place(search, frontier, slots, slot);
		frontier->quiet = found;
		if (found)
			frontier->tip = *slot;
	}
	frontier_save(search, frontier, range);
	return found;
}

/*
 * Record whether the slot that frontier_find_unused() found was taken, or
 * someone else was faster.
 */
void
frontier_tried(Search *search, int i, u128 slot, bool taken)
{
	Frontier   *frontier = &search->pool->frontiers[i];

	/* a reopened slot, before the frontier, says nothing about the tip */
	if (slot >= frontier->next)
	{
		frontier->quiet = taken;
		frontier->tip = slot + 1;
		if (taken && slot == frontier->next)
			frontier->next++;
	}
	if (taken)
		frontier_own(frontier, slot);
}

/* Try to take that slot. */
bool
frontier_take(Search *search, int i, u128 slot)
{
	bool		taken = put_unit(search, slot);

	frontier_tried(search, i, slot, taken);
	return taken;
}

/* Record that this transaction has inserted rows at these unused slots. */
void
frontier_took(Search *search, int i, const u128 *slots, int n)
{
	Frontier   *frontier = &search->pool->frontiers[i];

	for (int j = 0; j < n; j++)
	{
		if (slots[j] == frontier->next)
			frontier->next++;
		frontier_own(frontier, slots[j]);
	}
}
