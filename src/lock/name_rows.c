/*
 * name_rows.c
 *		Rows that are found by name, made on first use, and locked.
 *
 * A resource is a row of lock_name, a lease a row of lease_state; the row's
 * own tuple lock is the lock.  Both tables are read and written as nextval()
 * does its sequence: through the heap's own functions, without a query, so
 * that no trigger, policy, operator or search_path comes in between.
 */
#include "lock.h"

#include "access/generic_xlog.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

/* The tables, in cas_internal. */
static const char *const relnames[] =
{
	[NAME_LOCK] = "lock_name",
	[NAME_LEASE] = "lease_state",
};

/* The table of this kind of names. */
Oid
names_relation(NameKind kind)
{
	return internal_relation(relnames[kind]);
}

/*
 * The tables have the shape that the install script made, for nobody but a
 * superuser can alter them; but a superuser may add indexes.  Are all indexes
 * such that CatalogIndexInsert() can write their entries?  It asserts that they
 * have no expressions, predicates, deferrable or exclusion constraints.
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

/* Open the table of this kind of names. */
void
names_open(NameTable *names, NameKind kind, bool writing)
{
	LOCKMODE	lockmode = writing ? RowExclusiveLock : AccessShareLock;

	memset(names, 0, sizeof(NameTable));
	names->kind = kind;
	names->queue = kind == NAME_LOCK ? LOCK_QUEUE : LEASE_QUEUE;
	names->rel = table_open(names_relation(kind), lockmode);
	names->index = index_open(RelationGetPrimaryKeyIndex(names->rel, false),
							  lockmode);
	if (writing)
	{
		names->indexes = CatalogOpenIndexes(names->rel);
		names->plain = has_plain_indexes(names->indexes);
	}

	names->nblocks = RelationGetNumberOfBlocks(names->rel);
	names->slot = table_slot_create(names->rel, NULL);
	names->scan = index_beginscan(names->rel, names->index, SnapshotAny, NULL,
								  1, 0);
	names->latest = RegisterSnapshot(GetLatestSnapshot());
}

/*
 * Close it, keeping the locks on the tables until the transaction's end, and
 * let the statement's later calls see what was written.
 */
void
names_close(NameTable *names)
{
	UnregisterSnapshot(names->latest);
	index_endscan(names->scan);
	ExecDropSingleTupleTableSlot(names->slot);
	if (names->executor != NULL)
	{
		ExecCloseIndices(names->executor_rel);
		FreeExecutorState(names->executor);
	}
	if (names->indexes != NULL)
	{
		CatalogCloseIndexes(names->indexes);
		CommandCounterIncrement();
	}
	index_close(names->index, NoLock);
	table_close(names->rel, NoLock);
}

/*
 * From here on, names_find() sees what has been committed until now.
 */
void
names_refresh(NameTable *names)
{
	UnregisterSnapshot(names->latest);
	names->latest = NULL;
	names->latest = RegisterSnapshot(GetLatestSnapshot());
}

/* What the name's locks and its remembered place are found by. */
uint64
names_hash(Datum name)
{
	text	   *value = DatumGetTextPP(name);

	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(value),
							   VARSIZE_ANY_EXHDR(value), 0);
}

/*
 * Find the version that the snapshot sees among those that the index entry
 * stands for, and leave it in the slot.  This is what the table's access
 * method does for the executor, but for the pruning: see make_room().
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
 * Find the name's row as the snapshot sees it, and leave it in the slot.
 *
 * A waiter that has been let in must see what the previous holder wrote,
 * whatever its statement's snapshot says, and a SERIALIZABLE transaction must
 * not leave predicate locks on rows that are locked for real.  So the index is
 * scanned with SnapshotAny, for which neither the heap nor the index takes
 * predicate locks, and each version is then held against an MVCC snapshot that
 * was taken before the scan.  (SnapshotSelf would be simpler, but can miss a
 * row whose update commits just then: the new version's index entry may lie on
 * a part of the page that has been read.)  The version found need not be the
 * newest; names_lock() follows the chain of updates to its end.
 */
bool
names_find_version(NameTable *names, Datum name, Snapshot snapshot,
				   TupleTableSlot *slot)
{
	ScanKeyData key;
	ItemPointer tid;
	bool		found = false;

	ExecClearTuple(slot);
	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, name);
	index_rescan(names->scan, &key, 1, NULL, 0);
	while (!found && (tid = index_getnext_tid(names->scan,
											  ForwardScanDirection)) != NULL)
		found = fetch_version(names, *tid, snapshot, slot);

	/* The slot has its own pin; keep none on the index. */
	index_rescan(names->scan, NULL, 1, NULL, 0);
	return found;
}

/*
 * Where this backend last saw the rows of names: by the hash of the name, the
 * latest one of those that share a place.  It may be wrong, whatever has been
 * done to the table meanwhile, and is only tried first.  Without it, a call of
 * 8 names takes 23 % more instructions.
 */
#define NUM_SEEN 4096

static struct
{
	Oid			relid;
	ItemPointerData tid;
	uint64		hash;
}			seen[NUM_SEEN];

static void
remember_place(NameTable *names, uint64 hash, ItemPointer tid)
{
	seen[hash % NUM_SEEN].relid = RelationGetRelid(names->rel);
	seen[hash % NUM_SEEN].hash = hash;
	seen[hash % NUM_SEEN].tid = *tid;
}

/*
 * Is the name's row, as it was last committed, where we last saw it?  If what
 * is there has the name and is visible, then that is it, whatever has been
 * there in between.
 */
static bool
find_again(NameTable *names, Datum name, uint64 hash)
{
	ItemPointer tid = &seen[hash % NUM_SEEN].tid;
	bool		isnull;

	return seen[hash % NUM_SEEN].hash == hash &&
		seen[hash % NUM_SEEN].relid == RelationGetRelid(names->rel) &&
		ItemPointerGetBlockNumber(tid) < names->nblocks &&
		table_tuple_fetch_row_version(names->rel, tid, SnapshotAny,
									  names->slot) &&
		table_tuple_satisfies_snapshot(names->rel, names->slot,
									   names->latest) &&
		DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, name,
											 names_get(names, Anum_name,
													   &isnull)));
}

/*
 * See that the page of the row in the slot has room for new versions.
 *
 * Pages are made half full.  The executor would prune such a page at every
 * visit from the first update on, which costs several times what the update
 * does; we let old versions gather, and remove many of them at a time.
 */
static void
make_room(NameTable *names)
{
	Page		page;
	Buffer		buffer;

	page = BufferGetPage(((BufferHeapTupleTableSlot *) names->slot)->buffer);
	if (!PageIsFull(page) && PageGetHeapFreeSpace(page) >= BLCKSZ / 8)
		return;

	/* Pruning moves the rows on the page, so nobody may be looking at them. */
	ExecClearTuple(names->slot);
	buffer = ReadBuffer(names->rel, ItemPointerGetBlockNumber(&names->tid));
	heap_page_prune_opt(names->rel, buffer);
	ReleaseBuffer(buffer);
	if (!table_tuple_fetch_row_version(names->rel, &names->tid, SnapshotAny,
									   names->slot))
		elog(ERROR, "row of a name is gone");
}

/*
 * Find the name's row as it was last committed, or as we wrote it ourselves.
 */
bool
names_find(NameTable *names, Datum name)
{
	uint64		hash = names_hash(name);

	if (!find_again(names, name, hash) &&
		!names_find_version(names, name, names->latest, names->slot))
		return false;
	names->tid = names->slot->tts_tid;
	remember_place(names, hash, &names->tid);
	if (names->indexes != NULL)
		make_room(names);
	return true;
}

/*
 * Write the index entries of a row that has been written, where there are
 * indexes of every sort.  Somebody's own may call functions: not as the
 * caller, who has not asked for that.
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
	owner_enter(&scope);
	list_free(ExecInsertIndexTuples(names->executor_rel, row, names->executor,
									update != TU_None, false, NULL, NIL,
									only_summarizing(update)));
	owner_leave(&scope);
}

/* Insert a row, and set its t_self. */
static void
insert_row(NameTable *names, HeapTuple tuple)
{
	TupleTableSlot *row;

	if (names->plain)
	{
		CatalogTupleInsertWithInfo(names->rel, tuple, names->indexes);
		return;
	}
	row = table_slot_create(names->rel, NULL);
	ExecForceStoreHeapTuple(tuple, row, false);
	simple_table_tuple_insert(names->rel, row);
	tuple->t_self = row->tts_tid;
	write_entries(names, row, TU_None);
	ExecDropSingleTupleTableSlot(row);
}

/* Write a new version of a row that we have locked, and set its t_self. */
static void
update_row(NameTable *names, ItemPointer tid, HeapTuple tuple)
{
	TupleTableSlot *row;
	TU_UpdateIndexes update_indexes;

	if (names->plain)
	{
		CatalogTupleUpdateWithInfo(names->rel, tid, tuple, names->indexes);
		return;
	}
	row = table_slot_create(names->rel, NULL);
	ExecForceStoreHeapTuple(tuple, row, false);
	simple_table_tuple_update(names->rel, tid, row, SnapshotAny,
							  &update_indexes);
	tuple->t_self = row->tts_tid;
	if (update_indexes != TU_None)
		write_entries(names, row, update_indexes);
	ExecDropSingleTupleTableSlot(row);
}

/*
 * Let a row that we have inserted stand by itself, whatever becomes of our
 * transaction, like a number drawn from a sequence: mark its xmin as frozen.
 *
 * Were a new name's row an ordinary insertion, everybody else who wants that
 * name would wait for the inserting transaction, sharers of the name included;
 * a rollback would take the row away from under those that wait; and an older
 * snapshot, which cannot see the row, would be told of a later holder that
 * there never was.  That is what the full page in the WAL, once a name, buys.
 *
 * The mark is the last step, in one WAL record.  Before it, a crash or an
 * error leaves an ordinary dead row.  The record holds the whole page: what
 * changes otherwise on it, hint bits, need not be logged, so replay may not
 * rely on the page that it finds.
 *
 * As a frozen row is there for old snapshots too, one that stands between a
 * name's purge and its making sees two rows, which a dump could not restore.
 * So the rows of lock_name, which nobody needs, are not dumped; of lease_state,
 * only leases that are held are, which rows just made or purged are not.
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
 * Make a row for the name, and leave it in the slot.  The caller holds the
 * name's queue lock in ExclusiveLock mode, and has not found it since; so no
 * two sessions make the same one, and the unique index is the last word.
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
 * Lock the row that names_find() found, in its newest version.  TM_Ok: that is
 * in the slot, locked until the transaction's end.  TM_WouldBlock: the policy
 * forbade to wait; try again as you like.  TM_Deleted: the name was purged.
 */
TM_Result
names_lock(NameTable *names, LockTupleMode mode, LockWaitPolicy policy)
{
	ItemPointerData tid = names->tid;
	TM_FailureData failure;
	TM_Result	result;

	/* Hold no pin while waiting. */
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
 * Lock the row that names_find() found if it is still the newest version, and
 * without waiting.  TM_Ok: it is locked until the transaction's end, and is as
 * it was found.  TM_WouldBlock: a transaction that is running has locked or
 * changed it; it is in the slot.  TM_Updated, TM_Deleted: there is a later
 * version, or the name was purged; nothing was locked.
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
 * Write what its exclusive holder leaves in the row of a resource: the fence,
 * since when it holds it, and its request, if any.
 */
void
names_write_fence(NameTable *names, const Resource *resource,
				  TimestampTz since, Datum request)
{
	Datum		values[Natts_lock_name];
	bool		nulls[Natts_lock_name] = {false};
	ItemPointerData tid = resource->tid;
	HeapTuple	new;

	values[Anum_name - 1] = resource->name;
	values[Anum_fence - 1] = Int64GetDatum(resource->fence);
	values[Anum_lock_since - 1] = TimestampTzGetDatum(since);
	values[Anum_lock_request - 1] = request;
	nulls[Anum_lock_request - 1] = request == (Datum) 0;
	new = heap_form_tuple(RelationGetDescr(names->rel), values, nulls);
	update_row(names, &tid, new);
	remember_place(names, names_hash(resource->name), &new->t_self);
	heap_freetuple(new);
}

/*
 * Write a new version of the locked row in the slot.  The slot is empty then.
 */
void
names_update(NameTable *names, const Datum *values, const bool *nulls,
			 const bool *replace)
{
	HeapTuple	old = ExecFetchSlotHeapTuple(names->slot, false, NULL);
	HeapTuple	new;

	new = heap_modify_tuple(old, RelationGetDescr(names->rel),
							unconstify(Datum *, values),
							unconstify(bool *, nulls),
							unconstify(bool *, replace));
	ExecClearTuple(names->slot);
	update_row(names, &names->tid, new);
	heap_freetuple(new);
}

/* The row's column. */
Datum
names_get(NameTable *names, int attnum, bool *isnull)
{
	return slot_getattr(names->slot, attnum, isnull);
}

/* The row's fence. */
int64
names_fence(NameTable *names)
{
	bool		isnull;
	Datum		fence = names_get(names, Anum_fence, &isnull);

	return isnull ? 0 : DatumGetInt64(fence);
}

/* Order of names: that of their bytes, which is that of the indexes. */
int
names_compare(Datum left, Datum right)
{
	text	   *a = DatumGetTextPP(left);
	text	   *b = DatumGetTextPP(right);
	int			alen = VARSIZE_ANY_EXHDR(a);
	int			blen = VARSIZE_ANY_EXHDR(b);
	int			order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b),
							   Min(alen, blen));

	return order != 0 ? order : alen - blen;
}

/*
 * Return the name, not toasted, or raise 22023.
 */
Datum
names_checked(Datum name, const char *argument)
{
	text	   *value = DatumGetTextPP(name);
	int			len = VARSIZE_ANY_EXHDR(value);

	if (len == 0 || len > MAX_RESOURCE_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name in argument \"%s\"", argument),
				 errhint("A name has 1 to %d bytes.", MAX_RESOURCE_NAME)));
	return PointerGetDatum(value);
}

/*
 * The name's heavyweight lock of this class.  Names whose hashes are the same
 * wait for one another a little; nothing else depends on it.
 */
void
names_locktag(LOCKTAG *tag, Datum name, uint16 lock_class)
{
	uint64		hash = names_hash(name);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId,
						 (uint32) (hash >> 32), (uint32) hash, lock_class);
}
