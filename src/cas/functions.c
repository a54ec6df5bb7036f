/*
 * functions.c
 *		The SQL functions on versioned rows: check the arguments, have swap.c
 *		do the work, shape the answer.
 *
 * Each swap has two forms that differ in how they answer.  cas_update() and
 * its like return the new version and raise what is in the way; the cas_try_
 * forms return an outcome with the row.  The SQL overloads for text and
 * anyelement ids share their C function, which asks for the argument's type.
 */
#include "cas.h"

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

/* The keys of a swap, which it points to. */
typedef struct SwapKeys
{
	CasKey		key;
	CasKey		new_key;
} SwapKeys;

/*
 * What a function does: read the swap's arguments from the third on, and do
 * it.
 */
typedef CasOutcome (*SwapFunction) (FunctionCallInfo fcinfo, CasCall *call,
									CasSwap *swap, SwapKeys *keys,
									CasRow *row);

/* ----------
 * The call
 * ----------
 */

/*
 * Whether the caller, who has these rights on the table, may SELECT every
 * column of the payload.
 */
static bool
payload_readable(CasTable *table, AclMode rights)
{
	if (rights & ACL_SELECT)
		return true;
	for (AttrNumber a = 1; a <= table->desc->natts; a++)
	{
		if (TupleDescAttr(table->desc, a - 1)->attisdropped ||
			(table->payload != 0 && a != table->payload))
			continue;
		if (pg_attribute_aclcheck(table->relid, a, GetUserId(),
								  ACL_SELECT) != ACLCHECK_OK)
			return false;
	}
	return true;
}

/*
 * Open and lock a table for a call of a function; it must be guarded.
 */
void
cas_begin_call(CasCall *call, Oid relid, LOCKMODE lockmode,
			   FunctionCallInfo fcinfo)
{
	AclMode		rights;

	if (XactReadOnly && lockmode > AccessShareLock)
		PreventCommandIfReadOnly(psprintf("%s()",
										  get_func_name(fcinfo->flinfo->fn_oid)));

	call->rel = try_relation_open(relid, lockmode);
	if (call->rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	call->table = cas_table_of(call->rel);
	if (call->table == NULL || !cas_guard_fires(call->table))
		ereport(ERROR,
				(errcode(ERRCODE_CAS_NOT_ENABLED),
				 errmsg("table \"%s\" is not under compare-and-swap",
						RelationGetRelationName(call->rel)),
				 cas_errdetail_table(call->rel),
				 call->table == NULL ?
				 errhint("Its owner can call cas_enable().") :
				 errhint("Its guard trigger is disabled, or does not fire in this session."),
				 errtable(call->rel)));
	if (call->table->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key",
						RelationGetRelationName(call->rel)),
				 errhint("Its rows are named by a primary key that is not deferrable."),
				 errtable(call->rel)));

	call->function = fcinfo->flinfo->fn_oid;
	call->caller = CurrentMemoryContext;
	rights = pg_class_aclmask(relid, GetUserId(), ACL_SELECT | ACL_UPDATE,
							  ACLMASK_ALL);
	call->payload_readable = payload_readable(call->table, rights);
	call->keys_locked = false;
	call->connected = false;
	direct_begin_call(call, rights);
}

/* Begin a call on the table that is the first argument. */
static void
begin_call(CasCall *call, FunctionCallInfo fcinfo, LOCKMODE lockmode)
{
	request_enter(fcinfo, lockmode == RowExclusiveLock ?
				  ENTRY_WRITES : ENTRY_JOINS);
	require_argument(fcinfo, 0, "rel");
	cas_begin_call(call, PG_GETARG_OID(0), lockmode, fcinfo);
}

/* End a call; the table stays locked until the end of the transaction. */
void
cas_end_call(CasCall *call)
{
	direct_end_call(call);
	relation_close(call->rel, NoLock);
}

static void
end_call(CasCall *call)
{
	if (call->connected)
		SPI_finish();
	cas_end_call(call);
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
				 errhint("Give the version that the row had when it was read.")));
	return version;
}

static Jsonb *
get_document(FunctionCallInfo fcinfo, int argno, const char *name)
{
	require_argument(fcinfo, argno, name);
	return PG_GETARG_JSONB_P(argno);
}

/*
 * See that cas_apply() can call a function.  It is called with the caller's
 * rights, so the caller must have the right to.
 */
void
cas_check_apply_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	bool		fits;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	fits = proc->prokind == PROKIND_FUNCTION && !proc->proretset &&
		proc->prorettype == JSONBOID && proc->pronargs == 2 &&
		proc->proargtypes.values[0] == JSONBOID &&
		proc->proargtypes.values[1] == JSONBOID;
	ReleaseSysCache(tuple);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("function %s cannot compute a payload",
						format_procedure(function)),
				 errhint("It must be a function (payload jsonb, args jsonb) RETURNS jsonb.")));
	if (object_aclcheck(ProcedureRelationId, function, GetUserId(),
						ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION,
					   get_func_name(function));
	InvokeFunctionExecuteHook(function);
}

/* ----------
 * Answers
 * ----------
 */

const char *
cas_outcome_name(CasOutcome outcome)
{
	switch (outcome)
	{
		case CAS_CREATED:
			return "created";
		case CAS_UPDATED:
			return "updated";
		case CAS_UNCHANGED:
			return "unchanged";
		case CAS_DELETED:
			return "deleted";
		case CAS_RENAMED:
			return "renamed";
		case CAS_CONFLICT:
			return "conflict";
		case CAS_MISSING:
			return "missing";
		case CAS_EXISTS:
			return "exists";
	}
	return NULL;				/* not reached */
}

/*
 * Start an error's DETAIL; the id is what the caller gave, the position where
 * in a cas_txn(), or NULL.
 */
static void
begin_detail(StringInfo detail, CasCall *call, const CasKey *key,
			 const char *position)
{
	detail_begin(detail);
	if (position != NULL)
		detail_text(detail, "position", position);
	detail_text(detail, "table", cas_relation_name(call->rel));
	detail_text(detail, "id", cas_key_text(call->table, key->values, NULL));
}

/*
 * Raise what an outcome means, if nothing was written, and log a conflict
 * even if it is not to be raised.  For CAS_EXISTS, key is the one taken.
 */
static void
report_outcome(CasCall *call, const CasKey *key, int64 expected,
			   CasOutcome outcome, const CasRow *row, const char *position,
			   bool raise)
{
	const char *relname = RelationGetRelationName(call->rel);
	StringInfoData detail;

	switch (outcome)
	{
		case CAS_CREATED:
		case CAS_UPDATED:
		case CAS_UNCHANGED:
		case CAS_DELETED:
		case CAS_RENAMED:
			break;
		case CAS_CONFLICT:
			if (!raise && !pg_cas_log_conflicts)
				break;
			begin_detail(&detail, call, key, position);
			detail_int(&detail, "expected", expected);
			if (row->version_isnull)
				detail_null(&detail, "actual");
			else
				detail_int(&detail, "actual", row->version);
			cas_log_conflict(call->rel, &detail);
			if (!raise)
				break;
			ereport(ERROR,
					(errcode(ERRCODE_CAS_CONFLICT),
					 errmsg("version conflict in table \"%s\"", relname),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("Read the row again, and do to it what you did to the version you had."),
					 errtablecol(call->rel, call->table->version)));
			break;
		case CAS_MISSING:
			if (!raise)
				break;
			begin_detail(&detail, call, key, position);
			ereport(ERROR,
					(errcode(ERRCODE_CAS_NOT_FOUND),
					 errmsg("no such row in table \"%s\"", relname),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("It was never there, or is deleted or renamed, or you may not see it."),
					 errtable(call->rel)));
			break;
		case CAS_EXISTS:
			if (!raise)
				break;
			begin_detail(&detail, call, key, position);
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("row already exists in table \"%s\"", relname),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("Choose another id, or change the row that has this one."),
					 errtableconstraint(call->rel,
										get_constraint_name(call->table->key_constraint))));
			break;
	}
}

/* The same for an operation of cas_txn(). */
void
cas_raise_outcome(CasCall *call, const CasKey *key, int64 expected,
				  CasOutcome outcome, const CasRow *row, const char *position)
{
	report_outcome(call, key, expected, outcome, row, position, true);
}

/* An answer of the composite type that the function returns. */
static Datum
make_result(FunctionCallInfo fcinfo, CasOutcome outcome, CasRow *row)
{
	TupleDesc	desc = fcinfo->flinfo->fn_extra;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

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
	values[0] = CStringGetTextDatum(cas_outcome_name(outcome));
	values[1] = CStringGetTextDatum(row->id);
	values[2] = Int64GetDatum(row->version);
	nulls[2] = row->version_isnull;
	values[3] = JsonbPGetDatum(row->payload);
	nulls[3] = row->payload == NULL;
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* The parts of a row that a call answers with. */
static int
answered(const CasCall *call)
{
	return CAS_WANTS_ID | (call->payload_readable ? CAS_WANTS_PAYLOAD : 0);
}

/*
 * Do a swap from first to last, and answer as the form asks.
 */
static Datum
do_swap(FunctionCallInfo fcinfo, SwapFunction function, bool try_form)
{
	CasCall		call;
	CasSwap		swap = {0};
	SwapKeys	keys;
	CasRow		row;
	CasOutcome	outcome;

	begin_call(&call, fcinfo, RowExclusiveLock);
	swap.wants = try_form ? answered(&call) : 0;
	if (!PG_ARGISNULL(1))
	{
		get_key(fcinfo, 1, "id", &call, &keys.key);
		swap.key = &keys.key;
	}
	outcome = function(fcinfo, &call, &swap, &keys, &row);
	report_outcome(&call, swap.new_key && outcome == CAS_EXISTS ?
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

/* (rel, id, payload jsonb); id NULL: the key's default makes one */
static CasOutcome
create(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	   CasRow *row)
{
	swap->document = get_document(fcinfo, 2, "payload");
	return swap_create(call, swap, row);
}

/* (rel, id, expected_version bigint, payload jsonb) */
static CasOutcome
update(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	   CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	swap->expected = get_expected_version(fcinfo, 2);
	swap->document = get_document(fcinfo, 3, "payload");
	return swap_update(call, swap, row);
}

/* (rel, id, expected_version bigint, patch jsonb) */
static CasOutcome
patch(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	  CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	swap->expected = get_expected_version(fcinfo, 2);
	swap->document = get_document(fcinfo, 3, "patch");
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
	swap->document = get_document(fcinfo, 2, "patch");
	return swap_merge(call, swap, row);
}

/* (rel, id, fn regprocedure, args jsonb) */
static CasOutcome
apply(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	  CasRow *row)
{
	FmgrInfo	fn;

	require_argument(fcinfo, 1, "id");
	require_argument(fcinfo, 2, "fn");
	cas_check_apply_function(PG_GETARG_OID(2));
	fmgr_info(PG_GETARG_OID(2), &fn);
	swap->fn = &fn;
	swap->document = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	return swap_apply(call, swap, row);
}

/* (rel, id, payload jsonb) */
static CasOutcome
put(FunctionCallInfo fcinfo, CasCall *call, CasSwap *swap, SwapKeys *keys,
	CasRow *row)
{
	require_argument(fcinfo, 1, "id");
	swap->document = get_document(fcinfo, 2, "payload");
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

/* Add a row to the answer of a function that RETURNS SETOF cas_row. */
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
	begin_call(&call, fcinfo, AccessShareLock);
	get_key(fcinfo, 1, "id", &call, &key);
	if (swap_read(&call, &key, answered(&call), &row))
		return_row(fcinfo, &row);
	end_call(&call);
	return (Datum) 0;
}

static int
compare_keys(const void *a, const void *b, void *table)
{
	return cas_key_compare(table, a, b);
}

/* An array of ids from its text form. */
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

		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
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
 * The keys in an array of ids, ordered, each once.  An array without a type,
 * as literals and drivers' parameters are, comes as text.
 */
static CasKey *
get_keys(FunctionCallInfo fcinfo, int argno, CasCall *call, int *n)
{
	ArrayType  *array;
	Datum	   *ids;
	bool	   *nulls;
	int			nids;
	CasKey	   *keys;
	Oid			type;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	require_argument(fcinfo, argno, "ids");
	if (get_fn_expr_argtype(fcinfo->flinfo, argno) == TEXTOID)
		array = array_from_text(PG_GETARG_TEXT_PP(argno));
	else
		array = PG_GETARG_ARRAYTYPE_P(argno);
	type = ARR_ELEMTYPE(array);
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, type, typlen, typbyval, typalign, &ids, &nulls,
					  &nids);

	keys = palloc(sizeof(CasKey) * Max(nids, 1));
	for (int i = 0; i < nids; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"ids\" must not contain nulls")));
		cas_key_from_argument(call->table, ids[i], type, &keys[i]);
	}
	qsort_arg(keys, nids, sizeof(CasKey), compare_keys, call->table);

	*n = 0;
	for (int i = 0; i < nids; i++)
		if (i == 0 ||
			cas_key_compare(call->table, &keys[*n - 1], &keys[i]) != 0)
			keys[(*n)++] = keys[i];
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
 * cas_lock(rel regclass, ids, mode text) RETURNS SETOF cas_row: rows are
 * locked, and returned, in the order of their keys, whatever the order of the
 * ids, so that two calls cannot deadlock with each other.
 */
Datum
cas_lock(PG_FUNCTION_ARGS)
{
	CasCall		call;
	CasLockMode mode;
	CasKey	   *keys;
	int			n;
	CasRow		row;

	InitMaterializedSRF(fcinfo, 0);
	begin_call(&call, fcinfo, RowShareLock);
	mode = get_lock_mode(fcinfo, 2);
	keys = get_keys(fcinfo, 1, &call, &n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (swap_lock(&call, &keys[i], mode, answered(&call), &row))
			return_row(fcinfo, &row);
	}
	end_call(&call);
	return (Datum) 0;
}
