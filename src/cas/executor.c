/*
 * executor.c
 *		What the direct path needs of the executor: generated columns,
 *		constraints, and index entries.
 *
 * As in a statement that updates many rows, the executor's state is made once
 * in a call, as long as its updates write the same columns.  A state for each
 * row would cost a call of 100 updates 40 % more instructions if there are
 * constraints and a generated column, and 5 % if all it does is index entries.
 */
#include "executor.h"

#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "nodes/makefuncs.h"

/*
 * Make the executor's state, if there is none for these columns.  It needs a
 * range table entry, from which it takes the columns set by the UPDATE: indexes
 * on other columns get a hint that the entry's key is unchanged, and errors show
 * these columns.  (All generated columns are computed, since the guard is a
 * BEFORE trigger.)
 */
static void
executor_begin(CasCall *call, const CasWrite *write)
{
	CasExecutor *executor = &call->executor;
	RangeTblEntry *rte;
	MemoryContext old;
	Bitmapset  *updated = NULL;
	int			a = -1;

	if (executor->estate != NULL &&
		bms_equal(executor->columns, write->columns))
		return;
	executor_end(call);

	/* as the scan, it is used until the end of the call */
	old = MemoryContextSwitchTo(call->caller);
	executor->estate = CreateExecutorState();
	MemoryContextSwitchTo(executor->estate->es_query_cxt);
	executor->columns = bms_copy(write->columns);
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

/* Close the indexes, and free the executor's state, if there is one. */
void
executor_end(CasCall *call)
{
	CasExecutor *executor = &call->executor;

	if (executor->estate == NULL)
		return;
	if (executor->result->ri_IndexRelationDescs != NULL)
		ExecCloseIndices(executor->result);
	FreeExecutorState(executor->estate);
	executor->estate = NULL;
}

/* Compute the generated columns of a row, and check its constraints. */
void
executor_compute(CasCall *call, const CasWrite *write, TupleTableSlot *slot)
{
	CasExecutor *executor = &call->executor;

	if (!call->table->computes)
		return;
	executor_begin(call, write);
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
						TupleTableSlot *slot, TU_UpdateIndexes update)
{
	CasExecutor *executor = &call->executor;
	MemoryContext old;

	executor_begin(call, write);
	if (executor->result->ri_IndexRelationDescs == NULL)
	{
		old = MemoryContextSwitchTo(executor->estate->es_query_cxt);
		ExecOpenIndices(executor->result, false);
		MemoryContextSwitchTo(old);
	}
	ExecInsertIndexTuples(executor->result, executor->estate,
						  update_flags(update), slot, NIL, NULL);
	ResetPerTupleExprContext(executor->estate);
}
