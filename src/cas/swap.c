/*
 * swap.c
 *		Find, lock, compare and write one row.
 *
 * Everything here is ordinary SQL, run through SPI with the caller's rights:
 * so privileges, row-level security, constraints, triggers, partitions and
 * the rest do what they do for a statement of the caller's own.  The plans
 * are saved per table and kind of statement.
 *
 * Locks.  The row's own lock is the lock; nothing else decides who wins.  A
 * swap is first tried as one statement, "UPDATE ... WHERE key AND version",
 * which costs no more than the one written by hand.  It waits for whoever
 * holds the row, and then the executor compares again with what that one
 * committed.  If it finds nothing to write, that says too little: the row may
 * be missing, hidden, of another version, equal to what was to be written, or
 * deleted and created again while we waited.  So then the row is locked with
 * SELECT ... FOR UPDATE, by a statement of its own with a snapshot of its
 * own, and what that returns is the truth until the end of the transaction.
 * The server-driven writes, which compare with nothing, begin there.
 *
 * Snapshots.  Under READ COMMITTED each of our statements has a new snapshot.
 * A statement that waited for a row's deleter does not see the row that the
 * deleter made again under the same key, so "no row" is believed only when a
 * later look has found none either.  Under REPEATABLE READ and SERIALIZABLE
 * the transaction's snapshot is used, and PostgreSQL raises 40001 for a row
 * that has changed since; for a row that came since, we look with the latest
 * snapshot and raise it ourselves.
 *
 * DELETE needs no UPDATE right, but SELECT ... FOR UPDATE does.  A caller
 * without it gets its answers from the latest committed row, unlocked.
 */
#include "cas.h"

#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/*
 * How often a row that keeps slipping away is looked for where row-level
 * security may be what hides it, or a trigger what suppresses it.  Each time
 * but the first, another session must have deleted and created it between two
 * of our statements.
 */
#define MAX_TRIES 5

PG_FUNCTION_INFO_V1(cas_reached);

/* Whether cas_reached() was called; may_delete() asks. */
static bool reached = false;

/* Plans kept per table; the columns that payloads name make more. */
#define MAX_PLANS 64

typedef enum CasPlanKind
{
	CAS_PLAN_READ,
	CAS_PLAN_LOCK_SHARE,
	CAS_PLAN_LOCK_NO_KEY_UPDATE,
	CAS_PLAN_LOCK_UPDATE,
	CAS_PLAN_INSERT,
	CAS_PLAN_INSERT_NEW_KEY,	/* the key's default makes one */
	CAS_PLAN_UPDATE,
	CAS_PLAN_DIFFERS,			/* finds what UPDATE should have written */
	CAS_PLAN_DELETE,
	CAS_PLAN_REACH_DELETE,		/* deletes nothing, see may_delete() */
	CAS_PLAN_RENAME
} CasPlanKind;

typedef struct CasPlan
{
	CasPlanKind kind;
	bool		payload;		/* the row that it returns has its payload */
	bool		compares;		/* it writes only what differs */
	Bitmapset  *columns;		/* that it writes, by attribute number */
	SPIPlanPtr	plan;
} CasPlan;

/* Values for columns, as a payload names them. */
typedef struct CasWrite
{
	Bitmapset  *columns;
	bool		comparable;		/* the caller may read all of them */
	Datum	   *values;			/* by attribute number - 1 */
	bool	   *nulls;
} CasWrite;

/* ----------
 * Statements
 * ----------
 */

/* The columns that are neither key nor version: the payload, if no document. */
static bool
is_payload_column(CasTable *table, AttrNumber attnum)
{
	if (TupleDescAttr(table->desc, attnum - 1)->attisdropped ||
		attnum == table->version)
		return false;
	for (int i = 0; i < table->nkeys; i++)
		if (table->keys[i].attnum == attnum)
			return false;
	return true;
}

static const char *
column_name(CasTable *table, AttrNumber attnum)
{
	return quote_identifier(NameStr(TupleDescAttr(table->desc,
												  attnum - 1)->attname));
}

/* Append the payload, as one expression of type jsonb. */
static void
append_payload(StringInfo sql, CasTable *table)
{
	const char *separator = "";

	if (table->payload != 0)
	{
		appendStringInfo(sql, "t.%s", column_name(table, table->payload));
		return;
	}
	appendStringInfoString(sql,
						   "(SELECT pg_catalog.to_jsonb(r.*) FROM (SELECT ");
	for (AttrNumber a = 1; a <= table->desc->natts; a++)
	{
		if (!is_payload_column(table, a))
			continue;
		appendStringInfo(sql, "%st.%s", separator, column_name(table, a));
		separator = ", ";
	}
	appendStringInfoString(sql, ") AS r)");
}

/* Append what every statement returns: key, version and perhaps payload. */
static void
append_row(StringInfo sql, CasTable *table, bool payload)
{
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(sql, "t.%s, ", quote_identifier(table->keys[i].name));
	appendStringInfo(sql, "t.%s", column_name(table, table->version));
	if (payload)
	{
		appendStringInfoString(sql, ", ");
		append_payload(sql, table);
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
first_column_parameter(CasTable *table, CasPlanKind kind)
{
	switch (kind)
	{
		case CAS_PLAN_INSERT_NEW_KEY:
			return 1;
		case CAS_PLAN_INSERT:
			return table->nkeys + 1;
		default:
			return table->nkeys + 2;
	}
}

static bool
has_version(CasPlanKind kind)
{
	return kind == CAS_PLAN_UPDATE || kind == CAS_PLAN_DIFFERS ||
		kind == CAS_PLAN_DELETE || kind == CAS_PLAN_RENAME;
}

static int
parameter_types(CasTable *table, const CasPlan *plan, Oid *types)
{
	int			n = 0;
	int			a = -1;

	if (plan->kind != CAS_PLAN_INSERT_NEW_KEY)
		for (int i = 0; i < table->nkeys; i++)
			types[n++] = table->keys[i].type;
	if (has_version(plan->kind))
		types[n++] = INT8OID;
	while ((a = bms_next_member(plan->columns, a)) >= 0)
		types[n++] = a == table->payload ? JSONBOID :
			TupleDescAttr(table->desc, a - 1)->atttypid;
	if (plan->kind == CAS_PLAN_RENAME)
		for (int i = 0; i < table->nkeys; i++)
			types[n++] = table->keys[i].type;
	return n;
}

static void
append_where_key(StringInfo sql, CasTable *table)
{
	appendStringInfoString(sql, " WHERE ");
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(sql, "%st.%s %s $%d", i > 0 ? " AND " : "",
						 quote_identifier(table->keys[i].name),
						 table->keys[i].equals, i + 1);
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
extension_schema(CasCall *call)
{
	return quote_identifier(get_namespace_name(get_func_namespace(call->function)));
}

/*
 * Append that a column differs from a parameter by its stored image.  The
 * casts to record keep ROW *<> ROW from being taken apart by columns.
 */
static void
append_differs(StringInfo sql, CasCall *call, AttrNumber attnum, int param)
{
	CasTable   *table = call->table;
	CasNames   *path = &table->settings.version_path;

	if (path->length == 0 || attnum != table->payload)
	{
		appendStringInfo(sql, "ROW(t.%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW($%d)::pg_catalog.record",
						 column_name(table, attnum), param);
		return;
	}
	appendStringInfo(sql, "%s.cas_differs(t.%s::pg_catalog.jsonb, $%d, ARRAY[",
					 extension_schema(call), column_name(table, attnum), param);
	for (int i = 0; i < path->length; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "",
						 quote_literal_cstr(path->names[i]));
	appendStringInfoString(sql, "]::pg_catalog.text[])");
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
	for (int i = 0; plan->kind == CAS_PLAN_INSERT && i < table->nkeys; i++)
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
	if (plan->kind == CAS_PLAN_INSERT)
		appendStringInfo(sql, " ON CONFLICT ON CONSTRAINT %s DO NOTHING",
						 quote_identifier(get_constraint_name(table->key_constraint)));
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
	append_row(&row, table, plan->payload);

	initStringInfo(&sql);
	switch (plan->kind)
	{
		case CAS_PLAN_READ:
		case CAS_PLAN_LOCK_SHARE:
		case CAS_PLAN_LOCK_NO_KEY_UPDATE:
		case CAS_PLAN_LOCK_UPDATE:
			appendStringInfo(&sql, "SELECT %s FROM %s AS t", row.data,
							 relation);
			append_where_key(&sql, table);
			break;
		case CAS_PLAN_INSERT:
		case CAS_PLAN_INSERT_NEW_KEY:
			append_insert(&sql, call, plan, name);
			break;
		case CAS_PLAN_UPDATE:
			appendStringInfo(&sql, "UPDATE %s AS t", relation);
			append_set(&sql, table, plan);
			if (plan->compares)
				append_where_differs(&sql, call, plan);
			else
				append_where_version(&sql, table);
			break;
		case CAS_PLAN_DIFFERS:
			appendStringInfo(&sql, "SELECT %s FROM %s AS t", row.data,
							 relation);
			append_where_differs(&sql, call, plan);
			break;
		case CAS_PLAN_DELETE:
			appendStringInfo(&sql, "DELETE FROM %s AS t", relation);
			append_where_version(&sql, table);
			break;
		case CAS_PLAN_REACH_DELETE:
			appendStringInfo(&sql, "DELETE FROM %s AS t", relation);
			append_where_key(&sql, table);
			appendStringInfo(&sql, " AND %s.cas_reached()",
							 extension_schema(call));
			break;
		case CAS_PLAN_RENAME:
			append_rename(&sql, table, relation);
			break;
	}
	switch (plan->kind)
	{
		case CAS_PLAN_READ:
		case CAS_PLAN_DIFFERS:
			break;
		case CAS_PLAN_LOCK_SHARE:
			appendStringInfoString(&sql, " FOR SHARE");
			break;
		case CAS_PLAN_LOCK_NO_KEY_UPDATE:
			appendStringInfoString(&sql, " FOR NO KEY UPDATE");
			break;
		case CAS_PLAN_LOCK_UPDATE:
			appendStringInfoString(&sql, " FOR UPDATE");
			break;
		case CAS_PLAN_INSERT:
		case CAS_PLAN_INSERT_NEW_KEY:
		case CAS_PLAN_UPDATE:
		case CAS_PLAN_DELETE:
		case CAS_PLAN_REACH_DELETE:
		case CAS_PLAN_RENAME:
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

static void
free_plans(void *table)
{
	ListCell   *lc;

	foreach(lc, ((CasTable *) table)->plans)
		SPI_freeplan(((CasPlan *) lfirst(lc))->plan);
}

static MemoryContextCallback *
make_callback(MemoryContext mcxt, MemoryContextCallbackFunction function,
			  void *arg)
{
	MemoryContextCallback *callback;

	callback = MemoryContextAlloc(mcxt, sizeof(MemoryContextCallback));
	callback->func = function;
	callback->arg = arg;
	return callback;
}

static CasPlan *
find_plan(CasTable *table, const CasPlan *wanted)
{
	ListCell   *lc;

	foreach(lc, table->plans)
	{
		CasPlan    *plan = lfirst(lc);

		if (plan->kind == wanted->kind && plan->payload == wanted->payload &&
			plan->compares == wanted->compares &&
			bms_equal(plan->columns, wanted->columns))
			return plan;
	}
	return NULL;
}

/*
 * The plan for a statement of the kind.  Plans are saved with the table; one
 * that the catalogs have moved away from is made anew, since its text may
 * hold names of the past.  An outer call may be running the old one, so that
 * is freed only at the end of the transaction.
 */
static SPIPlanPtr
plan_for(CasCall *call, CasPlanKind kind, const CasWrite *write)
{
	CasTable   *table = call->table;
	CasPlan		wanted = {0};
	CasPlan    *plan;
	SPIPlanPtr	prepared;

	wanted.kind = kind;
	wanted.payload = call->payload_wanted;
	if (write != NULL)
	{
		wanted.columns = write->columns;
		wanted.compares = kind == CAS_PLAN_UPDATE && write->comparable;
	}

	plan = find_plan(table, &wanted);
	if (plan != NULL && SPI_plan_is_valid(plan->plan))
		return plan->plan;

	prepared = prepare(call, &wanted);
	if (plan != NULL)
	{
		MemoryContext mcxt = TopTransactionContext;

		MemoryContextRegisterResetCallback(mcxt,
										   make_callback(mcxt, free_plan,
														 plan->plan));
	}
	else
	{
		MemoryContext old;

		/* beyond the limit, a plan is for one call and goes with it */
		if (list_length(table->plans) >= MAX_PLANS)
			return prepared;
		old = MemoryContextSwitchTo(table->mcxt);
		if (table->plans == NIL)
			MemoryContextRegisterResetCallback(table->mcxt,
											   make_callback(table->mcxt,
															 free_plans,
															 table));
		plan = palloc(sizeof(CasPlan));
		*plan = wanted;
		plan->columns = bms_copy(wanted.columns);
		plan->plan = prepared;
		table->plans = lappend(table->plans, plan);
		MemoryContextSwitchTo(old);
	}
	SPI_keepplan(prepared);
	plan->plan = prepared;
	return prepared;
}

/* ----------
 * Running them
 * ----------
 */

static void
changed_since_snapshot(CasCall *call)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update"),
			 errtable(call->rel)));
}

/* Take the one row that a statement returned, into the caller's memory. */
static void
take_row(CasCall *call, CasRow *row)
{
	CasTable   *table = call->table;
	HeapTuple	tuple = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	MemoryContext old = MemoryContextSwitchTo(call->caller);
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	Datum		datum;
	bool		isnull;

	for (int i = 0; i < table->nkeys; i++)
		values[i] = heap_getattr(tuple, i + 1, desc, &nulls[i]);
	row->id = cas_key_text(table, values, nulls);

	datum = heap_getattr(tuple, table->nkeys + 1, desc, &row->version_isnull);
	row->version = row->version_isnull ? 0 :
		cas_version_value(table, datum);

	row->payload = NULL;
	if (call->payload_wanted)
	{
		datum = heap_getattr(tuple, table->nkeys + 2, desc, &isnull);
		if (!isnull)
			row->payload = DatumGetJsonbPCopy(datum);
	}
	MemoryContextSwitchTo(old);
}

/*
 * Run a statement; true if it found, or wrote, its row, which is then in
 * *row.  new_key is RENAME's; write what is written to columns.
 */
static bool
run(CasCall *call, CasPlanKind kind, CasKey *key, int64 version,
	const CasWrite *write, CasKey *new_key, Snapshot snapshot, CasRow *row)
{
	CasTable   *table = call->table;
	SPIPlanPtr	plan = plan_for(call, kind, write);
	int			size = 2 * table->nkeys + 1 + table->desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * size);
	char	   *nulls = palloc(size);
	int			n = 0;
	int			a = -1;
	int			rc;
	uint64		processed;

	memset(nulls, ' ', size);
	if (kind != CAS_PLAN_INSERT_NEW_KEY)
		for (int i = 0; i < table->nkeys; i++)
			values[n++] = key->values[i];
	if (has_version(kind))
		values[n++] = Int64GetDatum(version);
	while (write != NULL && (a = bms_next_member(write->columns, a)) >= 0)
	{
		values[n] = write->values[a - 1];
		if (write->nulls[a - 1])
			nulls[n] = 'n';
		n++;
	}
	if (kind == CAS_PLAN_RENAME)
		for (int i = 0; i < table->nkeys; i++)
			values[n++] = new_key->values[i];

	rc = SPI_execute_snapshot(plan, values, nulls, snapshot, InvalidSnapshot,
							  false, true, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s",
			 SPI_result_code_string(rc));
	processed = SPI_processed;
	if (processed > 1)
	{
		/* a snapshot can have a row that is gone and the one in its place */
		if (IsolationUsesXactSnapshot())
			changed_since_snapshot(call);
		elog(ERROR, "more than one row for a primary key in table \"%s\"",
			 RelationGetRelationName(call->rel));
	}
	if (processed == 1)
		take_row(call, row);
	SPI_freetuptable(SPI_tuptable);
	pfree(values);
	pfree(nulls);
	return processed == 1;
}

/*
 * Run an UPDATE, announced to the guard where that demands a version.
 */
static bool
run_update(CasCall *call, CasPlanKind kind, CasKey *key, int64 version,
		   const CasWrite *write, CasKey *new_key, CasRow *row)
{
	GuardExpectation former = guard_expectation;
	bool		done = false;

	if (!call->table->settings.reject_unversioned)
		return run(call, kind, key, version, write, new_key, InvalidSnapshot,
				   row);
	PG_TRY();
	{
		guard_expectation.relid = call->table->relid;
		guard_expectation.key = key;
		done = run(call, kind, key, version, write, new_key, InvalidSnapshot,
				   row);
	}
	PG_FINALLY();
	{
		guard_expectation = former;
	}
	PG_END_TRY();
	return done;
}

static bool
run_read(CasCall *call, CasKey *key, Snapshot snapshot, CasRow *row)
{
	return run(call, CAS_PLAN_READ, key, 0, NULL, NULL, snapshot, row);
}

/* ----------
 * Looking at a row
 * ----------
 */

static bool
has_policies(CasCall *call)
{
	return check_enable_rls(call->table->relid, InvalidOid, true) ==
		RLS_ENABLED;
}

/*
 * A row as the transaction's snapshot has it.
 */
bool
swap_read(CasCall *call, CasKey *key, CasRow *row)
{
	return run_read(call, key, InvalidSnapshot, row);
}

/*
 * Lock a row and read it; false if there is none, or policies hide it.  What
 * either answer says is true after all waiting.
 */
bool
swap_lock(CasCall *call, CasKey *key, CasLockMode mode, CasRow *row)
{
	CasPlanKind kind = CAS_PLAN_LOCK_UPDATE;

	switch (mode)
	{
		case CAS_LOCK_SHARE:
			kind = CAS_PLAN_LOCK_SHARE;
			break;
		case CAS_LOCK_NO_KEY_UPDATE:
			kind = CAS_PLAN_LOCK_NO_KEY_UPDATE;
			break;
		case CAS_LOCK_UPDATE:
			kind = CAS_PLAN_LOCK_UPDATE;
			break;
	}

	for (int tries = 1;; tries++)
	{
		if (run(call, kind, key, 0, NULL, NULL, InvalidSnapshot, row))
			return true;

		/* Nothing in that snapshot.  Is there something now? */
		if (!run_read(call, key, GetLatestSnapshot(), row))
			return false;
		if (IsolationUsesXactSnapshot())
		{
			if (!swap_read(call, key, row))
				changed_since_snapshot(call);
			return false;		/* seen, but hidden from updates */
		}
		if (tries >= MAX_TRIES && has_policies(call))
			return false;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * A row as last committed, for callers who may not lock it.
 */
static bool
read_latest(CasCall *call, CasKey *key, CasRow *row)
{
	CasRow		former;
	bool		found;

	if (IsolationUsesXactSnapshot())
	{
		bool		formerly = swap_read(call, key, &former);

		found = run_read(call, key, GetLatestSnapshot(), row);
		if (found != formerly || (found && row->version != former.version))
			changed_since_snapshot(call);
		return found;
	}
	return run_read(call, key, GetLatestSnapshot(), row);
}

static bool
may_update(CasCall *call)
{
	Oid			relid = call->table->relid;

	return pg_class_aclcheck(relid, GetUserId(), ACL_UPDATE) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_UPDATE,
								  ACLMASK_ANY) == ACLCHECK_OK;
}

/*
 * A row as it now stands: under its lock, if the caller may update it.
 */
static bool
current_row(CasCall *call, CasKey *key, CasLockMode mode, CasRow *row)
{
	if (may_update(call) && swap_lock(call, key, mode, row))
		return true;
	return read_latest(call, key, row);
}

/* An answer without a row. */
static CasOutcome
no_row(CasCall *call, CasKey *key, CasOutcome outcome, CasRow *row)
{
	row->id = MemoryContextStrdup(call->caller, key->text);
	row->version = 0;
	row->version_isnull = true;
	row->payload = NULL;
	return outcome;
}

/* Whether a row has the expected version. */
static bool
matches(const CasRow *row, int64 expected)
{
	return !row->version_isnull && row->version == expected;
}

/*
 * Lock a row that is to be written whatever its version is; *version is what
 * the write then expects.
 */
static bool
lock_to_write(CasCall *call, CasKey *key, CasRow *row, int64 *version)
{
	if (!swap_lock(call, key, CAS_LOCK_NO_KEY_UPDATE, row))
		return false;
	if (row->version_isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("row in table \"%s\" has no version",
						RelationGetRelationName(call->rel)),
				 errhint("It was written while the guard was off. Any UPDATE gives it a version."),
				 errtablecol(call->rel, call->table->version)));
	*version = row->version;
	return true;
}

/* ----------
 * What a payload writes
 * ----------
 */

static AttrNumber
payload_field(CasCall *call, const char *name)
{
	CasTable   *table = call->table;

	for (AttrNumber a = 1; a <= table->desc->natts; a++)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, a - 1);

		if (att->attisdropped || strcmp(NameStr(att->attname), name) != 0)
			continue;
		if (a == table->version)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the payload must not have the version, \"%s\"",
							name),
					 errhint("The expected version is an argument of its own."),
					 errtablecol(call->rel, a)));
		if (att->attgenerated != '\0')
			ereport(ERROR,
					(errcode(ERRCODE_GENERATED_ALWAYS),
					 errmsg("column \"%s\" in the payload is a generated column",
							name),
					 errtablecol(call->rel, a)));
		return a;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" in the payload does not exist in table \"%s\"",
					name, RelationGetRelationName(call->rel)),
			 errtable(call->rel)));
	return InvalidAttrNumber;	/* not reached */
}

/* A key that is sent back with the payload must be the row's own. */
static void
check_key_fields(CasCall *call, CasKey *key, const CasWrite *write,
				 Bitmapset *columns)
{
	CasTable   *table = call->table;

	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];
		int			att = column->attnum - 1;

		if (!bms_is_member(column->attnum, columns))
			continue;
		if (key == NULL || write->nulls[att] ||
			!DatumGetBool(FunctionCall2Coll(&column->equal, column->collation,
											write->values[att],
											key->values[i])))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" in the payload is not the id's",
							column->name),
					 errhint("cas_rename() changes a key."),
					 errtablecol(call->rel, column->attnum)));
	}
}

/*
 * The columns that a payload writes, and their values.  key is NULL for a row
 * whose key its default will make.
 */
static void
payload_columns(CasCall *call, CasKey *key, Jsonb *payload, CasWrite *write)
{
	CasTable   *table = call->table;
	Bitmapset  *key_columns = NULL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	int			a = -1;

	write->columns = NULL;
	write->values = palloc(sizeof(Datum) * table->desc->natts);
	write->nulls = palloc(sizeof(bool) * table->desc->natts);

	if (table->payload != 0)
	{
		write->columns = bms_make_singleton(table->payload);
		write->values[table->payload - 1] = JsonbPGetDatum(payload);
		write->nulls[table->payload - 1] = false;
		write->comparable = call->payload_readable;
		return;
	}

	if (!JB_ROOT_IS_OBJECT(payload))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload is not a JSON object"),
				 errhint("The payload of table \"%s\" is an object of its columns.",
						 RelationGetRelationName(call->rel))));
	it = JsonbIteratorInit(&payload->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		AttrNumber	attnum;

		if (token != WJB_KEY)
			continue;
		attnum = payload_field(call, pnstrdup(v.val.string.val,
											  v.val.string.len));
		if (is_payload_column(table, attnum))
			write->columns = bms_add_member(write->columns, attnum);
		else
			key_columns = bms_add_member(key_columns, attnum);
	}
	cas_populate(table, payload, write->values, write->nulls);
	check_key_fields(call, key, write, key_columns);

	write->comparable = true;
	while (!call->payload_readable &&
		   (a = bms_next_member(write->columns, a)) >= 0)
		if (pg_attribute_aclcheck(table->relid, a, GetUserId(),
								  ACL_SELECT) != ACLCHECK_OK)
			write->comparable = false;
}

/*
 * Write a payload to a row of the expected version: true if it was written.
 * That nothing was has several reasons, see the head of this file.
 */
static bool
write_payload(CasCall *call, CasKey *key, int64 expected,
			  const CasWrite *write, CasRow *row)
{
	if (bms_is_empty(write->columns))
		return false;
	return run_update(call, CAS_PLAN_UPDATE, key, expected, write, NULL, row);
}

static void
suppressed(CasCall *call, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a trigger on table \"%s\" suppressed the %s",
					RelationGetRelationName(call->rel), what),
			 errtable(call->rel)));
}

/*
 * What it comes to that nothing was written to a row that we have locked at
 * the expected version: the payload is the row's already, or a trigger has
 * suppressed the write.
 */
static CasOutcome
unchanged(CasCall *call, CasKey *key, int64 expected, const CasWrite *write)
{
	CasRow		row;

	if (!bms_is_empty(write->columns) &&
		(!write->comparable ||
		 run(call, CAS_PLAN_DIFFERS, key, expected, write, NULL,
			 InvalidSnapshot, &row)))
		suppressed(call, "update");
	return CAS_UNCHANGED;
}

/* What a write that was done comes to: the guard may have seen no change. */
static CasOutcome
written(const CasRow *row, int64 expected)
{
	return matches(row, expected) ? CAS_UNCHANGED : CAS_UPDATED;
}

/*
 * Write a payload to a row that we have locked at the version.  If nothing is
 * written, the payload was the row's already - or the row is not what we
 * locked any more, because a function that computed the payload has written
 * to it, too, and going on would lose what it wrote.
 */
static CasOutcome
write_locked(CasCall *call, CasKey *key, int64 version, Jsonb *payload,
			 CasRow *row)
{
	CasWrite	write;

	payload_columns(call, key, payload, &write);
	if (write_payload(call, key, version, &write, row))
		return written(row, version);
	if (!swap_lock(call, key, CAS_LOCK_NO_KEY_UPDATE, row) ||
		!matches(row, version))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("row in table \"%s\" was changed by the function that computes its payload",
						RelationGetRelationName(call->rel)),
				 errtable(call->rel)));
	return unchanged(call, key, version, &write);
}

/* ----------
 * The swaps
 * ----------
 */

/*
 * Replace a row's payload if it has the expected version.
 */
CasOutcome
swap_update(CasCall *call, CasKey *key, int64 expected, Jsonb *payload,
			CasRow *row)
{
	CasWrite	write;

	payload_columns(call, key, payload, &write);
	if (write_payload(call, key, expected, &write, row))
		return written(row, expected);

	if (!swap_lock(call, key, CAS_LOCK_NO_KEY_UPDATE, row))
		return no_row(call, key, CAS_MISSING, row);
	if (!matches(row, expected))
		return CAS_CONFLICT;

	/* Equal already, or of this version only since we waited. */
	if (write_payload(call, key, expected, &write, row))
		return written(row, expected);
	return unchanged(call, key, expected, &write);
}

/*
 * Whether a merge patch has to see the row.  One that sets columns to values
 * that are no objects says all by itself.
 */
static bool
patch_needs_row(CasCall *call, Jsonb *patch)
{
	return call->table->payload != 0 || !JB_ROOT_IS_OBJECT(patch) ||
		document_holds_objects(patch);
}

/* What a patch makes of a row's payload: the columns it names, or all of it. */
static Jsonb *
patched(CasCall *call, Jsonb *payload, Jsonb *patch)
{
	Jsonb	   *merged;

	if (payload == NULL)
		payload = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													 CStringGetDatum("null")));
	merged = document_merge(payload, patch);
	if (call->table->payload == 0 && JB_ROOT_IS_OBJECT(patch))
		return document_pick(merged, patch);
	return merged;
}

/*
 * Merge a patch into a row's payload, if it has the expected version.
 */
CasOutcome
swap_patch(CasCall *call, CasKey *key, int64 expected, Jsonb *patch,
		   CasRow *row)
{
	bool		payload_wanted = call->payload_wanted;

	if (!patch_needs_row(call, patch))
		return swap_update(call, key, expected, patch, row);

	call->payload_wanted = true;
	if (!swap_lock(call, key, CAS_LOCK_NO_KEY_UPDATE, row))
		return no_row(call, key, CAS_MISSING, row);
	if (!matches(row, expected))
		return CAS_CONFLICT;
	patch = patched(call, row->payload, patch);
	call->payload_wanted = payload_wanted;
	return write_locked(call, key, expected, patch, row);
}

/*
 * Merge a patch into a row's payload, whatever its version.
 */
CasOutcome
swap_merge(CasCall *call, CasKey *key, Jsonb *patch, CasRow *row)
{
	int64		version;

	call->payload_wanted = patch_needs_row(call, patch);
	if (!lock_to_write(call, key, row, &version))
		return no_row(call, key, CAS_MISSING, row);
	if (call->payload_wanted)
		patch = patched(call, row->payload, patch);
	call->payload_wanted = false;
	return write_locked(call, key, version, patch, row);
}

/*
 * Replace a row's payload by what fn makes of it, whatever its version.
 */
CasOutcome
swap_apply(CasCall *call, CasKey *key, FmgrInfo *fn, Jsonb *args, CasRow *row)
{
	LOCAL_FCINFO(fcinfo, 2);
	int64		version;
	Jsonb	   *payload;
	Datum		result;

	call->payload_wanted = true;
	if (!lock_to_write(call, key, row, &version))
		return no_row(call, key, CAS_MISSING, row);
	call->payload_wanted = false;

	InitFunctionCallInfoData(*fcinfo, fn, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(row->payload);
	fcinfo->args[0].isnull = row->payload == NULL;
	fcinfo->args[1].value = JsonbPGetDatum(args);
	fcinfo->args[1].isnull = args == NULL;
	if (fn->fn_strict && (row->payload == NULL || args == NULL))
		fcinfo->isnull = true;
	else
		result = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("function %s returned null for the payload",
						format_procedure(fn->fn_oid)),
				 fn->fn_strict ?
				 errhint("It is strict, and was called with a null.") : 0));

	payload = DatumGetJsonbP(result);
	if (call->table->payload == 0 && row->payload != NULL &&
		JB_ROOT_IS_OBJECT(payload))
		payload = document_changes(row->payload, payload);
	return write_locked(call, key, version, payload, row);
}

/*
 * Create a row, or say what stands in its place.  key is NULL if the key's
 * default is to make one; then a key that is taken is an error.
 */
CasOutcome
swap_create(CasCall *call, CasKey *key, Jsonb *payload, CasRow *row)
{
	CasWrite	write;

	payload_columns(call, key, payload, &write);

	/*
	 * INSERT does not mind a row that the snapshot has and that is gone since;
	 * the snapshot would then have two of one key.
	 */
	if (key != NULL && IsolationUsesXactSnapshot() &&
		current_row(call, key, CAS_LOCK_NO_KEY_UPDATE, row))
		return CAS_EXISTS;

	for (int tries = 1;; tries++)
	{
		if (run(call, key ? CAS_PLAN_INSERT : CAS_PLAN_INSERT_NEW_KEY, key, 0,
				&write, NULL, InvalidSnapshot, row))
			return CAS_CREATED;
		if (key != NULL &&
			current_row(call, key, CAS_LOCK_NO_KEY_UPDATE, row))
			return CAS_EXISTS;

		/* It is gone again; or policies hide it; or a trigger said no. */
		if (key != NULL && has_policies(call))
			return no_row(call, key, CAS_EXISTS, row);
		if (key == NULL || tries >= MAX_TRIES)
			suppressed(call, "insert");
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Whether the caller's policies for DELETE let it come to a row.  They may
 * hide one that those for SELECT and UPDATE have shown us.  Policies are
 * asked before conditions, so a DELETE whose condition says no, and notes
 * that it was asked, tells.
 */
static bool
may_delete(CasCall *call, CasKey *key)
{
	CasRow		row;

	if (!has_policies(call))
		return true;
	reached = false;
	run(call, CAS_PLAN_REACH_DELETE, key, 0, NULL, NULL, InvalidSnapshot,
		&row);
	return reached;
}

/*
 * cas_reached() RETURNS boolean: false, and notes the call.  Internal.
 */
Datum
cas_reached(PG_FUNCTION_ARGS)
{
	reached = true;
	PG_RETURN_BOOL(false);
}

/*
 * Delete a row if it has the expected version.
 */
CasOutcome
swap_delete(CasCall *call, CasKey *key, int64 expected, CasRow *row)
{
	for (int tries = 1;; tries++)
	{
		if (run(call, CAS_PLAN_DELETE, key, expected, NULL, NULL,
				InvalidSnapshot, row))
			return CAS_DELETED;
		if (!current_row(call, key, CAS_LOCK_UPDATE, row) ||
			!may_delete(call, key))
			return no_row(call, key, CAS_MISSING, row);
		if (!matches(row, expected))
			return CAS_CONFLICT;

		/* Of this version only since we waited; or a trigger said no. */
		if (tries >= MAX_TRIES)
			suppressed(call, "deletion");
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Change the key of a row that we have locked; false if the new one is taken
 * by somebody who came in between.
 */
static bool
change_key(CasCall *call, CasKey *key, int64 version, CasKey *new_key,
		   CasRow *row)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		done = run_update(call, CAS_PLAN_RENAME, key, version, NULL, new_key,
						  row);
		if (!done)
			suppressed(call, "renaming");
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;
		const char *constraint;

		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;

		/* in a partition the key's constraint has a name of its own */
		constraint = get_constraint_name(call->table->key_constraint);
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION ||
			(!current_row(call, new_key, CAS_LOCK_NO_KEY_UPDATE, row) &&
			 (error->constraint_name == NULL || constraint == NULL ||
			  strcmp(error->constraint_name, constraint) != 0)))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	return done;
}

/*
 * Give a row another key, if it has the expected version and the key is free.
 * Its own key is not.
 */
CasOutcome
swap_rename(CasCall *call, CasKey *key, int64 expected, CasKey *new_key,
			CasRow *row)
{
	if (!swap_lock(call, key, CAS_LOCK_UPDATE, row))
		return no_row(call, key, CAS_MISSING, row);
	if (!matches(row, expected))
		return CAS_CONFLICT;
	if (current_row(call, new_key, CAS_LOCK_NO_KEY_UPDATE, row))
		return CAS_EXISTS;
	if (change_key(call, key, expected, new_key, row))
		return CAS_RENAMED;
	if (current_row(call, new_key, CAS_LOCK_NO_KEY_UPDATE, row))
		return CAS_EXISTS;
	return no_row(call, new_key, CAS_EXISTS, row);
}

/*
 * Create a row or replace its payload, whatever its version.
 */
CasOutcome
swap_put(CasCall *call, CasKey *key, Jsonb *payload, CasRow *row)
{
	int64		version;

	for (;;)
	{
		if (lock_to_write(call, key, row, &version))
			return write_locked(call, key, version, payload, row);
		if (swap_create(call, key, payload, row) == CAS_CREATED)
			return CAS_CREATED;

		/* it was created meanwhile; if we can't see it, give up */
		if (row->version_isnull)
			return CAS_EXISTS;
		CHECK_FOR_INTERRUPTS();
	}
}
