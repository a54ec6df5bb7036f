/*
 * scan.c
 *		Reads alloc_slot: by slot, by key, by the queue, by time.
 *
 * SPI is not used.  A search for a free unit is about the latest state at
 * every isolation level, and under REPEATABLE READ the executor would raise
 * 40001 for every row that has changed since the snapshot.  Searches use dirty
 * snapshots, which also see the rows of running transactions and say which
 * transaction that is.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "alloc/alloc.h"
#include "alloc/store.h"

/* Index entries that a scan passes before it marks dead ones or gives up. */
#define PASSED_MANY 64

static const AllocRelation slot_indexes[] = {
	[BY_SLOT] = ALLOC_SLOT_PKEY,
	[BY_KEY] = ALLOC_SLOT_KEY,
	[BY_QUEUE] = ALLOC_SLOT_QUEUE,
	[BY_EXPIRY] = ALLOC_SLOT_EXPIRY,
	[BY_AGAIN] = ALLOC_SLOT_AGAIN
};

/* Return an index of alloc_slot, opening it if necessary. */
Relation
store_index(Store *store, SlotIndex which)
{
	if (store->index[which] == NULL)
		store->index[which] =
			index_open(alloc_relation(store->nsp, slot_indexes[which]),
					   store->mode);
	return store->index[which];
}

/*
 * Start a scan with the keys that the caller has put into scan->keys.  The
 * nnumbers keys after the first one are numerics, to be freed at the end of
 * the scan.
 */
static void
scan_begin(SlotScan *scan, Store *store, SlotIndex which, Snapshot snapshot,
		   ScanDirection direction, int nkeys, int nnumbers)
{
	scan->store = store;
	scan->direction = direction;
	/* May this scan mark entries as dead?  See scan_advance(). */
	scan->queue = snapshot == NULL &&
		(which == BY_QUEUE || which == BY_EXPIRY) && !RecoveryInProgress();
	scan->passed = 0;
	scan->bounded = scan->gave_up = false;
	scan->picked = NULL;
	if (snapshot == NULL)
	{
		InitDirtySnapshot(scan->dirty);
		snapshot = &scan->dirty;
	}
	else if (IsMVCCSnapshot(snapshot) && IsolationIsSerializable())
	{
		/*
		 * An MVCC scan would take predicate locks, so the call would conflict
		 * with all transactions that write near to what it reads.  SnapshotAny
		 * takes none: visit all versions and pick those that the snapshot
		 * sees.
		 */
		scan->picked = snapshot;
		snapshot = SnapshotAny;
	}
	scan->snapshot = snapshot;
	scan->slot = table_slot_create(store->slot, NULL);
	scan->nnumbers = nnumbers;
	scan->desc = index_beginscan(store->slot, store_index(store, which),
								 snapshot, NULL, nkeys, 0, SO_NONE);
	index_rescan(scan->desc, scan->keys, nkeys, NULL, 0);
}

/* End a scan. */
void
slot_scan_end(SlotScan *scan)
{
	index_endscan(scan->desc);
	ExecDropSingleTupleTableSlot(scan->slot);

	for (int i = 1; i <= scan->nnumbers; i++)
		pfree(DatumGetPointer(scan->keys[i].sk_argument));
}

/*
 * Has the version that an index entry points to been deleted or replaced by a
 * transaction that has committed?
 */
bool
version_is_gone(Relation rel, TupleTableSlot *slot, ItemPointer tid)
{
	HeapTuple	tuple;
	bool		gone;

	if (!table_tuple_fetch_row_version(rel, tid, SnapshotAny, slot))
		return false;
	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);
	/* With a HOT update the entry also stands for the new version. */
	gone = !HeapTupleHeaderIsHotUpdated(tuple->t_data) &&
		!(tuple->t_data->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(tuple->t_data->t_infomask) &&
		TransactionIdDidCommit(HeapTupleHeaderGetUpdateXid(tuple->t_data));
	ExecClearTuple(slot);
	return gone;
}

/* Go on to the next row, which is then in scan->slot. */
static bool
scan_advance(SlotScan *scan)
{
	IndexScanDesc desc = scan->desc;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!desc->xs_heap_continue &&
			index_getnext_tid(desc, scan->direction) == NULL)
			return false;

		/*
		 * The entry may stand for several versions; xs_heap_continue says so.
		 */
		if (index_fetch_heap(desc, scan->slot))
		{
			if (scan->picked == NULL ||
				row_seen_by(scan, scan->picked))
				return true;
			continue;
		}
		/* no version of this entry is visible */
		if (++scan->passed <= PASSED_MANY)
			continue;
		scan->gave_up = scan->bounded;
		if (scan->gave_up)
			return false;

		/*
		 * Each time that a unit is allocated and released, its row leaves a
		 * dead version and an entry in the index of the queue.  While an old
		 * transaction runs, PostgreSQL keeps both, and every search would go
		 * through them.  But only searches read the two indexes by queue and
		 * by time, and these look at the latest state, for which the entry
		 * will never be needed again.  So mark it dead, as an index scan does
		 * with rows that are dead for everybody.
		 *
		 * Consequently these two indexes must not be used to read alloc_slot
		 * by hand in a transaction that is older than that.  On a standby this
		 * can conflict with old queries, even with hot_standby_feedback, which
		 * is why we do it only after passing many entries.
		 */
		if (scan->queue && !desc->kill_prior_tuple)
			desc->kill_prior_tuple =
				version_is_gone(scan->store->slot, scan->slot,
								&desc->xs_heaptid);
	}
}

/*
 * Raise XX001 because of a row that the arithmetic of space.c cannot handle.
 */
pg_noreturn static void
raise_damaged(u128 lo, int order)
{
	char		buf[U128_DIGITS];

	u128_print(lo, buf);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("table alloc_slot holds an impossible block: 2^%d slots from %s on",
					order, buf),
			 errhint("See alloc_verify().")));
}

/*
 * Read the row in the slot.  dirty is NULL, or the dirty snapshot that found
 * the row.
 *
 * The note is not detoasted.  A row that another transaction is inserting may
 * just be rolled back, and its TOAST chunks be gone.
 */
static void
slot_row_read(TupleTableSlot *slot, const SnapshotData *dirty, SlotRow *row)
{
	Datum	   *values;
	bool	   *isnull;

	slot_getsomeattrs(slot, SLOT_NOTE);
	values = slot->tts_values - 1;
	isnull = slot->tts_isnull - 1;

	row->lo = numeric_u128(values[SLOT_FIRST]);
	row->order = DatumGetInt16(values[SLOT_SIZE]);
	/* The extension's owner can write anything to this table. */
	if (row->order < 0 || row->order > MAX_ORDER ||
		row->lo > U128_MAX - block_last(0, row->order))
		raise_damaged(row->lo, row->order);
	row->held = !isnull[SLOT_KEY];
	if (row->held)
	{
		row->key = *DatumGetUUIDP(values[SLOT_KEY]);
		row->key_row = DatumGetInt16(values[SLOT_KEY_ROW]);
		row->generation = DatumGetInt64(values[SLOT_GENERATION]);
		row->allocated_at = DatumGetTimestampTz(values[SLOT_ALLOCATED_AT]);
	}
	row->expires = !isnull[SLOT_EXPIRES_AT];
	row->expires_at = row->expires ?
		DatumGetTimestampTz(values[SLOT_EXPIRES_AT]) : 0;
	row->moved = !isnull[SLOT_MOVED_FROM] && !isnull[SLOT_MOVED_GENERATION];
	if (row->moved)
	{
		row->moved_from = *DatumGetUUIDP(values[SLOT_MOVED_FROM]);
		row->moved_generation = DatumGetInt64(values[SLOT_MOVED_GENERATION]);
	}
	row->run_size = isnull[SLOT_RUN_SIZE] ? 1 :
		DatumGetInt32(values[SLOT_RUN_SIZE]);
	row->run_place = isnull[SLOT_RUN_PLACE] ? 0 :
		DatumGetInt32(values[SLOT_RUN_PLACE]);
	row->has_note = !isnull[SLOT_NOTE];
	row->note = values[SLOT_NOTE];

	row->tid = slot->tts_tid;
	row->inserter = InvalidTransactionId;
	row->deleter = InvalidTransactionId;
	row->own = false;
	if (dirty != NULL)
	{
		/* set by the visibility check, if these transactions are running */
		row->inserter = dirty->xmin;
		row->deleter = dirty->xmax;
	}
	if (!TransactionIdIsValid(row->inserter))
	{
		bool		xmin_isnull;
		Datum		xmin = slot_getsysattr(slot,
										   MinTransactionIdAttributeNumber,
										   &xmin_isnull);

		row->own =
			TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
	}
}

/*
 * Return the next row.  With a dirty snapshot this includes rows that a
 * running transaction is inserting or deleting, as row->inserter and
 * row->deleter say.  What row points to is valid until the next call.
 */
bool
slot_scan_next(SlotScan *scan, SlotRow *row)
{
	if (!scan_advance(scan))
		return false;
	slot_row_read(scan->slot,
				  scan->snapshot == &scan->dirty ? &scan->dirty : NULL, row);
	return true;
}

/*
 * Copy what the row points to into the current memory context, so that it
 * remains valid after the scan.
 */
void
row_keep(SlotRow *row)
{
	if (row->has_note)
		row->note = datumCopy(row->note, false, -1);
}

/* Does the snapshot see the row that the scan has just returned? */
bool
row_seen_by(SlotScan *scan, Snapshot snapshot)
{
	return table_tuple_satisfies_snapshot(scan->store->slot, scan->slot,
										  snapshot);
}

/*
 * Read the row at a place, if there is one now and it belongs to the pool.
 * What row points to is valid until the next call.
 */
bool
store_look(Store *store, const Pool *pool, ItemPointer tid, SlotRow *row)
{
	SnapshotData dirty;
	bool		isnull;

	if (store->look == NULL)
	{
		/* The slot lasts as long as the store does. */
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
	slot_row_read(store->look, &dirty, row);
	return true;
}

/*
 * Kinds of scans.
 */

/* Set a key: the column equals the value. */
static void
key_int4(ScanKey key, int attno, int32 value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(value));
}

/*
 * Set two keys: the second column is from first to last.  Returns their
 * number.
 */
static int
key_between(ScanKey keys, Datum first, Datum last)
{
	ScanKeyInit(&keys[0], 2, BTGreaterEqualStrategyNumber, F_NUMERIC_GE,
				first);
	ScanKeyInit(&keys[1], 2, BTLessEqualStrategyNumber, F_NUMERIC_LE, last);
	return 2;
}

/*
 * Scan the rows that begin in the extent, in ascending or descending order, as
 * the snapshot shows them (NULL: dirty).
 */
void
scan_by_slot(SlotScan *scan, Store *store, int32 pool, Extent slots,
			 ScanDirection direction, Snapshot snapshot)
{
	int			nkeys = 1;

	key_int4(&scan->keys[0], 1, pool);
	/* one equality is cheaper than two inequalities */
	if (slots.first == slots.last)
		ScanKeyInit(&scan->keys[nkeys++], 2, BTEqualStrategyNumber,
					F_NUMERIC_EQ, u128_numeric(slots.first));
	else
		nkeys += key_between(&scan->keys[1], u128_numeric(slots.first),
							 u128_numeric(slots.last));
	scan_begin(scan, store, BY_SLOT, snapshot, direction, nkeys, nkeys - 1);
}

/* Scan the key's rows, as the snapshot shows them (NULL: dirty). */
void
scan_by_key(SlotScan *scan, Store *store, int32 pool, const pg_uuid_t *key,
			Snapshot snapshot)
{
	key_int4(&scan->keys[0], 1, pool);
	ScanKeyInit(&scan->keys[1], 2, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(key));
	scan_begin(scan, store, BY_KEY, snapshot, ForwardScanDirection, 2, 0);
}

/* Scan the rows that are not the only ones of their keys; see key_row. */
void
scan_again_rows(SlotScan *scan, Store *store, int32 pool)
{
	key_int4(&scan->keys[0], 1, pool);
	scan_begin(scan, store, BY_AGAIN, NULL, ForwardScanDirection, 1, 0);
}

/* Go on with a scan_by_key() for another key. */
void
scan_again_by_key(SlotScan *scan, const pg_uuid_t *key)
{
	scan->keys[1].sk_argument = UUIDPGetDatum(key);
	scan->passed = 0;
	index_rescan(scan->desc, scan->keys, 2, NULL, 0);
}

/* Scan the waiting rows in the extent that are queued by slot. */
void
scan_queue_by_slot(SlotScan *scan, Store *store, int32 pool, Extent slots)
{
	key_int4(&scan->keys[0], 1, pool);
	(void) key_between(&scan->keys[1], queue_place_of_slot(slots.first),
					   queue_place_of_slot(slots.last));
	scan_begin(scan, store, BY_QUEUE, NULL, ForwardScanDirection, 3, 2);
}

/* Scan the waiting rows that are queued by time, for an interval of times. */
void
scan_queue_by_time(SlotScan *scan, Store *store, int32 pool,
				   TimestampTz from, TimestampTz until)
{
	key_int4(&scan->keys[0], 1, pool);
	(void) key_between(&scan->keys[1], queue_place_of_time(from),
					   queue_place_of_time(until));
	scan_begin(scan, store, BY_QUEUE, NULL, ForwardScanDirection, 3, 2);
}

/*
 * Scan the held rows (in mixed pools also those that cool) that have run out
 * by the given time, in the order of their times.
 */
void
scan_by_expiry(SlotScan *scan, Store *store, int32 pool, TimestampTz until)
{
	key_int4(&scan->keys[0], 1, pool);
	ScanKeyInit(&scan->keys[1], 2, BTLessEqualStrategyNumber, F_TIMESTAMP_LE,
				TimestampTzGetDatum(until));
	scan_begin(scan, store, BY_EXPIRY, NULL, ForwardScanDirection, 2, 0);
}

/* Scan the rows of the same kinds that run out after the given time. */
void
scan_to_expire(SlotScan *scan, Store *store, int32 pool, TimestampTz after)
{
	key_int4(&scan->keys[0], 1, pool);
	ScanKeyInit(&scan->keys[1], 2, BTGreaterStrategyNumber, F_TIMESTAMP_GT,
				TimestampTzGetDatum(after));
	scan_begin(scan, store, BY_EXPIRY, NULL, ForwardScanDirection, 2, 0);
}
