/*
 * share.c
 *		Reads and writes alloc_share and alloc_gap.
 *
 * As in rowscan.c and store.c, what decides is read with dirty snapshots, which
 * also see the rows of running transactions, and nothing is waited for: if
 * another transaction is in the way, that is reported.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "alloc/share.h"
#include "alloc/store.h"

/* alloc_share's columns */
enum
{
	SHARE_POOL = 1,
	SHARE_ORIGIN,
	SHARE_KEY,
	SHARE_PART,
	SHARE_FIRST,
	SHARE_N,
	SHARE_TOTAL,
	SHARE_GENERATION,
	SHARE_ALLOCATED_AT,
	SHARE_EXPIRES_AT,
	SHARE_NOTE,
	SHARE_MOVED_FROM,
	SHARE_MOVED_GENERATION
};

/* alloc_gap's columns */
enum
{
	GAP_POOL = 1,
	GAP_FIRST,
	GAP_N,
	GAP_FREED_AT
};

/* Indexes of alloc_share and alloc_gap, in store->share_index. */
enum
{
	SHARE_BY_KEY,
	SHARE_BY_PLACE,
	SHARE_BY_SPAN,
	SHARE_BY_EXPIRY,
	GAP_BY_SIZE,
	GAP_BY_PLACE
};

static const AllocRelation share_indexes[] = {
	[SHARE_BY_KEY] = ALLOC_SHARE_KEY,
	[SHARE_BY_PLACE] = ALLOC_SHARE_PLACE,
	[SHARE_BY_SPAN] = ALLOC_SHARE_OVERLAP,
	[SHARE_BY_EXPIRY] = ALLOC_SHARE_EXPIRY,
	[GAP_BY_SIZE] = ALLOC_GAP_SIZE,
	[GAP_BY_PLACE] = ALLOC_GAP_PLACE
};

/* Return alloc_share, opening it if necessary. */
static Relation
share_table(Store *store)
{
	if (store->share == NULL)
		store->share = table_open(alloc_relation(store->nsp, ALLOC_SHARE),
								  store->mode);
	return store->share;
}

/* Likewise alloc_gap. */
static Relation
gap_table(Store *store)
{
	if (store->gap == NULL)
		store->gap = table_open(alloc_relation(store->nsp, ALLOC_GAP),
								store->mode);
	return store->gap;
}

/* Open both tables. */
void
share_open(Store *store)
{
	(void) share_table(store);
	(void) gap_table(store);
}

/* Return an index of alloc_share or alloc_gap, opening it if necessary. */
static Relation
share_index(Store *store, int which)
{
	if (store->share_index[which] == NULL)
		store->share_index[which] =
			index_open(alloc_relation(store->nsp, share_indexes[which]),
					   store->mode);
	return store->share_index[which];
}

/*
 * Reading.
 */

/* Start a scan with the keys that the caller has put into scan->keys. */
static void
share_scan_begin(RowScan *scan, Store *store, int which, Snapshot snapshot,
				 ScanDirection direction, int nkeys)
{
	/* the table before its index, as REINDEX locks them */
	Relation	table = which < GAP_BY_SIZE ? share_table(store) :
		gap_table(store);

	rows_begin(scan, table, share_index(store, which), snapshot, direction,
			   nkeys, which >= SHARE_BY_EXPIRY);
}

/*
 * Return the next row of alloc_share.  What row points to is valid until the
 * next call.
 */
bool
share_scan_next(RowScan *scan, ShareRow *row)
{
	Datum	   *values;
	bool	   *isnull;

	if (!rows_next(scan))
		return false;
	slot_getsomeattrs(scan->slot, SHARE_MOVED_GENERATION);
	values = scan->slot->tts_values - 1;
	isnull = scan->slot->tts_isnull - 1;
	memset(row, 0, sizeof(*row));
	row->pool = DatumGetInt32(values[SHARE_POOL]);
	row->origin = DatumGetInt32(values[SHARE_ORIGIN]);
	row->held = !isnull[SHARE_KEY];
	row->part = DatumGetInt32(values[SHARE_PART]);
	row->first = DatumGetInt64(values[SHARE_FIRST]);
	row->n = isnull[SHARE_N] ? 0 : DatumGetInt64(values[SHARE_N]);
	if (row->held)
	{
		row->key = *DatumGetUUIDP(values[SHARE_KEY]);
		row->generation = DatumGetInt64(values[SHARE_GENERATION]);
		row->allocated_at = DatumGetTimestampTz(values[SHARE_ALLOCATED_AT]);
		row->total = isnull[SHARE_TOTAL] ? 0 :
			DatumGetInt64(values[SHARE_TOTAL]);
	}
	row->expires = !isnull[SHARE_EXPIRES_AT];
	if (row->expires)
		row->expires_at = DatumGetTimestampTz(values[SHARE_EXPIRES_AT]);
	row->has_note = !isnull[SHARE_NOTE];
	row->note = values[SHARE_NOTE];
	row->moved = !isnull[SHARE_MOVED_FROM] &&
		!isnull[SHARE_MOVED_GENERATION];
	if (row->moved)
	{
		row->moved_from = *DatumGetUUIDP(values[SHARE_MOVED_FROM]);
		row->moved_generation =
			DatumGetInt64(values[SHARE_MOVED_GENERATION]);
	}
	row->tid = scan->slot->tts_tid;
	row->own = row_writers(scan->slot, rows_dirty(scan), &row->inserter,
						   &row->deleter);
	return true;
}

/* Return the next row of alloc_gap. */
bool
gap_scan_next(RowScan *scan, GapRow *row)
{
	if (!rows_next(scan))
		return false;
	slot_getsomeattrs(scan->slot, GAP_FREED_AT);
	row->first = DatumGetInt64(scan->slot->tts_values[GAP_FIRST - 1]);
	row->n = DatumGetInt64(scan->slot->tts_values[GAP_N - 1]);
	row->freed_at =
		DatumGetTimestampTz(scan->slot->tts_values[GAP_FREED_AT - 1]);
	row->tid = scan->slot->tts_tid;
	(void) row_writers(scan->slot, rows_dirty(scan), &row->inserter,
					   &row->deleter);
	return true;
}

static void
int4_key(ScanKey key, int attno, int32 value)
{
	ScanKeyInit(key, attno, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(value));
}

/* Scan the key's rows in a pool, as the snapshot shows them (NULL: dirty). */
void
share_scan_by_key(RowScan *scan, Store *store, int32 pool, int32 origin,
				  const pg_uuid_t *key, Snapshot snapshot)
{
	int4_key(&scan->keys[0], 1, pool);
	int4_key(&scan->keys[1], 2, origin);
	ScanKeyInit(&scan->keys[2], 3, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(key));
	share_scan_begin(scan, store, SHARE_BY_KEY, snapshot,
					 ForwardScanDirection, 3);
}

/* Scan all rows of a pool that the snapshot shows. */
void
share_scan_of_pool(RowScan *scan, Store *store, int32 pool, Snapshot snapshot)
{
	int4_key(&scan->keys[0], 1, pool);
	share_scan_begin(scan, store, SHARE_BY_PLACE, snapshot,
					 ForwardScanDirection, 1);
}

/* Set keys: the second column is from first to last. */
static void
int8_between(ScanKey keys, int64 first, int64 last)
{
	ScanKeyInit(&keys[0], 2, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(first));
	ScanKeyInit(&keys[1], 2, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum(last));
}

/* Scan the rows that begin at places from first to last, in that order. */
void
share_scan_by_place(RowScan *scan, Store *store, int32 pool, int64 first,
					int64 last)
{
	int4_key(&scan->keys[0], 1, pool);
	int8_between(&scan->keys[1], first, last);
	share_scan_begin(scan, store, SHARE_BY_PLACE, NULL, ForwardScanDirection,
					 3);
}

/* Make a range whose lower bound is inclusive. */
static Datum
range_datum(Oid type, Datum from, Datum to, bool inclusive)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_RANGE_INFO);
	RangeBound	lower = {.val = from, .inclusive = true, .lower = true};
	RangeBound	upper = {.val = to, .inclusive = inclusive};

	return RangeTypePGetDatum(make_range(entry, &lower, &upper, false, NULL));
}

/* Scan the rows that have a place from first on, in any order. */
void
share_scan_by_span(RowScan *scan, Store *store, int32 pool, int64 first,
				   int64 n)
{
	Datum		pools = range_datum(INT4RANGEOID, Int32GetDatum(pool),
									Int32GetDatum(pool), true);
	Datum		places = range_datum(INT8RANGEOID, Int64GetDatum(first),
									 Int64GetDatum(first + n), false);

	ScanKeyInit(&scan->keys[0], 1, RTOverlapStrategyNumber, F_RANGE_OVERLAPS,
				pools);
	ScanKeyInit(&scan->keys[1], 2, RTOverlapStrategyNumber, F_RANGE_OVERLAPS,
				places);
	share_scan_begin(scan, store, SHARE_BY_SPAN, NULL, ForwardScanDirection,
					 2);
	scan->nowned = 2;
}

/* Scan the rows that have run out or cooled down by a time, in that order. */
void
share_scan_by_expiry(RowScan *scan, Store *store, int32 pool,
					 TimestampTz until)
{
	int4_key(&scan->keys[0], 1, pool);
	ScanKeyInit(&scan->keys[1], 2, BTLessEqualStrategyNumber, F_TIMESTAMP_LE,
				TimestampTzGetDatum(until));
	share_scan_begin(scan, store, SHARE_BY_EXPIRY, NULL,
					 ForwardScanDirection, 2);
}

/* Scan the rows that will do so after that time. */
void
share_scan_to_expire(RowScan *scan, Store *store, int32 pool,
					 TimestampTz after)
{
	int4_key(&scan->keys[0], 1, pool);
	ScanKeyInit(&scan->keys[1], 2, BTGreaterStrategyNumber, F_TIMESTAMP_GT,
				TimestampTzGetDatum(after));
	share_scan_begin(scan, store, SHARE_BY_EXPIRY, NULL,
					 ForwardScanDirection, 2);
}

/* Scan the pool's gaps of at least n places, in the order of their sizes. */
void
gap_scan_by_size(RowScan *scan, Store *store, int32 pool, int64 n,
				 ScanDirection direction)
{
	int4_key(&scan->keys[0], 1, pool);
	ScanKeyInit(&scan->keys[1], 2, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(n));
	share_scan_begin(scan, store, GAP_BY_SIZE, NULL, direction, 2);
}

/* Scan the gaps that begin at places from first to last. */
void
gap_scan_by_place(RowScan *scan, Store *store, int32 pool, int64 first,
				  int64 last)
{
	int4_key(&scan->keys[0], 1, pool);
	int8_between(&scan->keys[1], first, last);
	share_scan_begin(scan, store, GAP_BY_PLACE, NULL, ForwardScanDirection, 3);
}

/*
 * Writing.
 */

/* Begin to form a row in the writer's tuple slot, with all columns null. */
static TupleTableSlot *
share_begin_row(Store *store, Writer *writer, Relation rel,
				const AllocRelation *indexes, int nindexes)
{
	TupleTableSlot *slot;

	if (writer->rel == NULL)
		writer_open(writer, store, rel, indexes, nindexes);
	slot = writer->row;
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true,
		   sizeof(bool) * slot->tts_tupleDescriptor->natts);
	return slot;
}

static void
set_column(TupleTableSlot *slot, int column, Datum value)
{
	slot->tts_values[column - 1] = value;
	slot->tts_isnull[column - 1] = false;
}

/* Store the row's image in the writer's tuple slot. */
static TupleTableSlot *
form_share(Store *store, const ShareRow *row)
{
	TupleTableSlot *slot = share_begin_row(store, &store->shares,
										   share_table(store), share_indexes,
										   GAP_BY_SIZE);

	set_column(slot, SHARE_POOL, Int32GetDatum(row->pool));
	set_column(slot, SHARE_ORIGIN, Int32GetDatum(row->origin));
	set_column(slot, SHARE_PART, Int32GetDatum(row->part));
	set_column(slot, SHARE_FIRST, Int64GetDatum(row->first));
	if (row->n > 0)
		set_column(slot, SHARE_N, Int64GetDatum(row->n));
	if (row->held)
	{
		set_column(slot, SHARE_KEY, UUIDPGetDatum(&row->key));
		set_column(slot, SHARE_GENERATION, Int64GetDatum(row->generation));
		set_column(slot, SHARE_ALLOCATED_AT,
				   TimestampTzGetDatum(row->allocated_at));
		if (row->total > 0)
			set_column(slot, SHARE_TOTAL, Int64GetDatum(row->total));
		if (row->has_note)
			set_column(slot, SHARE_NOTE, row->note);
		if (row->moved)
		{
			set_column(slot, SHARE_MOVED_FROM,
					   UUIDPGetDatum(&row->moved_from));
			set_column(slot, SHARE_MOVED_GENERATION,
					   Int64GetDatum(row->moved_generation));
		}
	}
	if (row->expires)
		set_column(slot, SHARE_EXPIRES_AT,
				   TimestampTzGetDatum(row->expires_at));
	ExecStoreVirtualTuple(slot);
	return slot;
}

/*
 * Insert a share.  Returns false if another row is in the way, committed or
 * not.  Of two concurrent writers at least one finds the other's index entry,
 * because each inserts its own before it checks.  Waits for nothing but other
 * speculative insertions, and for those only of younger transactions.
 *
 * The row is confirmed at once.  While one row is speculative, a transaction must
 * not write another: logical decoding would drop the first one, and then fail.
 */
bool
share_insert(Store *store, const ShareRow *row)
{
	TupleTableSlot *slot = form_share(store, row);
	TransactionId xid = GetCurrentTransactionId();
	uint32		token = SpeculativeInsertionLockAcquire(xid);
	bool		conflict;

	table_tuple_insert_speculative(store->share, slot,
								   GetCurrentCommandId(true), 0, NULL, token);
	conflict = writer_index(&store->shares, TU_None, true);
	table_tuple_complete_speculative(store->share, slot, token, !conflict);
	SpeculativeInsertionLockRelease(xid);
	CommandCounterIncrement();
	return !conflict;
}

/*
 * Write a new version of a share, under the conditions of store_change().  It
 * is checked like a new row.
 */
TM_Result
share_update(Store *store, ShareRow *row)
{
	TupleTableSlot *slot = form_share(store, row);
	TU_UpdateIndexes update_indexes;
	TM_Result	result;

	result = store_change(store, store->share, &row->tid, slot, false,
						  &update_indexes);
	if (result == TM_Ok)
	{
		if (update_indexes != TU_None)
			(void) writer_index(&store->shares, update_indexes, false);
		row->tid = slot->tts_tid;
	}
	CommandCounterIncrement();
	return result;
}

/* Delete a share, under the conditions of store_change(). */
TM_Result
share_delete(Store *store, const ShareRow *row)
{
	TM_Result	result = store_change(store, share_table(store), &row->tid,
									  NULL, false, NULL);

	CommandCounterIncrement();
	return result;
}

/* Note that places are free, or will be when the transaction commits. */
void
gap_insert(Store *store, int32 pool, int64 first, int64 n)
{
	TupleTableSlot *slot = share_begin_row(store, &store->gaps,
										   gap_table(store),
										   &share_indexes[GAP_BY_SIZE],
										   lengthof(share_indexes) -
										   GAP_BY_SIZE);

	set_column(slot, GAP_POOL, Int32GetDatum(pool));
	set_column(slot, GAP_FIRST, Int64GetDatum(first));
	set_column(slot, GAP_N, Int64GetDatum(n));
	set_column(slot, GAP_FREED_AT,
			   TimestampTzGetDatum(GetCurrentTimestamp()));
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(store->gap, slot, GetCurrentCommandId(true), 0, NULL);
	(void) writer_index(&store->gaps, TU_None, false);
	CommandCounterIncrement();
}

/* Delete a gap, unless another transaction is changing it. */
bool
gap_delete(Store *store, const GapRow *row)
{
	TM_Result	result = store_change(store, gap_table(store), &row->tid,
									  NULL, false, NULL);

	CommandCounterIncrement();
	return result == TM_Ok;
}
