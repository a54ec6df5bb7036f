/*
 * protect.c
 *		Tables that may be written only under a resource's lock.
 *
 * lock_protect() puts a trigger on the table.  Its setting, the resource, is
 * the trigger's argument, so that dump, restore and rename carry it along.
 * The resource may name columns: of repo:{name} each row has its own, and an
 * UPDATE that moves a row from one to another needs both.
 *
 * The trigger is an AFTER ROW one, because it must judge the row as it is
 * written, after all that BEFORE triggers and generated columns make of it; a
 * BEFORE trigger can only see what the triggers before it, in the order of
 * their names, have made.  A row that needs a lock which is not held ends the
 * statement, so nothing is gained by asking earlier.
 *
 * A lock is given back only by a rollback, which takes the (sub)transaction
 * id along under which it was taken.  So the last answer is kept for the
 * transaction: as long as that id is one of ours, the name is held.
 */
#include "lock.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "base/entry.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(lock_protect);
PG_FUNCTION_INFO_V1(lock_unprotect);
PG_FUNCTION_INFO_V1(lock_protect_trigger);

/* The triggers' names, which sort before zzz_cas_guard. */
#define ROW_TRIGGER			"lock_protect"
#define TRUNCATE_TRIGGER	"lock_protect_truncate"

/* What takes the place of the values of a column. */
typedef char *(*ColumnValue) (Relation rel, int attnum, void *arg);

/* A row of the table. */
typedef struct Row
{
	HeapTuple	tuple;
	TupleDesc	desc;
} Row;

/* The name that was last found to be held, and by which transaction. */
static char held_name[MAX_RESOURCE_NAME + 1];
static TransactionId held_xid = InvalidTransactionId;
static LocalTransactionId held_lxid = InvalidLocalTransactionId;

/*
 * Put the resource's name together, column by column.  {{ and }} stand for
 * single braces.  Raises 22023 if the resource is malformed, 42703 if there is
 * no such column.
 */
static char *
expand_resource(const char *resource, Relation rel, ColumnValue value,
				void *arg)
{
	StringInfoData name;

	initStringInfo(&name);
	for (const char *p = resource; *p; p++)
	{
		const char *end;
		char	   *column;
		AttrNumber	attnum;

		if ((*p == '{' || *p == '}') && p[1] == *p)
		{
			appendStringInfoChar(&name, *p++);
			continue;
		}
		if (*p != '{' && *p != '}')
		{
			appendStringInfoChar(&name, *p);
			continue;
		}

		end = *p == '{' ? strchr(p, '}') : NULL;
		if (end == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unmatched brace in resource \"%s\"", resource),
					 errhint("Write {column} for a column's value, {{ and }} for braces.")));
		column = pnstrdup(p + 1, end - p - 1);
		attnum = get_attnum(RelationGetRelid(rel), column);
		if (attnum <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\", named in the resource \"%s\", does not exist",
							column, RelationGetRelationName(rel), resource),
					 errtable(rel)));
		appendStringInfoString(&name, value(rel, attnum, arg));
		p = end;
	}
	return name.data;
}

/*
 * The value as text, which is the same whatever the writer's settings: two who
 * write the same row must mean the same resource.
 */
static char *
stable_text(Oid type, Datum value)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			settings[] =
	{
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"TimeZone", "UTC"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"lc_monetary", "C"},
		{"search_path", "pg_catalog, pg_temp"},
	};
	int			level = -1;
	Oid			output;
	bool		isvarlena;
	char	   *result;

	switch (getBaseType(type))
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case UUIDOID:
			/* These depend on no setting. */
			break;

		default:
			level = NewGUCNestLevel();
			for (int i = 0; i < lengthof(settings); i++)
				if (strcmp(GetConfigOption(settings[i].name, false, false),
						   settings[i].value) != 0)
					(void) set_config_option(settings[i].name,
											 settings[i].value,
											 PGC_USERSET, PGC_S_SESSION,
											 GUC_ACTION_SAVE, true, 0, false);
	}

	getTypeOutputInfo(type, &output, &isvarlena);
	result = OidOutputFunctionCall(output, value);
	if (level != -1)
		AtEOXact_GUC(true, level);
	return result;
}

/* A ColumnValue: the row's. */
static char *
row_value(Relation rel, int attnum, void *arg)
{
	Row		   *row = (Row *) arg;
	Form_pg_attribute att = TupleDescAttr(row->desc, attnum - 1);
	Datum		value;
	bool		isnull;

	value = heap_getattr(row->tuple, attnum, row->desc, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_CAS_REQUIRED),
				 errmsg("column \"%s\" of relation \"%s\" is null, so no resource covers the row",
						NameStr(att->attname), RelationGetRelationName(rel)),
				 errtablecol(rel, attnum)));
	return stable_text(att->atttypid, value);
}

/* A ColumnValue: notes that there are columns, and which the role can't read. */
typedef struct Columns
{
	bool		any;
	bool		hidden;
} Columns;

static char *
note_column(Relation rel, int attnum, void *arg)
{
	Columns    *columns = (Columns *) arg;
	Oid			relid = RelationGetRelid(rel);

	columns->any = true;
	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck(relid, attnum, GetUserId(),
							  ACL_SELECT) != ACLCHECK_OK)
		columns->hidden = true;
	return "";
}

/* The table's name, for SQL. */
static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/*
 * Raise PT428 unless the transaction holds the resource exclusively.
 */
static void
require_resource(FunctionCallInfo fcinfo, Relation rel, const char *resource,
				 const char *name)
{
	NameTable	names;
	TransactionId xid;
	Datum		value;
	bool		held;
	Columns		columns = {false, false};
	StringInfoData detail;

	if (held_lxid == MyProc->lxid && strcmp(name, held_name) == 0 &&
		TransactionIdIsCurrentTransactionId(held_xid))
		return;

	value = checked_name(CStringGetTextDatum(name), "resource");
	names_open(&names, NAME_LOCK, false);
	held = names_find(&names, value) &&
		names_held(&names, &xid) == HOLD_EXCLUSIVE;
	names_close(&names);
	if (held)
	{
		strlcpy(held_name, name, sizeof(held_name));
		held_xid = xid;
		held_lxid = MyProc->lxid;
		return;
	}

	/* What may not be read may not be told either. */
	expand_resource(resource, rel, note_column, &columns);
	if (columns.hidden ||
		(columns.any && check_enable_rls(RelationGetRelid(rel), InvalidOid,
										 true) == RLS_ENABLED))
		name = resource;

	detail_begin(&detail);
	detail_text(&detail, "table",
				qualified_name(RelationGetRelid(rel)));
	detail_text(&detail, "resource", name);
	detail_text(&detail, "mode", "exclusive");
	ereport(ERROR,
			(errcode(ERRCODE_CAS_REQUIRED),
			 errmsg("writing to table \"%s\" requires the exclusive lock on \"%s\"",
					RelationGetRelationName(rel), name),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("Call lock_acquire() first, in the same transaction."),
			 errtable(rel)));
}

/*
 * The trigger: AFTER INSERT, UPDATE or DELETE for each row, BEFORE TRUNCATE
 * for each statement; its argument is the resource.
 */
Datum
lock_protect_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Relation	rel;
	const char *resource;
	Row			row;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		trigdata->tg_trigger->tgnargs != 1 ||
		(!TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event) &&
		 !(TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) &&
		   TRIGGER_FIRED_AFTER(trigdata->tg_event))))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("lock_protect_trigger() is for the triggers that lock_protect() makes")));

	rel = trigdata->tg_relation;
	resource = trigdata->tg_trigger->tgargs[0];

	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
	{
		Columns		columns = {false, false};
		char	   *name = expand_resource(resource, rel, note_column,
										   &columns);

		if (columns.any)
			ereport(ERROR,
					(errcode(ERRCODE_CAS_REQUIRED),
					 errmsg("cannot truncate table \"%s\", whose rows belong to resources \"%s\"",
							RelationGetRelationName(rel), resource),
					 errhint("Use DELETE under the locks of the rows."),
					 errtable(rel)));
		require_resource(fcinfo, rel, resource, name);
		return PointerGetDatum(NULL);
	}

	row.desc = RelationGetDescr(rel);
	row.tuple = trigdata->tg_trigtuple;
	require_resource(fcinfo, rel, resource,
					 expand_resource(resource, rel, row_value, &row));
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		row.tuple = trigdata->tg_newtuple;
		require_resource(fcinfo, rel, resource,
						 expand_resource(resource, rel, row_value, &row));
	}
	return PointerGetDatum(NULL);
}

/*
 * Open a table that its owner wants to protect or not, and see that it is one
 * that the triggers can watch.
 */
static Relation
open_protectable(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	Relation	rel;

	/* Before locking what may be somebody else's. */
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(relkind),
					   get_rel_name(relid));

	rel = relation_open(relid, ShareRowExclusiveLock);
	if ((relkind != RELKIND_RELATION &&
		 relkind != RELKIND_PARTITIONED_TABLE) ||
		IsSystemRelation(rel) || RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot protect relation \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("Only ordinary and partitioned tables can be protected.")));
	if (rel->rd_rel->relispartition)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot protect partition \"%s\"",
						RelationGetRelationName(rel)),
				 errhint("Protect the partitioned table.")));
	if (relkind == RELKIND_RELATION &&
		(has_subclass(relid) || has_superclass(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot protect table \"%s\", which is part of an inheritance tree",
						RelationGetRelationName(rel)),
				 errdetail("Only partitions get the parent's triggers; other children, present or future, would be written without its lock.")));
	return rel;
}

/*
 * Execute a command as the caller.
 */
static void
execute(const char *command)
{
	int			result = SPI_execute(command, false, 0);

	if (result != SPI_OK_UTILITY)
		elog(ERROR, "SPI_execute returned %s: %s",
			 SPI_result_code_string(result), command);
}

/*
 * Does the table have the trigger of this name?  Raises 42710 if that is not
 * one of ours.
 */
static bool
has_trigger(Oid relid, const char *name, Oid function)
{
	Relation	rel = relation_open(relid, NoLock);
	int			ntriggers = rel->trigdesc ? rel->trigdesc->numtriggers : 0;
	bool		found = false;

	for (int i = 0; i < ntriggers && !found; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		found = strcmp(trigger->tgname, name) == 0;
		if (found && trigger->tgfoid != function)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("trigger \"%s\" on table \"%s\" is not one of pg_cas",
							name, RelationGetRelationName(rel)),
					 errtable(rel)));
	}
	relation_close(rel, NoLock);
	return found;
}

/*
 * The triggers' function, which lies in the called function's schema.
 */
static Oid
trigger_function(FunctionCallInfo fcinfo)
{
	Oid			schema = get_func_namespace(fcinfo->flinfo->fn_oid);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum("lock_protect_trigger"),
						   PointerGetDatum(buildoidvector(NULL, 0)),
						   ObjectIdGetDatum(schema));
}

/*
 * Drop the table's triggers, those of its partitions included.
 */
static void
drop_triggers(List *tables, Oid function)
{
	ListCell   *cell;

	foreach(cell, tables)
	{
		Oid			relid = lfirst_oid(cell);
		char	   *table = qualified_name(relid);

		/* The row trigger of a partition goes with the parent's. */
		if (cell == list_head(tables) &&
			has_trigger(relid, ROW_TRIGGER, function))
			execute(psprintf("DROP TRIGGER %s ON %s", ROW_TRIGGER, table));
		if (has_trigger(relid, TRUNCATE_TRIGGER, function))
			execute(psprintf("DROP TRIGGER %s ON %s", TRUNCATE_TRIGGER, table));
	}
}

/*
 * lock_protect(rel regclass, resource text)
 *
 * PostgreSQL clones row triggers to partitions, those attached later included,
 * but no triggers on TRUNCATE; the present partitions get one each.
 */
Datum
lock_protect(PG_FUNCTION_ARGS)
{
	Columns		columns = {false, false};
	Relation	rel;
	List	   *tables;
	ListCell   *cell;
	char	   *resource;
	char	   *name;
	char	   *schema;
	char	   *function;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "rel");
	require_argument(fcinfo, 1, "resource");
	resource = text_to_cstring(PG_GETARG_TEXT_PP(1));
	rel = open_protectable(PG_GETARG_OID(0));
	name = expand_resource(resource, rel, note_column, &columns);
	if (!columns.any)
		(void) checked_name(CStringGetTextDatum(name), "resource");

	schema = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));
	function = quote_qualified_identifier(schema, "lock_protect_trigger");
	SPI_connect();
	tables = find_all_inheritors(RelationGetRelid(rel), ShareRowExclusiveLock,
								 NULL);
	drop_triggers(tables, trigger_function(fcinfo));
	foreach(cell, tables)
	{
		Oid			relid = lfirst_oid(cell);
		char	   *table = qualified_name(relid);

		if (cell == list_head(tables))
			execute(psprintf("CREATE TRIGGER %s "
							 "AFTER INSERT OR UPDATE OR DELETE ON %s "
							 "FOR EACH ROW EXECUTE FUNCTION %s(%s)",
							 ROW_TRIGGER, table, function,
							 quote_literal_cstr(resource)));
		execute(psprintf("CREATE TRIGGER %s BEFORE TRUNCATE ON %s "
						 "FOR EACH STATEMENT EXECUTE FUNCTION %s(%s)",
						 TRUNCATE_TRIGGER, table, function,
						 quote_literal_cstr(resource)));
	}
	SPI_finish();
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * lock_unprotect(rel regclass)
 */
Datum
lock_unprotect(PG_FUNCTION_ARGS)
{
	Relation	rel;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "rel");
	rel = open_protectable(PG_GETARG_OID(0));
	SPI_connect();
	drop_triggers(find_all_inheritors(RelationGetRelid(rel),
									  ShareRowExclusiveLock, NULL),
				  trigger_function(fcinfo));
	SPI_finish();
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}
