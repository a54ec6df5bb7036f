/*
 * txn_request.c
 *		Read the request of cas_txn(), all of it before anything is done.
 */
#include "txn.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/syscache.h"

static const char *const field_names[TXN_FIELDS] = {
	NULL, "op", "table", "id", "version", "exists", "absent", "payload",
	"patch", "new_id", "fn", "args"
};

const TxnOpShape txn_shapes[] =
{
	[TXN_CREATE] = {"create", FIELD_PAYLOAD, FIELD_NONE, CAS_LOCK_NO_KEY_UPDATE},
	[TXN_UPDATE] = {"update", FIELD_PAYLOAD, FIELD_VERSION, CAS_LOCK_NO_KEY_UPDATE},
	[TXN_PATCH] = {"patch", FIELD_PATCH, FIELD_VERSION, CAS_LOCK_NO_KEY_UPDATE},
	[TXN_DELETE] = {"delete", FIELD_NONE, FIELD_VERSION, CAS_LOCK_UPDATE},
	[TXN_RENAME] = {"rename", FIELD_NEW_ID, FIELD_VERSION, CAS_LOCK_UPDATE},
	[TXN_MERGE] = {"merge", FIELD_PATCH, FIELD_NONE, CAS_LOCK_NO_KEY_UPDATE},
	[TXN_APPLY] = {"apply", FIELD_FN, FIELD_ARGS, CAS_LOCK_NO_KEY_UPDATE},
	[TXN_PUT] = {"put", FIELD_PAYLOAD, FIELD_NONE, CAS_LOCK_NO_KEY_UPDATE},
	[TXN_GET] = {"get", FIELD_NONE, FIELD_NONE, CAS_LOCK_SHARE},
};

static char *
position_detail(const char *position)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "position", position);
	return detail_end(&detail);
}

pg_noreturn static void
raise_malformed(const char *position, const char *problem, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s %s", position, problem),
			 errdetail_internal("%s", position_detail(position)),
			 hint ? errhint("%s", hint) : 0));
}

/* Return the position of an item in the request. */
char *
txn_position(const TxnItem *item)
{
	return psprintf("%s[%d]", item->list, item->index);
}

static char *
field_position(const TxnItem *item, TxnField field)
{
	return psprintf("%s[%d].%s", item->list, item->index, field_names[field]);
}

/*
 * In a PG_CATCH(): raise the error again.  Its DETAIL has the position in the
 * request and the original DETAIL.
 */
pg_noreturn static void
rethrow_at(const TxnItem *item, TxnField field, MemoryContext mcxt)
{
	ErrorData  *error;
	StringInfoData detail;

	/* leave ErrorContext, where FlushErrorState() frees everything */
	MemoryContextSwitchTo(mcxt);
	error = CopyErrorData();
	FlushErrorState();
	detail_begin(&detail);
	detail_text(&detail, "position", field == FIELD_NONE ?
				txn_position(item) : field_position(item, field));
	if (error->detail != NULL)
		detail_text(&detail, "detail", error->detail);
	error->detail = detail_end(&detail);
	ReThrowError(error);
}

void
txn_rethrow_at(const TxnItem *item, MemoryContext mcxt)
{
	rethrow_at(item, FIELD_NONE, mcxt);
}

/* Read the fields of an item.  Raise 22023 for unknown fields. */
static void
read_fields(Txn *txn, const TxnItem *item, JsonbContainer *object)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	v;
	int			field = FIELD_NONE;

	/* txn->fields is used for each item in turn */
	memset(txn->has_field, false, sizeof(txn->has_field));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			for (field = FIELD_NONE + 1; field < TXN_FIELDS; field++)
				if (strlen(field_names[field]) == v.val.string.len &&
					memcmp(field_names[field], v.val.string.val,
						   v.val.string.len) == 0)
					break;
			if (field == TXN_FIELDS)
				raise_malformed(psprintf("%s.%.*s", txn_position(item),
										 v.val.string.len, v.val.string.val),
								"is not a known field", NULL);
		}
		else if (token == WJB_VALUE)
		{
			txn->fields[field] = v;
			txn->has_field[field] = true;
		}
	}
}

/* Raise 22023 if an item has other fields than these. */
static void
check_fields(const Txn *txn, const TxnItem *item, const TxnField *fields,
			 int n)
{
	for (int field = FIELD_NONE + 1; field < TXN_FIELDS; field++)
	{
		bool		known = !txn->has_field[field];

		/* the field is missing, or one of those allowed */
		for (int i = 0; i < n && !known; i++)
			known = fields[i] == field;
		if (!known)
			raise_malformed(field_position(item, field), "is not a known field",
							NULL);
	}
}

static const JsonbValue *
get_field(const Txn *txn, TxnField field)
{
	return txn->has_field[field] ? &txn->fields[field] : NULL;
}

static char *
string_value(const JsonbValue *value)
{
	/* strings in a jsonb are not null-terminated */
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* Return a required field that must be a string. */
static const JsonbValue *
get_string(const Txn *txn, const TxnItem *item, TxnField field)
{
	const JsonbValue *value = get_field(txn, field);

	if (value == NULL)
		raise_malformed(field_position(item, field), "is missing", NULL);
	if (value->type != jbvString)
		raise_malformed(field_position(item, field), "is not a string", NULL);
	return value;
}

static bool
string_is(const JsonbValue *string, const char *text)
{
	return string->val.string.len == strlen(text) &&
		memcmp(string->val.string.val, text, string->val.string.len) == 0;
}

/* Return a field, which must be present, as a document. */
static Jsonb *
get_document(const Txn *txn, TxnField field)
{
	return JsonbValueToJsonb(unconstify(JsonbValue *, get_field(txn, field)));
}

static char *
number_text(const JsonbValue *value)
{
	Datum		number = NumericGetDatum(value->val.numeric);

	return DatumGetCString(DirectFunctionCall1(numeric_out, number));
}

/* Return the version of an item, or -1 if it has none. */
static int64
get_version(const Txn *txn, const TxnItem *item)
{
	static const char greatest[] = "9223372036854775807";
	const JsonbValue *value = get_field(txn, FIELD_VERSION);
	char	   *text = "";

	if (value == NULL)
		return -1;

	/* int8in() would accept blanks and signs, and raise another SQLSTATE */
	if (value->type == jbvNumeric)
		text = number_text(value);
	if (*text == '\0' || strspn(text, "0123456789") != strlen(text) ||
		strlen(text) > strlen(greatest) ||
		(strlen(text) == strlen(greatest) && strcmp(text, greatest) > 0))
		raise_malformed(field_position(item, FIELD_VERSION), "is not a version",
						"A version is a whole number that is not negative.");
	return DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(text)));
}

/* Return the table that an item names; open and lock it if it is new. */
static TxnTable *
get_table(Txn *txn, const TxnItem *item)
{
	const JsonbValue *name = get_string(txn, item, FIELD_TABLE);
	TxnTable   *table;
	Datum		relid;
	ListCell   *lc;

	/* by name, so a table named in two ways is opened twice */
	foreach(lc, txn->tables)
	{
		table = lfirst(lc);
		if (string_is(name, table->name))
			return table;
	}

	/* errors of the functions called here get the field's position */
	txn->reading_field = FIELD_TABLE;
	table = palloc0(sizeof(TxnTable));
	table->name = string_value(name);
	relid = DirectFunctionCall1(regclassin, CStringGetDatum(table->name));
	call_begin(&table->call, DatumGetObjectId(relid), CAS_WRITES,
			   txn->fcinfo);

	/* These will be true before the first statement is run. */
	table->call.keys_locked = call_may_lock_keys(&table->call);
	table->call.connected = true;
	txn->reading_field = FIELD_NONE;
	txn->tables = lappend(txn->tables, table);
	return table;
}

/* Return the row that a field names, or NULL if it is missing or null. */
static TxnRow *
get_row(Txn *txn, TxnItem *item, TxnField field, CasLockMode lock)
{
	const JsonbValue *value = get_field(txn, field);
	CasTable   *table = item->table->call.table;
	TxnRow	   *row;

	if (value == NULL || value->type == jbvNull)
		return NULL;
	if (value->type != jbvString && value->type != jbvNumeric &&
		!(value->type == jbvBinary &&
		  JsonContainerIsObject(value->val.binary.data)))
		raise_malformed(field_position(item, field), "is not an id",
						"An id is a string, a number, or an object of the key's columns.");

	/* convert the key now, so that a malformed id fails before any lock */
	txn->reading_field = field;
	row = palloc0(sizeof(TxnRow));
	row->table = item->table;

	/* a number is accepted for its text form */
	if (value->type == jbvBinary)
		cas_key_from_object(table, get_document(txn, field), &row->key);
	else
		cas_key_from_text(table, value->type == jbvString ?
						  string_value(value) : number_text(value),
						  &row->key);
	row->lock = lock;
	row->item = item;
	row->mention = list_length(txn->rows);
	txn->reading_field = FIELD_NONE;
	txn->rows = lappend(txn->rows, row);
	return row;
}

static TxnRow *
require_row(Txn *txn, TxnItem *item, TxnField field, CasLockMode lock)
{
	TxnRow	   *row = get_row(txn, item, field, lock);

	if (row == NULL)
		raise_malformed(field_position(item, field), "is missing", NULL);
	return row;
}

static bool
is_true(const Txn *txn, const TxnItem *item, TxnField field)
{
	const JsonbValue *value = get_field(txn, field);

	if (value == NULL)
		return false;

	/* refuse false, which could be mistaken for the opposite comparison */
	if (value->type != jbvBool || !value->val.boolean)
		raise_malformed(field_position(item, field), "is not true", NULL);
	return true;
}

static void
read_comparison(Txn *txn, TxnItem *item)
{
	static const TxnField fields[] = {
		FIELD_TABLE, FIELD_ID, FIELD_VERSION, FIELD_EXISTS, FIELD_ABSENT
	};
	bool		absent;

	/* the lock is raised by fold_rows() if an operation writes the row */
	check_fields(txn, item, fields, lengthof(fields));
	item->table = get_table(txn, item);
	item->row = require_row(txn, item, FIELD_ID, CAS_LOCK_SHARE);
	item->version = get_version(txn, item);
	item->exists = is_true(txn, item, FIELD_EXISTS);
	absent = is_true(txn, item, FIELD_ABSENT);

	/* exactly one of them */
	if ((item->version >= 0) + item->exists + absent != 1)
		raise_malformed(txn_position(item), "does not say what to compare",
						"A comparison has one of \"version\": n, \"exists\": true and \"absent\": true.");
	item->row->versioned = item->version >= 0;
}

/*
 * Return whether the caller may execute one of the functions of ours with the
 * name, which differ in the type of their ids.
 */
static bool
may_execute(const char *name)
{
	CatCList   *list = SearchSysCacheList1(PROCNAMEARGSNSP,
										   CStringGetDatum(name));
	bool		may = false;

	for (int i = 0; i < list->n_members && !may; i++)
	{
		HeapTuple	tuple = &list->members[i]->tuple;
		Oid			function = ((Form_pg_proc) GETSTRUCT(tuple))->oid;
		char	   *own = own_function(function);

		/* anybody can create a function that has this name */
		may = own != NULL && strcmp(own, name) == 0 &&
			object_aclcheck(ProcedureRelationId, function, GetUserId(),
							ACL_EXECUTE) == ACLCHECK_OK;
	}
	ReleaseCatCacheList(list);
	return may;
}

/*
 * Raise 42501 unless the caller may execute the function that does the same as
 * an operation: cas_merge(), for example, can be revoked.
 */
static void
require_operation(Txn *txn, TxnOp op)
{
	char	   *name;

	if (txn->permitted[op])
		return;
	name = psprintf("cas_%s", txn_shapes[op].name);
	txn->reading_field = FIELD_OP;
	if (!may_execute(name))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, name);
	txn->reading_field = FIELD_NONE;
	txn->permitted[op] = true;
}

static void
read_operation(Txn *txn, TxnItem *item)
{
	const JsonbValue *name = get_string(txn, item, FIELD_OP);
	const TxnOpShape *shape;

	for (item->op = 0; item->op < TXN_OPS; item->op++)
		if (string_is(name, txn_shapes[item->op].name))
			break;
	if (item->op == TXN_OPS)
		raise_malformed(field_position(item, FIELD_OP), "is not an operation",
						"Operations are create, update, patch, delete, rename, merge, apply, put and get.");

	require_operation(txn, item->op);
	shape = &txn_shapes[item->op];
	check_fields(txn, item,
				 (TxnField[]) {FIELD_OP, FIELD_TABLE, FIELD_ID,
							   shape->required, shape->optional}, 5);
	if (shape->required != FIELD_NONE && !txn->has_field[shape->required])
		raise_malformed(field_position(item, shape->required), "is missing", NULL);

	/* only create may do without an id, to take the key's default */
	item->table = get_table(txn, item);
	item->row = item->op == TXN_CREATE ?
		get_row(txn, item, FIELD_ID, shape->lock) :
		require_row(txn, item, FIELD_ID, shape->lock);
	item->version = -1;

	switch (item->op)
	{
		case TXN_UPDATE:
		case TXN_PATCH:
			item->version = get_version(txn, item);
			pg_fallthrough;
		case TXN_CREATE:
		case TXN_MERGE:
		case TXN_PUT:
			item->document = get_document(txn, shape->required);
			break;
		case TXN_DELETE:
			item->version = get_version(txn, item);
			break;
		case TXN_RENAME:
			item->version = get_version(txn, item);
			item->new_row = require_row(txn, item, FIELD_NEW_ID, shape->lock);
			break;
		case TXN_APPLY:
			{
				Datum		fn;

				/* resolve the name once, with the caller's rights */
				fn = CStringGetDatum(string_value(get_string(txn, item,
															 FIELD_FN)));
				txn->reading_field = FIELD_FN;
				fn = DirectFunctionCall1(regprocedurein, fn);
				item->fn = DatumGetObjectId(fn);
				call_check_apply_function(item->fn);
				txn->reading_field = FIELD_NONE;
				if (txn->has_field[FIELD_ARGS])
					item->document = get_document(txn, FIELD_ARGS);
				break;
			}
		case TXN_GET:
			break;
	}
}

/* Read one of the three lists of the request. */
static void
read_list(Txn *txn, int argno, const char *name, TxnList *list)
{
	Jsonb	   *array;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;

	require_argument(txn->fcinfo, argno, name);
	array = DatumGetJsonbP(txn->fcinfo->args[argno].value);
	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		raise_malformed(name, "is not a JSON array", NULL);

	list->name = name;
	list->n = 0;

	/* a request of 1 GB can have very many items */
	list->items = MemoryContextAllocExtended(CurrentMemoryContext,
											 sizeof(TxnItem) *
											 Max(JB_ROOT_COUNT(array), 1),
											 MCXT_ALLOC_HUGE |
											 MCXT_ALLOC_ZERO);
	it = JsonbIteratorInit(&array->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		TxnItem    *item = &list->items[list->n];

		if (token != WJB_ELEM)
			continue;
		CHECK_FOR_INTERRUPTS();
		item->list = name;
		item->index = list->n;
		txn->reading = item;

		/* the iterator returns objects inside the array as jbvBinary */
		if (v.type != jbvBinary || !JsonContainerIsObject(v.val.binary.data))
			raise_malformed(txn_position(item), "is not a JSON object", NULL);
		read_fields(txn, item, v.val.binary.data);
		if (argno == 0)
			read_comparison(txn, item);
		else
			read_operation(txn, item);
		list->n++;
	}
}

/*
 * Read the request.  Raise 22023, with the position, if it is malformed.
 */
void
txn_read_request(Txn *txn, TxnList *compare, TxnList *success,
				 TxnList *failure)
{
	MemoryContext mcxt = CurrentMemoryContext;

	PG_TRY();
	{
		read_list(txn, 0, "compare", compare);
		read_list(txn, 1, "success", success);
		read_list(txn, 2, "failure", failure);
	}
	PG_CATCH();
	{
		/* errors raised in this file have their position already */
		if (txn->reading_field == FIELD_NONE)
			PG_RE_THROW();
		rethrow_at(txn->reading, txn->reading_field, mcxt);
	}
	PG_END_TRY();
}

/*
 * Raise 22023 for a row that was named before by another table: one of the two
 * is a partition of the other, or both are of a third.
 */
void
txn_raise_two_tables(const TxnRow *row, const TxnRow *former)
{
	raise_malformed(field_position(row->item, FIELD_TABLE),
					psprintf("is not the table by which %s names the row",
							 txn_position(former->item)),
					"A partition shows only its own rows. Name a row by the same table throughout the request.");
}

/* Return whether an operation compares the row's version. */
bool
txn_takes_version(TxnOp op)
{
	return txn_shapes[op].optional == FIELD_VERSION;
}

/*
 * Raise 22023 if an operation that compares a version has none.  It may be
 * left out if a comparison has it and must hold for the list to run (compared
 * is true), or if the same list has written the row before.
 */
void
txn_check_versions(const TxnList *list, bool compared)
{
	for (int i = 0; i < list->n; i++)
	{
		TxnItem    *item = &list->items[i];

		if (txn_takes_version(item->op) && item->version < 0 &&
			!(compared && item->row->same->versioned) &&
			item->row->same->written_by != list)
			raise_malformed(field_position(item, FIELD_VERSION), "is missing",
							"It can be left out only where a comparison has the row's version and holds.");

		/* a later operation of the list may use the version written here */
		if (item->op != TXN_GET && item->row != NULL)
			item->row->same->written_by = list;
		if (item->new_row != NULL)
			item->new_row->same->written_by = list;
	}
}
