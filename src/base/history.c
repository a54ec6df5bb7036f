/*
 * history.c
 *		Numbers that never repeat in the history of a database, for fences,
 *		generations and table-wide versions.
 *
 * A sequence alone can go backwards.  A standby that is promoted, even a
 * synchronous one, may lack the last WAL, and a dump restores the numbers of
 * the time when it was made.  Therefore every number drawn is compared with a
 * floor and must be larger.  After a promotion or a restore, the floor is
 * raised to a number computed from the current time, which the former primary
 * cannot have reached.  This requires that the servers' clocks differ by less
 * than the time between two promotions.
 */
#include "base/base.h"

#include "access/generic_xlog.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(history_begin);
PG_FUNCTION_INFO_V1(history_promoted);
PG_FUNCTION_INFO_V1(history_raise_sequence);

/*
 * Our two sequences, used as variables: no rollback undoes a change to them,
 * crash recovery and standbys replay it, and pg_dump saves it.
 */
#define HISTORY_SEQUENCE	"history"
#define FLOOR_SEQUENCE		"floor"

/* The sequences of our own that a new floor must not be below. */
static const char *const our_sequences[] = {"lock_fence", "alloc_generation"};

/* Fourth field of our lock's tag; lock/lock.h lists those of other locks. */
#define HISTORY_LOCK		0x6C10

/*
 * More numbers than one call can have reserved beyond its sequence's value:
 * fences are drawn 32 at a time.
 */
#define FLOOR_MARGIN		64

/* Cached numbers below the floor that a draw may have to skip. */
#define MAX_CACHED			(1 << 20)

/*
 * How many numbers history_draw_ahead() logs at a time.  With the 32 of
 * nextval(), every 32nd call of lock_acquire() waited for a flush: with 2
 * clients that was half of the time.
 */
#define NUMBERS_AHEAD		1024

/* Sequences of which a transaction remembers that it has drawn from them. */
#define MAX_DRAWN			8

/* Those sequences. */
static Oid	drawn[MAX_DRAWN];
static int	ndrawn = 0;

/*
 * The floor, as this backend read it last, and the OID of the history sequence
 * that it belongs to; InvalidOid if it must be read (again).
 */
static Oid	learnt_from = InvalidOid;
static int64 learnt_floor;

/*
 * Return the number that corresponds to the current time: 4 for each
 * microsecond since the year 2025.  Nobody draws so fast, and the limit is
 * reached in 2096.
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
 * Open a sequence with the lock that nextval() takes, and pin its only page.
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

/* Return the sequence's row in its page.  The caller has locked the buffer. */
static Form_pg_sequence_data
sequence_data(Page page)
{
	ItemId		item = PageGetItemId(page, FirstOffsetNumber);
	HeapTupleHeader tuple = (HeapTupleHeader) PageGetItem(page, item);

	return (Form_pg_sequence_data) ((char *) tuple + tuple->t_hoff);
}

/*
 * Return the sequence's last_value: the number drawn last, or after a crash or
 * with a cache a larger one.
 */
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
 * Make sure that no number drawn so far can be issued again after a crash: a
 * sequence writes WAL in advance for 32 numbers, which is only flushed by a
 * commit.  Therefore flush WAL up to the last change of the sequence's page,
 * which another transaction may have made.  Mostly that has been done already.
 * If the sequence has been dropped, there is nothing to do.
 */
void
sequence_flush(Oid sequence)
{
	Relation	rel = try_relation_open(sequence, RowExclusiveLock);
	Buffer		buffer;
	XLogRecPtr	lsn;

	if (rel == NULL)
		return;
	buffer = ReadBuffer(rel, 0);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	lsn = PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	if (RelationNeedsWAL(rel))
		XLogFlush(lsn);
	relation_close(rel, NoLock);
}

/*
 * Transaction callback.  A commit flushes what was logged for the numbers that
 * it makes known, unless it is asynchronous.
 */
static void
flush_drawn(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			for (int i = 0; i < ndrawn; i++)
			{
				if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF)
					sequence_flush(drawn[i]);
			}
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			ndrawn = 0;
			break;
		default:
			break;
	}
}

/*
 * Remember that this transaction has drawn from a sequence, so that no number
 * which it commits comes again after a crash, even if it commits asynchronously.
 */
void
sequence_drawn(Oid sequence)
{
	static bool registered = false;

	for (int i = 0; i < ndrawn; i++)
	{
		if (drawn[i] == sequence)
			return;
	}
	if (!registered)
		RegisterXactCallback(flush_drawn, NULL);
	registered = true;
	if (ndrawn == MAX_DRAWN)
		sequence_flush(drawn[--ndrawn]);
	drawn[ndrawn++] = sequence;
}

/*
 * Set a sequence to a value; with only_up, only if it is below that value.
 */
static void
set_sequence(Oid sequence, int64 value, bool only_up)
{
	Buffer		buffer;
	Relation	rel = open_sequence(sequence, &buffer);
	GenericXLogState *xlog = GenericXLogStart(rel);
	Form_pg_sequence_data data;

	/*
	 * Compare and set under the buffer lock, which nextval() takes, too, so
	 * that no number can be drawn in between and then be drawn again.  That is
	 * why setval() will not do.
	 */
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);

	/*
	 * Log the whole page: nextval() changes it mostly without logging, so a
	 * delta could not be applied to the page of a standby.
	 */
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

/* Set a sequence to a value if it is below. */
void
sequence_raise(Oid sequence, int64 value)
{
	set_sequence(sequence, value, true);
}

/* ----------
 * The floor
 * ----------
 */

/*
 * Return a 63-bit hash that identifies the present period of the database's
 * history.  A promotion changes the timeline, pg_upgrade and initdb change the
 * system identifier, and a restore creates the sequence with another OID.
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
 * Raise the floor beyond the current time, the present floor and our own
 * sequences, by at least so much, and return it.  The caller holds the lock of
 * lock_history().
 */
static int64
jump(Oid history, int64 by)
{
	Oid			floor = internal_relation(FLOOR_SEQUENCE);
	int64		value = Max(history_now(), sequence_last(floor));

	for (int i = 0; i < lengthof(our_sequences); i++)
		value = Max(value,
					sequence_last(internal_relation(our_sequences[i])));
	if (value > HISTORY_LIMIT - by)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("numbers would be out of range"),
				 errdetail("Numbers must be less than 2^53.")));
	value += by;

	/*
	 * Flush the floor before the history: after a crash in between, the
	 * history is still the former one, and the floor is raised again.
	 */
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

/* Relcache callback: pg_cas_promoted() invalidates the history sequence. */
static void
unlearn(Datum arg, Oid relid)
{
	if (relid == learnt_from || relid == InvalidOid)
		learnt_from = InvalidOid;
}

/*
 * Return the floor: every number drawn must be larger.  Do not call this on a
 * standby.
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

	/*
	 * Of the sessions that find a new history at once, the lock lets one raise
	 * the floor; the others then find the history up to date.
	 */
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

/* Raise 22003. */
pg_noreturn static void
raise_numbers_used_up(Oid sequence)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("number of sequence %u is out of range", sequence),
			 errdetail("Numbers must be less than 2^53.")));
}

/*
 * Draw a number from a sequence that was never drawn before, also not before a
 * failover or a restore.  Raise 22003 if the numbers are used up.  The caller
 * must call sequence_flush() before it lets the number leave the server, unless
 * the transaction commits first; then flush_drawn() sees to it.
 */
int64
history_draw(Oid sequence)
{
	for (int round = 0; round < MAX_CACHED; round++)
	{
		/* Draw first: this raises the proper error on a standby. */
		int64		value = nextval_internal(sequence, false);
		int64		floor = history_floor();

		sequence_drawn(sequence);
		if (value > HISTORY_LIMIT)
			raise_numbers_used_up(sequence);
		if (value > floor)
			return value;

		/*
		 * The sequence is behind, or the number came from this session's
		 * cache, which setting the sequence does not empty: draw again.
		 */
		CHECK_FOR_INTERRUPTS();
		set_sequence(sequence, floor, true);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sequence %u does not advance beyond the floor", sequence),
			 errhint("Check that its increment is positive and its cache is small.")));
}

/*
 * Draw n numbers in a row, and return the last one.  If fewer have been logged,
 * log so many more.  *logged is the end of the WAL that must be flushed before
 * they may leave the server.
 */
static int64
draw_logged(Oid sequence, int64 n, int64 more, XLogRecPtr *logged)
{
	int64		floor = history_floor();
	Buffer		buffer;
	Relation	rel = open_sequence(sequence, &buffer);
	Page		page = BufferGetPage(buffer);
	Form_pg_sequence_data data;
	int64		former;
	int64		value;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	data = sequence_data(page);
	former = data->is_called ? data->last_value : data->last_value - n;
	value = Max(former, floor) + n;
	if (value > HISTORY_LIMIT)
		raise_numbers_used_up(sequence);

	/*
	 * As in nextval(), the page says how many more numbers have been logged.
	 * If a crash would replay WAL from after that record, the numbers have to
	 * be logged again.
	 */
	if (!data->is_called || data->log_cnt < n || former < floor ||
		PageGetLSN(page) <= GetRedoRecPtr())
	{
		GenericXLogState *xlog = GenericXLogStart(rel);
		Page		image;

		/* as in set_sequence() */
		image = GenericXLogRegisterBuffer(xlog, buffer,
										  GENERIC_XLOG_FULL_IMAGE);
		data = sequence_data(image);
		data->last_value = value + more;
		data->log_cnt = 0;
		data->is_called = true;
		GenericXLogFinish(xlog);
		data = sequence_data(page);
		data->log_cnt = more + n;
	}
	data->last_value = value;
	data->log_cnt -= n;
	MarkBufferDirty(buffer);
	*logged = PageGetLSN(page);
	UnlockReleaseBuffer(buffer);
	relation_close(rel, NoLock);
	return value;
}

/*
 * Draw a number as history_draw() does, but from a sequence that only this
 * function draws from.  The caller owns the block of numbers that ends with
 * the result; block is the sequence's increment.  *logged is set to the end of
 * the WAL that must be flushed before the number may leave the server.  That is
 * what sequence_flush() would flush, but there is less of it: many numbers are
 * logged at once, and those that are left over at a crash are lost.
 */
int64
history_draw_ahead(Oid sequence, int64 block, XLogRecPtr *logged)
{
	return draw_logged(sequence, block, block * NUMBERS_AHEAD, logged);
}

/*
 * Draw n numbers in a row as history_draw() does, from a sequence whose
 * increment is 1 and that has no cache, and return the first.  One by one, each
 * of them would cost as much as all of them do here.
 */
int64
history_draw_many(Oid sequence, int n)
{
	XLogRecPtr	logged;
	int64		last = draw_logged(sequence, n, NUMBERS_AHEAD, &logged);

	sequence_drawn(sequence);
	return last - n + 1;
}

/* ----------
 * SQL functions
 * ----------
 */

/*
 * history_begin() RETURNS void
 *
 * Records the present history without raising the floor, so that numbers begin
 * at 1.  Called by the install script.
 */
Datum
history_begin(PG_FUNCTION_ARGS)
{
	Oid			history = internal_relation(HISTORY_SEQUENCE);

	require_writable(fcinfo);
	set_sequence(history, history_id(history), false);
	PG_RETURN_VOID();
}

/*
 * history_promoted(by bigint) RETURNS bigint
 *
 * Raises the floor, also if the history seems to be up to date, and returns
 * it.  For pg_cas_promoted().
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
				 errhint("It must be between 0 and 2^53 - 1.")));

	lock_history(&tag, history);
	floor = jump(history, Max(by, FLOOR_MARGIN));
	for (int i = 0; i < lengthof(our_sequences); i++)
		set_sequence(internal_relation(our_sequences[i]), floor, true);
	LockRelease(&tag, ExclusiveLock, false);

	/* All sessions must read the floor again, this one at once. */
	learnt_from = InvalidOid;
	CacheInvalidateRelcacheByRelid(history);
	PG_RETURN_INT64(floor);
}

/*
 * history_raise_sequence(sequence regclass, value bigint) RETURNS void
 *
 * Sets one of our sequences to the value if it is below.
 */
Datum
history_raise_sequence(PG_FUNCTION_ARGS)
{
	Oid			sequence;

	require_argument(fcinfo, 0, "sequence");
	sequence = PG_GETARG_OID(0);
	require_writable(fcinfo);

	/* The extension's owner may call this, and has no right to any other. */
	if (get_rel_namespace(sequence) != internal_schema())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("relation with OID %u is not a sequence of pg_cas",
						sequence)));
	if (!PG_ARGISNULL(1))
		set_sequence(sequence, PG_GETARG_INT64(1), true);
	PG_RETURN_VOID();
}
