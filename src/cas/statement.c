/*
 * statement.c
 *		Running the statements that swaps are made of.
 *
 * They run through SPI (sql.c has their text, plan.c their plans) with the
 * caller's rights; on plain tables some need not, see direct.c.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "utils/snapmgr.h"

/* Take the one row that a statement returned. */
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

	while ((a = bms_next_member(columns, a)) >= 0)
		values[a - 1] = heap_getattr(tuple, column++, desc, &nulls[a - 1]);
	found_take(call, statement, values, nulls, row);
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
		/* a snapshot can have a row that is gone and the one in its place */
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

/*
 * Whether the guard is to find out that an UPDATE changes nothing.  It reads
 * both rows anyway, and a condition in the statement, ROW(...) *<> ROW(...),
 * costs a twentieth of the call, most of it for making its types.
 *
 * The guard fires last, so this is only right if no trigger before it, and no
 * rule, could have done anything for a row that is not to be written.
 */
static bool
guard_compares(CasCall *call, const CasStatement *statement)
{
	return statement->kind == STATEMENT_UPDATE &&
		statement->write->comparable && call->table->guard_compares;
}

/* Run an UPDATE that is announced to the guard. */
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
		guard_expectation.columns = guard_compares(call, statement) ?
			statement->write->columns : NULL;
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
	if (guard_compares(call, statement) ||
		(cas_guard_wants_announcement(call->table) &&
		 (statement->kind == STATEMENT_UPDATE ||
		  statement->kind == STATEMENT_RENAME)))
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
