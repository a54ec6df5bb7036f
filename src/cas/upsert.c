/*
 * upsert.c
 *		Recognize the version that the UPDATE of an upsert takes from EXCLUDED.
 *
 * In INSERT ... ON CONFLICT DO UPDATE, EXCLUDED is the row as the guard has left
 * it, with the version that the guard has set.  An UPDATE that sets the version
 * from EXCLUDED therefore does not mention the version that the statement sent.
 * So the guard remembers what each INSERT sends, until the executor goes on to
 * the next row.
 *
 * An UPDATE follows from a conflict of an INSERT if both trigger calls have the
 * same FmgrInfo and the memory of the row has not been reset meanwhile.  The
 * FmgrInfo belongs to one target table of one running statement, so other
 * statements, which functions and triggers may run, and other targets, in
 * data-modifying CTEs, have others.  The executor resets the memory context in
 * which it calls triggers before it goes on to the next row, which MERGE may
 * update.  Neither the number is proof, since other rows have the same, nor the
 * key, since the conflict may be on another unique index.
 *
 * If the SET list reads from a data-modifying CTE that has not run yet, the CTE
 * resets the memory, and the version in EXCLUDED is then refused.
 */
#include "cas.h"

#include "lib/ilist.h"

/* A row that an INSERT was about to write. */
typedef struct Proposed
{
	dlist_node	node;
	MemoryContextCallback callback;
	const FmgrInfo *guard;		/* the trigger call's */
	CasSent		sent;
	int64		written;		/* the version that the guard has set */
	bool		drawn;			/* from a sequence */
} Proposed;

/*
 * The newest is first.  There are few, since each is in the memory of its row.
 */
static dlist_head proposed = DLIST_STATIC_INIT(proposed);

/* Forget a row, when its memory is reset. */
static void
forget(void *arg)
{
	dlist_delete(&((Proposed *) arg)->node);
}

/*
 * Remember what an INSERT has sent, and the version that the guard sets.  The
 * caller's memory context must be the one that the guard was called in.
 */
void
cas_remember_insert(const FmgrInfo *guard, const CasTable *table,
					const CasSent *sent, int64 written)
{
	Proposed   *row;
	bool		draws = table->settings.sequence.length > 0;

	/*
	 * Otherwise the column of EXCLUDED has what was sent, or 1 for NULL, and
	 * clients do not send the version in the document.
	 */
	if (table->settings.writers != CAS_WRITERS_ECHO ||
		(!draws && table->settings.version_path.length == 0))
		return;

	row = palloc(sizeof(Proposed));
	row->guard = guard;
	row->drawn = draws;
	row->sent = *sent;
	row->written = written;
	dlist_push_head(&proposed, &row->node);
	row->callback.func = forget;
	row->callback.arg = row;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &row->callback);
}

/*
 * Replace a version from EXCLUDED by the one that the INSERT has sent.
 *
 * No client can know a number drawn for the INSERT, so it comes from EXCLUDED.
 * Any other number may also be a stale one that the UPDATE mentions itself.  It
 * is replaced only if the INSERT has sent a version, too, so that the row's
 * version is among what the statement has sent.
 */
static void
replace_excluded(const Proposed *row, CasMention *mention,
				 const CasMention *by_insert)
{
	if (mention->mentioned && !mention->isnull && !mention->malformed &&
		mention->version == row->written &&
		(row->drawn || (by_insert->mentioned && !by_insert->isnull)))
		*mention = *by_insert;
}

/*
 * If an UPDATE is that of an upsert, replace the versions that it takes from
 * EXCLUDED by those that the INSERT has sent.
 */
void
cas_replace_excluded(const FmgrInfo *guard, CasSent *sent)
{
	dlist_iter	iter;

	dlist_foreach(iter, &proposed)
	{
		const Proposed *row = dlist_container(Proposed, node, iter.cur);

		if (row->guard == guard)
		{
			replace_excluded(row, &sent->column, &row->sent.column);
			replace_excluded(row, &sent->document, &row->sent.document);
			return;
		}
	}
}
