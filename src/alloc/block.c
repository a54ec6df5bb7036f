/*
 * block.c
 *		A block of slots: the rows that overlap it, how it stands, taking it.
 *
 * Everything that judges a block asks the iterator here, which finds all rows
 * that overlap it: not the one at its first slot, nor the nearest one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "alloc/alloc.h"

/* Rows that are passed on the way to a longer block before it is looked for. */
#define NEAR_ROWS 64

/* Times that one search may find free what it then cannot take. */
#define MAX_STUMBLES 10000

/* The order of the longest blocks that a pool can have, now or ever. */
static int
longest_order(const Pool *pool)
{
	if (!pool->mixed)
		return 0;
	return pool->space.chunk_bits > 0 ? pool->space.chunk_bits :
		Min(pool->width, MAX_PREFIX_ORDER);
}

/* The last stage: rows that begin in the extent. */
static void
begin_inside(BlockScan *scan)
{
	scan->stage = BLOCK_INSIDE;
	scan_by_slot(&scan->rows, scan->store, scan->pool->id, scan->slots,
				 ForwardScanDirection, scan->snapshot);
}

/*
 * Begin to look for the rows that overlap an extent, as the snapshot shows
 * them; NULL: dirty.  Those that begin before it come first, the others in
 * their order.
 *
 * A row that begins before the extent and reaches it has a block that is
 * longer than all others in between.  It is looked for in two ways.  Near:
 * backward from the extent, until there is a row that proves that no longer
 * one can stand behind it, for two rows that overlap are not there at the same
 * time, unless a running transaction has made or is removing one of them.
 * Far, if there is much on the way, or the snapshot shows versions of all
 * times: at those slots where a block of such length can begin, which are as
 * many as the bits that tell the extent's first slot from a multiple of the
 * longest block's length.
 */
void
block_scan_begin(BlockScan *scan, Store *store, const Pool *pool,
				 Extent slots, Snapshot snapshot)
{
	u128		longest = block_last(0, longest_order(pool));
	Extent		before = {slots.first & ~longest, slots.first - 1};

	scan->store = store;
	scan->pool = pool;
	scan->slots = slots;
	scan->snapshot = snapshot;
	scan->passed = 0;
	scan->proven = scan->scanning = false;
	scan->order = 0;
	scan->at = slots.first;
	if (before.first == slots.first)
	{
		begin_inside(scan);
		return;
	}
	scan->stage = BLOCK_FAR;
	if (snapshot == SnapshotAny)
		return;
	scan->stage = BLOCK_NEAR;
	scan_by_slot(&scan->rows, store, pool->id, before, BackwardScanDirection,
				 snapshot);
	scan->rows.bounded = true;
}

/* The next row that is near.  If there is none, the stage is the next one. */
static bool
next_near(BlockScan *scan, SlotRow *row)
{
	while (!scan->proven && slot_scan_next(&scan->rows, row))
	{
		scan->proven = !TransactionIdIsValid(row->inserter) &&
			!TransactionIdIsValid(row->deleter);
		if (block_last(row->lo, row->order) >= scan->slots.first)
			return true;
		if (++scan->passed > NEAR_ROWS)
			break;
	}
	slot_scan_end(&scan->rows);
	if (scan->proven ||
		(!scan->rows.gave_up && scan->passed <= NEAR_ROWS))
		begin_inside(scan);
	else
		scan->stage = BLOCK_FAR;
	return false;
}

/* The next row that is far. */
static bool
next_far(BlockScan *scan, SlotRow *row)
{
	for (;;)
	{
		while (scan->scanning && slot_scan_next(&scan->rows, row))
		{
			if (block_last(row->lo, row->order) >= scan->slots.first)
				return true;
		}
		if (scan->scanning)
			slot_scan_end(&scan->rows);
		scan->scanning = false;

		/* on to the next slot where a longer one can begin */
		while (!scan->scanning && scan->order < longest_order(scan->pool))
		{
			u128		at = scan->slots.first & ~block_last(0, ++scan->order);
			Extent		slot = {at, at};

			if (at == scan->at)
				continue;
			scan->at = at;
			scan_by_slot(&scan->rows, scan->store, scan->pool->id, slot,
						 ForwardScanDirection, scan->snapshot);
			scan->scanning = true;
		}
		if (!scan->scanning)
		{
			begin_inside(scan);
			return false;
		}
	}
}

/* The next row; see slot_scan_next. */
bool
block_scan_next(BlockScan *scan, SlotRow *row)
{
	if (scan->stage == BLOCK_NEAR && next_near(scan, row))
		return true;
	if (scan->stage == BLOCK_FAR && next_far(scan, row))
		return true;
	return scan->stage == BLOCK_INSIDE && slot_scan_next(&scan->rows, row);
}

void
block_scan_end(BlockScan *scan)
{
	if (scan->stage != BLOCK_FAR || scan->scanning)
		slot_scan_end(&scan->rows);
}

/* How a row's block stands, for those whom it is not. */
BlockState
row_state(const SlotRow *row, TimestampTz now)
{
	if (TransactionIdIsValid(row->inserter) ||
		TransactionIdIsValid(row->deleter))
		return BLOCK_BUSY;
	if (has_run_out(row, now))
		return BLOCK_FREE;
	return row->held ? BLOCK_HELD : BLOCK_COOLING;
}

/*
 * The unit of a row has been taken over: note when it ended for its key.
 */
static void
note_end(Search *search, const SlotRow *row)
{
	if (row->held)
		store_history(search->store, search->pool, row, row->expires_at,
					  "expired");
}

/*
 * Remove a row that has run out or waits, to put another in its place.
 * False if someone else is at it.
 */
static bool
sweep_row(Search *search, const SlotRow *row)
{
	if (store_delete(search->store, row) != TM_Ok)
		return false;
	note_end(search, row);
	return true;
}

/*
 * The state of the block of that order at lo: the worst of the rows that
 * overlap it.  worst, if not NULL, is set to that row; of several that cool,
 * to the one that does so longest.  With sweep, rows that have run out are
 * removed from a block that is free.
 */
BlockState
block_state(Search *search, u128 lo, int order, bool sweep, SlotRow *worst)
{
	Extent		block = {lo, block_last(lo, order)};
	BlockState	state = BLOCK_FREE;
	BlockScan	scan;
	SlotRow		row;

	block_scan_begin(&scan, search->store, search->pool, block, NULL);
	while (!(sweep && state != BLOCK_FREE) && block_scan_next(&scan, &row))
	{
		BlockState	its;

		wait_add_row(&search->store->waits, &row);
		its = row_state(&row, search->now);
		if (its == BLOCK_FREE && sweep && !sweep_row(search, &row))
			its = BLOCK_BUSY;
		if (worst != NULL &&
			(its > state ||
			 (its == BLOCK_COOLING && state == its &&
			  row.expires_at > worst->expires_at)))
			*worst = row;
		state = Max(state, its);
	}
	block_scan_end(&scan);
	return state;
}

/*
 * Is any of these slots held, or a running transaction's?
 */
bool
slots_in_use(Store *store, const Pool *pool, Extent slots)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		result = false;
	BlockScan	scan;
	SlotRow		row;

	block_scan_begin(&scan, store, pool, slots, NULL);
	while (!result && block_scan_next(&scan, &row))
	{
		BlockState	state = row_state(&row, now);

		result = state == BLOCK_BUSY || state == BLOCK_HELD;
	}
	block_scan_end(&scan);
	return result;
}

/*
 * A block was free and could not be taken.  Someone has been quicker; but
 * where that happens again and again, something is wrong.
 */
static void
stumble(Search *search, u128 lo)
{
	CHECK_FOR_INTERRUPTS();
	if (++search->stumbles <= MAX_STUMBLES)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("%s of pool \"%s\" seems to be free, but cannot be taken",
					unit_text(search->pool, lo, search->request->order),
					search->pool->name),
			 errdetail("This has been tried %d times, with this or another unit.",
					   MAX_STUMBLES),
			 errhint("Look for an index or constraint on table alloc_slot that is not the extension's own, and see alloc_verify().")));
}

/* What the request's key is to have at lo. */
static SlotRow *
make_unit(Search *search, u128 lo)
{
	const Request *request = search->request;
	SlotRow    *unit = &search->unit;

	memset(unit, 0, sizeof(*unit));
	unit->lo = lo;
	unit->order = request->order;
	unit->held = true;
	unit->key = request->key;
	unit->key_row = search->key_row;
	unit->generation = store_next_generation(search->store);
	unit->allocated_at = search->now;
	unit->expires = request->ttl != NULL;
	if (unit->expires)
		unit->expires_at = interval_after(search->now, request->ttl, "ttl");
	unit->note = request->note;
	unit->has_note = request->has_note;
	return unit;
}

/*
 * Give the block at lo, where nothing stands, to the request's key.  False if
 * it turns out not to be free.
 */
bool
put_unit(Search *search, u128 lo)
{
	if (store_insert(search->store, search->pool, make_unit(search, lo)))
		return true;
	stumble(search, lo);
	return false;
}

/*
 * Give the block at lo to the request's key, if it is free.  If not, worst, if
 * not NULL, may be set to the row that says so.
 */
bool
take_block(Search *search, u128 lo, SlotRow *worst)
{
	return block_state(search, lo, search->request->order, true,
					   worst) == BLOCK_FREE &&
		put_unit(search, lo);
}

/*
 * Give the row's unit, which waits or has run out, to the request's key; in a
 * pool of one size.  It gets a new version of the row, which needs no look at
 * unique (pool, first_slot): one row has one latest version.
 */
bool
take_row(Search *search, const SlotRow *row)
{
	SlotRow    *unit = make_unit(search, row->lo);

	unit->tid = row->tid;
	if (store_update(search->store, search->pool, unit, true, false) != TM_Ok)
	{
		stumble(search, row->lo);
		return false;
	}
	note_end(search, row);
	return true;
}

static u128
random_below(u128 limit)
{
	unsigned char bytes[16];

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return u128_from_bytes(bytes, sizeof(bytes)) % limit;
}

/*
 * A random slot of those that the pool gives out, reserved ones included.
 * False if there are none.
 */
bool
random_slot(const Search *search, u128 *slot)
{
	const Space *space = &search->pool->space;
	u128		total = 0;
	u128		n;

	for (int i = 0; i < space->nranges; i++)
	{
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

		if (!space->ranges[i].draining)
			total += slots.last - slots.first + 1;
	}
	if (total == 0)
		return false;
	n = random_below(total);
	for (int i = 0; i < space->nranges; i++)
	{
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

		if (space->ranges[i].draining)
			continue;
		if (n <= slots.last - slots.first)
		{
			*slot = slots.first + n;
			return true;
		}
		n -= slots.last - slots.first + 1;
	}
	pg_unreachable();
}
