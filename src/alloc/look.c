/*
 * look.c
 *		The SQL functions that look at units, and the functions that the
 *		views and constraints of our tables call.
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "alloc/answer.h"
#include "alloc/share.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_get);
PG_FUNCTION_INFO_V1(alloc_find);
PG_FUNCTION_INFO_V1(alloc_describe);
PG_FUNCTION_INFO_V1(alloc_range_text);
PG_FUNCTION_INFO_V1(alloc_kind_fits);
PG_FUNCTION_INFO_V1(alloc_mixed);

/* Is the row's unit held by a key, and has it not run out? */
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
	pool = pool_open(nsp, text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_SEE);
	store_open(&store, nsp, AccessShareLock);
	/* Unlike an allocation, a look goes by the snapshot of the query. */
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	if (pool->counted)
	{
		if (held_read(&store, pool, PG_GETARG_UUID_P(1), snapshot, &row))
			put_unit_row((ReturnSetInfo *) fcinfo->resultinfo, pool, &row);
		UnregisterSnapshot(snapshot);
		store_close(&store);
		return (Datum) 0;
	}
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

/*
 * Does the unit have one of these ports?  True for every unit if from is -1,
 * and for units that are not chunks.
 */
static bool
has_port(const Pool *pool, const SlotRow *unit, int from, int to)
{
	int			port;

	if (from < 0 || !is_chunk(pool, unit))
		return true;
	port = first_port(pool, unit);
	return port <= to && port + pool->port_chunk - 1 >= from;
}

/* Read the note of several units in a row, which the first one's row has. */
static void
read_note(Store *store, const Pool *pool, Snapshot snapshot, SlotRow *row)
{
	u128		lo = row->lo - ((u128) row->run_place << row->order);
	Extent		slot = {lo, lo};
	SlotScan	scan;
	SlotRow		first;

	scan_by_slot(&scan, store, pool->id, slot, ForwardScanDirection,
				 snapshot);
	while (!row->has_note && slot_scan_next(&scan, &first))
	{
		if (!first.has_note || first.generation != row->generation)
			continue;
		row_keep(&first);
		row->note = first.note;
		row->has_note = true;
	}
	slot_scan_end(&scan);
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
	BlockScan	scan;
	SlotRow		row;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "value");
	InitMaterializedSRF(fcinfo, 0);
	pool = pool_open(nsp, text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_SEE);
	pool_require_values(pool);
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

	/*
	 * A value stands for all of its slots: a chunk of an address is found by
	 * the address, and an address or prefix by any value in it.
	 */
	block_scan_begin(&scan, &store, pool,
					 slots_of_values(&pool->space, first, last), snapshot);
	while (block_scan_next(&scan, &row))
	{
		u128		value = space_value(&pool->space, row.lo);

		/*
		 * Slots of an IPv6 pool with port chunks can stand for values of
		 * different windows; see space.c.
		 */
		if (value > last || (value < first && pool->space.chunk_bits > 0))
			continue;
		if (!is_held(&row) || !has_port(pool, &row, from_port, to_port))
			continue;
		if (row.run_place > 0)
			read_note(&store, pool, snapshot, &row);
		put_unit_row(rsinfo, pool, &row);
	}
	block_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	store_close(&store);
	return (Datum) 0;
}

/*
 * Return a numeric argument as u128, or raise 22023.  Used by the functions
 * that serve the views, which anybody can call.
 */
static u128
number_argument(FunctionCallInfo fcinfo, int argno)
{
	Datum		out = DirectFunctionCall1(numeric_out, PG_GETARG_DATUM(argno));
	char	   *text = DatumGetCString(out);
	u128		n;

	if (!u128_parse(text, &n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid number: \"%s\"", text)));
	return n;
}

/*
 * Return the kind named by an argument, and the width of its values, which
 * depends on the family in the next argument; 22023 if there is none such.
 */
static PoolKind
kind_argument(FunctionCallInfo fcinfo, int argno, int *width)
{
	PoolKind	kind = word_argument(fcinfo, argno, "kind", kind_words());
	int			family = PG_ARGISNULL(argno + 1) ? 0 :
		PG_GETARG_INT32(argno + 1);

	if (!kind_find_width(kind, family, width))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind \"%s\" has no such family", kind_name(kind))));
	return kind;
}

/*
 * alloc_describe(kind, family, port_chunk, near, first_slot, size_log2,
 * run_size, run_place)
 * RETURNS (value, address, ports, kind, number, mac, last, n)
 *
 * What the views show of a block.  near is a value of the pool, or 0 if it has
 * none.  The views call this function with the caller's rights, so anybody can
 * call it with any arguments: check them all.
 */
Datum
alloc_describe(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {
		"kind", NULL, NULL, "near", "first_slot", "size_log2"
	};
	/* columns of alloc_unit that depend on the block, in ascending order */
	static const int shown[] = {2, 3, 4, 5, 10, 11, 12, 13};
	Range		range = {0};
	Pool		pool = {0};
	SlotRow		unit = {0};
	Datum		values[UNIT_COLUMNS];
	bool		nulls[UNIT_COLUMNS];

	for (int i = 0; i < lengthof(names); i++)
	{
		if (names[i] != NULL)
			require_argument(fcinfo, i, names[i]);
	}
	pool.name = "";
	pool.kind = kind_argument(fcinfo, 0, &pool.width);
	if (!PG_ARGISNULL(2) && kind_has_ports(pool.kind))
	{
		pool.port_chunk = PG_GETARG_INT32(2);
		if (pool.port_chunk < 1 || pool.port_chunk > 32768)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid port_chunk")));
		while (pool.port_chunk << pool.space.chunk_bits < 65536)
			pool.space.chunk_bits++;
	}

	/*
	 * space_value() needs a range only to know the window of the slot's value.
	 */
	range.first = range.last = number_argument(fcinfo, 3);
	pool.space.ranges = &range;
	pool.space.nranges = 1;
	unit.lo = number_argument(fcinfo, 4);
	unit.order = PG_GETARG_INT16(5);
	if (unit.order < 0 || unit.order > MAX_ORDER ||
		unit.order > pool.width + pool.space.chunk_bits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid block")));

	unit.run_size = PG_ARGISNULL(6) ? 1 : PG_GETARG_INT32(6);
	unit.run_place = PG_ARGISNULL(7) ? 0 : PG_GETARG_INT32(7);
	if (unit.run_size > MAX_RUN || unit.run_place < 0 ||
		unit.run_place >= unit.run_size ||
		(is_run(&unit) &&
		 unit.lo > U128_MAX - ((u128) unit.run_size << unit.order)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid block")));

	unit_columns(&pool, &unit, values, nulls);
	for (int i = 0; i < lengthof(shown); i++)
	{
		values[i] = values[shown[i]];
		nulls[i] = nulls[shown[i]];
	}
	PG_RETURN_DATUM(return_row(fcinfo, values, nulls));
}

/*
 * alloc_range_text(kind, family, first, last) RETURNS text
 *
 * The range as a caller would write it.
 */
Datum
alloc_range_text(PG_FUNCTION_ARGS)
{
	PoolKind	kind;
	int			width;
	u128		first;
	u128		last;

	require_argument(fcinfo, 2, "first");
	require_argument(fcinfo, 3, "last");
	kind = kind_argument(fcinfo, 0, &width);
	first = number_argument(fcinfo, 2);
	last = number_argument(fcinfo, 3);
	if (last < first)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid range")));
	PG_RETURN_TEXT_P(cstring_to_text(range_text(kind, width, first, last)));
}

/*
 * alloc_kind_fits(kind, family, port_chunk) RETURNS boolean
 *
 * Is there such a kind, with such a family, and chunks, if port_chunk is not
 * NULL?  A constraint of alloc_pool.
 */
Datum
alloc_kind_fits(PG_FUNCTION_ARGS)
{
	PoolKind	kind;
	int			width;

	PG_RETURN_BOOL(!PG_ARGISNULL(0) &&
				   kind_find(text_to_cstring(PG_GETARG_TEXT_PP(0)), &kind) &&
				   kind_find_width(kind, PG_ARGISNULL(1) ? 0 :
								   PG_GETARG_INT32(1), &width) &&
				   (PG_ARGISNULL(2) || kind_has_ports(kind)));
}

/*
 * alloc_mixed(kind, port_chunk) RETURNS boolean
 *
 * Can units of such a pool differ in size?
 */
Datum
alloc_mixed(PG_FUNCTION_ARGS)
{
	PoolKind	kind = word_argument(fcinfo, 0, "kind", kind_words());

	PG_RETURN_BOOL(kind_is_mixed(kind, PG_ARGISNULL(1) ? 0 :
								 PG_GETARG_INT32(1)));
}
