/*
 * saved.c
 *		Reads and writes alloc_frontier, in which frontiers are saved.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "alloc/search.h"
#include "alloc/store.h"

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
 * were not returned.  Returns false if the frontier was never saved, or, in a
 * search, which has locked the pool and wants the pending runs, if the table is
 * locked: nobody waits for that meanwhile.
 */
bool
store_frontier(Store *store, int32 range, u128 *next, PendingRun *pending,
			   int *npending)
{
	Oid			relid = alloc_relation(store->nsp, ALLOC_FRONTIER);
	Oid			indexid = alloc_relation(store->nsp, ALLOC_FRONTIER_PKEY);
	Relation	rel;
	Relation	index;
	TupleTableSlot *slot;
	bool		found;

	if (pending != NULL &&
		!(ConditionalLockRelationOid(relid, AccessShareLock) &&
		  ConditionalLockRelationOid(indexid, AccessShareLock)))
		return false;
	rel = table_open(relid, pending != NULL ? NoLock : AccessShareLock);
	index = index_open(indexid, pending != NULL ? NoLock : AccessShareLock);
	slot = table_slot_create(rel, NULL);
	found = frontier_row(rel, index, range, slot);
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
	/* whoever saves the frontier later locks the table more strongly */
	index_close(index, index_lock_to_release(AccessShareLock));
	table_close(rel, NoLock);
	return found;
}

/*
 * Save a range's frontier, unless another transaction is just doing so, or the
 * table is locked.  The frontier is only an accelerator, so there is no need to
 * wait for that while the pool is locked.
 */
void
store_save_frontier(Store *store, int32 range, u128 next,
					const PendingRun *pending, int npending)
{
	Oid			relid = alloc_relation(store->nsp, ALLOC_FRONTIER);
	Relation	rel;
	Relation	index;
	Writer		writer = {0};
	TupleTableSlot *slot;

	if (!ConditionalLockRelationOid(relid, RowExclusiveLock))
		return;
	rel = table_open(relid, NoLock);
	index = index_open(alloc_relation(store->nsp, ALLOC_FRONTIER_PKEY),
					   AccessShareLock);
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
