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

#include <signal.h>

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"

#include "alloc/alloc.h"

/* deadlock_timeout of a slice in which the deadlock detector is to run */
#define DEADLOCK_LOOK 10

/* After so many milliseconds a waiting call searches again. */
#define LOOK_AGAIN 100

/*
 * Remember a transaction that has been met.  The set is sorted, by numbers that
 * wrap around, since there can be many: a transaction that has called us often has
 * as many subtransactions.
 */
void
wait_add_xid(WaitSet *waits, TransactionId xid)
{
	int			at = waits->n;
	int			low = 0;

	if (!TransactionIdIsValid(xid))
		return;
	/* mostly it is the last one, or a later one */
	if (at > 0 && waits->xids[at - 1] == xid)
		return;
	if (at > 0 && waits->xids[at - 1] > xid)
	{
		while (low < at)
		{
			int			middle = low + (at - low) / 2;

			if (waits->xids[middle] < xid)
				low = middle + 1;
			else
				at = middle;
		}
		if (waits->xids[at] == xid)
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
	memmove(waits->xids + at + 1, waits->xids + at,
			(waits->n - at) * sizeof(TransactionId));
	waits->xids[at] = xid;
	waits->n++;
}

/* Remember the transaction that is inserting or deleting the row, if any. */
void
wait_add_row(WaitSet *waits, const SlotRow *row)
{
	wait_add_xid(waits, TransactionIdIsValid(row->inserter) ?
				 row->inserter : row->deleter);
}

/* Wait for a transaction to end. */
void
wait_for_xid(TransactionId xid)
{
	XactLockTableWait(xid, NULL, NULL, XLTW_None);
}

/*
 * A slice ends by a cancellation of our own, in the way in which lock_timeout
 * ends a wait.  If the server is busy, the user's cancellation or the end of
 * statement_timeout can come at the same time, and PostgreSQL remembers only
 * that there was one.  That must not get lost.  Those come by a signal, SIGINT,
 * also if a timer has caused them, and the end of a slice does not.
 */
static TimeoutId slice_timer = MAX_TIMEOUTS;
static volatile sig_atomic_t slice_over;
static volatile sig_atomic_t signalled;
static struct sigaction former_action;

/* The timer has run out. */
static void
end_slice(void)
{
	slice_over = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* Handler of SIGINT during a slice. */
static void
note_signal(int signo, siginfo_t *info, void *context)
{
	signalled = true;
	if (former_action.sa_flags & SA_SIGINFO)
		former_action.sa_sigaction(signo, info, context);
	else if (former_action.sa_handler != SIG_IGN &&
			 former_action.sa_handler != SIG_DFL)
		former_action.sa_handler(signo);
}

/* Begin a slice of ms milliseconds. */
static void
slice_begin(int ms)
{
	struct sigaction action;

	if (slice_timer == MAX_TIMEOUTS)
		slice_timer = RegisterTimeout(USER_TIMEOUT, end_slice);
	slice_over = signalled = false;
	(void) sigaction(SIGINT, NULL, &former_action);
	action = former_action;
	action.sa_sigaction = note_signal;
	action.sa_flags |= SA_SIGINFO;
	(void) sigaction(SIGINT, &action, NULL);
	enable_timeout_after(slice_timer, ms);
}

/*
 * End it.  If an error has been caught, sqlstate is its SQLSTATE, otherwise 0.
 * Returns whether it is the end of the slice.
 */
static bool
slice_finish(int sqlstate)
{
	bool		is_end = false;

	disable_timeout(slice_timer, false);
	/* a signal that has come since the error was raised is still pending */
	if (slice_over && sqlstate == ERRCODE_QUERY_CANCELED)
		is_end = !signalled || QueryCancelPending;
	else if (slice_over)
	{
		/* nobody has noticed that it is over */
		QueryCancelPending = false;
		if (signalled)
			QueryCancelPending = true;
	}
	(void) sigaction(SIGINT, &former_action, NULL);
	return is_end;
}

/* A function that waits, for in_subtransaction(). */
typedef struct LimitedWait
{
	void		(*wait) (void *arg);
	void	   *arg;
	int			lock_timeout;
	int			deadlock_timeout;
	int			slice;			/* of so many milliseconds; 0: not in a slice */
	bool		begun;			/* the slice has begun */
} LimitedWait;

static bool
wait_through(void *arg)
{
	LimitedWait *waiting = arg;

	/* not before, as the subtransaction may be what cannot be begun */
	if (waiting->slice > 0)
	{
		slice_begin(waiting->slice);
		waiting->begun = true;
	}
	LockTimeout = waiting->lock_timeout;
	DeadlockTimeout = waiting->deadlock_timeout;
	waiting->wait(waiting->arg);
	CurrentResourceOwner = CurTransactionResourceOwner;
	/* The timer may have run out just as the wait ended. */
	if (waiting->begun)
		(void) slice_finish(0);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/*
 * Call a function that waits for heavyweight locks, but for no longer than ms
 * milliseconds, with the deadlock detector running after deadlock_ms.  Returns
 * false, without the locks, if that was not enough.  is_users says that
 * lock_timeout is up then, which is an error.
 */
bool
wait_limited(void (*wait) (void *arg), void *arg, int ms, int deadlock_ms,
			 bool is_users)
{
	LimitedWait waiting = {
		.wait = wait,.arg = arg,
		.lock_timeout = is_users ? ms : 0,
		.deadlock_timeout = deadlock_ms,
		.slice = is_users ? 0 : ms
	};
	int			lock_timeout = LockTimeout;
	int			deadlock_timeout = DeadlockTimeout;
	bool		ended;
	ErrorData  *error;

	/* the call may go on for hours, and FreeErrorData() does not free all */
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext cxt = AllocSetContextCreate(caller, "alloc wait",
											  ALLOCSET_SMALL_SIZES);

	/* The end of a slice is an error.  Catch it in a subtransaction. */
	MemoryContextSwitchTo(cxt);
	ended = in_subtransaction(wait_through, &waiting, &error);
	LockTimeout = lock_timeout;
	DeadlockTimeout = deadlock_timeout; /* no GUC code would restore them */
	if (error != NULL &&
		(!waiting.begun || !slice_finish(error->sqlerrcode)))
		ReThrowError(error);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(cxt);
	CHECK_FOR_INTERRUPTS();
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
		 * Each transaction is a wait of its own.  The set may have been filled
		 * anew since the last one, with another one before it.
		 */
		if (!TransactionIdEquals(waits->awaited, waits->xids[0]))
		{
			waits->awaited = waits->xids[0];
			waits->waited = waits->unlooked = 0;
		}

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
		waiting->idle = waiting->room.n > 0 ? 0 : waiting->idle + 1;
		if (waiting->idle > MAX_IDLE_ROUNDS)
			return false;
	}
	waiting->looking = !wait_some(&waiting->room, waiting->pause);
	return true;
}
