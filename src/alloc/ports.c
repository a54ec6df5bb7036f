/*
 * ports.c
 *		Ports that are not given out, as bits: one for each chunk of an address
 *		that has any of them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

#include "alloc/alloc.h"

/*
 * The first port of a range and the one behind its last.  An end that is not
 * there stands for all ports up to that end.  Returns false if the range is
 * empty.
 */
static bool
range_ports(Datum range, int64 *from, int64 *to)
{
	TypeCacheEntry *type = lookup_type_cache(INT4RANGEOID,
											 TYPECACHE_RANGE_INFO);
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;

	range_deserialize(type, DatumGetRangeTypeP(range), &lower, &upper, &empty);
	if (empty)
		return false;
	*from = lower.infinite ? 0 :
		(int64) DatumGetInt32(lower.val) + (lower.inclusive ? 0 : 1);
	*to = upper.infinite ? PORTS :
		(int64) DatumGetInt32(upper.val) + (upper.inclusive ? 1 : 0);
	return true;
}

/* Raise 22023 if the range has anything but ports. */
void
ports_check(Datum range, const char *name)
{
	int64		from;
	int64		to;

	if (range_ports(range, &from, &to) && (from < 0 || to > PORTS))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" has ports from %lld to %lld", name,
						(long long) from, (long long) to - 1),
				 errhint("Ports are from 0 to 65535.")));
}

/* The same for an array, which must not contain nulls. */
void
ports_check_array(ArrayType *ranges, const char *name)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(ranges, INT4RANGEOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", name)));
		ports_check(elements[i], name);
	}
}

/* Bits for all chunks of an address, none of which is set. */
uint64 *
ports_new(int port_chunk)
{
	return palloc0(Max(1, PORTS / port_chunk / 64) * sizeof(uint64));
}

/* Set the bits of the chunks that have any of the range's ports. */
void
ports_exclude(uint64 *chunks, Datum range, int port_chunk)
{
	int64		from;
	int64		to;

	if (!range_ports(range, &from, &to))
		return;
	from = Max(from, 0);
	to = Min(to, PORTS);
	for (int64 port = from - from % port_chunk; port < to; port += port_chunk)
		chunks[port / port_chunk / 64] |=
			UINT64CONST(1) << (port / port_chunk % 64);
}

/* The same for an array. */
void
ports_exclude_array(uint64 *chunks, ArrayType *ranges, int port_chunk)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(ranges, INT4RANGEOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			ports_exclude(chunks, elements[i], port_chunk);
	}
}
