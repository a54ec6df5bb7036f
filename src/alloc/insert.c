/*
 * insert.c
 *		Inserts several rows of alloc_slot together, in pools of one size.
 *
 * They are not inserted speculatively, which can be done only row by row, but in
 * a subtransaction, which is rolled back if one of them cannot be inserted.  It
 * would not do to delete that one again: until the end of the transaction,
 * others would take its slot and its key for being allocated, and wait; and a
 * logical replica, which is told of both changes, could not insert it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "alloc/alloc.h"
#include "alloc/store.h"

/* Rows that are inserted together. */
typedef struct Insertion
{
	Store	   *store;
	NewRow	   *rows;
	int			n;
	ResourceOwner owner;
} Insertion;

/*
 * Does a committed row exist at the slot of one of the rows, which are of one
 * pool and in the order of their slots?
 */
static bool
pool_has_rows(Store *store, const NewRow *rows, int n, Snapshot snapshot)
{
	Extent		slots = {rows[0].unit.lo, rows[n - 1].unit.lo};
	SlotScan	scan;
	ItemPointer tid;
	int			own = 0;
	bool		found = false;

	scan_by_slot(&scan, store, rows[0].pool->id, slots, ForwardScanDirection,
				 SnapshotAny);
	while (!found &&
		   (tid = index_getnext_tid(scan.base.desc,
									scan.base.direction)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		/* our own rows come in the order of their slots */
		if (own < n && ItemPointerEquals(tid, &rows[own].image->tts_tid))
		{
			own++;
			continue;
		}
		while (!found && index_fetch_heap(scan.base.desc, scan.base.slot))
		{
			bool		isnull;
			u128		lo;

			if (!row_seen_by(&scan, snapshot))
				continue;
			lo = numeric_u128(slot_getattr(scan.base.slot, SLOT_FIRST,
										   &isnull));
			for (int j = 0; j < n && !found; j++)
				found = rows[j].unit.lo == lo;
		}
	}
	slot_scan_end(&scan);
	return found;
}

/*
 * The same for any rows.  The unique index has reported no conflict, but can
 * miss a row; see slot_has_row() in store.c.
 */
static bool
slots_have_rows(Store *store, const NewRow *rows, int n)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool		found = false;
	int			end;

	for (int first = 0; first < n && !found; first = end)
	{
		for (end = first + 1; end < n; end++)
		{
			if (rows[end].pool != rows[first].pool)
				break;
		}
		found = pool_has_rows(store, &rows[first], end - first, snapshot);
	}
	UnregisterSnapshot(snapshot);
	return found;
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
			/* other rows will use it, too */
			MemoryContext caller = MemoryContextSwitchTo(store->cxt);

			rows[j].image = table_slot_create(store->slot, NULL);
			MemoryContextSwitchTo(caller);
		}
		store_form(rows[j].pool, &rows[j].unit, rows[j].image);
		images[j] = rows[j].image;
	}
	table_multi_insert(store->slot, images, n, GetCurrentCommandId(true), 0,
					   NULL);
	CommandCounterIncrement();
}

/*
 * Insert all rows, for in_subtransaction().  Of two backends that insert a row
 * at one slot at least one finds the other's index entry.
 */
static bool
insert_all(void *arg)
{
	const Insertion *insertion = arg;
	Store	   *store = insertion->store;
	Writer	   *writer = store_writer(store);
	NewRow	   *rows = insertion->rows;
	int			n = insertion->n;

	/* What the store opens has to last longer than the subtransaction. */
	CurrentResourceOwner = insertion->owner;
	insert_images(store, rows, n);
	for (int j = 0; j < n; j++)
	{
		if (!store_index_row(writer, rows[j].image,
							 store_index(store, BY_SLOT),
							 UNIQUE_CHECK_PARTIAL, false))
			return false;
	}
	if (slots_have_rows(store, rows, n))
		return false;
	for (int j = 0; j < n; j++)
	{
		rows[j].key_used = !store_index_row(writer, rows[j].image,
											store_index(store, BY_KEY),
											UNIQUE_CHECK_PARTIAL, false);
		if (rows[j].key_used)
			return false;
		if (rows[j].unit.expires)
			(void) store_index_row(writer, rows[j].image,
								   store_index(store, BY_EXPIRY),
								   UNIQUE_CHECK_NO, false);
		rows[j].unit.tid = rows[j].image->tts_tid;
	}
	CommandCounterIncrement();
	return true;
}

/*
 * Insert rows, those of one pool in the order of their slots.  The locks of the
 * keys are held.  Returns false, having inserted none, if one cannot be: then
 * somebody else has its slot, or, as key_used says, its key has a row already.
 */
bool
insert_rows(Store *store, NewRow *rows, int n)
{
	Writer	   *writer = store_writer(store);
	Insertion	insertion = {
		.store = store,
		.rows = rows,
		.n = n,
		.owner = CurrentResourceOwner
	};
	MemoryContext caller;
	bool		done;

	for (int j = 0; j < n; j++)
		rows[j].key_used = false;
	MemoryContextReset(writer->cxt);
	caller = MemoryContextSwitchTo(writer->cxt);
	done = in_subtransaction(insert_all, &insertion, NULL);
	MemoryContextSwitchTo(caller);
	return done;
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
