/*
 * advance.c
 *		Compute a row's first version and its next version.
 */
#include "cas.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

/* Return the greatest version that the column can hold. */
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

/* Raise 22003 because the column cannot hold the next version. */
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

/* Return the version that follows old. */
int64
cas_next_version(Relation rel, CasTable *table, int64 old)
{
	int64		version;

	/* The sequence returns a number greater than old, or raises an error. */
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
 * Return the version of a row being inserted.  With versions => 'row', it is
 * the one that the INSERT supplies, so that a restore keeps versions.
 */
int64
cas_first_version(Relation rel, CasTable *table, int64 supplied, bool isnull)
{
	/* A table's versions never repeat, so ignore the supplied one. */
	if (table->settings.sequence.length > 0)
		return cas_next_version(rel, table, 0);
	if (isnull)
		return 1;
	if (supplied < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("version of a row of table \"%s\" must not be negative",
						RelationGetRelationName(rel)),
				 errhint("Omit column \"%s\", or set it to 0 or more.",
						 table->settings.version_column),
				 errtablecol(rel, table->version)));
	return supplied;
}
