/*
 * plain.c
 *		Whether a guarded table is plain, so that the direct path (direct.c)
 *		may serve it.
 */
#include "cas.h"

#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"

/*
 * Whether each index is one that decides at once.  One that is deferrable, or
 * excludes by other operators, has checks that wait for their time.
 * *unique_key is set to whether the primary key is the only unique one.
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
 * Whether a guarded table is plain: nothing has to happen on its rows but
 * what its columns, its indexes and the guard say.  All of this is cached in
 * rel; that it has changed, an invalidation says.  table->unique_key is set,
 * too.
 */
bool
cas_is_plain(Relation rel, CasTable *table)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	/* an ordinary table by itself */
	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_rel->relam != HEAP_TABLE_AM_OID ||
		rel->rd_rel->relispartition || rel->rd_rel->relhassubclass)
		return false;

	/* no triggers but ours: foreign keys are triggers, too */
	if (table->other_triggers)
		return false;

	/* nothing that changes a statement or hides rows */
	if (rel->rd_rules != NULL || rel->rd_rel->relrowsecurity)
		return false;

	/* nothing that is computed from a row or must be true of it */
	if (constr != NULL && (constr->has_generated_stored ||
						   has_virtual_columns(constr) ||
						   constr->num_check > 0))
		return false;

	/* a document whose type is a domain has its CHECKs */
	if (table->payload != 0 &&
		TupleDescAttr(table->desc, table->payload - 1)->atttypid != JSONBOID)
		return false;

	return table->nkeys > 0 && indexes_are_immediate(rel, &table->unique_key);
}
