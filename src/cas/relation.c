/*
 * relation.c
 *		Names, owners and partition ancestors of tables.
 */
#include "cas.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Return the table's name, qualified and quoted. */
char *
cas_relation_name(Relation rel)
{
	char	   *nsp = get_namespace_name(RelationGetNamespace(rel));

	return quote_qualified_identifier(nsp, RelationGetRelationName(rel));
}

/* For ereport(): a DETAIL that only names the table. */
int
cas_errdetail_table(Relation rel)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "table", cas_relation_name(rel));
	return errdetail_internal("%s", detail_end(&detail));
}

/*
 * Return the table that this one is a partition of, or InvalidOid.
 *
 * This does not use get_partition_ancestors(): that returns nothing while a
 * detach is pending, although the partition still has its parent's guard; and
 * it raises an error if a table is detached at the same time.
 */
static Oid
parent_of(Oid relid)
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
cas_root(Relation rel)
{
	Oid			root = RelationGetRelid(rel);
	Oid			parent;

	if (!rel->rd_rel->relispartition)
		return root;
	/* without locks, so a concurrent ATTACH or DETACH may be missed */
	while (OidIsValid(parent = parent_of(root)))
	{
		CHECK_FOR_INTERRUPTS();
		root = parent;
	}
	return root;
}

/* Return whether the table is relid or a partition of it. */
bool
cas_is_part_of(Relation rel, Oid relid)
{
	Oid			ancestor = RelationGetRelid(rel);

	if (ancestor == relid || !rel->rd_rel->relispartition)
		return ancestor == relid;
	while (OidIsValid(ancestor = parent_of(ancestor)))
	{
		CHECK_FOR_INTERRUPTS();
		if (ancestor == relid)
			return true;
	}
	return false;
}

/* Return the table's owner; for a partition, the topmost table's owner. */
Oid
cas_owner(Relation rel)
{
	HeapTuple	tuple;
	Oid			owner;

	if (!rel->rd_rel->relispartition)
		return rel->rd_rel->relowner;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(cas_root(rel)));

	/* That table may just have been dropped, after a detach. */
	if (!HeapTupleIsValid(tuple))
		return rel->rd_rel->relowner;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}
