/*
 * attempt.c
 *		Calls for several units: all of them or none.
 *
 * While such a call has some of its units and has to wait for others, two
 * calls could wait for each other.  So no call waits while it holds what it
 * has taken.  It is tried as a whole, in a subtransaction, without waiting for
 * any transaction.  If something is in the way, the subtransaction is rolled
 * back, which gives back what was taken.  Then the call waits, and tries
 * again.
 *
 * A try locks keys without waiting, too.  It may wait for the lock of its
 * first pool, since it has nothing yet.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "alloc/attempt.h"

/*
 * The round of the search for room; see unit_take().  A search while the call
 * is still waiting counts as round 0, which does not lock out others.
 */
int
attempt_round(const Attempt *attempt)
{
	return attempt->waiting.looking ? 0 : attempt->waiting.round;
}

/*
 * Record what is in the way: the lock of the key, or of the pool if key is
 * NULL.  This and the following functions return false, for the try to return.
 */
bool
attempt_meets_lock(Attempt *attempt, PoolUse *use, const pg_uuid_t *key)
{
	attempt->obstacle = key == NULL ? OBSTACLE_POOL : OBSTACLE_LOCK;
	attempt->use = use;
	if (key != NULL)
		attempt->key = *key;
	return false;
}

/* Likewise: the lock of a pool above, which only the try knows. */
bool
attempt_meets_level_lock(Attempt *attempt, const PoolUse *use)
{
	attempt->level = *use;
	attempt->level.name = MemoryContextStrdup(attempt->met.cxt, use->name);
	return attempt_meets_lock(attempt, &attempt->level, NULL);
}

/* Likewise: the transactions in waits. */
bool
attempt_meets_waits(Attempt *attempt, Obstacle obstacle, PoolUse *use,
					const pg_uuid_t *key, const WaitSet *waits)
{
	attempt->obstacle = obstacle;
	attempt->use = use;
	attempt->key = *key;
	attempt->met.n = 0;
	for (int i = 0; i < waits->n; i++)
		wait_add_xid(&attempt->met, waits->xids[i]);
	return false;
}

/* Likewise: the transaction that is changing the row of the key. */
bool
attempt_meets_row(Attempt *attempt, PoolUse *use, const SlotRow *row)
{
	attempt->obstacle = OBSTACLE_KEY;
	attempt->use = use;
	attempt->key = row->key;
	attempt->met.n = 0;
	wait_add_row(&attempt->met, row);
	return false;
}

/* A try, for in_subtransaction(); what it allocates in memory is in cxt. */
typedef struct Try
{
	Attempt    *attempt;
	TryFunction function;
	void	   *call;
	MemoryContext cxt;
} Try;

static bool
try_once(void *arg)
{
	Try		   *try = arg;

	MemoryContextSwitchTo(try->cxt);
	return try->function(try->attempt, try->call);
}

/* Wait for what was in the way of a try that began at that time. */
static void
wait_for_obstacle(Attempt *attempt, TimestampTz began)
{
	PoolUse    *use = attempt->use;
	bool		stuck = false;

	switch (attempt->obstacle)
	{
		case OBSTACLE_NONE:
			stuck = attempt->waiting.idle > MAX_IDLE_ROUNDS;
			break;
		case OBSTACLE_POOL:
			/* one above may have been dropped, with those below it */
			if (pool_use_again(use) && pool_lock(use, ShareLock))
				pool_unlock(use);
			break;
		case OBSTACLE_LOCK:
			(void) pool_use_again(use);
			key_enter(use, &attempt->key, ShareLock);
			key_leave(use, &attempt->key);
			break;
		case OBSTACLE_KEY:
			/* it may have ended before it could be noted */
			if (attempt->met.n == 0)
				attempt->waiting.idle++;
			stuck = attempt->waiting.idle > MAX_IDLE_ROUNDS;
			for (int i = 0; i < attempt->met.n; i++)
				wait_for_xid(attempt->met.xids[i]);
			break;
		case OBSTACLE_ROOM:
			stuck = !wait_for_room(&attempt->waiting, &attempt->met, began);
			break;
	}
	if (stuck)
	{
		(void) pool_use_again(use);
		raise_stuck(use->pool, &attempt->key, attempt->function, NULL,
					MAX_IDLE_ROUNDS);
	}
}

/*
 * Try until a try succeeds.  What a try allocates in memory is kept if it
 * succeeds, as long as the current memory context.
 */
void
attempt_run(Attempt *attempt, const char *function, TryFunction try,
			void *call)
{
	Try			once = {
		.attempt = attempt,.function = try,.call = call,
		.cxt = AllocSetContextCreate(CurrentMemoryContext, "alloc attempt",
									 ALLOCSET_DEFAULT_SIZES)
	};

	memset(attempt, 0, sizeof(*attempt));
	attempt->function = function;
	attempt->met.cxt = attempt->waiting.room.cxt = CurrentMemoryContext;
	for (;;)
	{
		TimestampTz began = attempt->waiting.looking ?
			GetCurrentTimestamp() : 0;

		CHECK_FOR_INTERRUPTS();
		if (in_subtransaction(try_once, &once, NULL))
			return;
		MemoryContextReset(once.cxt);
		wait_for_obstacle(attempt, began);
	}
}
