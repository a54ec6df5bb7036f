/*
 * plan.c
 *		Saved plans of the statements that swaps run.
 *
 * Plans are kept with the cached table (table.c).  They are looked up by the
 * kind of the statement, the columns that it writes, and the columns that it
 * returns.
 */
#include "cas.h"

#include "executor/spi.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/*
 * Maximum number of plans kept per table.  Each set of columns that payloads
 * name needs a plan of its own.
 */
#define MAX_PLANS 64

/*
 * Prepare the statement that a plan describes.
 */
static SPIPlanPtr
prepare(CasCall *call, const CasPlan *plan)
{
	CasTable   *table = call->table;
	int			size = 2 * table->nkeys + 1 + table->desc->natts;
	Oid		   *types = palloc(sizeof(Oid) * size);
	int			n = sql_parameter_types(table, plan, types);
	bool		partitioned;
	SPIPlanPtr	prepared;

	/*
	 * A search by primary key has only one good plan, so always use the
	 * generic one.  In a partitioned table, planning for the given key avoids
	 * locking the other partitions.
	 */
	partitioned = call->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	prepared = SPI_prepare_cursor(sql_build(call, plan), n, types,
								  partitioned ? 0 : CURSOR_OPT_GENERIC_PLAN);
	if (prepared == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s",
			 SPI_result_code_string(SPI_result));
	return prepared;
}

static void
free_plan(void *plan)
{
	SPI_freeplan((SPIPlanPtr) plan);
}

/* Free a plan when a memory context is deleted. */
static void
free_plan_with(MemoryContext mcxt, MemoryContextCallback *callback,
			   SPIPlanPtr plan)
{
	callback->func = free_plan;
	callback->arg = plan;
	MemoryContextRegisterResetCallback(mcxt, callback);
}

static CasPlan *
find_plan(CasTable *table, const CasPlan *wanted)
{
	ListCell   *lc;

	foreach(lc, table->plans)
	{
		CasPlan    *plan = lfirst(lc);

		if (plan->kind == wanted->kind &&
			bms_equal(plan->returns, wanted->returns) &&
			plan->compares == wanted->compares &&
			bms_equal(plan->columns, wanted->columns))
			return plan;
	}
	return NULL;
}

/*
 * Return whether an outer call may be running a plan of the table.  After an
 * error in a plan, the count stays too high until the end of the transaction.
 */
static bool
is_running(CasTable *table)
{
	return table->running > 0 && table->running_in == my_lxid();
}

/* Call these before and after running a plan. */
void
plan_begin(CasTable *table)
{
	table->running = is_running(table) ? table->running + 1 : 1;
	table->running_in = my_lxid();
}

void
plan_end(CasTable *table)
{
	table->running--;
}

/*
 * Remove a plan from the table and free it.  If it may be running, free it at
 * the end of the transaction.
 */
static void
retire_plan(CasTable *table, CasPlan *plan)
{
	table->plans = list_delete_ptr(table->plans, plan);
	if (is_running(table))
		MemoryContextSetParent(plan->mcxt, TopTransactionContext);
	else
		MemoryContextDelete(plan->mcxt);
}

/*
 * Keep a prepared plan with the table, in a memory context of its own.
 * Deleting the context frees the plan.
 */
static void
keep_plan(CasTable *table, const CasPlan *wanted, SPIPlanPtr prepared)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext,
											   "pg_cas plan",
											   ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	CasPlan    *plan = palloc(sizeof(CasPlan));
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	*plan = *wanted;
	plan->mcxt = mcxt;
	plan->returns = bms_copy(wanted->returns);
	plan->columns = bms_copy(wanted->columns);
	if (wanted->arbiter != NULL)
		plan->arbiter = pstrdup(wanted->arbiter);
	plan->plan = prepared;
	MemoryContextSwitchTo(table->mcxt);
	table->plans = lappend(table->plans, plan);
	MemoryContextSwitchTo(old);

	/*
	 * Nothing below can fail.  After an error above, the new context is freed
	 * with its parent, and the plan with SPI's context.
	 */
	SPI_keepplan(prepared);
	free_plan_with(mcxt, callback, prepared);
	MemoryContextSetParent(mcxt, table->mcxt);
}

/*
 * Return the plan for a statement, preparing it if there is no valid one.
 */
SPIPlanPtr
plan_for(CasCall *call, const CasStatement *statement)
{
	CasTable   *table = call->table;
	CasPlan		wanted = {0};
	CasPlan    *plan;
	SPIPlanPtr	prepared;

	wanted.kind = statement->kind;
	wanted.returns = found_columns(call, statement);
	if (statement->write != NULL)
	{
		wanted.columns = statement->write->columns;
		wanted.compares = statement->kind == STATEMENT_UPDATE &&
			statement->write->comparable;
	}
	if (statement->kind == STATEMENT_INSERT)
	{
		wanted.arbiter = get_constraint_name(table->key_constraint);
		if (wanted.arbiter == NULL)
			elog(ERROR, "cache lookup failed for constraint %u",
				 table->key_constraint);
	}

	/*
	 * The text of an invalid plan may contain former names of columns or
	 * tables, so do not let SPI replan it.  Renaming the constraint does not
	 * invalidate a plan, although its text names the constraint.
	 */
	plan = find_plan(table, &wanted);
	if (plan != NULL && SPI_plan_is_valid(plan->plan) &&
		(wanted.arbiter == NULL ||
		 strcmp(plan->arbiter, wanted.arbiter) == 0))
		return plan->plan;

	/* replace the invalid plan or, if there are too many, the oldest */
	prepared = prepare(call, &wanted);
	if (plan == NULL && list_length(table->plans) >= MAX_PLANS)
		plan = linitial(table->plans);
	if (plan != NULL)
		retire_plan(table, plan);
	keep_plan(table, &wanted, prepared);
	return prepared;
}
