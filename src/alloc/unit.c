/*
 * unit.c
 *		A key's unit: allocating it, waiting and trying again.
 *
 * A call that writes takes two locks while it works and keeps neither of them:
 * the pool's in share mode (pool.c) and its key's exclusively (key.c).  If a
 * running transaction is creating or removing the key's row, the call releases
 * both locks, waits for that transaction and starts again.  So of two sessions
 * with one key, the second gets the unit of the first, or if that one has
 * rolled back, allocates a unit itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"

#include "alloc/count.h"
#include "alloc/search.h"

/* Maximal number of rounds; see unit_take(). */
#define MAX_ROUNDS 64

/*
 * If a plain read shows that the key has a unit, set the answer and return
 * true.  So a key that has its unit gets the answer without waiting for
 * anybody, even where nothing can be written, and while a release of the unit
 * is not committed.
 */
static bool
answer_held(Store *store, const Pool *pool, const Request *request,
			Answer *answer)
{
	if (!key_read(store, pool, &request->key, &answer->unit))
		return false;
	answer->outcome = resolve_is_same(request, &answer->unit) ?
		OUTCOME_HELD : OUTCOME_REUSED;
	return true;
}

/*
 * Raise XX000.  The DETAIL has the row, if any, and the number of vain rounds,
 * if there were any.
 */
pg_noreturn void
raise_stuck(const Pool *pool, const pg_uuid_t *key, const char *function,
			const SlotRow *row, int rounds)
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
	if (rounds > 0)
		detail_int(&detail, "rounds", rounds);
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("%s() cannot make progress in pool \"%s\", although no transaction is in its way",
					function, pool->name),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("See alloc_verify().")));
}

/*
 * Return false if the value that the request names is reserved.  Raises 22023
 * if the pool does not give it out at all.
 */
static bool
check_place(const Pool *pool, const Request *request)
{
	if (request->place == PLACE_OUTSIDE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the value requested is not one that pool \"%s\" gives out",
						pool->name),
				 request->position == NULL ? 0 :
				 errdetail_internal("{\"position\": \"%s.value\"}",
									request->position),
				 errhint("It must lie in one of the pool's ranges that are not draining.")));
	if (request->place == PLACE_EXCLUDED)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of pool \"%s\" has excluded ports",
						resolve_text(pool, request), pool->name),
				 errhint("Request another chunk.")));
	return request->place != PLACE_RESERVED;
}

/*
 * Allocate for a key that has nothing.  The caller holds the locks.  If the
 * outcome is OUTCOME_BUSY, it has to wait for the transactions in
 * store->waits, and to call again with the next round.
 *
 * In round 0 the pool is locked in share mode; in later rounds exclusively, so
 * that no other call is at work in the pool.
 */
Outcome
unit_take(Search *search, int round)
{
	Request    *request = search->request;
	Outcome		outcome;

	if ((request->exact || request->of_value) &&
		!check_place(search->pool, request))
		return OUTCOME_RESERVED;
	if (request->exact)
	{
		SlotRow		holder;

		outcome = search_exact(search, &holder);
		if (outcome == OUTCOME_TAKEN || outcome == OUTCOME_COOLING)
			key_check_block_snapshot(search, &holder);
		else if (outcome == OUTCOME_ALLOCATED)
			key_check_block_snapshot(search, NULL);
		return outcome;
	}

	resolve_check_size(search->pool, request);
	if (search_free(search))
		return OUTCOME_ALLOCATED;

	/*
	 * A search does not see one state of the pool.  While it goes on, what it
	 * has seen taken may be released, and what it has not seen yet may be
	 * taken, so that it finds nothing although there was always something
	 * free.  That is no reason to wait for a transaction, which may be idle.
	 * Search again with the pool locked exclusively.
	 */
	if (round == 0)
		search->store->waits.n = 0;

	/*
	 * Nothing was found with the pool locked.  The transactions that this
	 * search has met are all that can make room: they hold something or are
	 * releasing it.  Wait for them.  Those that the next search meets have
	 * come since, and may have been faster in taking what others released, so
	 * wait for them, too.  But if others come and go without end, there must
	 * be an end to it: after the last round, the pool counts as exhausted.
	 */
	if (round == 0 || (search->store->waits.n > 0 && round < MAX_ROUNDS))
		return OUTCOME_BUSY;

	/*
	 * If something could not be taken, and is free nevertheless, that is no
	 * reason to say that there is nothing: try again.
	 */
	if (search->stumbles > 0 && search->store->waits.n == 0 &&
		block_state(search, search->stumbled_at, request->order, false,
					NULL) == BLOCK_FREE)
		return OUTCOME_BUSY;
	outcome = search_reason(search);
	if (outcome == OUTCOME_BUSY && search->store->waits.n == 0 &&
		search->pool->parent == NULL)
	{
		/*
		 * What was held or cooling has come free since: take it.  (Below
		 * another pool, the unit's share has the former time already.)
		 */
		search->now = GetCurrentTimestamp();
		return search_free(search) ? OUTCOME_ALLOCATED : OUTCOME_BUSY;
	}
	return search->store->waits.n > 0 && round < MAX_ROUNDS ?
		OUTCOME_BUSY : outcome;
}

/*
 * Allocate for a key whose unit has run out.  The key gets the same unit again
 * if that is what is requested and the unit is still free.  If it requests
 * something else, its former unit ends once it has the new one.
 *
 * Another key can take the former unit without holding this key's lock.  While
 * a transaction does so, the former row cannot be removed, and it remains if
 * that transaction rolls back.  There is no need to wait for that, because the
 * row has run out in either case.  Therefore the new row has another key_row,
 * so that unique (pool, key, key_row) has room for both.
 */
static Outcome
allocate_again(Search *search, SlotRow *former, int round)
{
	Request    *request = search->request;
	Request		again = *request;
	SlotRow		holder;
	Outcome		outcome;
	bool		same;

	again.exact = true;
	again.lo = former->lo;
	same = resolve_is_same(request, former) &&
		resolve_is_open(request, former);
	if (same)
	{
		search->request = &again;
		outcome = search_exact(search, &holder);
		search->request = request;
		if (outcome == OUTCOME_ALLOCATED)
			return outcome;
	}

	/*
	 * Of several units in a row, others may have taken some, and may be idle:
	 * then allocate others.
	 */
	if (same && !is_run(former))
	{
		/*
		 * Another transaction is taking it or has taken it: start again.  If
		 * the row is still the key's then, another transaction keeps it
		 * locked: wait for that.
		 */
		if (round == 0)
			search->store->waits.n = 0;
		return OUTCOME_BUSY;
	}

	outcome = unit_take(search, round);
	if (outcome == OUTCOME_ALLOCATED)
		unit_expire(search->store, search->pool, former);
	return outcome;
}

/* What is taken of the unit's own pool. */
typedef struct Taking
{
	Search	   *search;
	SlotRow    *former;			/* what the key had and has run out, or NULL */
	int			round;
	Outcome		outcome;
} Taking;

/* Allocate a unit of its own pool. */
static bool
take_own(void *arg)
{
	Taking	   *taking = arg;

	taking->outcome = taking->former != NULL ?
		allocate_again(taking->search, taking->former, taking->round) :
		unit_take(taking->search, taking->round);
	return taking->outcome == OUTCOME_ALLOCATED;
}

/*
 * Allocate, given what the key had and has run out, if anything, and take a
 * share of all pools above the key's.
 */
static Outcome
allocate_in_levels(Search *search, SlotRow *former, int round,
				   Levels *levels, Answer *answer)
{
	Request    *request = search->request;
	ShareRow	share = {.held = true};
	Taking		taking = {.search = search,.former = former,.round = round};
	const Pool *full;

	if (levels == NULL || levels->n == 0)
	{
		answer->full = NULL;
		(void) take_own(&taking);
		return taking.outcome;
	}

	levels->whole = Max(1, request->n);
	share.origin = search->pool->id;
	share.key = request->key;
	share.total = levels->whole;
	share.allocated_at = search->now;
	share.expires = request_expiry(request, search->now, &share.expires_at);
	do
	{
		taking.outcome = levels_plan(levels, &request->key, levels->whole,
									 search->now, round >= MAX_ROUNDS,
									 &search->ready_at);
		search->ready = search->ready_at != 0;
		/* as in count_take(): those who stand in line are not overtaken */
		full = levels->level[levels->full].use.pool;
		if ((taking.outcome == OUTCOME_ALLOCATED ||
			 full->capacity >= levels->whole) && line_is_before(levels, NULL))
			taking.outcome = OUTCOME_WAITING;
		if (taking.outcome != OUTCOME_ALLOCATED)
		{
			answer->full =
				pstrdup(levels->level[levels->full].use.pool->name);
			return taking.outcome;
		}
		share.generation = search->generation =
			store_next_generation(search->store);
	} while (!levels_take(levels, &share, levels->whole, take_own, &taking) &&
			 taking.outcome == OUTCOME_ALLOCATED);
	answer->full = NULL;
	return taking.outcome;
}

/*
 * Try to allocate what is requested, without waiting for any transaction.  The
 * caller holds the locks of the pool and the key; see unit_take() for round.
 *
 * Returns false if a transaction is changing what the key has, which is then
 * in answer->unit.  Otherwise the answer is set; if its outcome is
 * OUTCOME_BUSY, the transactions in store->waits are in the way.
 */
bool
unit_try(Store *store, PoolUse *use, Request *request, int round,
		 Answer *answer)
{
	Pool	   *pool = use->pool;
	Search		search = {.store = store,.pool = pool,.request = request};
	SlotRow    *unit = &answer->unit;
	KeyState	state;

	resolve_request(pool, request);
	if (pool->counted)
		return count_try(store, use, request, round, answer);
	answer->full = NULL;
	store->waits.n = 0;
	search.now = GetCurrentTimestamp();
	state = key_look(store, pool, &request->key, search.now, unit,
					 &search.key_row);
	if (state == KEY_BUSY)
		return false;

	/* The key's lock keeps this state until we are done. */
	key_check_snapshot(store, pool, &request->key,
					   state == KEY_NONE ? NULL : unit, search.now);
	if (state == KEY_HOLDS)
	{
		answer->outcome = resolve_is_same(request, unit) ?
			OUTCOME_HELD : OUTCOME_REUSED;
		return true;
	}

	/* From here on something has to be written. */
	key_require_writing(request->function);
	answer->outcome =
		allocate_in_levels(&search, state == KEY_RAN_OUT ? unit : NULL, round,
						   use->levels, answer);
	if (answer->outcome == OUTCOME_ALLOCATED)
		*unit = search.unit;
	answer->ready = search.ready;
	answer->ready_at = search.ready_at;
	return true;
}

/* Allocate what is requested, from a pool that is not counted. */
static void
allocate_unit(Store *store, PoolUse *use, Request *request, Answer *answer)
{
	Waiting		waiting = {.room.cxt = store->cxt};
	Rounds		rounds = {0};
	bool		look = true;
	bool		entered = false;

	/*
	 * Try to get the locks without waiting.  If that fails, first see whether
	 * the key has its unit, which can be answered without them.
	 */
	if (!XactReadOnly)
		entered = key_enter_at_once(use, &request->key);
	if (!entered && look)
	{
		resolve_request(use->pool, request);
		if (answer_held(store, use->pool, request, answer))
			return;
		look = false;
	}

	for (;;)
	{
		int			round = waiting.looking ? 0 : waiting.round;
		LOCKMODE	mode = round > 0 && !request->exact ?
			ExclusiveLock : ShareLock;
		TimestampTz began;
		bool		key_busy;

		/*
		 * A search while we are still waiting counts as round 0, which does
		 * not lock out others.
		 */
		CHECK_FOR_INTERRUPTS();
		if (!entered)
			key_enter(use, &request->key, mode);
		entered = false;
		use->levels->looking = waiting.looking;
		began = waiting.looking ? GetCurrentTimestamp() : 0;
		round_begin(&rounds);
		key_busy = !unit_try(store, use, request, round, answer);
		round_end(&rounds);
		key_leave(use, &request->key);

		/*
		 * Another transaction is changing what the key has.  Wait for it
		 * without our locks, and start again.
		 */
		if (key_busy)
		{
			SlotRow		busy = answer->unit;

			if (look && answer_held(store, use->pool, request, answer))
				return;
			look = false;
			key_wait(&busy, request->function);
			continue;
		}
		if (answer->outcome != OUTCOME_BUSY)
			return;
		if (!wait_for_room(&waiting, &store->waits, began))
			raise_stuck(use->pool, &request->key, request->function, NULL,
						MAX_IDLE_ROUNDS);
	}
}

/* Allocate what is requested, or find that the key already has it. */
void
unit_allocate(Store *store, PoolUse *use, Request *request, Answer *answer)
{
	Levels		levels;

	memset(answer, 0, sizeof(*answer));
	resolve_request(use->pool, request);
	levels_begin(&levels, store, use);
	levels.takes = true;
	if (use->pool->counted)
		count_allocate(store, use, request, answer);
	else
		allocate_unit(store, use, request, answer);
	use->levels = NULL;
}
