/*
 * once.c
 *		Results of requests: one row per (scope, key).
 *
 * A request inserts its row before it runs.  Another transaction that comes
 * with the same key finds the row in the unique index and waits for the first
 * transaction's ID, so that lock_timeout, cancel and the deadlock detector
 * apply.  If the first transaction commits, the row has the result; if it
 * rolls back, the row is gone, and the second transaction runs the request.
 * There is no other lock.  A prepared transaction keeps its keys.
 *
 * All reads see the latest state (base/scan.c).  Under REPEATABLE READ and
 * SERIALIZABLE, 40001 is raised if the key's row has changed since the
 * snapshot was taken.
 */
#include "request/request.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Attempts to insert a row that a dirty scan did not find. */
#define MAX_ROUNDS			100

/* A request that is being begun, and the tables it is looked up in. */
typedef struct Asked
{
	const RequestName *name;
	Jsonb	   *request;
	Interval   *ttl;			/* or NULL */
	ScanKeyData keys[2];		/* the name's, in the primary key */
	RequestTables tables;
	RequestScope scope;
} Asked;

/* Raise PT425.  since is when the other session began, or 0 if unknown. */
void
raise_in_progress(const RequestName *name, TimestampTz since)
{
	StringInfoData detail;

	request_detail_begin(&detail, name);
	if (since != 0)
		detail_time(&detail, "since", since);
	else
		detail_null(&detail, "since");
	ereport(ERROR,
			(errcode(ERRCODE_CAS_IN_PROGRESS),
			 errmsg("the request is in progress"),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("Retry later with the same key, to get the result or to run the request.")));
}

static void
name_keys(const RequestName *name, ScanKeyData keys[2])
{
	own_text_key(&keys[0], RESULT_SCOPE, name->scope);
	own_text_key(&keys[1], RESULT_KEY, name->key);
}

static TimestampTz
row_time(OwnTable *results)
{
	bool		isnull;

	return DatumGetTimestampTz(own_value(results, RESULT_AT, &isnull));
}

/*
 * Under REPEATABLE READ and SERIALIZABLE, raise 40001 if the transaction's
 * snapshot disagrees with the latest state of the key: the row in the slot, or
 * no row if found is false.  The slot is not changed.
 */
static void
check_snapshot(Asked *asked, bool found)
{
	OwnTable	then;
	bool		same;

	if (!IsolationUsesXactSnapshot() ||
		(found && own_slot_is_visible(&asked->tables.results)))
		return;

	/*
	 * The reaper may have updated the row's retained_by since.  It is still
	 * the same request if the snapshot has a row with the same time.
	 */
	own_open(&then, RelationGetRelid(asked->tables.results.rel), NoLock);
	same = own_find(&then, GetActiveSnapshot(), asked->keys, 2) == found &&
		(!found || row_time(&then) == row_time(&asked->tables.results));
	own_close(&then);
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 request_errdetail(asked->name),
				 errhint("Retry the transaction.")));
}

/*
 * Return the result from the row in the slot, which is committed or our own.
 * Raise 55006 if this transaction has begun the request and not done it, and
 * PT422 if the row is of another request.
 */
static void
take_result(Asked *asked, RequestStart *start)
{
	OwnTable   *results = &asked->tables.results;
	bool		isnull;
	Datum		value;
	Jsonb	   *stored;

	if (begun_find(asked->name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("this transaction is working on the request already"),
				 request_errdetail(asked->name),
				 errhint("Call request_done() first.")));
	check_snapshot(asked, true);

	/* Compare as jsonb does, so 1.0 and 1.00 are the same request. */
	stored = DatumGetJsonbP(own_value(results, RESULT_REQUEST, &isnull));
	if (compareJsonbContainers(&stored->root, &asked->request->root) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CAS_KEY_REUSED),
				 errmsg("the key was used for another request"),
				 request_errdetail(asked->name),
				 errhint("Use the same key only to retry the same request, and a new key for a new request.")));

	value = own_value(results, RESULT_RESULT, &isnull);
	start->state = REQUEST_DONE;
	start->result = isnull ? NULL : DatumGetJsonbPCopy(value);
}

/*
 * Insert the request's row, and record that the request is begun.  Return
 * false if another row has the same name.
 */
static bool
insert_request(Asked *asked, RequestStart *start)
{
	Datum		values[RESULT_NATTS];
	bool		nulls[RESULT_NATTS] = {false};
	TimestampTz now = GetCurrentTimestamp();

	values[RESULT_SCOPE - 1] = PointerGetDatum(asked->name->scope);
	values[RESULT_KEY - 1] = PointerGetDatum(asked->name->key);
	values[RESULT_REQUEST - 1] = JsonbPGetDatum(asked->request);
	nulls[RESULT_RESULT - 1] = true;
	values[RESULT_AT - 1] = TimestampTzGetDatum(now);
	if (asked->ttl != NULL)
	{
		TimestampTz end = positive_interval_after(now, asked->ttl, "ttl");

		values[RESULT_EXPIRES_AT - 1] = TimestampTzGetDatum(end);
		values[RESULT_RETAINED_BY - 1] =
			CStringGetTextDatum(RETAINED_BY_ITSELF);
	}
	else
	{
		/* NULL in retained_by means that the setting decides. */
		nulls[RESULT_EXPIRES_AT - 1] = true;
		values[RESULT_RETAINED_BY - 1] = PointerGetDatum(asked->name->scope);
		nulls[RESULT_RETAINED_BY - 1] = !asked->scope.retains;
	}
	if (!own_insert(&asked->tables.results, values, nulls))
		return false;
	begun_remember(asked->name, asked->scope.owner);
	start->state = REQUEST_NEW;
	return true;
}

/*
 * Find the result or begin the request, waiting for other transactions that
 * have begun it.  start->state stays REQUEST_BUSY if the time is over before.
 */
static void
find_or_insert(FunctionCallInfo fcinfo, Asked *asked,
			   const WaitLimit *limit, RequestStart *start)
{
	OwnTable   *results = &asked->tables.results;
	int			rounds = 0;

	for (;;)
	{
		OwnRival	rival;
		OwnLook		look = own_look(results, asked->keys, 2, &rival);

		CHECK_FOR_INTERRUPTS();
		if (look != LOOK_FOUND &&
			(XactReadOnly ||
			 (look == LOOK_NONE && IsolationUsesXactSnapshot())))
		{
			/*
			 * A dirty scan can miss a row that is being updated, an MVCC
			 * snapshot does not.  A read-only transaction cannot begin a
			 * request, and need not wait for one: it can only return a
			 * committed result.  One whose snapshot is to last would fail
			 * below, for its snapshot has the row.
			 */
			if (own_find_latest(results, asked->keys, 2))
				look = LOOK_FOUND;
			else
				require_writable(fcinfo);
		}
		switch (look)
		{
			case LOOK_FOUND:
				take_result(asked, start);
				return;
			case LOOK_UNCOMMITTED:
				/* Read the time first: waiting clears the slot. */
				start->since = row_time(results);
				if (!request_wait_rival(results, &rival, limit))
					return;
				break;
			case LOOK_NONE:
				check_snapshot(asked, false);
				if (insert_request(asked, start))
					return;

				/*
				 * Another transaction has inserted the row in between, so the
				 * next look finds it.  It fails to do so again and again only
				 * if such transactions roll back each time, or if the conflict
				 * is in a unique index that somebody else has created.
				 */
				if (++rounds > MAX_ROUNDS)
					elog(ERROR, "row of request \"%s\" in scope \"%s\" can neither be found nor made",
						 text_to_cstring(asked->name->key),
						 text_to_cstring(asked->name->scope));
				break;
		}
	}
}

/* The part of once_begin() that may wait for locks. */
static void
begin_in_tables(FunctionCallInfo fcinfo, Asked *asked,
				const WaitLimit *limit, RequestStart *start)
{
	if (!tables_open(&asked->tables, limit))
		return;
	scope_enter(fcinfo, &asked->tables, asked->name->scope, &asked->scope);
	find_or_insert(fcinfo, asked, limit, start);
	tables_close(&asked->tables);
}

/* Minimum lock_timeout, in milliseconds, for the waits not made by wait.c. */
#define LEAST_TIMEOUT		100

/*
 * Begin a request, or return its result if it is done.  Wait for another
 * transaction that has begun it, no longer than the interval wait (NULL: until
 * lock_timeout).
 */
void
once_begin(FunctionCallInfo fcinfo, const RequestName *name, Jsonb *request,
		   Interval *wait, Interval *ttl, RequestStart *start)
{
	MemoryContext context = CurrentMemoryContext;
	int			lock_timeout = LockTimeout;
	Asked		asked = {.name = name,.request = request,.ttl = ttl};
	WaitLimit	limit;

	memset(start, 0, sizeof(RequestStart));
	start->state = REQUEST_BUSY;
	request_limit_wait(&limit, wait);
	if (ttl != NULL)
		(void) positive_interval_after(GetCurrentTimestamp(), ttl, "ttl");
	name_keys(name, asked.keys);
	if (!limit.limited)
	{
		begin_in_tables(fcinfo, &asked, &limit, start);
		return;
	}

	/*
	 * The waits in wait.c are limited there.  Other locks, such as those of
	 * indexes and TOAST tables, are held for moments only, unless somebody
	 * rewrites these; lock_timeout limits the wait for them.
	 */
	PG_TRY();
	{
		LockTimeout = request_lock_timeout(&limit, LEAST_TIMEOUT);
		begin_in_tables(fcinfo, &asked, &limit, start);
		LockTimeout = lock_timeout;
	}
	PG_CATCH();
	{
		/* LockTimeout was assigned directly, so no GUC code restores it. */
		LockTimeout = lock_timeout;
		if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE &&
			request_time_is_over(&limit))
		{
			MemoryContextSwitchTo(context);
			FlushErrorState();
			raise_in_progress(name, start->since);
		}
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Store the result of a request that this transaction has begun; raise PT404
 * for any other.  A NULL result is stored as null.
 */
void
once_finish(const RequestName *name, Jsonb *result)
{
	BegunRequest *begun = begun_find(name);
	Datum		values[RESULT_NATTS] = {0};
	bool		nulls[RESULT_NATTS] = {false};
	bool		replace[RESULT_NATTS] = {false};
	ScanKeyData keys[2];
	OwnTable	results;

	if (begun == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CAS_NOT_FOUND),
				 errmsg("this transaction has not begun the request, or has done it already"),
				 request_errdetail(name),
				 errhint("Call request_begin() first, in the same transaction.")));

	/* The role may have changed since the request was begun. */
	scope_check_owner(name->scope, effective_owner(begun_owner(begun)));

	values[RESULT_RESULT - 1] = JsonbPGetDatum(result);
	nulls[RESULT_RESULT - 1] = result == NULL;
	replace[RESULT_RESULT - 1] = true;
	name_keys(name, keys);
	own_open(&results, internal_relation("request_result"), RowExclusiveLock);

	/*
	 * Nobody else sees the row yet, but this transaction may have deleted it by
	 * hand, or dropped the extension and created it again.
	 */
	if (!own_find(&results, SnapshotSelf, keys, 2) ||
		!own_update(&results, values, nulls, replace))
		ereport(ERROR,
				(errcode(ERRCODE_CAS_NOT_FOUND),
				 errmsg("the row of a request that this transaction has begun is gone"),
				 request_errdetail(name),
				 errhint("Roll back, and retry the request.")));
	own_close(&results);
	begun_done(begun);
}
