/*
 * holders_view.c
 *		The view lock_holders: who holds names, read from all rows of lock_name,
 *		and who waits for them, read from the lock manager.
 */
#include "lock.h"

#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(lock_holders_read);

/* A row of the view: a transaction that holds a name or waits for it. */
typedef struct Holding
{
	text	   *name;
	HoldMode	mode;
	TransactionId xid;			/* of a holder; invalid for a waiter */
	int			pid;			/* of a waiter */
	TimestampTz since;			/* 0 if not known */
	text	   *request;
} Holding;

/* The waiters for the names that have a certain hash. */
typedef struct Line
{
	uint64		hash;			/* key */
	List	   *waiters;		/* list of LockInstanceData */
	bool		named;			/* their rows of the view have been added */
} Line;

/* The state of a call of lock_holders_read(). */
typedef struct HoldersView
{
	LockData   *locks;
	HTAB	   *lines;			/* names that have waiters */
	TransactionId oldest;		/* all older transactions have ended */
	MultiXactId oldest_multi;	/* all older multixacts have ended; invalid on
								 * a standby, where that is not known */
	Holding    *holdings;
	int			n;
	int			size;
} HoldersView;

/*
 * Can this be the header of a row that is held?  For nearly all rows the
 * header alone tells that it cannot, which keeps the view cheap if there are
 * many names.
 */
static bool
may_be_held(const HoldersView *view, RowLocks locks)
{
	if (TransactionIdIsNormal(locks.xmin) &&
		!TransactionIdPrecedes(locks.xmin, view->oldest))
		return true;
	if (!TransactionIdIsValid(locks.xmax))
		return false;
	if (locks.infomask & HEAP_XMAX_IS_MULTI)
		return !MultiXactIdIsValid(view->oldest_multi) ||
			!MultiXactIdPrecedes(locks.xmax, view->oldest_multi);
	return !TransactionIdPrecedes(locks.xmax, view->oldest);
}

/* Append a row to the view. */
static void
add_holding(HoldersView *view, const Holding *holding)
{
	if (view->n == view->size)
	{
		view->size = view->size * 2;
		view->holdings = repalloc_huge(view->holdings,
									   view->size * sizeof(Holding));
	}
	view->holdings[view->n++] = *holding;
}

/* Add the holders of a row to the view. */
static void
add_holders(HoldersView *view, NameTable *names, HeapTuple row)
{
	TupleDesc	desc = RelationGetDescr(names->rel);
	RowLocks	locks = holders_row_locks(row->t_data);
	RowHolder  *holders;
	int			n;
	bool		isnull;
	Datum		since = heap_getattr(row, Anum_lock_since, desc, &isnull);

	/*
	 * A version that is not committed has the time and the request of the
	 * transaction that wrote it.  The version inserted for a new name has
	 * neither, and for an instant has an xmin that is not frozen yet, which
	 * does not make its inserter a holder.
	 */
	if (isnull)
		locks.xmin = InvalidTransactionId;
	n = holders_list(NAME_LOCK, locks, &holders);
	for (int i = 0; i < n; i++)
	{
		Holding		holding = {.mode = holders[i].mode};

		holding.xid = holders_running_top(holders[i].xid);
		if (!TransactionIdIsValid(holding.xid))
			continue;
		holding.name = DatumGetTextPCopy(heap_getattr(row, Anum_name, desc,
													  &isnull));
		if (holders[i].xid == locks.xmin)
		{
			Datum		request;

			holding.since = DatumGetTimestampTz(since);
			request = heap_getattr(row, Anum_lock_request, desc, &isnull);
			holding.request = isnull ? NULL : DatumGetTextPCopy(request);
		}
		add_holding(view, &holding);
	}
	pfree(holders);
}

/* Add the waiters for a name to the view, unless that has been done. */
static void
add_waiters(HoldersView *view, Datum name)
{
	uint64		hash = names_hash(name);
	Line	   *line = hash_search(view->lines, &hash, HASH_FIND, NULL);
	ListCell   *cell;

	if (line == NULL || line->named)
		return;
	line->named = true;
	foreach(cell, line->waiters)
	{
		LockInstanceData *lock = lfirst(cell);
		Holding		holding = {.pid = lock->pid, .since = lock->waitStart};

		holding.name = DatumGetTextPCopy(name);

		/*
		 * The head of the line has the queue lock and waits for something
		 * else.  That wait's beginning is in every entry of the backend.
		 */
		holding.mode = lock->waitLockMode == ShareLock ||
			(lock->holdMask & LOCKBIT_ON(ShareLock)) != 0 ?
			HOLD_SHARED : HOLD_EXCLUSIVE;
		add_holding(view, &holding);
	}
}

/*
 * Walk over the pages of the table.  Only the header of each row is read, and
 * the name if there is any waiter.
 */
static void
read_rows(HoldersView *view, NameTable *names)
{
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	bool		waiters = hash_get_num_entries(view->lines) > 0;
	TupleDesc	desc = RelationGetDescr(names->rel);
	BlockNumber nblocks = RelationGetNumberOfBlocks(names->rel);

	for (BlockNumber block = 0; block < nblocks; block++)
	{
		PGAlignedBlock copy;
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(names->rel, MAIN_FORKNUM, block,
									RBM_NORMAL, strategy);

		/*
		 * Copy the page, so as not to keep it locked while we look up
		 * transactions.
		 */
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		memcpy(copy.data, BufferGetPage(buffer), BLCKSZ);
		UnlockReleaseBuffer(buffer);

		for (OffsetNumber offset = FirstOffsetNumber;
			 offset <= PageGetMaxOffsetNumber(copy.data); offset++)
		{
			ItemId		item = PageGetItemId(copy.data, offset);
			HeapTupleData row;
			bool		isnull;

			if (!ItemIdIsNormal(item))
				continue;
			row.t_data = (HeapTupleHeader) PageGetItem(copy.data, item);
			row.t_len = ItemIdGetLength(item);
			if (may_be_held(view, holders_row_locks(row.t_data)))
				add_holders(view, names, &row);
			if (waiters)
				add_waiters(view, heap_getattr(&row, Anum_name, desc,
											   &isnull));
		}
	}
	FreeAccessStrategy(strategy);
}

/* Find the waiters in the lock table. */
static void
read_lines(HoldersView *view)
{
	HASHCTL		control = {.keysize = sizeof(uint64)};

	control.entrysize = sizeof(Line);
	control.hcxt = CurrentMemoryContext;
	view->lines = hash_create("pg_cas lines", 64, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	view->locks = GetLockStatusData();
	for (int i = 0; i < view->locks->nelements; i++)
	{
		LockInstanceData *lock = &view->locks->locks[i];
		const LOCKTAG *tag = &lock->locktag;
		uint64		hash = (uint64) tag->locktag_field2 << 32 |
			tag->locktag_field3;
		Line	   *line;
		bool		found;

		/*
		 * All holders of a name's queue lock, and all that request it, are
		 * waiters, including the head of the line, which waits for the row.
		 * Of the users of the upgrade lock only the upgrader waits, and only
		 * it has this mode.
		 */
		if (tag->locktag_type != LOCKTAG_ADVISORY ||
			tag->locktag_field1 != MyDatabaseId ||
			(tag->locktag_field4 != LOCK_QUEUE &&
			 (tag->locktag_field4 != LOCK_UPGRADE ||
			  !(lock->holdMask & LOCKBIT_ON(ShareUpdateExclusiveLock)))))
			continue;
		line = hash_search(view->lines, &hash, HASH_ENTER, &found);
		if (!found)
		{
			line->waiters = NIL;
			line->named = false;
		}
		line->waiters = lappend(line->waiters, lock);
	}
}

/* qsort comparator: by name, then holders by transaction, then waiters */
static int
compare_holdings(const void *left, const void *right)
{
	const Holding *a = left;
	const Holding *b = right;
	int			order = names_compare(PointerGetDatum(a->name),
									  PointerGetDatum(b->name));

	if (order != 0)
		return order;
	if (a->xid != b->xid)
		return !TransactionIdIsValid(a->xid) ? 1 :
			!TransactionIdIsValid(b->xid) ? -1 : a->xid < b->xid ? -1 : 1;
	return a->pid - b->pid;
}

/*
 * Keep one row for each holder of a name.  A holder that has written the row
 * is found at the former version, too, and one that has locked it in several
 * subtransactions is found once for each.
 */
static void
fold_holdings(HoldersView *view)
{
	int			kept = 0;

	qsort(view->holdings, view->n, sizeof(Holding), compare_holdings);
	for (int i = 0; i < view->n; i++)
	{
		Holding    *holding = &view->holdings[i];
		Holding    *last = kept > 0 ? &view->holdings[kept - 1] : NULL;

		if (last != NULL && compare_holdings(last, holding) == 0)
		{
			last->mode = Max(last->mode, holding->mode);
			if (holding->since != 0)
			{
				last->since = holding->since;
				last->request = holding->request;
			}
		}
		else
			view->holdings[kept++] = *holding;
	}
	view->n = kept;
}

/* Return the rows of the view. */
static void
put_holdings(HoldersView *view, ReturnSetInfo *answer)
{
	TransactionId xid = InvalidTransactionId;
	int			pid = 0;

	for (int i = 0; i < view->n; i++)
	{
		const Holding *holding = &view->holdings[i];
		bool		waiting = !TransactionIdIsValid(holding->xid);
		Datum		values[7];
		bool		nulls[7] = {false};

		/* a transaction usually has several names, in succession */
		if (waiting)
			pid = holding->pid;
		else if (xid != holding->xid)
			pid = BackendXidGetPid(holding->xid);
		xid = holding->xid;

		values[0] = PointerGetDatum(holding->name);
		values[1] = CStringGetTextDatum(hold_mode_name(holding->mode));
		values[2] = Int32GetDatum(pid);
		nulls[2] = pid == 0;	/* a prepared transaction */
		values[3] = BoolGetDatum(waiting);
		values[4] = TimestampTzGetDatum(holding->since);
		nulls[4] = holding->since == 0;
		values[5] = PointerGetDatum(holding->request);
		nulls[5] = holding->request == NULL;
		values[6] = TransactionIdGetDatum(holding->xid);
		nulls[6] = waiting;
		tuplestore_putvalues(answer->setResult, answer->setDesc, values,
							 nulls);
	}
}

/*
 * May the current role see the view's rows?  Those who may execute
 * lock_acquire() can, and members of pg_monitor.
 */
static bool
may_see_holders(void)
{
	Oid			types[] = {TEXTARRAYOID, TEXTARRAYOID, INTERVALOID};
	oidvector  *signature = buildoidvector(types, lengthof(types));
	Oid			oid;

	if (has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		return true;
	oid = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						  CStringGetDatum("lock_acquire"),
						  PointerGetDatum(signature),
						  ObjectIdGetDatum(extension_schema()));
	return OidIsValid(oid) &&
		object_aclcheck(ProcedureRelationId, oid, GetUserId(),
						ACL_EXECUTE) == ACLCHECK_OK;
}

/*
 * lock_holders_read() RETURNS TABLE (name, mode, pid, waiting, since, request,
 * transaction)
 *
 * The rows of the view lock_holders.  All rows of lock_name are read, because
 * only their headers say which are locked: 100,000 names take about 5 ms.  The
 * lock table is read once.
 */
Datum
lock_holders_read(PG_FUNCTION_ARGS)
{
	HoldersView view = {.size = 64};
	NameTable	names;

	require_no_parallel_query(fcinfo);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (!may_see_holders())
		return (Datum) 0;

	view.holdings = palloc(view.size * sizeof(Holding));
	names_open(&names, NAME_LOCK, false);
	/* Rows locked by older transactions are not held any more. */
	view.oldest = names_latest(&names)->xmin;
	view.oldest_multi = RecoveryInProgress() ? InvalidMultiXactId :
		GetOldestMultiXactId();
	read_lines(&view);
	read_rows(&view, &names);
	fold_holdings(&view);
	put_holdings(&view, (ReturnSetInfo *) fcinfo->resultinfo);
	names_close(&names);
	return (Datum) 0;
}
