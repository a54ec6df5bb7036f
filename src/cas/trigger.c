/*
 * trigger.c
 *		Find the guard and its companions among a relation's triggers.
 */
#include "cas.h"

#include "catalog/pg_trigger.h"
#include "commands/trigger.h"

/*
 * Find the guard and its companions.  They are recognized by their C
 * functions, not by their names.
 */
void
cas_find_triggers(Relation rel, CasTriggers *found)
{
	/*
	 * Copy the triggers.  Catalog lookups can process invalidations, and then
	 * the relcache may rebuild its own copy, even after a mere GRANT.
	 */
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

		/* of several such triggers, take the one that fires first */
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

/* Return whether there are triggers besides the guard and its companions. */
bool
cas_has_other_triggers(const CasTriggers *triggers)
{
	return triggers->n > (triggers->guard != NULL) +
		(triggers->witness != NULL) + (triggers->truncate != NULL);
}

/* Return whether there are others than those of foreign keys. */
bool
cas_has_user_triggers(const CasTriggers *triggers)
{
	for (int i = 0; i < triggers->n; i++)
	{
		Trigger    *trigger = &triggers->all[i];

		if (trigger != triggers->guard && trigger != triggers->witness &&
			trigger != triggers->truncate &&
			!(trigger->tgisinternal &&
			  RI_FKey_trigger_type(trigger->tgfoid) != RI_TRIGGER_NONE))
			return true;
	}
	return false;
}

/*
 * Return a trigger that could change the row without being noticed, or NULL: a
 * BEFORE ROW trigger on INSERT or UPDATE that fires after the guard, or one on
 * UPDATE that fires before the witness.
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

		/* triggers fire in the order of their names */
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

/* Return whether a trigger is missing or does not fire in normal sessions. */
bool
cas_trigger_is_off(const Trigger *trigger)
{
	return trigger == NULL || trigger->tgenabled == TRIGGER_DISABLED ||
		trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA;
}
