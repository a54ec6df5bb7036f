/*
 * direct.c
 *		The direct path: the statements of sql.c that swaps of plain tables
 *		are made of, without parser, planner and executor.
 *
 * Both paths serve the same kinds, with the same answers and errors;
 * test/t/190_cas_paths.pl drives both and compares.  A swap takes 0.81 of the
 * instructions of a hand-written prepared UPDATE this way, 1.16 through SPI.
 */
#include "cas.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "base/entry.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* ----------
 * Who may go this way
 * ----------
 */

/*
 * Note in a call whether its statements may go this way.  Rights on single
 * columns are left to the executor, and so is everything where somebody has
 * hooked into its checks, as an audit does.
 */
void
direct_begin_call(CasCall *call, AclMode rights)
{
	bool		plain = pg_cas_direct_path && call->table->plain &&
		ExecutorCheckPerms_hook == NULL;

	call->user = GetUserId();

	/* an oid is enough to name the table to us, but SQL needs its schema */
	if (plain && object_aclcheck(NamespaceRelationId,
								 RelationGetNamespace(call->rel), call->user,
								 ACL_USAGE) != ACLCHECK_OK)
		plain = false;
	call->direct_read = plain && (rights & ACL_SELECT) != 0;
	call->direct_write = call->direct_read && (rights & ACL_UPDATE) != 0;
	call->scan = NULL;
}

/* Whether SQL refuses a write, which it does in its own words. */
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

/* Whether a statement of this kind may go this way. */
bool
direct_serves(const CasCall *call, const CasStatement *statement)
{
	/* a function of the user's may have changed who we are */
	if (!call->direct_read || GetUserId() != call->user)
		return false;

	switch (statement->kind)
	{
		case STATEMENT_READ:
			return true;
		case STATEMENT_LOCK_SHARE:
		case STATEMENT_LOCK_NO_KEY_UPDATE:
		case STATEMENT_LOCK_UPDATE:
			return call->direct_write;
		case STATEMENT_UPDATE:
		case STATEMENT_DIFFERS:
			return call->direct_write && statement->write->comparable &&
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
 * To find, lock or update one row by its primary key, the executor does little
 * else than to call the index and the table's access method, as is done here;
 * the rest of what it costs is the setting up.
 *
 * Locks and snapshots are the executor's: under READ COMMITTED a statement has
 * a snapshot of its own, in which it finds the row and compares; if the row
 * was changed since, it waits, locks the newest version and compares again.
 * Under REPEATABLE READ and SERIALIZABLE that is 40001.  The access methods
 * take SSI's predicate locks themselves.
 * ----------
 */

/* The snapshot that SPI would give the statement. */
static void
push_snapshot(const CasStatement *statement)
{
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

/* Make what the statements of a call share. */
static void
open_state(CasCall *call)
{
	MemoryContext old = MemoryContextSwitchTo(call->caller);
	Relation	index = index_open(call->table->key_index, AccessShareLock);

	call->scan = index_beginscan(call->rel, index, GetActiveSnapshot(), NULL,
								 call->table->nkeys, 0);
	call->found = table_slot_create(call->rel, NULL);
	call->written = table_slot_create(call->rel, NULL);
	MemoryContextSwitchTo(old);
}

/*
 * Release it; it is made anew if need be.  After an error, the end of the
 * (sub)transaction does so.
 */
void
direct_end_call(CasCall *call)
{
	Relation	index;

	if (call->scan == NULL)
		return;
	index = call->scan->indexRelation;
	index_endscan(call->scan);
	index_close(index, NoLock);
	ExecDropSingleTupleTableSlot(call->found);
	ExecDropSingleTupleTableSlot(call->written);
	call->scan = NULL;
}

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
 * Find the key's row in the active snapshot.  Where it was found last is a
 * good place to begin: a row that the snapshot sees there, with that key, is
 * the one.
 */
static bool
find_row(CasCall *call, CasKey *key, TupleTableSlot *slot)
{
	CasTable   *table = call->table;
	IndexScanDesc scan = call->scan;
	ScanKeyData keys[INDEX_MAX_KEYS];
	MemoryContext old;
	bool		found;

	if (ItemPointerIsValid(&key->tid) &&
		table_tuple_fetch_row_version(call->rel, &key->tid,
									  GetActiveSnapshot(), slot) &&
		has_key(table, key, slot))
		return true;

	/* what the index keeps for its next scan must outlive this statement */
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

	/* a snapshot can have a row that is gone and the one in its place */
	if (found && IsolationUsesXactSnapshot() &&
		index_getnext_slot(scan, ForwardScanDirection, call->written))
		found_raise_outdated(call);

	/* nothing stays pinned while we wait or longer */
	table_index_fetch_reset(scan->xs_heapfetch);
	MemoryContextSwitchTo(old);
	return found;
}

/*
 * Lock the row that is in the slot, and have its newest version there.  False
 * if it is gone, or has another key by now.
 *
 * A row's lock is written to WAL, but no lock outlives a crash.  So it is no
 * reason for the commit to wait for the disk, if the transaction has no other:
 * a swap that has found a conflict has none.
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
	XactLastRecEnd = written;
	switch (result)
	{
		case TM_Ok:
			return !failure.traversed || has_key(call->table, key, slot);
		case TM_SelfModified:
			return false;
		case TM_Updated:
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				found_raise_outdated(call);
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
 * The guard does not fire.  What it would do for one of our own UPDATEs is
 * done here: the claim of the request, the next version, and the version
 * inside the document.
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

/* Put the row that an update makes of the old one into the slot new. */
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

	version = cas_version_value(table, slot_getattr(old, table->version,
													&isnull));
	if (differs(table, old, write, true))
		version = cas_next_version(call->rel, table, version);

	slot_getallattrs(old);
	ExecClearTuple(new);
	memcpy(values, old->tts_values, sizeof(Datum) * table->desc->natts);
	memcpy(nulls, old->tts_isnull, sizeof(bool) * table->desc->natts);

	/* an UPDATE is what a dropped column's values go by */
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

/* Add a row's new version to the indexes. */
static void
insert_index_entries(CasCall *call, const CasWrite *write,
					 TupleTableSlot *slot, TU_UpdateIndexes update)
{
	EState	   *estate = CreateExecutorState();
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	ResultRelInfo *result = makeNode(ResultRelInfo);
	Bitmapset  *updated = NULL;
	int			a = -1;

	/* which columns an UPDATE sets is a hint to the indexes */
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(call->rel);
	rte->relkind = call->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	while ((a = bms_next_member(write->columns, a)) >= 0)
		updated = bms_add_member(updated,
								 a - FirstLowInvalidHeapAttributeNumber);
	init_single_range_table(estate, rte, updated);

	InitResultRelInfo(result, call->rel, 1, NULL, 0);
	ExecOpenIndices(result, false);
	MemoryContextSwitchTo(old);
	ExecInsertIndexTuples(result, slot, estate, true, false, NULL, NIL,
						  only_summarizing(update));
	ExecCloseIndices(result);
	FreeExecutorState(estate);
}

/*
 * Update the row in the slot, if it has the version and the write changes it;
 * then *slot is its new version.
 */
static bool
update_row(CasCall *call, const CasStatement *statement, TupleTableSlot *old,
		   TupleTableSlot *new)
{
	const CasWrite *write = statement->write;

	CheckCmdReplicaIdentity(call->rel, CMD_UPDATE);
	request_enter(NULL, ENTRY_JOINS);

	for (;;)
	{
		TM_FailureData failure;
		TM_Result	result;
		LockTupleMode mode;
		TU_UpdateIndexes update_indexes;

		if (!has_version(call->table, old, statement->version) ||
			!differs(call->table, old, write, false))
			return false;
		form_row(call, old, write, new);
		result = table_tuple_update(call->rel, &old->tts_tid, new,
									GetCurrentCommandId(true),
									GetActiveSnapshot(), InvalidSnapshot,
									true, &failure, &mode, &update_indexes);
		switch (result)
		{
			case TM_Ok:
				if (update_indexes != TU_None)
					insert_index_entries(call, write, new, update_indexes);
				return true;
			case TM_Updated:
				if (IsolationUsesXactSnapshot())
					found_raise_outdated(call);

				/* under its lock, nobody can be faster another time */
				if (!lock_row(call, statement->key, LockTupleNoKeyExclusive,
							  old))
					return false;
				break;
			case TM_Deleted:
				if (IsolationUsesXactSnapshot())
					ereport(ERROR,
							(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
							 errmsg("could not serialize access due to concurrent delete")));
				return false;
			case TM_Invisible:
			case TM_SelfModified:
			case TM_BeingModified:
			case TM_WouldBlock:
				elog(ERROR, "unexpected table_tuple_update status: %u",
					 result);
		}
	}
}

/*
 * Do what a statement of this kind would do, with its arguments; see
 * statement_run().  direct_serves() has said yes.
 */
bool
direct_run(CasCall *call, const CasStatement *statement, CasRow *row)
{
	CasKey	   *key = statement->key;
	TupleTableSlot *slot;
	bool		found;

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
				found = update_row(call, statement, slot, call->written);
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
