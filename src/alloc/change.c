/*
 * change.c
 *		How a change to a pool begins and ends: the caller's right and the
 *		pool's lock at the beginning, the new epoch at the end.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "alloc/pools.h"

/* Raise 22023. */
void
raise_invalid(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 errhint("%s", hint)));
}

/* Raise 55006 because the pool, or a range of it, still has allocations. */
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
 * Lock the rows of the pool's frontiers, running SQL as the owner, in an order
 * that does not depend on the caller's settings for the planner.  Returns how
 * many were locked.
 *
 * Allocations update these rows, and the transaction of one may be idle.  If
 * we waited for it while holding the pool's lock, everybody would have to wait
 * with us.  So we lock these rows before we take the pool's lock.  Allocations
 * that find them locked in the meantime do not save their frontier.
 */
uint64
pool_lock_frontiers(int32 pool, const char *option)
{
	return owner_sql(psprintf("SELECT 1 FROM @alloc_frontier WHERE range IN "
							  "(SELECT id FROM @alloc_range WHERE pool = $1) "
							  "ORDER BY range FOR UPDATE %s", option),
					 ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

/*
 * Lock all tables as for writing, until the transaction ends.  A change of a pool
 * reads and then writes them: if it had locked one less strongly for reading, with
 * an index, there would be a deadlock with REINDEX.
 */
void
pool_lock_tables(Oid nsp)
{
	for (int i = 0; i < ALLOC_TABLES; i++)
		LockRelationOid(alloc_relation(nsp, alloc_tables[i]),
						RowExclusiveLock);
}

/*
 * Lock the pool of a change exclusively, and the rows of its frontiers before
 * that.  Others may have changed the pool meanwhile, or dropped it and created
 * another one of its name: begin again with that, which has other frontiers.
 */
void
change_lock(Change *change)
{
	for (;;)
	{
		int32		id = change->use.pool->id;
		int64		epoch = change->use.pool->epoch;

		CHECK_FOR_INTERRUPTS();
		owner_sql_begin(&change->scope);
		(void) pool_lock_frontiers(id, "");
		owner_sql_end(&change->scope);
		(void) pool_lock(&change->use, ExclusiveLock);
		if (change->use.pool->id == id && change->use.pool->epoch == epoch)
			return;
		pool_unlock(&change->use);
	}
}

/*
 * Begin to change the pool that the first argument names.  Checks that the
 * caller owns the pool, and locks the pool exclusively until the transaction
 * ends.
 */
void
change_open(FunctionCallInfo fcinfo, Change *change)
{
	request_enter(fcinfo, ENTRY_JOINS);
	require_argument(fcinfo, 0, "pool");

	/*
	 * Check the right first: a caller without it must not wait for a lock,
	 * nor make others wait behind it.
	 */
	pool_use(&change->use, alloc_namespace(fcinfo),
			 text_to_cstring(PG_GETARG_TEXT_PP(0)), RIGHT_OWN);
	require_writable(fcinfo);
	pool_lock_tables(change->use.nsp);
	change_lock(change);
}

/* Raise 22023 if the pool is counted: it has no values. */
void
require_values(const Change *change, const char *what)
{
	if (change->use.pool->counted)
		raise_invalid(psprintf("pools of kind \"%s\" have no %s",
							   kind_name(change->use.pool->kind), what),
					  "They have a capacity; see alloc_pool_set().");
}

/*
 * Assign a new epoch, which makes all backends forget what they know of the
 * pool.
 */
void
pool_new_epoch(int32 pool)
{
	owner_sql("UPDATE @alloc_pool SET epoch = nextval('@alloc_generation') "
			  "WHERE id = $1",
			  ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

/*
 * Forget where something has come free (freed.c).  The caller assigns a new epoch:
 * those who read the pool anew do not need it.  What running transactions are
 * deleting is skipped.
 */
void
pool_forget_freed(int32 pool)
{
	owner_sql("DELETE FROM @alloc_freed WHERE ctid = ANY (ARRAY("
			  "SELECT ctid FROM @alloc_freed WHERE pool = $1 "
			  "FOR UPDATE SKIP LOCKED))",
			  ARGS(INT4OID), VALUES(Int32GetDatum(pool)));
}

/* Read the pool again, after a change to its ranges in this transaction. */
void
change_reload(Change *change)
{
	pool_new_epoch(change->use.pool->id);
	change->use.right = RIGHT_NONE; /* checked, and now we act as the owner */
	(void) pool_use_again(&change->use);
}

/* End a change that backends have to learn of. */
void
change_end(Change *change)
{
	pool_new_epoch(change->use.pool->id);
	owner_sql_end(&change->scope);
}
