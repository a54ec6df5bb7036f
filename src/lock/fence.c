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

#include "common/int.h"

#define FENCE_SEQUENCE "lock_fence"

/*
 * The sequence's increment in the install script.  A number of the sequence
 * stands for this many fences, which end with the number itself.
 */
#define FENCES_PER_NUMBER 32

/*
 * Draw a number that cannot be issued again.  All fences come from here.
 * Returns false if the call would have to wait.
 */
static bool
draw_number(NameTable *names, const Patience *patience, int64 *number)
{
	Oid			relid = internal_relation(FENCE_SEQUENCE);

	/* Without a deadline, drawing locks the sequence. */
	if (patience->waiting != WAIT_ALWAYS &&
		!wait_for_relation(relid, RowExclusiveLock, patience))
		return false;
	*number = history_draw_ahead(relid, FENCES_PER_NUMBER,
								 &names->fences_logged);
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
 * Return the next fence for a name whose row has the fence former.  The caller
 * must have taken all locks that it needs fences for, and must not return the
 * fence before names_close(), which flushes it to disk.  Returns false if the
 * call would have to wait.  Raises 55000 if the sequence has been set back.
 */
bool
fence_next(NameTable *names, int64 former, const Patience *patience,
		   int64 *fence)
{
	/* use up the fences of the number drawn last before drawing another */
	if (names->drawn == names->drawn_last)
	{
		if (!draw_number(names, patience, &names->drawn_last))
			return false;
		names->drawn = names->drawn_last - FENCES_PER_NUMBER;
	}
	if (++names->drawn <= former)
		raise_fallen();
	*fence = names->drawn;
	return true;
}

/*
 * Draw another number for the next fence, because locks will be taken before
 * it is needed.
 */
void
fence_forget(NameTable *names)
{
	names->drawn = names->drawn_last;
}

/*
 * Skip the given number of fences, at least.  Others can draw fences
 * meanwhile: the sequence is only ever raised.
 */
void
fence_advance(int64 by)
{
	Oid			relid = internal_relation(FENCE_SEQUENCE);
	int64		fence;

	if (pg_add_s64_overflow(sequence_last(relid), by, &fence) ||
		fence > HISTORY_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("fence out of range")));
	if (fence > history_now())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" is out of range", "by"),
				 errhint("After a promotion, fences continue at 4 per microsecond since 2025, and they must not be ahead of that.")));
	sequence_raise(relid, fence);
	sequence_flush(relid);
}
