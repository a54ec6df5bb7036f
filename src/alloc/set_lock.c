/*
 * set_lock.c
 *		The locks of a try of alloc_set(); see set.c.
 */
#include "postgres.h"

#include "alloc/set.h"

/* The choice whose pool is locked exclusively in this try, or NULL. */
Choice *
set_exclusive_choice(const Attempt *attempt, const Set *set)
{
	return set->bottom != NULL && !attempt->waiting.looking ?
		&set->bottom->choices[set->turn] : NULL;
}

/* qsort comparator: parents, which were created before, come last */
static int
compare_uses(const void *a, const void *b)
{
	int32		x = ((const PoolUse *) a)->pool->id;
	int32		y = ((const PoolUse *) b)->pool->id;

	return x > y ? -1 : x < y;
}

/* Add a pool, unless it is there already or does not exist any more. */
static const Pool *
add_alone(Alone *alone, Oid nsp, const char *name)
{
	PoolUse    *use = &alone->uses[alone->n];

	if (name == NULL || !pool_use(use, nsp, name, RIGHT_NONE))
		return NULL;
	for (int i = 0; i < alone->n; i++)
	{
		if (alone->uses[i].pool->id == use->pool->id)
			return use->pool;
	}
	alone->n++;
	return use->pool;
}

/*
 * Begin a try by locking exclusively, one after the other, the pools of the
 * exclusive choice, and the one that the try before could not lock at once.
 */
void
set_lock_alone(const Attempt *attempt, Set *set, Alone *alone)
{
	Choice	   *exclusive = set_exclusive_choice(attempt, set);
	Oid			nsp = set->members[0].choices[0].use.nsp;
	const Pool *pool;

	alone->n = 0;
	(void) add_alone(alone, nsp, set->contended);
	set->contended = NULL;
	if (exclusive != NULL)
	{
		pool = add_alone(alone, nsp, exclusive->use.name);
		for (int i = 0; i < MAX_LEVELS; i++)
		{
			exclusive->use.levels->level[i].exclusive = true;
			if (pool != NULL && pool->parent != NULL)
				pool = add_alone(alone, nsp, pool->parent);
		}
	}
	qsort(alone->uses, alone->n, sizeof(PoolUse), compare_uses);
	for (int i = 0; i < alone->n; i++)
		(void) pool_lock(&alone->uses[i], ExclusiveLock);
}

/* Release these locks. */
void
set_unlock_alone(Alone *alone)
{
	for (int i = 0; i < alone->n; i++)
	{
		if (alone->uses[i].mode != NoLock)
			pool_unlock(&alone->uses[i]);
	}
}

/* Record that a pool's lock could not be had at once. */
static void
meet_pool_lock(Attempt *attempt, Set *set, const PoolUse *use)
{
	/* it has to be locked exclusively, and others come and go all the time */
	if (use->pool != NULL && use->pool->lowered)
		set->contended = MemoryContextStrdup(set->met.cxt, use->name);
	(void) attempt_meets_level_lock(attempt, use);
}

/*
 * Lock the choice's pool, the key, and the pools above without waiting.  Our
 * own locks, those that the try began with, are not in the way.
 */
bool
set_lock_choice(Attempt *attempt, Set *set, Choice *choice)
{
	PoolUse    *use = &choice->use;
	LOCKMODE	mode = choice == set_exclusive_choice(attempt, set) ?
		ExclusiveLock : ShareLock;
	PoolUse		busy;

	if (!pool_lock_to_take_at_once(use, mode))
	{
		meet_pool_lock(attempt, set, use);
		return false;
	}
	if (!key_lock_at_once(use, &choice->request.key))
		(void) attempt_meets_lock(attempt, use, &choice->request.key);
	else if (levels_lock(use->levels, NULL, &busy))
		return true;
	else
	{
		key_unlock(use, &choice->request.key);
		meet_pool_lock(attempt, set, &busy);
	}
	pool_unlock(use);
	return false;
}

/* Release these locks. */
void
set_unlock_choice(Choice *choice)
{
	levels_unlock(choice->use.levels);
	key_unlock(&choice->use, &choice->request.key);
	pool_unlock(&choice->use);
}
