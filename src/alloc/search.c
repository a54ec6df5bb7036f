/*
 * search.c
 *		Finding a block that is free.
 *
 * A block is free if no row stands in its place that is held by a key and has
 * not run out, or is cooling, and nobody is just changing that.  What others'
 * running transactions hold is seen (store.c), so a search never waits and
 * never takes two sessions to the same block for long: the one that comes
 * second is told so by store_insert and looks on.
 *
 * Pools of one size
 *
 * There are two places where a free block can be: among the blocks that never
 * had a row, and among the waiting rows.
 *
 * The never-used ones are found by walking along (pool, lo) to the first gap.
 * Rows are never removed here, so "all slots before this one have a row", if
 * true for committed rows, stays true.  That is the frontier: kept by every
 * backend for itself, and now and then in alloc_frontier for those who come
 * later.  A row of a running transaction may vanish again; such slots are
 * passed, too, but remembered as pending, with the transaction's id, and are
 * looked at again when it is no longer running; those who come later are told
 * of them, too.  A backend's own rows count as there, since any rollback in
 * this backend makes it forget what it learned.
 *
 * Waiting rows are queued in alloc_slot_rank: by the time from which they may
 * be had, which gives the one that has been waiting longest; in pools with
 * strategy "lowest", by slot.  A backend remembers where in the queue it took
 * its last one, so as not to wade through the dead entries at its head for as
 * long as some old snapshot keeps them; if nothing is found from there on, it
 * looks from the start.
 *
 * Mixed pools
 *
 * One walk along (pool, lo) looks at the gaps between rows.  It begins where
 * this backend's last one ended ("lowest": at the range's start), and if it
 * has not walked yet, behind the last row, and if there is no room, at a
 * random place.  So the cost depends on how full the pool is, not on how
 * large.
 *
 * Both
 *
 * Held rows that have run out are taken along as they are found.  A search
 * that finds nothing has met every transaction that could still make room,
 * one that runs an allocation and may roll back, or a release and may commit:
 * they are in its wait set.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"

#include "alloc/alloc.h"

/* Slots that a frontier moves before it is saved. */
#define FRONTIER_STEP 256

/* Slots that backends keep apart, where several are at a frontier. */
#define STRIDE 64

/* Guesses that "random" makes before it takes any. */
#define RANDOM_TRIES 32

/* How often a transaction of this backend has been rolled back. */
static uint64 aborts = 0;

static void
count_abort(XactEvent event, void *arg)
{
	/* who prepares a transaction does not learn what becomes of it */
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		aborts++;
}

static void
count_subabort(SubXactEvent event, SubTransactionId mine,
			   SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		aborts++;
}

/* Take note of rollbacks from now on. */
static void
watch_aborts(void)
{
	static bool watching = false;

	if (watching)
		return;
	RegisterXactCallback(count_abort, NULL);
	RegisterSubXactCallback(count_subabort, NULL);
	watching = true;
}

/* Remember whom to wait for before the row is what it seems. */
static void
wait_add(WaitSet *waits, const SlotRow *row)
{
	TransactionId xid = TransactionIdIsValid(row->inserter) ?
		row->inserter : row->deleter;

	if (!TransactionIdIsValid(xid))
		return;
	for (int i = 0; i < waits->n; i++)
	{
		if (TransactionIdEquals(waits->xids[i], xid))
			return;
	}
	if (waits->n == waits->room)
	{
		waits->room = Max(16, waits->room * 2);
		waits->xids = waits->xids == NULL ?
			palloc(waits->room * sizeof(TransactionId)) :
			repalloc(waits->xids, waits->room * sizeof(TransactionId));
	}
	waits->xids[waits->n++] = xid;
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
	if (row->held)
		store_history(search->store, search->pool, row, row->expires_at,
					  "expired");
	return true;
}

/* How a block stands. */
typedef enum BlockState
{
	BLOCK_FREE,
	BLOCK_BUSY,					/* a running transaction changes that */
	BLOCK_COOLING,
	BLOCK_HELD
} BlockState;

static BlockState
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
 * Find the row of a block that begins before the slot and reaches it, if there
 * is one; in a mixed pool.
 */
static bool
row_reaching(Search *search, u128 slot, SlotRow *row)
{
	const Space *space = &search->pool->space;
	const Range *range = space_range_of_slot(space, slot);
	Extent		before = {0, slot - 1};
	SlotScan	scan;
	bool		found;
	bool		gave_up;

	/* where there are but addresses and chunks, an address begins here */
	if (search->pool->kind == POOL_IP)
		before.first = slot & ~block_last(0, space->chunk_bits);
	if (before.first == slot)
		return false;
	scan_by_lo(&scan, search->store, search->pool->id, before,
			   BackwardScanDirection, NULL);
	scan.bounded = range != NULL;
	found = slot_scan_next(&scan, row) &&
		block_last(row->lo, row->order) >= slot;
	gave_up = scan.gave_up;
	slot_scan_end(&scan);
	if (!gave_up)
		return found;

	/* there is much that was; longer and longer ones can begin here only */
	for (int order = 1; order <= MAX_PREFIX_ORDER; order++)
	{
		u128		lo = slot & ~block_last(0, order);

		if (lo < range->base || found)
			break;
		if (lo == before.last)
			continue;
		before.first = before.last = lo;
		if (lo == slot)
			continue;
		scan_by_lo(&scan, search->store, search->pool->id, before,
				   ForwardScanDirection, NULL);
		while (!found && slot_scan_next(&scan, row))
			found = block_last(row->lo, row->order) >= slot;
		slot_scan_end(&scan);
	}
	return found;
}

/*
 * The state of the block at lo: the worst of the rows that overlap it.
 * worst, if not NULL, is set to that row.  Rows that have run out are swept
 * from a free block.
 */
static BlockState
block_state(Search *search, u128 lo, bool sweep, SlotRow *worst)
{
	Extent		block = {lo, block_last(lo, search->request->order)};
	BlockState	state = BLOCK_FREE;

	/* in a mixed pool, a longer one may begin before it */
	for (int part = 0; part < (search->pool->mixed && lo > 0 ? 2 : 1); part++)
	{
		SlotScan	scan;
		SlotRow		row;
		bool		more;

		if (part == 0)
		{
			scan_by_lo(&scan, search->store, search->pool->id, block,
					   ForwardScanDirection, NULL);
			more = slot_scan_next(&scan, &row);
		}
		else
			more = row_reaching(search, lo, &row);
		while (more)
		{
			BlockState	its;

			wait_add(&search->waits, &row);
			its = row_state(&row, search->now);
			if (its == BLOCK_FREE && sweep && !sweep_row(search, &row))
				its = BLOCK_BUSY;
			if (its > state ||
				(its == BLOCK_COOLING && state == its && worst != NULL &&
				 row.expires_at > worst->expires_at))
			{
				state = its;
				if (worst != NULL)
					*worst = row;
			}
			if (sweep && state != BLOCK_FREE)
				break;
			more = part == 0 && slot_scan_next(&scan, &row);
		}
		if (part == 0)
			slot_scan_end(&scan);
	}
	return state;
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
	unit->turn = search->turn;
	unit->generation = store_next_generation(search->store);
	unit->allocated_at = search->now;
	unit->expires = request->ttl != NULL;
	if (unit->expires)
		unit->expires_at = time_after(search->now, request->ttl);
	unit->note = request->note;
	unit->has_note = request->has_note;
	return unit;
}

/*
 * Give the block at lo, from which rows have been swept, to the request's
 * key.  False if it turns out not to be free.
 */
static bool
put_unit(Search *search, u128 lo)
{
	return store_insert(search->store, search->pool, make_unit(search, lo));
}

static bool
take_block(Search *search, u128 lo)
{
	return block_state(search, lo, true, NULL) == BLOCK_FREE &&
		put_unit(search, lo);
}

/*
 * Give the row's unit, which waits or has run out, to the request's key; in a
 * pool of one size.
 */
static bool
take_row(Search *search, const SlotRow *row)
{
	SlotRow    *unit = make_unit(search, row->lo);

	unit->tid = row->tid;
	if (store_update(search->store, search->pool, unit, true, false) != TM_Ok)
		return false;
	if (row->held)
		store_history(search->store, search->pool, row, row->expires_at,
					  "expired");
	return true;
}

/*
 * The frontier.
 */

static Frontier *
frontier_get(Search *search, int i)
{
	const Range *range = &search->pool->space.ranges[i];
	Frontier   *frontier = &search->pool->frontiers[i];

	watch_aborts();
	if (!frontier->valid || frontier->aborts != aborts)
	{
		Extent		slots = range_slots(range, search->pool->space.chunk_bits);
		int			npending = 0;

		memset(frontier, 0, sizeof(*frontier));
		frontier->saved = range->base;
		(void) store_frontier(search->store, range->id, &frontier->saved,
							  frontier->pending, &npending);
		for (int n = 0; n < npending; n++)
		{
			PendingRun	run = frontier->pending[n];

			run.slots.first = Max(run.slots.first, slots.first);
			run.slots.last = Min(run.slots.last, slots.last);
			if (run.slots.first <= run.slots.last)
				frontier->pending[frontier->npending++] = run;
		}
		frontier->next = frontier->saved;
		frontier->aborts = aborts;
		frontier->valid = true;
	}
	return frontier;
}

/* This transaction has a row at the slot, which the frontier is past. */
static void
frontier_own(Frontier *frontier, u128 slot)
{
	if (frontier->own_lxid != MyProc->lxid)
	{
		frontier->own_lxid = MyProc->lxid;
		frontier->own_first = slot;
	}
	else if (slot < frontier->own_first)
		frontier->own_first = slot;
}

/* Add a slot of a running transaction; false if there is no room. */
static bool
frontier_pend(Frontier *frontier, u128 slot, TransactionId xid)
{
	PendingRun *run;

	for (int i = 0; i < frontier->npending; i++)
	{
		run = &frontier->pending[i];
		if (TransactionIdEquals(run->xid, xid) &&
			slot >= run->slots.first && slot <= run->slots.last + 1)
		{
			run->slots.last = Max(run->slots.last, slot);
			return true;
		}
	}
	if (frontier->npending == MAX_PENDING)
		return false;
	run = &frontier->pending[frontier->npending++];
	run->slots.first = run->slots.last = slot;
	run->xid = xid;
	return true;
}

/*
 * Find the first gap in the slots: the lowest one that has no row and is not
 * reserved.  *walked is advanced over those that have one; with a frontier,
 * rows of running transactions are added to its pending runs, and if there is
 * no room for that, *walked stops there.
 */
static bool
find_gap(Search *search, Frontier *frontier, Extent slots, u128 *walked,
		 u128 *slot)
{
	const Space *space = &search->pool->space;
	u128		from = slots.first;
	u128		window = 8;
	bool		stuck = false;

	for (;;)
	{
		Extent		part = {from, slots.last};
		SlotScan	scan;
		SlotRow		row;
		bool		found = false;

		if (part.last - part.first >= window)
			part.last = part.first + window - 1;

		scan_by_lo(&scan, search->store, search->pool->id, part,
				   ForwardScanDirection, NULL);
		while (slot_scan_next(&scan, &row))
		{
			Extent		gap = {from, row.lo - 1};

			if (row.lo > from && space_fit(space, gap, 0, slot))
			{
				found = true;
				break;
			}
			wait_add(&search->waits, &row);
			if (TransactionIdIsValid(row.inserter) && !stuck)
				stuck = !frontier_pend(frontier, row.lo, row.inserter);
			else if (row.own)
				frontier_own(frontier, row.lo);
			if (!stuck)
				*walked = row.lo + 1;
			from = row.lo + 1;
		}
		slot_scan_end(&scan);
		if (found)
			return true;

		if (from <= part.last)
		{
			Extent		gap = {from, part.last};

			if (space_fit(space, gap, 0, slot))
				return true;
		}
		/* on, over what is reserved */
		slots.first = part.last + 1;
		if (part.last == slots.last || !space_fit(space, slots, 0, &from))
			from = slots.last + 1;
		if (!stuck)
			*walked = from;
		if (from > slots.last)
			return false;
		window = Min(window * 2, 65536);
	}
}

/*
 * Look again at what was pending: the lowest gap left by a transaction that
 * rolled back.
 */
static bool
frontier_reopened(Search *search, Frontier *frontier, u128 *slot)
{
	bool		found = false;

	for (int i = frontier->npending - 1; i >= 0; i--)
	{
		PendingRun	run = frontier->pending[i];
		u128		walked = run.slots.first;
		u128		gap;

		if (TransactionIdIsValid(run.xid) &&
			TransactionIdIsInProgress(run.xid))
		{
			SlotRow		row = {.inserter = run.xid};

			wait_add(&search->waits, &row);
			continue;
		}

		frontier->pending[i] = frontier->pending[--frontier->npending];
		if (find_gap(search, frontier, run.slots, &walked, &gap))
		{
			if (!found || gap < *slot)
				*slot = gap;
			found = true;
		}
		if (walked > run.slots.last)
			continue;

		/* what was not walked is to be looked at again */
		if (frontier->npending == MAX_PENDING)
			frontier->valid = false;
		else
		{
			run.slots.first = walked;
			run.xid = InvalidTransactionId;
			frontier->pending[frontier->npending++] = run;
		}
	}
	return found;
}

/* Save what the backend knows about the frontier, if it is much. */
static void
frontier_save(Search *search, Frontier *frontier, const Range *range)
{
	u128		sure = frontier->next;
	u128		gap;

	if (frontier->own_lxid == MyProc->lxid && frontier->own_first < sure)
		sure = frontier->own_first;
	if (sure < frontier->saved || sure - frontier->saved < FRONTIER_STEP)
		return;

	/* leave out what is pending no more, if there is still room for the rest */
	(void) frontier_reopened(search, frontier, &gap);
	if (!frontier->valid)
		return;
	store_save_frontier(search->store, range->id, sure, frontier->pending,
						frontier->npending);
	frontier->saved = sure;
}

/*
 * A slot, found to be the first that was never used, where this backend is to
 * go on.  Where rows of others' running transactions had to be passed to get
 * there, they are about to take it, too, and all would walk over what all are
 * inserting, time and again; so if it may be any slot, that is some way ahead,
 * another one for each backend.  What is left out is found by later searches.
 */
static u128
frontier_tip(Search *search, Extent slots, u128 slot, bool passed_others)
{
	u128		ahead = slot + (u128) STRIDE * (1 + MyProcPid % 16);

	if (passed_others && search->pool->strategy == STRATEGY_ANY &&
		ahead <= slots.last &&
		!space_reserved(&search->pool->space, ahead, 0))
		return ahead;
	return slot;
}

/*
 * A never-used slot of range i: the first one, or if nobody else has been
 * there lately, the one after this backend's last one; behind the frontier, or
 * if reopened is true, also among those that were pending.  If these are many,
 * they come first, lest there be no room for more.
 */
static bool
find_unused(Search *search, int i, bool reopened, u128 *slot)
{
	const Range *range = &search->pool->space.ranges[i];
	Extent		slots = range_slots(range, search->pool->space.chunk_bits);
	Frontier   *frontier = frontier_get(search, i);
	int			nwaits;
	bool		found;

	if ((reopened || frontier->npending > MAX_PENDING / 2) &&
		frontier_reopened(search, frontier, slot))
		return true;
	nwaits = search->waits.n;
	if (frontier->next > slots.last)
		return false;
	if (frontier->quiet && frontier->tip <= slots.last &&
		!space_reserved(&search->pool->space, frontier->tip, 0))
	{
		*slot = frontier->tip;
		found = true;
	}
	else
	{
		slots.first = frontier->next;
		found = find_gap(search, frontier, slots, &frontier->next, slot);
		frontier->quiet = found;
		if (found)
			*slot = frontier->tip =
				frontier_tip(search, slots, *slot, search->waits.n > nwaits);
	}
	frontier_save(search, frontier, range);
	return found;
}

/* Take the never-used slot that find_unused has found. */
static bool
take_unused(Search *search, int i, u128 slot)
{
	Frontier   *frontier = &search->pool->frontiers[i];
	bool		taken = put_unit(search, slot);

	/* one behind the frontier says nothing of the tip */
	if (slot >= frontier->next)
	{
		frontier->quiet = taken;
		frontier->tip = slot + 1;
		if (taken && slot == frontier->next)
			frontier->next++;
	}
	if (taken)
		frontier_own(frontier, slot);
	return taken;
}

/*
 * Pools of one size: strategies.
 */

/* May slots of this block be given out at all? */
bool
block_open(const Space *space, u128 lo, int order)
{
	const Range *range = space_range_of_slot(space, lo);

	return range != NULL && !range->draining &&
		!space_reserved(space, lo, order);
}

/* Take the first waiting row of the queue whose rank is in the extent. */
static bool
take_waiting(Search *search, Extent ranks)
{
	SlotScan	scan;
	SlotRow		row;
	bool		taken = false;

	scan_by_rank(&scan, search->store, search->pool->id, ranks);
	while (!taken && slot_scan_next(&scan, &row))
	{
		wait_add(&search->waits, &row);
		if (!block_open(&search->pool->space, row.lo, row.order))
			continue;
		if (row_state(&row, search->now) == BLOCK_FREE)
			taken = take_row(search, &row);
		if (taken)
			search->pool->queue_from = row.expires_at;
	}
	slot_scan_end(&scan);
	return taken;
}

/*
 * To find the head of the queue, the index has to read a page of it, with some
 * hundred rows.  So what a search finds there is kept for the next ones, which
 * have but to look whether it is still so.
 */
static bool
take_ready(Search *search)
{
	Pool	   *pool = search->pool;

	while (pool->nready > 0)
	{
		ReadyRow   *ready = pool->next_ready++;
		SlotRow		row;

		pool->nready--;
		CHECK_FOR_INTERRUPTS();
		if (store_look(search->store, pool, &ready->tid, &row) &&
			!row.held && row.lo == ready->lo &&
			row_state(&row, search->now) == BLOCK_FREE &&
			block_open(&pool->space, row.lo, row.order) &&
			take_row(search, &row))
		{
			pool->queue_from = row.expires_at;
			return true;
		}
	}
	return false;
}

/* Keep the first free waiting rows whose rank is in the extent as ready. */
static void
find_ready(Search *search, Extent ranks)
{
	Pool	   *pool = search->pool;
	SlotScan	scan;
	SlotRow		row;

	pool->nready = 0;
	pool->next_ready = pool->ready;
	scan_by_rank(&scan, search->store, pool->id, ranks);
	while (pool->nready < MAX_READY && slot_scan_next(&scan, &row))
	{
		if (row_state(&row, search->now) != BLOCK_FREE)
			continue;
		pool->ready[pool->nready].tid = row.tid;
		pool->ready[pool->nready++].lo = row.lo;
	}
	slot_scan_end(&scan);
}

/* Take the held unit that has run out first. */
static bool
take_expired(Search *search)
{
	SlotScan	scan;
	SlotRow		row;
	bool		taken = false;

	scan_by_expiry(&scan, search->store, search->pool->id, search->now);
	while (!taken && slot_scan_next(&scan, &row))
	{
		wait_add(&search->waits, &row);
		if (row_state(&row, search->now) == BLOCK_FREE &&
			block_open(&search->pool->space, row.lo, row.order))
			taken = take_row(search, &row);
	}
	slot_scan_end(&scan);
	return taken;
}

static bool
take_unused_any(Search *search, bool reopened)
{
	const Space *space = &search->pool->space;

	for (int i = 0; i < space->nranges; i++)
	{
		u128		slot;

		if (space->ranges[i].draining)
			continue;
		while (find_unused(search, i, reopened, &slot))
		{
			CHECK_FOR_INTERRUPTS();
			if (take_unused(search, i, slot))
				return true;
		}
	}
	return false;
}

static bool
search_any(Search *search)
{
	Pool	   *pool = search->pool;
	Extent		ranks = {0, (u128) Max(search->now, 0)};

	if (take_unused_any(search, false) || take_ready(search))
		return true;
	if (pool->queue_from > 0 && pool->queue_from <= search->now)
	{
		Extent		rest = {pool->queue_from, ranks.last};

		find_ready(search, rest);
		if (take_ready(search))
			return true;
	}
	return take_waiting(search, ranks) || take_expired(search) ||
		take_unused_any(search, true);
}

/*
 * Lower *slot, which is not in the extent if nothing has been found there
 * yet, to the lowest one of the extent that the scan's rows make free.
 */
static void
lower_slot(Search *search, SlotScan *scan, Extent slots, u128 *slot)
{
	SlotRow		row;

	while (slot_scan_next(scan, &row))
	{
		wait_add(&search->waits, &row);
		if (row.lo >= slots.first && row.lo <= slots.last && row.lo < *slot &&
			row_state(&row, search->now) == BLOCK_FREE &&
			block_open(&search->pool->space, row.lo, row.order))
			*slot = row.lo;
	}
	slot_scan_end(scan);
}

static bool
search_lowest(Search *search)
{
	const Space *space = &search->pool->space;

	for (int i = 0; i < space->nranges; i++)
	{
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

		if (space->ranges[i].draining)
			continue;
		for (;;)
		{
			u128		unused;
			bool		is_unused = find_unused(search, i, true, &unused);
			u128		slot = is_unused ? unused : U128_MAX;
			Extent		lower = slots;
			u128		waiting;
			SlotScan	scan;
			SlotRow		row;

			CHECK_FOR_INTERRUPTS();

			/* waiting rows come in the order of slots: the first one counts */
			if (is_unused)
				lower.last = unused;
			scan_by_rank(&scan, search->store, search->pool->id, lower);
			while (slot == (is_unused ? unused : U128_MAX) &&
				   slot_scan_next(&scan, &row))
			{
				wait_add(&search->waits, &row);
				if (row_state(&row, search->now) == BLOCK_FREE &&
					block_open(space, row.lo, row.order))
					slot = row.lo;
			}
			slot_scan_end(&scan);
			waiting = slot;

			scan_by_expiry(&scan, search->store, search->pool->id,
						   search->now);
			lower_slot(search, &scan, slots, &slot);

			if (slot == U128_MAX)
				break;
			if (is_unused && slot == unused ? take_unused(search, i, slot) :
				slot == waiting ? take_row(search, &row) :
				take_block(search, slot))
				return true;
		}
	}
	return false;
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
static bool
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

static bool
search_random(Search *search)
{
	for (int try = 0; try < RANDOM_TRIES; try++)
	{
		u128		slot;

		if (!random_slot(search, &slot))
			break;
		if (!space_reserved(&search->pool->space, slot, 0) &&
			take_block(search, slot))
			return true;
	}
	return search_any(search);
}

/*
 * Mixed pools.
 */

/*
 * Walk over the gaps of the extent, which lies in one range, and take the
 * first block that fits; or if order is not the request's, just say whether a
 * block of that order is free.
 *
 * Rows are looked for part by part, one block first and then ever more, so
 * that where nothing is held, which may be far, no scan goes through all that
 * was.
 */
static bool
walk(Search *search, Extent slots, int order)
{
	const Space *space = &search->pool->space;
	bool		take = order == search->request->order;
	u128		window = (u128) 1 << order;
	Extent		part = {slots.first, slots.first};
	Extent		gap = slots;
	SlotRow		row;
	bool		found = false;

	/* a block that begins before the extent may reach into it */
	if (row_reaching(search, slots.first, &row) &&
		row_state(&row, search->now) != BLOCK_FREE)
	{
		wait_add(&search->waits, &row);
		gap.first = Max(gap.first, block_last(row.lo, row.order) + 1);
	}

	for (;;)
	{
		SlotScan	scan;
		bool		more;

		/* parts end where blocks end */
		part.last = slots.last;
		if (part.last - part.first >= window)
			part.last = ((part.first + window) & ~block_last(0, order)) - 1;

		scan_by_lo(&scan, search->store, search->pool->id, part,
				   ForwardScanDirection, NULL);
		do
		{
			u128		lo;

			more = slot_scan_next(&scan, &row);
			if (more)
			{
				wait_add(&search->waits, &row);
				if (row_state(&row, search->now) == BLOCK_FREE)
					continue;
			}

			/* here the gap ends; an empty one has its last before its first */
			gap.last = more ? row.lo - 1 : part.last;
			while (!found && gap.first <= gap.last && (!more || row.lo > 0) &&
				   space_fit(space, gap, order, &lo))
			{
				CHECK_FOR_INTERRUPTS();
				found = take ? take_block(search, lo) : true;
				gap.first = block_last(lo, order) + 1;
			}
			if (more)
				gap.first = Max(gap.first, block_last(row.lo, row.order) + 1);
		} while (more && !found);
		slot_scan_end(&scan);

		if (found || part.last == slots.last)
			return found;
		part.first = part.last + 1;
		if (window < slots.last - slots.first)
			window *= 2;
	}
}

/* Walk over the room behind the last row of each range. */
static bool
walk_behind(Search *search)
{
	const Space *space = &search->pool->space;

	for (int i = 0; i < space->nranges; i++)
	{
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);
		SlotScan	scan;
		SlotRow		row;

		if (space->ranges[i].draining)
			continue;
		scan_by_lo(&scan, search->store, search->pool->id, slots,
				   BackwardScanDirection, NULL);
		if (slot_scan_next(&scan, &row))
			slots.first = block_last(row.lo, row.order) + 1;
		slot_scan_end(&scan);
		if (slots.first <= slots.last &&
			walk(search, slots, search->request->order))
			return true;
	}
	return false;
}

/* Walk over all ranges, from the slot on and round to it again. */
static bool
walk_round(Search *search, u128 from)
{
	const Space *space = &search->pool->space;
	int			order = search->request->order;
	const Range *range = space_range_of_slot(space, from);
	int			start = range == NULL ? 0 : (int) (range - space->ranges);

	for (int n = 0; n <= space->nranges; n++)
	{
		int			i = (start + n) % space->nranges;
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

		if (space->ranges[i].draining)
			continue;
		if (range != NULL && n == 0)
			slots.first = from;
		else if (range == NULL && n == space->nranges)
			break;
		else if (n == space->nranges &&
				 slots.last - from > block_last(0, order))
			slots.last = block_last(from, order);	/* blocks across from */
		if (walk(search, slots, order))
			return true;
	}
	return false;
}

static bool
search_mixed(Search *search)
{
	Pool	   *pool = search->pool;
	u128		from = pool->cursor;
	bool		taken = false;

	if (pool->space.nranges == 0)
		return false;
	if (pool->strategy == STRATEGY_LOWEST)
		return walk_round(search, range_slots(&pool->space.ranges[0],
											  pool->space.chunk_bits).first);

	if (pool->strategy == STRATEGY_RANDOM || !pool->cursor_valid)
	{
		if (pool->strategy == STRATEGY_ANY)
			taken = walk_behind(search);
		if (!taken && !random_slot(search, &from))
			return false;
	}
	if (!taken)
		taken = walk_round(search, from);
	if (taken)
		pool->cursor = block_last(search->unit.lo, search->unit.order) + 1;
	pool->cursor_valid = taken;
	return taken;
}

/*
 * Find something free for the request and give it to the request's key.
 */
bool
search_free(Search *search)
{
	if (search->pool->mixed)
		return search_mixed(search);
	switch (search->pool->strategy)
	{
		case STRATEGY_ANY:
			return search_any(search);
		case STRATEGY_LOWEST:
			return search_lowest(search);
		case STRATEGY_RANDOM:
			return search_random(search);
	}
	pg_unreachable();
}

/*
 * Give the block that the request names to its key.  If search->waits has
 * someone in it afterwards, and the block was not taken, that is who decides.
 */
Outcome
search_exact(Search *search, SlotRow *holder)
{
	switch (block_state(search, search->request->lo, false, holder))
	{
		case BLOCK_HELD:
			return OUTCOME_TAKEN;
		case BLOCK_COOLING:
			search->ready = true;
			search->ready_at = holder->expires_at;
			return OUTCOME_COOLING;
		case BLOCK_BUSY:
			return OUTCOME_BUSY;
		case BLOCK_FREE:
			return take_block(search, search->request->lo) ?
				OUTCOME_ALLOCATED : OUTCOME_BUSY;
	}
	pg_unreachable();
}

/*
 * Why search_free found nothing: a block is cooling, or only smaller ones are
 * free, or nothing is.  OUTCOME_BUSY: there is something by now.
 */
Outcome
search_reason(Search *search)
{
	const Space *space = &search->pool->space;
	int			order = search->request->order;
	SlotScan	scan;
	SlotRow		row;

	scan_cooling(&scan, search->store, search->pool, search->now);
	while (slot_scan_next(&scan, &row))
	{
		SlotRow		worst;
		u128		lo = row.lo & ~(block_last(0, order));
		const Range *range = space_range_of_slot(space, lo);
		Extent		slots;

		if (search->ready && row.expires_at >= search->ready_at)
			continue;
		if (row_state(&row, search->now) != BLOCK_COOLING ||
			range == NULL || !block_open(space, lo, order))
			continue;
		slots = range_slots(range, space->chunk_bits);
		if (lo < slots.first || block_last(lo, order) > slots.last ||
			block_state(search, lo, false, &worst) != BLOCK_COOLING)
			continue;
		search->ready = true;
		search->ready_at = worst.expires_at;
	}
	slot_scan_end(&scan);
	if (search->ready)
		return search->ready_at <= GetCurrentTimestamp() ?
			OUTCOME_BUSY : OUTCOME_COOLING;

	for (int i = 0; i < space->nranges && order > 0; i++)
	{
		if (!space->ranges[i].draining &&
			walk(search, range_slots(&space->ranges[i], space->chunk_bits), 0))
			return OUTCOME_FRAGMENTED;
	}
	return OUTCOME_EXHAUSTED;
}
