/*
 * guard.c
 *		The guard: a trigger that makes every writer of a guarded table advance
 *		the row's version.
 *
 * The guard fires BEFORE ROW, after all other such triggers, so that it sees
 * the row as it will be stored, and in ORIGIN mode, so that replication apply
 * brings the origin's versions along unchanged.
 *
 * A trigger sees what an UPDATE sets, not what it asks for in WHERE.  So it
 * cannot know which version a writer believes in unless the writer says it by
 * mentioning the version in SET, and there are two ways of saying it, between
 * which the table's owner chooses: a "bump" writer sends old + 1, an "echo"
 * writer sends back what it read.  The guard does not guess between them: one
 * that took both old and old + 1 would let a writer through that is stale by
 * one version.
 *
 * It needs no lock of its own.  When a BEFORE ROW trigger runs, the executor
 * has locked the row's newest version, and OLD is that version: under READ
 * COMMITTED a writer that waited for another one is compared with what the
 * other committed.
 *
 * The functions of this extension write under the caller's rights and may
 * not have any on the version column, so they cannot mention it; they have
 * compared it already, under the row's lock.  They announce the row that they
 * are about to write in guard_expectation, and the guard lets an unmentioned
 * version of that row, and of no other, pass where it would demand one.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "base/entry.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rls.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cas_guard);
PG_FUNCTION_INFO_V1(cas_truncate);

GuardExpectation guard_expectation = {InvalidOid};

/*
 * Whether the guard of a table would object to what this extension writes if
 * it did not announce it.
 */
bool
cas_guard_wants_announcement(const CasTable *table)
{
	return table->settings.unversioned == CAS_UNVERSIONED_REJECT ||
		(table->settings.version_path.length > 0 &&
		 table->settings.writers == CAS_WRITERS_ECHO);
}

/*
 * Whether the old row has the announced key.  A partition's columns may stand
 * elsewhere, and it may have a primary key of its own; so the key is read by
 * the description that it was made by, and its columns found by name.
 */
static bool
is_expected_key(TriggerData *trigdata)
{
	CasTable   *table = guard_expectation.table;

	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];
		AttrNumber	attnum = column->attnum;
		bool		isnull;
		Datum		value;

		if (RelationGetRelid(trigdata->tg_relation) != table->relid)
			attnum = cas_find_column(trigdata->tg_relation, column->name);
		if (attnum == InvalidAttrNumber)
			return false;
		value = slot_getattr(trigdata->tg_trigslot, attnum, &isnull);
		if (isnull ||
			!cas_key_column_equal(column, value,
								  guard_expectation.key->values[i]))
			return false;
	}
	return true;
}

/*
 * Whether the old row is the announced one.  Triggers that fire before the
 * guard may write to the table, too; their rows have other keys, or the
 * announced write fails when it finds its row already modified.
 */
static bool
is_expected_row(TriggerData *trigdata)
{
	if (!OidIsValid(guard_expectation.relid) ||
		!cas_is_part_of(trigdata->tg_relation, guard_expectation.relid))
		return false;
	if (guard_expectation.key == NULL)
		return true;
	if (!is_expected_key(trigdata))
		return false;
	guard_expectation.relid = InvalidOid;
	return true;
}

/* ----------
 * What the caller may know
 * ----------
 */

/*
 * Whether the guard's function was made SECURITY DEFINER, so that GetUserId()
 * is not the role that writes.
 */
static bool
runs_as_its_owner(TriggerData *trigdata)
{
	HeapTuple	tuple;
	bool		result;

	tuple = SearchSysCache1(PROCOID,
							ObjectIdGetDatum(trigdata->tg_trigger->tgfoid));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_proc) GETSTRUCT(tuple))->prosecdef;
	ReleaseSysCache(tuple);
	return result;
}

static bool
may_read_column(Relation rel, AttrNumber attnum)
{
	return pg_attribute_aclcheck(RelationGetRelid(rel), attnum, GetUserId(),
								 ACL_SELECT) == ACLCHECK_OK;
}

/*
 * Whether an error may show these columns of a row that the executor, not
 * the caller's query, has handed us.  With row-level security nothing can be
 * shown: the policies may hide the row from the caller.
 */
static bool
may_show(TriggerData *trigdata, AttrNumber *attnums, int n)
{
	Relation	rel = trigdata->tg_relation;

	if (runs_as_its_owner(trigdata))
		return false;
	if (check_enable_rls(RelationGetRelid(rel), InvalidOid, true) ==
		RLS_ENABLED)
		return false;
	if (pg_class_aclcheck(RelationGetRelid(rel), GetUserId(),
						  ACL_SELECT) == ACLCHECK_OK)
		return true;
	for (int i = 0; i < n; i++)
		if (!may_read_column(rel, attnums[i]))
			return false;
	return true;
}

/* Add the row's id to an error's DETAIL, if the caller may read it. */
static void
detail_id(StringInfo detail, TriggerData *trigdata, CasTable *table)
{
	AttrNumber	attnums[INDEX_MAX_KEYS];
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	char	   *id;

	if (table->nkeys == 0)
		return;
	for (int i = 0; i < table->nkeys; i++)
	{
		attnums[i] = table->keys[i].attnum;
		values[i] = slot_getattr(trigdata->tg_trigslot, attnums[i],
								 &nulls[i]);
	}
	if (!may_show(trigdata, attnums, table->nkeys))
		return;
	id = cas_key_text(table, values, nulls);
	if (id != NULL)
		detail_text(detail, "id", id);
}

/*
 * Write what is or would be refused to the server's log, if
 * pg_cas.log_conflicts says so.  detail is the error's, not yet ended; it is
 * left as it is.
 */
static void
log_refusal(int sqlstate, const char *message, StringInfo detail)
{
	StringInfoData buf;

	if (!pg_cas_log_conflicts)
		return;
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, detail->data, detail->len);
	detail_text(&buf, "role", GetUserNameFromId(GetUserId(), true));
	detail_text(&buf, "application_name", application_name);
	ereport(LOG_SERVER_ONLY,
			(errcode(sqlstate),
			 errmsg("%s", message),
			 errdetail_internal("%s", detail_end(&buf))));
}

/* Log a version conflict. */
void
cas_log_conflict(Relation rel, StringInfo detail)
{
	log_refusal(ERRCODE_CAS_CONFLICT,
				psprintf("version conflict in table \"%s\"",
						 RelationGetRelationName(rel)), detail);
}

/* ----------
 * The protocol
 * ----------
 */

/*
 * Whether an UPDATE is a foreign key's own action on the referencing table.
 * Those run without FORCE ROW LEVEL SECURITY and as the table's owner.  So
 * does what the owner's triggers do beneath them, and as somebody else what
 * somebody else's do; so the columns must be a foreign key's, too.
 */
static bool
is_foreign_key_action(TriggerData *trigdata)
{
	Relation	rel = trigdata->tg_relation;
	ListCell   *lc;

	if (!InNoForceRLSOperation() ||
		(GetUserId() != rel->rd_rel->relowner &&
		 GetUserId() != cas_owner(rel) && !runs_as_its_owner(trigdata)))
		return false;
	foreach(lc, RelationGetFKeyList(rel))
	{
		ForeignKeyCacheInfo *fk = lfirst(lc);
		int			i = -1;
		bool		within = true;

		while (within &&
			   (i = bms_next_member(trigdata->tg_updatedcols, i)) >= 0)
		{
			AttrNumber	attnum = i + FirstLowInvalidHeapAttributeNumber;

			if (TupleDescAttr(RelationGetDescr(rel),
							  attnum - 1)->attgenerated != '\0')
				continue;
			within = false;
			for (int k = 0; k < fk->nkeys; k++)
				within = within || fk->conkey[k] == attnum;
		}
		if (within)
			return true;
	}
	return false;
}

/*
 * Whether the new row differs from the old one in anything that counts.
 */
static bool
row_differs(TriggerData *trigdata, CasTable *table, bool but_ignored)
{
	TupleTableSlot *new = trigdata->tg_newslot;

	slot_getallattrs(new);
	return image_differs(table, trigdata->tg_trigslot, new->tts_values,
						 new->tts_isnull, NULL, but_ignored);
}

static void
detail_version(StringInfo detail, const char *field, const CasMention *version)
{
	if (version->isnull)
		detail_null(detail, field);
	else
		detail_int(detail, field, version->version);
}

/*
 * Raise PT409, or warn of it where the guard is a dry run.  sent is what the
 * writer takes the row's version to be, old what it is.
 */
static void
report_conflict(TriggerData *trigdata, CasTable *table,
				const CasMention *sent, const CasMention *old)
{
	Relation	rel = trigdata->tg_relation;
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "table", cas_relation_name(rel));
	detail_id(&detail, trigdata, table);
	detail_version(&detail, "expected", sent);
	if (may_show(trigdata, &table->version, 1))
		detail_version(&detail, "actual", old);
	cas_log_conflict(rel, &detail);

	ereport(table->settings.enforce == CAS_ENFORCE_WARN ? WARNING : ERROR,
			(errcode(ERRCODE_CAS_CONFLICT),
			 errmsg("version conflict in table \"%s\"",
					RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail_end(&detail)),
			 table->settings.writers == CAS_WRITERS_BUMP ?
			 errhint("An UPDATE that sets column \"%s\" must set it to the row's version plus one. Read the row again.",
					 table->settings.version_column) :
			 errhint("An UPDATE that sets column \"%s\" must set it to the row's version. Read the row again.",
					 table->settings.version_column),
			 errtablecol(rel, table->version)));
}

/* Raise PT428, or warn of it. */
static void
report_unversioned(TriggerData *trigdata, CasTable *table)
{
	Relation	rel = trigdata->tg_relation;
	StringInfoData detail;
	char	   *message;

	detail_begin(&detail);
	detail_text(&detail, "table", cas_relation_name(rel));
	detail_id(&detail, trigdata, table);
	message = psprintf("an UPDATE of table \"%s\" must set its version",
					   RelationGetRelationName(rel));
	log_refusal(ERRCODE_CAS_REQUIRED, message, &detail);

	ereport(table->settings.enforce == CAS_ENFORCE_WARN ? WARNING : ERROR,
			(errcode(ERRCODE_CAS_REQUIRED),
			 errmsg("%s", message),
			 errdetail_internal("%s", detail_end(&detail)),
			 table->settings.writers == CAS_WRITERS_BUMP ?
			 errhint("Set column \"%s\" to the version that was read plus one, or call cas_update().",
					 table->settings.version_column) :
			 errhint("Set column \"%s\" to the version that was read, or call cas_update().",
					 table->settings.version_column),
			 errtablecol(rel, table->version)));
}

/*
 * Whether a mentioned version is not the protocol's.  If so, it is made what
 * the writer takes the row's version to be.
 */
static bool
is_conflict(const CasTable *table, CasMention *sent, const CasMention *old)
{
	if (!sent->mentioned)
		return false;
	if (table->settings.writers == CAS_WRITERS_ECHO)
		return sent->isnull != old->isnull || sent->version != old->version;
	if (!sent->isnull && old->version < PG_INT64_MAX &&
		sent->version == old->version + 1)
		return false;
	if (sent->version > PG_INT64_MIN)
		sent->version--;		/* it cannot be below int64 */
	return true;
}

/*
 * The version of a row that an UPDATE writes.  The order of the rules is the
 * contract's; each is one paragraph.
 */
static int64
updated_version(TriggerData *trigdata, CasTable *table)
{
	Relation	rel = trigdata->tg_relation;
	CasMention	old = {true};
	CasSent		sent;
	Datum		datum;
	bool		expected;

	/* A NULL, which only a guard that was off lets in, counts as 0. */
	datum = slot_getattr(trigdata->tg_trigslot, table->version, &old.isnull);
	if (!old.isnull)
		old.version = cas_version_value(table, datum);

	/* A foreign key's own action never fails, and advances what it changes. */
	if (is_foreign_key_action(trigdata))
		return row_differs(trigdata, table, true) ?
			cas_next_version(rel, table, old.version) : old.version;

	/* What this extension writes was compared already. */
	sent = cas_sent_by_update(trigdata, table);
	expected = cas_guard_wants_announcement(table) &&
		is_expected_row(trigdata);
	if (expected)
		sent.document.mentioned = false;

	/* A mentioned version must be the protocol's. */
	if (is_conflict(table, &sent.column, &old))
	{
		report_conflict(trigdata, table, &sent.column, &old);
		return cas_next_version(rel, table, old.version);
	}
	if (cas_mentions_another(&sent.document, old.version))
	{
		report_conflict(trigdata, table, &sent.document, &old);
		return cas_next_version(rel, table, old.version);
	}
	if (sent.column.mentioned && table->settings.writers == CAS_WRITERS_BUMP)
		return sent.column.version;
	if (sent.column.mentioned || sent.document.mentioned)
		return row_differs(trigdata, table, false) ?
			cas_next_version(rel, table, old.version) : old.version;

	/* Not mentioned, and nothing changed that counts: no new version. */
	if (!row_differs(trigdata, table, true))
		return old.version;

	/* Else it is advanced, or was required. */
	if (table->settings.unversioned == CAS_UNVERSIONED_REJECT && !expected)
		report_unversioned(trigdata, table);
	return cas_next_version(rel, table, old.version);
}

/* The version of a row that an INSERT writes. */
static int64
inserted_version(TriggerData *trigdata, CasTable *table)
{
	CasSent		sent = cas_sent_by_insert(trigdata, table);
	int64		version = cas_first_version(trigdata->tg_relation, table,
											sent.column.version,
											sent.column.isnull);

	cas_remember_insert(trigdata, table, &sent, version);
	return version;
}

/*
 * The tuple in the slot with the version, and the version inside the payload
 * document, as given; the tuple itself if it has them already.
 */
static HeapTuple
with_version(HeapTuple tuple, TupleTableSlot *slot, TupleTableSlot *old,
			 CasTable *table, int64 version)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	int			natts = desc->natts;
	Datum	   *values = palloc(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));
	HeapTuple	new;

	slot_getallattrs(slot);
	memcpy(values, slot->tts_values, natts * sizeof(Datum));
	memcpy(nulls, slot->tts_isnull, natts * sizeof(bool));
	if (!image_set_version(table, old, values, nulls, version))
		return tuple;
	new = heap_form_tuple(desc, values, nulls);
	new->t_tableOid = tuple->t_tableOid;
	return new;
}

/*
 * cas_guard() RETURNS trigger: the guard.  cas_enable() makes the trigger.
 * Of a DELETE it only wants to know which request it works for.
 */
Datum
cas_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	CasTable   *table;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("cas_guard() was not called by the trigger manager")));
	if (!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("cas_guard() must be fired BEFORE INSERT OR UPDATE OR DELETE, FOR EACH ROW")));

	request_enter(fcinfo, ENTRY_JOINS);
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		return PointerGetDatum(trigdata->tg_trigtuple);

	table = cas_table_of(trigdata->tg_relation);
	if (table == NULL)
		elog(ERROR, "guard not found among the triggers of table \"%s\"",
			 RelationGetRelationName(trigdata->tg_relation));

	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		return PointerGetDatum(with_version(trigdata->tg_trigtuple,
											trigdata->tg_trigslot, NULL, table,
											inserted_version(trigdata,
															 table)));
	return PointerGetDatum(with_version(trigdata->tg_newtuple,
										trigdata->tg_newslot,
										trigdata->tg_trigslot, table,
										updated_version(trigdata, table)));
}

/*
 * cas_truncate() RETURNS trigger: has TRUNCATE ... RESTART IDENTITY, which is
 * about to start the sequence of the table's versions again, do so where it
 * stands.  The table is locked, so nobody draws from it meanwhile.
 * cas_enable() makes the trigger.
 */
Datum
cas_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	CasTable   *table;
	Oid			sequence;
	Relation	catalog;
	HeapTuple	tuple;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("cas_truncate() must be fired BEFORE TRUNCATE")));

	table = cas_table_of(trigdata->tg_relation);
	if (table == NULL || table->settings.sequence.length == 0)
		return PointerGetDatum(NULL);
	sequence = cas_sequence(trigdata->tg_relation, &table->settings);
	if (!OidIsValid(sequence))
		return PointerGetDatum(NULL);

	catalog = table_open(SequenceRelationId, RowExclusiveLock);
	tuple = SearchSysCacheCopy1(SEQRELID, ObjectIdGetDatum(sequence));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", sequence);
	((Form_pg_sequence) GETSTRUCT(tuple))->seqstart =
		nextval_internal(sequence, false);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	heap_freetuple(tuple);
	table_close(catalog, RowExclusiveLock);
	return PointerGetDatum(NULL);
}
