/*
 * executor.c
 *		What the direct path needs of the executor: generated columns,
 *		constraints, and index entries.
 */
#include "executor.h"

#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "nodes/makefuncs.h"

/*
 * Make the executor's state.  It needs a range table entry, from which it takes
 * the columns set by the UPDATE: generated columns that depend on no others
 * need not be computed, indexes on other columns get a hint that the entry's
 * key is unchanged, and errors show these columns.
 */
static void
executor_begin(CasCall *call, const CasWrite *write, Executor *executor)
{
	RangeTblEntry *rte;
	MemoryContext old;
	Bitmapset  *updated = NULL;
	int			a = -1;

	if (executor->estate != NULL)
		return;
	executor->estate = CreateExecutorState();
	old = MemoryContextSwitchTo(executor->estate->es_query_cxt);
	rte = makeNode(RangeTblEntry);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(call->rel);
	rte->relkind = call->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	while ((a = bms_next_member(write->columns, a)) >= 0)
		updated = bms_add_member(updated,
								 a - FirstLowInvalidHeapAttributeNumber);
	init_single_range_table(executor->estate, rte, updated);
	executor->result = makeNode(ResultRelInfo);
	InitResultRelInfo(executor->result, call->rel, 1, NULL, 0);
	MemoryContextSwitchTo(old);
}

void
executor_end(Executor *executor)
{
	if (executor->estate != NULL)
		FreeExecutorState(executor->estate);
}

/* Compute the generated columns of a row, and check its constraints. */
void
executor_compute(CasCall *call, const CasWrite *write, TupleTableSlot *slot,
				 Executor *executor)
{
	if (!call->table->computes)
		return;
	executor_begin(call, write, executor);
	ResetPerTupleExprContext(executor->estate);

	/* the one system column that these expressions may use */
	slot->tts_tableOid = RelationGetRelid(call->rel);
	if (RelationGetDescr(call->rel)->constr->has_generated_stored)
		ExecComputeStoredGenerated(executor->result, executor->estate, slot,
								   CMD_UPDATE);
	ExecConstraints(executor->result, slot, executor->estate);
}

/* Insert index entries for a row's new version. */
void
executor_insert_entries(CasCall *call, const CasWrite *write,
						TupleTableSlot *slot, TU_UpdateIndexes update,
						Executor *executor)
{
	MemoryContext old;

	executor_begin(call, write, executor);
	old = MemoryContextSwitchTo(executor->estate->es_query_cxt);
	ExecOpenIndices(executor->result, false);
	MemoryContextSwitchTo(old);
	ExecInsertIndexTuples(executor->result, executor->estate,
						  update_flags(update), slot, NIL, NULL);
	ExecCloseIndices(executor->result);
}
