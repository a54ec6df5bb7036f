/*
 * swap.c
 *		Compare and write one row.
 *
 * Everything here is ordinary SQL (statement.c), run with the caller's rights:
 * so privileges, row-level security, constraints, triggers, partitions and
 * the rest do what they do for a statement of the caller's own.  The row's
 * own lock is the lock; nothing else decides who wins.
 */
#include "cas.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* An answer without a row. */
static CasOutcome
no_row(CasCall *call, CasKey *key, CasOutcome outcome, CasRow *row)
{
	row->id = MemoryContextStrdup(call->caller,
								  cas_key_text(call->table, key->values,
											   NULL));
	row->version = 0;
	row->version_isnull = true;
	row->payload = NULL;
	return outcome;
}

/* Whether a row has the expected version. */
static bool
matches(const CasRow *row, int64 expected)
{
	return !row->version_isnull && row->version == expected;
}

/*
 * Lock a row that is to be written whatever its version is, which the write
 * then expects.
 */
static bool
lock_to_write(CasCall *call, CasKey *key, int wants, CasRow *row)
{
	if (!row_lock(call, key, CAS_LOCK_NO_KEY_UPDATE, wants, NULL, row))
		return false;
	if (row->version_isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("row in table \"%s\" has no version",
						RelationGetRelationName(call->rel)),
				 errhint("It was written while the guard was off. Any UPDATE gives it a version."),
				 errtablecol(call->rel, call->table->version)));
	return true;
}

pg_noreturn static void
raise_suppressed(CasCall *call, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a trigger on table \"%s\" suppressed the %s",
					RelationGetRelationName(call->rel), what),
			 errtable(call->rel)));
}

/*
 * Run a statement that writes.  *row is then the row as it is when the call
 * ends: triggers and foreign keys may have written to it, too.  More commands
 * have run then than ours.
 */
static bool
run_write(CasCall *call, const CasStatement *write, CasRow *row)
{
	CommandId	command;
	CasRow		now;
	CasKey		made;
	CasKey	   *key = write->new_key ? write->new_key : write->key;

	CommandCounterIncrement();
	command = GetCurrentCommandId(false);
	if (!statement_run(call, write, row))
		return false;
	if (GetCurrentCommandId(false) <= command + 1)
		return true;
	if (key == NULL)
	{
		key = &made;
		cas_key_from_text(call->table, row->id, key);
	}
	if (statement_read(call, key, InvalidSnapshot, write->wants, &now))
		*row = now;
	return true;
}

/*
 * Write to a row of the expected version: true if it was written.  That
 * nothing was has several reasons, see swap_update().
 */
static bool
write_row(CasCall *call, const CasSwap *swap, int64 version,
		  const CasWrite *write, CasRow *row)
{
	CasStatement update = {
		.kind = STATEMENT_UPDATE,.key = swap->key,.version = version,
		.write = write,.wants = swap->wants
	};

	return !bms_is_empty(write->columns) && run_write(call, &update, row);
}

/*
 * What it comes to that nothing was written to a row that we have locked at
 * the version: the payload is the row's already, or a trigger has suppressed
 * the write.
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
		raise_suppressed(call, "update");
	return CAS_UNCHANGED;
}

/*
 * Lock a row again that we have locked at the version, and look at more of it.
 * It may be not what we locked any more, because a function that computed the
 * payload has written to it, too; going on would lose what that wrote.
 */
static void
lock_again(CasCall *call, const CasSwap *swap, int64 version, CasLook *look,
		   CasRow *row)
{
	if (!row_lock(call, swap->key, CAS_LOCK_NO_KEY_UPDATE, swap->wants,
				  look, row) ||
		!matches(row, version))
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

	payload_read(call, swap->key, payload, false, &write);
	look = payload_look(call, &write);
	if (look != NULL)
	{
		lock_again(call, swap, version, look, row);
		payload_settle(call, &write, look);
	}
	if (write_row(call, swap, version, &write, row))
		return CAS_UPDATED;
	lock_again(call, swap, version, NULL, row);
	return unchanged_or_raise(call, swap->key, version, &write);
}

/* ----------
 * The swaps
 * ----------
 */

/*
 * Replace a row's payload if it has the expected version.
 *
 * This is first tried as one statement, "UPDATE ... WHERE key AND version", as
 * it would be written by hand.  It waits for whoever holds the row, and then
 * the executor compares again with what that one committed.  If it finds
 * nothing to write, that says too little: the row may be missing, hidden, of
 * another version, equal to what was to be written, or deleted and created
 * again while we waited.  So then the row is locked, by a statement of its own
 * with a snapshot of its own, and what that returns is the truth until the end
 * of the transaction.  Where the payload takes a look at the row, we begin
 * there, and so do the server-driven writes, which compare with nothing.
 */
CasOutcome
swap_update(CasCall *call, CasSwap *swap, CasRow *row)
{
	CasMention	sent = cas_document_version(call->table, swap->document);
	bool		contradicts = cas_mentions_another(&sent, swap->expected);
	CasWrite	write;
	CasLook    *look;

	payload_read(call, swap->key, swap->document, false, &write);
	look = payload_look(call, &write);
	if (look == NULL && !contradicts &&
		write_row(call, swap, swap->expected, &write, row))
		return CAS_UPDATED;

	if (!row_lock(call, swap->key, CAS_LOCK_NO_KEY_UPDATE, swap->wants,
				  look, row))
		return no_row(call, swap->key, CAS_MISSING, row);
	if (!matches(row, swap->expected))
		return CAS_CONFLICT;
	if (contradicts)
	{
		swap->expected = sent.version;
		return CAS_CONFLICT;
	}

	/* Equal already, or of this version only since we waited. */
	payload_settle(call, &write, look);
	if (write_row(call, swap, swap->expected, &write, row))
		return CAS_UPDATED;
	return unchanged_or_raise(call, swap->key, swap->expected, &write);
}

/*
 * Whether a merge patch has to see the row.  One that sets columns to values
 * that are no objects says all by itself.
 */
static bool
patch_needs_row(CasCall *call, Jsonb *patch)
{
	return call->table->payload != 0 || !JB_ROOT_IS_OBJECT(patch) ||
		document_holds_objects(patch);
}

/* What a patch makes of a row's payload: all of it, or what it names. */
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

	if (!row_lock(call, swap->key, CAS_LOCK_NO_KEY_UPDATE,
				  swap->wants | CAS_WANTS_PAYLOAD, NULL, row))
		return no_row(call, swap->key, CAS_MISSING, row);
	if (!matches(row, swap->expected))
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
		return no_row(call, swap->key, CAS_MISSING, row);
	return write_locked(call, swap, row->version, needs_row ?
						patched(call, row->payload, swap->document) :
						swap->document,
						row);
}

/* What a function makes of a row's payload, which may be NULL. */
static Jsonb *
applied(CasCall *call, FmgrInfo *fn, Jsonb *payload, Jsonb *args)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		result = (Datum) 0;

	InitFunctionCallInfoData(*fcinfo, fn, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(payload);
	fcinfo->args[0].isnull = payload == NULL;
	fcinfo->args[1].value = JsonbPGetDatum(args);
	fcinfo->args[1].isnull = args == NULL;
	direct_end_call(call);		/* what is open might be in fn's way */
	if (fn->fn_strict && (payload == NULL || args == NULL))
		fcinfo->isnull = true;
	else
		result = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("function %s returned null for the payload",
						format_procedure(fn->fn_oid)),
				 fn->fn_strict ?
				 errhint("It is strict, and was called with a null.") : 0));
	return DatumGetJsonbP(result);
}

/*
 * Replace a row's payload by what fn makes of it, whatever its version.
 */
CasOutcome
swap_apply(CasCall *call, const CasSwap *swap, CasRow *row)
{
	int64		version;
	Jsonb	   *payload;

	if (!lock_to_write(call, swap->key, swap->wants | CAS_WANTS_PAYLOAD, row))
		return no_row(call, swap->key, CAS_MISSING, row);
	version = row->version;
	payload = applied(call, swap->fn, row->payload, swap->document);
	if (call->table->payload == 0 && row->payload != NULL &&
		JB_ROOT_IS_OBJECT(payload))
		payload = document_changes(row->payload, payload);
	return write_locked(call, swap, version, payload, row);
}

/*
 * Create a row, or say what stands in its place.  Without a key, its default
 * is to make one; then a key that is taken is an error.
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
	if (key != NULL)
		absent_key_create(call, key);

	/*
	 * INSERT does not mind a row that the snapshot has and that is gone since;
	 * the snapshot would then have two of one key.
	 */
	if (key != NULL && IsolationUsesXactSnapshot() &&
		row_lock_or_read(call, key, CAS_LOCK_NO_KEY_UPDATE, swap->wants, row))
		return CAS_EXISTS;

	for (int tries = 1;; tries++)
	{
		if (run_write(call, &insert, row))
			return CAS_CREATED;
		if (key != NULL &&
			row_lock_or_read(call, key, CAS_LOCK_NO_KEY_UPDATE, swap->wants,
							 row))
			return CAS_EXISTS;

		/* It is gone again; or policies hide it; or a trigger said no. */
		if (key != NULL && row_has_policies(call))
			return no_row(call, key, CAS_EXISTS, row);
		if (key == NULL || tries >= CAS_MAX_TRIES)
			raise_suppressed(call, "insert");
		CHECK_FOR_INTERRUPTS();
	}
}

/* Whether the caller's policies for DELETE let it come to a row. */
static bool
may_delete(CasCall *call, CasKey *key)
{
	return !row_has_policies(call) || reach_by_delete(call, key);
}

/*
 * Delete a row if it has the expected version.  That takes no right to
 * UPDATE, but to lock a row does; a caller without it gets the answer from
 * the latest committed row, unlocked.
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
		if (statement_run(call, &delete, row))
			return CAS_DELETED;
		if (!row_lock_or_read(call, swap->key, CAS_LOCK_UPDATE, swap->wants,
							  row) ||
			!may_delete(call, swap->key))
			return no_row(call, swap->key, CAS_MISSING, row);
		if (!matches(row, swap->expected))
			return CAS_CONFLICT;

		/* Of this version only since we waited; or a trigger said no. */
		if (tries >= CAS_MAX_TRIES)
			raise_suppressed(call, "deletion");
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Change the key of a row that we have locked; false if the new one is taken
 * by somebody who came in between.
 */
static bool
change_key(CasCall *call, const CasSwap *swap, CasRow *row)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;
	CasStatement rename = {
		.kind = STATEMENT_RENAME,.key = swap->key,.version = swap->expected,
		.new_key = swap->new_key,.wants = swap->wants
	};

	/* not below the subtransaction, with which the connection would end */
	statement_connect(call);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		done = run_write(call, &rename, row);
		if (!done)
			raise_suppressed(call, "renaming");
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;
		const char *constraint;

		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;

		/* in a partition the key's constraint has a name of its own */
		constraint = get_constraint_name(call->table->key_constraint);
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION ||
			(!row_lock_or_read(call, swap->new_key, CAS_LOCK_NO_KEY_UPDATE,
							   swap->wants, row) &&
			 (error->constraint_name == NULL || constraint == NULL ||
			  strcmp(error->constraint_name, constraint) != 0)))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	return done;
}

/*
 * Lock a key that a row is to get; true if it is taken, by *row.
 */
static bool
claim_key(CasCall *call, CasKey *key, int wants, CasRow *row)
{
	if (row_lock_or_read(call, key, CAS_LOCK_NO_KEY_UPDATE, wants, row))
		return true;
	absent_key_create(call, key);
	return row_lock_or_read(call, key, CAS_LOCK_NO_KEY_UPDATE, wants, row);
}

/*
 * Give a row another key, if it has the expected version and the key is free.
 * Its own key is not.  The two are locked in their order, as everywhere.
 */
CasOutcome
swap_rename(CasCall *call, const CasSwap *swap, CasRow *row)
{
	CasKey	   *key = swap->key;
	CasKey	   *new_key = swap->new_key;
	int			wants = swap->wants;
	CasRow		other;
	bool		new_first = cas_key_compare(call, new_key, key) < 0;
	bool		taken = new_first && claim_key(call, new_key, wants, &other);

	if (!row_lock(call, key, CAS_LOCK_UPDATE, wants, NULL, row))
		return no_row(call, key, CAS_MISSING, row);
	if (!matches(row, swap->expected))
		return CAS_CONFLICT;
	if (taken || (!new_first && claim_key(call, new_key, wants, &other)))
	{
		*row = other;
		return CAS_EXISTS;
	}
	if (change_key(call, swap, row))
		return CAS_RENAMED;
	if (row_lock_or_read(call, new_key, CAS_LOCK_NO_KEY_UPDATE, wants, row))
		return CAS_EXISTS;
	return no_row(call, new_key, CAS_EXISTS, row);
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

		/* it was created meanwhile; if we can't see it, give up */
		if (row->version_isnull ||
			(tries >= CAS_MAX_TRIES && row_has_policies(call)))
			return CAS_EXISTS;
		CHECK_FOR_INTERRUPTS();
	}
}
