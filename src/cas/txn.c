/*
 * txn.c
 *		cas_txn(): compare and write several rows of several tables in one
 *		call.
 *
 * A request has the form of etcd's transactions: comparisons, a list of
 * operations to run if all of them hold, and a list to run otherwise.  First
 * all rows are locked, then the comparisons are evaluated, then one list is
 * run.
 */
#include "swap.h"
#include "txn.h"

#include "access/xact.h"
#include "base/entry.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(cas_txn);

/* How the keys of missing rows are locked; see absent.c. */
typedef struct TxnMissing
{
	bool		all;			/* all keys of the tables are locked */
	int			locked;			/* number of keys locked one by one */
} TxnMissing;

/* Raise the error for an operation's outcome, unless it has succeeded. */
static void
require_success(TxnItem *item, CasOutcome outcome, int64 version,
				const CasRow *row)
{
	if (outcome < CAS_CONFLICT ||
		(item->op == TXN_GET && outcome != CAS_EXISTS))
		return;
	outcome_report(&item->table->call,
				   outcome == CAS_EXISTS && item->new_row ?
				   &item->new_row->key : item->row ? &item->row->key : NULL,
				   version, outcome, row, txn_position(item), true);
}

/* ----------
 * Locking
 *
 * All rows named in the request, also in the list that will not run, are
 * locked in the order of table and primary key, which cas_lock() uses as well.
 * The keys of missing rows are locked by absent.c.  So two calls cannot
 * deadlock with each other.  The result of a comparison stays valid until the
 * end of the transaction, except that a plain INSERT can create a missing row;
 * if an operation creates it, too, the primary key index detects that.
 *
 * Rows that no operation writes are locked in share mode, so that calls which
 * only compare with the same row do not wait for each other.  A caller without
 * the privilege to lock a row compares with its latest committed version, and
 * one who may neither INSERT nor UPDATE takes no locks on keys either: a role
 * that can only read must not hold off others that write.
 * ----------
 */

/*
 * Compare rows by the order in which they are locked; mentions of the same row
 * are in the order of the request.  Rows of a partition are ordered as those of
 * the partitioned table.
 */
static int
compare_rows(const ListCell *a, const ListCell *b)
{
	const TxnRow *x = lfirst(a);
	const TxnRow *y = lfirst(b);
	Oid			xrel = x->table->call.table->root;
	Oid			yrel = y->table->call.table->root;

	int			cmp;

	/* to sort very many takes long */
	CHECK_FOR_INTERRUPTS();
	if (xrel != yrel)
		return xrel < yrel ? -1 : 1;
	cmp = cas_key_compare(&x->table->call, &x->key, &y->key);
	if (cmp != 0)
		return cmp;
	return x->mention < y->mention ? -1 : x->mention > y->mention;
}

/*
 * Sort the rows, and merge the mentions of the same row: one lock, in the
 * strongest mode that an item needs.  Raise 22023 if they name different
 * tables, since a row that is found by one need not exist for the other.
 */
static void
fold_rows(Txn *txn)
{
	List	   *rows = NIL;
	TxnRow	   *former = NULL;
	ListCell   *lc;

	list_sort(txn->rows, compare_rows);
	foreach(lc, txn->rows)
	{
		TxnRow	   *row = lfirst(lc);

		if (former != NULL &&
			former->table->call.table->root == row->table->call.table->root &&
			cas_key_compare(&row->table->call, &former->key,
							&row->key) == 0)
		{
			if (former->table->call.table->relid !=
				row->table->call.table->relid)
				txn_raise_two_tables(row, former);

			/* the first mention stands for all */
			row->same = former;
			former->mentioned_again = true;
			former->lock = Max(former->lock, row->lock);
			former->versioned = former->versioned || row->versioned;
			continue;
		}
		row->same = row;
		rows = lappend(rows, row);
		former = row;
	}
	txn->rows = rows;
}

/* Lock the key of a row that is missing. */
static void
lock_missing(CasCall *call, TxnRow *row, TxnMissing *missing)
{
	/*
	 * many_are_missing() has counted fewer.  Many rows were deleted since, so
	 * let the caller retry, rather than fill the shared lock table.
	 */
	if (missing->locked++ >= 2 * ABSENT_MAX_NAMES)
		found_raise_outdated(call);
	absent_key_lock(call->table, &row->key);
}

/* Lock a row, or its key if the row is missing, if the caller may do that. */
static void
lock_row_or_key(TxnRow *row, TxnMissing *missing)
{
	CasCall    *call = &row->table->call;

	row->locked = row_lock_or_read(call, &row->key, row->lock, CAS_WANTS_ID,
								   &row->row);
	if (!row->locked && call->keys_locked)
	{
		if (!missing->all)
			lock_missing(call, row, missing);

		/* look again: it may have been created while we waited */
		row->locked = row_lock_or_read(call, &row->key, row->lock,
									   CAS_WANTS_ID, &row->row);
	}
	row->found = row->locked;
}

/*
 * Return whether the order in which a list updates rows makes no difference:
 * their tables are plain, and the only constraint between rows is the primary
 * key, which does not change.
 */
static bool
has_any_order(const TxnList *list)
{
	for (int i = 0; i < list->n; i++)
	{
		const TxnItem *item = &list->items[i];

		if ((item->op != TXN_UPDATE && item->op != TXN_GET) ||
			!item->table->call.table->unique_key)
			return false;
	}
	return true;
}

/*
 * Return whether the row can be updated at once instead of being locked first.
 * That saves a lookup and a lock: 100 swaps take 0.88 of the instructions of
 * as many calls, instead of 0.96.
 *
 * runs is the list that will run for certain, because there are no
 * comparisons, and that may run in any order; or NULL.  No other item may name
 * the row.  If the update fails, the call fails.
 */
static bool
updates_at_once(const TxnRow *row, const TxnList *runs)
{
	const TxnItem *item = row->item;

	return runs != NULL && item->list == runs->name &&
		item->op == TXN_UPDATE && item->version >= 0 &&
		!row->mentioned_again;
}

/* Return the arguments of the swap that an operation runs. */
static CasSwap
as_swap(TxnItem *item)
{
	CasSwap		swap = {
		.key = item->row ? &item->row->key : NULL,
		.expected = item->version,
		.new_key = item->new_row ? &item->new_row->key : NULL,
		.document = item->document,
		.fn = item->fn,
		.wants = CAS_WANTS_ID
	};

	return swap;
}

/* Update the row of an operation, and record the outcome. */
static void
update_at_once(TxnItem *item, MemoryContext scratch)
{
	MemoryContext mcxt = MemoryContextSwitchTo(scratch);
	CasSwap		swap = as_swap(item);

	/* the result is in the call's context, so scratch can be reset */
	item->outcome = swap_update(&item->table->call, &swap, &item->result);
	item->version = swap.expected;
	item->done = true;
	MemoryContextSwitchTo(mcxt);
	MemoryContextReset(scratch);
}

/*
 * Return whether the keys of missing rows cannot be locked one by one: there are
 * too many, or one of a table whose keys have no locks of their own.
 */
static bool
many_are_missing(Txn *txn)
{
	bool		few = list_length(txn->rows) <= ABSENT_MAX_NAMES;
	int			n = 0;
	ListCell   *lc;

	/* count without locks; lock_missing() has a limit of its own */
	foreach(lc, txn->rows)
	{
		TxnRow	   *row = lfirst(lc);
		CasCall    *call = &row->table->call;
		bool		counts = absent_has_keys(call->table);
		CasRow		now;

		CHECK_FOR_INTERRUPTS();
		if (!call->keys_locked || (few && counts) ||
			statement_read(call, &row->key, GetLatestSnapshot(), 0, &now))
			continue;
		if (!counts || ++n > ABSENT_MAX_NAMES)
			return true;
	}
	return false;
}

/* Take the locks that come before those of rows, once for each table. */
static void
begin_tables(Txn *txn, bool all)
{
	Oid			former = InvalidOid;
	ListCell   *lc;

	foreach(lc, txn->rows)
	{
		CasCall    *call = &((TxnRow *) lfirst(lc))->table->call;
		Oid			root = call->table->root;

		/* the rows are sorted by table */
		if (!call->keys_locked || root == former)
			continue;
		absent_begin(call->table, all);
		former = root;
	}
}

/*
 * Lock all rows, or update those for which updates_at_once() is true.  Raise
 * an error if such an update fails.
 */
static void
lock_rows(Txn *txn, const TxnList *runs)
{
	TxnMissing	missing = {.all = many_are_missing(txn)};
	MemoryContext mcxt = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(mcxt, "cas_txn update",
												  ALLOCSET_DEFAULT_SIZES);
	TxnRow	   *volatile row = NULL;	/* for the error's position */
	ListCell   *lc;

	begin_tables(txn, missing.all);
	PG_TRY();
	{
		foreach(lc, txn->rows)
		{
			CHECK_FOR_INTERRUPTS();
			row = lfirst(lc);
			if (!updates_at_once(row, runs))
				lock_row_or_key(row, &missing);
			else
			{
				update_at_once(row->item, scratch);
				if (row->item->outcome >= CAS_CONFLICT)
					break;
			}
		}
	}
	PG_CATCH();
	{
		if (row == NULL)
			PG_RE_THROW();
		txn_rethrow_at(row->item, mcxt);
	}
	PG_END_TRY();

	/* outside of PG_TRY, since this error has its position already */
	if (row != NULL && row->item->done)
		require_success(row->item, row->item->outcome, row->item->version,
						&row->item->result);
	MemoryContextDelete(scratch);
}

/* ----------
 * Operations
 * ----------
 */

/* Run an operation on an existing row, or a create without a key. */
static CasOutcome
run_operation(TxnItem *item, int64 *version, CasRow *row)
{
	CasCall    *call = &item->table->call;
	CasSwap		swap = as_swap(item);
	CasOutcome	outcome;

	/*
	 * Without a version, use the row's: the one that was compared, unless
	 * operations, triggers or foreign keys have written it since.
	 */
	if (txn_takes_version(item->op) && item->version < 0 &&
		row_lock(call, swap.key, txn_shapes[item->op].lock, CAS_WANTS_ID, NULL,
				 row))
		swap.expected = row->version;
	*version = swap.expected;

	switch (item->op)
	{
		case TXN_CREATE:
			return swap_create(call, &swap, row);
		case TXN_UPDATE:
			outcome = swap_update(call, &swap, row);
			*version = swap.expected;
			return outcome;
		case TXN_PATCH:
			return swap_patch(call, &swap, row);
		case TXN_DELETE:
			return swap_delete(call, &swap, row);
		case TXN_RENAME:
			return swap_rename(call, &swap, row);
		case TXN_MERGE:
			return swap_merge(call, &swap, row);
		case TXN_APPLY:
			return swap_apply(call, &swap, row);
		case TXN_PUT:
			outcome = swap_put(call, &swap, row);
			*version = swap.expected;
			return outcome;
		case TXN_GET:
			break;
	}
	elog(ERROR, "get is no swap");
	return CAS_MISSING;			/* not reached */
}

/* Run an operation with a key that has no row. */
static CasOutcome
do_without_row(TxnItem *item, CasRow *row)
{
	CasSwap		swap = as_swap(item);

	/*
	 * Do not use swap_put(): if a plain INSERT has created the row since, it
	 * would overwrite that.
	 */
	if (item->op == TXN_CREATE || item->op == TXN_PUT)
		return swap_create(&item->table->call, &swap, row);
	return CAS_MISSING;
}

/*
 * A row was found whose key was missing when it was locked.  Return whether a
 * plain INSERT of another transaction has created it.  If not, this
 * transaction has created it since, for example by a trigger.
 */
static bool
has_slipped_in(TxnItem *item, CommandId locked, CasRow *row)
{
	return statement_read_as_of(&item->table->call, &item->row->key,
								GetLatestSnapshot(), locked, CAS_WANTS_ID,
								row);
}

/*
 * Run an operation and return its outcome, without raising an error for it.
 * locked is the command counter when all rows had been locked.
 */
static CasOutcome
do_operation(TxnItem *item, CommandId locked, int64 *version, CasRow *row)
{
	CasCall    *call = &item->table->call;
	TxnRow	   *same = item->row ? item->row->same : NULL;
	CasOutcome	outcome;

	if (item->done)
	{
		*row = item->result;
		return item->outcome;
	}

	/* a missing row may exist by now, created by a trigger or by an INSERT */
	if (same != NULL && !same->found)
	{
		/*
		 * Read first, and then compare with the state at "locked".  In the
		 * other order, an INSERT between the two reads would look like a row
		 * of our own.  No other transaction can insert a row that the list has
		 * deleted or renamed.
		 */
		same->found = row_read(call, &item->row->key, CAS_WANTS_ID, row);
		if (same->found && !same->locked && has_slipped_in(item, locked, row))
			return CAS_EXISTS;
	}

	if (same != NULL && !same->found)
		outcome = do_without_row(item, row);
	else if (item->op == TXN_GET)
		outcome = row_read(call, &item->row->key, call_answer_wants(call),
						   row) ? CAS_UNCHANGED : CAS_MISSING;
	else
		outcome = run_operation(item, version, row);

	/*
	 * Record which rows exist, for the operations that follow.  "locked" keeps
	 * telling which rows were found when they were locked.
	 */
	if (same != NULL && outcome == CAS_CREATED)
		same->found = true;
	if (outcome == CAS_DELETED || outcome == CAS_RENAMED)
		same->found = false;
	if (outcome == CAS_RENAMED)
		item->new_row->same->found = true;
	return outcome;
}

/*
 * Run the operations of a list, and add their results to the answer.  The
 * first operation that fails raises an error.
 */
static void
do_operations(TxnAnswer *answer, const TxnList *list)
{
	CommandId	locked = GetCurrentCommandId(false);
	MemoryContext mcxt = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(mcxt, "cas_txn operation",
												  ALLOCSET_DEFAULT_SIZES);

	txn_answer_results(answer, list);
	for (int i = 0; i < list->n; i++)
	{
		TxnItem    *item = &list->items[i];
		int64		version = item->version;
		CasRow		row = {0};
		CasOutcome	outcome;

		CHECK_FOR_INTERRUPTS();

		/* the results are allocated in the call's own context */
		MemoryContextSwitchTo(scratch);
		PG_TRY();
		{
			outcome = do_operation(item, locked, &version, &row);
		}
		PG_CATCH();
		{
			txn_rethrow_at(item, mcxt);
		}
		PG_END_TRY();
		MemoryContextSwitchTo(mcxt);
		MemoryContextReset(scratch);

		require_success(item, outcome, version, &row);
		txn_answer_result(answer, item, outcome, &row);
	}
	MemoryContextDelete(scratch);
}

/*
 * cas_txn(compare jsonb, success jsonb, failure jsonb) RETURNS jsonb
 */
Datum
cas_txn(PG_FUNCTION_ARGS)
{
	Txn			txn = {.fcinfo = fcinfo};
	TxnList		compare;
	TxnList		success;
	TxnList		failure;
	TxnAnswer	answer;
	Jsonb	   *result;
	bool		all;
	MemoryContext caller = CurrentMemoryContext;
	ListCell   *lc;

	request_enter(fcinfo, ENTRY_WRITES);
	require_writable(fcinfo);
	txn_read_request(&txn, &compare, &success, &failure);
	fold_rows(&txn);
	txn_check_versions(&success, true);
	txn_check_versions(&failure, false);

	/* one connection for the calls on all tables */
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	lock_rows(&txn, compare.n == 0 && has_any_order(&success) ?
			  &success : NULL);

	all = txn_answer_begin(&answer, &compare);
	do_operations(&answer, all ? &success : &failure);

	/* SPI_finish() frees what is in the current context */
	MemoryContextSwitchTo(caller);
	result = txn_answer_end(&answer);
	SPI_finish();

	/* the tables stay locked until the end of the transaction */
	foreach(lc, txn.tables)
		call_end(&((TxnTable *) lfirst(lc))->call);
	PG_RETURN_JSONB_P(result);
}
