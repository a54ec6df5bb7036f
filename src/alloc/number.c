/*
 * number.c
 *		Conversion of slot numbers to and from numeric, the type of such
 *		columns, because bigint is too small for IPv6.
 *
 * The extension's owner can write to our tables, so a numeric that is read
 * from them may be negative, NaN or too large.  Therefore it is checked each
 * time.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "alloc/alloc.h"

/* Return the number as a numeric. */
Datum
u128_numeric(u128 n)
{
	char		buf[U128_DIGITS];

	if (n <= (u128) PG_INT64_MAX)
		return NumericGetDatum(int64_to_numeric((int64) n));
	/* larger numbers go through their text form, which is much slower */
	u128_print(n, buf);
	return DirectFunctionCall3(numeric_in, CStringGetDatum(buf),
							   ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

/* Return a numeric of one of our tables as a number, or raise XX001. */
u128
numeric_u128(Datum numeric)
{
	static Datum largest = 0;	/* of a bigint */
	char	   *text;
	u128		n;

	if (largest == 0)
	{
		/* made once, to keep the common case cheap */
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

		largest = u128_numeric(PG_INT64_MAX);
		MemoryContextSwitchTo(caller);
	}
	if (!numeric_is_inf(DatumGetNumeric(numeric)) &&
		DatumGetBool(DirectFunctionCall2(numeric_le, numeric, largest)))
	{
		/* fits into a bigint: no need for the text form */
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
 * The place of a waiting row in its pool's queue (queue.c), by its slot.
 * Places by slot are 0 or more; places by time are negative, so that the two
 * never mix.
 */
Datum
queue_place_of_slot(u128 slot)
{
	return u128_numeric(slot);
}

/* The place by the time from which the row's unit can be given out again. */
Datum
queue_place_of_time(TimestampTz ready_at)
{
	return NumericGetDatum(int64_to_numeric(Max(ready_at, 0) + PG_INT64_MIN));
}
