/*
 * fence.c
 *		Fences: the numbers that tell a holder from its successors.
 *
 * All fences, of locks and of leases, are drawn from one sequence, lock_fence,
 * so that no name's can fall when the name is purged and made again.  A fence
 * is drawn once the lock is held; so the order of a name's fences is the order
 * of its holders.  A call that takes several names draws when it holds them
 * all, and one number of the sequence is good for many: the sequence counts in
 * steps, and the fences from one step to the next are the call's.
 *
 * A sequence writes WAL ahead for 32 numbers at a time, and nobody flushes
 * that WAL before a commit.  After a crash the server may therefore issue the
 * same numbers again, and a fence that has left the server, for a device that
 * compares fences, cannot be recalled.  So whoever draws flushes the sequence's
 * page's last record, whoever wrote it; most calls find that done.
 *
 * To skip fences is to read the sequence and then to set it, and what is drawn
 * in between would be drawn twice.  No lock on the sequence could prevent that
 * without waiting for transactions that have drawn: they keep theirs to the
 * end.  So there is a lock of our own around each use, given back at once.
 */
#include "lock.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/pg_sequence.h"
#include "commands/sequence.h"
#include "common/int.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define FENCE_SEQUENCE "lock_fence"

/* What the install script makes the sequence's increment. */
#define FENCES_PER_NUMBER 32

/*
 * How many fences a number of the sequence is good for: those after the number
 * before it.
 */
static int64
fences_per_number(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(relid));
	int64		increment;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", relid);
	increment = ((Form_pg_sequence) GETSTRUCT(tuple))->seqincrement;
	ReleaseSysCache(tuple);
	return Min(Max(increment, 1), FENCES_PER_NUMBER);
}

/*
 * The lock around a use of the sequence.
 */
static void
fence_locktag(LOCKTAG *tag, Oid relid)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, relid, 0, LOCK_FENCE);
}

/*
 * See that no number drawn until now can be issued again.  The transaction has
 * used the sequence, and so has it locked to its end.
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
 * The next fence for a name whose row has this one.  The caller holds all the
 * locks that it draws fences for.  Raises 55000 if the sequence does not rise:
 * its owner can set it back, or have each session keep numbers of its own by
 * CACHE.
 */
int64
fence_next(NameTable *names, int64 former)
{
	if (names->drawn == names->drawn_last)
	{
		Oid			relid = internal_relation(FENCE_SEQUENCE);
		LOCKTAG		tag;

		fence_locktag(&tag, relid);
		(void) LockAcquire(&tag, ShareLock, false, false);
		names->drawn_last = nextval_internal(relid, false);
		LockRelease(&tag, ShareLock, false);
		names->drawn = names->drawn_last - fences_per_number(relid);
		flush_sequence(relid);
	}
	if (++names->drawn <= former)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sequence \"%s\" is not as pg_cas left it",
						FENCE_SEQUENCE),
				 errdetail("It has given a fence that is not larger than the last one."),
				 errhint("See that it has CACHE 1 and INCREMENT %d, and call lock_fence_advance().",
						 FENCES_PER_NUMBER)));
	return names->drawn;
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
	if (pg_add_s64_overflow(fence, by, &fence))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("fence out of range")));
	DirectFunctionCall2(setval_oid, ObjectIdGetDatum(relid),
						Int64GetDatum(fence));
	LockRelease(&tag, ExclusiveLock, false);
	flush_sequence(relid);
}
