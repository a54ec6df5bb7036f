/*
 * wait.c
 *		Waiting, up to a deadline for the whole call.
 *
 * All waits are for heavyweight locks, so that lock_timeout, cancel,
 * pg_blocking_pids() and the deadlock detector see them.  A lock is first
 * requested without waiting.  If that fails, a call that must not wait is
 * finished, and any other call knows that it has to wait.
 */
#include "lock.h"

#include "access/table.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timeout.h"

typedef enum WaitKind
{
	FOR_RELATION,				/* to lock a relation */
	FOR_LOCK,					/* to take a heavyweight lock */
	FOR_ROW,					/* to lock the row that was found */
	FOR_TURN,					/* for others that are about to lock that row */
	FOR_TRANSACTION				/* for a transaction to end */
} WaitKind;

/* What a call waits for. */
typedef struct WaitTarget
{
	WaitKind	kind;
	NameTable  *names;			/* NULL for FOR_RELATION */
	Datum		name;
	HoldMode	mode;
	Oid			relid;			/* FOR_RELATION */
	const LOCKTAG *tag;			/* FOR_LOCK */
	LOCKMODE	lockmode;		/* FOR_RELATION, FOR_LOCK */
	LockTupleMode tuplemode;	/* FOR_ROW */
	TransactionId xid;			/* FOR_TRANSACTION */
} WaitTarget;

/* Add the holders of a name, without ourselves, to an error's DETAIL. */
static void
detail_holders(StringInfo detail, NameTable *names, Datum name)
{
	const char *sep = "";
	RowHolder  *holders;
	int			n;

	appendStringInfoString(detail, ", \"holders\": [");
	/* the holders may have changed while we waited */
	names_refresh(names);
	if (names_find(names, name))
	{
		n = holders_running(names, &holders);
		for (int i = 0; i < n; i++)
		{
			int			pid = BackendXidGetPid(holders[i].xid);

			if (pid == MyProcPid)
				continue;
			appendStringInfo(detail, "%s{\"pid\": ", sep);
			if (pid != 0)
				appendStringInfo(detail, "%d", pid);
			else				/* a prepared transaction */
				appendStringInfoString(detail, "null");
			appendStringInfo(detail, ", \"mode\": \"%s\"}",
							 hold_mode_name(holders[i].mode));
			sep = ", ";
		}
	}
	appendStringInfoChar(detail, ']');
}

/* Raise 55P03, with the holders in DETAIL. */
pg_noreturn static void
raise_unavailable(const WaitTarget *target)
{
	StringInfoData detail;
	char	   *resource;

	detail_begin(&detail);
	if (target->kind == FOR_RELATION)
	{
		char	   *relation = get_rel_name(target->relid);

		detail_text(&detail, "relation", relation);
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock relation \"%s\" of pg_cas in time",
						relation != NULL ? relation : "?"),
				 errdetail_internal("%s", detail_end(&detail)),
				 errhint("Another session is rewriting or altering it, or is waiting to do so.")));
	}

	resource = TextDatumGetCString(target->name);
	detail_text(&detail, "resource", resource);
	detail_text(&detail, "mode", hold_mode_name(target->mode));
	detail_holders(&detail, target->names, target->name);
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not obtain the lock on \"%s\" in time", resource),
			 errdetail_internal("%s", detail_end(&detail))));
}

/* Is the call's deadline over? */
static bool
is_over(const Patience *patience)
{
	return patience->waiting == WAIT_UNTIL &&
		GetCurrentTimestamp() >= patience->deadline;
}

/*
 * Raise the error for the end of a wait, which is due to the call's deadline
 * or to lock_timeout.
 */
pg_noreturn static void
raise_timeout(const WaitTarget *target, const Patience *patience)
{
	if (target->kind != FOR_RELATION && patience->raise != NULL &&
		is_over(patience))
		patience->raise(target->names, target->name);
	raise_unavailable(target);
}

/*
 * Wait, under lock_timeout only.  What is locked remains locked, except in the
 * case of FOR_TURN.
 */
static TM_Result
wait_without_deadline(const WaitTarget *target)
{
	NameTable  *names = target->names;

	switch (target->kind)
	{
		case FOR_RELATION:
			LockRelationOid(target->relid, target->lockmode);
			break;

		case FOR_LOCK:
			(void) LockAcquire(target->tag, target->lockmode, false, false);
			break;

		case FOR_ROW:
			return names_lock(names, target->tuplemode, LockWaitBlock);

		case FOR_TURN:
			/* Others hold this lock while they wait for the row. */
			LockTuple(names->rel, &names->tid, AccessExclusiveLock);
			UnlockTuple(names->rel, &names->tid, AccessExclusiveLock);
			break;

		case FOR_TRANSACTION:
			XactLockTableWait(target->xid, names->rel, &names->tid, XLTW_Lock);
			break;
	}
	return TM_Ok;
}

/*
 * Set the timer of lock_timeout to the call's deadline, or to the end of
 * lock_timeout if that comes earlier.
 */
static void
start_timer(const Patience *patience, int lock_timeout)
{
	TimestampTz until = patience->deadline;

	/*
	 * lock_timeout limits each single wait, and locking one row can mean
	 * several waits (one for each sharer).  The call's deadline is for all of
	 * them.
	 */
	if (lock_timeout > 0)
		until = Min(until, TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   lock_timeout));
	/* With lock_timeout = 0 the lock manager leaves the timer alone. */
	LockTimeout = 0;
	enable_timeout_at(LOCK_TIMEOUT, until);
}

/* Wait for as long as the call's patience and lock_timeout allow. */
static TM_Result
wait_for(const WaitTarget *target, const Patience *patience)
{
	MemoryContext context = CurrentMemoryContext;
	int			lock_timeout = LockTimeout;
	bool		limited = patience->waiting == WAIT_UNTIL;
	volatile TM_Result result = TM_Ok;

	Assert(patience->waiting != WAIT_NEVER);
	if (is_over(patience))
		raise_timeout(target, patience);

	/* Hold no pin while waiting. */
	if (target->names != NULL)
		ExecClearTuple(target->names->slot);

	/*
	 * Both limits raise a 55P03 whose message does not say which resource is
	 * meant.  Replace it by one that names the resource and its holders.  No
	 * subtransaction is needed for this, because an error is always raised.
	 * In between we only read, and hold nothing that is not released at the
	 * end of the transaction.
	 */
	PG_TRY();
	{
		if (limited)
			start_timer(patience, lock_timeout);
		result = wait_without_deadline(target);
		if (limited)
		{
			/* If the timer has just fired, let the error be raised here. */
			disable_timeout(LOCK_TIMEOUT, true);
			CHECK_FOR_INTERRUPTS();
			LockTimeout = lock_timeout;
		}
	}
	PG_CATCH();
	{
		if (limited)
		{
			disable_timeout(LOCK_TIMEOUT, true);
			LockTimeout = lock_timeout;
		}
		if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE)
		{
			MemoryContextSwitchTo(context);
			FlushErrorState();
			raise_timeout(target, patience);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();

	return result;
}

/* Lock a relation of ours.  Returns false if the call would have to wait. */
bool
wait_for_relation(Oid relid, LOCKMODE lockmode, const Patience *patience)
{
	WaitTarget	target = {.kind = FOR_RELATION};

	if (ConditionalLockRelationOid(relid, lockmode))
		return true;
	if (patience->waiting == WAIT_NEVER)
		return false;
	target.relid = relid;
	target.lockmode = lockmode;
	(void) wait_for(&target, patience);
	return true;
}

/*
 * Open the table for writing.  Returns false if the call would have to wait
 * for a session that rewrites the table (VACUUM FULL) or its index, or that
 * waits to do so.
 */
bool
wait_to_open(NameTable *names, NameKind kind, const Patience *patience)
{
	/* A call without a deadline waits in names_open(). */
	if (patience->waiting != WAIT_ALWAYS)
	{
		Oid			relid = names_relation(kind);
		Relation	rel;
		List	   *indexes;
		ListCell   *cell;

		if (!wait_for_relation(relid, RowExclusiveLock, patience))
			return false;
		rel = table_open(relid, NoLock);
		indexes = RelationGetIndexList(rel);
		table_close(rel, NoLock);
		foreach(cell, indexes)
		{
			if (!wait_for_relation(lfirst_oid(cell), RowExclusiveLock,
								   patience))
				return false;
		}
		list_free(indexes);
	}
	names_open(names, kind, true);
	return true;
}

/*
 * Take a heavyweight lock of the name.  Returns false if the call would have
 * to wait.
 */
bool
wait_for_lock(NameTable *names, Datum name, HoldMode mode, const LOCKTAG *tag,
			  LOCKMODE lockmode, const Patience *patience)
{
	WaitTarget	target = {.kind = FOR_LOCK};

	if (LockAcquire(tag, lockmode, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return true;
	if (patience->waiting == WAIT_NEVER)
		return false;
	target.names = names;
	target.name = name;
	target.mode = mode;
	target.tag = tag;
	target.lockmode = lockmode;
	(void) wait_for(&target, patience);
	return true;
}

/*
 * Lock the newest version of the row that was found, and store it in the slot.
 * Returns TM_Deleted if the name has been purged in the meantime, and
 * TM_WouldBlock if the call would have to wait.
 */
TM_Result
wait_for_row(NameTable *names, Datum name, HoldMode mode,
			 LockTupleMode tuplemode, const Patience *patience)
{
	WaitTarget	target = {.kind = FOR_ROW};
	TM_Result	result = names_lock(names, tuplemode, LockWaitSkip);

	if (result != TM_WouldBlock || patience->waiting == WAIT_NEVER)
		return result;
	target.names = names;
	target.name = name;
	target.mode = mode;
	target.tuplemode = tuplemode;
	return wait_for(&target, patience);
}

/*
 * Wait for one of the transactions that keep us from locking the row in the
 * slot, where names_lock_as_found() has left it, but do not lock the row.
 * Returns false if there is none, or none any more.
 */
bool
wait_for_holder(NameTable *names, Datum name, const Patience *patience)
{
	WaitTarget	target = {.kind = FOR_TRANSACTION};
	RowHolder  *holders;
	int			n = holders_running(names, &holders);

	target.names = names;
	target.name = name;
	target.mode = HOLD_EXCLUSIVE;
	for (int i = 0; i < n; i++)
	{
		if (TransactionIdIsCurrentTransactionId(holders[i].xid))
			continue;
		target.xid = holders[i].xid;
		(void) wait_for(&target, patience);
		return true;
	}

	/* Perhaps another session has the right to lock the row next. */
	if (ConditionalLockTuple(names->rel, &names->tid, AccessExclusiveLock,
							 false))
	{
		UnlockTuple(names->rel, &names->tid, AccessExclusiveLock);
		return false;
	}
	target.kind = FOR_TURN;
	(void) wait_for(&target, patience);
	return true;
}
