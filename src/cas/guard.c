/*
 * guard.c
 *		The guard: a trigger that makes every writer of a guarded table advance
 *		the row's version.
 *
 * The guard fires BEFORE ROW after all other such triggers, so that it sees
 * the row as it will be stored.  It is enabled in ORIGIN mode, so that logical
 * replication applies the origin's versions unchanged.
 *
 * A trigger sees the SET list of an UPDATE, but not its WHERE clause.  So a
 * writer can only tell the guard which version it has read by mentioning the
 * version in SET.  The table's owner chooses one of two protocols: a "bump"
 * writer sends the old version plus one, an "echo" writer sends the version
 * that it read.  A guard that accepted both would accept a writer whose
 * version is stale by one.
 *
 * The guard takes no lock.  When a BEFORE ROW trigger runs, the executor has
 * locked the row's newest version, and OLD is that version.  Under READ
 * COMMITTED, a writer that waited for another one is thus compared with the
 * row that the other one committed.
 *
 * The functions of this extension compare the version themselves, under the
 * row's lock.  They do not mention it in SET, because the caller may lack
 * privileges on the version column.  Instead they announce the row
 * (announce.c), and the guard accepts an UPDATE of that row, and of no other,
 * without a version.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "base/entry.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cas_guard);
PG_FUNCTION_INFO_V1(cas_truncate);

/* ----------
 * What errors may show
 * ----------
 */

/*
 * Return whether the guard's function was altered to be SECURITY DEFINER; then
 * GetUserId() is not the role that writes.
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

/*
 * Return whether an error may show these columns of the row to the caller.
 * The row comes from the executor, not from a query of the caller's, so
 * privileges must be checked.
 */
static bool
may_show(TriggerData *trigdata, const Bitmapset *columns)
{
	return !runs_as_its_owner(trigdata) &&
		columns_readable(trigdata->tg_relation, columns);
}

/* Add the row's id to an error's DETAIL, if the caller may read it. */
static void
detail_id(StringInfo detail, TriggerData *trigdata, CasTable *table)
{
	Bitmapset  *columns = NULL;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	char	   *id;

	if (table->nkeys == 0)
		return;
	for (int i = 0; i < table->nkeys; i++)
	{
		AttrNumber	attnum = table->keys[i].attnum;

		columns = bms_add_member(columns, attnum);
		values[i] = slot_getattr(trigdata->tg_trigslot, attnum, &nulls[i]);
	}
	if (!may_show(trigdata, columns))
		return;
	id = cas_key_text(table, values, nulls);
	if (id != NULL)
		detail_text(detail, "id", id);
}

/*
 * If pg_cas.log_conflicts is on, write a refused (or, with enforce => 'warn',
 * accepted) UPDATE to the server's log.  detail is the error's DETAIL before
 * detail_end(); it is not changed.
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
 * Return whether an UPDATE is a foreign key's own action on the referencing
 * table.
 */
static bool
is_foreign_key_action(TriggerData *trigdata)
{
	Relation	rel = trigdata->tg_relation;
	ListCell   *lc;

	/*
	 * Referential actions run without FORCE ROW LEVEL SECURITY and as the
	 * table's owner.  So do statements of the owner's triggers that fire
	 * during such an action; therefore the columns are checked below, too.
	 */
	if (!InNoForceRLSOperation() ||
		(GetUserId() != rel->rd_rel->relowner &&
		 GetUserId() != cas_owner(rel) && !runs_as_its_owner(trigdata)))
		return false;

	/* All columns in the SET list must belong to the same foreign key. */
	foreach(lc, RelationGetFKeyList(rel))
	{
		ForeignKeyCacheInfo *fk = lfirst(lc);
		int			i = -1;
		bool		within = true;

		while (within &&
			   (i = bms_next_member(trigdata->tg_updatedcols, i)) >= 0)
		{
			AttrNumber	attnum = i + FirstLowInvalidHeapAttributeNumber;

			/* generated columns are in tg_updatedcols without being set */
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
 * Return whether the new row differs from the old one in any column but the
 * version; with but_ignored, also not counting ignore_columns.
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

/* Add the HINT for a version that came in the column, or in the document. */
static int
hint_conflict(const CasTable *table, bool in_document)
{
	const char *column = table->settings.version_column;

	if (in_document)
		return errhint("The value at version_path must be the row's version, or be left out. Read the row again.");
	if (table->settings.writers == CAS_WRITERS_BUMP)
		return errhint("An UPDATE that sets column \"%s\" must set it to the row's version plus one. Read the row again.",
					   column);
	return errhint("An UPDATE that sets column \"%s\" must set it to the row's version. Read the row again.",
				   column);
}

/*
 * Raise PT409, or a WARNING with enforce => 'warn'.  sent is the version that
 * the writer assumes the row has, old the version that it has.
 */
static void
report_conflict(TriggerData *trigdata, CasTable *table,
				const CasMention *sent, bool in_document,
				const CasMention *old)
{
	Relation	rel = trigdata->tg_relation;
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "table", cas_relation_name(rel));
	detail_id(&detail, trigdata, table);
	detail_version(&detail, "expected", sent);
	if (may_show(trigdata, bms_make_singleton(table->version)))
		detail_version(&detail, "actual", old);
	cas_log_conflict(rel, &detail);

	ereport(table->settings.enforce == CAS_ENFORCE_WARN ? WARNING : ERROR,
			(errcode(ERRCODE_CAS_CONFLICT),
			 errmsg("version conflict in table \"%s\"",
					RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail_end(&detail)),
			 hint_conflict(table, in_document),
			 errtablecol(rel, table->version)));
}

/* Raise PT428, or a WARNING with enforce => 'warn'. */
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
 * Return whether a mentioned version conflicts with the old one.  If so, set
 * *sent to the version that the writer assumes the row has, for DETAIL.
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
 * Return the version of a row being updated.  The paragraphs are the rules of
 * docs/rows.md, in the order given there.
 */
static int64
updated_version(const FmgrInfo *guard, TriggerData *trigdata, CasTable *table)
{
	Relation	rel = trigdata->tg_relation;
	CasMention	old = {true};
	CasSent		sent;
	Datum		datum;
	bool		expected;

	/* NULL counts as 0; it can only be stored while the guard is disabled. */
	datum = slot_getattr(trigdata->tg_trigslot, table->version, &old.isnull);
	if (!old.isnull)
		old.version = cas_version_value(table, datum);

	/* A foreign key's own action never fails; it advances the version. */
	if (is_foreign_key_action(trigdata))
		return row_differs(trigdata, table, true) ?
			cas_next_version(rel, table, old.version) : old.version;

	/* This extension has compared the version of a row that it announced. */
	sent = cas_sent_by_update(trigdata, table);
	cas_replace_excluded(guard, &sent);
	expected = cas_guard_wants_announcement(table) &&
		cas_guard_expects(trigdata);
	if (expected)
		sent.document.mentioned = false;

	/*
	 * A mentioned version must follow the protocol.  With enforce => 'warn'
	 * the report returns, and the version is advanced.
	 */
	if (is_conflict(table, &sent.column, &old))
	{
		report_conflict(trigdata, table, &sent.column, false, &old);
		return cas_next_version(rel, table, old.version);
	}
	if (cas_mentions_another(&sent.document, old.version))
	{
		report_conflict(trigdata, table, &sent.document, true, &old);
		return cas_next_version(rel, table, old.version);
	}
	if (sent.column.mentioned && table->settings.writers == CAS_WRITERS_BUMP)
		return sent.column.version;
	if (sent.column.mentioned || sent.document.mentioned)
		return row_differs(trigdata, table, false) ?
			cas_next_version(rel, table, old.version) : old.version;

	/* Without a change outside of ignore_columns, the version stays. */
	if (!row_differs(trigdata, table, true))
		return old.version;

	/* Otherwise it is advanced, unless the writer must mention it. */
	if (table->settings.unversioned == CAS_UNVERSIONED_REJECT && !expected)
		report_unversioned(trigdata, table);
	return cas_next_version(rel, table, old.version);
}

/* Return the version of a row being inserted. */
static int64
inserted_version(const FmgrInfo *guard, TriggerData *trigdata, CasTable *table)
{
	CasSent		sent = cas_sent_by_insert(trigdata, table);
	int64		version = cas_first_version(trigdata->tg_relation, table,
											sent.column.version,
											sent.column.isnull);

	cas_remember_insert(guard, table, &sent, version);
	return version;
}

/*
 * Return the tuple in the slot with the version set in its column and in its
 * document; if it has that version already, return the tuple itself.  old is
 * the slot of the old row, or NULL.
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

	/* the executor copies tableoid from the tuple to its slot */
	new = heap_form_tuple(desc, values, nulls);
	new->t_tableOid = tuple->t_tableOid;
	return new;
}

/*
 * cas_guard() RETURNS trigger
 *
 * The guard.  cas_enable() creates the trigger.  On DELETE it only makes the
 * request's claim.
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
											inserted_version(fcinfo->flinfo,
															 trigdata,
															 table)));
	return PointerGetDatum(with_version(trigdata->tg_newtuple,
										trigdata->tg_newslot,
										trigdata->tg_trigslot, table,
										updated_version(fcinfo->flinfo,
														trigdata, table)));
}

/*
 * cas_truncate() RETURNS trigger
 *
 * Makes TRUNCATE ... RESTART IDENTITY restart the version sequence at its
 * current value instead of at its start value.  cas_enable() creates the
 * trigger.
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
	if (!OidIsValid(sequence) || !cas_lock_sequence(sequence))
		return PointerGetDatum(NULL);

	/*
	 * TRUNCATE restarts the sequence at seqstart after this trigger, maybe
	 * within the same command.  It has locked the table, so nobody draws from
	 * the sequence meanwhile.
	 */
	catalog = table_open(SequenceRelationId, RowExclusiveLock);
	tuple = SearchSysCacheCopy1(SEQRELID, ObjectIdGetDatum(sequence));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", sequence);
	((Form_pg_sequence) GETSTRUCT(tuple))->seqstart = cas_draw_last(sequence);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	heap_freetuple(tuple);
	table_close(catalog, RowExclusiveLock);
	CommandCounterIncrement();
	return PointerGetDatum(NULL);
}
