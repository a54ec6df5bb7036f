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

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "alloc/search.h"
#include "alloc/store.h"

/* The frontier is saved each time that it has moved by this many slots. */
#define FRONTIER_STEP 256

/* Distance in slots between backends that insert at the same frontier. */
#define STRIDE 64

/* See rollbacks(). */
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
static uint64
rollbacks(void)
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
 * Fetch a range's row of alloc_frontier, which has the range's frontier and
 * the pending slots before it.  Returns false if there is no row, which stands
 * for a frontier at the beginning of the range.
 */
static bool
frontier_row(Relation rel, Relation index, int32 range, TupleTableSlot *slot)
{
	IndexScanDesc desc;
	ScanKeyData key;
	bool		found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(range));
	desc = index_beginscan(rel, index, SnapshotSelf, NULL, 1, 0, SO_NONE);
	index_rescan(desc, &key, 1, NULL, 0);
	found = index_getnext_slot(desc, ForwardScanDirection, slot);
	if (found)
		ExecMaterializeSlot(slot);
	index_endscan(desc);
	return found;
}

/*
 * Read a range's frontier and up to MAX_PENDING of its pending runs.  If there
 * are more, or if pending is NULL, *next is moved back before the runs that
 * were not returned.  Returns false if the frontier was never saved.
 */
bool
store_frontier(Store *store, int32 range, u128 *next, PendingRun *pending,
			   int *npending)
{
	Relation	rel = table_open(alloc_relation(store->nsp, ALLOC_FRONTIER),
								 AccessShareLock);
	Relation	index = index_open(alloc_relation(store->nsp,
												  ALLOC_FRONTIER_PKEY),
								   AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		found = frontier_row(rel, index, range, slot);

	if (found)
	{
		bool		isnull;
		Datum	   *bounds;
		bool	   *nulls;
		int			nbounds;
		int			n = 0;

		*next = numeric_u128(slot_getattr(slot, 2, &isnull));
		deconstruct_array(DatumGetArrayTypeP(slot_getattr(slot, 3, &isnull)),
						  NUMERICOID, -1, false, TYPALIGN_INT,
						  &bounds, &nulls, &nbounds);
		for (int i = 0; i + 1 < nbounds; i += 2)
		{
			PendingRun	run = {0};

			if (nulls[i] || nulls[i + 1])
				continue;		/* damaged: alloc_verify() reports lost slots */
			run.slots.first = numeric_u128(bounds[i]);
			run.slots.last = numeric_u128(bounds[i + 1]);
			if (pending != NULL && n < MAX_PENDING)
				pending[n++] = run;
			else
				*next = Min(*next, run.slots.first);
		}
		if (npending != NULL)
			*npending = n;
	}
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return found;
}

/*
 * Save a range's frontier, unless another transaction is just doing so.  The
 * frontier is only an accelerator, so there is no need to wait for that.
 */
static void
store_save_frontier(Store *store, int32 range, u128 next,
					const PendingRun *pending, int npending)
{
	Relation	rel = table_open(alloc_relation(store->nsp, ALLOC_FRONTIER),
								 RowExclusiveLock);
	Relation	index = index_open(alloc_relation(store->nsp,
												  ALLOC_FRONTIER_PKEY),
								   AccessShareLock);
	Writer		writer = {0};
	TupleTableSlot *slot;

	writer_open(&writer, store, rel, NULL, 0);
	slot = writer.row;
	if (frontier_row(rel, index, range, slot))
	{
		ItemPointerData tid = slot->tts_tid;
		TU_UpdateIndexes update_indexes;
		Datum		bounds[2 * MAX_PENDING];
		int			n = 0;

		for (int i = 0; i < npending; i++)
		{
			/* this run is not before the frontier that we save */
			if (pending[i].slots.first >= next)
				continue;
			bounds[n++] = u128_numeric(pending[i].slots.first);
			bounds[n++] = u128_numeric(pending[i].slots.last);
		}
		ExecClearTuple(slot);
		slot->tts_values[0] = Int32GetDatum(range);
		slot->tts_values[1] = u128_numeric(next);
		slot->tts_values[2] =
			PointerGetDatum(construct_array(bounds, n, NUMERICOID, -1, false,
											TYPALIGN_INT));
		memset(slot->tts_isnull, false, sizeof(bool) * 3);
		ExecStoreVirtualTuple(slot);

		/*
		 * If someone else has locked the row, store_change() does not wait,
		 * and the frontier stays as it was.
		 */
		if (store_change(store, rel, &tid, slot, false,
						 &update_indexes) == TM_Ok &&
			update_indexes != TU_None)
			(void) writer_index(&writer, update_indexes, false);
		CommandCounterIncrement();
	}
	writer_close(&writer);
	index_close(index, NoLock);
	table_close(rel, NoLock);
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

	if (!frontier->valid || frontier->aborts != rollbacks())
	{
		Extent		slots = range_slots(range, search->pool->space.chunk_bits);
		int			npending = 0;

		memset(frontier, 0, sizeof(*frontier));
		frontier->saved = slots.first;
		(void) store_frontier(search->store, range->id, &frontier->saved,
							  frontier->pending, &npending);
		frontier->saved = Max(frontier->saved, slots.first);

		/*
		 * A saved run may lie partly outside of the range, if that was cut
		 * since.  The transactions of saved runs are not known, so
		 * frontier_reopened() looks at all of them.
		 */
		for (int n = 0; n < npending; n++)
		{
			PendingRun	run = frontier->pending[n];

			run.slots.first = Max(run.slots.first, slots.first);
			run.slots.last = Min(run.slots.last, slots.last);
			if (run.slots.first <= run.slots.last)
				frontier->pending[frontier->npending++] = run;
		}
		frontier->next = frontier->saved;
		frontier->aborts = rollbacks();
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
frontier_pend(Frontier *frontier, u128 slot, TransactionId xid)
{
	PendingRun *run;

	for (int i = 0; i < frontier->npending; i++)
	{
		run = &frontier->pending[i];
		if (TransactionIdEquals(run->xid, xid) &&
			slot >= run->slots.first && slot <= run->slots.last + 1)
		{
			run->slots.last = Max(run->slots.last, slot);
			return true;
		}
	}
	if (frontier->npending == MAX_PENDING)
		return false;
	run = &frontier->pending[frontier->npending++];
	run->slots.first = run->slots.last = slot;
	run->xid = xid;
	return true;
}

/*
 * Find the first gap: the lowest slot of the extent that has no row and is not
 * reserved.  *walked is advanced over the slots that have one.  Rows of
 * running transactions are added to the frontier's pending runs; if there is
 * no room for them, *walked stops there.
 */
static bool
find_gap(Search *search, Frontier *frontier, Extent slots, u128 *walked,
		 u128 *slot)
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
		while (slot_scan_next(&scan, &row))
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
				stuck = !frontier_pend(frontier, row.lo, row.inserter);
			else if (row.own)
				frontier_own(frontier, row.lo);
			if (!stuck)
				*walked = row.lo + 1;
			from = row.lo + 1;
		}
		slot_scan_end(&scan);
		if (found)
			return true;

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
		if (from > slots.last)
			return false;
		window = Min(window * 2, 65536);
	}
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
		if (find_gap(search, frontier, run.slots, &walked, &gap))
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
			frontier->pending[frontier->npending++] = run;
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
	u128		ahead;

	while (stride < search->wanted)
		stride *= 2;
	ahead = slot + stride * (1 + MyProcPid % 16);

	if (passed_others && search->pool->strategy == STRATEGY_ANY &&
		ahead <= slots.last &&
		!space_reserved(&search->pool->space, ahead, 0))
		return ahead;
	return slot;
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
	int			nwaits;
	bool		found;

	/*
	 * Also look at pending runs when there are many, before there is no room
	 * for more.
	 */
	if ((reopened || frontier->npending > MAX_PENDING / 2) &&
		frontier_reopened(search, frontier, slot))
		return true;
	nwaits = search->store->waits.n;
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
		found = find_gap(search, frontier, slots, &frontier->next, slot);
		frontier->quiet = found;
		if (found)
			*slot = frontier->tip =
				frontier_tip(search, slots, *slot,
							 search->store->waits.n > nwaits);
	}
	frontier_save(search, frontier, range);
	return found;
}

/*
 * Take the slot that frontier_find_unused() found.  Returns false if someone
 * else was faster.
 */
bool
frontier_take(Search *search, int i, u128 slot)
{
	Frontier   *frontier = &search->pool->frontiers[i];
	bool		taken = put_unit(search, slot);

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
