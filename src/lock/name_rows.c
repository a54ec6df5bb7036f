/*
 * name_rows.c
 *		Rows that are found by name, created on first use, and locked.
 *
 * A resource is a row of lock_name, a lease a row of lease_state, and the
 * row's own tuple lock is the lock.  Both tables are read and written through
 * functions of the heap, without queries, as nextval() does with its sequence.
 * So no trigger, policy, operator or search_path can interfere.
 */
#include "lock.h"

#include "access/generic_xlog.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_collation.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

/* The tables, in the schema cas_internal. */
static const char *const relnames[] =
{
	[NAME_LOCK] = "lock_name",
	[NAME_LEASE] = "lease_state",
};

/* The OID of the table for this kind of names. */
Oid
names_relation(NameKind kind)
{
	return internal_relation(relnames[kind]);
}

/*
 * Can CatalogIndexInsert() write the entries of all of these indexes?  It
 * asserts that they have no expressions, predicates, deferrable or exclusion
 * constraints.  The table is as the install script created it, since only a
 * superuser can alter it; but a superuser may have added indexes.
 */
static bool
has_plain_indexes(CatalogIndexState indexes)
{
	for (int i = 0; i < indexes->ri_NumIndices; i++)
	{
		IndexInfo  *info = indexes->ri_IndexRelationInfo[i];

		if (info->ii_Expressions != NIL || info->ii_Predicate != NIL ||
			info->ii_ExclusionOps != NULL ||
			!indexes->ri_IndexRelationDescs[i]->rd_index->indimmediate)
			return false;
	}
	return true;
}

/*
 * Open the table for this kind of names.  What not every call needs is opened
 * when it is needed.
 */
void
names_open(NameTable *names, NameKind kind, bool writing)
{
	memset(names, 0, sizeof(NameTable));
	names->kind = kind;
	names->queue = kind == NAME_LOCK ? LOCK_QUEUE : LEASE_QUEUE;
	names->writing = writing;
	names->lockmode = writing ? RowExclusiveLock : AccessShareLock;
	names->rel = table_open(names_relation(kind), names->lockmode);
	names->slot = table_slot_create(names->rel, NULL);
}

/* Close the table, but keep its lock until the transaction ends. */
void
names_close(NameTable *names)
{
	/*
	 * A fence may be passed on to a device that compares fences before the
	 * transaction commits.
	 */
	if (!XLogRecPtrIsInvalid(names->fences_logged))
		XLogFlush(names->fences_logged);

	if (names->latest != NULL)
		UnregisterSnapshot(names->latest);
	if (names->scan != NULL)
	{
		index_endscan(names->scan);
		index_close(names->index, index_lock_to_release(names->lockmode));
	}
	ExecDropSingleTupleTableSlot(names->slot);
	if (names->written != NULL)
		ExecDropSingleTupleTableSlot(names->written);
	if (names->executor != NULL)
	{
		ExecCloseIndices(names->executor_rel);
		FreeExecutorState(names->executor);
	}
	if (names->indexes != NULL)
		CatalogCloseIndexes(names->indexes);
	/* let later calls of the same statement see what was written */
	if (names->writing)
		CommandCounterIncrement();
	table_close(names->rel, NoLock);
}

/* Let names_find() see from now on what has been committed until now. */
void
names_refresh(NameTable *names)
{
	if (names->latest != NULL)
		UnregisterSnapshot(names->latest);
	names->latest = NULL;
}

/* The snapshot by which names_find() sees the table. */
Snapshot
names_latest(NameTable *names)
{
	if (names->latest == NULL)
		names->latest = RegisterSnapshot(GetLatestSnapshot());
	return names->latest;
}

/*
 * Find the version that the snapshot sees among those that an index entry
 * stands for, and store it in the slot.
 */
static bool
fetch_version(NameTable *names, ItemPointerData tid, Snapshot snapshot,
			  TupleTableSlot *slot)
{
	HeapTuple	tuple = &((BufferHeapTupleTableSlot *) slot)->base.tupdata;
	Buffer		buffer = ReadBuffer(names->rel,
									ItemPointerGetBlockNumber(&tid));
	bool		first = true;
	bool		found = false;

	/*
	 * The table access method would do this for us, but it would also prune
	 * the page; see make_room().
	 */
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	while (!found &&
		   heap_hot_search_buffer(&tid, names->rel, buffer, SnapshotAny,
								  tuple, NULL, first))
	{
		found = HeapTupleSatisfiesVisibility(tuple, snapshot, buffer);
		first = false;
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	if (found)
		ExecStorePinnedBufferHeapTuple(tuple, slot, buffer);
	else
		ReleaseBuffer(buffer);
	return found;
}

/*
 * Find the name's row as the snapshot sees it, and store it in the slot.  The
 * version found need not be the newest; names_lock() follows the update chain
 * to its end.
 */
bool
names_find_version(NameTable *names, Datum name, Snapshot snapshot,
				   TupleTableSlot *slot)
{
	ScanKeyData key;
	ItemPointer tid;
	bool		found = false;

	/*
	 * A waiter that gets its turn must see what the previous holder wrote,
	 * whatever the snapshot of its statement shows, and under SERIALIZABLE it
	 * must not take predicate locks on rows that it really locks.  So we scan
	 * the index with SnapshotAny, for which neither the heap nor the index
	 * takes predicate locks, and check each version against an MVCC snapshot
	 * that was taken before the scan.  SnapshotSelf would be simpler, but
	 * could miss a row while an update of it commits: the new version's index
	 * entry may be on a part of the page that has already been read.
	 */
	ExecClearTuple(slot);
	if (names->scan == NULL)
	{
		Oid			index = RelationGetPrimaryKeyIndex(names->rel, false);

		names->index = index_open(index, names->lockmode);
		names->scan = index_beginscan(names->rel, names->index, SnapshotAny,
									  NULL, 1, 0, SO_NONE);
	}
	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, name);
	index_rescan(names->scan, &key, 1, NULL, 0);
	while (!found && (tid = index_getnext_tid(names->scan,
											  ForwardScanDirection)) != NULL)
		found = fetch_version(names, *tid, snapshot, slot);

	/* The slot has a pin of its own; keep none on the index. */
	index_rescan(names->scan, NULL, 1, NULL, 0);
	return found;
}

/*
 * Find the name's row, as last committed, where we saw it last.  If the row at
 * that place has the name and is visible, it is the right one, whatever has
 * happened to the table in between.
 */
static bool
find_again(NameTable *names, Datum name, uint64 hash)
{
	Snapshot	latest = names_latest(names);
	BufferHeapTupleTableSlot *slot = (BufferHeapTupleTableSlot *) names->slot;
	HeapTuple	row = &slot->base.tupdata;
	Buffer		buffer;
	bool		visible;

	ExecClearTuple(names->slot);
	if (!place_visit(names, name, hash, row, &buffer))
		return false;
	visible = HeapTupleSatisfiesVisibility(row, latest, buffer);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (visible)
		ExecStorePinnedBufferHeapTuple(row, names->slot, buffer);
	else
		ReleaseBuffer(buffer);
	return visible;
}

/* The buffer of the row in the slot. */
static Buffer
slot_buffer(NameTable *names)
{
	return ((BufferHeapTupleTableSlot *) names->slot)->buffer;
}

/* Make sure that the page of the row in the slot has room for new versions. */
static void
make_room(NameTable *names)
{
	if (!place_make_room(names, slot_buffer(names)))
		return;
	ExecClearTuple(names->slot);
	if (!table_tuple_fetch_row_version(names->rel, &names->tid, SnapshotAny,
									   names->slot))
		elog(ERROR, "row of a name is gone");
}

/*
 * Find the name's row as last committed, or as written by this transaction,
 * and store it in the slot.
 */
bool
names_find(NameTable *names, Datum name)
{
	uint64		hash = names_hash(name);

	if (!find_again(names, name, hash) &&
		!names_find_version(names, name, names_latest(names), names->slot))
		return false;
	names->tid = names->slot->tts_tid;
	place_remember(names, hash, &names->tid, slot_buffer(names));
	if (names->writing)
		make_room(names);
	return true;
}

/*
 * Write the index entries of a row by means of the executor, which can do it
 * for any index.
 */
static void
write_entries(NameTable *names, TupleTableSlot *row, TU_UpdateIndexes update)
{
	OwnerScope	scope;

	if (names->executor == NULL)
	{
		names->executor = CreateExecutorState();
		names->executor_rel = makeNode(ResultRelInfo);
		InitResultRelInfo(names->executor_rel, names->rel, 0, NULL, 0);
		ExecOpenIndices(names->executor_rel, false);
	}
	ResetPerTupleExprContext(names->executor);

	/*
	 * An index that is not ours may call functions, which must not run with
	 * the rights of the caller.
	 */
	owner_enter(&scope);
	list_free(ExecInsertIndexTuples(names->executor_rel, names->executor,
									update_flags(update), row, NIL, NULL));
	owner_leave(&scope);
}

/* The slot for rows that are written, emptied. */
static TupleTableSlot *
written_slot(NameTable *names)
{
	if (names->written == NULL)
		names->written = MakeSingleTupleTableSlot(RelationGetDescr(names->rel),
												  &TTSOpsVirtual);
	return ExecClearTuple(names->written);
}

/* Insert a row, and set its t_self. */
static void
insert_row(NameTable *names, HeapTuple tuple)
{
	TupleTableSlot *row;

	if (names->indexes == NULL)
		names->indexes = CatalogOpenIndexes(names->rel);
	if (has_plain_indexes(names->indexes))
	{
		CatalogTupleInsertWithInfo(names->rel, tuple, names->indexes);
		return;
	}
	row = written_slot(names);
	ExecForceStoreHeapTuple(tuple, row, false);
	simple_table_tuple_insert(names->rel, row);
	tuple->t_self = row->tts_tid;
	write_entries(names, row, TU_None);
}

/*
 * Write a new version of a row, whose place then is in row.  Returns false if
 * the row has been changed, which cannot happen if we have locked it.
 */
static bool
update_row(NameTable *names, ItemPointer tid, TupleTableSlot *row)
{
	TU_UpdateIndexes update_indexes;
	LockTupleMode mode;
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_update(names->rel, tid, row,
								GetCurrentCommandId(true), 0, SnapshotAny,
								InvalidSnapshot, true, &failure, &mode,
								&update_indexes);

	switch (result)
	{
		case TM_Ok:
			if (update_indexes != TU_None)
				write_entries(names, row, update_indexes);
			return true;

		case TM_Updated:
		case TM_Deleted:
			return false;

		case TM_Invisible:
		case TM_SelfModified:
		case TM_BeingModified:
		case TM_WouldBlock:
			break;
	}
	elog(ERROR, "unexpected table_tuple_update status: %u", result);
}

/*
 * Mark the xmin of a row that we have inserted as frozen, so that the row
 * exists whatever becomes of our transaction, like a number drawn from a
 * sequence.
 *
 * If a new name's row were an ordinary insertion, everybody else who wants the
 * name would wait for the inserting transaction, even sharers.  A rollback
 * would remove the row that others wait for.  And a transaction with an older
 * snapshot, which cannot see the row, would be told of a later holder that
 * never existed.  The price is a full page in the WAL for each new name.
 *
 * Old snapshots see a frozen row, too.  If a name was purged and created
 * again, a snapshot in between sees two rows, which a dump could not restore.
 * So the rows of lock_name, which nobody needs, are not dumped, and of
 * lease_state only leases that are held, whose rows have not just been created
 * or purged.
 */
static void
freeze_row(NameTable *names, ItemPointer tid)
{
	Buffer		buffer = ReadBuffer(names->rel,
									ItemPointerGetBlockNumber(tid));
	GenericXLogState *xlog = GenericXLogStart(names->rel);
	Page		page;
	HeapTupleHeader header;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);

	/*
	 * This is the last step, in one WAL record.  A crash or an error before it
	 * leaves an ordinary dead row.  The record must contain the whole page,
	 * because other changes to it, such as hint bits, need not be logged, and
	 * so the page that replay finds may differ.
	 */
	page = GenericXLogRegisterBuffer(xlog, buffer,
									 GENERIC_XLOG_FULL_IMAGE);
	header = (HeapTupleHeader)
		PageGetItem(page, PageGetItemId(page,
										ItemPointerGetOffsetNumber(tid)));
	HeapTupleHeaderSetXminFrozen(header);
	GenericXLogFinish(xlog);
	UnlockReleaseBuffer(buffer);
}

/*
 * Create a row for the name, and store it in the slot.  The caller holds the
 * name's queue lock exclusively and has looked for the name since it got that,
 * so no two sessions create the same row; the unique index would detect it.
 */
void
names_create(NameTable *names, Datum name)
{
	TupleDesc	desc = RelationGetDescr(names->rel);
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTuple	tuple;

	memset(nulls, true, desc->natts * sizeof(bool));
	values[Anum_name - 1] = name;
	nulls[Anum_name - 1] = false;
	values[Anum_fence - 1] = Int64GetDatum(0);
	nulls[Anum_fence - 1] = false;
	tuple = heap_form_tuple(desc, values, nulls);
	insert_row(names, tuple);
	freeze_row(names, &tuple->t_self);
	if (!names_find(names, name))
		elog(ERROR, "new name \"%s\" is not there", TextDatumGetCString(name));
	heap_freetuple(tuple);
	pfree(values);
	pfree(nulls);
}

/*
 * Lock the newest version of the row that names_find() has found.  Returns
 *
 *   TM_Ok: the version is in the slot, and locked until the transaction ends
 *   TM_WouldBlock: the policy does not allow to wait; the caller may try again
 *   TM_Deleted: the name was purged
 */
TM_Result
names_lock(NameTable *names, LockTupleMode mode, LockWaitPolicy policy)
{
	ItemPointerData tid = names->tid;
	TM_FailureData failure;
	TM_Result	result;

	/* Keep no pin while we wait. */
	ExecClearTuple(names->slot);
	result = table_tuple_lock(names->rel, &tid, SnapshotAny, names->slot,
							  GetCurrentCommandId(true), mode, policy,
							  TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS |
							  TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
							  &failure);

	switch (result)
	{
		case TM_Ok:
			names->tid = names->slot->tts_tid;
			break;

		case TM_WouldBlock:
		case TM_Deleted:
			break;

		case TM_Invisible:
		case TM_SelfModified:
		case TM_Updated:
		case TM_BeingModified:
			elog(ERROR, "unexpected table_tuple_lock status: %u", result);
	}
	return result;
}

/*
 * Lock the row that names_find() has found if it is still the newest version,
 * without waiting.  Returns
 *
 *   TM_Ok: the row is as it was found, and locked until the transaction ends
 *   TM_WouldBlock: a running transaction has locked or changed it; the row is
 *     in the slot
 *   TM_Updated, TM_Deleted: there is a later version, or the name was purged;
 *     nothing was locked
 */
TM_Result
names_lock_as_found(NameTable *names, LockTupleMode mode)
{
	TM_FailureData failure;
	TM_Result	result;

	ExecClearTuple(names->slot);
	result = table_tuple_lock(names->rel, &names->tid, SnapshotAny,
							  names->slot, GetCurrentCommandId(true), mode,
							  LockWaitSkip, 0, &failure);

	switch (result)
	{
		case TM_Ok:
		case TM_WouldBlock:
		case TM_Updated:
		case TM_Deleted:
			break;

		case TM_Invisible:
		case TM_SelfModified:
		case TM_BeingModified:
			elog(ERROR, "unexpected table_tuple_lock status: %u", result);
	}
	return result;
}

/*
 * Write a new version of a resource's row, with what an exclusive holder
 * leaves there: the fence, the time since when it holds the lock, and its
 * request, if any.  If we have not locked the row, returns false if it has been
 * changed, or with lock_first, which costs a WAL record, if that would have to wait.
 */
bool
names_write_fence(NameTable *names, const Resource *resource,
				  TimestampTz since, Datum request, bool lock_first)
{
	TupleTableSlot *row = written_slot(names);
	ItemPointerData tid = resource->tid;

	memset(row->tts_isnull, false, Natts_lock_name * sizeof(bool));
	row->tts_values[Anum_name - 1] = resource->name;
	row->tts_values[Anum_fence - 1] = Int64GetDatum(resource->fence);
	row->tts_values[Anum_lock_since - 1] = TimestampTzGetDatum(since);
	row->tts_values[Anum_lock_request - 1] = request;
	row->tts_isnull[Anum_lock_request - 1] = request == (Datum) 0;
	ExecStoreVirtualTuple(row);
	if (lock_first)
	{
		names->tid = tid;
		if (names_lock_as_found(names, LockTupleNoKeyExclusive) != TM_Ok)
			return false;
	}
	if (!update_row(names, &tid, row))
		return false;
	place_remember(names, names_hash(resource->name), &row->tts_tid,
				   InvalidBuffer);
	return true;
}

/* Write a new version of the locked row in the slot, which is emptied. */
void
names_update(NameTable *names, const Datum *values, const bool *nulls,
			 const bool *replace)
{
	HeapTuple	old = ExecFetchSlotHeapTuple(names->slot, false, NULL);
	TupleTableSlot *row = written_slot(names);
	HeapTuple	new;

	new = heap_modify_tuple(old, RelationGetDescr(names->rel),
							unconstify(Datum *, values),
							unconstify(bool *, nulls),
							unconstify(bool *, replace));
	ExecClearTuple(names->slot);
	ExecForceStoreHeapTuple(new, row, false);
	if (!update_row(names, &names->tid, row))
		elog(ERROR, "a locked row was changed");
	ExecClearTuple(row);
	heap_freetuple(new);
}

/* A column of the row in the slot. */
Datum
names_get(NameTable *names, int attnum, bool *isnull)
{
	return slot_getattr(names->slot, attnum, isnull);
}

/* The fence of the row in the slot. */
int64
names_fence(NameTable *names)
{
	bool		isnull;
	Datum		fence = names_get(names, Anum_fence, &isnull);

	return isnull ? 0 : DatumGetInt64(fence);
}
