/*
 * plan.c
 *		Saved plans of the statements that swaps run.
 *
 * Plans are kept with the cached table (table.c).  They are looked up by the
 * kind of the statement, the columns that it writes, and the columns that it
 * returns.
 */
#include "plan.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "storage/proc.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rls.h"
#include "utils/typcache.h"

/*
 * Maximum number of plans kept per table.  Each set of columns that payloads
 * name needs a plan of its own.
 */
#define MAX_PLANS 64

/* Return the one field of ROW(…), or NULL for another expression. */
static Expr *
only_field(Node *node)
{
	RowExpr    *row = (RowExpr *) node;

	return IsA(node, RowExpr) && list_length(row->args) == 1 ?
		linitial(row->args) : NULL;
}

static Expr *
as_type(Expr *value, Oid type)
{
	return (Expr *) makeRelabelType(value, type, -1, InvalidOid,
									COERCE_IMPLICIT_CAST);
}

/*
 * Mutator: replace ROW(a) *<> ROW(b) by (a IS DISTINCT FROM b) as bytea, or as
 * bigint, which compare the images of all values that are varlena, or passed
 * by value.  No SQL has such a cast.
 *
 * Both must have the same type.  In the statement they do, but a condition that
 * a rule has added may compare what it likes, and gets PostgreSQL's error.
 */
static Node *
compare_images(Node *node, void *context)
{
	OpExpr	   *op = (OpExpr *) node;
	Expr	   *left;
	Expr	   *right;
	int16		length;
	bool		byval;
	Oid			type;
	DistinctExpr *distinct;

	if (node == NULL)
		return NULL;
	if (!IsA(node, OpExpr) || op->opfuncid != F_RECORD_IMAGE_NE ||
		(left = only_field(linitial(op->args))) == NULL ||
		(right = only_field(lsecond(op->args))) == NULL)
		return expression_tree_mutator(node, compare_images, context);
	type = exprType((Node *) left);
	get_typlenbyval(type, &length, &byval);
	if (type != exprType((Node *) right) || (length != -1 && !byval))
		return node;

	type = !byval ? BYTEAOID : length == 1 ? CHAROID :
		length == 2 ? INT2OID : length == 4 ? INT4OID : INT8OID;
	distinct = makeNode(DistinctExpr);
	distinct->opno = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	distinct->opfuncid = get_opcode(distinct->opno);
	distinct->opresulttype = BOOLOID;
	distinct->args = list_make2(as_type(left, type), as_type(right, type));
	distinct->location = -1;
	return (Node *) distinct;
}

/*
 * Make a prepared UPDATE compare columns more quickly.  Records that are made,
 * toasted and described only to be compared would cost 5,000 of its 141,000
 * instructions.
 */
static void
compare_quickly(SPIPlanPtr prepared)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(prepared));
	MemoryContext old = MemoryContextSwitchTo(source->query_context);
	ListCell   *lc;

	/* a rule may have added queries, or a utility command */
	foreach(lc, source->query_list)
	{
		Query	   *query = lfirst_node(Query, lc);

		if (query->commandType != CMD_UTILITY)
			query->jointree->quals = compare_images(query->jointree->quals,
													NULL);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Make a prepared SELECT, also one that locks its row, lock partitions as the
 * UPDATE that may follow does; see CasAccess.
 */
static void
lock_for_writing(SPIPlanPtr prepared)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(prepared));
	ListCell   *lc;
	ListCell   *table;

	foreach(lc, source->query_list)
	{
		foreach(table, lfirst_node(Query, lc)->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, table);

			if (rte->rtekind == RTE_RELATION)
				rte->rellockmode = RowExclusiveLock;
		}
	}
}

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
	 * generic one.  In a partitioned table, a plan for the given key locks one
	 * partition, and PostgreSQL decides whether that is worth the planning.
	 */
	partitioned = call->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	prepared = SPI_prepare_cursor(sql_build(call, plan), n, types,
								  partitioned ? 0 : CURSOR_OPT_GENERIC_PLAN);
	if (prepared == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s",
			 SPI_result_code_string(SPI_result));
	if (plan->compares)
		compare_quickly(prepared);
	if (plan->locks)
		lock_for_writing(prepared);
	return prepared;
}

/*
 * Return whether a plan was prepared for the present search_path and, if that
 * matters, role.  For others, PostgreSQL would analyze the statement again, from
 * the text, and so without our changes to it.
 */
static bool
is_for_session(SPIPlanPtr prepared)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(prepared));

	/* it has none if an analysis has failed */
	if (source->search_path == NULL)
		return true;
	return SearchPathMatchesCurrentEnvironment(source->search_path) &&
		(!source->dependsOnRLS ||
		 (source->rewriteRoleId == GetUserId() &&
		  source->rewriteRowSecurity == row_security));
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
			plan->locks == wanted->locks &&
			bms_equal(plan->returns, wanted->returns) &&
			plan->compares == wanted->compares &&
			bms_equal(plan->columns, wanted->columns) &&
			is_for_session(plan->plan))
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
	switch (statement->kind)
	{
		case STATEMENT_READ:
		case STATEMENT_DIFFERS:
		case STATEMENT_LOCK_SHARE:
		case STATEMENT_LOCK_NO_KEY_UPDATE:
		case STATEMENT_LOCK_UPDATE:
			/* who can only read holds off nobody */
			wanted.locks = call->access != CAS_READS &&
				call_may_lock_keys(call);
			break;
		default:
			break;				/* writes lock as they have to */
	}
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
