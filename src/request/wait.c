/*
 * wait.c
 *		Wait for locks no longer than the call's argument "wait" allows.
 *
 * There is one deadline for the whole call, so all its waits for locks go
 * through this file.  When the time is over, request_begin() returns "busy"
 * instead of raising an error.  Therefore a limited wait runs in a
 * subtransaction, which can be rolled back if the lock was not granted.
 */
#include "request/request.h"

#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

/* What to wait for: a lock on a relation, or else a rival. */
typedef struct Awaited
{
	Oid			relid;			/* InvalidOid if it is a rival */
	LOCKMODE	lockmode;
	Relation	rel;			/* table of the rival's row */
	OwnRival   *rival;
	int			lock_timeout;	/* in milliseconds */
} Awaited;

/* Set how long the call may wait; if wait is NULL, lock_timeout applies. */
void
request_limit_wait(WaitLimit *limit, Interval *wait)
{
	limit->limited = wait != NULL;
	if (wait != NULL)
		limit->deadline = interval_from_now(wait, "wait");
}

bool
request_time_is_over(const WaitLimit *limit)
{
	return limit->limited &&
		GetCurrentTimestamp() >= limit->deadline;
}

/*
 * Return the lock_timeout, in milliseconds, for the time that is left, but no
 * less than least and no more than the lock_timeout set by the user.
 */
int
request_lock_timeout(const WaitLimit *limit, int least)
{
	long		left;

	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   limit->deadline);

	/* 0 would mean no timeout; and the difference can exceed an int. */
	left = Min(Max(left, least), INT_MAX);
	return LockTimeout > 0 ? Min(LockTimeout, (int) left) : (int) left;
}

/* Wait without a limit of our own. */
static void
wait_at_length(const Awaited *awaited)
{
	/*
	 * Wait for a speculative insertion, not for its transaction: the inserter
	 * may give up the row and go on, maybe to wait for us.
	 */
	if (OidIsValid(awaited->relid))
		LockRelationOid(awaited->relid, awaited->lockmode);
	else if (awaited->rival->token != 0)
		SpeculativeInsertionWait(awaited->rival->xid, awaited->rival->token);
	else
		XactLockTableWait(awaited->rival->xid, awaited->rel,
						  &awaited->rival->tid, XLTW_InsertIndex);
}

/*
 * Wait no longer than lock_timeout.  Returns true, for in_subtransaction(),
 * whose end passes a relation lock to the parent transaction.
 */
static bool
wait_limited_by_timeout(void *arg)
{
	const Awaited *awaited = arg;

	LockTimeout = awaited->lock_timeout;
	wait_at_length(awaited);
	return true;
}

/* Wait in a subtransaction; return false if the time is over before. */
static bool
wait_in_time(Awaited *awaited, const WaitLimit *limit)
{
	int			lock_timeout = LockTimeout;
	bool		granted;
	ErrorData  *error;

	if (request_time_is_over(limit))
		return false;

	awaited->lock_timeout = request_lock_timeout(limit, 1);
	granted = in_subtransaction(wait_limited_by_timeout, awaited, &error);
	LockTimeout = lock_timeout; /* no GUC code would restore it */
	if (error != NULL && (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE ||
						  !request_time_is_over(limit)))
		ReThrowError(error);
	return granted;
}

/*
 * Lock a relation until the end of the transaction; return false if the lock
 * was not granted in time.
 */
bool
request_wait_relation(Oid relid, LOCKMODE lockmode, const WaitLimit *limit)
{
	Awaited		awaited = {.relid = relid,.lockmode = lockmode};

	if (!limit->limited)
	{
		LockRelationOid(relid, lockmode);
		return true;
	}

	/* Mostly nobody holds the lock, and no subtransaction is needed. */
	return ConditionalLockRelationOid(relid, lockmode) ||
		wait_in_time(&awaited, limit);
}

/*
 * Wait until the rival has ended its transaction or given up its insertion;
 * return false if the time is over before.
 */
bool
request_wait_rival(OwnTable *table, OwnRival *rival, const WaitLimit *limit)
{
	Awaited		awaited = {.rel = table->rel,.rival = rival};

	/* Do not keep the row's buffer pinned while waiting. */
	ExecClearTuple(table->slot);
	if (!limit->limited)
	{
		wait_at_length(&awaited);
		return true;
	}
	return wait_in_time(&awaited, limit);
}
