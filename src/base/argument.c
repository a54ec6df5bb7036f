/*
 * argument.c
 *		Arguments of SQL functions, checked in one way and in one wording.
 */
#include "base/base.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/*
 * Raise 22004 if the call's argument is NULL; name is the SQL parameter's.
 */
void
require_argument(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

/* "a", "b" or "c" */
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
 * The place of a value among these words, the last of which is followed by
 * NULL, or 22023.
 */
int
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
 * Likewise of an argument, which must not be NULL.
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
report_out_of_range(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("argument \"%s\" is out of range", name),
			 errhint("The time that it leads to must be one that timestamptz can hold.")));
}

/*
 * The time that lies so long after start, or 22023.  Months and days are as
 * long as timestamptz + interval makes them.
 *
 * timestamptz_pl_interval() raises 22008 for what does not fit; so that the
 * error says which argument it is about, the span is estimated first, by more
 * than it can be.
 */
TimestampTz
interval_after(TimestampTz start, Interval *interval, const char *name)
{
	double		days = interval->month * 31.0 + interval->day;
	double		from = start + days * USECS_PER_DAY + interval->time;
	double		slack = 2.0 * USECS_PER_DAY +
		Abs(interval->month) * 4.0 * USECS_PER_DAY;
	Datum		after;

	if (from - slack < (double) MIN_TIMESTAMP ||
		from + slack >= (double) END_TIMESTAMP)
		report_out_of_range(name);
	after = DirectFunctionCall2(timestamptz_pl_interval,
								TimestampTzGetDatum(start),
								IntervalPGetDatum(interval));
	return DatumGetTimestampTz(after);
}

/*
 * Likewise for an interval that must be positive.
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
 * The end of an interval that begins now and must not be negative.
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
 * The argument "batch" of housekeeping.
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

/*
 * Raise 25006 in a read-only transaction and on a standby.
 */
void
require_writable(FunctionCallInfo fcinfo)
{
	char	   *function;

	if (!XactReadOnly && !RecoveryInProgress())
		return;
	/* NULL if it has been dropped since it was called. */
	function = get_func_name(fcinfo->flinfo->fn_oid);
	function = psprintf("%s()", function != NULL ? function : "pg_cas");
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
}
