/*
 * change.c
 *		Changing a pool: its lock and the caller's right to begin with, in the
 *		end what tells all backends of it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "alloc/pools.h"

void
raise_invalid(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 errhint("%s", hint)));
}

void
raise_in_use(const Change *change, const char *what, const char *hint)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "pool", change->use.name);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("%s has units that are allocated", what),
			 errdetail_internal("%s", detail_end(&detail)),
			 errhint("%s", hint)));
}

/*
 * Lock the rows of the pool's frontiers, in SQL as the owner; returns how many
 * there are.  Allocations update them, and an idle transaction may have done
 * so.  Waiting for it with the pool's lock in hand would make everybody wait,
 * so this is done before that is taken.  Allocations that come then find the
 * rows locked, and go on without.
 */
uint64
pool_lock_frontiers(int32 pool, const char *option)
{
	return owner_sql(psprintf("SELECT 1 FROM @alloc_frontier WHERE range IN "
							  "(SELECT id FROM @alloc_range WHERE pool = $1) "
							  "FOR UPDATE %s", option),
					 ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

/*
 * Begin to change the pool that the first argument names: its lock, and the
 * caller's right.
 */
void
change_open(FunctionCallInfo fcinfo, Change *change)
{
	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");

	/* no right to it, no waiting for its lock */
	pool_use(&change->use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_OWN);
	require_writable(fcinfo);
	owner_sql_begin(&change->scope);
	(void) pool_lock_frontiers(change->use.pool->id, "");
	owner_sql_end(&change->scope);
	(void) pool_lock(&change->use, ExclusiveLock);
}

/* Make all backends forget what they know of the pool. */
void
pool_new_epoch(int32 pool)
{
	owner_sql("UPDATE @alloc_pool SET epoch = nextval('@alloc_generation') "
			  "WHERE id = $1",
			  ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

/* Read the pool again, after a change to its ranges. */
void
change_reload(Change *change)
{
	pool_new_epoch(change->use.pool->id);
	change->use.right = RIGHT_NONE; /* it is the owner who asks by now */
	(void) pool_use_again(&change->use);
}

/* End a change to what all backends know of the pool. */
void
change_end(Change *change)
{
	pool_new_epoch(change->use.pool->id);
	owner_sql_end(&change->scope);
}
