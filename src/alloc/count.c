/*
 * count.c
 *		Allocating from a counted pool.
 *
 * The same as unit.c for counted pools, where a call can also stand in line
 * for what is held.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "alloc/count.h"

/* Maximal number of rounds; see unit_take(). */
#define MAX_ROUNDS 64

/* After so many milliseconds a waiting call looks again. */
#define LOOK_AGAIN 100

/* Begin a call. */
void
count_begin(Count *count, Store *store, PoolUse *use, const pg_uuid_t *key,
			const char *function)
{
	memset(count, 0, sizeof(*count));
	count->store = store;
	count->use = use;
	count->key = *key;
	count->function = function;
	count->room.cxt = CurrentMemoryContext;
}

/* Raise XX000. */
pg_noreturn static void
raise_count_stuck(Count *count)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "pool", count->use->pool->name);
	detail_text(&detail, "key", uuid_text(&count->key));
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("%s() cannot make progress in pool \"%s\", although no transaction is in its way",
					count->function, count->use->pool->name),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("See alloc_verify().")));
}

/*
 * Raise 25000 in a parallel query if the call would have to wait for a limited
 * time, which takes a subtransaction.
 */
static void
count_require_waiting(const Count *count)
{
	if (count->patience.limited && IsInParallelMode())
		PreventCommandIfParallelMode(psprintf("%s()", count->function));
}

/*
 * Another transaction is changing what the key has: wait for it, without
 * locks.  Returns false if the call must not wait.
 */
static bool
count_wait_for_key(Count *count, const SlotRow *busy)
{
	PreventCommandDuringRecovery(psprintf("%s()", count->function));
	count_require_waiting(count);
	return !count->patience.never &&
		wait_for_xid_patiently(TransactionIdIsValid(busy->inserter) ?
							   busy->inserter : busy->deleter,
							   &count->patience);
}

/*
 * Wait for the transactions that may make room, which the last look has met;
 * compare wait_for_room().
 */
static void
count_wait_for_room(Count *count)
{
	Levels	   *levels = count->use->levels;
	const WaitSet *met = &count->store->waits;

	if (!levels->looking)
	{
		count->room.n = count->room.waited = count->room.unlooked = 0;
		for (int i = 0; i < met->n; i++)
			wait_add_xid(&count->room, met->xids[i]);
		count->round++;
	}
	levels->looking = !wait_some(&count->room, LOOK_AGAIN);
	count->idle = 0;
}

/*
 * Stand in line at all levels that have too little, until the call is at the
 * head.  Returns false if it is already, or must not wait any longer.
 */
static bool
count_join(Count *count)
{
	Levels	   *levels = count->use->levels;
	bool		joined = false;

	levels->lacking[levels->full] = true;
	for (int i = 0; i < MAX_LEVELS; i++)
	{
		if (!levels->lacking[i] || line_is_head(&count->line, i))
			continue;
		if (!line_join(&count->line, count->use->nsp, i,
					   levels->level[i].use.pool->id, &count->patience))
			return false;
		joined = true;
	}
	return joined;
}

/*
 * There is too little, or somebody else stands in line.  Wait as the call's
 * patience allows, without locks, and return true to look again; or return
 * false, and *outcome is the answer.
 */
bool
count_wait(Count *count, Outcome *outcome)
{
	Levels	   *levels = count->use->levels;
	const Pool *full = levels->level[levels->full].use.pool;
	bool		met = count->store->waits.n > 0;

	if (*outcome == OUTCOME_BUSY && !count->patience.limited &&
		(met || levels->looking))
	{
		count_wait_for_room(count);
		return true;
	}
	/* a look that has to be made again, with other locks */
	if (*outcome == OUTCOME_BUSY && !met)
	{
		if (++count->idle > MAX_IDLE_ROUNDS)
			raise_count_stuck(count);
		return true;
	}
	if (!count->patience.limited || count->patience.never ||
		full->capacity < levels->whole)
		return false;
	count->idle = 0;
	if (count_join(count) ||
		line_wait(&count->store->waits, levels->next_at, &count->patience))
		return true;
	*outcome = OUTCOME_BUSY;
	return false;
}

/* Can the level that has too little ever have enough? */
static bool
is_possible(const Levels *levels)
{
	return levels->level[levels->full].use.pool->capacity >= levels->whole;
}

/*
 * Take n more places for a unit, and give it a generation.  The answer says
 * whether that was possible.
 */
void
count_take(Count *count, ShareRow *unit, int64 n, Answer *answer)
{
	Levels	   *levels = count->use->levels;
	TimestampTz ready_at;
	const Pool *full;

	do
	{
		answer->outcome = levels_plan(levels, &count->key, n, count->now,
									  count->round >= MAX_ROUNDS, &ready_at);
		/* if there can never be so much, a line is of no use */
		if ((answer->outcome == OUTCOME_ALLOCATED || is_possible(levels)) &&
			line_is_before(levels, &count->line))
			answer->outcome = OUTCOME_WAITING;
		if (answer->outcome == OUTCOME_ALLOCATED)
			unit->generation = store_next_generation(count->store);
	} while (answer->outcome == OUTCOME_ALLOCATED &&
			 !levels_take(levels, unit, n, NULL, NULL));
	answer->ready = ready_at != 0;
	answer->ready_at = ready_at;
	answer->full = NULL;
	if (answer->outcome == OUTCOME_ALLOCATED || levels->full == 0)
		return;
	full = levels->level[levels->full].use.pool;
	answer->full = pstrdup(full->name);
}

/* One look, with the locks.  Returns the key's state. */
static KeyState
count_look(Count *count, const Request *request, Answer *answer)
{
	const Pool *pool = count->use->pool;
	SlotRow    *unit = &answer->unit;
	ShareRow	share = {.held = true};
	KeyState	state;
	int			key_row;

	resolve_require_counted(pool, count->function);
	answer->full = NULL;
	count->store->waits.n = 0;
	count->now = GetCurrentTimestamp();
	state = key_look(count->store, pool, &count->key, count->now, unit,
					 &key_row);
	if (state == KEY_BUSY)
		return state;
	/* The key's lock keeps this state until we are done. */
	key_check_snapshot(count->store, pool, &count->key,
					   state == KEY_NONE ? NULL : unit, count->now);
	if (state == KEY_HOLDS)
	{
		answer->outcome = unit->lo == request->value ?
			OUTCOME_HELD : OUTCOME_REUSED;
		return state;
	}
	key_require_writing(request->function);

	share.origin = pool->id;
	share.key = count->key;
	share.total = (int64) request->value;
	share.allocated_at = count->now;
	share.expires = request_expiry(request, count->now, &share.expires_at);
	count->use->pool->ends |= share.expires;
	share.note = request->note;
	share.has_note = request->has_note;
	count->use->levels->whole = share.total;
	count_take(count, &share, share.total, answer);
	if (answer->outcome == OUTCOME_ALLOCATED)
	{
		memset(unit, 0, sizeof(*unit));
		unit->lo = request->value;
		unit->held = true;
		unit->key = count->key;
		unit->generation = share.generation;
		unit->allocated_at = share.allocated_at;
		unit->expires = share.expires;
		unit->expires_at = share.expires_at;
		unit->note = share.note;
		unit->has_note = share.has_note;
	}
	return state;
}

/*
 * Try to allocate what is requested, without waiting for any transaction; see
 * unit_try().
 */
bool
count_try(Store *store, PoolUse *use, Request *request, int round,
		  Answer *answer)
{
	Count		count;

	count_begin(&count, store, use, &request->key, request->function);
	count.round = round;
	return count_look(&count, request, answer) != KEY_BUSY;
}

/* If a plain read shows that the key has a share, set the answer. */
static bool
count_answer_held(Count *count, const Request *request, Answer *answer)
{
	if (!key_read(count->store, count->use->pool, &count->key, &answer->unit))
		return false;
	answer->outcome = answer->unit.lo == request->value ?
		OUTCOME_HELD : OUTCOME_REUSED;
	return true;
}

/* Allocate what is requested, or find that the key already has it. */
void
count_allocate(Store *store, PoolUse *use, Request *request, Answer *answer)
{
	static const Patience at_once = {.limited = true,.never = true};
	Rounds		rounds = {0};
	bool		look = true;
	Count		count;

	count_begin(&count, store, use, &request->key, request->function);
	count.patience = request->patience;
	use->levels->at_once = request->patience.never;
	use->levels->patient = request->patience.limited &&
		!request->patience.never;

	if (XactReadOnly && count_answer_held(&count, request, answer))
		return;
	for (;;)
	{
		KeyState	state;

		CHECK_FOR_INTERRUPTS();
		answer->outcome = OUTCOME_BUSY;
		if (!key_enter_patiently(use, &count.key, ShareLock,
								 look ? &at_once : &count.patience))
		{
			/* what the key has can be answered without the locks */
			if (!look || count_answer_held(&count, request, answer))
				break;
			count_require_waiting(&count);
			look = false;
			continue;
		}
		round_begin(&rounds);
		state = count_look(&count, request, answer);
		round_end(&rounds);
		key_leave(use, &count.key);
		if (state == KEY_BUSY)
		{
			SlotRow		busy = answer->unit;

			if (look && count_answer_held(&count, request, answer))
				break;
			look = false;
			answer->outcome = OUTCOME_BUSY;
			if (!count_wait_for_key(&count, &busy))
				break;
		}
		else if (state == KEY_HOLDS || answer->outcome == OUTCOME_ALLOCATED ||
				 !count_wait(&count, &answer->outcome))
			break;
	}
	line_leave(&count.line);
}
