/*
 * once.c
 *		What requests came to: a row for each, by its key in a scope.
 *
 * A request that runs inserts its row first, which is what makes it run once:
 * whoever comes with the same key meets the unique index, and waits there for
 * the first one's transaction, on its transaction ID, so that lock_timeout,
 * cancel and the deadlock detector see it.  If that one committed, its row has
 * the result; if it rolled back, the row is gone, and who waited runs the
 * request.  There is no other lock, and a transaction that is prepared keeps
 * its keys.
 *
 * All reads are of the latest state (base/scan.c).  A transaction whose
 * snapshot is to last gets 40001 if this key has changed since.
 */
#include "request/request.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Rounds of looking that can end only because of others who come and go. */
#define MAX_ROUNDS			100

/* What is asked for, and what it is asked of. */
typedef struct Asked
{
	const RequestName *name;
	Jsonb	   *request;
	Interval   *ttl;			/* or NULL */
	ScanKeyData keys[2];		/* the name's, in the primary key */
	RequestTables tables;
	RequestScope scope;
} Asked;

/* Raise PT425; since is 0 if it is not known. */
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
			 errhint("Ask again later with the same key: then there is a result, or the request can run.")));
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
 * Raise 40001 if the transaction's snapshot knows the key otherwise than it is
 * now: with the row in the slot, or if found is false, without one.  The slot
 * is left as it is.
 */
static void
check_snapshot(Asked *asked, bool found)
{
	OwnTable	then;
	bool		same;

	if (!IsolationUsesXactSnapshot() ||
		(found && own_slot_is_visible(&asked->tables.results)))
		return;

	/* A row that only moved in reap.c's order is the same request's. */
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
 * Take the result from the row in the slot, which is committed or our own.
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

	stored = DatumGetJsonbP(own_value(results, RESULT_REQUEST, &isnull));
	if (compareJsonbContainers(&stored->root, &asked->request->root) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CAS_KEY_REUSED),
				 errmsg("the key was used for another request"),
				 request_errdetail(asked->name),
				 errhint("A request that is tried again has the same key and the same content; a new request has a new key.")));

	value = own_value(results, RESULT_RESULT, &isnull);
	start->state = REQUEST_DONE;
	start->result = isnull ? NULL : DatumGetJsonbPCopy(value);
}

/*
 * Insert the request's row, and remember that it is begun.  false: somebody
 * else has a row of this name.
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
 * Find the result or begin the request; wait for who is at it.
 */
static void
find_or_insert(FunctionCallInfo fcinfo, Asked *asked,
			   const Patience *patience, RequestStart *start)
{
	OwnTable   *results = &asked->tables.results;
	int			rounds = 0;

	for (;;)
	{
		OwnRival	rival;
		OwnLook		look = own_look(results, asked->keys, 2, &rival);

		CHECK_FOR_INTERRUPTS();
		if (XactReadOnly && look != LOOK_FOUND)
		{
			/* What is done can be asked for; what is new cannot be begun. */
			if (!own_find_latest(results, asked->keys, 2))
				require_writable(fcinfo);
			look = LOOK_FOUND;
		}
		switch (look)
		{
			case LOOK_FOUND:
				take_result(asked, start);
				return;
			case LOOK_UNCOMMITTED:
				start->since = row_time(results);
				if (!request_wait_rival(results, &rival, patience))
					return;
				break;
			case LOOK_NONE:
				check_snapshot(asked, false);
				if (insert_request(asked, start))
					return;

				/*
				 * Somebody was faster.  That is not the end of it only if
				 * they give up just then; or if a unique index that is not
				 * ours says so.
				 */
				if (++rounds > MAX_ROUNDS)
					elog(ERROR, "row of request \"%s\" in scope \"%s\" can neither be found nor made",
						 text_to_cstring(asked->name->key),
						 text_to_cstring(asked->name->scope));
				break;
		}
	}
}

static void
begin_in_tables(FunctionCallInfo fcinfo, Asked *asked,
				const Patience *patience, RequestStart *start)
{
	if (!tables_open(&asked->tables, patience))
		return;
	scope_enter(fcinfo, &asked->tables, asked->name->scope, &asked->scope);
	find_or_insert(fcinfo, asked, patience, start);
	tables_close(&asked->tables);
}

/* A lock wait that is none of those in wait.c, in milliseconds, at least. */
#define LEAST_TIMEOUT		100

/*
 * Start a request, or find it done and give its result.  Waits for another
 * transaction that has started it, as long as wait allows.
 *
 * What is left to wait for, beside the locks in wait.c, is held for moments
 * only, unless somebody rewrites an index or a TOAST table.  That counts, too.
 */
void
once_begin(FunctionCallInfo fcinfo, const RequestName *name, Jsonb *request,
		   Interval *wait, Interval *ttl, RequestStart *start)
{
	MemoryContext context = CurrentMemoryContext;
	int			lock_timeout = LockTimeout;
	Asked		asked = {.name = name,.request = request,.ttl = ttl};
	Patience	patience;

	memset(start, 0, sizeof(RequestStart));
	start->state = REQUEST_BUSY;
	request_patience(&patience, wait);
	if (ttl != NULL)
		(void) positive_interval_after(GetCurrentTimestamp(), ttl, "ttl");
	name_keys(name, asked.keys);
	if (!patience.limited)
	{
		begin_in_tables(fcinfo, &asked, &patience, start);
		return;
	}

	PG_TRY();
	{
		LockTimeout = request_lock_timeout(&patience, LEAST_TIMEOUT);
		begin_in_tables(fcinfo, &asked, &patience, start);
		LockTimeout = lock_timeout;
	}
	PG_CATCH();
	{
		LockTimeout = lock_timeout;
		if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE &&
			request_time_is_over(&patience))
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
 * Store the result of a request that this transaction has begun; PT404 for
 * any other.  result NULL stands for null.
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
	scope_check_owner(name->scope, effective_owner(begun_owner(begun)));

	values[RESULT_RESULT - 1] = JsonbPGetDatum(result);
	nulls[RESULT_RESULT - 1] = result == NULL;
	replace[RESULT_RESULT - 1] = true;
	name_keys(name, keys);
	own_open(&results, internal_relation("request_result"), RowExclusiveLock);
	if (!own_find(&results, SnapshotSelf, keys, 2) ||
		!own_update(&results, values, nulls, replace))
		elog(ERROR, "the row of a begun request is gone");
	own_close(&results);
	begun_done(begun);
}
