/*
 * hold.c
 *		A key's unit that the key holds: release, renew.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "alloc/search.h"
#include "alloc/share.h"

/*
 * Raise PT412 if the caller's generation is older than the unit's, and 22023
 * if it does not exist yet.
 */
void
unit_check_generation(const Pool *pool, const SlotRow *unit,
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
				 errhint("The unit that you held has been released or has run out.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the key has no generation %lld yet",
					(long long) *generation),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("A generation is a number that an allocation returned.")));
}

/*
 * Find the key's unit and take the locks for changing it.  Returns false,
 * without locks, if the key has no unit or one that has run out.
 */
bool
unit_hold(Store *store, PoolUse *use, const pg_uuid_t *key,
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
			key_require_writing(function);
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
 * Called without locks after the unit could not be changed: wait for the
 * transactions that are changing it, before the caller tries again.
 */
void
unit_wait(Store *store, const Pool *pool, const SlotRow *unit,
		  const char *function, int *idle)
{
	/* the other transaction may have ended before we could note it */
	if (store->waits.n == 0 && ++*idle > MAX_IDLE_ROUNDS)
		raise_stuck(pool, &unit->key, function, unit, MAX_IDLE_ROUNDS);
	for (int i = 0; i < store->waits.n; i++)
		wait_for_xid(store->waits.xids[i]);
}

/* Raise PT404: the key has no unit. */
pg_noreturn void
raise_no_unit(const PoolUse *use, const pg_uuid_t *key)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "pool", use->name);
	detail_text(&detail, "key", uuid_text(key));
	ereport(ERROR,
			(errcode(ERRCODE_CAS_NOT_FOUND),
			 errmsg("the key has no unit in pool \"%s\"", use->name),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("It was released, or has run out; allocate again.")));
}

/*
 * Raise an error because a row of the unit at a level cannot be changed, although it
 * has not run out: somebody has locked it by hand, 55P03, or something is wrong, XX000.
 */
pg_noreturn static void
raise_locked(const Store *store, const PoolUse *use, const SlotRow *unit,
			 const char *function)
{
	if (store->waits.n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not obtain lock on row in relation \"%s\"",
						"alloc_share")));
	raise_stuck(use->pool, &unit->key, function, NULL, 0);
}

/*
 * The same for a unit that may have run out meanwhile, so that its places there are
 * being taken: then it is PT404.
 */
pg_noreturn void
raise_lost(const Store *store, const PoolUse *use, const SlotRow *unit,
		   const char *function)
{
	if (unit->expires && unit->expires_at <= GetCurrentTimestamp())
		raise_no_unit(use, &unit->key);
	raise_locked(store, use, unit, function);
}

/*
 * Release the key's unit.  Returns false if it has none.  cooldown is NULL for
 * that of the pool.
 */
bool
unit_release(Store *store, PoolUse *use, const pg_uuid_t *key,
			 const int64 *generation, Interval *cooldown)
{
	const char *function = "alloc_release";
	SlotRow		unit;
	Levels		levels;
	bool		ended = false;
	int			idle = 0;

	levels_begin(&levels, store, use);
	while (!ended && unit_hold(store, use, key, function, &unit))
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz ready_at = now;

		unit_check_generation(use->pool, &unit, generation);
		if (cooldown != NULL)
			ready_at = interval_after(now, cooldown, "cooldown");
		else if (use->pool->has_cooldown)
			ready_at = interval_after(now, &use->pool->cooldown, "cooldown");
		ended = use->pool->counted ||
			unit_end(store, use->pool, &unit, now, ready_at, "released");
		if (ended && !levels_end(&levels, key, unit.generation, now, ready_at,
								 "released"))
		{
			if (levels.begun)
				raise_locked(store, use, &unit, function);
			ended = false;
		}
		key_leave(use, key);
		if (!ended)
			unit_wait(store, use->pool, &unit, function, &idle);
	}
	use->levels = NULL;
	return ended;
}

/*
 * Let the key's unit expire ttl from now, or never if ttl is NULL.  Raises
 * PT404 if the key has none.
 */
void
unit_renew(Store *store, PoolUse *use, const pg_uuid_t *key, Interval *ttl,
		   const int64 *generation, SlotRow *unit)
{
	const char *function = "alloc_renew";
	Levels		levels;
	bool		renewed = false;
	int			idle = 0;

	levels_begin(&levels, store, use);
	while (!renewed && unit_hold(store, use, key, function, unit))
	{
		SlotRow		from = *unit;

		unit_check_generation(use->pool, unit, generation);
		unit->expires = ttl != NULL;
		if (unit->expires)
			unit->expires_at = interval_after(GetCurrentTimestamp(), ttl,
											  "ttl");
		renewed = use->pool->counted ||
			unit_change(store, use->pool, &from, unit, NULL);
		/* what has run out at one level cannot be renewed at the others */
		if (renewed && !levels_update(&levels, key, unit->generation, unit))
			raise_lost(store, use, &from, function);
		key_leave(use, key);
		if (!renewed)
			unit_wait(store, use->pool, unit, function, &idle);
	}
	use->levels = NULL;
	if (!renewed)
		raise_no_unit(use, key);
}
