/*
 * names.c
 *		Rows that are found by name, made on the fly, and locked.
 *
 * A resource is a row of lock_name, a lease a row of lease_state.  The row's
 * own tuple lock is the lock: it lives in the heap, so rollback, savepoints,
 * prepared transactions and the deadlock detector treat it as they treat any
 * row.  This file reads and writes these two tables as nextval() does its
 * sequence: through the heap's own functions, with no query and thus nobody's
 * trigger, policy, operator or search_path in between, and without becoming
 * another role.  Who may do what is the business of the functions above.
 *
 * Looking a name up
 *
 *	A waiter that has been let in must see what the previous holder wrote,
 *	whatever its statement's snapshot says, and a SERIALIZABLE transaction
 *	must not leave predicate locks on rows that are locked for real.  So the
 *	index is scanned with SnapshotAny, for which neither the heap nor the index
 *	takes predicate locks, and each version is then held against an MVCC
 *	snapshot of our own that was taken before the scan.  (Scanning with
 *	SnapshotSelf would be simpler, but a row whose update commits just then can
 *	be missed: the new version's index entry may lie on a part of the page that
 *	has been read.)  The version found need not be the newest; names_lock()
 *	follows the chain of updates to its end.
 *
 * Making a name
 *
 *	Were a new name's row an ordinary insertion, everybody else who wants that
 *	name would wait for the inserting transaction, sharers of the name
 *	included, and a rollback would take the row away from under those that
 *	wait.  So the row is made to stand by itself, like a number drawn from a
 *	sequence: it is inserted and indexed in the ordinary way, and then, as the
 *	last step and in one WAL record, its xmin is marked as frozen.  Before that
 *	record, a crash or an error leaves an ordinary dead row; after it, the row
 *	is there for every snapshot, however old, whatever becomes of our
 *	transaction.  The caller holds the name's queue lock in ExclusiveLock mode,
 *	so no two sessions make the same one; the unique index is the last word.
 *	The record holds the whole page: what changes otherwise on it, hint bits,
 *	need not be logged, so replay may not rely on the page it finds.
 *
 * Snapshots
 *
 *	Only an exclusive holder writes a new version of a lock_name row.  A
 *	transaction of REPEATABLE READ or SERIALIZABLE whose snapshot does not see
 *	the newest version is therefore one that began before the last exclusive
 *	holder's commit: names_check_snapshot() sends it away with 40001.  That a
 *	purged name cannot hide this is names_purge()'s care.
 *
 * Dumps
 *
 *	A frozen row is there for old snapshots too, so one that stands between a
 *	name's purge and its making sees two rows, which a dump could not restore.
 *	Nobody needs the rows of lock_name, for fences come from the sequence: they
 *	are not dumped.  Of lease_state are dumped the leases that are held; the
 *	version that names_create() makes is held by nobody, and the one that was
 *	purged was released.
 */
#include "lock.h"

#include "access/genam.h"
#include "access/generic_xlog.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/skey.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* What the tables must look like; see check_shape(). */
static const Oid lock_name_types[Natts_lock_name] =
{TEXTOID, INT8OID};
static const Oid lease_state_types[Natts_lease_state] =
{TEXTOID, INT8OID, TEXTOID, REGROLEOID, TIMESTAMPTZOID, TIMESTAMPTZOID};

static const struct
{
	const char *relname;
	int			natts;
	const Oid  *types;
}			shapes[] =
{
	[NAME_LOCK] = {"lock_name", Natts_lock_name, lock_name_types},
	[NAME_LEASE] = {"lease_state", Natts_lease_state, lease_state_types},
};

/*
 * The table belongs to the role that installed the extension, which need not
 * be a superuser and can ALTER it.  We read its tuples as C data: see that it
 * is still what the install script made.
 */
static void
check_shape(Relation rel, Relation index, NameKind kind)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		ok;

	ok = rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		desc->natts == shapes[kind].natts;

	for (int i = 0; ok && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		ok = !att->attisdropped && att->atttypid == shapes[kind].types[i];
	}

	ok = ok && index != NULL &&
		index->rd_rel->relam == BTREE_AM_OID &&
		index->rd_index->indisvalid &&
		index->rd_index->indimmediate &&
		index->rd_index->indnkeyatts == 1 &&
		index->rd_index->indkey.values[0] == Anum_name &&
		index->rd_opfamily[0] == TEXT_BTREE_FAM_OID &&
		index->rd_indcollation[0] == C_COLLATION_OID;

	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not as pg_cas made it",
						RelationGetRelationName(rel))));
}

/*
 * Likewise of the indexes, before writing: the primary key's is the only one,
 * but for its twin while REINDEX CONCURRENTLY runs.
 */
static void
check_indexes(NameTable *names)
{
	for (int i = 0; i < names->indexes->ri_NumIndices; i++)
	{
		IndexInfo  *info = names->indexes->ri_IndexRelationInfo[i];
		Relation	index = names->indexes->ri_IndexRelationDescs[i];

		if (info->ii_Expressions != NIL || info->ii_Predicate != NIL ||
			info->ii_ExclusionOps != NULL || !index->rd_index->indimmediate)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" is not as pg_cas made it",
							RelationGetRelationName(names->rel)),
					 errdetail("It has an index \"%s\" that is not a plain one.",
							   RelationGetRelationName(index))));
	}
}

/*
 * Open the table of this kind of names.
 */
void
names_open(NameTable *names, NameKind kind, bool writing)
{
	LOCKMODE	lockmode = writing ? RowExclusiveLock : AccessShareLock;
	Oid			relid;
	Oid			indexid;

	memset(names, 0, sizeof(NameTable));
	names->kind = kind;
	names->queue = kind == NAME_LOCK ? LOCK_QUEUE : LEASE_QUEUE;
	relid = internal_relation(shapes[kind].relname);
	names->rel = table_open(relid, lockmode);
	indexid = RelationGetPrimaryKeyIndex(names->rel);
	if (OidIsValid(indexid))
		names->index = index_open(indexid, lockmode);
	check_shape(names->rel, names->index, kind);

	if (writing)
	{
		names->indexes = CatalogOpenIndexes(names->rel);
		check_indexes(names);
	}

	names->nblocks = RelationGetNumberOfBlocks(names->rel);
	names->slot = table_slot_create(names->rel, NULL);
	names->scan = index_beginscan(names->rel, names->index, SnapshotAny, 1, 0);
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

static uint64
name_hash(Datum name)
{
	text	   *value = DatumGetTextPP(name);

	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(value),
							   VARSIZE_ANY_EXHDR(value), 0);
}

/*
 * Find the version that the snapshot sees among those that the index entry
 * stands for, and leave it in the slot.  This is what the table's access method
 * does for the executor, but for the pruning: see make_room().
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
 */
static bool
find_version(NameTable *names, Datum name, Snapshot snapshot,
			 TupleTableSlot *slot)
{
	ScanKeyData key;
	ItemPointer tid;
	bool		found = false;

	ExecClearTuple(slot);
	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, name);
	index_rescan(names->scan, &key, 1, NULL, 0);
	while (!found &&
		   (tid = index_getnext_tid(names->scan, ForwardScanDirection)) != NULL)
		found = fetch_version(names, *tid, snapshot, slot);

	/* The slot has its own pin; keep none on the index. */
	index_rescan(names->scan, NULL, 1, NULL, 0);
	return found;
}

/*
 * Where this backend last saw the rows of names: by the hash of the name, the
 * latest one of those that share a place.  It may be wrong, and is only tried
 * first.
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
	uint64		hash = name_hash(name);

	if (!find_again(names, name, hash) &&
		!find_version(names, name, names->latest, names->slot))
		return false;
	names->tid = names->slot->tts_tid;
	remember_place(names, hash, &names->tid);
	if (names->indexes != NULL)
		make_room(names);
	return true;
}

/*
 * Make a row for the name, and leave it in the slot.  The caller holds the
 * name's queue lock in ExclusiveLock mode, and has not found it since.
 */
void
names_create(NameTable *names, Datum name)
{
	TupleDesc	desc = RelationGetDescr(names->rel);
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTuple	tuple;
	Buffer		buffer;
	GenericXLogState *xlog;
	Page		page;
	HeapTupleHeader header;

	memset(nulls, true, desc->natts * sizeof(bool));
	values[Anum_name - 1] = name;
	nulls[Anum_name - 1] = false;
	values[Anum_fence - 1] = Int64GetDatum(0);
	nulls[Anum_fence - 1] = false;
	tuple = heap_form_tuple(desc, values, nulls);
	CatalogTupleInsertWithInfo(names->rel, tuple, names->indexes);

	/* Now let it stand by itself: see the head of this file. */
	buffer = ReadBuffer(names->rel,
						ItemPointerGetBlockNumber(&tuple->t_self));
	xlog = GenericXLogStart(names->rel);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	page = GenericXLogRegisterBuffer(xlog, buffer,
									 GENERIC_XLOG_FULL_IMAGE);
	header = (HeapTupleHeader)
		PageGetItem(page,
					PageGetItemId(page,
								  ItemPointerGetOffsetNumber(&tuple->t_self)));
	HeapTupleHeaderSetXminFrozen(header);
	GenericXLogFinish(xlog);
	UnlockReleaseBuffer(buffer);

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

/*
 * Raise 40001 if the transaction's snapshot is older than the last change of
 * holder of the locked row.  A lease's renewal is none.  What we wrote after
 * we were checked is nobody else's, though this statement does not see it yet.
 */
void
names_check_snapshot(NameTable *names, Datum name)
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
	same = find_version(names, name, snapshot, old) &&
		DatumGetInt64(slot_getattr(old, Anum_fence, &isnull)) ==
		names_fence(names) &&
		leased(names, old) == leased(names, names->slot);
	ExecDropSingleTupleTableSlot(old);
	if (!same)
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
}

/*
 * Write the fence of a resource into its row, which is locked.
 */
void
names_write_fence(NameTable *names, const Resource *resource)
{
	Datum		values[Natts_lock_name];
	bool		nulls[Natts_lock_name] = {false};
	ItemPointerData tid = resource->tid;
	HeapTuple	new;

	values[Anum_name - 1] = resource->name;
	values[Anum_fence - 1] = Int64GetDatum(resource->fence);
	new = heap_form_tuple(RelationGetDescr(names->rel), values, nulls);
	CatalogTupleUpdateWithInfo(names->rel, &tid, new, names->indexes);
	remember_place(names, name_hash(resource->name), &new->t_self);
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
	CatalogTupleUpdateWithInfo(names->rel, &names->tid, new, names->indexes);
	heap_freetuple(new);
}

/*
 * List who has locked the row in the slot, in a palloc'd array; return how
 * many.  Some may have ended, and one may be there more than once.  Of leases,
 * guards are sharers; on a resource's row FOR KEY SHARE is but what an update
 * leaves of its own lock on the new version.
 */
static int
row_holders(NameTable *names, RowHolder **holders)
{
	BufferHeapTupleTableSlot *slot = (BufferHeapTupleTableSlot *) names->slot;
	HeapTupleHeader tuple = slot->base.tuple->t_data;
	TransactionId xmin = InvalidTransactionId;
	TransactionId xmax = InvalidTransactionId;
	uint16		infomask;
	MultiXactMember *members = NULL;
	int			nmembers = 0;
	RowHolder  *list;
	int			n = 0;

	/* The xmin and xmax are one another's only under the buffer's lock. */
	LockBuffer(slot->buffer, BUFFER_LOCK_SHARE);
	infomask = tuple->t_infomask;
	if (!HeapTupleHeaderXminFrozen(tuple))
		xmin = HeapTupleHeaderGetRawXmin(tuple);
	if (!(infomask & HEAP_XMAX_INVALID) &&
		!HEAP_LOCKED_UPGRADED(infomask))
		xmax = HeapTupleHeaderGetRawXmax(tuple);
	LockBuffer(slot->buffer, BUFFER_LOCK_UNLOCK);

	if (TransactionIdIsValid(xmax) && (infomask & HEAP_XMAX_IS_MULTI))
		nmembers = GetMultiXactIdMembers(xmax, &members, false,
										 HEAP_XMAX_IS_LOCKED_ONLY(infomask));
	list = palloc((Max(nmembers, 0) + 2) * sizeof(RowHolder));

	/* Who wrote this version did so as the exclusive holder. */
	if (TransactionIdIsValid(xmin))
	{
		list[n].xid = xmin;
		list[n++].mode = HOLD_EXCLUSIVE;
	}

	if (TransactionIdIsValid(xmax) && !(infomask & HEAP_XMAX_IS_MULTI) &&
		!(HEAP_XMAX_IS_KEYSHR_LOCKED(infomask) && names->kind == NAME_LOCK))
	{
		list[n].xid = xmax;
		list[n++].mode = HEAP_XMAX_IS_SHR_LOCKED(infomask) ||
			HEAP_XMAX_IS_KEYSHR_LOCKED(infomask) ?
			HOLD_SHARED : HOLD_EXCLUSIVE;
	}

	for (int i = 0; i < nmembers; i++)
	{
		if (members[i].status == MultiXactStatusForKeyShare &&
			names->kind == NAME_LOCK)
			continue;
		list[n].xid = members[i].xid;
		list[n++].mode = members[i].status <= MultiXactStatusForShare ?
			HOLD_SHARED : HOLD_EXCLUSIVE;
	}

	*holders = list;
	return n;
}

/*
 * How does this transaction hold the row in the slot?  Tell also by which of
 * its (sub)transactions.
 */
HoldMode
names_held(NameTable *names, TransactionId *xid)
{
	RowHolder  *holders;
	int			n = row_holders(names, &holders);
	HoldMode	held = HOLD_NONE;

	for (int i = 0; i < n; i++)
		if (holders[i].mode > held &&
			TransactionIdIsCurrentTransactionId(holders[i].xid))
		{
			held = holders[i].mode;
			*xid = holders[i].xid;
		}
	pfree(holders);
	return held;
}

/*
 * List the running transactions that hold the row in the slot, each once and
 * by its top transaction, in a palloc'd array; return how many.
 */
int
names_holders(NameTable *names, RowHolder **holders)
{
	int			n = row_holders(names, holders);
	RowHolder  *list = *holders;
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		RowHolder	holder = list[i];
		int			j = 0;

		if (TransactionIdIsCurrentTransactionId(holder.xid))
			holder.xid = GetTopTransactionId();
		else if (TransactionIdIsInProgress(holder.xid))
			holder.xid = SubTransGetTopmostTransaction(holder.xid);
		else
			continue;

		while (j < kept && list[j].xid != holder.xid)
			j++;
		if (j == kept)
			list[kept++] = holder;
		else
			list[j].mode = Max(list[j].mode, holder.mode);
	}
	return kept;
}

/*
 * Walk all rows, as names_find() sees them: leave the next one in the slot, or
 * return false.
 */
bool
names_next(NameTable *names, TableScanDesc scan)
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
names_purge(NameTable *names, int batch)
{
	TransactionId horizon = GetOldestNonRemovableTransactionId(names->rel);
	TableScanDesc scan = table_beginscan(names->rel, SnapshotAny, 0, NULL);
	int64		purged = 0;

	while (purged < batch && names_next(names, scan))
	{
		TransactionId xid;
		bool		isnull;
		LOCKTAG		tag;

		if (leased(names, names->slot) ||
			!TransactionIdPrecedes(row_xmin(names), horizon) ||
			names_held(names, &xid) != HOLD_NONE)
			continue;
		name_locktag(&tag, names_get(names, Anum_name, &isnull),
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

/*
 * Return the name, not toasted, or raise 22023.
 */
Datum
checked_name(Datum name, const char *argument)
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
name_locktag(LOCKTAG *tag, Datum name, uint16 lock_class)
{
	uint64		hash = name_hash(name);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId,
						 (uint32) (hash >> 32), (uint32) hash, lock_class);
}
