/*
 * table.c
 *		What a guarded table is, cached per backend.
 *
 * Everything derived from the catalogs is cached.  A relcache invalidation
 * marks an entry; the next look-up, which its caller makes with a lock on the
 * table, builds it anew.  An outer call of the same transaction may still be
 * reading the old one (a trigger can do DDL), so that is not freed at once
 * but handed to the transaction's memory context.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

typedef struct CasTableEntry
{
	Oid			relid;			/* hash key, must be first */
	bool		valid;
	CasTable   *table;			/* NULL: not guarded */
} CasTableEntry;

static HTAB *tables = NULL;

/* Relcache callback: relid InvalidOid means all. */
static void
forget_table(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	CasTableEntry *entry;

	if (OidIsValid(relid))
	{
		entry = hash_search(tables, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&scan, tables);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->valid = false;
}

/* Have an entry's table freed at the end of the transaction. */
static void
retire_table(CasTableEntry *entry)
{
	if (entry->table != NULL)
		MemoryContextSetParent(entry->table->mcxt, TopTransactionContext);
	entry->table = NULL;
}

/* Forget what is no longer valid: tables that are dropped do not come back. */
static void
sweep_tables(void)
{
	HASH_SEQ_STATUS scan;
	CasTableEntry *entry;

	hash_seq_init(&scan, tables);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (!entry->valid)
		{
			retire_table(entry);
			hash_search(tables, &entry->relid, HASH_REMOVE, NULL);
		}
}

/* A BEFORE trigger that runs our function, or NULL. */
static Trigger *
find_trigger(Relation rel, bool for_row, PGFunction function)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		FmgrInfo	fmgr;

		if ((TRIGGER_FOR_ROW(trigger->tgtype) != 0) != for_row ||
			!TRIGGER_FOR_BEFORE(trigger->tgtype))
			continue;
		fmgr_info(trigger->tgfoid, &fmgr);
		if (fmgr.fn_addr == function)
			return trigger;
	}
	return NULL;
}

/*
 * The guard among a relation's triggers, or NULL.  It is known by its code,
 * not by its name.
 */
Trigger *
cas_guard_trigger(Relation rel)
{
	return find_trigger(rel, true, cas_guard);
}

/* Likewise its witness. */
Trigger *
cas_witness_trigger(Relation rel)
{
	return find_trigger(rel, true, cas_witness);
}

/* And the trigger that keeps the sequence of versions from TRUNCATE. */
Trigger *
cas_truncate_trigger(Relation rel)
{
	return find_trigger(rel, false, cas_truncate);
}

/* The table's name as regclass input reads it, qualified. */
char *
cas_relation_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/* For ereport(): a DETAIL that has but the table. */
int
cas_errdetail_table(Relation rel)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "table", cas_relation_name(rel));
	return errdetail_internal("%s", detail_end(&detail));
}

/* The table, or the one that it is a partition of, at the top. */
Oid
cas_root(Relation rel)
{
	return rel->rd_rel->relispartition ?
		llast_oid(get_partition_ancestors(RelationGetRelid(rel))) :
		RelationGetRelid(rel);
}

/* The table's owner; a partition's is that of the table it is part of. */
Oid
cas_owner(Relation rel)
{
	HeapTuple	tuple;
	Oid			owner;

	if (!rel->rd_rel->relispartition)
		return rel->rd_rel->relowner;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(cas_root(rel)));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", cas_root(rel));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * The number of a column that a setting names.  A column that was renamed or
 * dropped since is an error for every writer: a guard that cannot do its work
 * must not let anything pass.
 */
static AttrNumber
setting_column(Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att->attnum;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("the guard of table \"%s\" needs column \"%s\", which does not exist",
					RelationGetRelationName(rel), name),
			 errhint("If the column was renamed, call cas_enable() with its new name."),
			 errtable(rel)));
	return InvalidAttrNumber;	/* not reached */
}

/* Fill a CasTable, in the current memory context, which is its own. */
static void
load_table(CasTable *table, Relation rel, Trigger *guard)
{
	CasSettings *settings = &table->settings;
	char	   *problem = cas_parse_settings(guard, settings);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" cannot be written: %s",
						RelationGetRelationName(rel), problem),
				 errhint("Use cas_enable() to make the guard."),
				 errtable(rel)));
	table->guard_enabled = guard->tgenabled;

	table->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	table->rowtype = rel->rd_rel->reltype;
	table->root = cas_root(rel);
	table->desc->tdtypeid = table->rowtype;

	table->version = setting_column(rel, settings->version_column);
	table->version_type = TupleDescAttr(table->desc,
										table->version - 1)->atttypid;
	if (table->version_type != INT2OID && table->version_type != INT4OID &&
		table->version_type != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("version column \"%s\" of table \"%s\" is of type %s",
						settings->version_column,
						RelationGetRelationName(rel),
						format_type_be(table->version_type)),
				 errhint("A version is a smallint, an integer or a bigint."),
				 errtable(rel)));
	if (settings->payload_column != NULL)
	{
		table->payload = setting_column(rel, settings->payload_column);
		if (getBaseType(TupleDescAttr(table->desc,
									  table->payload - 1)->atttypid) != JSONBOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("payload column \"%s\" of table \"%s\" is not of type jsonb",
							settings->payload_column,
							RelationGetRelationName(rel)),
					 errtable(rel)));
	}
	for (int i = 0; i < settings->ignore_columns.length; i++)
		table->ignored = bms_add_member(table->ignored,
										setting_column(rel,
													   settings->ignore_columns.names[i]));

	cas_load_key(table, rel);
	payload_load(table);
	table->plain = direct_serves_table(rel, table);
}

/*
 * The guarded table that rel is, or NULL if it has no guard.  The caller
 * holds a lock on rel that keeps off DDL.
 */
CasTable *
cas_table_of(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	CasTableEntry *entry;
	Trigger    *guard;

	if (tables == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(CasTableEntry);
		tables = hash_create("pg_cas tables", 16, &ctl,
							 HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
	}

	entry = hash_search(tables, &relid, HASH_FIND, NULL);
	if (entry != NULL && entry->valid)
		return entry->table;
	if (entry == NULL)
	{
		sweep_tables();
		entry = hash_search(tables, &relid, HASH_ENTER, NULL);
		entry->valid = false;
		entry->table = NULL;
	}
	retire_table(entry);

	/*
	 * An invalidation that arrives while we read the catalogs must not be
	 * lost, so the entry counts as valid from here on until one does.
	 */
	entry->valid = true;
	guard = cas_guard_trigger(rel);
	if (guard != NULL)
	{
		MemoryContext mcxt;
		MemoryContext old;
		CasTable   *table;

		mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_cas table",
									 ALLOCSET_SMALL_SIZES);
		old = MemoryContextSwitchTo(mcxt);
		table = palloc0(sizeof(CasTable));
		table->relid = relid;
		table->mcxt = mcxt;
		PG_TRY();
		{
			load_table(table, rel, guard);
		}
		PG_CATCH();
		{
			entry->valid = false;
			PG_RE_THROW();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(old);
		MemoryContextSetParent(mcxt, CacheMemoryContext);
		entry->table = table;
	}
	return entry->table;
}

/* Whether the guard fires for what this session writes now. */
bool
cas_guard_fires(CasTable *table)
{
	switch (table->guard_enabled)
	{
		case TRIGGER_FIRES_ALWAYS:
			return true;
		case TRIGGER_FIRES_ON_ORIGIN:
			return SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA;
		case TRIGGER_FIRES_ON_REPLICA:
			return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
		default:
			return false;
	}
}
