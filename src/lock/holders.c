/*
 * holders.c
 *		Who holds a name: read from its row.
 *
 * No other record is kept of who holds what.
 */
#include "lock.h"

#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/subtrans.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"

/* The mode as a word of SQL. */
const char *
hold_mode_name(HoldMode mode)
{
	return mode == HOLD_SHARED ? "shared" : "exclusive";
}

/*
 * Read the fields from the header.  The buffer must be locked, because xmin,
 * xmax and infomask are consistent only under the buffer lock.
 */
RowLocks
holders_row_locks(HeapTupleHeader tuple)
{
	RowLocks	locks = {.infomask = tuple->t_infomask};

	if (!HeapTupleHeaderXminFrozen(tuple))
		locks.xmin = HeapTupleHeaderGetRawXmin(tuple);
	if (!(locks.infomask & HEAP_XMAX_INVALID) &&
		!HEAP_LOCKED_UPGRADED(locks.infomask))
		locks.xmax = HeapTupleHeaderGetRawXmax(tuple);
	return locks;
}

/* The same for the row in the slot. */
static RowLocks
slot_locks(NameTable *names)
{
	BufferHeapTupleTableSlot *slot = (BufferHeapTupleTableSlot *) names->slot;
	RowLocks	locks;

	LockBuffer(slot->buffer, BUFFER_LOCK_SHARE);
	locks = holders_row_locks(slot->base.tuple->t_data);
	LockBuffer(slot->buffer, BUFFER_LOCK_UNLOCK);
	return locks;
}

/*
 * List the transactions that have locked the row, in a palloc'd array, and
 * return how many there are.  Some may have ended, and one may be listed more
 * than once.
 */
int
holders_list(NameKind kind, RowLocks locks, RowHolder **holders)
{
	uint16		infomask = locks.infomask;
	bool		multi = (infomask & HEAP_XMAX_IS_MULTI) != 0;
	MultiXactMember *members = NULL;
	int			nmembers = 0;
	RowHolder  *list;
	int			n = 0;

	if (TransactionIdIsValid(locks.xmax) && multi)
		nmembers = GetMultiXactIdMembers(locks.xmax, &members, false,
										 HEAP_XMAX_IS_LOCKED_ONLY(infomask));
	list = palloc((Max(nmembers, 0) + 2) * sizeof(RowHolder));

	/* This version was written by an exclusive holder. */
	if (TransactionIdIsValid(locks.xmin))
	{
		list[n].xid = locks.xmin;
		list[n++].mode = HOLD_EXCLUSIVE;
	}

	/*
	 * The guards of a lease count as sharers.  On a resource's row, FOR KEY
	 * SHARE is only what an update leaves of its own lock on the new version.
	 */
	if (TransactionIdIsValid(locks.xmax) && !multi &&
		!(HEAP_XMAX_IS_KEYSHR_LOCKED(infomask) && kind == NAME_LOCK))
	{
		list[n].xid = locks.xmax;
		list[n++].mode = HEAP_XMAX_IS_SHR_LOCKED(infomask) ||
			HEAP_XMAX_IS_KEYSHR_LOCKED(infomask) ?
			HOLD_SHARED : HOLD_EXCLUSIVE;
	}

	for (int i = 0; i < nmembers; i++)
	{
		if (members[i].status == MultiXactStatusForKeyShare &&
			kind == NAME_LOCK)
			continue;
		list[n].xid = members[i].xid;
		list[n++].mode = members[i].status <= MultiXactStatusForShare ?
			HOLD_SHARED : HOLD_EXCLUSIVE;
	}

	if (nmembers > 0)
		pfree(members);
	*holders = list;
	return n;
}

/*
 * How does this transaction hold the row in the slot?  *xid is set to the
 * (sub)transaction that has taken the lock.
 */
HoldMode
holders_mine(NameTable *names, TransactionId *xid)
{
	RowHolder  *holders;
	int			n = holders_list(names->kind, slot_locks(names), &holders);
	HoldMode	held = HOLD_NONE;

	for (int i = 0; i < n; i++)
		if (holders[i].mode > held &&
			TransactionIdIsCurrentTransactionId(holders[i].xid))
		{
			held = holders[i].mode;
			*xid = holders[i].xid;
		}
	pfree(holders);
	return held;
}

/*
 * The top-level transaction of a running (sub)transaction.  Returns an invalid
 * id if it has ended.
 */
TransactionId
holders_running_top(TransactionId xid)
{
	if (TransactionIdIsCurrentTransactionId(xid))
		return GetTopTransactionId();
	if (TransactionIdIsInProgress(xid))
		return SubTransGetTopmostTransaction(xid);
	return InvalidTransactionId;
}

/*
 * List the running transactions that hold the row in the slot, in a palloc'd
 * array, and return how many there are.  Each is listed once, by its top-level
 * id.
 */
int
holders_running(NameTable *names, RowHolder **holders)
{
	int			n = holders_list(names->kind, slot_locks(names), holders);
	RowHolder  *list = *holders;
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		RowHolder	holder = list[i];
		int			j = 0;

		/* fold subtransactions into one holder, with the strongest mode */
		holder.xid = holders_running_top(holder.xid);
		if (!TransactionIdIsValid(holder.xid))
			continue;
		while (j < kept && list[j].xid != holder.xid)
			j++;
		if (j == kept)
			list[kept++] = holder;
		else
			list[j].mode = Max(list[j].mode, holder.mode);
	}
	return kept;
}
