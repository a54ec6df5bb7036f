/*
 * rename.c
 *		Give a row another key.
 */
#include "swap.h"
#include "write.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "utils/lsyscache.h"

/* A change of a key, for in_subtransaction(). */
typedef struct KeyChange
{
	CasCall    *call;
	const CasStatement *rename;
	CasRow	   *row;
} KeyChange;

static bool
run_key_change(void *arg)
{
	KeyChange  *change = arg;

	if (!write_run(change->call, change->rename, change->row))
		write_raise_suppressed(change->call, STATEMENT_RENAME);
	direct_end_call(change->call);
	return true;
}

/* Whether an error is about the table's key, also in a partition. */
static bool
is_of_key(const CasTable *table, const ErrorData *error)
{
	List	   *indexes;
	Oid			index;
	ListCell   *lc;

	/* triggers may write other tables, and raise errors as they like */
	if (error->schema_name == NULL || error->constraint_name == NULL)
		return false;
	index = get_relname_relid(error->constraint_name,
							  get_namespace_oid(error->schema_name, true));
	if (!OidIsValid(index))
		return false;
	indexes = get_rel_relispartition(index) ?
		get_partition_ancestors(index) : NIL;
	indexes = lappend_oid(indexes, index);
	foreach(lc, indexes)
	{
		if (get_index_constraint(lfirst_oid(lc)) == table->key_constraint)
			return true;
	}
	return false;
}

/*
 * Change the key of a row that we have locked.  Return false if another
 * transaction has inserted a row with the new key meanwhile.
 */
static bool
change_key(CasCall *call, const CasSwap *swap, CasRow *row)
{
	CasStatement rename = {
		.kind = STATEMENT_RENAME,.key = swap->key,.version = swap->expected,
		.new_key = swap->new_key,.wants = swap->wants
	};
	KeyChange	change = {call, &rename, row};
	ErrorData  *error;

	/*
	 * Connect to SPI before the subtransaction begins, since its end would
	 * close the connection.  The direct path keeps the key's index open, which
	 * must be closed in the subtransaction that has opened it.
	 */
	statement_connect(call);
	for (int tries = 1;; tries++)
	{
		direct_end_call(call);
		(void) in_subtransaction(run_key_change, &change, &error);
		if (error == NULL)
			return true;
		direct_forget(call);

		/*
		 * Raise the error again unless the new key is taken: either we find
		 * the row that has it, or, if policies may hide that, the error is
		 * about the key.
		 */
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			ReThrowError(error);
		if (row_lock_or_read(call, swap->new_key, CAS_LOCK_NO_KEY_UPDATE,
							 swap->wants, row))
			return false;
		if (!is_of_key(call->table, error))
			ReThrowError(error);
		if (row_has_policies(call))
			return false;

		/* The row was deleted since, or a trigger has taken another key. */
		if (tries >= CAS_MAX_TRIES)
			ReThrowError(error);
		FreeErrorData(error);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Reserve a key for a row that is about to be renamed.  Return true if a row
 * already has it, and return that row in *row.
 */
static bool
claim_key(CasCall *call, CasKey *key, int wants, CasRow *row)
{
	if (row_lock_or_read(call, key, CAS_LOCK_NO_KEY_UPDATE, wants, row))
		return true;

	/* Look again after locking the key, which may have waited. */
	absent_key_create(call, key);
	return row_lock_or_read(call, key, CAS_LOCK_NO_KEY_UPDATE, wants, row);
}

/*
 * Give a row another key, if it has the expected version and no row has that
 * key, not even the row itself.
 */
CasOutcome
swap_rename(CasCall *call, const CasSwap *swap, CasRow *row)
{
	CasKey	   *key = swap->key;
	CasKey	   *new_key = swap->new_key;
	int			wants = swap->wants;
	CasRow		other;
	bool		new_first = cas_key_compare(call, new_key, key) < 0;
	bool		taken;

	if (swap_conflicts_unlocked(call, swap, row))
		return CAS_CONFLICT;
	/* A rename that finds no row to rename shall hold off nobody. */
	if (!call->keys_locked && call_may_lock_keys(call) &&
		row_read_latest(call, key, 0, row) &&
		row_has_version(row, swap->expected))
		absent_create_begin(call);

	/* Lock the two keys in their order, so that renames cannot deadlock. */
	taken = new_first && claim_key(call, new_key, wants, &other);
	if (!row_lock(call, key, CAS_LOCK_UPDATE, wants, NULL, row))
		return swap_no_row(call, key, CAS_MISSING, row);
	if (!row_has_version(row, swap->expected))
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
	return swap_no_row(call, new_key, CAS_EXISTS, row);
}
