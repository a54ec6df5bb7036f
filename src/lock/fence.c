/*
 * fence.c
 *		Fences: the numbers that tell a holder from its successors.
 *
 * All fences, of locks and of leases, are drawn from one sequence, lock_fence,
 * so that no name's can fall when the name is purged and made again.  A fence
 * is drawn once the lock is held; so the order of a name's fences is the order
 * of its holders.
 */
#include "lock.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "common/int.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"

#define FENCE_SEQUENCE "lock_fence"

/*
 * The sequence's increment in the install script: a number of the sequence is
 * good for this many fences, those after the number before it.
 */
#define FENCES_PER_NUMBER 32

/*
 * The lock around each use of the sequence.  To skip fences is to read the
 * sequence and then to set it, and numbers drawn in between would be issued
 * twice.  No lock on the sequence could prevent that without waiting for
 * transactions that have drawn, which keep theirs to the end.
 */
static void
fence_locktag(LOCKTAG *tag, Oid relid)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, relid, 0, LOCK_FENCE);
}

/*
 * See that no number drawn until now can be issued again.  The transaction has
 * used the sequence, and so has it locked to its end.
 *
 * A sequence writes WAL ahead for 32 numbers at a time, and nobody flushes
 * that WAL before a commit.  After a crash the server may therefore issue the
 * same numbers again, and a fence that has left the server, for a device that
 * compares fences, cannot be recalled.  So whoever draws flushes the last
 * record of the sequence's page, whoever wrote it; most calls find that done.
 */
static void
flush_sequence(Oid relid)
{
	Relation	seq = relation_open(relid, NoLock);
	Buffer		buffer = ReadBuffer(seq, 0);
	XLogRecPtr	lsn;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	lsn = PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	if (RelationNeedsWAL(seq))
		XLogFlush(lsn);
	relation_close(seq, NoLock);
}

/*
 * Draw a number that cannot come again.  This is the one place where fences
 * come from.  False: it would have to wait.
 */
static bool
draw_number(NameTable *names, Datum name, const Patience *patience,
			int64 *number)
{
	Oid			relid = internal_relation(FENCE_SEQUENCE);
	LOCKTAG		tag;

	if (patience->waiting != WAIT_ALWAYS &&
		!wait_for_relation(relid, RowExclusiveLock, patience))
		return false;
	fence_locktag(&tag, relid);
	if (!wait_for_lock(names, name, HOLD_EXCLUSIVE, &tag, ShareLock, patience))
		return false;
	*number = history_draw(relid, FENCES_PER_NUMBER);
	LockRelease(&tag, ShareLock, false);
	flush_sequence(relid);
	return true;
}

pg_noreturn static void
report_fallen(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sequence \"%s\" is not as pg_cas left it",
					FENCE_SEQUENCE),
			 errdetail("It has given a fence that is not larger than the last one."),
			 errhint("Call lock_fence_advance().")));
}

/*
 * The next fence for the name, whose row has the former one.  The caller holds
 * all the locks that it draws fences for.  False: it would have to wait.
 * Raises 55000 if the sequence has been set back.
 */
bool
fence_next(NameTable *names, Datum name, int64 former,
		   const Patience *patience, int64 *fence)
{
	if (names->drawn == names->drawn_last)
	{
		if (!draw_number(names, name, patience, &names->drawn_last))
			return false;
		names->drawn = names->drawn_last - FENCES_PER_NUMBER;
	}
	if (++names->drawn <= former)
		report_fallen();
	*fence = names->drawn;
	return true;
}

/*
 * Skip this many fences.  The caller's role must have UPDATE on the sequence.
 */
void
fence_advance(int64 by)
{
	Oid			relid = internal_relation(FENCE_SEQUENCE);
	LOCKTAG		tag;
	int64		fence;

	fence_locktag(&tag, relid);
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
				 errhint("After a promotion fences go on from 4 for each microsecond since 2025; they may not be ahead of that.")));
	DirectFunctionCall2(setval_oid, ObjectIdGetDatum(relid),
						Int64GetDatum(fence));
	LockRelease(&tag, ExclusiveLock, false);
	flush_sequence(relid);
}
