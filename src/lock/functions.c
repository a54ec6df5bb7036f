/*
 * functions.c
 *		The SQL functions for named resources and leases, which check their
 *		arguments, call the other files, and build the result.
 */
#include "lock.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/entry.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(lock_acquire);
PG_FUNCTION_INFO_V1(lock_try_acquire);
PG_FUNCTION_INFO_V1(lock_assert);
PG_FUNCTION_INFO_V1(lock_fence_advance);
PG_FUNCTION_INFO_V1(lock_reap);
PG_FUNCTION_INFO_V1(lease_acquire);
PG_FUNCTION_INFO_V1(lease_try_acquire);
PG_FUNCTION_INFO_V1(lease_renew);
PG_FUNCTION_INFO_V1(lease_release);
PG_FUNCTION_INFO_V1(lease_guard);
PG_FUNCTION_INFO_V1(lease_set_owner);

/* Maximal number of names in a call.  Each takes 40 bytes and a row. */
#define MAX_NAMES 10000000

/* Maximal length of the request that lock_holders shows, in bytes. */
#define MAX_REQUEST 256

/* Append the names in the array to the resources.  Returns the new number. */
static int
add_resources(Resource *resources, int n, ArrayType *array,
			  const char *argument, HoldMode mode)
{
	ArrayIterator names = array_create_iterator(array, 0, NULL);
	Datum		name;
	bool		isnull;

	while (array_iterate(names, &name, &isnull))
	{
		CHECK_FOR_INTERRUPTS();
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls",
							argument)));
		resources[n].name = names_checked(name, argument);
		resources[n].mode = mode;
		n++;
	}
	array_free_iterator(names);
	return n;
}

/* qsort comparator: by name; of equal names the exclusive one first */
static int
compare_resources(const void *left, const void *right)
{
	const Resource *a = (const Resource *) left;
	const Resource *b = (const Resource *) right;
	int			order = names_compare(a->name, b->name);

	CHECK_FOR_INTERRUPTS();
	return order != 0 ? order : (int) b->mode - (int) a->mode;
}

/*
 * Sort the resources into the order in which they are taken.  Of those with
 * the same name only the strongest is kept.  Returns how many are left.
 */
static int
sort_resources(Resource *resources, int n)
{
	int			kept = 0;

	qsort(resources, n, sizeof(Resource), compare_resources);
	for (int i = 0; i < n; i++)
		if (kept == 0 ||
			names_compare(resources[kept - 1].name, resources[i].name) != 0)
			resources[kept++] = resources[i];
	return kept;
}

/*
 * Return the resources that the first two arguments name, in the order in
 * which they are taken: by the bytes of their names.  So two calls cannot
 * deadlock.  Transactions that call more than once can, and the deadlock
 * detector sees them.
 */
static Resource *
resource_arguments(FunctionCallInfo fcinfo, int *n)
{
	ArrayType  *exclusive;
	ArrayType  *shared;
	Resource   *resources;
	int64		total;

	require_argument(fcinfo, 0, "exclusive");
	require_argument(fcinfo, 1, "shared");
	exclusive = PG_GETARG_ARRAYTYPE_P(0);
	shared = PG_GETARG_ARRAYTYPE_P(1);
	total = (int64) ArrayGetNItems(ARR_NDIM(exclusive), ARR_DIMS(exclusive)) +
		ArrayGetNItems(ARR_NDIM(shared), ARR_DIMS(shared));
	if (total > MAX_NAMES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("too many names"),
				 errhint("A call takes at most %d names; take a lock on what they have in common.",
						 MAX_NAMES)));

	resources = palloc_extended(Max(total, 1) * sizeof(Resource),
								MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	*n = add_resources(resources, 0, exclusive, "exclusive", HOLD_EXCLUSIVE);
	*n = add_resources(resources, *n, shared, "shared", HOLD_SHARED);
	*n = sort_resources(resources, *n);
	return resources;
}

/* Read the argument wait: how long the call may wait from now on. */
static Patience
wait_argument(FunctionCallInfo fcinfo, int argno)
{
	Patience	patience = {WAIT_ALWAYS};

	if (!PG_ARGISNULL(argno))
	{
		patience.waiting = WAIT_UNTIL;
		patience.deadline = interval_from_now(PG_GETARG_INTERVAL_P(argno),
											  "wait");
	}
	return patience;
}

/*
 * Raise 25P01 outside a transaction block, where the locks would be released
 * at once, and 25006 if the transaction is read-only.
 */
static void
require_transaction(FunctionCallInfo fcinfo, const char *function)
{
	require_writable(fcinfo);
	if (!IsTransactionBlock() && call_is_top_level(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s can only be used in transaction blocks",
						function),
				 errhint("Use BEGIN first.")));
}

/*
 * The request that this transaction has claimed, truncated for lock_holders; 0
 * if there is none.
 */
static Datum
request_shown(void)
{
	const char *request = entry_claimed();
	int			len;

	if (request == NULL)
		return (Datum) 0;
	len = pg_mbcliplen(request, strlen(request), MAX_REQUEST);
	return PointerGetDatum(cstring_to_text_with_len(request, len));
}

/*
 * Take the resources one by one.  Returns false if the call would have to
 * wait.
 */
static bool
take_in_turn(NameTable *names, Resource *resources, int n, Datum request,
			 const Patience *patience)
{
	TimestampTz since;

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!resource_take(names, &resources[i], patience))
			return false;
	}

	/*
	 * Draw the fences after all names have been taken; see resource_fence().
	 */
	since = GetCurrentTimestamp();
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (resources[i].fence_due &&
			!resource_fence(names, &resources[i], since, request, patience))
			return false;
	}
	return true;
}

/*
 * Take the resources until the end of the transaction.  Returns false if the
 * call would have to wait; then the caller has to undo what has been taken.
 */
static bool
take_resources(Resource *resources, int n, const Patience *patience)
{
	XLogRecPtr	written = XactLastRecEnd;
	NameTable	names;
	Datum		request = request_shown();
	bool		taken;

	if (!wait_to_open(&names, NAME_LOCK, patience))
		return false;
	taken = free_take(&names, resources, n, GetCurrentTimestamp(), request,
					  patience) ||
		take_in_turn(&names, resources, n, request, patience);
	names_close(&names);

	/*
	 * What we have written is worth nothing after a crash: no lock and no
	 * snapshot survives it, and the fences have been flushed.  So the
	 * transaction need not wait for the disk when it commits, unless it has
	 * written something else.
	 */
	XactLastRecEnd = written;
	return taken;
}

/*
 * lock_acquire(exclusive text[], shared text[], wait interval) RETURNS TABLE
 * (name, mode, fence)
 */
Datum
lock_acquire(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *answer = (ReturnSetInfo *) fcinfo->resultinfo;
	Resource   *resources;
	int			n;
	Patience	patience;
	Datum		modes[HOLD_EXCLUSIVE + 1];

	request_enter(fcinfo, ENTRY_JOINS);
	resources = resource_arguments(fcinfo, &n);
	patience = wait_argument(fcinfo, 2);
	require_transaction(fcinfo, "lock_acquire()");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	/* either takes all or raises an error, since it may wait */
	(void) take_resources(resources, n, &patience);

	modes[HOLD_SHARED] = CStringGetTextDatum(hold_mode_name(HOLD_SHARED));
	modes[HOLD_EXCLUSIVE] =
		CStringGetTextDatum(hold_mode_name(HOLD_EXCLUSIVE));
	for (int i = 0; i < n; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {0};

		values[0] = resources[i].name;
		values[1] = modes[resources[i].mode];
		values[2] = Int64GetDatum(resources[i].fence);
		nulls[2] = resources[i].mode != HOLD_EXCLUSIVE;
		tuplestore_putvalues(answer->setResult, answer->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/* What lock_try_acquire() is to take. */
typedef struct Wanted
{
	Resource   *resources;
	int			n;
} Wanted;

static bool
take_at_once(void *arg)
{
	const Patience patience = {WAIT_NEVER};
	Wanted	   *wanted = arg;

	return take_resources(wanted->resources, wanted->n, &patience);
}

/* lock_try_acquire(exclusive text[], shared text[]) RETURNS boolean */
Datum
lock_try_acquire(PG_FUNCTION_ARGS)
{
	Wanted		wanted;

	request_enter(fcinfo, ENTRY_JOINS);
	wanted.resources = resource_arguments(fcinfo, &wanted.n);
	require_transaction(fcinfo, "lock_try_acquire()");
	/* Row locks can only be released by rolling back a subtransaction. */
	PG_RETURN_BOOL(in_subtransaction(take_at_once, &wanted, NULL));
}

/* lock_assert(name text, mode text) RETURNS void */
Datum
lock_assert(PG_FUNCTION_ARGS)
{
	static const char *const modes[] = {"exclusive", "shared", NULL};
	NameTable	names;
	TransactionId xid;
	Datum		name;
	HoldMode	mode;
	HoldMode	held = HOLD_NONE;

	request_enter(fcinfo, ENTRY_JOINS);
	require_no_parallel_query(fcinfo);
	require_argument(fcinfo, 0, "name");
	name = names_checked(PG_GETARG_DATUM(0), "name");
	mode = word_argument(fcinfo, 1, "mode", modes) == 0 ?
		HOLD_EXCLUSIVE : HOLD_SHARED;

	/* No lock is needed: a name that we hold cannot change or be purged. */
	names_open(&names, NAME_LOCK, false);
	if (names_find(&names, name))
		held = holders_mine(&names, &xid);
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
 * lock_fence_advance(by bigint) RETURNS void
 *
 * A SECURITY DEFINER function of the role that installed the extension,
 * because it sets the sequence.
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
 * lock_reap(batch int) RETURNS bigint
 *
 * The part of pg_cas_reap() that purges unused names of locks and leases.
 */
Datum
lock_reap(PG_FUNCTION_ARGS)
{
	int			batch = batch_argument(fcinfo, 0);
	int64		reaped = 0;

	PreventCommandIfReadOnly("pg_cas_reap()");
	require_writable(fcinfo);

	for (NameKind kind = NAME_LOCK; kind <= NAME_LEASE; kind++)
	{
		NameTable	names;

		names_open(&names, kind, true);
		reaped += snapshots_purge(&names, batch - reaped);
		names_close(&names);
	}
	PG_RETURN_INT64(reaped);
}

/*
 * Common part of lease_acquire() and lease_try_acquire(), which have their
 * first three arguments in common.
 */
static void
acquire_lease(FunctionCallInfo fcinfo, const char *function,
			  int reenter_argno, Patience *patience, LeaseGrant *grant)
{
	Datum		name;
	Datum		holder;
	Interval   *ttl;

	require_argument(fcinfo, 0, "name");
	require_argument(fcinfo, 1, "holder");
	require_argument(fcinfo, 2, "ttl");
	require_argument(fcinfo, reenter_argno, "reenter");
	name = names_checked(PG_GETARG_DATUM(0), "name");
	holder = names_checked(PG_GETARG_DATUM(1), "holder");
	ttl = PG_GETARG_INTERVAL_P(2);
	(void) positive_interval_after(GetCurrentTimestamp(), ttl, "ttl");

	require_writable(fcinfo);

	/*
	 * The lease is granted when the statement commits, so it must not be part
	 * of a longer transaction.
	 */
	PreventInTransactionBlock(call_is_top_level(fcinfo), function);

	lease_take(name, DatumGetTextPP(holder), ttl,
			   PG_GETARG_BOOL(reenter_argno), patience, grant);

	/*
	 * The client must not be told of a grant that a crash could undo, whatever
	 * synchronous_commit says.
	 */
	if (grant->granted)
		ForceSyncCommit();
}

/*
 * lease_acquire(name text, holder text, ttl interval, wait interval, reenter
 * boolean) RETURNS bigint
 */
Datum
lease_acquire(PG_FUNCTION_ARGS)
{
	Patience	patience;
	LeaseGrant	grant;

	request_enter(fcinfo, ENTRY_JOINS);
	patience = wait_argument(fcinfo, 3);
	/* With no time to wait, do not wait at all, not even for short locks. */
	if (patience.waiting == WAIT_UNTIL &&
		patience.deadline <= GetCurrentTimestamp())
		patience.waiting = WAIT_NEVER;
	acquire_lease(fcinfo, "lease_acquire()", 4, &patience, &grant);
	if (!grant.granted)
		lease_raise_held(PG_GETARG_DATUM(0), &grant);
	PG_RETURN_INT64(grant.fence);
}

/*
 * lease_try_acquire(name text, holder text, ttl interval, reenter boolean)
 * RETURNS TABLE (fence, holder, expires_at)
 */
Datum
lease_try_acquire(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *answer = (ReturnSetInfo *) fcinfo->resultinfo;
	Patience	patience = {WAIT_NEVER};
	LeaseGrant	grant;
	Datum		values[3] = {0};
	bool		nulls[3] = {0};

	request_enter(fcinfo, ENTRY_JOINS);
	acquire_lease(fcinfo, "lease_try_acquire()", 3, &patience, &grant);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	values[0] = Int64GetDatum(grant.fence);
	nulls[0] = !grant.granted;
	values[1] = PointerGetDatum(grant.holder);
	values[2] = TimestampTzGetDatum(grant.expires_at);
	nulls[1] = nulls[2] = grant.holder == NULL;
	tuplestore_putvalues(answer->setResult, answer->setDesc, values, nulls);
	return (Datum) 0;
}

/*
 * Check the argument name and the second one, and open the table of leases.
 * Returns the name.
 */
static Datum
open_lease(FunctionCallInfo fcinfo, const char *second, NameTable *names)
{
	Datum		name;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "name");
	require_argument(fcinfo, 1, second);
	name = names_checked(PG_GETARG_DATUM(0), "name");
	require_writable(fcinfo);
	names_open(names, NAME_LEASE, true);
	return name;
}

/* lease_renew(name text, fence bigint, ttl interval) RETURNS timestamptz */
Datum
lease_renew(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Datum		name;
	TimestampTz expires_at;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 2, "ttl");
	(void) positive_interval_after(GetCurrentTimestamp(),
								   PG_GETARG_INTERVAL_P(2), "ttl");
	name = open_lease(fcinfo, "fence", &names);
	expires_at = lease_prolong(&names, name, PG_GETARG_INT64(1),
							   PG_GETARG_INTERVAL_P(2));
	names_close(&names);
	PG_RETURN_TIMESTAMPTZ(expires_at);
}

/* lease_release(name text, fence bigint) RETURNS boolean */
Datum
lease_release(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Datum		name = open_lease(fcinfo, "fence", &names);
	bool		released;

	released = lease_give_up(&names, name, PG_GETARG_INT64(1));
	names_close(&names);
	PG_RETURN_BOOL(released);
}

/* lease_guard(name text, fence bigint) RETURNS void */
Datum
lease_guard(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Datum		name = open_lease(fcinfo, "fence", &names);

	lease_hold_off(&names, name, PG_GETARG_INT64(1));
	names_close(&names);
	PG_RETURN_VOID();
}

/* lease_set_owner(name text, owner text) RETURNS void */
Datum
lease_set_owner(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Datum		name = open_lease(fcinfo, "owner", &names);

	lease_give_to(&names, name, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	names_close(&names);
	PG_RETURN_VOID();
}
