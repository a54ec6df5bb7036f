/*
 * manage.c
 *		Allocation: the SQL functions that change pools, look at them as a
 *		whole, and clean up.
 *
 * They are called seldom and say what they do in SQL, run as the owner of the
 * extension's tables on the latest state of these tables, with a search_path
 * that holds nothing but pg_catalog.  What the caller may do is checked
 * before.  They hold the pool's lock exclusively (pool.c), so rows in it do
 * not change meanwhile but by the end of transactions that were before them.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "alloc/alloc.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_pool_create);
PG_FUNCTION_INFO_V1(alloc_pool_set);
PG_FUNCTION_INFO_V1(alloc_pool_grow);
PG_FUNCTION_INFO_V1(alloc_pool_shrink);
PG_FUNCTION_INFO_V1(alloc_pool_drop);
PG_FUNCTION_INFO_V1(alloc_reserve);
PG_FUNCTION_INFO_V1(alloc_unreserve);
PG_FUNCTION_INFO_V1(alloc_grant);
PG_FUNCTION_INFO_V1(alloc_revoke);
PG_FUNCTION_INFO_V1(alloc_usage);
PG_FUNCTION_INFO_V1(alloc_map);
PG_FUNCTION_INFO_V1(alloc_verify);
PG_FUNCTION_INFO_V1(alloc_rebuild);
PG_FUNCTION_INFO_V1(alloc_reap);

/*
 * SQL as the owner.
 */
typedef struct Session
{
	Oid			nsp;
	OwnerScope	scope;
} Session;

static void
begin_sql(Session *session, Oid nsp)
{
	session->nsp = nsp;
	owner_sql_begin(&session->scope);
}

static void
end_sql(Session *session)
{
	owner_sql_end(&session->scope);
}

static uint64
sql(Session *session, const char *statement, int nargs, Oid *types,
	Datum *values)
{
	return owner_sql(statement, nargs, types, values);
}

static Datum
sql_result(uint64 row, int column)
{
	bool		isnull;

	return owner_sql_value(row, column, &isnull);
}

/* The common shapes of arguments. */
#define ARGS(...) lengthof(((Oid[]) {__VA_ARGS__})), (Oid[]) {__VA_ARGS__}
#define VALUES(...) (Datum[]) {__VA_ARGS__}

/* Lock the rows of the pool's frontiers; returns how many. */
static uint64
lock_frontiers(Session *session, int32 pool, const char *option)
{
	return sql(session,
			   psprintf("SELECT 1 FROM @alloc_frontier WHERE range IN "
						"(SELECT id FROM @alloc_range WHERE pool = $1) "
						"FOR UPDATE %s", option),
			   ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

/*
 * Begin to change a pool: its lock, and the caller's right.
 *
 * Allocations update the frontiers' rows, and an idle transaction may have
 * done so.  Waiting for it with the pool's lock in hand would make everybody
 * wait; so those rows are locked first.  Allocations that come then find them
 * locked, and go on without.
 */
static Pool *
change_pool(FunctionCallInfo fcinfo, char **name)
{
	Oid			nsp = alloc_namespace(fcinfo);
	Session		session;
	int32		id;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");
	*name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	id = pool_open(nsp, *name, RIGHT_OWN)->id;	/* before waiting for a lock */
	PreventCommandIfReadOnly(psprintf("%s()",
									  get_func_name(fcinfo->flinfo->fn_oid)));
	begin_sql(&session, nsp);
	(void) lock_frontiers(&session, id, "");
	end_sql(&session);
	return pool_open_locked(nsp, *name, id, RIGHT_OWN, ExclusiveLock);
}

/* Make all backends forget what they know of the pool. */
static void
new_epoch(Session *session, int32 pool)
{
	sql(session, "UPDATE @alloc_pool SET epoch = "
		"nextval('@alloc_generation') WHERE id = $1",
		ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

static void pg_attribute_noreturn()
invalid_argument(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 errhint("%s", hint)));
}

static const char *const kinds[] = {"ip", "prefix", "int", NULL};
static const char *const strategies[] = {"any", "lowest", "random", NULL};

static void
check_cooldown(Interval *cooldown)
{
	TimestampTz now = GetCurrentTimestamp();

	check_interval(cooldown, "cooldown");
	if (time_after(now, cooldown) < now)
		invalid_argument("cooldown must not be negative",
						 "It is the time for which a released unit is not given out.");
}

/*
 * Is any of these slots held, or a running transaction's?
 */
static bool
in_use(Store *store, const Pool *pool, Extent slots)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		result = false;
	SlotScan	scan;
	SlotRow		row;

	for (int part = 0; part < 2 && !result; part++)
	{
		Extent		before = {0, slots.first - 1};

		if (part == 1 && (slots.first == 0 || !pool->mixed))
			break;
		scan_by_lo(&scan, store, pool->id, part == 0 ? slots : before,
				   part == 0 ? ForwardScanDirection : BackwardScanDirection,
				   NULL);
		while (!result && slot_scan_next(&scan, &row) &&
			   block_last(row.lo, row.order) >= slots.first)
		{
			result = TransactionIdIsValid(row.inserter) ||
				TransactionIdIsValid(row.deleter) ||
				(row.held && !has_run_out(&row, now));
			if (part == 1)
				break;
		}
		slot_scan_end(&scan);
	}
	return result;
}

/*
 * Remove rows that are not in use from these slots; those that are cooling
 * only if told so.
 */
static void
sweep(Store *store, const Pool *pool, Extent slots, bool cooling)
{
	TimestampTz now = GetCurrentTimestamp();
	SlotScan	scan;
	SlotRow		row;

	scan_by_lo(&scan, store, pool->id, slots, ForwardScanDirection, NULL);
	while (slot_scan_next(&scan, &row))
	{
		if (TransactionIdIsValid(row.inserter) ||
			TransactionIdIsValid(row.deleter) ||
			((row.held || !cooling) && !has_run_out(&row, now)))
			continue;
		if (store_delete(store, &row) == TM_Ok && row.held)
			store_history(store, pool, &row, row.expires_at, "expired");
	}
	slot_scan_end(&scan);
}

static void
delete_range(Session *session, int32 range)
{
	sql(session, "DELETE FROM @alloc_range WHERE id = $1", ARGS(INT4OID),
		VALUES(Int32GetDatum(range)));
}

/* Remove the draining ranges whose last unit has gone; true if there were. */
static bool
purge_drained(Session *session, Pool *pool)
{
	Store		store;
	bool		purged = false;

	store_open(&store, session->nsp, RowExclusiveLock);
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];
		Extent		slots = range_slots(range, pool->space.chunk_bits);

		if (!range->draining || in_use(&store, pool, slots))
			continue;
		sweep(&store, pool, slots, true);
		delete_range(session, range->id);
		purged = true;
	}
	store_close(&store);
	if (purged)
		new_epoch(session, pool->id);
	return purged;
}

/* Add a range that overlaps with none.  frontier: that of its first slot. */
static void
insert_range(Session *session, int32 pool, bool mixed, const Range *range,
			 u128 frontier)
{
	int32		id;

	sql(session, "INSERT INTO @alloc_range "
		"(pool, first, last, base, draining) VALUES ($1, $2, $3, $4, $5) RETURNING id",
		ARGS(INT4OID, NUMERICOID, NUMERICOID, NUMERICOID, BOOLOID),
		VALUES(Int32GetDatum(pool), u128_numeric(range->first),
			   u128_numeric(range->last), u128_numeric(range->base),
			   BoolGetDatum(range->draining)));
	id = DatumGetInt32(sql_result(0, 1));
	if (!mixed)
		sql(session, "INSERT INTO @alloc_frontier VALUES ($1, $2)",
			ARGS(INT4OID, NUMERICOID),
			VALUES(Int32GetDatum(id), u128_numeric(frontier)));
}

/*
 * Cut the values from first to last out of a range, which has some of them:
 * its parts keep their slots.  What is cut out drains, or if keep is false, is
 * gone.
 */
static void
cut_range(Session *session, Store *store, const Pool *pool,
		  const Range *range, u128 first, u128 last, bool keep)
{
	Range		left = *range;
	Range		middle = *range;
	Range		right = *range;
	Extent		slots;
	u128		frontier;

	middle.first = Max(first, range->first);
	middle.last = Min(last, range->last);
	slots = slots_of_values(&pool->space, range, middle.first, middle.last);
	if (!store_frontier(store, range->id, &frontier, NULL, NULL))
		frontier = range->base;
	delete_range(session, range->id);
	if (left.first < middle.first)
	{
		left.last = middle.first - 1;
		insert_range(session, pool->id, pool->mixed, &left,
					 Min(frontier, slots.first));
	}
	middle.base = slots.first;
	middle.draining = true;
	if (keep)
		insert_range(session, pool->id, pool->mixed, &middle, middle.base);
	if (right.last > middle.last)
	{
		right.first = middle.last + 1;
		right.base = slots.last + 1;
		insert_range(session, pool->id, pool->mixed, &right,
					 Max(frontier, right.base));
	}
}

/*
 * Put ranges together again that a drain had cut and that are all given out.
 * They are known by their slots: those of ranges that were added one by one
 * never touch (add_range).  True if there were such.
 */
static bool
join_ranges(Session *session, const Pool *pool)
{
	const Space *space = &pool->space;
	int			first = 0;		/* of those that are one */
	bool		joined = false;

	for (int i = 1; i < space->nranges; i++)
	{
		const Range *before = &space->ranges[i - 1];
		const Range *range = &space->ranges[i];

		if (before->draining || range->draining ||
			before->last + 1 != range->first ||
			range_slots(before, space->chunk_bits).last + 1 != range->base)
		{
			first = i;
			continue;
		}
		delete_range(session, range->id);
		sql(session, "UPDATE @alloc_range SET last = $2 WHERE id = $1",
			ARGS(INT4OID, NUMERICOID),
			VALUES(Int32GetDatum(space->ranges[first].id),
				   u128_numeric(range->last)));
		joined = true;
	}
	return joined;
}

/*
 * Add values to a pool: 23P01 if it has some of them.  At least one slot
 * remains free between ranges, see join_ranges.
 */
static void
add_range(Session *session, int32 pool, bool mixed, int chunk_bits,
		  u128 first, u128 last, const char *range_text)
{
	Range		range = {.first = first, .last = last};
	u128		at_least = 0;

	sql(session, "SELECT first, last, base FROM @alloc_range WHERE pool = $1",
		ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Range		other = {
			.first = numeric_u128(sql_result(i, 1)),
			.last = numeric_u128(sql_result(i, 2)),
			.base = numeric_u128(sql_result(i, 3))
		};

		if (first <= other.last && last >= other.first)
			ereport(ERROR,
					(errcode(ERRCODE_EXCLUSION_VIOLATION),
					 errmsg("range %s overlaps with another of the pool",
							range_text)));
		at_least = Max(at_least, range_slots(&other, chunk_bits).last + 2);
	}
	if (!range_base(first, last, chunk_bits, at_least, &range.base))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("pool has no room for range %s", range_text)));
	insert_range(session, pool, mixed, &range, range.base);
}

/*
 * alloc_pool_create(pool, ranges, kind, strategy, cooldown, port_chunk)
 */
Datum
alloc_pool_create(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	Oid			owner = GetUserId();
	Session		session;
	char	   *name;
	const char *kind_name;
	const char *strategy;
	PoolKind	kind;
	Interval   *cooldown;
	int			port_chunk = 0;
	int			chunk_bits = 0;
	int			family = 0;
	int32		id;
	Datum	   *ranges;
	bool	   *nulls;
	int			nranges;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "ranges");
	kind_name = kinds[word_argument(fcinfo, 2, "kind", kinds)];
	strategy = strategies[word_argument(fcinfo, 3, "strategy", strategies)];
	require_argument(fcinfo, 4, "cooldown");
	cooldown = PG_GETARG_INTERVAL_P(4);
	check_cooldown(cooldown);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (name[0] == '\0')
		invalid_argument("a pool's name must not be empty",
						 "Any other text will do.");
	kind = strcmp(kind_name, "ip") == 0 ? POOL_IP :
		strcmp(kind_name, "int") == 0 ? POOL_INT : POOL_PREFIX;
	if (!PG_ARGISNULL(5))
	{
		port_chunk = PG_GETARG_INT32(5);
		if (kind != POOL_IP)
			invalid_argument("port_chunk is for pools of kind \"ip\"",
							 "Leave it out.");
		if (port_chunk < 1 || port_chunk > 32768 ||
			(port_chunk & (port_chunk - 1)) != 0)
			invalid_argument("invalid port_chunk",
							 "It must be a power of two, from 1 to 32768.");
		while (port_chunk << chunk_bits < 65536)
			chunk_bits++;
	}
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false,
					  TYPALIGN_INT, &ranges, &nulls, &nranges);
	if (nranges == 0)
		invalid_argument("a pool needs a range",
						 "A range is like 10.0.0.0/24, 10.0.0.10-10.0.0.99 or 100-4094.");

	PreventCommandIfReadOnly("alloc_pool_create()");
	begin_sql(&session, nsp);
	sql(&session, "INSERT INTO @alloc_pool "
		"(name, kind, strategy, cooldown, owner) VALUES ($1, $2, $3, $4, $5) RETURNING id",
		ARGS(TEXTOID, TEXTOID, TEXTOID, INTERVALOID, REGROLEOID),
		VALUES(CStringGetTextDatum(name), CStringGetTextDatum(kind_name),
			   CStringGetTextDatum(strategy), IntervalPGetDatum(cooldown),
			   ObjectIdGetDatum(owner)));
	id = DatumGetInt32(sql_result(0, 1));
	for (int i = 0; i < nranges; i++)
	{
		char	   *range;
		u128		first;
		u128		last;
		int			width;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"ranges\" must not contain nulls")));
		range = TextDatumGetCString(ranges[i]);
		range_parse(kind, range, &width, &first, &last);
		if (i > 0 && family != (width == 32 ? 4 : 6) && width != 0)
			invalid_argument("a pool's ranges must be of one address family",
							 "Make a pool for each.");
		family = width == 0 ? 0 : width == 32 ? 4 : 6;
		add_range(&session, id, kind == POOL_PREFIX || port_chunk > 0,
				  chunk_bits, first, last, range);
	}
	sql(&session, "UPDATE @alloc_pool SET family = nullif($2, 0), "
		"port_chunk = nullif($3, 0) WHERE id = $1",
		ARGS(INT4OID, INT4OID, INT4OID),
		VALUES(Int32GetDatum(id), Int32GetDatum(family),
			   Int32GetDatum(port_chunk)));
	new_epoch(&session, id);
	end_sql(&session);
	PG_RETURN_VOID();
}

/*
 * Queue the waiting rows of a pool as its strategy wants it; those that are
 * in the right place are left alone.
 */
static void
requeue(Session *session, int32 pool)
{
	sql(session, "UPDATE @alloc_slot AS s SET rank = r.rank "
		"FROM @alloc_ranks($1) AS r WHERE s.pool = $1 AND s.lo = r.lo "
		"AND s.rank IS DISTINCT FROM r.rank",
		ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

/* alloc_pool_set(pool, strategy, cooldown, owner): NULL leaves as it is */
Datum
alloc_pool_set(PG_FUNCTION_ARGS)
{
	Session		session;
	char	   *name;
	int32		id = change_pool(fcinfo, &name)->id;
	const char *strategy = PG_ARGISNULL(1) ? NULL :
		strategies[word_argument(fcinfo, 1, "strategy", strategies)];
	Interval   *cooldown = PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2);

	if (cooldown != NULL)
		check_cooldown(cooldown);
	if (!PG_ARGISNULL(3))
	{
		(void) GetUserNameFromId(PG_GETARG_OID(3), false);
		check_is_member_of_role(GetUserId(), PG_GETARG_OID(3));
	}

	begin_sql(&session, alloc_namespace(fcinfo));
	if (cooldown != NULL)
		sql(&session, "UPDATE @alloc_pool SET cooldown = $2 WHERE id = $1",
			ARGS(INT4OID, INTERVALOID),
			VALUES(Int32GetDatum(id), IntervalPGetDatum(cooldown)));
	if (!PG_ARGISNULL(3))
		sql(&session, "UPDATE @alloc_pool SET owner = $2 WHERE id = $1",
			ARGS(INT4OID, REGROLEOID),
			VALUES(Int32GetDatum(id), PG_GETARG_DATUM(3)));
	if (strategy != NULL)
	{
		sql(&session, "UPDATE @alloc_pool SET strategy = $2 WHERE id = $1",
			ARGS(INT4OID, TEXTOID),
			VALUES(Int32GetDatum(id), CStringGetTextDatum(strategy)));
		requeue(&session, id);
		new_epoch(&session, id);
	}
	end_sql(&session);
	PG_RETURN_VOID();
}

/*
 * The values that a range names, for changing the pool: a network in full.
 */
static void
change_values(FunctionCallInfo fcinfo, const Pool *pool, char **range_text,
			  u128 *first, u128 *last)
{
	int			width;

	require_argument(fcinfo, 1, "range");
	*range_text = text_to_cstring(PG_GETARG_TEXT_PP(1));
	range_parse(pool->kind == POOL_INT ? POOL_INT : POOL_PREFIX, *range_text,
				&width, first, last);
	if (width != pool->width)
		invalid_argument("the range is not of the pool's address family",
						 "Make a pool for each.");
}

/* Does a range drain, and lie between these values? */
static bool
is_undrained_by(const Range *range, u128 first, u128 last)
{
	return range->draining && range->first >= first && range->last <= last;
}

/*
 * Cut draining ranges that these values lie across; true if there were such.
 */
static bool
cut_draining(Session *session, const Pool *pool, u128 first, u128 last)
{
	Store		store;
	bool		cut = false;

	store_open(&store, session->nsp, RowExclusiveLock);
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];

		if (!range->draining || is_undrained_by(range, first, last) ||
			last < range->first || first > range->last)
			continue;
		cut_range(session, &store, pool, range, first, last, true);
		cut = true;
	}
	store_close(&store);
	if (cut)
		new_epoch(session, pool->id);
	return cut;
}

/*
 * alloc_pool_grow(pool, range)
 *
 * What is draining of the range, a network in full as alloc_pool_shrink took
 * it, is taken back, and is then one with what it was cut from.  What is added
 * has only a network's hosts; it may overlap with what has been drained to the
 * end, but not with what still has units.
 */
Datum
alloc_pool_grow(PG_FUNCTION_ARGS)
{
	Session		session;
	char	   *name;
	Pool	   *pool = change_pool(fcinfo, &name);
	char	   *range_text;
	u128		first;
	u128		last;
	u128		whole_first;
	u128		whole_last;
	u128		undrained = 0;
	int			width;

	change_values(fcinfo, pool, &range_text, &whole_first, &whole_last);
	range_parse(pool->kind, range_text, &width, &first, &last);

	begin_sql(&session, alloc_namespace(fcinfo));
	if (cut_draining(&session, pool, whole_first, whole_last))
		pool = pool_open(session.nsp, name, RIGHT_NONE);
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];

		if (is_undrained_by(range, whole_first, whole_last) &&
			range->first <= last && range->last >= first)
			undrained += Min(range->last, last) - Max(range->first, first) + 1;
	}
	if (undrained != last - first + 1 && purge_drained(&session, pool))
		pool = pool_open(session.nsp, name, RIGHT_NONE);
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];

		if (!is_undrained_by(range, whole_first, whole_last))
			continue;
		sql(&session, "UPDATE @alloc_range SET draining = false WHERE id = $1",
			ARGS(INT4OID), VALUES(Int32GetDatum(range->id)));
		sql(&session, "UPDATE @alloc_frontier SET slot = $2 WHERE range = $1",
			ARGS(INT4OID, NUMERICOID),
			VALUES(Int32GetDatum(range->id), u128_numeric(range->base)));
	}
	if (undrained != last - first + 1)
		add_range(&session, pool->id, pool->mixed, pool->space.chunk_bits,
				  first, last, range_text);
	new_epoch(&session, pool->id);
	pool = pool_open(session.nsp, name, RIGHT_NONE);
	if (join_ranges(&session, pool))
		new_epoch(&session, pool->id);
	end_sql(&session);
	PG_RETURN_VOID();
}

static void pg_attribute_noreturn()
not_in_pool(const char *range_text, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("no value of range %s is in pool \"%s\"", range_text, name),
			 errhint("See the ranges column of view alloc_pools.")));
}

static void pg_attribute_noreturn()
pool_in_use(const char *name, const char *what, const char *hint)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "pool", name);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("%s has units that are allocated", what),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("%s", hint)));
}

/*
 * alloc_pool_shrink(pool, range, drain)
 *
 * A range of the pool that is hit partly is cut; its parts keep their slots.
 * A part that drains stays, even when its last unit has gone, and what cools
 * in it goes on cooling: a drain can be undone.
 */
Datum
alloc_pool_shrink(PG_FUNCTION_ARGS)
{
	Session		session;
	Store		store;
	char	   *name;
	Pool	   *pool = change_pool(fcinfo, &name);
	bool		drain = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	char	   *range_text;
	u128		first;
	u128		last;
	bool		hit = false;

	change_values(fcinfo, pool, &range_text, &first, &last);
	begin_sql(&session, alloc_namespace(fcinfo));
	store_open(&store, session.nsp, RowExclusiveLock);
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];
		Extent		slots;

		if (last < range->first || first > range->last)
			continue;
		hit = true;
		slots = slots_of_values(&pool->space, range,
								Max(first, range->first),
								Min(last, range->last));
		if (!drain && in_use(&store, pool, slots))
			pool_in_use(name, psprintf("range %s", range_text),
						"Release them, or shrink the pool with drain => true.");
		sweep(&store, pool, slots, !drain);
		cut_range(&session, &store, pool, range, first, last, drain);
	}
	if (!hit)
		not_in_pool(range_text, name);
	store_close(&store);
	new_epoch(&session, pool->id);
	end_sql(&session);
	PG_RETURN_VOID();
}

/* alloc_pool_drop(pool) */
Datum
alloc_pool_drop(PG_FUNCTION_ARGS)
{
	Session		session;
	Store		store;
	char	   *name;
	Pool	   *pool = change_pool(fcinfo, &name);
	Extent		all = {0, U128_MAX};
	int32		id = pool->id;

	begin_sql(&session, alloc_namespace(fcinfo));
	store_open(&store, session.nsp, RowExclusiveLock);
	if (in_use(&store, pool, all))
		pool_in_use(name, psprintf("pool \"%s\"", name),
					"Release them first.");
	store_close(&store);
	sql(&session, "DELETE FROM @alloc_slot WHERE pool = $1", ARGS(INT4OID),
		VALUES(Int32GetDatum(id)));
	sql(&session, "DELETE FROM @alloc_past WHERE pool = $1", ARGS(INT4OID),
		VALUES(Int32GetDatum(id)));
	sql(&session, "DELETE FROM @alloc_pool WHERE id = $1", ARGS(INT4OID),
		VALUES(Int32GetDatum(id)));
	end_sql(&session);
	PG_RETURN_VOID();
}

/* alloc_reserve(pool, range, note) */
Datum
alloc_reserve(PG_FUNCTION_ARGS)
{
	Session		session;
	char	   *name;
	Pool	   *pool = change_pool(fcinfo, &name);
	char	   *range_text;
	u128		first;
	u128		last;
	bool		hit = false;

	change_values(fcinfo, pool, &range_text, &first, &last);
	for (int i = 0; i < pool->space.nranges; i++)
		hit |= first <= pool->space.ranges[i].last &&
			last >= pool->space.ranges[i].first;
	if (!hit)
		not_in_pool(range_text, name);

	begin_sql(&session, alloc_namespace(fcinfo));
	if (sql(&session, "SELECT 1 FROM @alloc_reserved WHERE pool = $1 "
			"AND first <= $3 AND last >= $2",
			ARGS(INT4OID, NUMERICOID, NUMERICOID),
			VALUES(Int32GetDatum(pool->id), u128_numeric(first),
				   u128_numeric(last))) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXCLUSION_VIOLATION),
				 errmsg("range %s overlaps with one that is reserved", range_text)));
	sql(&session, "INSERT INTO @alloc_reserved (pool, first, last) "
		"VALUES ($1, $2, $3)",
		ARGS(INT4OID, NUMERICOID, NUMERICOID),
		VALUES(Int32GetDatum(pool->id), u128_numeric(first),
			   u128_numeric(last)));
	if (!PG_ARGISNULL(2))
		sql(&session, "UPDATE @alloc_reserved SET note = $3 "
			"WHERE pool = $1 AND first = $2",
			ARGS(INT4OID, NUMERICOID, JSONBOID),
			VALUES(Int32GetDatum(pool->id), u128_numeric(first),
				   PG_GETARG_DATUM(2)));
	new_epoch(&session, pool->id);
	end_sql(&session);
	PG_RETURN_VOID();
}

/*
 * alloc_unreserve(pool, range)
 *
 * The frontiers of the ranges have to go back: they passed what was reserved.
 */
Datum
alloc_unreserve(PG_FUNCTION_ARGS)
{
	Session		session;
	char	   *name;
	Pool	   *pool = change_pool(fcinfo, &name);
	char	   *range_text;
	u128		first;
	u128		last;

	change_values(fcinfo, pool, &range_text, &first, &last);
	begin_sql(&session, alloc_namespace(fcinfo));
	if (sql(&session, "DELETE FROM @alloc_reserved "
			"WHERE pool = $1 AND first = $2 AND last = $3",
			ARGS(INT4OID, NUMERICOID, NUMERICOID),
			VALUES(Int32GetDatum(pool->id), u128_numeric(first),
				   u128_numeric(last))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CAS_NOT_FOUND),
				 errmsg("range %s is not reserved in pool \"%s\"", range_text,
						name),
				 errhint("Name the range as it was reserved.")));
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];

		if (last < range->first || first > range->last)
			continue;
		sql(&session, "UPDATE @alloc_frontier SET slot = least(slot, $2) "
			"WHERE range = $1",
			ARGS(INT4OID, NUMERICOID),
			VALUES(Int32GetDatum(range->id),
				   u128_numeric(space_slot(&pool->space, range,
										   Max(first, range->first)))));
	}
	new_epoch(&session, pool->id);
	end_sql(&session);
	PG_RETURN_VOID();
}

static void
set_grant(FunctionCallInfo fcinfo, const char *statement)
{
	Session		session;
	char	   *name;
	int32		id = change_pool(fcinfo, &name)->id;

	require_argument(fcinfo, 1, "role");
	(void) GetUserNameFromId(PG_GETARG_OID(1), false);
	begin_sql(&session, alloc_namespace(fcinfo));
	sql(&session, statement, ARGS(INT4OID, REGROLEOID),
		VALUES(Int32GetDatum(id), PG_GETARG_DATUM(1)));
	end_sql(&session);
}

/* alloc_grant(pool, role) */
Datum
alloc_grant(PG_FUNCTION_ARGS)
{
	set_grant(fcinfo, "UPDATE @alloc_pool "
			  "SET granted = array_append(array_remove(granted, $2), $2) "
			  "WHERE id = $1");
	PG_RETURN_VOID();
}

/* alloc_revoke(pool, role) */
Datum
alloc_revoke(PG_FUNCTION_ARGS)
{
	set_grant(fcinfo, "UPDATE @alloc_pool "
			  "SET granted = array_remove(granted, $2) WHERE id = $1");
	PG_RETURN_VOID();
}

/*
 * Answer with what a private SQL function says about each pool that the
 * caller may see, or about the one that is named.
 */
static Datum
report(FunctionCallInfo fcinfo, const char *statement, bool required)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			nsp = alloc_namespace(fcinfo);
	Session		session;
	int			natts;
	ArrayBuildState *ids = initArrayResult(INT4OID, CurrentMemoryContext,
										   false);

	request_enter(fcinfo, ENTRY_JOINS);
	if (required)
		require_argument(fcinfo, 0, "pool");
	InitMaterializedSRF(fcinfo, required ? MAT_SRF_USE_EXPECTED_DESC : 0);
	natts = rsinfo->setDesc->natts;
	if (!PG_ARGISNULL(0))
	{
		char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
		int32		id = pool_open(nsp, name, RIGHT_SEE)->id;

		ids = accumArrayResult(ids, Int32GetDatum(id), false, INT4OID,
							   CurrentMemoryContext);
	}

	begin_sql(&session, nsp);
	if (PG_ARGISNULL(0))
	{
		sql(&session, "SELECT id, owner::oid, granted FROM @alloc_pool",
			0, NULL, NULL);
		owner_leave(&session.scope);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			if (pool_permits(DatumGetObjectId(sql_result(i, 2)),
							 sql_result(i, 3), RIGHT_SEE))
				ids = accumArrayResult(ids, sql_result(i, 1), false, INT4OID,
									   CurrentMemoryContext);
		}
		end_sql(&session);
		begin_sql(&session, nsp);
	}
	sql(&session, statement, ARGS(INT4ARRAYOID),
		VALUES(makeArrayResult(ids, CurrentMemoryContext)));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[16];
		bool		nulls[16];

		for (int col = 0; col < natts; col++)
			values[col] = SPI_getbinval(SPI_tuptable->vals[i],
										SPI_tuptable->tupdesc, col + 1,
										&nulls[col]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	end_sql(&session);
	return (Datum) 0;
}

/* alloc_usage(pool) */
Datum
alloc_usage(PG_FUNCTION_ARGS)
{
	return report(fcinfo, "SELECT u.* FROM @alloc_usage_of($1) AS u", false);
}

/* alloc_map(pool) */
Datum
alloc_map(PG_FUNCTION_ARGS)
{
	return report(fcinfo, "SELECT m.* FROM @alloc_map_of($1) AS m", true);
}

/* alloc_verify(pool) */
Datum
alloc_verify(PG_FUNCTION_ARGS)
{
	return report(fcinfo, "SELECT v.* FROM @alloc_verify_of($1) AS v", false);
}

/*
 * alloc_rebuild(pool)
 *
 * With its frontiers at the ranges' beginnings, a pool has forgotten which
 * slots were used before, and finds every one that has no row.
 */
Datum
alloc_rebuild(PG_FUNCTION_ARGS)
{
	Session		session;
	char	   *name;
	Pool	   *pool = change_pool(fcinfo, &name);
	int32		id = pool->id;
	bool		mixed = pool->mixed;

	begin_sql(&session, alloc_namespace(fcinfo));
	requeue(&session, id);
	sql(&session, "UPDATE @alloc_slot SET rank = NULL WHERE pool = $1 "
		"AND rank IS NOT NULL AND (key IS NOT NULL OR $2)",
		ARGS(INT4OID, BOOLOID),
		VALUES(Int32GetDatum(id), BoolGetDatum(mixed)));
	sql(&session, "DELETE FROM @alloc_frontier WHERE range IN "
		"(SELECT r.id FROM @alloc_range AS r WHERE r.pool = $1)",
		ARGS(INT4OID), VALUES(Int32GetDatum(id)));
	sql(&session, "INSERT INTO @alloc_frontier SELECT r.id, r.base "
		"FROM @alloc_range AS r WHERE r.pool = $1 AND NOT $2",
		ARGS(INT4OID, BOOLOID),
		VALUES(Int32GetDatum(id), BoolGetDatum(mixed)));
	sql(&session, "DELETE FROM @alloc_slot AS s WHERE s.pool = $1 "
		"AND s.key IS NULL AND NOT EXISTS (SELECT 1 FROM @alloc_range_slots "
		"AS r WHERE r.pool = $1 AND s.lo BETWEEN r.slot_first AND r.slot_last)",
		ARGS(INT4OID), VALUES(Int32GetDatum(id)));
	new_epoch(&session, id);
	end_sql(&session);
	PG_RETURN_VOID();
}

/*
 * End what has run out in one pool.
 */
static int64
reap_pool(Oid nsp, const char *name, int64 batch)
{
	TimestampTz now = GetCurrentTimestamp();
	Store		store;
	SlotScan	scan;
	SlotRow		row;
	Pool	   *pool = pool_open(nsp, name, RIGHT_NONE);
	int64		reaped = 0;

	if (pool != NULL)
		pool = pool_open_locked(nsp, name, pool->id, RIGHT_NONE, ShareLock);
	if (pool == NULL)
		return 0;				/* dropped meanwhile */
	store_open(&store, nsp, RowExclusiveLock);
	scan_by_expiry(&scan, &store, pool->id, now);
	while (reaped < batch && slot_scan_next(&scan, &row))
	{
		if (TransactionIdIsValid(row.inserter) ||
			TransactionIdIsValid(row.deleter))
			continue;
		if (row.held ? unit_end(&store, pool, &row, row.expires_at,
								row.expires_at, "expired") :
			store_delete(&store, &row) == TM_Ok)
			reaped++;
	}
	slot_scan_end(&scan);
	store_close(&store);
	pool_unlock(nsp, pool->id, ShareLock);
	return reaped;
}

/*
 * Forget waiting rows of a pool that has many more of them than held ones,
 * the lowest first.  Their slots count as never used again.
 */
static int64
forget_waiting(Oid nsp, const char *name, int64 batch)
{
	Session		session;
	Pool	   *pool = pool_open(nsp, name, RIGHT_NONE);
	int64		forgotten = 0;
	int32		id;

	if (pool == NULL || pool->mixed)
		return 0;
	id = pool->id;
	begin_sql(&session, nsp);
	(void) sql(&session, "SELECT count(*) FILTER (WHERE key IS NULL) > "
			   "1000 + 2 * count(*) FILTER (WHERE key IS NOT NULL), "
			   "(SELECT count(*) FROM @alloc_range AS r WHERE r.pool = $1) "
			   "FROM @alloc_slot AS s WHERE s.pool = $1",
			   ARGS(INT4OID), VALUES(Int32GetDatum(id)));
	if (DatumGetBool(sql_result(0, 1)))
	{
		uint64		nranges = (uint64) DatumGetInt64(sql_result(0, 2));

		/* not while an idle transaction has one of the frontiers */
		if (lock_frontiers(&session, id, "SKIP LOCKED") == nranges)
		{
			pool_lock(nsp, id, ExclusiveLock);
			(void) sql(&session, "WITH gone AS ("
					   "DELETE FROM @alloc_slot WHERE ctid = ANY (ARRAY("
					   "SELECT ctid FROM @alloc_slot WHERE pool = $1 "
					   "AND key IS NULL AND expires_at <= clock_timestamp() "
					   "ORDER BY lo LIMIT $2 FOR UPDATE SKIP LOCKED)) "
					   "RETURNING lo), back AS ("
					   "UPDATE @alloc_frontier AS f "
					   "SET slot = least(f.slot, b.lowest) FROM ("
					   "SELECT r.id, min(g.lo) AS lowest FROM gone AS g "
					   "JOIN @alloc_range_slots AS r ON r.pool = $1 "
					   "AND g.lo BETWEEN r.slot_first AND r.slot_last "
					   "GROUP BY r.id) AS b WHERE f.range = b.id) "
					   "SELECT count(*) FROM gone",
					   ARGS(INT4OID, INT8OID),
					   VALUES(Int32GetDatum(id), Int64GetDatum(batch)));
			forgotten = DatumGetInt64(sql_result(0, 1));
			new_epoch(&session, id);
		}
	}
	end_sql(&session);
	return forgotten;
}

/*
 * alloc_reap(batch): our part of pg_cas_reap.
 */
Datum
alloc_reap(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	int64		batch;
	int64		reaped = 0;
	Session		session;
	char	  **names;
	int			nnames;
	MemoryContext caller = CurrentMemoryContext;

	require_argument(fcinfo, 0, "batch");
	batch = PG_GETARG_INT32(0);
	if (batch < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"batch\" must not be negative")));
	PreventCommandIfReadOnly("pg_cas_reap()");

	begin_sql(&session, nsp);
	nnames = (int) sql(&session, "SELECT name FROM @alloc_pool", 0, NULL,
					   NULL);
	names = MemoryContextAlloc(caller, Max(nnames, 1) * sizeof(char *));
	for (int i = 0; i < nnames; i++)
		names[i] = MemoryContextStrdup(caller,
									   TextDatumGetCString(sql_result(i, 1)));
	if (pg_cas_history_retention >= 0)
		reaped += sql(&session, "DELETE FROM @alloc_past WHERE ctid = ANY "
					  "(ARRAY(SELECT ctid FROM @alloc_past WHERE ended_at < "
					  "clock_timestamp() - make_interval(secs => $1) "
					  "ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
					  ARGS(FLOAT8OID, INT8OID),
					  VALUES(Float8GetDatum(pg_cas_history_retention),
							 Int64GetDatum(batch)));
	end_sql(&session);

	for (int i = 0; i < nnames && reaped < batch; i++)
	{
		reaped += reap_pool(nsp, names[i], batch - reaped);
		if (reaped < batch)
			reaped += forget_waiting(nsp, names[i], batch - reaped);
	}
	PG_RETURN_INT64(reaped);
}
