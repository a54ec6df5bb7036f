/*
 * image.c
 *		Compare the stored images of two rows, and set the version in a row.
 *
 * The guard and the direct path must decide in the same way, so both use these
 * functions.
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

	/* ignore the version inside the document */
	return attnum != table->payload ||
		table->settings.version_path.length == 0 ||
		old_isnull || new_isnull ||
		!document_same(DatumGetJsonbP(old), DatumGetJsonbP(new),
					   &table->settings.version_path);
}

/*
 * Return the next column to compare after a, or -1.  If columns is NULL,
 * compare all but the version, generated and dropped columns.
 */
static int
next_column(CasTable *table, const Bitmapset *columns, int a)
{
	if (columns != NULL)
		return bms_next_member(columns, a);
	for (a = Max(a, 0) + 1; a <= table->desc->natts; a++)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, a - 1);

		/* generated columns depend on others, and are not computed yet */
		if (!att->attisdropped && att->attgenerated == '\0' &&
			a != table->version)
			return a;
	}
	return -1;
}

/*
 * Return whether the new values differ from the old row, by stored image, in
 * any of the columns; if columns is NULL, in any column but the version and
 * generated ones.  With but_ignored, columns in ignore_columns are left out.
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
 * Return whether the version is written into the document as a JSON string,
 * and not as a number.
 */
static bool
version_is_string(CasTable *table, Jsonb *document, TupleTableSlot *old)
{
	JsonbValue *value = cas_value_at_path(document,
										  &table->settings.version_path);
	bool		isnull = true;
	Datum		former = 0;

	/*
	 * Keep the type of the version in the document or, if it has none, in the
	 * old row's document.
	 */
	if (value == NULL && old != NULL)
		former = slot_getattr(old, table->payload, &isnull);
	if (!isnull)
		value = cas_value_at_path(DatumGetJsonbP(former),
								  &table->settings.version_path);
	return value != NULL && value->type == jbvString;
}

/*
 * Set the version in a row's values: in its column and, if there is a
 * version_path, in the document.  Return false if that changes nothing.  old
 * is the old row, or NULL for an INSERT.
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

	/* Compare images, so that the row is not copied if it has the version. */
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
