/*
 * store.c
 *		Writing alloc_slot and alloc_past.
 *
 * Rows are inserted speculatively, as INSERT ... ON CONFLICT does it, and
 * changed without waiting: what is in the way is reported.
 *
 * No user code runs in here.  Our direct writes fire no triggers, and the
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
	ALLOC_SLOT_OVERLAP
};
static const AllocRelation all_past_indexes[] = {ALLOC_PAST_ENDED};

/*
 * Open alloc_slot.  Its indexes are opened when a scan asks for them.  Locks
 * are kept until the transaction ends.  What a call keeps from one row or key
 * to the next is made in the context that is current now.
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
 * Writers.  A table's rows have their entries in our own indexes, and we know
 * which and what they are, so they are made here.  The executor, which does it
 * for any index and has to read up on each of them first, takes longer for
 * that than for the rest of the call: an allocation and its release cost 38 %
 * more instructions with it.  It is asked where someone has given the table
 * another index, and in mixed pools.
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
 * Make the index entries of the row by the executor.  update is what
 * table_tuple_update() said, or TU_None for a new row.  Returns whether a
 * constraint is violated, if may_conflict is true; else that is an error.
 */
bool
writer_index(Writer *writer, TU_UpdateIndexes update, bool may_conflict)
{
	bool		conflict = false;
	OwnerScope	scope;

	if (writer->estate == NULL)
	{
		/* the writer's caller may be in a context that it resets row by row */
		MemoryContext caller = MemoryContextSwitchTo(writer->call_cxt);

		writer->estate = CreateExecutorState();
		MemoryContextSwitchTo(writer->estate->es_query_cxt);
		writer->rri = makeNode(ResultRelInfo);
		InitResultRelInfo(writer->rri, writer->rel, 0, NULL, 0);
		ExecOpenIndices(writer->rri, false);
		MemoryContextSwitchTo(caller);
	}
	ResetPerTupleExprContext(writer->estate);

	/* Somebody else's index may call functions. */
	if (!writer->known)
		owner_enter(&scope);
	list_free(ExecInsertIndexTuples(writer->rri, writer->row, writer->estate,
									update != TU_None, may_conflict,
									&conflict, NIL,
									only_summarizing(update)));
	if (!writer->known)
		owner_leave(&scope);
	return conflict;
}

/*
 * Make the row's entry in one of our indexes, which have up to three columns.
 * False if it may collide, with UNIQUE_CHECK_PARTIAL.
 */
static bool
index_row(Writer *writer, Relation index, IndexUniqueCheck check,
		  bool unchanged)
{
	IndexInfo	info = {.type = T_IndexInfo};
	Datum		values[3];
	bool		isnull[3];

	if (!index->rd_index->indisready)
		return true;
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		values[i] = slot_getattr(writer->row,
								 index->rd_index->indkey.values[i],
								 &isnull[i]);
	return index_insert(index, values, isnull, &writer->row->tts_tid,
						writer->rel, check, unchanged, &info) ||
		check != UNIQUE_CHECK_PARTIAL;
}

void
store_close(Store *store)
{
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
	for (int i = 0; i < SLOT_INDEXES; i++)
	{
		if (store->index[i] != NULL)
			index_close(store->index[i], NoLock);
	}
	table_close(store->slot, NoLock);
}

/* Where a waiting row of a pool whose units are all of one size is queued. */
static Datum
queue_place(const Pool *pool, const SlotRow *row)
{
	return pool->strategy == STRATEGY_LOWEST ? queue_place_of_slot(row->lo) :
		queue_place_of_time(row->expires_at);
}

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

/* Put row's image into the store's tuple slot. */
static TupleTableSlot *
form_row(Store *store, const Pool *pool, const SlotRow *row)
{
	TupleTableSlot *slot;
	Datum	   *values;
	bool	   *isnull;
	MemoryContext caller;

	if (store->slots.rel == NULL)
		writer_open(&store->slots, store, store->slot, all_slot_indexes,
					lengthof(all_slot_indexes));
	slot = store->slots.row;
	ExecClearTuple(slot);
	MemoryContextReset(store->slots.cxt);
	caller = MemoryContextSwitchTo(store->slots.cxt);

	values = slot->tts_values - 1;
	isnull = slot->tts_isnull - 1;
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
	if (row->held && row->has_note)
	{
		values[SLOT_NOTE] = row->note;
		isnull[SLOT_NOTE] = false;
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
	MemoryContextSwitchTo(caller);
	return slot;
}

/*
 * Does the slot, for which this transaction is just inserting a row, have a
 * committed one?  A snapshot that is older than the scan misses no version:
 * what it shows has been in the index before.  Our own row it does not show;
 * where the index has nothing but that, there is nothing to look at.  SSI,
 * which would take note of an MVCC scan, does not of one of all versions.
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

	scan_by_slot(&scan, store, pool->id, slots, ForwardScanDirection,
				 SnapshotAny);
	while (!found &&
		   (tid = index_getnext_tid(scan.desc, scan.direction)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (ItemPointerEquals(tid, own))
			continue;
		while (!found && index_fetch_heap(scan.desc, scan.slot))
			found = row_seen_by(&scan, snapshot);
	}
	slot_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Make the entries of a row of a pool whose units are all of one size in the
 * indexes whose predicate it meets.
 */
static bool
index_slot(Store *store, const SlotRow *row, IndexUniqueCheck check_lo,
		   IndexUniqueCheck check_key)
{
	Writer	   *writer = &store->slots;

	return index_row(writer, store_index(store, BY_SLOT),
					 check_lo, check_lo == UNIQUE_CHECK_NO) &&
		(row->held ?
		 index_row(writer, store_index(store, BY_KEY),
				   check_key, check_key == UNIQUE_CHECK_NO) :
		 index_row(writer, store_index(store, BY_QUEUE),
				   UNIQUE_CHECK_NO, false)) &&
		(!(row->held && row->expires) ||
		 index_row(writer, store_index(store, BY_EXPIRY),
				   UNIQUE_CHECK_NO, false));
}

/*
 * Insert a row.  False if another one stands in its place: the same slot, an
 * overlapping span or the same key, of a committed or a running transaction.
 * Nothing is waited for, but other insertions in progress.
 *
 * It is inserted speculatively, as INSERT ... ON CONFLICT does it.  In mixed
 * pools every new version of a row is checked like a new row: whose insertion
 * has just read the index without it has its own entry there, and one of the
 * two sees the other.
 *
 * As store_update does not check the slots that a new version keeps, the
 * unique index's own look, which is no MVCC scan, could be the only one of the
 * two and miss a version; so a second look is taken that cannot.
 */
bool
store_insert(Store *store, const Pool *pool, SlotRow *row)
{
	TupleTableSlot *slot = form_row(store, pool, row);
	TransactionId xid = GetCurrentTransactionId();
	uint32		token;
	bool		conflict;

	token = SpeculativeInsertionLockAcquire(xid);
	table_tuple_insert_speculative(store->slot, slot,
								   GetCurrentCommandId(true), 0, NULL, token);
	if (pool->mixed || !store->slots.known)
		conflict = writer_index(&store->slots, TU_None, true);
	else
		conflict = !index_slot(store, row, UNIQUE_CHECK_PARTIAL,
							   UNIQUE_CHECK_PARTIAL);
	if (!conflict && !pool->mixed)
		conflict = slot_has_row(store, pool, row->lo);
	table_tuple_complete_speculative(store->slot, slot, token, !conflict);
	SpeculativeInsertionLockRelease(xid);

	CommandCounterIncrement();
	row->tid = slot->tts_tid;
	return !conflict;
}

/*
 * Remember who is in the way of changing the row at a place.
 */
static void
meet_lockers(Store *store, Relation rel, ItemPointerData tid)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	if (table_tuple_fetch_row_version(rel, &tid, SnapshotAny, slot))
	{
		HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);
		Buffer		buffer = ((BufferHeapTupleTableSlot *) slot)->buffer;
		TransactionId xmax;
		uint16		infomask;

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		xmax = HeapTupleHeaderGetRawXmax(tuple->t_data);
		infomask = tuple->t_data->t_infomask;
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		wait_add_xmax(&store->waits, xmax, infomask);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Change a row now: write a new version of it, or if slot is NULL, delete it;
 * unless it is no longer the latest version or someone else is at it, who is
 * then remembered in store->waits.  That is found out by locking the row, as
 * no access method's update is made for not waiting.  (Neither is its
 * deletion: told not to wait, it does not tell a lock of this transaction's
 * own, which an earlier update of the row may have left, from another's.)  It
 * is not needed if nobody else can be at the row, but for an instant.
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
		return table_tuple_delete(rel, &tuple.t_self, cid, SnapshotAny,
								  InvalidSnapshot, true, &failure, false);
	return table_tuple_update(rel, &tuple.t_self, slot, cid, SnapshotAny,
							  InvalidSnapshot, true, &failure, &lockmode,
							  update_indexes);
}

/*
 * Write a new version of the row that a scan returned, unless it is no longer
 * the latest one or is being changed.  Its slots must be unchanged; with
 * new_key, the caller has the key's lock and knows that the key has no row;
 * undisturbed says that nobody else would change the row.
 *
 * In a pool whose units are all of one size, what a new version has of the one
 * before, its slots and without new_key its key, cannot collide, as it took
 * that one's place while nobody else could.  That is not checked: the check
 * would visit every dead version of the row, and there may be many as long as
 * some idle transaction keeps them.
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

/* Delete the row that a scan returned, under the same condition. */
TM_Result
store_delete(Store *store, const SlotRow *row)
{
	TM_Result	result = store_change(store, store->slot, &row->tid, NULL,
									  false, NULL);

	CommandCounterIncrement();
	return result;
}

/* Record that the row's key held its unit, until ended_at. */
void
store_history(Store *store, const Pool *pool, const SlotRow *row,
			  TimestampTz ended_at, const char *reason)
{
	Writer	   *writer = &store->past;
	TupleTableSlot *slot;
	MemoryContext caller;
	Datum	   *values;

	if (pg_cas_history_retention == 0)
		return;

	if (writer->rel == NULL)
		writer_open(writer, store,
					table_open(alloc_relation(store->nsp, ALLOC_PAST),
							   RowExclusiveLock),
					all_past_indexes, lengthof(all_past_indexes));
	slot = writer->row;
	ExecClearTuple(slot);
	MemoryContextReset(writer->cxt);
	caller = MemoryContextSwitchTo(writer->cxt);
	values = slot->tts_values;
	memset(slot->tts_isnull, true,
		   sizeof(bool) * slot->tts_tupleDescriptor->natts);
	memset(slot->tts_isnull, false, sizeof(bool) * 7);
	values[0] = Int32GetDatum(pool->id);
	values[1] = CStringGetTextDatum(unit_text(pool, row->lo, row->order));
	values[2] = UUIDPGetDatum(&row->key);
	values[3] = Int64GetDatum(row->generation);
	values[4] = TimestampTzGetDatum(row->allocated_at);
	values[5] = TimestampTzGetDatum(Max(ended_at, row->allocated_at));
	values[6] = CStringGetTextDatum(reason);
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(caller);

	table_tuple_insert(writer->rel, slot, GetCurrentCommandId(true), 0, NULL);
	if (!writer->known)
		(void) writer_index(writer, TU_None, false);
	else
	{
		if (store->past_ended == NULL)
			store->past_ended =
				index_open(alloc_relation(store->nsp, ALLOC_PAST_ENDED),
						   RowExclusiveLock);
		(void) index_row(writer, store->past_ended, UNIQUE_CHECK_NO, false);
	}
	CommandCounterIncrement();
}

int64
store_next_generation(Store *store)
{
	return history_draw(alloc_relation(store->nsp, ALLOC_GENERATION), 1);
}
