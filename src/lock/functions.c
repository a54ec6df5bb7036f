/*
 * functions.c
 *		The SQL functions of named resources and leases: check the arguments,
 *		call, shape the answer.
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

/* Most names of a call; each takes 40 bytes of memory, and a row. */
#define MAX_NAMES 10000000

/* What lock_holders shows of a holder's request, in bytes. */
#define MAX_REQUEST 256

/*
 * Add the array's names to the resources.
 */
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

/* qsort comparator: of equal names the exclusive one first. */
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
 * Sort the resources into the order in which they are taken, fold those of the
 * same name into the strongest, and return how many are left.
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
 * The resources that the call's first two arguments name, in the order in
 * which they are taken: byte order, each wholly before the next, so that calls
 * cannot deadlock with one another.  Transactions that call twice can, and the
 * deadlock detector sees them.
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

/*
 * How long does the call wait, from now on?
 */
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
 * What else lock_acquire() and lock_try_acquire() ask for: a transaction that
 * goes on.
 */
static void
require_transaction(FunctionCallInfo fcinfo, const char *function)
{
	require_writable(fcinfo);
	if (!IsTransactionBlock() && call_is_top_level(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s outside a transaction block would be gone at once",
						function),
				 errhint("Use BEGIN first.")));
}

/* The request that this transaction has claimed, cut to be shown, or 0. */
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
 * Hold the resources until the transaction's end.  False: the call would have
 * to wait; what it has taken is the caller's to undo.
 *
 * The rows that this writes are worth nothing after a crash: no lock and no
 * snapshot outlives it, and the fences are on disk.  So they are no reason for
 * the commit to wait until it is on disk, if it has no other.
 */
static bool
take_resources(Resource *resources, int n, const Patience *patience)
{
	XLogRecPtr	written = XactLastRecEnd;
	NameTable	names;
	TimestampTz since;
	Datum		request;
	bool		taken = true;

	if (!wait_to_open(&names, NAME_LOCK, patience))
		return false;
	for (int i = 0; i < n && taken; i++)
	{
		CHECK_FOR_INTERRUPTS();
		taken = resource_take(&names, &resources[i], patience);
	}
	since = GetCurrentTimestamp();
	request = request_shown();
	for (int i = 0; i < n && taken; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (resources[i].fence_due)
			taken = resource_fence(&names, &resources[i], since, request,
								   patience);
	}
	names_close(&names);
	XactLastRecEnd = written;
	return taken;
}

/*
 * lock_acquire(exclusive text[], shared text[], wait interval)
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

/*
 * Hold all the resources, or none of them.
 *
 * A row's lock can be given back only with a subtransaction: so there is one
 * of ours around the taking.  An error must not leave it behind.
 */
static bool
take_all_or_none(Resource *resources, int n)
{
	const Patience patience = {WAIT_NEVER};
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool taken = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		taken = take_resources(resources, n, &patience);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		ReThrowError(error);
	}
	PG_END_TRY();

	if (taken)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return taken;
}

/*
 * lock_try_acquire(exclusive text[], shared text[]) RETURNS boolean
 */
Datum
lock_try_acquire(PG_FUNCTION_ARGS)
{
	Resource   *resources;
	int			n;

	request_enter(fcinfo, ENTRY_JOINS);
	resources = resource_arguments(fcinfo, &n);
	require_transaction(fcinfo, "lock_try_acquire()");
	PG_RETURN_BOOL(take_all_or_none(resources, n));
}

/*
 * lock_assert(name text, mode text)
 */
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
	require_argument(fcinfo, 0, "name");
	name = names_checked(PG_GETARG_DATUM(0), "name");
	mode = word_argument(fcinfo, 1, "mode", modes) == 0 ?
		HOLD_EXCLUSIVE : HOLD_SHARED;

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
		reaped += snapshots_purge(&names, batch - reaped);
		names_close(&names);
	}
	PG_RETURN_INT64(reaped);
}

/*
 * Common part of lease_acquire() and lease_try_acquire(), whose first three
 * arguments are the same.  What is granted is on disk when the client is told:
 * it commits with this statement, whatever synchronous_commit says.
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
	PreventInTransactionBlock(call_is_top_level(fcinfo), function);

	lease_take(name, DatumGetTextPP(holder), ttl,
			   PG_GETARG_BOOL(reenter_argno), patience, grant);
	if (grant->granted)
		ForceSyncCommit();
}

/*
 * lease_acquire(name text, holder text, ttl interval, wait interval,
 *				 reenter boolean) RETURNS bigint
 */
Datum
lease_acquire(PG_FUNCTION_ARGS)
{
	Patience	patience;
	LeaseGrant	grant;

	request_enter(fcinfo, ENTRY_JOINS);
	patience = wait_argument(fcinfo, 3);
	/* With no time to wait, nobody is waited for, not for an instant. */
	if (patience.waiting == WAIT_UNTIL &&
		patience.deadline <= GetCurrentTimestamp())
		patience.waiting = WAIT_NEVER;
	acquire_lease(fcinfo, "lease_acquire()", 4, &patience, &grant);
	if (!grant.granted)
		lease_report_held(PG_GETARG_DATUM(0), &grant);
	PG_RETURN_INT64(grant.fence);
}

/*
 * lease_try_acquire(name text, holder text, ttl interval, reenter boolean)
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
 * Check the argument name and the second one, and open the leases.
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

/*
 * lease_renew(name text, fence bigint, ttl interval) RETURNS timestamptz
 */
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

/*
 * lease_release(name text, fence bigint) RETURNS boolean
 */
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

/*
 * lease_guard(name text, fence bigint) RETURNS void
 */
Datum
lease_guard(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Datum		name = open_lease(fcinfo, "fence", &names);

	lease_hold_off(&names, name, PG_GETARG_INT64(1));
	names_close(&names);
	PG_RETURN_VOID();
}

/*
 * lease_set_owner(name text, owner text) RETURNS void
 */
Datum
lease_set_owner(PG_FUNCTION_ARGS)
{
	NameTable	names;
	Datum		name = open_lease(fcinfo, "owner", &names);

	lease_give_to(&names, name, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	names_close(&names);
	PG_RETURN_VOID();
}
