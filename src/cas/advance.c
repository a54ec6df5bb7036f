/*
 * advance.c
 *		The version that a row begins with, and the one that follows another.
 */
#include "cas.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

static int64
version_limit(CasTable *table)
{
	switch (table->version_type)
	{
		case INT2OID:
			return PG_INT16_MAX;
		case INT4OID:
			return PG_INT32_MAX;
		default:
			return PG_INT64_MAX;
	}
}

/* Raise 22003 for a version that its column cannot hold. */
pg_noreturn static void
raise_out_of_range(Relation rel, CasTable *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("version of table \"%s\" is out of range for type %s",
					RelationGetRelationName(rel),
					format_type_be(table->version_type)),
			 errhint("Alter the version column to a wider type."),
			 errtablecol(rel, table->version)));
}

/* The version that follows old, where versions count by row or by table. */
int64
cas_next_version(Relation rel, CasTable *table, int64 old)
{
	int64		version;

	if (table->settings.sequence.length > 0)
	{
		version = cas_draw_version(rel, table, old);
		if (version > version_limit(table))
			raise_out_of_range(rel, table);
		return version;
	}
	if (old >= version_limit(table))
		raise_out_of_range(rel, table);
	return old + 1;
}

/*
 * The version of a row that an INSERT writes: what it supplies, so that a
 * restore brings its versions back, unless versions are the table's.
 */
int64
cas_first_version(Relation rel, CasTable *table, int64 supplied, bool isnull)
{
	if (table->settings.sequence.length > 0)
		return cas_next_version(rel, table, 0);
	if (isnull)
		return 1;
	if (supplied < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("version of a row of table \"%s\" must not be negative",
						RelationGetRelationName(rel)),
				 errhint("Leave column \"%s\" out, or give it a version of 0 or more.",
						 table->settings.version_column),
				 errtablecol(rel, table->version)));
	return supplied;
}
