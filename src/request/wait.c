/*
 * wait.c
 *		Waiting no longer than the call's argument "wait" allows.
 *
 * The deadline covers the whole call, so every lock that it may have to wait
 * for comes here.  A wait whose time is over is no error: request_begin() says
 * "busy".  So a wait that is limited happens in a subtransaction, which cleans
 * up after the lock that was not granted.
 */
#include "request/request.h"

#include "access/xact.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

/* What is waited for, if its relation is given: a lock on it, or a rival. */
typedef struct Awaited
{
	Oid			relid;			/* InvalidOid: */
	LOCKMODE	lockmode;
	Relation	rel;			/* the rival's */
	OwnRival   *rival;
} Awaited;

/* How long the call waits; NULL: as long as lock_timeout allows. */
void
request_patience(Patience *patience, Interval *wait)
{
	patience->limited = wait != NULL;
	if (wait != NULL)
		patience->deadline = interval_from_now(wait, "wait");
}

bool
request_time_is_over(const Patience *patience)
{
	return patience->limited &&
		GetCurrentTimestamp() >= patience->deadline;
}

/*
 * The lock_timeout, in milliseconds, for what is left of the time, but at
 * least so much.
 */
int
request_lock_timeout(const Patience *patience, int least)
{
	long		left;

	if (!patience->limited)
		return LockTimeout;
	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   patience->deadline);
	left = Min(Max(left, least), INT_MAX);
	return LockTimeout > 0 ? Min(LockTimeout, (int) left) : (int) left;
}

static void
wait_at_length(const Awaited *awaited)
{
	if (OidIsValid(awaited->relid))
		LockRelationOid(awaited->relid, awaited->lockmode);
	else if (awaited->rival->token != 0)
		SpeculativeInsertionWait(awaited->rival->xid, awaited->rival->token);
	else
		XactLockTableWait(awaited->rival->xid, awaited->rel,
						  &awaited->rival->tid, XLTW_InsertIndex);
}

/* Wait in a subtransaction; false when the time is over. */
static bool
wait_in_time(const Awaited *awaited, const Patience *patience)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	int			lock_timeout = LockTimeout;
	volatile bool granted = true;

	if (request_time_is_over(patience))
		return false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		LockTimeout = request_lock_timeout(patience, 1);
		wait_at_length(awaited);
		LockTimeout = lock_timeout;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		LockTimeout = lock_timeout;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = resources;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE ||
			!request_time_is_over(patience))
			ReThrowError(error);
		FreeErrorData(error);
		granted = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return granted;
}

/* Lock a relation until the end of the transaction. */
bool
request_wait_relation(Oid relid, LOCKMODE lockmode, const Patience *patience)
{
	Awaited		awaited = {.relid = relid,.lockmode = lockmode};

	if (!patience->limited)
	{
		LockRelationOid(relid, lockmode);
		return true;
	}
	return ConditionalLockRelationOid(relid, lockmode) ||
		wait_in_time(&awaited, patience);
}

/* Wait until the transaction that is at the row has ended. */
bool
request_wait_rival(OwnTable *table, OwnRival *rival, const Patience *patience)
{
	Awaited		awaited = {.rel = table->rel,.rival = rival};

	/* A row's pin is not kept while waiting. */
	ExecClearTuple(table->slot);
	if (!patience->limited)
	{
		wait_at_length(&awaited);
		return true;
	}
	return wait_in_time(&awaited, patience);
}
