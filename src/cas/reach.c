/*
 * reach.c
 *		Find out whether row-level security lets the caller delete a row.
 *
 * The policies for DELETE may hide a row that those for SELECT and UPDATE
 * show.  Policies are evaluated before other quals, so we run a DELETE whose
 * qual records that it was evaluated and returns false.
 *
 * The qual is the function cas_internal.cas_reached().  The caller has no
 * USAGE on that schema, so the statement cannot name the function.  Instead it
 * contains a column reference, which a parser hook replaces by the call.
 */
#include "plan.h"

#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "nodes/params.h"
#include "parser/parse_node.h"
#include "parser/parse_param.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cas_reached);

/* Set when cas_reached() is called. */
static bool reached = false;

/* The types of the statement's parameters. */
typedef struct ReachParameters
{
	Oid			types[INDEX_MAX_KEYS];
	int			n;
} ReachParameters;

/*
 * cas_reached() RETURNS boolean
 *
 * Records that it was called, and returns false.
 */
Datum
cas_reached(PG_FUNCTION_ARGS)
{
	reached = true;
	PG_RETURN_BOOL(false);
}

/* Parser hook: replace the column reference cas_reached by the call. */
static Node *
call_for_column(ParseState *pstate, ColumnRef *column)
{
	Oid			function;

	if (list_length(column->fields) != 1 ||
		!IsA(linitial(column->fields), String) ||
		strcmp(strVal(linitial(column->fields)), "cas_reached") != 0)
		return NULL;

	/* Look the function up without the caller's privileges on its schema. */
	function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
							   CStringGetDatum("cas_reached"),
							   PointerGetDatum(buildoidvector(NULL, 0)),
							   ObjectIdGetDatum(internal_schema()));
	if (!OidIsValid(function))
		elog(ERROR, "function cas_reached() of extension pg_cas is missing");
	return (Node *) makeFuncExpr(function, BOOLOID, NIL, InvalidOid,
								 InvalidOid, COERCE_EXPLICIT_CALL);
}

/* Set up the parser: parameters, and the hook. */
static void
set_up_parser(ParseState *pstate, void *arg)
{
	ReachParameters *parameters = arg;

	setup_parse_fixed_parameters(pstate, parameters->types, parameters->n);
	pstate->p_pre_columnref_hook = call_for_column;
}

/*
 * Return whether the policies for DELETE let the caller delete the row with
 * the key.  The call must be connected to SPI.
 */
bool
reach_by_delete(CasCall *call, CasKey *key)
{
	CasTable   *table = call->table;
	ReachParameters parameters = {.n = table->nkeys};
	ParamListInfo params = makeParamList(table->nkeys);
	SPIExecuteOptions options = {.params = params};
	StringInfoData sql;
	SPIPlanPtr	plan;
	int			rc;

	for (int i = 0; i < table->nkeys; i++)
	{
		parameters.types[i] = table->keys[i].type;
		params->params[i].value = key->values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = table->keys[i].type;
	}

	/* As in sql.c, but with the qual, and without RETURNING. */
	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s%s AS t",
					 call->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
					 "" : "ONLY ", cas_relation_name(call->rel));
	sql_append_where_key(&sql, table);
	appendStringInfoString(&sql, " AND cas_reached");

	plan = SPI_prepare_params(sql.data, set_up_parser, &parameters, 0);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_params failed: %s",
			 SPI_result_code_string(SPI_result));

	/* The qual is false, so the DELETE neither locks the row nor waits. */
	reached = false;
	rc = SPI_execute_plan_extended(plan, &options);
	if (rc != SPI_OK_DELETE)
		elog(ERROR, "SPI_execute_plan_extended failed: %s",
			 SPI_result_code_string(rc));
	SPI_freeplan(plan);
	return reached;
}
