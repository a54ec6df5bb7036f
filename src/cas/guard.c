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
#include "catalog/partition.h"
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

GuardExpectation guard_expectation = {InvalidOid, NULL};

/* Whether relid is the announced table or a partition of it. */
static bool
is_expected_table(Relation rel)
{
	if (!OidIsValid(guard_expectation.relid))
		return false;
	if (RelationGetRelid(rel) == guard_expectation.relid)
		return true;
	return rel->rd_rel->relispartition &&
		list_member_oid(get_partition_ancestors(RelationGetRelid(rel)),
						guard_expectation.relid);
}

/*
 * Whether the old row is the announced one.  Triggers that fire before the
 * guard may write to the table, too; their rows have other keys, or the
 * announced write fails when it finds its row already modified.
 */
static bool
is_expected_row(TriggerData *trigdata, CasTable *table)
{
	if (!is_expected_table(trigdata->tg_relation))
		return false;
	if (guard_expectation.key == NULL)
		return true;
	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];
		bool		isnull;
		Datum		value = slot_getattr(trigdata->tg_trigslot,
										 column->attnum, &isnull);

		if (isnull ||
			!cas_key_column_equal(column, value,
								  guard_expectation.key->values[i]))
			return false;
	}
	guard_expectation.relid = InvalidOid;
	return true;
}

/* ----------
 * What the caller may know
 * ----------
 */

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
may_show(Relation rel, AttrNumber *attnums, int n)
{
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
	if (!may_show(trigdata->tg_relation, attnums, table->nkeys))
		return;
	id = cas_key_text(table, values, nulls);
	if (id != NULL)
		detail_text(detail, "id", id);
}

/*
 * Write a conflict to the server's log, if pg_cas.log_conflicts says so.
 * detail is the error's, not yet ended; it is left as it is.
 */
void
cas_log_conflict(Relation rel, StringInfo detail)
{
	StringInfoData buf;

	if (!pg_cas_log_conflicts)
		return;
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, detail->data, detail->len);
	detail_text(&buf, "role", GetUserNameFromId(GetUserId(), true));
	detail_text(&buf, "application_name", application_name);
	ereport(LOG_SERVER_ONLY,
			(errcode(ERRCODE_CAS_CONFLICT),
			 errmsg("version conflict in table \"%s\"",
					RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail_end(&buf))));
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
		 GetUserId() != cas_owner(rel)))
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

/*
 * Raise PT409, or warn of it where the guard is a dry run.  sent is what the
 * writer takes the row's version to be, old what it is; either may be NULL.
 */
static void
report_conflict(TriggerData *trigdata, CasTable *table, int64 *sent,
				int64 *old)
{
	Relation	rel = trigdata->tg_relation;
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "table", cas_relation_name(rel));
	detail_id(&detail, trigdata, table);
	if (sent != NULL)
		detail_int(&detail, "expected", *sent);
	else
		detail_null(&detail, "expected");
	if (may_show(rel, &table->version, 1))
	{
		if (old != NULL)
			detail_int(&detail, "actual", *old);
		else
			detail_null(&detail, "actual");
	}
	cas_log_conflict(rel, &detail);

	ereport(table->settings.warn_only ? WARNING : ERROR,
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

	detail_begin(&detail);
	detail_text(&detail, "table", cas_relation_name(rel));
	detail_id(&detail, trigdata, table);
	ereport(table->settings.warn_only ? WARNING : ERROR,
			(errcode(ERRCODE_CAS_REQUIRED),
			 errmsg("an UPDATE of table \"%s\" must set its version",
					RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail_end(&detail)),
			 table->settings.writers == CAS_WRITERS_BUMP ?
			 errhint("Set column \"%s\" to the version that was read plus one, or call cas_update().",
					 table->settings.version_column) :
			 errhint("Set column \"%s\" to the version that was read, or call cas_update().",
					 table->settings.version_column),
			 errtablecol(rel, table->version)));
}

/*
 * The version of a row that an UPDATE writes.  The order of the rules is the
 * contract's; each is one paragraph.
 */
static int64
updated_version(TriggerData *trigdata, CasTable *table)
{
	Relation	rel = trigdata->tg_relation;
	CasSettings *settings = &table->settings;
	bool		old_isnull;
	bool		new_isnull;
	Datum		datum;
	int64		old;
	int64		new;
	bool		expected;

	/* A NULL, which only a guard that was off lets in, counts as 0. */
	datum = slot_getattr(trigdata->tg_trigslot, table->version, &old_isnull);
	old = old_isnull ? 0 : cas_version_value(table, datum);

	/* A foreign key's own action never fails, and advances what it changes. */
	if (is_foreign_key_action(trigdata))
		return row_differs(trigdata, table, true) ?
			cas_next_version(rel, table, old) : old;

	/* A mentioned version must be the protocol's. */
	if (cas_version_is_set(trigdata, table))
	{
		int64		sent;

		new = cas_sent_version(trigdata, table, &new_isnull);
		switch (settings->writers)
		{
			case CAS_WRITERS_BUMP:
				if (!new_isnull && old < PG_INT64_MAX && new == old + 1)
					return new;
				/* what the writer believes in; it cannot be below int64 */
				sent = new > PG_INT64_MIN ? new - 1 : new;
				break;
			case CAS_WRITERS_ECHO:
				if (new_isnull == old_isnull && new == old)
					return row_differs(trigdata, table, false) ?
						cas_next_version(rel, table, old) : old;
				sent = new;
				break;
			default:
				elog(ERROR, "unknown writers: %d", settings->writers);
		}
		report_conflict(trigdata, table, new_isnull ? NULL : &sent,
						old_isnull ? NULL : &old);
		return cas_next_version(rel, table, old);
	}

	/* Not mentioned, and nothing changed that counts: no new version. */
	expected = settings->reject_unversioned &&
		is_expected_row(trigdata, table);
	if (!row_differs(trigdata, table, true))
		return old;

	/* Else it is advanced, or was required. */
	if (settings->reject_unversioned && !expected)
		report_unversioned(trigdata, table);
	return cas_next_version(rel, table, old);
}

/*
 * The version of a row that an INSERT writes: what it supplies, so that a
 * restore brings its versions back, unless versions are the table's.
 */
static int64
inserted_version(TriggerData *trigdata, CasTable *table)
{
	bool		isnull;
	Datum		datum;

	if (table->settings.sequence.length > 0)
		return cas_draw_version(trigdata->tg_relation, table, 0);
	datum = slot_getattr(trigdata->tg_trigslot, table->version, &isnull);
	return isnull ? 1 : cas_version_value(table, datum);
}

/*
 * The tuple in the slot with the version, and the version inside the payload
 * document, as given; the tuple itself if it has them already.
 */
static HeapTuple
with_version(HeapTuple tuple, TupleTableSlot *slot, Relation rel,
			 CasTable *table, int64 version)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			natts = desc->natts;
	Datum	   *values = palloc(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));
	HeapTuple	new;

	slot_getallattrs(slot);
	memcpy(values, slot->tts_values, natts * sizeof(Datum));
	memcpy(nulls, slot->tts_isnull, natts * sizeof(bool));
	if (!image_set_version(table, values, nulls, version))
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
											trigdata->tg_trigslot,
											trigdata->tg_relation, table,
											inserted_version(trigdata, table)));
	return PointerGetDatum(with_version(trigdata->tg_newtuple,
										trigdata->tg_newslot,
										trigdata->tg_relation, table,
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
