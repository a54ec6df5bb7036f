/*
 * found.c
 *		Copy the values that a statement returns of its row.
 */
#include "cas.h"

#include "utils/datum.h"

/*
 * Return the columns that a statement has to return.
 */
const Bitmapset *
found_columns(CasCall *call, const CasStatement *statement)
{
	CasTable   *table = call->table;
	int			wants = statement->wants;

	/* The sets without a look are kept with the table. */
	if (table->answers[wants] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(table->mcxt);
		Bitmapset  *columns = bms_make_singleton(table->version);

		if (wants & CAS_WANTS_PAYLOAD)
			columns = bms_add_members(columns, table->payload_columns);
		for (int i = 0; (wants & CAS_WANTS_ID) && i < table->nkeys; i++)
			columns = bms_add_member(columns, table->keys[i].attnum);
		table->answers[wants] = columns;
		MemoryContextSwitchTo(old);
	}
	if (statement->look == NULL)
		return table->answers[wants];
	return bms_union(table->answers[wants], statement->look->columns);
}

/*
 * Copy the values that the statement returns into *row, in the memory context
 * for results, and into its look.  values and nulls are the row's; only the
 * columns of found_columns() need be set.
 */
void
found_take(CasCall *call, const CasStatement *statement,
		   const Datum *values, const bool *nulls, CasRow *row)
{
	CasTable   *table = call->table;
	MemoryContext old = MemoryContextSwitchTo(call->results);
	CasLook    *look = statement->look;
	int			v = table->version - 1;
	int			a = -1;

	/* What is not wanted may not be readable, so leave it NULL. */
	row->id = NULL;
	row->payload = NULL;
	if (statement->wants & CAS_WANTS_ID)
	{
		Datum		key[INDEX_MAX_KEYS];

		for (int i = 0; i < table->nkeys; i++)
		{
			int			k = table->keys[i].attnum - 1;

			if (nulls[k])
				elog(ERROR, "null in the key of table \"%s\"",
					 RelationGetRelationName(call->rel));
			key[i] = values[k];
		}
		row->id = cas_key_text(table, key, NULL);
	}
	row->version_isnull = nulls[v];
	row->version = nulls[v] ? 0 : cas_version_value(table, values[v]);
	if (statement->wants & CAS_WANTS_PAYLOAD)
		row->payload = payload_of_row(table, values, nulls);
	MemoryContextSwitchTo(old);

	/* a look belongs to the current context, not to that of the call */
	while (look != NULL && (a = bms_next_member(look->columns, a)) >= 0)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, a - 1);

		look->nulls[a - 1] = nulls[a - 1];
		if (!nulls[a - 1])
			look->values[a - 1] = datumCopy(values[a - 1], att->attbyval,
											att->attlen);
	}
}

/* Raise 40001 for a concurrent change that PostgreSQL does not detect. */
void
found_raise_outdated(CasCall *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update"),
			 errtable(call->rel)));
}
