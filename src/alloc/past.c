/*
 * past.c
 *		Writes alloc_past, the history of units, and draws generations.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "alloc/alloc.h"
#include "alloc/store.h"

static const AllocRelation all_past_indexes[] = {ALLOC_PAST_ENDED};

/*
 * Lock alloc_past for a call that is going to end units, before it locks a pool:
 * it may have to wait for REINDEX, and then keeps nobody from the pool.
 */
void
store_lock_history(const Store *store)
{
	if (pg_cas_history_retention != 0)
		LockRelationOid(alloc_relation(store->nsp, ALLOC_PAST),
						RowExclusiveLock);
}

/* Record in alloc_past that the row's key held its unit until ended_at. */
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
	/* the clock may have been set back */
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
		(void) store_index_row(writer, slot, store->past_ended,
							   UNIQUE_CHECK_NO, false);
	}
	CommandCounterIncrement();
}

/*
 * Draw n generations at once for units that were never used before and keys
 * that are locked: nobody can get a later generation for these meanwhile.
 */
void
store_draw_generations(Store *store, int n)
{
	if (n <= 1)
		return;
	store->next_generation =
		history_draw_many(alloc_relation(store->nsp, ALLOC_GENERATION), n);
	store->ngenerations = n;
}

/* Forget those that are left. */
void
store_drop_generations(Store *store)
{
	store->ngenerations = 0;
}

/* A new generation. */
int64
store_next_generation(Store *store)
{
	if (store->ngenerations > 0)
	{
		store->ngenerations--;
		return store->next_generation++;
	}
	return history_draw_many(alloc_relation(store->nsp, ALLOC_GENERATION), 1);
}
