/*
 * named.c
 *		Ranges as callers name them: parsing, and checking them against a pool.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "alloc/pools.h"

/*
 * Raise 22023 if the range's values cannot be numbered as slots (space.c), or
 * cannot be told apart from those of the pool's other ranges.
 */
void
named_require_fit(const Range *range, const char *text, int chunk_bits,
				  const Range *others, int nothers)
{
	if (!range_fits(range, chunk_bits))
		raise_invalid(psprintf(chunk_bits == 0 ?
							   "range %s holds the last of all addresses" :
							   "range %s is too long for port chunks", text),
					  chunk_bits == 0 ? "End the range before it." :
					  psprintf("Its addresses must have the same first %d bits.",
							   chunk_bits));
	/* Only with port chunks can different values have the same slots. */
	for (int i = 0; chunk_bits > 0 && i < nothers; i++)
	{
		if (ranges_collide(range, &others[i], chunk_bits))
			raise_invalid(psprintf("range %s differs from another range of the pool only in its first %d bits",
								   text, chunk_bits),
						  "A pool with port chunks cannot tell such addresses apart; make a pool for each.");
	}
}

/* Raise 23P01. */
void
raise_overlap(const char *text, const char *other)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXCLUSION_VIOLATION),
			 errmsg("range %s overlaps with range %s of the pool",
					text, other)));
}

/* qsort comparator */
static int
compare_named(const void *a, const void *b)
{
	u128		x = ((const Named *) a)->first;
	u128		y = ((const Named *) b)->first;

	return x < y ? -1 : x > y;
}

/* Parse an element of the argument ranges of alloc_pool_create(). */
static Named
element(Datum datum, PoolKind kind, int *width)
{
	Named		named;

	named.text = TextDatumGetCString(datum);
	range_parse(kind, named.text, false, width, &named.first, &named.last);
	return named;
}

/*
 * Parse the ranges of a new pool.  They are returned in order and are of one
 * width.  Raises an error if there are none, or if some overlap.
 */
Range *
named_ranges(ArrayType *texts, PoolKind kind, int chunk_bits, int *width,
			 int *nranges)
{
	Datum	   *elements;
	bool	   *nulls;
	Named	   *named;
	Range	   *ranges;

	deconstruct_array(texts, TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, nranges);
	if (*nranges == 0)
		raise_invalid("a pool needs a range", kind_example(kind));
	named = palloc_extended(*nranges * sizeof(Named), MCXT_ALLOC_HUGE);
	for (int i = 0; i < *nranges; i++)
	{
		int			its_width;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"ranges\" must not contain nulls")));
		named[i] = element(elements[i], kind, &its_width);
		if (i > 0 && its_width != *width)
			raise_invalid(psprintf("ranges %s and %s are of different address families",
								   named[0].text, named[i].text),
						  "Make a pool for each.");
		*width = its_width;
	}
	qsort(named, *nranges, sizeof(Named), compare_named);

	/*
	 * In order, each range needs to be compared with the one before it only.
	 */
	ranges = palloc_extended(*nranges * sizeof(Range),
							 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < *nranges; i++)
	{
		if (i > 0 && named[i].first <= named[i - 1].last)
			raise_overlap(named[i].text, named[i - 1].text);
		ranges[i].first = named[i].first;
		ranges[i].last = named[i].last;
		named_require_fit(&ranges[i], named[i].text, chunk_bits, ranges, i);
	}
	return ranges;
}

/*
 * Parse the second argument.  If whole is true, a network stands for all of
 * its addresses, and otherwise for its host addresses where the pool's kind
 * says so.
 */
void
named_argument(FunctionCallInfo fcinfo, const Change *change, bool whole,
			   Named *named)
{
	int			width;

	require_argument(fcinfo, 1, "range");
	named->text = text_to_cstring(PG_GETARG_TEXT_PP(1));
	range_parse(change->use.pool->kind, named->text, whole, &width,
				&named->first, &named->last);
	if (width != change->use.pool->width)
		raise_invalid(psprintf("range %s is not of the address family of pool \"%s\"",
							   named->text, change->use.name),
					  "Make a pool for each.");
}

/* Does the range contain any of the values? */
bool
named_overlaps(const Range *range, const Named *named)
{
	return named->first <= range->last && named->last >= range->first;
}

/* Raise 22023 unless a range of the pool contains any of the values. */
void
named_require_overlap(const Change *change, const Named *named)
{
	const Space *space = &change->use.pool->space;

	for (int i = 0; i < space->nranges; i++)
	{
		if (named_overlaps(&space->ranges[i], named))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("no value of range %s is in pool \"%s\"", named->text,
					change->use.name),
			 errhint("See the ranges column of view alloc_pools.")));
}
