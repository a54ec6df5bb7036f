/*
 * relation.c
 *		Names and owners of tables.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Return the table's name, qualified and quoted. */
char *
cas_relation_name(Relation rel)
{
	char	   *nsp = get_namespace_name(RelationGetNamespace(rel));

	return quoted_name(nsp, RelationGetRelationName(rel));
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

/* Return whether the table is relid or a partition of it. */
bool
cas_is_part_of(Relation rel, Oid relid)
{
	Oid			ancestor = RelationGetRelid(rel);

	if (ancestor == relid || !rel->rd_rel->relispartition)
		return ancestor == relid;
	while (OidIsValid(ancestor = partition_parent(ancestor)))
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
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(partition_root(rel)));

	/* That table may just have been dropped, after a detach. */
	if (!HeapTupleIsValid(tuple))
		return rel->rd_rel->relowner;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}
