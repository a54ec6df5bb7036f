/*
 * gap.c
 *		Finds free places in a counted pool.
 *
 * Places are free where alloc_share has no row, or one that has run out.
 * alloc_gap says where to look: every place without a row lies in a gap.  Who
 * deletes a share inserts a gap in the same transaction.  A gap may be
 * deleted by who takes all that was free in it, or finds that nothing was; if
 * rows of running transactions lie in it, it has to stay, because they may
 * roll back.  So gaps can overlap, and places in them can be held; that costs
 * time, but nothing else depends on it.
 *
 * A search that finds too little has met every transaction that could still
 * make room: it has inserted a share in a gap, deleted a gap, or is deleting
 * a share, for which it has inserted a gap, or one that had run out.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"

#include "alloc/share.h"
#include "alloc/store.h"

/* Number of gaps among which one is chosen at random. */
#define NEAR_GAPS 8

/* After so many held rows at a gap's beginning, the gap is made smaller. */
#define TRIM_ROWS 32

/* After so many walks through others, the gap that is remembered may be gone. */
#define MISSED_MANY 8

/* Return a random number below limit, for spreading only. */
static int
spread(int limit)
{
	return limit <= 1 ? 0 :
		(int) pg_prng_uint64_range(&pg_global_prng_state, 0, limit - 1);
}

/* Make room for one more element in an array of the plan. */
static void *
plan_array(SharePlan *plan, void *array, int n, int *room, Size size)
{
	if (n < *room)
		return array;
	*room = Max(8, *room * 2);
	return array == NULL ? MemoryContextAlloc(plan->cxt, *room * size) :
		repalloc_huge(array, *room * size);
}

/* Add free places to the plan. */
static void
plan_piece(SharePlan *plan, int64 first, int64 n)
{
	plan->pieces = plan_array(plan, plan->pieces, plan->npieces,
							  &plan->pieces_room, sizeof(Piece));
	plan->pieces[plan->npieces].first = first;
	plan->pieces[plan->npieces++].n = n;
	plan->total += n;
}

/* Add a gap to the plan, as not known yet. */
static SeenGap *
plan_gap(SharePlan *plan, const GapRow *row)
{
	SeenGap    *seen;

	plan->gaps = plan_array(plan, plan->gaps, plan->ngaps,
							&plan->gaps_room, sizeof(SeenGap));
	seen = &plan->gaps[plan->ngaps++];
	memset(seen, 0, sizeof(*seen));
	seen->row = *row;
	seen->from = plan->nwalked;
	return seen;
}

/* Record that places of the gap added last are free. */
static void
gap_has_free(SharePlan *plan, int64 first, int64 n)
{
	plan->walked = plan_array(plan, plan->walked, plan->nwalked,
							  &plan->walked_room, sizeof(Piece));
	plan->walked[plan->nwalked].first = first;
	plan->walked[plan->nwalked++].n = n;
	plan->gaps[plan->ngaps - 1].nfree++;
}

static void
wait_add_share(WaitSet *waits, const ShareRow *row)
{
	wait_add_xid(waits, row->inserter);
	wait_add_xid(waits, row->deleter);
}

/* A walk through a gap. */
typedef struct Walk
{
	Store	   *store;
	int64		at;				/* free or held before this place */
	int64		clean;			/* held for sure before this place */
	int			nclean;			/* number of rows before clean */
	bool		is_clean;
	int64		own;			/* likewise, but some by our own transaction */
	bool		is_own;
	bool		busy;			/* a running transaction has taken some */
} Walk;

/*
 * What is remembered of our own rows holds until a subtransaction is rolled back
 * that had begun by then.  Those that begin later do not matter, which is as well:
 * we roll some back ourselves.
 */
static SubTransactionId newest_begun;	/* in this transaction or a former one */
static SubTransactionId remembered_at;	/* the newest, when rows were remembered */
static LocalTransactionId remembered_lxid;
static uint64 forgotten;		/* how often all of that was forgotten */

/* Subtransaction callback */
static void
watch_subtransaction(SubXactEvent event, SubTransactionId mine,
					 SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_START_SUB)
		newest_begun = mine;
	else if (event == SUBXACT_EVENT_ABORT_SUB && mine <= remembered_at)
	{
		forgotten++;
		remembered_at = InvalidSubTransactionId;
	}
}

/* Our own rows are being remembered. */
static void
watch_subtransactions(void)
{
	static bool watching = false;

	if (!watching)
	{
		RegisterSubXactCallback(watch_subtransaction, NULL);
		newest_begun = GetCurrentSubTransactionId();
		watching = true;
	}
	if (remembered_lxid != my_lxid())
		remembered_at = InvalidSubTransactionId;
	remembered_lxid = my_lxid();
	remembered_at = Max(remembered_at, newest_begun);
}

/* Is this the gap of which the pool remembers where it begins to be free? */
static bool
is_remembered(const Pool *pool, const GapRow *gap)
{
	return pool->gap_n == gap->n && pool->gap_first == gap->first &&
		pool->gap_freed_at == gap->freed_at;
}

/*
 * Skip what former walks have found to be held.  What our own transaction has
 * taken stays so until a savepoint is rolled back, and so a call for many keys
 * does not pass the rows of all former ones for each of them.
 */
static void
walk_begin(Walk *walk, Pool *pool, const GapRow *gap)
{
	walk->at = walk->clean = walk->own = gap->first;
	if (!is_remembered(pool, gap))
		return;
	pool->gap_missed = 0;
	walk->at = walk->clean = walk->own = Max(pool->gap_from, gap->first);
	if (pool->gap_own_from > walk->at && pool->gap_own_lxid == my_lxid() &&
		pool->gap_own_forgotten == forgotten)
	{
		walk->at = walk->own = pool->gap_own_from;
		walk->is_clean = false;
	}
}

/*
 * Remember where a large gap begins to be free.  A smaller one takes its place if
 * it has not been met for a while.
 */
static void
walk_remember(const Walk *walk, Pool *pool, const GapRow *gap)
{
	if (walk->own <= gap->first ||
		(gap->n < pool->gap_n && pool->gap_missed++ < MISSED_MANY))
		return;
	pool->gap_missed = 0;
	pool->gap_first = gap->first;
	pool->gap_n = gap->n;
	pool->gap_freed_at = gap->freed_at;
	pool->gap_from = walk->clean;
	pool->gap_own_from = walk->own;
	pool->gap_own_lxid = my_lxid();
	watch_subtransactions();
	pool->gap_own_forgotten = forgotten;
}

/* Delete a gap; false if another transaction is changing it. */
bool
forget_gap(Store *store, Pool *pool, const GapRow *gap)
{
	if (!gap_delete(store, gap))
		return false;
	if (is_remembered(pool, gap))
		pool->gap_n = 0;
	return true;
}

/* Go on beyond a row. */
static void
walk_row(Walk *walk, const ShareRow *row)
{
	wait_add_share(&walk->store->waits, row);
	walk->busy |= TransactionIdIsValid(row->inserter);
	/* our own row may be rolled back, but not what we remember */
	walk->is_clean &= !walk->busy && !row->own;
	walk->is_own &= !walk->busy;
	walk->at = Max(walk->at, share_end(row));
	if (walk->is_own)
		walk->own = walk->at;
	if (walk->is_clean)
	{
		walk->clean = walk->at;
		walk->nclean++;
	}
}

/*
 * Does the row have this place of the pool?  A scan by span has to ask: unlike
 * a B-tree's, which keeps VACUUM away from the entries that it has read, a GiST
 * index's can come to another row, which was put where a dead one had been.
 */
static bool
share_has(const ShareRow *row, int32 pool, int64 place)
{
	return row->pool == pool && row->first <= place && share_end(row) > place;
}

/*
 * Walk through a gap, adding to the plan what is free: one piece of want
 * places, or if want is 0, everything.  Returns whether it has found that
 * piece, or anything.
 */
static bool
walk_gap(Store *store, Pool *pool, const GapRow *gap, int64 want,
		 bool may_skip, SharePlan *plan)
{
	SeenGap    *seen = plan_gap(plan, gap);
	Walk		walk = {.store = store, .is_clean = true, .is_own = true};
	int64		end = gap->first + gap->n;
	bool		found = false;
	bool		known = true;
	RowScan		scan;
	ShareRow	row;

	walk_begin(&walk, pool, gap);
	/* which row lies across the beginning? */
	if (walk.at < end)
	{
		int64		begin = walk.at;

		share_scan_by_span(&scan, store, pool->id, begin, 1);
		while (share_scan_next(&scan, &row))
		{
			if (share_has(&row, pool->id, begin) &&
				(!plan->hopeful || !share_is_open(&row)))
				walk_row(&walk, &row);
		}
		rows_end(&scan);
	}
	if (walk.at < end)
	{
		bool		more = true;

		share_scan_by_place(&scan, store, pool->id, walk.at, end - 1);
		while (more && walk.at < end)
		{
			int64		free;

			more = share_scan_next(&scan, &row);
			if (more && plan->hopeful && share_is_open(&row))
				continue;
			free = (more ? Min(row.first, end) : end) - walk.at;
			if (free > 0)
			{
				walk.is_clean = walk.is_own = false;
				gap_has_free(plan, walk.at, free);
				if (want > 0 && free >= want)
				{
					/* where there is much room, keep out of others' way */
					int64		skip = !may_skip || want > 64 ||
						free < 8 * want ? 0 : spread(4) * want;

					plan_piece(plan, walk.at + skip, want);
					known = skip == 0 && walk.at + want == end;
					found = true;
					break;
				}
				if (want == 0)
				{
					plan_piece(plan, walk.at, free);
					found = true;
				}
			}
			if (more)
				walk_row(&walk, &row);
		}
		rows_end(&scan);
	}
	seen->known = known && !walk.busy;
	if (walk.nclean >= TRIM_ROWS)
		seen->trim = Min(walk.clean, end);
	if (!plan->hopeful)
		walk_remember(&walk, pool, gap);
	return found;
}

/* Is the gap of no use, for now?  Remembers whose transaction has it. */
static bool
gap_is_busy(Store *store, const GapRow *gap)
{
	wait_add_xid(&store->waits, gap->inserter);
	wait_add_xid(&store->waits, gap->deleter);

	/*
	 * Somebody is freeing these places, or making a larger gap smaller, which
	 * is then still there.  Who deletes a gap may have taken only a part of
	 * it, and deleted it to make it smaller, but not one of a single place.
	 */
	return TransactionIdIsValid(gap->inserter) ||
		(TransactionIdIsValid(gap->deleter) && gap->n == 1);
}

/*
 * Find n places in one piece.  Unless verify is set, a gap of exactly that
 * size is believed to be free without a look at the shares.
 */
static bool
plan_one_piece(Store *store, Pool *pool, int64 n, bool verify, SharePlan *plan)
{
	GapRow		near[NEAR_GAPS];
	int			nnear = 0;
	bool		more = true;
	bool		found = false;
	RowScan		scan;

	gap_scan_by_size(&scan, store, pool->id, n, ForwardScanDirection);
	for (;;)
	{
		GapRow		gap;
		int			same = 0;
		int			chosen;

		while (more && nnear < NEAR_GAPS)
		{
			more = gap_scan_next(&scan, &gap);
			if (more && !gap_is_busy(store, &gap))
				near[nnear++] = gap;
		}
		if (nnear == 0)
			break;
		/* choose at random among those of the best size */
		while (same < nnear && near[same].n == near[0].n)
			same++;
		chosen = spread(same);
		gap = near[chosen];
		nnear--;
		memmove(&near[chosen], &near[chosen + 1],
				(nnear - chosen) * sizeof(GapRow));

		if (gap.n == n && !verify && !TransactionIdIsValid(gap.deleter))
		{
			SeenGap    *seen = plan_gap(plan, &gap);

			gap_has_free(plan, gap.first, n);
			seen->known = true;
			plan_piece(plan, gap.first, n);
			found = true;
		}
		else
			found = walk_gap(store, pool, &gap, n, !verify, plan);
		if (found)
			break;
	}
	rows_end(&scan);
	return found;
}

/* qsort comparator: by place */
int
compare_pieces(const void *a, const void *b)
{
	const Piece *x = a;
	const Piece *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* Sort the pieces by place and join those that overlap or touch. */
void
join_pieces(SharePlan *plan)
{
	int			n = 0;

	if (plan->npieces > 1)
		qsort(plan->pieces, plan->npieces, sizeof(Piece), compare_pieces);
	plan->total = 0;
	for (int i = 0; i < plan->npieces; i++)
	{
		Piece	   *last = n > 0 ? &plan->pieces[n - 1] : NULL;
		Piece		piece = plan->pieces[i];

		if (last != NULL && piece.first <= last->first + last->n)
			last->n = Max(last->n, piece.first + piece.n - last->first);
		else
			plan->pieces[n++] = piece;
	}
	plan->npieces = n;
	for (int i = 0; i < n; i++)
		plan->total += plan->pieces[i].n;
}

/* Find n places in any number of pieces, the largest gaps first. */
static bool
plan_many_pieces(Store *store, Pool *pool, int64 n, SharePlan *plan)
{
	RowScan		scan;
	GapRow		gap;

	plan->npieces = plan->ngaps = plan->nwalked = 0;
	plan->total = 0;
	gap_scan_by_size(&scan, store, pool->id, 1, BackwardScanDirection);
	while (plan->total < n && gap_scan_next(&scan, &gap))
	{
		if (gap_is_busy(store, &gap) && !plan->hopeful)
			continue;
		(void) walk_gap(store, pool, &gap, 0, false, plan);
		/* gaps may overlap */
		if (plan->total >= n)
			join_pieces(plan);
	}
	rows_end(&scan);
	join_pieces(plan);
	return plan->total >= n;
}

/* Add what has run out or cooled down. */
static bool
plan_run_out(Store *store, Pool *pool, int64 n, TimestampTz now,
			 SharePlan *plan)
{
	RowScan		scan;
	ShareRow	row;

	share_scan_by_expiry(&scan, store, pool->id, now);
	while (plan->total < n && share_scan_next(&scan, &row))
	{
		bool		open = share_is_open(&row);

		/*
		 * Who changes a row locks it before, and may be held up in between.
		 */
		wait_add_share(&store->waits, &row);
		open |= store_meet_lockers(store, scan.slot);
		if (open && !plan->hopeful)
			continue;
		plan->sweeps = plan_array(plan, plan->sweeps, plan->nsweeps,
								  &plan->sweeps_room, sizeof(ShareRow));
		plan->sweeps[plan->nsweeps++] = row;
		plan_piece(plan, row.first, row.n);
		/* what is being deleted can lie in a gap as well, see plan_hope() */
		if (plan->total >= n && plan->hopeful)
			join_pieces(plan);
	}
	rows_end(&scan);
	return plan->total >= n;
}

/*
 * Plan where in the pool to take n places.  Returns false if too few are free
 * now; store->waits has the transactions that could make room.  With verify,
 * which is for who has locked the pool exclusively, nothing is believed that
 * was not looked at.
 */
bool
plan_make(Store *store, Pool *pool, int64 n, TimestampTz now, bool verify,
		  SharePlan *plan)
{
	plan->npieces = plan->ngaps = plan->nwalked = plan->nsweeps = 0;
	plan->total = 0;
	plan->hopeful = false;
	return plan_one_piece(store, pool, n, verify, plan) ||
		(n > 1 && plan_many_pieces(store, pool, n, plan)) ||
		plan_run_out(store, pool, n, now, plan);
}

/*
 * Would n places be free if each running transaction ended as it suits the caller:
 * gave back what it has taken, and gives back what it is giving back?
 */
bool
plan_hope(Store *store, Pool *pool, int64 n, TimestampTz now, SharePlan *plan)
{
	bool		result;

	plan->nsweeps = 0;
	plan->hopeful = true;
	result = plan_many_pieces(store, pool, n, plan) ||
		plan_run_out(store, pool, n, now, plan);
	plan->hopeful = false;
	return result;
}
