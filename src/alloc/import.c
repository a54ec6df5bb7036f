/*
 * import.c
 *		Takes over what another system has given out, and compares with it.
 *
 * Each unit is a request for a certain value, and none of them depends on
 * another.  But a call does not wait while it holds what it has imported; see
 * attempt.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "alloc/answer.h"
#include "alloc/attempt.h"
#include "alloc/inventory.h"
#include "alloc/share.h"
#include "base/entry.h"

PG_FUNCTION_INFO_V1(alloc_import);
PG_FUNCTION_INFO_V1(alloc_inventory);

/* A call. */
typedef struct Import
{
	PoolUse		use;
	Store		store;
	int			nentries;
	Entry	   *entries;
	const char **outcomes;
} Import;

/* The word for the outcome of an allocation from the pool. */
static const char *
import_outcome(const Pool *pool, const Answer *answer)
{
	/* its own places or those of a pool above are held or cooling */
	bool		is_share = pool->counted || answer->full != NULL;

	switch (answer->outcome)
	{
		case OUTCOME_ALLOCATED:
			return "imported";
		case OUTCOME_HELD:
			return "held";
		case OUTCOME_REUSED:
			return "reused";
		case OUTCOME_RESERVED:
			return "reserved";
		case OUTCOME_TAKEN:
			return "taken";
		case OUTCOME_COOLING:
			return is_share ? "exhausted" : "taken";
		default:
			return "exhausted";
	}
}

/*
 * The key has something already, or has not: say so if that is all there is to
 * say about a value that the pool does not give out.  Returns false if it takes
 * waiting.
 */
static bool
import_outside(Attempt *attempt, Import *import, Entry *entry,
			   const char **outcome)
{
	TimestampTz now = GetCurrentTimestamp();
	SlotRow		unit;
	int			key_row;
	KeyState	state = key_look(&import->store, import->use.pool,
								 &entry->key, now, &unit, &key_row);

	*outcome = entry->request.place == PLACE_EXCLUDED ? "reserved" :
		"outside";
	if (state == KEY_BUSY)
		return attempt_meets_row(attempt, &import->use, &unit);
	key_check_snapshot(&import->store, import->use.pool, &entry->key,
					   state == KEY_NONE ? NULL : &unit, now);
	if (state == KEY_HOLDS)
		*outcome = entry->fits && resolve_is_same(&entry->request, &unit) ?
			"held" : "reused";
	return true;
}

/* Import an entry, whose key is locked. */
static bool
import_entry(Attempt *attempt, Import *import, Entry *entry,
			 const char **outcome)
{
	Request    *request = &entry->request;
	Answer		answer = {0};

	request->place = PLACE_OUTSIDE;
	if (entry->fits)
		resolve_request(import->use.pool, request);
	if (!entry->fits ||
		(!import->use.pool->counted &&
		 (request->place == PLACE_OUTSIDE ||
		  request->place == PLACE_EXCLUDED)))
		return import_outside(attempt, import, entry, outcome);

	request->expires_at = entry->expires ? entry->expires_at : 0;
	if (!unit_try(&import->store, &import->use, request,
				  attempt_round(attempt), &answer))
		return attempt_meets_row(attempt, &import->use, &answer.unit);
	if (answer.outcome == OUTCOME_BUSY)
		return attempt_meets_waits(attempt, OBSTACLE_ROOM, &import->use,
								   &entry->key, &import->store.waits);
	*outcome = import_outcome(import->use.pool, &answer);
	return true;
}

/* TryFunction: import all entries. */
static bool
try_import(Attempt *attempt, void *call)
{
	static const Patience patience = {0};
	Import	   *import = call;
	PoolUse    *use = &import->use;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext cxt;
	Levels		levels;
	PoolUse		busy;
	bool		done = true;

	(void) pool_use_again(use);
	store_open(&import->store, use->nsp, RowExclusiveLock);
	levels_begin(&levels, &import->store, use);
	levels.takes = true;
	(void) pool_lock_to_take(use, attempt_round(attempt) > 0 ?
							 ExclusiveLock : ShareLock, &patience);
	for (int i = 0; i < MAX_LEVELS; i++)
		levels.level[i].exclusive = attempt_round(attempt) > 0;
	if (!levels_lock(&levels, &patience, &busy))
	{
		pool_unlock(use);
		use->levels = NULL;
		store_close(&import->store);
		return attempt_meets_level_lock(attempt, &busy);
	}

	cxt = AllocSetContextCreate(caller, "alloc_import unit",
								ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < import->nentries && done; i++)
	{
		Entry	   *entry = &import->entries[i];

		CHECK_FOR_INTERRUPTS();
		if (entry->problem != NULL)
			continue;
		if (!key_lock_at_once(use, &entry->key))
		{
			done = attempt_meets_lock(attempt, use, &entry->key);
			break;
		}
		MemoryContextSwitchTo(cxt);
		done = import_entry(attempt, import, entry, &import->outcomes[i]);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(cxt);
		key_unlock(use, &entry->key);
	}
	levels_unlock(&levels);
	pool_unlock(use);
	use->levels = NULL;
	store_close(&import->store);
	return done;
}

/*
 * alloc_import(pool, units)
 * RETURNS TABLE (value, key, outcome)
 */
Datum
alloc_import(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *function = "alloc_import";
	Import		import = {0};
	Attempt		attempt;

	request_enter(fcinfo, ENTRY_WRITES);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "units");
	InitMaterializedSRF(fcinfo, 0);
	pool_use(&import.use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_USE);
	key_require_writing(function);
	import.entries = inventory_read(import.use.pool, function,
									PG_GETARG_JSONB_P(1), "units",
									&import.nentries);
	import.outcomes = MemoryContextAllocHuge(CurrentMemoryContext,
											 Max(import.nentries, 1) *
											 sizeof(char *));
	attempt_run(&attempt, function, try_import, &import);

	for (int i = 0; i < import.nentries; i++)
	{
		Entry	   *entry = &import.entries[i];
		Datum		values[3] = {0};
		bool		nulls[3] = {false, false, false};

		if (entry->problem != NULL)
		{
			import.outcomes[i] = "malformed";
			ereport(NOTICE, (errmsg_internal("%s", entry->problem)));
		}
		nulls[0] = entry->text == NULL;
		if (!nulls[0])
			values[0] = CStringGetTextDatum(entry->text);
		nulls[1] = !entry->has_key;
		values[1] = UUIDPGetDatum(&entry->key);
		values[2] = CStringGetTextDatum(import.outcomes[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/*
 * alloc_inventory(pool, held, min_age)
 * RETURNS TABLE (value, key, n)
 *
 * The inventory of another system as rows, with the values as alloc_units has
 * them, and n NULL if the inventory does not say it.  Used by
 * alloc_reconcile(), whose arguments are checked here.
 */
Datum
alloc_inventory(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Pool	   *pool;
	Entry	   *entries;
	int			nentries;

	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");
	require_argument(fcinfo, 1, "held");
	require_argument(fcinfo, 2, "min_age");
	(void) interval_from_now(PG_GETARG_INTERVAL_P(2), "min_age");
	InitMaterializedSRF(fcinfo, 0);
	pool = pool_open(alloc_namespace(fcinfo),
					 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_SEE);
	entries = inventory_read(pool, "alloc_reconcile", PG_GETARG_JSONB_P(1),
							 "held", &nentries);
	for (int i = 0; i < nentries; i++)
	{
		Entry	   *entry = &entries[i];
		Request    *request = &entry->request;
		Datum		values[3];
		bool		nulls[3] = {false, false, entry->n == 0};
		char	   *text = entry->text;

		if (entry->problem != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg_internal("%s", entry->problem),
					 errdetail_internal("{\"position\": \"%s\"}",
										entry->position)));
		if (entry->fits && !pool->counted)
		{
			resolve_request(pool, request);
			if (request->lo != U128_MAX)
				text = unit_text(pool, request->lo, request->order);
		}
		values[0] = CStringGetTextDatum(text);
		values[1] = UUIDPGetDatum(&entry->key);
		values[2] = Int64GetDatum(entry->n);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
