/*
 * statement.c
 *		Run the statements that swaps need.
 *
 * They run through SPI with the caller's rights; sql.c has their text, and
 * plan.c their plans.  Some use the direct path (direct.c).
 */
#include "plan.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "utils/snapmgr.h"

/* Copy the values of the one row that a statement returned. */
static void
take_returned(CasCall *call, const CasStatement *statement, CasRow *row)
{
	HeapTuple	tuple = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	int			natts = call->table->desc->natts;
	const Bitmapset *columns = found_columns(call, statement);
	Datum	   *values = palloc(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);
	int			column = 1;
	int			a = -1;

	/* the statement returns the columns in the order of their numbers */
	while ((a = bms_next_member(columns, a)) >= 0)
		values[a - 1] = heap_getattr(tuple, column++, desc, &nulls[a - 1]);
	found_take(call, statement, values, nulls, row);
	pfree(values);
	pfree(nulls);
}

/*
 * Connect to SPI for the rest of the call, if that is not done yet.  Do not
 * call this inside a subtransaction that ends before the call does, because
 * its end closes the connection.
 */
void
statement_connect(CasCall *call)
{
	MemoryContext mcxt = CurrentMemoryContext;

	if (call->connected)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/* stay in our context, not in SPI's */
	MemoryContextSwitchTo(mcxt);
	call->connected = true;
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
	sql_bind(table, statement, values, nulls);

	/* With read_only, SPI uses the snapshot's curcid as it is. */
	plan_begin(table);
	rc = SPI_execute_snapshot(plan, values, nulls, statement->snapshot,
							  InvalidSnapshot, statement->as_of, true, 0);
	plan_end(table);
	if (rc < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s",
			 SPI_result_code_string(rc));
	processed = SPI_processed;
	if (processed > 1)
	{
		/*
		 * An old snapshot may see a deleted row, and the row that this
		 * transaction has inserted with the same key since.
		 */
		if (IsolationUsesXactSnapshot())
			found_raise_outdated(call);
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

/* Run an UPDATE after announcing its row to the guard. */
static bool
run_announced(CasCall *call, const CasStatement *statement, CasRow *row)
{
	GuardExpectation former = cas_guard_announce(call->rel, call->table,
												 statement->key);
	bool		done = false;

	PG_TRY();
	{
		done = run_plan(call, statement, row);
	}
	PG_FINALLY();
	{
		cas_guard_withdraw(former);
	}
	PG_END_TRY();
	return done;
}

/*
 * Run a statement.  Return true if it found or wrote its row, and set *row to
 * that.
 */
bool
statement_run(CasCall *call, const CasStatement *statement, CasRow *row)
{
	bool		declined;
	bool		found;

	call_check_table(call);
	if (direct_serves(call, statement))
	{
		found = direct_run(call, statement, row, &declined);
		if (!declined)
			return found;
	}
	if (cas_guard_wants_announcement(call->table) &&
		(statement->kind == STATEMENT_UPDATE ||
		 statement->kind == STATEMENT_RENAME))
		return run_announced(call, statement, row);
	return run_plan(call, statement, row);
}

/*
 * Read a row with a snapshot (or InvalidSnapshot for a new one), including
 * what this transaction has written.
 */
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
 * Read a row with a snapshot, including what this transaction has written
 * before the given command, but not later.
 */
bool
statement_read_as_of(CasCall *call, CasKey *key, Snapshot snapshot,
					 CommandId command, int wants, CasRow *row)
{
	CasStatement statement = {
		.kind = STATEMENT_READ,.key = key,.snapshot = snapshot,
		.as_of = true,.wants = wants
	};

	snapshot->curcid = command;
	return statement_run(call, &statement, row);
}
