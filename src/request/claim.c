/*
 * claim.c
 *		Which request does the transaction work for?
 *
 * A request that is cancelled between BEGIN and COMMIT leaves its connection
 * inside the transaction, and a pool may hand that connection to the next
 * request.  Whatever that one writes goes into the lost transaction, is
 * acknowledged, and is rolled back one day.  Nothing in the protocol tells the
 * two apart, so the requests have to say who they are: the first claim in a
 * transaction binds it to a token, and a claim with another token is a leak.
 *
 * A claim is made by request_claim(), and, while pg_cas.request is set, by
 * every function of pg_cas and every write to a guarded table.
 */
#include "request/request.h"

#include "access/xact.h"
#include "executor/execdesc.h"
#include "tcop/pquery.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/*
 * Claims for pg_cas.request happen so often that comparing strings would be
 * felt.  So each change of a setting draws a new generation number, and a call
 * under the generation that was checked last has nothing to do
 * (request_enter() in entry.h).  The end of the transaction unsettles it.
 */
uint64		entry_generation = 1;
uint64		entry_settled = 0;

/*
 * The transaction's claim, and the one that was a leak; in its memory.  They
 * are the top-level transaction's: a rollback to a savepoint does not make it
 * another request's, so there is no bookkeeping of subtransactions.
 */
static char *claimed = NULL;
static char *leaked = NULL;

/* DETAIL for the two tokens of a leak. */
static int
leak_detail(const char *token)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "claimed", claimed);
	detail_text(&detail, "claim", token);
	return errdetail_internal("%s", detail_end(&detail));
}

/* Raise a leak, at this level. */
static void
report_leak(int elevel, const char *token)
{
	ereport(elevel,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("the open transaction belongs to another request"),
			 leak_detail(token),
			 errhint("A request has left it open, cancelled perhaps. Let the connection be closed, or rolled back, before it serves another one.")));
}

/*
 * Claim the transaction for the token.
 */
void
claim_bind(const char *token)
{
	/* Once barred, the transaction is of no use to anyone. */
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
 * What request_enter() has found to be checked.
 *
 * "Inside a transaction block" is what it is for VACUUM, but for functions: a
 * statement that calls one is a transaction all the same, and there is nothing
 * that a client could leave open.  As for VACUUM, a subtransaction counts as a
 * block, because one cannot tell who began it; and in a pipeline the statement
 * is committed at once, whatever follows it.
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
		if (IsInTransactionBlock(true))
		{
			/* NULL if it has been dropped since it was called. */
			char	   *function = get_func_name(fcinfo->flinfo->fn_oid);

			ereport(ERROR,
					(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
					 function != NULL ?
					 errmsg("%s() must not run inside a transaction block",
							function) :
					 errmsg("a writer of pg_cas must not run inside a transaction block"),
					 errhint("pg_cas.require_autocommit is on: each call commits by itself.")));
		}
		MyXactFlags |= XACT_FLAGS_NEEDIMMEDIATECOMMIT;
	}
}

/*
 * Does the call stand in the statement that the client sent, a SELECT, and not
 * in a function that the statement calls?  What the executor sets up for an
 * expression lies in its query's memory context, so we compare that with the
 * one of the portal being run.  A cursor that a function opens is a portal
 * too, but its rows do not go to the client (nor, for EXECUTE and DECLARE
 * CURSOR WITH HOLD, to the store from which the client gets them).
 */
bool
call_is_top_level(FunctionCallInfo fcinfo)
{
	QueryDesc  *query = ActivePortal ? ActivePortal->queryDesc : NULL;

	return query != NULL && query->estate != NULL && query->dest != NULL &&
		(query->dest->mydest == DestRemote ||
		 query->dest->mydest == DestRemoteExecute ||
		 query->dest->mydest == DestTuplestore) &&
		fcinfo->flinfo->fn_mcxt == query->estate->es_query_cxt;
}

/* The request that the transaction works for, or NULL. */
const char *
entry_claimed(void)
{
	return claimed;
}

/* A setting has changed. */
void
entry_settings_changed(void)
{
	entry_generation++;
}

/*
 * Before a commit or PREPARE: refuse what must not last.
 *
 * A leak must be loud.  A plain ERROR can be swallowed by an EXCEPTION block
 * or a savepoint, and then the transaction might be committed after all, one
 * request's half and another's together.  So after a leak that was raised as
 * an error the transaction is barred.
 */
static void
refuse_unfinished(void)
{
	if (leaked != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a transaction that two requests have claimed cannot be committed"),
				 leak_detail(leaked),
				 errhint("Roll it back. The requests can be tried again, each in a transaction of its own.")));
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
			/* Nothing of ours runs in a parallel worker. */
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

/* Called when the library is loaded. */
void
entry_init(void)
{
	RegisterXactCallback(at_transaction_event, NULL);
	RegisterSubXactCallback(at_subtransaction_event, NULL);
}
