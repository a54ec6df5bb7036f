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
#include "cas.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/defrem.h"
#include "commands/sequence.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "base/entry.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cas_enable);
PG_FUNCTION_INFO_V1(cas_disable);
PG_FUNCTION_INFO_V1(cas_table_settings);

/* A table to be enabled: what it is to become, and what that takes. */
typedef struct Enabling
{
	FunctionCallInfo fcinfo;
	Oid			relid;
	char	   *name;			/* qualified, as SQL reads it */
	CasSettings settings;		/* as they are to be */
	CasTriggers triggers;		/* as they are; a copy */
	bool		is_new;			/* there is no guard yet */
	bool		add_version;	/* the column is missing */
	bool		check_version;	/* it is another than before */
	Oid			owner;			/* the table's */
	Oid			sequence;		/* that there is, or InvalidOid */
	bool		sequence_right;	/* it is the owner's, and ahead */
	bool		drop_sequence;
	bool		stamp;			/* documents lack the version */
	LOCKMODE	lock;			/* NoLock: nothing is to be done */
} Enabling;

/* ----------
 * Commands
 * ----------
 */

static void execute(const char *command,...) pg_attribute_printf(1, 2);

/* Run one command, of text made here, as the caller. */
static void
execute(const char *command,...)
{
	StringInfoData sql;
	int			rc;

	initStringInfo(&sql);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, command);
		needed = appendStringInfoVA(&sql, command, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&sql, needed);
	}
	rc = SPI_execute(sql.data, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
}

/*
 * Policies may hide rows even from the owner; then what we ask of the table
 * fails rather than be answered wrongly.
 */
static int
begin_commands(void)
{
	int			nest = NewGUCNestLevel();

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

static void
end_commands(int nest)
{
	SPI_finish();
	AtEOXact_GUC(true, nest);
}

static void pg_attribute_noreturn()
raise_no_relation(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("relation with OID %u does not exist", relid)));
}

/* A relation's name as SQL reads it, or 42P01 if it has been dropped. */
static char *
qualified_name(Oid relid)
{
	char	   *name = get_rel_name(relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	if (name == NULL || schema == NULL)
		raise_no_relation(relid);
	return quote_qualified_identifier(schema, name);
}

/* ----------
 * The version
 * ----------
 */

/*
 * A column that is there already must have a version in every row; the hint
 * is the UPDATE to run.
 */
static void
check_versions(const Enabling *enabling)
{
	const char *column = quote_identifier(enabling->settings.version_column);

	execute("SELECT FROM %s WHERE %s IS NULL LIMIT 1", enabling->name, column);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("version column \"%s\" of table %s contains null values",
						enabling->settings.version_column, enabling->name),
				 errhint("UPDATE %s SET %s = 1 WHERE %s IS NULL;",
						 enabling->name, column, column)));
	execute("SELECT FROM %s WHERE %s OPERATOR(pg_catalog.<) 0 LIMIT 1",
			enabling->name, column);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("version column \"%s\" of table %s contains negative values",
						enabling->settings.version_column, enabling->name),
				 errhint("UPDATE %s SET %s = 1 WHERE %s < 0;",
						 enabling->name, column, column)));
}

/*
 * The version column is added if it is missing.  With a constant default that
 * rewrites nothing; existing rows read 1.
 */
static void
prepare_version(const Enabling *enabling)
{
	if (enabling->add_version)
		execute("ALTER TABLE %s ADD COLUMN %s pg_catalog.int8 DEFAULT 1 NOT NULL",
				enabling->name,
				quote_identifier(enabling->settings.version_column));
	else if (enabling->check_version)
		check_versions(enabling);
}

/* ----------
 * The sequence
 * ----------
 */

static void
name_sequence(CasSettings *settings, Oid sequence)
{
	char	   *schema = get_namespace_name(get_rel_namespace(sequence));
	char	   *name = get_rel_name(sequence);

	if (schema == NULL || name == NULL)
		elog(ERROR, "cache lookup failed for sequence %u", sequence);
	settings->sequence.length = 2;
	settings->sequence.names = palloc(sizeof(char *) * 2);
	settings->sequence.names[0] = schema;
	settings->sequence.names[1] = name;
}

/* Whether a sequence is the owner's and ahead of the table's versions. */
static bool
sequence_is_right(Relation rel, const Enabling *enabling)
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
 * Make a sequence for a table's versions if there is none, have it belong to
 * the version column, and set it beyond the greatest version that there is.
 */
static void
prepare_sequence(Enabling *enabling)
{
	CasSettings *settings = &enabling->settings;
	Relation	rel;
	int64		greatest;
	int64		last;

	if (!OidIsValid(enabling->sequence))
	{
		Oid			schema = get_rel_namespace(enabling->relid);
		char	   *relname;

		relname = ChooseRelationName(get_rel_name(enabling->relid),
									 settings->version_column, "seq", schema,
									 false);
		execute("CREATE SEQUENCE %s",
				quote_qualified_identifier(get_namespace_name(schema),
										   relname));
		enabling->sequence = get_relname_relid(relname, schema);
	}
	name_sequence(settings, enabling->sequence);
	execute("ALTER SEQUENCE %s OWNER TO %s", qualified_name(enabling->sequence),
			quote_identifier(GetUserNameFromId(enabling->owner, false)));
	execute("ALTER SEQUENCE %s OWNED BY %s.%s",
			qualified_name(enabling->sequence), enabling->name,
			quote_identifier(settings->version_column));

	rel = relation_open(enabling->relid, NoLock);
	greatest = cas_greatest_version(rel, settings->version_column);
	relation_close(rel, NoLock);
	if (!cas_sequence_last(enabling->sequence, &last))
		last--;
	if (greatest > last)
		DirectFunctionCall2(setval_oid, ObjectIdGetDatum(enabling->sequence),
							Int64GetDatum(greatest));
}

/* ----------
 * The guard
 * ----------
 */

/* The schema of the functions of ours: where cas_enable() is. */
static char *
function_schema(const Enabling *enabling)
{
	Oid			schema = get_func_namespace(enabling->fcinfo->flinfo->fn_oid);
	char	   *name = get_namespace_name(schema);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", "pg_cas")));
	return (char *) quote_identifier(name);
}

/* A trigger's firing mode, where it is not the usual one. */
typedef struct FiringMode
{
	Oid			relid;
	const char *trigger;
	char		mode;
} FiringMode;

/* Note the mode of a trigger that is, or will be, called name. */
static List *
note_mode(List *modes, Relation rel, const Trigger *trigger, const char *name)
{
	FiringMode *mode;

	if (trigger == NULL || trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN)
		return modes;
	mode = palloc(sizeof(FiringMode));
	mode->relid = RelationGetRelid(rel);
	mode->trigger = name;
	mode->mode = trigger->tgenabled;
	return lappend(modes, mode);
}

/*
 * The firing modes of a table's guard and its companions, and of those of its
 * partitions, which may each have their own.
 */
static List *
firing_modes(Oid relid)
{
	List	   *modes = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		Relation	rel = relation_open(lfirst_oid(lc), NoLock);
		CasTriggers triggers;

		cas_find_triggers(rel, &triggers);
		modes = note_mode(modes, rel, triggers.guard, CAS_GUARD_TRIGGER);
		modes = note_mode(modes, rel, triggers.witness, CAS_WITNESS_TRIGGER);
		modes = note_mode(modes, rel, triggers.truncate, CAS_TRUNCATE_TRIGGER);
		relation_close(rel, NoLock);
	}
	return modes;
}

/* CREATE OR REPLACE TRIGGER makes them the usual ones; put them back. */
static void
restore_firing_modes(List *modes, bool by_table)
{
	ListCell   *lc;

	foreach(lc, modes)
	{
		FiringMode *mode = lfirst(lc);

		if (!by_table && strcmp(mode->trigger, CAS_TRUNCATE_TRIGGER) == 0)
			continue;
		execute("ALTER TABLE ONLY %s %s TRIGGER %s",
				qualified_name(mode->relid),
				mode->mode == TRIGGER_DISABLED ? "DISABLE" :
				mode->mode == TRIGGER_FIRES_ALWAYS ? "ENABLE ALWAYS" :
				"ENABLE REPLICA", quote_identifier(mode->trigger));
	}
}

/*
 * Whether a trigger that is there is what the guard needs, or would be but
 * for its arguments.
 */
static bool
is_named(const Trigger *trigger, const char *name)
{
	return trigger != NULL && strcmp(trigger->tgname, name) == 0;
}

static bool
has_shape(const Trigger *trigger, int events, int level)
{
	return trigger->tgtype == (TRIGGER_TYPE_BEFORE | events | level) &&
		trigger->tgnattr == 0 && trigger->tgqual == NULL;
}

/* Drop what has another name than we give it, or is not needed any more. */
static void
drop_trigger(const Enabling *enabling, const Trigger *trigger,
			 const char *name, bool wanted)
{
	if (trigger != NULL && !(wanted && is_named(trigger, name)))
		execute("DROP TRIGGER %s ON %s", quote_identifier(trigger->tgname),
				enabling->name);
}

/*
 * The functions' owner may have moved or replaced them.  What does not guard
 * does not become a guard.
 */
static void
check_triggers(const Enabling *enabling)
{
	Relation	rel = relation_open(enabling->relid, NoLock);
	CasTriggers triggers;

	cas_find_triggers(rel, &triggers);
	if (triggers.guard == NULL || triggers.witness == NULL ||
		(enabling->settings.versions == CAS_VERSIONS_TABLE &&
		 triggers.truncate == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cas_guard(), cas_witness() or cas_truncate() is not the function that extension \"%s\" made",
						"pg_cas"),
				 errhint("Somebody has replaced it: drop the extension and create it again.")));
	relation_close(rel, NoLock);
}

/* Make the guard, its arguments being the settings, and its companions. */
static void
prepare_triggers(const Enabling *enabling)
{
	const CasTriggers *triggers = &enabling->triggers;
	bool		by_table = enabling->settings.versions == CAS_VERSIONS_TABLE;
	const char *schema = function_schema(enabling);
	List	   *modes = firing_modes(enabling->relid);

	drop_trigger(enabling, triggers->guard, CAS_GUARD_TRIGGER, true);
	drop_trigger(enabling, triggers->witness, CAS_WITNESS_TRIGGER, true);
	drop_trigger(enabling, triggers->truncate, CAS_TRUNCATE_TRIGGER, by_table);

	execute("CREATE OR REPLACE TRIGGER %s BEFORE INSERT OR UPDATE OR DELETE "
			"ON %s FOR EACH ROW EXECUTE FUNCTION %s.cas_guard(%s)",
			CAS_GUARD_TRIGGER, enabling->name, schema,
			cas_settings_arguments(&enabling->settings));

	/*
	 * UPDATE OF the version would spare most statements the call, but such a
	 * trigger keeps the column's type from being altered.
	 */
	execute("CREATE OR REPLACE TRIGGER \"%s\" BEFORE UPDATE ON %s "
			"FOR EACH ROW EXECUTE FUNCTION %s.cas_witness()",
			CAS_WITNESS_TRIGGER, enabling->name, schema);
	if (by_table)
		execute("CREATE OR REPLACE TRIGGER %s BEFORE TRUNCATE ON %s "
				"FOR EACH STATEMENT EXECUTE FUNCTION %s.cas_truncate()",
				CAS_TRUNCATE_TRIGGER, enabling->name, schema);
	restore_firing_modes(modes, by_table);
	check_triggers(enabling);
}

/*
 * Write the version into the documents that lack it, by the guard, which does
 * so on every write; we announce the rows, so it demands no version of us.
 */
static void
stamp_documents(const Enabling *enabling)
{
	const CasSettings *settings = &enabling->settings;
	const char *payload = quote_identifier(settings->payload_column);
	GuardExpectation former = guard_expectation;
	StringInfoData path;

	initStringInfo(&path);
	for (int i = 0; i < settings->version_path.length; i++)
		appendStringInfo(&path, "%s%s", i > 0 ? ", " : "",
						 quote_literal_cstr(settings->version_path.names[i]));
	PG_TRY();
	{
		guard_expectation.relid = enabling->relid;
		guard_expectation.key = NULL;
		execute("UPDATE %s SET %s = %s WHERE %s IS NOT NULL AND "
				"(%s::pg_catalog.jsonb OPERATOR(pg_catalog.#>>) "
				"ARRAY[%s]::pg_catalog.text[]) OPERATOR(pg_catalog.=) "
				"(%s)::pg_catalog.text IS NOT TRUE",
				enabling->name, payload, payload, payload, payload, path.data,
				quote_identifier(settings->version_column));
	}
	PG_FINALLY();
	{
		guard_expectation = former;
	}
	PG_END_TRY();
	if (SPI_processed > 0)
		ereport(NOTICE,
				(errmsg("wrote the version into " UINT64_FORMAT " documents of table %s",
						SPI_processed, enabling->name)));
}

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
find_settings(Relation rel, Enabling *enabling, CasSettings *present)
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
check_table(Relation rel, Enabling *enabling)
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

/* The lock that the triggers take, given the settings' SQL. */
static LOCKMODE
triggers_lock(const Enabling *enabling, const CasSettings *present)
{
	const CasTriggers *triggers = &enabling->triggers;
	bool		by_table = enabling->settings.versions == CAS_VERSIONS_TABLE;

	/* one comes or goes */
	if (!is_named(triggers->guard, CAS_GUARD_TRIGGER) ||
		!is_named(triggers->witness, CAS_WITNESS_TRIGGER) ||
		(by_table && !is_named(triggers->truncate, CAS_TRUNCATE_TRIGGER)) ||
		(!by_table && triggers->truncate != NULL))
		return AccessExclusiveLock;

	/* one is replaced */
	if (!has_shape(triggers->guard,
				   TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE,
				   TRIGGER_TYPE_ROW) ||
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
 * Find out what is to be done to a table, and the lock that it takes.  The
 * table is locked by the caller, be it weakly.
 */
static void
look(Relation rel, Enabling *enabling)
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
			name_sequence(settings, enabling->sequence);
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
		raise_no_relation(relid);
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
		raise_no_relation(relid);
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
	Enabling	enabling = {fcinfo};
	CasSettings given = {0};
	Relation	rel;
	LOCKMODE	lock;
	int			nest;

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

	nest = begin_commands();
	prepare_version(&enabling);
	if (enabling.settings.versions == CAS_VERSIONS_TABLE)
		prepare_sequence(&enabling);
	prepare_triggers(&enabling);
	if (enabling.drop_sequence)
		execute("DROP SEQUENCE %s", qualified_name(enabling.sequence));
	if (enabling.stamp)
		stamp_documents(&enabling);
	end_commands(nest);
	PG_RETURN_VOID();
}

/*
 * cas_disable(rel regclass) RETURNS void: removes the guard; keeps the column
 * and the sequence, so that versions go on if it is enabled again.
 */
Datum
cas_disable(PG_FUNCTION_ARGS)
{
	Enabling	enabling = {fcinfo};
	CasTriggers *triggers = &enabling.triggers;
	Relation	rel;
	int			nest;

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

	nest = begin_commands();
	drop_trigger(&enabling, triggers->guard, "", false);
	drop_trigger(&enabling, triggers->witness, "", false);
	drop_trigger(&enabling, triggers->truncate, "", false);
	end_commands(nest);
	PG_RETURN_VOID();
}

/* ----------
 * What is wrong
 * ----------
 */

/* All problems of a guarded table as one text, or NULL. */
static char *
problems_text(Relation rel, const CasTriggers *triggers,
			  CasSettings *settings)
{
	char	   *malformed = cas_parse_settings(triggers->guard, settings);
	StringInfoData text;
	ListCell   *lc;

	if (malformed != NULL)
		return malformed;
	initStringInfo(&text);
	foreach(lc, cas_check(rel, settings, triggers))
	{
		CasProblem *problem = lfirst(lc);

		if (problem->kind != CAS_PROBLEM_PARTITION)
			appendStringInfo(&text, "%s%s", text.len > 0 ? "; " : "",
							 problem->text);
	}
	return text.len > 0 ? text.data : NULL;
}

/*
 * cas_table_settings(rel regclass) RETURNS record: the settings of a guarded
 * table or partition and what is wrong with it; all NULL if it has no guard.
 * Internal: the view cas_tables is made of it.
 */
Datum
cas_table_settings(PG_FUNCTION_ARGS)
{
	Relation	rel = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	TupleDesc	desc = cas_settings_desc(1);
	Datum		values[CAS_SETTINGS + 1];
	bool		nulls[CAS_SETTINGS + 1];
	CasTriggers triggers = {0};
	CasSettings settings;
	char	   *problems;

	TupleDescInitEntry(desc, CAS_SETTINGS + 1, "problem", TEXTOID, -1, 0);
	memset(nulls, true, sizeof(nulls));
	if (rel != NULL)
		cas_find_triggers(rel, &triggers);
	if (triggers.guard != NULL)
	{
		problems = problems_text(rel, &triggers, &settings);
		if (cas_parse_settings(triggers.guard, &settings) == NULL)
			cas_settings_values(&settings, values, nulls);
		if (problems != NULL)
			values[CAS_SETTINGS] = CStringGetTextDatum(problems);
		nulls[CAS_SETTINGS] = problems == NULL;
	}
	if (rel != NULL)
		relation_close(rel, AccessShareLock);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}
