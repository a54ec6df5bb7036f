/*
 * trigger.c
 *		The triggers that make a guard, among those of a relation.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

/* Whether the path of a library is this extension's. */
static bool
is_own_library(const char *path)
{
	const char *name = last_dir_separator(path);

	name = name != NULL ? name + 1 : path;
	return strcmp(name, "pg_cas") == 0 || strcmp(name, "pg_cas.so") == 0;
}

/*
 * The name of the C function of ours that an SQL function is, or NULL.
 *
 * It is read in pg_proc, since fmgr_info() gives the wrapper for a function
 * that has a SET clause or is SECURITY DEFINER, and its owner may have made
 * it so.
 */
static char *
own_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Datum		source;
	Datum		library;
	bool		isnull;
	char	   *name = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId)
	{
		library = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin,
								  &isnull);
		if (!isnull && is_own_library(TextDatumGetCString(library)))
		{
			source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc,
									 &isnull);
			name = isnull ? NULL : TextDatumGetCString(source);
		}
	}
	ReleaseSysCache(tuple);
	return name;
}

/*
 * Find the guard and its companions.  They are known by their code, not by
 * their names.
 *
 * What is found lies in a copy of the relation's triggers: the relcache makes
 * its own anew whenever somebody looks into a catalog while anybody changes
 * the table, be it by a GRANT.
 */
void
cas_find_triggers(Relation rel, CasTriggers *found)
{
	TriggerDesc *all = CopyTriggerDesc(rel->trigdesc);

	memset(found, 0, sizeof(CasTriggers));
	found->n = all != NULL ? all->numtriggers : 0;
	found->all = all != NULL ? all->triggers : NULL;
	for (int i = 0; i < found->n; i++)
	{
		Trigger    *trigger = &found->all[i];
		bool		for_row = TRIGGER_FOR_ROW(trigger->tgtype);
		char	   *name;

		if (!TRIGGER_FOR_BEFORE(trigger->tgtype))
			continue;
		name = own_function(trigger->tgfoid);
		if (name == NULL)
			continue;
		if (found->guard == NULL && for_row &&
			strcmp(name, "cas_guard") == 0)
			found->guard = trigger;
		else if (found->witness == NULL && for_row &&
				 strcmp(name, "cas_witness") == 0)
			found->witness = trigger;
		else if (found->truncate == NULL && !for_row &&
				 strcmp(name, "cas_truncate") == 0)
			found->truncate = trigger;
	}
}

/* Whether a relation has triggers beside the guard and its companions. */
bool
cas_has_other_triggers(const CasTriggers *triggers)
{
	return triggers->n > (triggers->guard != NULL) +
		(triggers->witness != NULL) + (triggers->truncate != NULL);
}

/* Whether other triggers than ours may change, or suppress, an UPDATE's row. */
bool
cas_others_change_updates(const CasTriggers *triggers)
{
	for (int i = 0; i < triggers->n; i++)
	{
		Trigger    *trigger = &triggers->all[i];

		if (trigger != triggers->guard && trigger != triggers->witness &&
			TRIGGER_FOR_ROW(trigger->tgtype) &&
			TRIGGER_FOR_BEFORE(trigger->tgtype) &&
			TRIGGER_FOR_UPDATE(trigger->tgtype))
			return true;
	}
	return false;
}

/*
 * A trigger that could change the row behind the guard's back, or NULL: one
 * BEFORE ROW, on INSERT or UPDATE, that fires after the guard, or before its
 * witness.
 */
Trigger *
cas_misplaced_trigger(const CasTriggers *triggers)
{
	const char *guard = triggers->guard != NULL ?
		triggers->guard->tgname : CAS_GUARD_TRIGGER;
	const char *witness = triggers->witness != NULL ?
		triggers->witness->tgname : CAS_WITNESS_TRIGGER;

	for (int i = 0; i < triggers->n; i++)
	{
		Trigger    *trigger = &triggers->all[i];
		bool		on_update = TRIGGER_FOR_UPDATE(trigger->tgtype);

		if (trigger == triggers->guard || trigger == triggers->witness ||
			!TRIGGER_FOR_ROW(trigger->tgtype) ||
			!TRIGGER_FOR_BEFORE(trigger->tgtype))
			continue;
		if ((TRIGGER_FOR_INSERT(trigger->tgtype) || on_update) &&
			strcmp(trigger->tgname, guard) > 0)
			return trigger;
		if (on_update && strcmp(trigger->tgname, witness) < 0)
			return trigger;
	}
	return NULL;
}

/* Whether a trigger is missing, or does not fire for ordinary sessions. */
bool
cas_trigger_is_off(const Trigger *trigger)
{
	return trigger == NULL || trigger->tgenabled == TRIGGER_DISABLED ||
		trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA;
}
