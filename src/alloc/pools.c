/*
 * pools.c
 *		The SQL functions that create, change and drop pools.
 *
 * They are called rarely, so they use SQL, run as the extension's owner on the
 * latest state of its tables (base/owner.c).  The caller's right is checked
 * first.  All but alloc_pool_create() hold the pool's lock exclusively
 * (pool.c), so that the pool's rows change only when transactions end that had
 * changed them before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "alloc/capacity.h"

PG_FUNCTION_INFO_V1(alloc_pool_create);
PG_FUNCTION_INFO_V1(alloc_pool_set);
PG_FUNCTION_INFO_V1(alloc_pool_drop);
PG_FUNCTION_INFO_V1(alloc_grant);
PG_FUNCTION_INFO_V1(alloc_revoke);
PG_FUNCTION_INFO_V1(alloc_rebuild);

static const char *const strategies[] = {"any", "lowest", "random", NULL};

/*
 * Return a running transaction that has changed a row of the pool, if there is
 * one.
 */
static TransactionId
running_user(const Change *change)
{
	Extent		slots = {0, U128_MAX};
	TransactionId xid = InvalidTransactionId;
	Store		store;
	SlotScan	scan;
	SlotRow		row;

	store_open(&store, change->use.nsp, AccessShareLock);
	scan_by_slot(&scan, &store, change->use.pool->id, slots,
				 ForwardScanDirection, NULL);
	while (!TransactionIdIsValid(xid) && slot_scan_next(&scan, &row))
		xid = TransactionIdIsValid(row.inserter) ? row.inserter : row.deleter;
	slot_scan_end(&scan);
	store_close(&store);
	return xid;
}

/* How many times the pool is unlocked while we wait for others. */
#define MAX_UNLOCKS 16

/* Wait until no running transaction has changed a row of the pool. */
static void
wait_for_users(Change *change)
{
	for (int round = 0;; round++)
	{
		TransactionId xid = running_user(change);

		if (!TransactionIdIsValid(xid))
			return;

		/*
		 * While the pool is locked, no other transaction can change its rows.
		 * But waiting with the lock would keep all others out, perhaps for an
		 * idle transaction.  So unlock the pool while we wait, except in the
		 * end, if others keep coming.
		 */
		if (round < MAX_UNLOCKS)
			pool_unlock(&change->use);
		XactLockTableWait(xid, NULL, NULL, XLTW_None);
		if (round < MAX_UNLOCKS)
			change_lock(change);
	}
}

/*
 * Raise 22023 if the cooldown is negative or too long.  The bounds are those of
 * the constraint on alloc_pool, which takes a month for 30 days.
 */
static void
check_cooldown(Interval *cooldown)
{
	static const Interval zero = {0};
	static const Interval longest = {.month = 50000 * MONTHS_PER_YEAR};

	(void) interval_from_now(cooldown, "cooldown");
	if (DatumGetBool(DirectFunctionCall2(interval_lt,
										 IntervalPGetDatum(cooldown),
										 IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be negative", "cooldown")));
	if (DatumGetBool(DirectFunctionCall2(interval_gt,
										 IntervalPGetDatum(cooldown),
										 IntervalPGetDatum(&longest))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" is out of range", "cooldown"),
				 errhint("It must be at most 50000 years.")));
}

/*
 * Creating a pool.
 */

/* The argument port_chunk; 0 if it is NULL. */
static int
port_chunk_argument(FunctionCallInfo fcinfo, int argno, PoolKind kind)
{
	int			port_chunk;

	if (PG_ARGISNULL(argno))
		return 0;
	port_chunk = PG_GETARG_INT32(argno);
	if (!kind_has_ports(kind))
		raise_invalid(psprintf("pools of kind \"%s\" have no port_chunk",
							   kind_name(kind)),
					  "Leave it out.");
	if (port_chunk < 1 || port_chunk > 32768 ||
		(port_chunk & (port_chunk - 1)) != 0)
		raise_invalid("invalid port_chunk",
					  "It must be a power of two, from 1 to 32768.");
	return port_chunk;
}

/*
 * The argument exclude_ports, checked, for a pool with this port_chunk.  NULL
 * if it is NULL.
 */
static ArrayType *
exclude_argument(FunctionCallInfo fcinfo, int argno, int port_chunk)
{
	ArrayType  *ranges;
	Space		space = {0};
	uint64	   *excluded;

	if (PG_ARGISNULL(argno))
		return NULL;
	ranges = PG_GETARG_ARRAYTYPE_P(argno);
	if (port_chunk == 0)
		raise_invalid("exclude_ports is for pools with port_chunk",
					  "Leave it out.");
	ports_check_array(ranges, "exclude_ports");
	excluded = ports_new(port_chunk);
	ports_exclude_array(excluded, ranges, port_chunk);
	while (port_chunk << space.chunk_bits < 65536)
		space.chunk_bits++;
	space.excluded = excluded;
	if (space_all_excluded(&space))
		raise_invalid("exclude_ports leaves no chunk",
					  psprintf("A chunk has %d ports, and is excluded if one of them is.",
							   port_chunk));
	return ranges;
}

/* Set the pool's excluded ports. */
static void
set_excluded(int32 pool, ArrayType *ranges)
{
	owner_sql("UPDATE @alloc_pool SET exclude_ports = nullif($2, '{}') WHERE id = $1",
			  ARGS(INT4OID, INT4RANGEARRAYOID),
			  VALUES(Int32GetDatum(pool), PointerGetDatum(ranges)));
}

/* The role's name, or 42704 if it has been dropped in the meantime. */
static Datum
present_role_name(Oid role)
{
	return CStringGetTextDatum(GetUserNameFromId(role, false));
}

/*
 * A pool of that name exists: raise 23505, or with if_not_exists a NOTICE,
 * provided that the caller may use the pool and that it is of the same kind.
 * Returns false if the pool has been dropped meanwhile.
 */
static bool
accept_existing(Oid nsp, const char *name, PoolKind kind, bool if_not_exists)
{
	const Pool *pool;
	StringInfoData detail;

	if (!if_not_exists)
	{
		detail_begin(&detail);
		detail_text(&detail, "pool", name);
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("pool \"%s\" already exists", name),
				 errdetail_internal("%s", detail_end(&detail)),
				 errhint("Use if_not_exists => true to accept the existing pool.")));
	}
	pool = pool_find(nsp, name, RIGHT_USE);
	if (pool == NULL)
		return false;
	if (pool->kind != kind)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pool \"%s\" exists and is of another kind", name),
				 errhint("See the column kind of view alloc_pools.")));
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("pool \"%s\" already exists, skipping", name)));
	return true;
}

/* The argument ranges, which counted pools have instead of a capacity. */
static Range *
ranges_argument(FunctionCallInfo fcinfo, int argno, PoolKind kind,
				int chunk_bits, int64 capacity, int *width, int *nranges)
{
	ArrayType  *texts = PG_GETARG_ARRAYTYPE_P(argno);

	if (!kind_is_counted(kind))
		return named_ranges(texts, kind, chunk_bits, width, nranges);
	if (ArrayGetNItems(ARR_NDIM(texts), ARR_DIMS(texts)) > 0)
		raise_invalid(psprintf("pools of kind \"%s\" have a capacity, but no ranges",
							   kind_name(kind)),
					  "Pass '{}' as ranges.");
	if (capacity < 0)
		raise_invalid(psprintf("pools of kind \"%s\" need a capacity",
							   kind_name(kind)),
					  "Pass the argument capacity.");
	*width = *nranges = 0;
	return NULL;
}

/*
 * alloc_pool_create(pool, ranges, kind, strategy, cooldown, port_chunk, owner,
 * parent, capacity, exclude_ports, if_not_exists)
 */
Datum
alloc_pool_create(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	OwnerScope	scope;
	char	   *name;
	PoolKind	kind;
	const char *strategy;
	Interval   *cooldown;
	int			port_chunk;
	int			chunk_bits = 0;
	Oid			owner;
	Range	   *ranges;
	int			nranges;
	int			width = 0;
	int32		id;
	ArrayType  *exclude;
	char	   *above;
	int32		parent;
	int64		capacity;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "ranges");
	kind = word_argument(fcinfo, 2, "kind", kind_words());
	strategy = strategies[word_argument(fcinfo, 3, "strategy", strategies)];
	if (kind_is_counted(kind) && strcmp(strategy, "any") != 0)
		raise_invalid("pools of kind \"count\" have no strategy",
					  "Leave it out.");
	require_argument(fcinfo, 4, "cooldown");
	cooldown = PG_GETARG_INTERVAL_P(4);
	check_cooldown(cooldown);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (name[0] == '\0')
		raise_invalid("a pool's name must not be empty",
					  "Any other text will do.");
	port_chunk = port_chunk_argument(fcinfo, 5, kind);
	exclude = exclude_argument(fcinfo, 9, port_chunk);
	while (port_chunk > 0 && port_chunk << chunk_bits < 65536)
		chunk_bits++;
	capacity = capacity_argument(fcinfo, 8, kind);
	ranges = ranges_argument(fcinfo, 1, kind, chunk_bits, capacity, &width,
							 &nranges);
	owner = new_owner(PG_ARGISNULL(6) ? NULL :
					  text_to_cstring(PG_GETARG_TEXT_PP(6)));
	above = PG_ARGISNULL(7) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(7));
	(void) parent_argument(nsp, above);
	require_writable(fcinfo);
	pool_lock_tables(nsp);
	parent = parent_lock(nsp, above);

	/*
	 * If another session is just creating a pool of this name, this waits for
	 * it, and does nothing if that commits.
	 */
	owner_sql_begin(&scope);
	while (owner_sql("INSERT INTO @alloc_pool (name, kind, strategy, cooldown, "
					 "port_chunk, family, owner, owner_name, epoch, parent, capacity) "
					 "VALUES ($1, $2, $3, $4, nullif($5, 0), nullif($6, 0), $7, $8, "
					 "nextval('@alloc_generation'), nullif($9, 0), nullif($10, -1)) "
					 "ON CONFLICT (name) DO NOTHING RETURNING id",
					 ARGS(TEXTOID, TEXTOID, TEXTOID, INTERVALOID, INT4OID,
						  INT4OID, OIDOID, TEXTOID, INT4OID, INT8OID),
					 VALUES(CStringGetTextDatum(name),
							CStringGetTextDatum(kind_name(kind)),
							CStringGetTextDatum(strategy),
							IntervalPGetDatum(cooldown),
							Int32GetDatum(port_chunk),
							Int32GetDatum(kind_family(kind, width)),
							ObjectIdGetDatum(owner),
							present_role_name(owner), Int32GetDatum(parent),
							Int64GetDatum(capacity))) == 0)
	{
		owner_sql_end(&scope);
		/* as the caller again, who must have the right to use that pool */
		if (accept_existing(nsp, name, kind,
							!PG_ARGISNULL(10) && PG_GETARG_BOOL(10)))
			PG_RETURN_VOID();
		CHECK_FOR_INTERRUPTS();
		owner_sql_begin(&scope);
	}
	id = DatumGetInt32(owner_sql_not_null(0, 1));
	insert_ranges(id, kind_is_mixed(kind, port_chunk), chunk_bits, ranges,
				  NULL, nranges);
	if (exclude != NULL)
		set_excluded(id, exclude);
	if (kind_is_counted(kind))
		capacity_create(id, capacity);
	owner_sql_end(&scope);
	PG_RETURN_VOID();
}

/*
 * Changing a pool.
 */

/*
 * Compute the places of the pool's waiting rows in the queue.  Rows that
 * already have the right place are not updated.
 */
static void
requeue(int32 pool)
{
	owner_sql("UPDATE @alloc_slot AS s SET queue_place = r.queue_place "
			  "FROM @alloc_queue_places($1) AS r WHERE s.pool = $1 AND s.first_slot = r.first_slot "
			  "AND s.queue_place IS DISTINCT FROM r.queue_place",
			  ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

/*
 * alloc_pool_set(pool, strategy, cooldown, owner, capacity, exclude_ports)
 * RETURNS void
 *
 * A NULL argument leaves the setting as it is.
 */
Datum
alloc_pool_set(PG_FUNCTION_ARGS)
{
	Change		change;
	int32		id;
	const char *strategy = NULL;
	Interval   *cooldown = PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2);
	Oid			owner = InvalidOid;
	ArrayType  *exclude;
	int64		capacity;

	if (!PG_ARGISNULL(1))
		strategy = strategies[word_argument(fcinfo, 1, "strategy", strategies)];
	if (cooldown != NULL)
		check_cooldown(cooldown);
	change_open(fcinfo, &change);
	if (strategy != NULL)
	{
		/*
		 * A new strategy orders the waiting rows differently.  Rows that
		 * running transactions are releasing still get their place by the old
		 * strategy, and our statements cannot see them.  So wait for these
		 * transactions.
		 */
		require_values(&change, "strategy");
		wait_for_users(&change);
		/* the pool may be another one of its name now */
		require_values(&change, "strategy");
	}
	id = change.use.pool->id;
	if (!PG_ARGISNULL(3))
		owner = new_owner(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	exclude = exclude_argument(fcinfo, 5, change.use.pool->port_chunk);
	capacity = capacity_argument(fcinfo, 4, change.use.pool->kind);

	owner_sql_begin(&change.scope);
	if (cooldown != NULL)
		owner_sql("UPDATE @alloc_pool SET cooldown = $2 WHERE id = $1",
				  ARGS(INT4OID, INTERVALOID),
				  VALUES(Int32GetDatum(id), IntervalPGetDatum(cooldown)));
	if (OidIsValid(owner))
		owner_sql("UPDATE @alloc_pool SET owner = $2, owner_name = $3 WHERE id = $1",
				  ARGS(INT4OID, OIDOID, TEXTOID),
				  VALUES(Int32GetDatum(id), ObjectIdGetDatum(owner),
						 present_role_name(owner)));
	if (strategy != NULL)
	{
		owner_sql("UPDATE @alloc_pool SET strategy = $2 WHERE id = $1",
				  ARGS(INT4OID, TEXTOID),
				  VALUES(Int32GetDatum(id), CStringGetTextDatum(strategy)));
		/* discard the queues that backends remember, too */
		requeue(id);
		pool_forget_freed(id);
		pool_new_epoch(id);
	}
	if (exclude != NULL)
	{
		set_excluded(id, exclude);
		pool_new_epoch(id);
	}
	if (capacity >= 0)
	{
		Store		store;

		store_open(&store, change.use.nsp, RowExclusiveLock);
		capacity_set(&store, change.use.pool, capacity);
		store_close(&store);
	}
	owner_sql_end(&change.scope);
	PG_RETURN_VOID();
}

/* alloc_pool_drop(pool) RETURNS void */
Datum
alloc_pool_drop(PG_FUNCTION_ARGS)
{
	static const char *const statements[] = {
		"DELETE FROM @alloc_slot WHERE pool = $1",
		"DELETE FROM @alloc_freed WHERE pool = $1",
		"DELETE FROM @alloc_share WHERE pool = $1",
		"DELETE FROM @alloc_gap WHERE pool = $1",
		"DELETE FROM @alloc_past WHERE pool = $1",
		"DELETE FROM @alloc_frontier WHERE range IN "
		"(SELECT id FROM @alloc_range WHERE pool = $1)",
		"DELETE FROM @alloc_range WHERE pool = $1",
		"DELETE FROM @alloc_reserved WHERE pool = $1",
		"DELETE FROM @alloc_grantee WHERE pool = $1",
		"DELETE FROM @alloc_pool WHERE id = $1"
	};
	Change		change;
	Store		store;
	Extent		all = {0, U128_MAX};
	int32		id;

	change_open(fcinfo, &change);
	id = change.use.pool->id;
	owner_sql_begin(&change.scope);

	/*
	 * The lock keeps new allocations out.  Units that a running transaction
	 * has allocated or is releasing count as in use.
	 */
	require_no_children(&change);
	store_open(&store, change.use.nsp, RowExclusiveLock);
	if (change.use.pool->counted ?
		capacity_in_use(&store, change.use.pool) :
		slots_in_use(&store, change.use.pool, all))
		raise_in_use(&change, psprintf("pool \"%s\"", change.use.name),
					 "Release them first.");
	store_close(&store);
	for (int i = 0; i < lengthof(statements); i++)
		owner_sql(statements[i], ARGS(INT4OID), VALUES(Int32GetDatum(id)));
	owner_sql_end(&change.scope);
	PG_RETURN_VOID();
}

/* Delete the role's grant, if any. */
static void
delete_grant(int32 pool, Oid role)
{
	owner_sql("DELETE FROM @alloc_grantee WHERE pool = $1 AND role = $2",
			  ARGS(INT4OID, OIDOID),
			  VALUES(Int32GetDatum(pool), ObjectIdGetDatum(role)));
}

/* alloc_grant(pool, role) RETURNS void */
Datum
alloc_grant(PG_FUNCTION_ARGS)
{
	Change		change;
	Oid			role;

	change_open(fcinfo, &change);
	require_argument(fcinfo, 1, "role");
	role = role_argument(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	owner_sql_begin(&change.scope);
	/* do not list a role twice */
	delete_grant(change.use.pool->id, role);
	owner_sql("INSERT INTO @alloc_grantee (pool, role, role_name) "
			  "VALUES ($1, $2, $3)",
			  ARGS(INT4OID, OIDOID, TEXTOID),
			  VALUES(Int32GetDatum(change.use.pool->id),
					 ObjectIdGetDatum(role), present_role_name(role)));
	owner_sql_end(&change.scope);
	PG_RETURN_VOID();
}

/*
 * alloc_revoke(pool, role) RETURNS void
 *
 * The role may have been dropped.  Nobody can use such a grant here, but if
 * the pool is dumped and restored elsewhere, a role of that name would get it.
 */
Datum
alloc_revoke(PG_FUNCTION_ARGS)
{
	Change		change;
	char	   *name;
	Oid			role;
	uint64		ndropped;

	change_open(fcinfo, &change);
	require_argument(fcinfo, 1, "role");
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	role = get_role_oid(name, true);
	owner_sql_begin(&change.scope);
	/* Rows of dropped roles can be found by their names only. */
	ndropped = owner_sql("DELETE FROM @alloc_grantee AS g "
						 "WHERE g.pool = $1 AND g.role_name = $2 AND NOT EXISTS "
						 "(SELECT 1 FROM pg_catalog.pg_roles AS r "
						 "WHERE r.oid = g.role)",
						 ARGS(INT4OID, TEXTOID),
						 VALUES(Int32GetDatum(change.use.pool->id),
								CStringGetTextDatum(name)));
	if (OidIsValid(role))
		delete_grant(change.use.pool->id, role);
	else if (ndropped == 0)
		(void) role_argument(name); /* raises 42704 */
	owner_sql_end(&change.scope);
	PG_RETURN_VOID();
}

/* alloc_rebuild(pool) RETURNS void */
Datum
alloc_rebuild(PG_FUNCTION_ARGS)
{
	Change		change;
	Datum		pool;
	Datum		mixed;

	change_open(fcinfo, &change);
	pool = Int32GetDatum(change.use.pool->id);
	mixed = BoolGetDatum(change.use.pool->mixed);
	owner_sql_begin(&change.scope);
	if (change.use.pool->counted)
	{
		capacity_rebuild(change.use.pool->id);
		change_end(&change);
		PG_RETURN_VOID();
	}

	/*
	 * Put waiting rows into their places.  Held rows, and all rows of mixed
	 * pools, have none.
	 */
	requeue(change.use.pool->id);
	pool_forget_freed(change.use.pool->id);
	owner_sql("UPDATE @alloc_slot SET queue_place = NULL WHERE pool = $1 "
			  "AND queue_place IS NOT NULL AND (key IS NOT NULL OR $2)",
			  ARGS(INT4OID, BOOLOID), VALUES(pool, mixed));

	/*
	 * Set the frontiers back to the beginning of their ranges.  Then searches
	 * find every slot that has no row, wherever it is.
	 */
	owner_sql("DELETE FROM @alloc_frontier WHERE range IN "
			  "(SELECT r.id FROM @alloc_range AS r WHERE r.pool = $1)",
			  ARGS(INT4OID), VALUES(pool));
	owner_sql("INSERT INTO @alloc_frontier SELECT r.id, r.first_slot "
			  "FROM @alloc_range_slots AS r WHERE r.pool = $1 AND NOT $2",
			  ARGS(INT4OID, BOOLOID), VALUES(pool, mixed));
	/* Remove waiting rows that lie in none of the pool's ranges. */
	owner_sql("DELETE FROM @alloc_slot AS s WHERE s.pool = $1 "
			  "AND s.key IS NULL AND NOT EXISTS (SELECT 1 FROM @alloc_range_slots "
			  "AS r WHERE r.pool = $1 AND s.first_slot <= r.last_slot "
			  "AND s.first_slot + trunc(power(2::numeric, s.size_log2)) > r.first_slot)",
			  ARGS(INT4OID), VALUES(pool));
	change_end(&change);
	PG_RETURN_VOID();
}
