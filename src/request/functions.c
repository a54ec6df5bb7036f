/*
 * functions.c
 *		SQL functions of requests: check the arguments, call the functions that
 *		do the work, and form the result.
 */
#include "request/request.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(request_claim);
PG_FUNCTION_INFO_V1(request_once);
PG_FUNCTION_INFO_V1(request_begin);
PG_FUNCTION_INFO_V1(request_done);
PG_FUNCTION_INFO_V1(request_scope_set);
PG_FUNCTION_INFO_V1(request_reap);

/* Maximum length of a scope and of a key in bytes; an index entry has both. */
#define MAX_REQUEST_NAME	1024

/* ----------
 * Arguments
 * ----------
 */

/* Get a scope or a key; raise 22004 or 22023 if it is invalid. */
static text *
get_name(FunctionCallInfo fcinfo, int argno, const char *argument)
{
	text	   *value;

	require_argument(fcinfo, argno, argument);
	value = PG_GETARG_TEXT_PP(argno);
	if (VARSIZE_ANY_EXHDR(value) == 0 ||
		VARSIZE_ANY_EXHDR(value) > MAX_REQUEST_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"%s\"", argument),
				 errhint("Its length must be 1 to %d bytes.", MAX_REQUEST_NAME)));
	return value;
}

/* Get scope and key, the first two arguments of most functions. */
static RequestName
get_request_name(FunctionCallInfo fcinfo)
{
	RequestName name;

	name.scope = get_name(fcinfo, 0, "scope");
	name.key = get_name(fcinfo, 1, "key");
	return name;
}

/* Get an interval argument; NULL if it is null. */
static Interval *
get_interval(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : PG_GETARG_INTERVAL_P(argno);
}

/*
 * Raise an error unless the function has the signature that request_once()
 * needs, and the current role may call it.
 */
static void
check_work(Oid oid)
{
	require_jsonb_function(oid, 1, "run a request",
						   "(request jsonb) RETURNS jsonb");
}

/*
 * Run the function with the caller's rights.  NULL stands for a null result.
 */
static Jsonb *
run_work(Oid oid, Jsonb *request)
{
	LOCAL_FCINFO(call, 1);
	FmgrInfo	fn;
	Datum		value;
	Jsonb	   *result;

	/*
	 * The call may have waited for another session since the function was
	 * checked: check it again.  The new snapshot lets the function see what
	 * was committed during the wait.
	 */
	check_work(oid);
	fmgr_info(oid, &fn);
	PushActiveSnapshot(GetTransactionSnapshot());
	InitFunctionCallInfoData(*call, &fn, 1, InvalidOid, NULL, NULL);
	call->args[0].value = JsonbPGetDatum(request);
	call->args[0].isnull = false;
	value = FunctionCallInvoke(call);
	result = call->isnull ? NULL : DatumGetJsonbP(value);
	PopActiveSnapshot();
	return result;
}

/* ----------
 * Functions
 * ----------
 */

/* request_claim(token text) RETURNS void */
Datum
request_claim(PG_FUNCTION_ARGS)
{
	char	   *token;

	/* the leader would not know of a worker's claim */
	require_no_parallel_query(fcinfo);
	require_argument(fcinfo, 0, "token");
	token = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (token[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"token\" must not be empty"),
				 errhint("Pass a text that identifies this request.")));
	claim_bind(token);
	PG_RETURN_VOID();
}

/*
 * request_once(scope text, key text, request jsonb, fn regprocedure,
 *				wait interval, ttl interval) RETURNS jsonb
 */
Datum
request_once(PG_FUNCTION_ARGS)
{
	RequestName name;
	Jsonb	   *request;
	RequestStart start;

	request_enter(fcinfo, ENTRY_WRITES);
	require_no_parallel_query(fcinfo);
	name = get_request_name(fcinfo);
	require_argument(fcinfo, 2, "request");
	request = PG_GETARG_JSONB_P(2);
	require_argument(fcinfo, 3, "fn");

	/* A caller without EXECUTE may not read a stored result, either. */
	check_work(PG_GETARG_OID(3));

	once_begin(fcinfo, &name, request, get_interval(fcinfo, 4),
			   get_interval(fcinfo, 5), &start);
	switch (start.state)
	{
		case REQUEST_NEW:
			start.result = run_work(PG_GETARG_OID(3), request);
			once_finish(&name, start.result);
			break;
		case REQUEST_DONE:
			break;
		case REQUEST_BUSY:
			raise_in_progress(&name, start.since);
	}
	if (start.result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(start.result);
}

static const char *
state_word(RequestState state)
{
	switch (state)
	{
		case REQUEST_NEW:
			return "new";
		case REQUEST_DONE:
			return "done";
		case REQUEST_BUSY:
			return "busy";
	}
	pg_unreachable();
}

/*
 * request_begin(scope text, key text, request jsonb, wait interval,
 *				 ttl interval) RETURNS request_state
 */
Datum
request_begin(PG_FUNCTION_ARGS)
{
	RequestName name;
	RequestStart start;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2];

	request_enter(fcinfo, ENTRY_JOINS);
	require_no_parallel_query(fcinfo);
	name = get_request_name(fcinfo);
	require_argument(fcinfo, 2, "request");

	/*
	 * Outside a transaction block the request would be begun and not done at
	 * the end of this statement.  A function may do the rest itself.
	 */
	if (!IsTransactionBlock() && call_is_top_level(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("request_begin() can only be used in a transaction block"),
				 errhint("Use BEGIN first, or call request_once() instead.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	once_begin(fcinfo, &name, PG_GETARG_JSONB_P(2), get_interval(fcinfo, 3),
			   get_interval(fcinfo, 4), &start);
	values[0] = CStringGetTextDatum(state_word(start.state));
	nulls[0] = false;
	values[1] = JsonbPGetDatum(start.result);
	nulls[1] = start.result == NULL;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

/* request_done(scope text, key text, result jsonb) RETURNS void */
Datum
request_done(PG_FUNCTION_ARGS)
{
	RequestName name;

	request_enter(fcinfo, ENTRY_JOINS);
	require_no_parallel_query(fcinfo);
	name = get_request_name(fcinfo);
	once_finish(&name, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
	PG_RETURN_VOID();
}

/*
 * Raise 22023 if now - retention, which reap.c computes, is out of range.
 */
static void
check_retention(Interval *retention)
{
	Interval	back;

	back.month = -retention->month;
	back.day = -retention->day;
	back.time = -retention->time;
	(void) interval_after(GetCurrentTimestamp(), &back, "retention");
}

/*
 * request_scope_set(scope text, owner text, retention interval) RETURNS void
 */
Datum
request_scope_set(PG_FUNCTION_ARGS)
{
	text	   *scope;
	char	   *owner = NULL;
	Interval   *retention;

	request_enter(fcinfo, ENTRY_JOINS);
	require_writable(fcinfo);
	scope = get_name(fcinfo, 0, "scope");
	if (!PG_ARGISNULL(1))
		owner = text_to_cstring(PG_GETARG_TEXT_PP(1));
	retention = get_interval(fcinfo, 2);
	if (retention != NULL)
		check_retention(retention);
	scope_set(scope, owner, retention);
	PG_RETURN_VOID();
}

/*
 * request_reap(batch integer) RETURNS bigint
 *
 * Removes old results; for pg_cas_reap().
 */
Datum
request_reap(PG_FUNCTION_ARGS)
{
	int			batch = batch_argument(fcinfo, 0);

	require_writable(fcinfo);
	PG_RETURN_INT64(reap_results(batch));
}
