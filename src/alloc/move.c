/*
 * move.c
 *		A unit goes to another key, or gets another note.
 *
 * A move writes a new version of the unit's row, with the new key.  So at no
 * time is the unit free, and whoever looks at it sees one key or the other.
 * The row keeps the former key and its generation, by which a repeated move is
 * recognized.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alloc/answer.h"
#include "alloc/search.h"
#include "alloc/share.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_move);
PG_FUNCTION_INFO_V1(alloc_annotate);

/* What the two keys of a move have. */
typedef struct Move
{
	const pg_uuid_t *from_key;
	const pg_uuid_t *to_key;
	const int64 *generation;	/* what the caller says that from_key has */
	KeyState	from_state;
	KeyState	to_state;
	SlotRow		from;
	SlotRow		to;
	int			to_row;			/* key_row for the new key's row */
	TimestampTz now;
} Move;

/*
 * Is what the new key has the result of this move, made before?  If the caller
 * names no generation, only while the former key has nothing.
 */
static bool
is_moved(const Move *move)
{
	return move->to_state == KEY_HOLDS && move->to.moved &&
		memcmp(&move->to.moved_from, move->from_key, UUID_LEN) == 0 &&
		(move->generation != NULL ?
		 *move->generation == move->to.moved_generation :
		 move->from_state != KEY_HOLDS);
}

/* Look both keys up by plain reads, without locks. */
static void
read_both(Store *store, const Pool *pool, Move *move)
{
	Snapshot	snapshot = RegisterSnapshot(latest_snapshot());

	move->to_state = key_read_at(store, pool, move->to_key, snapshot,
								 &move->to) ? KEY_HOLDS : KEY_NONE;
	move->from_state = key_read_at(store, pool, move->from_key, snapshot,
								   &move->from) ? KEY_HOLDS : KEY_NONE;
	UnregisterSnapshot(snapshot);
}

/*
 * Lock both keys and look them up.  Returns false, without locks, after
 * waiting for a transaction that was changing what one of them has.
 */
static bool
hold_keys(Store *store, PoolUse *use, Move *move, const char *function)
{
	SlotRow    *busy;
	int			from_row;

	CHECK_FOR_INTERRUPTS();
	key_enter_both(use, move->from_key, move->to_key);
	store->waits.n = 0;
	move->now = GetCurrentTimestamp();
	move->from_state = key_look(store, use->pool, move->from_key, move->now,
								&move->from, &from_row);
	move->to_state = key_look(store, use->pool, move->to_key, move->now,
							  &move->to, &move->to_row);
	if (move->from_state != KEY_BUSY && move->to_state != KEY_BUSY)
	{
		key_check_snapshot(store, use->pool, move->from_key,
						   move->from_state == KEY_NONE ? NULL : &move->from,
						   move->now);
		key_check_snapshot(store, use->pool, move->to_key,
						   move->to_state == KEY_NONE ? NULL : &move->to,
						   move->now);
		return true;
	}
	key_leave_both(use, move->from_key, move->to_key);
	busy = move->from_state == KEY_BUSY ? &move->from : &move->to;
	key_wait(busy, function);
	return false;
}

/* Raise PT422: the new key has a unit already. */
pg_noreturn static void
raise_new_key_used(const Pool *pool, const Move *move)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "pool", pool->name);
	detail_text(&detail, "key", uuid_text(move->to_key));
	detail_text(&detail, "value",
				unit_text(pool, move->to.lo, move->to.order));
	ereport(ERROR,
			(errcode(ERRCODE_CAS_KEY_REUSED),
			 errmsg("new_key has %s of pool \"%s\"",
					unit_text(pool, move->to.lo, move->to.order),
					pool->name),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("Move to a key that has nothing, or release that unit first.")));
}

/*
 * Give the unit to its new key.  The caller holds the locks of both.  Returns
 * false if another transaction is taking the unit, which has run out.
 */
static bool
change_key(Store *store, PoolUse *use, Move *move, SlotRow *unit)
{
	const Pool *pool = use->pool;

	*unit = move->from;
	unit->key = *move->to_key;
	unit->key_row = move->to_row;
	unit->generation = store_next_generation(store);
	unit->allocated_at = move->now;
	unit->moved = true;
	unit->moved_from = *move->from_key;
	unit->moved_generation = move->from.generation;
	if (!pool->counted &&
		!unit_change(store, pool, &move->from, unit, "moved"))
		return false;
	/* it has run out at a level, where its share is being taken */
	if (!levels_update(use->levels, move->from_key, move->from.generation,
					   unit))
		raise_lost(store, use, &move->from, "alloc_move");
	if (pool->counted)
		store_history(store, pool, &move->from, move->now, "moved");

	/* What the new key had before has run out: it ends now. */
	if (move->to_state == KEY_RAN_OUT && !pool->counted)
		unit_expire(store, pool, &move->to);
	return true;
}

/* Move the key's unit to another key, or find that this has been done. */
static void
move_unit(Store *store, PoolUse *use, Move *move, SlotRow *unit)
{
	const char *function = "alloc_move";
	Levels		levels;
	int			idle = 0;

	/* Where nothing can be written, a repeated move can still be answered. */
	if (XactReadOnly)
	{
		read_both(store, use->pool, move);
		if (!is_moved(move))
			key_require_writing(function);
		*unit = move->to;
		return;
	}
	levels_begin(&levels, store, use);
	for (;;)
	{
		bool		done;

		if (!hold_keys(store, use, move, function))
			continue;
		done = is_moved(move);
		if (done)
			*unit = move->to;
		else
		{
			key_require_writing(function);
			if (move->from_state != KEY_HOLDS)
				raise_no_unit(use, move->from_key);
			unit_check_generation(use->pool, &move->from, move->generation);
			if (move->to_state == KEY_HOLDS)
				raise_new_key_used(use->pool, move);
			done = change_key(store, use, move, unit);
		}
		key_leave_both(use, move->from_key, move->to_key);
		if (done)
			break;
		unit_wait(store, use->pool, &move->from, function, &idle);
	}
	use->levels = NULL;
}

/* alloc_move(pool, key, new_key, generation) RETURNS alloc_unit */
Datum
alloc_move(PG_FUNCTION_ARGS)
{
	PoolUse		use;
	Store		store;
	Move		move = {0};
	int64		generation = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	SlotRow		unit;
	Datum		values[UNIT_COLUMNS];
	bool		nulls[UNIT_COLUMNS];

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	require_argument(fcinfo, 2, "new_key");
	move.from_key = PG_GETARG_UUID_P(1);
	move.to_key = PG_GETARG_UUID_P(2);
	move.generation = PG_ARGISNULL(3) ? NULL : &generation;
	pool_use(&use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	store_open(&store, use.nsp, RowExclusiveLock);
	store_lock_history(&store);
	move_unit(&store, &use, &move, &unit);
	unit_columns(use.pool, &unit, values, nulls);
	store_close(&store);
	PG_RETURN_DATUM(return_row(fcinfo, values, nulls));
}

/* alloc_annotate(pool, key, note, generation) RETURNS void */
Datum
alloc_annotate(PG_FUNCTION_ARGS)
{
	const char *function = "alloc_annotate";
	const pg_uuid_t *key;
	PoolUse		use;
	Store		store;
	int64		generation = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3);
	Datum		note = 0;
	SlotRow		unit;
	SlotRow		from;
	int			idle = 0;
	bool		done = false;
	Levels		levels;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "key");
	key = PG_GETARG_UUID_P(1);
	/* it is stored later, possibly after a wait */
	if (!PG_ARGISNULL(2))
		note = PointerGetDatum(PG_DETOAST_DATUM(PG_GETARG_DATUM(2)));
	pool_use(&use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	store_open(&store, use.nsp, RowExclusiveLock);
	levels_begin(&levels, &store, &use);
	while (!done)
	{
		if (!unit_hold(&store, &use, key, function, &unit))
			raise_no_unit(&use, key);
		unit_check_generation(use.pool, &unit,
							  PG_ARGISNULL(3) ? NULL : &generation);
		from = unit;
		from.run_size = 0;		/* only the first row has the note */
		unit.has_note = !PG_ARGISNULL(2);
		unit.note = note;
		done = use.pool->counted ?
			levels_annotate(&levels, key, unit.generation, &unit) :
			unit_change(&store, use.pool, &from, &unit, NULL);
		key_leave(&use, key);
		if (!done)
			unit_wait(&store, use.pool, &unit, function, &idle);
	}
	store_close(&store);
	PG_RETURN_VOID();
}
