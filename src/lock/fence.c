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
 */
#include "lock.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "common/int.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
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
 * Draw the next fence.  The caller holds the lock that it is for, and calls
 * fence_flush() before the number leaves the server.
 */
int64
fence_next(Oid schema)
{
	return nextval_internal(fence_sequence(schema), false);
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
 * Skip this many fences.  To read and then set the sequence, nobody may draw
 * from it in between; nextval() holds RowExclusiveLock to its transaction's
 * end, so this waits for those that have drawn one.  The caller's role must
 * have UPDATE on the sequence.
 */
void
fence_advance(Oid schema, int64 by)
{
	Oid			relid = fence_sequence(schema);
	int64		fence;

	LockRelationOid(relid, ShareRowExclusiveLock);
	fence = nextval_internal(relid, true);
	if (pg_add_s64_overflow(fence, by, &fence))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("fence out of range")));
	DirectFunctionCall2(setval_oid, ObjectIdGetDatum(relid),
						Int64GetDatum(fence));
	fence_flush(schema);
}
