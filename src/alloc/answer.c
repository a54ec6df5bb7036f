/*
 * answer.c
 *		Results and errors of the SQL functions that allocate and look at
 *		units.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "alloc/answer.h"

/* The name of an outcome in alloc_result. */
const char *
alloc_outcome_name(Outcome outcome)
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
		case OUTCOME_RESERVED:
			return "reserved";
		case OUTCOME_WAITING:
			return "waiting";
		case OUTCOME_BUSY:
			return "busy";
	}
	elog(ERROR, "unexpected outcome %d", (int) outcome);
}

/* The last one of several units in a row, as text. */
static char *
last_text(const Pool *pool, const SlotRow *unit)
{
	u128		more = unit->run_size - 1 - unit->run_place;

	return unit_text(pool, unit->lo + (more << unit->order), unit->order);
}

/* What is requested and cannot be had, for messages. */
static char *
requested_text(const Pool *pool, const Request *request)
{
	char	   *first = resolve_text(pool, request);

	return request->n <= 1 ? first :
		psprintf("one of the %d units from %s on", request->n, first);
}

/*
 * Raise the error that stands for the outcome, unless the key has the unit
 * that it requested.  The SQLSTATE tells what may help: another value (PT409),
 * another key (PT422), another request (22023), or waiting (PT507).
 */
void
require_unit(const Pool *pool, const Request *request, const Answer *answer)
{
	StringInfoData detail;

	if (answer->outcome == OUTCOME_ALLOCATED ||
		answer->outcome == OUTCOME_HELD)
		return;

	/* Every error has the pool and the key in its DETAIL. */
	detail_begin(&detail);
	detail_text(&detail, "pool",
				answer->full != NULL ? answer->full : pool->name);
	/* a pool above has too little */
	if (answer->full != NULL)
		detail_text(&detail, "requested", pool->name);
	detail_text(&detail, "key", uuid_text(&request->key));
	if (request->position != NULL)
		detail_text(&detail, "position", request->position);
	switch (answer->outcome)
	{
		case OUTCOME_TAKEN:
			detail_text(&detail, "value",
						resolve_text(pool, request));
			ereport(ERROR,
					(errcode(ERRCODE_CAS_CONFLICT),
					 errmsg("%s of pool \"%s\" belongs to another key",
							requested_text(pool, request), pool->name),
					 errdetail_internal("%s", detail_end(&detail))));
			break;
		case OUTCOME_REUSED:
			detail_text(&detail, "value",
						unit_text(pool, answer->unit.lo, answer->unit.order));
			if (is_run(&answer->unit))
				detail_text(&detail, "last", last_text(pool, &answer->unit));
			ereport(ERROR,
					(errcode(ERRCODE_CAS_KEY_REUSED),
					 errmsg("the key has %s of pool \"%s\", which is not what is requested",
							unit_text(pool, answer->unit.lo,
									  answer->unit.order), pool->name),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("Use another key for another request, or release this one.")));
			break;
		case OUTCOME_RESERVED:
			detail_text(&detail, "value",
						resolve_text(pool, request));
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s of pool \"%s\" is reserved",
							requested_text(pool, request), pool->name),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("See alloc_unreserve().")));
			break;
		case OUTCOME_COOLING:
			detail_text(&detail, "reason", "cooling");
			detail_time(&detail, "ready_at", answer->ready_at);
			if (request->exact && !pool->counted)
				detail_text(&detail, "value",
							resolve_text(pool, request));
			ereport(ERROR,
					(errcode(ERRCODE_CAS_EXHAUSTED),
					 request->exact && !pool->counted && answer->full == NULL ?
					 errmsg("%s of pool \"%s\" is cooling down",
							requested_text(pool, request), pool->name) :
					 errmsg("pool \"%s\" has nothing to give out yet",
							answer->full != NULL ? answer->full : pool->name),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("Released units are cooling down; try again after ready_at.")));
			break;
		case OUTCOME_BUSY:
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("could not get a share of pool \"%s\" in time",
							answer->full != NULL ? answer->full : pool->name),
					 errdetail_internal("%s", detail_end(&detail))));
			break;
		default:
			detail_text(&detail, "reason", alloc_outcome_name(answer->outcome));
			if (answer->ready)
				detail_time(&detail, "ready_at", answer->ready_at);
			ereport(ERROR,
					(errcode(ERRCODE_CAS_EXHAUSTED),
					 answer->outcome == OUTCOME_WAITING ?
					 errmsg("others stand in line for pool \"%s\"",
							answer->full != NULL ? answer->full : pool->name) :
					 errmsg("pool \"%s\" is exhausted",
							answer->full != NULL ? answer->full : pool->name),
					 errdetail_internal("%s", detail_end(&detail)),
					 answer->outcome == OUTCOME_WAITING ?
					 errhint("Stand in line, too, with the argument \"wait\".") :
					 answer->outcome == OUTCOME_FRAGMENTED ?
					 errhint("There is room, but not in one piece of that size.") :
					 pool->counted || answer->full != NULL ?
					 errhint("Release units, or raise the pool's capacity with alloc_pool_set().") :
					 errhint("Release units, or grow the pool with alloc_pool_grow().")));
			break;
	}
}

/* The first port of a chunk. */
int
first_port(const Pool *pool, const SlotRow *unit)
{
	return space_chunk(&pool->space, unit->lo) * pool->port_chunk;
}

/* Make an int4range of nports ports. */
static Datum
ports_datum(int first, int nports)
{
	TypeCacheEntry *type = lookup_type_cache(INT4RANGEOID,
											 TYPECACHE_RANGE_INFO);
	RangeBound	lower = {
		.val = Int32GetDatum(first),
		.inclusive = true,
		.lower = true
	};
	RangeBound	upper = {.val = Int32GetDatum(first + nports)};

	return RangeTypePGetDatum(make_range(type, &lower, &upper, false, NULL));
}

/* Is the unit a chunk of ports? */
bool
is_chunk(const Pool *pool, const SlotRow *unit)
{
	return unit->order < pool->space.chunk_bits;
}

/* The unit's address, or prefix, as inet. */
Datum
unit_address(const Pool *pool, const SlotRow *unit)
{
	return address_datum(pool->width, space_value(&pool->space, unit->lo),
						 unit_masklen(pool, unit->order));
}

/* Set the columns of an alloc_unit that have the value in its own type. */
static void
typed_columns(const Pool *pool, const SlotRow *unit, Datum *values,
			  bool *nulls)
{
	u128		value = space_value(&pool->space, unit->lo);

	nulls[3] = nulls[10] = nulls[11] = true;
	switch (kind_column(pool->kind))
	{
		case COLUMN_ADDRESS:
			nulls[3] = false;
			values[3] = unit_address(pool, unit);
			break;
		case COLUMN_NUMBER:
			/* the extension's owner can write others to our tables */
			nulls[10] = value > (u128) PG_INT64_MAX;
			values[10] = Int64GetDatum((int64) value);
			break;
		case COLUMN_MAC:
			nulls[11] = false;
			values[11] = kind_macaddr8(pool->kind, value);
			break;
		case COLUMN_NONE:
			break;
	}
}

/* Set the columns of an alloc_unit. */
void
unit_columns(const Pool *pool, const SlotRow *unit, Datum *values,
			 bool *nulls)
{
	memset(nulls, false, UNIT_COLUMNS * sizeof(bool));
	typed_columns(pool, unit, values, nulls);
	values[0] = CStringGetTextDatum(pool->name);
	values[1] = UUIDPGetDatum(&unit->key);
	values[2] = CStringGetTextDatum(unit_text(pool, unit->lo, unit->order));
	/* only chunks have ports */
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
	if (unit->has_note)
		values[9] = PointerGetDatum(PG_DETOAST_DATUM(unit->note));
	nulls[12] = !is_run(unit);
	if (is_run(unit))
		values[12] = CStringGetTextDatum(last_text(pool, unit));
	values[13] = Int64GetDatum(pool->counted ? (int64) unit->lo :
							   Max(1, unit->run_size));
}

/* Add an alloc_unit to the function's result. */
void
put_unit_row(ReturnSetInfo *rsinfo, const Pool *pool, const SlotRow *unit)
{
	Datum		values[UNIT_COLUMNS];
	bool		nulls[UNIT_COLUMNS];

	unit_columns(pool, unit, values, nulls);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Form the composite value that the function returns. */
Datum
return_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values,
											 nulls));
}

/* Form the alloc_result that a try form returns. */
Datum
return_result(FunctionCallInfo fcinfo, const Pool *pool,
			  const Request *request, const Answer *answer)
{
	Datum		values[4] = {0};
	bool		nulls[4] = {false, true, true, true};

	values[0] = CStringGetTextDatum(alloc_outcome_name(answer->outcome));
	switch (answer->outcome)
	{
		case OUTCOME_ALLOCATED:
		case OUTCOME_HELD:
		case OUTCOME_REUSED:
			values[1] = CStringGetTextDatum(unit_text(pool, answer->unit.lo,
													  answer->unit.order));
			values[2] = Int64GetDatum(answer->unit.generation);
			nulls[1] = nulls[2] = false;
			break;
		case OUTCOME_COOLING:
		case OUTCOME_EXHAUSTED:
			values[3] = TimestampTzGetDatum(answer->ready_at);
			nulls[3] = !answer->ready;
			break;
		case OUTCOME_TAKEN:
		case OUTCOME_RESERVED:
			values[1] = CStringGetTextDatum(resolve_text(pool, request));
			nulls[1] = false;
			break;
		case OUTCOME_FRAGMENTED:
		case OUTCOME_WAITING:
		case OUTCOME_BUSY:
			break;
	}
	return return_row(fcinfo, values, nulls);
}
