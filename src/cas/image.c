/*
 * image.c
 *		Rows by their stored images: whether a write changes one, and what it
 *		is with its next version.
 *
 * The guard asks this of the rows that the executor hands it, the direct path
 * of those that it writes itself.  Both must come to the same answers, so they
 * have them from here.
 */
#include "cas.h"

static bool
column_differs(CasTable *table, AttrNumber attnum, Datum old, bool old_isnull,
			   Datum new, bool new_isnull)
{
	Form_pg_attribute att = TupleDescAttr(table->desc, attnum - 1);

	if (datum_same(old, old_isnull, new, new_isnull, att->attbyval,
				   att->attlen))
		return false;

	/* what a document has at the version's path does not count */
	return attnum != table->payload ||
		table->settings.version_path.length == 0 ||
		old_isnull || new_isnull ||
		!document_same(DatumGetJsonbP(old), DatumGetJsonbP(new),
					   &table->settings.version_path);
}

/* The column after a: of those given or, if NULL, of all that count; or -1. */
static int
next_column(CasTable *table, const Bitmapset *columns, int a)
{
	if (columns != NULL)
		return bms_next_member(columns, a);
	for (a = Max(a, 0) + 1; a <= table->desc->natts; a++)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, a - 1);

		if (!att->attisdropped && att->attgenerated == '\0' &&
			a != table->version)
			return a;
	}
	return -1;
}

/*
 * Whether a row with these values differs from the old one, by stored image,
 * in any of the columns; or, where columns is NULL, in any but the version and
 * what is generated.  Columns that are ignored can be left out, too.
 */
bool
image_differs(CasTable *table, TupleTableSlot *old, const Datum *values,
			  const bool *nulls, const Bitmapset *columns, bool but_ignored)
{
	int			a = -1;

	slot_getallattrs(old);
	while ((a = next_column(table, columns, a)) >= 0)
	{
		if (but_ignored && bms_is_member(a, table->ignored))
			continue;
		if (column_differs(table, a, old->tts_values[a - 1],
						   old->tts_isnull[a - 1], values[a - 1],
						   nulls[a - 1]))
			return true;
	}
	return false;
}

/*
 * Whether the version is written into a document as a JSON string: where one
 * stands in it, or, if it has no version, stood in the row's old one.
 */
static bool
version_is_string(CasTable *table, Jsonb *document, TupleTableSlot *old)
{
	JsonbValue *value = cas_value_at_path(document,
										  &table->settings.version_path);
	bool		isnull = true;
	Datum		former = 0;

	if (value == NULL && old != NULL)
		former = slot_getattr(old, table->payload, &isnull);
	if (!isnull)
		value = cas_value_at_path(DatumGetJsonbP(former),
								  &table->settings.version_path);
	return value != NULL && value->type == jbvString;
}

/*
 * Put the version into a row's values: into its column and, if there is a
 * path, into the payload document.  False if it is there already.  old is the
 * row as it was, or NULL.
 */
bool
image_set_version(CasTable *table, TupleTableSlot *old, Datum *values,
				  bool *nulls, int64 version)
{
	const CasNames *path = &table->settings.version_path;
	int			v = table->version - 1;
	int			p = table->payload - 1;
	bool		changed;

	changed = nulls[v] || cas_version_value(table, values[v]) != version;
	values[v] = cas_version_datum(table, version);
	nulls[v] = false;

	if (path->length > 0 && !nulls[p])
	{
		Jsonb	   *document = DatumGetJsonbP(values[p]);
		Jsonb	   *stamped = document_stamp(document, path, version,
											 version_is_string(table,
															   document,
															   old));

		if (VARSIZE(stamped) != VARSIZE(document) ||
			memcmp(stamped, document, VARSIZE(stamped)) != 0)
		{
			values[p] = JsonbPGetDatum(stamped);
			changed = true;
		}
	}
	return changed;
}
