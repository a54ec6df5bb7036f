/*
 * resource.c
 *		Locks on named resources: what a holder is, and how one becomes it.
 *
 * A resource's lock is the tuple lock of its row in lock_name: FOR SHARE for a
 * sharer, FOR NO KEY UPDATE for an exclusive holder, who then writes its fence
 * into the row.  The write matters: a tuple lock leaves no trace once it is
 * given back, while an older snapshot does not see the new version, which
 * tells it that something may have changed under the lock, in whatever table
 * (snapshots.c).
 */
#include "lock.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* How often a name's row can vanish before the head of its line. */
#define MAX_ROUNDS 5

pg_noreturn static void
report_upgrade_deadlock(Datum name)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "resource", TextDatumGetCString(name));
	ereport(ERROR,
			(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
			 errmsg("deadlock detected"),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("Another sharer of \"%s\" is waiting to hold it exclusively. Request the exclusive lock in the first call.",
					 TextDatumGetCString(name))));
}

/*
 * Turn our share of the row that was found into an exclusive lock.  False: it
 * would have to wait.
 *
 * Two sharers who both want to be exclusive can only wait for each other.
 * There is no need to let deadlock_timeout go by: an upgrader holds the name's
 * upgrade lock in ShareUpdateExclusiveLock mode for as long as it waits, and
 * who finds that taken gives up.
 *
 * New sharers must not overtake an upgrader, or they could starve it.  It
 * cannot stand in line, so the upgrade lock is also a second line: at the head
 * of the first, a sharer takes it in RowShareLock mode for as long as it asks
 * for the row, and the upgrader in ExclusiveLock mode before it waits for
 * those that have the row.
 */
static bool
upgrade(NameTable *names, Datum name, const Patience *patience)
{
	LOCKTAG		tag;

	names_locktag(&tag, name, LOCK_UPGRADE);
	if (LockAcquire(&tag, ShareUpdateExclusiveLock, false, true) ==
		LOCKACQUIRE_NOT_AVAIL)
	{
		if (patience->waiting == WAIT_NEVER)
			return false;
		report_upgrade_deadlock(name);
	}
	if (!wait_for_lock(names, name, HOLD_EXCLUSIVE, &tag, ExclusiveLock,
					   patience))
		return false;
	switch (wait_for_row(names, name, HOLD_EXCLUSIVE, LockTupleNoKeyExclusive,
						 patience))
	{
		case TM_Ok:
			break;
		case TM_WouldBlock:
			return false;
		default:
			elog(ERROR, "a shared resource was purged");
	}
	LockRelease(&tag, ExclusiveLock, false);
	LockRelease(&tag, ShareUpdateExclusiveLock, false);
	return true;
}

/*
 * Stand in line for the name, make its row if there is none, lock it, and
 * leave the line.  found says that the row is in the slot.  The caller does
 * not hold the row.  False: it would have to wait.
 *
 * Row locks alone are not fair: whoever asks at the moment that the holder
 * goes gets the row, and sharers that keep coming starve an exclusive waiter.
 * So those who want a name stand in line at a heavyweight lock first, its
 * queue lock, which the lock manager grants in order of arrival; only the head
 * of the line asks for the row.  Exclusive waiters take the queue lock in
 * ExclusiveLock mode, sharers in ShareLock mode so that they wait for the row
 * side by side; a sharer that comes after an exclusive waiter stands behind
 * it.  The queue lock is given back as soon as the row is ours: a call keeps
 * one of them at a time, however many names it has.
 *
 * A transaction that already holds the row must not queue: the head of the
 * queue may be waiting for that row.
 */
static bool
stand_in_line(NameTable *names, Datum name, bool found, HoldMode mode,
			  LockTupleMode tuplemode, const Patience *patience)
{
	LOCKMODE	lockmode = mode == HOLD_SHARED && found ? ShareLock :
		ExclusiveLock;
	TM_Result	result = TM_Deleted;
	LOCKTAG		tag;
	LOCKTAG		upgrade;

	names_locktag(&tag, name, LOCK_QUEUE);
	names_locktag(&upgrade, name, LOCK_UPGRADE);
	if (!wait_for_lock(names, name, mode, &tag, lockmode, patience))
		return false;

	/*
	 * A row that is not there is made by who is alone at the head of the line.
	 * The loop ends: a purge needs the head of the line, too, so once we have
	 * that, the row can vanish once, by a purge that was under way.
	 */
	for (int round = 0; result == TM_Deleted; round++)
	{
		CHECK_FOR_INTERRUPTS();
		if (round == MAX_ROUNDS)
			elog(ERROR, "row of \"%s\" vanishes each time that it is found",
				 TextDatumGetCString(name));
		if (!found)
		{
			if (lockmode != ExclusiveLock)
			{
				/* Sharers that met a purge come here. */
				LockRelease(&tag, lockmode, false);
				lockmode = ExclusiveLock;
				if (!wait_for_lock(names, name, mode, &tag, lockmode,
								   patience))
					return false;
			}
			names_refresh(names);
			if (!names_find(names, name))
				names_create(names, name);
		}
		found = false;
		if (mode == HOLD_SHARED &&
			!wait_for_lock(names, name, mode, &upgrade, RowShareLock,
						   patience))
			return false;
		result = wait_for_row(names, name, mode, tuplemode, patience);
		if (mode == HOLD_SHARED)
			LockRelease(&upgrade, RowShareLock, false);
	}

	LockRelease(&tag, lockmode, false);
	return result == TM_Ok;
}

/*
 * Hold the resource in its mode until the transaction's end; the mode is then
 * the one in which we hold it, the stronger one if we held it already.  The
 * row's fence is ours only if we are not due for a new one.  False: it would
 * have to wait; the caller rolls back what was taken.
 *
 * Nothing is remembered in the backend.  Whether this transaction holds a
 * resource is read from the row: the row's newest version is ours, or among
 * its lockers is one of our transaction ids.  Ids of subtransactions that were
 * rolled back are no longer ours, so savepoints need no care.
 */
bool
resource_take(NameTable *names, Resource *resource, const Patience *patience)
{
	Datum		name = resource->name;
	TransactionId xid;
	bool		found = names_find(names, name);
	HoldMode	held = found ? holders_mine(names, &xid) : HOLD_NONE;

	if (held >= resource->mode)
		resource->mode = held;
	else
	{
		if (held == HOLD_SHARED ? !upgrade(names, name, patience) :
			!stand_in_line(names, name, found, resource->mode,
						   resource->mode == HOLD_SHARED ? LockTupleShare :
						   LockTupleNoKeyExclusive, patience))
			return false;
		snapshots_check(names, name);
	}
	resource->fence = names_fence(names);
	resource->fence_due = held < resource->mode &&
		resource->mode == HOLD_EXCLUSIVE;
	resource->tid = names->tid;
	return true;
}

/*
 * Give the exclusive holder its fence, and write it into the row.  The caller
 * has taken all the call's resources: fences are drawn together, which changes
 * nothing for those who wait for one of them.
 */
bool
resource_fence(NameTable *names, Resource *resource, TimestampTz since,
			   Datum request, const Patience *patience)
{
	if (!fence_next(names, resource->name, resource->fence, patience,
					&resource->fence))
		return false;
	names_write_fence(names, resource, since, request);
	return true;
}
