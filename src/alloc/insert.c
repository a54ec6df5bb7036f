/*
 * insert.c
 *		Inserts several rows of alloc_slot together, in pools of one size.
 *
 * They are not inserted speculatively, which can be done only row by row.  So a
 * row whose slot turns out to be taken is deleted again.  Until our transaction
 * ends, the slot looks to others as if it were being allocated; they wait for
 * us only if they request this very slot.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "alloc/alloc.h"
#include "alloc/store.h"

/* Delete the row: somebody else has its slot, or the key has something. */
static void
withdraw_row(Store *store, NewRow *row)
{
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_delete(store->slot, &row->image->tts_tid,
								GetCurrentCommandId(true), 0, SnapshotAny,
								InvalidSnapshot, true, &failure);
	if (result != TM_Ok)
		elog(ERROR, "could not delete a row that was just inserted: %d",
			 (int) result);
}

/*
 * Find those of the rows, which are of one pool and in the order of their
 * slots, at whose slot a committed row exists.
 */
static void
find_missed_in_pool(Store *store, NewRow *rows, int n, Snapshot snapshot)
{
	Extent		slots = {rows[0].unit.lo, rows[n - 1].unit.lo};
	SlotScan	scan;
	ItemPointer tid;
	int			own = 0;

	scan_by_slot(&scan, store, rows[0].pool->id, slots, ForwardScanDirection,
				 SnapshotAny);
	while ((tid = index_getnext_tid(scan.base.desc,
									scan.base.direction)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		/* our own rows come in the order of their slots */
		if (own < n && ItemPointerEquals(tid, &rows[own].image->tts_tid))
		{
			own++;
			continue;
		}
		while (index_fetch_heap(scan.base.desc, scan.base.slot))
		{
			bool		isnull;
			u128		lo;

			if (!row_seen_by(&scan, snapshot))
				continue;
			lo = numeric_u128(slot_getattr(scan.base.slot, SLOT_FIRST,
										   &isnull));
			for (int j = 0; j < n; j++)
			{
				if (rows[j].unit.lo != lo || rows[j].taken)
					continue;
				rows[j].taken = true;
				withdraw_row(store, &rows[j]);
			}
		}
	}
	slot_scan_end(&scan);
}

/*
 * Find the rows at whose slots a committed row exists, although the unique
 * index has reported no conflict; see slot_has_row() in store.c.
 */
static void
find_missed_rows(Store *store, NewRow *rows, int n)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int			end;

	for (int first = 0; first < n; first = end)
	{
		for (end = first + 1; end < n; end++)
		{
			if (rows[end].pool != rows[first].pool)
				break;
		}
		find_missed_in_pool(store, &rows[first], end - first, snapshot);
	}
	UnregisterSnapshot(snapshot);
}

/* Insert the rows into the table; their images are in the writer's memory. */
static void
insert_images(Store *store, NewRow *rows, int n)
{
	TupleTableSlot **images = palloc(n * sizeof(TupleTableSlot *));

	for (int j = 0; j < n; j++)
	{
		if (rows[j].image == NULL)
		{
			/* as many calls as there are rows use it */
			MemoryContext caller = MemoryContextSwitchTo(store->cxt);

			rows[j].image = table_slot_create(store->slot, NULL);
			MemoryContextSwitchTo(caller);
		}
		rows[j].taken = rows[j].key_used = false;
		store_form(rows[j].pool, &rows[j].unit, rows[j].image);
		images[j] = rows[j].image;
	}
	table_multi_insert(store->slot, images, n, GetCurrentCommandId(true), 0,
					   NULL);
	CommandCounterIncrement();
}

/*
 * Insert rows, those of one pool in the order of their slots.  The locks of the
 * keys are held.  Says of each row whether it could not be inserted.
 */
void
insert_rows(Store *store, NewRow *rows, int n)
{
	Writer	   *writer = store_writer(store);
	MemoryContext caller;

	MemoryContextReset(writer->cxt);
	caller = MemoryContextSwitchTo(writer->cxt);
	insert_images(store, rows, n);

	/*
	 * Of two backends that insert a row at one slot at least one finds the
	 * other's index entry.
	 */
	for (int j = 0; j < n; j++)
	{
		rows[j].taken = !store_index_row(writer, rows[j].image,
										 store_index(store, BY_SLOT),
										 UNIQUE_CHECK_PARTIAL, false);
		if (rows[j].taken)
			withdraw_row(store, &rows[j]);
	}
	find_missed_rows(store, rows, n);
	for (int j = 0; j < n; j++)
	{
		NewRow	   *row = &rows[j];

		if (row->taken)
			continue;
		row->key_used = !store_index_row(writer, row->image,
										 store_index(store, BY_KEY),
										 UNIQUE_CHECK_PARTIAL, false);
		if (row->key_used)
		{
			withdraw_row(store, row);
			continue;
		}
		if (row->unit.expires)
			(void) store_index_row(writer, row->image,
								   store_index(store, BY_EXPIRY),
								   UNIQUE_CHECK_NO, false);
		row->unit.tid = row->image->tts_tid;
	}
	CommandCounterIncrement();
	MemoryContextSwitchTo(caller);
}

/* Was the row inserted? */
bool
is_inserted(const NewRow *row)
{
	return !row->taken && !row->key_used;
}

/* Free what insert_rows() keeps for these rows and others that come later. */
void
insert_end(NewRow *rows, int n)
{
	for (int j = 0; j < n; j++)
	{
		if (rows[j].image != NULL)
			ExecDropSingleTupleTableSlot(rows[j].image);
	}
}
