/*
 * witness.c
 *		Record the version that a statement sends, for the guard.
 *
 * When the guard fires, it cannot tell a version that the statement set from
 * one that another BEFORE trigger assigned.  A table may have a trigger that
 * counts versions, and with it any stale UPDATE would look up to date.
 * Therefore a second trigger, the witness, fires first and records the
 * version.
 */
#include "cas.h"

#include "access/sysattr.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(cas_witness);

/*
 * The versions sent by UPDATEs whose rows the guard has not seen yet.  There
 * is more than one only if triggers between the witness and the guard, or their
 * WHEN conditions, run UPDATEs themselves, so each UPDATE has one entry.  An entry
 * that an error has left behind does no harm, because the next witness of an UPDATE
 * with this slot overwrites it, or any one when its UPDATE must have ended.
 */
typedef struct Witnessed
{
	Oid			relid;			/* InvalidOid if the entry is not in use */
	ItemPointerData tid;
	CasSent		sent;
	const TupleTableSlot *slot; /* of the running UPDATE's old rows */
	int			level;			/* nesting level of triggers */
	LocalTransactionId transaction;
} Witnessed;

static Witnessed *witnessed = NULL;
static int	nwitnessed = 0;

/* Return the entry of the UPDATE that fires the trigger, or NULL if it has none. */
static Witnessed *
find_witnessed(TriggerData *trigdata)
{
	for (int i = 0; i < nwitnessed; i++)
		if (witnessed[i].slot == trigdata->tg_trigslot)
			return &witnessed[i];
	return NULL;
}

/* Return that entry, or one that is free. */
static Witnessed *
make_witnessed(TriggerData *trigdata)
{
	Witnessed  *entry = find_witnessed(trigdata);
	int			level = cas_trigger_depth();

	for (int i = 0; entry == NULL && i < nwitnessed; i++)
		if (!OidIsValid(witnessed[i].relid) || witnessed[i].level > level ||
			witnessed[i].transaction != my_lxid())
			entry = &witnessed[i];
	if (entry == NULL)
	{
		int			n = 2 * nwitnessed + 8;
		Size		size = n * sizeof(Witnessed);

		/* if this fails, what was there before is still valid */
		witnessed = witnessed == NULL ?
			MemoryContextAlloc(TopMemoryContext, size) :
			repalloc(witnessed, size);
		memset(witnessed + nwitnessed, 0,
			   size - nwitnessed * sizeof(Witnessed));
		entry = &witnessed[nwitnessed];
		nwitnessed = n;
	}
	entry->slot = trigdata->tg_trigslot;
	entry->level = level;
	entry->transaction = my_lxid();
	return entry;
}

/* Return whether the column is in the SET list of an UPDATE. */
static bool
is_set(TriggerData *trigdata, AttrNumber attnum)
{
	return bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber,
						 trigdata->tg_updatedcols);
}

/* Return the version in the column of a row. */
static CasMention
column_mention(CasTable *table, TupleTableSlot *slot)
{
	CasMention	mention = {true};
	Datum		datum = slot_getattr(slot, table->version, &mention.isnull);

	if (!mention.isnull)
		mention.version = cas_version_value(table, datum);
	return mention;
}

/* Return the version inside the document of a row. */
static CasMention
document_mention(CasTable *table, TupleTableSlot *slot)
{
	CasMention	mention = {false};
	bool		isnull;
	Datum		datum;

	/* with "bump", clients do not send the version in the document */
	if (table->settings.version_path.length == 0 ||
		table->settings.writers != CAS_WRITERS_ECHO)
		return mention;
	datum = slot_getattr(slot, table->payload, &isnull);
	return isnull ? mention :
		cas_document_version(table, DatumGetJsonbP(datum));
}

/* Return what an INSERT sends.  It counts as mentioning all columns. */
CasSent
cas_sent_by_insert(TriggerData *trigdata, CasTable *table)
{
	CasSent		sent;

	sent.column = column_mention(table, trigdata->tg_trigslot);
	sent.document = document_mention(table, trigdata->tg_trigslot);
	return sent;
}

/*
 * Return whether an UPDATE sets a column that can mention a version.  Only
 * then does the witness record it.
 */
static bool
may_mention(TriggerData *trigdata, CasTable *table)
{
	return is_set(trigdata, table->version) ||
		(table->settings.version_path.length > 0 &&
		 table->settings.writers == CAS_WRITERS_ECHO &&
		 is_set(trigdata, table->payload));
}

/* Return the version that an UPDATE's new row has now. */
static CasSent
read_update(TriggerData *trigdata, CasTable *table)
{
	CasSent		sent = {{false}, {false}};

	if (is_set(trigdata, table->version))
		sent.column = column_mention(table, trigdata->tg_newslot);
	if (table->payload != 0 && is_set(trigdata, table->payload))
		sent.document = document_mention(table, trigdata->tg_newslot);
	return sent;
}

/*
 * Return the version that an UPDATE has sent: the one that the witness has
 * recorded or, if there is no witness trigger, the one in the new row.
 */
CasSent
cas_sent_by_update(TriggerData *trigdata, CasTable *table)
{
	CasSent		none = {{false}, {false}};
	Witnessed  *entry;

	if (!may_mention(trigdata, table))
		return none;

	/* both triggers fire for the same row of the same UPDATE */
	entry = find_witnessed(trigdata);
	if (entry != NULL && entry->relid == table->relid &&
		ItemPointerEquals(&entry->tid, &trigdata->tg_trigtuple->t_self))
	{
		entry->relid = InvalidOid;
		return entry->sent;
	}
	return read_update(trigdata, table);
}

/*
 * cas_witness() RETURNS trigger
 *
 * Records the version that an UPDATE sends, before other triggers assign to
 * it.  cas_enable() creates the trigger.
 */
Datum
cas_witness(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	CasTable   *table;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("cas_witness() was not called by the trigger manager")));
	if (!TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("cas_witness() must be fired BEFORE UPDATE, FOR EACH ROW")));

	/* other UPDATEs cannot mention a version, so nothing is recorded */
	table = cas_table_of(trigdata->tg_relation);
	if (table != NULL && may_mention(trigdata, table))
	{
		CasSent		sent = read_update(trigdata, table);
		Witnessed  *entry = make_witnessed(trigdata);

		entry->relid = table->relid;
		entry->tid = trigdata->tg_trigtuple->t_self;
		entry->sent = sent;
	}
	return PointerGetDatum(trigdata->tg_newtuple);
}
