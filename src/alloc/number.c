/*
 * number.c
 *		Numbers of slots as they stand in tables: numerics, since bigint is
 *		too small for IPv6.
 *
 * What the tables hold is checked when it is read.  The extension's owner can
 * write to them, so a numeric may be negative, NaN, or too large for us.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "alloc/alloc.h"

/* The numeric of a number. */
Datum
u128_numeric(u128 n)
{
	char		buf[U128_DIGITS];

	if (n <= (u128) PG_INT64_MAX)
		return NumericGetDatum(int64_to_numeric((int64) n));
	u128_print(n, buf);
	return DirectFunctionCall3(numeric_in, CStringGetDatum(buf),
							   ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

/* The number that a numeric of one of our tables is, or XX001. */
u128
numeric_u128(Datum numeric)
{
	static Datum largest = 0;	/* of a bigint */
	char	   *text;
	u128		n;

	if (largest == 0)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		largest = u128_numeric(PG_INT64_MAX);
		MemoryContextSwitchTo(caller);
	}
	if (!numeric_is_inf(DatumGetNumeric(numeric)) &&
		DatumGetBool(DirectFunctionCall2(numeric_le, numeric, largest)))
	{
		int64		small = DatumGetInt64(DirectFunctionCall1(numeric_int8,
															  numeric));

		if (small >= 0)
			return (u128) small;
	}
	text = DatumGetCString(DirectFunctionCall1(numeric_out, numeric));
	if (!u128_parse(text, &n))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("allocation table holds the number \"%s\"", text),
				 errhint("See alloc_verify().")));
	pfree(text);
	return n;
}

/*
 * The place of a waiting row in its pool's queue (queue.c): by slot, at or
 * after 0, or by the time from which its unit can be had, before 0.
 */
Datum
queue_place_of_slot(u128 slot)
{
	return u128_numeric(slot);
}

Datum
queue_place_of_time(TimestampTz ready_at)
{
	return NumericGetDatum(int64_to_numeric(Max(ready_at, 0) + PG_INT64_MIN));
}
