/*
 * scope.c
 *		Scopes of requests: whose they are, and how long they keep results.
 *
 * A scope belongs to the role that used it first.  That is written by each
 * transaction that finds the scope nobody's, in a row of its own: the rows of
 * two transactions do not collide, so neither waits for the other, and each
 * row goes with its transaction if that is rolled back.  The first committed
 * row in the order of made_by, which is the inserting transaction's number,
 * counts.  What request_scope_set() says stands in the row with made_by 0,
 * before all others.
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

/* Rounds of looking that can end only because of others who come and go. */
#define MAX_ROUNDS			8

/*
 * Open our tables, or say that waiting for their locks would take too long.
 * All that will be needed is locked at once: a stronger lock later could be a
 * deadlock.
 */
bool
tables_open(RequestTables *tables, const Patience *patience)
{
	LOCKMODE	lockmode = XactReadOnly ? AccessShareLock : RowExclusiveLock;
	Oid			scopes = internal_relation("request_scope");
	Oid			results = internal_relation("request_result");

	if (!request_wait_relation(scopes, lockmode, patience) ||
		!request_wait_relation(results, lockmode, patience))
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

/* Raise 42501 unless the scope is the role's. */
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

/* The owner that the row in the slot names, or InvalidOid. */
static Oid
row_owner(OwnTable *scopes)
{
	bool		isnull;
	Datum		owner = own_value(scopes, SCOPE_OWNER, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(owner);
}

/* Have the slot hold the row that counts; false: the scope is nobody's. */
static bool
find_scope(OwnTable *scopes, text *name)
{
	ScanKeyData key;

	own_text_key(&key, SCOPE_SCOPE, name);
	return own_find_latest(scopes, &key, 1);
}

/* Has the scope results, be they uncommitted? */
static bool
has_results(RequestTables *tables, text *name)
{
	ScanKeyData key;
	OwnRival	rival;

	own_text_key(&key, RESULT_SCOPE, name);
	return own_look(&tables->results, &key, 1, &rival) != LOOK_NONE;
}

/*
 * Raise 42501 if another transaction that is just making the scope makes it
 * for a role whose privileges we have not.  Return whether there is one, with
 * the owner that it writes.
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
 * Nobody has the scope.  Return whether others are just making it, with the
 * owner that they write; 42501 if that is a stranger.
 *
 * Results without a scope are there while a dump is being restored, or if
 * rows were lost: they must not be open to whoever comes first, so the scope
 * counts as the extension's owner's (42501), and *lost is set.  Others that use
 * the scope for the first time make its row before their results, so we look
 * for results first.
 */
static bool
look_for_makers(RequestTables *tables, text *name, Oid *owner, bool *lost)
{
	*lost = false;
	for (int round = 0; has_results(tables, name); round++)
	{
		CHECK_FOR_INTERRUPTS();
		if (check_other_makers(&tables->scopes, name, owner))
			return true;
		if (round < MAX_ROUNDS)
			continue;			/* who was making it may have rolled back */
		*lost = true;
		*owner = extension_owner();
		scope_check_owner(name, *owner);
		return false;
	}
	return check_other_makers(&tables->scopes, name, owner);
}

/*
 * The scope was nobody's, and we have inserted a row that makes it the owner's.
 * Raise 42501 if somebody else has made it meanwhile, for a stranger, and
 * return the owner.
 *
 * Of two that make it at once, at least one sees the other's row now: two
 * strangers cannot both pass.  The first look sees rows that are not yet
 * committed, but may miss one that is being updated; that one is committed
 * then, so the second look sees it.
 */
static Oid
check_made(OwnTable *scopes, text *name, Oid owner)
{
	(void) check_other_makers(scopes, name, &owner);
	if (find_scope(scopes, name))
	{
		owner = row_owner(scopes);
		scope_check_owner(name, effective_owner(owner));
	}
	return effective_owner(owner);
}

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
 * Nobody has the scope: it is to be the present role's, and its owner is
 * returned.
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
 * Find the scope, make it if it is new, and see that it belongs to the present
 * role or one that it is a member of (42501).
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

/* The scope's own retention; false: it has none. */
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
 * See that the scope may be changed, and let found say whether it has a row
 * already, in the slot.  Return whether it has an owner, be it that others are
 * just making it.
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
	if (IsolationUsesXactSnapshot() && !own_slot_is_visible(&tables->scopes))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 errhint("Retry the transaction.")));
	return true;
}

/*
 * Write the row that counts before all others; the slot has the one that
 * counted until now, if any.  false: another transaction is at it.
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

	if (found)
		made_by = DatumGetFullTransactionId(own_value(scopes, SCOPE_MADE_BY,
													  &isnull));
	if (!found || !FullTransactionIdEquals(made_by, MADE_BY_HAND))
		return own_insert(scopes, values, nulls);

	/* Of a dropped owner the name is kept, for what it is worth. */
	replace[SCOPE_OWNER - 1] = replace[SCOPE_OWNER_NAME - 1] =
		owner_name != NULL;
	replace[SCOPE_RETENTION - 1] = retention != NULL;
	return own_update(scopes, values, nulls, replace);
}

/* Wait for who is at the row that is set by hand. */
static void
wait_for_other_setter(OwnTable *scopes, text *name, int *rounds)
{
	Patience	patience = {.limited = false};
	ScanKeyData keys[2];
	OwnRival	rival;

	CHECK_FOR_INTERRUPTS();
	own_text_key(&keys[0], SCOPE_SCOPE, name);
	ScanKeyInit(&keys[1], SCOPE_MADE_BY, BTEqualStrategyNumber, F_XID8EQ,
				FullTransactionIdGetDatum(MADE_BY_HAND));
	if (own_look(scopes, keys, 2, &rival) != LOOK_NONE &&
		TransactionIdIsValid(rival.xid))
		(void) request_wait_rival(scopes, &rival, &patience);
	else if (++(*rounds) > MAX_ROUNDS)
		elog(ERROR, "row of scope \"%s\" can neither be found nor made",
			 text_to_cstring(name));
}

/*
 * From now on the scope's retention says how long its results are kept: let
 * the rows say so, too, for reap.c.  Those of running transactions do not;
 * reap.c comes across them later.
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
 * Make the scope if it is new, and set what is not NULL.
 */
void
scope_set(text *name, const char *owner, Interval *retention)
{
	Patience	patience = {.limited = false};
	RequestTables tables;
	int			rounds = 0;

	(void) tables_open(&tables, &patience);
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
