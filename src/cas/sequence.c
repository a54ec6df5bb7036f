/*
 * sequence.c
 *		The sequence of a table whose versions are the table's.
 *
 * It is owned by the version column, so that it is renamed, given away, dumped
 * and dropped as one expects.  It must be ahead of every version in the table:
 * else a row that is deleted and created again shows versions that its
 * predecessor had, and a client of that one overwrites it.
 */
#include "cas.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/*
 * Up to so many pages, a table's greatest version is looked for at the first
 * draw of a session: that takes about a millisecond.
 */
#define PAGES_TO_SCAN 128

/* Whether a column's default draws from the sequence. */
static bool
feeds_a_default(Oid sequence)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(sequence));
	scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL,
							  lengthof(key), key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = ((Form_pg_depend) GETSTRUCT(tuple))->classid ==
			AttrDefaultRelationId;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/*
 * The sequence for a table's versions, or InvalidOid.  name may be NULL.
 *
 * The settings name it, but who makes a guard by hand could name any, and the
 * guard asks for no right on it; so it must be one that a column of the table
 * owns.  If none of those has the name, because it was renamed, or because
 * the settings went with cas_disable(), it is the version column's only one.
 */
Oid
cas_find_sequence(Oid root, const char *version_column, const char *name)
{
	AttrNumber	version = get_attnum(root, version_column);
	Oid			only = InvalidOid;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, getOwnedSequences(root))
	{
		Oid			sequence = lfirst_oid(lc);
		Oid			table;
		int32		column;
		char	   *relname;

		/* what is dropped meanwhile has no name any more */
		relname = get_rel_name(sequence);
		if (relname == NULL ||
			!sequenceIsOwned(sequence, DEPENDENCY_AUTO, &table, &column))
			continue;
		if (name != NULL && strcmp(relname, name) == 0)
			return sequence;
		if (column == version && !feeds_a_default(sequence))
		{
			only = sequence;
			n++;
		}
	}
	return n == 1 ? only : InvalidOid;
}

/* The sequence that a guard draws from, or InvalidOid. */
Oid
cas_sequence(Relation rel, const CasSettings *settings)
{
	if (settings->sequence.length == 0)
		return InvalidOid;
	return cas_find_sequence(cas_root(rel), settings->version_column,
							 settings->sequence.names[1]);
}

/*
 * The last number that was drawn from a sequence; false if none was.  No right
 * is needed, since those who write the table have none on it.
 */
bool
cas_sequence_last(Oid sequence, int64 *last)
{
	Relation	rel = relation_open(sequence, AccessShareLock);
	Buffer		buffer = ReadBuffer(rel, 0);
	HeapTupleHeader tuple;
	Form_pg_sequence_data data;
	bool		is_called;
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	tuple = (HeapTupleHeader)
		PageGetItem(page, PageGetItemId(page, FirstOffsetNumber));
	data = (Form_pg_sequence_data) ((char *) tuple + tuple->t_hoff);
	*last = data->last_value;
	is_called = data->is_called;
	UnlockReleaseBuffer(buffer);
	relation_close(rel, AccessShareLock);
	return is_called;
}

/* ----------
 * The greatest version in a table
 * ----------
 */

static void
note_greatest(Datum value, bool isnull, Oid type, int64 *greatest)
{
	if (!isnull)
		*greatest = Max(*greatest, cas_integer(value, type));
}

/*
 * Scans read what is committed by now, and take no part in SSI: others' rows
 * are none of this transaction's business.
 *
 * By an index whose first column is the version; false if there is none.
 */
static bool
greatest_by_index(Relation rel, AttrNumber version, Oid type,
				  int64 *greatest)
{
	bool		found = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (!found && index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_index->indisvalid &&
			index->rd_index->indkey.values[0] == version &&
			(index->rd_indoption[0] & INDOPTION_DESC) == 0 &&
			RelationGetIndexPredicate(index) == NIL)
		{
			TupleTableSlot *slot = table_slot_create(rel, NULL);
			IndexScanDesc scan = index_beginscan(rel, index, SnapshotSelf,
												 NULL, 0, 0);

			index_rescan(scan, NULL, 0, NULL, 0);
			while (index_getnext_slot(scan, BackwardScanDirection, slot))
			{
				bool		isnull;
				Datum		value = slot_getattr(slot, version, &isnull);

				/* NULLs come first, going backwards */
				CHECK_FOR_INTERRUPTS();
				note_greatest(value, isnull, type, greatest);
				if (!isnull)
					break;
			}
			index_endscan(scan);
			ExecDropSingleTupleTableSlot(slot);
			found = true;
		}
		index_close(index, AccessShareLock);
	}
	return found;
}

static void
greatest_by_scan(Relation rel, AttrNumber version, Oid type,
				 int64 *greatest)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, SnapshotSelf, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, version, &isnull);

		CHECK_FOR_INTERRUPTS();
		note_greatest(value, isnull, type, greatest);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/* What ANALYZE has seen: a lower bound. */
static void
greatest_by_statistics(Relation rel, AttrNumber version, Oid type,
					   int64 *greatest)
{
	HeapTuple	tuple;
	AttStatsSlot slot;

	tuple = SearchSysCache3(STATRELATTINH,
							ObjectIdGetDatum(RelationGetRelid(rel)),
							Int16GetDatum(version), BoolGetDatum(false));
	if (!HeapTupleIsValid(tuple))
		return;
	if (get_attstatsslot(&slot, tuple, STATISTIC_KIND_HISTOGRAM, InvalidOid,
						 ATTSTATSSLOT_VALUES))
	{
		if (slot.nvalues > 0 && slot.valuetype == type)
			note_greatest(slot.values[slot.nvalues - 1], false, type,
						  greatest);
		free_attstatsslot(&slot);
	}
	ReleaseSysCache(tuple);
}

/*
 * The greatest version in one table or partition, 0 if there is none.  If it
 * need not be exact, a large table without an index on the version is not
 * read for it.
 */
static int64
greatest_version(Relation rel, AttrNumber version, Oid type, bool exact)
{
	int64		greatest = 0;

	if (!RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))
		return 0;
	if (greatest_by_index(rel, version, type, &greatest))
		return greatest;
	if (exact || RelationGetNumberOfBlocks(rel) <= PAGES_TO_SCAN)
		greatest_by_scan(rel, version, type, &greatest);
	else
		greatest_by_statistics(rel, version, type, &greatest);
	return greatest;
}

/*
 * The greatest version in a table and all its partitions, 0 if there is none.
 * The caller holds a lock on the table; what else it takes is released.
 */
int64
cas_greatest_version(Relation rel, const char *version_column)
{
	int64		greatest = 0;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(RelationGetRelid(rel), NoLock, NULL))
	{
		Relation	part = try_relation_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	version;

		if (part == NULL)
			continue;
		version = get_attnum(RelationGetRelid(part), version_column);
		if (version > 0)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(part),
												  version - 1);

			greatest = Max(greatest,
						   greatest_version(part, version, att->atttypid,
											true));
		}
		relation_close(part, AccessShareLock);
	}
	return greatest;
}

/* ----------
 * Drawing
 * ----------
 */

pg_noreturn static void
raise_behind(Relation rel, CasTable *table)
{
	const CasNames *names = &table->settings.sequence;

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sequence \"%s.%s\" is behind the versions in table \"%s\"",
					names->names[0], names->names[1],
					RelationGetRelationName(rel)),
			 errhint("Call cas_enable() again: it sets the sequence."),
			 errtable(rel)));
}

/*
 * Whether a version is drawn so that it does not repeat after a failover
 * (base/history.c).  Numbers that somebody began above the limit, and columns
 * that are too narrow for such numbers, are left to the sequence alone.
 */
static bool
draws_from_history(const CasTable *table, int64 after)
{
	return table->version_type == INT8OID &&
		Max(after, table->floor) < HISTORY_LIMIT;
}

/*
 * At a session's first draw: the greatest version that the sequence must be
 * beyond.  A promoted logical subscriber and a restore of the data alone
 * bring rows along whose versions the sequence knows nothing of.
 *
 * To read a whole table for that would be too much, but there is no need to
 * where there is an index, or where the table is small.  Of a large one it is
 * read where the sequence was never drawn from, as on a subscriber; elsewhere
 * what ANALYZE knows is asked.
 */
static void
find_floor(Relation rel, CasTable *table, Oid sequence, int64 after)
{
	int64		next;
	bool		drawn = cas_sequence_last(sequence, &next);

	table->floor = greatest_version(rel, table->version, table->version_type,
									!drawn);

	/*
	 * Refuse before a first number is drawn.  Once it has been drawn from, a
	 * sequence tells the next session nothing, and the table would not be read
	 * again.
	 */
	if (!drawn && draws_from_history(table, after))
		next = Max(next, history_floor() + 1);
	if (!drawn && next <= table->floor)
		raise_behind(rel, table);
	table->floor_known = true;
}

/*
 * Draw a version that is greater than the one given.  The sequence is looked
 * up at each draw, as nothing would tell us that another one took its place,
 * and nobody needs rights on it.
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
	if (!table->floor_known)
		find_floor(rel, table, sequence, after);
	if (draws_from_history(table, after))
		version = history_draw(sequence, 1);
	else
		version = nextval_internal(sequence, false);
	if (version <= after || version <= table->floor)
		raise_behind(rel, table);
	table->floor = version;
	return version;
}
