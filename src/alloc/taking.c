/*
 * taking.c
 *		Taking, ending and changing the shares of a unit in its levels.
 *
 * What is taken from a pool is taken from all pools above it, too, by rows of
 * alloc_share with the unit's generation.  A call plans first where each level
 * has room, and then takes its share in all of them, or in none: in a
 * subtransaction, so that its rows vanish at once if one of them fails.
 * Rows that have run out are each level's own affair.  All of a unit's rows run
 * out at the same time, and from then on a level can give its places to others,
 * whatever the other levels do.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/resowner.h"

#include "alloc/share.h"
#include "base/base.h"

/* How often a unit may fail to take places that looked free. */
#define MAX_STUMBLES 100

/*
 * Called when places that looked free could not be taken.  If this happens
 * again and again, raise an error; see stumble() in block.c.
 */
static void
levels_stumble(Levels *levels, const Pool *pool)
{
	CHECK_FOR_INTERRUPTS();
	if (++levels->stumbles <= MAX_STUMBLES)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("pool \"%s\" seems to have room, but it cannot be taken",
					pool->name),
			 errdetail("This has been tried %d times.", MAX_STUMBLES),
			 errhint("Look for an index or constraint on table alloc_share that is not the extension's own, and see alloc_verify().")));
}

/* Record that a unit of the pool has ended, given its first row there. */
void
share_history(Store *store, const Pool *pool, const ShareRow *row,
			  TimestampTz ended_at, const char *reason)
{
	SlotRow		unit = {
		.lo = (u128) row->total,
		.held = true,
		.key = row->key,
		.generation = row->generation,
		.allocated_at = row->allocated_at
	};

	/* only in the unit's own pool, and for one of its rows */
	if (row->held && row->origin == pool->id && row->total > 0)
		store_history(store, pool, &unit, ended_at, reason);
}

/* Delete the rows that have run out and are in the plan's way. */
static bool
sweep_shares(Levels *levels, Level *level)
{
	for (int i = 0; i < level->plan.nsweeps; i++)
	{
		const ShareRow *row = &level->plan.sweeps[i];

		if (share_delete(levels->store, row) != TM_Ok)
			return false;
		share_history(levels->store, level->use.pool, row, row->expires_at,
					  "expired");
	}
	return true;
}

/* Take places in one level, as planned. */
static bool
take_level(Levels *levels, Level *level, const ShareRow *unit)
{
	SharePlan  *plan = &level->plan;
	ShareRow	row = *unit;
	bool		own = level->use.pool->id == unit->origin;

	if (!sweep_shares(levels, level))
		return false;
	row.pool = level->use.pool->id;
	row.part = level->base;
	row.has_note = own && unit->has_note;
	for (int i = 0; i < plan->npieces; i++)
	{
		row.first = plan->pieces[i].first;
		row.n = plan->pieces[i].n;
		if (!share_insert(levels->store, &row))
			return false;
		/* these are the first row's */
		row.total = 0;
		row.has_note = false;
		row.part++;
	}
	return true;
}

/* What is taken together. */
typedef struct Taking
{
	Levels	   *levels;
	const ShareRow *unit;
	bool		(*rest) (void *arg);
	void	   *arg;
	ResourceOwner owner;
	const Pool *missed;			/* its places could not be taken; or NULL */
} Taking;

/*
 * Take the rest, and places in all levels.  The rest comes first, since it may be
 * refused, and nothing has been written then.
 */
static bool
take_all(Taking *taking)
{
	Levels	   *levels = taking->levels;

	if (taking->rest != NULL && !taking->rest(taking->arg))
		return false;
	for (int i = 0; i < levels->n; i++)
	{
		if (take_level(levels, &levels->level[i], taking->unit))
			continue;
		taking->missed = levels->level[i].use.pool;
		return false;
	}
	return true;
}

/* The same, for in_subtransaction(). */
static bool
take_whole(void *arg)
{
	Taking	   *taking = arg;

	/* What the store opens has to last longer than the subtransaction. */
	CurrentResourceOwner = taking->owner;
	return take_all(taking);
}

/* Is there but one row to write, so that nothing has to be undone? */
static bool
is_one_row(const Taking *taking)
{
	const SharePlan *plan = &taking->levels->level[0].plan;

	return taking->levels->n == 1 && taking->rest == NULL &&
		plan->npieces == 1 && plan->nsweeps == 0;
}

/* Remove what the key's former unit has left in a level. */
static void
end_former(Levels *levels, Level *level)
{
	Store	   *store = levels->store;

	for (int i = 0; i < level->nformer; i++)
	{
		const ShareRow *row = &level->former[i];

		/* others may just be taking these places */
		if (share_delete(store, row) != TM_Ok)
			continue;
		gap_insert(store, level->use.pool->id, row->first, row->n);
		share_history(store, level->use.pool, row, row->expires_at,
					  "expired");
	}
}

/*
 * Take n places in all levels, as planned, for the unit: its origin, key,
 * generation, times and note.  The function rest, if it is not NULL, takes the
 * rest of the unit before, or returns false.
 *
 * Returns false, having taken nothing, if rest has, or if another transaction
 * was faster or a gap has promised too much; then the caller plans again, which
 * trusts no gap.
 */
bool
levels_take(Levels *levels, const ShareRow *unit, int64 n,
			bool (*rest) (void *arg), void *arg)
{
	Taking		taking = {
		.levels = levels,
		.unit = unit,
		.rest = rest,
		.arg = arg,
		.owner = CurrentResourceOwner
	};

	for (int i = 0; i < levels->n; i++)
		plan_choose(&levels->level[i].plan, n);
	if (is_one_row(&taking) ? !take_all(&taking) :
		!in_subtransaction(take_whole, &taking, NULL))
	{
		if (taking.missed != NULL)
		{
			levels->store->waits.n = 0;
			levels_stumble(levels, taking.missed);
		}
		return false;
	}
	for (int i = 0; i < levels->n; i++)
	{
		Level	   *level = &levels->level[i];

		plan_finish(levels->store, level->use.pool, &level->plan);
		end_former(levels, level);
	}
	return true;
}

/* Give back the places of rows that a unit had, joining those that touch. */
static void
free_places(Store *store, int32 pool, Piece *pieces, int npieces)
{
	SharePlan		plan = {.npieces = npieces, .pieces = pieces};

	join_pieces(&plan);
	for (int i = 0; i < plan.npieces; i++)
		gap_insert(store, pool, plan.pieces[i].first, plan.pieces[i].n);
}

/*
 * Collect the rows of the key's unit in a level, with that generation.
 * Returns their number.
 */
static int
unit_rows(Levels *levels, const Level *level, const pg_uuid_t *key,
		  int64 generation, ShareRow **rows)
{
	int			n = 0;
	int			room = 4;
	RowScan		scan;
	ShareRow	row;

	*rows = palloc(room * sizeof(ShareRow));
	share_scan_by_key(&scan, levels->store, level->use.pool->id,
					  levels->leaf->pool->id, key, NULL);
	while (share_scan_next(&scan, &row))
	{
		if (row.generation != generation)
			continue;
		if (n == room)
		{
			room *= 2;
			*rows = repalloc_huge(*rows, room * sizeof(ShareRow));
		}
		if (row.has_note && !TransactionIdIsValid(row.inserter))
			row.note = datumCopy(row.note, false, -1);
		(*rows)[n++] = row;
	}
	rows_end(&scan);
	return n;
}

/* Has the row run out by now? */
static bool
share_has_run_out(const ShareRow *row)
{
	return row->expires && row->expires_at <= GetCurrentTimestamp();
}

/*
 * End the unit in a level, under the conditions of levels_end().  Its places can
 * be given out again from ready_at on.
 */
static bool
end_level(Levels *levels, Level *level, const pg_uuid_t *key,
		  int64 generation, TimestampTz ended_at, TimestampTz ready_at,
		  const char *reason)
{
	Store	   *store = levels->store;
	ShareRow   *rows;
	int			nrows = unit_rows(levels, level, key, generation, &rows);
	Piece	   *freed = palloc_extended(Max(1, nrows) * sizeof(Piece),
										MCXT_ALLOC_HUGE);
	int			nfreed = 0;

	for (int i = 0; i < nrows; i++)
	{
		ShareRow   *row = &rows[i];
		ShareRow	cooling = *row;
		TM_Result	result;

		cooling.held = cooling.has_note = false;
		cooling.expires = true;
		cooling.expires_at = ready_at;
		result = ready_at > ended_at ? share_update(store, &cooling) :
			share_delete(store, row);
		if (result != TM_Ok)
		{
			/* others may be taking the places of what has run out */
			if (levels->begun && share_has_run_out(row))
				continue;
			return false;
		}
		levels->begun = true;
		if (ready_at <= ended_at)
		{
			freed[nfreed].first = row->first;
			freed[nfreed++].n = row->n;
		}
		share_history(store, level->use.pool, row, ended_at, reason);
	}
	free_places(store, level->use.pool->id, freed, nfreed);
	pfree(freed);
	pfree(rows);
	return true;
}

/*
 * End a unit in all levels; if its own pool is not counted, it has been ended there.
 *
 * Returns false if a row cannot be changed: the first one, because another
 * transaction is just taking the unit, which has run out; or one that has not run
 * out, because somebody has locked it by hand.  If levels->begun is set then, the
 * caller must undo what has been done, or the places of that row would be lost.
 */
bool
levels_end(Levels *levels, const pg_uuid_t *key, int64 generation,
		   TimestampTz ended_at, TimestampTz ready_at, const char *reason)
{
	levels->begun = levels->first == 0;
	for (int i = 0; i < levels->n; i++)
	{
		if (!end_level(levels, &levels->level[i], key, generation, ended_at,
					   ready_at, reason))
			return false;
	}
	return true;
}

/*
 * Write a unit's rows in a level anew, with the key, generation, times and, in
 * its own pool, note of unit.  Returns false if it has run out there, or a row is
 * locked.
 */
static bool
update_level(Levels *levels, Level *level, const pg_uuid_t *key,
			 int64 generation, const SlotRow *unit)
{
	bool		own = level->use.pool->id == levels->leaf->pool->id;
	bool		moves = memcmp(key, &unit->key, UUID_LEN) != 0;
	ShareRow   *rows;
	int			nrows = unit_rows(levels, level, key, generation, &rows);
	int			base = 0;

	if (moves)
	{
		RowScan		scan;
		ShareRow	row;

		/* what the new key had may have run out, but still be there */
		share_scan_by_key(&scan, levels->store, level->use.pool->id,
						  levels->leaf->pool->id, &unit->key, NULL);
		while (share_scan_next(&scan, &row))
			base = Max(base, row.part + 1);
		rows_end(&scan);
	}
	for (int i = 0; i < nrows; i++)
	{
		ShareRow   *row = &rows[i];
		bool		first = own && row->total > 0;

		row->key = unit->key;
		row->part = moves ? base + i : row->part;
		row->generation = unit->generation;
		row->allocated_at = unit->allocated_at;
		row->expires = unit->expires;
		row->expires_at = unit->expires_at;
		row->has_note = first && unit->has_note;
		row->note = unit->note;
		row->moved = first && unit->moved;
		row->moved_from = unit->moved_from;
		row->moved_generation = unit->moved_generation;
		if (share_update(levels->store, row) != TM_Ok)
			return false;
	}
	pfree(rows);
	return nrows > 0;
}

/*
 * Let the key's unit of that generation be as in unit, in all levels.  Returns
 * false if that is not possible in one of them; the caller raises an error then, see
 * raise_lost().
 */
bool
levels_update(Levels *levels, const pg_uuid_t *key, int64 generation,
			  const SlotRow *unit)
{
	for (int i = 0; i < levels->n; i++)
	{
		if (!update_level(levels, &levels->level[i], key, generation, unit))
			return false;
	}
	return true;
}

/*
 * Replace the note of a unit, which is in its own pool only.  Returns false if
 * another transaction is changing it.
 */
bool
levels_annotate(Levels *levels, const pg_uuid_t *key, int64 generation,
				const SlotRow *unit)
{
	return update_level(levels, &levels->level[0], key, generation, unit);
}

/*
 * Let the unit, given its rows in a level, have n places there, which is less
 * than it has, or as many as it has since others were added.  All rows get a
 * new generation.
 */
static bool
resize_level(Levels *levels, Level *level, const SlotRow *unit,
			 int64 generation, int64 n, TimestampTz now)
{
	Store	   *store = levels->store;
	ShareRow   *rows;
	int			nrows = unit_rows(levels, level, &unit->key, unit->generation,
								  &rows);
	int64		left = n;

	if (nrows == 0)
		return false;
	for (int i = 0; i < nrows; i++)
	{
		ShareRow   *row = &rows[i];
		int64		kept = Min(row->n, left);
		int64		freed = row->n - kept;
		int64		first = row->first;
		TM_Result	result;

		left -= kept;
		if (kept == 0)
			result = share_delete(store, row);
		else
		{
			row->n = kept;
			row->generation = generation;
			row->allocated_at = now;
			if (row->total > 0)
				row->total = n;
			result = share_update(store, row);
		}
		if (result != TM_Ok)
			return false;
		if (freed > 0)
			gap_insert(store, level->use.pool->id, first + kept,
					   freed);
	}
	pfree(rows);
	return true;
}

/*
 * Let a unit, given its first row, have n places in all levels, in which others
 * have been added if these are more.  Returns false under the conditions of
 * levels_update().
 */
bool
levels_resize(Levels *levels, const SlotRow *unit, int64 generation, int64 n,
			  TimestampTz now)
{
	for (int i = 0; i < levels->n; i++)
	{
		if (!resize_level(levels, &levels->level[i], unit, generation, n, now))
			return false;
	}
	return true;
}

/*
 * Delete the rows of a pool that have run out or cooled down, at most batch of
 * them.  Returns their number.
 */
int64
levels_reap(Store *store, const Pool *pool, int64 batch)
{
	int64		reaped = 0;
	RowScan		scan;
	ShareRow	row;

	share_scan_by_expiry(&scan, store, pool->id, GetCurrentTimestamp());
	while (reaped < batch && share_scan_next(&scan, &row))
	{
		/* someone is at work here; a later call will get it */
		if (share_is_open(&row) ||
			share_delete(store, &row) != TM_Ok)
			continue;
		gap_insert(store, pool->id, row.first, row.n);
		share_history(store, pool, &row, row.expires_at, "expired");
		reaped++;
	}
	rows_end(&scan);
	return reaped;
}
