/*
 * sql.c
 *		Text and parameters of the statements that swaps run.
 *
 * Each statement is ordinary SQL on one row, which it finds by the primary
 * key.  Values are parameters.  Names are quoted, and relations, operators and
 * types are qualified, so the statements do not depend on search_path.
 */
#include "plan.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static const char *
quoted_column(CasTable *table, AttrNumber attnum)
{
	return quote_identifier(NameStr(TupleDescAttr(table->desc,
												  attnum - 1)->attname));
}

/* Append the list of columns that a statement returns. */
static void
append_returned(StringInfo sql, CasTable *table, const CasPlan *plan)
{
	const char *separator = "";
	int			a = -1;

	while ((a = bms_next_member(plan->returns, a)) >= 0)
	{
		appendStringInfo(sql, "%st.%s", separator, quoted_column(table, a));
		separator = ", ";
	}
}

/*
 * The order of parameters is: the key, the version, the columns written in the
 * order of attribute numbers, and the new key.  Each kind of statement has
 * some of these.
 */
static int
version_parameter(CasTable *table)
{
	return table->nkeys + 1;
}

static int
first_column_parameter(CasTable *table, CasStatementKind kind)
{
	switch (kind)
	{
		case STATEMENT_INSERT_NEW_KEY:
			return 1;
		case STATEMENT_INSERT:
			return table->nkeys + 1;
		default:
			return table->nkeys + 2;
	}
}

static bool
kind_has_version(CasStatementKind kind)
{
	return kind == STATEMENT_UPDATE || kind == STATEMENT_DIFFERS ||
		kind == STATEMENT_DELETE || kind == STATEMENT_RENAME;
}

/* Set the types of a statement's parameters, and return their number. */
int
sql_parameter_types(CasTable *table, const CasPlan *plan, Oid *types)
{
	int			n = 0;
	int			a = -1;

	if (plan->kind != STATEMENT_INSERT_NEW_KEY)
		for (int i = 0; i < table->nkeys; i++)
			types[n++] = table->keys[i].type;
	if (kind_has_version(plan->kind))
		types[n++] = INT8OID;

	/* the document is jsonb, even if its column's type is a domain */
	while ((a = bms_next_member(plan->columns, a)) >= 0)
		types[n++] = a == table->payload ? JSONBOID :
			TupleDescAttr(table->desc, a - 1)->atttypid;
	if (plan->kind == STATEMENT_RENAME)
		for (int i = 0; i < table->nkeys; i++)
			types[n++] = table->keys[i].type;
	return n;
}

static void
append_operator(StringInfo sql, Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *schema;

	/* an operator's name needs no quotes, but its schema may */
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	schema = get_namespace_name(form->oprnamespace);
	if (schema == NULL)
		elog(ERROR, "cache lookup failed for schema of operator %u", operator);
	appendStringInfo(sql, "OPERATOR(%s.%s)", quote_identifier(schema),
					 NameStr(form->oprname));
	ReleaseSysCache(tuple);
}

/* Append a WHERE clause for the key, whose values are the first parameters. */
void
sql_append_where_key(StringInfo sql, CasTable *table)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		appendStringInfo(sql, "%st.%s ", i > 0 ? " AND " : " WHERE ",
						 quote_identifier(table->keys[i].name));
		append_operator(sql, table->keys[i].equals);
		appendStringInfo(sql, " $%d", i + 1);
	}
}

static void
append_where_version(StringInfo sql, CasTable *table)
{
	sql_append_where_key(sql, table);
	appendStringInfo(sql, " AND t.%s OPERATOR(pg_catalog.=) $%d",
					 quoted_column(table, table->version),
					 version_parameter(table));
}

/*
 * Append a condition: the column's stored image differs from the parameter's.
 */
static void
append_differs(StringInfo sql, CasTable *table, AttrNumber attnum, int param)
{
	/*
	 * We cannot use a function of our own to compare values of any type: it
	 * would be polymorphic, and a function that matches better could shadow
	 * it.  So use PostgreSQL's operator on records.  Without the casts, the
	 * parser would compare the rows column by column.  plan.c replaces this
	 * condition of an UPDATE by a quicker one.
	 */
	appendStringInfo(sql, "ROW(t.%s%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW($%d)::pg_catalog.record",
					 quoted_column(table, attnum),
					 attnum == table->payload ? "::pg_catalog.jsonb" : "",
					 param);
}

static void
append_insert(StringInfo sql, CasTable *table, const CasPlan *plan,
			  const char *relation)
{
	StringInfoData names;
	StringInfoData values;
	const char *overriding = "";
	int			param = first_column_parameter(table, plan->kind);
	int			a = -1;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; plan->kind == STATEMENT_INSERT && i < table->nkeys; i++)
	{
		AttrNumber	attnum = table->keys[i].attnum;

		appendStringInfo(&names, ", %s", quoted_column(table, attnum));
		appendStringInfo(&values, ", $%d", i + 1);
		/* the caller names the key, even if it is an identity column */
		if (TupleDescAttr(table->desc, attnum - 1)->attidentity ==
			ATTRIBUTE_IDENTITY_ALWAYS)
			overriding = "OVERRIDING SYSTEM VALUE ";
	}
	while ((a = bms_next_member(plan->columns, a)) >= 0)
	{
		appendStringInfo(&names, ", %s", quoted_column(table, a));
		appendStringInfo(&values, ", $%d", param++);
	}

	/* both lists begin with ", " */
	if (names.len == 0)
		appendStringInfo(sql, "INSERT INTO %s AS t DEFAULT VALUES", relation);
	else
		appendStringInfo(sql, "INSERT INTO %s AS t (%s) %sVALUES (%s)",
						 relation, names.data + 2, overriding,
						 values.data + 2);

	/* conflicts with other unique constraints raise an error */
	if (plan->kind == STATEMENT_INSERT)
		appendStringInfo(sql, " ON CONFLICT ON CONSTRAINT %s DO NOTHING",
						 quote_identifier(plan->arbiter));
}

/* Append a WHERE clause for key and version, and that a column differs. */
static void
append_where_differs(StringInfo sql, CasTable *table, const CasPlan *plan)
{
	int			param = first_column_parameter(table, plan->kind);
	const char *separator = " AND (";
	int			a = -1;

	append_where_version(sql, table);
	while ((a = bms_next_member(plan->columns, a)) >= 0)
	{
		appendStringInfoString(sql, separator);
		append_differs(sql, table, a, param++);
		separator = " OR ";
	}
	appendStringInfoString(sql, ")");
}

static void
append_set(StringInfo sql, CasTable *table, const CasPlan *plan)
{
	int			param = first_column_parameter(table, plan->kind);
	const char *separator = " SET ";
	int			a = -1;

	while ((a = bms_next_member(plan->columns, a)) >= 0)
	{
		appendStringInfo(sql, "%s%s = $%d", separator, quoted_column(table, a),
						 param++);
		separator = ", ";
	}
}

static void
append_rename(StringInfo sql, CasTable *table, const char *relation)
{
	appendStringInfo(sql, "UPDATE %s AS t SET ", relation);
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(sql, "%s%s = $%d", i > 0 ? ", " : "",
						 quote_identifier(table->keys[i].name),
						 version_parameter(table) + 1 + i);
	append_where_version(sql, table);
}

/* Return the text of the statement that a plan describes. */
char *
sql_build(CasCall *call, const CasPlan *plan)
{
	CasTable   *table = call->table;
	char	   *name = cas_relation_name(call->rel);
	char	   *relation = name;
	StringInfoData row;
	StringInfoData sql;

	/*
	 * Rows of inheritance children are not guarded, so leave them out.  For a
	 * partitioned table, ONLY would leave out all rows.
	 */
	if (call->rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		relation = psprintf("ONLY %s", name);

	initStringInfo(&row);
	append_returned(&row, table, plan);

	initStringInfo(&sql);
	switch (plan->kind)
	{
		case STATEMENT_READ:
		case STATEMENT_LOCK_SHARE:
		case STATEMENT_LOCK_NO_KEY_UPDATE:
		case STATEMENT_LOCK_UPDATE:
			appendStringInfo(&sql, "SELECT %s FROM %s AS t", row.data,
							 relation);
			sql_append_where_key(&sql, table);
			break;
		case STATEMENT_INSERT:
		case STATEMENT_INSERT_NEW_KEY:
			/* INSERT does not allow ONLY */
			append_insert(&sql, table, plan, name);
			break;
		case STATEMENT_UPDATE:
			appendStringInfo(&sql, "UPDATE %s AS t", relation);
			append_set(&sql, table, plan);

			/* the comparison needs SELECT on the columns */
			if (plan->compares)
				append_where_differs(&sql, table, plan);
			else
				append_where_version(&sql, table);
			break;
		case STATEMENT_DIFFERS:
			appendStringInfo(&sql, "SELECT %s FROM %s AS t", row.data,
							 relation);
			append_where_differs(&sql, table, plan);
			break;
		case STATEMENT_DELETE:
			appendStringInfo(&sql, "DELETE FROM %s AS t", relation);
			append_where_version(&sql, table);
			break;
		case STATEMENT_RENAME:
			append_rename(&sql, table, relation);
			break;
	}
	switch (plan->kind)
	{
		case STATEMENT_READ:
		case STATEMENT_DIFFERS:
			break;
		case STATEMENT_LOCK_SHARE:
			appendStringInfoString(&sql, " FOR SHARE");
			break;
		case STATEMENT_LOCK_NO_KEY_UPDATE:
			appendStringInfoString(&sql, " FOR NO KEY UPDATE");
			break;
		case STATEMENT_LOCK_UPDATE:
			appendStringInfoString(&sql, " FOR UPDATE");
			break;
		case STATEMENT_INSERT:
		case STATEMENT_INSERT_NEW_KEY:
		case STATEMENT_UPDATE:
		case STATEMENT_DELETE:
		case STATEMENT_RENAME:
			appendStringInfo(&sql, " RETURNING %s", row.data);
			break;
	}
	return sql.data;
}

/* Set the parameters' values from a statement's arguments. */
void
sql_bind(CasTable *table, const CasStatement *statement, Datum *values,
		 char *nulls)
{
	const CasWrite *write = statement->write;
	int			n = 0;
	int			a = -1;

	if (statement->kind != STATEMENT_INSERT_NEW_KEY)
		for (int i = 0; i < table->nkeys; i++)
			values[n++] = statement->key->values[i];
	if (kind_has_version(statement->kind))
		values[n++] = Int64GetDatum(statement->version);
	while (write != NULL && (a = bms_next_member(write->columns, a)) >= 0)
	{
		values[n] = write->values[a - 1];
		if (write->nulls[a - 1])
			nulls[n] = 'n';
		n++;
	}
	if (statement->kind == STATEMENT_RENAME)
		for (int i = 0; i < table->nkeys; i++)
			values[n++] = statement->new_key->values[i];
}
