/*
 * store.c
 *		The rows behind it all: reading and writing alloc_slot and its
 *		companions.
 *
 * alloc_slot has one row per block of slots (space.c), in one of these
 * states:
 *
 *	held		key is set.  It has run out if expires_at is past, and then
 *				others may have it, though the row still stands.
 *	waiting		key is NULL: released.  To be given out again from expires_at
 *				on; before that it is cooling.
 *
 * A block without a row is free, too.  In pools whose units are all of one
 * size a row stays for ever once made, so that blocks without one are those
 * never used; rank queues its waiting rows for search.c, and is NULL in all
 * other rows.  In mixed pools (prefixes; chunks beside addresses) a released
 * unit's row is deleted, unless it has to cool.
 *
 * Three constraints are the truth that no unit is given out twice: unique
 * (pool, lo), and unique (pool, key, turn) on the held ones; and in mixed
 * pools an exclusion constraint on span.  turn is 0 but for a key that comes
 * back when its unit has run out and a running transaction is just giving that
 * to another key, and may yet roll back; see unit.c.  Rows are inserted
 * speculatively, as INSERT ... ON CONFLICT does it: if another transaction has
 * the slot or the key, whether committed or running, store_insert says so
 * without waiting and without an error.  A waiting row's unit is given out
 * again by a new version of the row, which needs no look at unique (pool, lo):
 * one row has one latest version.  In mixed pools every new version is checked
 * like a new row: whose insertion has just read the index without it has its
 * own entry there, and one of the two sees the other.
 *
 * Why not SPI.  A search for something free is about the latest state at
 * every isolation level.  The executor would fail it with 40001 under
 * REPEATABLE READ for every row that changed meanwhile, and would feed SSI
 * with reads that mean nothing.  So scans here use dirty snapshots, which see
 * running transactions' rows and say whose they are, and which SSI leaves
 * alone; and updates and deletes never wait, they report what is in the way.
 *
 * A scan that is not MVCC can miss a row that is being updated: it visits the
 * old version when that is dead already, and has read the index page before
 * the new version's entry was there.  A key's row is therefore looked for
 * under the lock of its key (unit.c), which all who write it take, so that
 * index entries are complete.  Searches for free slots can afford it: if the
 * slot is not free after all, the constraint says so.
 *
 * Old snapshots.  Each time a unit is given out and comes back, its row leaves
 * a dead version and an entry in the queue, alloc_slot_rank.  As long as some
 * old transaction runs, PostgreSQL keeps both for it and has every search go
 * through them.  But nobody reads that index, nor alloc_slot_expiry, with a
 * snapshot: only our scans do, for the latest state, and what is gone from that
 * for good they need not find again.  So a scan that has passed many such
 * entries marks the further ones as dead, as an index scan does with rows that
 * are dead for everybody; they are skipped from then on and removed in time.
 * (Whoever reads alloc_slot by hand, in a transaction that is older than these
 * versions' end, should not do it by way of these two indexes.  As any removal
 * of dead entries it can conflict with old queries on a standby, with
 * hot_standby_feedback, too; hence not before there are many.)
 *
 * No user code runs in here.  Our direct writes fire no triggers, and the
 * predicates and expressions of indexes run as the tables' owner.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/index.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"
#include "catalog/pg_type.h"

#include "alloc/alloc.h"

/* alloc_slot's columns */
enum
{
	SLOT_POOL = 1,
	SLOT_LO,
	SLOT_ORD,
	SLOT_TURN,
	SLOT_KEY,
	SLOT_GENERATION,
	SLOT_ALLOCATED_AT,
	SLOT_EXPIRES_AT,
	SLOT_NOTE,
	SLOT_RANK,
	SLOT_SPAN
};

static const AllocRelation slot_indexes[] = {
	[BY_LO] = ALLOC_SLOT_PKEY,
	[BY_KEY] = ALLOC_SLOT_KEY,
	[BY_RANK] = ALLOC_SLOT_RANK,
	[BY_EXPIRY] = ALLOC_SLOT_EXPIRY
};

static const AllocRelation all_slot_indexes[] = {
	ALLOC_SLOT_PKEY, ALLOC_SLOT_KEY, ALLOC_SLOT_RANK, ALLOC_SLOT_EXPIRY,
	ALLOC_SLOT_SPAN
};
static const AllocRelation all_past_indexes[] = {ALLOC_PAST_ENDED};

/* A numeric for a number, and back. */
Datum
u128_numeric(u128 n)
{
	char		buf[U128_DIGITS];

	if (n <= (u128) PG_INT64_MAX)
		return NumericGetDatum(int64_to_numeric((int64) n));
	u128_print(n, buf);
	return DirectFunctionCall3(numeric_in, CStringGetDatum(buf),
							   ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

u128
numeric_u128(Datum numeric)
{
	static Datum largest = 0;	/* of a bigint */
	char	   *text;
	u128		n;

	if (largest == 0)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		largest = u128_numeric(PG_INT64_MAX);
		MemoryContextSwitchTo(caller);
	}
	if (DatumGetBool(DirectFunctionCall2(numeric_le, numeric, largest)))
	{
		int64		small = DatumGetInt64(DirectFunctionCall1(numeric_int8,
															  numeric));

		if (small >= 0)
			return (u128) small;
	}
	text = DatumGetCString(DirectFunctionCall1(numeric_out, numeric));
	if (!u128_parse(text, &n))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("allocation table holds the number \"%s\"", text)));
	pfree(text);
	return n;
}

/*
 * Writers.  A table's rows have their entries in our own indexes, and we know
 * which and what they are, so they are made here; the executor, which does it
 * for any index and has to read up on each of them first, would take longer
 * for that than for the rest of the call.  It is asked where someone has given
 * the table another index, and in mixed pools.
 */
static void
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

static void
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
 * Make the index entries of the row by the executor.  Returns whether a
 * constraint is violated, if may_conflict is true; else that is an error.
 */
static bool
executor_index(Writer *writer, bool update, bool may_conflict)
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
									update, may_conflict, &conflict, NIL));
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

/*
 * Open alloc_slot.  Its indexes are opened when a scan asks for them.  Locks
 * are kept until the transaction ends.
 */
void
store_open(Store *store, Oid nsp, LOCKMODE mode)
{
	memset(store, 0, sizeof(*store));
	store->nsp = nsp;
	store->mode = mode;
	store->cxt = CurrentMemoryContext;
	store->slot = table_open(alloc_relation(nsp, ALLOC_SLOT), mode);
}

void
store_close(Store *store)
{
	if (store->spare_slot != NULL)
	{
		ExecDropSingleTupleTableSlot(store->spare_slot);
		MemoryContextDelete(store->spare_cxt);
	}
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

/* An index of alloc_slot. */
static Relation
slot_index(Store *store, SlotIndex which)
{
	if (store->index[which] == NULL)
		store->index[which] =
			index_open(alloc_relation(store->nsp, slot_indexes[which]),
					   store->mode);
	return store->index[which];
}

/*
 * Scans.  The caller's keys are about the index's columns.
 */
static void
scan_begin(SlotScan *scan, Store *store, SlotIndex which, Snapshot snapshot,
		   ScanDirection direction, ScanKey keys, int nkeys)
{
	Relation	index = slot_index(store, which);

	scan->store = store;
	scan->direction = direction;
	scan->queue = snapshot == NULL &&
		(which == BY_RANK || which == BY_EXPIRY) && !RecoveryInProgress();
	scan->passed = 0;
	scan->bounded = scan->gave_up = false;
	if (snapshot == NULL)
	{
		InitDirtySnapshot(scan->dirty);
		snapshot = &scan->dirty;
	}
	scan->snapshot = snapshot;
	if (store->spare_slot != NULL)
	{
		scan->slot = store->spare_slot;
		scan->cxt = store->spare_cxt;
		store->spare_slot = NULL;
	}
	else
	{
		MemoryContext caller = MemoryContextSwitchTo(store->cxt);

		scan->slot = table_slot_create(store->slot, NULL);
		scan->cxt = AllocSetContextCreate(store->cxt, "alloc_slot scan",
										  ALLOCSET_SMALL_SIZES);
		MemoryContextSwitchTo(caller);
	}
	scan->desc = index_beginscan(store->slot, index, snapshot, nkeys, 0);
	index_rescan(scan->desc, keys, nkeys, NULL, 0);
}

/*
 * Is the version that an index entry points to gone from the latest state for
 * good: deleted or replaced by a transaction that has committed?
 */
static bool
version_is_gone(SlotScan *scan, ItemPointer tid)
{
	HeapTuple	tuple;
	bool		gone;

	if (!table_tuple_fetch_row_version(scan->store->slot, tid, SnapshotAny,
									   scan->slot))
		return false;
	tuple = ExecFetchSlotHeapTuple(scan->slot, false, NULL);
	gone = !HeapTupleHeaderIsHotUpdated(tuple->t_data) &&
		!(tuple->t_data->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_data->t_infomask) &&
		TransactionIdDidCommit(HeapTupleHeaderGetUpdateXid(tuple->t_data));
	ExecClearTuple(scan->slot);
	return gone;
}

/* Entries that a scan passes before it marks dead ones, or gives up. */
#define PASSED_MANY 64

/* Have the scan's slot hold its next row. */
static bool
scan_advance(SlotScan *scan)
{
	IndexScanDesc desc = scan->desc;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!desc->xs_heap_continue)
		{
			ItemPointer tid = index_getnext_tid(desc, scan->direction);

			if (tid == NULL)
				return false;
		}
		if (index_fetch_heap(desc, scan->slot))
			return true;
		if (++scan->passed <= PASSED_MANY)
			continue;
		scan->gave_up = scan->bounded;
		if (scan->gave_up)
			return false;
		if (scan->queue && !desc->kill_prior_tuple)
			desc->kill_prior_tuple =
				version_is_gone(scan, &desc->xs_heaptid);
	}
}

/* Read the row in the slot; dirty is NULL, or the snapshot that found it. */
static void
read_row(TupleTableSlot *slot, const SnapshotData *dirty, SlotRow *row)
{
	Datum	   *values;
	bool	   *isnull;

	slot_getallattrs(slot);
	values = slot->tts_values - 1;
	isnull = slot->tts_isnull - 1;

	row->lo = numeric_u128(values[SLOT_LO]);
	row->order = DatumGetInt16(values[SLOT_ORD]);
	row->held = !isnull[SLOT_KEY];
	if (row->held)
	{
		row->key = *DatumGetUUIDP(values[SLOT_KEY]);
		row->turn = DatumGetInt16(values[SLOT_TURN]);
		row->generation = DatumGetInt64(values[SLOT_GENERATION]);
		row->allocated_at = DatumGetTimestampTz(values[SLOT_ALLOCATED_AT]);
	}
	row->expires = !isnull[SLOT_EXPIRES_AT];
	if (row->expires)
		row->expires_at = DatumGetTimestampTz(values[SLOT_EXPIRES_AT]);
	row->has_note = !isnull[SLOT_NOTE];
	if (row->has_note)
		row->note = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[SLOT_NOTE]));

	row->tid = slot->tts_tid;
	row->inserter = InvalidTransactionId;
	row->deleter = InvalidTransactionId;
	row->token = 0;
	if (dirty != NULL)
	{
		row->inserter = dirty->xmin;
		row->deleter = dirty->xmax;
		row->token = dirty->speculativeToken;
	}
	if (TransactionIdIsValid(row->inserter))
		row->own = false;
	else
	{
		Datum		xmin = slot_getsysattr(slot,
										   MinTransactionIdAttributeNumber,
										   &row->own);

		row->own =
			TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
	}
}

/*
 * The next row.  Under a dirty snapshot that includes rows that a running
 * transaction has inserted or is about to delete, and says so.  What row
 * points to lives until the next call.
 */
bool
slot_scan_next(SlotScan *scan, SlotRow *row)
{
	MemoryContext caller;

	if (!scan_advance(scan))
		return false;
	MemoryContextReset(scan->cxt);
	caller = MemoryContextSwitchTo(scan->cxt);
	read_row(scan->slot,
			 scan->snapshot == &scan->dirty ? &scan->dirty : NULL, row);
	MemoryContextSwitchTo(caller);
	return true;
}

/*
 * The row that is at a place now, if it is one of the pool.  It stays where it
 * is until the next look.
 */
bool
store_look(Store *store, const Pool *pool, ItemPointer tid, SlotRow *row)
{
	SnapshotData dirty;
	bool		isnull;

	if (store->look == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(store->cxt);

		store->look = table_slot_create(store->slot, NULL);
		MemoryContextSwitchTo(caller);
	}
	InitDirtySnapshot(dirty);
	if (!table_tuple_fetch_row_version(store->slot, tid, &dirty,
									   store->look) ||
		DatumGetInt32(slot_getattr(store->look, SLOT_POOL, &isnull)) !=
		pool->id)
		return false;
	read_row(store->look, &dirty, row);
	return true;
}

/* Does the snapshot see the row that the scan has just returned? */
bool
row_seen_by(SlotScan *scan, Snapshot snapshot)
{
	return table_tuple_satisfies_snapshot(scan->store->slot, scan->slot,
										  snapshot);
}

void
slot_scan_end(SlotScan *scan)
{
	Store	   *store = scan->store;

	index_endscan(scan->desc);
	if (store->spare_slot != NULL)
	{
		ExecDropSingleTupleTableSlot(scan->slot);
		MemoryContextDelete(scan->cxt);
		return;
	}
	ExecClearTuple(scan->slot);
	store->spare_slot = scan->slot;
	store->spare_cxt = scan->cxt;
}

static void
key_int4(ScanKey key, int attno, int32 value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(value));
}

static int
lo_keys(ScanKey keys, int32 pool, Extent slots)
{
	key_int4(&keys[0], 1, pool);
	if (slots.first == slots.last)
	{
		ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_NUMERIC_EQ,
					u128_numeric(slots.first));
		return 2;
	}
	ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_NUMERIC_GE,
				u128_numeric(slots.first));
	ScanKeyInit(&keys[2], 2, BTLessEqualStrategyNumber, F_NUMERIC_LE,
				u128_numeric(slots.last));
	return 3;
}

/*
 * Rows that begin in the extent, ascending or descending, as the snapshot
 * shows them; NULL: dirty.
 */
void
scan_by_lo(SlotScan *scan, Store *store, int32 pool, Extent slots,
		   ScanDirection direction, Snapshot snapshot)
{
	ScanKeyData keys[3];
	int			nkeys = lo_keys(keys, pool, slots);

	scan_begin(scan, store, BY_LO, snapshot, direction, keys, nkeys);
}

/* The versions of the key's row that the snapshot shows; NULL: dirty. */
void
scan_by_key(SlotScan *scan, Store *store, int32 pool, const pg_uuid_t *key,
			Snapshot snapshot)
{
	ScanKeyData keys[2];

	key_int4(&keys[0], 1, pool);
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(key));
	scan_begin(scan, store, BY_KEY, snapshot, ForwardScanDirection, keys, 2);
}

/* Waiting rows whose rank is in the extent, by rank. */
void
scan_by_rank(SlotScan *scan, Store *store, int32 pool, Extent ranks)
{
	ScanKeyData keys[3];

	key_int4(&keys[0], 1, pool);
	ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_NUMERIC_GE,
				u128_numeric(ranks.first));
	ScanKeyInit(&keys[2], 2, BTLessEqualStrategyNumber, F_NUMERIC_LE,
				u128_numeric(ranks.last));
	scan_begin(scan, store, BY_RANK, NULL, ForwardScanDirection, keys, 3);
}

/* Held rows (in mixed pools: all) that have run out until then, by time. */
void
scan_by_expiry(SlotScan *scan, Store *store, int32 pool, TimestampTz until)
{
	ScanKeyData keys[2];

	key_int4(&keys[0], 1, pool);
	ScanKeyInit(&keys[1], 2, BTLessEqualStrategyNumber, F_TIMESTAMP_LE,
				TimestampTzGetDatum(until));
	scan_begin(scan, store, BY_EXPIRY, NULL, ForwardScanDirection, keys, 2);
}

/*
 * Rows that are to run out after that time, cooling ones included, by time;
 * with strategy "lowest", cooling ones in no useful order.
 */
void
scan_cooling(SlotScan *scan, Store *store, const Pool *pool,
			 TimestampTz after)
{
	ScanKeyData keys[2];

	if (!pool->mixed)
	{
		Extent		ranks = {(u128) Max(after, 0), U128_MAX};

		if (pool->strategy == STRATEGY_LOWEST)
			ranks.first = 0;
		scan_by_rank(scan, store, pool->id, ranks);
		return;
	}
	key_int4(&keys[0], 1, pool->id);
	ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_TIMESTAMP_GT,
				TimestampTzGetDatum(after));
	scan_begin(scan, store, BY_EXPIRY, NULL, ForwardScanDirection, keys, 2);
}

/*
 * Writing.
 */

/* When a waiting row's turn comes, as alloc_slot_rank orders them. */
static u128
row_rank(const Pool *pool, const SlotRow *row)
{
	if (pool->strategy == STRATEGY_LOWEST)
		return row->lo;
	return row->expires_at > 0 ? (u128) row->expires_at : 0;
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
	return RangeTypePGetDatum(make_range(type, &lower, &upper, false));
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
	values[SLOT_LO] = u128_numeric(row->lo);
	values[SLOT_ORD] = Int16GetDatum(row->order);
	values[SLOT_TURN] = Int16GetDatum(row->held ? row->turn : 0);
	isnull[SLOT_POOL] = isnull[SLOT_LO] = isnull[SLOT_ORD] = false;
	isnull[SLOT_TURN] = false;
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
		values[SLOT_RANK] = u128_numeric(row_rank(pool, row));
		isnull[SLOT_RANK] = false;
	}
	if (pool->mixed)
	{
		values[SLOT_SPAN] = block_span(row->lo, row->order);
		isnull[SLOT_SPAN] = false;
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

	scan_by_lo(&scan, store, pool->id, slots, ForwardScanDirection,
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

	return index_row(writer, slot_index(store, BY_LO),
					 check_lo, check_lo == UNIQUE_CHECK_NO) &&
		(row->held ?
		 index_row(writer, slot_index(store, BY_KEY),
				   check_key, check_key == UNIQUE_CHECK_NO) :
		 index_row(writer, slot_index(store, BY_RANK),
				   UNIQUE_CHECK_NO, false)) &&
		(!(row->held && row->expires) ||
		 index_row(writer, slot_index(store, BY_EXPIRY),
				   UNIQUE_CHECK_NO, false));
}

/*
 * Insert a row.  False if another one stands in its place: the same slot, an
 * overlapping span or the same key, of a committed or a running transaction.
 * Nothing is waited for, but other insertions in progress.
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
		conflict = executor_index(&store->slots, false, true);
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
 * Change a row now: write a new version of it, or if slot is NULL, delete it;
 * unless it is no longer the latest version or someone else is at it.  That is
 * found out by locking the row, as no access method's update is made for not
 * waiting.  (Neither is its deletion: told not to wait, it does not tell a
 * lock of this transaction's own, which an earlier update of the row may have
 * left, from another's.)  It is not needed if nobody else can be at the row,
 * but for an instant.
 */
static TM_Result
change_row(Relation rel, const ItemPointerData *tid, TupleTableSlot *slot,
		   bool undisturbed, bool *update_indexes)
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
			return result;
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
	bool		update_indexes;
	TM_Result	result;

	result = change_row(store->slot, &row->tid, slot, undisturbed,
						&update_indexes);
	if (result == TM_Ok)
	{
		if (update_indexes)
		{
			if (pool->mixed || !store->slots.known)
				(void) executor_index(&store->slots, true, false);
			else
				(void) index_slot(store, row, UNIQUE_CHECK_NO,
								  new_key ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO);
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
	TM_Result	result = change_row(store->slot, &row->tid, NULL, false, NULL);

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
		(void) executor_index(writer, false, false);
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
	return nextval_internal(alloc_relation(store->nsp, ALLOC_GENERATION),
							false);
}

/*
 * alloc_frontier.  It says where a range's never-used slots begin, and which
 * ones before that are pending; search.c tells how that is known.  A missing
 * row means: at the range's beginning.
 */
static bool
frontier_find(Relation rel, Relation index, int32 range, TupleTableSlot *slot)
{
	IndexScanDesc desc;
	ScanKeyData key;
	bool		found;

	key_int4(&key, 1, range);
	desc = index_beginscan(rel, index, SnapshotSelf, 1, 0);
	index_rescan(desc, &key, 1, NULL, 0);
	found = index_getnext_slot(desc, ForwardScanDirection, slot);
	if (found)
		ExecMaterializeSlot(slot);
	index_endscan(desc);
	return found;
}

/*
 * Read a range's frontier, with up to MAX_PENDING pending runs; what does not
 * fit, or with pending NULL all of them, is left behind the frontier.
 */
bool
store_frontier(Store *store, int32 range, u128 *next, PendingRun *pending,
			   int *npending)
{
	Relation	rel = table_open(alloc_relation(store->nsp, ALLOC_FRONTIER),
								 AccessShareLock);
	Relation	index = index_open(alloc_relation(store->nsp,
												ALLOC_FRONTIER_PKEY),
								   AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool		found = frontier_find(rel, index, range, slot);

	if (found)
	{
		bool		isnull;
		Datum	   *bounds;
		bool	   *nulls;
		int			nbounds;
		int			n = 0;

		*next = numeric_u128(slot_getattr(slot, 2, &isnull));
		deconstruct_array(DatumGetArrayTypeP(slot_getattr(slot, 3, &isnull)),
						  NUMERICOID, -1, false, TYPALIGN_INT,
						  &bounds, &nulls, &nbounds);
		for (int i = 0; i + 1 < nbounds; i += 2)
		{
			PendingRun	run = {0};

			if (nulls[i] || nulls[i + 1])
				continue;		/* damaged: alloc_verify tells what is lost */
			run.slots.first = numeric_u128(bounds[i]);
			run.slots.last = numeric_u128(bounds[i + 1]);
			if (pending != NULL && n < MAX_PENDING)
				pending[n++] = run;
			else
				*next = Min(*next, run.slots.first);
		}
		if (npending != NULL)
			*npending = n;
	}
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return found;
}

/* Move a range's frontier on, unless someone else is just doing that. */
void
store_save_frontier(Store *store, int32 range, u128 next,
					const PendingRun *pending, int npending)
{
	Relation	rel = table_open(alloc_relation(store->nsp, ALLOC_FRONTIER),
								 RowExclusiveLock);
	Relation	index = index_open(alloc_relation(store->nsp,
												  ALLOC_FRONTIER_PKEY),
								   AccessShareLock);
	Writer		writer = {0};
	TupleTableSlot *slot;

	writer_open(&writer, store, rel, NULL, 0);
	slot = writer.row;
	if (frontier_find(rel, index, range, slot))
	{
		ItemPointerData tid = slot->tts_tid;
		bool		update_indexes;
		Datum		bounds[2 * MAX_PENDING];
		int			n = 0;

		for (int i = 0; i < npending; i++)
		{
			if (pending[i].slots.first >= next)
				continue;
			bounds[n++] = u128_numeric(pending[i].slots.first);
			bounds[n++] = u128_numeric(pending[i].slots.last);
		}
		ExecClearTuple(slot);
		slot->tts_values[0] = Int32GetDatum(range);
		slot->tts_values[1] = u128_numeric(next);
		slot->tts_values[2] =
			PointerGetDatum(construct_array(bounds, n, NUMERICOID, -1, false,
											TYPALIGN_INT));
		memset(slot->tts_isnull, false, sizeof(bool) * 3);
		ExecStoreVirtualTuple(slot);
		if (change_row(rel, &tid, slot, false, &update_indexes) == TM_Ok &&
			update_indexes)
			(void) executor_index(&writer, true, false);
		CommandCounterIncrement();
	}
	writer_close(&writer);
	index_close(index, NoLock);
	table_close(rel, NoLock);
}
