/*
 * fence.c
 *		Fences: numbers that distinguish a holder from its successors.
 *
 * All fences, of locks and of leases, are drawn from one sequence, lock_fence,
 * so the fences of a name do not fall if the name is purged and created again.
 * A fence is drawn after the lock has been taken, so the order of a name's
 * fences is the order of its holders.
 */
#include "lock.h"

#include "commands/sequence.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#define FENCE_SEQUENCE "lock_fence"

/*
 * The sequence's increment in the install script.  A number of the sequence
 * stands for this many fences, which end with the number itself.
 */
#define FENCES_PER_NUMBER 32

/*
 * Build the tag of the lock that is held around each use of the sequence.
 *
 * Skipping fences reads the sequence and then sets it; numbers drawn in
 * between would be issued twice.  A lock on the sequence itself cannot prevent
 * that without waiting for transactions that have drawn a number, since they
 * keep their lock until they end.
 */
static void
fence_locktag(LOCKTAG *tag, Oid relid)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, relid, 0, LOCK_FENCE);
}

/*
 * Draw a number that cannot be issued again.  All fences come from here.
 * Returns false if the call would have to wait.
 */
static bool
draw_number(NameTable *names, Datum name, const Patience *patience,
			int64 *number)
{
	Oid			relid = internal_relation(FENCE_SEQUENCE);
	LOCKTAG		tag;

	/* Without a deadline, nextval() locks the sequence. */
	if (patience->waiting != WAIT_ALWAYS &&
		!wait_for_relation(relid, RowExclusiveLock, patience))
		return false;
	fence_locktag(&tag, relid);
	if (!wait_for_lock(names, name, HOLD_EXCLUSIVE, &tag, ShareLock, patience))
		return false;
	*number = history_draw(relid, FENCES_PER_NUMBER);
	LockRelease(&tag, ShareLock, false);

	/*
	 * A fence may be passed on to a device that compares fences before the
	 * transaction commits.  Flush without the lock, so that others need not
	 * wait for the disk with us.
	 */
	sequence_flush(relid);
	return true;
}

/* Raise 55000. */
pg_noreturn static void
raise_fallen(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sequence \"%s\" is not as pg_cas left it",
					FENCE_SEQUENCE),
			 errdetail("It has returned a fence that is not larger than the last one."),
			 errhint("Call lock_fence_advance().")));
}

/*
 * Return the next fence for the name, whose row has the fence former.  The
 * caller must have taken all locks that it needs fences for.  Returns false if
 * the call would have to wait.  Raises 55000 if the sequence has been set
 * back.
 */
bool
fence_next(NameTable *names, Datum name, int64 former,
		   const Patience *patience, int64 *fence)
{
	/* use up the fences of the number drawn last before drawing another */
	if (names->drawn == names->drawn_last)
	{
		if (!draw_number(names, name, patience, &names->drawn_last))
			return false;
		names->drawn = names->drawn_last - FENCES_PER_NUMBER;
	}
	if (++names->drawn <= former)
		raise_fallen();
	*fence = names->drawn;
	return true;
}

/*
 * Skip the given number of fences.  The current role must have UPDATE on the
 * sequence.
 */
void
fence_advance(int64 by)
{
	Oid			relid = internal_relation(FENCE_SEQUENCE);
	LOCKTAG		tag;
	int64		fence;

	fence_locktag(&tag, relid);
	/* keeps others from drawing between nextval() and setval() */
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	fence = nextval_internal(relid, true);
	if (pg_add_s64_overflow(fence, by, &fence) || fence > HISTORY_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("fence out of range")));
	if (fence > history_now())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" is out of range", "by"),
				 errhint("After a promotion, fences continue at 4 per microsecond since 2025, and they must not be ahead of that.")));
	DirectFunctionCall2(setval_oid, ObjectIdGetDatum(relid),
						Int64GetDatum(fence));
	LockRelease(&tag, ExclusiveLock, false);
	sequence_flush(relid);
}
