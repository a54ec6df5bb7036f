/*
 * protect.c
 *		Tables that can be written only under a resource's lock.
 *
 * lock_protect() creates a trigger on the table.  The resource is the
 * trigger's argument, so dump, restore and rename preserve it.  The resource
 * can name columns: with repo:{name} each row has a resource of its own, and
 * an UPDATE that moves a row from one to another needs both locks.
 */
#include "lock.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/entry.h"
#include "catalog/catalog.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(lock_protect);
PG_FUNCTION_INFO_V1(lock_unprotect);
PG_FUNCTION_INFO_V1(lock_protect_trigger);

/* Names of the triggers; they sort before zzz_cas_guard. */
#define ROW_TRIGGER			"lock_protect"
#define TRUNCATE_TRIGGER	"lock_protect_truncate"

/*
 * The name that was last found to be held, and the (sub)transaction that took
 * the lock.  A lock is released before the transaction ends only by a rollback
 * of that subtransaction, so as long as its id is one of ours, the name is
 * held.
 */
static char held_name[MAX_RESOURCE_NAME + 1];
static TransactionId held_xid = InvalidTransactionId;
static LocalTransactionId held_lxid = InvalidLocalTransactionId;

/* Raise PT428 unless the transaction holds the resource exclusively. */
static void
require_resource(Relation rel, const char *resource, const char *name)
{
	NameTable	names;
	TransactionId xid;
	Datum		value;
	bool		held;
	Bitmapset  *columns;
	StringInfoData detail;

	/* Usually a statement writes many rows that belong to one resource. */
	if (held_lxid == my_lxid() && strcmp(name, held_name) == 0 &&
		TransactionIdIsCurrentTransactionId(held_xid))
		return;

	value = names_checked(CStringGetTextDatum(name), "resource");
	names_open(&names, NAME_LOCK, false);
	held = names_find(&names, value) &&
		holders_mine(&names, &xid) == HOLD_EXCLUSIVE;
	names_close(&names);
	if (held)
	{
		strlcpy(held_name, name, sizeof(held_name));
		held_xid = xid;
		held_lxid = my_lxid();
		return;
	}

	/* Do not reveal values of columns or rows that the role cannot read. */
	pattern_without_row(resource, rel, &columns);
	if (!bms_is_empty(columns) && !columns_readable(rel, columns))
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
 * lock_protect_trigger(resource) RETURNS trigger
 *
 * AFTER INSERT, UPDATE or DELETE for each row, and BEFORE TRUNCATE.
 *
 * It is an AFTER trigger because the row must be judged as it is written,
 * after all BEFORE triggers and with its generated columns.  A BEFORE trigger
 * sees only what the triggers with smaller names have made of the row.
 * Nothing would be gained by checking earlier: if a lock is missing, the
 * statement fails in any case.
 */
Datum
lock_protect_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Relation	rel;
	const char *resource;
	TupleDesc	desc;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		trigdata->tg_trigger->tgnargs != 1 ||
		(!TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event) &&
		 !(TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) &&
		   TRIGGER_FIRED_AFTER(trigdata->tg_event))))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("lock_protect_trigger() must be called by a trigger that lock_protect() created")));

	rel = trigdata->tg_relation;
	resource = trigdata->tg_trigger->tgargs[0];

	if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
	{
		Bitmapset  *columns;
		char	   *name = pattern_without_row(resource, rel, &columns);

		/* there is no row to take the resource from */
		if (!bms_is_empty(columns))
			ereport(ERROR,
					(errcode(ERRCODE_CAS_REQUIRED),
					 errmsg("cannot truncate table \"%s\", whose rows belong to resources \"%s\"",
							RelationGetRelationName(rel), resource),
					 errhint("Use DELETE under the locks of the rows."),
					 errtable(rel)));
		require_resource(rel, resource, name);
		return PointerGetDatum(NULL);
	}

	/*
	 * An output function may cause the relation's descriptor to be rebuilt, so
	 * keep this one.
	 */
	desc = RelationGetDescr(rel);
	IncrTupleDescRefCount(desc);
	require_resource(rel, resource,
					 pattern_of_row(resource, rel, desc,
									trigdata->tg_trigtuple));
	/* an UPDATE may move the row to another resource */
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		require_resource(rel, resource,
						 pattern_of_row(resource, rel, desc,
										trigdata->tg_newtuple));
	DecrTupleDescRefCount(desc);
	return PointerGetDatum(NULL);
}

/* Raise 42809 if the relation belongs to pg_cas. */
static void
refuse_internal(Oid relid)
{
	if (get_rel_namespace(relid) == internal_schema())
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot protect relation \"%s\", which belongs to pg_cas",
						qualified_name(relid))));
}

/* Raise 42809. */
pg_noreturn static void
raise_partition(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot protect partition \"%s\"",
					RelationGetRelationName(rel)),
			 errhint("Protect the partitioned table.")));
}

/* Raise 42809 unless our triggers can watch the table. */
static void
require_protectable(Relation rel)
{
	char		relkind = rel->rd_rel->relkind;
	Oid			relid = RelationGetRelid(rel);

	if ((relkind != RELKIND_RELATION &&
		 relkind != RELKIND_PARTITIONED_TABLE) ||
		IsSystemRelation(rel) || RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot protect relation \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("Only ordinary and partitioned tables can be protected.")));
	if (rel->rd_rel->relispartition)
		raise_partition(rel);
	if (relkind == RELKIND_RELATION &&
		(has_subclass(relid) || has_superclass(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot protect table \"%s\", which is part of an inheritance tree",
						RelationGetRelationName(rel)),
				 errdetail("Only partitions get the parent's triggers; other children, present or future, would be written without its lock.")));
}

/*
 * Open a table for its owner to protect it, and lock it and its partitions in
 * the given mode.
 *
 * The mode must be strong enough for all that follows.  Upgrading it later
 * could deadlock with a transaction that has read the table and then writes to
 * it.
 */
static Relation
open_protectable(Oid relid, LOCKMODE lockmode, List **tables)
{
	Relation	rel = open_as_owner(relid, lockmode);

	refuse_internal(relid);
	require_protectable(rel);
	*tables = find_all_inheritors(relid, lockmode, NULL);
	return rel;
}

/* Execute a command as the current role. */
static void
execute(const char *command)
{
	int			result = SPI_execute(command, false, 0);

	if (result != SPI_OK_UTILITY)
		elog(ERROR, "SPI_execute returned %s: %s",
			 SPI_result_code_string(result), command);
}

/*
 * Does the table have a trigger of this name?  *enabled is set to its firing
 * mode.  Raises 42710 if the trigger is not one of ours.
 */
static bool
find_trigger(Oid relid, const char *name, Oid function, char *enabled)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			found = InvalidOid;

	ScanKeyInit(&keys[0], Anum_pg_trigger_tgrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_trigger_tgname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(name));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL,
							  2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		found = ((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid;
		*enabled = ((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled;
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);

	if (OidIsValid(found) && found != function)
	{
		char	   *table = get_rel_name(relid);

		if (table == NULL)
			raise_no_relation(relid);
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("trigger \"%s\" on table \"%s\" is not one of pg_cas",
						name, table)));
	}
	return OidIsValid(found);
}

/*
 * Return the OID of the triggers' function and its qualified name, for SQL.
 * The function is in the extension's schema.
 */
static Oid
trigger_function(char **name)
{
	Oid			schema = extension_schema();
	char	   *schema_name = get_namespace_name(schema);
	Oid			function;

	function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
							   CStringGetDatum("lock_protect_trigger"),
							   PointerGetDatum(buildoidvector(NULL, 0)),
							   ObjectIdGetDatum(schema));
	if (!OidIsValid(function) || schema_name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function lock_protect_trigger() of extension pg_cas is missing")));
	*name = quote_qualified_identifier(schema_name, "lock_protect_trigger");
	return function;
}

/*
 * Create or replace one of the triggers.  CREATE TRIGGER and ALTER TABLE
 * ENABLE ALWAYS TRIGGER need no more than SHARE ROW EXCLUSIVE.
 */
static void
put_trigger(Oid relid, const char *name, const char *events,
			const char *resource)
{
	char	   *table = qualified_name(relid);
	char	   *function_name;
	Oid			function = trigger_function(&function_name);
	char		enabled = TRIGGER_FIRES_ON_ORIGIN;

	(void) find_trigger(relid, name, function, &enabled);
	execute(psprintf("CREATE OR REPLACE TRIGGER %s %s ON %s "
					 "FOR EACH %s EXECUTE FUNCTION %s(%s)",
					 name, events, table,
					 strcmp(name, ROW_TRIGGER) == 0 ? "ROW" : "STATEMENT",
					 function_name, quote_literal_cstr(resource)));
	/* Replacing the trigger has reset its firing mode. */
	if (enabled == TRIGGER_FIRES_ALWAYS)
		execute(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s",
						 table, name));
}

/* lock_protect(rel regclass, resource text) RETURNS void */
Datum
lock_protect(PG_FUNCTION_ARGS)
{
	Bitmapset  *columns;
	Relation	rel;
	List	   *tables;
	ListCell   *cell;
	char	   *resource;
	char	   *name;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "rel");
	require_argument(fcinfo, 1, "resource");
	require_writable(fcinfo);
	resource = text_to_cstring(PG_GETARG_TEXT_PP(1));
	rel = open_protectable(PG_GETARG_OID(0), ShareRowExclusiveLock, &tables);
	name = pattern_without_row(resource, rel, &columns);
	/* the resource is one name, so check its length now */
	if (bms_is_empty(columns))
		(void) names_checked(CStringGetTextDatum(name), "resource");
	relation_close(rel, NoLock);

	SPI_connect();
	foreach(cell, tables)
	{
		Oid			relid = lfirst_oid(cell);

		/*
		 * PostgreSQL clones row triggers to all partitions, also those
		 * attached later, but not triggers on TRUNCATE.  So create one of
		 * these on each of the present partitions.
		 */
		if (cell == list_head(tables))
			put_trigger(relid, ROW_TRIGGER, "AFTER INSERT OR UPDATE OR DELETE",
						resource);
		put_trigger(relid, TRUNCATE_TRIGGER, "BEFORE TRUNCATE", resource);
	}
	SPI_finish();
	PG_RETURN_VOID();
}

/* Is one of our triggers on any of these tables? */
static bool
any_trigger(List *tables, Oid function)
{
	ListCell   *cell;
	char		enabled;

	foreach(cell, tables)
	{
		if (find_trigger(lfirst_oid(cell), ROW_TRIGGER, function, &enabled) ||
			find_trigger(lfirst_oid(cell), TRUNCATE_TRIGGER, function,
						 &enabled))
			return true;
	}
	return false;
}

/*
 * Raise 42809 if a partitioned table has given the table its row trigger.  Any
 * other table can be unprotected, even if it could not be protected any more,
 * because it was made a partition or a parent later.
 */
static void
require_own_trigger(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgisclone &&
			strcmp(triggers->triggers[i].tgname, ROW_TRIGGER) == 0)
			raise_partition(rel);
}

/* lock_unprotect(rel regclass) RETURNS void */
Datum
lock_unprotect(PG_FUNCTION_ARGS)
{
	Oid			relid;
	Relation	rel;
	List	   *tables;
	ListCell   *cell;
	char	   *function_name;
	Oid			function;
	char		enabled;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "rel");
	require_writable(fcinfo);
	relid = PG_GETARG_OID(0);
	require_relation_owner(relid);
	refuse_internal(relid);
	function = trigger_function(&function_name);

	/*
	 * Dropping a trigger takes ACCESS EXCLUSIVE, so do nothing if there is
	 * none.
	 */
	if (!any_trigger(find_all_inheritors(relid, NoLock, NULL), function))
		PG_RETURN_VOID();
	rel = open_as_owner(relid, AccessExclusiveLock);
	require_own_trigger(rel);
	tables = find_all_inheritors(relid, AccessExclusiveLock, NULL);
	relation_close(rel, NoLock);

	SPI_connect();
	foreach(cell, tables)
	{
		char	   *table = qualified_name(lfirst_oid(cell));

		/* The row triggers of partitions are dropped with the parent's. */
		if (cell == list_head(tables) &&
			find_trigger(relid, ROW_TRIGGER, function, &enabled))
			execute(psprintf("DROP TRIGGER %s ON %s", ROW_TRIGGER, table));
		if (find_trigger(lfirst_oid(cell), TRUNCATE_TRIGGER, function,
						 &enabled))
			execute(psprintf("DROP TRIGGER %s ON %s", TRUNCATE_TRIGGER,
							 table));
	}
	SPI_finish();
	PG_RETURN_VOID();
}
