/*
 * block.c
 *		Blocks of slots: finding the rows that overlap a block, computing its
 *		state, and taking it.
 *
 * Every caller that has to judge a block uses the iterator in this file,
 * because it finds all rows that overlap the block.  Looking only at the row
 * that begins at the block's first slot, or at the nearest row before it, is
 * not enough.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "alloc/alloc.h"

/* A backward scan for a longer block gives up after this many rows. */
#define NEAR_ROWS 64

/* How often a search may fail to take a block that it found free. */
#define MAX_STUMBLES 10000

/*
 * The order of the longest block that a row of the pool can have, whatever its
 * ranges are.
 */
static int
longest_order(const Pool *pool)
{
	if (!pool->mixed)
		return 0;
	return pool->space.chunk_bits > 0 ? pool->space.chunk_bits :
		Min(pool->width, MAX_PREFIX_ORDER);
}

/* Enter the last stage: scan the rows that begin in the extent. */
static void
begin_inside(BlockScan *scan)
{
	scan->stage = BLOCK_INSIDE;
	scan_by_slot(&scan->rows, scan->store, scan->pool->id, scan->slots,
				 ForwardScanDirection, scan->snapshot);
}

/*
 * Start a scan of all rows that overlap an extent, as the snapshot shows them
 * (NULL: dirty).  Rows that begin before the extent are returned first, then
 * the others in the order of their slots.
 *
 * A row that begins before the extent and reaches into it has a block that is
 * longer than all blocks between its first slot and the extent.  We look for
 * it in two ways:
 *
 * - near: scan backward from the extent until a row proves that no block that
 *   begins further back reaches the extent.  Any committed row does, because
 *   two blocks that overlap cannot both be committed.
 * - far: look at each slot where a block of a longer order would begin.  There
 *   are at most as many such slots as there are orders.  We do this if too
 *   many rows lie on the way back, or if the snapshot shows versions of
 *   different times, where rows may overlap.
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
	/* No longer block can begin before the extent. */
	if (before.first == slots.first)
	{
		begin_inside(scan);
		return;
	}

	/*
	 * Under SnapshotAny versions of different times overlap, so no row proves
	 * that there is no longer block further back.
	 */
	scan->stage = BLOCK_FAR;
	if (snapshot == SnapshotAny)
		return;
	scan->stage = BLOCK_NEAR;
	scan_by_slot(&scan->rows, store, pool->id, before, BackwardScanDirection,
				 snapshot);
	/* Dead entries count as rows passed: give up on many of them, too. */
	scan->rows.base.bounded = true;
}

/*
 * Return the next row of the near stage.  If there is none, enter the next
 * stage and return false.
 */
static bool
next_near(BlockScan *scan, SlotRow *row)
{
	while (!scan->proven && slot_scan_next(&scan->rows, row))
	{
		/*
		 * A row that a running transaction inserts or deletes proves nothing,
		 * since a longer block may have been there before or may come back.
		 */
		scan->proven = !TransactionIdIsValid(row->inserter) &&
			!TransactionIdIsValid(row->deleter);
		if (block_last(row->lo, row->order) >= scan->slots.first)
			return true;
		if (++scan->passed > NEAR_ROWS)
			break;
	}
	slot_scan_end(&scan->rows);
	if (scan->proven ||
		(!scan->rows.base.gave_up && scan->passed <= NEAR_ROWS))
		begin_inside(scan);
	else
		scan->stage = BLOCK_FAR;
	return false;
}

/*
 * Return the next row of the far stage.  If there is none, enter the last
 * stage and return false.
 */
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

		/* Go on to the next slot where a longer block can begin. */
		while (!scan->scanning && scan->order < longest_order(scan->pool))
		{
			u128		at = scan->slots.first & ~block_last(0, ++scan->order);
			Extent		slot = {at, at};

			/* blocks of several orders can begin at one slot */
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

/* Return the next row; see slot_scan_next() for how long it is valid. */
bool
block_scan_next(BlockScan *scan, SlotRow *row)
{
	if (scan->stage == BLOCK_NEAR && next_near(scan, row))
		return true;
	if (scan->stage == BLOCK_FAR && next_far(scan, row))
		return true;
	return scan->stage == BLOCK_INSIDE && slot_scan_next(&scan->rows, row);
}

/* End the scan. */
void
block_scan_end(BlockScan *scan)
{
	/* between two slots of the far stage there is no open index scan */
	if (scan->stage != BLOCK_FAR || scan->scanning)
		slot_scan_end(&scan->rows);
}

/* The state of a row's block, for any key but the row's own. */
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
 * Another key has taken over the row's unit: record in the history when the
 * former key's time ended.
 */
static void
note_end(Search *search, const SlotRow *row)
{
	if (!row->held)
		return;
	search->pool->ends = true;
	store_history(search->store, search->pool, row, row->expires_at,
				  "expired");
}

/*
 * Delete a row that has run out or is waiting, to make room for another one.
 * Returns false if another transaction is changing the row.
 */
static bool
sweep_row(Search *search, const SlotRow *row)
{
	if (store_free(search->store, search->pool, row) != TM_Ok)
		return false;
	note_end(search, row);
	return true;
}

/*
 * Return the state of some slots, which is the worst state of the rows that
 * overlap them.  If worst is not NULL, it is set to the
 * row that decided; among several cooling rows, to the one that cools longest.
 * With sweep, delete rows that have run out as long as the slots look free.
 */
BlockState
extent_state(Search *search, Extent slots, bool sweep, SlotRow *worst)
{
	BlockState	state = BLOCK_FREE;
	BlockScan	scan;
	SlotRow		row;

	block_scan_begin(&scan, search->store, search->pool, slots, NULL);
	while (!(sweep && state != BLOCK_FREE) && block_scan_next(&scan, &row))
	{
		BlockState	its;

		/*
		 * Remember the transaction at work on this row, if any: the caller may
		 * have to wait for it.
		 */
		wait_add_row(&search->store->waits, &row);
		its = row_state(&row, search->now);
		/* a row that we could not delete is being changed by someone */
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

/* Return the state of the block of the given order at lo. */
BlockState
block_state(Search *search, u128 lo, int order, bool sweep, SlotRow *worst)
{
	Extent		block = {lo, block_last(lo, order)};

	return extent_state(search, block, sweep, worst);
}

/*
 * Is any of these slots held, or part of a row that a running transaction is
 * changing?
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
 * Called when a block was found free but could not be taken.  Normally another
 * session was faster.  If this happens again and again, raise an error rather
 * than loop for ever: probably an index or constraint that is not ours keeps
 * the block from being taken.
 */
static void
stumble(Search *search, u128 lo)
{
	CHECK_FOR_INTERRUPTS();
	search->stumbled_at = lo;
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

/* Fill in the search's unit: what the request's key is to have at lo. */
SlotRow *
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
	unit->run_size = request->n;
	unit->run_place = search->run_place;
	unit->generation = search->generation != 0 ? search->generation :
		store_next_generation(search->store);
	unit->allocated_at = search->now;
	unit->expires = request_expiry(request, search->now, &unit->expires_at);
	search->pool->ends |= unit->expires;
	/* a note is stored once, however many units there are in a row */
	unit->note = request->note;
	unit->has_note = request->has_note && search->run_place == 0;
	return unit;
}

/*
 * Insert a unit for the request's key at lo, where there is no row.  Returns
 * false if the block turns out not to be free.
 */
bool
put_unit(Search *search, u128 lo)
{
	const SlotRow *unit = &search->unit;

	if (!store_insert(search->store, search->pool, make_unit(search, lo)))
	{
		stumble(search, lo);
		return false;
	}
	if (pool_notes_freed(search->pool))
	{
		Extent		slots = {lo, block_last(lo, unit->order)};

		freed_remove(search->store, search->pool, slots);
	}
	return true;
}

/*
 * Give the block at lo to the request's key if it is free.  Otherwise return
 * false; worst, if not NULL, may then be set to the row that is in the way.
 */
bool
take_block(Search *search, u128 lo, SlotRow *worst)
{
	return block_state(search, lo, search->request->order, true,
					   worst) == BLOCK_FREE &&
		put_unit(search, lo);
}

/*
 * Give the row's unit, which is waiting or has run out, to the request's key.
 * Only for pools of one size.  We write a new version of the row, which need
 * not be checked against unique (pool, first_slot), since a row has only one
 * latest version.
 */
bool
take_row(Search *search, const SlotRow *row)
{
	SlotRow    *unit = make_unit(search, row->lo);

	unit->tid = row->tid;
	if (store_update(search->store, search->pool, unit, true, false) != TM_Ok)
	{
		/* someone else has changed the row since we saw it */
		stumble(search, row->lo);
		return false;
	}
	note_end(search, row);
	return true;
}

/* Return a random number below limit. */
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
 * Choose a random slot among those that the pool gives out, reserved ones
 * included.  Returns false if there are none.
 */
bool
random_slot(const Search *search, u128 *slot)
{
	const Space *space = &search->request->space;
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
