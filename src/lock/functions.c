/*
 * functions.c
 *		The SQL functions of named resources and leases: check the arguments,
 *		call, shape the answer.
 */
#include "lock.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "base/entry.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(lock_acquire);
PG_FUNCTION_INFO_V1(lock_assert);
PG_FUNCTION_INFO_V1(lock_holders_read);
PG_FUNCTION_INFO_V1(lock_fence_advance);
PG_FUNCTION_INFO_V1(lock_reap);
PG_FUNCTION_INFO_V1(lease_acquire);
PG_FUNCTION_INFO_V1(lease_try_acquire);
PG_FUNCTION_INFO_V1(lease_renew);
PG_FUNCTION_INFO_V1(lease_release);
PG_FUNCTION_INFO_V1(lease_guard);

/*
 * Begin an answer of several columns.  What the executor expects is what the
 * function was declared to return, as that is no record.
 */
static Tuplestorestate *
begin_rows(FunctionCallInfo fcinfo, TupleDesc *desc)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	Tuplestorestate *rows;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		!(rsinfo->allowedModes & SFRM_Materialize) ||
		rsinfo->expectedDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));

	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	*desc = CreateTupleDescCopy(rsinfo->expectedDesc);
	rows = tuplestore_begin_heap(false, false, work_mem);
	MemoryContextSwitchTo(old);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult = rows;
	rsinfo->setDesc = *desc;
	return rows;
}

/*
 * Add the array's names to the resources.
 */
static Resource *
add_resources(Resource *resources, int *n, ArrayType *array,
			  const char *argument, HoldMode mode)
{
	Datum	   *names;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &names, &nulls, &count);
	resources = repalloc_huge(resources,
							 ((Size) *n + count + 1) * sizeof(Resource));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls",
							argument)));
		resources[*n].name = checked_name(names[i], argument);
		resources[*n].mode = mode;
		(*n)++;
	}
	return resources;
}

/* qsort comparator: byte order, of equal names the exclusive one first. */
static int
compare_resources(const void *left, const void *right)
{
	const Resource *a = (const Resource *) left;
	const Resource *b = (const Resource *) right;
	text	   *x = DatumGetTextPP(a->name);
	text	   *y = DatumGetTextPP(b->name);
	int			xlen = VARSIZE_ANY_EXHDR(x);
	int			ylen = VARSIZE_ANY_EXHDR(y);
	int			order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y),
							   Min(xlen, ylen));

	if (order == 0)
		order = xlen - ylen;
	return order != 0 ? order : (int) b->mode - (int) a->mode;
}

/*
 * Sort the resources into the order in which they are taken, fold those of the
 * same name into the strongest, and return how many are left.
 */
static int
sort_resources(Resource *resources, int n)
{
	int			kept = 0;

	qsort(resources, n, sizeof(Resource), compare_resources);
	for (int i = 0; i < n; i++)
	{
		HoldMode	mode = resources[i].mode;

		if (kept > 0)
		{
			/* Equal but for the mode? */
			resources[i].mode = resources[kept - 1].mode;
			if (compare_resources(&resources[kept - 1], &resources[i]) == 0)
				continue;
			resources[i].mode = mode;
		}
		resources[kept++] = resources[i];
	}
	return kept;
}

/*
 * How long does the call wait, from now on?
 */
static Patience
parse_wait(FunctionCallInfo fcinfo, int argno)
{
	Patience	patience = {false};

	if (!PG_ARGISNULL(argno))
	{
		patience.limited = true;
		patience.deadline = interval_from_now(PG_GETARG_INTERVAL_P(argno),
											  "wait");
	}
	return patience;
}

/*
 * lock_acquire(exclusive text[], shared text[], wait interval)
 */
Datum
lock_acquire(PG_FUNCTION_ARGS)
{
	Resource   *resources = palloc(sizeof(Resource));
	int			n = 0;
	Patience	patience;
	NameTable	names;
	Tuplestorestate *rows;
	TupleDesc	desc;
	XLogRecPtr	written = XactLastRecEnd;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "exclusive");
	require_argument(fcinfo, 1, "shared");
	resources = add_resources(resources, &n, PG_GETARG_ARRAYTYPE_P(0),
							  "exclusive", HOLD_EXCLUSIVE);
	resources = add_resources(resources, &n, PG_GETARG_ARRAYTYPE_P(1),
							  "shared", HOLD_SHARED);
	n = sort_resources(resources, n);
	patience = parse_wait(fcinfo, 2);

	require_writable(fcinfo);
	if (!IsTransactionBlock() && call_is_top_level(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("lock_acquire() outside a transaction block would be gone at once"),
				 errhint("Use BEGIN first.")));

	rows = begin_rows(fcinfo, &desc);
	names_open(&names, NAME_LOCK, true);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		resource_take(&names, &resources[i], &patience);
	}
	for (int i = 0; i < n; i++)
	{
		Resource   *resource = &resources[i];
		Datum		values[3] = {0};
		bool		nulls[3] = {0};

		CHECK_FOR_INTERRUPTS();
		if (resource->fence_due)
			resource_fence(&names, resource);
		values[0] = resource->name;
		values[1] = CStringGetTextDatum(hold_mode_name(resource->mode));
		values[2] = Int64GetDatum(resource->fence);
		nulls[2] = resource->mode != HOLD_EXCLUSIVE;
		tuplestore_putvalues(rows, desc, values, nulls);
	}
	names_close(&names);

	/*
	 * The rows that we wrote are worth nothing after a crash: no lock and no
	 * snapshot outlives it, and the fences are on disk.  So they are no reason
	 * for the commit to wait until it is on disk, if it has no other.
	 */
	XactLastRecEnd = written;
	return (Datum) 0;
}

/*
 * lock_assert(name text, mode text)
 */
Datum
lock_assert(PG_FUNCTION_ARGS)
{
	NameTable	names;
	TransactionId xid;
	Datum		name;
	HoldMode	mode;
	HoldMode	held = HOLD_NONE;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "name");
	name = checked_name(PG_GETARG_DATUM(0), "name");
	mode = word_argument(fcinfo, 1, "mode",
						 (const char *const[]) {"exclusive", "shared", NULL}) == 0 ? HOLD_EXCLUSIVE :
		HOLD_SHARED;

	names_open(&names, NAME_LOCK, false);
	if (names_find(&names, name))
		held = names_held(&names, &xid);
	names_close(&names);

	if (held < mode)
	{
		StringInfoData detail;

		detail_begin(&detail);
		detail_text(&detail, "resource", TextDatumGetCString(name));
		detail_text(&detail, "mode", hold_mode_name(mode));
		ereport(ERROR,
				(errcode(ERRCODE_CAS_REQUIRED),
				 errmsg("this transaction does not hold the %s lock on \"%s\"",
						hold_mode_name(mode), TextDatumGetCString(name)),
				 errdetail_internal("%s", detail_end(&detail)),
				 errhint("Call lock_acquire() first, in the same transaction.")));
	}
	PG_RETURN_VOID();
}

/*
 * May the role see who holds which names?  Those may who can lock them.
 */
static bool
may_see_holders(Oid schema)
{
	Oid			types[] = {TEXTARRAYOID, TEXTARRAYOID, INTERVALOID};
	oidvector  *signature = buildoidvector(types, lengthof(types));
	Oid			oid;

	oid = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						  CStringGetDatum("lock_acquire"),
						  PointerGetDatum(signature),
						  ObjectIdGetDatum(schema));

	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		(OidIsValid(oid) &&
		 object_aclcheck(ProcedureRelationId, oid, GetUserId(),
						 ACL_EXECUTE) == ACLCHECK_OK);
}

/*
 * lock_holders_read(): the rows of the view lock_holders.  Holders are read
 * from the names' rows, waiters from the lock manager: those who stand in a
 * name's line or are upgrading, its head included, who waits for the row.
 */
Datum
lock_holders_read(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Tuplestorestate *rows;
	TupleDesc	desc;
	TableScanDesc scan;
	LockData   *locks;
	Datum		values[5];
	bool		nulls[5];

	rows = begin_rows(fcinfo, &desc);
	names_open(&names, NAME_LOCK, false);
	if (!may_see_holders(extension_schema()))
	{
		names_close(&names);
		return (Datum) 0;
	}

	locks = GetLockStatusData();
	scan = table_beginscan(names.rel, SnapshotAny, 0, NULL);
	while (names_next(&names, scan))
	{
		RowHolder  *holders;
		int			n = names_holders(&names, &holders);
		Datum		name = names_get(&names, Anum_name, &nulls[0]);
		LOCKTAG		queue;
		LOCKTAG		upgrade;

		values[0] = name;
		for (int i = 0; i < n; i++)
		{
			int			pid = BackendXidGetPid(holders[i].xid);

			values[1] = CStringGetTextDatum(hold_mode_name(holders[i].mode));
			values[2] = Int32GetDatum(pid);
			values[3] = BoolGetDatum(false);
			nulls[1] = nulls[3] = false;
			nulls[2] = pid == 0;
			nulls[4] = true;
			tuplestore_putvalues(rows, desc, values, nulls);
		}
		pfree(holders);

		name_locktag(&queue, name, LOCK_QUEUE);
		name_locktag(&upgrade, name, LOCK_UPGRADE);
		for (int i = 0; i < locks->nelements; i++)
		{
			LockInstanceData *lock = &locks->locks[i];
			TimestampTz since = lock->waitStart;
			bool		shared;

			/* Of the upgrade lock's users only the upgrader has that mode. */
			if (memcmp(&lock->locktag, &queue, sizeof(LOCKTAG)) != 0 &&
				(memcmp(&lock->locktag, &upgrade, sizeof(LOCKTAG)) != 0 ||
				 !(lock->holdMask & LOCKBIT_ON(ShareUpdateExclusiveLock))))
				continue;

			/* The head of the line waits for something else. */
			for (int j = 0; j < locks->nelements && since == 0; j++)
				if (locks->locks[j].pid == lock->pid)
					since = locks->locks[j].waitStart;

			shared = lock->waitLockMode == ShareLock ||
				(lock->holdMask & LOCKBIT_ON(ShareLock)) != 0;
			values[1] = CStringGetTextDatum(hold_mode_name(shared ?
														   HOLD_SHARED :
														   HOLD_EXCLUSIVE));
			values[2] = Int32GetDatum(lock->pid);
			values[3] = BoolGetDatum(true);
			values[4] = TimestampTzGetDatum(since);
			nulls[1] = nulls[2] = nulls[3] = false;
			nulls[4] = since == 0;
			tuplestore_putvalues(rows, desc, values, nulls);
		}
	}
	table_endscan(scan);
	names_close(&names);
	return (Datum) 0;
}

/*
 * lock_fence_advance(by bigint): a definer's function, the definer being the
 * role that installed the extension.
 */
Datum
lock_fence_advance(PG_FUNCTION_ARGS)
{
	int64		by;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "by");
	by = PG_GETARG_INT64(0);
	if (by <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"by\" must be positive")));
	require_writable(fcinfo);
	fence_advance(by);
	PG_RETURN_VOID();
}

/*
 * lock_reap(batch int) RETURNS bigint: the part of pg_cas_reap() for unused
 * names of locks and leases.
 */
Datum
lock_reap(PG_FUNCTION_ARGS)
{
	int			batch = batch_argument(fcinfo, 0);
	int64		reaped = 0;

	require_writable(fcinfo);

	for (NameKind kind = NAME_LOCK; kind <= NAME_LEASE; kind++)
	{
		NameTable	names;

		names_open(&names, kind, true);
		reaped += names_purge(&names, batch - reaped);
		names_close(&names);
	}
	PG_RETURN_INT64(reaped);
}

/*
 * Common part of lease_acquire() and lease_try_acquire(), which have the same
 * arguments.  What is granted is on disk when the client is told: it commits
 * with this statement, whatever synchronous_commit says.
 */
static void
acquire_lease(FunctionCallInfo fcinfo, const char *function,
			  LeaseGrant *grant)
{
	NameTable	names;
	Datum		name;
	Datum		holder;
	Interval   *ttl;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "name");
	require_argument(fcinfo, 1, "holder");
	require_argument(fcinfo, 2, "ttl");
	name = checked_name(PG_GETARG_DATUM(0), "name");
	holder = checked_name(PG_GETARG_DATUM(1), "holder");
	ttl = PG_GETARG_INTERVAL_P(2);
	(void) positive_interval_after(GetCurrentTimestamp(), ttl, "ttl");

	require_writable(fcinfo);
	PreventInTransactionBlock(call_is_top_level(fcinfo), function);

	names_open(&names, NAME_LEASE, true);
	lease_take(&names, name, DatumGetTextPP(holder), ttl, grant);
	if (grant->granted)
		ForceSyncCommit();
	names_close(&names);
}

/*
 * lease_acquire(name text, holder text, ttl interval) RETURNS bigint
 */
Datum
lease_acquire(PG_FUNCTION_ARGS)
{
	LeaseGrant	grant;

	acquire_lease(fcinfo, "lease_acquire()", &grant);
	if (!grant.granted)
	{
		char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
		char	   *holder = text_to_cstring(grant.holder);
		StringInfoData detail;

		detail_begin(&detail);
		detail_text(&detail, "lease", name);
		detail_text(&detail, "holder", holder);
		detail_time(&detail, "expires_at", grant.expires_at);
		ereport(ERROR,
				(errcode(ERRCODE_CAS_HELD),
				 errmsg("lease \"%s\" is held by \"%s\"", name, holder),
				 errdetail_internal("%s", detail_end(&detail))));
	}
	PG_RETURN_INT64(grant.fence);
}

/*
 * lease_try_acquire(name text, holder text, ttl interval)
 */
Datum
lease_try_acquire(PG_FUNCTION_ARGS)
{
	LeaseGrant	grant;
	Tuplestorestate *rows;
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {0};

	acquire_lease(fcinfo, "lease_try_acquire()", &grant);
	rows = begin_rows(fcinfo, &desc);
	values[0] = Int64GetDatum(grant.fence);
	nulls[0] = !grant.granted;
	values[1] = PointerGetDatum(grant.holder);
	values[2] = TimestampTzGetDatum(grant.expires_at);
	tuplestore_putvalues(rows, desc, values, nulls);
	return (Datum) 0;
}

/*
 * Check the arguments name and fence, and open the leases.
 */
static Datum
open_lease(FunctionCallInfo fcinfo, const char *function, NameTable *names)
{
	Datum		name;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "name");
	require_argument(fcinfo, 1, "fence");
	name = checked_name(PG_GETARG_DATUM(0), "name");
	require_writable(fcinfo);
	names_open(names, NAME_LEASE, true);
	return name;
}

/*
 * lease_renew(name text, fence bigint, ttl interval) RETURNS timestamptz
 */
Datum
lease_renew(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Datum		name;
	TimestampTz expires_at;

	require_argument(fcinfo, 2, "ttl");
	(void) positive_interval_after(GetCurrentTimestamp(), PG_GETARG_INTERVAL_P(2), "ttl");
	name = open_lease(fcinfo, "lease_renew()", &names);
	expires_at = lease_prolong(&names, name, PG_GETARG_INT64(1),
							   PG_GETARG_INTERVAL_P(2));
	names_close(&names);
	PG_RETURN_TIMESTAMPTZ(expires_at);
}

/*
 * lease_release(name text, fence bigint) RETURNS boolean
 */
Datum
lease_release(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Datum		name = open_lease(fcinfo, "lease_release()", &names);
	bool		released;

	released = lease_give_up(&names, name, PG_GETARG_INT64(1));
	names_close(&names);
	PG_RETURN_BOOL(released);
}

/*
 * lease_guard(name text, fence bigint) RETURNS void
 */
Datum
lease_guard(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Datum		name = open_lease(fcinfo, "lease_guard()", &names);

	lease_hold_off(&names, name, PG_GETARG_INT64(1));
	names_close(&names);
	PG_RETURN_VOID();
}
