/*
 * role.c
 *		Roles that own, or are granted, objects listed in our tables.
 *
 * PostgreSQL records no dependency for these roles, so they can be dropped at
 * any time.  The objects of a dropped role then belong to the extension's
 * owner.
 */
#include "base/base.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "settings.h"

PG_FUNCTION_INFO_V1(role_of_name);

/* Return the role of this name; raise 42704 if there is none. */
Oid
role_argument(const char *name)
{
	return get_role_oid(name, false);
}

/*
 * Return the role that will own what the call creates: the role named by the
 * argument, else the role named by pg_cas.owner, else the current role.  Raise
 * 42501 if the current role may not SET ROLE to the named one.
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
	if (!member_can_set_role(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to SET ROLE \"%s\"",
						GetUserNameFromId(role, false))));
	return role;
}

/* Return the role if it still exists, else the extension's owner. */
Oid
effective_owner(Oid role)
{
	if (OidIsValid(role) &&
		SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		return role;
	return extension_owner();
}

/* Return the role's name, or NULL if the role does not exist (any more). */
char *
role_name(Oid role)
{
	return OidIsValid(role) ? GetUserNameFromId(role, true) : NULL;
}

/*
 * role_of_name() RETURNS trigger
 *
 * Sets a role's OID from its name.  The trigger arguments name the two
 * columns.  The install script creates the triggers BEFORE INSERT OR UPDATE,
 * FOR EACH ROW, and enables them ALWAYS, so that they also fire for logical
 * replication.
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

	/*
	 * The extension's owner can create such a trigger on any table, whose
	 * columns may have any type.  In our schema only a superuser can.
	 */
	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		trigdata->tg_trigger->tgnargs != 2 ||
		RelationGetNamespace(trigdata->tg_relation) != internal_schema())
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("role_of_name() must be called by a trigger that the extension created")));

	/*
	 * An UPDATE of our own must not be changed: after ALTER ROLE ... RENAME,
	 * the row still has the role's former name.
	 */
	updated = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event);
	tuple = updated ? trigdata->tg_newtuple : trigdata->tg_trigtuple;
	if (updated && SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA)
		return PointerGetDatum(tuple);

	desc = RelationGetDescr(trigdata->tg_relation);
	oid_column = SPI_fnumber(desc, trigdata->tg_trigger->tgargs[0]);
	name_column = SPI_fnumber(desc, trigdata->tg_trigger->tgargs[1]);
	if (oid_column <= 0 || name_column <= 0)
		elog(ERROR, "role_of_name(): no such columns");

	/*
	 * In a row from a restore or from logical replication the OID is that of
	 * another cluster, so the name decides; if no role has this name, the OID
	 * becomes NULL.  In an INSERT of our own both columns agree.
	 */
	value = heap_getattr(tuple, name_column, desc, &isnull);
	if (!isnull)
		role = get_role_oid(TextDatumGetCString(value), true);
	value = ObjectIdGetDatum(role);
	isnull = !OidIsValid(role);
	tuple = heap_modify_tuple_by_cols(tuple, desc, 1, &oid_column, &value,
									  &isnull);
	return PointerGetDatum(tuple);
}
