/*
 * resource.c
 *		Locks on named resources: what it means to hold one, and how it is
 *		taken.
 *
 * The lock on a resource is the tuple lock on its row in lock_name: FOR SHARE
 * for a sharer, FOR NO KEY UPDATE for an exclusive holder, which then writes
 * its fence into the row.  The write matters.  A tuple lock leaves no trace
 * after it is released, but an older snapshot does not see the new version of
 * the row.  That tells its transaction that something may have changed under
 * the lock, in any table (snapshots.c).
 */
#include "lock.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* How often a name's row can vanish while we are at the head of the line. */
#define MAX_ROUNDS 5

/* Raise 40P01. */
pg_noreturn static void
raise_upgrade_deadlock(Datum name)
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
 * Turn our shared lock on the row in the slot into an exclusive one.  Returns
 * false if the call would have to wait.
 *
 * Besides the queue lock, a name has an upgrade lock.  It is taken in three
 * modes:
 *
 * - ShareUpdateExclusiveLock by an upgrader, as long as it waits
 * - RowShareLock by a sharer at the head of the line, as long as it asks for
 *   the row
 * - ExclusiveLock by the upgrader, before it waits for the holders of the row
 */
static bool
upgrade(NameTable *names, Datum name, const Patience *patience)
{
	LOCKTAG		tag;

	names_locktag(&tag, names_hash(name), LOCK_UPGRADE);

	/*
	 * Two sharers that both want the exclusive lock can only wait for each
	 * other.  Do not let them wait for deadlock_timeout: the second one gives
	 * up.
	 */
	if (LockAcquire(&tag, ShareUpdateExclusiveLock, false, true) ==
		LOCKACQUIRE_NOT_AVAIL)
	{
		if (patience->waiting == WAIT_NEVER)
			return false;
		raise_upgrade_deadlock(name);
	}

	/*
	 * New sharers must not overtake an upgrader, or they could starve it.  It
	 * cannot stand in line, so this lock makes them wait behind it.
	 */
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
 * Stand in line for the name, create its row if there is none, lock it, and
 * leave the line.  found says that the row is in the slot.  Returns false if
 * the call would have to wait.
 *
 * Row locks alone are not fair.  A transaction that asks at the moment when
 * the holder ends gets the row, and sharers that keep coming starve a call
 * that waits for the exclusive lock.  So callers stand in line at a
 * heavyweight lock first, the name's queue lock, which the lock manager grants
 * in order of arrival.  Only the head of the line asks for the row.  The queue
 * lock is taken in ExclusiveLock mode for an exclusive lock and in ShareLock
 * mode for a shared one, so that sharers wait for the row side by side, but
 * behind an exclusive waiter that came first.  It is released as soon as we
 * have the row, so a call holds only one at a time, however many names it has.
 *
 * The caller must not hold the row already, because the head of the line may
 * be waiting for it.
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

	names_locktag(&tag, names_hash(name), LOCK_QUEUE);
	names_locktag(&upgrade, names_hash(name), LOCK_UPGRADE);
	if (!wait_for_lock(names, name, mode, &tag, lockmode, patience))
		return false;

	/*
	 * If the row is missing, the call that is alone at the head of the line
	 * creates it.  The loop terminates: a purge needs the queue lock, too, so
	 * after we have that, the row can vanish only once, by a purge that was
	 * under way.
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
				/* sharers get here if a purge was faster */
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
		/* wait behind an upgrader; see upgrade() */
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
 * Take the resource in its mode until the end of the transaction.
 * resource->mode is set to the mode in which we hold it, which is stronger if
 * we did already.  resource->fence is set to the fence in the row; if
 * resource->fence_due is set, that is a former holder's, and the caller has to
 * draw a new one.  Returns false if the call would have to wait; then the
 * caller rolls back what it has taken.
 */
bool
resource_take(NameTable *names, Resource *resource, const Patience *patience)
{
	Datum		name = resource->name;
	TransactionId xid;
	bool		found = names_find(names, name);
	HoldMode	held = found ? holders_mine(names, &xid) : HOLD_NONE;

	/*
	 * Nothing is remembered in the backend.  The row says whether this
	 * transaction holds the resource: it has written the newest version, or
	 * one of its ids is among the lockers.  The ids of subtransactions that
	 * were rolled back are not ours any more, so savepoints need no care.
	 */
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
 * Draw the fence of an exclusive holder and write it into the row.  The caller
 * has taken all resources of the call, so that their fences can be drawn
 * together.  For others, who wait for the locks anyway, this makes no
 * difference.
 */
bool
resource_fence(NameTable *names, Resource *resource, TimestampTz since,
			   Datum request, const Patience *patience)
{
	if (!fence_next(names, resource->fence, patience, &resource->fence))
		return false;
	if (!names_write_fence(names, resource, since, request, false))
		elog(ERROR, "a locked row was changed");
	return true;
}
