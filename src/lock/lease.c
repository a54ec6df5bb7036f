/*
 * lease.c
 *		Leases: locks for work that takes longer than a transaction.
 *
 * A lease is a row of lease_state: its holder, its end, and its fence.  It
 * outlasts the transaction that acquired it, so it cannot be represented by a
 * lock.  The row's lock only orders the calls that read and change the row.
 * The server's clock decides whether a lease has expired, and is read after
 * the row has been locked.
 */
#include "lock.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

/*
 * Pause of the first in line before it looks at the lease again, in
 * milliseconds: the first one, and the longest.
 */
#define FIRST_PAUSE 5
#define LONGEST_PAUSE 100

/* How often a call may have to try again without anybody to wait for. */
#define MAX_ROUNDS 1000

typedef enum LeaseStatus
{
	LEASE_MISSING,				/* there is no such row */
	LEASE_FENCED,				/* the row has another fence */
	LEASE_RELEASED,
	LEASE_CURRENT
} LeaseStatus;

/* The arguments of lease_take(), and the state of its wait. */
typedef struct LeaseRequest
{
	Datum		name;
	text	   *holder;
	Interval   *ttl;
	bool		reenter;
	const Patience *patience;
	TimestampTz waiting_since;
	int			pause;			/* milliseconds until the next look */
} LeaseRequest;

static const Patience forever = {WAIT_ALWAYS};

/*
 * Does the lease have an owner?  That is the role that first acquired it or
 * that it was given to; its members share the lease.  A lease that was never
 * acquired has no owner.
 */
static bool
has_owner(NameTable *names)
{
	return !slot_attisnull(names->slot, Anum_lease_owner_name);
}

/* Raise 42501 unless the current role may use the lease. */
static void
check_owner(NameTable *names, Datum name)
{
	bool		isnull;
	Oid			owner;

	if (!has_owner(names))
		return;
	owner = DatumGetObjectId(names_get(names, Anum_lease_owner, &isnull));
	if (isnull)
		owner = InvalidOid;
	if (!has_privs_of_role(GetUserId(), effective_owner(owner)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for lease \"%s\"",
						TextDatumGetCString(name))));
}

/* Raise PT423. */
void
lease_raise_held(Datum name, const LeaseGrant *grant)
{
	char	   *lease = TextDatumGetCString(name);
	char	   *holder = NULL;
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "lease", lease);
	if (grant->holder != NULL)
		holder = text_to_cstring(grant->holder);
	detail_text(&detail, "holder", holder);
	if (holder != NULL)
		detail_time(&detail, "expires_at", grant->expires_at);
	else
		detail_null(&detail, "expires_at");
	ereport(ERROR,
			(errcode(ERRCODE_CAS_HELD),
			 holder != NULL ?
			 errmsg("lease \"%s\" is held by \"%s\"", lease, holder) :
			 errmsg("lease \"%s\" is being changed by another session",
					lease),
			 errdetail_internal("%s", detail_end(&detail))));
}

/* Note who has the lease in the slot, even if it has expired. */
static void
note_holder(NameTable *names, LeaseGrant *grant)
{
	bool		released;
	bool		isnull;
	Datum		holder = names_get(names, Anum_lease_holder, &released);
	Datum		expires_at = names_get(names, Anum_lease_expires, &isnull);

	if (grant->holder != NULL)
		pfree(grant->holder);
	grant->holder = released ? NULL : DatumGetTextPCopy(holder);
	grant->expires_at = DatumGetTimestampTz(expires_at);
}

/*
 * Is the lease in the slot held at that time, so that the request cannot have
 * it?  Notes who has it.
 */
static bool
is_held(NameTable *names, const LeaseRequest *request, TimestampTz now,
		LeaseGrant *grant)
{
	note_holder(names, grant);
	return grant->holder != NULL && grant->expires_at > now &&
		!(request->reenter &&
		  names_compare(PointerGetDatum(grant->holder),
						PointerGetDatum(request->holder)) == 0);
}

/* Raise PT423 because the time to wait for a lease is over. */
pg_noreturn static void
raise_still_held(NameTable *names, Datum name)
{
	LeaseGrant	grant = {false};

	names_refresh(names);
	if (names_find(names, name))
		note_holder(names, &grant);
	lease_raise_held(name, &grant);
}

/*
 * Grant the lease whose row is locked and in the slot.  Returns false if the
 * call would have to wait for its fence.
 */
static bool
grant_lease(NameTable *names, const LeaseRequest *request, TimestampTz now,
			LeaseGrant *grant)
{
	Datum		values[Natts_lease_state] = {0};
	bool		nulls[Natts_lease_state] = {0};
	bool		replace[Natts_lease_state] = {0};

	if (!fence_next(names, names_fence(names), request->patience,
					&grant->fence))
		return false;
	grant->holder = request->holder;
	grant->expires_at = positive_interval_after(now, request->ttl, "ttl");

	values[Anum_fence - 1] = Int64GetDatum(grant->fence);
	replace[Anum_fence - 1] = true;
	values[Anum_lease_holder - 1] = PointerGetDatum(request->holder);
	replace[Anum_lease_holder - 1] = true;
	values[Anum_lease_acquired - 1] = TimestampTzGetDatum(now);
	replace[Anum_lease_acquired - 1] = true;
	values[Anum_lease_expires - 1] = TimestampTzGetDatum(grant->expires_at);
	replace[Anum_lease_expires - 1] = true;
	/* at its first grant a lease gets its owner: the caller or pg_cas.owner */
	if (!has_owner(names))
	{
		Oid			owner = new_owner(NULL);
		char	   *owner_name = role_name(owner);

		if (owner_name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("role with OID %u does not exist", owner)));
		values[Anum_lease_owner - 1] = ObjectIdGetDatum(owner);
		replace[Anum_lease_owner - 1] = true;
		values[Anum_lease_owner_name - 1] = CStringGetTextDatum(owner_name);
		replace[Anum_lease_owner_name - 1] = true;
	}
	names_update(names, values, nulls, replace);
	grant->granted = true;
	return true;
}

/* Raise 55P03. */
pg_noreturn static void
raise_lock_timeout(Datum name)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "lease", TextDatumGetCString(name));
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("could not obtain lease \"%s\" within lock_timeout",
					TextDatumGetCString(name)),
			 errdetail_internal("%s", detail_end(&detail))));
}

/*
 * Called at the head of the line for a lease that is held: wait a while.
 * Returns false if the call must not wait any longer.
 *
 * A lease is held by no transaction, so there is no lock to wait for.  Sleep
 * until it expires, and look now and then whether it has been released, which
 * costs an index lookup.
 */
static bool
sleep_a_while(LeaseRequest *request, TimestampTz now, TimestampTz expires_at)
{
	TimestampTz until = expires_at;

	switch (request->patience->waiting)
	{
		case WAIT_NEVER:
			return false;
		case WAIT_UNTIL:
			if (now >= request->patience->deadline)
				return false;
			until = Min(until, request->patience->deadline);
			break;
		case WAIT_ALWAYS:
			break;
	}
	/* a sleep is no lock wait, so apply lock_timeout here */
	if (LockTimeout > 0)
	{
		TimestampTz limit =
			TimestampTzPlusMilliseconds(request->waiting_since, LockTimeout);

		if (now >= limit)
			raise_lock_timeout(request->name);
		until = Min(until, limit);
	}

	/* The caller checks for interrupts. */
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(TimestampDifferenceMilliseconds(now, until) + 1,
						 request->pause),
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	request->pause = Min(request->pause * 2, LONGEST_PAUSE);
	return true;
}

/*
 * Called at the head of the line: wait for the lease as long as the request's
 * patience allows, and take it.
 *
 * A holder that was stopped beyond the end of its lease must not write when it
 * goes on.  It cannot know, but the row does: lease_guard() compares the
 * holder's fence with the row's and locks the row FOR KEY SHARE until its
 * transaction ends.  Takeover and release lock the row FOR UPDATE, so they
 * wait for guarded transactions.  Renewing takes FOR NO KEY UPDATE, which does
 * not conflict with guards.
 */
static void
take_at_head(NameTable *names, LeaseRequest *request, LeaseGrant *grant)
{
	Datum		name = request->name;
	int			rounds = 0;

	for (;;)
	{
		TimestampTz now;

		CHECK_FOR_INTERRUPTS();
		if (++rounds > MAX_ROUNDS)
			elog(ERROR, "row of lease \"%s\" can be neither locked nor waited for",
				 TextDatumGetCString(name));
		/* see what has been committed while we slept or waited */
		names_refresh(names);
		if (!names_find(names, name))
			names_create(names, name);
		check_owner(names, name);
		snapshots_check(names, name);

		now = GetCurrentTimestamp();
		/* If another holder's lease has not expired, do not lock its row. */
		if (is_held(names, request, now, grant))
		{
			if (!sleep_a_while(request, now, grant->expires_at))
				return;
			rounds = 0;
			continue;
		}

		/*
		 * A row lock cannot be given back.  So that we do not lock the row of
		 * a lease that is held again, lock it only in the version that we have
		 * looked at, and wait for others without locking it.
		 */
		switch (names_lock_as_found(names, LockTupleExclusive))
		{
			case TM_Ok:
				(void) grant_lease(names, request, now, grant);
				return;

			case TM_WouldBlock:
				/*
				 * A guarded transaction, or a session that is changing the
				 * lease.
				 */
				if (request->patience->waiting == WAIT_NEVER)
					return;
				if (wait_for_holder(names, name, request->patience))
					rounds = 0;
				break;

			default:
				/* There is a later version: look again. */
				break;
		}
	}
}

/*
 * Acquire the lease, unless another holder has it for as long as the patience
 * lasts.  The caller makes sure that the transaction commits at once.
 *
 * Callers that want a lease stand in line at its queue lock, in order of
 * arrival.  Calls by the holder do not, because they may have locked the row
 * already.
 */
void
lease_take(Datum name, text *holder, Interval *ttl, bool reenter,
		   Patience *patience, LeaseGrant *grant)
{
	LeaseRequest request = {.name = name, .holder = holder, .ttl = ttl};
	NameTable	names;
	LOCKTAG		tag;

	request.reenter = reenter;
	request.patience = patience;
	request.waiting_since = GetCurrentTimestamp();
	request.pause = FIRST_PAUSE;
	patience->raise = raise_still_held;
	memset(grant, 0, sizeof(LeaseGrant));

	if (!wait_to_open(&names, NAME_LEASE, patience))
		return;

	/*
	 * Check the owner before standing in line, and note the holder in case
	 * that the call must not wait.
	 */
	if (names_find(&names, name))
	{
		check_owner(&names, name);
		snapshots_check(&names, name);
		note_holder(&names, grant);
	}
	names_locktag(&tag, names_hash(name), LEASE_QUEUE);
	if (wait_for_lock(&names, name, HOLD_EXCLUSIVE, &tag, ExclusiveLock,
					  patience))
	{
		take_at_head(&names, &request, grant);
		LockRelease(&tag, ExclusiveLock, false);
	}
	names_close(&names);
}

/* Lock the lease's row.  Returns false if there is none. */
static bool
lock_row(NameTable *names, Datum name, HoldMode mode, LockTupleMode tuplemode)
{
	for (int round = 0; names_find(names, name); round++)
	{
		CHECK_FOR_INTERRUPTS();
		if (round == MAX_ROUNDS)
			elog(ERROR, "row of lease \"%s\" vanishes each time that it is found",
				 TextDatumGetCString(name));

		/* Check the owner before waiting, and again under the lock. */
		check_owner(names, name);
		if (wait_for_row(names, name, mode, tuplemode, &forever) == TM_Ok)
		{
			check_owner(names, name);
			snapshots_check(names, name);
			return true;
		}
		/* It was purged, but may have been created again. */
		names_refresh(names);
	}
	return false;
}

/*
 * Lock the lease's row and return the status of the given fence.  *current is
 * set to the current fence, or to 0 if nobody holds the lease.
 */
static LeaseStatus
lock_lease(NameTable *names, Datum name, int64 fence, HoldMode mode,
		   LockTupleMode tuplemode, int64 *current)
{
	bool		released;

	*current = 0;
	if (!lock_row(names, name, mode, tuplemode))
		return LEASE_MISSING;
	released = slot_attisnull(names->slot, Anum_lease_holder);
	if (!released)
		*current = names_fence(names);
	if (names_fence(names) != fence)
		return LEASE_FENCED;
	return released ? LEASE_RELEASED : LEASE_CURRENT;
}

/* Raise PT412. */
pg_noreturn static void
raise_fenced(Datum name, int64 fence, int64 current)
{
	char	   *lease = TextDatumGetCString(name);
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "lease", lease);
	detail_int(&detail, "fence", fence);
	if (current > 0)
		detail_int(&detail, "current", current);
	else
		detail_null(&detail, "current");
	ereport(ERROR,
			(errcode(ERRCODE_CAS_FENCED),
			 current > 0 ?
			 errmsg("the fence given for lease \"%s\" is not the current one",
					lease) :
			 errmsg("lease \"%s\" is not held", lease),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("Stop the work that was done under it.")));
}

/* Raise PT404. */
pg_noreturn static void
raise_not_held(Datum name)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "lease", TextDatumGetCString(name));
	ereport(ERROR,
			(errcode(ERRCODE_CAS_NOT_FOUND),
			 errmsg("lease \"%s\" is not held", TextDatumGetCString(name)),
			 errdetail_internal("%s", detail_end(&detail))));
}

/*
 * Raise PT412 unless the fence is the current one, and keep others from taking
 * over or releasing the lease until the transaction ends.
 */
void
lease_hold_off(NameTable *names, Datum name, int64 fence)
{
	int64		current;

	/* does not conflict with renewals */
	switch (lock_lease(names, name, fence, HOLD_SHARED, LockTupleKeyShare,
					   &current))
	{
		case LEASE_CURRENT:
			break;

		case LEASE_MISSING:
		case LEASE_FENCED:
		case LEASE_RELEASED:
			raise_fenced(name, fence, current);
	}
}

/* Let the lease expire ttl from now, and return when that is. */
TimestampTz
lease_prolong(NameTable *names, Datum name, int64 fence, Interval *ttl)
{
	Datum		values[Natts_lease_state] = {0};
	bool		nulls[Natts_lease_state] = {0};
	bool		replace[Natts_lease_state] = {0};
	TimestampTz expires_at = 0;
	int64		current;

	switch (lock_lease(names, name, fence, HOLD_EXCLUSIVE,
					   LockTupleNoKeyExclusive, &current))
	{
		case LEASE_CURRENT:
			expires_at = positive_interval_after(GetCurrentTimestamp(), ttl,
												 "ttl");
			values[Anum_lease_expires - 1] = TimestampTzGetDatum(expires_at);
			replace[Anum_lease_expires - 1] = true;
			names_update(names, values, nulls, replace);
			break;

		case LEASE_FENCED:
			raise_fenced(name, fence, current);

		case LEASE_MISSING:
		case LEASE_RELEASED:
			raise_not_held(name);
	}
	return expires_at;
}

/* Release the lease.  Returns false if there was nothing to release. */
bool
lease_give_up(NameTable *names, Datum name, int64 fence)
{
	Datum		values[Natts_lease_state] = {0};
	bool		nulls[Natts_lease_state] = {0};
	bool		replace[Natts_lease_state] = {0};
	int64		current;

	switch (lock_lease(names, name, fence, HOLD_EXCLUSIVE,
					   LockTupleExclusive, &current))
	{
		case LEASE_CURRENT:
			/* The row remains, with the fence, until the name is purged. */
			nulls[Anum_lease_holder - 1] = true;
			replace[Anum_lease_holder - 1] = true;
			values[Anum_lease_expires - 1] =
				TimestampTzGetDatum(GetCurrentTimestamp());
			replace[Anum_lease_expires - 1] = true;
			names_update(names, values, nulls, replace);
			return true;

		case LEASE_FENCED:
			raise_fenced(name, fence, current);

		case LEASE_MISSING:
		case LEASE_RELEASED:
			break;
	}
	return false;
}

/*
 * Give the lease to a role, which the current role must be able to set.  The
 * lease remains held.  Raises PT404 if there is no such lease.
 */
void
lease_give_to(NameTable *names, Datum name, const char *owner)
{
	Datum		values[Natts_lease_state] = {0};
	bool		nulls[Natts_lease_state] = {0};
	bool		replace[Natts_lease_state] = {0};
	Oid			role = new_owner(owner);

	if (!lock_row(names, name, HOLD_EXCLUSIVE, LockTupleNoKeyExclusive) ||
		!has_owner(names))
		raise_not_held(name);
	values[Anum_lease_owner - 1] = ObjectIdGetDatum(role);
	replace[Anum_lease_owner - 1] = true;
	values[Anum_lease_owner_name - 1] = CStringGetTextDatum(owner);
	replace[Anum_lease_owner_name - 1] = true;
	names_update(names, values, nulls, replace);
}
