/*
 * plan.c
 *		The plans of the statements that swaps are made of.
 *
 * They are saved with the table (table.c), by the kind of the statement, the
 * columns that it writes, and those that it returns.  A saved plan that the
 * catalogs have moved away from is made anew from the names of today.
 */
#include "cas.h"

#include "executor/spi.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Plans kept per table: the columns that payloads name make ever new ones. */
#define MAX_PLANS 64

/*
 * Prepare the statement that a plan describes.  A search by primary key has
 * one good plan, so none is made anew per call; but in a partitioned table,
 * planning for the key at hand is what leaves the other partitions alone.
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

/* Have a plan freed when a memory context is. */
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
 * Whether an outer call may be running a plan of the table.  After an error in
 * one, it seems so to the end of the transaction.
 */
static bool
is_running(CasTable *table)
{
	return table->running > 0 && table->running_in == my_lxid();
}

/* Around the running of a plan. */
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
 * Take a plan from the table, and free it, at the end of the transaction if it
 * may be running.
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
 * Keep a prepared plan with the table.  It has a memory context of its own,
 * whose end is the plan's.  An error on the way leaves nothing behind.
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

	/* from here on, nothing fails */
	SPI_keepplan(prepared);
	free_plan_with(mcxt, callback, prepared);
	MemoryContextSetParent(mcxt, table->mcxt);
}

/*
 * The plan for a statement of the kind.  Plans are saved with the table; one
 * that the catalogs have moved away from is made anew, since its text may
 * hold names of the past.
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

	/* to rename the constraint does not make the plan invalid, yet it is */
	plan = find_plan(table, &wanted);
	if (plan != NULL && SPI_plan_is_valid(plan->plan) &&
		(wanted.arbiter == NULL ||
		 strcmp(plan->arbiter, wanted.arbiter) == 0))
		return plan->plan;

	/* the oldest makes room */
	prepared = prepare(call, &wanted);
	if (plan == NULL && list_length(table->plans) >= MAX_PLANS)
		plan = linitial(table->plans);
	if (plan != NULL)
		retire_plan(table, plan);
	keep_plan(table, &wanted, prepared);
	return prepared;
}
