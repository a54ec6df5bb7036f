/*
 * level.c
 *		The levels of a unit: the counted pools from which it takes shares.
 *
 * Finds the levels, locks them, and plans where each of them has room.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"

#include "alloc/share.h"

/* Rows that are looked at to find out when there will be room. */
#define REASON_ROWS 1000

/*
 * Begin a call for a unit of the pool in use.  What levels contains is
 * allocated in the current memory context.  From now on those who lock the
 * key lock the levels, too, until the caller sets leaf->levels to NULL.
 */
void
levels_begin(Levels *levels, Store *store, PoolUse *leaf)
{
	memset(levels, 0, sizeof(*levels));
	levels->store = store;
	levels->leaf = leaf;
	leaf->levels = levels;
	for (int i = 0; i < MAX_LEVELS; i++)
		levels->level[i].plan.cxt = CurrentMemoryContext;

	/* wait for a lock on the tables before a pool is locked, not after that */
	if (pool_notes_freed(leaf->pool))
		freed_open(store);
	if (leaf->pool->ends)
		store_lock_history(store);
	if (leaf->pool->counted || leaf->pool->parent != NULL)
		share_open(store);
}

/* Release the levels' locks; the caller has those of the unit's own pool. */
void
levels_unlock(Levels *levels)
{
	for (int i = levels->first; i < levels->n; i++)
		pool_unlock(&levels->level[i].use);
	levels->n = 0;
}

/*
 * Lock a level; with patience NULL, without waiting.  Otherwise wait for those
 * who are at work in the pool, but not for a transaction that is changing it: that
 * may want the pool below, which the caller has locked.
 */
static bool
lock_level(const Levels *levels, Level *level, const Patience *patience)
{
	PoolUse    *use = &level->use;
	LOCKMODE	mode = level->exclusive && !levels->looking ?
		ExclusiveLock : ShareLock;

	if (patience == NULL ? pool_lock_to_take_at_once(use, mode) :
		levels->takes ? pool_lock_to_take_at_once(use, mode) :
		pool_lock_at_once(use, mode))
		return true;
	if (patience == NULL || use->pool == NULL ||
		!pool_lock_at_once(use, ShareLock))
		return false;
	pool_unlock(use);
	return levels->takes ? pool_lock_to_take(use, mode, patience) :
		pool_lock_patiently(use, mode, patience);
}

/*
 * Find the levels and lock them, each after the ones below it.  The caller has
 * locked the unit's own pool.  Returns false, without the locks, if patience
 * is over before, or if one is not available, and without patience, if it is not
 * at once; *busy is then that level's pool.
 */
bool
levels_lock(Levels *levels, const Patience *patience, PoolUse *busy)
{
	PoolUse    *leaf = levels->leaf;
	const Pool *pool = leaf->pool;

	levels->n = levels->stumbles = 0;
	levels->first = pool->counted ? 1 : 0;
	if (pool->counted)
		levels->level[levels->n++].use = *leaf;
	while (pool->parent != NULL)
	{
		Level	   *level = &levels->level[levels->n];

		if (levels->n < MAX_LEVELS &&
			pool_use(&level->use, leaf->nsp, pool->parent, RIGHT_NONE) &&
			!lock_level(levels, level, patience) &&
			level->use.pool != NULL)
		{
			*busy = level->use;
			levels_unlock(levels);
			return false;
		}
		if (levels->n == MAX_LEVELS || level->use.pool == NULL ||
			!level->use.pool->counted)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the pools above pool \"%s\" are not what they should be",
							leaf->name)));
		levels->n++;
		pool = level->use.pool;
	}
	return true;
}

/*
 * Wait, without locks, until the pool that levels_lock() has named is available.
 * Returns false if patience is over before.
 */
bool
levels_wait(PoolUse *busy, const Patience *patience)
{
	if (patience->limited && GetCurrentTimestamp() >= patience->deadline)
		return false;
	if (pool_lock_patiently(busy, ShareLock, patience))
		pool_unlock(busy);
	/* it may have been dropped, with those below it */
	else if (busy->pool != NULL)
		return false;
	return true;
}

/*
 * Look for rows that the key has left in a level and that have run out, and
 * find out how the rows of its new unit are numbered.
 */
static void
look_for_former(Levels *levels, Level *level, const pg_uuid_t *key,
				TimestampTz now)
{
	RowScan		scan;
	ShareRow	row;

	level->nformer = level->base = 0;
	share_scan_by_key(&scan, levels->store, level->use.pool->id,
					  levels->leaf->pool->id, key, NULL);
	while (share_scan_next(&scan, &row))
	{
		level->base = Max(level->base, row.part + 1);
		if (!row.expires || row.expires_at > now || share_is_open(&row))
			continue;
		if (level->nformer == level->former_room)
		{
			level->former_room = Max(4, level->former_room * 2);
			level->former = level->former == NULL ?
				MemoryContextAlloc(level->plan.cxt,
								   level->former_room * sizeof(ShareRow)) :
				repalloc_huge(level->former,
							  level->former_room * sizeof(ShareRow));
		}
		level->former[level->nformer++] = row;
	}
	rows_end(&scan);
}

/*
 * Count the places of a pool that are not free: held, cooling, or in the hands
 * of a running transaction, unless only the settled ones are to be counted.  A row
 * that one is changing is there twice, with the same places or some of them.
 */
static int64
taken_places(Store *store, const Pool *pool, TimestampTz now, bool settled)
{
	int64		taken = 0;
	int64		end = 0;
	RowScan		scan;
	ShareRow	row;

	share_scan_by_place(&scan, store, pool->id, 0, PG_INT64_MAX);
	while (share_scan_next(&scan, &row))
	{
		wait_add_xid(&store->waits, row.inserter);
		wait_add_xid(&store->waits, row.deleter);
		if (settled && share_is_open(&row))
			continue;
		/* neither the wall, what is withheld, nor what has run out */
		if ((!row.held && !row.expires) ||
			(row.expires && row.expires_at <= now))
			continue;
		taken += Max(0, share_end(&row) - Max(row.first, end));
		end = Max(end, share_end(&row));
	}
	rows_end(&scan);
	return taken;
}

/*
 * Find out why a level has too little.  Sets *ready_at to the time from which
 * there will be enough, if that can be known; 0 otherwise.
 */
static Outcome
level_reason(Levels *levels, const Level *level, int64 n, TimestampTz now,
			 TimestampTz *ready_at)
{
	const Pool *pool = level->use.pool;
	int64		free = level->plan.total;
	bool		held = false;
	int			rows = 0;
	RowScan		scan;
	ShareRow	row;

	*ready_at = levels->next_at = 0;
	if (pool->capacity < levels->whole)
		return OUTCOME_EXHAUSTED;
	if (pool->lowered)
		free = pool->capacity - taken_places(levels->store, pool, now, false);
	share_scan_to_expire(&scan, levels->store, pool->id, now);
	while (free < n && rows++ < REASON_ROWS && share_scan_next(&scan, &row))
	{
		/* what is not committed may never be so */
		if (TransactionIdIsValid(row.inserter))
			continue;
		free += row.n;
		held |= row.held;
		if (levels->next_at == 0)
			levels->next_at = row.expires_at;
		if (free >= n)
			*ready_at = row.expires_at;
	}
	rows_end(&scan);
	return *ready_at != 0 && !held ? OUTCOME_COOLING : OUTCOME_EXHAUSTED;
}

/*
 * Does a level have room for n places?  If so, plan where.  As long as its
 * capacity is lowered, more places can be free than there is room for.
 */
static bool
has_room(Levels *levels, Level *level, int64 n, TimestampTz now, bool verify)
{
	Pool	   *pool = level->use.pool;

	Assert(!pool->lowered || level->use.mode == ExclusiveLock);
	return plan_make(levels->store, pool, n, now, verify, &level->plan) &&
		(!pool->lowered ||
		 taken_places(levels->store, pool, now, false) <= pool->capacity - n);
}

/* Could it have room as soon as the running transactions have ended? */
static bool
may_get_room(Levels *levels, Level *level, int64 n, TimestampTz now)
{
	Pool	   *pool = level->use.pool;
	int64		free = level->plan.total;
	bool		result = pool->lowered ?
		taken_places(levels->store, pool, now, true) <= pool->capacity - n :
		plan_hope(levels->store, pool, n, now, &level->plan);

	level->plan.total = free;
	return result;
}

/*
 * A level has too little for a call that will stand in line for it.  Find out
 * which of those above have too little, too, so that it stands in line there as
 * well.
 */
static void
look_above(Levels *levels, int64 n, TimestampTz now)
{
	levels->lacking[levels->full] = true;
	for (int i = levels->full + 1; i < levels->n; i++)
	{
		levels->lacking[i] = !has_room(levels, &levels->level[i], n, now,
									   true);
	}
}

/*
 * Plan where each level has room for n places.  Returns OUTCOME_ALLOCATED if
 * all have; levels->full is the level that has not.  OUTCOME_BUSY means that
 * the transactions in store->waits may make room (of a call that waits for
 * nobody: enough room), or if there are none, that the caller has to lock the
 * levels again, one of them exclusively; with last, nobody is waited for.
 */
Outcome
levels_plan(Levels *levels, const pg_uuid_t *key, int64 n, TimestampTz now,
			bool last, TimestampTz *ready_at)
{
	Store	   *store = levels->store;
	bool		verify = levels->stumbles > 0;
	int			busy = -1;		/* the first level that may get room */

	/* a level in which there was too little: no other is believed either */
	for (int i = 0; i < levels->n; i++)
		verify |= levels->level[i].use.mode == ExclusiveLock;
	*ready_at = 0;
	memset(levels->lacking, 0, sizeof(levels->lacking));
	store->waits.n = 0;
	/* nothing can ever make room for what is more than a capacity */
	for (int i = 0; i < levels->n; i++)
	{
		levels->full = i;
		if (levels->level[i].use.pool->capacity < levels->whole)
			return OUTCOME_EXHAUSTED;
	}
	for (int i = 0; i < levels->n; i++)
	{
		Level	   *level = &levels->level[i];
		bool		exclusive = level->use.mode == ExclusiveLock;

		levels->full = i;
		look_for_former(levels, level, key, now);
		if (busy < 0)
			store->waits.n = 0;
		if (has_room(levels, level, n, now, verify))
			continue;

		/*
		 * A search does not see one state of the pool; see unit_take().  So it
		 * is only believed if the pool is locked exclusively.
		 */
		if (!exclusive && !levels->patient)
		{
			level->exclusive |= !levels->looking;
			store->waits.n = 0;
			return OUTCOME_BUSY;
		}
		if (levels->patient)
			look_above(levels, n, now);
		if (store->waits.n == 0 || last ||
			(levels->at_once && !may_get_room(levels, level, n, now)))
			return level_reason(levels, level, n, now, ready_at);
		levels->next_at = 0;
		if (!levels->at_once)
			return OUTCOME_BUSY;
		/* those above may never have enough */
		if (busy < 0)
			busy = i;
	}
	if (busy >= 0)
	{
		levels->full = busy;
		return OUTCOME_BUSY;
	}
	store->waits.n = 0;
	return OUTCOME_ALLOCATED;
}
