/*
 * swap.c
 *		Compare and write one row.
 *
 * All reads and writes are ordinary SQL statements (statement.c), run with the
 * caller's rights.  Privileges, row-level security, constraints, triggers and
 * partition routing have the same effects as for a statement that the caller
 * sends.  Concurrent swaps are serialized by the row's own lock only.
 */
#include "swap.h"
#include "write.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* Fill *row with nothing but the id, and return the outcome. */
CasOutcome
swap_no_row(CasCall *call, CasKey *key, CasOutcome outcome, CasRow *row)
{
	row->id = MemoryContextStrdup(call->results,
								  cas_key_text(call->table, key->values,
											   NULL));
	row->version = 0;
	row->version_isnull = true;
	row->payload = NULL;
	return outcome;
}

/*
 * Lock a row that will be written regardless of its version.  Return false if
 * there is none.
 */
static bool
lock_to_write(CasCall *call, CasKey *key, int wants, CasRow *row)
{
	if (!row_lock(call, key, CAS_LOCK_NO_KEY_UPDATE, wants, NULL, row))
		return false;

	/* The write will compare the version, so it must have one. */
	if (row->version_isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("row in table \"%s\" has no version",
						RelationGetRelationName(call->rel)),
				 errhint("The row was written while the guard was disabled. Any UPDATE sets a version."),
				 errtablecol(call->rel, call->table->version)));
	return true;
}

/*
 * Return whether a conflict can be answered without a lock: with the row as
 * last committed, in *row, which has another version than the expected one.
 * That needs no transaction id, and so no commit record.
 */
bool
swap_conflicts_unlocked(CasCall *call, const CasSwap *swap, CasRow *row)
{
	/* only a lock tells whether policies for UPDATE hide the row */
	return swap->unlocked && call_may_lock(call) && !row_has_policies(call) &&
		row_read_latest(call, swap->key, swap->wants, row) &&
		!row_has_version(row, swap->expected);
}

/*
 * Find out what a payload writes to a row, as the table is now: a function that
 * the call has run may have altered it.
 */
static void
read_payload(CasCall *call, CasKey *key, Jsonb *payload, CasWrite *write)
{
	call_check_table(call);
	payload_read(call, key, payload, false, write);
}

/*
 * Update the row if it has the version, and return whether it was written.
 * There are several reasons why it may not be; see swap_update().
 */
static bool
write_row(CasCall *call, const CasSwap *swap, int64 version,
		  const CasWrite *write, CasRow *row)
{
	CasStatement update = {
		.kind = STATEMENT_UPDATE,.key = swap->key,.version = version,
		.write = write,.wants = swap->wants
	};

	return !bms_is_empty(write->columns) && write_run(call, &update, row);
}

/*
 * Decide why nothing was written to a row that we hold locked at the expected
 * version: return CAS_UNCHANGED if the payload is already stored; raise 09000
 * if a trigger suppressed the UPDATE.
 */
static CasOutcome
unchanged_or_raise(CasCall *call, CasKey *key, int64 version,
				   const CasWrite *write)
{
	CasStatement differs = {
		.kind = STATEMENT_DIFFERS,.key = key,.version = version,.write = write
	};
	CasRow		row;

	if (!bms_is_empty(write->columns) &&
		(!write->comparable || statement_run(call, &differs, &row)))
		write_raise_suppressed(call, STATEMENT_UPDATE);
	return CAS_UNCHANGED;
}

/*
 * Lock a row again that we have locked at the version, and read the columns of
 * look, if given.  Raise 27000 if the row has another version now: then the
 * function that computed the payload has written to it, and to continue would
 * overwrite that.
 */
static void
lock_again(CasCall *call, const CasSwap *swap, int64 version, CasLook *look,
		   CasRow *row)
{
	if (!row_lock(call, swap->key, CAS_LOCK_NO_KEY_UPDATE, swap->wants,
				  look, row) ||
		!row_has_version(row, version))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("row in table \"%s\" was changed by the function that computes its payload",
						RelationGetRelationName(call->rel)),
				 errtable(call->rel)));
}

/*
 * Write a payload to a row that we have locked at the version.
 */
static CasOutcome
write_locked(CasCall *call, const CasSwap *swap, int64 version,
			 Jsonb *payload, CasRow *row)
{
	CasWrite	write;
	CasLook    *look;

	/* Some payloads must be compared with the row before they are written. */
	read_payload(call, swap->key, payload, &write);
	look = payload_look(call, &write);
	if (look != NULL)
	{
		lock_again(call, swap, version, look, row);
		payload_settle(call, &write, look);
	}
	if (write_row(call, swap, version, &write, row))
		return CAS_UPDATED;

	/* Fails if the UPDATE found nothing because the version has changed. */
	lock_again(call, swap, version, NULL, row);
	return unchanged_or_raise(call, swap->key, version, &write);
}

/* ----------
 * The swaps
 * ----------
 */

/*
 * Replace a row's payload if it has the expected version.
 */
CasOutcome
swap_update(CasCall *call, CasSwap *swap, CasRow *row)
{
	CasMention	sent = cas_document_version(call->table, swap->document);
	bool		contradicts = cas_mentions_another(&sent, swap->expected);
	CasWrite	write;
	CasLook    *look;

	/*
	 * First try a single UPDATE ... WHERE key AND version.  If another
	 * transaction holds the row, it waits and then compares with the row that
	 * the other one committed.  A payload that must be compared with the row
	 * first begins with the lock instead.
	 */
	read_payload(call, swap->key, swap->document, &write);
	look = payload_look(call, &write);
	if (look == NULL && !contradicts &&
		write_row(call, swap, swap->expected, &write, row))
		return CAS_UPDATED;
	if (swap_conflicts_unlocked(call, swap, row))
		return CAS_CONFLICT;

	/*
	 * Nothing was written.  The row may be missing or hidden, have another
	 * version, be equal to the payload, or have been deleted and created again
	 * while we waited.  Lock it to find out: that statement takes a new
	 * snapshot, and its result stays valid until the end of the transaction.
	 */
	if (!row_lock(call, swap->key, CAS_LOCK_NO_KEY_UPDATE, swap->wants,
				  look, row))
		return swap_no_row(call, swap->key, CAS_MISSING, row);
	if (!row_has_version(row, swap->expected))
		return CAS_CONFLICT;
	if (contradicts)
	{
		swap->expected = sent.version;
		return CAS_CONFLICT;
	}

	/*
	 * The row is equal to the payload, or it got the expected version only
	 * after the UPDATE's snapshot was taken: try again under the lock.
	 */
	payload_settle(call, &write, look);
	if (write_row(call, swap, swap->expected, &write, row))
		return CAS_UPDATED;
	return unchanged_or_raise(call, swap->key, swap->expected, &write);
}

/*
 * Whether applying the patch requires the current row.  A patch that sets
 * columns can be applied without it if none of its values is an object.
 */
static bool
patch_needs_row(CasCall *call, Jsonb *patch)
{
	return call->table->payload != 0 || !JB_ROOT_IS_OBJECT(patch) ||
		document_holds_objects(patch);
}

/*
 * Apply a merge patch to a row's payload.  For a payload of columns, return
 * only the columns that the patch names.
 */
static Jsonb *
patched(CasCall *call, Jsonb *payload, Jsonb *patch)
{
	Jsonb	   *merged;

	if (payload == NULL)
		payload = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													 CStringGetDatum("null")));
	merged = document_merge(payload, patch);
	if (call->table->payload == 0 && JB_ROOT_IS_OBJECT(patch))
		return document_pick(merged, patch);
	return merged;
}

/*
 * Merge a patch into a row's payload, if it has the expected version.
 */
CasOutcome
swap_patch(CasCall *call, const CasSwap *swap, CasRow *row)
{
	CasSwap		update = *swap;

	if (!patch_needs_row(call, swap->document))
		return swap_update(call, &update, row);
	if (swap_conflicts_unlocked(call, swap, row))
		return CAS_CONFLICT;
	if (!row_lock(call, swap->key, CAS_LOCK_NO_KEY_UPDATE,
				  swap->wants | CAS_WANTS_PAYLOAD, NULL, row))
		return swap_no_row(call, swap->key, CAS_MISSING, row);
	if (!row_has_version(row, swap->expected))
		return CAS_CONFLICT;
	return write_locked(call, swap, swap->expected,
						patched(call, row->payload, swap->document), row);
}

/*
 * Merge a patch into a row's payload, whatever its version.
 */
CasOutcome
swap_merge(CasCall *call, const CasSwap *swap, CasRow *row)
{
	bool		needs_row = patch_needs_row(call, swap->document);

	if (!lock_to_write(call, swap->key,
					   swap->wants | (needs_row ? CAS_WANTS_PAYLOAD : 0), row))
		return swap_no_row(call, swap->key, CAS_MISSING, row);
	return write_locked(call, swap, row->version, needs_row ?
						patched(call, row->payload, swap->document) :
						swap->document,
						row);
}

/* Call the function of cas_apply().  The payload and args may be NULL. */
static Jsonb *
applied(CasCall *call, Oid function, Jsonb *payload, Jsonb *args)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo	fn;
	Datum		value = (Datum) 0;
	Jsonb	   *result = NULL;

	/*
	 * The call may have waited for the row since the function was checked:
	 * check it again.  It may have been dropped, or replaced by one in another
	 * language.
	 */
	call_check_apply_function(function);
	fmgr_info(function, &fn);
	InitFunctionCallInfoData(*fcinfo, &fn, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(payload);
	fcinfo->args[0].isnull = payload == NULL;
	fcinfo->args[1].value = JsonbPGetDatum(args);
	fcinfo->args[1].isnull = args == NULL;

	/*
	 * Do not keep the key's index open while fn runs: commands on it, such as
	 * REINDEX, would be refused.
	 */
	direct_end_call(call);

	/*
	 * A function that is not volatile reads with the active snapshot.  Let it
	 * see what was committed during the wait, and earlier operations of a
	 * cas_txn().
	 */
	PushActiveSnapshot(GetTransactionSnapshot());
	if (fn.fn_strict && (payload == NULL || args == NULL))
		fcinfo->isnull = true;
	else
		value = FunctionCallInvoke(fcinfo);
	if (!fcinfo->isnull)
		result = DatumGetJsonbP(value);
	PopActiveSnapshot();
	call_check_table(call);
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("function %s returned null for the payload",
						format_procedure(function)),
				 fn.fn_strict ?
				 errhint("The function is strict and was called with a null.") : 0));
	return result;
}

/*
 * Replace a row's payload by the result of fn, whatever its version.
 */
CasOutcome
swap_apply(CasCall *call, const CasSwap *swap, CasRow *row)
{
	int64		version;
	Jsonb	   *payload;

	if (!lock_to_write(call, swap->key, swap->wants | CAS_WANTS_PAYLOAD, row))
		return swap_no_row(call, swap->key, CAS_MISSING, row);
	version = row->version;
	payload = applied(call, swap->fn, row->payload, swap->document);

	/* Write only the columns that fn has changed. */
	if (call->table->payload == 0 && row->payload != NULL &&
		JB_ROOT_IS_OBJECT(payload))
		payload = document_changes(row->payload, payload);
	return write_locked(call, swap, version, payload, row);
}

/*
 * Create a row, or return the existing row with that key in *row.  Without a
 * key, the key's default is used; then a conflict raises an error.
 */
CasOutcome
swap_create(CasCall *call, const CasSwap *swap, CasRow *row)
{
	CasKey	   *key = swap->key;
	CasWrite	write;
	CasStatement insert = {
		.kind = key ? STATEMENT_INSERT : STATEMENT_INSERT_NEW_KEY,
		.key = key,.write = &write,
		.wants = swap->wants | (key ? 0 : CAS_WANTS_ID)
	};

	payload_read(call, key, swap->document, true, &write);
	if (key != NULL)
		call_check_rules(call, true);

	/*
	 * A caller without the right to create it may be told below that the row
	 * exists, and must not keep the lock.
	 */
	if (key != NULL &&
		(!IsolationUsesXactSnapshot() || call_may_lock_keys(call)))
		absent_key_create(call, key);

	/*
	 * INSERT succeeds if the row was deleted after the snapshot was taken, and
	 * then the snapshot would show two rows with the same key.  Locking the
	 * row raises 40001 in that case.
	 */
	if (key != NULL && IsolationUsesXactSnapshot() &&
		row_lock_or_read(call, key, CAS_LOCK_NO_KEY_UPDATE, swap->wants, row))
		return CAS_EXISTS;

	for (int tries = 1;; tries++)
	{
		if (write_run(call, &insert, row))
			return CAS_CREATED;
		if (key != NULL &&
			row_lock_or_read(call, key, CAS_LOCK_NO_KEY_UPDATE, swap->wants,
							 row))
			return CAS_EXISTS;

		/*
		 * The conflicting row was deleted meanwhile, or policies hide it, or a
		 * trigger has suppressed the INSERT.
		 */
		if (key != NULL && row_has_policies(call))
			return swap_no_row(call, key, CAS_EXISTS, row);
		if (key == NULL || tries >= CAS_MAX_TRIES)
			write_raise_suppressed(call, insert.kind);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Whether the policies for DELETE let the caller delete the row. */
static bool
may_delete(CasCall *call, CasKey *key)
{
	return !row_has_policies(call) || reach_by_delete(call, key);
}

/*
 * Delete a row if it has the expected version.  The caller need not have the
 * UPDATE privilege that locking a row requires; without it, the outcome is
 * decided by the latest committed row, unlocked.
 */
CasOutcome
swap_delete(CasCall *call, const CasSwap *swap, CasRow *row)
{
	CasStatement delete = {
		.kind = STATEMENT_DELETE,.key = swap->key,.version = swap->expected,
		.wants = swap->wants
	};

	for (int tries = 1;; tries++)
	{
		if (write_run(call, &delete, row))
			return CAS_DELETED;
		if (swap_conflicts_unlocked(call, swap, row))
			return CAS_CONFLICT;
		if (!row_lock_or_read(call, swap->key, CAS_LOCK_UPDATE, swap->wants,
							  row) ||
			!may_delete(call, swap->key))
			return swap_no_row(call, swap->key, CAS_MISSING, row);
		if (!row_has_version(row, swap->expected))
			return CAS_CONFLICT;

		/*
		 * The row got the expected version only after the DELETE's snapshot
		 * was taken, or a trigger has suppressed the DELETE.
		 */
		if (tries >= CAS_MAX_TRIES)
			write_raise_suppressed(call, STATEMENT_DELETE);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Create a row or replace its payload, whatever its version.
 */
CasOutcome
swap_put(CasCall *call, CasSwap *swap, CasRow *row)
{
	CasMention	sent = cas_document_version(call->table, swap->document);

	for (int tries = 1;; tries++)
	{
		if (lock_to_write(call, swap->key, swap->wants, row))
		{
			if (cas_mentions_another(&sent, row->version))
			{
				swap->expected = sent.version;
				return CAS_CONFLICT;
			}
			return write_locked(call, swap, row->version, swap->document,
								row);
		}
		if (swap_create(call, swap, row) == CAS_CREATED)
			return CAS_CREATED;

		/* another session has created it; give up if we cannot see it */
		if (row->version_isnull ||
			(tries >= CAS_MAX_TRIES && row_has_policies(call)))
			return CAS_EXISTS;
		CHECK_FOR_INTERRUPTS();
	}
}
