/*
 * unit.c
 *		A key's unit: allocate, renew, release.
 *
 * A call that writes takes two locks while it works and keeps neither: the
 * pool's, shared (pool.c), and its key's, exclusively (key.c).  If a running
 * transaction is just making or removing the key's row, the call lets go of
 * both locks, waits for that transaction and starts again: so the second of
 * two sessions with one key gets what the first one got, or if that one rolled
 * back, allocates itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"

#include "alloc/alloc.h"

/* Rounds that find somebody else, who is gone when they are to be waited for. */
#define MAX_IDLE_ROUNDS 1000

/* How often a search is made alone before what it finds is the truth. */
#define MAX_ROUNDS 64

/* Milliseconds after which who waits looks again for what has come free. */
#define LOOK_AGAIN 100

/* 25006 where nothing can be written. */
static void
require_writing(const char *function)
{
	if (XactReadOnly)
		PreventCommandIfReadOnly(psprintf("%s()", function));
	if (IsInParallelMode())
		PreventCommandIfParallelMode(psprintf("%s()", function));
}

/* Where a block lies. */
static Place
place_of_block(const Space *space, u128 lo, int order)
{
	const Range *range = space_range_of_slot(space, lo);

	if (range == NULL || range->draining ||
		block_last(lo, order) > range_slots(range, space->chunk_bits).last)
		return PLACE_OUTSIDE;
	return space_reserved(space, lo, order) ? PLACE_RESERVED : PLACE_OPEN;
}

/*
 * Say in the pool's slots what the request asks for.  22023 if it is nothing
 * that the pool could have.
 */
static void
resolve(const Pool *pool, Request *request)
{
	const Space *space = &pool->space;
	static const char *const wanted[] = {
		[REQUEST_IP] = "addresses",
		[REQUEST_PORTS] = "addresses divided into port chunks",
		[REQUEST_PREFIX] = "prefixes",
		[REQUEST_INT] = "numbers"
	};
	bool		fits = false;

	switch (request->kind)
	{
		case REQUEST_IP:
			fits = pool->kind == POOL_IP;
			request->order = space->chunk_bits;
			break;
		case REQUEST_PORTS:
			fits = pool->kind == POOL_IP && pool->port_chunk > 0;
			request->order = 0;
			break;
		case REQUEST_PREFIX:
			fits = pool->kind == POOL_PREFIX;
			request->order = pool->width - request->masklen;
			break;
		case REQUEST_INT:
			fits = pool->kind == POOL_INT;
			request->order = 0;
			break;
	}
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s() cannot allocate from pool \"%s\"",
						request->function, pool->name),
				 errhint("It needs a pool of %s.", wanted[request->kind])));
	if (request->kind == REQUEST_PREFIX &&
		(request->masklen < 0 || request->order < 0 ||
		 request->order > MAX_PREFIX_ORDER))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mask length: %d", request->masklen),
				 errhint("The pool has addresses of %d bits, and prefixes of at most %d of them for hosts.",
						 pool->width, Min(pool->width, MAX_PREFIX_ORDER))));
	if (!request->exact)
		return;

	if (request->kind != REQUEST_INT && request->width != pool->width)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the address requested is not of the family of pool \"%s\"",
						pool->name),
				 errhint("The pool has IPv%d addresses.",
						 pool->width == 32 ? 4 : 6)));
	request->lo = space_slot(space, request->value);
	if (space_value(space, request->lo) != request->value)
	{
		/* in another window than the pool's: which no unit is */
		request->lo = U128_MAX;
		request->place = PLACE_OUTSIDE;
	}
	else
		request->place = place_of_block(space, request->lo, request->order);
}

static bool
same_request(const Request *request, const SlotRow *unit)
{
	return request->order == unit->order &&
		(!request->exact || request->lo == unit->lo);
}

/*
 * Answer from a plain read if the key has its unit there.  So a key that has
 * its unit gets its answer without waiting for anybody, and where nothing can
 * be written, and while the unit's release is not committed.
 */
static bool
answer_held(Store *store, const Pool *pool, const Request *request,
			Answer *answer)
{
	if (!key_read(store, pool, &request->key, &answer->unit))
		return false;
	answer->outcome = same_request(request, &answer->unit) ?
		OUTCOME_HELD : OUTCOME_REUSED;
	return true;
}

/*
 * Raise 22023 if none of the pool's ranges is as large as a prefix of that
 * length, be it free or not, draining or not.
 */
static void
check_size(const Pool *pool, const Request *request)
{
	const Space unreserved = {0};
	u128		lo;

	for (int i = 0; i < pool->space.nranges; i++)
	{
		if (space_fit(&unreserved,
					  range_slots(&pool->space.ranges[i],
								  pool->space.chunk_bits),
					  request->order, &lo))
			return;
	}
	if (pool->space.nranges == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("no range of pool \"%s\" has room for a /%d", pool->name,
					request->masklen),
			 errhint("Ask for a greater masklen, or grow the pool by a range that holds one.")));
}

pg_noreturn static void
raise_stuck(const Pool *pool, const pg_uuid_t *key, const char *function,
			const SlotRow *row)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "pool", pool->name);
	detail_text(&detail, "key", uuid_text(key));
	if (row != NULL)
	{
		detail_text(&detail, "value", unit_text(pool, row->lo, row->order));
		detail_int(&detail, "generation", row->generation);
	}
	detail_int(&detail, "rounds", MAX_IDLE_ROUNDS);
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("%s() gets nowhere in pool \"%s\", and there is nobody to wait for",
					function, pool->name),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("See alloc_verify().")));
}

/*
 * Allocate for a key that has nothing, under the locks.  OUTCOME_BUSY: try
 * again, after those in store->waits have been waited for.
 *
 * A search is no snapshot: while it goes on, what it has seen taken may get
 * free and what it has yet to see may be taken, so that it finds nothing
 * though there was always something.  That is no reason to wait for anybody,
 * who may be idle for long.  So it is made again, now alone, with the pool's
 * lock taken exclusively: round 1 and later ones.  If that finds nothing,
 * those it has met, who hold something or are releasing it, are all who may
 * make room, and are waited for; then comes the next round.
 *
 * Whom that one meets has come meanwhile, and may have been quicker in taking
 * what another gave back; nothing would be known if it were not waited for,
 * too.  But where others come and go without end, and take each time what they
 * release, there must be an end to it: the last round's finding is the answer.
 */
static Outcome
allocate(Search *search, int round)
{
	Request    *request = search->request;
	Outcome		outcome;

	if (request->exact)
	{
		SlotRow		holder;

		if (request->place == PLACE_RESERVED)
			return OUTCOME_RESERVED;
		if (request->place == PLACE_OUTSIDE)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the value requested is not one that pool \"%s\" gives out",
							search->pool->name),
					 errhint("It must lie in one of the pool's ranges that are not draining.")));
		outcome = search_exact(search, &holder);
		if (outcome == OUTCOME_TAKEN || outcome == OUTCOME_COOLING)
			key_check_block_snapshot(search, &holder);
		else if (outcome == OUTCOME_ALLOCATED)
			key_check_block_snapshot(search, NULL);
		return outcome;
	}

	if (request->kind == REQUEST_PREFIX)
		check_size(search->pool, request);
	if (search_free(search))
		return OUTCOME_ALLOCATED;
	if (round == 0)
		search->store->waits.n = 0;
	if (round == 0 || (search->store->waits.n > 0 && round < MAX_ROUNDS))
		return OUTCOME_BUSY;
	outcome = search_reason(search);
	return search->store->waits.n > 0 && round < MAX_ROUNDS ?
		OUTCOME_BUSY : outcome;
}

/*
 * Allocate for a key whose unit has run out.  The key gets that again, if it
 * is what is asked for; if not, it gives it up, once it has something else.
 *
 * Its row goes without the key's lock if another key takes the unit.  While a
 * transaction that does so is running, the row cannot be taken away and may
 * yet stay, should that one roll back.  It is no reason to wait: what has run
 * out stays so.  So the new unit's row has another key_row, that unique (pool,
 * key, key_row) may have room for both.
 */
static Outcome
allocate_again(Search *search, SlotRow *former, int round)
{
	Request    *request = search->request;
	Request		again = *request;
	SlotRow		holder;
	Outcome		outcome;

	again.exact = true;
	again.lo = former->lo;
	if (same_request(request, former) &&
		space_open(&search->pool->space, former->lo, former->order))
	{
		search->request = &again;
		outcome = search_exact(search, &holder);
		search->request = request;
		if (outcome == OUTCOME_ALLOCATED)
			return outcome;

		/* someone is just taking it, or has: have another look */
		search->store->waits.n = 0;
		return OUTCOME_BUSY;
	}

	outcome = allocate(search, round);
	if (outcome == OUTCOME_ALLOCATED)
		(void) unit_end(search->store, search->pool, former,
						former->expires_at, former->expires_at, "expired");
	return outcome;
}

/* What a call is waiting for, and what that looks like. */
typedef struct Waiting
{
	WaitSet		room;			/* those who may make room; see allocate */
	int			round;
	int			idle;			/* rounds without anybody to wait for */
	int			pause;			/* until the next look */
	bool		looking;		/* while they are being waited for */
} Waiting;

/* Wait before the next round. */
static void
wait_for_room(Waiting *waiting, Store *store, const Search *search,
			  TimestampTz began)
{
	const Request *request = search->request;

	if (waiting->looking)
	{
		/* in a pool where a look takes long it is not to be all there is */
		TimestampTz now = GetCurrentTimestamp();
		long		took = TimestampDifferenceMilliseconds(began, now);

		waiting->pause = (int) Max(LOOK_AGAIN, Min(took * 4, 10000));
	}
	else
	{
		waiting->room.n = waiting->room.waited = waiting->room.unlooked = 0;
		waiting->pause = LOOK_AGAIN;
		for (int i = 0; i < store->waits.n; i++)
			wait_add_xid(&waiting->room, store->waits.xids[i]);
		waiting->round++;
		if (waiting->room.n == 0 && ++waiting->idle > MAX_IDLE_ROUNDS)
			raise_stuck(search->pool, &request->key, request->function, NULL);
	}
	waiting->looking = !wait_some(&waiting->room, waiting->pause);
}

/*
 * Allocate what is asked for, or find that the key has it.
 */
void
unit_allocate(Store *store, PoolUse *use, Request *request, Answer *answer)
{
	Waiting		waiting = {.room.cxt = store->cxt};
	bool		look = true;
	bool		entered = false;

	memset(answer, 0, sizeof(*answer));
	resolve(use->pool, request);
	if (!XactReadOnly)
		entered = key_enter_at_once(use, &request->key);
	if (!entered && look)
	{
		resolve(use->pool, request);
		if (answer_held(store, use->pool, request, answer))
			return;
		look = false;
	}

	for (;;)
	{
		Search		search = {.store = store};
		SlotRow    *unit = &answer->unit;
		KeyState	state;
		int			round = waiting.looking ? 0 : waiting.round;
		LOCKMODE	mode = round > 0 && !request->exact ?
			ExclusiveLock : ShareLock;

		CHECK_FOR_INTERRUPTS();
		if (!entered)
			key_enter(use, &request->key, mode);
		entered = false;
		resolve(use->pool, request);
		store->waits.n = 0;
		search.pool = use->pool;
		search.request = request;
		search.now = GetCurrentTimestamp();

		state = key_look(store, use->pool, &request->key, search.now, unit,
						 &search.key_row);
		if (state == KEY_BUSY)
		{
			SlotRow		busy = *unit;

			key_leave(use, &request->key);
			if (look && answer_held(store, use->pool, request, answer))
				return;
			look = false;
			key_wait(&busy, request->function);
			continue;
		}
		key_check_snapshot(store, use->pool, &request->key,
						   state == KEY_NONE ? NULL : unit, search.now);
		if (state == KEY_HOLDS)
		{
			answer->outcome = same_request(request, unit) ?
				OUTCOME_HELD : OUTCOME_REUSED;
			key_leave(use, &request->key);
			return;
		}

		require_writing(request->function);
		answer->outcome = state == KEY_RAN_OUT ?
			allocate_again(&search, unit, round) : allocate(&search, round);
		key_leave(use, &request->key);
		if (answer->outcome != OUTCOME_BUSY)
		{
			if (answer->outcome == OUTCOME_ALLOCATED)
				*unit = search.unit;
			answer->ready = search.ready;
			answer->ready_at = search.ready_at;
			return;
		}
		wait_for_room(&waiting, store, &search, search.now);
	}
}

/*
 * End what the row's key has: to be given out again from ready_at on.  False
 * if someone else is at the row, which may be only if it can run out: else it
 * is its key's, whose lock the caller has.
 */
bool
unit_end(Store *store, const Pool *pool, SlotRow *row, TimestampTz ended_at,
		 TimestampTz ready_at, const char *reason)
{
	TM_Result	result;

	if (pool->mixed && ready_at <= ended_at)
		result = store_delete(store, row);
	else
	{
		SlotRow		waiting = {
			.lo = row->lo,
			.order = row->order,
			.tid = row->tid,
			.expires = true,
			.expires_at = ready_at
		};

		result = store_update(store, pool, &waiting, false, !row->expires);
	}
	if (result != TM_Ok)
		return false;
	store_history(store, pool, row, ended_at, reason);
	return true;
}

/*
 * Raise PT412 if the caller's generation is older than the unit's; 22023 if
 * it is one that does not exist yet.
 */
static void
check_generation(const Pool *pool, const SlotRow *unit,
				 const int64 *generation)
{
	StringInfoData detail;

	if (generation == NULL || *generation == unit->generation)
		return;
	detail_begin(&detail);
	detail_text(&detail, "pool", pool->name);
	detail_text(&detail, "key", uuid_text(&unit->key));
	detail_int(&detail, "generation", *generation);
	detail_int(&detail, "current", unit->generation);
	if (*generation < unit->generation)
		ereport(ERROR,
				(errcode(ERRCODE_CAS_FENCED),
				 errmsg("the key has been allocated anew since generation %lld",
						(long long) *generation),
				 errdetail_internal("%s", detail_end(&detail)),
				 errhint("What you held has been released or has run out.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the key has no generation %lld yet",
					(long long) *generation),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("A generation is a number that an allocation returned.")));
}

/*
 * Find the key's unit and take the locks for changing it.  False, without
 * locks, if it has none that has not run out.
 */
static bool
hold_unit(Store *store, PoolUse *use, const pg_uuid_t *key,
		  const char *function, SlotRow *unit)
{
	for (;;)
	{
		TimestampTz now;
		KeyState	state;
		int			key_row;

		CHECK_FOR_INTERRUPTS();
		key_enter(use, key, ShareLock);
		store->waits.n = 0;
		now = GetCurrentTimestamp();
		state = key_look(store, use->pool, key, now, unit, &key_row);
		if (state != KEY_BUSY)
		{
			key_check_snapshot(store, use->pool, key,
							   state == KEY_NONE ? NULL : unit, now);
			require_writing(function);
			if (state == KEY_HOLDS)
				return true;
		}
		key_leave(use, key);
		if (state != KEY_BUSY)
			return false;
		key_wait(unit, function);
	}
}

/*
 * The unit could not be changed; the locks have been given back.  Wait for
 * those who are at it, before it is tried again.
 */
static void
wait_for_unit(Store *store, const Pool *pool, const SlotRow *unit,
			  const char *function, int *idle)
{
	if (store->waits.n == 0 && ++*idle > MAX_IDLE_ROUNDS)
		raise_stuck(pool, &unit->key, function, unit);
	for (int i = 0; i < store->waits.n; i++)
		wait_for_xid(store->waits.xids[i]);
}

/* Release the key's unit.  False if it has none. */
bool
unit_release(Store *store, PoolUse *use, const pg_uuid_t *key,
			 const int64 *generation)
{
	const char *function = "alloc_release";
	SlotRow		unit;
	int			idle = 0;

	while (hold_unit(store, use, key, function, &unit))
	{
		TimestampTz now = GetCurrentTimestamp();
		bool		ended;

		check_generation(use->pool, &unit, generation);
		ended = unit_end(store, use->pool, &unit, now,
						 use->pool->has_cooldown ?
						 interval_after(now, &use->pool->cooldown, "cooldown") : now,
						 "released");
		key_leave(use, key);
		if (ended)
			return true;
		wait_for_unit(store, use->pool, &unit, function, &idle);
	}
	return false;
}

/* Let the key's unit run out ttl from now, or never.  PT404 if it has none. */
void
unit_renew(Store *store, PoolUse *use, const pg_uuid_t *key, Interval *ttl,
		   const int64 *generation, SlotRow *unit)
{
	const char *function = "alloc_renew";
	int			idle = 0;
	StringInfoData detail;

	while (hold_unit(store, use, key, function, unit))
	{
		TM_Result	result;

		check_generation(use->pool, unit, generation);
		unit->expires = ttl != NULL;
		if (unit->expires)
			unit->expires_at = interval_after(GetCurrentTimestamp(), ttl,
											  "ttl");
		result = store_update(store, use->pool, unit, false, false);
		key_leave(use, key);
		if (result == TM_Ok)
			return;
		wait_for_unit(store, use->pool, unit, function, &idle);
	}

	detail_begin(&detail);
	detail_text(&detail, "pool", use->name);
	detail_text(&detail, "key", uuid_text(key));
	ereport(ERROR,
			(errcode(ERRCODE_CAS_NOT_FOUND),
			 errmsg("the key has no unit in pool \"%s\"", use->name),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("It was released, or has run out; allocate again.")));
}
