/*
 * claim.c
 *		Claims: which request a transaction works for.
 *
 * A request that is cancelled between BEGIN and COMMIT leaves its connection
 * inside the transaction, and a pool may hand that connection to the next
 * request.  The writes of that request go into the open transaction, are
 * acknowledged, and are lost when it is rolled back.  The protocol does not
 * tell the server which request sent a statement, so requests identify
 * themselves: the first claim in a transaction binds it to a token, and a
 * claim with another token is a leak.
 *
 * request_claim() makes a claim.  While pg_cas.request is set, so does every
 * function of pg_cas and every write to a guarded table.
 */
#include "request/request.h"

#include "access/xact.h"
#include "executor/execdesc.h"
#include "mb/pg_wchar.h"
#include "tcop/pquery.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/*
 * request_enter() runs for every row written to a guarded table, so it must
 * not compare strings.  Each change of a setting increments entry_generation.
 * A check sets entry_settled to it, and the end of a transaction resets
 * entry_settled to 0, so that the next call checks again.
 */
uint64		entry_generation = 1;
uint64		entry_settled = 0;

/*
 * The token that the transaction was claimed for, and the one of a claim that
 * was a leak, in TopTransactionContext.  A rollback to a savepoint does not
 * undo a claim: the transaction still works for the same request.
 */
static char *claimed = NULL;
static char *leaked = NULL;

/* For ereport(): a DETAIL with the two tokens of a leak. */
static int
leak_detail(const char *token)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "claimed", claimed);
	detail_text(&detail, "claim", token);
	return errdetail_internal("%s", detail_end(&detail));
}

/* Report a leak with the given error level. */
static void
report_leak(int elevel, const char *token)
{
	ereport(elevel,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("the open transaction belongs to another request"),
			 leak_detail(token),
			 errhint("Another request, possibly cancelled, has left it open. Close the connection or roll it back before it serves the next request.")));
}

/*
 * Return the token as it can be shown to everybody.  PostgreSQL does not check
 * the encoding of settings that come with the connection, from a file, or from
 * ALTER ROLE in a database of another encoding.
 */
static const char *
shown_token(const char *token)
{
	StringInfoData shown;

	if (pg_verifymbstr(token, strlen(token), true))
		return token;
	initStringInfo(&shown);
	for (; *token != '\0'; token++)
	{
		if (IS_HIGHBIT_SET(*token))
			appendStringInfo(&shown, "\\x%02x", (unsigned char) *token);
		else
			appendStringInfoChar(&shown, *token);
	}
	return shown.data;
}

/*
 * Claim the transaction for the token.  If it is claimed for another one, do
 * what pg_cas.on_leak says; all levels report 25001.
 */
void
claim_bind(const char *token)
{
	token = shown_token(token);

	/* After a leak raised as an error, every further claim fails. */
	if (leaked != NULL)
		report_leak(ERROR, leaked);

	if (claimed == NULL)
	{
		claimed = MemoryContextStrdup(TopTransactionContext, token);
		return;
	}
	if (strcmp(claimed, token) == 0)
		return;

	switch ((LeakAction) pg_cas_on_leak)
	{
		case LEAK_FATAL:
			report_leak(FATAL, token);
			break;
		case LEAK_ERROR:

			/*
			 * Remember the leak: refuse_unfinished() must find it even if the
			 * error is caught.
			 */
			leaked = MemoryContextStrdup(TopTransactionContext, token);
			entry_settled = 0;
			report_leak(ERROR, token);
			break;
		case LEAK_WARNING:
			report_leak(WARNING, token);
			break;
		case LEAK_OFF:
			break;
	}
}

/*
 * The slow path of request_enter(): make the claim for pg_cas.request if the
 * settings or the transaction are new, and enforce pg_cas.require_autocommit.
 */
void
entry_check(FunctionCallInfo fcinfo, EntryKind entry)
{
	if (leaked != NULL)
		report_leak(ERROR, leaked);
	if (entry_settled != entry_generation)
	{
		if (pg_cas_request[0] != '\0')
			claim_bind(pg_cas_request);
		entry_settled = entry_generation;
	}

	if (entry == ENTRY_WRITES && pg_cas_require_autocommit)
	{
		/*
		 * As for VACUUM, a subtransaction counts as a transaction block, since
		 * nobody can tell what began it.  Unlike VACUUM, the call may stand in
		 * a function: the client's statement is one transaction all the same,
		 * so the client cannot leave it open.
		 */
		if (IsInTransactionBlock(true))
		{
			/* The name is NULL if the function was dropped meanwhile. */
			char	   *function = get_func_name(fcinfo->flinfo->fn_oid);

			ereport(ERROR,
					(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
					 function != NULL ?
					 errmsg("%s() must not run inside a transaction block",
							function) :
					 errmsg("a writer of pg_cas must not run inside a transaction block"),
					 errhint("With pg_cas.require_autocommit, each call must be a transaction of its own.")));
		}

		/* Also in a pipeline, commit with the statement. */
		MyXactFlags |= XACT_FLAGS_NEEDIMMEDIATECOMMIT;
	}
}

/*
 * Return whether the function was called by the statement that the client
 * sent, and not by a function in that statement.
 */
bool
call_is_top_level(FunctionCallInfo fcinfo)
{
	QueryDesc  *query = ActivePortal ? ActivePortal->queryDesc : NULL;

	/*
	 * The executor allocates the state of an expression in the memory context
	 * of its query, so compare that with the context of the portal's query.  A
	 * cursor opened by a function is a portal, too, but its destination is
	 * neither the client nor the tuplestore from which the client gets the
	 * rows of EXECUTE and of a cursor WITH HOLD.
	 */
	return query != NULL && query->estate != NULL && query->dest != NULL &&
		(query->dest->mydest == DestRemote ||
		 query->dest->mydest == DestRemoteExecute ||
		 query->dest->mydest == DestTuplestore) &&
		fcinfo->flinfo->fn_mcxt == query->estate->es_query_cxt;
}

/* Return the token that the transaction was claimed for, or NULL. */
const char *
entry_claimed(void)
{
	return claimed;
}

/* Called by the assign hooks: make the next call check the claim again. */
void
entry_settings_changed(void)
{
	entry_generation++;
}

/*
 * Before COMMIT or PREPARE TRANSACTION: raise an error if the transaction must
 * not be committed.
 *
 * An EXCEPTION block or a savepoint can hide the ERROR of a leak.  Without
 * this check, the transaction could then be committed with one half of one
 * request and one half of another.
 */
static void
refuse_unfinished(void)
{
	if (leaked != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a transaction that two requests have claimed cannot be committed"),
				 leak_detail(leaked),
				 errhint("Roll it back, and retry the requests, each in its own transaction.")));
	begun_check_done();
}

static void
at_transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			refuse_unfinished();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			claimed = leaked = NULL;
			entry_settled = 0;
			begun_forget();
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			/* Functions that make claims do not run in parallel workers. */
			break;
	}
}

static void
at_subtransaction_event(SubXactEvent event, SubTransactionId subid,
						SubTransactionId parent, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_COMMIT_SUB:
			begun_end_subtransaction(true);
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			begun_end_subtransaction(false);
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			break;
	}
}

/* Register the callbacks; called when the library is loaded. */
void
entry_init(void)
{
	RegisterXactCallback(at_transaction_event, NULL);
	RegisterSubXactCallback(at_subtransaction_event, NULL);
}
