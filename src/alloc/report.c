/*
 * report.c
 *		Allocation: the SQL functions that look at a pool as a whole.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "alloc/alloc.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_usage);
PG_FUNCTION_INFO_V1(alloc_map);
PG_FUNCTION_INFO_V1(alloc_verify);

/* The pools that the caller may see, as an array of their ids. */
static Datum
visible_pools(void)
{
	ArrayBuildState *ids = initArrayResult(INT4OID, CurrentMemoryContext,
										   false);
	OwnerScope	scope;

	owner_sql_begin(&scope);
	owner_sql("SELECT p.id, p.owner, ARRAY(SELECT g.role "
			  "FROM @alloc_grantee AS g WHERE g.pool = p.id) "
			  "FROM @alloc_pool AS p", 0, NULL, NULL);
	owner_leave(&scope);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		owner = owner_sql_value(i, 2, &isnull);

		if (pool_shows(isnull ? InvalidOid : DatumGetObjectId(owner),
					   DatumGetArrayTypeP(owner_sql_value(i, 3, &isnull))))
			ids = accumArrayResult(ids, owner_sql_value(i, 1, &isnull), false,
								   INT4OID, CurrentMemoryContext);
	}
	owner_sql_end(&scope);
	return makeArrayResult(ids, CurrentMemoryContext);
}

/* The one that the first argument names, likewise. */
static Datum
named_pool(FunctionCallInfo fcinfo)
{
	Pool	   *pool = pool_open(alloc_namespace(fcinfo),
								 text_to_cstring(PG_GETARG_TEXT_PP(0)),
								 RIGHT_SEE);
	Datum		id = Int32GetDatum(pool->id);

	return PointerGetDatum(construct_array(&id, 1, INT4OID, sizeof(int32),
										   true, TYPALIGN_INT));
}

/*
 * Answer with what a private SQL function says about each pool that the
 * caller may see, or about the one that is named.
 */
static Datum
report(FunctionCallInfo fcinfo, const char *statement, bool required)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OwnerScope	scope;
	Datum		pools;
	int			natts;
	Datum	   *values;
	bool	   *nulls;

	request_enter(fcinfo, ENTRY_JOINS);
	if (required)
		require_argument(fcinfo, 0, "pool");
	InitMaterializedSRF(fcinfo, required ? MAT_SRF_USE_EXPECTED_DESC : 0);
	pools = PG_ARGISNULL(0) ? visible_pools() : named_pool(fcinfo);
	natts = rsinfo->setDesc->natts;
	values = palloc(natts * sizeof(Datum));
	nulls = palloc(natts * sizeof(bool));

	owner_sql_begin(&scope);
	owner_sql(statement, ARGS(INT4ARRAYOID), VALUES(pools));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		for (int col = 0; col < natts; col++)
			values[col] = owner_sql_value(i, col + 1, &nulls[col]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	owner_sql_end(&scope);
	return (Datum) 0;
}

/* alloc_usage(pool) */
Datum
alloc_usage(PG_FUNCTION_ARGS)
{
	return report(fcinfo, "SELECT u.* FROM @alloc_usage_of($1) AS u", false);
}

/* alloc_map(pool) */
Datum
alloc_map(PG_FUNCTION_ARGS)
{
	return report(fcinfo, "SELECT m.* FROM @alloc_map_of($1) AS m", true);
}

/* alloc_verify(pool) */
Datum
alloc_verify(PG_FUNCTION_ARGS)
{
	return report(fcinfo, "SELECT v.* FROM @alloc_verify_of($1) AS v", false);
}
