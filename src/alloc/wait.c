/*
 * wait.c
 *		The transactions that a call has met, and waiting for them.
 *
 * We wait for a transaction by waiting for its heavyweight lock, so that
 * lock_timeout, pg_blocking_pids() and the deadlock detector see the wait.  A
 * call that waits for room in a pool searches again at least every 100 ms for
 * units that have become free elsewhere.  A lock wait cannot be interrupted
 * for that, so it is made of slices, each of which is a lock wait of its own.
 * What PostgreSQL does once per wait has to be done across the slices:
 * lock_timeout counts from the first slice for a transaction, and the deadlock
 * detector runs once every deadlock_timeout.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/resowner.h"

#include "alloc/alloc.h"

/* deadlock_timeout of a slice in which the deadlock detector is to run */
#define DEADLOCK_LOOK 10

/* After so many milliseconds a waiting call searches again. */
#define LOOK_AGAIN 100

/* Remember a transaction that has been met. */
void
wait_add_xid(WaitSet *waits, TransactionId xid)
{
	if (!TransactionIdIsValid(xid))
		return;
	for (int i = 0; i < waits->n; i++)
	{
		if (TransactionIdEquals(waits->xids[i], xid))
			return;
	}
	if (waits->n == waits->room)
	{
		waits->room = Max(16, waits->room * 2);
		waits->xids = waits->xids == NULL ?
			MemoryContextAlloc(waits->cxt,
							   waits->room * sizeof(TransactionId)) :
			repalloc_huge(waits->xids, waits->room * sizeof(TransactionId));
	}
	waits->xids[waits->n++] = xid;
}

/* Remember the transaction that is inserting or deleting the row, if any. */
void
wait_add_row(WaitSet *waits, const SlotRow *row)
{
	wait_add_xid(waits, TransactionIdIsValid(row->inserter) ?
				 row->inserter : row->deleter);
}

/*
 * Remember the transactions that have locked a row or are changing it, given
 * its xmax and infomask.
 */
void
wait_add_xmax(WaitSet *waits, TransactionId xmax, uint16 infomask)
{
	MultiXactMember *members;
	int			nmembers;

	if (infomask & HEAP_XMAX_INVALID)
		return;
	if (!(infomask & HEAP_XMAX_IS_MULTI))
	{
		if (!TransactionIdIsCurrentTransactionId(xmax) &&
			TransactionIdIsInProgress(xmax))
			wait_add_xid(waits, xmax);
		return;
	}
	nmembers = GetMultiXactIdMembers(xmax, &members, false,
									 HEAP_XMAX_IS_LOCKED_ONLY(infomask));
	for (int i = 0; i < nmembers; i++)
	{
		if (!TransactionIdIsCurrentTransactionId(members[i].xid) &&
			TransactionIdIsInProgress(members[i].xid))
			wait_add_xid(waits, members[i].xid);
	}
	if (nmembers > 0)
		pfree(members);
}

/* Wait for a transaction to end. */
void
wait_for_xid(TransactionId xid)
{
	XactLockTableWait(xid, NULL, NULL, XLTW_None);
}

/* A function that waits, for in_subtransaction(). */
typedef struct LimitedWait
{
	void		(*wait) (void *arg);
	void	   *arg;
	int			lock_timeout;
	int			deadlock_timeout;
} LimitedWait;

static bool
wait_through(void *arg)
{
	LimitedWait *waiting = arg;

	LockTimeout = waiting->lock_timeout;
	DeadlockTimeout = waiting->deadlock_timeout;
	waiting->wait(waiting->arg);
	CurrentResourceOwner = CurTransactionResourceOwner;
	/* The timeout may have fired just as the wait ended. */
	CHECK_FOR_INTERRUPTS();
	return true;
}

/*
 * Call a function that waits for heavyweight locks, but for no longer than ms
 * milliseconds for each, with the deadlock detector running after deadlock_ms.
 * Returns false, without the locks, if that was not enough.  is_users says
 * that lock_timeout is up then, which is an error.
 */
bool
wait_limited(void (*wait) (void *arg), void *arg, int ms, int deadlock_ms,
			 bool is_users)
{
	LimitedWait waiting = {wait, arg, ms, deadlock_ms};
	int			lock_timeout = LockTimeout;
	int			deadlock_timeout = DeadlockTimeout;
	bool		ended;
	ErrorData  *error;

	/*
	 * The slice ends by a lock timeout, which is an error.  Catch it in a
	 * subtransaction, and pass it on if it is the user's.
	 */
	ended = in_subtransaction(wait_through, &waiting, &error);
	LockTimeout = lock_timeout;
	DeadlockTimeout = deadlock_timeout;	/* no GUC code would restore them */
	if (error != NULL &&
		(error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || is_users))
		ReThrowError(error);
	return ended;
}

/* Wait for a transaction to end, for wait_limited(). */
static void
wait_for_one(void *arg)
{
	wait_for_xid(*(TransactionId *) arg);
}

/*
 * Call a function that waits for a heavyweight lock, and for no longer than
 * patience allows.  Returns false if that is over.
 */
bool
wait_patiently(void (*wait) (void *arg), void *arg, const Patience *patience)
{
	long		left;
	bool		is_users;

	if (!patience->limited)
	{
		wait(arg);
		return true;
	}
	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   patience->deadline);
	if (left <= 0)
		return false;
	is_users = LockTimeout > 0 && LockTimeout <= left;
	return wait_limited(wait, arg,
						is_users ? LockTimeout : (int) Min(left, INT_MAX / 2),
						DeadlockTimeout, is_users);
}

/* A lock to be taken, for wait_patiently(). */
typedef struct ToTake
{
	const LOCKTAG *tag;
	LOCKMODE	mode;
	ResourceOwner owner;
	bool		taken;
} ToTake;

static void
wait_for_lock(void *arg)
{
	ToTake	   *lock = arg;

	/* not the subtransaction's, because we are to release it afterwards */
	CurrentResourceOwner = lock->owner;
	(void) LockAcquire(lock->tag, lock->mode, false, false);
	lock->taken = true;
}

/*
 * Take a heavyweight lock, which the caller releases.  Returns false if
 * patience is over before.
 */
bool
wait_for_lock_patiently(const LOCKTAG *tag, LOCKMODE mode,
						const Patience *patience)
{
	ToTake		lock = {tag, mode, CurrentResourceOwner, false};

	if (!patience->limited)
	{
		(void) LockAcquire(tag, mode, false, false);
		return true;
	}
	if (LockAcquire(tag, mode, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return true;
	/* the time may have been over just when the lock was granted */
	return wait_patiently(wait_for_lock, &lock, patience) || lock.taken;
}

/* Wait for a transaction to end.  Returns false if patience is over. */
bool
wait_for_xid_patiently(TransactionId xid, const Patience *patience)
{
	return wait_patiently(wait_for_one, &xid, patience);
}

/*
 * Wait for the transactions of a set, one after the other, but for no longer
 * than ms milliseconds in total.  Those that have ended are removed from the
 * set.  Returns true if none is left.
 */
bool
wait_some(WaitSet *waits, int ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);

	while (waits->n > 0)
	{
		TimestampTz now = GetCurrentTimestamp();
		int			slice = (int) TimestampDifferenceMilliseconds(now, until);
		bool		looks;
		bool		is_users;

		if (slice <= 0)
			return false;

		/*
		 * Is it time for the deadlock detector, and does lock_timeout end the
		 * wait before this slice does?
		 */
		looks = waits->unlooked + slice >= DeadlockTimeout;
		is_users = LockTimeout > 0 && LockTimeout - waits->waited <= slice;
		if (is_users)
			slice = Max(LockTimeout - waits->waited, 1);
		if (wait_limited(wait_for_one, &waits->xids[0], slice,
						 looks ? Min(DEADLOCK_LOOK, DeadlockTimeout) :
						 DeadlockTimeout, is_users))
		{
			waits->n--;
			memmove(waits->xids, waits->xids + 1,
					waits->n * sizeof(TransactionId));
			/* Each transaction is a wait of its own. */
			waits->waited = waits->unlooked = 0;
			continue;
		}
		waits->waited += slice;
		waits->unlooked = looks ? 0 : waits->unlooked + slice;
	}
	return true;
}

/*
 * Wait before the next search for room.  met has the transactions that the
 * last one has met, which began at that time.  Returns false if there was
 * nobody to wait for too often.
 */
bool
wait_for_room(Waiting *waiting, const WaitSet *met, TimestampTz began)
{
	if (waiting->looking)
	{
		/* Where searches take long, do not search all the time. */
		TimestampTz now = GetCurrentTimestamp();
		long		took = TimestampDifferenceMilliseconds(began, now);

		waiting->pause = (int) Max(LOOK_AGAIN, Min(took * 4, 10000));
	}
	else
	{
		/* A new round: wait for the transactions that its search has met. */
		waiting->room.n = waiting->room.waited = waiting->room.unlooked = 0;
		waiting->pause = LOOK_AGAIN;
		for (int i = 0; i < met->n; i++)
			wait_add_xid(&waiting->room, met->xids[i]);
		waiting->round++;
		if (waiting->room.n == 0 && ++waiting->idle > MAX_IDLE_ROUNDS)
			return false;
	}
	waiting->looking = !wait_some(&waiting->room, waiting->pause);
	return true;
}
