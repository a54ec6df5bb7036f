/*
 * wait.c
 *		Waiting for a row in order of arrival, until a deadline.
 *
 * Order of arrival
 *
 *	Row locks alone are not fair: whoever asks at the moment that the holder
 *	goes gets the row, and sharers that keep coming starve an exclusive waiter.
 *	So those who want a name stand in line at a heavyweight lock first, its
 *	queue lock, which the lock manager grants in order of arrival; only the
 *	head of the line asks for the row.  Exclusive waiters take the queue lock
 *	in ExclusiveLock mode, sharers in ShareLock mode so that they wait for the
 *	row side by side; a sharer that comes after an exclusive waiter stands
 *	behind it.  The queue lock is given back as soon as the row is ours: a call
 *	keeps one of them at a time, however many names it has.
 *
 *	Who holds the row already must not stand in line, for its head may be
 *	waiting for that very row.  What sharers do so as not to starve one that
 *	holds the row shared and wants it for itself, resource.c tells.
 *
 * Deadlines
 *
 *	lock_timeout bounds each single wait, and one row can mean several (one
 *	for each sharer).  A call's deadline is for all of them together; so for
 *	the time of a wait we set the timer behind lock_timeout ourselves, to the
 *	moment at which the call must end.  The lock manager leaves that timer
 *	alone while lock_timeout is 0.  With a lock_timeout as well, the earlier of
 *	the two counts.
 *
 *	Either way the wait ends in a 55P03 whose text knows no resources.  It is
 *	caught and replaced by one that names the resource and its holders.  There
 *	is no subtransaction around the wait: the error always goes on.  What we do
 *	in between is to read, with nothing held but what the transaction's end
 *	releases.
 */
#include "lock.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

/* The mode as SQL says it. */
const char *
hold_mode_name(HoldMode mode)
{
	return mode == HOLD_SHARED ? "shared" : "exclusive";
}

/*
 * Raise 55P03, and say who holds the resource.  A holder without a process is
 * a prepared transaction.
 */
static void
report_unavailable(NameTable *names, Datum name, HoldMode mode)
{
	char	   *resource = TextDatumGetCString(name);
	const char *sep = "";
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "resource", resource);
	detail_text(&detail, "mode", hold_mode_name(mode));
	appendStringInfoString(&detail, ", \"holders\": [");

	names_refresh(names);
	if (names_find(names, name))
	{
		RowHolder  *holders;
		int			n = names_holders(names, &holders);

		for (int i = 0; i < n; i++)
		{
			int			pid = BackendXidGetPid(holders[i].xid);

			if (pid == MyProcPid)
				continue;
			appendStringInfo(&detail, "%s{\"pid\": ", sep);
			if (pid != 0)
				appendStringInfo(&detail, "%d", pid);
			else
				appendStringInfoString(&detail, "null");
			appendStringInfo(&detail, ", \"mode\": \"%s\"}",
							 hold_mode_name(holders[i].mode));
			sep = ", ";
		}
	}
	appendStringInfoChar(&detail, ']');

	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not obtain the lock on \"%s\" in time", resource),
			 errdetail_internal("%s", detail_end(&detail))));
}

/*
 * Does the call wait at all?
 */
static bool
patient(const Patience *patience)
{
	return !patience->limited || GetCurrentTimestamp() < patience->deadline;
}

/*
 * Wait for the heavyweight lock, or if there is none given, for the row that
 * was found, as long as the call's patience and lock_timeout allow.
 */
static TM_Result
wait_for(NameTable *names, Datum name, HoldMode mode,
		 const LOCKTAG *tag, LOCKMODE lockmode, LockTupleMode tuplemode,
		 const Patience *patience)
{
	MemoryContext context = CurrentMemoryContext;
	int			lock_timeout = LockTimeout;
	volatile TM_Result result = TM_Ok;

	if (!patient(patience))
		report_unavailable(names, name, mode);

	PG_TRY();
	{
		if (patience->limited)
		{
			TimestampTz until = patience->deadline;

			if (lock_timeout > 0)
				until = Min(until,
							TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														lock_timeout));
			LockTimeout = 0;
			enable_timeout_at(LOCK_TIMEOUT, until);
		}

		if (tag != NULL)
			(void) LockAcquire(tag, lockmode, false, false);
		else
			result = names_lock(names, tuplemode, LockWaitBlock);

		if (patience->limited)
		{
			/* If it has just fired, it is still to be reported as what it is. */
			disable_timeout(LOCK_TIMEOUT, true);
			CHECK_FOR_INTERRUPTS();
			LockTimeout = lock_timeout;
		}
	}
	PG_CATCH();
	{
		if (patience->limited)
		{
			disable_timeout(LOCK_TIMEOUT, true);
			LockTimeout = lock_timeout;
		}
		if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE)
		{
			MemoryContextSwitchTo(context);
			FlushErrorState();
			report_unavailable(names, name, mode);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();

	return result;
}

/*
 * Take the heavyweight lock.
 */
void
take_locktag(NameTable *names, Datum name, HoldMode mode,
			 const LOCKTAG *tag, LOCKMODE lockmode, const Patience *patience)
{
	if (LockAcquire(tag, lockmode, false, true) == LOCKACQUIRE_NOT_AVAIL)
		wait_for(names, name, mode, tag, lockmode, 0, patience);
}

/*
 * Lock the row that was found, in its newest version.  false: it has been
 * purged meanwhile.
 */
bool
wait_for_row(NameTable *names, Datum name, HoldMode mode,
			 LockTupleMode tuplemode, const Patience *patience)
{
	TM_Result	result = names_lock(names, tuplemode, LockWaitSkip);

	if (result == TM_WouldBlock)
		result = wait_for(names, name, mode, NULL, NoLock, tuplemode,
						  patience);
	return result == TM_Ok;
}

/*
 * Stand in line for the name, make its row if there is none, lock it, and
 * leave the line.  found says that the row is in the slot.  The caller does
 * not hold the row.
 */
void
wait_in_line(NameTable *names, Datum name, bool found, HoldMode mode,
			 LockTupleMode tuplemode, const Patience *patience)
{
	LOCKMODE	lockmode = ExclusiveLock;
	LOCKTAG		tag;
	LOCKTAG		upgrade;

	if (mode == HOLD_SHARED && found)
		lockmode = ShareLock;
	name_locktag(&tag, name, names->queue);
	take_locktag(names, name, mode, &tag, lockmode, patience);
	if (mode == HOLD_SHARED)
	{
		/* Let upgraders pass: see resource.c. */
		name_locktag(&upgrade, name, LOCK_UPGRADE);
		take_locktag(names, name, mode, &upgrade, RowShareLock, patience);
	}

	/*
	 * A row that is not there is made by who is alone at the head of the line.
	 * This ends: whoever purges a name needs the head of its line too, so once
	 * we have that, the row can vanish once, by a purge that was under way.
	 */
	while (!found || !wait_for_row(names, name, mode, tuplemode, patience))
	{
		CHECK_FOR_INTERRUPTS();
		if (lockmode != ExclusiveLock)
		{
			/* Only sharers come here; they wait in one line at a time. */
			LockRelease(&upgrade, RowShareLock, false);
			LockRelease(&tag, lockmode, false);
			lockmode = ExclusiveLock;
			take_locktag(names, name, mode, &tag, lockmode, patience);
			take_locktag(names, name, mode, &upgrade, RowShareLock, patience);
		}
		names_refresh(names);
		if (!names_find(names, name))
			names_create(names, name);
		found = true;
	}

	if (mode == HOLD_SHARED)
		LockRelease(&upgrade, RowShareLock, false);
	LockRelease(&tag, lockmode, false);
}
