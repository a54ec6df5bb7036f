/*
 * history.c
 *		Numbers that rise through the history of the database: fences,
 *		generations, table-wide versions.
 *
 * A sequence alone does not rise for ever.  A standby that takes over, be it a
 * synchronous one, has not got the last WAL, and a dump has the numbers of its
 * time.  So whoever draws compares with a floor, below which nothing is given
 * out, and the floor jumps when the database's history takes another turn:
 * to a multiple of the time, which no number of the former history can have
 * reached.  This needs clocks that agree better than the time between two
 * promotions.
 */
#include "base/base.h"

#include "access/generic_xlog.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(history_begin);
PG_FUNCTION_INFO_V1(history_promoted);
PG_FUNCTION_INFO_V1(history_raise_sequence);

/*
 * Our two sequences.  They are used as variables that no rollback undoes, that
 * crash recovery and standbys know of, and that are dumped.
 */
#define HISTORY_SEQUENCE	"history"
#define FLOOR_SEQUENCE		"floor"

/* The sequences that the floor must not be below, where numbers are ours. */
static const char *const our_sequences[] = {"lock_fence", "alloc_generation"};

/* The class of our lock: see lock/lock.h for those of advisory locks. */
#define HISTORY_LOCK		0x6C10

/*
 * More than one call can have kept ahead of what its sequence says: fences are
 * drawn 32 at a time.
 */
#define FLOOR_MARGIN		64

/* Numbers kept by CACHE that a session may have to pass over. */
#define MAX_CACHED			(1 << 20)

/*
 * The floor, as this backend has learnt it from the sequence of this OID;
 * nothing if it is InvalidOid.  For the session.
 */
static Oid	learnt_from = InvalidOid;
static int64 learnt_floor;

/*
 * Numbers per time: 4 for each microsecond since the year 2025.  Nobody draws
 * so fast, and the limit is reached in 2096.
 */
int64
history_now(void)
{
	TimestampTz start = (TimestampTz) 9132 * USECS_PER_DAY;

	return Max(GetCurrentTimestamp() - start, 0) * 4;
}

/* ----------
 * Sequences as variables
 * ----------
 */

/*
 * Open a sequence as nextval() does, and read and pin its only page.
 */
static Relation
open_sequence(Oid sequence, Buffer *buffer)
{
	Relation	rel = relation_open(sequence, RowExclusiveLock);

	if (rel->rd_rel->relkind != RELKIND_SEQUENCE)
		elog(ERROR, "relation %u is not a sequence", sequence);
	*buffer = ReadBuffer(rel, 0);
	return rel;
}

/* The sequence's row, in its page, which is locked. */
static Form_pg_sequence_data
sequence_data(Page page)
{
	ItemId		item = PageGetItemId(page, FirstOffsetNumber);
	HeapTupleHeader tuple = (HeapTupleHeader) PageGetItem(page, item);

	return (Form_pg_sequence_data) ((char *) tuple + tuple->t_hoff);
}

/* The number that the sequence has given out last, or further ahead. */
int64
sequence_last(Oid sequence)
{
	Buffer		buffer;
	Relation	rel = open_sequence(sequence, &buffer);
	int64		last;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = sequence_data(BufferGetPage(buffer))->last_value;
	UnlockReleaseBuffer(buffer);
	relation_close(rel, NoLock);
	return last;
}

/*
 * See that what the sequence says now cannot be forgotten: flush the last
 * record of its page, whoever wrote it.  Mostly that is done already.
 */
void
sequence_flush(Oid sequence)
{
	Buffer		buffer;
	Relation	rel = open_sequence(sequence, &buffer);
	XLogRecPtr	lsn;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	lsn = PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	if (RelationNeedsWAL(rel))
		XLogFlush(lsn);
	relation_close(rel, NoLock);
}

/*
 * Set a sequence; with only_up, if it is behind the value.  To compare and to
 * set is one step, under the buffer's lock, which nextval() takes, too: so no
 * number drawn in between can come again.  setval() could not do that.
 *
 * The record holds the whole page, because nextval() does not log what it does
 * to it most of the time, and so a standby's page differs.
 */
static void
set_sequence(Oid sequence, int64 value, bool only_up)
{
	Buffer		buffer;
	Relation	rel = open_sequence(sequence, &buffer);
	GenericXLogState *xlog = GenericXLogStart(rel);
	Form_pg_sequence_data data;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	data = sequence_data(GenericXLogRegisterBuffer(xlog, buffer,
												   GENERIC_XLOG_FULL_IMAGE));
	if (only_up && (data->last_value > value ||
					(data->last_value == value && data->is_called)))
		GenericXLogAbort(xlog);
	else
	{
		data->last_value = value;
		data->log_cnt = 0;
		data->is_called = true;
		GenericXLogFinish(xlog);
	}
	UnlockReleaseBuffer(buffer);
	relation_close(rel, NoLock);
}

/* ----------
 * The floor
 * ----------
 */

/*
 * What tells this turn of the database's history from all others: 63 bits.  A
 * promotion changes the timeline, pg_upgrade and initdb the system identifier,
 * and a restore makes other OIDs.
 */
static int64
history_id(Oid history)
{
	struct
	{
		uint64		system;
		uint64		timeline;
		uint64		database;
		uint64		history;
	}			turn = {
		GetSystemIdentifier(), GetWALInsertionTimeLine(), MyDatabaseId,
		history
	};
	uint64		id = hash_bytes_extended((unsigned char *) &turn,
										 sizeof(turn), 0);

	return Max((int64) (id & PG_INT64_MAX), 1);
}

/*
 * Let the floor jump.  The caller holds our lock.  The floor is made safe
 * before the history is: stopped in between, it jumps again.
 */
static int64
jump(Oid history, int64 by)
{
	Oid			floor = internal_relation(FLOOR_SEQUENCE);
	int64		value = Max(history_now(), sequence_last(floor));

	for (int i = 0; i < lengthof(our_sequences); i++)
		value = Max(value,
					sequence_last(internal_relation(our_sequences[i])));
	value += by;
	set_sequence(floor, value, false);
	sequence_flush(floor);
	set_sequence(history, history_id(history), false);
	sequence_flush(history);
	return value;
}

static void
lock_history(LOCKTAG *tag, Oid history)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, history, 0, HISTORY_LOCK);
	(void) LockAcquire(tag, ExclusiveLock, false, false);
}

/* Somebody has called pg_cas_promoted(). */
static void
unlearn(Datum arg, Oid relid)
{
	if (relid == learnt_from || relid == InvalidOid)
		learnt_from = InvalidOid;
}

/*
 * The floor: no number up to it may be given out.  Not on a standby.
 */
int64
history_floor(void)
{
	static bool registered = false;
	Oid			history = internal_relation(HISTORY_SEQUENCE);
	LOCKTAG		tag;
	int64		floor;

	if (learnt_from == history)
		return learnt_floor;
	if (RecoveryInProgress())
		elog(ERROR, "the floor of numbers is not known during recovery");
	if (!registered)
		CacheRegisterRelcacheCallback(unlearn, (Datum) 0);
	registered = true;

	lock_history(&tag, history);
	if (sequence_last(history) == history_id(history))
		floor = sequence_last(internal_relation(FLOOR_SEQUENCE));
	else
		floor = jump(history, FLOOR_MARGIN);
	LockRelease(&tag, ExclusiveLock, false);

	learnt_floor = floor;
	learnt_from = history;
	return floor;
}

/*
 * Draw from a sequence a number that never came before, in no history of the
 * database, or 22003.  It is the last one of a block of so many that are the
 * caller's.  The caller flushes the sequence if the number is to leave the
 * server before the transaction is committed.
 */
int64
history_draw(Oid sequence, int64 block)
{
	for (int round = 0; round < MAX_CACHED; round++)
	{
		/* This refuses to work on a standby, so it comes first. */
		int64		value = nextval_internal(sequence, false);
		int64		floor = history_floor();

		if (value > HISTORY_LIMIT)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("number of sequence %u is out of range",
							sequence),
					 errdetail("Numbers stay below 2^53.")));
		if (value - block >= floor)
			return value;
		CHECK_FOR_INTERRUPTS();
		set_sequence(sequence, floor, true);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sequence %u does not rise", sequence),
			 errhint("See that it has a positive increment and a small cache.")));
}

/* ----------
 * SQL functions
 * ----------
 */

/*
 * history_begin() RETURNS void: the install script calls it, so that numbers
 * begin at 1.
 */
Datum
history_begin(PG_FUNCTION_ARGS)
{
	Oid			history = internal_relation(HISTORY_SEQUENCE);

	set_sequence(history, history_id(history), false);
	PG_RETURN_VOID();
}

/*
 * history_promoted(by bigint) RETURNS bigint: for pg_cas_promoted(), let the
 * floor jump whatever the history says, and return it.
 */
Datum
history_promoted(PG_FUNCTION_ARGS)
{
	Oid			history = internal_relation(HISTORY_SEQUENCE);
	int64		by;
	int64		floor;
	LOCKTAG		tag;

	require_argument(fcinfo, 0, "by");
	by = PG_GETARG_INT64(0);
	require_writable(fcinfo);
	if (by < 0 || by > HISTORY_LIMIT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"%s\"", "by"),
				 errhint("It is 0 to 2^53 - 1.")));

	lock_history(&tag, history);
	floor = jump(history, Max(by, FLOOR_MARGIN));
	for (int i = 0; i < lengthof(our_sequences); i++)
		set_sequence(internal_relation(our_sequences[i]), floor, true);
	LockRelease(&tag, ExclusiveLock, false);

	/* All sessions learn it anew, this one at once. */
	learnt_from = InvalidOid;
	CacheInvalidateRelcacheByRelid(history);
	PG_RETURN_INT64(floor);
}

/*
 * history_raise_sequence(sequence regclass, value bigint) RETURNS void: set
 * one of our sequences, if it is behind.
 */
Datum
history_raise_sequence(PG_FUNCTION_ARGS)
{
	require_writable(fcinfo);
	if (!PG_ARGISNULL(1))
		set_sequence(PG_GETARG_OID(0), PG_GETARG_INT64(1), true);
	PG_RETURN_VOID();
}
