/*
 * enable.c
 *		Put a table under compare-and-swap, change how, and take it off again.
 *
 * Everything is done by the ordinary commands, with the caller's rights: ALTER
 * TABLE adds the version, CREATE TRIGGER the guard.  What is to be done is
 * found out first, under a lock that is released; then the lock that it takes
 * is asked for, once: who asks for a weak one and then for a stronger one
 * meets those in a deadlock who have read the table and now write it.
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
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cas_enable);
PG_FUNCTION_INFO_V1(cas_disable);

/* ----------
 * What is to be done
 * ----------
 */

/* Settings of cas_enable() that do not go together. */
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
 * The settings as they are to be: those that the guard has, or the defaults,
 * and over them what the call gives.
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

	/* without a document there is no path in it, unless the call gives one */
	if (settings->payload_column == NULL && present->payload_column != NULL &&
		settings->version_path.names == present->version_path.names)
		settings->version_path.length = 0;
	check_settings(settings);

	if (!enabling->is_new &&
		strcmp(settings->version_column, present->version_column) != 0 &&
		cas_find_column(rel, present->version_column) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has its versions in column \"%s\"",
						RelationGetRelationName(rel),
						present->version_column),
				 errhint("To begin anew with another column, call cas_disable() first."),
				 errtable(rel)));
}

/*
 * Raise the first problem that cas_enable() cannot put right.  A version
 * column that is not there is one only where a guard has lost it, and the call
 * does not say which it is now.
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

		if (problem->kind == CAS_PROBLEM_TOLD ||
			(problem->missing_version && !lost))
			continue;
		cas_raise_problem(rel,
						  psprintf("cannot put \"%s\" under compare-and-swap",
								   RelationGetRelationName(rel)), problem);
	}
}


/* Whether a trigger would be what the guard needs but for its arguments. */
static bool
has_shape(const Trigger *trigger, int events, int level)
{
	return trigger->tgtype == (TRIGGER_TYPE_BEFORE | events | level) &&
		trigger->tgnattr == 0 && trigger->tgqual == NULL;
}

/* The lock that the triggers take, given the settings' SQL. */
static LOCKMODE
triggers_lock(const CasEnabling *enabling, const CasSettings *present)
{
	const CasTriggers *triggers = &enabling->triggers;
	bool		by_table = enabling->settings.versions == CAS_VERSIONS_TABLE;

	/* one comes or goes */
	if (!cas_trigger_is_named(triggers->guard, CAS_GUARD_TRIGGER) ||
		!cas_trigger_is_named(triggers->witness, CAS_WITNESS_TRIGGER) ||
		(by_table &&
		 !cas_trigger_is_named(triggers->truncate, CAS_TRUNCATE_TRIGGER)) ||
		(!by_table && triggers->truncate != NULL))
		return AccessExclusiveLock;

	/* one is replaced */
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

/* Whether a sequence is the owner's and ahead of the table's versions. */
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

/*
 * Find out what is to be done to a table, and the lock that it takes.  The
 * table is locked by the caller, be it weakly.
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

	enabling->sequence =
		cas_find_sequence(enabling->relid, settings->version_column,
						  present.sequence.length > 0 ?
						  present.sequence.names[1] : NULL);
	enabling->sequence_right = true;
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
	enabling->stamp = settings->version_path.length > 0 &&
		(enabling->is_new || present.payload_column == NULL ||
		 strcmp(present.payload_column, settings->payload_column) != 0 ||
		 !cas_same_names(&present.version_path, &settings->version_path));

	enabling->lock = enabling->add_version ? AccessExclusiveLock :
		triggers_lock(enabling, &present);
	if (enabling->lock == NoLock && !enabling->sequence_right)
		enabling->lock = ShareRowExclusiveLock;
}

/*
 * Only a table's owner may change it.  This is asked before a lock is, which
 * others would wait for, and again under the lock.
 */
static void
check_owner(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	char	   *name = get_rel_name(relid);

	if (relkind == '\0' || name == NULL)
		cas_raise_no_relation(relid);
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(relkind),
					   name);
}

/*
 * Open a table of the caller's.  A lock that others would notice is taken on
 * its partitions as well, in the order in which commands take it.
 */
static Relation
open_own_table(Oid relid, LOCKMODE lockmode, const char *function)
{
	Relation	rel;

	check_owner(relid);
	rel = try_relation_open(relid, lockmode);
	if (rel == NULL)
		cas_raise_no_relation(relid);
	check_owner(relid);
	if (lockmode != AccessShareLock)
	{
		if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
			(void) find_all_inheritors(relid, lockmode, NULL);

		/* such as by the call of cas_apply() whose function calls us */
		CheckTableNotInUse(rel, function);
	}
	return rel;
}

/*
 * cas_enable(rel regclass, ...) RETURNS void, see the install script.
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
	cas_settings_from_arguments(fcinfo, &given);	/* or raise */
	require_writable(fcinfo);
	enabling.relid = PG_GETARG_OID(0);

	rel = open_own_table(enabling.relid, AccessShareLock, "cas_enable");
	look(rel, &enabling);
	relation_close(rel, AccessShareLock);
	lock = enabling.lock;
	if (lock == NoLock)
		PG_RETURN_VOID();

	rel = open_own_table(enabling.relid, lock, "cas_enable");
	look(rel, &enabling);
	if (enabling.lock == AccessExclusiveLock && lock != AccessExclusiveLock)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was changed while cas_enable() waited for its lock",
						RelationGetRelationName(rel)),
				 errhint("Call cas_enable() again."),
				 errtable(rel)));

	/* commands refuse a table that somebody has open; the lock is kept */
	relation_close(rel, NoLock);
	if (enabling.lock == NoLock)
		PG_RETURN_VOID();

	cas_prepare(&enabling);
	PG_RETURN_VOID();
}

/*
 * cas_disable(rel regclass) RETURNS void: removes the guard; keeps the column
 * and the sequence, so that versions go on if it is enabled again.
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

	/* what is refused needs no lock, and what is done one */
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
		if (rel->rd_rel->relispartition)
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
