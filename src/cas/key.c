/*
 * key.c
 *		Primary keys: load a key's definition, convert ids to keys and back,
 *		and compare keys.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "catalog/dependency.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* Load the definition of the key column i of the index. */
static void
load_key_column(CasKeyColumn *column, Relation rel, Relation index, int i)
{
	Form_pg_attribute att;
	Oid			opfamily = index->rd_opfamily[i];
	Oid			opcintype = index->rd_opcintype[i];

	att = TupleDescAttr(RelationGetDescr(rel),
						index->rd_index->indkey.values[i] - 1);
	column->attnum = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->type = att->atttypid;
	column->typmod = att->atttypmod;
	column->collation = index->rd_indcollation[i];

	/* use the index's operators, which need not be the type's default */
	column->equals = get_opfamily_member(opfamily, opcintype, opcintype,
										 BTEqualStrategyNumber);
	column->less = get_opfamily_member(opfamily, opcintype, opcintype,
									   BTLessStrategyNumber);
	if (!OidIsValid(column->equals) || !OidIsValid(column->less))
		elog(ERROR, "missing operator in opfamily %u", opfamily);
	column->equal = get_opcode(column->equals);
	column->hash = lookup_type_cache(column->type,
									 TYPECACHE_HASH_PROC)->hash_proc;
	getTypeInputInfo(column->type, &column->input, &column->input_param);
}

/* Return whether a partition's index belongs to the table's primary key. */
static bool
is_part_of_primary_key(Oid indexid)
{
	List	   *ancestors;
	HeapTuple	tuple;
	bool		primary;

	if (!get_rel_relispartition(indexid))
		return false;
	/* there are none while a detach is pending */
	ancestors = get_partition_ancestors(indexid);
	if (ancestors == NIL)
		return false;

	/* the last ancestor is the topmost table's index */
	tuple = SearchSysCache1(INDEXRELID,
							ObjectIdGetDatum(llast_oid(ancestors)));
	if (!HeapTupleIsValid(tuple))
		return false;
	primary = ((Form_pg_index) GETSTRUCT(tuple))->indisprimary;
	ReleaseSysCache(tuple);
	return primary;
}

/*
 * Return the index of a table's primary key, or InvalidOid if there is none or
 * it is deferrable.
 */
static Oid
find_key_index(Relation rel)
{
	List	   *indexes;
	ListCell   *lc;
	Oid			found = InvalidOid;

	if (!rel->rd_rel->relispartition)
		return RelationGetPrimaryKeyIndex(rel, false);

	/*
	 * The rows of a partition are identified by the key of the partitioned
	 * table.  The partition may have another primary key itself, if a unique
	 * index of it is attached to the table's.
	 */
	indexes = RelationGetIndexList(rel);	/* a copy */
	foreach(lc, indexes)
		if (!OidIsValid(found) && is_part_of_primary_key(lfirst_oid(lc)))
			found = lfirst_oid(lc);
	list_free(indexes);
	return found;
}

/*
 * Return whether an index of a primary key identifies single rows.  One WITHOUT
 * OVERLAPS does not, and does not compare for equality.
 */
bool
cas_identifies_rows(Relation index)
{
	return !index->rd_index->indisexclusion &&
		index->rd_rel->relam == BTREE_AM_OID;
}

/* Load the key's definition into *table; nkeys stays 0 if it is unusable. */
void
cas_load_key(CasTable *table, Relation rel)
{
	Oid			indexid;
	Relation	index;

	for (;;)
	{
		indexid = find_key_index(rel);
		if (!OidIsValid(indexid))
			return;
		index = index_open(indexid, AccessShareLock);
		if (index->rd_index->indisvalid || find_key_index(rel) == indexid)
			break;

		/* REINDEX CONCURRENTLY has just put another index in its place. */
		index_close(index, AccessShareLock);
		CHECK_FOR_INTERRUPTS();
	}

	/* a partitioned index is invalid until all partitions have one */
	if (index->rd_index->indimmediate && index->rd_index->indisvalid &&
		cas_identifies_rows(index))
	{
		table->nkeys = IndexRelationGetNumberOfKeyAttributes(index);
		table->keys = palloc0(sizeof(CasKeyColumn) * table->nkeys);
		for (int i = 0; i < table->nkeys; i++)
			load_key_column(&table->keys[i], rel, index, i);

		/* not so for blanks at the end of a bpchar, which do not count */
		table->keys_equal_image = _bt_allequalimage(index, false);
		for (int i = 0; i < table->nkeys; i++)
			if (index->rd_opcintype[i] == BPCHAROID)
				table->keys_equal_image = false;
		table->key_index = indexid;
		table->key_constraint = get_index_constraint(indexid);
	}
	index_close(index, AccessShareLock);
}

/* Compare two values of a key column by the index's equality operator. */
bool
cas_key_column_equal(const CasKeyColumn *column, Datum a, Datum b)
{
	return DatumGetBool(OidFunctionCall2Coll(column->equal, column->collation,
											 a, b));
}

/* Return a hint that describes the ids of a table. */
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
 * In a PG_CATCH(): raise the error again, as 22023 if a type's input function
 * or a domain has refused the id.
 */
pg_noreturn static void
rethrow_malformed_key(CasTable *table, MemoryContext mcxt)
{
	int			category = ERRCODE_TO_CATEGORY(geterrcode());
	ErrorData  *error;

	/* a domain's CHECK raises an error of the second category */
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

pg_noreturn static void
raise_malformed_key(CasTable *table, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid id: %s", problem),
			 errhint("%s", expected_id(table))));
}

/* Read a key from an object that has exactly the key's columns. */
static void
composite_key(CasTable *table, Jsonb *id, CasKey *key)
{
	Datum	   *values;
	bool	   *nulls;

	if (!JB_ROOT_IS_OBJECT(id))
		raise_malformed_key(table, "it is not a JSON object");

	/* equal in number and all columns present: there are no other fields */
	if (JB_ROOT_COUNT(id) != table->nkeys)
		raise_malformed_key(table, "it has too few or too many fields");
	for (int i = 0; i < table->nkeys; i++)
		if (getKeyJsonValueFromContainer(&id->root, table->keys[i].name,
										 strlen(table->keys[i].name),
										 NULL) == NULL)
			raise_malformed_key(table, "a field is missing");

	/* This converts the fields as a payload's, by the table's row type. */
	values = palloc(sizeof(Datum) * table->desc->natts);
	nulls = palloc(sizeof(bool) * table->desc->natts);
	cas_populate(table, id, values, nulls);
	for (int i = 0; i < table->nkeys; i++)
	{
		int			att = table->keys[i].attnum - 1;

		if (nulls[att])
			raise_malformed_key(table, "a field is null");
		key->values[i] = values[att];
	}
}

/* Read a key from text: JSON if it has several columns. */
static void
key_from_text(CasTable *table, char *id, CasKey *key)
{
	CasKeyColumn *column = &table->keys[0];

	if (table->nkeys > 1)
		composite_key(table,
					  DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														 CStringGetDatum(id))),
					  key);
	else
		key->values[0] = OidInputFunctionCall(column->input, id,
											  column->input_param,
											  column->typmod);
}

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/* Call a cast function, which may also take a typmod and an explicit flag. */
static Datum
call_cast(Oid cast, Datum value, Oid collation)
{
	require_execute(cast);
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
 * Read a key of one column from a value of any type with an implicit cast to
 * the column's type.  Raise 42804 for other types.
 */
static void
key_from_value(CasTable *table, Datum id, Oid type, CasKey *key)
{
	CasKeyColumn *column = &table->keys[0];
	int32		typmod = column->typmod;
	Oid			key_type = getBaseTypeAndTypmod(column->type, &typmod);
	Oid			cast = InvalidOid;
	CoercionPathType path = COERCION_PATH_RELABELTYPE;

	/* Integers may have any width, so that a literal fits a smallint key. */
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
			/* casts through text are not implicit */
		case COERCION_PATH_NONE:
		case COERCION_PATH_ARRAYCOERCE:
		case COERCION_PATH_COERCEVIAIO:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("id is of type %s, but the key is of type %s",
							format_type_be(type),
							format_type_be(column->type)),
					 errhint("Cast the id, or pass its text form.")));
	}

	/*
	 * Apply a typmod by going through the text form, and check a domain's
	 * constraints.
	 */
	if (typmod >= 0)
		key_from_text(table, stable_text(key_type, key->values[0]), key);
	else if (column->type != key_type)
		domain_check(key->values[0], false, column->type, NULL, NULL);
}

/*
 * Read a key from an argument, which may be text, of the key's type, of a type
 * with an implicit cast to it, or json or jsonb for a key of several columns.
 */
void
cas_key_from_argument(CasTable *table, Datum id, Oid type, CasKey *key)
{
	MemoryContext mcxt = CurrentMemoryContext;

	ItemPointerSetInvalid(&key->tid);

	/* mostly both are text, and there is nothing to convert */
	if (type == TEXTOID && table->nkeys == 1 &&
		table->keys[0].type == TEXTOID)
	{
		key->values[0] = id;
		return;
	}

	/* a value of a domain is one of its base type */
	type = getBaseType(type);
	PG_TRY();
	{
		if (type == TEXTOID || type == VARCHAROID)
			key_from_text(table, TextDatumGetCString(id), key);
		else if (table->nkeys == 1)
			key_from_value(table, id, type, key);
		else if (type == JSONOID)
			key_from_text(table, TextDatumGetCString(id), key);
		else if (type == JSONBOID)
			composite_key(table, DatumGetJsonbP(id), key);
		else
			raise_malformed_key(table, "it is not a JSON object");
	}
	PG_CATCH();
	{
		rethrow_malformed_key(table, mcxt);
	}
	PG_END_TRY();
}

/* Read a key from an object of its columns, even if there is only one. */
void
cas_key_from_object(CasTable *table, Jsonb *id, CasKey *key)
{
	MemoryContext mcxt = CurrentMemoryContext;

	ItemPointerSetInvalid(&key->tid);
	PG_TRY();
	{
		composite_key(table, id, key);
	}
	PG_CATCH();
	{
		rethrow_malformed_key(table, mcxt);
	}
	PG_END_TRY();
}

/* Read a key from the text form of an id. */
void
cas_key_from_text(CasTable *table, char *id, CasKey *key)
{
	cas_key_from_argument(table, CStringGetTextDatum(id), TEXTOID, key);
}

/* Return a key of several columns as a JSON object. */
static char *
composite_key_text(CasTable *table, const Datum *values, const bool *nulls)
{
	int			natts = table->desc->natts;
	Datum	   *row = palloc(sizeof(Datum) * natts);
	bool	   *isnull = palloc(sizeof(bool) * natts);
	Bitmapset  *columns = NULL;
	Jsonb	   *object;

	for (int i = 0; i < table->nkeys; i++)
	{
		AttrNumber	attnum = table->keys[i].attnum;

		columns = bms_add_member(columns, attnum);
		row[attnum - 1] = values[i];
		isnull[attnum - 1] = nulls != NULL && nulls[i];
	}

	/* big_numbers does not apply to ids */
	object = render_row(table->desc, columns, row, isnull, false);
	return JsonbToCString(NULL, &object->root, VARSIZE(object));
}

/*
 * Return a key as results and errors show it: the text form of a single
 * column, or a JSON object of several columns.  nulls may be NULL.
 */
char *
cas_key_text(CasTable *table, const Datum *values, const bool *nulls)
{
	if (table->nkeys > 1)
		return composite_key_text(table, values, nulls);
	if (nulls != NULL && nulls[0])
		return NULL;
	return stable_text(table->keys[0].type, values[0]);
}

/* Prepare the comparison of keys, for the rest of a call. */
static void
prepare_comparison(CasCall *call)
{
	CasTable   *table = call->table;
	MemoryContext old = MemoryContextSwitchTo(call->caller);
	SortSupport compare = palloc0(sizeof(SortSupportData) * table->nkeys);

	for (int i = 0; i < table->nkeys; i++)
	{
		compare[i].ssup_cxt = call->caller;
		compare[i].ssup_collation = table->keys[i].collation;
		PrepareSortSupportFromOrderingOp(table->keys[i].less, &compare[i]);
	}
	call->compare = compare;
	MemoryContextSwitchTo(old);
}

/*
 * Compare two keys as the primary key index does.  The rows of a table are
 * locked in this order.
 */
int
cas_key_compare(CasCall *call, const CasKey *a, const CasKey *b)
{
	/*
	 * Sorting 100 keys of type text calls this 800 times.  That takes half of
	 * the instructions of calls of the type's comparison function.
	 */
	if (call->compare == NULL)
		prepare_comparison(call);
	for (int i = 0; i < call->table->nkeys; i++)
	{
		int			cmp = ApplySortComparator(a->values[i], false,
											  b->values[i], false,
											  &call->compare[i]);

		if (cmp != 0)
			return cmp;
	}
	return 0;
}
