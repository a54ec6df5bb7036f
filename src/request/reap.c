/*
 * reap.c
 *		Remove old results.
 *
 * The column retained_by tells what limits the time for which a result is
 * kept: its own expires_at, the retention of its scope, or the setting
 * pg_cas.request_retention.  For each of these, the old rows are found by an
 * index in order of time, so that a call with nothing to remove costs only a
 * few index probes.  Rows that other transactions are changing, and those of
 * this transaction, are left for a later call.
 */
#include "request/request.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/transam.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Columns of the index request_result_at */
#define AT_RETAINED_BY		1
#define AT_AT				2

typedef struct Reaper
{
	RequestTables tables;
	Snapshot	latest;
	int			left;			/* rows that may still be visited */
	int64		reaped;			/* rows removed */
	text	   *scope;			/* scope looked up last */
	bool		retains;		/* whether that has a retention */
} Reaper;

static Relation
open_index(const char *name)
{
	return index_open(internal_relation(name), AccessShareLock);
}

static void
time_key(ScanKey key, int column, TimestampTz before)
{
	ScanKeyInit(key, column, BTLessStrategyNumber, F_TIMESTAMPTZ_LT,
				TimestampTzGetDatum(before));
}

static void
null_key(ScanKey key, int column, int is_or_not)
{
	ScanKeyEntryInitialize(key, SK_ISNULL | is_or_not, column,
						   InvalidStrategy, InvalidOid, InvalidOid,
						   InvalidOid, (Datum) 0);
}

/*
 * If the row's scope was given a retention after the row was inserted, set the
 * row's retained_by and return true: the setting does not apply any more.
 */
static bool
moved_to_scope(Reaper *reaper)
{
	OwnTable   *results = &reaper->tables.results;
	Datum		values[RESULT_NATTS] = {0};
	bool		nulls[RESULT_NATTS] = {false};
	bool		replace[RESULT_NATTS] = {false};
	bool		isnull;
	text	   *scope = DatumGetTextPP(own_value(results, RESULT_SCOPE,
												 &isnull));
	Interval	retention;

	/* Rows of one scope mostly come together, so look each up only once. */
	if (reaper->scope == NULL || !same_text(scope, reaper->scope))
	{
		if (reaper->scope != NULL)
			pfree(reaper->scope);
		reaper->scope = DatumGetTextPCopy(PointerGetDatum(scope));
		reaper->retains = scope_retention(&reaper->tables.scopes,
										  reaper->scope, &retention);
	}
	if (!reaper->retains)
		return false;
	values[RESULT_RETAINED_BY - 1] = PointerGetDatum(reaper->scope);
	replace[RESULT_RETAINED_BY - 1] = true;

	/* If another transaction is changing the row, a later call will do it. */
	(void) own_update(results, values, nulls, replace);
	return true;
}

/*
 * Remove the rows that match the keys in the index; by_setting if they were
 * found to be old by pg_cas.request_retention.
 */
static void
reap_found(Reaper *reaper, Relation index, ScanKey keys, int nkeys,
		   bool by_setting)
{
	OwnTable   *results = &reaper->tables.results;
	OwnScan		scan;

	own_scan_begin(&scan, results, index, reaper->latest, keys, nkeys);
	while (reaper->left > 0 && own_scan_next(&scan))
	{
		/* This transaction may still need its own results. */
		if (own_slot_is_ours(results))
			continue;

		/* Count visits, so that rows locked by others are not looped over. */
		reaper->left--;
		if (by_setting && moved_to_scope(reaper))
			continue;
		if (own_delete(results))
			reaper->reaped++;
	}
	own_scan_end(&scan);
}

/* Remove results whose own expires_at is over. */
static void
reap_expired(Reaper *reaper)
{
	Relation	index = open_index("request_result_expires_at");
	ScanKeyData key;

	time_key(&key, 1, GetCurrentTimestamp());
	reap_found(reaper, index, &key, 1, false);
	index_close(index, NoLock);
}

/* Remove results that pg_cas.request_retention applies to. */
static void
reap_by_setting(Reaper *reaper, Relation index)
{
	ScanKeyData keys[2];

	if (pg_cas_request_retention < 0)
		return;
	null_key(&keys[0], AT_RETAINED_BY, SK_SEARCHNULL);
	time_key(&keys[1], AT_AT, GetCurrentTimestamp() -
			 pg_cas_request_retention * USECS_PER_SEC);
	reap_found(reaper, index, keys, 2, true);
}

/*
 * A scope with a negative retention keeps its results for ever.  So does one
 * with a retention of thousands of years, which only a direct write leaves out
 * of the range that request_scope_set() allows: it must not stop the call.
 */
static bool
is_for_ever(Interval *retention)
{
	Interval	zero = {0};
	int64		years = 2000;

	if (Abs((int64) retention->month) > years * MONTHS_PER_YEAR ||
		Abs((int64) retention->day) > years * 366 ||
		retention->time > years * 366 * USECS_PER_DAY ||
		retention->time < -years * 366 * USECS_PER_DAY)
		return true;
	return DatumGetBool(DirectFunctionCall2(interval_lt,
											IntervalPGetDatum(retention),
											IntervalPGetDatum(&zero)));
}

/* Remove results of the scope whose row is in the slot. */
static void
reap_scope(Reaper *reaper, Relation index)
{
	OwnTable   *scopes = &reaper->tables.scopes;
	bool		isnull;
	text	   *scope = DatumGetTextPP(own_value(scopes, SCOPE_SCOPE,
												 &isnull));
	Interval   *retention = DatumGetIntervalP(own_value(scopes,
														SCOPE_RETENTION,
														&isnull));
	ScanKeyData keys[2];
	Datum		oldest;

	if (is_for_ever(retention))
		return;
	own_text_key(&keys[0], AT_RETAINED_BY, scope);
	oldest = DirectFunctionCall2(timestamptz_mi_interval,
								 TimestampTzGetDatum(GetCurrentTimestamp()),
								 IntervalPGetDatum(retention));
	time_key(&keys[1], AT_AT, DatumGetTimestampTz(oldest));
	reap_found(reaper, index, keys, 2, false);
}

/* Remove results that their scopes' retentions apply to. */
static void
reap_by_scopes(Reaper *reaper, Relation index)
{
	OwnTable   *scopes = &reaper->tables.scopes;
	Relation	retentions = open_index("request_scope_retention");
	ScanKeyData key;
	OwnScan		scan;

	/* Only the valid row of a scope, the one with made_by 0, can have one. */
	null_key(&key, 1, SK_SEARCHNOTNULL);
	own_scan_begin(&scan, scopes, retentions, reaper->latest, &key, 1);
	while (reaper->left > 0 && own_scan_next(&scan))
		reap_scope(reaper, index);
	own_scan_end(&scan);
	index_close(retentions, NoLock);
}

/*
 * Visit up to batch old results and remove them.  Return the number removed.
 */
int64
reap_results(int batch)
{
	WaitLimit	limit = {.limited = false};
	Reaper		reaper = {.left = batch};
	Relation	index;

	(void) tables_open(&reaper.tables, &limit);

	/* The latest state, without the rows that this call itself updates. */
	reaper.latest = RegisterSnapshot(GetLatestSnapshot());
	index = open_index("request_result_at");
	reap_expired(&reaper);
	reap_by_setting(&reaper, index);
	reap_by_scopes(&reaper, index);
	index_close(index, NoLock);
	UnregisterSnapshot(reaper.latest);
	tables_close(&reaper.tables);
	return reaper.reaped;
}
