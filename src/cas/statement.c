/*
 * statement.c
 *		The statements that swap.c is made of: their text, their plans, and
 *		running them.
 *
 * Each is ordinary SQL on one row, found by its primary key, with the values
 * as parameters.  Names are quoted and qualified, operators, types and
 * functions qualified, so no search_path can put anything in their place.
 * They run through SPI with the caller's rights; on plain tables some need
 * not, see direct.c.
 *
 * Plans are saved with the table (table.c), by the kind of the statement, the
 * columns that it writes, and what it returns.  A saved plan that the catalogs
 * have moved away from is made anew from the names of today.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* Plans kept per table: the columns that payloads name make ever new ones. */
#define MAX_PLANS 64

typedef struct CasPlan
{
	CasStatementKind kind;
	const Bitmapset *returns;	/* columns, by attribute number */
	bool		compares;		/* it writes only what differs */
	Bitmapset  *columns;		/* that it writes, by attribute number */
	char	   *arbiter;		/* the key's constraint, if it names that */
	SPIPlanPtr	plan;
	MemoryContext mcxt;			/* in which all this is */
} CasPlan;

/* ----------
 * Text
 * ----------
 */

static const char *
column_name(CasTable *table, AttrNumber attnum)
{
	return quote_identifier(NameStr(TupleDescAttr(table->desc,
												  attnum - 1)->attname));
}

/* Append the columns that a statement returns. */
static void
append_returned(StringInfo sql, CasTable *table, const CasPlan *plan)
{
	const char *separator = "";
	int			a = -1;

	while ((a = bms_next_member(plan->returns, a)) >= 0)
	{
		appendStringInfo(sql, "%st.%s", separator, column_name(table, a));
		separator = ", ";
	}
}

/*
 * Parameters come in this order: the key, the version, the columns written
 * by attribute number, the new key; each where the kind of statement has it.
 */
static int
version_parameter(CasTable *table)
{
	return table->nkeys + 1;
}

static int
first_column_parameter(CasTable *table, CasStatementKind kind)
{
	switch (kind)
	{
		case STATEMENT_INSERT_NEW_KEY:
			return 1;
		case STATEMENT_INSERT:
			return table->nkeys + 1;
		default:
			return table->nkeys + 2;
	}
}

static bool
has_version(CasStatementKind kind)
{
	return kind == STATEMENT_UPDATE || kind == STATEMENT_DIFFERS ||
		kind == STATEMENT_DELETE || kind == STATEMENT_RENAME;
}

static int
parameter_types(CasTable *table, const CasPlan *plan, Oid *types)
{
	int			n = 0;
	int			a = -1;

	if (plan->kind != STATEMENT_INSERT_NEW_KEY)
		for (int i = 0; i < table->nkeys; i++)
			types[n++] = table->keys[i].type;
	if (has_version(plan->kind))
		types[n++] = INT8OID;
	while ((a = bms_next_member(plan->columns, a)) >= 0)
		types[n++] = a == table->payload ? JSONBOID :
			TupleDescAttr(table->desc, a - 1)->atttypid;
	if (plan->kind == STATEMENT_RENAME)
		for (int i = 0; i < table->nkeys; i++)
			types[n++] = table->keys[i].type;
	return n;
}

static void
append_operator(StringInfo sql, Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *schema;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	schema = get_namespace_name(form->oprnamespace);
	if (schema == NULL)
		elog(ERROR, "cache lookup failed for schema of operator %u", operator);
	appendStringInfo(sql, "OPERATOR(%s.%s)", quote_identifier(schema),
					 NameStr(form->oprname));
	ReleaseSysCache(tuple);
}

static void
append_where_key(StringInfo sql, CasTable *table)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		appendStringInfo(sql, "%st.%s ", i > 0 ? " AND " : " WHERE ",
						 quote_identifier(table->keys[i].name));
		append_operator(sql, table->keys[i].equals);
		appendStringInfo(sql, " $%d", i + 1);
	}
}

static void
append_where_version(StringInfo sql, CasTable *table)
{
	append_where_key(sql, table);
	appendStringInfo(sql, " AND t.%s OPERATOR(pg_catalog.=) $%d",
					 column_name(table, table->version),
					 version_parameter(table));
}

/* The extension's schema is that of the function that was called. */
static const char *
quoted_extension_schema(CasCall *call)
{
	char	   *schema;

	schema = get_namespace_name(get_func_namespace(call->function));
	if (schema == NULL)
		elog(ERROR, "cache lookup failed for function %u", call->function);
	return quote_identifier(schema);
}

/*
 * Append that a column differs from a parameter by its stored image: for a
 * payload document by our own function, which can leave the version's path
 * out; for other columns by PostgreSQL's operator on records.  (Of ours, there
 * is none for other types.  It would have to be polymorphic, and a function
 * that fits better could be put in its place.)  The casts to record keep
 * ROW *<> ROW from being taken apart by columns.
 */
static void
append_differs(StringInfo sql, CasCall *call, AttrNumber attnum, int param)
{
	CasTable   *table = call->table;
	CasNames   *path = &table->settings.version_path;
	const char *column = column_name(table, attnum);

	if (attnum != table->payload)
	{
		appendStringInfo(sql, "ROW(t.%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW($%d)::pg_catalog.record",
						 column, param);
		return;
	}
	appendStringInfo(sql, "%s.cas_differs(t.%s::pg_catalog.jsonb, $%d, ",
					 quoted_extension_schema(call), column, param);
	if (path->length == 0)
		appendStringInfoString(sql, "NULL");
	for (int i = 0; i < path->length; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "ARRAY[",
						 quote_literal_cstr(path->names[i]));
	appendStringInfo(sql, "%s::pg_catalog.text[])",
					 path->length > 0 ? "]" : "");
}

static void
append_insert(StringInfo sql, CasCall *call, const CasPlan *plan,
			  const char *relation)
{
	CasTable   *table = call->table;
	StringInfoData names;
	StringInfoData values;
	const char *overriding = "";
	int			param = first_column_parameter(table, plan->kind);
	int			a = -1;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; plan->kind == STATEMENT_INSERT && i < table->nkeys; i++)
	{
		AttrNumber	attnum = table->keys[i].attnum;

		appendStringInfo(&names, ", %s", column_name(table, attnum));
		appendStringInfo(&values, ", $%d", i + 1);
		if (TupleDescAttr(table->desc, attnum - 1)->attidentity ==
			ATTRIBUTE_IDENTITY_ALWAYS)
			overriding = "OVERRIDING SYSTEM VALUE ";
	}
	while ((a = bms_next_member(plan->columns, a)) >= 0)
	{
		appendStringInfo(&names, ", %s", column_name(table, a));
		appendStringInfo(&values, ", $%d", param++);
	}

	/* both lists begin with ", " */
	if (names.len == 0)
		appendStringInfo(sql, "INSERT INTO %s AS t DEFAULT VALUES", relation);
	else
		appendStringInfo(sql, "INSERT INTO %s AS t (%s) %sVALUES (%s)",
						 relation, names.data + 2, overriding,
						 values.data + 2);
	if (plan->kind == STATEMENT_INSERT)
		appendStringInfo(sql, " ON CONFLICT ON CONSTRAINT %s DO NOTHING",
						 quote_identifier(plan->arbiter));
}

/* Append the search for the key and version of a row that differs. */
static void
append_where_differs(StringInfo sql, CasCall *call, const CasPlan *plan)
{
	int			param = first_column_parameter(call->table, plan->kind);
	const char *separator = " AND (";
	int			a = -1;

	append_where_version(sql, call->table);
	while ((a = bms_next_member(plan->columns, a)) >= 0)
	{
		appendStringInfoString(sql, separator);
		append_differs(sql, call, a, param++);
		separator = " OR ";
	}
	appendStringInfoString(sql, ")");
}

static void
append_set(StringInfo sql, CasTable *table, const CasPlan *plan)
{
	int			param = first_column_parameter(table, plan->kind);
	const char *separator = " SET ";
	int			a = -1;

	while ((a = bms_next_member(plan->columns, a)) >= 0)
	{
		appendStringInfo(sql, "%s%s = $%d", separator, column_name(table, a),
						 param++);
		separator = ", ";
	}
}

static void
append_rename(StringInfo sql, CasTable *table, const char *relation)
{
	appendStringInfo(sql, "UPDATE %s AS t SET ", relation);
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(sql, "%s%s = $%d", i > 0 ? ", " : "",
						 quote_identifier(table->keys[i].name),
						 version_parameter(table) + 1 + i);
	append_where_version(sql, table);
}

/* Prepare the statement that a plan describes. */
static SPIPlanPtr
prepare(CasCall *call, const CasPlan *plan)
{
	CasTable   *table = call->table;
	char	   *name = cas_relation_name(call->rel);
	char	   *relation = name;
	StringInfoData row;
	StringInfoData sql;
	bool		partitioned;
	Oid		   *types;
	int			n;
	SPIPlanPtr	prepared;

	/* the guard does not reach inheritance children, so neither do we */
	partitioned = call->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	if (!partitioned)
		relation = psprintf("ONLY %s", name);

	initStringInfo(&row);
	append_returned(&row, table, plan);

	initStringInfo(&sql);
	switch (plan->kind)
	{
		case STATEMENT_READ:
		case STATEMENT_LOCK_SHARE:
		case STATEMENT_LOCK_NO_KEY_UPDATE:
		case STATEMENT_LOCK_UPDATE:
			appendStringInfo(&sql, "SELECT %s FROM %s AS t", row.data,
							 relation);
			append_where_key(&sql, table);
			break;
		case STATEMENT_INSERT:
		case STATEMENT_INSERT_NEW_KEY:
			append_insert(&sql, call, plan, name);
			break;
		case STATEMENT_UPDATE:
			appendStringInfo(&sql, "UPDATE %s AS t", relation);
			append_set(&sql, table, plan);
			if (plan->compares)
				append_where_differs(&sql, call, plan);
			else
				append_where_version(&sql, table);
			break;
		case STATEMENT_DIFFERS:
			appendStringInfo(&sql, "SELECT %s FROM %s AS t", row.data,
							 relation);
			append_where_differs(&sql, call, plan);
			break;
		case STATEMENT_DELETE:
			appendStringInfo(&sql, "DELETE FROM %s AS t", relation);
			append_where_version(&sql, table);
			break;
		case STATEMENT_REACH_DELETE:
			appendStringInfo(&sql, "DELETE FROM %s AS t", relation);
			append_where_key(&sql, table);
			appendStringInfo(&sql, " AND %s.cas_reached()",
							 quoted_extension_schema(call));
			break;
		case STATEMENT_RENAME:
			append_rename(&sql, table, relation);
			break;
	}
	switch (plan->kind)
	{
		case STATEMENT_READ:
		case STATEMENT_DIFFERS:
			break;
		case STATEMENT_LOCK_SHARE:
			appendStringInfoString(&sql, " FOR SHARE");
			break;
		case STATEMENT_LOCK_NO_KEY_UPDATE:
			appendStringInfoString(&sql, " FOR NO KEY UPDATE");
			break;
		case STATEMENT_LOCK_UPDATE:
			appendStringInfoString(&sql, " FOR UPDATE");
			break;
		case STATEMENT_INSERT:
		case STATEMENT_INSERT_NEW_KEY:
		case STATEMENT_UPDATE:
		case STATEMENT_DELETE:
		case STATEMENT_REACH_DELETE:
		case STATEMENT_RENAME:
			appendStringInfo(&sql, " RETURNING %s", row.data);
			break;
	}

	/*
	 * A search by primary key has one good plan, so none is made anew per
	 * call; but in a partitioned table, planning for the key at hand is what
	 * leaves the other partitions alone.
	 */
	types = palloc(sizeof(Oid) * (2 * table->nkeys + 1 + table->desc->natts));
	n = parameter_types(table, plan, types);
	prepared = SPI_prepare_cursor(sql.data, n, types,
								  partitioned ? 0 : CURSOR_OPT_GENERIC_PLAN);
	if (prepared == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s",
			 SPI_result_code_string(SPI_result));
	return prepared;
}

/* ----------
 * Plans
 * ----------
 */

static void
free_plan(void *plan)
{
	SPI_freeplan((SPIPlanPtr) plan);
}

/* Have a plan freed when a memory context is. */
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
			bms_equal(plan->returns, wanted->returns) &&
			plan->compares == wanted->compares &&
			bms_equal(plan->columns, wanted->columns))
			return plan;
	}
	return NULL;
}

/*
 * Whether an outer call may be running a plan of the table.  After an error in
 * one, it seems so to the end of the transaction.
 */
static bool
is_running(CasTable *table)
{
	return table->running > 0 && table->running_in == MyProc->lxid;
}

/*
 * Take a plan from the table, and free it, at the end of the transaction if it
 * may be running.
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
 * Keep a prepared plan with the table.  It has a memory context of its own,
 * whose end is the plan's.  An error on the way leaves nothing behind.
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

	/* from here on, nothing fails */
	SPI_keepplan(prepared);
	free_plan_with(mcxt, callback, prepared);
	MemoryContextSetParent(mcxt, table->mcxt);
}

/*
 * The plan for a statement of the kind.  Plans are saved with the table; one
 * that the catalogs have moved away from is made anew, since its text may
 * hold names of the past.
 */
static SPIPlanPtr
plan_for(CasCall *call, const CasStatement *statement)
{
	CasTable   *table = call->table;
	CasPlan		wanted = {0};
	CasPlan    *plan;
	SPIPlanPtr	prepared;

	wanted.kind = statement->kind;
	wanted.returns = call_row_columns(call, statement);
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

	/* to rename the constraint does not make the plan invalid, yet it is */
	plan = find_plan(table, &wanted);
	if (plan != NULL && SPI_plan_is_valid(plan->plan) &&
		(wanted.arbiter == NULL ||
		 strcmp(plan->arbiter, wanted.arbiter) == 0))
		return plan->plan;

	/* the oldest makes room */
	prepared = prepare(call, &wanted);
	if (plan == NULL && list_length(table->plans) >= MAX_PLANS)
		plan = linitial(table->plans);
	if (plan != NULL)
		retire_plan(table, plan);
	keep_plan(table, &wanted, prepared);
	return prepared;
}

/* ----------
 * Running them
 * ----------
 */

/* Raise 40001, for what PostgreSQL does not see itself. */
void
statement_outdated(CasCall *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update"),
			 errtable(call->rel)));
}

/* Take the one row that a statement returned. */
static void
take_returned(CasCall *call, const CasStatement *statement, CasRow *row)
{
	HeapTuple	tuple = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	int			natts = call->table->desc->natts;
	const Bitmapset *columns = call_row_columns(call, statement);
	Datum	   *values = palloc(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);
	int			column = 1;
	int			a = -1;

	while ((a = bms_next_member(columns, a)) >= 0)
		values[a - 1] = heap_getattr(tuple, column++, desc, &nulls[a - 1]);
	call_take_row(call, statement, values, nulls, row);
	pfree(values);
	pfree(nulls);
}

/*
 * Connect the call to SPI, if it is not, for its rest.  That must not be done
 * below a subtransaction that ends before the call does.
 */
void
statement_connect(CasCall *call)
{
	MemoryContext mcxt = CurrentMemoryContext;

	if (call->connected)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(mcxt);
	call->connected = true;
}

/* Put a statement's arguments in the order of its parameters. */
static void
bind(CasTable *table, const CasStatement *statement, Datum *values,
	 char *nulls)
{
	const CasWrite *write = statement->write;
	int			n = 0;
	int			a = -1;

	if (statement->kind != STATEMENT_INSERT_NEW_KEY)
		for (int i = 0; i < table->nkeys; i++)
			values[n++] = statement->key->values[i];
	if (has_version(statement->kind))
		values[n++] = Int64GetDatum(statement->version);
	while (write != NULL && (a = bms_next_member(write->columns, a)) >= 0)
	{
		values[n] = write->values[a - 1];
		if (write->nulls[a - 1])
			nulls[n] = 'n';
		n++;
	}
	if (statement->kind == STATEMENT_RENAME)
		for (int i = 0; i < table->nkeys; i++)
			values[n++] = statement->new_key->values[i];
}

/* Run a statement through SPI. */
static bool
run_plan(CasCall *call, const CasStatement *statement, CasRow *row)
{
	CasTable   *table = call->table;
	SPIPlanPtr	plan;
	int			size = 2 * table->nkeys + 1 + table->desc->natts;
	Datum	   *values;
	char	   *nulls;
	int			rc;
	uint64		processed;

	statement_connect(call);
	plan = plan_for(call, statement);
	values = palloc(sizeof(Datum) * size);
	nulls = palloc(size);
	memset(nulls, ' ', size);
	bind(table, statement, values, nulls);

	table->running = is_running(table) ? table->running + 1 : 1;
	table->running_in = MyProc->lxid;
	rc = SPI_execute_snapshot(plan, values, nulls, statement->snapshot,
							  InvalidSnapshot, statement->as_of, true, 0);
	table->running--;
	if (rc < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s",
			 SPI_result_code_string(rc));
	processed = SPI_processed;
	if (processed > 1)
	{
		/* a snapshot can have a row that is gone and the one in its place */
		if (IsolationUsesXactSnapshot())
			statement_outdated(call);
		elog(ERROR, "more than one row for a primary key in table \"%s\"",
			 RelationGetRelationName(call->rel));
	}
	if (processed == 1)
		take_returned(call, statement, row);
	SPI_freetuptable(SPI_tuptable);
	pfree(values);
	pfree(nulls);
	return processed == 1;
}

/* The same for an UPDATE, announced to a guard that would ask for a version. */
static bool
run_announced(CasCall *call, const CasStatement *statement, CasRow *row)
{
	GuardExpectation former = guard_expectation;
	bool		done = false;

	PG_TRY();
	{
		guard_expectation.relid = call->table->relid;
		guard_expectation.table = call->table;
		guard_expectation.key = statement->key;
		done = run_plan(call, statement, row);
	}
	PG_FINALLY();
	{
		guard_expectation = former;
	}
	PG_END_TRY();
	return done;
}

/*
 * Run a statement; true if it found, or wrote, its row, which is then in
 * *row.
 */
bool
statement_run(CasCall *call, const CasStatement *statement, CasRow *row)
{
	if (direct_serves(call, statement))
		return direct_run(call, statement, row);
	if (cas_guard_wants_announcement(call->table) &&
		(statement->kind == STATEMENT_UPDATE ||
		 statement->kind == STATEMENT_RENAME))
		return run_announced(call, statement, row);
	return run_plan(call, statement, row);
}

/* Read a row in a snapshot, and as this transaction has made it. */
bool
statement_read(CasCall *call, CasKey *key, Snapshot snapshot, int wants,
			   CasRow *row)
{
	CasStatement statement = {
		.kind = STATEMENT_READ,.key = key,.snapshot = snapshot,.wants = wants
	};

	return statement_run(call, &statement, row);
}

/*
 * Read a row as others have committed it by now, and this transaction had
 * done by that command.
 */
bool
statement_read_as_of(CasCall *call, CasKey *key, CommandId command, int wants,
					 CasRow *row)
{
	CasStatement statement = {
		.kind = STATEMENT_READ,.key = key,.snapshot = GetLatestSnapshot(),
		.as_of = true,.wants = wants
	};

	statement.snapshot->curcid = command;
	return statement_run(call, &statement, row);
}
