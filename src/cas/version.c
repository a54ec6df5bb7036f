/*
 * version.c
 *		Versions: as they are stored, the one that follows another, and the
 *		sequence of a table whose versions are the table's.
 */
#include "cas.h"

#include "catalog/dependency.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* A version as stored, widened. */
int64
cas_version_value(CasTable *table, Datum value)
{
	switch (table->version_type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

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

/* And back. */
Datum
cas_version_datum(CasTable *table, int64 version)
{
	switch (table->version_type)
	{
		case INT2OID:
			return Int16GetDatum((int16) version);
		case INT4OID:
			return Int32GetDatum((int32) version);
		default:
			return Int64GetDatum(version);
	}
}

/* Raise 22003 for a version that its column cannot hold. */
static void
version_out_of_range(Relation rel, CasTable *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("version of table \"%s\" is out of range for type %s",
					RelationGetRelationName(rel),
					format_type_be(table->version_type)),
			 errhint("Alter the version column to a wider type."),
			 errtablecol(rel, table->version)));
}

/*
 * Draw a version from the table's sequence.  It is looked up at each draw, as
 * nothing would tell us that another one took its place, and nobody needs
 * rights on it.  One that has fallen behind the rows,
 * as on a promoted logical subscriber, is an error rather than a version
 * that was seen before.
 */
int64
cas_draw_version(Relation rel, CasTable *table, int64 after)
{
	Oid			sequence = cas_sequence(rel, &table->settings);
	int64		version;

	if (!OidIsValid(sequence))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the guard of table \"%s\" needs sequence \"%s.%s\", which does not exist or is not the table's",
						RelationGetRelationName(rel),
						table->settings.sequence.names[0],
						table->settings.sequence.names[1]),
				 errhint("Call cas_enable() again to make a new one."),
				 errtable(rel)));
	version = nextval_internal(sequence, false);
	if (version <= after)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sequence \"%s.%s\" is behind the versions in table \"%s\"",
						table->settings.sequence.names[0],
						table->settings.sequence.names[1],
						RelationGetRelationName(rel)),
				 errhint("Call cas_enable() again: it sets the sequence."),
				 errtable(rel)));
	if (version > version_limit(table))
		version_out_of_range(rel, table);
	return version;
}

/* The version that follows old. */
int64
cas_next_version(Relation rel, CasTable *table, int64 old)
{
	if (table->settings.sequence.length > 0)
		return cas_draw_version(rel, table, old);
	if (old >= version_limit(table))
		version_out_of_range(rel, table);
	return old + 1;
}

/*
 * The sequence for a table's versions, or InvalidOid.  The settings name it,
 * but who makes a guard by hand could name any, and the guard asks for no
 * right on it; so it must be one that a column of the table owns.  If none of
 * those has the name, because it was renamed, it is the version column's only
 * one.
 */
Oid
cas_sequence(Relation rel, const CasSettings *settings)
{
	Oid			root = cas_root(rel);
	AttrNumber	version = get_attnum(root, settings->version_column);
	Oid			only = InvalidOid;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, getOwnedSequences(root))
	{
		Oid			sequence = lfirst_oid(lc);
		Oid			table;
		int32		column;

		if (!sequenceIsOwned(sequence, DEPENDENCY_AUTO, &table, &column))
			continue;
		if (strcmp(get_rel_name(sequence),
				   settings->sequence.names[1]) == 0)
			return sequence;
		if (column == version)
		{
			only = sequence;
			n++;
		}
	}
	return n == 1 ? only : InvalidOid;
}
