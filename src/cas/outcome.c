/*
 * outcome.c
 *		The names of a swap's outcomes, and the errors raised for them.
 */
#include "cas.h"

#include "utils/lsyscache.h"

/* Return the outcome as the try forms return it. */
const char *
outcome_name(CasOutcome outcome)
{
	switch (outcome)
	{
		case CAS_CREATED:
			return "created";
		case CAS_UPDATED:
			return "updated";
		case CAS_UNCHANGED:
			return "unchanged";
		case CAS_DELETED:
			return "deleted";
		case CAS_RENAMED:
			return "renamed";
		case CAS_CONFLICT:
			return "conflict";
		case CAS_MISSING:
			return "missing";
		case CAS_EXISTS:
			return "exists";
	}
	return NULL;				/* not reached */
}

/*
 * Begin an error's DETAIL.  position is the operation's position in the
 * request of a cas_txn(), or NULL.
 */
static void
begin_detail(StringInfo detail, CasCall *call, const CasKey *key,
			 const char *position)
{
	detail_begin(detail);
	if (position != NULL)
		detail_text(detail, "position", position);

	/* the key is the one that the caller passed, so it may be shown */
	detail_text(detail, "table", cas_relation_name(call->rel));
	detail_text(detail, "id", cas_key_text(call->table, key->values, NULL));
}

/*
 * If raise is true, raise the error for an outcome with which nothing was
 * written.  A conflict is logged in either case, as pg_cas.log_conflicts says.
 * For CAS_EXISTS, key is the key that is taken.
 */
void
outcome_report(CasCall *call, const CasKey *key, int64 expected,
			   CasOutcome outcome, const CasRow *row, const char *position,
			   bool raise)
{
	const char *relname = RelationGetRelationName(call->rel);
	const char *constraint;
	StringInfoData detail;

	switch (outcome)
	{
		case CAS_CREATED:
		case CAS_UPDATED:
		case CAS_UNCHANGED:
		case CAS_DELETED:
		case CAS_RENAMED:
			break;
		case CAS_CONFLICT:
			/* do not format the DETAIL if nobody will see it */
			if (!raise && !pg_cas_log_conflicts)
				break;
			begin_detail(&detail, call, key, position);
			detail_int(&detail, "expected", expected);
			if (row->version_isnull)
				detail_null(&detail, "actual");
			else
				detail_int(&detail, "actual", row->version);
			cas_log_conflict(call->rel, &detail);
			if (!raise)
				break;
			ereport(ERROR,
					(errcode(ERRCODE_CAS_CONFLICT),
					 errmsg("version conflict in table \"%s\"", relname),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("Read the row again, and apply your change to the version that is there now."),
					 errtablecol(call->rel, call->table->version)));
			break;
		case CAS_MISSING:
			if (!raise)
				break;
			begin_detail(&detail, call, key, position);
			ereport(ERROR,
					(errcode(ERRCODE_CAS_NOT_FOUND),
					 errmsg("no such row in table \"%s\"", relname),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("It never existed, was deleted or renamed, or is not visible to you."),
					 errtable(call->rel)));
			break;
		case CAS_EXISTS:
			if (!raise)
				break;
			begin_detail(&detail, call, key, position);
			constraint = get_constraint_name(call->table->key_constraint);
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("row already exists in table \"%s\"", relname),
					 errdetail_internal("%s", detail_end(&detail)),
					 errhint("Choose another id, or update the existing row."),
					 constraint ? errtableconstraint(call->rel, constraint) :
					 errtable(call->rel)));
			break;
	}
}
