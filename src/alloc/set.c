/*
 * set.c
 *		Several units under one key, from several pools: all or none.
 *
 * The members are served one after the other, in the order of their pools'
 * names, without waiting; see attempt.c.  A member that lists several pools is
 * given the unit that the key has in one of them, or else one from the first
 * that has room.  So that two calls for one key cannot choose different pools,
 * a lock for the key itself is held during a try.
 *
 * If no pool of a member has room, the search must be repeated with each of
 * these pools locked exclusively, as for a single unit (unit.c).  In each try
 * only one pool, with those above it, is locked like that, before anything
 * else is, since we may wait for its lock only while we hold nothing.  After a
 * turn of all pools, the transactions that were met in them are waited for.
 *
 * So what a member is given must not depend on whether it is its turn, but for
 * what others do meanwhile; or else two members could wait for their turns
 * forever.  A pool whose capacity is lowered is therefore locked exclusively in
 * any case, without waiting, and only as long as its member is served.
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "alloc/answer.h"
#include "alloc/json.h"
#include "alloc/search.h"
#include "alloc/set.h"
#include "alloc/store.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_set);

/* Members that are served together.  Twice as many locks are held then. */
#define TOGETHER 32

/*
 * How often that is done in a call.  Each time is a subtransaction; see MAX_BULK
 * in many.c.
 */
#define MAX_BATCHES 32

/*
 * The key already has something in the chosen pool: take that for the answer,
 * or raise PT422.
 */
static void
choose_held(Member *member, int i, const SlotRow *unit)
{
	Choice	   *choice = &member->choices[i];

	choice->answer.unit = *unit;
	choice->answer.outcome = resolve_is_same(&choice->request, unit) ?
		OUTCOME_HELD : OUTCOME_REUSED;
	require_unit(choice->use.pool, &choice->request, &choice->answer);
	member->chosen = i;
}

/*
 * A choice could not be locked.  What the key has there can be answered without
 * the lock; returns false if it has nothing.
 */
static bool
read_held(Store *store, Choice *choice, SlotRow *unit)
{
	if (!key_read(store, choice->use.pool, &choice->request.key, unit))
		return false;
	resolve_request(choice->use.pool, &choice->request);
	return true;
}

/*
 * Look whether the key has something in one of the member's pools.  Returns
 * false if that takes waiting.
 */
static bool
look_for_held(Attempt *attempt, Store *store, Set *set, Member *member)
{
	for (int i = 0; i < member->nchoices; i++)
	{
		Choice	   *choice = &member->choices[i];
		Pool	   *pool;
		KeyState	state;
		TimestampTz now;
		SlotRow		unit;
		int			key_row;

		CHECK_FOR_INTERRUPTS();
		if (!set_lock_choice(attempt, set, choice))
		{
			for (; i < member->nchoices; i++)
			{
				if (!read_held(store, &member->choices[i], &unit))
					continue;
				choose_held(member, i, &unit);
				return true;
			}
			return false;
		}
		pool = choice->use.pool;
		resolve_request(pool, &choice->request);
		now = GetCurrentTimestamp();
		state = key_look(store, pool, &choice->request.key, now, &unit,
						 &key_row);
		if (state != KEY_BUSY)
			key_check_snapshot(store, pool, &choice->request.key,
							   state == KEY_NONE ? NULL : &unit, now);
		set_unlock_choice(choice);
		if (state == KEY_BUSY)
		{
			SlotRow		busy = unit;

			/* it has that until the other transaction commits */
			if (!key_read(store, pool, &choice->request.key, &unit))
				return attempt_meets_row(attempt, &choice->use, &busy);
			state = KEY_HOLDS;
		}
		if (state == KEY_HOLDS)
		{
			choose_held(member, i, &unit);
			return true;
		}
	}
	return true;
}

/*
 * Try to allocate from one of the member's pools.  Returns false if that takes
 * waiting for something else than room.  Without room, the answer's outcome
 * says so.
 */
static bool
try_choice(Attempt *attempt, Store *store, Set *set, Choice *choice, int round)
{
	Request    *request = &choice->request;
	bool		busy;

	if (!set_lock_choice(attempt, set, choice))
		return false;
	memset(&choice->answer, 0, sizeof(choice->answer));
	resolve_request(choice->use.pool, request);
	busy = !unit_try(store, &choice->use, request, round, &choice->answer);
	set_unlock_choice(choice);
	return !busy || attempt_meets_row(attempt, &choice->use,
									  &choice->answer.unit);
}

/*
 * Raise the error of a member whom nobody can help: none of its pools has room.
 * If several will have, the one that has it first is named.
 */
pg_noreturn static void
raise_no_member(const Member *member)
{
	const Choice *best = NULL;

	for (int i = 0; i < member->nchoices; i++)
	{
		const Choice *other = &member->choices[i];

		if (!other->outside &&
			(best == NULL ||
			 (other->reason.ready &&
			  (!best->reason.ready ||
			   other->reason.ready_at < best->reason.ready_at))))
			best = other;
	}
	require_unit(best->use.pool, &best->request, &best->reason);
	elog(ERROR, "unexpected outcome %d", (int) best->reason.outcome);
}

/* Begin a turn of exclusive searches in the member's pools. */
static void
begin_turn(Set *set, Member *member)
{
	set->bottom = member;
	set->turn = 0;
	set->met.n = 0;
	for (int i = 0; i < member->nchoices; i++)
		member->choices[i].sure = false;
}

/*
 * No pool of the member has room.  Record what is to be done before the next
 * try, or raise an error if everything has been tried.
 */
static bool
meet_no_room(Attempt *attempt, Store *store, Set *set, Member *member)
{
	PoolUse    *use = &member->choices[0].use;
	bool		sure = true;

	/* still waiting; the next try will look again */
	if (attempt->waiting.looking)
	{
		store->waits.n = 0;
		return attempt_meets_waits(attempt, OBSTACLE_ROOM, use, &set->key,
								   &store->waits);
	}
	if (set->bottom != member)
	{
		/* members that get in each other's way again and again */
		attempt->waiting.idle++;
		begin_turn(set, member);
		return attempt_meets_waits(attempt, OBSTACLE_NONE, use, &set->key,
								   &set->met);
	}
	if (++set->turn < member->nchoices)
		return attempt_meets_waits(attempt, OBSTACLE_NONE, use, &set->key,
								   &set->met);

	/* Each pool has been searched while nobody else was at work in it. */
	for (int i = 0; i < member->nchoices; i++)
		sure &= member->choices[i].sure;
	if (sure)
		raise_no_member(member);
	(void) attempt_meets_waits(attempt, OBSTACLE_ROOM, use, &set->key,
							   &set->met);
	begin_turn(set, member);
	return false;
}

/* Does the choice name a value? */
static bool
is_exact(const Choice *choice)
{
	return choice->request.exact && !choice->use.pool->counted;
}

/*
 * Let pools be passed over that do not have the value requested, unless none
 * has: then the first one raises the error.
 */
static void
skip_outside(Member *member)
{
	int			noutside = 0;

	for (int i = 0; i < member->nchoices; i++)
	{
		Choice	   *choice = &member->choices[i];

		resolve_request(choice->use.pool, &choice->request);
		choice->outside = is_exact(choice) &&
			choice->request.place == PLACE_OUTSIDE;
		noutside += choice->outside;
	}
	if (noutside == member->nchoices)
		member->choices[0].outside = false;
}

/* Keep why there is no room for later tries, which have memory of their own. */
static void
keep_reason(Set *set, Choice *choice)
{
	choice->reason = choice->answer;
	choice->reason.unit.has_note = false;
	if (choice->answer.full != NULL)
		choice->reason.full = MemoryContextStrdup(set->met.cxt,
												  choice->answer.full);
}

/* Serve a member.  Returns false if that takes waiting. */
static bool
serve_member(Attempt *attempt, Store *store, Set *set, Member *member)
{
	const Choice *exclusive = set_exclusive_choice(attempt, set);

	if (member->nchoices > 1)
	{
		if (!look_for_held(attempt, store, set, member))
			return false;
		skip_outside(member);
	}
	for (int i = 0; i < member->nchoices && member->chosen < 0; i++)
	{
		Choice	   *choice = &member->choices[i];
		bool		last = choice == exclusive || is_exact(choice);
		Outcome		outcome;

		CHECK_FOR_INTERRUPTS();
		if (choice->outside)
		{
			choice->sure = true;
			continue;
		}
		if (!try_choice(attempt, store, set, choice, choice == exclusive ?
						attempt->waiting.round + 1 : 0))
		{
			SlotRow		unit;

			if (!read_held(store, choice, &unit))
				return false;
			choose_held(member, i, &unit);
			return true;
		}
		outcome = choice->answer.outcome;
		if (outcome == OUTCOME_ALLOCATED || outcome == OUTCOME_HELD)
			member->chosen = i;
		else if (outcome == OUTCOME_REUSED)
			require_unit(choice->use.pool, &choice->request, &choice->answer);
		else if (last)
		{
			choice->sure = outcome != OUTCOME_BUSY;
			keep_reason(set, choice);
			for (int j = 0; j < store->waits.n && !choice->sure; j++)
				wait_add_xid(&set->met, store->waits.xids[j]);
		}
	}
	return member->chosen >= 0 ||
		meet_no_room(attempt, store, set, member);
}

/* Can the choice be served by bulk.c? */
static bool
is_plain(const Choice *choice)
{
	const Pool *pool = choice->use.pool;
	const Request *request = &choice->request;

	return pool->strategy == STRATEGY_ANY && !pool->mixed && !pool->counted &&
		pool->parent == NULL && !request->exact && request->n == 1;
}

/*
 * Give never-used units to members of one plain choice each, whose locks are
 * held.  Members for whom there is none, or whose key has something, are left
 * as they are.
 */
static void
take_together(Store *store, Member **members, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	Search	   *searches;
	bool	   *served;

	if (n < MIN_BULK)
		return;
	searches = palloc0(n * sizeof(Search));
	served = palloc(n * sizeof(bool));
	for (int i = 0; i < n; i++)
	{
		Choice	   *choice = &members[i]->choices[0];

		resolve_request(choice->use.pool, &choice->request);
		searches[i].store = store;
		searches[i].pool = choice->use.pool;
		searches[i].request = &choice->request;
		searches[i].now = now;
	}
	bulk_take_each(searches, served, n);
	for (int i = 0; i < n; i++)
	{
		Choice	   *choice = &members[i]->choices[0];

		if (!served[i])
			continue;
		memset(&choice->answer, 0, sizeof(choice->answer));
		choice->answer.outcome = OUTCOME_ALLOCATED;
		choice->answer.unit = searches[i].unit;
		members[i]->chosen = 0;
	}
	pfree(served);
	pfree(searches);
}

/*
 * Of members that are locked, move those to the front that are to be served
 * together: the pool is still a plain one, and the key has nothing there.
 * Returns their number.
 */
static int
choose_new(Store *store, Member **members, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	int			nnew = 0;
	SlotScan	scan;

	for (int i = 0; i < n; i++)
	{
		Member	   *member = members[i];
		Choice	   *choice = &member->choices[0];
		SlotRow		row;
		int			key_row;

		if (i == 0)
			scan_by_key(&scan, store, choice->use.pool->id,
						&choice->request.key, NULL);
		else
			scan_again_by_key(&scan, choice->use.pool->id,
							  &choice->request.key);
		if (!is_plain(choice) ||
			key_look_on(&scan, now, &row, &key_row) != KEY_NONE ||
			key_row > 0)
			continue;
		members[i] = members[nnew];
		members[nnew++] = member;
	}
	if (n > 0)
		slot_scan_end(&scan);
	return nnew;
}

/*
 * Serve the members that need nothing but a never-used unit, a batch at a time.
 * 100 members take 6.6 million instructions then, not 8.0.  Those that would take
 * waiting are left as they are.
 */
static void
serve_together(Attempt *attempt, Store *store, Set *set)
{
	Member	   *members[TOGETHER];
	int			at = 0;

	if (set->bottom != NULL || IsolationUsesXactSnapshot() ||
		!store_writer(store)->known)
		return;
	for (int i = 0; i < MAX_BATCHES && at < set->nmembers; i++)
	{
		int			nlocked = 0;

		for (; at < set->nmembers && nlocked < TOGETHER; at++)
		{
			Member	   *member = set->order[at];

			if (member->chosen >= 0 || member->nchoices > 1 ||
				!is_plain(&member->choices[0]))
				continue;
			/* otherwise serve_member() may find that the key has something */
			if (set_lock_choice(attempt, set, &member->choices[0]))
				members[nlocked++] = member;
		}
		take_together(store, members, choose_new(store, members, nlocked));
		while (--nlocked >= 0)
			set_unlock_choice(&members[nlocked]->choices[0]);
	}
}

/* Begin to use the choices' pools in a try. */
static void
begin_choices(Attempt *attempt, Set *set, Store *store)
{
	for (int i = 0; i < set->nmembers; i++)
	{
		set->members[i].chosen = -1;
		for (int j = 0; j < set->members[i].nchoices; j++)
		{
			PoolUse    *use = &set->members[i].choices[j].use;

			/* the former try's memory is gone, and what it pinned */
			(void) pool_use_again(use);
			levels_begin(palloc(sizeof(Levels)), store, use);
			use->levels->takes = true;
			use->levels->looking = attempt->waiting.looking;
		}
	}
}

/* End the use. */
static void
end_choices(Set *set)
{
	for (int i = 0; i < set->nmembers; i++)
	{
		for (int j = 0; j < set->members[i].nchoices; j++)
			set->members[i].choices[j].use.levels = NULL;
	}
}

/* TryFunction: allocate a unit for each member. */
static bool
try_set(Attempt *attempt, void *call)
{
	Set		   *set = call;
	Alone		alone;
	Store		store;
	bool		done = true;

	store_open(&store, set->members[0].choices[0].use.nsp, RowExclusiveLock);
	begin_choices(attempt, set, &store);
	set_lock_alone(attempt, set, &alone);
	key_lock_set(&set->key);
	for (int i = 0; i < set->nmembers && done; i++)
	{
		Member	   *member = set->order[i];

		if (member->chosen >= 0)
			continue;
		done = serve_member(attempt, &store, set, member);
		/* a key that is new to the first one is probably new to all */
		if (done && i == 0 && member->choices[member->chosen].answer.outcome ==
			OUTCOME_ALLOCATED)
			serve_together(attempt, &store, set);
	}
	key_unlock_set(&set->key);
	set_unlock_alone(&alone);
	end_choices(set);
	store_close(&store);
	return done;
}

/* Answer by plain reads, where nothing can be written. */
static void
read_set(Set *set, Oid nsp)
{
	Store		store;

	store_open(&store, nsp, AccessShareLock);
	for (int i = 0; i < set->nmembers; i++)
	{
		Member	   *member = &set->members[i];
		SlotRow		unit;

		member->chosen = -1;
		for (int j = 0; j < member->nchoices && member->chosen < 0; j++)
		{
			Choice	   *choice = &member->choices[j];

			resolve_request(choice->use.pool, &choice->request);
			if (key_read(&store, choice->use.pool, &set->key, &unit))
				choose_held(member, j, &unit);
		}
		if (member->chosen < 0)
			key_require_writing("alloc_set");
	}
	store_close(&store);
}

/* alloc_set(request, key, ttl, note) RETURNS SETOF alloc_unit */
Datum
alloc_set(PG_FUNCTION_ARGS)
{
	Oid			nsp = alloc_namespace(fcinfo);
	Request		common = {0};
	Set			set = {0};
	Attempt		attempt;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "request");
	require_argument(fcinfo, 1, "key");
	set.key = *PG_GETARG_UUID_P(1);
	read_ttl_and_note(fcinfo, 2, &common);
	set.ttl = common.ttl;
	set.note = common.note;
	set.has_note = common.has_note;
	set.met.cxt = CurrentMemoryContext;
	InitMaterializedSRF(fcinfo, 0);
	set_read(&set, nsp, PG_GETARG_JSONB_P(0));

	if (XactReadOnly || IsInParallelMode())
		read_set(&set, nsp);
	else if (set.nmembers > 0)
		attempt_run(&attempt, "alloc_set", try_set, &set);
	for (int i = 0; i < set.nmembers; i++)
	{
		Choice	   *choice = &set.members[i].choices[set.members[i].chosen];

		put_unit_row((ReturnSetInfo *) fcinfo->resultinfo, choice->use.pool,
					 &choice->answer.unit);
	}
	return (Datum) 0;
}
