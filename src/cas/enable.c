/*
 * enable.c
 *		Put a table under compare-and-swap, take it off again, and say what is
 *		wrong with the ones that are under it.
 *
 * Everything is done by the ordinary commands, with the caller's rights: ALTER
 * TABLE adds the version, CREATE TRIGGER the guard.  The table stays locked
 * against writers from the checks to the end of the transaction, so what was
 * checked is what the guard finds.
 *
 * The sequence of a table whose versions are the table's is owned by its
 * version column, so that it is renamed, given away, dumped and dropped as one
 * expects.  TRUNCATE ... RESTART IDENTITY starts such a sequence again, which
 * must not happen to this one; a trigger of the table's sees to it (guard.c).
 */
#include "cas.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "base/entry.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(cas_enable);
PG_FUNCTION_INFO_V1(cas_disable);
PG_FUNCTION_INFO_V1(cas_table_settings);

/* ----------
 * Arguments
 * ----------
 */

/* One of two words; true for the second. */
static bool
get_choice(FunctionCallInfo fcinfo, int argno, const char *name,
		   const char *first, const char *second)
{
	const char *words[] = {first, second, NULL};

	return word_argument(fcinfo, argno, name, words) == 1;
}

static CasNames
get_names(FunctionCallInfo fcinfo, int argno, const char *name)
{
	CasNames	names;
	Datum	   *elements;
	bool	   *nulls;

	require_argument(fcinfo, argno, name);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argno), NAMEOID, NAMEDATALEN,
					  false, TYPALIGN_CHAR, &elements, &nulls, &names.length);
	names.names = palloc(sizeof(char *) * Max(names.length, 1));
	for (int i = 0; i < names.length; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", name)));
		names.names[i] = pstrdup(NameStr(*DatumGetName(elements[i])));
	}
	return names;
}

/* The settings that cas_enable()'s arguments give; *by_table is "versions". */
static void
get_settings(FunctionCallInfo fcinfo, CasSettings *settings, bool *by_table)
{
	memset(settings, 0, sizeof(CasSettings));
	require_argument(fcinfo, 1, "version_column");
	settings->version_column = pstrdup(NameStr(*PG_GETARG_NAME(1)));
	if (!PG_ARGISNULL(2))
		settings->payload_column = pstrdup(NameStr(*PG_GETARG_NAME(2)));
	settings->writers = get_choice(fcinfo, 3, "writers", "bump", "echo") ?
		CAS_WRITERS_ECHO : CAS_WRITERS_BUMP;
	settings->reject_unversioned = get_choice(fcinfo, 4, "unversioned",
											  "allow", "reject");
	*by_table = get_choice(fcinfo, 5, "versions", "row", "table");
	settings->ignore_columns = get_names(fcinfo, 6, "ignore_columns");
	if (!PG_ARGISNULL(7))
	{
		settings->version_path = cas_path_from_array(PG_GETARG_DATUM(7));
		if (settings->version_path.length == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("version_path must not be empty"),
					 errhint("It is the path of object keys from the payload's top, such as '{metadata,version}'.")));
	}
	settings->warn_only = get_choice(fcinfo, 8, "enforce", "error", "warn");

	if (settings->version_path.length > 0 && settings->payload_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version_path needs a payload_column"),
				 errhint("The path leads into the document in that column.")));
	if (*by_table && settings->writers == CAS_WRITERS_BUMP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("versions => 'table' needs writers => 'echo'"),
				 errhint("A client cannot compute the next version if it comes from a sequence.")));
}

/* ----------
 * Checks of the table
 * ----------
 */

static void
refuse(Relation rel, int sqlstate, const char *problem, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("cannot put \"%s\" under compare-and-swap: %s",
					RelationGetRelationName(rel), problem),
			 hint ? errhint("%s", hint) : 0,
			 errtable(rel)));
}

static void
check_kind(Relation rel)
{
	Form_pg_class form = rel->rd_rel;

	if (form->relkind != RELKIND_RELATION &&
		form->relkind != RELKIND_PARTITIONED_TABLE)
		refuse(rel, ERRCODE_WRONG_OBJECT_TYPE, "it is not a table",
			   form->relkind == RELKIND_VIEW ?
			   "Enable the table below the view: writes through the view are guarded, too." : NULL);
	if (IsSystemRelation(rel))
		refuse(rel, ERRCODE_WRONG_OBJECT_TYPE, "it is a system table", NULL);
	if (RELATION_IS_OTHER_TEMP(rel))
		refuse(rel, ERRCODE_FEATURE_NOT_SUPPORTED,
			   "it is a temporary table of another session", NULL);
	if (form->relispartition)
		refuse(rel, ERRCODE_WRONG_OBJECT_TYPE, "it is a partition",
			   "Enable the partitioned table: its partitions are guarded with it.");
	if (has_superclass(RelationGetRelid(rel)))
		refuse(rel, ERRCODE_WRONG_OBJECT_TYPE, "it inherits from another table",
			   "Updates through the parent would pass the guard by.");
	if (form->relkind == RELKIND_RELATION &&
		find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL)
		refuse(rel, ERRCODE_WRONG_OBJECT_TYPE, "other tables inherit from it",
			   "Their rows would not be guarded.");
}

static Form_pg_attribute
find_column(Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	return NULL;
}

static Form_pg_attribute
require_column(Relation rel, const char *name)
{
	Form_pg_attribute att = find_column(rel, name);

	if (att == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist",
						name, RelationGetRelationName(rel)),
				 errtable(rel)));
	return att;
}

static void
refuse_column(Relation rel, Form_pg_attribute att, int sqlstate,
			  const char *problem)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("column \"%s\" of table \"%s\" %s",
					NameStr(att->attname), RelationGetRelationName(rel),
					problem),
			 errtablecol(rel, att->attnum)));
}

/* The key must be there and decide at once; its columns are returned. */
static Bitmapset *
check_key(Relation rel)
{
	Oid			indexid = RelationGetPrimaryKeyIndex(rel);
	Relation	index;
	Bitmapset  *columns = NULL;

	if (!OidIsValid(indexid))
		refuse(rel, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			   "it has no primary key, or a deferrable one",
			   "Rows are named by the primary key: add one with ALTER TABLE ... ADD PRIMARY KEY.");
	index = relation_open(indexid, AccessShareLock);
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		columns = bms_add_member(columns, index->rd_index->indkey.values[i]);
	relation_close(index, AccessShareLock);
	return columns;
}

/* The columns that the settings name must be fit for it. */
static void
check_columns(Relation rel, const CasSettings *settings, Bitmapset *key)
{
	Form_pg_attribute version = find_column(rel, settings->version_column);
	Form_pg_attribute payload;

	if (version != NULL)
	{
		if (version->atttypid != INT2OID && version->atttypid != INT4OID &&
			version->atttypid != INT8OID)
			refuse_column(rel, version, ERRCODE_DATATYPE_MISMATCH,
						  "cannot hold a version: it is not a smallint, an integer or a bigint");
		if (version->attgenerated != '\0' || version->attidentity != '\0')
			refuse_column(rel, version, ERRCODE_WRONG_OBJECT_TYPE,
						  "cannot hold a version: it is generated");
		if (bms_is_member(version->attnum, key))
			refuse_column(rel, version, ERRCODE_INVALID_PARAMETER_VALUE,
						  "cannot hold a version: it is part of the primary key");
	}
	if (settings->payload_column != NULL)
	{
		payload = require_column(rel, settings->payload_column);
		if (getBaseType(payload->atttypid) != JSONBOID)
			refuse_column(rel, payload, ERRCODE_DATATYPE_MISMATCH,
						  "cannot be the payload: it is not of type jsonb");
		if (payload->attgenerated != '\0')
			refuse_column(rel, payload, ERRCODE_WRONG_OBJECT_TYPE,
						  "cannot be the payload: it is generated");
		if (bms_is_member(payload->attnum, key))
			refuse_column(rel, payload, ERRCODE_INVALID_PARAMETER_VALUE,
						  "cannot be the payload: it is part of the primary key");
	}
	for (int i = 0; i < settings->ignore_columns.length; i++)
	{
		Form_pg_attribute att;

		att = require_column(rel, settings->ignore_columns.names[i]);

		if (bms_is_member(att->attnum, key))
			refuse_column(rel, att, ERRCODE_INVALID_PARAMETER_VALUE,
						  "cannot be ignored: it is part of the primary key");
		if (version != NULL && att->attnum == version->attnum)
			refuse_column(rel, att, ERRCODE_INVALID_PARAMETER_VALUE,
						  "cannot be ignored: it is the version");
	}
}

/*
 * A trigger that could change the row behind the guard's back, or NULL: one
 * BEFORE ROW, on INSERT or UPDATE, that fires after the guard, or before its
 * witness.
 */
static Trigger *
misplaced_trigger(Relation rel, const char *guard_name,
				  const char *witness_name)
{
	TriggerDesc *triggers = rel->trigdesc;
	Trigger    *guard = cas_guard_trigger(rel);
	Trigger    *witness = cas_witness_trigger(rel);

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger == guard || trigger == witness ||
			!TRIGGER_FOR_ROW(trigger->tgtype) ||
			!TRIGGER_FOR_BEFORE(trigger->tgtype))
			continue;
		if ((TRIGGER_FOR_INSERT(trigger->tgtype) ||
			 TRIGGER_FOR_UPDATE(trigger->tgtype)) &&
			strcmp(trigger->tgname, guard_name) > 0)
			return trigger;
		if (TRIGGER_FOR_UPDATE(trigger->tgtype) &&
			strcmp(trigger->tgname, witness_name) < 0)
			return trigger;
	}
	return NULL;
}

static void
check_triggers(Relation rel)
{
	Trigger    *misplaced = misplaced_trigger(rel, CAS_GUARD_TRIGGER,
											  CAS_WITNESS_TRIGGER);

	if (misplaced != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"%s\" of table \"%s\" would fire %s",
						misplaced->tgname, RelationGetRelationName(rel),
						strcmp(misplaced->tgname, CAS_GUARD_TRIGGER) > 0 ?
						"after the guard" : "before the guard's witness"),
				 errdetail("BEFORE triggers fire in the order of their names. \"%s\" must be the first and \"%s\" the last.",
						   CAS_WITNESS_TRIGGER, CAS_GUARD_TRIGGER),
				 errhint("Rename the trigger with ALTER TRIGGER ... RENAME TO."),
				 errtable(rel)));
}

/* ----------
 * Commands
 * ----------
 */

static void execute(const char *command, ...) pg_attribute_printf(1, 2);

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

/* The first column of the first row that the last command returned. */
static Datum
first_value(bool *isnull)
{
	if (SPI_processed != 1)
		elog(ERROR, "unexpected number of rows: " UINT64_FORMAT,
			 SPI_processed);
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						 isnull);
}

/*
 * The version column is added if it is missing.  With a constant default that
 * rewrites nothing; existing rows read 1.
 */
static void
prepare_version(const char *name, const CasSettings *settings, bool add)
{
	const char *column = quote_identifier(settings->version_column);
	bool		isnull;

	if (add)
	{
		execute("ALTER TABLE %s ADD COLUMN %s pg_catalog.int8 DEFAULT 1 NOT NULL",
				name, column);
		return;
	}
	execute("SELECT EXISTS (SELECT FROM %s WHERE %s IS NULL)", name, column);
	if (DatumGetBool(first_value(&isnull)))
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("version column \"%s\" of table %s contains null values",
						settings->version_column, name),
				 errhint("UPDATE %s SET %s = 1 WHERE %s IS NULL;", name,
						 column, column)));
}

/* A sequence's name as SQL reads it. */
static char *
sequence_name(Oid sequence)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(sequence)),
									  get_rel_name(sequence));
}

/*
 * Make a sequence for a table's versions, or, if there is one already, see
 * that it belongs to the version column.
 */
static Oid
prepare_sequence(Oid relid, const char *name, Oid owner,
				 const CasSettings *settings, Oid sequence)
{
	Oid			schema = get_rel_namespace(relid);

	if (!OidIsValid(sequence))
	{
		char	   *relname;

		relname = ChooseRelationName(get_rel_name(relid),
									 settings->version_column, "seq", schema,
									 false);
		execute("CREATE SEQUENCE %s",
				quote_qualified_identifier(get_namespace_name(schema),
										   relname));
		sequence = get_relname_relid(relname, schema);
	}
	execute("ALTER SEQUENCE %s OWNER TO %s", sequence_name(sequence),
			quote_identifier(GetUserNameFromId(owner, false)));
	execute("ALTER SEQUENCE %s OWNED BY %s.%s", sequence_name(sequence),
			name, quote_identifier(settings->version_column));
	return sequence;
}

/* Set a table's sequence beyond the greatest version there is. */
static void
advance_sequence(Oid sequence, const char *name, const CasSettings *settings)
{
	Datum		greatest;
	bool		isnull;

	execute("SELECT pg_catalog.max(v.v) FROM (SELECT %s::pg_catalog.int8 FROM %s "
			"UNION ALL SELECT last_value FROM %s WHERE is_called) AS v (v)",
			quote_identifier(settings->version_column), name,
			sequence_name(sequence));
	greatest = first_value(&isnull);
	if (!isnull && DatumGetInt64(greatest) > 0)
		DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), greatest);
}

static void
append_argument(StringInfo arguments, const char *name, const char *value)
{
	appendStringInfo(arguments, "%s%s", arguments->len > 0 ? ", " : "",
					 quote_literal_cstr(psprintf("%s=%s", name, value)));
}

/* Names as a trigger argument: each in double quotes. */
static char *
names_text(const CasNames *names)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < names->length; i++)
	{
		appendStringInfoString(&text, i > 0 ? ",\"" : "\"");
		for (char *c = names->names[i]; *c; c++)
		{
			if (*c == '"')
				appendStringInfoChar(&text, '"');
			appendStringInfoChar(&text, *c);
		}
		appendStringInfoChar(&text, '"');
	}
	return text.data;
}

/* Names as an SQL expression of type text[]. */
static char *
names_array(const CasNames *names)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "ARRAY[");
	for (int i = 0; i < names->length; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 quote_literal_cstr(names->names[i]));
	appendStringInfoString(&sql, "]::pg_catalog.text[]");
	return sql.data;
}

/* Make the guard, its arguments being the settings, and its companions. */
static void
create_guard(const char *name, const CasSettings *settings, Oid sequence,
			 Oid function)
{
	const char *schema;
	StringInfoData arguments;

	schema = get_namespace_name(get_func_namespace(function));
	schema = quote_identifier(schema);
	initStringInfo(&arguments);
	append_argument(&arguments, "version_column", settings->version_column);
	if (settings->payload_column != NULL)
		append_argument(&arguments, "payload_column",
						settings->payload_column);
	append_argument(&arguments, "writers",
					settings->writers == CAS_WRITERS_ECHO ? "echo" : "bump");
	append_argument(&arguments, "unversioned",
					settings->reject_unversioned ? "reject" : "allow");
	if (OidIsValid(sequence))
		append_argument(&arguments, "sequence", sequence_name(sequence));
	if (settings->ignore_columns.length > 0)
		append_argument(&arguments, "ignore_columns",
						names_text(&settings->ignore_columns));
	if (settings->version_path.length > 0)
		append_argument(&arguments, "version_path",
						names_text(&settings->version_path));
	append_argument(&arguments, "enforce",
					settings->warn_only ? "warn" : "error");

	execute("CREATE TRIGGER %s BEFORE INSERT OR UPDATE OR DELETE ON %s "
			"FOR EACH ROW EXECUTE FUNCTION %s.cas_guard(%s)",
			CAS_GUARD_TRIGGER, name, schema, arguments.data);

	/*
	 * UPDATE OF the version would spare most statements the call, but such a
	 * trigger keeps the column's type from being altered.
	 */
	execute("CREATE TRIGGER \"%s\" BEFORE UPDATE ON %s FOR EACH ROW "
			"EXECUTE FUNCTION %s.cas_witness()",
			CAS_WITNESS_TRIGGER, name, schema);
	if (OidIsValid(sequence))
		execute("CREATE TRIGGER %s BEFORE TRUNCATE ON %s FOR EACH STATEMENT "
				"EXECUTE FUNCTION %s.cas_truncate()",
				CAS_TRUNCATE_TRIGGER, name, schema);
}

/*
 * Write the version into the documents that lack it, by the guard, which does
 * so on every write; we announce the rows, so it demands no version of us.
 */
static void
stamp_documents(Oid relid, const char *name, const CasSettings *settings)
{
	const char *payload = quote_identifier(settings->payload_column);
	GuardExpectation former = guard_expectation;

	PG_TRY();
	{
		guard_expectation.relid = relid;
		guard_expectation.key = NULL;
		execute("UPDATE %s SET %s = %s WHERE %s IS NOT NULL AND "
				"(%s::pg_catalog.jsonb OPERATOR(pg_catalog.#>) %s) "
				"OPERATOR(pg_catalog.=) pg_catalog.to_jsonb(%s) IS NOT TRUE",
				name, payload, payload, payload, payload,
				names_array(&settings->version_path),
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
						SPI_processed, name)));
}

/* ----------
 * Enable and disable
 * ----------
 */

/*
 * Open a table that is to be changed, for its owner only, and lock it.
 */
static Relation
open_own_table(FunctionCallInfo fcinfo, LOCKMODE lockmode)
{
	Oid			relid;
	Relation	rel;

	require_argument(fcinfo, 0, "rel");
	relid = PG_GETARG_OID(0);

	/* the owner is asked for before the lock, which others would wait for */
	if (get_rel_relkind(relid) != '\0' &&
		!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
	rel = try_relation_open(relid, lockmode);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(rel->rd_rel->relkind),
					   RelationGetRelationName(rel));

	/* such as by the call of cas_apply() whose function calls us */
	CheckTableNotInUse(rel, get_func_name(fcinfo->flinfo->fn_oid));
	return rel;
}

/*
 * Policies may hide rows even from the owner; then what we ask of the table
 * fails rather than be answered wrongly.
 */
static int
without_row_security(void)
{
	int			nest = NewGUCNestLevel();

	set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

/* The names of the guard and its companions, as far as they are there. */
static List *
former_triggers(Relation rel)
{
	List	   *names = NIL;
	Trigger    *triggers[] = {
		cas_guard_trigger(rel),
		cas_witness_trigger(rel),
		cas_truncate_trigger(rel)
	};

	for (int i = 0; i < lengthof(triggers); i++)
		if (triggers[i] != NULL)
			names = lappend(names, pstrdup(triggers[i]->tgname));
	return names;
}

static void
drop_triggers(const char *table, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
		execute("DROP TRIGGER %s ON %s", quote_identifier(lfirst(lc)), table);
}

/* A guard's sequence, if it has one that is really its table's. */
static Oid
guard_sequence(Relation rel, Trigger *guard)
{
	CasSettings settings;

	if (cas_parse_settings(guard, &settings) != NULL ||
		settings.sequence.length == 0)
		return InvalidOid;
	return cas_sequence(rel, &settings);
}

/*
 * cas_enable(rel regclass, ...) RETURNS void, see the install script.
 */
Datum
cas_enable(PG_FUNCTION_ARGS)
{
	CasSettings settings;
	bool		by_table;
	bool		add_version;
	Oid			relid;
	Relation	rel;
	Trigger    *guard;
	char	   *name;
	List	   *former;
	Oid			owner;
	Oid			sequence = InvalidOid;
	int			nest;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "rel");
	relid = PG_GETARG_OID(0);
	get_settings(fcinfo, &settings, &by_table);
	PreventCommandIfReadOnly("cas_enable()");

	/* adding a column takes the strongest lock; ask for that at once */
	add_version = get_attnum(relid,
							 settings.version_column) == InvalidAttrNumber;
	rel = open_own_table(fcinfo, add_version ?
						 AccessExclusiveLock : ShareRowExclusiveLock);
	add_version = find_column(rel, settings.version_column) == NULL;
	check_kind(rel);
	check_columns(rel, &settings, check_key(rel));
	check_triggers(rel);
	name = cas_relation_name(rel);
	owner = rel->rd_rel->relowner;
	guard = cas_guard_trigger(rel);
	former = former_triggers(rel);
	if (guard != NULL)
		sequence = guard_sequence(rel, guard);

	/* commands refuse a table that somebody has open; the lock is kept */
	relation_close(rel, NoLock);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	nest = without_row_security();
	prepare_version(name, &settings, add_version);
	drop_triggers(name, former);
	if (by_table)
	{
		sequence = prepare_sequence(relid, name, owner, &settings,
									sequence);
		advance_sequence(sequence, name, &settings);
	}
	else if (OidIsValid(sequence))
	{
		execute("DROP SEQUENCE %s", sequence_name(sequence));
		sequence = InvalidOid;
	}
	create_guard(name, &settings, sequence, fcinfo->flinfo->fn_oid);
	if (settings.version_path.length > 0)
		stamp_documents(relid, name, &settings);
	AtEOXact_GUC(true, nest);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * cas_disable(rel regclass) RETURNS void: removes the guard and its sequence,
 * keeps the column.
 */
Datum
cas_disable(PG_FUNCTION_ARGS)
{
	Relation	rel;
	Trigger    *guard;
	char	   *name;
	List	   *former;
	Oid			sequence;

	request_enter(fcinfo, ENTRY_JOINS);
	PreventCommandIfReadOnly("cas_disable()");
	rel = open_own_table(fcinfo, ShareRowExclusiveLock);
	guard = cas_guard_trigger(rel);
	if (guard == NULL)
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
	name = cas_relation_name(rel);
	former = former_triggers(rel);
	sequence = guard_sequence(rel, guard);
	relation_close(rel, NoLock);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	drop_triggers(name, former);
	if (OidIsValid(sequence))
		execute("DROP SEQUENCE %s", sequence_name(sequence));
	SPI_finish();
	PG_RETURN_VOID();
}

/* ----------
 * What is wrong
 * ----------
 */

/* Start another problem in a list of them. */
static StringInfo
another(StringInfo problems)
{
	if (problems->len > 0)
		appendStringInfoString(problems, "; ");
	return problems;
}

static bool
is_off(Trigger *trigger)
{
	return trigger == NULL || trigger->tgenabled == TRIGGER_DISABLED ||
		trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA;
}

/* What has happened to a table since it was put under compare-and-swap. */
static void
find_problems(Relation rel, Trigger *guard, const CasSettings *settings,
			  StringInfo problems)
{
	Form_pg_attribute att;
	Trigger    *witness;
	Trigger    *misplaced;

	if (is_off(guard))
		appendStringInfo(another(problems), "the guard is disabled");
	witness = cas_witness_trigger(rel);
	if (is_off(witness))
		appendStringInfoString(another(problems),
							   "the guard's witness is missing or disabled");
	if (settings->sequence.length > 0 && !rel->rd_rel->relispartition &&
		is_off(cas_truncate_trigger(rel)))
		appendStringInfoString(another(problems),
							   "the trigger for TRUNCATE is missing or disabled");
	misplaced = misplaced_trigger(rel, guard->tgname,
								  witness ? witness->tgname : "");
	if (misplaced != NULL)
		appendStringInfo(another(problems), "trigger \"%s\" fires %s",
						  misplaced->tgname,
						 strcmp(misplaced->tgname, guard->tgname) > 0 ?
						 "after the guard" : "before the guard's witness");
	att = find_column(rel, settings->version_column);
	if (att == NULL)
		appendStringInfo(another(problems), "version column \"%s\" does not exist",
						 settings->version_column);
	else if (att->atttypid != INT2OID && att->atttypid != INT4OID &&
			 att->atttypid != INT8OID)
		appendStringInfo(another(problems), "version column \"%s\" is not an integer",
						 settings->version_column);
	if (settings->payload_column != NULL)
	{
		att = find_column(rel, settings->payload_column);
		if (att == NULL)
			appendStringInfo(another(problems), "payload column \"%s\" does not exist",
						 settings->payload_column);
		else if (getBaseType(att->atttypid) != JSONBOID)
			appendStringInfo(another(problems), "payload column \"%s\" is not jsonb",
						 settings->payload_column);
	}
	for (int i = 0; i < settings->ignore_columns.length; i++)
		if (find_column(rel, settings->ignore_columns.names[i]) == NULL)
			appendStringInfo(another(problems), "ignored column \"%s\" does not exist",
						 settings->ignore_columns.names[i]);
	if (settings->sequence.length > 0 &&
		!OidIsValid(cas_sequence(rel, settings)))
		appendStringInfo(another(problems),
						 "sequence \"%s.%s\" does not exist or is not the table's",
						 settings->sequence.names[0],
						 settings->sequence.names[1]);
	if (!OidIsValid(RelationGetPrimaryKeyIndex(rel)))
		appendStringInfo(another(problems), "there is no primary key, or a deferrable one");
	if (rel->rd_rel->relkind == RELKIND_RELATION &&
		!rel->rd_rel->relispartition &&
		(has_superclass(RelationGetRelid(rel)) ||
		 find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL))
		appendStringInfo(another(problems), "the table inherits, or is inherited from");
}

static Datum
names_datum(const CasNames *names, Oid type)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(names->length, 1));

	for (int i = 0; i < names->length; i++)
		elements[i] = type == NAMEOID ?
			DirectFunctionCall1(namein, CStringGetDatum(names->names[i])) :
			CStringGetTextDatum(names->names[i]);
	return PointerGetDatum(type == NAMEOID ?
						   construct_array(elements, names->length, NAMEOID,
										   NAMEDATALEN, false,
										   TYPALIGN_CHAR) :
						   construct_array(elements, names->length, TEXTOID,
										   -1, false, TYPALIGN_INT));
}

/*
 * cas_table_settings(rel regclass) RETURNS record: the settings of a guarded
 * table or partition and what is wrong with it; all NULL if it has no guard.
 * Internal: the view cas_tables is made of it.
 */
Datum
cas_table_settings(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Relation	rel = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	Trigger    *guard = rel ? cas_guard_trigger(rel) : NULL;
	CasSettings settings;
	StringInfoData problems;
	char	   *malformed;
	Datum		values[9];
	bool		nulls[9];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));
	initStringInfo(&problems);

	if (guard != NULL &&
		(malformed = cas_parse_settings(guard, &settings)) != NULL)
		appendStringInfoString(&problems, malformed);
	else if (guard != NULL)
	{
		memset(nulls, false, sizeof(nulls));
		values[0] = DirectFunctionCall1(namein,
										CStringGetDatum(settings.version_column));
		if (settings.payload_column != NULL)
			values[1] = DirectFunctionCall1(namein,
											CStringGetDatum(settings.payload_column));
		nulls[1] = settings.payload_column == NULL;
		values[2] = CStringGetTextDatum(settings.writers == CAS_WRITERS_ECHO ?
										"echo" : "bump");
		values[3] = CStringGetTextDatum(settings.reject_unversioned ?
										"reject" : "allow");
		values[4] = CStringGetTextDatum(settings.sequence.length > 0 ?
										"table" : "row");
		values[5] = names_datum(&settings.ignore_columns, NAMEOID);
		values[6] = names_datum(&settings.version_path, TEXTOID);
		nulls[6] = settings.version_path.length == 0;
		values[7] = CStringGetTextDatum(settings.warn_only ? "warn" : "error");
		find_problems(rel, guard, &settings, &problems);
	}
	values[8] = CStringGetTextDatum(problems.data);
	nulls[8] = problems.len == 0;
	if (rel != NULL)
		relation_close(rel, AccessShareLock);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}
