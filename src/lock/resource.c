/*
 * resource.c
 *		Locks on named resources: what a holder is, and how one becomes it.
 *
 * A resource's lock is the tuple lock of its row in lock_name: FOR SHARE for a
 * sharer, FOR NO KEY UPDATE for an exclusive holder.  The exclusive holder
 * then writes its fence into the row.  That is not for show: a tuple lock
 * leaves no trace behind once it is given back, while an update makes the
 * row's newest version one that an older snapshot does not see, and so makes
 * it known that something may have changed under the lock, in whatever table
 * (see names.c on snapshots).
 *
 * Nothing is remembered in the backend.  Whether this transaction holds a
 * resource is read from the row: the row's newest version is ours, or among
 * its lockers is one of our transaction ids.  Ids of subtransactions that were
 * rolled back are no longer ours, so savepoints need no care.
 *
 * A call takes its names in byte order, each fully before the next, so calls
 * cannot deadlock with one another; transactions that call twice can, and the
 * deadlock detector sees them, as every wait is for a heavyweight lock.  Two
 * sharers who both want to be exclusive can only wait for each other.  There
 * is no need to let deadlock_timeout go by: an upgrader holds the name's
 * upgrade lock in ShareUpdateExclusiveLock mode for as long as it waits, and
 * who finds that taken gives up.  Fences are drawn and written when the call
 * has all its names, which changes nothing for those who wait for one.
 *
 * Nor may new sharers pass an upgrader, or those that keep coming would starve
 * it.  It cannot stand in line, so the upgrade lock is also a second line: at
 * the head of the first, a sharer takes it in RowShareLock mode for as long as
 * it asks for the row, and the upgrader in ExclusiveLock mode before it waits
 * for those that have the row.
 */
#include "lock.h"

#include "access/xact.h"
#include "utils/builtins.h"

/*
 * Turn our share of the row that was found into an exclusive lock.
 */
static void
upgrade(NameTable *names, Datum name, const Patience *patience)
{
	LOCKTAG		tag;

	name_locktag(&tag, name, LOCK_UPGRADE);
	if (LockAcquire(&tag, ShareUpdateExclusiveLock, false, true) ==
		LOCKACQUIRE_NOT_AVAIL)
	{
		StringInfoData detail;

		detail_begin(&detail);
		detail_text(&detail, "resource", TextDatumGetCString(name));
		ereport(ERROR,
				(errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				 errmsg("deadlock detected"),
				 errdetail_internal("%s", detail_end(&detail)),
				 errhint("Another sharer of \"%s\" is waiting to hold it exclusively. Ask for the exclusive lock at first.",
						 TextDatumGetCString(name))));
	}
	take_locktag(names, name, HOLD_EXCLUSIVE, &tag, ExclusiveLock, patience);
	if (!wait_for_row(names, name, HOLD_EXCLUSIVE, LockTupleNoKeyExclusive,
					  patience))
		elog(ERROR, "a shared resource was purged");
	LockRelease(&tag, ExclusiveLock, false);
	LockRelease(&tag, ShareUpdateExclusiveLock, false);
}

/*
 * Hold the resource in its mode until the transaction's end; the mode is then
 * the one in which we hold it, the stronger one if we held it already.  The
 * row's fence is ours only if we are not due for a new one.
 */
void
resource_take(NameTable *names, Resource *resource, const Patience *patience)
{
	Datum		name = resource->name;
	TransactionId xid;
	bool		found = names_find(names, name);
	HoldMode	held = found ? names_held(names, &xid) : HOLD_NONE;

	if (held >= resource->mode)
		resource->mode = held;
	else
	{
		if (held == HOLD_SHARED)
			upgrade(names, name, patience);
		else
			wait_in_line(names, name, found, resource->mode,
						 resource->mode == HOLD_SHARED ? LockTupleShare :
						 LockTupleNoKeyExclusive, patience);
		names_check_snapshot(names, name);
	}
	resource->fence = names_fence(names);
	resource->fence_due = held < resource->mode &&
		resource->mode == HOLD_EXCLUSIVE;
	resource->tid = names->tid;
}

/*
 * Give the exclusive holder its fence, and write it into the row.  The caller
 * has taken all the call's resources.
 */
void
resource_fence(NameTable *names, Resource *resource)
{
	resource->fence = fence_next(names, resource->fence);
	names_write_fence(names, resource);
}
