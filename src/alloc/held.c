/*
 * held.c
 *		What a key has of a counted pool.
 *
 * The key has one share or several, of which the first has the total.  A
 * SlotRow stands for all of them; its lo is the total.  The functions do for
 * counted pools what those of key.c, which call them, do for others.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#include "alloc/share.h"

/* What a share says of its key's unit. */
static void
slot_of_share(const ShareRow *row, SlotRow *unit)
{
	memset(unit, 0, sizeof(*unit));
	unit->lo = (u128) row->total;
	unit->held = true;
	unit->key = row->key;
	unit->generation = row->generation;
	unit->allocated_at = row->allocated_at;
	unit->expires = row->expires;
	unit->expires_at = row->expires_at;
	/* chunks of a note that is being rolled back may be gone */
	unit->has_note = row->has_note && !TransactionIdIsValid(row->inserter);
	if (unit->has_note)
		unit->note = datumCopy(row->note, false, -1);
	unit->moved = row->moved;
	unit->moved_from = row->moved_from;
	unit->moved_generation = row->moved_generation;
	unit->tid = row->tid;
	unit->own = row->own;
	unit->inserter = row->inserter;
	unit->deleter = row->deleter;
}

/* As key_look(). */
KeyState
held_look(Store *store, const Pool *pool, const pg_uuid_t *key,
		  TimestampTz now, SlotRow *unit)
{
	KeyState	state = KEY_NONE;
	RowScan		scan;
	ShareRow	row;

	share_scan_by_key(&scan, store, pool->id, pool->id, key, NULL);
	while (state != KEY_BUSY && share_scan_next(&scan, &row))
	{
		bool		run_out = row.expires && row.expires_at <= now;
		KeyState	its = KEY_HOLDS;

		if (TransactionIdIsValid(row.inserter))
			its = KEY_BUSY;
		else if (run_out)
			its = TransactionIdIsValid(row.deleter) ? KEY_NONE : KEY_RAN_OUT;
		else if (TransactionIdIsValid(row.deleter))
			its = KEY_BUSY;

		/* the unit allocated last, and of its rows the first */
		if (its > state || (its == state && its != KEY_NONE &&
							(row.generation > unit->generation ||
							 (row.generation == unit->generation &&
							  row.total > 0))))
		{
			slot_of_share(&row, unit);
			state = its;
		}
	}
	rows_end(&scan);
	return state;
}

/* As key_read(), with a snapshot. */
bool
held_read(Store *store, const Pool *pool, const pg_uuid_t *key,
		  Snapshot snapshot, SlotRow *unit)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		found = false;
	RowScan		scan;
	ShareRow	row;

	share_scan_by_key(&scan, store, pool->id, pool->id, key, snapshot);
	while (!found && share_scan_next(&scan, &row))
		found = row.total > 0 && (!row.expires || row.expires_at > now) &&
			(!IsolationUsesXactSnapshot() ||
			 rows_seen_by(&scan, GetTransactionSnapshot()));
	if (found)
		slot_of_share(&row, unit);
	rows_end(&scan);
	return found;
}

/*
 * Does the transaction's snapshot show something else for the key than what it
 * has now, which is in unit; NULL if it has nothing?
 */
bool
held_has_changed(Store *store, const Pool *pool, const pg_uuid_t *key,
				 const SlotRow *unit, TimestampTz now)
{
	Snapshot	snapshot = GetTransactionSnapshot();
	bool		changed = unit != NULL;
	RowScan		scan;
	ShareRow	row;

	share_scan_by_key(&scan, store, pool->id, pool->id, key, SnapshotAny);
	while (share_scan_next(&scan, &row))
	{
		if (!rows_seen_by(&scan, snapshot))
			continue;
		if (unit != NULL)
			changed &= row.generation != unit->generation;
		else
			changed |= !row.expires || row.expires_at > now;
	}
	rows_end(&scan);
	return changed;
}
