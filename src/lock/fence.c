/*
 * fence.c
 *		Fences: the numbers that tell a holder from its successors.
 *
 * All fences, of locks and of leases, are drawn from one sequence, lock_fence,
 * so that no name's can fall when the name is purged and made again.  A fence
 * is drawn once the lock is held; so the order of a name's fences is the order
 * of its holders.
 *
 * A sequence writes WAL ahead for 32 numbers at a time, and nobody flushes
 * that WAL before a commit.  After a crash the server may therefore issue the
 * same numbers again, and a fence that has left the server, for a device that
 * compares fences, cannot be recalled.  So fence_flush() flushes the
 * sequence's page's last record, whoever wrote it; most calls find that done.
 *
 * To skip fences is to read the sequence and then to set it, and what is drawn
 * in between would be drawn twice.  No lock on the sequence could prevent that
 * without waiting for transactions that have drawn: they keep theirs to the
 * end.  So there is a lock of our own around each use, given back at once.
 */
#include "lock.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "common/int.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/*
 * The sequence, which lies in the extension's schema.
 */
static Oid
fence_sequence(Oid schema)
{
	Oid			relid = get_relname_relid("lock_fence", schema);

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_SEQUENCE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("sequence \"lock_fence\" of pg_cas is missing")));
	return relid;
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
 * Draw the next fence for the name whose row is in the slot.  The caller holds
 * the lock that it is for, and calls fence_flush() before the number leaves the
 * server.  Raises 55000 if the sequence does not rise: its owner can set it
 * back, or have each session keep numbers of its own by CACHE.
 */
int64
fence_next(NameTable *names)
{
	Oid			relid = fence_sequence(names->schema);
	LOCKTAG		tag;
	int64		fence;

	fence_locktag(&tag, relid);
	(void) LockAcquire(&tag, ShareLock, false, false);
	fence = nextval_internal(relid, false);
	LockRelease(&tag, ShareLock, false);
	if (fence <= names_fence(names))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sequence \"%s\" is not as pg_cas left it",
						get_rel_name(relid)),
				 errdetail("It has given a fence that is not larger than the last one."),
				 errhint("See that it has CACHE 1 and INCREMENT 1, and call lock_fence_advance().")));
	return fence;
}

/*
 * See that no fence drawn until now can be issued again.
 */
void
fence_flush(Oid schema)
{
	Relation	seq = relation_open(fence_sequence(schema), AccessShareLock);
	Buffer		buffer = ReadBuffer(seq, 0);
	XLogRecPtr	lsn;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	lsn = PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	if (RelationNeedsWAL(seq))
		XLogFlush(lsn);
	relation_close(seq, AccessShareLock);
}

/*
 * Skip this many fences.  The caller's role must have UPDATE on the sequence.
 */
void
fence_advance(Oid schema, int64 by)
{
	Oid			relid = fence_sequence(schema);
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
	fence_flush(schema);
}
