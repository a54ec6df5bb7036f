/*
 * witness.c
 *		What a statement says of the version, as it was sent.
 *
 * That and what other BEFORE triggers assign to the row look alike by the
 * time the guard fires, and a trigger that counts versions itself is just what
 * a table may have had before: it would make any stale UPDATE look right.  So
 * there is a second trigger, the witness, which fires first and remembers.
 */
#include "cas.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "storage/proc.h"

PG_FUNCTION_INFO_V1(cas_witness);

/*
 * What UPDATEs have sent for rows that the guard has yet to see.  There are
 * several only while triggers between the witness and the guard do UPDATEs
 * themselves, one for each level of that; so the newest for a row is the right
 * one, and those that an error has left behind are never asked for.
 */
typedef struct Witnessed
{
	Oid			relid;
	ItemPointerData tid;
	CasSent		sent;
} Witnessed;

#define MAX_WITNESSED 64

static Witnessed witnessed[MAX_WITNESSED];
static int	newest = 0;

/*
 * The row that the last INSERT was about to write: the version that it sent
 * and the one that the guard gave it.  Where it meets another row, ON CONFLICT
 * DO UPDATE follows at once, and its EXCLUDED has the latter.
 */
static struct
{
	Oid			relid;
	LocalTransactionId transaction;
	CommandId	command;
	CasSent		sent;
	int64		written;
}			inserted;

/* Whether an UPDATE has the column in its SET list. */
static bool
is_set(TriggerData *trigdata, AttrNumber attnum)
{
	return bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber,
						 trigdata->tg_updatedcols);
}

static CasMention
column_mention(CasTable *table, TupleTableSlot *slot)
{
	CasMention	mention = {true};
	Datum		datum = slot_getattr(slot, table->version, &mention.isnull);

	if (!mention.isnull)
		mention.version = cas_version_value(table, datum);
	return mention;
}

static CasMention
document_mention(CasTable *table, TupleTableSlot *slot)
{
	CasMention	mention = {false};
	bool		isnull;
	Datum		datum;

	if (table->settings.version_path.length == 0 ||
		table->settings.writers != CAS_WRITERS_ECHO)
		return mention;
	datum = slot_getattr(slot, table->payload, &isnull);
	return isnull ? mention :
		cas_document_version(table, DatumGetJsonbP(datum));
}

/* What an INSERT sends; its columns are all mentioned. */
CasSent
cas_sent_by_insert(TriggerData *trigdata, CasTable *table)
{
	CasSent		sent;

	sent.column = column_mention(table, trigdata->tg_trigslot);
	sent.document = document_mention(table, trigdata->tg_trigslot);
	return sent;
}

/*
 * Remember it, and what the guard makes of it.
 */
void
cas_remember_insert(TriggerData *trigdata, CasTable *table,
					const CasSent *sent, int64 written)
{
	inserted.relid = table->relid;
	inserted.transaction = my_lxid();
	inserted.command = GetCurrentCommandId(false);
	inserted.sent = *sent;
	inserted.written = written;
}

/*
 * In an UPDATE that follows an INSERT of the same command, its number stands
 * for what the statement sent.  No row has that number yet, and nobody could
 * know it.
 */
static CasMention
as_sent(CasTable *table, CasMention mention, CasMention by_insert)
{
	if (mention.mentioned && !mention.isnull &&
		mention.version == inserted.written &&
		inserted.relid == table->relid &&
		inserted.transaction == my_lxid() &&
		inserted.command == GetCurrentCommandId(false))
		return by_insert;
	return mention;
}

/*
 * Whether an UPDATE sets what can mention a version: then it has a witness.
 */
static bool
may_mention(TriggerData *trigdata, CasTable *table)
{
	return is_set(trigdata, table->version) ||
		(table->settings.version_path.length > 0 &&
		 table->settings.writers == CAS_WRITERS_ECHO &&
		 is_set(trigdata, table->payload));
}

/* What an UPDATE's new row says of the version. */
static CasSent
read_update(TriggerData *trigdata, CasTable *table)
{
	CasSent		sent = {{false}, {false}};

	if (is_set(trigdata, table->version))
		sent.column = as_sent(table,
							  column_mention(table, trigdata->tg_newslot),
							  inserted.sent.column);
	if (table->payload != 0 && is_set(trigdata, table->payload))
		sent.document = as_sent(table,
								document_mention(table, trigdata->tg_newslot),
								inserted.sent.document);
	return sent;
}

/*
 * What an UPDATE has sent: what the witness saw, or, where there is no
 * witness, what the row has by now.
 */
CasSent
cas_sent_by_update(TriggerData *trigdata, CasTable *table)
{
	CasSent		none = {{false}, {false}};

	if (!may_mention(trigdata, table))
		return none;
	for (int i = 0; i < MAX_WITNESSED; i++)
	{
		int			n = (newest + MAX_WITNESSED - i) % MAX_WITNESSED;

		if (witnessed[n].relid == table->relid &&
			ItemPointerEquals(&witnessed[n].tid,
							  &trigdata->tg_trigtuple->t_self))
		{
			witnessed[n].relid = InvalidOid;
			newest = (n + MAX_WITNESSED - 1) % MAX_WITNESSED;
			return witnessed[n].sent;
		}
	}
	return read_update(trigdata, table);
}

/*
 * cas_witness() RETURNS trigger: remembers what an UPDATE sends as the
 * version, before other triggers assign to it.  cas_enable() makes the
 * trigger.
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

	table = cas_table_of(trigdata->tg_relation);
	if (table != NULL && may_mention(trigdata, table))
	{
		CasSent		sent = read_update(trigdata, table);

		newest = (newest + 1) % MAX_WITNESSED;
		witnessed[newest].relid = table->relid;
		witnessed[newest].tid = trigdata->tg_trigtuple->t_self;
		witnessed[newest].sent = sent;
	}
	return PointerGetDatum(trigdata->tg_newtuple);
}
