/*
 * ranges.c
 *		The SQL functions that change what a pool consists of: ranges and
 *		reservations.
 *
 * Like those in pools.c they use SQL, and hold the pool's lock.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "alloc/pools.h"
#include "alloc/search.h"

PG_FUNCTION_INFO_V1(alloc_pool_grow);
PG_FUNCTION_INFO_V1(alloc_pool_shrink);
PG_FUNCTION_INFO_V1(alloc_reserve);
PG_FUNCTION_INFO_V1(alloc_unreserve);

/*
 * Delete the rows in these slots that are not in use.  Rows that are cooling
 * are deleted only if all of their values lie between first and last, which
 * are the values that leave the pool.
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

/* A numeric[] datum. */
static Datum
numeric_array(Datum *numbers, int n)
{
	return PointerGetDatum(construct_array(numbers, n, NUMERICOID, -1, false,
										   TYPALIGN_INT));
}

/*
 * Insert ranges, which must not overlap with others of the pool.  The frontier
 * of each is at its first slot unless frontiers says otherwise.  A range whose
 * whole is 0 gets its own id there.
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

/* Insert one range. */
static void
insert_range(const Pool *pool, const Range *range, u128 frontier)
{
	insert_ranges(pool->id, pool->mixed, pool->space.chunk_bits, range,
				  &frontier, 1);
}

/* Delete a range, with its frontier. */
static void
delete_range(int32 range)
{
	owner_sql("DELETE FROM @alloc_frontier WHERE range = $1", ARGS(INT4OID),
			  VALUES(Int32GetDatum(range)));
	owner_sql("DELETE FROM @alloc_range WHERE id = $1", ARGS(INT4OID),
			  VALUES(Int32GetDatum(range)));
}

/*
 * Delete the draining ranges whose last unit is gone.  Returns true if there
 * were any.
 */
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
 * Cut the values from first to last, some of which are in the range, out of
 * it.  The parts that remain keep their slots.  The part that is cut out
 * becomes a range that drains, or is dropped if keep is false.
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
	/* The remaining parts keep their share of the frontier. */
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
 * Join ranges again that a drain had cut apart, where both sides are open by
 * now.  Returns true if there were any.
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

		/*
		 * Ranges that were added separately stay apart, even if they are
		 * adjacent: a prefix must lie in one of them.
		 */
		if (before->draining || range->draining ||
			before->last + 1 != range->first ||
			before->whole != range->whole)
		{
			first = i;
			continue;
		}

		/*
		 * The exclusion constraint on ranges does not let the first one grow
		 * before this one is gone.
		 */
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
 * Add a range to the pool.  Raises 23P01 if the pool already has some of its
 * values.
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
	named_require_fit(&range, named->text, space->chunk_bits, space->ranges,
					  space->nranges);
	insert_range(pool, &range, range_slots(&range, space->chunk_bits).first);
}

/* Is the range draining, and do all of its values lie between these? */
static bool
is_undrained_by(const Range *range, const Named *named)
{
	return range->draining && range->first >= named->first &&
		range->last <= named->last;
}

/*
 * Cut draining ranges of which these values contain only a part.  Returns true
 * if there were any.
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
			!named_overlaps(range, named))
			continue;
		cut_range(&store, pool, range, named, true);
		cut = true;
	}
	store_close(&store);
	return cut;
}

/*
 * Are all values of named in draining ranges that lie in whole, so that their
 * draining will be cancelled?
 */
static bool
all_undrained(const Pool *pool, const Named *whole, const Named *named)
{
	u128		n = 0;

	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];

		if (is_undrained_by(range, whole) && named_overlaps(range, named))
			n += Min(range->last, named->last) -
				Max(range->first, named->first) + 1;
	}
	return n == named->last - named->first + 1;
}

/*
 * alloc_pool_grow(pool, range) RETURNS void
 *
 * Cancels the draining of whatever is draining in the range, and joins it with
 * the range that it was cut from.  For this a network is taken in full, as
 * alloc_pool_shrink() does.  If that is not all of the range, adds the range;
 * then a network stands for its host addresses.  A range that is added may
 * overlap with what has been drained completely, but not with what still has
 * units.
 */
Datum
alloc_pool_grow(PG_FUNCTION_ARGS)
{
	Change		change;
	Named		whole;
	Named		named;
	bool		undrained;

	change_open(fcinfo, &change);
	require_values(&change, "ranges");
	named_argument(fcinfo, &change, true, &whole);
	named_argument(fcinfo, &change, false, &named);

	owner_sql_begin(&change.scope);
	/* Have ranges begin and end where the range does. */
	if (cut_draining(&change, &whole))
		change_reload(&change);
	undrained = all_undrained(change.use.pool, &whole, &named);
	/* Ranges without units must not keep the new range from being added. */
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

		/*
		 * Rows that were not in use were deleted when the draining began.  So
		 * search the range from its beginning.
		 */
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
 * alloc_pool_shrink(pool, range, drain) RETURNS void
 *
 * Ranges of which only a part is removed are cut, and the remaining parts keep
 * their slots.  A part that drains remains a range even after its last unit is
 * gone, and its units go on cooling, because the draining can be cancelled.
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
	require_values(&change, "ranges");
	named_argument(fcinfo, &change, true, &named);
	named_require_overlap(&change, &named);
	pool = change.use.pool;
	owner_sql_begin(&change.scope);
	store_open(&store, change.use.nsp, RowExclusiveLock);
	for (int i = 0; i < pool->space.nranges; i++)
	{
		const Range *range = &pool->space.ranges[i];
		Extent		slots;

		if (!named_overlaps(range, &named))
			continue;
		slots = slots_of_values(&pool->space,
								Max(named.first, range->first),
								Min(named.last, range->last));
		if (!drain && slots_in_use(&store, pool, slots))
			raise_in_use(&change, psprintf("range %s", named.text),
						 "Release them, or shrink the pool with drain => true.");
		/* first 1 and last 0: no values leave the pool, so keep what cools */
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

/* alloc_reserve(pool, range, note, on_request) RETURNS void */
Datum
alloc_reserve(PG_FUNCTION_ARGS)
{
	Change		change;
	Named		named;
	Datum		pool;
	Datum		first;
	Datum		last;

	change_open(fcinfo, &change);
	require_values(&change, "reservations");
	named_argument(fcinfo, &change, true, &named);
	named_require_overlap(&change, &named);
	pool = Int32GetDatum(change.use.pool->id);
	first = u128_numeric(named.first);
	last = u128_numeric(named.last);

	owner_sql_begin(&change.scope);

	/*
	 * The exclusion constraint would catch this, too, but its message would
	 * not name the range.
	 */
	if (owner_sql("SELECT 1 FROM @alloc_reserved WHERE pool = $1 "
				  "AND first <= $3 AND last >= $2",
				  ARGS(INT4OID, NUMERICOID, NUMERICOID),
				  VALUES(pool, first, last)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXCLUSION_VIOLATION),
				 errmsg("range %s overlaps with a reserved range",
						named.text)));
	owner_sql("INSERT INTO @alloc_reserved (pool, first, last, on_request) "
			  "VALUES ($1, $2, $3, $4)",
			  ARGS(INT4OID, NUMERICOID, NUMERICOID, BOOLOID),
			  VALUES(pool, first, last,
					 BoolGetDatum(!PG_ARGISNULL(3) && PG_GETARG_BOOL(3))));
	if (!PG_ARGISNULL(2))
		owner_sql("UPDATE @alloc_reserved SET note = $3 "
				  "WHERE pool = $1 AND first = $2",
				  ARGS(INT4OID, NUMERICOID, JSONBOID),
				  VALUES(pool, first, PG_GETARG_DATUM(2)));
	change_end(&change);
	PG_RETURN_VOID();
}

/* alloc_unreserve(pool, range) RETURNS void */
Datum
alloc_unreserve(PG_FUNCTION_ARGS)
{
	Change		change;
	Named		named;
	const Space *space;

	change_open(fcinfo, &change);
	require_values(&change, "reservations");
	named_argument(fcinfo, &change, true, &named);
	owner_sql_begin(&change.scope);
	if (owner_sql("DELETE FROM @alloc_reserved "
				  "WHERE pool = $1 AND first = $2 AND last = $3",
				  ARGS(INT4OID, NUMERICOID, NUMERICOID),
				  VALUES(Int32GetDatum(change.use.pool->id),
						 u128_numeric(named.first),
						 u128_numeric(named.last))) == 0)
	{
		StringInfoData detail;

		detail_begin(&detail);
		detail_text(&detail, "pool", change.use.name);
		detail_text(&detail, "range", named.text);
		ereport(ERROR,
				(errcode(ERRCODE_CAS_NOT_FOUND),
				 errmsg("range %s is not reserved in pool \"%s\"", named.text,
						change.use.name),
				 errdetail_internal("%s", detail_end(&detail)),
				 errhint("Name the range as it was reserved.")));
	}
	space = &change.use.pool->space;
	for (int i = 0; i < space->nranges; i++)
	{
		const Range *range = &space->ranges[i];

		if (!named_overlaps(range, &named))
			continue;

		/*
		 * The frontier has passed the reserved slots, which have no rows.
		 * Move it back to the first of them.
		 */
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
