/*
 * many.c
 *		Allocate or release the units of many keys, in one call.
 *
 * The keys are locked and looked up in batches, in the order of their locks.
 * Those that have a unit are answered; units are found and taken for all
 * others together.  A key that has its unit is not locked any longer than its
 * batch.
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alloc/answer.h"
#include "alloc/many.h"
#include "alloc/search.h"
#include "alloc/share.h"
#include "alloc/store.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_many);
PG_FUNCTION_INFO_V1(alloc_release_many);

/* If there are fewer keys, all of them are looked up; see serve_batch(). */
#define MANY 10

/*
 * Units are taken by bulk.c for that many batches of a call.  Each is a
 * subtransaction, and what a transaction has of these makes the snapshots of
 * others slow if there are more than 64.
 */
#define MAX_BULK 32

/*
 * Serve a key by itself: one that has something, or had, or has not been
 * looked up.
 */
static bool
serve_alone(Attempt *attempt, Many *many, int i)
{
	const pg_uuid_t *key = &many->keys[i].key;
	Pool	   *pool = many->use.pool;
	Answer		answer = {0};

	many->request->key = *key;
	if (!unit_try(&many->store, &many->use, many->request,
				  attempt_round(attempt), &answer))
	{
		/* as for a single key: it has its unit until the other one commits */
		if (!key_read(&many->store, pool, key, &many->units[i]))
			return attempt_meets_row(attempt, &many->use, &answer.unit);
		answer.unit = many->units[i];
		answer.outcome = resolve_is_same(many->request, &answer.unit) ?
			OUTCOME_HELD : OUTCOME_REUSED;
	}
	if (answer.outcome == OUTCOME_BUSY)
		return attempt_meets_waits(attempt, OBSTACLE_ROOM, &many->use, key,
								   &many->store.waits);
	require_unit(pool, many->request, &answer);
	many->keys[i].held = answer.outcome == OUTCOME_HELD;
	many->held |= many->keys[i].held;
	many->units[i] = answer.unit;
	return true;
}

/*
 * Take units for keys that have none, in the order in which the caller has
 * named them.  looked says that they have been looked up.
 */
static bool
take_units(Attempt *attempt, Many *many, ManyKey **keys, int n, bool looked)
{
	Search		search = {
		.store = &many->store,
		.pool = many->use.pool,
		.request = many->request
	};
	SlotRow    *units = palloc(n * sizeof(SlotRow));
	BulkState  *states = palloc0(n * sizeof(BulkState));
	bool		done = true;

	key_require_writing(many->request->function);
	search.now = GetCurrentTimestamp();
	many->store.waits.n = 0;
	for (int i = 0; i < n; i++)
		units[i].key = keys[i]->key;
	if (many->bulk)
	{
		bulk_take_unused(&search, units, states, n);
		many->bulk = ++many->nbulk < MAX_BULK;
	}

	for (int i = 0; i < n && done; i++)
	{
		int			at = keys[i] - many->keys;
		Outcome		outcome;

		CHECK_FOR_INTERRUPTS();
		if (states[i] == BULK_SERVED)
		{
			many->units[at] = units[i];
			continue;
		}
		/* the next keys probably have something, too */
		many->careful |= states[i] == BULK_KEY_USED;
		if (!looked || states[i] == BULK_KEY_USED || many->in_levels)
		{
			done = serve_alone(attempt, many, at);
			continue;
		}
		many->request->key = keys[i]->key;
		outcome = unit_take(&search, attempt_round(attempt));
		if (outcome == OUTCOME_BUSY)
			done = attempt_meets_waits(attempt, OBSTACLE_ROOM, &many->use,
									   &keys[i]->key, &many->store.waits);
		else if (outcome != OUTCOME_ALLOCATED)
		{
			Answer		answer = {
				.outcome = outcome,
				.ready = search.ready,
				.ready_at = search.ready_at
			};

			require_unit(many->use.pool, many->request, &answer);
		}
		else
			many->units[at] = search.unit;
	}
	pfree(states);
	pfree(units);
	return done;
}

/*
 * Look the key up, and set its unit if it has one.  If it has nothing, *wanted
 * is set instead.  Returns false if that takes waiting.
 */
static bool
look_up_key(Attempt *attempt, Many *many, SlotScan *scan, TimestampTz now,
			int i, bool *wanted)
{
	const pg_uuid_t *key = &many->keys[i].key;
	SlotRow    *unit = &many->units[i];
	KeyState	state;
	int			key_row;

	if (many->use.pool->counted)
		state = key_look(&many->store, many->use.pool, key, now, unit,
						 &key_row);
	else
	{
		scan_again_by_key(scan, many->use.pool->id, key);
		state = key_look_on(scan, now, unit, &key_row);
	}
	*wanted = state == KEY_NONE && key_row == 0;
	if (!*wanted && state != KEY_HOLDS)
		return serve_alone(attempt, many, i);

	key_check_snapshot(&many->store, many->use.pool, key,
					   *wanted ? NULL : unit, now);
	if (*wanted)
		return true;
	many->held = many->keys[i].held = true;
	if (!resolve_is_same(many->request, unit))
	{
		Answer		answer = {.outcome = OUTCOME_REUSED,.unit = *unit};

		many->request->key = *key;
		require_unit(many->use.pool, many->request, &answer);
	}
	return true;
}

/*
 * Serve the n keys from the first on, at most BATCH.
 *
 * The unique index on keys finds those that have a unit while rows are
 * inserted, so they need not be looked up before; that would be a fifth of the
 * work.  But rows inserted in vain are worse than looks.  So we look the first
 * key up, and if it has something, all others.
 */
static bool
serve_batch(Attempt *attempt, Many *many, int first, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	ManyKey    *wanted[BATCH];
	int			nwanted = 0;
	bool		look;
	SlotScan	scan;
	bool		done;

	if (!many_lock(attempt, many, first, n))
		return false;
	look = many->nkeys < MANY || !many->bulk || many->careful ||
		IsolationUsesXactSnapshot() ||
		bulk_needs_look(&many->store, many->use.pool);
	scan_by_key(&scan, &many->store, many->use.pool->id,
				&many->keys[first].key, NULL);
	done = true;
	for (int i = 0; i < n && done; i++)
	{
		bool		is_wanted = true;

		if (look || i == 0)
			done = look_up_key(attempt, many, &scan, now, first + i,
							   &is_wanted);
		if (is_wanted)
			wanted[nwanted++] = &many->keys[first + i];
		else
			look = true;
	}
	slot_scan_end(&scan);

	if (done && nwanted > 0)
	{
		qsort(wanted, nwanted, sizeof(ManyKey *), many_compare_places);
		done = take_units(attempt, many, wanted, nwanted, look);
	}
	many_unlock(many, first, n);
	return done;
}

/* qsort comparator of pointers: by block, and then in the order of allocation */
static int
compare_units(const void *a, const void *b)
{
	const SlotRow *one = *(SlotRow *const *) a;
	const SlotRow *other = *(SlotRow *const *) b;

	if (one->lo != other->lo)
		return one->lo < other->lo ? -1 : 1;
	if (one->generation != other->generation)
		return one->generation < other->generation ? -1 : 1;
	return 0;
}

/*
 * A key that had its unit before is not locked.  So while the keys after it are
 * served, the unit can be released or run out, and be given to one of them.
 * Find the numbers of all such keys, and return how many there are.  All units
 * have the same size.
 *
 * What the call itself has allocated may run out as well, with a ttl shorter
 * than the call.  That is not lost: its key has had what it asked for.
 */
static int
find_lost(const Many *many, SlotRow **places, int *lost)
{
	int			nlost = 0;

	for (int i = 0; i < many->nkeys; i++)
		places[i] = &many->units[i];
	qsort(places, many->nkeys, sizeof(SlotRow *), compare_units);
	for (int i = 1; i < many->nkeys; i++)
	{
		int			former = places[i - 1] - many->units;

		if (places[i - 1]->lo == places[i]->lo && many->keys[former].held)
			lost[nlost++] = former;
	}
	return nlost;
}

/* Serve these keys once more, until there is none. */
static bool
serve_lost(Attempt *attempt, Many *many)
{
	/* an array has so few elements that these are below 1 GB */
	SlotRow   **places = palloc(many->nkeys * sizeof(SlotRow *));
	int		   *lost = palloc(many->nkeys * sizeof(int));
	int			nlost;
	bool		done = true;

	for (int round = 0; round < many->nkeys && done &&
		 (nlost = find_lost(many, places, lost)) > 0; round++)
	{
		for (int i = 0; i < nlost && done; i++)
		{
			many->keys[lost[i]].held = false;
			done = serve_batch(attempt, many, lost[i], 1);
		}
	}
	pfree(lost);
	pfree(places);
	return done;
}

/*
 * Find all keys' units by plain reads, without locks.  Returns false if one has
 * none.  One snapshot for all, or a unit could be found twice that is moved
 * from one of them to another.
 */
static bool
read_units(Many *many)
{
	Snapshot	snapshot = RegisterSnapshot(latest_snapshot());
	bool		found = true;

	for (int i = 0; i < many->nkeys; i++)
	{
		CHECK_FOR_INTERRUPTS();
		found = key_read_at(&many->store, many->use.pool,
							&many->keys[i].key, snapshot, &many->units[i]);
		if (!found)
			break;
		if (!resolve_is_same(many->request, &many->units[i]))
		{
			Answer		answer = {
				.outcome = OUTCOME_REUSED,
				.unit = many->units[i]
			};

			many->request->key = many->keys[i].key;
			require_unit(many->use.pool, many->request, &answer);
		}
	}
	UnregisterSnapshot(snapshot);
	return found;
}

/* Open the tables and the pool for a try. */
static void
begin_try(Many *many)
{
	/* the former try's memory is gone, and with it what it pinned */
	(void) pool_use_again(&many->use);
	store_open(&many->store, many->use.nsp, RowExclusiveLock);
}

/*
 * Lock the pool for a try, and the pools above.  Returns false, without the locks,
 * if the try has ended: *done says whether all keys have their units.
 */
static bool
lock_pools(Attempt *attempt, Many *many, bool *done)
{
	static const Patience patience = {0};
	Levels	   *levels = many->use.levels;
	PoolUse		busy;

	if (attempt_round(attempt) > 0)
		(void) pool_lock(&many->use, ExclusiveLock);
	else if (!pool_lock_to_take_at_once(&many->use, ShareLock))
	{
		/* what the keys have can be answered without the locks */
		*done = read_units(many);
		if (*done)
			return false;
		(void) pool_lock_to_take(&many->use, ShareLock, &patience);
	}
	for (int i = 0; i < MAX_LEVELS; i++)
		levels->level[i].exclusive = attempt_round(attempt) > 0;
	if (levels_lock(levels, &patience, &busy))
		return true;
	pool_unlock(&many->use);
	*done = read_units(many) || attempt_meets_level_lock(attempt, &busy);
	return false;
}

/* TryFunction: allocate a unit for each key. */
static bool
try_allocate(Attempt *attempt, void *call)
{
	Many	   *many = call;
	Levels		levels;
	bool		done = true;

	begin_try(many);
	levels_begin(&levels, &many->store, &many->use);
	levels.takes = true;
	resolve_request(many->use.pool, many->request);
	many->units = MemoryContextAllocHuge(CurrentMemoryContext,
										 Max(many->nkeys, 1) *
										 sizeof(SlotRow));
	if (!lock_pools(attempt, many, &done))
	{
		store_close(&many->store);
		many->use.levels = NULL;
		return done;
	}
	many->in_levels = levels.n > 0;
	resolve_request(many->use.pool, many->request);

	many->held = false;
	for (int i = 0; i < many->nkeys; i++)
		many->keys[i].held = false;
	many->nbulk = 0;
	many->bulk = many->nkeys >= MIN_BULK && !many->in_levels &&
		!many->use.pool->mixed &&
		many->use.pool->strategy == STRATEGY_ANY &&
		store_writer(&many->store)->known;
	for (int first = 0; first < many->nkeys && done; first += BATCH)
		done = serve_batch(attempt, many, first,
						   Min(BATCH, many->nkeys - first));
	/* keys have shares of a counted pool, which do not exclude one another */
	if (done && many->held && !many->use.pool->counted)
		done = serve_lost(attempt, many);
	levels_unlock(&levels);
	pool_unlock(&many->use);
	store_close(&many->store);
	many->use.levels = NULL;
	return done;
}

/*
 * Read what alloc_many() is to allocate from a pool of that kind.  The kind of
 * request follows from the pool's kind, except for port chunks.
 */
static void
read_request_of_many(FunctionCallInfo fcinfo, PoolKind kind, Request *request)
{
	request->kind = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5) ? REQUEST_PORTS :
		kind_request(kind);
	if (request->kind == REQUEST_PREFIX)
	{
		require_argument(fcinfo, 2, "masklen");
		request->masklen = PG_GETARG_INT32(2);
	}
	else if (!PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("masklen is for pools of prefixes"),
				 errhint("Leave it out.")));

	/* each key has one of a counted pool */
	request->exact = request->kind == REQUEST_COUNT;
	request->value = 1;
}

/*
 * alloc_many(pool, keys, masklen, ttl, note, ports) RETURNS SETOF alloc_unit
 *
 * Returns a unit for each key, or raises an error.
 */
Datum
alloc_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Request		request = {.function = "alloc_many"};
	Many		many = {.request = &request};
	Attempt		attempt;
	Datum	   *keys;
	int			nkeys;
	MemoryContext cxt;
	MemoryContext caller;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	keys = read_keys(fcinfo, 1, &nkeys);
	read_ttl_and_note(fcinfo, 3, &request);
	InitMaterializedSRF(fcinfo, 0);
	pool_use(&many.use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	read_request_of_many(fcinfo, many.use.pool->kind, &request);
	many_sort_keys(&many, keys, nkeys);

	if (XactReadOnly || IsInParallelMode())
	{
		resolve_request(many.use.pool, &request);
		many.units = MemoryContextAllocHuge(CurrentMemoryContext,
											Max(many.nkeys, 1) *
											sizeof(SlotRow));
		store_open(&many.store, many.use.nsp, AccessShareLock);
		if (!read_units(&many))
			key_require_writing(request.function);
		store_close(&many.store);
	}
	else
		attempt_run(&attempt, request.function, try_allocate, &many);

	/* return the rows in the order in which the caller named the keys */
	cxt = AllocSetContextCreate(CurrentMemoryContext, "alloc_many row",
								ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(cxt);
	for (int i = 0; i < nkeys; i++)
	{
		put_unit_row(rsinfo, many.use.pool, many_unit(&many, keys[i]));
		MemoryContextReset(cxt);
	}
	MemoryContextSwitchTo(caller);
	return (Datum) 0;
}

/* Release the units of the n keys from the first on, at most BATCH. */
static bool
release_batch(Attempt *attempt, Many *many, int first, int n)
{
	Pool	   *pool = many->use.pool;
	Store	   *store = &many->store;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz ready_at = pool->has_cooldown ?
		interval_after(now, &pool->cooldown, "cooldown") : now;
	SlotRow    *units = palloc(n * sizeof(SlotRow));
	int			nheld = 0;
	SlotScan	scan;
	bool		done;

	done = many_lock(attempt, many, first, n);
	if (!done)
		return false;
	scan_by_key(&scan, store, pool->id, &many->keys[first].key, NULL);
	for (int i = 0; i < n && done; i++)
	{
		const pg_uuid_t *key = &many->keys[first + i].key;
		SlotRow    *unit = &units[nheld];
		KeyState	state;
		int			key_row;

		if (pool->counted)
			state = key_look(store, pool, key, now, unit, &key_row);
		else
		{
			scan_again_by_key(&scan, pool->id, key);
			state = key_look_on(&scan, now, unit, &key_row);
		}
		done = state != KEY_BUSY ||
			attempt_meets_row(attempt, &many->use, unit);
		if (!done)
			break;
		key_check_snapshot(store, pool, key, state == KEY_NONE ? NULL : unit,
						   now);
		if (state == KEY_HOLDS)
			nheld++;
	}
	slot_scan_end(&scan);

	for (int i = 0; i < nheld && done; i++)
	{
		store->waits.n = 0;
		done = ((pool->counted ||
				 unit_end(store, pool, &units[i], now, ready_at,
						  "released")) &&
				levels_end(many->use.levels, &units[i].key,
						   units[i].generation, now, ready_at, "released")) ||
			attempt_meets_waits(attempt, OBSTACLE_KEY, &many->use,
								&units[i].key, &store->waits);
	}
	many_unlock(many, first, n);
	pfree(units);
	many->nreleased += nheld;
	return done;
}

/* TryFunction: release the keys' units. */
static bool
try_release(Attempt *attempt, void *call)
{
	static const Patience patience = {0};
	Many	   *many = call;
	Levels		levels;
	PoolUse		busy;
	bool		done = true;

	begin_try(many);
	store_lock_history(&many->store);
	levels_begin(&levels, &many->store, &many->use);
	many->nreleased = 0;
	(void) pool_lock(&many->use, ShareLock);
	if (levels_lock(&levels, &patience, &busy))
	{
		for (int first = 0; first < many->nkeys && done; first += BATCH)
			done = release_batch(attempt, many, first,
								 Min(BATCH, many->nkeys - first));
		levels_unlock(&levels);
	}
	else
		done = attempt_meets_level_lock(attempt, &busy);
	pool_unlock(&many->use);
	store_close(&many->store);
	many->use.levels = NULL;
	return done;
}

/* alloc_release_many(pool, keys) RETURNS bigint */
Datum
alloc_release_many(PG_FUNCTION_ARGS)
{
	const char *function = "alloc_release_many";
	Many		many = {0};
	Attempt		attempt;
	Datum	   *keys;
	int			nkeys;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	keys = read_keys(fcinfo, 1, &nkeys);
	pool_use(&many.use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	key_require_writing(function);
	many_sort_keys(&many, keys, nkeys);
	attempt_run(&attempt, function, try_release, &many);
	PG_RETURN_INT64(many.nreleased);
}
