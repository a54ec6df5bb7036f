/*
 * unit.c
 *		A key's unit: allocate, renew, release.
 *
 * A call that writes takes two locks while it works and keeps neither: the
 * pool's, shared (pool.c), and its key's, exclusively.  Under the key's lock
 * it looks at the key's row as it is now, others' uncommitted work included.
 * If a running transaction is just making or removing that row, the call lets
 * go of both locks, waits for that transaction and starts again: so the
 * second of two sessions with one key gets what the first one got, or if that
 * one rolled back, allocates itself.  Nothing but the row says who is first;
 * the lock only sees to it that the look and the insertion are one.
 *
 * A unit that has run out is another matter: everybody may give it to another
 * key, without that lock.  While a transaction that does so is running, the
 * key's old row cannot be taken away and may yet stay, should that one roll
 * back.  It is no reason to wait: what has run out stays so.  The key gets
 * another unit, whose row has another turn, so that unique (pool, key, turn)
 * has room for both.
 *
 * Snapshots.  Under REPEATABLE READ and SERIALIZABLE, the transaction's
 * snapshot must not be older than what decides the answer: the key, and the
 * value if one was asked for.  If what the snapshot shows of them is not what
 * is true now, that is 40001, unless this transaction itself changed it.
 *
 * A key that has its unit already gets its answer without waiting for anybody:
 * under the locks if they can be had at once, else from a plain read, and so
 * where nothing can be written and while the unit's release is not committed.
 * (Not under SERIALIZABLE: the index page that a plain read reads would make
 * it conflict with each allocation whose key happens to be near.)
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#include "alloc/alloc.h"

/* Our class of advisory locks, beside pool.c's. */
#define KEY_LOCK_CLASS 0xA111

typedef enum KeyState
{
	KEY_NONE,					/* has no unit */
	KEY_RAN_OUT,				/* has one that has run out */
	KEY_HOLDS,
	KEY_BUSY					/* a running transaction is changing that */
} KeyState;

/*
 * Raise 22023 if an interval, an argument of that name, leads out of the time
 * that can be told, wherever in our days it begins.
 */
void
check_interval(const Interval *interval, const char *name)
{
	const int	years = 50000;
	const int	years_back = 1000;
	const int64 day = USECS_PER_DAY;

	if (interval->month > years * 12 || interval->month < -years_back * 12 ||
		interval->day > years * 365 || interval->day < -years_back * 365 ||
		interval->time > years * 365 * day ||
		interval->time < -years_back * 365 * day)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is out of range", name),
				 errhint("It is at most %d years.", years)));
}

/* The time an interval after start. */
TimestampTz
time_after(TimestampTz start, Interval *interval)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(start),
												   IntervalPGetDatum(interval)));
}

/*
 * The lock of a key goes by a hash of it.  Two keys that have the same one
 * wait for each other as long as a call works, not for transactions.
 */
static void
key_locktag(LOCKTAG *tag, const Pool *pool, const pg_uuid_t *key)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, pool->id,
						 DatumGetUInt32(hash_any(key->data, UUID_LEN)),
						 KEY_LOCK_CLASS);
}

/*
 * Take the pool's lock, in this mode, and the key's, and have the pool as it
 * is now; id as for pool_open_locked.
 */
static Pool *
enter(Oid nsp, const char *pool_name, int32 id, const pg_uuid_t *key,
	  LOCKMODE mode)
{
	LOCKTAG		tag;
	Pool	   *pool;

	pool = pool_open_locked(nsp, pool_name, id, RIGHT_USE, mode);
	key_locktag(&tag, pool, key);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	return pool;
}

/* The same in share mode, if it can be had without waiting; else NULL. */
static Pool *
enter_at_once(Oid nsp, const char *pool_name, int32 id, const pg_uuid_t *key)
{
	LOCKTAG		tag;
	Pool	   *pool;

	if (!pool_lock_at_once(nsp, id))
		return NULL;
	pool = pool_open(nsp, pool_name, RIGHT_USE);
	key_locktag(&tag, pool, key);
	if (pool->id == id &&
		LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return pool;
	pool_unlock(nsp, id, ShareLock);
	return NULL;
}

static void
leave(Oid nsp, const Pool *pool, const pg_uuid_t *key, LOCKMODE mode)
{
	LOCKTAG		tag;

	key_locktag(&tag, pool, key);
	LockRelease(&tag, ExclusiveLock, false);
	pool_unlock(nsp, pool->id, mode);
}

/* Let what row points to outlive its scan. */
void
row_keep(SlotRow *row)
{
	if (row->has_note)
		row->note = datumCopy(row->note, false, -1);
}

/*
 * How the key stands, as of now; row is set unless it has no unit.  *turn is
 * set to what its next unit is to have: the least one that is free, or that
 * of the one that has run out.
 */
static KeyState
key_look(Store *store, const Pool *pool, const pg_uuid_t *key,
		 TimestampTz now, SlotRow *row, int *turn)
{
	SlotScan	scan;
	SlotRow		version;
	KeyState	state = KEY_NONE;

	*turn = 0;
	scan_by_key(&scan, store, pool->id, key, NULL);
	while (state != KEY_BUSY && slot_scan_next(&scan, &version))
	{
		KeyState	its = KEY_HOLDS;

		/* they come by turn */
		if (version.turn == *turn)
			(*turn)++;
		if (TransactionIdIsValid(version.inserter))
			its = KEY_BUSY;
		else if (has_run_out(&version, now))
			its = TransactionIdIsValid(version.deleter) ?
				KEY_NONE : KEY_RAN_OUT;
		else if (TransactionIdIsValid(version.deleter))
			its = KEY_BUSY;

		/* of several that have run out, the last one is the key's */
		if (its > state || (its == state && its != KEY_NONE &&
							version.generation > row->generation))
		{
			*row = version;
			row_keep(row);
			state = its;
		}
	}
	slot_scan_end(&scan);
	if (state == KEY_RAN_OUT)
		*turn = row->turn;
	return state;
}

/* 25006 where nothing can be written. */
static void
require_writing(const char *function)
{
	if (XactReadOnly)
		PreventCommandIfReadOnly(psprintf("%s()", function));
	if (IsInParallelMode())
		PreventCommandIfParallelMode(psprintf("%s()", function));
}

/*
 * Wait for the transaction that is changing the row.  Not on a standby: the
 * primary's transactions cannot be waited for there, and what would follow
 * could not be written.
 */
static void
wait_for_row(const SlotRow *row, const char *function)
{
	PreventCommandDuringRecovery(psprintf("%s()", function));
	if (row->token != 0)
		SpeculativeInsertionWait(row->inserter, row->token);
	else
		XactLockTableWait(TransactionIdIsValid(row->inserter) ?
						  row->inserter : row->deleter, NULL, NULL, XLTW_None);
}

static void pg_attribute_noreturn()
changed_since_snapshot(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent allocation or release")));
}

/*
 * Raise 40001 if the transaction's snapshot shows another unit for the key
 * than it has now; row is NULL if it has none.  Who has none now may have had
 * one that has run out: that is no change but by the clock.
 */
static void
check_key_snapshot(Store *store, const Pool *pool, const pg_uuid_t *key,
				   const SlotRow *row, TimestampTz now)
{
	Snapshot	snapshot;
	SlotScan	scan;
	SlotRow		version;
	bool		changed = row != NULL;

	if (!IsolationUsesXactSnapshot() || (row != NULL && row->own))
		return;

	snapshot = GetTransactionSnapshot();
	scan_by_key(&scan, store, pool->id, key, SnapshotAny);
	while (slot_scan_next(&scan, &version))
	{
		if (!row_seen_by(&scan, snapshot))
			continue;
		if (row != NULL)
			changed &= version.generation != row->generation;
		else
			changed |= !has_run_out(&version, now);
	}
	slot_scan_end(&scan);
	if (changed)
		changed_since_snapshot();
}

/*
 * The same for the block that was asked for.  row is what has been decisive:
 * the row of the other key that has it now, or that is cooling; NULL if the
 * request got it.
 */
static void
check_block_snapshot(Search *search, const SlotRow *row)
{
	const Request *request = search->request;
	Extent		block = {request->lo, block_last(request->lo, request->order)};
	int			order = request->order;
	Snapshot	snapshot;
	bool		changed = row != NULL;

	if (!IsolationUsesXactSnapshot() || (row != NULL && row->own))
		return;

	if (row != NULL)
		block.first = block.last = row->lo;
	snapshot = GetTransactionSnapshot();
	for (;;)
	{
		SlotScan	scan;
		SlotRow		version;

		scan_by_lo(&scan, search->store, search->pool->id, block,
				   ForwardScanDirection, SnapshotAny);
		while (slot_scan_next(&scan, &version))
		{
			if (!row_seen_by(&scan, snapshot))
				continue;
			if (row != NULL)
				changed &= row->held ?
					version.generation != row->generation :
					version.held || version.expires_at != row->expires_at;
			else
				changed |= version.held &&
					block_last(version.lo, version.order) >= request->lo &&
					version.generation != search->unit.generation &&
					!has_run_out(&version, search->now);
		}
		slot_scan_end(&scan);

		/* in a mixed pool, longer ones may have begun before it */
		if (row != NULL || !search->pool->mixed || ++order > MAX_PREFIX_ORDER)
			break;
		block.first = block.last = request->lo & ~block_last(0, order);
	}
	if (changed)
		changed_since_snapshot();
}

/*
 * Say in the pool's slots what the request asks for.  22023 if it is nothing
 * that the pool could have.
 */
static void
resolve(const Pool *pool, Request *request)
{
	const Space *space = &pool->space;
	const Range *range;
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
	range = space_range_of_value(space, request->value);
	request->inside = false;
	if (range != NULL)
	{
		request->lo = space_slot(space, range, request->value);
		request->inside =
			block_last(request->lo, request->order) <=
			range_slots(range, space->chunk_bits).last &&
			block_open(space, request->lo, request->order);
	}
	else
		request->lo = U128_MAX; /* which no unit has */
}

static bool
same_request(const Request *request, const SlotRow *unit)
{
	return request->order == unit->order &&
		(!request->exact || request->lo == unit->lo);
}

/*
 * Answer from what a plain read shows, if the key has its unit there.
 */
static bool
answer_held(Store *store, const Pool *pool, const Request *request,
			Answer *answer)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SlotScan	scan;
	SlotRow    *unit = &answer->unit;
	TimestampTz now = GetCurrentTimestamp();
	bool		found = false;

	scan_by_key(&scan, store, pool->id, &request->key, snapshot);
	while (!found && slot_scan_next(&scan, unit))
		found = !has_run_out(unit, now) &&
			(!IsolationUsesXactSnapshot() ||
			 row_seen_by(&scan, GetTransactionSnapshot()));
	if (found)
		row_keep(unit);
	slot_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	answer->outcome = same_request(request, unit) ?
		OUTCOME_HELD : OUTCOME_REUSED;
	return found;
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
					  range_slots(&pool->space.ranges[i], pool->space.chunk_bits),
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

/* How often a search is made alone before what it finds is the truth. */
#define MAX_ROUNDS 64

/*
 * Allocate for a key that has nothing, under the locks.  OUTCOME_BUSY: try
 * again, after those in search->waits have been waited for.
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

		if (!request->inside)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the value requested is not one that pool \"%s\" gives out",
							search->pool->name),
					 errhint("It must lie in one of the pool's ranges, and not be reserved.")));
		outcome = search_exact(search, &holder);
		if (outcome == OUTCOME_TAKEN || outcome == OUTCOME_COOLING)
			check_block_snapshot(search, &holder);
		else if (outcome == OUTCOME_ALLOCATED)
			check_block_snapshot(search, NULL);
		return outcome;
	}

	if (request->kind == REQUEST_PREFIX)
		check_size(search->pool, request);
	if (search_free(search))
		return OUTCOME_ALLOCATED;
	if (round == 0)
		search->waits.n = 0;
	if (round == 0 || (search->waits.n > 0 && round < MAX_ROUNDS))
		return OUTCOME_BUSY;
	outcome = search_reason(search);
	return search->waits.n > 0 && round < MAX_ROUNDS ? OUTCOME_BUSY : outcome;
}

/*
 * Allocate what is asked for, or find that the key has it.  *pool is set to
 * the pool, for describing the unit.
 */
void
unit_allocate(Store *store, Oid nsp, const char *pool_name, Request *request,
			  Pool **pool, Answer *answer)
{
	int			round = 0;
	bool		look = !IsolationIsSerializable();
	Pool	   *entered = NULL;

	memset(answer, 0, sizeof(*answer));
	*pool = pool_open(nsp, pool_name, RIGHT_USE);
	resolve(*pool, request);
	if (!XactReadOnly)
		entered = enter_at_once(nsp, pool_name, (*pool)->id, &request->key);
	if (entered == NULL && look)
	{
		if (answer_held(store, *pool, request, answer))
			return;
		look = false;
	}

	for (;;)
	{
		Search		search = {.store = store};
		SlotRow    *unit = &answer->unit;
		KeyState	state;
		LOCKMODE	mode = round > 0 && !request->exact ?
			ExclusiveLock : ShareLock;

		CHECK_FOR_INTERRUPTS();
		*pool = entered != NULL ? entered :
			enter(nsp, pool_name, (*pool)->id, &request->key, mode);
		entered = NULL;
		resolve(*pool, request);
		search.pool = *pool;
		search.request = request;
		search.now = GetCurrentTimestamp();

		state = key_look(store, *pool, &request->key, search.now, unit,
						 &search.turn);
		if (state == KEY_BUSY)
		{
			SlotRow		busy = *unit;

			leave(nsp, *pool, &request->key, mode);
			if (look && answer_held(store, *pool, request, answer))
				return;
			look = false;
			wait_for_row(&busy, request->function);
			continue;
		}
		check_key_snapshot(store, *pool, &request->key,
						   state == KEY_NONE ? NULL : unit, search.now);
		if (state == KEY_HOLDS)
		{
			answer->outcome = same_request(request, unit) ?
				OUTCOME_HELD : OUTCOME_REUSED;
			leave(nsp, *pool, &request->key, mode);
			return;
		}

		require_writing(request->function);

		/* what the key had is free; it may have that again, or give it up */
		if (state == KEY_RAN_OUT)
		{
			Request		again = *request;

			again.exact = true;
			again.lo = unit->lo;
			again.inside = block_open(&(*pool)->space, unit->lo, unit->order);
			if (same_request(request, unit) && again.inside)
			{
				/* if not, someone is just taking it: have another look */
				search.request = &again;
				answer->outcome = search_exact(&search, unit);
				if (answer->outcome != OUTCOME_ALLOCATED)
					answer->outcome = OUTCOME_BUSY;
				search.waits.n = 0;
			}
			else
				answer->outcome =
					unit_end(store, *pool, unit, unit->expires_at,
							 unit->expires_at, "expired") ?
					allocate(&search, round) : OUTCOME_BUSY;
		}
		else
			answer->outcome = allocate(&search, round);

		leave(nsp, *pool, &request->key, mode);
		if (answer->outcome != OUTCOME_BUSY)
		{
			if (answer->outcome == OUTCOME_ALLOCATED)
				*unit = search.unit;
			answer->ready_at = search.ready_at;
			return;
		}
		for (int i = 0; i < search.waits.n; i++)
			XactLockTableWait(search.waits.xids[i], NULL, NULL, XLTW_None);
		round++;
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
	detail_text(&detail, "key",
				DatumGetCString(DirectFunctionCall1(uuid_out,
													UUIDPGetDatum(&unit->key))));
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
hold_unit(Store *store, Oid nsp, const char *pool_name, const pg_uuid_t *key,
		  const char *function, Pool **pool, SlotRow *unit)
{
	/* who may not use the pool does not get to queue for its lock */
	*pool = pool_open(nsp, pool_name, RIGHT_USE);

	for (;;)
	{
		TimestampTz now;
		KeyState	state;
		int			turn;

		CHECK_FOR_INTERRUPTS();
		*pool = enter(nsp, pool_name, (*pool)->id, key, ShareLock);
		now = GetCurrentTimestamp();
		state = key_look(store, *pool, key, now, unit, &turn);
		if (state != KEY_BUSY)
		{
			check_key_snapshot(store, *pool, key,
							   state == KEY_NONE ? NULL : unit, now);
			require_writing(function);
			if (state == KEY_HOLDS)
				return true;
		}
		leave(nsp, *pool, key, ShareLock);
		if (state != KEY_BUSY)
			return false;
		wait_for_row(unit, function);
	}
}

/* Release the key's unit.  False if it has none. */
bool
unit_release(Store *store, Oid nsp, const char *pool_name,
			 const pg_uuid_t *key, const int64 *generation)
{
	Pool	   *pool;
	SlotRow		unit;

	for (;;)
	{
		TimestampTz now;
		bool		ended;

		if (!hold_unit(store, nsp, pool_name, key, "alloc_release", &pool,
					   &unit))
			return false;
		check_generation(pool, &unit, generation);
		now = GetCurrentTimestamp();
		ended = unit_end(store, pool, &unit, now,
						 pool->has_cooldown ?
						 time_after(now, &pool->cooldown) : now,
						 "released");
		leave(nsp, pool, key, ShareLock);
		if (ended)
			return true;
	}
}

/* Let the key's unit run out ttl from now, or never.  PT404 if it has none. */
void
unit_renew(Store *store, Oid nsp, const char *pool_name, const pg_uuid_t *key,
		   Interval *ttl, const int64 *generation, SlotRow *unit)
{
	Pool	   *pool;

	for (;;)
	{
		TM_Result	result;

		if (!hold_unit(store, nsp, pool_name, key, "alloc_renew", &pool,
					   unit))
		{
			StringInfoData detail;

			detail_begin(&detail);
			detail_text(&detail, "pool", pool_name);
			detail_text(&detail, "key",
						DatumGetCString(DirectFunctionCall1(uuid_out,
															UUIDPGetDatum(key))));
			ereport(ERROR,
					(errcode(ERRCODE_CAS_NOT_FOUND),
					 errmsg("the key has no unit in pool \"%s\"", pool_name),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("It was released, or has run out; allocate again.")));
		}
		check_generation(pool, unit, generation);
		unit->expires = ttl != NULL;
		if (unit->expires)
			unit->expires_at = time_after(GetCurrentTimestamp(), ttl);
		result = store_update(store, pool, unit, false, false);
		leave(nsp, pool, key, ShareLock);
		if (result == TM_Ok)
			return;
	}
}
