/*
 * write.c
 *		Run a statement that writes a row, and find out what triggers have made
 *		of it.
 */
#include "write.h"

#include "access/xact.h"
#include "utils/snapmgr.h"

/* Raise 09000 for a statement of that kind. */
void
write_raise_suppressed(CasCall *call, CasStatementKind kind)
{
	const char *table = RelationGetRelationName(call->rel);
	const char *what = kind == STATEMENT_UPDATE ? "update" :
		kind == STATEMENT_DELETE ? "deletion" :
		kind == STATEMENT_RENAME ? "renaming" :
		kind == STATEMENT_INSERT_NEW_KEY ? "insert" :
		"insert, or changed the key to one that is taken";

	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a trigger on table \"%s\" suppressed the %s", table, what),
			 errtable(call->rel)));
}

/* Return whether a statement could write the row, as it was found. */
static bool
could_write(const CasStatement *write, bool found, const CasRow *row)
{
	if (write->kind == STATEMENT_INSERT)
		return !found;
	return found && row_has_version(row, write->version);
}

/*
 * A statement has written nothing, and began at the command.  Raise 09000 if a
 * trigger, or another function that the statement has run, is the reason: it
 * has written the row itself, so that the row now looks like a conflict,
 * missing, or existing.  That must not become an answer that says that nothing
 * was written.
 */
static void
check_suppressed(CasCall *call, const CasStatement *write, CommandId command)
{
	Snapshot	snapshot;
	CasRow		row;
	bool		could;
	bool		can;

	/* only commands other than ours can have written it */
	if (write->key == NULL || GetCurrentCommandId(false) <= command + 1)
		return;

	/* with one snapshot, so that other transactions make no difference */
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	could = could_write(write,
						statement_read_as_of(call, write->key, snapshot,
											 command, 0, &row),
						&row);
	can = could_write(write,
					  statement_read(call, write->key, snapshot, 0, &row),
					  &row);
	UnregisterSnapshot(snapshot);
	if (could && !can)
		write_raise_suppressed(call, write->kind);
}

/*
 * Run a statement that writes.  Return whether it has written, and set *row to
 * the row as it is at the end of the call, or as it was deleted.
 */
bool
write_run(CasCall *call, const CasStatement *statement, CasRow *row)
{
	CasStatement write = *statement;
	CommandId	command;
	CasRow		now;
	CasKey		made;
	CasKey	   *key = write.new_key ? write.new_key : write.key;

	/* a trigger may give the row another key than the one that was sent */
	if (!call->table->direct_write)
		write.wants |= CAS_WANTS_ID;
	CommandCounterIncrement();
	command = GetCurrentCommandId(false);
	if (!statement_run(call, &write, row))
	{
		check_suppressed(call, &write, command);
		return false;
	}

	/*
	 * If more commands than ours have run, triggers or foreign keys may have
	 * written to the row after RETURNING was computed: read it again.
	 */
	if (write.kind == STATEMENT_DELETE ||
		GetCurrentCommandId(false) <= command + 1)
		return true;
	if (row->id != NULL)
	{
		key = &made;
		cas_key_from_text(call->table, row->id, key);
	}
	if (statement_read(call, key, InvalidSnapshot, statement->wants, &now))
		*row = now;
	return true;
}
