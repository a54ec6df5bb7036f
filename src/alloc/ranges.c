/*
 * ranges.c
 *		Allocation: the SQL functions that change what a pool consists of.
 *
 * As those of pools.c they say what they do in SQL, with the pool locked.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "alloc/pools.h"

PG_FUNCTION_INFO_V1(alloc_pool_grow);
PG_FUNCTION_INFO_V1(alloc_pool_shrink);
PG_FUNCTION_INFO_V1(alloc_reserve);
PG_FUNCTION_INFO_V1(alloc_unreserve);

/*
 * Remove rows that are not in use from these slots; those that are cooling
 * only if all of their values are among those that go.
 */
static void
sweep(Store *store, const Pool *pool, Extent slots, u128 first, u128 last)
{
	TimestampTz now = GetCurrentTimestamp();
	BlockScan	scan;
	SlotRow		row;

	block_scan_begin(&scan, store, pool, slots, NULL);
	while (block_scan_next(&scan, &row))
	{
		BlockState	state = row_state(&row, now);
		u128		end = block_last(row.lo, row.order);
		bool		goes = space_value(&pool->space, row.lo) >= first &&
			space_value(&pool->space, end) <= last;

		if (state != BLOCK_FREE && !(state == BLOCK_COOLING && goes))
			continue;
		if (store_delete(store, &row) == TM_Ok && row.held)
			store_history(store, pool, &row, row.expires_at, "expired");
	}
	block_scan_end(&scan);
}

static Datum
numeric_array(Datum *numbers, int n)
{
	return PointerGetDatum(construct_array(numbers, n, NUMERICOID, -1, false,
										   TYPALIGN_INT));
}

/*
 * Ranges.
 */

/*
 * Add ranges that overlap with none, each with a frontier at its first slot
 * unless it has another one.  Those whose whole is 0 are a whole of their own.
 */
void
insert_ranges(int32 pool, bool mixed, int chunk_bits, const Range *ranges,
			  const u128 *frontiers, int nranges)
{
	Datum	   *columns[5];

	for (int c = 0; c < lengthof(columns); c++)
		columns[c] = palloc(Max(nranges, 1) * sizeof(Datum));
	for (int i = 0; i < nranges; i++)
	{
		columns[0][i] = u128_numeric(ranges[i].first);
		columns[1][i] = u128_numeric(ranges[i].last);
		columns[2][i] = Int32GetDatum(ranges[i].whole);
		columns[3][i] = u128_numeric(frontiers != NULL ? frontiers[i] :
									 range_slots(&ranges[i],
												 chunk_bits).first);
		columns[4][i] = BoolGetDatum(ranges[i].draining);
	}
	owner_sql("WITH u AS (SELECT nextval('@alloc_range_id_seq') AS id, n.* "
			  "FROM unnest($2, $3, $4, $5, $6) "
			  "AS n(first, last, whole, frontier, draining)), "
			  "r AS (INSERT INTO @alloc_range (id, pool, first, last, whole, draining) "
			  "SELECT u.id, $1, u.first, u.last, "
			  "coalesce(nullif(u.whole, 0), u.id), u.draining FROM u) "
			  "INSERT INTO @alloc_frontier (range, slot) "
			  "SELECT u.id, u.frontier FROM u WHERE NOT $7",
			  ARGS(INT4OID, NUMERICARRAYOID, NUMERICARRAYOID, INT4ARRAYOID,
				   NUMERICARRAYOID, BOOLARRAYOID, BOOLOID),
			  VALUES(Int32GetDatum(pool),
					 numeric_array(columns[0], nranges),
					 numeric_array(columns[1], nranges),
					 PointerGetDatum(construct_array(columns[2], nranges,
													 INT4OID, 4, true,
													 TYPALIGN_INT)),
					 numeric_array(columns[3], nranges),
					 PointerGetDatum(construct_array(columns[4], nranges,
													 BOOLOID, 1, true,
													 TYPALIGN_CHAR)),
					 BoolGetDatum(mixed)));
}

static void
insert_range(const Pool *pool, const Range *range, u128 frontier)
{
	insert_ranges(pool->id, pool->mixed, pool->space.chunk_bits, range,
				  &frontier, 1);
}

static void
delete_range(int32 range)
{
	owner_sql("DELETE FROM @alloc_range WHERE id = $1", ARGS(INT4OID),
			  VALUES(Int32GetDatum(range)));
}

/* Remove the draining ranges whose last unit has gone; true if there were. */
static bool
purge_drained(Change *change)
{
	Pool	   *pool = change->use.pool;
	Store		store;
	bool		purged = false;

	store_open(&store, change->use.nsp, RowExclusiveLock);
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];
		Extent		slots = range_slots(range, pool->space.chunk_bits);

		if (!range->draining || slots_in_use(&store, pool, slots))
			continue;
		sweep(&store, pool, slots, range->first, range->last);
		delete_range(range->id);
		purged = true;
	}
	store_close(&store);
	return purged;
}

/*
 * Cut the values from first to last out of a range, which has some of them:
 * its parts keep their slots.  What is cut out drains, or if keep is false, is
 * gone.
 */
static void
cut_range(Store *store, const Pool *pool, const Range *range,
		  const Named *named, bool keep)
{
	Range		left = *range;
	Range		middle = *range;
	Range		right = *range;
	Extent		slots;
	u128		frontier;

	middle.first = Max(named->first, range->first);
	middle.last = Min(named->last, range->last);
	slots = slots_of_values(&pool->space, middle.first, middle.last);
	if (!store_frontier(store, range->id, &frontier, NULL, NULL))
		frontier = range_slots(range, pool->space.chunk_bits).first;
	delete_range(range->id);
	if (left.first < middle.first)
	{
		left.last = middle.first - 1;
		insert_range(pool, &left, Min(frontier, slots.first));
	}
	middle.draining = true;
	if (keep)
		insert_range(pool, &middle, slots.first);
	if (right.last > middle.last)
	{
		right.first = middle.last + 1;
		insert_range(pool, &right, Max(frontier, slots.last + 1));
	}
}

/*
 * Put ranges together again that a drain had cut and that are all given out.
 * True if there were such.
 */
static bool
join_ranges(const Pool *pool)
{
	const Space *space = &pool->space;
	int			first = 0;		/* of those that are one */
	bool		joined = false;

	for (int i = 1; i < space->nranges; i++)
	{
		const Range *before = &space->ranges[i - 1];
		const Range *range = &space->ranges[i];

		if (before->draining || range->draining ||
			before->last + 1 != range->first ||
			before->whole != range->whole)
		{
			first = i;
			continue;
		}
		delete_range(range->id);
		owner_sql("UPDATE @alloc_range SET last = $2 WHERE id = $1",
				  ARGS(INT4OID, NUMERICOID),
				  VALUES(Int32GetDatum(space->ranges[first].id),
						 u128_numeric(range->last)));
		joined = true;
	}
	return joined;
}

/*
 * 22023 if a range's values cannot be numbered (space.c), or not beside those
 * of the pool's other ranges.
 */
static void
require_fit(const Range *range, const char *text, int chunk_bits,
			const Range *others, int nothers)
{
	if (!range_fits(range, chunk_bits))
		raise_invalid(psprintf(chunk_bits == 0 ?
							   "range %s holds the last of all addresses" :
							   "range %s is too long for port chunks", text),
					  chunk_bits == 0 ? "End the range before it." :
					  psprintf("Its addresses must be alike in their first %d bits.",
							   chunk_bits));
	for (int i = 0; chunk_bits > 0 && i < nothers; i++)
	{
		if (ranges_collide(range, &others[i], chunk_bits))
			raise_invalid(psprintf("range %s differs from another one of the pool in its first %d bits only",
								   text, chunk_bits),
						  "A pool with port chunks cannot tell such addresses apart; make a pool for each.");
	}
}

pg_noreturn static void
raise_overlap(const char *text, const char *other)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXCLUSION_VIOLATION),
			 errmsg("range %s overlaps with range %s of the pool",
					text, other)));
}

/*
 * Add values to a pool: 23P01 if it has some of them.
 */
static void
add_range(const Pool *pool, const Named *named)
{
	const Space *space = &pool->space;
	Range		range = {.first = named->first, .last = named->last};

	for (int i = 0; i < space->nranges; i++)
	{
		const Range *other = &space->ranges[i];

		if (range.first <= other->last && range.last >= other->first)
			raise_overlap(named->text,
						  range_text(pool->kind, pool->width, other->first,
									 other->last));
	}
	require_fit(&range, named->text, space->chunk_bits, space->ranges,
				space->nranges);
	insert_range(pool, &range, range_slots(&range, space->chunk_bits).first);
}

static int
compare_named(const void *a, const void *b)
{
	u128		x = ((const Named *) a)->first;
	u128		y = ((const Named *) b)->first;

	return x < y ? -1 : x > y;
}

/* An element of alloc_pool_create's ranges. */
static Named
element(Datum datum, PoolKind kind, int *width)
{
	Named		named;

	named.text = TextDatumGetCString(datum);
	range_parse(kind, named.text, false, width, &named.first, &named.last);
	return named;
}

/*
 * The ranges of a new pool, from their texts, of which there must be one: in
 * order, of one width and without overlap.
 */
Range *
ranges_of_texts(ArrayType *texts, PoolKind kind, int chunk_bits, int *width,
				int *nranges)
{
	Datum	   *elements;
	bool	   *nulls;
	Named	   *named;
	Range	   *ranges;

	deconstruct_array(texts, TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, nranges);
	if (*nranges == 0)
		raise_invalid("a pool needs a range",
					  "A range is like 10.0.0.0/24, 10.0.0.10-10.0.0.99 or 100-4094.");
	named = palloc(*nranges * sizeof(Named));
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

	ranges = palloc0(*nranges * sizeof(Range));
	for (int i = 0; i < *nranges; i++)
	{
		if (i > 0 && named[i].first <= named[i - 1].last)
			raise_overlap(named[i].text, named[i - 1].text);
		ranges[i].first = named[i].first;
		ranges[i].last = named[i].last;
		require_fit(&ranges[i], named[i].text, chunk_bits, ranges, i);
	}
	return ranges;
}

/*
 * The values that the second argument names; a network in full, if whole.
 */
static void
named_values(FunctionCallInfo fcinfo, const Change *change, bool whole,
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

static bool
overlaps(const Range *range, const Named *named)
{
	return named->first <= range->last && named->last >= range->first;
}

static void
require_overlap(const Change *change, const Named *named)
{
	const Space *space = &change->use.pool->space;

	for (int i = 0; i < space->nranges; i++)
	{
		if (overlaps(&space->ranges[i], named))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("no value of range %s is in pool \"%s\"", named->text,
					change->use.name),
			 errhint("See the ranges column of view alloc_pools.")));
}

/* Does a range drain, and lie between these values? */
static bool
is_undrained_by(const Range *range, const Named *named)
{
	return range->draining && range->first >= named->first &&
		range->last <= named->last;
}

/*
 * Cut draining ranges that these values lie across; true if there were such.
 */
static bool
cut_draining(Change *change, const Named *named)
{
	Pool	   *pool = change->use.pool;
	Store		store;
	bool		cut = false;

	store_open(&store, change->use.nsp, RowExclusiveLock);
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];

		if (!range->draining || is_undrained_by(range, named) ||
			!overlaps(range, named))
			continue;
		cut_range(&store, pool, range, named, true);
		cut = true;
	}
	store_close(&store);
	return cut;
}

/* Are all of these values in ranges whose drain is about to be undone? */
static bool
all_undrained(const Pool *pool, const Named *whole, const Named *named)
{
	u128		n = 0;

	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];

		if (is_undrained_by(range, whole) && overlaps(range, named))
			n += Min(range->last, named->last) -
				Max(range->first, named->first) + 1;
	}
	return n == named->last - named->first + 1;
}

/*
 * alloc_pool_grow(pool, range)
 *
 * What is draining of the range, a network in full as alloc_pool_shrink took
 * it, is taken back, and is then one with what it was cut from.  What is added
 * has only a network's hosts; it may overlap with what has been drained to the
 * end, but not with what still has units.
 */
Datum
alloc_pool_grow(PG_FUNCTION_ARGS)
{
	Change		change;
	Named		whole;
	Named		named;
	bool		undrained;

	change_open(fcinfo, &change);
	named_values(fcinfo, &change, true, &whole);
	named_values(fcinfo, &change, false, &named);

	owner_sql_begin(&change.scope);
	if (cut_draining(&change, &whole))
		change_reload(&change);
	undrained = all_undrained(change.use.pool, &whole, &named);
	if (!undrained && purge_drained(&change))
		change_reload(&change);
	for (int i = 0; i < change.use.pool->space.nranges; i++)
	{
		const Range *range = &change.use.pool->space.ranges[i];
		int			chunk_bits = change.use.pool->space.chunk_bits;

		if (!is_undrained_by(range, &whole))
			continue;
		owner_sql("UPDATE @alloc_range SET draining = false WHERE id = $1",
				  ARGS(INT4OID), VALUES(Int32GetDatum(range->id)));
		owner_sql("UPDATE @alloc_frontier SET slot = $2 WHERE range = $1",
				  ARGS(INT4OID, NUMERICOID),
				  VALUES(Int32GetDatum(range->id),
						 u128_numeric(range_slots(range, chunk_bits).first)));
	}
	if (!undrained)
		add_range(change.use.pool, &named);
	change_reload(&change);
	(void) join_ranges(change.use.pool);
	change_end(&change);
	PG_RETURN_VOID();
}

/*
 * alloc_pool_shrink(pool, range, drain)
 *
 * A range of the pool that is hit partly is cut; its parts keep their slots.
 * A part that drains stays, even when its last unit has gone, and what cools
 * in it goes on cooling: a drain can be undone.
 */
Datum
alloc_pool_shrink(PG_FUNCTION_ARGS)
{
	Change		change;
	Named		named;
	Store		store;
	Pool	   *pool;
	bool		drain = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);

	change_open(fcinfo, &change);
	named_values(fcinfo, &change, true, &named);
	require_overlap(&change, &named);
	pool = change.use.pool;
	owner_sql_begin(&change.scope);
	store_open(&store, change.use.nsp, RowExclusiveLock);
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];
		Extent		slots;

		if (!overlaps(range, &named))
			continue;
		slots = slots_of_values(&pool->space,
								Max(named.first, range->first),
								Min(named.last, range->last));
		if (!drain && slots_in_use(&store, pool, slots))
			raise_in_use(&change, psprintf("range %s", named.text),
						 "Release them, or shrink the pool with drain => true.");
		if (drain)
			sweep(&store, pool, slots, 1, 0);
		else
			sweep(&store, pool, slots, named.first, named.last);
		cut_range(&store, pool, range, &named, drain);
	}
	store_close(&store);
	change_end(&change);
	PG_RETURN_VOID();
}

/* alloc_reserve(pool, range, note) */
Datum
alloc_reserve(PG_FUNCTION_ARGS)
{
	Change		change;
	Named		named;
	Datum		pool;
	Datum		first;
	Datum		last;

	change_open(fcinfo, &change);
	named_values(fcinfo, &change, true, &named);
	require_overlap(&change, &named);
	pool = Int32GetDatum(change.use.pool->id);
	first = u128_numeric(named.first);
	last = u128_numeric(named.last);

	owner_sql_begin(&change.scope);
	if (owner_sql("SELECT 1 FROM @alloc_reserved WHERE pool = $1 "
				  "AND first <= $3 AND last >= $2",
				  ARGS(INT4OID, NUMERICOID, NUMERICOID),
				  VALUES(pool, first, last)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXCLUSION_VIOLATION),
				 errmsg("range %s overlaps with one that is reserved",
						named.text)));
	owner_sql("INSERT INTO @alloc_reserved (pool, first, last) "
			  "VALUES ($1, $2, $3)",
			  ARGS(INT4OID, NUMERICOID, NUMERICOID),
			  VALUES(pool, first, last));
	if (!PG_ARGISNULL(2))
		owner_sql("UPDATE @alloc_reserved SET note = $3 "
				  "WHERE pool = $1 AND first = $2",
				  ARGS(INT4OID, NUMERICOID, JSONBOID),
				  VALUES(pool, first, PG_GETARG_DATUM(2)));
	change_end(&change);
	PG_RETURN_VOID();
}

/*
 * alloc_unreserve(pool, range)
 *
 * The frontiers of the ranges have to go back: they passed what was reserved.
 */
Datum
alloc_unreserve(PG_FUNCTION_ARGS)
{
	Change		change;
	Named		named;
	const Space *space;

	change_open(fcinfo, &change);
	named_values(fcinfo, &change, true, &named);
	owner_sql_begin(&change.scope);
	if (owner_sql("DELETE FROM @alloc_reserved "
				  "WHERE pool = $1 AND first = $2 AND last = $3",
				  ARGS(INT4OID, NUMERICOID, NUMERICOID),
				  VALUES(Int32GetDatum(change.use.pool->id),
						 u128_numeric(named.first),
						 u128_numeric(named.last))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CAS_NOT_FOUND),
				 errmsg("range %s is not reserved in pool \"%s\"", named.text,
						change.use.name),
				 errhint("Name the range as it was reserved.")));
	space = &change.use.pool->space;
	for (int i = 0; i < space->nranges; i++)
	{
		const Range *range = &space->ranges[i];

		if (!overlaps(range, &named))
			continue;
		owner_sql("UPDATE @alloc_frontier SET slot = least(slot, $2) "
				  "WHERE range = $1",
				  ARGS(INT4OID, NUMERICOID),
				  VALUES(Int32GetDatum(range->id),
						 u128_numeric(space_slot(space, Max(named.first,
															range->first)))));
	}
	change_end(&change);
	PG_RETURN_VOID();
}
