/*
 * direct.c
 *		The direct path: run statements without the parser, the planner and the
 *		executor.
 *
 * The results and errors are those of the SQL statements in sql.c;
 * test/t/190_cas_paths.pl runs both paths and compares.  A swap takes 0.82 of
 * the instructions of a hand-written prepared UPDATE this way, 1.18 through
 * SPI.
 */
#include "executor.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "base/entry.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* ----------
 * When the direct path is used
 * ----------
 */

/*
 * Decide whether the call may use the direct path.  rights are the privileges
 * that the caller has on the table.
 */
void
direct_begin_call(CasCall *call, AclMode rights)
{
	/* Modules such as audits use the hook, so leave their calls to SPI. */
	bool		allowed = pg_cas_direct_path &&
		ExecutorCheckPerms_hook == NULL;

	call->user = GetUserId();

	/* Leave privileges on single columns to the executor. */
	call->direct_read = allowed && call->table->direct_read &&
		(rights & ACL_SELECT) != 0;
	call->direct_lock = call->direct_read && (rights & ACL_UPDATE) != 0;
	call->direct_write = call->direct_lock && call->table->direct_write;
	direct_forget(call);
}

/*
 * Return whether SQL would refuse the write.  SPI then runs it, and raises
 * PostgreSQL's own error.
 */
static bool
is_refused(CasTable *table, const CasWrite *write)
{
	int			a = -1;

	while ((a = bms_next_member(write->columns, a)) >= 0)
	{
		Form_pg_attribute att = TupleDescAttr(table->desc, a - 1);

		if ((write->nulls[a - 1] && att->attnotnull) ||
			att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			return true;
	}
	return false;
}

/*
 * Return whether direct_run() can run the statement.  It may still find that it
 * cannot.
 */
bool
direct_serves(const CasCall *call, const CasStatement *statement)
{
	/* a function called by cas_apply() may have changed the current role */
	if (!call->direct_read || GetUserId() != call->user)
		return false;

	switch (statement->kind)
	{
		case STATEMENT_READ:
			return true;
		case STATEMENT_LOCK_SHARE:
		case STATEMENT_LOCK_NO_KEY_UPDATE:
		case STATEMENT_LOCK_UPDATE:
			return call->direct_lock;
		case STATEMENT_UPDATE:
		case STATEMENT_DIFFERS:
			return call_writes_directly(call, statement->write->columns) &&
				statement->write->comparable &&
				!is_refused(call->table, statement->write);
		case STATEMENT_INSERT:
		case STATEMENT_INSERT_NEW_KEY:
		case STATEMENT_DELETE:
		case STATEMENT_RENAME:
			return false;
	}
	return false;				/* not reached */
}

/* ----------
 * Finding and locking
 *
 * For one row found by its primary key, the executor only calls the index and
 * the table access method, as the functions below do; most of its cost is in
 * the setup.
 *
 * Locks and snapshots are used as in the executor.  Under READ COMMITTED each
 * statement takes a snapshot, finds the row in it and compares; if the row was
 * changed since, it waits, locks the newest version and compares again.  Under
 * REPEATABLE READ and SERIALIZABLE it raises 40001 then.  The access methods
 * take SSI's predicate locks.
 * ----------
 */

/* Push the snapshot that SPI would use for the statement. */
static void
push_snapshot(const CasStatement *statement)
{
	/* As SPI with read_only: use the snapshot as it is. */
	if (statement->as_of)
	{
		PushActiveSnapshot(statement->snapshot);
		return;
	}
	CommandCounterIncrement();
	if (statement->snapshot == InvalidSnapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	else
	{
		PushCopiedSnapshot(statement->snapshot);
		UpdateActiveSnapshotCommandId();
	}
}

/* Open the index scan and the slots that the statements of a call share. */
static void
open_state(CasCall *call)
{
	MemoryContext old = MemoryContextSwitchTo(call->caller);
	Relation	index = index_open(call->table->key_index, AccessShareLock);

	call->scan = index_beginscan(call->rel, index, GetActiveSnapshot(), NULL,
								 call->table->nkeys, 0, SO_NONE);
	call->found = table_slot_create(call->rel, NULL);
	call->written = table_slot_create(call->rel, NULL);
	MemoryContextSwitchTo(old);
}

/*
 * Forget what open_state() has opened, if anything, after the end of the
 * subtransaction has closed it.
 */
void
direct_forget(CasCall *call)
{
	call->scan = NULL;
	call->executor.estate = NULL;
}

/*
 * Close what open_state() has opened, if anything; the next statement opens it
 * again.  After an error, the end of the (sub)transaction cleans up instead.
 * Call this in the (sub)transaction that has opened it.
 */
void
direct_end_call(CasCall *call)
{
	Relation	index;

	if (call->scan == NULL)
		return;
	index = call->scan->indexRelation;
	index_endscan(call->scan);
	index_close(index, index_lock_to_release(call->access == CAS_READS ?
											 AccessShareLock :
											 RowExclusiveLock));
	ExecDropSingleTupleTableSlot(call->found);
	ExecDropSingleTupleTableSlot(call->written);
	executor_end(call);
	call->scan = NULL;
}

/* Return whether the row in the slot has the key. */
static bool
has_key(CasTable *table, CasKey *key, TupleTableSlot *slot)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];
		bool		isnull;
		Datum		value = slot_getattr(slot, column->attnum, &isnull);

		if (isnull || !cas_key_column_equal(column, value, key->values[i]))
			return false;
	}
	return true;
}

/*
 * Find the row with the key that the active snapshot sees, and put it into the
 * slot.
 */
static bool
find_row(CasCall *call, CasKey *key, TupleTableSlot *slot)
{
	CasTable   *table = call->table;
	IndexScanDesc scan = call->scan;
	ScanKeyData keys[INDEX_MAX_KEYS];
	MemoryContext old;
	bool		found;

	/*
	 * Try the TID where this call saw the row last.  If the snapshot sees a
	 * row with that key there, it is the row.
	 */
	if (ItemPointerIsValid(&key->tid) &&
		table_tuple_fetch_row_version(call->rel, &key->tid,
									  GetActiveSnapshot(), slot) &&
		has_key(table, key, slot))
		return true;

	/* the index allocates scan state that must outlive this statement */
	old = MemoryContextSwitchTo(call->caller);
	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];

		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber,
							   InvalidOid, column->collation, column->equal,
							   key->values[i]);
	}
	scan->xs_snapshot = GetActiveSnapshot();
	index_rescan(scan, keys, table->nkeys, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);

	/*
	 * An old snapshot may see a deleted row, and the row that this transaction
	 * has inserted with the same key since.
	 */
	if (found && IsolationUsesXactSnapshot() &&
		index_getnext_slot(scan, ForwardScanDirection, call->written))
		found_raise_outdated(call);

	/* do not keep a buffer pinned while waiting for a lock */
	table_index_fetch_reset(scan->xs_heapfetch);
	MemoryContextSwitchTo(old);
	return found;
}

/* Raise 40001 for a row that was deleted after the snapshot was taken. */
pg_noreturn static void
raise_deleted(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent delete")));
}

/*
 * Lock the row in the slot, and put its newest version into the slot.  Return
 * false if the row was deleted or has another key now.
 */
static bool
lock_row(CasCall *call, CasKey *key, LockTupleMode mode, TupleTableSlot *slot)
{
	ItemPointerData tid = slot->tts_tid;
	uint8		flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
	XLogRecPtr	written = XactLastRecEnd;
	TM_FailureData failure;
	TM_Result	result;

	if (!IsolationUsesXactSnapshot())
		flags |= TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
	ExecClearTuple(slot);
	result = table_tuple_lock(call->rel, &tid, GetActiveSnapshot(), slot,
							  GetCurrentCommandId(true), mode, LockWaitBlock,
							  flags, &failure);

	/*
	 * Locking a row writes WAL, but a lock does not survive a crash.  If the
	 * transaction writes nothing else, as a swap that finds a conflict, let
	 * its commit not wait for the disk.
	 */
	XactLastRecEnd = written;
	switch (result)
	{
		case TM_Ok:
			/* if an update chain was followed, the key may have changed */
			return !failure.traversed || has_key(call->table, key, slot);
		case TM_SelfModified:
			return false;
		case TM_Updated:
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
			{
				if (result == TM_Deleted && LOCK_REPORTS_DELETE)
					raise_deleted();
				found_raise_outdated(call);
			}
			if (result == TM_Deleted)
				return false;
			break;
		case TM_Invisible:
		case TM_BeingModified:
		case TM_WouldBlock:
			break;
	}
	elog(ERROR, "unexpected table_tuple_lock status: %u", result);
	return false;				/* not reached */
}

/* ----------
 * Writing
 *
 * The guard does not fire on this path.  Instead, these functions make the
 * request's claim, set the next version, and write it into the document.
 * ----------
 */

static bool
has_version(CasTable *table, TupleTableSlot *slot, int64 version)
{
	bool		isnull;
	Datum		datum = slot_getattr(slot, table->version, &isnull);

	return !isnull && cas_version_value(table, datum) == version;
}

static bool
differs(CasTable *table, TupleTableSlot *slot, const CasWrite *write,
		bool but_ignored)
{
	return image_differs(table, slot, write->values, write->nulls,
						 write->columns, but_ignored);
}

/* Form the new version of a row in the slot new. */
static void
form_row(CasCall *call, TupleTableSlot *old, const CasWrite *write,
		 TupleTableSlot *new)
{
	CasTable   *table = call->table;
	Datum	   *values = new->tts_values;
	bool	   *nulls = new->tts_isnull;
	bool		isnull;
	int64		version;
	int			a = -1;

	/* like the guard, advance the version if a column that counts differs */
	version = cas_version_value(table, slot_getattr(old, table->version,
													&isnull));
	if (differs(table, old, write, true))
		version = cas_next_version(call->rel, table, version);

	slot_getallattrs(old);
	ExecClearTuple(new);
	memcpy(values, old->tts_values, sizeof(Datum) * table->desc->natts);
	memcpy(nulls, old->tts_isnull, sizeof(bool) * table->desc->natts);

	/* like any UPDATE, store NULL for dropped columns */
	for (int i = 0; i < table->desc->natts; i++)
		if (TupleDescAttr(table->desc, i)->attisdropped)
			nulls[i] = true;
	while ((a = bms_next_member(write->columns, a)) >= 0)
	{
		values[a - 1] = write->values[a - 1];
		nulls[a - 1] = write->nulls[a - 1];
	}
	(void) image_set_version(table, old, values, nulls, version);
	ExecStoreVirtualTuple(new);
}

/* Raise 27000 as the executor does: a constraint's function wrote the row. */
pg_noreturn static void
raise_self_modified(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("tuple to be updated was already modified by an operation triggered by the current command"),
			 errhint("Consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows.")));
}

/*
 * Return whether an UPDATE of the row has to check the table's foreign keys
 * although it does not change their columns.  That is so if this transaction
 * has inserted the version: the check of the insertion may be yet to come, and
 * then passes over a version that is no more.  It is also so if the row may
 * violate MATCH FULL, which a constraint that is NOT VALID allows.
 */
static bool
needs_foreign_keys(CasTable *table, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		xmin;
	int			a = -1;

	if (!table->referencing)
		return false;
	while ((a = bms_next_member(table->match_full, a)) >= 0)
		if (slot_attisnull(slot, a))
			return true;
	xmin = slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull);
	return TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
}

/*
 * Update the row in the slot old if it has the expected version and the write
 * changes it.  Return whether it was updated; then new has the new version.
 * Set *declined if only the executor can do it.
 */
static bool
update_row(CasCall *call, const CasStatement *statement, TupleTableSlot *old,
		   TupleTableSlot *new, bool *declined)
{
	const CasWrite *write = statement->write;

	CheckCmdReplicaIdentity(call->rel, CMD_UPDATE);
	request_enter(NULL, ENTRY_JOINS);

	/* A function called by cas_apply() may have made it so. */
	if (call->rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP)
		PreventCommandIfReadOnly("UPDATE");

	for (;;)
	{
		TM_FailureData failure;
		TM_Result	result;
		LockTupleMode mode;
		TU_UpdateIndexes update_indexes;
		CommandId	command;

		if (!has_version(call->table, old, statement->version) ||
			!differs(call->table, old, write, false))
			return false;
		*declined = needs_foreign_keys(call->table, old);
		if (*declined)
			return false;

		/* constraints may call functions that run commands of their own */
		command = GetCurrentCommandId(true);
		form_row(call, old, write, new);
		executor_compute(call, write, new);
		result = table_tuple_update(call->rel, &old->tts_tid, new, command, 0,
									GetActiveSnapshot(), InvalidSnapshot,
									true, &failure, &mode, &update_indexes);
		switch (result)
		{
			case TM_Ok:
				if (update_indexes != TU_None)
					executor_insert_entries(call, write, new, update_indexes);
				return true;
			case TM_Updated:
				if (IsolationUsesXactSnapshot())
					found_raise_outdated(call);

				/*
				 * Lock the newest version; then no other transaction can
				 * change it before the next attempt.
				 */
				if (!lock_row(call, statement->key, LockTupleNoKeyExclusive,
							  old))
					return false;
				break;
			case TM_Deleted:
				if (IsolationUsesXactSnapshot())
					raise_deleted();
				return false;
			case TM_SelfModified:
				raise_self_modified();
			case TM_Invisible:
			case TM_BeingModified:
			case TM_WouldBlock:
				elog(ERROR, "unexpected table_tuple_update status: %u",
					 result);
		}
	}
}

/*
 * Run a statement; see statement_run().  direct_serves() must have returned
 * true for it.  Set *declined if it was not run, and has to be run through SPI.
 */
bool
direct_run(CasCall *call, const CasStatement *statement, CasRow *row,
		   bool *declined)
{
	CasKey	   *key = statement->key;
	TupleTableSlot *slot;
	bool		found;

	*declined = false;
	push_snapshot(statement);
	if (call->scan == NULL)
		open_state(call);
	slot = call->found;
	found = find_row(call, key, slot);
	if (found)
	{
		switch (statement->kind)
		{
			case STATEMENT_READ:
				break;
			case STATEMENT_LOCK_SHARE:
				found = lock_row(call, key, LockTupleShare, slot);
				break;
			case STATEMENT_LOCK_NO_KEY_UPDATE:
				found = lock_row(call, key, LockTupleNoKeyExclusive, slot);
				break;
			case STATEMENT_LOCK_UPDATE:
				found = lock_row(call, key, LockTupleExclusive, slot);
				break;
			case STATEMENT_UPDATE:
				found = update_row(call, statement, slot, call->written,
								   declined);
				if (found)
					slot = call->written;
				break;
			case STATEMENT_DIFFERS:
				found = has_version(call->table, slot, statement->version) &&
					differs(call->table, slot, statement->write, false);
				break;
			case STATEMENT_INSERT:
			case STATEMENT_INSERT_NEW_KEY:
			case STATEMENT_DELETE:
			case STATEMENT_RENAME:
				elog(ERROR, "unexpected kind of statement: %u",
					 statement->kind);
		}
	}

	/* Remember the row's place for the call's next statement. */
	if (!TTS_EMPTY(slot))
		key->tid = slot->tts_tid;
	if (found)
	{
		slot_getallattrs(slot);
		found_take(call, statement, slot->tts_values, slot->tts_isnull,
				   row);
	}

	ExecClearTuple(call->found);
	ExecClearTuple(call->written);
	PopActiveSnapshot();
	if (!statement->as_of)
		CommandCounterIncrement();
	return found;
}
