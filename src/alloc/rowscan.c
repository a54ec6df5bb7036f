/*
 * rowscan.c
 *		Reads a table of ours by an index.
 *
 * SPI is not used.  A search for a free unit is about the latest state at
 * every isolation level, and under REPEATABLE READ the executor would raise
 * 40001 for every row that has changed since the snapshot.  Searches use dirty
 * snapshots, which also see the rows of running transactions and say which
 * transaction that is.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "alloc/rowscan.h"
#include "compat.h"

/* Index entries that a scan passes before it marks dead ones or gives up. */
#define PASSED_MANY 64

/*
 * Start a scan with the keys that the caller has put into scan->keys.  The rows are
 * those that the snapshot shows; NULL means a dirty snapshot.
 *
 * marks says that only searches, which look at the latest state, read this
 * index; see rows_next().
 */
void
rows_begin(RowScan *scan, Relation rel, Relation index, Snapshot snapshot,
		   ScanDirection direction, int nkeys, bool marks)
{
	scan->rel = rel;
	scan->direction = direction;
	scan->nkeys = nkeys;
	scan->nowned = 0;
	scan->marks = marks && snapshot == NULL && !RecoveryInProgress();
	scan->passed = 0;
	scan->bounded = scan->gave_up = false;
	scan->picked = NULL;
	if (snapshot == NULL)
	{
		InitDirtySnapshot(scan->dirty);
		snapshot = &scan->dirty;
	}
	else if (IsMVCCSnapshot(snapshot) && IsolationIsSerializable())
	{
		/*
		 * An MVCC scan would take predicate locks, so the call would conflict
		 * with all transactions that write near to what it reads.  SnapshotAny
		 * takes none: visit all versions and pick those that the snapshot
		 * sees.
		 */
		scan->picked = snapshot;
		snapshot = SnapshotAny;
	}
	scan->snapshot = snapshot;
	scan->slot = table_slot_create(rel, NULL);
	scan->desc = index_beginscan(rel, index, snapshot, NULL, nkeys, 0,
								 SO_NONE);
	index_rescan(scan->desc, scan->keys, nkeys, NULL, 0);
}

void
rows_end(RowScan *scan)
{
	index_endscan(scan->desc);
	ExecDropSingleTupleTableSlot(scan->slot);
	for (int i = scan->nkeys - scan->nowned; i < scan->nkeys; i++)
		pfree(DatumGetPointer(scan->keys[i].sk_argument));
}

/*
 * Has the version that an index entry points to been deleted or replaced by a
 * transaction that has committed, and will have done so after a crash?
 */
static bool
version_is_gone(Relation rel, TupleTableSlot *slot, ItemPointer tid)
{
	HeapTuple	tuple;
	TransactionId xmax;
	bool		gone;

	if (!table_tuple_fetch_row_version(rel, tid, SnapshotAny, slot))
		return false;
	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);
	/* With a HOT update the entry also stands for the new version. */
	gone = !HeapTupleHeaderIsHotUpdated(tuple->t_data) &&
		!(tuple->t_data->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_data->t_infomask);
	if (gone)
	{
		/* with synchronous_commit = off it may not be on disk yet */
		xmax = HeapTupleHeaderGetUpdateXid(tuple->t_data);
		gone = TransactionIdDidCommit(xmax) &&
			!XLogNeedsFlush(TransactionIdGetCommitLSN(xmax));
	}
	ExecClearTuple(slot);
	return gone;
}

/* Does the snapshot see the row that the scan has just returned? */
bool
rows_seen_by(RowScan *scan, Snapshot snapshot)
{
	return table_tuple_satisfies_snapshot(scan->rel, scan->slot, snapshot);
}

/* Go on to the next row, which is then in scan->slot. */
bool
rows_next(RowScan *scan)
{
	IndexScanDesc desc = scan->desc;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!desc->xs_heap_continue &&
			index_getnext_tid(desc, scan->direction) == NULL)
			return false;

		/*
		 * The entry may stand for several versions; xs_heap_continue says so.
		 */
		if (index_fetch_heap(desc, scan->slot))
		{
			if (scan->picked == NULL || rows_seen_by(scan, scan->picked))
				return true;
			continue;
		}
		/* no version of this entry is visible */
		if (++scan->passed <= PASSED_MANY)
			continue;
		scan->gave_up = scan->bounded;
		if (scan->gave_up)
			return false;

		/*
		 * Each time that a unit is allocated and released, its row leaves a
		 * dead version and an entry in the index of the queue.  While an old
		 * transaction runs, PostgreSQL keeps both, and every search would go
		 * through them.  But only searches read the indexes by queue and by
		 * time, and those of counted pools other than by key.  These look at
		 * the latest state, for which the entry will never be needed again.
		 * So mark it dead, as an index scan does with rows that are dead for
		 * everybody.
		 *
		 * Consequently these indexes must not be used to read a table by hand
		 * in a transaction that is older than that.  On a standby this can
		 * conflict with old queries, even with hot_standby_feedback, which is
		 * why we do it only after passing many entries.
		 */
		if (scan->marks && !desc->kill_prior_tuple)
			desc->kill_prior_tuple =
				version_is_gone(scan->rel, scan->slot, &desc->xs_heaptid);
	}
}

/* Return the dirty snapshot that the scan uses, or NULL. */
Snapshot
rows_dirty(RowScan *scan)
{
	return scan->snapshot == &scan->dirty ? &scan->dirty : NULL;
}

/*
 * Set the running transactions that are inserting and deleting the row in the
 * slot, other than this one; dirty is NULL, or the dirty snapshot that has
 * found it.  Returns true if this transaction has inserted the row.
 */
bool
row_writers(TupleTableSlot *slot, Snapshot dirty, TransactionId *inserter,
			TransactionId *deleter)
{
	Datum		xmin;
	bool		isnull;

	/* set by the visibility check, if these transactions are running */
	*inserter = dirty == NULL ? InvalidTransactionId : dirty->xmin;
	*deleter = dirty == NULL ? InvalidTransactionId : dirty->xmax;
	if (TransactionIdIsValid(*inserter))
		return false;
	xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull);
	return TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
}
