/*
 * functions.c
 *		SQL functions of versioned rows: check the arguments, call swap.c, and
 *		form the result.
 *
 * Each swap has two forms.  cas_update() and similar functions return the new
 * version and raise an error if nothing could be written; the cas_try_ forms
 * return an outcome and the row.  The SQL overloads for text and anyelement
 * ids share a C function, which finds out the type of its argument.
 */
#include "swap.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "base/entry.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cas_get);
PG_FUNCTION_INFO_V1(cas_lock);
PG_FUNCTION_INFO_V1(cas_create);
PG_FUNCTION_INFO_V1(cas_try_create);
PG_FUNCTION_INFO_V1(cas_update);
PG_FUNCTION_INFO_V1(cas_try_update);
PG_FUNCTION_INFO_V1(cas_patch);
PG_FUNCTION_INFO_V1(cas_try_patch);
PG_FUNCTION_INFO_V1(cas_delete);
PG_FUNCTION_INFO_V1(cas_try_delete);
PG_FUNCTION_INFO_V1(cas_rename);
PG_FUNCTION_INFO_V1(cas_try_rename);
PG_FUNCTION_INFO_V1(cas_merge);
PG_FUNCTION_INFO_V1(cas_apply);
PG_FUNCTION_INFO_V1(cas_put);

/* The keys that a CasSwap points to. */
typedef struct SwapKeys
{
	CasKey		key;
	CasKey		new_key;
} SwapKeys;

/*
 * The part of a call that differs between functions: read the arguments from
 * the third on, and run the swap.
 */
typedef CasOutcome (*SwapFunction) (FunctionCallInfo fcinfo, CasCall *call,
									CasSwap *swap, SwapKeys *keys,
									CasRow *row);

/* ----------
 * The call
 * ----------
 */

/* Begin a call on the table given by the first argument. */
static void
begin_call(CasCall *call, FunctionCallInfo fcinfo, CasAccess access)
{
	request_enter(fcinfo, access == CAS_WRITES ? ENTRY_WRITES : ENTRY_JOINS);
	require_argument(fcinfo, 0, "rel");
	call_begin(call, PG_GETARG_OID(0), access, fcinfo);
}

static void
end_call(CasCall *call)
{
	if (call->connected)
		SPI_finish();
	call_end(call);
}

/* ----------
 * Arguments
 * ----------
 */

static void
get_key(FunctionCallInfo fcinfo, int argno, const char *name, CasCall *call,
		CasKey *key)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, argno);

	/* if called without an expression, take the argument for text */
	require_argument(fcinfo, argno, name);
	cas_key_from_argument(call->table, PG_GETARG_DATUM(argno),
						  OidIsValid(type) ? type : TEXTOID, key);
}

static int64
get_expected_version(FunctionCallInfo fcinfo, int argno)
{
	int64		version;

	require_argument(fcinfo, argno, "expected_version");
	version = PG_GETARG_INT64(argno);
	if (version < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected_version must not be negative"),
				 errhint("Pass the version that the row had when it was read.")));
	return version;
}

static Jsonb *
document_argument(FunctionCallInfo fcinfo, int argno, const char *name)
{
	require_argument(fcinfo, argno, name);
	return PG_GETARG_JSONB_P(argno);
}

/* ----------
 * Answers
 * ----------
 */

/* Form the result of a try form, of the composite type that it returns. */
static Datum
make_result(FunctionCallInfo fcinfo, CasOutcome outcome, CasRow *row)
{
	TupleDesc	desc = fcinfo->flinfo->fn_extra;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	/* The descriptor is kept for the function's next call in the statement. */
	if (desc == NULL)
	{
		MemoryContext old;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		desc = BlessTupleDesc(CreateTupleDescCopy(desc));
		MemoryContextSwitchTo(old);
		fcinfo->flinfo->fn_extra = desc;
	}
	values[0] = CStringGetTextDatum(outcome_name(outcome));
	values[1] = CStringGetTextDatum(row->id);
	values[2] = Int64GetDatum(row->version);
	nulls[2] = row->version_isnull;
	values[3] = JsonbPGetDatum(row->payload);
	nulls[3] = row->payload == NULL;
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/*
 * Run a swap: read the arguments, call the function, report the outcome, and
 * form the result.
 */
static Datum
do_swap(FunctionCallInfo fcinfo, SwapFunction function, bool try_form)
{
	CasCall		call;
	CasSwap		swap = {0};
	SwapKeys	keys;
	CasRow		row;
	CasOutcome	outcome;

	begin_call(&call, fcinfo, CAS_WRITES);

	/* The plain forms return only the version, so read nothing else. */
	swap.wants = try_form ? call_answer_wants(&call) : 0;
	swap.unlocked = try_form && !pg_cas_conflict_lock;

	/* only cas_create() accepts a NULL id; the others raise 22004 */
	if (!PG_ARGISNULL(1))
	{
		get_key(fcinfo, 1, "id", &call, &keys.key);
		swap.key = &keys.key;
	}
	outcome = function(fcinfo, &call, &swap, &keys, &row);

	/* after a rename, the key that is taken is the new one */
	outcome_report(&call, swap.new_key && outcome == CAS_EXISTS ?
				   swap.new_key : swap.key, swap.expected, outcome, &row,
				   NULL, !try_form);
	end_call(&call);
	if (!try_form)
		PG_RETURN_INT64(row.version);
	return make_result(fcinfo, outcome, &row);
}

/* ----------
 * The swaps
 * ----------
 */

/* (rel, id, payload jsonb); if id is NULL, the key's default is used */
static CasOutcome
create(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	   CasRow *row)
{
	swap->document = document_argument(fcinfo, 2, "payload");
	return swap_create(call, swap, row);
}

/* (rel, id, expected_version bigint, payload jsonb) */
static CasOutcome
update(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	   CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	swap->expected = get_expected_version(fcinfo, 2);
	swap->document = document_argument(fcinfo, 3, "payload");
	return swap_update(call, swap, row);
}

/* (rel, id, expected_version bigint, patch jsonb) */
static CasOutcome
patch(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	  CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	swap->expected = get_expected_version(fcinfo, 2);
	swap->document = document_argument(fcinfo, 3, "patch");
	return swap_patch(call, swap, row);
}

/* (rel, id, expected_version bigint) */
static CasOutcome
delete(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	   CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	swap->expected = get_expected_version(fcinfo, 2);
	return swap_delete(call, swap, row);
}

/* (rel, id, expected_version bigint, new_id) */
static CasOutcome
rename_row(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap,
		   SwapKeys *keys, CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	swap->expected = get_expected_version(fcinfo, 2);
	get_key(fcinfo, 3, "new_id", call, &keys->new_key);
	swap->new_key = &keys->new_key;
	return swap_rename(call, swap, row);
}

/* (rel, id, patch jsonb) */
static CasOutcome
merge(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	  CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	swap->document = document_argument(fcinfo, 2, "patch");
	return swap_merge(call, swap, row);
}

/* (rel, id, fn regprocedure, args jsonb) */
static CasOutcome
apply(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	  CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	require_argument(fcinfo, 2, "fn");

	/* check the function before the row is locked */
	swap->fn = PG_GETARG_OID(2);
	call_check_apply_function(swap->fn);
	swap->document = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	return swap_apply(call, swap, row);
}

/* (rel, id, payload jsonb) */
static CasOutcome
put(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	swap->document = document_argument(fcinfo, 2, "payload");
	return swap_put(call, swap, row);
}

Datum
cas_create(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, create, false);
}

Datum
cas_try_create(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, create, true);
}

Datum
cas_update(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, update, false);
}

Datum
cas_try_update(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, update, true);
}

Datum
cas_patch(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, patch, false);
}

Datum
cas_try_patch(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, patch, true);
}

Datum
cas_delete(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, delete, false);
}

Datum
cas_try_delete(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, delete, true);
}

Datum
cas_rename(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, rename_row, false);
}

Datum
cas_try_rename(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, rename_row, true);
}

Datum
cas_merge(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, merge, false);
}

Datum
cas_apply(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, apply, false);
}

Datum
cas_put(PG_FUNCTION_ARGS)
{
	return do_swap(fcinfo, put, false);
}

/* ----------
 * Reading and locking
 * ----------
 */

/* Add a row to the result of a function that RETURNS SETOF cas_row. */
static void
return_row(FunctionCallInfo fcinfo, CasRow *row)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = CStringGetTextDatum(row->id);
	values[1] = Int64GetDatum(row->version);
	nulls[1] = row->version_isnull;
	values[2] = JsonbPGetDatum(row->payload);
	nulls[2] = row->payload == NULL;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* cas_get(rel regclass, id) RETURNS SETOF cas_row */
Datum
cas_get(PG_FUNCTION_ARGS)
{
	CasCall		call;
	CasKey		key;
	CasRow		row;

	InitMaterializedSRF(fcinfo, 0);
	begin_call(&call, fcinfo, CAS_READS);
	get_key(fcinfo, 1, "id", &call, &key);
	if (row_read(&call, &key, call_answer_wants(&call), &row))
		return_row(fcinfo, &row);
	end_call(&call);
	return (Datum) 0;
}

static int
compare_keys(const void *a, const void *b, void *call)
{
	/* to sort very many takes long */
	CHECK_FOR_INTERRUPTS();
	return cas_key_compare(call, a, b);
}

/* Convert the text form of an array of ids; raise 22023 if it is malformed. */
static ArrayType *
array_from_text(text *array)
{
	MemoryContext mcxt = CurrentMemoryContext;
	volatile Datum result = 0;

	PG_TRY();
	{
		result = OidFunctionCall3(F_ARRAY_IN,
								  CStringGetDatum(text_to_cstring(array)),
								  ObjectIdGetDatum(TEXTOID),
								  Int32GetDatum(-1));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/* Report what array_in() objects to as an invalid argument. */
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		/* leave ErrorContext, where FlushErrorState() frees everything */
		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		FlushErrorState();
		error->sqlerrcode = ERRCODE_INVALID_PARAMETER_VALUE;
		error->hint = "The ids are an array, such as '{a,b}'.";
		ReThrowError(error);
	}
	PG_END_TRY();
	return DatumGetArrayTypeP(result);
}

/*
 * Return the distinct keys in an array of ids, in their order: *n keys of
 * *size bytes each.
 */
static char *
get_keys(FunctionCallInfo fcinfo, int argno, CasCall *call, int *n,
		 Size *size)
{
	ArrayType  *array;
	Datum	   *ids;
	bool	   *nulls;
	int			nids;
	char	   *keys;
	CasKey		key;
	Oid			type;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	require_argument(fcinfo, argno, "ids");

	/* Literals and untyped parameters are resolved as text. */
	if (get_fn_expr_argtype(fcinfo->flinfo, argno) == TEXTOID)
		array = array_from_text(PG_GETARG_TEXT_PP(argno));
	else
		array = PG_GETARG_ARRAYTYPE_P(argno);
	type = ARR_ELEMTYPE(array);
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, type, typlen, typbyval, typalign, &ids, &nulls,
					  &nids);

	/* There may be very many ids, so allocate only the columns in use. */
	*size = offsetof(CasKey, values) + sizeof(Datum) * call->table->nkeys;
	keys = MemoryContextAllocHuge(CurrentMemoryContext,
								  *size * Max(nids, 1));
	for (int i = 0; i < nids; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"ids\" must not contain nulls")));
		CHECK_FOR_INTERRUPTS();
		cas_key_from_argument(call->table, ids[i], type, &key);
		memcpy(keys + i * *size, &key, *size);
	}
	qsort_arg(keys, nids, *size, compare_keys, call);

	/* Remove duplicates, which are adjacent now. */
	*n = 0;
	for (int i = 0; i < nids; i++)
		if (i == 0 ||
			compare_keys(keys + (*n - 1) * *size, keys + i * *size,
						 call) != 0)
			memmove(keys + (*n)++ * *size, keys + i * *size, *size);
	return keys;
}

static CasLockMode
get_lock_mode(FunctionCallInfo fcinfo, int argno)
{
	char	   *mode;

	require_argument(fcinfo, argno, "mode");
	mode = text_to_cstring(PG_GETARG_TEXT_PP(argno));
	if (strcmp(mode, "update") == 0)
		return CAS_LOCK_UPDATE;
	if (strcmp(mode, "share") == 0)
		return CAS_LOCK_SHARE;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid lock mode: \"%s\"", mode),
			 errhint("The mode is \"update\" or \"share\".")));
	return CAS_LOCK_UPDATE;		/* not reached */
}

/*
 * cas_lock(rel regclass, ids, mode text) RETURNS SETOF cas_row
 *
 * Locks rows and returns them, in the order of their keys and not of the ids,
 * so that two calls cannot deadlock with each other.
 */
Datum
cas_lock(PG_FUNCTION_ARGS)
{
	CasCall		call;
	CasLockMode mode;
	char	   *keys;
	Size		size;
	int			n;
	CasRow		row;

	InitMaterializedSRF(fcinfo, 0);
	begin_call(&call, fcinfo, CAS_LOCKS);
	mode = get_lock_mode(fcinfo, 2);
	keys = get_keys(fcinfo, 1, &call, &n, &size);
	call.results = AllocSetContextCreate(CurrentMemoryContext, "pg_cas row",
										 ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(call.results);

		/* a missing row is left out of the result */
		if (row_lock(&call, (CasKey *) (keys + i * size), mode,
					 call_answer_wants(&call), NULL, &row))
		{
			MemoryContext caller = MemoryContextSwitchTo(call.results);

			return_row(fcinfo, &row);
			MemoryContextSwitchTo(caller);
		}
	}
	end_call(&call);
	return (Datum) 0;
}
