/*
 * sequence.c
 *		The sequence of a table with versions => 'table'.
 *
 * The version column owns the sequence, so that it is dropped, dumped and
 * given to another owner together with the table.  It must be ahead of every
 * version in the table.  Otherwise a row that is deleted and created again
 * could get versions that its predecessor had, and a client that has read the
 * predecessor could overwrite it.
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
 * At the first draw of a session, a table of up to so many pages is scanned
 * for its greatest version, which takes about a millisecond.
 */
#define PAGES_TO_SCAN 128

/* Cached numbers that a draw may have to skip. */
#define MAX_CACHED (1 << 20)

/* Return whether a column's default draws from the sequence. */
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
 * Find the sequence of a table's versions, or return InvalidOid.  name is its
 * name in the settings, or NULL.
 *
 * The guard draws from the sequence without checking privileges, and a guard
 * made by hand can name any sequence.  Therefore it must be one that a column
 * of the table owns.  If no such sequence has the name, because it was renamed
 * or because cas_disable() has removed the settings, return the only sequence
 * owned by the version column.
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

		/* a sequence that was dropped meanwhile has no name */
		relname = get_rel_name(sequence);
		if (relname == NULL ||
			!sequenceIsOwned(sequence, DEPENDENCY_AUTO, &table, &column))
			continue;
		if (name != NULL && strcmp(relname, name) == 0)
			return sequence;

		/* one that was there before, as a serial column's, is not ours */
		if (column == version && !feeds_a_default(sequence))
		{
			only = sequence;
			n++;
		}
	}
	return n == 1 ? only : InvalidOid;
}

/* Return the sequence that a guard draws from, or InvalidOid. */
Oid
cas_sequence(Relation rel, const CasSettings *settings)
{
	if (settings->sequence.length == 0)
		return InvalidOid;
	return cas_find_sequence(partition_root(rel), settings->version_column,
							 settings->sequence.names[1]);
}

/*
 * Get the last number drawn from a sequence; return false if none was drawn, or
 * if it has been dropped.  This checks no privileges, because those who write
 * to the table need none on the sequence.
 */
bool
cas_sequence_last(Oid sequence, int64 *last)
{
	Relation	rel = try_relation_open(sequence, AccessShareLock);
	Buffer		buffer;
	HeapTupleHeader tuple;
	Form_pg_sequence_data data;
	bool		is_called;
	Page		page;

	*last = 0;
	if (rel == NULL)
		return false;
	buffer = ReadBuffer(rel, 0);
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

/* Raise *greatest to the value, if that is greater. */
static void
note_greatest(Datum value, bool isnull, Oid type, int64 *greatest)
{
	if (!isnull)
		*greatest = Max(*greatest, cas_integer(value, type));
}

/*
 * Find the greatest version with an index whose first column is the version;
 * return false if there is none.
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
			/*
			 * SnapshotSelf reads what is committed now and takes no predicate
			 * locks: other rows do not matter to this transaction.
			 */
			TupleTableSlot *slot = table_slot_create(rel, NULL);
			IndexScanDesc scan = index_beginscan(rel, index, SnapshotSelf,
												 NULL, 0, 0, SO_NONE);

			index_rescan(scan, NULL, 0, NULL, 0);
			while (index_getnext_slot(scan, BackwardScanDirection, slot))
			{
				bool		isnull;
				Datum		value = slot_getattr(slot, version, &isnull);

				/* a backward scan returns NULLs first */
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

/* Find the greatest version by reading the table. */
static void
greatest_by_scan(Relation rel, AttrNumber version, Oid type,
				 int64 *greatest)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, SnapshotSelf, 0, NULL,
										 SO_NONE);

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

/* Find the greatest version that ANALYZE has seen, which is a lower bound. */
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
 * Return the greatest version in one table or partition, or 0.  If exact is
 * false, a large table without an index on the version is not read; the result
 * is a lower bound then.
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
 * Return the greatest version in a table and all its partitions, or 0.  The
 * caller holds a lock on the table; the locks on partitions are released.
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
			 errhint("Call cas_enable() again to set the sequence."),
			 errtable(rel)));
}

/*
 * Return whether versions are drawn with history_draw(), so that they do not
 * repeat after a failover (base/history.c).  Its numbers do not fit into
 * columns narrower than bigint, and it has a limit that versions may already
 * exceed; then the sequence alone is used.
 */
static bool
draws_from_history(const CasTable *table, int64 after)
{
	return table->version_type == INT8OID &&
		Max(after, table->floor) < HISTORY_LIMIT;
}

/*
 * At a session's first draw, find the greatest version in the table, which the
 * sequence must exceed.  On a promoted logical subscriber, or after a
 * data-only restore, rows have versions above the sequence's value.
 */
static void
find_floor(Relation rel, CasTable *table, Oid sequence, int64 after)
{
	int64		next;
	bool		drawn = cas_sequence_last(sequence, &next);
	bool		history = draws_from_history(table, after);
	bool		unlogged = history &&
		get_rel_persistence(sequence) == RELPERSISTENCE_UNLOGGED;

	/*
	 * A large table without an index is read only if the sequence was never
	 * drawn from, as on a subscriber.  Otherwise ANALYZE's statistics must do.
	 */
	table->floor = greatest_version(rel, table->version, table->version_type,
									!drawn);

	/*
	 * ALTER TABLE ... SET UNLOGGED makes the sequence unlogged as well, so
	 * that a crash sets it back, and the empty table tells nothing about the
	 * versions that there were.  All sessions begin anew after a crash, so let
	 * each go on from the current time, as after a promotion.
	 */
	if (unlogged)
		next = Max(next, history_now());
	if (!drawn && history)
		next = Max(next, history_floor() + 1);

	/*
	 * Refuse before a first number is drawn.  Once it has been drawn from, a
	 * sequence tells the next session nothing, and the table would not be read
	 * again.
	 */
	if (!drawn && next <= table->floor)
		raise_behind(rel, table);
	if (unlogged)
		sequence_raise(sequence, next);
	table->floor_known = true;
}

/*
 * Draw a number, and draw again if it is not above least, but only because it
 * comes from this session's cache: the owner may have given the sequence a
 * larger one than its own, of 1.  Then other sessions have drawn larger
 * numbers since.
 */
static int64
draw_above(const CasTable *table, Oid sequence, int64 after, int64 least)
{
	int64		number;
	int64		last;
	int			round = 0;

	do
	{
		CHECK_FOR_INTERRUPTS();
		number = draws_from_history(table, after) ?
			history_draw(sequence) : nextval_internal(sequence, false);
	} while (number <= least && cas_sequence_last(sequence, &last) &&
			 last > number && last >= least && ++round < MAX_CACHED);
	return number;
}

/*
 * Lock a sequence as nextval() does.  Returns false if it has been dropped:
 * nothing depends on it, so that DROP SEQUENCE does not lock the table.
 */
bool
cas_lock_sequence(Oid sequence)
{
	Relation	rel = try_relation_open(sequence, RowExclusiveLock);

	if (rel == NULL)
		return false;
	relation_close(rel, NoLock);
	return true;
}

/*
 * Draw a version greater than after.  Raise 55000 if the sequence is behind.
 * The caller needs no privileges on the sequence.
 */
int64
cas_draw_version(Relation rel, CasTable *table, int64 after)
{
	/* Look it up each time: its replacement does not invalidate the cache. */
	Oid			sequence = cas_sequence(rel, &table->settings);
	int64		version;

	if (!OidIsValid(sequence) || !cas_lock_sequence(sequence))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the guard of table \"%s\" needs sequence \"%s.%s\", which does not exist or does not belong to the table",
						RelationGetRelationName(rel),
						table->settings.sequence.names[0],
						table->settings.sequence.names[1]),
				 errhint("Call cas_enable() again to make a new one."),
				 errtable(rel)));
	if (!table->floor_known)
		find_floor(rel, table, sequence, after);
	version = draw_above(table, sequence, after, Max(after, table->floor));
	sequence_drawn(sequence);

	/* Statistics may show rows that are gone: look into the table. */
	if (version > after && version <= table->floor)
		table->floor = greatest_version(rel, table->version,
										table->version_type, true);
	if (version <= after || version <= table->floor)
		raise_behind(rel, table);

	/* The next number of this session must be larger than this one. */
	table->floor = version;
	return version;
}

/*
 * Draw a number above all that any session has drawn.  The caller makes sure
 * that no other session draws meanwhile.
 */
int64
cas_draw_last(Oid sequence)
{
	int64		number;
	int64		last;

	/* the sequence's last number is that of the session that cached last */
	do
	{
		CHECK_FOR_INTERRUPTS();
		number = nextval_internal(sequence, false);
	} while (cas_sequence_last(sequence, &last) && number < last);
	return number;
}
