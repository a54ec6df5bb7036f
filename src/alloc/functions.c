/*
 * functions.c
 *		The SQL functions that allocate, release and renew a unit.
 *
 * They check their arguments, call unit.c and build the result.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "alloc/answer.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_ip);
PG_FUNCTION_INFO_V1(alloc_ports);
PG_FUNCTION_INFO_V1(alloc_prefix);
PG_FUNCTION_INFO_V1(alloc_int);
PG_FUNCTION_INFO_V1(alloc_mac);
PG_FUNCTION_INFO_V1(alloc_mac8);
PG_FUNCTION_INFO_V1(alloc_try_ip);
PG_FUNCTION_INFO_V1(alloc_try_ports);
PG_FUNCTION_INFO_V1(alloc_try_prefix);
PG_FUNCTION_INFO_V1(alloc_try_int);
PG_FUNCTION_INFO_V1(alloc_try_mac);
PG_FUNCTION_INFO_V1(alloc_try_mac8);
PG_FUNCTION_INFO_V1(alloc_release);
PG_FUNCTION_INFO_V1(alloc_renew);

/*
 * The position of the argument ttl, by kind of request.  The arguments are
 * pool, key, those of the kind, ttl and note; those of ports that are their
 * own come behind these.
 */
static const int first_common[] = {
	[REQUEST_IP] = 3,
	[REQUEST_PORTS] = 2,
	[REQUEST_PREFIX] = 4,
	[REQUEST_INT] = 3,
	[REQUEST_MAC] = 3,
	[REQUEST_MAC8] = 3,
	[REQUEST_COUNT] = 3
};

/* Read the argument consecutive. */
static void
read_consecutive(FunctionCallInfo fcinfo, int argno, Request *request)
{
	request->n = PG_ARGISNULL(argno) ? 1 : PG_GETARG_INT32(argno);
	if (request->n < 1 || request->n > MAX_RUN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid number of consecutive units: %d",
						request->n),
				 errhint("It must be from 1 to %d.", MAX_RUN)));
}

static void
read_masklen(FunctionCallInfo fcinfo, int argno, Request *request)
{
	require_argument(fcinfo, argno, "masklen");
	request->masklen = PG_GETARG_INT32(argno);
}

/* Read the argument address of a request. */
static void
read_address(FunctionCallInfo fcinfo, int argno, Request *request)
{
	int			masklen;

	request->value = address_value(PG_GETARG_DATUM(argno), &request->width,
								   &masklen);
	if (masklen != request->width)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the address requested has a mask"),
				 errhint("Name the address of a host, like 10.0.0.7.")));
}

/* Read the arguments of a request for ports that are its own. */
static void
read_port_arguments(FunctionCallInfo fcinfo, Request *request)
{
	bool		has_address = !PG_ARGISNULL(4);

	request->exact = !PG_ARGISNULL(5);
	request->of_value = has_address && !request->exact;
	if (has_address)
		read_address(fcinfo, 4, request);
	if (request->exact)
	{
		request->first_port = PG_GETARG_INT32(5);
		if (!has_address)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("first_port without an address"),
					 errhint("Name the address, too.")));
		if (request->first_port < 0 || request->first_port > 65535)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid port: %d", request->first_port),
					 errhint("A port is a number from 0 to 65535.")));
	}
	request->has_exclude = !PG_ARGISNULL(6);
	if (request->has_exclude)
	{
		request->exclude = PG_GETARG_DATUM(6);
		ports_check(request->exclude, "exclude");
	}
}

/* Read the arguments of a request of the given kind. */
static void
read_request(FunctionCallInfo fcinfo, RequestKind kind, const char *function,
			 Request *request)
{
	int			masklen;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	memset(request, 0, sizeof(*request));
	request->function = function;
	request->kind = kind;
	request->key = *PG_GETARG_UUID_P(1);
	read_ttl_and_note(fcinfo, first_common[kind], request);

	switch (kind)
	{
		case REQUEST_IP:
			read_consecutive(fcinfo, 5, request);
			request->exact = !PG_ARGISNULL(2);
			if (request->exact)
				read_address(fcinfo, 2, request);
			break;
		case REQUEST_PORTS:
			read_port_arguments(fcinfo, request);
			break;
		case REQUEST_PREFIX:
			read_masklen(fcinfo, 2, request);
			request->exact = !PG_ARGISNULL(3);
			if (!request->exact)
				break;
			request->value = address_value(PG_GETARG_DATUM(3),
										   &request->width, &masklen);
			if (masklen != request->masklen)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("the prefix requested is a /%d, not a /%d",
								masklen, request->masklen),
						 errhint("masklen must be that of prefix.")));
			break;
		case REQUEST_INT:
			read_consecutive(fcinfo, 5, request);
			request->exact = !PG_ARGISNULL(2);
			if (!request->exact)
				break;
			if (PG_GETARG_INT64(2) < 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("the value requested is negative"),
						 errhint("Pools hold numbers from 0 on.")));
			request->value = (u128) PG_GETARG_INT64(2);
			break;
		case REQUEST_MAC:
			read_consecutive(fcinfo, 5, request);
			request->exact = !PG_ARGISNULL(2);
			if (request->exact)
				request->value = macaddr_value(PG_GETARG_DATUM(2));
			request->width = 48;
			break;
		case REQUEST_MAC8:
			read_consecutive(fcinfo, 5, request);
			request->exact = !PG_ARGISNULL(2);
			if (request->exact)
				request->value = macaddr8_value(PG_GETARG_DATUM(2));
			request->width = 64;
			break;
		case REQUEST_COUNT:		/* see counts.c */
			break;
	}
}

/*
 * Allocate, or raise an error.  Common part of the functions that are not try
 * forms.
 */
static Pool *
do_allocate(FunctionCallInfo fcinfo, RequestKind kind, const char *function,
			Answer *answer)
{
	Store		store;
	Request		request;
	PoolUse		use;

	read_request(fcinfo, kind, function, &request);
	/* Check the caller's right before any lock is taken. */
	pool_use(&use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	store_open(&store, use.nsp, RowExclusiveLock);
	unit_allocate(&store, &use, &request, answer);
	store_close(&store);
	require_unit(use.pool, &request, answer);
	return use.pool;
}

/* alloc_ip(pool, key, address, ttl, note, consecutive) RETURNS inet */
Datum
alloc_ip(PG_FUNCTION_ARGS)
{
	Answer		answer;
	Pool	   *pool = do_allocate(fcinfo, REQUEST_IP, "alloc_ip", &answer);

	PG_RETURN_DATUM(unit_address(pool, &answer.unit));
}

/* alloc_prefix(pool, key, masklen, prefix, ttl, note) RETURNS cidr */
Datum
alloc_prefix(PG_FUNCTION_ARGS)
{
	Answer		answer;
	Pool	   *pool = do_allocate(fcinfo, REQUEST_PREFIX, "alloc_prefix",
								   &answer);

	PG_RETURN_DATUM(unit_address(pool, &answer.unit));
}

/* alloc_int(pool, key, value, ttl, note, consecutive) RETURNS bigint */
Datum
alloc_int(PG_FUNCTION_ARGS)
{
	Answer		answer;
	Pool	   *pool = do_allocate(fcinfo, REQUEST_INT, "alloc_int", &answer);
	u128		value = space_value(&pool->space, answer.unit.lo);

	/*
	 * The extension's owner can write to our tables, and so a number may be
	 * there that no pool can have.
	 */
	if (value > (u128) PG_INT64_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the key holds a number that pool \"%s\" cannot have",
						pool->name),
				 errhint("See alloc_verify().")));
	PG_RETURN_INT64((int64) value);
}

/* alloc_mac(pool, key, address, ttl, note, consecutive) RETURNS macaddr */
Datum
alloc_mac(PG_FUNCTION_ARGS)
{
	Answer		answer;
	Pool	   *pool = do_allocate(fcinfo, REQUEST_MAC, "alloc_mac", &answer);

	PG_RETURN_DATUM(macaddr_datum(space_value(&pool->space, answer.unit.lo)));
}

/* alloc_mac8(pool, key, address, ttl, note, consecutive) RETURNS macaddr8 */
Datum
alloc_mac8(PG_FUNCTION_ARGS)
{
	Answer		answer;
	Pool	   *pool = do_allocate(fcinfo, REQUEST_MAC8, "alloc_mac8", &answer);

	PG_RETURN_DATUM(macaddr8_datum(space_value(&pool->space, answer.unit.lo)));
}

/*
 * alloc_ports(pool, key, ttl, note, address, first_port, exclude)
 * RETURNS alloc_port_range
 */
Datum
alloc_ports(PG_FUNCTION_ARGS)
{
	Answer		answer;
	Pool	   *pool = do_allocate(fcinfo, REQUEST_PORTS, "alloc_ports",
								   &answer);
	int			port = first_port(pool, &answer.unit);
	Datum		values[3] = {
		unit_address(pool, &answer.unit),
		Int32GetDatum(port),
		Int32GetDatum(port + pool->port_chunk - 1)
	};
	bool		nulls[3] = {false, false, false};

	PG_RETURN_DATUM(return_row(fcinfo, values, nulls));
}

/*
 * Common part of the try forms: what the other functions raise as an error is
 * returned as an outcome.
 */
static Datum
do_try(FunctionCallInfo fcinfo, RequestKind kind, const char *function)
{
	Store		store;
	Request		request;
	Answer		answer;
	PoolUse		use;

	read_request(fcinfo, kind, function, &request);
	pool_use(&use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	store_open(&store, use.nsp, RowExclusiveLock);
	unit_allocate(&store, &use, &request, &answer);
	store_close(&store);

	return return_result(fcinfo, use.pool, &request, &answer);
}

Datum
alloc_try_ip(PG_FUNCTION_ARGS)
{
	return do_try(fcinfo, REQUEST_IP, "alloc_try_ip");
}

Datum
alloc_try_ports(PG_FUNCTION_ARGS)
{
	return do_try(fcinfo, REQUEST_PORTS, "alloc_try_ports");
}

Datum
alloc_try_prefix(PG_FUNCTION_ARGS)
{
	return do_try(fcinfo, REQUEST_PREFIX, "alloc_try_prefix");
}

Datum
alloc_try_int(PG_FUNCTION_ARGS)
{
	return do_try(fcinfo, REQUEST_INT, "alloc_try_int");
}

Datum
alloc_try_mac(PG_FUNCTION_ARGS)
{
	return do_try(fcinfo, REQUEST_MAC, "alloc_try_mac");
}

Datum
alloc_try_mac8(PG_FUNCTION_ARGS)
{
	return do_try(fcinfo, REQUEST_MAC8, "alloc_try_mac8");
}

/* alloc_release(pool, key, generation, cooldown) RETURNS boolean */
Datum
alloc_release(PG_FUNCTION_ARGS)
{
	PoolUse		use;
	Store		store;
	int64		generation;
	Interval   *cooldown = PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3);
	bool		released;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	generation = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	if (cooldown != NULL)
		(void) interval_from_now(cooldown, "cooldown");
	/* A caller that may not use the pool must not get to wait for its lock. */
	pool_use(&use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	store_open(&store, use.nsp, RowExclusiveLock);
	store_lock_history(&store);
	released = unit_release(&store, &use, PG_GETARG_UUID_P(1),
							PG_ARGISNULL(2) ? NULL : &generation, cooldown);
	store_close(&store);
	PG_RETURN_BOOL(released);
}

/* alloc_renew(pool, key, ttl, generation) RETURNS timestamptz */
Datum
alloc_renew(PG_FUNCTION_ARGS)
{
	PoolUse		use;
	Interval   *ttl = PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2);
	Store		store;
	int64		generation;
	SlotRow		unit;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	if (ttl != NULL)
		(void) positive_interval_after(GetCurrentTimestamp(), ttl, "ttl");
	generation = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	pool_use(&use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	store_open(&store, use.nsp, RowExclusiveLock);
	unit_renew(&store, &use, PG_GETARG_UUID_P(1), ttl,
			   PG_ARGISNULL(3) ? NULL : &generation, &unit);
	store_close(&store);
	if (!unit.expires)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(unit.expires_at);
}
