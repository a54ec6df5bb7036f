/*
 * key.c
 *		A key's lock, and what it has.
 *
 * Under the lock of its key a call looks at the key's row as it is now,
 * others' uncommitted work included.  Nothing but the row says who is first;
 * the lock only sees to it that the look and the insertion are one, and that
 * the index entries of the row are complete: a scan that is not MVCC can miss
 * a row that is being updated, as it visits the old version when that is dead
 * already, and has read the index page before the new version's entry was
 * there.
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

/* A key as text. */
char *
uuid_text(const pg_uuid_t *key)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(key)));
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
 * is now.
 */
void
key_enter(PoolUse *use, const pg_uuid_t *key, LOCKMODE mode)
{
	LOCKTAG		tag;

	(void) pool_lock(use, mode);
	key_locktag(&tag, use->pool, key);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* The same in share mode, if it can be had without waiting. */
bool
key_enter_at_once(PoolUse *use, const pg_uuid_t *key)
{
	LOCKTAG		tag;

	if (!pool_lock_at_once(use))
		return false;
	key_locktag(&tag, use->pool, key);
	if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return true;
	pool_unlock(use);
	return false;
}

void
key_leave(PoolUse *use, const pg_uuid_t *key)
{
	LOCKTAG		tag;

	key_locktag(&tag, use->pool, key);
	LockRelease(&tag, ExclusiveLock, false);
	pool_unlock(use);
}

/* Let what row points to outlive its scan. */
void
row_keep(SlotRow *row)
{
	if (row->has_note)
		row->note = datumCopy(row->note, false, -1);
}

/*
 * How the key stands, as of now; row is set unless it has no unit.  *key_row is
 * set to the least one that no row of the key has.
 */
KeyState
key_look(Store *store, const Pool *pool, const pg_uuid_t *key,
		 TimestampTz now, SlotRow *row, int *key_row)
{
	SlotScan	scan;
	SlotRow		version;
	KeyState	state = KEY_NONE;

	*key_row = 0;
	scan_by_key(&scan, store, pool->id, key, NULL);
	while (state != KEY_BUSY && slot_scan_next(&scan, &version))
	{
		KeyState	its = KEY_HOLDS;

		/* they come by key_row */
		if (version.key_row == *key_row)
			(*key_row)++;
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
	return state;
}

/*
 * Wait for the transaction that is changing the row.  Not on a standby: the
 * primary's transactions cannot be waited for there, and what would follow
 * could not be written.
 */
void
key_wait(const SlotRow *row, const char *function)
{
	PreventCommandDuringRecovery(psprintf("%s()", function));
	if (row->token != 0)
		SpeculativeInsertionWait(row->inserter, row->token);
	else
		wait_for_xid(TransactionIdIsValid(row->inserter) ?
					 row->inserter : row->deleter);
}

pg_noreturn static void
raise_changed_since_snapshot(void)
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
void
key_check_snapshot(Store *store, const Pool *pool, const pg_uuid_t *key,
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
		raise_changed_since_snapshot();
}

/*
 * The same for the block that was asked for.  row is what has been decisive:
 * the row of the other key that has it now, or that is cooling; NULL if the
 * request got it.
 */
void
key_check_block_snapshot(Search *search, const SlotRow *row)
{
	const Request *request = search->request;
	Extent		block = {request->lo, block_last(request->lo, request->order)};
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
 * Has the key a unit, by a plain read?
 */
bool
key_read(Store *store, const Pool *pool, const pg_uuid_t *key, SlotRow *unit)
{
	Snapshot	snapshot = RegisterSnapshot(latest_snapshot());
	TimestampTz now = GetCurrentTimestamp();
	SlotScan	scan;
	bool		found = false;

	scan_by_key(&scan, store, pool->id, key, snapshot);
	while (!found && slot_scan_next(&scan, unit))
		found = !has_run_out(unit, now) &&
			(!IsolationUsesXactSnapshot() ||
			 row_seen_by(&scan, GetTransactionSnapshot()));
	if (found)
		row_keep(unit);
	slot_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return found;
}
