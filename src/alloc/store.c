/*
 * store.c
 *		Writes alloc_slot.
 *
 * Rows are inserted speculatively, like those of INSERT ... ON CONFLICT.  They
 * are changed without waiting: if another transaction is in the way, that is
 * reported.
 *
 * No code of the user runs here.  Direct writes fire no triggers, and the
 * predicates and expressions of indexes run as the extension's owner.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "alloc/alloc.h"
#include "alloc/store.h"

static const AllocRelation all_slot_indexes[] = {
	ALLOC_SLOT_PKEY, ALLOC_SLOT_KEY, ALLOC_SLOT_QUEUE, ALLOC_SLOT_EXPIRY,
	ALLOC_SLOT_AGAIN, ALLOC_SLOT_OVERLAP
};

/*
 * Open alloc_slot, keeping the lock until the transaction ends.  Its indexes
 * are opened when they are needed.  What the store keeps from one row or key
 * to the next is allocated in the current memory context.
 */
void
store_open(Store *store, Oid nsp, LOCKMODE mode)
{
	memset(store, 0, sizeof(*store));
	store->nsp = nsp;
	store->mode = mode;
	store->cxt = CurrentMemoryContext;
	store->waits.cxt = CurrentMemoryContext;
	store->slot = table_open(alloc_relation(nsp, ALLOC_SLOT), mode);
}

/*
 * Prepare a table for writing.  known becomes true if it has exactly the given
 * indexes, which are our own.
 *
 * If so, we insert the index entries ourselves.  The executor, which can do it
 * for any index, first has to read up on each of them, and that takes longer
 * than the rest of a call: an allocation and its release cost 38 % more
 * instructions with it.  We use the executor if somebody has added an index to
 * the table, and in mixed pools.
 */
void
writer_open(Writer *writer, Store *store, Relation rel,
			const AllocRelation *indexes, int nindexes)
{
	MemoryContext caller = MemoryContextSwitchTo(store->cxt);
	List	   *all = RelationGetIndexList(rel);

	writer->rel = rel;
	writer->call_cxt = store->cxt;
	writer->row = table_slot_create(rel, NULL);
	writer->cxt = AllocSetContextCreate(store->cxt, "alloc row",
										ALLOCSET_SMALL_SIZES);
	writer->known = list_length(all) == nindexes;
	for (int i = 0; i < nindexes; i++)
		writer->known &=
			list_member_oid(all, alloc_relation(store->nsp, indexes[i]));
	list_free(all);
	MemoryContextSwitchTo(caller);
}

/* End the use of a writer, if it was opened. */
void
writer_close(Writer *writer)
{
	if (writer->rel == NULL)
		return;
	if (writer->estate != NULL)
	{
		ExecCloseIndices(writer->rri);
		FreeExecutorState(writer->estate);
	}
	ExecDropSingleTupleTableSlot(writer->row);
	MemoryContextDelete(writer->cxt);
}

/*
 * Insert the row's index entries by means of the executor.  update is the
 * result of table_tuple_update(), or TU_None for a new row.  Returns true if a
 * constraint is violated, provided that may_conflict is true; otherwise that
 * is an error.
 */
bool
writer_index(Writer *writer, TU_UpdateIndexes update, bool may_conflict)
{
	bool		conflict = false;
	OwnerScope	scope;

	if (writer->estate == NULL)
	{
		/* The current memory context may be reset after this row. */
		MemoryContext caller = MemoryContextSwitchTo(writer->call_cxt);

		writer->estate = CreateExecutorState();
		MemoryContextSwitchTo(writer->estate->es_query_cxt);
		writer->rri = makeNode(ResultRelInfo);
		InitResultRelInfo(writer->rri, writer->rel, 0, NULL, 0);
		ExecOpenIndices(writer->rri, false);
		MemoryContextSwitchTo(caller);
	}
	ResetPerTupleExprContext(writer->estate);

	/* An index that is not ours may call functions. */
	if (!writer->known)
		owner_enter(&scope);
	list_free(ExecInsertIndexTuples(writer->rri, writer->estate,
									update_flags(update) |
									(may_conflict ? EIIT_NO_DUPE_ERROR : 0),
									writer->row, NIL, &conflict));
	if (!writer->known)
		owner_leave(&scope);
	return conflict;
}

/*
 * Insert a row's entry into one of our indexes, which have up to three
 * columns.  With UNIQUE_CHECK_PARTIAL, returns false if the entry may violate
 * the constraint.
 */
bool
store_index_row(Writer *writer, TupleTableSlot *row, Relation index,
				IndexUniqueCheck check, bool unchanged)
{
	IndexInfo	info = {.type = T_IndexInfo};
	Datum		values[3];
	bool		isnull[3];

	/* an index that is being built or dropped concurrently may not be ready */
	if (!index->rd_index->indisready)
		return true;
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		values[i] = slot_getattr(row, index->rd_index->indkey.values[i],
								 &isnull[i]);
	return index_insert(index, values, isnull, &row->tts_tid, writer->rel,
						check, unchanged, &info) ||
		check != UNIQUE_CHECK_PARTIAL;
}

/* The same for the row in the writer's tuple slot. */
static bool
index_row(Writer *writer, Relation index, IndexUniqueCheck check,
		  bool unchanged)
{
	return store_index_row(writer, writer->row, index, check, unchanged);
}

/* End the use of a store. */
void
store_close(Store *store)
{
	LOCKMODE	release = index_lock_to_release(store->mode);

	if (store->look != NULL)
		ExecDropSingleTupleTableSlot(store->look);
	writer_close(&store->slots);
	if (store->past.rel != NULL)
	{
		writer_close(&store->past);
		if (store->past_ended != NULL)
			index_close(store->past_ended, NoLock);
		table_close(store->past.rel, NoLock);
	}
	writer_close(&store->shares);
	writer_close(&store->gaps);
	for (int i = 0; i < SHARE_INDEXES; i++)
	{
		if (store->share_index[i] != NULL)
			index_close(store->share_index[i], release);
	}
	writer_close(&store->frees);
	if (store->freed_first != NULL)
		index_close(store->freed_first, release);
	if (store->freed != NULL)
		table_close(store->freed, NoLock);
	if (store->share != NULL)
		table_close(store->share, NoLock);
	if (store->gap != NULL)
		table_close(store->gap, NoLock);
	for (int i = 0; i < SLOT_INDEXES; i++)
	{
		if (store->index[i] != NULL)
			index_close(store->index[i], release);
	}
	table_close(store->slot, NoLock);
}

/* The place in the queue of a waiting row, in a pool of one size. */
static Datum
queue_place(const Pool *pool, const SlotRow *row)
{
	return pool->strategy == STRATEGY_LOWEST ? queue_place_of_slot(row->lo) :
		queue_place_of_time(row->expires_at);
}

/* A block's slots as a numrange. */
static Datum
block_span(u128 lo, int order)
{
	RangeBound	lower = {0};
	RangeBound	upper = {0};
	TypeCacheEntry *type;

	lower.val = u128_numeric(lo);
	lower.inclusive = true;
	lower.lower = true;
	upper.val = u128_numeric(block_last(lo, order));
	upper.inclusive = true;
	type = lookup_type_cache(NUMRANGEOID, TYPECACHE_RANGE_INFO);
	return RangeTypePGetDatum(make_range(type, &lower, &upper, false, NULL));
}

/* The writer of alloc_slot. */
Writer *
store_writer(Store *store)
{
	if (store->slots.rel == NULL)
		writer_open(&store->slots, store, store->slot, all_slot_indexes,
					lengthof(all_slot_indexes));
	return &store->slots;
}

/*
 * Store the row's image in a tuple slot.  Its values are in the current memory
 * context.
 */
void
store_form(const Pool *pool, const SlotRow *row, TupleTableSlot *slot)
{
	Datum	   *values = slot->tts_values - 1;
	bool	   *isnull = slot->tts_isnull - 1;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true,
		   sizeof(bool) * slot->tts_tupleDescriptor->natts);

	values[SLOT_POOL] = Int32GetDatum(pool->id);
	values[SLOT_FIRST] = u128_numeric(row->lo);
	values[SLOT_SIZE] = Int16GetDatum(row->order);
	values[SLOT_KEY_ROW] = Int16GetDatum(row->held ? row->key_row : 0);
	isnull[SLOT_POOL] = isnull[SLOT_FIRST] = isnull[SLOT_SIZE] = false;
	isnull[SLOT_KEY_ROW] = false;
	if (row->held)
	{
		values[SLOT_KEY] = UUIDPGetDatum(&row->key);
		values[SLOT_GENERATION] = Int64GetDatum(row->generation);
		values[SLOT_ALLOCATED_AT] = TimestampTzGetDatum(row->allocated_at);
		isnull[SLOT_KEY] = isnull[SLOT_GENERATION] = false;
		isnull[SLOT_ALLOCATED_AT] = false;
	}
	if (row->expires)
	{
		values[SLOT_EXPIRES_AT] = TimestampTzGetDatum(row->expires_at);
		isnull[SLOT_EXPIRES_AT] = false;
	}
	if (row->held && is_run(row))
	{
		values[SLOT_RUN_SIZE] = Int32GetDatum(row->run_size);
		values[SLOT_RUN_PLACE] = Int32GetDatum(row->run_place);
		isnull[SLOT_RUN_SIZE] = isnull[SLOT_RUN_PLACE] = false;
	}
	if (row->held && row->has_note)
	{
		values[SLOT_NOTE] = row->note;
		isnull[SLOT_NOTE] = false;
	}
	if (row->held && row->moved)
	{
		values[SLOT_MOVED_FROM] = UUIDPGetDatum(&row->moved_from);
		values[SLOT_MOVED_GENERATION] = Int64GetDatum(row->moved_generation);
		isnull[SLOT_MOVED_FROM] = isnull[SLOT_MOVED_GENERATION] = false;
	}
	if (!row->held && !pool->mixed)
	{
		values[SLOT_QUEUE_PLACE] = queue_place(pool, row);
		isnull[SLOT_QUEUE_PLACE] = false;
	}
	if (pool->mixed)
	{
		values[SLOT_SLOTS] = block_span(row->lo, row->order);
		isnull[SLOT_SLOTS] = false;
	}
	ExecStoreVirtualTuple(slot);
}

/* The same in the writer's tuple slot, until the next row is formed. */
static TupleTableSlot *
form_row(Store *store, const Pool *pool, const SlotRow *row)
{
	Writer	   *writer = store_writer(store);
	MemoryContext caller;

	MemoryContextReset(writer->cxt);
	caller = MemoryContextSwitchTo(writer->cxt);
	store_form(pool, row, writer->row);
	MemoryContextSwitchTo(caller);
	return writer->row;
}

/*
 * Does a committed row exist at the slot, at which this transaction is
 * inserting one?
 */
static bool
slot_has_row(Store *store, const Pool *pool, u128 lo)
{
	Extent		slots = {lo, lo};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ItemPointer own = &store->slots.row->tts_tid;
	ItemPointer tid;
	SlotScan	scan;
	bool		found = false;

	/*
	 * The snapshot was taken before the scan, so every version that it shows
	 * is in the index already, and none can be missed.  SnapshotAny, because
	 * an MVCC scan would take predicate locks.
	 */
	scan_by_slot(&scan, store, pool->id, slots, ForwardScanDirection,
				 SnapshotAny);
	while (!found &&
		   (tid = index_getnext_tid(scan.base.desc,
									scan.base.direction)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		/* the row that we are inserting, which is usually the only one */
		if (ItemPointerEquals(tid, own))
			continue;
		while (!found && index_fetch_heap(scan.base.desc, scan.base.slot))
			found = row_seen_by(&scan, snapshot);
	}
	slot_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Insert the entries of a row, in a pool of one size, into those of our
 * indexes whose predicates it satisfies.  Returns false if one of the unique
 * ones reports a possible conflict.
 */
static bool
index_slot(Store *store, const SlotRow *row, IndexUniqueCheck check_lo,
		   IndexUniqueCheck check_key)
{
	Writer	   *writer = &store->slots;

	if (!index_row(writer, store_index(store, BY_SLOT), check_lo,
				   check_lo == UNIQUE_CHECK_NO))
		return false;
	if (!row->held)
		return index_row(writer, store_index(store, BY_QUEUE),
						 UNIQUE_CHECK_NO, false);
	/* of several units in a row, the first one is found by the key */
	if ((!is_run(row) || row->run_place == 0) &&
		!index_row(writer, store_index(store, BY_KEY), check_key,
				   check_key == UNIQUE_CHECK_NO))
		return false;
	if (row->key_row > 0)
		(void) index_row(writer, store_index(store, BY_AGAIN),
						 UNIQUE_CHECK_NO, false);
	return !row->expires ||
		index_row(writer, store_index(store, BY_EXPIRY),
				  UNIQUE_CHECK_NO, false);
}

/*
 * Insert a row.  Returns false if another row is in the way, committed or not:
 * one with the same slot, an overlapping block or the same key.  Waits for
 * nothing but other speculative insertions.
 */
bool
store_insert(Store *store, const Pool *pool, SlotRow *row)
{
	TupleTableSlot *slot = form_row(store, pool, row);
	TransactionId xid = GetCurrentTransactionId();
	uint32		token;
	bool		conflict;

	/*
	 * Insert speculatively, like INSERT ... ON CONFLICT.  In mixed pools every
	 * new version of a row is checked like a new row.  Of two concurrent
	 * writers at least one finds the other's index entry, because each inserts
	 * its own before it checks.
	 */
	token = SpeculativeInsertionLockAcquire(xid);
	table_tuple_insert_speculative(store->slot, slot,
								   GetCurrentCommandId(true), 0, NULL, token);
	if (pool->mixed || !store->slots.known)
		conflict = writer_index(&store->slots, TU_None, true);
	else
		conflict = !index_slot(store, row, UNIQUE_CHECK_PARTIAL,
							   UNIQUE_CHECK_PARTIAL);

	/*
	 * store_update() does not check the slots that a new version keeps.  So
	 * the check of the unique index is the only one that could find such a
	 * version, and as it is no MVCC scan, it can miss it.  Look again with a
	 * scan that cannot.
	 */
	if (!conflict && !pool->mixed)
		conflict = slot_has_row(store, pool, row->lo);
	table_tuple_complete_speculative(store->slot, slot, token, !conflict);
	SpeculativeInsertionLockRelease(xid);

	CommandCounterIncrement();
	row->tid = slot->tts_tid;
	return !conflict;
}

/* For row_lockers(): remember the transaction. */
static void
meet_locker(void *waits, TransactionId xid)
{
	wait_add_xid(waits, xid);
}

/*
 * Remember in store->waits who keeps us from changing the row in the slot.  Returns
 * whether anybody does.
 */
bool
store_meet_lockers(Store *store, TupleTableSlot *slot)
{
	return row_lockers(slot, meet_locker, &store->waits);
}

/* The same for the row at a place. */
static void
meet_lockers(Store *store, Relation rel, ItemPointerData tid)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	if (table_tuple_fetch_row_version(rel, &tid, SnapshotAny, slot))
		(void) store_meet_lockers(store, slot);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Change a row now: write a new version of it, or if slot is NULL, delete it.
 * Does nothing if the row is no longer the latest version or if another
 * transaction is changing it, which is then remembered in store->waits.  The
 * caller sets undisturbed if nobody else can be changing the row.
 */
TM_Result
store_change(Store *store, Relation rel, const ItemPointerData *tid,
			 TupleTableSlot *slot, bool undisturbed,
			 TU_UpdateIndexes *update_indexes)
{
	CommandId	cid = GetCurrentCommandId(true);
	HeapTupleData tuple;
	TM_FailureData failure;
	LockTupleMode lockmode;

	tuple.t_self = *tid;
	if (!undisturbed)
	{
		Buffer		buffer;
		TM_Result	result;

		/*
		 * No access method's update can be told not to wait, so lock the row
		 * first with LockWaitSkip.  A deletion can, but it takes a lock of our
		 * own transaction, which an earlier update of the row may have left,
		 * for somebody else's.
		 */
		result = heap_lock_tuple(rel, &tuple, cid,
								 slot == NULL ? LockTupleExclusive :
								 LockTupleNoKeyExclusive, LockWaitSkip,
								 false, &buffer, &failure);
		ReleaseBuffer(buffer);
		if (result != TM_Ok)
		{
			meet_lockers(store, rel, *tid);
			return result;
		}
	}
	if (slot == NULL)
		return table_tuple_delete(rel, &tuple.t_self, cid, 0, SnapshotAny,
								  InvalidSnapshot, true, &failure);
	return table_tuple_update(rel, &tuple.t_self, slot, cid, 0, SnapshotAny,
							  InvalidSnapshot, true, &failure, &lockmode,
							  update_indexes);
}

/*
 * Write a new version of a row that a scan has returned, under the conditions
 * of store_change().  The row's slots must be unchanged.  With new_key the row
 * gets another key; the caller must hold the key's lock and know that the key
 * has no row.
 */
TM_Result
store_update(Store *store, const Pool *pool, SlotRow *row, bool new_key,
			 bool undisturbed)
{
	TupleTableSlot *slot = form_row(store, pool, row);
	TU_UpdateIndexes update_indexes;
	TM_Result	result;

	result = store_change(store, store->slot, &row->tid, slot, undisturbed,
						  &update_indexes);
	if (result == TM_Ok)
	{
		if (update_indexes != TU_None)
		{
			/*
			 * In a pool of one size, what the new version has in common with
			 * the former one, its slots and without new_key its key, cannot
			 * conflict with another row: it takes the place of a version that
			 * was unique, and nobody else could do that.  So it is not
			 * checked.  A check would visit every dead version of the row, and
			 * while an idle transaction keeps them there may be many.
			 */
			if (pool->mixed || !store->slots.known)
				(void) writer_index(&store->slots, update_indexes, false);
			else
				(void) index_slot(store, row, UNIQUE_CHECK_NO, new_key ?
								  UNIQUE_CHECK_YES : UNIQUE_CHECK_NO);
		}
		row->tid = slot->tts_tid;
	}
	CommandCounterIncrement();
	return result;
}

/*
 * Delete a row that a scan has returned, under the conditions of
 * store_change().
 */
TM_Result
store_delete(Store *store, const SlotRow *row)
{
	TM_Result	result = store_change(store, store->slot, &row->tid, NULL,
									  false, NULL);

	CommandCounterIncrement();
	return result;
}
