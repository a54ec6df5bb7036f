/*
 * txn_answer.c
 *		Build the answer of cas_txn(), a JSON object.
 *
 * It is built as JsonbValueToJsonb() takes it, without pushJsonbValue(), which
 * would collect the fields of each object and sort them: 340,000 of the
 * 7,000,000 instructions of a call with 100 updates, instead of 60,000.  So the
 * fields of an object must be added in jsonb's order: shorter names first, and
 * those of the same length by their bytes.
 */
#include "txn.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

static void
set_string(JsonbValue *v, const char *string)
{
	v->type = jbvString;
	v->val.string.val = unconstify(char *, string);
	v->val.string.len = strlen(string);
}

static void
set_bool(JsonbValue *v, bool value)
{
	v->type = jbvBool;
	v->val.boolean = value;
}

static void
set_version(JsonbValue *v, bool found, const CasRow *row)
{
	v->type = jbvNull;
	if (found && !row->version_isnull)
	{
		v->type = jbvNumeric;
		v->val.numeric = int64_to_numeric(row->version);
	}
}

/* Set a value to a document, or to null if that is NULL. */
static void
set_document(JsonbValue *v, Jsonb *document)
{
	JsonbInState state = {0};
	JsonbValue	binary;

	v->type = jbvNull;
	if (document == NULL || JsonbExtractScalar(&document->root, v))
		return;

	/* in an array, so that it is unpacked */
	JsonbToJsonbValue(document, &binary);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	pushJsonbValue(&state, WJB_ELEM, &binary);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	*v = state.result->val.array.elems[0];
}

/* Begin an object that will have no more than this number of fields. */
static void
begin_object(JsonbValue *object, int fields)
{
	object->type = jbvObject;
	object->val.object.nPairs = 0;
	object->val.object.pairs = palloc(sizeof(JsonbPair) * fields);
}

/* Add a field to an object, and return its value, which the caller sets. */
static JsonbValue *
add_field(JsonbValue *object, const char *name)
{
	JsonbPair  *pair = &object->val.object.pairs[object->val.object.nPairs++];

	set_string(&pair->key, name);
	return &pair->value;
}

/* Begin an array, and return its elements, which the caller sets. */
static JsonbValue *
begin_array(JsonbValue *array, int elements)
{
	/* a request of 1 GB can have very many items */
	array->type = jbvArray;
	array->val.array.nElems = elements;
	array->val.array.rawScalar = false;
	array->val.array.elems =
		MemoryContextAllocExtended(CurrentMemoryContext,
								   sizeof(JsonbValue) * Max(elements, 1),
								   MCXT_ALLOC_HUGE);
	return array->val.array.elems;
}

/* Return a row's key as the answer shows it. */
static char *
key_text(TxnRow *row)
{
	return cas_key_text(row->table->call.table, row->key.values, NULL);
}

/*
 * Begin the answer with the comparisons.  Evaluate them, and return whether all
 * of them hold.
 */
bool
txn_answer_begin(TxnAnswer *answer, const TxnList *list)
{
	JsonbValue *elements;

	begin_object(&answer->object, 3);
	elements = begin_array(add_field(&answer->object, "compare"), list->n);
	answer->succeeded = true;
	for (int i = 0; i < list->n; i++)
	{
		TxnItem    *item = &list->items[i];
		TxnRow	   *row = item->row->same;
		bool		ok;

		/* The row was read when it was locked, so it still is like this. */
		if (item->version >= 0)
			ok = row->found && !row->row.version_isnull &&
				row->row.version == item->version;
		else
			ok = row->found == item->exists;
		answer->succeeded = answer->succeeded && ok;

		begin_object(&elements[i], 4);
		set_string(add_field(&elements[i], "id"), key_text(item->row));
		set_bool(add_field(&elements[i], "ok"), ok);
		set_string(add_field(&elements[i], "table"), item->table->name);
		set_version(add_field(&elements[i], "version"), row->found, &row->row);
	}
	return answer->succeeded;
}

/* Begin the results of a list's operations. */
void
txn_answer_results(TxnAnswer *answer, const TxnList *list)
{
	answer->results = begin_array(add_field(&answer->object, "results"),
								  list->n);
}

/* Add the result of an operation.  This must be called for each. */
void
txn_answer_result(TxnAnswer *answer, TxnItem *item, CasOutcome outcome,
				  const CasRow *row)
{
	JsonbValue *object = &answer->results[item->index];
	bool		found = outcome != CAS_MISSING;
	const char *name = outcome_name(outcome);

	if (item->op == TXN_GET)
		name = found ? "found" : "missing";

	/* a created row's key may come from its default */
	begin_object(object, 6);
	set_string(add_field(object, "id"), found ? row->id : key_text(item->row));
	set_string(add_field(object, "op"), txn_shapes[item->op].name);
	set_string(add_field(object, "table"), item->table->name);
	set_string(add_field(object, "outcome"), name);
	if (item->op == TXN_GET)
		set_document(add_field(object, "payload"),
					 found ? row->payload : NULL);
	set_version(add_field(object, "version"), found, row);
}

Jsonb *
txn_answer_end(TxnAnswer *answer)
{
	set_bool(add_field(&answer->object, "succeeded"), answer->succeeded);
	return JsonbValueToJsonb(&answer->object);
}
