/*
 * announce.c
 *		Announce an UPDATE to the guard.
 *
 * An UPDATE of this extension does not mention the version that it has
 * compared.  The guard accepts that from the statement announced here, for the
 * row announced here, and from nobody else: triggers of that statement, and
 * functions that it calls, may write to the same row in statements of their
 * own.
 */
#include "cas.h"

#include "access/xact.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
#include "utils/snapmgr.h"

static GuardExpectation guard_expectation = {InvalidOid};

/*
 * Return whether the table's guard would refuse a write of this extension that
 * was not announced.
 */
bool
cas_guard_wants_announcement(const CasTable *table)
{
	return table->settings.unversioned == CAS_UNVERSIONED_REJECT ||
		(table->settings.version_path.length > 0 &&
		 table->settings.writers == CAS_WRITERS_ECHO);
}

/* Return how deeply triggers are nested now. */
int
cas_trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* Return whether a rule adds commands to an UPDATE of the relation. */
static bool
has_update_rule(Relation rel)
{
	RuleLock   *rules = rel->rd_rules;

	for (int i = 0; rules != NULL && i < rules->numLocks; i++)
		if (rules->rules[i]->event == CMD_UPDATE &&
			rules->rules[i]->enabled != RULE_DISABLED)
			return true;
	return false;
}

/*
 * Announce that the next command updates the row with the key, or any row if
 * that is NULL, without mentioning its version.
 *
 * The command is recognized by its number.  It is the next one, because SPI
 * begins a command before each statement, and whatever the statement calls has
 * a higher number, since the executor marks an UPDATE's number as used.  Only
 * if a rule adds commands, which run before the UPDATE, its number is unknown.
 * Then the statement is recognized by the nesting of triggers, from which the
 * rule's own commands, and those of functions that are called without a
 * trigger, cannot be told.
 *
 * Return what was announced before, since the UPDATE may be made by a trigger
 * or a function of another one.  The caller must pass it to
 * cas_guard_withdraw(), also after an error, which may be caught.
 */
GuardExpectation
cas_guard_announce(Relation rel, CasTable *table, CasKey *key)
{
	GuardExpectation former = guard_expectation;

	CommandCounterIncrement();
	guard_expectation.relid = RelationGetRelid(rel);
	guard_expectation.table = table;
	guard_expectation.key = key;
	guard_expectation.command = has_update_rule(rel) ?
		InvalidCommandId : GetCurrentCommandId(false);
	guard_expectation.depth = cas_trigger_depth();
	return former;
}

/* End an announcement, and restore the former one. */
void
cas_guard_withdraw(GuardExpectation former)
{
	guard_expectation = former;
}

/*
 * Return whether the old row has the announced key.
 */
static bool
is_expected_key(TriggerData *trigdata)
{
	CasTable   *table = guard_expectation.table;

	/*
	 * The key belongs to the table that was announced.  In a partition, the
	 * columns may have other numbers and the primary key may be another one,
	 * so look the columns up by name.
	 */
	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];
		AttrNumber	attnum = column->attnum;
		bool		isnull;
		Datum		value;

		if (RelationGetRelid(trigdata->tg_relation) != table->relid)
			attnum = cas_find_column(trigdata->tg_relation, column->name);
		if (attnum == InvalidAttrNumber)
			return false;
		value = slot_getattr(trigdata->tg_trigslot, attnum, &isnull);
		if (isnull ||
			!cas_key_column_equal(column, value,
								  guard_expectation.key->values[i]))
			return false;
	}
	return true;
}

/* Return whether the guard fires for the announced statement. */
static bool
is_expected_statement(void)
{
	if (guard_expectation.command == InvalidCommandId)
		return cas_trigger_depth() == guard_expectation.depth + 1;
	return GetActiveSnapshot()->curcid == guard_expectation.command;
}

/*
 * Return whether the old row is the announced one, and is written by the
 * announced statement.
 */
bool
cas_guard_expects(TriggerData *trigdata)
{
	if (!OidIsValid(guard_expectation.relid) ||
		!is_expected_statement() ||
		!cas_is_part_of(trigdata->tg_relation, guard_expectation.relid))
		return false;
	if (guard_expectation.key == NULL)
		return true;
	if (!is_expected_key(trigdata))
		return false;

	/* Accept one write only: AFTER triggers may UPDATE the same row. */
	guard_expectation.relid = InvalidOid;
	return true;
}
