/*
 * partition.c
 *		The tables that a table is a partition of, and what of its rows may be
 *		shown.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

/*
 * Return the table that this one is a partition of, or InvalidOid.
 *
 * This does not use get_partition_ancestors(): that returns nothing while a
 * detach is pending, although the partition still has its parent's guard; and
 * it raises an error if a table is detached at the same time.
 */
Oid
partition_parent(Oid relid)
{
	Relation	catalog;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			parent = InvalidOid;

	if (!get_rel_relispartition(relid))
		return InvalidOid;

	/* a partition has exactly one parent */
	catalog = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyInit(&key[0], Anum_pg_inherits_inhrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&key[1], Anum_pg_inherits_inhseqno, BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(1));
	scan = systable_beginscan(catalog, InheritsRelidSeqnoIndexId, true, NULL,
							  lengthof(key), key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		parent = ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return parent;
}

/* Return the topmost table that this one is a partition of, or itself. */
Oid
partition_root(Relation rel)
{
	Oid			root = RelationGetRelid(rel);
	Oid			parent;

	if (!rel->rd_rel->relispartition)
		return root;
	/* without locks, so a concurrent ATTACH or DETACH may be missed */
	while (OidIsValid(parent = partition_parent(root)))
	{
		CHECK_FOR_INTERRUPTS();
		root = parent;
	}
	return root;
}

/*
 * Return whether the current role may read these columns of rel, by the
 * privileges and policies of the table, which rel is or is a partition of.
 */
static bool
readable_as(Relation rel, Oid table, const Bitmapset *columns)
{
	bool		missing = false;
	int			a = -1;

	/* Policies for SELECT may hide the row. */
	if (check_enable_rls(table, InvalidOid, true) == RLS_ENABLED)
		return false;

	/* that table may have been dropped, after a detach */
	if (pg_class_aclcheck_ext(table, GetUserId(), ACL_SELECT,
							  &missing) == ACLCHECK_OK)
		return !missing;
	while (!missing && (a = bms_next_member(columns, a)) >= 0)
	{
		const char *name = NameStr(TupleDescAttr(RelationGetDescr(rel),
												 a - 1)->attname);

		if (pg_attribute_aclcheck_ext(table, get_attnum(table, name),
									  GetUserId(), ACL_SELECT,
									  &missing) != ACLCHECK_OK)
			return false;
	}
	return !missing;
}

/*
 * Return whether an error may show these columns of a row to the current role,
 * which has not read the row by a query of its own.  The privileges on a
 * partitioned table let it read the rows of the partitions, too, on each level.
 */
bool
columns_readable(Relation rel, const Bitmapset *columns)
{
	for (Oid table = RelationGetRelid(rel); OidIsValid(table);
		 table = partition_parent(table))
	{
		CHECK_FOR_INTERRUPTS();
		if (readable_as(rel, table, columns))
			return true;
	}
	return false;
}
