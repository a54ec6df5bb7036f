/*
 * scan.c
 *		Find a row of one of our tables by an index, and write it.
 *
 * Callers need the latest state at every isolation level, without SSI's
 * predicate locks and without serialization failures caused by other rows.
 * Therefore the executor does not run these scans: they use snapshots for
 * which neither the heap nor the index takes predicate locks.  Writers report
 * a conflict instead of waiting.  As no query runs, triggers, policies and
 * search_path have no effect; the callers check privileges.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * Open one of our tables and one of its indexes, by default the primary key.
 * The lock on the table is kept until the end of the transaction; a caller that
 * already holds it passes NoLock.
 */
void
own_open_by_index(OwnTable *table, Oid relid, Oid index, LOCKMODE lockmode)
{
	memset(table, 0, sizeof(OwnTable));
	table->lockmode = lockmode;
	table->rel = table_open(relid, lockmode);
	if (!OidIsValid(index))
		index = RelationGetPrimaryKeyIndex(table->rel, false);
	table->index = index_open(index, AccessShareLock);
	table->slot = table_slot_create(table->rel, NULL);
}

/*
 * The lock on an index that is released when the index is closed, for a call that
 * has locked the table in that mode.
 *
 * REINDEX is not held off by a lock for reading on the table, and locks the indexes
 * one after the other.  A transaction that kept the lock on one of them and then
 * read by another could deadlock with it.
 */
LOCKMODE
index_lock_to_release(LOCKMODE table_lock)
{
	return table_lock == AccessShareLock ? AccessShareLock : NoLock;
}

/* Open one of our tables and its primary key. */
void
own_open(OwnTable *table, Oid relid, LOCKMODE lockmode)
{
	own_open_by_index(table, relid, InvalidOid, lockmode);
}

/*
 * Close the table, and make what was written visible to the transaction's
 * later commands.
 */
void
own_close(OwnTable *table)
{
	ExecDropSingleTupleTableSlot(table->slot);
	if (table->estate != NULL)
	{
		ExecCloseIndices(table->writer);
		ExecDropSingleTupleTableSlot(table->row);
		FreeExecutorState(table->estate);
		CommandCounterIncrement();
	}
	index_close(table->index, index_lock_to_release(table->lockmode));
	table_close(table->rel, NoLock);
}

/* Set up a scan key: the index column equals the text. */
void
own_text_key(ScanKey key, int column, text *value)
{
	ScanKeyEntryInitialize(key, 0, column, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, PointerGetDatum(value));
}

/* Return a column of the row found last. */
Datum
own_value(OwnTable *table, int column, bool *isnull)
{
	return slot_getattr(table->slot, column, isnull);
}

/*
 * Begin a scan by an index, as of an MVCC snapshot or SnapshotSelf.
 *
 * If snapshot is NULL, this is a dirty scan, which also returns the
 * uncommitted rows of running transactions.  A dirty scan may miss a row that
 * is being updated: it can read the index before the new version has an entry
 * there, and visit the old version when that is already dead.  Only an
 * insertion that passes the unique index proves that a row does not exist.
 */
void
own_scan_begin(OwnScan *scan, OwnTable *table, Relation index,
			   Snapshot snapshot, ScanKey keys, int nkeys)
{
	scan->table = table;
	scan->snapshot = snapshot;

	/*
	 * Let the index scan return every version that is not dead to all, and
	 * check each against the snapshot in own_scan_next().  Unlike a scan with
	 * the MVCC snapshot, this takes no predicate locks; unlike SnapshotAny, it
	 * lets the index mark entries of dead rows, which later scans then skip.
	 */
	if (snapshot != NULL)
		InitNonVacuumableSnapshot(scan->shown, GlobalVisTestFor(table->rel));
	else
		InitDirtySnapshot(scan->shown);
	scan->desc = index_beginscan(table->rel, index, &scan->shown, NULL, nkeys,
								 0, SO_NONE);
	index_rescan(scan->desc, keys, nkeys, NULL, 0);
}

/* Put the next row into the table's slot; return false if there is none. */
bool
own_scan_next(OwnScan *scan)
{
	OwnTable   *table = scan->table;

	while (index_getnext_slot(scan->desc, ForwardScanDirection, table->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (scan->snapshot == NULL ||
			table_tuple_satisfies_snapshot(table->rel, table->slot,
										   scan->snapshot))
			return true;
	}
	return false;
}

/*
 * Return whether the row found by a dirty scan is being inserted by another
 * transaction.  Of such a row, read no toasted column: if its insertion was
 * speculative and is given up, the chunks are gone.
 */
static bool
own_scan_uncommitted(OwnScan *scan)
{
	return TransactionIdIsValid(scan->shown.xmin);
}

void
own_scan_end(OwnScan *scan)
{
	index_endscan(scan->desc);
}

/* Return whether this transaction wrote the row in the slot. */
bool
own_slot_is_ours(OwnTable *table)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(table->slot, false, NULL);
	TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

	return TransactionIdIsCurrentTransactionId(xmin);
}

/*
 * Return whether the active snapshot sees the row in the slot, or this
 * transaction wrote it.
 */
bool
own_slot_is_visible(OwnTable *table)
{
	return own_slot_is_ours(table) ||
		table_tuple_satisfies_snapshot(table->rel, table->slot,
									   GetActiveSnapshot());
}

/*
 * Find the first row, in the order of the index, that matches the keys and that the
 * snapshot sees.  Put it into the slot, or return false.
 */
bool
own_find(OwnTable *table, Snapshot snapshot, ScanKey keys, int nkeys)
{
	OwnScan		scan;
	bool		found;

	own_scan_begin(&scan, table, table->index, snapshot, keys, nkeys);
	found = own_scan_next(&scan);
	own_scan_end(&scan);
	return found;
}

/* As own_find(), with a snapshot taken now. */
bool
own_find_latest(OwnTable *table, ScanKey keys, int nkeys)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool		found = own_find(table, snapshot, keys, nkeys);

	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Look for a row that matches the keys with a dirty scan.  Set *rival to the
 * other transaction that is inserting, updating or deleting it, if any.
 */
OwnLook
own_look(OwnTable *table, ScanKey keys, int nkeys, OwnRival *rival)
{
	OwnScan		scan;
	OwnLook		look = LOOK_NONE;

	own_scan_begin(&scan, table, table->index, NULL, keys, nkeys);
	if (own_scan_next(&scan))
	{
		look = own_scan_uncommitted(&scan) ? LOOK_UNCOMMITTED : LOOK_FOUND;
		rival->xid = look == LOOK_FOUND ? scan.shown.xmax : scan.shown.xmin;
		rival->token = scan.shown.speculativeToken;
		rival->tid = table->slot->tts_tid;
	}
	own_scan_end(&scan);
	return look;
}

/*
 * Call the function with each other running transaction that has locked the row
 * in the slot or is changing it.  Returns whether there are any.  The slot must be
 * a table's.
 */
bool
row_lockers(TupleTableSlot *slot, void (*meet) (void *arg, TransactionId xid),
			void *arg)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);
	Buffer		buffer = ((BufferHeapTupleTableSlot *) slot)->buffer;
	TransactionId xmax;
	uint16		infomask;
	MultiXactMember one;
	MultiXactMember *members = &one;
	int			nmembers = 1;
	bool		any = false;

	/* xmax and infomask are consistent only under the buffer lock */
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	xmax = HeapTupleHeaderGetRawXmax(tuple->t_data);
	infomask = tuple->t_data->t_infomask;
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	if (infomask & HEAP_XMAX_INVALID)
		return false;
	one.xid = xmax;
	if (infomask & HEAP_XMAX_IS_MULTI)
		nmembers = GetMultiXactIdMembers(xmax, &members, false,
										 HEAP_XMAX_IS_LOCKED_ONLY(infomask));
	for (int i = 0; i < nmembers; i++)
	{
		TransactionId xid = members[i].xid;

		if (!TransactionIdIsCurrentTransactionId(xid) &&
			TransactionIdIsInProgress(xid))
		{
			meet(arg, xid);
			any = true;
		}
	}
	if (members != &one && nmembers > 0)
		pfree(members);
	return any;
}

/* For row_lockers(): remember the transaction. */
static void
take_locker(void *arg, TransactionId xid)
{
	((OwnRival *) arg)->xid = xid;
}

/*
 * After own_look() has found a row that nobody is changing, set *rival to a
 * transaction that has locked it, if any.  Who is going to change a row locks it
 * before, see own_update().
 */
void
own_look_locker(OwnTable *table, OwnRival *rival)
{
	if (!TransactionIdIsValid(rival->xid))
		row_lockers(table->slot, take_locker, rival);
}

/*
 * Prepare for a write, and clear the state of the previous one.
 */
static void
prepare_writing(OwnTable *table)
{
	/* Check here, since a function that was called may have made it so. */
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write to table \"%s\" in a read-only transaction",
						RelationGetRelationName(table->rel))));
	if (table->estate == NULL)
	{
		/*
		 * Index entries are made by the executor, because somebody may have
		 * added any kind of index to the table.
		 */
		table->estate = CreateExecutorState();
		table->row = MakeSingleTupleTableSlot(RelationGetDescr(table->rel),
											  &TTSOpsVirtual);
		table->writer = makeNode(ResultRelInfo);
		InitResultRelInfo(table->writer, table->rel, 0, NULL, 0);
		ExecOpenIndices(table->writer, false);
	}
	ResetPerTupleExprContext(table->estate);
	ExecClearTuple(table->row);
}

/*
 * Insert a row as INSERT ... ON CONFLICT DO NOTHING does.  Return false if
 * another row has the same value in a unique index, also if that row is not
 * committed yet; own_look() finds it.
 */
bool
own_insert(OwnTable *table, const Datum *values, const bool *nulls)
{
	TransactionId xid = GetCurrentTransactionId();
	int			natts = RelationGetNumberOfAttributes(table->rel);
	bool		conflict = false;
	uint32		token;

	prepare_writing(table);
	memcpy(table->row->tts_values, values, natts * sizeof(Datum));
	memcpy(table->row->tts_isnull, nulls, natts * sizeof(bool));
	ExecStoreVirtualTuple(table->row);

	/*
	 * With a speculative insertion, a unique conflict is reported in *conflict
	 * without an error and without a wait.  Others that meet our row meanwhile
	 * wait for the token, not for the end of this transaction.
	 */
	token = SpeculativeInsertionLockAcquire(xid);
	table_tuple_insert_speculative(table->rel, table->row,
								   GetCurrentCommandId(true), 0, NULL, token);
	list_free(ExecInsertIndexTuples(table->writer, table->estate,
									EIIT_NO_DUPE_ERROR, table->row, NIL,
									&conflict));
	table_tuple_complete_speculative(table->rel, table->row, token,
									 !conflict);
	SpeculativeInsertionLockRelease(xid);
	return !conflict;
}

/* Lock the row in the slot; return false if that had to wait or is too late. */
static bool
lock_for_update(OwnTable *table)
{
	HeapTupleData tuple;
	TM_FailureData failure;
	TM_Result	result;
	Buffer		buffer;

	tuple.t_self = table->slot->tts_tid;
	result = heap_lock_tuple(table->rel, &tuple, GetCurrentCommandId(true),
							 LockTupleNoKeyExclusive, LockWaitSkip, false,
							 &buffer, &failure);
	ReleaseBuffer(buffer);
	return result == TM_Ok;
}

/*
 * Update the row in the slot, setting the columns for which replace is true.
 * Return false, without waiting, if another transaction has changed the row, is
 * changing it or has locked it.
 */
bool
own_update(OwnTable *table, const Datum *values, const bool *nulls,
		   const bool *replace)
{
	ItemPointerData tid = table->slot->tts_tid;
	TM_FailureData failure;
	LockTupleMode lockmode;
	TU_UpdateIndexes indexes;
	TM_Result	result;

	prepare_writing(table);

	/*
	 * table_tuple_update() cannot be told not to wait: its argument "wait" must
	 * be true if others may be changing the row.  So lock the row first.  A row
	 * that this transaction wrote is nobody else's.
	 */
	if (!own_slot_is_ours(table) && !lock_for_update(table))
		return false;
	slot_getallattrs(table->slot);
	for (int i = 0; i < table->row->tts_tupleDescriptor->natts; i++)
	{
		table->row->tts_values[i] = replace[i] ? values[i] :
			table->slot->tts_values[i];
		table->row->tts_isnull[i] = replace[i] ? nulls[i] :
			table->slot->tts_isnull[i];
	}
	ExecStoreVirtualTuple(table->row);
	result = table_tuple_update(table->rel, &tid, table->row,
								GetCurrentCommandId(true), 0, InvalidSnapshot,
								InvalidSnapshot, true, &failure, &lockmode,
								&indexes);
	if (result != TM_Ok)
		return false;

	/* Key columns are never updated, so no unique conflict is possible. */
	if (indexes != TU_None)
		list_free(ExecInsertIndexTuples(table->writer, table->estate,
										update_flags(indexes), table->row,
										NIL, NULL));
	return true;
}

/*
 * Delete the row in the slot, or return false as own_update() does.  Unlike an
 * update, a deletion can be told not to wait.
 */
bool
own_delete(OwnTable *table)
{
	TM_FailureData failure;

	prepare_writing(table);
	return table_tuple_delete(table->rel, &table->slot->tts_tid,
							  GetCurrentCommandId(true), 0, InvalidSnapshot,
							  InvalidSnapshot, false, &failure) == TM_Ok;
}
