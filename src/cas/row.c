/*
 * row.c
 *		Looking at a row, and locking it.
 *
 * Under READ COMMITTED each of our statements has a new snapshot.  A
 * statement that waited for a row's deleter does not see the row that the
 * deleter made again under the same key, so "no row" is believed only when a
 * later look has found none either.  Under REPEATABLE READ and SERIALIZABLE
 * the transaction's snapshot is used, and PostgreSQL raises 40001 for a row
 * that has changed since; for a row that came since, we look with the latest
 * snapshot and raise it ourselves.
 */
#include "cas.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* Whether policies may hide rows from the caller. */
bool
row_has_policies(CasCall *call)
{
	return check_enable_rls(call->table->relid, InvalidOid, true) ==
		RLS_ENABLED;
}

/*
 * A row as the transaction's snapshot has it.
 */
bool
row_read(CasCall *call, CasKey *key, int wants, CasRow *row)
{
	return statement_read(call, key, InvalidSnapshot, wants, row);
}

/*
 * Lock a row, read it, and take a look at more of it if that is given; false
 * if there is none, or policies hide it.  What either answer says is true
 * after all waiting.
 */
bool
row_lock(CasCall *call, CasKey *key, CasLockMode mode, int wants,
		 CasLook *look, CasRow *row)
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

	for (int tries = 1;; tries++)
	{
		if (statement_run(call, &lock, row))
			return true;

		/* Nothing in that snapshot.  Is there something now? */
		if (!statement_read(call, key, GetLatestSnapshot(), wants, row))
			return false;
		if (IsolationUsesXactSnapshot())
		{
			if (!row_read(call, key, wants, row))
				found_raise_outdated(call);
			return false;		/* seen, but hidden from updates */
		}
		if (tries >= CAS_MAX_TRIES && row_has_policies(call))
			return false;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * A row as last committed, for callers who may not lock it.
 */
static bool
read_latest(CasCall *call, CasKey *key, int wants, CasRow *row)
{
	CasRow		former;
	bool		found;

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

static bool
may_update(CasCall *call)
{
	Oid			relid = call->table->relid;

	return pg_class_aclcheck(relid, GetUserId(), ACL_UPDATE) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_UPDATE,
								  ACLMASK_ANY) == ACLCHECK_OK;
}

/*
 * A row as it now stands: under its lock, if the caller may update it.
 */
bool
row_lock_or_read(CasCall *call, CasKey *key, CasLockMode mode, int wants,
				 CasRow *row)
{
	if (may_update(call) && row_lock(call, key, mode, wants, NULL, row))
		return true;
	return read_latest(call, key, wants, row);
}
