/*
 * payload.c
 *		What a payload writes: one document column, or the columns that its
 *		fields name.
 */
#include "cas.h"

#include "miscadmin.h"
#include "utils/acl.h"

/* Whether a column is neither key nor version: part of a column payload. */
bool
is_payload_column(CasTable *table, AttrNumber attnum)
{
	if (TupleDescAttr(table->desc, attnum - 1)->attisdropped ||
		attnum == table->version)
		return false;
	for (int i = 0; i < table->nkeys; i++)
		if (table->keys[i].attnum == attnum)
			return false;
	return true;
}

static AttrNumber
payload_field(CasCall *call, const char *name)
{
	CasTable   *table = call->table;

	for (AttrNumber a = 1; a <= table->desc->natts; a++)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, a - 1);

		if (att->attisdropped || strcmp(NameStr(att->attname), name) != 0)
			continue;
		if (a == table->version)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the payload must not have the version, \"%s\"",
							name),
					 errhint("The expected version is an argument of its own."),
					 errtablecol(call->rel, a)));
		if (att->attgenerated != '\0')
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("column \"%s\" in the payload is a generated column",
							name),
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

/* A key that is sent back with the payload must be the row's own. */
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
		if (key == NULL || write->nulls[att] ||
			!DatumGetBool(FunctionCall2Coll(&column->equal, column->collation,
											write->values[att],
											key->values[i])))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" in the payload is not the id's",
							column->name),
					 errhint("cas_rename() changes a key."),
					 errtablecol(call->rel, column->attnum)));
	}
}

/*
 * The columns that a payload writes, and their values.  key is NULL for a row
 * whose key its default will make.
 */
void
payload_columns(CasCall *call, CasKey *key, Jsonb *payload, CasWrite *write)
{
	CasTable   *table = call->table;
	Bitmapset  *key_columns = NULL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	int			a = -1;

	write->columns = NULL;
	write->values = palloc(sizeof(Datum) * table->desc->natts);
	write->nulls = palloc(sizeof(bool) * table->desc->natts);

	if (table->payload != 0)
	{
		write->columns = bms_make_singleton(table->payload);
		write->values[table->payload - 1] = JsonbPGetDatum(payload);
		write->nulls[table->payload - 1] = false;
		write->comparable = call->payload_readable;
		return;
	}

	if (!JB_ROOT_IS_OBJECT(payload))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload is not a JSON object"),
				 errhint("The payload of table \"%s\" is an object of its columns.",
						 RelationGetRelationName(call->rel))));
	it = JsonbIteratorInit(&payload->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		AttrNumber	attnum;

		if (token != WJB_KEY)
			continue;
		attnum = payload_field(call, pnstrdup(v.val.string.val,
											  v.val.string.len));
		if (is_payload_column(table, attnum))
			write->columns = bms_add_member(write->columns, attnum);
		else
			key_columns = bms_add_member(key_columns, attnum);
	}
	cas_populate(table, payload, write->values, write->nulls);
	check_key_fields(call, key, write, key_columns);

	write->comparable = true;
	while (!call->payload_readable &&
		   (a = bms_next_member(write->columns, a)) >= 0)
		if (pg_attribute_aclcheck(table->relid, a, GetUserId(),
								  ACL_SELECT) != ACLCHECK_OK)
			write->comparable = false;
}
