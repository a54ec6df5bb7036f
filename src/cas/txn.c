/*
 * txn.c
 *		cas_txn(): many rows of many tables in one call, all or nothing.
 *
 * The form is that of etcd's transactions: comparisons, a list of operations
 * for when they all hold, and one for when they do not.
 *
 * The request is read whole before anything is done, so a malformed one does
 * nothing.  Then all rows named anywhere, also in the list that will not run,
 * are locked in one order, by table and primary key, which is cas_lock()'s
 * order, too; those that are not there by absent.c.  So two calls cannot
 * deadlock with one another.  Under the locks the comparisons are decided, and
 * what they were decided on stays so to the end of the transaction, but for a
 * plain INSERT of a key that was missing, which the primary key's index finds.
 *
 * Where there is nothing to compare, the list that runs is known.  If it does
 * nothing but update rows, and that has no effect but on those rows, it makes
 * no difference in which order that is done; then the update of a row that
 * nothing else in the request is about is done when it is the row's turn to be
 * locked: one look for it less, and one lock.  If it fails, so does the call.
 *
 * Rows that no operation writes are locked in share mode, so that calls which
 * only compare with the same row do not wait for each other.  Who may not
 * lock a row compares with the latest committed one.
 */
#include "cas.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "base/entry.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(cas_txn);

typedef enum TxnOp
{
	TXN_CREATE,
	TXN_UPDATE,
	TXN_PATCH,
	TXN_DELETE,
	TXN_RENAME,
	TXN_MERGE,
	TXN_APPLY,
	TXN_PUT,
	TXN_GET
} TxnOp;

/* The fields of comparisons and operations. */
typedef enum TxnField
{
	FIELD_NONE,
	FIELD_OP,
	FIELD_TABLE,
	FIELD_ID,
	FIELD_VERSION,
	FIELD_EXISTS,
	FIELD_ABSENT,
	FIELD_PAYLOAD,
	FIELD_PATCH,
	FIELD_NEW_ID,
	FIELD_FN,
	FIELD_ARGS
} TxnField;

#define TXN_FIELDS (FIELD_ARGS + 1)

static const char *const field_names[TXN_FIELDS] = {
	NULL, "op", "table", "id", "version", "exists", "absent", "payload",
	"patch", "new_id", "fn", "args"
};

/* What an operation takes beside op, table and id, and how it locks. */
typedef struct TxnOpShape
{
	const char *name;
	TxnField	required;
	TxnField	optional;
	CasLockMode lock;
} TxnOpShape;

static const TxnOpShape shapes[] =
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

typedef struct TxnTable
{
	char	   *name;			/* as the request has it */
	CasCall		call;
} TxnTable;

/*
 * A row that the request names.  Where it does so more than once, one of the
 * structs stands for all, and the others lead to it.
 */
typedef struct TxnRow
{
	TxnTable   *table;
	CasKey		key;
	struct TxnItem *item;		/* of its first mention */
	struct TxnRow *same;
	bool		mentioned_again;
	CasLockMode lock;
	bool		versioned;		/* a comparison has its version */
	const struct TxnList *written_by;	/* the last list to write it */
	bool		locked;			/* it was there when it was to be locked, */
	bool		found;			/* and it is there now */
	CasRow		row;
} TxnRow;

/* A comparison or an operation. */
typedef struct TxnItem
{
	const char *list;			/* its position, such as success[2] */
	int			index;
	TxnTable   *table;
	TxnRow	   *row;			/* NULL: create makes the key */
	TxnRow	   *new_row;		/* of rename */
	int64		version;		/* -1: none given */
	bool		exists;			/* comparison: else absent, if no version */
	TxnOp		op;
	Jsonb	   *document;		/* payload, patch or args; may be NULL */
	FmgrInfo	fn;
	bool		done;			/* when its row was locked; then what came of
								 * it */
	CasOutcome	outcome;
	CasRow		result;
} TxnItem;

typedef struct TxnList
{
	const char *name;
	TxnItem    *items;
	int			n;
} TxnList;

/* How the keys of missing rows are locked: see absent.c. */
typedef struct TxnMissing
{
	bool		all;			/* all of the tables' */
	int			locked;			/* one by one */
} TxnMissing;

/* The request, as far as it has been read. */
typedef struct Txn
{
	FunctionCallInfo fcinfo;
	List	   *tables;			/* of TxnTable */
	List	   *rows;			/* of TxnRow */
	JsonbValue	fields[TXN_FIELDS]; /* of the item that is being read */
	bool		has_field[TXN_FIELDS];
	const TxnItem *reading;		/* what others read for us, */
	TxnField	reading_field;	/* or FIELD_NONE */
} Txn;

/* ----------
 * Reading the request
 * ----------
 */

static char *
position_detail(const char *position)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "position", position);
	return detail_end(&detail);
}

static void
malformed(const char *position, const char *problem, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s %s", position, problem),
			 errdetail_internal("%s", position_detail(position)),
			 hint ? errhint("%s", hint) : 0));
}

static char *
item_position(const TxnItem *item)
{
	return psprintf("%s[%d]", item->list, item->index);
}

static char *
field_position(const TxnItem *item, TxnField field)
{
	return psprintf("%s[%d].%s", item->list, item->index, field_names[field]);
}

/*
 * In a PG_CATCH(): raise the error again, its DETAIL saying where in the
 * request it arose, and what it said before.
 */
static void
rethrow_at(const TxnItem *item, TxnField field, MemoryContext mcxt)
{
	ErrorData  *error;
	StringInfoData detail;

	MemoryContextSwitchTo(mcxt);
	error = CopyErrorData();
	FlushErrorState();
	detail_begin(&detail);
	detail_text(&detail, "position", field == FIELD_NONE ?
				item_position(item) : field_position(item, field));
	if (error->detail != NULL)
		detail_text(&detail, "detail", error->detail);
	error->detail = detail_end(&detail);
	ReThrowError(error);
}

/* Read the fields of an item, each of which must be one that we know. */
static void
read_fields(Txn *txn, const TxnItem *item, JsonbContainer *object)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	v;
	int			field = FIELD_NONE;

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
				malformed(psprintf("%s.%.*s", item_position(item),
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

/* See that it has no fields but these. */
static void
check_fields(const Txn *txn, const TxnItem *item, const TxnField *fields,
			 int n)
{
	for (int field = FIELD_NONE + 1; field < TXN_FIELDS; field++)
	{
		bool		known = !txn->has_field[field];

		for (int i = 0; i < n && !known; i++)
			known = fields[i] == field;
		if (!known)
			malformed(field_position(item, field), "is not a known field",
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
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* A field that must be a string. */
static const JsonbValue *
get_string(const Txn *txn, const TxnItem *item, TxnField field)
{
	const JsonbValue *value = get_field(txn, field);

	if (value == NULL)
		malformed(field_position(item, field), "is missing", NULL);
	if (value->type != jbvString)
		malformed(field_position(item, field), "is not a string", NULL);
	return value;
}

static bool
string_is(const JsonbValue *string, const char *text)
{
	return string->val.string.len == strlen(text) &&
		memcmp(string->val.string.val, text, string->val.string.len) == 0;
}

/* A field that must be there, as a document. */
static Jsonb *
get_document(const Txn *txn, TxnField field)
{
	return JsonbValueToJsonb(unconstify(JsonbValue *, get_field(txn, field)));
}

/* The version, or -1 if the item has none. */
static int64
get_version(const Txn *txn, const TxnItem *item)
{
	static const char greatest[] = "9223372036854775807";
	const JsonbValue *value = get_field(txn, FIELD_VERSION);
	char	   *text = "";

	if (value == NULL)
		return -1;
	if (value->type == jbvNumeric)
		text = DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value->val.numeric)));
	if (*text == '\0' || strspn(text, "0123456789") != strlen(text) ||
		strlen(text) > strlen(greatest) ||
		(strlen(text) == strlen(greatest) && strcmp(text, greatest) > 0))
		malformed(field_position(item, FIELD_VERSION), "is not a version",
				  "A version is a whole number that is not negative.");
	return DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(text)));
}

/* The table that an item names, opened and locked at its first mention. */
static TxnTable *
get_table(Txn *txn, const TxnItem *item)
{
	const JsonbValue *name = get_string(txn, item, FIELD_TABLE);
	TxnTable   *table;
	ListCell   *lc;

	foreach(lc, txn->tables)
	{
		table = lfirst(lc);
		if (string_is(name, table->name))
			return table;
	}

	txn->reading_field = FIELD_TABLE;
	table = palloc0(sizeof(TxnTable));
	table->name = string_value(name);
	call_begin(&table->call,
				   DatumGetObjectId(DirectFunctionCall1(regclassin,
														CStringGetDatum(table->name))),
				   RowExclusiveLock, txn->fcinfo);
	table->call.keys_locked = true;	/* they will be, before it matters */
	table->call.connected = true;	/* likewise */
	txn->reading_field = FIELD_NONE;
	txn->tables = lappend(txn->tables, table);
	return table;
}

/* The row that a field names, or NULL if there is no such field, or null. */
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
		malformed(field_position(item, field), "is not an id",
				  "An id is a string, a number, or an object of the key's columns.");

	txn->reading_field = field;
	row = palloc0(sizeof(TxnRow));
	row->table = item->table;
	if (value->type == jbvBinary)
		cas_key_from_object(table, get_document(txn, field), &row->key);
	else
		cas_key_from_text(table, value->type == jbvString ?
						  string_value(value) :
						  DatumGetCString(DirectFunctionCall1(numeric_out,
															  NumericGetDatum(value->val.numeric))),
						  &row->key);
	row->lock = lock;
	row->item = item;
	txn->reading_field = FIELD_NONE;
	txn->rows = lappend(txn->rows, row);
	return row;
}

static TxnRow *
require_row(Txn *txn, TxnItem *item, TxnField field, CasLockMode lock)
{
	TxnRow	   *row = get_row(txn, item, field, lock);

	if (row == NULL)
		malformed(field_position(item, field), "is missing", NULL);
	return row;
}

static bool
is_true(const Txn *txn, const TxnItem *item, TxnField field)
{
	const JsonbValue *value = get_field(txn, field);

	if (value == NULL)
		return false;
	if (value->type != jbvBool || !value->val.boolean)
		malformed(field_position(item, field), "is not true", NULL);
	return true;
}

static void
read_comparison(Txn *txn, TxnItem *item)
{
	static const TxnField fields[] = {FIELD_TABLE, FIELD_ID, FIELD_VERSION,
	FIELD_EXISTS, FIELD_ABSENT};
	bool		absent;

	check_fields(txn, item, fields, lengthof(fields));
	item->table = get_table(txn, item);
	item->row = require_row(txn, item, FIELD_ID, CAS_LOCK_SHARE);
	item->version = get_version(txn, item);
	item->exists = is_true(txn, item, FIELD_EXISTS);
	absent = is_true(txn, item, FIELD_ABSENT);
	if ((item->version >= 0) + item->exists + absent != 1)
		malformed(item_position(item), "does not say what to compare",
				  "A comparison has one of \"version\": n, \"exists\": true and \"absent\": true.");
	item->row->versioned = item->version >= 0;
}

static void
read_operation(Txn *txn, TxnItem *item)
{
	const JsonbValue *name = get_string(txn, item, FIELD_OP);
	const TxnOpShape *shape;

	for (item->op = 0; item->op < lengthof(shapes); item->op++)
		if (string_is(name, shapes[item->op].name))
			break;
	if (item->op == lengthof(shapes))
		malformed(field_position(item, FIELD_OP), "is not an operation",
				  "Operations are create, update, patch, delete, rename, merge, apply, put and get.");

	shape = &shapes[item->op];
	check_fields(txn, item,
				 (TxnField[]) {FIELD_OP, FIELD_TABLE, FIELD_ID,
							   shape->required, shape->optional}, 5);
	if (shape->required != FIELD_NONE && !txn->has_field[shape->required])
		malformed(field_position(item, shape->required), "is missing", NULL);

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
			/* FALLTHROUGH */
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
				char	   *fn = string_value(get_string(txn, item, FIELD_FN));
				Oid			function;

				txn->reading_field = FIELD_FN;
				function = DatumGetObjectId(DirectFunctionCall1(regprocedurein,
																CStringGetDatum(fn)));
				call_check_apply_function(function);
				txn->reading_field = FIELD_NONE;
				fmgr_info(function, &item->fn);
				if (txn->has_field[FIELD_ARGS])
					item->document = get_document(txn, FIELD_ARGS);
				break;
			}
		case TXN_GET:
			break;
	}
}

/* Read one of the three lists. */
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
		malformed(name, "is not a JSON array", NULL);

	list->name = name;
	list->n = 0;
	list->items = MemoryContextAllocExtended(CurrentMemoryContext,
											 sizeof(TxnItem) *
											 Max(JB_ROOT_COUNT(array), 1),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
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
		if (v.type != jbvBinary || !JsonContainerIsObject(v.val.binary.data))
			malformed(item_position(item), "is not a JSON object", NULL);
		read_fields(txn, item, v.val.binary.data);
		if (argno == 0)
			read_comparison(txn, item);
		else
			read_operation(txn, item);
		list->n++;
	}
}

/* Raise what is in an operation's way, if anything is. */
static void
require_success(TxnItem *item, CasOutcome outcome, int64 version,
				const CasRow *row)
{
	if (outcome < CAS_CONFLICT ||
		(item->op == TXN_GET && outcome != CAS_EXISTS))
		return;
	outcome_report(&item->table->call,
				   outcome == CAS_EXISTS && item->new_row ?
				   &item->new_row->key : item->row ? &item->row->key : NULL,
				   version, outcome, row, item_position(item), true);
}

/* ----------
 * Locking
 * ----------
 */

/* The order in which rows are locked; a partition's are its table's. */
static int
compare_rows(const ListCell *a, const ListCell *b)
{
	const TxnRow *x = lfirst(a);
	const TxnRow *y = lfirst(b);
	Oid			xrel = x->table->call.table->root;
	Oid			yrel = y->table->call.table->root;

	if (xrel != yrel)
		return xrel < yrel ? -1 : 1;
	return cas_key_compare(&x->table->call, &x->key, &y->key);
}

/* Order the rows, and have each stand once for all its mentions. */
static void
fold_rows(Txn *txn)
{
	List	   *rows = NIL;
	TxnRow	   *former = NULL;
	ListCell   *lc;

	list_sort(txn->rows, compare_rows);
	foreach(lc, txn->rows)
	{
		TxnRow	   *row = lfirst(lc);

		if (former != NULL &&
			former->table->call.table->root == row->table->call.table->root &&
			cas_key_compare(&row->table->call, &former->key,
							&row->key) == 0)
		{
			row->same = former;
			former->mentioned_again = true;
			former->lock = Max(former->lock, row->lock);
			former->versioned = former->versioned || row->versioned;
			continue;
		}
		row->same = row;
		rows = lappend(rows, row);
		former = row;
	}
	txn->rows = rows;
}

/* Lock the key of a row that is missing. */
static void
lock_missing(CasCall *call, TxnRow *row, TxnMissing *missing)
{
	/* so many have been deleted since we counted */
	if (missing->locked++ >= 2 * ABSENT_MAX_KEYS)
		statement_outdated(call);
	absent_key_lock(call->table, &row->key);
}

static void
lock_row(TxnRow *row, TxnMissing *missing)
{
	CasCall    *call = &row->table->call;

	row->locked = swap_lock_or_read(call, &row->key, row->lock, CAS_WANTS_ID,
									&row->row);
	if (!row->locked)
	{
		if (!missing->all)
			lock_missing(call, row, missing);
		row->locked = swap_lock_or_read(call, &row->key, row->lock,
										CAS_WANTS_ID, &row->row);
	}
	row->found = row->locked;
}

/*
 * Whether the order in which a list updates rows makes no difference: their
 * tables have no triggers, and no other constraints between rows than a key
 * that stays.
 */
static bool
has_any_order(const TxnList *list)
{
	for (int i = 0; i < list->n; i++)
	{
		const TxnItem *item = &list->items[i];

		if ((item->op != TXN_UPDATE && item->op != TXN_GET) ||
			!item->table->call.table->unique_key)
			return false;
	}
	return true;
}

/*
 * Whether the update of a row can be done when the row is to be locked; runs
 * is the list that is sure to run and has any order, or NULL.
 */
static bool
updates_at_once(const TxnRow *row, const TxnList *runs)
{
	const TxnItem *item = row->item;

	return runs != NULL && item->list == runs->name &&
		item->op == TXN_UPDATE && item->version >= 0 &&
		!row->mentioned_again;
}

/* An operation as a swap. */
static CasSwap
as_swap(TxnItem *item)
{
	CasSwap		swap = {
		.key = item->row ? &item->row->key : NULL,
		.expected = item->version,
		.new_key = item->new_row ? &item->new_row->key : NULL,
		.document = item->document,
		.fn = &item->fn,
		.wants = CAS_WANTS_ID
	};

	return swap;
}

/* Update such a row, and remember what came of it. */
static void
update_at_once(TxnItem *item, MemoryContext scratch)
{
	MemoryContext mcxt = MemoryContextSwitchTo(scratch);
	CasSwap		swap = as_swap(item);

	item->outcome = swap_update(&item->table->call, &swap, &item->result);
	item->version = swap.expected;
	item->done = true;
	MemoryContextSwitchTo(mcxt);
	MemoryContextReset(scratch);
}

/* Whether more rows are missing than are to be locked one by one. */
static bool
many_are_missing(Txn *txn)
{
	int			n = 0;
	ListCell   *lc;

	if (list_length(txn->rows) <= ABSENT_MAX_KEYS)
		return false;
	foreach(lc, txn->rows)
	{
		TxnRow	   *row = lfirst(lc);
		CasRow		now;

		CHECK_FOR_INTERRUPTS();
		if (!statement_read(&row->table->call, &row->key, GetLatestSnapshot(),
							0, &now) && ++n > ABSENT_MAX_KEYS)
			return true;
	}
	return false;
}

/* Lock what comes before all rows, once a table. */
static void
begin_tables(Txn *txn, bool all)
{
	Oid			former = InvalidOid;
	ListCell   *lc;

	foreach(lc, txn->rows)
	{
		CasTable   *table = ((TxnRow *) lfirst(lc))->table->call.table;

		if (table->root != former)
			absent_begin(table, all);
		former = table->root;
	}
}

/* Lock all rows; stops at an update that has failed. */
static void
lock_rows(Txn *txn, const TxnList *runs)
{
	TxnMissing	missing = {.all = many_are_missing(txn)};
	MemoryContext mcxt = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(mcxt, "cas_txn update",
												  ALLOCSET_DEFAULT_SIZES);
	TxnRow	   *volatile row = NULL;
	ListCell   *lc;

	begin_tables(txn, missing.all);
	PG_TRY();
	{
		foreach(lc, txn->rows)
		{
			CHECK_FOR_INTERRUPTS();
			row = lfirst(lc);
			if (!updates_at_once(row, runs))
				lock_row(row, &missing);
			else
			{
				update_at_once(row->item, scratch);
				if (row->item->outcome >= CAS_CONFLICT)
					break;
			}
		}
	}
	PG_CATCH();
	{
		if (row == NULL)
			PG_RE_THROW();
		rethrow_at(row->item, FIELD_NONE, mcxt);
	}
	PG_END_TRY();
	if (row != NULL && row->item->done)
		require_success(row->item, row->item->outcome, row->item->version,
						&row->item->result);
	MemoryContextDelete(scratch);
}

/* ----------
 * Operations
 * ----------
 */

static bool
takes_version(TxnOp op)
{
	return shapes[op].optional == FIELD_VERSION;
}

/*
 * An operation that swaps needs a version: its own, or, in the list that runs
 * when the comparisons hold, one that they have; or the row is one that the
 * list itself has written before.
 */
static void
check_versions(const TxnList *list, bool compared)
{
	for (int i = 0; i < list->n; i++)
	{
		TxnItem    *item = &list->items[i];

		if (takes_version(item->op) && item->version < 0 &&
			!(compared && item->row->same->versioned) &&
			item->row->same->written_by != list)
			malformed(field_position(item, FIELD_VERSION), "is missing",
					  "It can be left out only where a comparison has the row's version and holds.");
		if (item->op != TXN_GET && item->row != NULL)
			item->row->same->written_by = list;
		if (item->new_row != NULL)
			item->new_row->same->written_by = list;
	}
}

/* Do an operation on a row that is there, or a creation without a key. */
static CasOutcome
do_swap(TxnItem *item, int64 *version, CasRow *row)
{
	CasCall    *call = &item->table->call;
	CasSwap		swap = as_swap(item);
	CasOutcome	outcome;

	/* the row is locked, so its version is the one that was compared */
	if (takes_version(item->op) && item->version < 0 &&
		swap_lock(call, swap.key, shapes[item->op].lock, CAS_WANTS_ID, row))
		swap.expected = row->version;
	*version = swap.expected;

	switch (item->op)
	{
		case TXN_CREATE:
			return swap_create(call, &swap, row);
		case TXN_UPDATE:
			outcome = swap_update(call, &swap, row);
			*version = swap.expected;
			return outcome;
		case TXN_PATCH:
			return swap_patch(call, &swap, row);
		case TXN_DELETE:
			return swap_delete(call, &swap, row);
		case TXN_RENAME:
			return swap_rename(call, &swap, row);
		case TXN_MERGE:
			return swap_merge(call, &swap, row);
		case TXN_APPLY:
			return swap_apply(call, &swap, row);
		case TXN_PUT:
			outcome = swap_put(call, &swap, row);
			*version = swap.expected;
			return outcome;
		case TXN_GET:
			break;
	}
	elog(ERROR, "get is no swap");
	return CAS_MISSING;			/* not reached */
}

/* Do an operation under a key that has no row. */
static CasOutcome
do_without_row(TxnItem *item, CasRow *row)
{
	CasSwap		swap = as_swap(item);

	/* a put that met a row now would overwrite what has slipped in */
	if (item->op == TXN_CREATE || item->op == TXN_PUT)
		return swap_create(&item->table->call, &swap, row);
	return CAS_MISSING;
}

/*
 * Whether a row under a key that was missing when it was locked is not one
 * that this transaction has made since, as by a trigger: then a plain INSERT
 * has slipped in, and we said that there was none.
 */
static bool
has_slipped_in(TxnItem *item, CommandId locked, CasRow *row)
{
	return statement_read_as_of(&item->table->call, &item->row->key, locked,
								CAS_WANTS_ID, row);
}

/*
 * Do an operation, but raise nothing yet that is in its way.  locked is the
 * command at which all rows had been locked.
 */
static CasOutcome
do_operation(TxnItem *item, CommandId locked, int64 *version, CasRow *row)
{
	CasCall    *call = &item->table->call;
	TxnRow	   *same = item->row ? item->row->same : NULL;
	CasOutcome	outcome;

	if (item->done)
	{
		*row = item->result;
		return item->outcome;
	}
	if (same != NULL && !same->locked && !same->found)
	{
		/* in this order: what comes between the two looks is not our own */
		same->found = swap_read(call, &item->row->key, CAS_WANTS_ID, row);
		if (same->found && has_slipped_in(item, locked, row))
			return CAS_EXISTS;
	}

	if (same != NULL && !same->found)
		outcome = do_without_row(item, row);
	else if (item->op == TXN_GET)
		outcome = swap_read(call, &item->row->key, call_answer_wants(call),
							row) ? CAS_UNCHANGED : CAS_MISSING;
	else
		outcome = do_swap(item, version, row);

	/* for the operations that follow */
	if (same != NULL && outcome == CAS_CREATED)
		same->found = true;
	if (outcome == CAS_DELETED || outcome == CAS_RENAMED)
		same->found = false;
	if (outcome == CAS_RENAMED)
		item->new_row->same->found = true;
	return outcome;
}

/* ----------
 * The answer
 * ----------
 */

static void
push_key(JsonbParseState **state, const char *field)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, field);
	v.val.string.len = strlen(field);
	pushJsonbValue(state, WJB_KEY, &v);
}

static void
push_string(JsonbParseState **state, const char *field, const char *value)
{
	JsonbValue	v;

	push_key(state, field);
	v.type = jbvString;
	v.val.string.val = unconstify(char *, value);
	v.val.string.len = strlen(value);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_bool(JsonbParseState **state, const char *field, bool value)
{
	JsonbValue	v;

	push_key(state, field);
	v.type = jbvBool;
	v.val.boolean = value;
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_version(JsonbParseState **state, bool found, const CasRow *row)
{
	JsonbValue	v;

	push_key(state, "version");
	if (found && !row->version_isnull)
	{
		v.type = jbvNumeric;
		v.val.numeric = int64_to_numeric(row->version);
	}
	else
		v.type = jbvNull;
	pushJsonbValue(state, WJB_VALUE, &v);
}

/* A row's key as the answer shows it. */
static char *
key_text(TxnRow *row)
{
	return cas_key_text(row->table->call.table, row->key.values, NULL);
}

/* Push what the comparisons came to; true if they all hold. */
static bool
push_comparisons(JsonbParseState **state, const TxnList *list)
{
	bool		all = true;

	push_key(state, "compare");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < list->n; i++)
	{
		TxnItem    *item = &list->items[i];
		TxnRow	   *row = item->row->same;
		bool		ok;

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
	return all;
}

static void
push_result(JsonbParseState **state, TxnItem *item, CasOutcome outcome,
			const CasRow *row)
{
	bool		found = outcome != CAS_MISSING;
	const char *name = outcome_name(outcome);

	if (item->op == TXN_GET)
		name = found ? "found" : "missing";

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_string(state, "op", shapes[item->op].name);
	push_string(state, "table", item->table->name);
	push_string(state, "id", found ? row->id : key_text(item->row));
	push_string(state, "outcome", name);
	push_version(state, found, row);
	if (item->op == TXN_GET)
	{
		JsonbValue	v = {.type = jbvNull};

		push_key(state, "payload");
		if (found && row->payload != NULL &&
			!JsonbExtractScalar(&row->payload->root, &v))
			JsonbToJsonbValue(row->payload, &v);
		pushJsonbValue(state, WJB_VALUE, &v);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * Do the operations of a list and push their results; the first that fails
 * ends the call.
 */
static void
push_operations(JsonbParseState **state, const TxnList *list)
{
	CommandId	locked = GetCurrentCommandId(false);
	MemoryContext mcxt = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(mcxt, "cas_txn operation",
												  ALLOCSET_DEFAULT_SIZES);

	push_key(state, "results");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < list->n; i++)
	{
		TxnItem    *item = &list->items[i];
		int64		version = item->version;
		CasRow		row = {0};
		CasOutcome	outcome;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(scratch);
		PG_TRY();
		{
			outcome = do_operation(item, locked, &version, &row);
		}
		PG_CATCH();
		{
			rethrow_at(item, FIELD_NONE, mcxt);
		}
		PG_END_TRY();
		MemoryContextSwitchTo(mcxt);
		MemoryContextReset(scratch);

		require_success(item, outcome, version, &row);
		push_result(state, item, outcome, &row);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	MemoryContextDelete(scratch);
}

/*
 * cas_txn(compare jsonb, success jsonb, failure jsonb) RETURNS jsonb
 */
Datum
cas_txn(PG_FUNCTION_ARGS)
{
	Txn			txn = {.fcinfo = fcinfo};
	TxnList		compare;
	TxnList		success;
	TxnList		failure;
	JsonbParseState *state = NULL;
	Jsonb	   *answer;
	bool		all;
	MemoryContext caller = CurrentMemoryContext;
	ListCell   *lc;

	request_enter(fcinfo, ENTRY_WRITES);
	PreventCommandIfReadOnly("cas_txn()");
	PG_TRY();
	{
		read_list(&txn, 0, "compare", &compare);
		read_list(&txn, 1, "success", &success);
		read_list(&txn, 2, "failure", &failure);
	}
	PG_CATCH();
	{
		if (txn.reading_field == FIELD_NONE)
			PG_RE_THROW();
		rethrow_at(txn.reading, txn.reading_field, caller);
	}
	PG_END_TRY();
	fold_rows(&txn);
	check_versions(&success, true);
	check_versions(&failure, false);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	lock_rows(&txn, compare.n == 0 && has_any_order(&success) ?
			  &success : NULL);

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	all = push_comparisons(&state, &compare);
	push_bool(&state, "succeeded", all);
	push_operations(&state, all ? &success : &failure);
	answer = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	MemoryContextSwitchTo(caller);
	answer = memcpy(palloc(VARSIZE(answer)), answer, VARSIZE(answer));
	SPI_finish();

	foreach(lc, txn.tables)
		call_end(&((TxnTable *) lfirst(lc))->call);
	PG_RETURN_JSONB_P(answer);
}
