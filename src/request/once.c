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
 * INSERT ... ON CONFLICT DO NOTHING waits like that, and then goes by what is
 * true: under READ COMMITTED the next statement's snapshot is younger than the
 * wait and sees the winner's row; under the other two levels PostgreSQL raises
 * 40001 for a row that came after the snapshot.  Inserting before looking also
 * keeps the search out of SSI: two transactions under SERIALIZABLE that look
 * for neighbouring keys in vain, and then insert them, would look like a
 * conflict, though they have nothing to do with each other.
 *
 * A row without its result must not be committed, and cannot be: what was
 * begun and not done is remembered per transaction, and the callback before
 * commit refuses (claim.c).  The memory follows subtransactions: rolling back
 * one undoes what was begun in it, and undoes the end of what was ended in it.
 *
 * Only the extension's owner has rights on the tables.  Our statements, and
 * nothing but them, run as that role, in a security-restricted operation.
 */
#include "request/request.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* The statements. */
typedef enum Statement
{
	FIND_SCOPE,
	MAKE_SCOPE,
	BEGIN_REQUEST,
	FIND_REQUEST,
	END_REQUEST,
	PURGE_REQUESTS
} Statement;

#define NSTATEMENTS (PURGE_REQUESTS + 1)

static struct
{
	const char *sql;
	int			nargs;
	Oid			args[3];
}			statements[NSTATEMENTS] = {
	[FIND_SCOPE] = {
		"SELECT owner::pg_catalog.oid FROM cas_internal.request_scope "
		"WHERE scope OPERATOR(pg_catalog.=) $1",
		1, {TEXTOID}
	},
	[MAKE_SCOPE] = {
		"INSERT INTO cas_internal.request_scope (scope, owner) VALUES ($1, $2) "
		"ON CONFLICT DO NOTHING",
		2, {TEXTOID, REGROLEOID}
	},
	[BEGIN_REQUEST] = {
		"INSERT INTO cas_internal.request_result (scope, key, request) "
		"VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		3, {TEXTOID, TEXTOID, JSONBOID}
	},
	[FIND_REQUEST] = {
		"SELECT request OPERATOR(pg_catalog.=) $3, result "
		"FROM cas_internal.request_result "
		"WHERE scope OPERATOR(pg_catalog.=) $1 "
		"AND key OPERATOR(pg_catalog.=) $2",
		3, {TEXTOID, TEXTOID, JSONBOID}
	},
	[END_REQUEST] = {
		"UPDATE cas_internal.request_result SET result = $3 "
		"WHERE scope OPERATOR(pg_catalog.=) $1 "
		"AND key OPERATOR(pg_catalog.=) $2",
		3, {TEXTOID, TEXTOID, JSONBOID}
	},
	[PURGE_REQUESTS] = {
		"WITH old AS MATERIALIZED (SELECT scope, key FROM cas_internal.request_result "
		"WHERE at OPERATOR(pg_catalog.<) (pg_catalog.now() "
		"OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $1)) "
		"ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED) "
		"DELETE FROM cas_internal.request_result AS r USING old "
		"WHERE r.scope OPERATOR(pg_catalog.=) old.scope "
		"AND r.key OPERATOR(pg_catalog.=) old.key",
		2, {FLOAT8OID, INT4OID}
	},
};

/* Their plans, kept for the session. */
static SPIPlanPtr plans[NSTATEMENTS];

/* A request that this transaction has begun. */
typedef struct Begun
{
	RequestName name;
	Oid			owner;			/* of the scope */
	SubTransactionId begun;
	SubTransactionId done;		/* InvalidSubTransactionId: not yet */
} Begun;

/* What is not done, or was done in a deeper subtransaction; of Begun. */
static List *begun_requests = NIL;

/* An error's DETAIL that names the request. */
static int
name_errdetail(RequestName *name)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "scope", text_to_cstring(name->scope));
	detail_text(&detail, "key", text_to_cstring(name->key));
	return errdetail_internal("%s", detail_end(&detail));
}

/* ----------
 * Statements
 * ----------
 */

static SPIPlanPtr
plan_of(Statement statement)
{
	if (plans[statement] == NULL)
	{
		SPIPlanPtr	plan;

		plan = SPI_prepare(statements[statement].sql,
						   statements[statement].nargs,
						   statements[statement].args);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "SPI_prepare failed: %s",
				 SPI_result_code_string(SPI_result));
		plans[statement] = plan;
	}
	return plans[statement];
}

/*
 * Run a statement as the extension's owner, and return the number of its
 * rows.  The caller is connected to SPI.  values are the parameters, nulls
 * may be NULL.
 */
static uint64
run(Statement statement, Datum *values, const char *nulls)
{
	OwnerScope	scope;
	int			result;

	owner_enter(&scope);
	result = SPI_execute_plan(plan_of(statement), values, nulls, false, 0);
	owner_leave(&scope);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s",
			 SPI_result_code_string(result));
	return SPI_processed;
}

/* ----------
 * What this transaction has begun
 * ----------
 */

static bool
same_text(text *a, text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* The request of this name that was begun and is not done, or NULL. */
static Begun *
find_begun(RequestName *name)
{
	ListCell   *lc;

	foreach(lc, begun_requests)
	{
		Begun	   *begun = lfirst(lc);

		if (begun->done == InvalidSubTransactionId &&
			same_text(begun->name.key, name->key) &&
			same_text(begun->name.scope, name->scope))
			return begun;
	}
	return NULL;
}

static text *
copy_text(text *value)
{
	return (text *) PG_DETOAST_DATUM_COPY(PointerGetDatum(value));
}

static void
remember_begun(RequestName *name, Oid owner)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Begun	   *begun = palloc(sizeof(Begun));

	begun->name.scope = copy_text(name->scope);
	begun->name.key = copy_text(name->key);
	begun->owner = owner;
	begun->begun = GetCurrentSubTransactionId();
	begun->done = InvalidSubTransactionId;
	begun_requests = lappend(begun_requests, begun);
	MemoryContextSwitchTo(old);
}

static void
free_begun(Begun *begun)
{
	pfree(begun->name.scope);
	pfree(begun->name.key);
	pfree(begun);
}

/*
 * A subtransaction has ended: what happened in it happened in its parent, or
 * without a parent, because it was rolled back, did not happen.
 */
void
request_end_subtransaction(SubTransactionId subid, SubTransactionId parent)
{
	ListCell   *lc;

	foreach(lc, begun_requests)
	{
		Begun	   *begun = lfirst(lc);

		if (begun->begun == subid)
			begun->begun = parent;
		if (begun->done == subid)
			begun->done = parent;

		/* It was undone, or its end can be undone only together with it. */
		if (begun->begun == InvalidSubTransactionId ||
			begun->begun == begun->done)
		{
			begun_requests = foreach_delete_current(begun_requests, lc);
			free_begun(begun);
		}
	}
}

/* Raise 25000 if something was begun and not done. */
void
request_check_finished(void)
{
	ListCell   *lc;

	foreach(lc, begun_requests)
	{
		Begun	   *begun = lfirst(lc);

		if (begun->done != InvalidSubTransactionId)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("a request was begun and is not done"),
				 name_errdetail(&begun->name),
				 errhint("Call request_done() before COMMIT, or roll back.")));
	}
}

/* The transaction has ended, and its memory with it. */
void
request_forget(void)
{
	begun_requests = NIL;
}

/* ----------
 * Scopes
 * ----------
 */

/* Raise 42501 unless the scope is the role's. */
static void
check_scope_owner(text *scope, Oid owner)
{
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for request scope \"%s\"",
						text_to_cstring(scope)),
				 errhint("A scope belongs to the role that used it first, and to the members of that role.")));
}

/*
 * Find the scope, make it if it is new, and return its owner, who must be the
 * present role or one that it is a member of.
 */
static Oid
enter_scope(FunctionCallInfo fcinfo, text *scope)
{
	Datum		values[2];
	bool		isnull;
	Oid			owner;

	values[0] = PointerGetDatum(scope);
	values[1] = ObjectIdGetDatum(GetUserId());
	while (run(FIND_SCOPE, values, NULL) == 0)
	{
		CHECK_FOR_INTERRUPTS();
		require_writable(fcinfo);
		run(MAKE_SCOPE, values, NULL);
	}
	owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
										   SPI_tuptable->tupdesc, 1, &isnull));
	check_scope_owner(scope, owner);
	return owner;
}

/* ----------
 * Requests
 * ----------
 */

/*
 * Find the request's row; false: there is none.  The result is palloc'd in
 * the caller's context, and NULL if it is null.
 */
static bool
find_request(RequestName *name, Datum *values,
			 MemoryContext caller, Jsonb **result)
{
	HeapTuple	tuple;
	TupleDesc	desc;
	bool		isnull;
	Datum		value;

	if (run(FIND_REQUEST, values, NULL) == 0)
		return false;
	if (find_begun(name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("this transaction is working on the request already"),
				 name_errdetail(name),
				 errhint("Call request_done() first.")));

	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	if (!DatumGetBool(SPI_getbinval(tuple, desc, 1, &isnull)))
		ereport(ERROR,
				(errcode(ERRCODE_CAS_KEY_REUSED),
				 errmsg("the key was used for another request"),
				 name_errdetail(name),
				 errhint("A request that is tried again has the same key and the same content; a new request has a new key.")));

	value = SPI_getbinval(tuple, desc, 2, &isnull);
	if (isnull)
		*result = NULL;
	else
	{
		MemoryContext old = MemoryContextSwitchTo(caller);

		*result = DatumGetJsonbPCopy(value);
		MemoryContextSwitchTo(old);
	}
	return true;
}

/*
 * Start a request, or find it done and give its result.  Waits for another
 * transaction that has started it.
 */
RequestState
request_start(FunctionCallInfo fcinfo, RequestName *name, Jsonb *request,
			  Jsonb **result)
{
	MemoryContext caller = CurrentMemoryContext;
	RequestState state = REQUEST_DONE;
	Datum		values[3];
	Oid			owner;

	values[0] = PointerGetDatum(name->scope);
	values[1] = PointerGetDatum(name->key);
	values[2] = JsonbPGetDatum(request);

	SPI_connect();
	owner = enter_scope(fcinfo, name->scope);
	if (XactReadOnly)
	{
		/* What is done can be asked for; what is new cannot be begun. */
		if (!find_request(name, values, caller, result))
			require_writable(fcinfo);
	}
	else
	{
		/* A row that is in the way can be purged before we look at it. */
		do
		{
			CHECK_FOR_INTERRUPTS();
			if (run(BEGIN_REQUEST, values, NULL) == 1)
			{
				remember_begun(name, owner);
				state = REQUEST_NEW;
				*result = NULL;
				break;
			}
		} while (!find_request(name, values, caller, result));
	}
	SPI_finish();
	return state;
}

/*
 * Store the result of a request that this transaction has begun; PT404 for
 * any other.  result NULL stands for null.
 */
void
request_finish(FunctionCallInfo fcinfo, RequestName *name, Jsonb *result)
{
	Begun	   *begun = find_begun(name);
	Datum		values[3];

	if (begun == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CAS_NOT_FOUND),
				 errmsg("this transaction has not begun the request, or has done it already"),
				 name_errdetail(name),
				 errhint("Call request_begin() first, in the same transaction.")));
	check_scope_owner(name->scope, begun->owner);

	values[0] = PointerGetDatum(name->scope);
	values[1] = PointerGetDatum(name->key);
	values[2] = JsonbPGetDatum(result);
	SPI_connect();
	if (run(END_REQUEST, values,
			result == NULL ? "  n" : NULL) != 1)
		elog(ERROR, "the row of a begun request is gone");
	SPI_finish();

	/* Remembered only if its end can be undone without its beginning. */
	begun->done = GetCurrentSubTransactionId();
	if (begun->done == begun->begun)
	{
		begun_requests = list_delete_ptr(begun_requests, begun);
		free_begun(begun);
	}
}

/*
 * Remove up to so many requests, the oldest of those that are older than
 * pg_cas.request_retention, and return how many.
 */
int64
request_purge(int batch)
{
	Datum		values[2];
	uint64		purged;

	if (pg_cas_request_retention < 0)
		return 0;
	values[0] = Float8GetDatum(pg_cas_request_retention);
	values[1] = Int32GetDatum(batch);
	SPI_connect();
	purged = run(PURGE_REQUESTS, values, NULL);
	SPI_finish();
	return purged;
}
