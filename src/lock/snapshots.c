/*
 * snapshots.c
 *		What old snapshots have to do with names: whose snapshot does not see
 *		a name's last holder is sent away, and a name is not purged while a
 *		snapshot may have to be told of its last holder.
 */
#include "lock.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/*
 * Who wrote the version in the slot?
 */
static TransactionId
row_xmin(NameTable *names)
{
	BufferHeapTupleTableSlot *slot = (BufferHeapTupleTableSlot *) names->slot;

	return HeapTupleHeaderGetXmin(slot->base.tuple->t_data);
}

/*
 * Is the row that of a lease which was granted and not released?
 */
static bool
leased(NameTable *names, TupleTableSlot *row)
{
	return names->kind == NAME_LEASE &&
		!slot_attisnull(row, Anum_lease_holder);
}

pg_noreturn static void
report_later_holder(Datum name)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "resource", TextDatumGetCString(name));
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to a later holder of \"%s\"",
					TextDatumGetCString(name)),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("Retry the transaction; take its locks first, or under READ COMMITTED.")));
}

/*
 * Raise 40001 if the transaction's snapshot is older than the last change of
 * holder of the locked row.  A lease's renewal is none.  What we wrote after
 * we were checked is nobody else's, though this statement does not see it yet.
 *
 * Only an exclusive holder writes a new version of a row of lock_name.  So a
 * snapshot that does not see the newest version is older than the last
 * exclusive holder's commit.  That a purged name cannot hide this is the care
 * of snapshots_purge().
 */
void
snapshots_check(NameTable *names, Datum name)
{
	Snapshot	snapshot = GetActiveSnapshot();
	TupleTableSlot *old;
	bool		same;
	bool		isnull;

	if (!IsolationUsesXactSnapshot() ||
		TransactionIdIsCurrentTransactionId(row_xmin(names)) ||
		table_tuple_satisfies_snapshot(names->rel, names->slot, snapshot))
		return;

	old = table_slot_create(names->rel, NULL);
	same = names_find_version(names, name, snapshot, old) &&
		DatumGetInt64(slot_getattr(old, Anum_fence, &isnull)) ==
		names_fence(names) &&
		leased(names, old) == leased(names, names->slot);
	ExecDropSingleTupleTableSlot(old);
	if (!same)
		report_later_holder(name);
}

/*
 * Walk all rows, as names_find() sees them: leave the next one in the slot, or
 * return false.
 */
static bool
next_row(NameTable *names, TableScanDesc scan)
{
	while (table_scan_getnextslot(scan, ForwardScanDirection, names->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (table_tuple_satisfies_snapshot(names->rel, names->slot,
										   names->latest))
		{
			names->tid = names->slot->tts_tid;
			return true;
		}
	}
	return false;
}

/*
 * Purge up to so many names that nobody holds or waits for, and of the leases
 * only those that were released; return how many that were.  What is not to be
 * purged is not locked; and what looks as if it were is looked at again once
 * it is locked, which keeps its row for us until our transaction ends.
 *
 * A row that was written after the horizon stays, for some running snapshot
 * may not see its newest version: made again, the name could not tell that
 * snapshot's owner that it is too old.
 */
int64
snapshots_purge(NameTable *names, int batch)
{
	TransactionId horizon = GetOldestNonRemovableTransactionId(names->rel);
	TableScanDesc scan = table_beginscan(names->rel, SnapshotAny, 0, NULL);
	int64		purged = 0;

	while (purged < batch && next_row(names, scan))
	{
		TransactionId xid;
		bool		isnull;
		LOCKTAG		tag;

		if (leased(names, names->slot) ||
			!TransactionIdPrecedes(row_xmin(names), horizon) ||
			holders_mine(names, &xid) != HOLD_NONE)
			continue;
		names_locktag(&tag, names_get(names, Anum_name, &isnull),
					  names->queue);
		if (LockAcquire(&tag, ExclusiveLock, false, true) ==
			LOCKACQUIRE_NOT_AVAIL)
			continue;
		if (names_lock(names, LockTupleExclusive, LockWaitSkip) == TM_Ok &&
			TransactionIdPrecedes(row_xmin(names), horizon) &&
			!leased(names, names->slot))
		{
			simple_heap_delete(names->rel, &names->tid);
			purged++;
		}
		LockRelease(&tag, ExclusiveLock, false);
	}

	table_endscan(scan);
	return purged;
}
