/*
 * plain.c
 *		Decide whether a guarded table is plain, so that the direct path
 *		(direct.c) may be used.
 */
#include "cas.h"

#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"

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

/*
 * Return whether a guarded table is plain: a write of a row involves nothing
 * but its columns, its indexes and the guard.  Also set table->unique_key.
 * All properties are in rel's relcache entry, so a change of them invalidates
 * the cached table.
 */
bool
cas_is_plain(Relation rel, CasTable *table)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	/* a heap table that is no partition and has no children */
	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_rel->relam != HEAP_TABLE_AM_OID ||
		rel->rd_rel->relispartition || rel->rd_rel->relhassubclass)
		return false;

	/* no triggers but ours; foreign keys are triggers, too */
	if (table->other_triggers)
		return false;

	/* no rules and no row-level security */
	if (rel->rd_rules != NULL || rel->rd_rel->relrowsecurity)
		return false;

	/* no generated columns and no CHECK constraints */
	if (constr != NULL && (constr->has_generated_stored ||
						   has_virtual_columns(constr) ||
						   constr->num_check > 0 ||
						   may_violate_not_null(RelationGetDescr(rel))))
		return false;

	/* a domain over jsonb may have CHECK constraints */
	if (table->payload != 0 &&
		TupleDescAttr(table->desc, table->payload - 1)->atttypid != JSONBOID)
		return false;

	return table->nkeys > 0 && indexes_are_immediate(rel, &table->unique_key);
}
