/*
 * payload.c
 *		Form the payload of a row, and find out what a payload that is sent
 *		writes: the document column, or the columns that its fields name.
 *
 * A client may send back a payload that it has read, and that must write
 * nothing.  Documents are compared by their image.  So are columns of most
 * types, whose JSON is converted back to the same image; these are called
 * exact.  A column of another type is unchanged if its JSON is; to find that
 * out, the row must be read under its lock.  The same applies to a column that
 * cannot be written, such as a generated one.
 */
#include "cas.h"

#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

/*
 * Return whether the JSON of a value of this type is converted back to the
 * same image, regardless of settings.  Other types may have several images of
 * one value or an input function that depends on settings; and a domain may
 * have a CHECK that stored values violate.  See also is_exact().
 */
static bool
type_is_exact(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case NAMEOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case OIDOID:
		case XIDOID:
		case XID8OID:
		case CIDOID:
		case TIDOID:
		case UUIDOID:
		case JSONBOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case MACADDR8OID:
		case BITOID:
		case VARBITOID:
		case LSNOID:
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case BYTEAOID:
			return true;
		default:
			return get_typtype(type) == TYPTYPE_ENUM;
	}
}

static bool
is_key_column(CasTable *table, AttrNumber attnum)
{
	for (int i = 0; i < table->nkeys; i++)
		if (table->keys[i].attnum == attnum)
			return true;
	return false;
}

/* Return whether a column cannot be written; it can still be sent back. */
static bool
is_fixed(CasTable *table, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(table->desc, attnum - 1);

	return att->attgenerated != '\0' ||
		att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
}

/*
 * Set the columns of a table's payload: the document column or, without one,
 * all columns but the key and the version.
 */
void
payload_load(CasTable *table)
{
	for (AttrNumber a = 1; a <= table->desc->natts; a++)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, a - 1);

		if (att->attisdropped)
			continue;

		/* with a document, that is the only column */
		if (table->payload != 0 ? a == table->payload :
			a != table->version && !is_key_column(table, a))
			table->payload_columns = bms_add_member(table->payload_columns, a);
		if (type_is_exact(att->atttypid) && !is_fixed(table, a))
			table->exact = bms_add_member(table->exact, a);
	}
}

static Jsonb *
render_columns(CasTable *table, const Bitmapset *columns, const Datum *values,
			   const bool *nulls)
{
	return render_row(table->desc, columns, values, nulls,
					  table->settings.big_numbers == CAS_BIG_NUMBERS_STRING);
}

/*
 * Return a row's payload, or NULL if the document is NULL.  Of the arrays,
 * only the payload's columns need be set.
 */
Jsonb *
payload_of_row(CasTable *table, const Datum *values, const bool *nulls)
{
	int			p = table->payload - 1;

	if (p < 0)
		return render_columns(table, table->payload_columns, values, nulls);

	/* copy it, since the row will be released */
	return nulls[p] ? NULL : DatumGetJsonbPCopy(values[p]);
}

/* ----------
 * Reading a payload
 * ----------
 */

pg_noreturn static void
raise_fixed_column(CasCall *call, AttrNumber attnum)
{
	Form_pg_attribute att = TupleDescAttr(call->table->desc, attnum - 1);

	ereport(ERROR,
			(errcode(ERRCODE_GENERATED_ALWAYS),
			 att->attgenerated != '\0' ?
			 errmsg("column \"%s\" in the payload is a generated column",
					NameStr(att->attname)) :
			 errmsg("column \"%s\" in the payload is an identity column defined as GENERATED ALWAYS",
					NameStr(att->attname)),
			 errhint("Leave it out, or send the value that the row has."),
			 errtablecol(call->rel, attnum)));
}

/* Return the column that a field names, or raise 42703. */
static AttrNumber
payload_field(CasCall *call, const char *name)
{
	CasTable   *table = call->table;

	for (AttrNumber a = 1; a <= table->desc->natts; a++)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, a - 1);

		if (att->attisdropped || strcmp(NameStr(att->attname), name) != 0)
			continue;

		/* it could be mistaken for the expected version */
		if (a == table->version)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the payload must not contain the version, \"%s\"",
							name),
					 errhint("Pass the expected version as an argument."),
					 errtablecol(call->rel, a)));
		return a;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" in the payload does not exist in table \"%s\"",
					name, RelationGetRelationName(call->rel)),
			 errtable(call->rel)));
	return InvalidAttrNumber;	/* not reached */
}

/* Raise 22023 if key columns in the payload differ from the row's key. */
static void
check_key_fields(CasCall *call, CasKey *key, const CasWrite *write,
				 Bitmapset *columns)
{
	CasTable   *table = call->table;

	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];
		int			att = column->attnum - 1;

		if (!bms_is_member(column->attnum, columns))
			continue;

		/* without a key, the payload must not name its columns, either */
		if (key == NULL || write->nulls[att] ||
			!cas_key_column_equal(column, write->values[att], key->values[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" in the payload does not match the id",
							column->name),
					 errhint("Use cas_rename() to change a key."),
					 errtablecol(call->rel, column->attnum)));
	}
}

static bool
may_read(CasCall *call, AttrNumber attnum)
{
	return call->payload_readable ||
		pg_attribute_aclcheck(call->table->relid, attnum, GetUserId(),
							  ACL_SELECT) == ACLCHECK_OK;
}

static bool
is_zero(Numeric number)
{
	Datum		zero = NumericGetDatum(int64_to_numeric(0));

	return DatumGetBool(DirectFunctionCall2(numeric_eq,
											NumericGetDatum(number), zero));
}

/*
 * Return whether a field's value has only one image, so that it can be
 * compared without its JSON.
 */
static bool
is_exact(CasTable *table, AttrNumber attnum, const JsonbValue *value)
{
	if (!bms_is_member(attnum, table->exact))
		return false;
	switch (TupleDescAttr(table->desc, attnum - 1)->atttypid)
	{
		case JSONBOID:
			/* null may be SQL's NULL or a JSON null */
			return value->type != jbvNull;
		case FLOAT4OID:
		case FLOAT8OID:
			/* zero may be negative, and there are several NaNs */
			if (value->type == jbvNull)
				return true;
			return value->type == jbvNumeric &&
				!is_zero(value->val.numeric);
		default:
			return true;
	}
}

static const char *
column_name(CasTable *table, AttrNumber attnum)
{
	return NameStr(TupleDescAttr(table->desc, attnum - 1)->attname);
}

static JsonbValue *
field_of_column(CasTable *table, Jsonb *object, AttrNumber attnum)
{
	const char *name = column_name(table, attnum);

	return getKeyJsonValueFromContainer(&object->root, name, strlen(name),
										NULL);
}

/* Convert the fields of these columns to the values of the write. */
static void
populate_columns(CasTable *table, Jsonb *payload, const Bitmapset *columns,
				 CasWrite *write)
{
	JsonbInState state = {0};
	Datum	   *values = palloc(sizeof(Datum) * table->desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * table->desc->natts);
	int			a = -1;

	if (bms_is_empty(columns))
		return;

	/* Other fields must not be converted: they could raise errors. */
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((a = bms_next_member(columns, a)) >= 0)
	{
		JsonbValue	name;

		name.type = jbvString;
		name.val.string.val = unconstify(char *, column_name(table, a));
		name.val.string.len = strlen(name.val.string.val);
		pushJsonbValue(&state, WJB_KEY, &name);
		pushJsonbValue(&state, WJB_VALUE, field_of_column(table, payload, a));
	}

	/* this sets all columns of the arrays, so copy only the wanted ones */
	cas_populate(table, document_end(&state), values, nulls);
	a = -1;
	while ((a = bms_next_member(columns, a)) >= 0)
	{
		write->values[a - 1] = values[a - 1];
		write->nulls[a - 1] = nulls[a - 1];
	}
}

/*
 * Sort the columns that a payload names: key columns, columns to write, and
 * columns that must be compared with the row first.
 */
static void
sort_fields(CasCall *call, Jsonb *payload, bool new_row, CasWrite *write,
			Bitmapset **key_columns)
{
	CasTable   *table = call->table;
	JsonbIterator *it = JsonbIteratorInit(&payload->root);
	JsonbIteratorToken token;
	JsonbValue	v;
	AttrNumber	attnum = InvalidAttrNumber;

	/* the iterator skips nested values, so each field is one WJB_VALUE */
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			attnum = payload_field(call, pnstrdup(v.val.string.val,
												  v.val.string.len));
		if (token != WJB_VALUE)
			continue;
		if (is_key_column(table, attnum))
			*key_columns = bms_add_member(*key_columns, attnum);

		/* needs an existing value to compare with, which may be read */
		else if (is_fixed(table, attnum) &&
				 (new_row || !may_read(call, attnum)))
			raise_fixed_column(call, attnum);
		else if (new_row || is_exact(table, attnum, &v) ||
				 !may_read(call, attnum))
			write->columns = bms_add_member(write->columns, attnum);
		else
			write->unsettled = bms_add_member(write->unsettled, attnum);
	}
}

/*
 * Find out what a payload writes to a row or, with new_row, to a new row.  key
 * is NULL for a new row whose key comes from its default.
 */
void
payload_read(CasCall *call, CasKey *key, Jsonb *payload, bool new_row,
			 CasWrite *write)
{
	CasTable   *table = call->table;
	Bitmapset  *key_columns = NULL;
	int			a = -1;

	write->columns = NULL;
	write->unsettled = NULL;
	write->payload = payload;
	write->values = palloc(sizeof(Datum) * table->desc->natts);
	write->nulls = palloc(sizeof(bool) * table->desc->natts);

	/* a document is written as it was sent */
	if (table->payload != 0)
	{
		write->columns = bms_make_singleton(table->payload);
		write->values[table->payload - 1] = JsonbPGetDatum(payload);
		write->nulls[table->payload - 1] = false;
		write->comparable = call->payload_readable;

		/*
		 * SQL compares the whole document, with the version inside.  So if the
		 * write uses SPI, compare the documents here first, without it.
		 */
		if (!new_row && write->comparable &&
			table->settings.version_path.length > 0 &&
			!call_writes_directly(call, write->columns))
		{
			write->unsettled = write->columns;
			write->columns = NULL;
		}
		return;
	}

	/* otherwise the fields name columns */
	if (!JB_ROOT_IS_OBJECT(payload))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload is not a JSON object"),
				 errhint("The payload of table \"%s\" is an object of its columns.",
						 RelationGetRelationName(call->rel))));
	sort_fields(call, payload, new_row, write, &key_columns);

	/* Mostly nothing is unsettled, and the payload is converted as it is. */
	if (bms_is_empty(write->unsettled))
		cas_populate(table, payload, write->values, write->nulls);
	else
		populate_columns(table, payload,
						 bms_union(write->columns, key_columns), write);
	check_key_fields(call, key, write, key_columns);

	/*
	 * To compare a column in WHERE, the caller needs SELECT on it.  Without
	 * that, the UPDATE is not conditional.  The column's value is no secret
	 * even so, since the guard does not advance the version if it is the same.
	 */
	write->comparable = true;
	while (write->comparable &&
		   (a = bms_next_member(write->columns, a)) >= 0)
		write->comparable = may_read(call, a);
}

/* ----------
 * Comparing with the row
 * ----------
 */

/* Return the columns that must be read before the write, or NULL. */
CasLook *
payload_look(CasCall *call, const CasWrite *write)
{
	int			natts = call->table->desc->natts;
	CasLook    *look;

	if (bms_is_empty(write->unsettled))
		return NULL;

	/* found_take() will set the values */
	look = palloc(sizeof(CasLook));
	look->columns = write->unsettled;
	look->values = palloc(sizeof(Datum) * natts);
	look->nulls = palloc(sizeof(bool) * natts);
	return look;
}

/*
 * Decide which of the unsettled columns are written, after the locked row was
 * read: those whose JSON and whose image differ.
 */
void
payload_settle(CasCall *call, CasWrite *write, const CasLook *look)
{
	CasTable   *table = call->table;
	Bitmapset  *differ = NULL;
	Jsonb	   *now;
	int			a = -1;

	if (look == NULL)
		return;
	write->unsettled = NULL;
	if (table->payload != 0)
	{
		int			p = table->payload - 1;

		/* the version inside the document does not count */
		if (look->nulls[p] ||
			!document_same(DatumGetJsonbP(look->values[p]), write->payload,
						   &table->settings.version_path))
			write->columns = bms_make_singleton(table->payload);
		return;
	}

	/* Convert only fields whose JSON differs; others may not be valid. */
	now = render_columns(table, look->columns, look->values, look->nulls);
	while ((a = bms_next_member(look->columns, a)) >= 0)
		if (!document_same_values(field_of_column(table, write->payload, a),
								  field_of_column(table, now, a)))
			differ = bms_add_member(differ, a);

	populate_columns(table, write->payload, differ, write);
	a = -1;
	while ((a = bms_next_member(differ, a)) >= 0)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, a - 1);

		/* different JSON can have the same image */
		if (datum_same(look->values[a - 1], look->nulls[a - 1],
					   write->values[a - 1], write->nulls[a - 1],
					   att->attbyval, att->attlen))
			continue;

		/* such a column may only be sent back unchanged */
		if (is_fixed(table, a))
			raise_fixed_column(call, a);
		write->columns = bms_add_member(write->columns, a);
	}
}
