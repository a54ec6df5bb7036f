/*
 * witness.c
 *		The witness: a trigger that remembers which version an UPDATE sends.
 *
 * What a statement says of the version and what other BEFORE triggers assign
 * to it look alike by the time the guard fires, and a trigger that counts
 * versions itself is just what a table may have had before: it would make any
 * stale UPDATE look right.  So the witness fires first and remembers what was
 * sent.
 */
#include "cas.h"

#include "access/sysattr.h"

PG_FUNCTION_INFO_V1(cas_witness);

/*
 * What UPDATEs have sent as the versions of rows that the guard has yet to
 * see.  There are several only while triggers between the witness and the
 * guard do UPDATEs themselves, one for each level of that; so the newest for
 * a row is the right one, and those that an error has left behind are never
 * asked for.
 */
typedef struct SentVersion
{
	Oid			relid;
	ItemPointerData tid;
	bool		isnull;
	int64		version;
} SentVersion;

#define MAX_SENT_VERSIONS 64

static SentVersion sent_versions[MAX_SENT_VERSIONS];
static int	newest_sent_version = 0;

/* Whether an UPDATE has the version in its SET list. */
bool
cas_version_is_set(TriggerData *trigdata, CasTable *table)
{
	return bms_is_member(table->version - FirstLowInvalidHeapAttributeNumber,
						 trigdata->tg_updatedcols);
}

/*
 * What an UPDATE has sent as the version: what the witness saw, or, where
 * there is no witness, what the row has by now.
 */
int64
cas_sent_version(TriggerData *trigdata, CasTable *table, bool *isnull)
{
	Datum		datum;

	for (int i = 0; i < MAX_SENT_VERSIONS; i++)
	{
		int			n = (newest_sent_version + MAX_SENT_VERSIONS - i) %
			MAX_SENT_VERSIONS;
		SentVersion *sent = &sent_versions[n];

		if (sent->relid == table->relid &&
			ItemPointerEquals(&sent->tid, &trigdata->tg_trigtuple->t_self))
		{
			sent->relid = InvalidOid;
			newest_sent_version = (n + MAX_SENT_VERSIONS - 1) %
				MAX_SENT_VERSIONS;
			*isnull = sent->isnull;
			return sent->version;
		}
	}
	datum = slot_getattr(trigdata->tg_newslot, table->version, isnull);
	return *isnull ? 0 : cas_version_value(table, datum);
}

/*
 * cas_witness() RETURNS trigger: remembers the version that an UPDATE sends,
 * before other triggers assign to it.  cas_enable() makes the trigger.
 */
Datum
cas_witness(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	CasTable   *table;
	SentVersion *sent;
	Datum		datum;

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
	if (table != NULL && cas_version_is_set(trigdata, table))
	{
		newest_sent_version = (newest_sent_version + 1) % MAX_SENT_VERSIONS;
		sent = &sent_versions[newest_sent_version];
		sent->relid = table->relid;
		sent->tid = trigdata->tg_trigtuple->t_self;
		datum = slot_getattr(trigdata->tg_newslot, table->version,
							 &sent->isnull);
		sent->version = sent->isnull ? 0 : cas_version_value(table, datum);
	}
	return PointerGetDatum(trigdata->tg_newtuple);
}
