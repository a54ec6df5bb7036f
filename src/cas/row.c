/*
 * row.c
 *		Read a row, and lock it.
 *
 * Under READ COMMITTED each of our statements takes a new snapshot.  If a
 * statement waits for a transaction that deletes the row and inserts it again,
 * it does not find the new row; so "no row" must be confirmed by a later read.
 * Under REPEATABLE READ and SERIALIZABLE the transaction's snapshot is used,
 * and PostgreSQL raises 40001 for a row that has changed since.  For a row
 * inserted since, we read with the latest snapshot and raise 40001 ourselves.
 */
#include "cas.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* Return whether row-level security may hide rows from the caller. */
bool
row_has_policies(CasCall *call)
{
	return check_enable_rls(call->table->relid, InvalidOid, true) ==
		RLS_ENABLED;
}

/*
 * Read a row with the transaction's snapshot.
 */
bool
row_read(CasCall *call, CasKey *key, int wants, CasRow *row)
{
	return statement_read(call, key, InvalidSnapshot, wants, row);
}

/*
 * As row_lock().  If it returns false, *hidden tells whether there is such a
 * row, which policies for UPDATE hide but those for SELECT show.  It has been
 * read then.
 */
static bool
lock_unless_hidden(CasCall *call, CasKey *key, CasLockMode mode, int wants,
				   CasLook *look, CasRow *row, bool *hidden)
{
	CasStatement lock = {.key = key,.wants = wants,.look = look};

	switch (mode)
	{
		case CAS_LOCK_SHARE:
			lock.kind = STATEMENT_LOCK_SHARE;
			break;
		case CAS_LOCK_NO_KEY_UPDATE:
			lock.kind = STATEMENT_LOCK_NO_KEY_UPDATE;
			break;
		case CAS_LOCK_UPDATE:
			lock.kind = STATEMENT_LOCK_UPDATE;
			break;
	}

	*hidden = false;
	for (int tries = 1;; tries++)
	{
		if (statement_run(call, &lock, row))
			return true;

		/*
		 * Policies for UPDATE may hide a row that the transaction's snapshot
		 * shows.  Raise 40001 if it has been inserted, changed or deleted since.
		 */
		if (IsolationUsesXactSnapshot() && row_has_policies(call))
		{
			*hidden = row_read_latest(call, key, wants, row);
			return false;
		}

		/* The row may have been inserted since that snapshot. */
		if (!statement_read(call, key, GetLatestSnapshot(), wants, row))
			return false;
		if (IsolationUsesXactSnapshot())
			found_raise_outdated(call);

		/*
		 * Try to lock that row with a new snapshot.  If this fails again and
		 * again, policies for UPDATE hide it.
		 */
		if (tries >= CAS_MAX_TRIES && row_has_policies(call))
		{
			*hidden = true;
			return false;
		}
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Lock a row and read it, also the columns of look, if given.  Return false if
 * there is no such row or policies hide it.  The result is that after all
 * waits.
 */
bool
row_lock(CasCall *call, CasKey *key, CasLockMode mode, int wants,
		 CasLook *look, CasRow *row)
{
	bool		hidden;

	return lock_unless_hidden(call, key, mode, wants, look, row, &hidden);
}

/*
 * Read the latest committed row, for callers who may not or need not lock it.
 */
bool
row_read_latest(CasCall *call, CasKey *key, int wants, CasRow *row)
{
	CasRow		former;
	bool		found;

	/* As with a lock, raise 40001 if the row changed after the snapshot. */
	if (IsolationUsesXactSnapshot())
	{
		bool		formerly = row_read(call, key, 0, &former);

		found = statement_read(call, key, GetLatestSnapshot(), wants, row);
		if (found != formerly || (found && row->version != former.version))
			found_raise_outdated(call);
		return found;
	}
	return statement_read(call, key, GetLatestSnapshot(), wants, row);
}

/*
 * Read the latest version of a row.  Lock it if the caller may UPDATE the
 * table, unless policies for UPDATE hide it.
 */
bool
row_lock_or_read(CasCall *call, CasKey *key, CasLockMode mode, int wants,
				 CasRow *row)
{
	bool		hidden;

	if (!call_may_lock(call))
		return row_read_latest(call, key, wants, row);
	return lock_unless_hidden(call, key, mode, wants, NULL, row, &hidden) ||
		hidden;
}
