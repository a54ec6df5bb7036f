/*
 * line.c
 *		Standing in line for a counted pool.
 *
 * A call with a time to wait stands in line at each pool that has too little
 * for it.  A place in the line is a heavyweight lock of our own class, which
 * the head of the line holds and the others wait for, in order of arrival.  As
 * long as somebody has it, calls that would not stand in line get nothing.
 * The lock is released when the call ends.
 *
 * The head waits for the transactions that could make room.  If there are none,
 * what it wants is held for good or until some time, and there is no lock to
 * wait for.  Then it sleeps, and looks again when a unit runs out and at least
 * every 100 ms.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/wait_event.h"

#include "alloc/line.h"

/* Our class of advisory locks; pool.c and key.c have others. */
#define LINE_LOCK_CLASS 0xA112

/* After so many milliseconds the head looks again. */
#define LOOK_AGAIN 100

/* For wait_patiently(): lock a table as for writing. */
static void
wait_for_table(void *relid)
{
	LockRelationOid(*(Oid *) relid, RowExclusiveLock);
}

/*
 * Open the tables for a call with limited patience, which first locks all tables,
 * also those that pools are read from.  REINDEX is held off by that, so no lock on
 * an index has to be waited for later.  Returns false if patience is over before.
 */
bool
store_open_patiently(Store *store, Oid nsp, const Patience *patience)
{
	for (int i = 0; i < ALLOC_TABLES && patience->limited; i++)
	{
		Oid			relid = alloc_relation(nsp, alloc_tables[i]);

		if (!ConditionalLockRelationOid(relid, RowExclusiveLock) &&
			!wait_patiently(wait_for_table, &relid, patience))
			return false;
	}
	store_open(store, nsp, RowExclusiveLock);
	return true;
}

/* Build the tag of the lock of a pool's line. */
static void
line_locktag(LOCKTAG *tag, Oid nsp, int32 id)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, nsp, id, LINE_LOCK_CLASS);
}

/* Does anybody else stand in line for the pool? */
static bool
line_is_taken(Oid nsp, int32 id)
{
	LOCKTAG		tag;

	line_locktag(&tag, nsp, id);
	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, ShareLock, false);
	return false;
}

/* Is the call at the head of the line for this level? */
bool
line_is_head(const Line *line, int level)
{
	return line->held[level];
}

/*
 * Does somebody else stand in line for one of the levels, which levels->full is
 * then?  line has the call's own places, or is NULL.
 */
bool
line_is_before(Levels *levels, const Line *line)
{
	for (int i = 0; i < levels->n; i++)
	{
		const PoolUse *use = &levels->level[i].use;

		if ((line != NULL && line_is_head(line, i)) ||
			!line_is_taken(use->nsp, use->pool->id))
			continue;
		levels->full = i;
		levels->store->waits.n = 0;
		return true;
	}
	return false;
}

/* Release the places from a level on. */
static void
leave_from(Line *line, int level)
{
	for (int i = MAX_LEVELS - 1; i >= level; i--)
	{
		LOCKTAG		tag;

		if (!line->held[i])
			continue;
		line_locktag(&tag, line->nsp, line->pool[i]);
		LockRelease(&tag, ExclusiveLock, false);
		line->held[i] = false;
	}
}

/*
 * Wait until the call is at the head of the line for a level, in addition to
 * those that it heads already.  Returns false if it must not wait any longer.
 * The caller has no other locks.
 */
bool
line_join(Line *line, Oid nsp, int level, int32 pool,
		  const Patience *patience)
{
	line->nsp = nsp;
	line->wanted[level] = true;
	line->pool[level] = pool;

	/*
	 * Lines are joined from the unit's pool upwards, so that two calls cannot
	 * wait for each other.
	 */
	leave_from(line, level + 1);
	for (int i = 0; i < MAX_LEVELS; i++)
	{
		LOCKTAG		tag;

		if (!line->wanted[i] || line->held[i])
			continue;
		line_locktag(&tag, nsp, line->pool[i]);
		if (!wait_for_lock_patiently(&tag, ExclusiveLock, patience))
			return false;
		line->held[i] = true;
	}
	return true;
}

/* Leave all lines. */
void
line_leave(Line *line)
{
	leave_from(line, 0);
}

/*
 * At the head of the line: wait for one of the transactions, or if there are
 * none, sleep until next (0: not known).  Returns false if the call must not
 * wait any longer.
 */
bool
line_wait(WaitSet *waits, TimestampTz next, const Patience *patience)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = TimestampTzPlusMilliseconds(now, LOOK_AGAIN);
	long		ms;

	if (now >= patience->deadline)
		return false;
	if (next > now)
		until = Min(until, next);
	until = Min(until, patience->deadline);
	ms = TimestampDifferenceMilliseconds(now, until);
	if (waits->n > 0)
	{
		(void) wait_some(waits, Max(1, (int) ms));
		return true;
	}

	/* The caller checks for interrupts. */
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms + 1, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	return true;
}
