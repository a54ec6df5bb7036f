/*
 * pattern.c
 *		Resources that name columns: repo:{name} is a different resource for
 *		each row.
 */
#include "lock.h"

#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Function that returns the text to put in the place of {column}. */
typedef char *(*ColumnValue) (Relation rel, int attnum, void *arg);

/* A row of the table. */
typedef struct Row
{
	HeapTuple	tuple;
	TupleDesc	desc;
} Row;

/* Raise 0A000 for a column whose value triggers do not see. */
static void
refuse_virtual(Relation rel, int attnum, const char *resource)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

	if (att->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of relation \"%s\", named in the resource \"%s\", is a virtual generated column",
						NameStr(att->attname), RelationGetRelationName(rel),
						resource),
				 errhint("Use a stored generated column, or the columns from which it is computed."),
				 errtablecol(rel, attnum)));
}

/*
 * Build the resource's name by replacing each {column}; {{ and }} stand for
 * single braces.  Raises 22023 if a brace is unmatched, 42703 if there is no
 * such column, and 0A000 if it is a virtual generated one.
 */
static char *
expand(const char *resource, Relation rel, ColumnValue value, void *arg)
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
		/* a column's name is taken as it is, without quotes */
		column = pnstrdup(p + 1, end - p - 1);
		attnum = get_attnum(RelationGetRelid(rel), column);
		if (attnum <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\", named in the resource \"%s\", does not exist",
							column, RelationGetRelationName(rel), resource),
					 errtable(rel)));
		refuse_virtual(rel, attnum, resource);
		appendStringInfoString(&name, value(rel, attnum, arg));
		p = end;
	}
	return name.data;
}

/* A ColumnValue that returns the row's value. */
static char *
row_value(Relation rel, int attnum, void *arg)
{
	Row		   *row = (Row *) arg;
	Form_pg_attribute att = TupleDescAttr(row->desc, attnum - 1);
	Datum		value;
	bool		isnull;

	value = heap_getattr(row->tuple, attnum, row->desc, &isnull);
	/* any name for a null could be another row's as well */
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_CAS_REQUIRED),
				 errmsg("column \"%s\" of relation \"%s\" is null, so no resource covers the row",
						NameStr(att->attname), RelationGetRelationName(rel)),
				 errtablecol(rel, attnum)));

	/* two sessions that write the same row must need the same resource */
	return stable_text(att->atttypid, value);
}

/* A ColumnValue that collects the columns. */
static char *
note_column(Relation rel, int attnum, void *arg)
{
	Bitmapset **columns = (Bitmapset **) arg;

	*columns = bms_add_member(*columns, attnum);
	return "";
}

/* The name of the resource for a row of the table. */
char *
pattern_of_row(const char *resource, Relation rel, TupleDesc desc,
			   HeapTuple tuple)
{
	Row			row = {tuple, desc};

	return expand(resource, rel, row_value, &row);
}

/*
 * Check the resource, collect the columns that it names, and return the text
 * without their values.
 */
char *
pattern_without_row(const char *resource, Relation rel, Bitmapset **columns)
{
	*columns = NULL;
	return expand(resource, rel, note_column, columns);
}
