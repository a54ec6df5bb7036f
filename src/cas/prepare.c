/*
 * prepare.c
 *		The commands that put a table under compare-and-swap, and take it off.
 *
 * They are the ordinary ones and run with the caller's rights, on a table that
 * is locked already.
 */
#include "enable.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/defrem.h"
#include "commands/sequence.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

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

void
cas_raise_no_relation(Oid relid)
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
		cas_raise_no_relation(relid);
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
check_versions(const CasEnabling *enabling)
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
prepare_version(const CasEnabling *enabling)
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

void
cas_name_sequence(CasSettings *settings, Oid sequence)
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

/*
 * Make a sequence for a table's versions if there is none, have it belong to
 * the version column, and set it beyond the greatest version that there is.
 */
static void
prepare_sequence(CasEnabling *enabling)
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
	cas_name_sequence(settings, enabling->sequence);
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
function_schema(const CasEnabling *enabling)
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

/* Whether a trigger is there, under that name. */
bool
cas_trigger_is_named(const Trigger *trigger, const char *name)
{
	return trigger != NULL && strcmp(trigger->tgname, name) == 0;
}

/* Drop what has another name than we give it, or is not needed any more. */
static void
drop_trigger(const CasEnabling *enabling, const Trigger *trigger,
			 const char *name, bool wanted)
{
	if (trigger != NULL && !(wanted && cas_trigger_is_named(trigger, name)))
		execute("DROP TRIGGER %s ON %s", quote_identifier(trigger->tgname),
				enabling->name);
}

/*
 * The functions' owner may have moved or replaced them.  What does not guard
 * does not become a guard.
 */
static void
check_triggers(const CasEnabling *enabling)
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
prepare_triggers(const CasEnabling *enabling)
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
stamp_documents(const CasEnabling *enabling)
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
 * All of it
 * ----------
 */

/*
 * Do what enable.c has found that a table needs.
 */
void
cas_prepare(CasEnabling *enabling)
{
	int			nest = begin_commands();

	prepare_version(enabling);
	if (enabling->settings.versions == CAS_VERSIONS_TABLE)
		prepare_sequence(enabling);
	prepare_triggers(enabling);
	if (enabling->drop_sequence)
		execute("DROP SEQUENCE %s", qualified_name(enabling->sequence));
	if (enabling->stamp)
		stamp_documents(enabling);
	end_commands(nest);
}

/*
 * Drop the guard and its companions.
 */
void
cas_remove_triggers(const CasEnabling *enabling)
{
	const CasTriggers *triggers = &enabling->triggers;
	int			nest = begin_commands();

	drop_trigger(enabling, triggers->guard, "", false);
	drop_trigger(enabling, triggers->witness, "", false);
	drop_trigger(enabling, triggers->truncate, "", false);
	end_commands(nest);
}
