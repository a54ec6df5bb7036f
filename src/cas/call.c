/*
 * call.c
 *		Begin and end a call of an SQL function on one guarded table.
 */
#include "cas.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "miscadmin.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

/*
 * Return whether the caller may SELECT every column of the payload.  rights
 * are the privileges that the caller has on the table.
 */
static bool
payload_readable(CasTable *table, AclMode rights)
{
	if (rights & ACL_SELECT)
		return true;

	/* No privilege on the table: there may be privileges on the columns. */
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
 * Raise an error if a rule of the table would hide the outcome of our writes.
 * No write is possible with a DO INSTEAD rule, conditional or not.  INSERT ...
 * ON CONFLICT (inserts is true) is not possible with any rule on INSERT or
 * UPDATE.
 */
void
call_check_rules(CasCall *call, bool inserts)
{
	RuleLock   *rules = call->rel->rd_rules;

	for (int i = 0; rules != NULL && i < rules->numLocks; i++)
	{
		RewriteRule *rule = rules->rules[i];

		/* a DO ALSO rule on DELETE does not matter to an INSERT */
		if (rule->enabled == RULE_DISABLED ||
			!(rule->isInstead || (inserts && rule->event != CMD_DELETE)))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 rule->isInstead ?
				 errmsg("table \"%s\" has a rule that replaces writes by another command",
						RelationGetRelationName(call->rel)) :
				 errmsg("table \"%s\" has a rule on INSERT or UPDATE, so rows cannot be created",
						RelationGetRelationName(call->rel)),
				 errhint("Drop the rule, or use a trigger instead."),
				 errtable(call->rel)));
	}
}

/*
 * Return the caller's privileges on the table, for payload_readable() and the
 * direct path.  The executor checks them again.
 */
static AclMode
rights_on(Relation rel)
{
	return pg_class_aclmask(RelationGetRelid(rel), GetUserId(),
							ACL_SELECT | ACL_UPDATE, ACLMASK_ALL);
}

/* Return what can be done about a relation that has no guard. */
static const char *
hint_not_enabled(Relation rel)
{
	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			if (IsSystemRelation(rel))
				return "It is a system table, which cannot be.";
			return rel->rd_rel->relispartition ?
				"The owner of the partitioned table can call cas_enable() for that." :
				"Its owner can call cas_enable().";
		case RELKIND_VIEW:
			return "It is a view. Name the table that it is based on.";
		default:
			break;
	}
	return "Only ordinary and partitioned tables can be.";
}

/*
 * Open and lock a table for a call, and initialize *call.  Raise PT400 if the
 * table is not guarded, or its guard does not fire in this session.
 */
void
call_begin(CasCall *call, Oid relid, CasAccess access,
		   FunctionCallInfo fcinfo)
{
	AclMode		rights;

	/* Refuse before taking a lock that a standby does not allow. */
	if (access != CAS_READS)
		require_writable(fcinfo);

	/* The OID comes from the user, so the relation may not exist. */
	call->rel = try_relation_open(relid, access == CAS_READS ?
								  AccessShareLock : RowExclusiveLock);
	if (call->rel == NULL)
		raise_no_relation(relid);
	require_schema_usage(RelationGetNamespace(call->rel));
	call->table = cas_table_of(call->rel);
	if (call->table == NULL || !cas_guard_fires(call->table))
		ereport(ERROR,
				(errcode(ERRCODE_CAS_NOT_ENABLED),
				 errmsg("table \"%s\" is not under compare-and-swap",
						RelationGetRelationName(call->rel)),
				 cas_errdetail_table(call->rel),
				 call->table == NULL ?
				 errhint("%s", hint_not_enabled(call->rel)) :
				 errhint("Its guard trigger is disabled, or does not fire in this session."),
				 errtable(call->rel)));
	if (call->table->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key",
						RelationGetRelationName(call->rel)),
				 errhint("Rows are identified by a primary key that is neither deferrable nor WITHOUT OVERLAPS."),
				 errtable(call->rel)));

	/* Creations also check with inserts set, once they know their key. */
	if (access == CAS_WRITES)
		call_check_rules(call, false);

	call->function = fcinfo->flinfo->fn_oid;
	call->caller = call->results = CurrentMemoryContext;
	call->compare = NULL;

	rights = rights_on(call->rel);
	call->payload_readable = payload_readable(call->table, rights);
	call->keys_locked = false;
	call->connected = false;
	call->access = access;
	call->invalidations = cas_invalidations;
	direct_begin_call(call, rights);
}

/* Return whether two descriptions of a table have the same columns. */
static bool
same_columns(TupleDesc a, TupleDesc b)
{
	if (a->natts != b->natts)
		return false;
	for (int i = 0; i < a->natts; i++)
	{
		Form_pg_attribute x = TupleDescAttr(a, i);
		Form_pg_attribute y = TupleDescAttr(b, i);

		if (strcmp(NameStr(x->attname), NameStr(y->attname)) != 0 ||
			x->atttypid != y->atttypid || x->attisdropped != y->attisdropped)
			return false;
	}
	return true;
}

/* Return whether two tables have the same settings. */
static bool
same_settings(const CasTable *a, const CasTable *b)
{
	return strcmp(cas_settings_arguments(&a->settings),
				  cas_settings_arguments(&b->settings)) == 0;
}

/*
 * Return whether two tables have the same foreign keys and columns that others
 * may refer to.  A function that the call runs can create some.
 */
static bool
same_foreign_keys(const CasTable *a, const CasTable *b)
{
	return a->referencing == b->referencing &&
		bms_equal(a->foreign_keys, b->foreign_keys) &&
		bms_equal(a->match_full, b->match_full);
}

/*
 * The relation cache was invalidated after the call began.  A function or a
 * trigger that the call has run may have altered the table.
 *
 * PostgreSQL refuses ALTER TABLE with 55006 while the table is in use, but
 * neither the renaming of a column nor a new trigger, rule or privilege.  Our
 * statements would look for the former names, and the direct path would know
 * nothing of it.  So refuse, too, what changes the columns or the settings,
 * and decide again whether the direct path may be used.
 */
static void
look_again(CasCall *call)
{
	CasTable   *now = NULL;

	call->invalidations = cas_invalidations;
	if (call->access != CAS_WRITES)
		return;
	if (same_columns(call->table->desc, RelationGetDescr(call->rel)))
		now = cas_table_of(call->rel);
	if (now == call->table)
		return;					/* another relation was invalidated */
	if (now == NULL || !same_settings(call->table, now))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"%s\" was altered while it was being used by this call",
						RelationGetRelationName(call->rel)),
				 cas_errdetail_table(call->rel),
				 errhint("Functions and triggers that the call runs must not rename its columns or change its settings."),
				 errtable(call->rel)));
	call_check_rules(call, false);
	direct_end_call(call);
	direct_begin_call(call, rights_on(call->rel));
	/* that went by the former entry, which the call keeps */
	call->direct_read = call->direct_read && now->direct_read;
	call->direct_lock = call->direct_lock && now->direct_read;
	call->direct_write = call->direct_write && now->direct_write &&
		same_foreign_keys(call->table, now);
}

/* Call this after anything has run that may have altered the table. */
void
call_check_table(CasCall *call)
{
	if (call->invalidations != cas_invalidations)
		look_again(call);
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

/* Return what the result of a try form contains, as CAS_WANTS_ flags. */
int
call_answer_wants(const CasCall *call)
{
	return CAS_WANTS_ID | (call->payload_readable ? CAS_WANTS_PAYLOAD : 0);
}

/* ----------
 * Rights
 * ----------
 */

/*
 * Return whether the caller has one of the privileges on the table or, as for
 * SELECT FOR UPDATE, on any column.
 */
static bool
has_right(CasCall *call, AclMode rights)
{
	Oid			relid = call->table->relid;

	return pg_class_aclmask(relid, GetUserId(), rights, ACLMASK_ANY) != 0 ||
		pg_attribute_aclcheck_all(relid, GetUserId(), rights,
								  ACLMASK_ANY) == ACLCHECK_OK;
}

/* Return whether the caller may lock rows. */
bool
call_may_lock(CasCall *call)
{
	return has_right(call, ACL_UPDATE);
}

/* Return whether the caller may lock keys that have no row. */
bool
call_may_lock_keys(CasCall *call)
{
	return has_right(call, ACL_INSERT | ACL_UPDATE);
}

/* ----------
 * Functions that compute payloads
 * ----------
 */

/*
 * Raise an error unless the function has the signature that cas_apply() needs,
 * and the caller may call it.
 */
void
call_check_apply_function(Oid function)
{
	require_jsonb_function(function, 2, "compute a payload",
						   "(payload jsonb, args jsonb) RETURNS jsonb");
}
