/*
 * table.c
 *		What a guarded table is: its settings, its version, its payload and
 *		its primary key, and how a key is read from an argument.
 *
 * The settings live where pg_dump carries them: they are the arguments of the
 * guard trigger, each "name=value".  There is no registry beside the catalogs
 * that could fall out of step with them.
 *
 * Everything derived from the catalogs is cached per backend.  A relcache
 * invalidation marks an entry; the next look-up, which its caller makes with
 * a lock on the table, builds it anew.  An outer call of the same transaction
 * may still be reading the old one (a trigger can do DDL), so that is not
 * freed at once but handed to the transaction's memory context.
 */
#include "cas.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

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

/*
 * The value of a "name=value" argument if it is the one named, else NULL.
 */
static char *
setting_value(char *argument, const char *name)
{
	size_t		len = strlen(name);

	if (strncmp(argument, name, len) == 0 && argument[len] == '=')
		return argument + len + 1;
	return NULL;
}

/* A list of names, in double quotes or plain; false if it is malformed. */
static bool
setting_list(const char *value, char separator, CasNames *list)
{
	List	   *strings;

	if (!SplitGUCList(pstrdup(value), separator, &strings))
		return false;
	list->length = list_length(strings);
	list->names = palloc(sizeof(char *) * Max(list->length, 1));
	for (int i = 0; i < list->length; i++)
		list->names[i] = list_nth(strings, i);
	return true;
}

static bool
parse_setting(char *argument, CasSettings *settings)
{
	char	   *value;

	if ((value = setting_value(argument, "version_column")) != NULL)
		settings->version_column = pstrdup(value);
	else if ((value = setting_value(argument, "payload_column")) != NULL)
		settings->payload_column = pstrdup(value);
	else if (strcmp(argument, "writers=bump") == 0)
		settings->writers = CAS_WRITERS_BUMP;
	else if (strcmp(argument, "writers=echo") == 0)
		settings->writers = CAS_WRITERS_ECHO;
	else if (strcmp(argument, "unversioned=allow") == 0)
		settings->reject_unversioned = false;
	else if (strcmp(argument, "unversioned=reject") == 0)
		settings->reject_unversioned = true;
	else if ((value = setting_value(argument, "sequence")) != NULL)
		return setting_list(value, '.', &settings->sequence) &&
			settings->sequence.length == 2;
	else if ((value = setting_value(argument, "ignore_columns")) != NULL)
		return setting_list(value, ',', &settings->ignore_columns);
	else if ((value = setting_value(argument, "version_path")) != NULL)
		return setting_list(value, ',', &settings->version_path);
	else if (strcmp(argument, "enforce=error") == 0)
		settings->warn_only = false;
	else if (strcmp(argument, "enforce=warn") == 0)
		settings->warn_only = true;
	else
		return false;
	return true;
}

/*
 * Read a guard trigger's arguments.  cas_enable() writes them; for a guard
 * that was made by hand, the answer may be what is wrong with them, else it
 * is NULL.
 */
char *
cas_parse_settings(Trigger *trigger, CasSettings *settings)
{
	memset(settings, 0, sizeof(CasSettings));
	for (int i = 0; i < trigger->tgnargs; i++)
		if (!parse_setting(trigger->tgargs[i], settings))
			return psprintf("the guard has an invalid argument: \"%s\"",
							trigger->tgargs[i]);
	if (settings->version_column == NULL)
		return "the guard names no version column";
	if (settings->version_path.length > 0 && settings->payload_column == NULL)
		return "the guard has a version path, but no payload column";
	return NULL;
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
static Oid
root_of(Relation rel)
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
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(root_of(rel)));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", root_of(rel));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * The sequence for a table's versions, or InvalidOid.  The settings name it,
 * but who makes a guard by hand could name any, and the guard asks for no
 * right on it; so it must be one that a column of the table owns.  If none of
 * those has the name, because it was renamed, it is the version column's only
 * one.
 */
Oid
cas_sequence(Relation rel, const CasSettings *settings)
{
	Oid			root = root_of(rel);
	AttrNumber	version = get_attnum(root, settings->version_column);
	Oid			only = InvalidOid;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, getOwnedSequences(root))
	{
		Oid			sequence = lfirst_oid(lc);
		Oid			table;
		int32		column;

		if (!sequenceIsOwned(sequence, DEPENDENCY_AUTO, &table, &column))
			continue;
		if (strcmp(get_rel_name(sequence),
				   settings->sequence.names[1]) == 0)
			return sequence;
		if (column == version)
		{
			only = sequence;
			n++;
		}
	}
	return n == 1 ? only : InvalidOid;
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

static void
load_key_column(CasKeyColumn *column, Relation rel, Relation index, int i)
{
	Form_pg_attribute att;
	Oid			opfamily = index->rd_opfamily[i];
	Oid			opcintype = index->rd_opcintype[i];
	Oid			equals;
	HeapTuple	tuple;
	Form_pg_operator op;
	Oid			hash;
	Oid			input;
	Oid			output;
	bool		is_varlena;

	att = TupleDescAttr(RelationGetDescr(rel),
						index->rd_index->indkey.values[i] - 1);
	column->attnum = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->type = att->atttypid;
	column->typmod = att->atttypmod;
	column->collation = index->rd_indcollation[i];

	equals = get_opfamily_member(opfamily, opcintype, opcintype,
								 BTEqualStrategyNumber);
	if (!OidIsValid(equals))
		elog(ERROR, "missing equality operator in opfamily %u", opfamily);
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(equals));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", equals);
	op = (Form_pg_operator) GETSTRUCT(tuple);
	column->equals = equals;
	fmgr_info(op->oprcode, &column->equal);
	ReleaseSysCache(tuple);
	fmgr_info(index_getprocid(index, i + 1, BTORDER_PROC), &column->compare);

	hash = lookup_type_cache(att->atttypid, TYPECACHE_HASH_PROC)->hash_proc;
	if (OidIsValid(hash))
		fmgr_info(hash, &column->hash);

	getTypeInputInfo(att->atttypid, &input, &column->input_param);
	fmgr_info(input, &column->input);
	getTypeOutputInfo(att->atttypid, &output, &is_varlena);
	fmgr_info(output, &column->output);
}

/*
 * The primary key, if there is one that decides at once: a deferrable one
 * does not.
 */
static void
load_key(CasTable *table, Relation rel)
{
	Oid			indexid = RelationGetPrimaryKeyIndex(rel);
	Relation	index;

	if (!OidIsValid(indexid))
		return;
	index = index_open(indexid, AccessShareLock);
	table->nkeys = IndexRelationGetNumberOfKeyAttributes(index);
	table->keys = palloc0(sizeof(CasKeyColumn) * table->nkeys);
	for (int i = 0; i < table->nkeys; i++)
		load_key_column(&table->keys[i], rel, index, i);
	table->keys_equal_image = _bt_allequalimage(index, false);
	index_close(index, AccessShareLock);
	table->key_index = indexid;
	table->key_constraint = get_index_constraint(indexid);
}

/*
 * Prepare the conversion of JSON objects to rows.  jsonb_populate_record()
 * takes the row type from the call's expression and keeps what it learns of
 * it in the FmgrInfo.  It is given a row of NULLs to start from, since it
 * checks domains on what it makes up itself, even on columns nobody named.
 */
static void
load_populate(CasTable *table)
{
	Datum	   *values = palloc0(sizeof(Datum) * table->desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * table->desc->natts);
	Node	   *call;

	call = (Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, table->rowtype,
								 list_make2(makeNullConst(table->rowtype, -1,
														  InvalidOid),
											makeNullConst(JSONBOID, -1,
														  InvalidOid)),
								 InvalidOid, InvalidOid,
								 COERCE_EXPLICIT_CALL);
	fmgr_info(F_JSONB_POPULATE_RECORD, &table->populate);
	fmgr_info_set_expr(call, &table->populate);

	memset(nulls, true, sizeof(bool) * table->desc->natts);
	table->empty_row = heap_copy_tuple_as_datum(heap_form_tuple(table->desc,
																values,
																nulls),
												table->desc);
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
	table->root = root_of(rel);
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

	load_key(table, rel);
	load_populate(table);
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

/* ----------
 * Keys
 * ----------
 */

/* What the id of a table looks like, for hints. */
static char *
expected_id(CasTable *table)
{
	StringInfoData text;

	if (table->nkeys == 1)
		return psprintf("The id is a value of type %s.",
						format_type_with_typemod(table->keys[0].type,
												 table->keys[0].typmod));
	initStringInfo(&text);
	appendStringInfoString(&text, "The id is a JSON object with the fields");
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(&text, "%s \"%s\" (%s)", i > 0 ? "," : "",
						 table->keys[i].name,
						 format_type_with_typemod(table->keys[i].type,
												  table->keys[i].typmod));
	appendStringInfoChar(&text, '.');
	return text.data;
}

/*
 * In a PG_CATCH(): raise the error again.  Whatever a key's type objects to
 * is, to the caller, a malformed argument.
 */
static void
rethrow_malformed_key(CasTable *table, MemoryContext mcxt)
{
	int			category = ERRCODE_TO_CATEGORY(geterrcode());
	ErrorData  *error;

	/* a domain's constraints are of the second */
	if (category != ERRCODE_DATA_EXCEPTION &&
		category != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		PG_RE_THROW();
	MemoryContextSwitchTo(mcxt);
	error = CopyErrorData();
	FlushErrorState();
	error->sqlerrcode = ERRCODE_INVALID_PARAMETER_VALUE;
	error->hint = expected_id(table);
	ReThrowError(error);
}

/*
 * A conversion function to call.  The cached one keeps what it knows of the
 * type, and for a domain what it is just checking.  While it runs, a CHECK may
 * come back to us; then it must not be disturbed, and we take a copy.
 */
static FmgrInfo *
conversion(FmgrInfo *cached, bool busy, FmgrInfo *copy)
{
	if (!busy)
		return cached;
	fmgr_info_copy(copy, cached, CurrentMemoryContext);
	return copy;
}

static void
malformed_composite_key(CasTable *table, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid id: %s", problem),
			 errhint("%s", expected_id(table))));
}

/* A key of several columns is an object with just those columns. */
static void
composite_key(CasTable *table, Jsonb *id, CasKey *key)
{
	Datum	   *values;
	bool	   *nulls;

	if (!JB_ROOT_IS_OBJECT(id))
		malformed_composite_key(table, "it is not a JSON object");
	if (JB_ROOT_COUNT(id) != table->nkeys)
		malformed_composite_key(table, "it has too few or too many fields");
	for (int i = 0; i < table->nkeys; i++)
		if (getKeyJsonValueFromContainer(&id->root, table->keys[i].name,
										 strlen(table->keys[i].name),
										 NULL) == NULL)
			malformed_composite_key(table, "a field is missing");

	values = palloc(sizeof(Datum) * table->desc->natts);
	nulls = palloc(sizeof(bool) * table->desc->natts);
	cas_populate(table, id, values, nulls);
	for (int i = 0; i < table->nkeys; i++)
	{
		int			att = table->keys[i].attnum - 1;

		if (nulls[att])
			malformed_composite_key(table, "a field is null");
		key->values[i] = values[att];
	}
}

static void
key_from_text(CasTable *table, char *id, bool busy, CasKey *key)
{
	CasKeyColumn *column = &table->keys[0];
	FmgrInfo	copy;

	if (table->nkeys > 1)
		composite_key(table,
					  DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														 CStringGetDatum(id))),
					  key);
	else
		key->values[0] = InputFunctionCall(conversion(&column->input, busy,
													  &copy),
										   id, column->input_param,
										   column->typmod);
}

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/* A cast function may also take a typmod, and whether it is explicit. */
static Datum
call_cast(Oid cast, Datum value, Oid collation)
{
	switch (get_func_nargs(cast))
	{
		case 1:
			return OidFunctionCall1Coll(cast, collation, value);
		case 2:
			return OidFunctionCall2Coll(cast, collation, value,
										Int32GetDatum(-1));
		default:
			return OidFunctionCall3Coll(cast, collation, value,
										Int32GetDatum(-1),
										BoolGetDatum(false));
	}
}

/*
 * A key of one column from a value of another type, which must have an
 * implicit cast to the column's; integers may be of any width.
 */
static void
key_from_value(CasTable *table, Datum id, Oid type, bool busy, CasKey *key)
{
	CasKeyColumn *column = &table->keys[0];
	Oid			key_type = getBaseType(column->type);
	Oid			cast = InvalidOid;
	CoercionPathType path = COERCION_PATH_RELABELTYPE;

	if (type != key_type)
		path = find_coercion_pathway(key_type, type,
									 is_integer(type) &&
									 is_integer(key_type) ?
									 COERCION_ASSIGNMENT : COERCION_IMPLICIT,
									 &cast);
	switch (path)
	{
		case COERCION_PATH_RELABELTYPE:
			key->values[0] = id;
			break;
		case COERCION_PATH_FUNC:
			key->values[0] = call_cast(cast, id, column->collation);
			break;
		case COERCION_PATH_NONE:
		case COERCION_PATH_ARRAYCOERCE:
		case COERCION_PATH_COERCEVIAIO:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("id is of type %s, but the key is of type %s",
							format_type_be(type),
							format_type_be(column->type)),
					 errhint("Cast the id, or give its text form.")));
	}

	/* a domain over the type, or a length, has its say as for text */
	if (column->type != type || column->typmod >= 0)
		key_from_text(table,
					  OutputFunctionCall(&column->output, key->values[0]),
					  busy, key);
}

/*
 * A key from an argument of any type: text, the key's own type, one with an
 * implicit cast to it, or jsonb for a key of several columns.
 */
void
cas_key_from_argument(CasTable *table, Datum id, Oid type, CasKey *key)
{
	MemoryContext mcxt = CurrentMemoryContext;
	bool		busy = table->reading_key;

	ItemPointerSetInvalid(&key->tid);
	type = getBaseType(type);
	PG_TRY();
	{
		table->reading_key = true;
		if (type == TEXTOID && table->nkeys == 1 &&
			table->keys[0].type == TEXTOID)
			key->values[0] = id;
		else if (type == TEXTOID || type == VARCHAROID)
			key_from_text(table, TextDatumGetCString(id), busy, key);
		else if (table->nkeys == 1)
			key_from_value(table, id, type, busy, key);
		else if (type == JSONBOID)
			composite_key(table, DatumGetJsonbP(id), key);
		else
			malformed_composite_key(table, "it is not a JSON object");
		table->reading_key = busy;
	}
	PG_CATCH();
	{
		table->reading_key = busy;
		rethrow_malformed_key(table, mcxt);
	}
	PG_END_TRY();
}

/* A key from the text form of an id. */
void
cas_key_from_text(CasTable *table, char *id, CasKey *key)
{
	cas_key_from_argument(table, CStringGetTextDatum(id), TEXTOID, key);
}

/* A composite key as the JSON object of its columns. */
static char *
composite_key_text(CasTable *table, const Datum *values, const bool *nulls)
{
	Datum	   *row = palloc0(sizeof(Datum) * table->nkeys);
	bool	   *isnull = palloc0(sizeof(bool) * table->nkeys);
	TupleDesc	desc = CreateTemplateTupleDesc(table->nkeys);
	HeapTuple	tuple;
	char	   *json;
	Datum		object;

	for (int i = 0; i < table->nkeys; i++)
	{
		TupleDescInitEntry(desc, i + 1, table->keys[i].name,
						   table->keys[i].type, table->keys[i].typmod, 0);
		row[i] = values[i];
		isnull[i] = nulls != NULL && nulls[i];
	}
	desc = BlessTupleDesc(desc);
	tuple = heap_form_tuple(desc, row, isnull);
	json = TextDatumGetCString(DirectFunctionCall1(row_to_json,
												   heap_copy_tuple_as_datum(tuple, desc)));
	object = DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	return DatumGetCString(DirectFunctionCall1(jsonb_out, object));
}

/*
 * A key as results and errors show it: the text form of its one column, or a
 * JSON object of its several.  nulls may be NULL.
 */
char *
cas_key_text(CasTable *table, const Datum *values, const bool *nulls)
{
	if (table->nkeys > 1)
		return composite_key_text(table, values, nulls);
	if (nulls != NULL && nulls[0])
		return NULL;
	return OutputFunctionCall(&table->keys[0].output, values[0]);
}

/*
 * Order two keys as the primary key's index does: the order in which rows of
 * one table are locked.
 */
int
cas_key_compare(CasTable *table, const CasKey *a, const CasKey *b)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];
		int			cmp;

		cmp = DatumGetInt32(FunctionCall2Coll(&column->compare,
											  column->collation,
											  a->values[i], b->values[i]));
		if (cmp != 0)
			return cmp;
	}
	return 0;
}

/*
 * Turn a JSON object into column values: those it names have its values, the
 * others are NULL.  Names that are no columns are passed over.  The arrays
 * have room for all columns of the table.
 */
void
cas_populate(CasTable *table, Jsonb *object, Datum *values, bool *nulls)
{
	bool		busy = table->populating;
	FmgrInfo	copy;
	volatile Datum row = 0;
	HeapTupleHeader header;
	HeapTupleData tuple;

	PG_TRY();
	{
		table->populating = true;
		row = FunctionCall2(conversion(&table->populate, busy, &copy),
							table->empty_row, JsonbPGetDatum(object));
	}
	PG_FINALLY();
	{
		table->populating = busy;
	}
	PG_END_TRY();
	header = DatumGetHeapTupleHeader(row);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, table->desc, values, nulls);
}
