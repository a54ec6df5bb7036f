/*
 * enable.c
 *		Put a table under compare-and-swap, change its settings, or disable it.
 *
 * All changes are made by ordinary commands with the caller's rights, such as
 * ALTER TABLE and CREATE TRIGGER (prepare.c).  This file finds out what has to
 * be done, under a weak lock that it releases.  Then it takes the one lock
 * that the changes need.  To upgrade the weak lock instead could deadlock with
 * transactions that have read the table and then write it.
 */
#include "enable.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "base/entry.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cas_enable);
PG_FUNCTION_INFO_V1(cas_disable);

/* ----------
 * Finding out what to do
 * ----------
 */

/* Raise 22023 for combinations of settings that are not supported. */
static void
check_settings(const CasSettings *settings)
{
	if (settings->version_path.length > 0 && settings->payload_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version_path needs a payload_column"),
				 errhint("The path leads into the document in that column.")));
	if (settings->versions == CAS_VERSIONS_TABLE &&
		settings->writers == CAS_WRITERS_BUMP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("versions => 'table' needs writers => 'echo'"),
				 errhint("A client cannot compute the next version if it comes from a sequence.")));
}

/*
 * Compute the new settings: those of the present guard, or the defaults,
 * overridden by the arguments of the call.
 */
static void
find_settings(Relation rel, CasEnabling *enabling, CasSettings *present)
{
	CasSettings *settings = &enabling->settings;

	memset(present, 0, sizeof(CasSettings));
	enabling->is_new = enabling->triggers.guard == NULL ||
		cas_parse_settings(enabling->triggers.guard, present) != NULL;
	*settings = *present;
	cas_settings_from_arguments(enabling->fcinfo, settings);
	if (settings->version_column == NULL)
		settings->version_column = present->version_column != NULL ?
			present->version_column : "resource_version";

	/* payload_column => '' also removes the path, unless the call sets one */
	if (settings->payload_column == NULL && present->payload_column != NULL &&
		settings->version_path.names == present->version_path.names)
		settings->version_path.length = 0;
	check_settings(settings);

	/* Another column can only be named if the present one was renamed. */
	if (!enabling->is_new &&
		strcmp(settings->version_column, present->version_column) != 0 &&
		cas_find_column(rel, present->version_column) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has its versions in column \"%s\"",
						RelationGetRelationName(rel),
						present->version_column),
				 errhint("To use another column, call cas_disable() first."),
				 errtable(rel)));
}

/*
 * Raise the first problem that cas_enable() cannot fix.
 */
static void
check_table(Relation rel, CasEnabling *enabling)
{
	FunctionCallInfo fcinfo = enabling->fcinfo;
	bool		lost = !enabling->is_new && PG_ARGISNULL(1);
	ListCell   *lc;

	foreach(lc, cas_check(rel, &enabling->settings, &enabling->triggers))
	{
		CasProblem *problem = lfirst(lc);

		/*
		 * A missing version column is added.  But if the present guard's
		 * column is missing, and the call does not name another one, the
		 * column was probably renamed.
		 */
		if (problem->kind == CAS_PROBLEM_TOLD ||
			(problem->missing_version && !lost))
			continue;
		cas_raise_problem(rel,
						  psprintf("cannot put \"%s\" under compare-and-swap",
								   RelationGetRelationName(rel)), problem);
	}
}


/* Return whether a trigger's definition is right, not counting arguments. */
static bool
has_shape(const Trigger *trigger, int events, int level)
{
	return trigger->tgtype == (TRIGGER_TYPE_BEFORE | events | level) &&
		trigger->tgnattr == 0 && trigger->tgqual == NULL;
}

/* Return the lock needed to create, replace or drop the triggers. */
static LOCKMODE
triggers_lock(const CasEnabling *enabling, const CasSettings *present)
{
	const CasTriggers *triggers = &enabling->triggers;
	bool		by_table = enabling->settings.versions == CAS_VERSIONS_TABLE;

	/* a trigger is added or dropped */
	if (!cas_trigger_is_named(triggers->guard, CAS_GUARD_TRIGGER) ||
		!cas_trigger_is_named(triggers->witness, CAS_WITNESS_TRIGGER) ||
		(by_table &&
		 !cas_trigger_is_named(triggers->truncate, CAS_TRUNCATE_TRIGGER)) ||
		(!by_table && triggers->truncate != NULL))
		return AccessExclusiveLock;

	/* a trigger is replaced */
	if (!has_shape(triggers->guard,
				   TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE |
				   TRIGGER_TYPE_DELETE, TRIGGER_TYPE_ROW) ||
		!has_shape(triggers->witness, TRIGGER_TYPE_UPDATE,
				   TRIGGER_TYPE_ROW) ||
		(by_table && !has_shape(triggers->truncate, TRIGGER_TYPE_TRUNCATE,
								TRIGGER_TYPE_STATEMENT)) ||
		strcmp(cas_settings_arguments(&enabling->settings),
			   cas_settings_arguments(present)) != 0)
		return ShareRowExclusiveLock;
	return NoLock;
}

/*
 * Return whether the sequence belongs to the table's owner and is not below
 * the table's greatest version.
 */
static bool
sequence_is_right(Relation rel, const CasEnabling *enabling)
{
	HeapTuple	tuple = SearchSysCache1(RELOID,
										ObjectIdGetDatum(enabling->sequence));
	bool		right;
	int64		last;

	if (!HeapTupleIsValid(tuple))
		return false;
	right = ((Form_pg_class) GETSTRUCT(tuple))->relowner == enabling->owner;
	ReleaseSysCache(tuple);
	if (!cas_sequence_last(enabling->sequence, &last))
		last--;
	return right &&
		cas_greatest_version(rel, enabling->settings.version_column) <= last;
}

/* Return whether a sequence exists, after any transaction that is dropping it. */
static bool
still_there(Oid sequence)
{
	Relation	rel = OidIsValid(sequence) ?
		try_relation_open(sequence, AccessShareLock) : NULL;

	if (rel == NULL)
		return false;
	relation_close(rel, AccessShareLock);
	return true;
}

/*
 * Find out what has to be done to a table, and which lock that needs.  The
 * caller holds at least AccessShareLock on the table.
 */
static void
look(Relation rel, CasEnabling *enabling)
{
	CasSettings *settings = &enabling->settings;
	CasSettings present;

	enabling->name = cas_relation_name(rel);
	enabling->owner = rel->rd_rel->relowner;
	cas_find_triggers(rel, &enabling->triggers);
	find_settings(rel, enabling, &present);
	enabling->add_version = cas_find_column(rel,
											settings->version_column) == 0;
	check_table(rel, enabling);
	enabling->check_version = enabling->is_new ||
		strcmp(settings->version_column, present.version_column) != 0;

	/* The sequence may exist from before cas_disable(). */
	enabling->sequence =
		cas_find_sequence(enabling->relid, settings->version_column,
						  present.sequence.length > 0 ?
						  present.sequence.names[1] : NULL);
	enabling->sequence_right = true;
	if (!still_there(enabling->sequence))
		enabling->sequence = InvalidOid;
	settings->sequence.length = 0;
	if (settings->versions == CAS_VERSIONS_TABLE)
	{
		enabling->sequence_right = OidIsValid(enabling->sequence) &&
			sequence_is_right(rel, enabling);
		if (OidIsValid(enabling->sequence))
			cas_name_sequence(settings, enabling->sequence);
	}
	enabling->drop_sequence = OidIsValid(enabling->sequence) &&
		settings->versions == CAS_VERSIONS_ROW &&
		present.versions == CAS_VERSIONS_TABLE;

	/* Existing documents need the version if its path is new. */
	enabling->stamp = settings->version_path.length > 0 &&
		(enabling->is_new || present.payload_column == NULL ||
		 strcmp(present.payload_column, settings->payload_column) != 0 ||
		 !cas_same_names(&present.version_path, &settings->version_path));

	/* ALTER TABLE ADD COLUMN needs the strongest lock. */
	enabling->lock = enabling->add_version ? AccessExclusiveLock :
		triggers_lock(enabling, &present);
	if (enabling->lock == NoLock && !enabling->sequence_right)
		enabling->lock = ShareRowExclusiveLock;
}

/*
 * Open and lock a table that the caller owns.  Also lock its partitions,
 * unless the lock is AccessShareLock.
 */
static Relation
open_own_table(Oid relid, LOCKMODE lockmode, const char *function)
{
	Relation	rel = open_as_owner(relid, lockmode);

	if (lockmode != AccessShareLock)
	{
		/* This is also the order in which commands lock partitions. */
		if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
			(void) find_all_inheritors(relid, lockmode, NULL);

		/* A function called by cas_apply() could call us. */
		CheckTableNotInUse(rel, function);
	}
	return rel;
}

/*
 * cas_enable(rel regclass, ...) RETURNS void
 *
 * Puts a table under compare-and-swap, or changes its settings.
 */
Datum
cas_enable(PG_FUNCTION_ARGS)
{
	CasEnabling enabling = {fcinfo};
	CasSettings given = {0};
	Relation	rel;
	LOCKMODE	lock;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "rel");

	/* Check the arguments before taking a lock; the result is not used. */
	cas_settings_from_arguments(fcinfo, &given);
	require_writable(fcinfo);
	enabling.relid = PG_GETARG_OID(0);

	rel = open_own_table(enabling.relid, AccessShareLock, "cas_enable");
	look(rel, &enabling);
	relation_close(rel, AccessShareLock);
	lock = enabling.lock;
	if (lock == NoLock)
		PG_RETURN_VOID();

	/*
	 * The table may have been changed while we waited for the lock.  If the
	 * changes need a stronger lock now, give up instead of upgrading it.
	 */
	rel = open_own_table(enabling.relid, lock, "cas_enable");
	look(rel, &enabling);
	if (enabling.lock == AccessExclusiveLock && lock != AccessExclusiveLock)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was changed while cas_enable() waited for its lock",
						RelationGetRelationName(rel)),
				 errhint("Call cas_enable() again."),
				 errtable(rel)));

	/* Commands refuse a table that is open, so close it and keep the lock. */
	relation_close(rel, NoLock);
	if (enabling.lock == NoLock)
		PG_RETURN_VOID();

	cas_prepare(&enabling);
	PG_RETURN_VOID();
}

/*
 * cas_disable(rel regclass) RETURNS void
 *
 * Drops the guard and its companions.  The version column and the sequence are
 * kept, so that versions continue if the table is enabled again.
 */
Datum
cas_disable(PG_FUNCTION_ARGS)
{
	CasEnabling enabling = {fcinfo};
	CasTriggers *triggers = &enabling.triggers;
	Relation	rel;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "rel");
	require_writable(fcinfo);
	enabling.relid = PG_GETARG_OID(0);

	/*
	 * Check under a weak lock first, so that a call that fails does not block
	 * others.  Then check again under the lock that the commands need.
	 */
	for (LOCKMODE lock = AccessShareLock;; lock = AccessExclusiveLock)
	{
		rel = open_own_table(enabling.relid, lock, "cas_disable");
		cas_find_triggers(rel, triggers);
		if (triggers->guard == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_CAS_NOT_ENABLED),
					 errmsg("table \"%s\" is not under compare-and-swap",
							RelationGetRelationName(rel)),
					 cas_errdetail_table(rel),
					 errtable(rel)));
		/* a partition may have a guard of its own, from before it was one */
		if (triggers->guard->tgisclone)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is a partition",
							RelationGetRelationName(rel)),
					 errhint("Disable the partitioned table."),
					 errtable(rel)));
		enabling.name = cas_relation_name(rel);
		if (lock == AccessExclusiveLock)
			break;
		relation_close(rel, lock);
	}
	relation_close(rel, NoLock);

	cas_remove_triggers(&enabling);
	PG_RETURN_VOID();
}
