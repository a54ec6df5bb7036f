/*
 * freed.c
 *		Reads and writes alloc_freed: where units of a mixed pool with strategy
 *		"lowest" have come free.
 *
 * In these pools the row of a unit is deleted when it is released, which leaves
 * nothing that a search could find.  So who deletes a row inserts one here, in
 * the same transaction.  It only says where to look (lowest.c): what it names
 * can be held by now, wholly or in part, and it excludes nobody.  Who takes all
 * of it deletes it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "alloc/alloc.h"
#include "alloc/store.h"

/* alloc_freed's columns */
enum
{
	FREED_POOL = 1,
	FREED_FIRST,
	FREED_LAST
};

static const AllocRelation freed_indexes[] = {ALLOC_FREED_FIRST};

/* Open the table, if it is not open. */
void
freed_open(Store *store)
{
	if (store->freed == NULL)
		store->freed = table_open(alloc_relation(store->nsp, ALLOC_FREED),
								  store->mode);
}

/* Return its index, opening it if necessary. */
static Relation
freed_index(Store *store)
{
	/* the table before its index, as REINDEX locks them */
	freed_open(store);
	if (store->freed_first == NULL)
		store->freed_first =
			index_open(alloc_relation(store->nsp, ALLOC_FREED_FIRST),
					   store->mode);
	return store->freed_first;
}

/*
 * Scan the pool's rows that begin in the extent, in the order of their slots, until
 * slot_scan_end().
 */
void
freed_scan_begin(SlotScan *scan, Store *store, const Pool *pool,
				 Extent slots)
{
	Relation	index = freed_index(store);
	ScanKey		keys = scan->base.keys;

	ScanKeyInit(&keys[0], FREED_POOL, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(pool->id));
	ScanKeyInit(&keys[1], FREED_FIRST, BTGreaterEqualStrategyNumber,
				F_NUMERIC_GE, u128_numeric(slots.first));
	ScanKeyInit(&keys[2], FREED_FIRST, BTLessEqualStrategyNumber,
				F_NUMERIC_LE, u128_numeric(slots.last));
	rows_begin(&scan->base, store->freed, index, NULL, ForwardScanDirection,
			   3, true);
	scan->base.nowned = 2;
}

/* The transaction that has inserted the row. */
static TransactionId
row_xmin(TupleTableSlot *slot)
{
	int			attno = MinTransactionIdAttributeNumber;
	bool		isnull;

	return DatumGetTransactionId(slot_getsysattr(slot, attno, &isnull));
}

/*
 * Return the next row.  Rows that another transaction is inserting are left out:
 * what they name is not free yet.  Those that one is deleting are not: it may
 * leave another one for a part of this.
 */
bool
freed_scan_next(SlotScan *scan, FreedRow *row)
{
	TransactionId inserter;
	TransactionId deleter;

	while (rows_next(&scan->base))
	{
		TupleTableSlot *slot = scan->base.slot;

		(void) row_writers(slot, rows_dirty(&scan->base), &inserter,
						   &deleter);
		if (TransactionIdIsValid(inserter))
			continue;
		slot_getsomeattrs(slot, FREED_LAST);
		row->slots.first = numeric_u128(slot->tts_values[FREED_FIRST - 1]);
		row->slots.last = numeric_u128(slot->tts_values[FREED_LAST - 1]);
		row->tid = slot->tts_tid;
		row->xmin = row_xmin(slot);
		row->busy = TransactionIdIsValid(deleter);
		return true;
	}
	return false;
}

/* Note that slots have come free, or will have when the transaction commits. */
void
freed_insert(Store *store, const Pool *pool, Extent slots)
{
	Relation	index = freed_index(store);
	Writer	   *writer = &store->frees;
	MemoryContext caller;

	if (writer->rel == NULL)
		writer_open(writer, store, store->freed, freed_indexes,
					lengthof(freed_indexes));
	MemoryContextReset(writer->cxt);
	caller = MemoryContextSwitchTo(writer->cxt);
	ExecClearTuple(writer->row);
	memset(writer->row->tts_isnull, true,
		   sizeof(bool) * writer->row->tts_tupleDescriptor->natts);
	writer->row->tts_values[FREED_POOL - 1] = Int32GetDatum(pool->id);
	writer->row->tts_values[FREED_FIRST - 1] = u128_numeric(slots.first);
	writer->row->tts_values[FREED_LAST - 1] = u128_numeric(slots.last);
	memset(writer->row->tts_isnull, false, sizeof(bool) * FREED_LAST);
	ExecStoreVirtualTuple(writer->row);
	table_tuple_insert(store->freed, writer->row, GetCurrentCommandId(true),
					   0, NULL);
	if (writer->known)
		(void) store_index_row(writer, writer->row, index, UNIQUE_CHECK_NO,
							   false);
	else
		(void) writer_index(writer, TU_None, false);
	MemoryContextSwitchTo(caller);
	CommandCounterIncrement();
}

/* Delete a row, unless another transaction is changing it. */
bool
freed_delete(Store *store, const FreedRow *row)
{
	TM_Result	result;

	if (row->busy)
		return false;
	result = store_change(store, store->freed, &row->tid, NULL, false, NULL);
	CommandCounterIncrement();
	return result == TM_Ok;
}

/* A block has been taken: delete the rows that name nothing else. */
void
freed_remove(Store *store, const Pool *pool, Extent slots)
{
	SlotScan	scan;
	FreedRow	row;

	freed_scan_begin(&scan, store, pool, slots);
	while (freed_scan_next(&scan, &row))
	{
		if (row.slots.last <= slots.last)
			(void) freed_delete(store, &row);
	}
	slot_scan_end(&scan);
}

/*
 * Delete a unit's row, under the conditions of store_change(), so that its slots
 * are free.
 */
TM_Result
store_free(Store *store, const Pool *pool, const SlotRow *row)
{
	Extent		slots = {row->lo, block_last(row->lo, row->order)};
	TM_Result	result = store_delete(store, row);

	if (result == TM_Ok && pool_notes_freed(pool))
		freed_insert(store, pool, slots);
	return result;
}
