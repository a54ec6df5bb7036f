/*
 * lease.c
 *		Leases: locks for work that is longer than a transaction.
 *
 * A lease is a row of lease_state: who holds it, until when, under which
 * fence.  It is held after the transaction that acquired it, so no lock can
 * stand for it; the row's lock only orders those who look at and change it,
 * and the time that decides is the server's, read once the row is locked.
 *
 * A holder that was stopped beyond its lease's end and then goes on must not
 * write.  It cannot know, but the row does: lease_guard compares the fence
 * that the holder presents and keeps the row FOR KEY SHARE until its
 * transaction ends.  Taking over and releasing lock the row FOR UPDATE, so
 * they wait for guarded writes in progress; renewing takes FOR NO KEY UPDATE,
 * which gets along with guards.  A lease that another has now needs no lock to
 * be refused: what was last committed is the answer.
 *
 * Only those who acquire stand in line.  The others act on a lease that they
 * hold, and may have the row locked already.
 */
#include "lock.h"

#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/syscache.h"

typedef enum LeaseStatus
{
	LEASE_MISSING,				/* there is no such row */
	LEASE_FENCED,				/* another fence is the current one */
	LEASE_RELEASED,
	LEASE_CURRENT
} LeaseStatus;

static const Patience forever = {false};

/*
 * The role that the lease belongs to, or InvalidOid; one that was dropped is
 * none.
 */
static Oid
lease_owner(NameTable *names)
{
	bool		isnull;
	Oid			owner;

	owner = DatumGetObjectId(names_get(names, Anum_lease_owner, &isnull));
	if (isnull || !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		return InvalidOid;
	return owner;
}

/*
 * A lease belongs to the role that made it; its members share it.
 */
static void
check_owner(NameTable *names, Datum name)
{
	Oid			owner = lease_owner(names);

	if (OidIsValid(owner) && !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for lease \"%s\"",
						TextDatumGetCString(name))));
}

/*
 * Whether the lease in the slot is another holder's at that time; if so, the
 * grant says whose.
 */
static bool
held_by_other(NameTable *names, text *holder, TimestampTz now,
			  LeaseGrant *grant)
{
	bool		released;
	bool		isnull;
	Datum		current;
	TimestampTz expires_at;

	current = names_get(names, Anum_lease_holder, &released);
	expires_at = DatumGetTimestampTz(names_get(names, Anum_lease_expires,
											   &isnull));
	if (released || expires_at <= now ||
		DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, current,
											 PointerGetDatum(holder))))
		return false;
	grant->granted = false;
	grant->holder = DatumGetTextPCopy(current);
	grant->expires_at = expires_at;
	return true;
}

/*
 * Acquire the lease, unless another holder has it now.  Its own transaction
 * commits at once (the caller sees to that).
 */
void
lease_take(NameTable *names, Datum name, text *holder, Interval *ttl,
		   LeaseGrant *grant)
{
	Datum		values[Natts_lease_state] = {0};
	bool		nulls[Natts_lease_state] = {0};
	bool		replace[Natts_lease_state] = {0};
	bool		found = names_find(names, name);
	TimestampTz now;

	/* What is held beyond doubt is not waited for, guarded or not. */
	if (found)
	{
		check_owner(names, name);
		names_check_snapshot(names, name);
		if (held_by_other(names, holder, GetCurrentTimestamp(), grant))
			return;
	}

	wait_in_line(names, name, found, HOLD_EXCLUSIVE, LockTupleExclusive,
				 &forever);
	check_owner(names, name);
	names_check_snapshot(names, name);
	now = GetCurrentTimestamp();
	if (held_by_other(names, holder, now, grant))
		return;

	grant->granted = true;
	grant->fence = fence_next(names, names_fence(names));
	grant->holder = holder;
	grant->expires_at = positive_interval_after(now, ttl, "ttl");

	values[Anum_fence - 1] = Int64GetDatum(grant->fence);
	replace[Anum_fence - 1] = true;
	values[Anum_lease_holder - 1] = PointerGetDatum(holder);
	replace[Anum_lease_holder - 1] = true;
	values[Anum_lease_acquired - 1] = TimestampTzGetDatum(now);
	replace[Anum_lease_acquired - 1] = true;
	values[Anum_lease_expires - 1] = TimestampTzGetDatum(grant->expires_at);
	replace[Anum_lease_expires - 1] = true;
	values[Anum_lease_owner - 1] = ObjectIdGetDatum(GetUserId());
	replace[Anum_lease_owner - 1] = !OidIsValid(lease_owner(names));
	names_update(names, values, nulls, replace);
}

/*
 * Lock the lease's row and say how the fence stands to it.
 */
static LeaseStatus
lock_lease(NameTable *names, Datum name, int64 fence, HoldMode mode,
		   LockTupleMode tuplemode, int64 *current)
{
	*current = 0;
	if (!names_find(names, name))
		return LEASE_MISSING;
	check_owner(names, name);

	/* If it is purged under our hands, it may have been made again. */
	while (!wait_for_row(names, name, mode, tuplemode, &forever))
	{
		CHECK_FOR_INTERRUPTS();
		names_refresh(names);
		if (!names_find(names, name))
			return LEASE_MISSING;
	}
	check_owner(names, name);
	names_check_snapshot(names, name);

	*current = names_fence(names);
	if (*current != fence)
		return LEASE_FENCED;
	if (slot_attisnull(names->slot, Anum_lease_holder))
		return LEASE_RELEASED;
	return LEASE_CURRENT;
}

/*
 * Raise PT412.
 */
static void
report_fenced(Datum name, int64 fence, int64 current)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "lease", TextDatumGetCString(name));
	detail_int(&detail, "fence", fence);
	if (current > 0)
		detail_int(&detail, "current", current);
	else
		detail_null(&detail, "current");
	ereport(ERROR,
			(errcode(ERRCODE_CAS_FENCED),
			 errmsg("the fence given for lease \"%s\" is not the current one",
					TextDatumGetCString(name)),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("Stop the work that was done under it.")));
}

/*
 * Raise PT404.
 */
static void
report_not_held(Datum name)
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
 * Keep off takeover and release until the transaction's end, or raise PT412.
 */
void
lease_hold_off(NameTable *names, Datum name, int64 fence)
{
	int64		current;

	switch (lock_lease(names, name, fence, HOLD_SHARED, LockTupleKeyShare,
					   &current))
	{
		case LEASE_CURRENT:
			break;

		case LEASE_MISSING:
		case LEASE_FENCED:
		case LEASE_RELEASED:
			report_fenced(name, fence, current);
			break;
	}
}

/*
 * Let the lease end so long from now, and return when that is.
 */
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
			expires_at = positive_interval_after(GetCurrentTimestamp(), ttl, "ttl");
			values[Anum_lease_expires - 1] = TimestampTzGetDatum(expires_at);
			replace[Anum_lease_expires - 1] = true;
			names_update(names, values, nulls, replace);
			break;

		case LEASE_FENCED:
			report_fenced(name, fence, current);
			break;

		case LEASE_MISSING:
		case LEASE_RELEASED:
			report_not_held(name);
			break;
	}
	return expires_at;
}

/*
 * Release the lease; false: there was nothing to release.
 */
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
			nulls[Anum_lease_holder - 1] = true;
			replace[Anum_lease_holder - 1] = true;
			values[Anum_lease_expires - 1] =
				TimestampTzGetDatum(GetCurrentTimestamp());
			replace[Anum_lease_expires - 1] = true;
			names_update(names, values, nulls, replace);
			return true;

		case LEASE_FENCED:
			report_fenced(name, fence, current);
			break;

		case LEASE_MISSING:
		case LEASE_RELEASED:
			break;
	}
	return false;
}
