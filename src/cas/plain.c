/*
 * plain.c
 *		Decide what the direct path (direct.c) may do on a guarded table.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "utils/syscache.h"

/*
 * Return whether all indexes are immediate.  Deferrable and exclusion
 * constraints need checks that the direct path does not make.  Set *unique_key
 * to whether the primary key is the only unique index.
 */
static bool
indexes_are_immediate(Relation rel, bool *unique_key)
{
	bool		immediate = true;
	int			nunique = 0;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		immediate = immediate && index->rd_index->indimmediate &&
			!index->rd_index->indisexclusion;
		nunique += index->rd_index->indisunique;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	*unique_key = immediate && nunique == 1;
	return immediate;
}

/*
 * Return whether a NOT NULL constraint is NOT VALID.  Then rows may violate it,
 * and an UPDATE that leaves the column alone is refused, too.
 */
static bool
may_violate_not_null(TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
		if (has_invalid_not_null(desc, i))
			return true;
	return false;
}

/* Turn the members of a set of the relcache into attribute numbers. */
static Bitmapset *
attribute_numbers(const Bitmapset *set)
{
	Bitmapset  *columns = NULL;
	int			member = -1;

	while ((member = bms_next_member(set, member)) >= 0)
	{
		int			attnum = member + FirstLowInvalidHeapAttributeNumber;

		if (attnum > 0)
			columns = bms_add_member(columns, attnum);
	}
	return columns;
}

/* Return whether a foreign key is MATCH FULL. */
static bool
is_match_full(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID,
										ObjectIdGetDatum(constraint));
	bool		full;

	/* if it has been dropped, the table will be read anew */
	if (!HeapTupleIsValid(tuple))
		return false;
	full = ((Form_pg_constraint) GETSTRUCT(tuple))->confmatchtype ==
		FKCONSTR_MATCH_FULL;
	ReleaseSysCache(tuple);
	return full;
}

/*
 * Collect the columns that foreign keys of the table use, and those that foreign
 * keys of other tables may refer to.  As long as they do not change, PostgreSQL
 * runs no trigger of a foreign key for an UPDATE, but in two cases; see
 * needs_foreign_keys().
 */
static void
load_foreign_keys(Relation rel, CasTable *table)
{
	List	   *keys;
	ListCell   *lc;

	if (!table->other_triggers)
		return;

	/* other tables refer to columns of unique indexes; this is a copy */
	table->foreign_keys =
		attribute_numbers(RelationGetIndexAttrBitmap(rel,
													 INDEX_ATTR_BITMAP_KEY));

	/* the list belongs to the relcache, so copy it before looking further */
	keys = copyObject(RelationGetFKeyList(rel));
	foreach(lc, keys)
	{
		ForeignKeyCacheInfo *key = lfirst_node(ForeignKeyCacheInfo, lc);
		bool		full = key->nkeys > 1 && is_match_full(key->conoid);

		table->referencing = true;
		for (int i = 0; i < key->nkeys; i++)
		{
			table->foreign_keys = bms_add_member(table->foreign_keys,
												 key->conkey[i]);
			if (full)
				table->match_full = bms_add_member(table->match_full,
												   key->conkey[i]);
		}
	}
	list_free_deep(keys);
}

/*
 * Return whether an UPDATE that does not set them can change columns that
 * foreign keys use.
 */
static bool
changes_foreign_keys(const CasTable *table)
{
	int			a = -1;

	if (bms_is_member(table->version, table->foreign_keys))
		return true;
	while ((a = bms_next_member(table->foreign_keys, a)) >= 0)
		if (TupleDescAttr(table->desc, a - 1)->attgenerated != '\0')
			return true;
	return false;
}

/*
 * Decide which statements on a guarded table may go past the executor.  All
 * that matters here is in rel's relcache entry, so a change of it invalidates
 * the cached table.
 */
void
cas_load_directness(Relation rel, CasTable *table)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	bool		virtual = constr != NULL && has_virtual_columns(constr);
	bool		computes = constr != NULL &&
		(constr->has_generated_stored || constr->num_check > 0);
	bool		immediate;

	/*
	 * Read and lock the rows of a heap that is no partition and has no
	 * children, without rules and row-level security.
	 */
	table->direct_read = rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		!rel->rd_rel->relispartition && !rel->rd_rel->relhassubclass &&
		rel->rd_rules == NULL && !rel->rd_rel->relrowsecurity &&
		!virtual && table->nkeys > 0;
	if (!table->direct_read)
		return;

	/* a domain over jsonb may have CHECK constraints */
	if (table->user_triggers ||
		may_violate_not_null(RelationGetDescr(rel)) ||
		(table->payload != 0 &&
		 TupleDescAttr(table->desc,
					   table->payload - 1)->atttypid != JSONBOID))
		return;
	load_foreign_keys(rel, table);
	table->computes = computes;
	immediate = indexes_are_immediate(rel, &table->unique_key);
	table->direct_write = immediate && !changes_foreign_keys(table);
	table->plain = table->direct_write && !table->other_triggers &&
		!table->computes;
	table->unique_key = table->unique_key && table->plain;
}
