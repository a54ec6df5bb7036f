/*
 * txn_answer.c
 *		Build the answer of cas_txn(), a JSON object.
 */
#include "txn.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

void
txn_answer_begin(JsonbInState *state)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
}

Jsonb *
txn_answer_end(JsonbInState *state)
{
	return document_end(state);
}

static void
push_string(JsonbInState *state, const char *field, const char *value)
{
	JsonbValue	v;

	document_push_key(state, field);
	v.type = jbvString;
	v.val.string.val = unconstify(char *, value);
	v.val.string.len = strlen(value);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_bool(JsonbInState *state, const char *field, bool value)
{
	JsonbValue	v;

	document_push_key(state, field);
	v.type = jbvBool;
	v.val.boolean = value;
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_version(JsonbInState *state, bool found, const CasRow *row)
{
	JsonbValue	v;

	document_push_key(state, "version");
	if (found && !row->version_isnull)
	{
		v.type = jbvNumeric;
		v.val.numeric = int64_to_numeric(row->version);
	}
	else
		v.type = jbvNull;
	pushJsonbValue(state, WJB_VALUE, &v);
}

/* Return a row's key as the answer shows it. */
static char *
key_text(TxnRow *row)
{
	return cas_key_text(row->table->call.table, row->key.values, NULL);
}

/* Evaluate and push the comparisons; return whether all of them hold. */
bool
txn_answer_comparisons(JsonbInState *state, const TxnList *list)
{
	bool		all = true;

	document_push_key(state, "compare");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
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
		all = all && ok;

		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_string(state, "table", item->table->name);
		push_string(state, "id", key_text(item->row));
		push_bool(state, "ok", ok);
		push_version(state, row->found, &row->row);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	push_bool(state, "succeeded", all);
	return all;
}

/* Push the result of an operation. */
void
txn_answer_result(JsonbInState *state, TxnItem *item, CasOutcome outcome,
				  const CasRow *row)
{
	bool		found = outcome != CAS_MISSING;
	const char *name = outcome_name(outcome);

	if (item->op == TXN_GET)
		name = found ? "found" : "missing";

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_string(state, "op", txn_shapes[item->op].name);
	push_string(state, "table", item->table->name);

	/* a created row's key may come from its default */
	push_string(state, "id", found ? row->id : key_text(item->row));
	push_string(state, "outcome", name);
	push_version(state, found, row);
	if (item->op == TXN_GET)
	{
		JsonbValue	v = {.type = jbvNull};

		document_push_key(state, "payload");
		if (found && row->payload != NULL &&
			!JsonbExtractScalar(&row->payload->root, &v))
			JsonbToJsonbValue(row->payload, &v);
		pushJsonbValue(state, WJB_VALUE, &v);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

void
txn_answer_results_begin(JsonbInState *state)
{
	document_push_key(state, "results");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
}

void
txn_answer_results_end(JsonbInState *state)
{
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}
