/*
 * prepare.c
 *		Run the commands that put a table under compare-and-swap or disable it.
 *
 * They run with the caller's rights, on a table that is already locked.
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

/* Format a command and run it as the caller. */
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

/* Connect to SPI and set row_security, until end_commands(). */
static int
begin_commands(void)
{
	int			nest = NewGUCNestLevel();

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/*
	 * With FORCE ROW LEVEL SECURITY, policies hide rows even from the owner.
	 * Let our queries fail then instead of returning wrong results.
	 */
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

/* ----------
 * The version
 * ----------
 */

/*
 * Raise an error if a row has no valid version in an existing column.  The
 * hint is the UPDATE to run.
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
 * Add the version column if it is missing; else check the existing one.
 */
static void
prepare_version(const CasEnabling *enabling)
{
	/* The default is constant, so the table is not rewritten. */
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

/* Set the settings' sequence. */
void
cas_name_sequence(CasSettings *settings, Oid sequence)
{
	char	   *schema = get_namespace_name(get_rel_namespace(sequence));
	char	   *name = get_rel_name(sequence);

	if (schema == NULL || name == NULL)
		raise_no_relation(sequence);
	settings->sequence.length = 2;
	settings->sequence.names = palloc(sizeof(char *) * 2);
	settings->sequence.names[0] = schema;
	settings->sequence.names[1] = name;
}

/*
 * Create the sequence for a table's versions if there is none, make the
 * version column own it, and set it to the greatest version if it is below.
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

	/* A superuser may have created it for the table of another role. */
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

/* Return the quoted schema of the trigger functions: that of cas_enable(). */
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

/* The firing mode of a trigger, if it is not the default. */
typedef struct FiringMode
{
	Oid			relid;
	const char *trigger;
	char		mode;
} FiringMode;

/* Add the mode of a trigger that has, or will have, this name. */
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
 * Return the firing modes of the guard and its companions, of the table and of
 * its partitions, which can have other modes.
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

/* Restore the modes, which CREATE OR REPLACE TRIGGER resets to the default. */
static void
restore_firing_modes(List *modes, bool by_table)
{
	ListCell   *lc;

	foreach(lc, modes)
	{
		FiringMode *mode = lfirst(lc);

		/* this one has been dropped */
		if (!by_table && strcmp(mode->trigger, CAS_TRUNCATE_TRIGGER) == 0)
			continue;

		/* ONLY, as the partitions have entries of their own */
		execute("ALTER TABLE ONLY %s %s TRIGGER %s",
				qualified_name(mode->relid),
				mode->mode == TRIGGER_DISABLED ? "DISABLE" :
				mode->mode == TRIGGER_FIRES_ALWAYS ? "ENABLE ALWAYS" :
				"ENABLE REPLICA", quote_identifier(mode->trigger));
	}
}

/* Return whether a trigger exists and has this name. */
bool
cas_trigger_is_named(const Trigger *trigger, const char *name)
{
	return trigger != NULL && strcmp(trigger->tgname, name) == 0;
}

/* Drop a trigger if it is not wanted any more or has the wrong name. */
static void
drop_trigger(const CasEnabling *enabling, const Trigger *trigger,
			 const char *name, bool wanted)
{
	if (trigger != NULL && !(wanted && cas_trigger_is_named(trigger, name)))
		execute("DROP TRIGGER %s ON %s", quote_identifier(trigger->tgname),
				enabling->name);
}

/*
 * Raise an error if the triggers just created do not call our C functions: the
 * owner of the SQL functions may have replaced them.
 */
static void
check_created_triggers(const CasEnabling *enabling)
{
	Relation	rel = relation_open(enabling->relid, NoLock);
	CasTriggers triggers;

	cas_find_triggers(rel, &triggers);
	if (triggers.guard == NULL || triggers.witness == NULL ||
		(enabling->settings.versions == CAS_VERSIONS_TABLE &&
		 triggers.truncate == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cas_guard(), cas_witness() or cas_truncate() is not the function created by extension \"%s\"",
						"pg_cas"),
				 errhint("It was replaced. Drop the extension and create it again.")));
	relation_close(rel, NoLock);
}

/* Create or replace the guard and its companions. */
static void
prepare_triggers(const CasEnabling *enabling)
{
	const CasTriggers *triggers = &enabling->triggers;
	bool		by_table = enabling->settings.versions == CAS_VERSIONS_TABLE;
	const char *schema = function_schema(enabling);
	List	   *modes = firing_modes(enabling->relid);

	/* Triggers with other names were made by hand or renamed. */
	drop_trigger(enabling, triggers->guard, CAS_GUARD_TRIGGER, true);
	drop_trigger(enabling, triggers->witness, CAS_WITNESS_TRIGGER, true);
	drop_trigger(enabling, triggers->truncate, CAS_TRUNCATE_TRIGGER, by_table);

	execute("CREATE OR REPLACE TRIGGER %s BEFORE INSERT OR UPDATE OR DELETE "
			"ON %s FOR EACH ROW EXECUTE FUNCTION %s.cas_guard(%s)",
			CAS_GUARD_TRIGGER, enabling->name, schema,
			cas_settings_arguments(&enabling->settings));

	/*
	 * UPDATE OF the version column would save the call for most statements,
	 * but such a trigger would prevent ALTER COLUMN TYPE.
	 */
	execute("CREATE OR REPLACE TRIGGER \"%s\" BEFORE UPDATE ON %s "
			"FOR EACH ROW EXECUTE FUNCTION %s.cas_witness()",
			CAS_WITNESS_TRIGGER, enabling->name, schema);
	if (by_table)
		execute("CREATE OR REPLACE TRIGGER %s BEFORE TRUNCATE ON %s "
				"FOR EACH STATEMENT EXECUTE FUNCTION %s.cas_truncate()",
				CAS_TRUNCATE_TRIGGER, enabling->name, schema);
	restore_firing_modes(modes, by_table);
	check_created_triggers(enabling);
}

/* Return a condition: a row has a document that lacks the row's version. */
static char *
lacks_version(const CasSettings *settings)
{
	const char *payload = quote_identifier(settings->payload_column);
	StringInfoData path;

	initStringInfo(&path);
	for (int i = 0; i < settings->version_path.length; i++)
		appendStringInfo(&path, "%s%s", i > 0 ? ", " : "",
						 quote_literal_cstr(settings->version_path.names[i]));
	return psprintf("%s IS NOT NULL AND "
					"(%s::pg_catalog.jsonb OPERATOR(pg_catalog.#>>) "
					"ARRAY[%s]::pg_catalog.text[]) OPERATOR(pg_catalog.=) "
					"(%s)::pg_catalog.text IS NOT TRUE",
					payload, payload, path.data,
					quote_identifier(settings->version_column));
}

/*
 * Write the version into the documents that lack it.
 */
static void
stamp_documents(const CasEnabling *enabling)
{
	const char *payload = quote_identifier(enabling->settings.payload_column);
	char	   *unstamped = lacks_version(&enabling->settings);
	GuardExpectation former;
	Relation	rel = relation_open(enabling->relid, NoLock);
	uint64		stamped;

	/*
	 * An UPDATE that sets the payload to itself makes the guard write the
	 * version.  Announce it for all rows, so that the guard does not require
	 * the UPDATE to mention the version.
	 */
	former = cas_guard_announce(rel, NULL, NULL);
	PG_TRY();
	{
		execute("UPDATE %s SET %s = %s WHERE %s", enabling->name, payload,
				payload, unstamped);
	}
	PG_FINALLY();
	{
		cas_guard_withdraw(former);
	}
	PG_END_TRY();
	stamped = SPI_processed;
	relation_close(rel, NoLock);

	/* The guard may be disabled, or a trigger may have suppressed the UPDATE. */
	execute("SELECT FROM %s WHERE %s LIMIT 1", enabling->name, unstamped);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not write the version into all documents of table %s",
						enabling->name),
				 errhint("The guard is disabled or does not fire in this session, or a trigger or rule suppresses the UPDATE.")));
	if (stamped > 0)
		ereport(NOTICE,
				(errmsg("wrote the version into " UINT64_FORMAT " documents of table %s",
						stamped, enabling->name)));
}

/* ----------
 * Entry points
 * ----------
 */

/*
 * Make the changes to a table that enable.c has found to be necessary.
 */
void
cas_prepare(CasEnabling *enabling)
{
	int			nest = begin_commands();

	prepare_version(enabling);
	if (enabling->settings.versions == CAS_VERSIONS_TABLE)
		prepare_sequence(enabling);
	prepare_triggers(enabling);

	/* The guard draws from the sequence until it is replaced. */
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
