/*
 * scan.c
 *		One row of a table of ours, by its index, and writing it.
 *
 * What decides must be the latest state at every isolation level, may not
 * take part in SSI, and must not fail for what others do to other rows.  So
 * nothing here is an MVCC scan by the executor: index scans use snapshots for
 * which neither the heap nor the index takes predicate locks, and writers
 * report what is in the way instead of waiting for it.  No query runs, so no
 * trigger, policy or search_path is in between; who may do what is for the
 * callers to decide.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * Open one of our tables.  The lock is kept until the transaction ends; a
 * caller that has it already says NoLock.
 */
void
own_open(OwnTable *table, Oid relid, LOCKMODE lockmode)
{
	memset(table, 0, sizeof(OwnTable));
	table->rel = table_open(relid, lockmode);
	table->index = index_open(RelationGetPrimaryKeyIndex(table->rel, false),
							  AccessShareLock);
	table->slot = table_slot_create(table->rel, NULL);
}

/*
 * Close it, and let the statement's later calls see what was written.
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
	index_close(table->index, NoLock);
	table_close(table->rel, NoLock);
}

/* A scan key: the column of the index equals the text. */
void
own_text_key(ScanKey key, int column, text *value)
{
	ScanKeyEntryInitialize(key, 0, column, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, PointerGetDatum(value));
}

/* A column of the row that was found last. */
Datum
own_value(OwnTable *table, int column, bool *isnull)
{
	return slot_getattr(table->slot, column, isnull);
}

/*
 * Scan by an index, as of an MVCC snapshot or SnapshotSelf.
 *
 * The scan itself shows every version that somebody may need, and each is
 * then held against the snapshot.  It differs from a scan with the snapshot
 * in that SSI does not hear of it, and from one with SnapshotAny in that index
 * entries of rows that nobody needs are marked as dead, so that the next scan
 * skips them.
 *
 * Without a snapshot it is a dirty scan, which shows running transactions'
 * rows, too.  It may miss a row that is being updated: it visits the old
 * version when that is dead already, and has read the index before the new
 * version had its entry there.  So what it does not find is certain only for
 * who then inserts it.
 */
void
own_scan_begin(OwnScan *scan, OwnTable *table, Relation index,
			   Snapshot snapshot, ScanKey keys, int nkeys)
{
	scan->table = table;
	scan->snapshot = snapshot;
	if (snapshot != NULL)
		InitNonVacuumableSnapshot(scan->shown, GlobalVisTestFor(table->rel));
	else
		InitDirtySnapshot(scan->shown);
	scan->desc = index_beginscan(table->rel, index, &scan->shown, NULL, nkeys,
								 0);
	index_rescan(scan->desc, keys, nkeys, NULL, 0);
}

/* Leave the next row in the table's slot, or return false. */
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
 * Is the row of a dirty scan being inserted by another transaction?  If so,
 * only columns that are not toasted may be read.
 */
bool
own_scan_uncommitted(OwnScan *scan)
{
	return TransactionIdIsValid(scan->shown.xmin);
}

void
own_scan_end(OwnScan *scan)
{
	index_endscan(scan->desc);
}

/* Has this transaction written the row in the slot? */
bool
own_slot_is_ours(OwnTable *table)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(table->slot, false, NULL);
	TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

	return TransactionIdIsCurrentTransactionId(xmin);
}

/*
 * Does the transaction's snapshot see the row in the slot, or did we write it
 * ourselves?
 */
bool
own_slot_is_visible(OwnTable *table)
{
	return own_slot_is_ours(table) ||
		table_tuple_satisfies_snapshot(table->rel, table->slot,
									   GetActiveSnapshot());
}

/*
 * Find the first row, in the order of the primary key, that these keys fit
 * and the snapshot sees, and leave it in the slot.
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

/* As own_find(), in the latest committed state and what we wrote ourselves. */
bool
own_find_latest(OwnTable *table, ScanKey keys, int nkeys)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool		found = own_find(table, snapshot, keys, nkeys);

	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Look for a row that these keys fit by a dirty scan, and say which other
 * transaction is inserting, updating or deleting it, if any.
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
 * Get ready to write.  The executor makes the index entries: it knows of every
 * sort of index that somebody may have added to the table.
 */
static void
prepare_writing(OwnTable *table)
{
	if (table->estate == NULL)
	{
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
 * Insert a row as INSERT ... ON CONFLICT DO NOTHING does it; false if another
 * row, be it a running transaction's, has the same value in a unique index.
 * own_look() tells which.
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

	token = SpeculativeInsertionLockAcquire(xid);
	table_tuple_insert_speculative(table->rel, table->row,
								   GetCurrentCommandId(true), 0, NULL, token);
	list_free(ExecInsertIndexTuples(table->writer, table->row, table->estate,
									false, true, &conflict, NIL, false));
	table_tuple_complete_speculative(table->rel, table->row, token,
									 !conflict);
	SpeculativeInsertionLockRelease(xid);
	return !conflict;
}

/*
 * Write a new version of the row in the slot, with these values where replace
 * says so.  false, without waiting, if another transaction is changing the row
 * or has done so.  Our keys do not change, hence no new version can collide.
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
								GetCurrentCommandId(true), InvalidSnapshot,
								InvalidSnapshot, false, &failure, &lockmode,
								&indexes);
	if (result != TM_Ok)
		return false;
	if (indexes != TU_None)
		list_free(ExecInsertIndexTuples(table->writer, table->row,
										table->estate, true, false, NULL,
										NIL, only_summarizing(indexes)));
	return true;
}

/* Likewise delete the row in the slot. */
bool
own_delete(OwnTable *table)
{
	TM_FailureData failure;

	prepare_writing(table);
	return table_tuple_delete(table->rel, &table->slot->tts_tid,
							  GetCurrentCommandId(true), InvalidSnapshot,
							  InvalidSnapshot, false, &failure,
							  false) == TM_Ok;
}
