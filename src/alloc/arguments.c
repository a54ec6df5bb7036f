/*
 * arguments.c
 *		Arguments that several SQL functions have.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "alloc/answer.h"

/* Read the arguments ttl and note, the first of which is given. */
void
read_ttl_and_note(FunctionCallInfo fcinfo, int argno, Request *request)
{
	if (!PG_ARGISNULL(argno))
		request->ttl = PG_GETARG_INTERVAL_P(argno);
	if (request->ttl != NULL)
		(void) positive_interval_after(GetCurrentTimestamp(), request->ttl,
									   "ttl");
	/* The note is stored later, possibly after a wait: detoast it now. */
	request->has_note = !PG_ARGISNULL(argno + 1);
	if (request->has_note)
		request->note =
			PointerGetDatum(PG_DETOAST_DATUM(PG_GETARG_DATUM(argno + 1)));
}

/* Read an array of keys, none of which may be null. */
Datum *
read_keys(FunctionCallInfo fcinfo, int argno, int *nkeys)
{
	Datum	   *keys;
	bool	   *nulls;

	require_argument(fcinfo, argno, "keys");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argno), UUIDOID, UUID_LEN, false,
					  TYPALIGN_CHAR, &keys, &nulls, nkeys);
	for (int i = 0; i < *nkeys; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"keys\" must not contain nulls")));
	}
	return keys;
}
