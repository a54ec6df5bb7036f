/*
 * argument.c
 *		Checks of SQL functions' arguments, so that the same mistake raises the
 *		same error everywhere.
 */
#include "base/base.h"

#include <math.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/*
 * Raise 22004 if the argument is NULL.  name is the parameter's name in SQL.
 */
void
require_argument(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

/* Format a NULL-terminated list of words as: "a", "b" or "c" */
static char *
list_of_words(const char *const *words)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; words[i] != NULL; i++)
		appendStringInfo(&list, "%s\"%s\"",
						 i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ",
						 words[i]);
	return list.data;
}

/*
 * Return the position of value in words, a NULL-terminated array; raise 22023
 * if it is none of them.
 */
static int
one_of_words(const char *value, const char *name, const char *const *words)
{
	for (int i = 0; words[i] != NULL; i++)
	{
		if (strcmp(value, words[i]) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument \"%s\": \"%s\"", name, value),
			 errhint("Use %s.", list_of_words(words))));
}

/*
 * The same for a text argument, which must not be NULL.
 */
int
word_argument(FunctionCallInfo fcinfo, int argno, const char *name,
			  const char *const *words)
{
	require_argument(fcinfo, argno, name);
	return one_of_words(text_to_cstring(PG_GETARG_TEXT_PP(argno)), name,
						words);
}

pg_noreturn static void
raise_out_of_range(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"%s\" is out of range", name),
			 errhint("The resulting time must be in the range of type timestamptz.")));
}

/*
 * Is start + interval in the range of timestamptz?  If it is close to an end,
 * the answer is no.
 */
bool
interval_fits(TimestampTz start, const Interval *interval)
{
	double		days = interval->month * 31.0 + interval->day;
	double		from = start + days * USECS_PER_DAY + interval->time;
	/* a month has at most 31 days; more than the estimate can be wrong */
	double		slack = 2.0 * USECS_PER_DAY +
		fabs((double) interval->month) * 4.0 * USECS_PER_DAY;

	return from - slack >= (double) MIN_TIMESTAMP &&
		from + slack < (double) END_TIMESTAMP;
}

/*
 * Compute start + interval as timestamptz + interval does, in the session's
 * time zone.  Raise 22023 if the result is out of range.
 */
TimestampTz
interval_after(TimestampTz start, Interval *interval, const char *name)
{
	Datum		after;

	/*
	 * timestamptz_pl_interval() would raise 22008 without naming the
	 * argument, so check the range first.
	 */
	if (!interval_fits(start, interval))
		raise_out_of_range(name);
	after = DirectFunctionCall2(timestamptz_pl_interval,
								TimestampTzGetDatum(start),
								IntervalPGetDatum(interval));
	return DatumGetTimestampTz(after);
}

/*
 * As interval_after(), but the interval must be positive.
 */
TimestampTz
positive_interval_after(TimestampTz start, Interval *interval,
						const char *name)
{
	TimestampTz end = interval_after(start, interval, name);

	if (end <= start)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be positive", name)));
	return end;
}

/*
 * Compute the end of an interval that begins now.  The interval must not be
 * negative.
 */
TimestampTz
interval_from_now(Interval *interval, const char *name)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end = interval_after(now, interval, name);

	if (end < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be negative", name)));
	return end;
}

/*
 * Return the argument "batch" of a reaper function: the number of rows that
 * one call may visit.
 */
int
batch_argument(FunctionCallInfo fcinfo, int argno)
{
	require_argument(fcinfo, argno, "batch");
	if (PG_GETARG_INT32(argno) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be negative", "batch")));
	return PG_GETARG_INT32(argno);
}

/* Return the name of the function that is called, for an error. */
static char *
called_function(FunctionCallInfo fcinfo)
{
	/* The name is NULL if the function was dropped after it was called. */
	char	   *function = get_func_name(fcinfo->flinfo->fn_oid);

	return psprintf("%s()", function != NULL ? function : "pg_cas");
}

/*
 * Raise 25000 in a parallel query.  Our functions are PARALLEL UNSAFE, but a
 * worker can run them in a function that is declared PARALLEL SAFE.  There,
 * they cannot take row locks, transaction IDs or new snapshots.
 */
void
require_no_parallel_query(FunctionCallInfo fcinfo)
{
	if (IsInParallelMode())
		PreventCommandIfParallelMode(called_function(fcinfo));
}

/*
 * Raise 25006 in a read-only transaction and on a standby, and 25000 in a
 * parallel query.
 */
void
require_writable(FunctionCallInfo fcinfo)
{
	require_no_parallel_query(fcinfo);

	/* which every transaction is during recovery */
	if (XactReadOnly)
		PreventCommandIfReadOnly(called_function(fcinfo));
}
