/*
 * resize.c
 *		Changing how much a key has of a counted pool.
 */
#include "postgres.h"

#include "alloc/count.h"

/* One look, with the locks: let the key, which has unit, have n places. */
static void
resize_once(Count *count, const SlotRow *unit, int64 n, Answer *answer)
{
	Levels	   *levels = count->use->levels;
	int64		more = n - (int64) unit->lo;
	ShareRow	share = {.held = true};

	answer->outcome = OUTCOME_ALLOCATED;
	if (more == 0)
		return;

	/* new rows, none of which is the first one */
	share.origin = count->use->pool->id;
	share.key = count->key;
	share.allocated_at = count->now;
	share.expires = unit->expires;
	share.expires_at = unit->expires_at;
	levels->whole = n;
	if (more > 0)
		count_take(count, &share, more, answer);
	else
		share.generation = store_next_generation(count->store);
	if (answer->outcome != OUTCOME_ALLOCATED)
		return;
	if (!levels_resize(levels, unit, share.generation, n, count->now))
		raise_lost(count->store, count->use, unit, count->function);
	store_history(count->store, count->use->pool, unit, count->now, "resized");
}

/* Let the key have n places.  Raises PT404 if it has nothing. */
void
count_resize(Store *store, PoolUse *use, const pg_uuid_t *key, int64 n,
			 const int64 *generation, Answer *answer)
{
	Levels		levels;
	Rounds		rounds = {0};
	Count		count;

	levels_begin(&levels, store, use);
	levels.takes = true;
	count_begin(&count, store, use, key, "alloc_resize");
	do
	{
		SlotRow		unit;
		bool		held = unit_hold(store, use, key, count.function, &unit);

		resolve_require_counted(use->pool, count.function);
		if (!held)
			raise_no_unit(use, key);
		unit_check_generation(use->pool, &unit, generation);
		count.now = GetCurrentTimestamp();
		round_begin(&rounds);
		resize_once(&count, &unit, n, answer);
		round_end(&rounds);
		key_leave(use, key);
		/* the call may go on waiting for hours */
		if (unit.has_note)
			pfree(DatumGetPointer(unit.note));
	} while (answer->outcome != OUTCOME_ALLOCATED &&
			 count_wait(&count, &answer->outcome));
	use->levels = NULL;
}
