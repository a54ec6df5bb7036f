/*
 * capacity.c
 *		A counted pool's capacity, and the pool above a pool.
 *
 * Places of a counted pool are numbers from 0 on.  The wall, a row of
 * alloc_share, takes all places from some number on; other rows without a key
 * withhold places below it.  The exclusion constraint on alloc_share sees to
 * it that no more is held than the places that are left, which are as many as
 * the capacity.  If the capacity is lowered below what is held, they are as
 * many as were held then, and the pool is marked as lowered: as long as it is,
 * calls count what is held before they take any.
 *
 * The caller has locked the pool exclusively, so what running transactions
 * have taken is seen, and nothing can be taken meanwhile.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "alloc/capacity.h"

/* Insert a row without key: the wall if n is 0, else places withheld. */
static void
insert_bar(int32 pool, int64 first, int64 n)
{
	owner_sql("INSERT INTO @alloc_share (pool, origin, first, n) "
			  "VALUES ($1, $1, $2, nullif($3, 0))",
			  ARGS(INT4OID, INT8OID, INT8OID),
			  VALUES(Int32GetDatum(pool), Int64GetDatum(first),
					 Int64GetDatum(n)));
}

static void
insert_gap(int32 pool, int64 first, int64 n)
{
	owner_sql("INSERT INTO @alloc_gap (pool, first, n, freed_at) "
			  "VALUES ($1, $2, $3, clock_timestamp())",
			  ARGS(INT4OID, INT8OID, INT8OID),
			  VALUES(Int32GetDatum(pool), Int64GetDatum(first),
					 Int64GetDatum(n)));
}

/* Make the places of a new pool, running SQL as the owner. */
void
capacity_create(int32 pool, int64 capacity)
{
	insert_bar(pool, capacity, 0);
	if (capacity > 0)
		insert_gap(pool, 0, capacity);
}

/* A pool's places while its capacity is changed. */
typedef struct Places
{
	int64		top;			/* the place after the last one taken */
	int			nfree;
	int			room;
	Piece	   *free;			/* free places below top, in their order */
} Places;

/* Find out which places are taken, also by running transactions. */
static void
read_places(Store *store, const Pool *pool, Places *places)
{
	RowScan		scan;
	ShareRow	row;

	memset(places, 0, sizeof(*places));
	share_scan_by_place(&scan, store, pool->id, 0, PG_INT64_MAX);
	while (share_scan_next(&scan, &row))
	{
		/* the wall and what is withheld are made anew */
		if (!row.held && !row.expires)
			continue;
		if (row.first > places->top)
		{
			if (places->nfree == places->room)
			{
				places->room = Max(16, places->room * 2);
				places->free = places->free == NULL ?
					palloc(places->room * sizeof(Piece)) :
					repalloc_huge(places->free,
								  places->room * sizeof(Piece));
			}
			places->free[places->nfree].first = places->top;
			places->free[places->nfree++].n = row.first - places->top;
		}
		places->top = Max(places->top, share_end(&row));
	}
	rows_end(&scan);
}

/*
 * Give the pool this capacity.  Call this between owner_sql_begin() and
 * owner_sql_end(), with the pool locked exclusively.
 */
void
capacity_set(Store *store, const Pool *pool, int64 capacity)
{
	Datum		id = Int32GetDatum(pool->id);
	Places		places;
	int64		wall;
	int64		former;
	int64		excess;

	/* what has run out or cooled down is in the way of a lower one */
	(void) levels_reap(store, pool, PG_INT64_MAX);
	read_places(store, pool, &places);
	wall = Max(capacity, places.top);
	excess = wall - capacity;

	owner_sql("SELECT first FROM @alloc_share WHERE pool = $1 AND n IS NULL",
			  ARGS(INT4OID), VALUES(id));
	former = SPI_processed == 0 ? 0 :
		DatumGetInt64(owner_sql_not_null(0, 1));
	owner_sql("INSERT INTO @alloc_gap SELECT pool, first, n, clock_timestamp() "
			  "FROM @alloc_share WHERE pool = $1 AND key IS NULL "
			  "AND expires_at IS NULL AND n IS NOT NULL",
			  ARGS(INT4OID), VALUES(id));
	owner_sql("DELETE FROM @alloc_share WHERE pool = $1 AND key IS NULL "
			  "AND expires_at IS NULL", ARGS(INT4OID), VALUES(id));
	insert_bar(pool->id, wall, 0);
	if (wall > former)
		insert_gap(pool->id, former, wall - former);
	for (int i = places.nfree - 1; i >= 0 && excess > 0; i--)
	{
		const Piece *free = &places.free[i];
		int64		n = Min(free->n, excess);

		CHECK_FOR_INTERRUPTS();
		insert_bar(pool->id, free->first + free->n - n, n);
		excess -= n;
	}
	owner_sql("UPDATE @alloc_pool SET capacity = $2, lowered = $3, "
			  "epoch = nextval('@alloc_generation') WHERE id = $1",
			  ARGS(INT4OID, INT8OID, BOOLOID),
			  VALUES(id, Int64GetDatum(capacity), BoolGetDatum(excess > 0)));
}

/*
 * Compute the gaps of a pool anew.  Those that running transactions have
 * inserted or deleted remain.
 */
void
capacity_rebuild(int32 pool)
{
	owner_sql("DELETE FROM @alloc_gap WHERE ctid = ANY (ARRAY("
			  "SELECT ctid FROM @alloc_gap WHERE pool = $1 "
			  "FOR UPDATE SKIP LOCKED))",
			  ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
	owner_sql("INSERT INTO @alloc_gap "
			  "SELECT $1, s.until, s.first - s.until, clock_timestamp() "
			  "FROM (SELECT first, coalesce(max(first + n) OVER ("
			  "ORDER BY first ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
			  "), 0) AS until FROM @alloc_share WHERE pool = $1) AS s "
			  "WHERE s.first > s.until",
			  ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

/*
 * Return the id of the pool that is to be above a new one, or 0 if parent is
 * NULL.  The caller must have the right to allocate from it.
 */
int32
parent_argument(Oid nsp, const char *parent)
{
	Pool	   *pool;
	const Pool *above;
	int			nlevels = 2;

	if (parent == NULL)
		return 0;
	pool = pool_open(nsp, parent, RIGHT_USE);
	if (!pool->counted)
		raise_invalid(psprintf("pool \"%s\" is not of kind \"count\"", parent),
					  "Only such a pool can be above others.");
	for (above = pool; above->parent != NULL && nlevels <= MAX_LEVELS;
		 nlevels++)
		above = pool_open(nsp, above->parent, RIGHT_NONE);
	if (nlevels > MAX_LEVELS)
		raise_invalid(psprintf("there are already %d pools above one another",
							   MAX_LEVELS),
					  "Let the pool have another parent.");
	return pool->id;
}

/*
 * Lock the row of the pool that is to be above a new one, so that nobody drops it,
 * and return its id; 0 if parent is NULL.  Whoever is dropping it is waited for,
 * and may have created another one of its name.
 */
int32
parent_lock(Oid nsp, const char *parent)
{
	int32		id = parent_argument(nsp, parent);
	int32		former = 0;

	while (id != former)
	{
		OwnerScope	scope;
		bool		locked;

		owner_sql_begin(&scope);
		locked = owner_sql("SELECT FROM @alloc_pool WHERE id = $1 FOR KEY SHARE",
						   ARGS(INT4OID), VALUES(Int32GetDatum(id))) > 0;
		owner_sql_end(&scope);
		if (locked)
			return id;
		former = id;
		id = parent_argument(nsp, parent);
	}
	if (parent != NULL)
		raise_no_pool(parent);
	return 0;
}

/*
 * Return the argument capacity, and check it against the pool's kind; -1 if it
 * is NULL, which it must be for a kind that is not counted.
 */
int64
capacity_argument(FunctionCallInfo fcinfo, int argno, PoolKind kind)
{
	int64		capacity;

	if (PG_ARGISNULL(argno))
		return -1;
	if (!kind_is_counted(kind))
		raise_invalid(psprintf("pools of kind \"%s\" have ranges, but no capacity",
							   kind_name(kind)),
					  "Leave it out.");
	capacity = PG_GETARG_INT64(argno);
	if (capacity < 0)
		raise_invalid("the capacity must not be negative",
					  "With a capacity of 0, nothing is given out.");
	return capacity;
}

/* Is anything of the pool held, or in the hands of a running transaction? */
bool
capacity_in_use(Store *store, const Pool *pool)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		result = false;
	RowScan		scan;
	ShareRow	row;

	share_scan_by_place(&scan, store, pool->id, 0, PG_INT64_MAX);
	while (!result && share_scan_next(&scan, &row))
		result = share_is_open(&row) ||
			(row.held && (!row.expires || row.expires_at > now));
	rows_end(&scan);
	return result;
}

/*
 * Raise 55006 if there are pools below the pool, or if another transaction is
 * creating some, and so has locked the pool's row.  We do not wait for that: it
 * may be idle, and we keep everybody from the pool.
 */
void
require_no_children(const Change *change)
{
	Datum		id = Int32GetDatum(change->use.pool->id);
	bool		creating;
	StringInfoData detail;

	creating = change->use.pool->counted &&
		owner_sql("SELECT FROM @alloc_pool WHERE id = $1 "
				  "FOR UPDATE SKIP LOCKED",
				  ARGS(INT4OID), VALUES(id)) == 0;
	if (owner_sql("SELECT name FROM @alloc_pool WHERE parent = $1 "
				  "ORDER BY name LIMIT 1",
				  ARGS(INT4OID), VALUES(id)) == 0 && !creating)
		return;
	detail_begin(&detail);
	detail_text(&detail, "pool", change->use.name);
	if (SPI_processed > 0)
		detail_text(&detail, "child",
					TextDatumGetCString(owner_sql_not_null(0, 1)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("pool \"%s\" is the parent of other pools",
					change->use.name),
			 errdetail_internal("%s", detail_end(&detail)),
			 SPI_processed > 0 ? errhint("Drop these first.") :
			 errhint("Another transaction may be creating one.")));
}
