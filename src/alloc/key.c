/*
 * key.c
 *		A key's lock, and the lookup of what the key has.
 *
 * While a call holds the lock of its key, it looks up the key's row as it is
 * now, including uncommitted changes of other transactions.  What the key has
 * is decided by the row alone.  The lock has two purposes.  It makes the
 * lookup and the following insertion one step.  And it makes sure that the
 * row's index entries are complete: a scan that is not MVCC can miss a row
 * that is just being updated, if it reads the index page before the new
 * version's entry is there, and visits the old version after that is dead.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "alloc/search.h"
#include "alloc/share.h"

/* Our class of advisory locks; pool.c has another one. */
#define KEY_LOCK_CLASS 0xA111

/*
 * Raise 25006 in a read-only transaction or on a standby, and 25000 in a
 * parallel query.
 */
void
key_require_writing(const char *function)
{
	if (XactReadOnly)
		PreventCommandIfReadOnly(psprintf("%s()", function));
	if (IsInParallelMode())
		PreventCommandIfParallelMode(psprintf("%s()", function));
}

/* A key as text, palloc'd. */
char *
uuid_text(const pg_uuid_t *key)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(key)));
}

/*
 * The hash that a key's lock has.  Calls that lock several keys of a pool do
 * so in the order of their hashes, and so cannot deadlock.
 */
uint32
key_hash(const pg_uuid_t *key)
{
	return DatumGetUInt32(hash_any(key->data, UUID_LEN));
}

/*
 * Build the tag of a key's lock, which contains a hash of the key.  Two keys
 * with the same hash wait for each other while a call works, but not for each
 * other's transactions.
 */
static void
key_locktag(LOCKTAG *tag, const Pool *pool, const pg_uuid_t *key)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, pool->id, key_hash(key),
						 KEY_LOCK_CLASS);
}

/*
 * Lock the pool in the given mode, the key exclusively and, if the call needs
 * them, the pools above.  Reads the pool as it is then.  Returns false,
 * without locks, if patience is over before.
 */
bool
key_enter_patiently(PoolUse *use, const pg_uuid_t *key, LOCKMODE mode,
					const Patience *patience)
{
	const Levels *levels = use->levels;
	bool		takes = levels != NULL && levels->takes;
	PoolUse		busy;

	do
	{
		LOCKTAG		tag;

		CHECK_FOR_INTERRUPTS();
		/* a counted pool is the first of its levels */
		if (levels != NULL && use->pool->counted && !levels->looking &&
			levels->level[0].exclusive)
			mode = ExclusiveLock;
		/* the pool's lock comes before the key's in all calls */
		if (!(takes ? pool_lock_to_take(use, mode, patience) :
			  pool_lock_patiently(use, mode, patience)))
			return false;
		key_locktag(&tag, use->pool, key);
		if (!wait_for_lock_patiently(&tag, ExclusiveLock, patience))
		{
			pool_unlock(use);
			return false;
		}
		if (levels == NULL || levels_lock(use->levels, patience, &busy))
			return true;
		LockRelease(&tag, ExclusiveLock, false);
		pool_unlock(use);
	} while (levels_wait(&busy, patience));
	return false;
}

/* The same, waiting if necessary. */
void
key_enter(PoolUse *use, const pg_uuid_t *key, LOCKMODE mode)
{
	static const Patience patience = {0};

	(void) key_enter_patiently(use, key, mode, &patience);
}

/*
 * The same without waiting, with the pool's lock in share mode.  Returns
 * false, without locks, if either lock is not available.
 */
bool
key_enter_at_once(PoolUse *use, const pg_uuid_t *key)
{
	LOCKTAG		tag;

	if (!pool_lock_at_once(use, ShareLock))
		return false;
	key_locktag(&tag, use->pool, key);
	if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
	{
		PoolUse		busy;

		if (use->levels == NULL || levels_lock(use->levels, NULL, &busy))
			return true;
		LockRelease(&tag, ExclusiveLock, false);
	}
	pool_unlock(use);
	return false;
}

/* Release all of these locks. */
void
key_leave(PoolUse *use, const pg_uuid_t *key)
{
	LOCKTAG		tag;

	if (use->levels != NULL)
		levels_unlock(use->levels);
	key_locktag(&tag, use->pool, key);
	LockRelease(&tag, ExclusiveLock, false);
	pool_unlock(use);
}

/* Lock a key, in a pool that is locked, unless that takes waiting. */
bool
key_lock_at_once(const PoolUse *use, const pg_uuid_t *key)
{
	LOCKTAG		tag;

	key_locktag(&tag, use->pool, key);
	return LockAcquire(&tag, ExclusiveLock, false, true) !=
		LOCKACQUIRE_NOT_AVAIL;
}

/* Release this lock. */
void
key_unlock(const PoolUse *use, const pg_uuid_t *key)
{
	LOCKTAG		tag;

	key_locktag(&tag, use->pool, key);
	LockRelease(&tag, ExclusiveLock, false);
}

/*
 * Lock a key for a call that chooses one of several pools for it.  The lock is
 * for such calls only, and whoever has it waits for nothing.
 */
void
key_lock_set(const pg_uuid_t *key)
{
	LOCKTAG		tag;

	/* no pool has the number 0 */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, key_hash(key), KEY_LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Release this lock. */
void
key_unlock_set(const pg_uuid_t *key)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, key_hash(key), KEY_LOCK_CLASS);
	LockRelease(&tag, ExclusiveLock, false);
}

/* Lock the pool in share mode and two keys. */
void
key_enter_both(PoolUse *use, const pg_uuid_t *key, const pg_uuid_t *other)
{
	static const Patience patience = {0};
	PoolUse		busy;

	do
	{
		LOCKTAG		tags[2];
		int			first;

		CHECK_FOR_INTERRUPTS();
		(void) pool_lock(use, ShareLock);
		key_locktag(&tags[0], use->pool, key);
		key_locktag(&tags[1], use->pool, other);
		first = tags[0].locktag_field3 <= tags[1].locktag_field3 ? 0 : 1;
		(void) LockAcquire(&tags[first], ExclusiveLock, false, false);
		(void) LockAcquire(&tags[1 - first], ExclusiveLock, false, false);
		if (use->levels == NULL || levels_lock(use->levels, &patience, &busy))
			return;
		LockRelease(&tags[0], ExclusiveLock, false);
		LockRelease(&tags[1], ExclusiveLock, false);
		pool_unlock(use);
	} while (levels_wait(&busy, &patience));
}

/* Release these locks. */
void
key_leave_both(PoolUse *use, const pg_uuid_t *key, const pg_uuid_t *other)
{
	LOCKTAG		tag;

	key_locktag(&tag, use->pool, other);
	LockRelease(&tag, ExclusiveLock, false);
	key_leave(use, key);
}

/*
 * Look up the key and return its state.  *row is set unless the state is
 * KEY_NONE.  *key_row is set to the smallest key_row that no row of the key
 * has, for a new row.
 */
KeyState
key_look(Store *store, const Pool *pool, const pg_uuid_t *key,
		 TimestampTz now, SlotRow *row, int *key_row)
{
	SlotScan	scan;
	KeyState	state;

	*key_row = 0;
	if (pool->counted)
		return held_look(store, pool, key, now, row);
	scan_by_key(&scan, store, pool->id, key, NULL);
	state = key_look_on(&scan, now, row, key_row);
	slot_scan_end(&scan);
	return state;
}

/* The same with a dirty scan_by_key() that has just begun. */
KeyState
key_look_on(SlotScan *scan, TimestampTz now, SlotRow *row, int *key_row)
{
	SlotRow		version;
	KeyState	state = KEY_NONE;

	*key_row = 0;
	while (state != KEY_BUSY && slot_scan_next(scan, &version))
	{
		KeyState	its = KEY_HOLDS;

		/* the index returns the rows in the order of key_row */
		if (version.key_row == *key_row)
			(*key_row)++;

		/*
		 * A running transaction's new row may become the key's unit or vanish.
		 * A row that has run out is the key's until another key takes it;
		 * while one is taking it, there is no reason to wait, because it has
		 * run out in any case.
		 */
		if (TransactionIdIsValid(version.inserter))
			its = KEY_BUSY;
		else if (has_run_out(&version, now))
			its = TransactionIdIsValid(version.deleter) ?
				KEY_NONE : KEY_RAN_OUT;
		else if (TransactionIdIsValid(version.deleter))
			its = KEY_BUSY;

		/* If several have run out, the one allocated last is the key's. */
		if (its > state || (its == state && its != KEY_NONE &&
							version.generation > row->generation))
		{
			*row = version;
			row_keep(row);
			state = its;
		}
	}
	return state;
}

/*
 * Wait for the transaction that is changing the row.  Its insertion is not
 * speculative any more: that is done under the key's lock.  Raise an error on a
 * standby, where the transactions of the primary cannot be waited for, and
 * where the caller could not write afterwards.
 */
void
key_wait(const SlotRow *row, const char *function)
{
	PreventCommandDuringRecovery(psprintf("%s()", function));
	wait_for_xid(TransactionIdIsValid(row->inserter) ?
				 row->inserter : row->deleter);
}

/* Raise 40001. */
pg_noreturn static void
raise_changed_since_snapshot(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent allocation or release")));
}

/*
 * Raise 40001 if the transaction's snapshot shows another unit for the key
 * than the one it has now, which is in row; NULL if it has none.  If the
 * snapshot shows a unit that has run out since, that is no change, because
 * only the clock has gone on.
 */
void
key_check_snapshot(Store *store, const Pool *pool, const pg_uuid_t *key,
				   const SlotRow *row, TimestampTz now)
{
	Snapshot	snapshot;
	SlotScan	scan;
	SlotRow		version;
	bool		changed = row != NULL;

	/*
	 * Our own transaction may have changed the key, and can serialize with
	 * itself.
	 */
	if (!IsolationUsesXactSnapshot() || (row != NULL && row->own))
		return;
	if (pool->counted)
	{
		if (held_has_changed(store, pool, key, row, now))
			raise_changed_since_snapshot();
		return;
	}

	/*
	 * Visit all versions and pick those that the snapshot shows.  A scan with
	 * the snapshot itself would take predicate locks under SERIALIZABLE.
	 */
	snapshot = GetTransactionSnapshot();
	scan_by_key(&scan, store, pool->id, key, SnapshotAny);
	while (slot_scan_next(&scan, &version))
	{
		if (!row_seen_by(&scan, snapshot))
			continue;
		/* A unit must be there already; without one, there must be none. */
		if (row != NULL)
			changed &= version.generation != row->generation;
		else
			changed |= !has_run_out(&version, now);
	}
	slot_scan_end(&scan);
	if (changed)
		raise_changed_since_snapshot();
}

/*
 * Likewise for the block that the request names.  row is the row that decided
 * the outcome: the one of another key that has the block, or one that is
 * cooling.  It is NULL if the request got the block.
 */
void
key_check_block_snapshot(Search *search, const SlotRow *row)
{
	const Request *request = search->request;
	Extent		block = run_slots(request->lo, request->order, request->n);
	Snapshot	snapshot;
	bool		changed = row != NULL;
	BlockScan	scan;
	SlotRow		version;

	if (!IsolationUsesXactSnapshot() || (row != NULL && row->own))
		return;

	snapshot = GetTransactionSnapshot();
	block_scan_begin(&scan, search->store, search->pool, block, SnapshotAny);
	while (block_scan_next(&scan, &version))
	{
		if (!row_seen_by(&scan.rows, snapshot))
			continue;

		/*
		 * For a success, no key may have had the block in the snapshot.  For a
		 * refusal, the row that is in the way must have been there.
		 */
		if (row == NULL)
			changed |= version.held &&
				version.generation != search->unit.generation &&
				!has_run_out(&version, search->now);
		else if (version.lo == row->lo)
			changed &= row->held ?
				version.generation != row->generation :
				version.held || version.expires_at != row->expires_at;
	}
	block_scan_end(&scan);
	if (changed)
		raise_changed_since_snapshot();
}

/*
 * Return the key's unit by a plain read, without locks, as it is in a latest
 * snapshot.  Returns false if it has none.
 */
bool
key_read_at(Store *store, const Pool *pool, const pg_uuid_t *key,
			Snapshot snapshot, SlotRow *unit)
{
	TimestampTz now = GetCurrentTimestamp();
	SlotScan	scan;
	bool		found = false;

	if (pool->counted)
		return held_read(store, pool, key, snapshot, unit);
	scan_by_key(&scan, store, pool->id, key, snapshot);
	while (!found && slot_scan_next(&scan, unit))

		/*
		 * Under the transaction's snapshot the unit must be visible there,
		 * too.
		 */
		found = !has_run_out(unit, now) &&
			(!IsolationUsesXactSnapshot() ||
			 row_seen_by(&scan, GetTransactionSnapshot()));
	if (found)
		row_keep(unit);
	slot_scan_end(&scan);
	return found;
}

/* The same, as it is now. */
bool
key_read(Store *store, const Pool *pool, const pg_uuid_t *key, SlotRow *unit)
{
	Snapshot	snapshot = RegisterSnapshot(latest_snapshot());
	bool		found = key_read_at(store, pool, key, snapshot, unit);

	UnregisterSnapshot(snapshot);
	return found;
}
