/*
 * counts.c
 *		The SQL functions that allocate from counted pools.
 *
 * They check their arguments, call unit.c and build the result.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "alloc/answer.h"
#include "alloc/count.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_count);
PG_FUNCTION_INFO_V1(alloc_try_count);
PG_FUNCTION_INFO_V1(alloc_resize);

/*
 * With wait => '0' nobody is waited for, but this many milliseconds may pass
 * while other calls are at work.
 */
#define AT_ONCE 100

/* Return the argument n, which must be positive. */
static int64
read_n(FunctionCallInfo fcinfo, int argno)
{
	int64		n;

	require_argument(fcinfo, argno, "n");
	n = PG_GETARG_INT64(argno);
	if (n < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"%s\"", "n"),
				 errhint("It must be at least 1.")));
	return n;
}

/* Read the argument wait. */
static void
read_wait(FunctionCallInfo fcinfo, int argno, Patience *patience)
{
	TimestampTz now = GetCurrentTimestamp();

	if (PG_ARGISNULL(argno))
		return;
	patience->limited = true;
	patience->deadline = interval_after(now, PG_GETARG_INTERVAL_P(argno),
										"wait");
	if (patience->deadline < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be negative", "wait")));
	patience->never = patience->deadline == now;
	if (patience->never)
		patience->deadline = TimestampTzPlusMilliseconds(now, AT_ONCE);
}

/* Read the arguments of alloc_count() or alloc_try_count(). */
static void
read_count(FunctionCallInfo fcinfo, const char *function, Request *request)
{
	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	memset(request, 0, sizeof(*request));
	request->function = function;
	request->kind = REQUEST_COUNT;
	request->key = *PG_GETARG_UUID_P(1);
	request->exact = true;
	request->value = (u128) read_n(fcinfo, 2);
	if (!PG_ARGISNULL(3))
	{
		request->ttl = PG_GETARG_INTERVAL_P(3);
		(void) positive_interval_after(GetCurrentTimestamp(), request->ttl,
									   "ttl");
	}
	/* The note is stored later, possibly after a wait: detoast it now. */
	request->has_note = !PG_ARGISNULL(4);
	if (request->has_note)
		request->note =
			PointerGetDatum(PG_DETOAST_DATUM(PG_GETARG_DATUM(4)));
	read_wait(fcinfo, 5, &request->patience);
}

/* Allocate, and return the pool. */
static Pool *
do_count(FunctionCallInfo fcinfo, const char *function, Request *request,
		 Answer *answer)
{
	Oid			nsp = alloc_namespace(fcinfo);
	char	   *name;
	PoolUse		use;
	Store		store;

	read_count(fcinfo, function, request);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!store_open_patiently(&store, nsp, &request->patience))
	{
		/* the pool could not even be read */
		Pool	   *unread = palloc0(sizeof(Pool));

		unread->name = name;
		answer->outcome = OUTCOME_BUSY;
		return unread;
	}
	pool_use(&use, nsp, name, RIGHT_USE);
	unit_allocate(&store, &use, request, answer);
	store_close(&store);
	return use.pool;
}

/* alloc_count(pool, key, n, ttl, note, wait) RETURNS bigint */
Datum
alloc_count(PG_FUNCTION_ARGS)
{
	Request		request;
	Answer		answer = {0};
	Pool	   *pool = do_count(fcinfo, "alloc_count", &request, &answer);

	require_unit(pool, &request, &answer);
	PG_RETURN_INT64((int64) answer.unit.lo);
}

/* alloc_try_count(pool, key, n, ttl, note, wait) RETURNS alloc_result */
Datum
alloc_try_count(PG_FUNCTION_ARGS)
{
	Request		request;
	Answer		answer = {0};
	Pool	   *pool = do_count(fcinfo, "alloc_try_count", &request, &answer);

	PG_RETURN_DATUM(return_result(fcinfo, pool, &request, &answer));
}

/* alloc_resize(pool, key, n, generation) RETURNS bigint */
Datum
alloc_resize(PG_FUNCTION_ARGS)
{
	Request		request = {.function = "alloc_resize", .kind = REQUEST_COUNT};
	Answer		answer = {0};
	PoolUse		use;
	Store		store;
	int64		n;
	int64		generation;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	request.key = *PG_GETARG_UUID_P(1);
	n = read_n(fcinfo, 2);
	generation = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	pool_use(&use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	/* raises 22023 if the pool is not counted */
	resolve_request(use.pool, &request);
	store_open(&store, use.nsp, RowExclusiveLock);
	store_lock_history(&store);
	count_resize(&store, &use, &request.key, n,
				 PG_ARGISNULL(3) ? NULL : &generation, &answer);
	store_close(&store);
	require_unit(use.pool, &request, &answer);
	PG_RETURN_INT64(n);
}
