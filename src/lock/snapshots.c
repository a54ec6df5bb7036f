/*
 * snapshots.c
 *		Names and old snapshots.  A transaction whose snapshot is older than a
 *		name's last holder is refused the name.  A name is not purged as long
 *		as a running snapshot may be older than its last holder.
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

/* The transaction that wrote the version in the slot. */
static TransactionId
row_xmin(NameTable *names)
{
	BufferHeapTupleTableSlot *slot = (BufferHeapTupleTableSlot *) names->slot;

	return HeapTupleHeaderGetXmin(slot->base.tuple->t_data);
}

/* Is the row that of a lease that was granted and has not been released? */
static bool
leased(NameTable *names, TupleTableSlot *row)
{
	return names->kind == NAME_LEASE &&
		!slot_attisnull(row, Anum_lease_holder);
}

/* Raise 40001. */
pg_noreturn static void
raise_later_holder(Datum name)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "resource", TextDatumGetCString(name));
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to a later holder of \"%s\"",
					TextDatumGetCString(name)),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("Retry the transaction. Let it take its locks first, or use READ COMMITTED.")));
}

/*
 * Raise 40001 if the transaction's snapshot is older than the last change of
 * holder of the locked row.  The renewal of a lease is not such a change.
 */
void
snapshots_check(NameTable *names, Datum name)
{
	Snapshot	snapshot = GetActiveSnapshot();
	TupleTableSlot *old;
	bool		same;
	bool		isnull;

	/*
	 * Only an exclusive holder writes a new version of a row of lock_name, so
	 * a snapshot that does not see the newest version is older than the commit
	 * of the last exclusive holder.  (snapshots_purge() sees to it that a
	 * purge cannot hide this.)  A version of our own was written after we had
	 * been checked.
	 */
	if (!IsolationUsesXactSnapshot() ||
		TransactionIdIsCurrentTransactionId(row_xmin(names)) ||
		table_tuple_satisfies_snapshot(names->rel, names->slot, snapshot))
		return;

	/*
	 * The newest version may be a renewal.  Compare the fence and the state
	 * with those in the version that the snapshot sees.
	 */
	old = table_slot_create(names->rel, NULL);
	same = names_find_version(names, name, snapshot, old) &&
		DatumGetInt64(slot_getattr(old, Anum_fence, &isnull)) ==
		names_fence(names) &&
		leased(names, old) == leased(names, names->slot);
	ExecDropSingleTupleTableSlot(old);
	if (!same)
		raise_later_holder(name);
}

/*
 * Go on to the next row of a scan of all rows, as names_find() sees them,
 * which is then in the slot.  Returns false if there is none.
 */
static bool
next_row(NameTable *names, TableScanDesc scan)
{
	while (table_scan_getnextslot(scan, ForwardScanDirection, names->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (table_tuple_satisfies_snapshot(names->rel, names->slot,
										   names_latest(names)))
		{
			names->tid = names->slot->tts_tid;
			return true;
		}
	}
	return false;
}

/*
 * Purge up to batch names that nobody holds or waits for.  Leases must have
 * been released.  Returns how many were purged.
 */
int64
snapshots_purge(NameTable *names, int batch)
{
	TransactionId horizon = GetOldestNonRemovableTransactionId(names->rel);
	TableScanDesc scan = table_beginscan(names->rel, SnapshotAny, 0, NULL,
										 SO_NONE);
	int64		purged = 0;

	while (purged < batch && next_row(names, scan))
	{
		TransactionId xid;
		bool		isnull;
		LOCKTAG		tag;

		/*
		 * Skip what must not be purged, without locking it.  A row that was
		 * written after the horizon must stay, because a running snapshot may
		 * not see its newest version: if the name was purged and created
		 * again, the transaction with that snapshot would not be told that it
		 * is too old.
		 */
		if (leased(names, names->slot) ||
			!TransactionIdPrecedes(row_xmin(names), horizon) ||
			holders_mine(names, &xid) != HOLD_NONE)
			continue;
		names_locktag(&tag,
					  names_hash(names_get(names, Anum_name, &isnull)),
					  names->queue);
		/* somebody holds the queue lock: the name is in use */
		if (LockAcquire(&tag, ExclusiveLock, false, true) ==
			LOCKACQUIRE_NOT_AVAIL)
			continue;

		/*
		 * Check again what may have changed before we had the lock, which
		 * keeps the row for us until our transaction ends.
		 */
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
