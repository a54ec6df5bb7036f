/*
 * functions.c
 *		Allocation: the SQL functions that units come and go by.
 *
 * They check their arguments, call unit.c and shape the answer.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rangetypes.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "alloc/alloc.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_ip);
PG_FUNCTION_INFO_V1(alloc_ports);
PG_FUNCTION_INFO_V1(alloc_prefix);
PG_FUNCTION_INFO_V1(alloc_int);
PG_FUNCTION_INFO_V1(alloc_try_ip);
PG_FUNCTION_INFO_V1(alloc_try_ports);
PG_FUNCTION_INFO_V1(alloc_try_prefix);
PG_FUNCTION_INFO_V1(alloc_try_int);
PG_FUNCTION_INFO_V1(alloc_many);
PG_FUNCTION_INFO_V1(alloc_release);
PG_FUNCTION_INFO_V1(alloc_renew);
PG_FUNCTION_INFO_V1(alloc_get);
PG_FUNCTION_INFO_V1(alloc_find);
PG_FUNCTION_INFO_V1(alloc_describe);
PG_FUNCTION_INFO_V1(alloc_range_text);

/* The requests' positions: pool, key, then this kind's own arguments. */
static const int first_common[] = {
	[REQUEST_IP] = 3,
	[REQUEST_PORTS] = 2,
	[REQUEST_PREFIX] = 4,
	[REQUEST_INT] = 3
};

static void
check_ttl(Interval *ttl)
{
	TimestampTz now = GetCurrentTimestamp();

	if (ttl == NULL)
		return;
	check_interval(ttl, "ttl");
	if (time_after(now, ttl) <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ttl must be greater than zero"),
				 errhint("Leave it out to allocate for good.")));
}

/* A number that a caller of a helper of the views gave: 22023 if it is none. */
static u128
number_argument(FunctionCallInfo fcinfo, int argno)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out,
														   PG_GETARG_DATUM(argno)));
	u128		n;

	if (!u128_parse(text, &n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid number: \"%s\"", text)));
	return n;
}

/* ttl and note, which all requests end with. */
static void
read_common(FunctionCallInfo fcinfo, int argno, Request *request)
{
	if (!PG_ARGISNULL(argno))
		request->ttl = PG_GETARG_INTERVAL_P(argno);
	check_ttl(request->ttl);
	request->has_note = !PG_ARGISNULL(argno + 1);
	if (request->has_note)
		request->note =
			PointerGetDatum(PG_DETOAST_DATUM(PG_GETARG_DATUM(argno + 1)));
}

static void
read_masklen(FunctionCallInfo fcinfo, int argno, Request *request)
{
	require_argument(fcinfo, argno, "masklen");
	request->masklen = PG_GETARG_INT32(argno);
}

/*
 * Read the arguments of a request of that kind.
 */
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
	read_common(fcinfo, first_common[kind], request);

	switch (kind)
	{
		case REQUEST_IP:
			request->exact = !PG_ARGISNULL(2);
			if (!request->exact)
				break;
			request->value = address_value(PG_GETARG_DATUM(2),
										   &request->width, &masklen);
			if (masklen != request->width)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("the address requested has a mask"),
						 errhint("alloc_ip() allocates a host's address, like 10.0.0.7.")));
			break;
		case REQUEST_PORTS:
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
	}
}

static char *
uuid_text(const pg_uuid_t *key)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(key)));
}

static const char *
outcome_name(Outcome outcome)
{
	switch (outcome)
	{
		case OUTCOME_ALLOCATED:
			return "allocated";
		case OUTCOME_HELD:
			return "held";
		case OUTCOME_EXHAUSTED:
			return "exhausted";
		case OUTCOME_COOLING:
			return "cooling";
		case OUTCOME_FRAGMENTED:
			return "fragmented";
		case OUTCOME_TAKEN:
			return "taken";
		case OUTCOME_REUSED:
			return "reused";
		case OUTCOME_BUSY:
			break;
	}
	elog(ERROR, "unexpected outcome %d", (int) outcome);
}

/* Raise what is not an allocation. */
static void
require_unit(const Pool *pool, const Request *request, const Answer *answer)
{
	StringInfoData detail;

	if (answer->outcome == OUTCOME_ALLOCATED ||
		answer->outcome == OUTCOME_HELD)
		return;

	detail_begin(&detail);
	detail_text(&detail, "pool", pool->name);
	detail_text(&detail, "key", uuid_text(&request->key));
	switch (answer->outcome)
	{
		case OUTCOME_TAKEN:
			detail_text(&detail, "value",
						unit_text(pool, request->lo, request->order));
			ereport(ERROR,
					(errcode(ERRCODE_CAS_CONFLICT),
					 errmsg("%s of pool \"%s\" belongs to another key",
							unit_text(pool, request->lo, request->order),
							pool->name),
					 errdetail_internal("%s", detail_end(&detail))));
			break;
		case OUTCOME_REUSED:
			detail_text(&detail, "value",
						unit_text(pool, answer->unit.lo, answer->unit.order));
			ereport(ERROR,
					(errcode(ERRCODE_CAS_KEY_REUSED),
					 errmsg("the key has %s of pool \"%s\", which is not what is requested",
							unit_text(pool, answer->unit.lo,
									  answer->unit.order), pool->name),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("Use another key for another request, or release this one.")));
			break;
		case OUTCOME_COOLING:
			detail_text(&detail, "reason", "cooling");
			detail_time(&detail, "ready_at", answer->ready_at);
			ereport(ERROR,
					(errcode(ERRCODE_CAS_EXHAUSTED),
					 errmsg("pool \"%s\" has nothing to give out yet",
							pool->name),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("What has been released is cooling down; try again after ready_at.")));
			break;
		default:
			detail_text(&detail, "reason", outcome_name(answer->outcome));
			ereport(ERROR,
					(errcode(ERRCODE_CAS_EXHAUSTED),
					 errmsg("pool \"%s\" is exhausted", pool->name),
					 errdetail_internal("%s", detail_end(&detail)),
					 answer->outcome == OUTCOME_FRAGMENTED ?
					 errhint("There is room, but not in one piece of that size.") :
					 errhint("Release units, or grow the pool with alloc_pool_grow().")));
			break;
	}
}

/* A chunk's first port, and ports as a range. */
static int
first_port(const Pool *pool, const SlotRow *unit)
{
	return space_chunk(&pool->space, unit->lo) * pool->port_chunk;
}

static Datum
ports_datum(int first, int nports)
{
	RangeBound	lower = {.val = Int32GetDatum(first), .inclusive = true,
	.lower = true};
	RangeBound	upper = {.val = Int32GetDatum(first + nports)};

	return RangeTypePGetDatum(make_range(lookup_type_cache(INT4RANGEOID,
														   TYPECACHE_RANGE_INFO),
										 &lower, &upper, false));
}

static bool
is_chunk(const Pool *pool, const SlotRow *unit)
{
	return unit->order < pool->space.chunk_bits;
}

static u128
unit_value(const Pool *pool, const SlotRow *unit)
{
	const Range *range = space_range_of_slot(&pool->space, unit->lo);

	if (range == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a unit lies outside of pool \"%s\"", pool->name),
				 errhint("See alloc_verify().")));
	return space_value(&pool->space, range, unit->lo);
}

static Datum
unit_address(const Pool *pool, const SlotRow *unit)
{
	return address_datum(pool->width, unit_value(pool, unit),
						 unit_masklen(pool, unit->order));
}

/* The columns of an alloc_unit. */
#define UNIT_COLUMNS 10

static void
unit_columns(const Pool *pool, const SlotRow *unit, Datum *values,
			 bool *nulls)
{
	memset(nulls, false, UNIT_COLUMNS * sizeof(bool));
	values[0] = CStringGetTextDatum(pool->name);
	values[1] = UUIDPGetDatum(&unit->key);
	values[2] = CStringGetTextDatum(unit_text(pool, unit->lo, unit->order));
	nulls[3] = pool->width == 0;
	if (!nulls[3])
		values[3] = unit_address(pool, unit);
	nulls[4] = !is_chunk(pool, unit);
	if (!nulls[4])
		values[4] = ports_datum(first_port(pool, unit), pool->port_chunk);
	values[5] = CStringGetTextDatum(is_chunk(pool, unit) ? "ports" :
									kind_name(pool->kind));
	values[6] = Int64GetDatum(unit->generation);
	values[7] = TimestampTzGetDatum(unit->allocated_at);
	nulls[8] = !unit->expires;
	values[8] = TimestampTzGetDatum(unit->expires_at);
	nulls[9] = !unit->has_note;
	values[9] = unit->note;
}

static void
put_unit_row(ReturnSetInfo *rsinfo, const Pool *pool, const SlotRow *unit)
{
	Datum		values[UNIT_COLUMNS];
	bool		nulls[UNIT_COLUMNS];

	unit_columns(pool, unit, values, nulls);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Allocate, or raise. */
static Pool *
do_allocate(FunctionCallInfo fcinfo, RequestKind kind, const char *function,
			Answer *answer)
{
	Store		store;
	Request		request;
	Pool	   *pool;
	Oid			nsp = alloc_namespace(fcinfo);

	read_request(fcinfo, kind, function, &request);
	store_open(&store, nsp, RowExclusiveLock);
	unit_allocate(&store, nsp, text_to_cstring(PG_GETARG_TEXT_PP(0)),
				  &request, &pool, answer);
	store_close(&store);
	require_unit(pool, &request, answer);
	return pool;
}

/* alloc_ip(pool, key, address, ttl, note) RETURNS inet */
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

/* alloc_int(pool, key, value, ttl, note) RETURNS bigint */
Datum
alloc_int(PG_FUNCTION_ARGS)
{
	Answer		answer;
	Pool	   *pool = do_allocate(fcinfo, REQUEST_INT, "alloc_int", &answer);

	PG_RETURN_INT64((int64) unit_value(pool, &answer.unit));
}

static Datum
return_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values,
											 nulls));
}

/* alloc_ports(pool, key, ttl, note) RETURNS alloc_port_range */
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

/* The try forms: what the others raise is an outcome. */
static Datum
do_try(FunctionCallInfo fcinfo, RequestKind kind, const char *function)
{
	Store		store;
	Request		request;
	Answer		answer;
	Pool	   *pool;
	Oid			nsp = alloc_namespace(fcinfo);
	Datum		values[4] = {0};
	bool		nulls[4] = {false, true, true, true};

	read_request(fcinfo, kind, function, &request);
	store_open(&store, nsp, RowExclusiveLock);
	unit_allocate(&store, nsp, text_to_cstring(PG_GETARG_TEXT_PP(0)),
				  &request, &pool, &answer);
	store_close(&store);

	values[0] = CStringGetTextDatum(outcome_name(answer.outcome));
	switch (answer.outcome)
	{
		case OUTCOME_ALLOCATED:
		case OUTCOME_HELD:
		case OUTCOME_REUSED:
			values[1] = CStringGetTextDatum(unit_text(pool, answer.unit.lo,
													  answer.unit.order));
			values[2] = Int64GetDatum(answer.unit.generation);
			nulls[1] = nulls[2] = false;
			break;
		case OUTCOME_COOLING:
			values[3] = TimestampTzGetDatum(answer.ready_at);
			nulls[3] = false;
			break;
		case OUTCOME_TAKEN:
			values[1] = CStringGetTextDatum(unit_text(pool, request.lo,
													  request.order));
			nulls[1] = false;
			break;
		case OUTCOME_EXHAUSTED:
		case OUTCOME_FRAGMENTED:
		case OUTCOME_BUSY:
			break;
	}
	return return_row(fcinfo, values, nulls);
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

static int
compare_keys(const void *a, const void *b)
{
	return memcmp(DatumGetUUIDP(*(const Datum *) a)->data,
				  DatumGetUUIDP(*(const Datum *) b)->data, UUID_LEN);
}

/*
 * alloc_many(pool, keys, masklen, ttl, note) RETURNS SETOF alloc_unit: a unit
 * for each key, or an error.  Keys are served in their own order, so that two
 * calls that share keys wait for each other and do not deadlock.
 */
Datum
alloc_many(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Request		request = {.function = "alloc_many"};
	Store		store;
	Pool	   *pool;
	Datum	   *keys;
	Datum	   *sorted;
	bool	   *nulls;
	int			nkeys;
	char	   *name;
	SlotRow    *units;
	MemoryContext cxt;
	MemoryContext caller;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "keys");
	read_common(fcinfo, 3, &request);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	InitMaterializedSRF(fcinfo, 0);

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), UUIDOID, UUID_LEN, false,
					  TYPALIGN_CHAR, &keys, &nulls, &nkeys);
	for (int i = 0; i < nkeys; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"keys\" must not contain nulls")));
	}

	pool = pool_open(nsp, name, RIGHT_USE);
	request.kind = kind_request(pool->kind);
	if (request.kind == REQUEST_PREFIX)
		read_masklen(fcinfo, 2, &request);
	else if (!PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("masklen is for pools of prefixes"),
				 errhint("Leave it out.")));

	sorted = palloc(Max(nkeys, 1) * sizeof(Datum));
	memcpy(sorted, keys, nkeys * sizeof(Datum));
	qsort(sorted, nkeys, sizeof(Datum), compare_keys);
	units = MemoryContextAllocHuge(CurrentMemoryContext,
								   Max(nkeys, 1) * sizeof(SlotRow));

	store_open(&store, nsp, RowExclusiveLock);
	cxt = AllocSetContextCreate(CurrentMemoryContext, "alloc_many",
								ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(cxt);
	for (int i = 0; i < nkeys; i++)
	{
		Answer		answer;

		request.key = *DatumGetUUIDP(sorted[i]);
		unit_allocate(&store, nsp, name, &request, &pool, &answer);
		require_unit(pool, &request, &answer);
		units[i] = answer.unit;
		MemoryContextSwitchTo(caller);
		row_keep(&units[i]);
		MemoryContextSwitchTo(cxt);
		MemoryContextReset(cxt);
	}
	for (int i = 0; i < nkeys; i++)
	{
		Datum	   *place = bsearch(&keys[i], sorted, nkeys, sizeof(Datum),
									compare_keys);

		put_unit_row(rsinfo, pool, &units[place - sorted]);
		MemoryContextReset(cxt);
	}
	MemoryContextSwitchTo(caller);
	store_close(&store);
	return (Datum) 0;
}

/* alloc_release(pool, key, generation) RETURNS boolean */
Datum
alloc_release(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	Store		store;
	int64		generation;
	bool		released;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	generation = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	store_open(&store, nsp, RowExclusiveLock);
	released = unit_release(&store, nsp, text_to_cstring(PG_GETARG_TEXT_PP(0)),
							PG_GETARG_UUID_P(1),
							PG_ARGISNULL(2) ? NULL : &generation);
	store_close(&store);
	PG_RETURN_BOOL(released);
}

/* alloc_renew(pool, key, ttl, generation) RETURNS timestamptz */
Datum
alloc_renew(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	Interval   *ttl = PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2);
	Store		store;
	int64		generation;
	SlotRow		unit;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	check_ttl(ttl);
	generation = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	store_open(&store, nsp, RowExclusiveLock);
	unit_renew(&store, nsp, text_to_cstring(PG_GETARG_TEXT_PP(0)),
			   PG_GETARG_UUID_P(1), ttl,
			   PG_ARGISNULL(3) ? NULL : &generation, &unit);
	store_close(&store);
	if (!unit.expires)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(unit.expires_at);
}

/* Is the row a unit that someone has? */
static bool
is_held(const SlotRow *row)
{
	return row->held && !has_run_out(row, GetCurrentTimestamp());
}

/* alloc_get(pool, key) RETURNS SETOF alloc_unit */
Datum
alloc_get(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	Store		store;
	SlotScan	scan;
	SlotRow		row;
	Pool	   *pool;
	Snapshot	snapshot;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	InitMaterializedSRF(fcinfo, 0);
	pool = pool_open(nsp, text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	store_open(&store, nsp, AccessShareLock);
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	scan_by_key(&scan, &store, pool->id, PG_GETARG_UUID_P(1), snapshot);
	while (slot_scan_next(&scan, &row))
	{
		if (!is_held(&row))
			continue;
		put_unit_row((ReturnSetInfo *) fcinfo->resultinfo, pool, &row);
		break;
	}
	slot_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	store_close(&store);
	return (Datum) 0;
}

/* Has the unit one of these ports?  All have if the first is -1. */
static bool
has_port(const Pool *pool, const SlotRow *unit, int from, int to)
{
	int			port;

	if (from < 0 || !is_chunk(pool, unit))
		return true;
	port = first_port(pool, unit);
	return port <= to && port + pool->port_chunk - 1 >= from;
}

/* alloc_find(pool, value, port) RETURNS SETOF alloc_unit */
Datum
alloc_find(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Store		store;
	Pool	   *pool;
	Snapshot	snapshot;
	u128		first;
	u128		last;
	int			from_port;
	int			to_port;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "value");
	InitMaterializedSRF(fcinfo, 0);
	pool = pool_open(nsp, text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	unit_parse(pool, text_to_cstring(PG_GETARG_TEXT_PP(1)), &first, &last,
			   &from_port, &to_port);
	if (!PG_ARGISNULL(2))
	{
		int			port = PG_GETARG_INT32(2);

		if (port < 0 || port > 65535)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid port: %d", port),
					 errhint("A port is a number from 0 to 65535.")));
		if (from_port >= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the value names ports already"),
					 errhint("Leave out the argument \"port\".")));
		from_port = to_port = port;
	}

	store_open(&store, nsp, AccessShareLock);
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];
		Extent		slots;
		SlotScan	scan;
		SlotRow		row;

		if (last < range->first || first > range->last)
			continue;
		slots = slots_of_values(&pool->space, range,
								Max(first, range->first),
								Min(last, range->last));

		/* a longer block may begin before it */
		if (pool->mixed && slots.first > 0)
		{
			Extent		before = {0, slots.first - 1};

			scan_by_lo(&scan, &store, pool->id, before,
					   BackwardScanDirection, snapshot);
			if (slot_scan_next(&scan, &row) &&
				block_last(row.lo, row.order) >= slots.first && is_held(&row))
				put_unit_row(rsinfo, pool, &row);
			slot_scan_end(&scan);
		}
		scan_by_lo(&scan, &store, pool->id, slots, ForwardScanDirection,
				   snapshot);
		while (slot_scan_next(&scan, &row))
		{
			if (is_held(&row) &&
				has_port(pool, &row, from_port, to_port))
				put_unit_row(rsinfo, pool, &row);
		}
		slot_scan_end(&scan);
	}
	UnregisterSnapshot(snapshot);
	store_close(&store);
	return (Datum) 0;
}

/* The bits of an address of that family; NULL stands for numbers. */
static int
family_width(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		return 0;
	if (PG_GETARG_INT32(argno) != 4 && PG_GETARG_INT32(argno) != 6)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid address family"),
				 errhint("It must be 4 or 6, or null.")));
	return PG_GETARG_INT32(argno) == 4 ? 32 : 128;
}

/*
 * alloc_describe(kind, family, port_chunk, first, last, base, lo, ord)
 * RETURNS (value, address, ports, kind): what the views show of a block.
 * Views call it with the caller's rights, so that anyone can, with anything.
 */
Datum
alloc_describe(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {
		"kind", NULL, NULL, "first", "last", "base", "lo", "ord"
	};
	char	   *kind;
	Range		range = {0};
	Pool		pool = {0};
	SlotRow		unit = {0};
	Datum		values[UNIT_COLUMNS];
	bool		nulls[UNIT_COLUMNS];
	Datum		shown[4];
	bool		hidden[4];

	for (int i = 0; i < lengthof(names); i++)
	{
		if (names[i] != NULL)
			require_argument(fcinfo, i, names[i]);
	}
	pool.name = "";
	pool.width = family_width(fcinfo, 1);
	kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	pool.kind = pool.width == 0 ? POOL_INT :
		strcmp(kind, "prefix") == 0 ? POOL_PREFIX : POOL_IP;
	if (!PG_ARGISNULL(2) && pool.kind == POOL_IP)
	{
		pool.port_chunk = PG_GETARG_INT32(2);
		if (pool.port_chunk < 1 || pool.port_chunk > 32768)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid port_chunk")));
		while (pool.port_chunk << pool.space.chunk_bits < 65536)
			pool.space.chunk_bits++;
	}
	range.first = number_argument(fcinfo, 3);
	range.last = number_argument(fcinfo, 4);
	range.base = number_argument(fcinfo, 5);
	pool.space.ranges = &range;
	pool.space.nranges = 1;
	unit.lo = number_argument(fcinfo, 6);
	unit.order = PG_GETARG_INT16(7);

	if (unit.order < 0 || unit.order > pool.width + pool.space.chunk_bits ||
		range.last < range.first)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid block")));

	/* the planner may ask before it has compared the block to the range */
	if (space_range_of_slot(&pool.space, unit.lo) == NULL)
		PG_RETURN_NULL();

	unit_columns(&pool, &unit, values, nulls);
	for (int i = 0; i < 4; i++)
	{
		shown[i] = values[i + 2];
		hidden[i] = nulls[i + 2];
	}
	PG_RETURN_DATUM(return_row(fcinfo, shown, hidden));
}

/* alloc_range_text(family, first, last) RETURNS text: as a caller wrote it */
Datum
alloc_range_text(PG_FUNCTION_ARGS)
{
	Range		range = {0};
	Pool		pool = {.kind = POOL_INT};

	require_argument(fcinfo, 1, "first");
	require_argument(fcinfo, 2, "last");
	pool.width = family_width(fcinfo, 0);
	if (pool.width > 0)
		pool.kind = POOL_IP;
	range.first = range.base = number_argument(fcinfo, 1);
	range.last = number_argument(fcinfo, 2);
	pool.space.ranges = &range;
	pool.space.nranges = 1;
	if (range.last < range.first)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid range")));
	PG_RETURN_TEXT_P(cstring_to_text(range_text(pool.kind, pool.width,
												range.first, range.last)));
}
