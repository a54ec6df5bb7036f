/*
 * role.c
 *		Roles as owners and grantees of what our tables list.
 *
 * PostgreSQL knows of no dependency on them, so they can be dropped at any
 * time; nobody is kept from dropping them, and nobody inherits from them:
 * what a dropped role owned is the extension's owner's.
 */
#include "base/base.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(role_of_name);

/* The role of that name, or 42704. */
Oid
role_argument(const char *name)
{
	return get_role_oid(name, false);
}

/*
 * Who is to own what the call makes: the role named by the argument, else the
 * one named by pg_cas.owner, else the present one.  Naming a role takes the
 * right to become it (SET, from PostgreSQL 16 on): 42501.
 */
Oid
new_owner(const char *argument)
{
	const char *name = argument;
	Oid			role;

	if (name == NULL && pg_cas_owner != NULL && pg_cas_owner[0] != '\0')
		name = pg_cas_owner;
	if (name == NULL)
		return GetUserId();
	role = role_argument(name);
	check_can_set_role(GetUserId(), role);
	return role;
}

/* The role, or if it is none any more, the extension's owner. */
Oid
effective_owner(Oid role)
{
	if (OidIsValid(role) &&
		SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		return role;
	return extension_owner();
}

/* The role's name, or NULL if there is no such role (any more). */
char *
role_name(Oid role)
{
	return OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;
}

/*
 * role_of_name() RETURNS trigger: BEFORE INSERT OR UPDATE, ENABLE ALWAYS, FOR
 * EACH ROW, on a table whose two columns that the arguments name are a role's
 * oid and name.
 *
 * Rows come in by a restore or by logical replication with the oid of another
 * cluster: there the name decides, and without a role of that name there is
 * none.  Our own insertions say the same in both columns; our own updates
 * must be left alone, since the name may be a former one of a renamed role.
 */
Datum
role_of_name(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	bool		updated;
	HeapTuple	tuple;
	TupleDesc	desc;
	int			oid_column;
	int			name_column;
	Datum		value;
	bool		isnull;
	Oid			role = InvalidOid;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		trigdata->tg_trigger->tgnargs != 2)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("role_of_name() is for the triggers that the install script makes")));

	updated = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event);
	tuple = updated ? trigdata->tg_newtuple : trigdata->tg_trigtuple;
	if (updated && SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA)
		return PointerGetDatum(tuple);

	desc = RelationGetDescr(trigdata->tg_relation);
	oid_column = SPI_fnumber(desc, trigdata->tg_trigger->tgargs[0]);
	name_column = SPI_fnumber(desc, trigdata->tg_trigger->tgargs[1]);
	if (oid_column <= 0 || name_column <= 0)
		elog(ERROR, "role_of_name(): no such columns");

	value = heap_getattr(tuple, name_column, desc, &isnull);
	if (!isnull)
		role = get_role_oid(TextDatumGetCString(value), true);
	value = ObjectIdGetDatum(role);
	isnull = !OidIsValid(role);
	tuple = heap_modify_tuple_by_cols(tuple, desc, 1, &oid_column, &value,
									  &isnull);
	return PointerGetDatum(tuple);
}
