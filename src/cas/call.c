/*
 * call.c
 *		One call of a function on one guarded table: its beginning and end, and
 *		what it takes of a row.
 */
#include "cas.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/*
 * Whether the caller, who has these rights on the table, may SELECT every
 * column of the payload.
 */
static bool
payload_readable(CasTable *table, AclMode rights)
{
	if (rights & ACL_SELECT)
		return true;
	for (AttrNumber a = 1; a <= table->desc->natts; a++)
	{
		if (TupleDescAttr(table->desc, a - 1)->attisdropped ||
			(table->payload != 0 && a != table->payload))
			continue;
		if (pg_attribute_aclcheck(table->relid, a, GetUserId(),
								  ACL_SELECT) != ACLCHECK_OK)
			return false;
	}
	return true;
}

/*
 * Refuse what the rules of a table do not let us know the outcome of: any
 * write, if one puts something in its place, be it only on a condition; and an
 * INSERT that minds conflicts, if INSERTs or UPDATEs have any rules.
 */
void
call_check_rules(CasCall *call, bool inserts)
{
	RuleLock   *rules = call->rel->rd_rules;

	for (int i = 0; rules != NULL && i < rules->numLocks; i++)
	{
		RewriteRule *rule = rules->rules[i];

		if (rule->enabled == RULE_DISABLED ||
			!(rule->isInstead || (inserts && rule->event != CMD_DELETE)))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 rule->isInstead ?
				 errmsg("table \"%s\" has a rule that replaces writes by something else",
						RelationGetRelationName(call->rel)) :
				 errmsg("table \"%s\" has a rule on INSERT or UPDATE, so rows cannot be created by their ids",
						RelationGetRelationName(call->rel)),
				 errhint("Drop the rule, or do what it does in a trigger."),
				 errtable(call->rel)));
	}
}

/*
 * Open and lock a table for a call of a function; it must be guarded.
 */
void
call_begin(CasCall *call, Oid relid, LOCKMODE lockmode,
		   FunctionCallInfo fcinfo)
{
	AclMode		rights;

	if (XactReadOnly && lockmode > AccessShareLock)
	{
		char	   *name = get_func_name(fcinfo->flinfo->fn_oid);

		PreventCommandIfReadOnly(psprintf("%s()", name ? name : "cas"));
	}

	call->rel = try_relation_open(relid, lockmode);
	if (call->rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	call->table = cas_table_of(call->rel);
	if (call->table == NULL || !cas_guard_fires(call->table))
		ereport(ERROR,
				(errcode(ERRCODE_CAS_NOT_ENABLED),
				 errmsg("table \"%s\" is not under compare-and-swap",
						RelationGetRelationName(call->rel)),
				 cas_errdetail_table(call->rel),
				 call->table == NULL ?
				 errhint("Its owner can call cas_enable().") :
				 errhint("Its guard trigger is disabled, or does not fire in this session."),
				 errtable(call->rel)));
	if (call->table->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key",
						RelationGetRelationName(call->rel)),
				 errhint("Its rows are named by a primary key that is not deferrable."),
				 errtable(call->rel)));

	if (lockmode == RowExclusiveLock)
		call_check_rules(call, false);

	call->function = fcinfo->flinfo->fn_oid;
	call->caller = CurrentMemoryContext;
	call->compare = NULL;
	rights = pg_class_aclmask(relid, GetUserId(), ACL_SELECT | ACL_UPDATE,
							  ACLMASK_ALL);
	call->payload_readable = payload_readable(call->table, rights);
	call->keys_locked = false;
	call->connected = false;
	direct_begin_call(call, rights);
}

/* End a call; the table stays locked until the end of the transaction. */
void
call_end(CasCall *call)
{
	direct_end_call(call);
	relation_close(call->rel, NoLock);
}

/* ----------
 * Rows
 * ----------
 */

/* What a call answers with, of a row. */
int
call_answer_wants(const CasCall *call)
{
	return CAS_WANTS_ID | (call->payload_readable ? CAS_WANTS_PAYLOAD : 0);
}

/* ----------
 * Functions that compute payloads
 * ----------
 */

/*
 * See that cas_apply() can call a function.  It is called with the caller's
 * rights, so the caller must have the right to.
 */
void
call_check_apply_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	bool		fits;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	fits = proc->prokind == PROKIND_FUNCTION && !proc->proretset &&
		proc->prorettype == JSONBOID && proc->pronargs == 2 &&
		proc->proargtypes.values[0] == JSONBOID &&
		proc->proargtypes.values[1] == JSONBOID;
	ReleaseSysCache(tuple);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("function %s cannot compute a payload",
						format_procedure(function)),
				 errhint("It must be a function (payload jsonb, args jsonb) RETURNS jsonb.")));
	if (object_aclcheck(ProcedureRelationId, function, GetUserId(),
						ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION,
					   get_func_name(function));
	InvokeFunctionExecuteHook(function);
}
