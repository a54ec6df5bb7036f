/*
 * functions.c
 *		The SQL functions on requests: check the arguments, call, shape the
 *		answer.
 */
#include "request/request.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(request_claim);
PG_FUNCTION_INFO_V1(request_once);
PG_FUNCTION_INFO_V1(request_begin);
PG_FUNCTION_INFO_V1(request_done);
PG_FUNCTION_INFO_V1(request_reap);

/* Longest scope, and longest key, in bytes: an index entry has both. */
#define MAX_REQUEST_NAME	1024

/* ----------
 * Arguments
 * ----------
 */

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
				 errhint("It has 1 to %d bytes.", MAX_REQUEST_NAME)));
	return value;
}

/* The first two arguments of most: scope and key. */
static RequestName
get_request_name(FunctionCallInfo fcinfo)
{
	RequestName name;

	name.scope = get_name(fcinfo, 0, "scope");
	name.key = get_name(fcinfo, 1, "key");
	return name;
}

/*
 * The function that request_once() is to run.  It runs with the caller's
 * rights, so the caller must have the right to.
 */
static void
get_work(FunctionCallInfo fcinfo, int argno, FmgrInfo *fn)
{
	Oid			oid;
	HeapTuple	tuple;
	Form_pg_proc proc;
	bool		fits;

	require_argument(fcinfo, argno, "fn");
	oid = PG_GETARG_OID(argno);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", oid)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	fits = proc->prokind == PROKIND_FUNCTION && !proc->proretset &&
		proc->prorettype == JSONBOID && proc->pronargs == 1 &&
		proc->proargtypes.values[0] == JSONBOID;
	ReleaseSysCache(tuple);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("function %s cannot do a request",
						format_procedure(oid)),
				 errhint("It must be a function (request jsonb) RETURNS jsonb.")));
	if (object_aclcheck(ProcedureRelationId, oid, GetUserId(),
						ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(oid));
	InvokeFunctionExecuteHook(oid);
	fmgr_info(oid, fn);
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

	require_argument(fcinfo, 0, "token");
	token = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (token[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"token\" must not be empty"),
				 errhint("Give what tells this request from all others.")));
	request_bind(token);
	PG_RETURN_VOID();
}

/* request_once(scope text, key text, request jsonb, fn regprocedure) */
Datum
request_once(PG_FUNCTION_ARGS)
{
	RequestName name;
	Jsonb	   *request;
	FmgrInfo	fn;
	Jsonb	   *result;

	request_enter(fcinfo, ENTRY_WRITES);
	name = get_request_name(fcinfo);
	require_argument(fcinfo, 2, "request");
	request = PG_GETARG_JSONB_P(2);
	get_work(fcinfo, 3, &fn);

	switch (request_start(fcinfo, &name, request, &result))
	{
		case REQUEST_NEW:
			{
				LOCAL_FCINFO(call, 1);
				Datum		value;

				/* What fn reads is what is true after the wait. */
				PushActiveSnapshot(GetTransactionSnapshot());
				InitFunctionCallInfoData(*call, &fn, 1, InvalidOid, NULL, NULL);
				call->args[0].value = JsonbPGetDatum(request);
				call->args[0].isnull = false;
				value = FunctionCallInvoke(call);
				PopActiveSnapshot();
				result = call->isnull ? NULL : DatumGetJsonbP(value);
				request_finish(fcinfo, &name, result);
				break;
			}
		case REQUEST_DONE:
			break;
	}
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

/* request_begin(scope text, key text, request jsonb) RETURNS request_state */
Datum
request_begin(PG_FUNCTION_ARGS)
{
	RequestName name;
	Jsonb	   *result;
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2];

	request_enter(fcinfo, ENTRY_JOINS);
	name = get_request_name(fcinfo);
	require_argument(fcinfo, 2, "request");
	if (!IsTransactionBlock() && call_is_top_level(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("a request that is begun outside a transaction block would be gone at once"),
				 errhint("Use BEGIN first, or request_once().")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	switch (request_start(fcinfo, &name, PG_GETARG_JSONB_P(2), &result))
	{
		case REQUEST_NEW:
			values[0] = CStringGetTextDatum("new");
			break;
		case REQUEST_DONE:
			values[0] = CStringGetTextDatum("done");
			break;
	}
	nulls[0] = false;
	values[1] = JsonbPGetDatum(result);
	nulls[1] = result == NULL;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

/* request_done(scope text, key text, result jsonb) RETURNS void */
Datum
request_done(PG_FUNCTION_ARGS)
{
	RequestName name;

	request_enter(fcinfo, ENTRY_JOINS);
	name = get_request_name(fcinfo);
	request_finish(fcinfo, &name, PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
	PG_RETURN_VOID();
}

/*
 * request_reap(batch integer) RETURNS bigint: the part of pg_cas_reap() for
 * old requests.
 */
Datum
request_reap(PG_FUNCTION_ARGS)
{
	int			batch = batch_argument(fcinfo, 0);

	require_writable(fcinfo);
	PG_RETURN_INT64(request_purge(batch));
}
