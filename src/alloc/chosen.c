/*
 * chosen.c
 *		Chooses among the free places that a plan has found (gap.c), and
 *		removes the gaps that are of no use when they have been taken.
 */
#include "postgres.h"

#include "alloc/share.h"

/* qsort comparator: largest first */
static int
compare_sizes(const void *a, const void *b)
{
	const Piece *x = a;
	const Piece *y = b;

	return x->n > y->n ? -1 : x->n < y->n ? 1 : compare_pieces(a, b);
}

/* Are any of the row's places in a piece? */
static bool
plan_uses(const SharePlan *plan, const ShareRow *row)
{
	for (int i = 0; i < plan->npieces; i++)
	{
		const Piece *piece = &plan->pieces[i];

		if (piece->first < share_end(row) &&
			row->first < piece->first + piece->n)
			return true;
	}
	return false;
}

/*
 * Choose n of the places that were found, in as few pieces as possible.  Rows
 * that have run out and are not needed are left alone.
 */
void
plan_choose(SharePlan *plan, int64 n)
{
	int64		left = n;
	int			chosen = 0;
	int			nsweeps = 0;

	join_pieces(plan);
	if (plan->npieces > 1)
		qsort(plan->pieces, plan->npieces, sizeof(Piece), compare_sizes);
	while (left > 0 && chosen < plan->npieces)
	{
		Piece	   *piece = &plan->pieces[chosen++];

		piece->n = Min(piece->n, left);
		left -= piece->n;
	}
	plan->npieces = chosen;
	for (int i = 0; i < plan->nsweeps; i++)
	{
		if (plan_uses(plan, &plan->sweeps[i]))
			plan->sweeps[nsweeps++] = plan->sweeps[i];
	}
	plan->nsweeps = nsweeps;
}

/*
 * The number of places that the chosen pieces, in the order of their places, have
 * in common with an extent.
 */
static int64
chosen_places(const SharePlan *plan, int64 first, int64 n)
{
	int64		common = 0;
	int			i = 0;

	/* find the first one that does not end before */
	for (int above = plan->npieces; i < above;)
	{
		int			middle = i + (above - i) / 2;

		if (plan->pieces[middle].first + plan->pieces[middle].n <= first)
			i = middle + 1;
		else
			above = middle;
	}
	for (; i < plan->npieces && plan->pieces[i].first < first + n; i++)
	{
		const Piece *piece = &plan->pieces[i];
		int64		from = Max(first, piece->first);
		int64		to = Min(first + n, piece->first + piece->n);

		common += Max(0, to - from);
	}
	return common;
}

/*
 * Has all that was free in the gap been taken?  To compare numbers would not do:
 * what was taken in it can have been held when it was looked at.
 */
static bool
is_used_up(const SharePlan *plan, const SeenGap *gap)
{
	for (int i = gap->from; i < gap->from + gap->nfree; i++)
	{
		const Piece *piece = &plan->walked[i];

		if (chosen_places(plan, piece->first, piece->n) < piece->n)
			return false;
	}
	return true;
}

/*
 * The chosen places have been taken: delete the gaps that are of no use any
 * more.  Those that other transactions are changing can stay.
 */
void
plan_finish(Store *store, Pool *pool, SharePlan *plan)
{
	if (plan->npieces > 1)
		qsort(plan->pieces, plan->npieces, sizeof(Piece), compare_pieces);
	for (int i = 0; i < plan->nsweeps; i++)
	{
		const ShareRow *row = &plan->sweeps[i];

		if (chosen_places(plan, row->first, row->n) < row->n)
			gap_insert(store, pool->id, row->first, row->n);
	}
	for (int i = 0; i < plan->ngaps; i++)
	{
		SeenGap    *seen = &plan->gaps[i];
		const GapRow *row = &seen->row;

		if (TransactionIdIsValid(row->deleter))
			continue;
		if (seen->known && is_used_up(plan, seen))
			(void) forget_gap(store, pool, row);
		else if (seen->trim > row->first && seen->trim < row->first + row->n &&
				 forget_gap(store, pool, row))
			gap_insert(store, pool->id, seen->trim,
					   row->first + row->n - seen->trim);
	}

	/* smaller gaps within the larger pieces */
	for (int i = 0; i < plan->npieces; i++)
	{
		const Piece *piece = &plan->pieces[i];
		RowScan		scan;
		GapRow		row;

		if (piece->n == 1)
			continue;
		gap_scan_by_place(&scan, store, pool->id, piece->first,
						  piece->first + piece->n - 1);
		while (gap_scan_next(&scan, &row))
		{
			if (!TransactionIdIsValid(row.inserter) &&
				!TransactionIdIsValid(row.deleter) &&
				row.first + row.n <= piece->first + piece->n)
				(void) gap_delete(store, &row);
		}
		rows_end(&scan);
	}
}
