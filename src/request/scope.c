/*
 * scope.c
 *		Scopes of requests: their owners, and how long results are kept.
 *
 * A scope belongs to the role that used it first.  Each transaction that finds
 * no committed row of the scope inserts one.  The primary key includes
 * made_by, the ID of the inserting transaction, so two transactions do not
 * wait for each other, and a rollback removes only the transaction's own row.
 * Of the committed rows, the one with the smallest made_by is valid.
 * request_scope_set() writes the row with made_by 0, which comes before all
 * others.
 */
#include "request/request.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

/* made_by of the row that request_scope_set() writes */
#define MADE_BY_HAND		FullTransactionIdFromU64(0)

/* Attempts to find a row that other transactions insert and roll back. */
#define MAX_ROUNDS			8

/*
 * Open and lock our tables.  Return false if the locks were not granted in
 * time.  All locks that the call needs are taken here, in their final mode:
 * upgrading one later could deadlock.
 */
bool
tables_open(RequestTables *tables, const WaitLimit *limit)
{
	LOCKMODE	lockmode = XactReadOnly ? AccessShareLock : RowExclusiveLock;
	Oid			scopes = internal_relation("request_scope");
	Oid			results = internal_relation("request_result");

	if (!request_wait_relation(scopes, lockmode, limit) ||
		!request_wait_relation(results, lockmode, limit))
		return false;
	own_open(&tables->scopes, scopes, NoLock);
	own_open(&tables->results, results, NoLock);
	return true;
}

void
tables_close(RequestTables *tables)
{
	own_close(&tables->results);
	own_close(&tables->scopes);
}

/* Raise 42501 unless the current role has the privileges of the owner. */
void
scope_check_owner(text *scope, Oid owner)
{
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for request scope \"%s\"",
						text_to_cstring(scope)),
				 errhint("A scope belongs to the role that used it first, and to the members of that role.")));
}

/* Return the owner in the slot's row, or InvalidOid. */
static Oid
row_owner(OwnTable *scopes)
{
	bool		isnull;
	Datum		owner = own_value(scopes, SCOPE_OWNER, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(owner);
}

/* Put the scope's valid row into the slot; false if it has no row. */
static bool
find_scope(OwnTable *scopes, text *name)
{
	ScanKeyData key;

	own_text_key(&key, SCOPE_SCOPE, name);
	return own_find_latest(scopes, &key, 1);
}

/* Return whether the scope has results, committed or not. */
static bool
has_results(RequestTables *tables, text *name)
{
	ScanKeyData key;
	OwnRival	rival;

	own_text_key(&key, RESULT_SCOPE, name);
	return own_look(&tables->results, &key, 1, &rival) != LOOK_NONE;
}

/*
 * Return whether other transactions are creating the scope, and set *owner to
 * the owner that the first of them writes.  Raise 42501 unless the current
 * role has the privileges of all these owners.
 */
static bool
check_other_makers(OwnTable *scopes, text *name, Oid *owner)
{
	OwnScan		scan;
	ScanKeyData key;
	bool		others = false;

	own_text_key(&key, SCOPE_SCOPE, name);
	own_scan_begin(&scan, scopes, scopes->index, NULL, &key, 1);
	while (own_scan_next(&scan))
	{
		Oid			other = row_owner(scopes);

		if (own_slot_is_ours(scopes))
			continue;
		scope_check_owner(name, effective_owner(other));
		if (!others)
			*owner = other;
		others = true;
	}
	own_scan_end(&scan);
	return others;
}

/*
 * Look for other users of a scope that has no committed row.  Return whether
 * other transactions are creating it, and set *owner to the owner that they
 * write.  *lost is set if the scope has results but no row; then *owner is the
 * extension's owner.  Raise 42501 if the current role does not have the
 * privileges of that owner.
 */
static bool
look_for_makers(RequestTables *tables, text *name, Oid *owner, bool *lost)
{
	*lost = false;

	/*
	 * Other transactions that use the scope for the first time insert its row
	 * before their results, so look for results first.
	 */
	for (int round = 0; has_results(tables, name); round++)
	{
		CHECK_FOR_INTERRUPTS();
		if (check_other_makers(&tables->scopes, name, owner))
			return true;

		/* The transaction with the results may have rolled back meanwhile. */
		if (round < MAX_ROUNDS)
			continue;

		/*
		 * There are results without a scope while a dump is being restored,
		 * or if rows were lost.  The next user must not get access to them,
		 * so the scope belongs to the extension's owner.
		 */
		*lost = true;
		*owner = extension_owner();
		scope_check_owner(name, *owner);
		return false;
	}
	return check_other_makers(&tables->scopes, name, owner);
}

/*
 * Check again after inserting the first row of a scope, and return the scope's
 * owner.  Raise 42501 if another transaction has created the scope at the same
 * time for a role whose privileges the current role does not have.
 *
 * If two transactions create the scope at once, at least one of them sees the
 * other's row here, so two roles that are not members of each other cannot
 * both succeed.
 */
static Oid
check_made(OwnTable *scopes, text *name, Oid owner)
{
	/*
	 * The dirty scan sees uncommitted rows, but may miss a row that is being
	 * updated.  Such a row is committed, so find_scope() sees it.
	 */
	(void) check_other_makers(scopes, name, &owner);
	if (find_scope(scopes, name))
	{
		owner = row_owner(scopes);
		scope_check_owner(name, effective_owner(owner));
	}
	return effective_owner(owner);
}

/* Insert this transaction's row of the scope. */
static void
insert_scope(OwnTable *scopes, text *name, Oid owner)
{
	Datum		values[SCOPE_NATTS];
	bool		nulls[SCOPE_NATTS] = {false};
	char	   *owner_name = role_name(owner);

	values[SCOPE_SCOPE - 1] = PointerGetDatum(name);
	values[SCOPE_MADE_BY - 1] =
		FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[SCOPE_OWNER - 1] = ObjectIdGetDatum(owner);
	nulls[SCOPE_OWNER - 1] = !OidIsValid(owner);
	nulls[SCOPE_OWNER_NAME - 1] = owner_name == NULL;
	if (owner_name != NULL)
		values[SCOPE_OWNER_NAME - 1] = CStringGetTextDatum(owner_name);
	nulls[SCOPE_RETENTION - 1] = true;
	if (!own_insert(scopes, values, nulls))
		elog(ERROR, "scope \"%s\" has a row of this transaction that it does not see",
			 text_to_cstring(name));
}

/*
 * Create a scope that has no committed row, and return its owner.  Raise 42501
 * if the current role may not use it.
 */
static Oid
make_scope(FunctionCallInfo fcinfo, RequestTables *tables, text *name)
{
	Oid			owner = InvalidOid;
	bool		lost;
	bool		others = look_for_makers(tables, name, &owner, &lost);

	if (lost)
		return owner;
	require_writable(fcinfo);
	if (!others)
		owner = new_owner(NULL);
	insert_scope(&tables->scopes, name, owner);
	return check_made(&tables->scopes, name, owner);
}

/*
 * Find the scope, or create it.  Raise 42501 unless the current role has the
 * privileges of its owner.
 */
void
scope_enter(FunctionCallInfo fcinfo, RequestTables *tables, text *name,
			RequestScope *scope)
{
	bool		isnull = true;

	if (find_scope(&tables->scopes, name))
	{
		scope->owner = effective_owner(row_owner(&tables->scopes));
		scope_check_owner(name, scope->owner);
		(void) own_value(&tables->scopes, SCOPE_RETENTION, &isnull);
	}
	else
		scope->owner = make_scope(fcinfo, tables, name);
	scope->retains = !isnull;
}

/* Get the scope's own retention; return false if it has none. */
bool
scope_retention(OwnTable *scopes, text *name, Interval *retention)
{
	bool		isnull;
	Datum		value;

	if (!find_scope(scopes, name))
		return false;
	value = own_value(scopes, SCOPE_RETENTION, &isnull);
	if (!isnull)
		*retention = *DatumGetIntervalP(value);
	return !isnull;
}

/* ----------
 * request_scope_set
 * ----------
 */

/*
 * Raise 42501 unless the current role may change the scope.  *found tells
 * whether the scope has a valid row, which is then in the slot.  Return
 * whether it has an owner, in *owner, even if other transactions are still
 * creating it.
 */
static bool
check_change(RequestTables *tables, text *name, bool *found, Oid *owner)
{
	bool		lost;

	*found = find_scope(&tables->scopes, name);
	if (!*found)
		return look_for_makers(tables, name, owner, &lost);

	*owner = row_owner(&tables->scopes);
	scope_check_owner(name, effective_owner(*owner));

	/* The row is read in its latest state, which the snapshot may not see. */
	if (IsolationUsesXactSnapshot() && !own_slot_is_visible(&tables->scopes))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 errhint("Retry the transaction.")));
	return true;
}

/*
 * Insert or update the row with made_by 0.  If found, the slot has the row
 * that was valid until now.  Return false if another transaction is changing
 * the row with made_by 0 or has locked it.
 */
static bool
write_scope(OwnTable *scopes, text *name, bool found, Oid owner,
			Interval *retention)
{
	Datum		values[SCOPE_NATTS] = {0};
	bool		nulls[SCOPE_NATTS] = {false};
	bool		replace[SCOPE_NATTS] = {false};
	char	   *owner_name = role_name(owner);
	FullTransactionId made_by;
	bool		isnull;

	values[SCOPE_SCOPE - 1] = PointerGetDatum(name);
	values[SCOPE_MADE_BY - 1] = FullTransactionIdGetDatum(MADE_BY_HAND);
	values[SCOPE_OWNER - 1] = ObjectIdGetDatum(owner);
	nulls[SCOPE_OWNER - 1] = owner_name == NULL;
	nulls[SCOPE_OWNER_NAME - 1] = owner_name == NULL;
	if (owner_name != NULL)
		values[SCOPE_OWNER_NAME - 1] = CStringGetTextDatum(owner_name);
	values[SCOPE_RETENTION - 1] = IntervalPGetDatum(retention);
	nulls[SCOPE_RETENTION - 1] = retention == NULL;

	/* The valid row may be one that a transaction made at its first use. */
	if (found)
		made_by = DatumGetFullTransactionId(own_value(scopes, SCOPE_MADE_BY,
													  &isnull));
	if (!found || !FullTransactionIdEquals(made_by, MADE_BY_HAND))
		return own_insert(scopes, values, nulls);

	/* Keep the name of a dropped owner: a restore may find such a role. */
	replace[SCOPE_OWNER - 1] = replace[SCOPE_OWNER_NAME - 1] =
		owner_name != NULL;
	replace[SCOPE_RETENTION - 1] = retention != NULL;
	return own_update(scopes, values, nulls, replace);
}

/* Wait for the transaction that has the row with made_by 0. */
static void
wait_for_other_setter(OwnTable *scopes, text *name, int *rounds)
{
	WaitLimit	limit = {.limited = false};
	ScanKeyData keys[2];
	OwnRival	rival;

	CHECK_FOR_INTERRUPTS();
	own_text_key(&keys[0], SCOPE_SCOPE, name);
	ScanKeyInit(&keys[1], SCOPE_MADE_BY, BTEqualStrategyNumber, F_XID8EQ,
				FullTransactionIdGetDatum(MADE_BY_HAND));
	rival.xid = InvalidTransactionId;
	if (own_look(scopes, keys, 2, &rival) == LOOK_FOUND)
		own_look_locker(scopes, &rival);
	if (TransactionIdIsValid(rival.xid))
		(void) request_wait_rival(scopes, &rival, &limit);
	else if (++(*rounds) > MAX_ROUNDS)
		elog(ERROR, "row of scope \"%s\" can neither be found nor made",
			 text_to_cstring(name));
}

/*
 * Set retained_by in the scope's rows, now that the scope has its own
 * retention, so that reap.c finds them in the index.  Rows of running
 * transactions are not changed; reap.c does that later.
 */
static void
retain_results(RequestTables *tables, text *name)
{
	OwnTable   *results = &tables->results;
	Snapshot	latest = RegisterSnapshot(GetLatestSnapshot());
	Datum		values[RESULT_NATTS] = {0};
	bool		nulls[RESULT_NATTS] = {false};
	bool		replace[RESULT_NATTS] = {false};
	ScanKeyData key;
	OwnScan		scan;

	values[RESULT_RETAINED_BY - 1] = PointerGetDatum(name);
	replace[RESULT_RETAINED_BY - 1] = true;
	own_text_key(&key, RESULT_SCOPE, name);
	own_scan_begin(&scan, results, results->index, latest, &key, 1);
	while (own_scan_next(&scan))
	{
		bool		isnull;

		(void) own_value(results, RESULT_RETAINED_BY, &isnull);
		if (isnull)
			(void) own_update(results, values, nulls, replace);
	}
	own_scan_end(&scan);
	UnregisterSnapshot(latest);
}

/*
 * Create the scope if it is new, and set the owner and the retention, if they
 * are not NULL.
 */
void
scope_set(text *name, const char *owner, Interval *retention)
{
	WaitLimit	limit = {.limited = false};
	RequestTables tables;
	int			rounds = 0;

	(void) tables_open(&tables, &limit);
	/* Look again after each wait: the other transaction may have committed. */
	for (;;)
	{
		bool		found;
		Oid			role;
		Interval   *kept = NULL;

		if (!check_change(&tables, name, &found, &role) || owner != NULL)
			role = new_owner(owner);
		if (found)
		{
			bool		isnull;
			Datum		value = own_value(&tables.scopes, SCOPE_RETENTION,
										  &isnull);

			kept = isnull ? NULL : DatumGetIntervalP(value);
		}
		if (write_scope(&tables.scopes, name, found, role,
						retention != NULL ? retention : kept))
		{
			if (!found)
				(void) check_made(&tables.scopes, name, role);
			break;
		}
		wait_for_other_setter(&tables.scopes, name, &rounds);
	}
	if (retention != NULL)
		retain_results(&tables, name);
	tables_close(&tables);
}
