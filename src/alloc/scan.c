/*
 * scan.c
 *		Reads alloc_slot: by slot, by key, by the queue, by time.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "alloc/alloc.h"
#include "alloc/store.h"

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
 * Start a scan with the keys that the caller has put into scan->base.keys.
 * The last nowned of them are numerics, to be freed at the end of the scan.
 */
static void
scan_begin(SlotScan *scan, Store *store, SlotIndex which, Snapshot snapshot,
		   ScanDirection direction, int nkeys, int nowned)
{
	rows_begin(&scan->base, store->slot, store_index(store, which), snapshot,
			   direction, nkeys, which == BY_QUEUE || which == BY_EXPIRY);
	scan->base.nowned = nowned;
}

/* End a scan. */
void
slot_scan_end(SlotScan *scan)
{
	rows_end(&scan->base);
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
slot_row_read(TupleTableSlot *slot, Snapshot dirty, SlotRow *row)
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
	row->own = row_writers(slot, dirty, &row->inserter, &row->deleter);
}

/*
 * Return the next row.  With a dirty snapshot this includes rows that a
 * running transaction is inserting or deleting, as row->inserter and
 * row->deleter say.  What row points to is valid until the next call.
 */
bool
slot_scan_next(SlotScan *scan, SlotRow *row)
{
	if (!rows_next(&scan->base))
		return false;
	slot_row_read(scan->base.slot, rows_dirty(&scan->base), row);
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
	return rows_seen_by(&scan->base, snapshot);
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

	key_int4(&scan->base.keys[0], 1, pool);
	/* one equality is cheaper than two inequalities */
	if (slots.first == slots.last)
		ScanKeyInit(&scan->base.keys[nkeys++], 2, BTEqualStrategyNumber,
					F_NUMERIC_EQ, u128_numeric(slots.first));
	else
		nkeys += key_between(&scan->base.keys[1], u128_numeric(slots.first),
							 u128_numeric(slots.last));
	scan_begin(scan, store, BY_SLOT, snapshot, direction, nkeys, nkeys - 1);
}

/* Scan the key's rows, as the snapshot shows them (NULL: dirty). */
void
scan_by_key(SlotScan *scan, Store *store, int32 pool, const pg_uuid_t *key,
			Snapshot snapshot)
{
	key_int4(&scan->base.keys[0], 1, pool);
	ScanKeyInit(&scan->base.keys[1], 2, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(key));
	scan_begin(scan, store, BY_KEY, snapshot, ForwardScanDirection, 2, 0);
}

/* Scan the rows that are not the only ones of their keys; see key_row. */
void
scan_again_rows(SlotScan *scan, Store *store, int32 pool)
{
	key_int4(&scan->base.keys[0], 1, pool);
	scan_begin(scan, store, BY_AGAIN, NULL, ForwardScanDirection, 1, 0);
}

/* Go on with a scan_by_key() for another key. */
void
scan_again_by_key(SlotScan *scan, int32 pool, const pg_uuid_t *key)
{
	scan->base.keys[0].sk_argument = Int32GetDatum(pool);
	scan->base.keys[1].sk_argument = UUIDPGetDatum(key);
	scan->base.passed = 0;
	index_rescan(scan->base.desc, scan->base.keys, 2, NULL, 0);
}

/* Scan the waiting rows in the extent that are queued by slot. */
void
scan_queue_by_slot(SlotScan *scan, Store *store, int32 pool, Extent slots)
{
	key_int4(&scan->base.keys[0], 1, pool);
	(void) key_between(&scan->base.keys[1], queue_place_of_slot(slots.first),
					   queue_place_of_slot(slots.last));
	scan_begin(scan, store, BY_QUEUE, NULL, ForwardScanDirection, 3, 2);
}

/* Scan the waiting rows that are queued by time, for an interval of times. */
void
scan_queue_by_time(SlotScan *scan, Store *store, int32 pool,
				   TimestampTz from, TimestampTz until)
{
	key_int4(&scan->base.keys[0], 1, pool);
	(void) key_between(&scan->base.keys[1], queue_place_of_time(from),
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
	key_int4(&scan->base.keys[0], 1, pool);
	ScanKeyInit(&scan->base.keys[1], 2, BTLessEqualStrategyNumber,
				F_TIMESTAMP_LE, TimestampTzGetDatum(until));
	scan_begin(scan, store, BY_EXPIRY, NULL, ForwardScanDirection, 2, 0);
}

/* Scan the rows of the same kinds that run out after the given time. */
void
scan_to_expire(SlotScan *scan, Store *store, int32 pool, TimestampTz after)
{
	key_int4(&scan->base.keys[0], 1, pool);
	ScanKeyInit(&scan->base.keys[1], 2, BTGreaterStrategyNumber,
				F_TIMESTAMP_GT, TimestampTzGetDatum(after));
	scan_begin(scan, store, BY_EXPIRY, NULL, ForwardScanDirection, 2, 0);
}
