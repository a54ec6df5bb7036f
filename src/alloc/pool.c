/*
 * pool.c
 *		Pools: their lock, and who may use them.
 *
 * A pool's lock is a heavyweight lock of the advisory class, in a space that
 * the SQL functions for advisory locks cannot reach.  The tag contains the
 * pool's id itself, not a hash of its name, so two pools never share a lock.
 * A pool that is being created needs no lock, because nobody else can see it;
 * if two sessions create pools of one name, the unique index decides.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "alloc/alloc.h"

/* Our class of advisory locks; the SQL functions use 1 and 2. */
#define POOL_LOCK_CLASS 0xA110

PG_FUNCTION_INFO_V1(alloc_pool_changed);
PG_FUNCTION_INFO_V1(alloc_shows);
PG_FUNCTION_INFO_V1(alloc_owner_name);

/*
 * Trigger on alloc_pool and alloc_grantee: make all backends read the pools
 * again.
 *
 * The change is announced like a change to a table's definition.  So other
 * backends learn of it before they get any lock that we held while making it,
 * and this backend also learns of a rollback.
 */
Datum
alloc_pool_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"alloc_pool_changed\" was not called by trigger manager")));
	CacheInvalidateRelcacheByRelid(internal_relation("alloc_pool"));
	return PointerGetDatum(NULL);
}

/* Build the tag of a pool's lock. */
static void
pool_locktag(LOCKTAG *tag, Oid nsp, int32 id)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, nsp, id, POOL_LOCK_CLASS);
}

/*
 * May the caller do this with a pool of that owner and these grantees?
 *
 * Members of a role may do what the role may do.  Members of pg_monitor may
 * see all pools.  If the owner was dropped, the pool belongs to the
 * extension's owner.  A grant to a dropped role is void.
 */
static bool
pool_permits(Oid owner, const Oid *grantees, int ngrantees, PoolRight right)
{
	Oid			caller = GetUserId();

	if (right == RIGHT_NONE ||
		has_privs_of_role(caller, effective_owner(owner)))
		return true;
	if (right == RIGHT_OWN)
		return false;
	if (right == RIGHT_SEE && has_privs_of_role(caller, ROLE_PG_MONITOR))
		return true;
	for (int i = 0; i < ngrantees; i++)
	{
		/*
		 * A superuser has the privileges of every OID, even of a dropped role.
		 */
		if (has_privs_of_role(caller, grantees[i]) &&
			SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(grantees[i])))
			return true;
	}
	return false;
}

/*
 * May the caller see a pool of that owner and these grantees?  Elements of the
 * array that are null are grants to roles that do not exist here.
 */
bool
pool_shows(Oid owner, ArrayType *grantees)
{
	Datum	   *roles;
	bool	   *nulls;
	int			nroles;
	int			n = 0;
	Oid		   *present;

	deconstruct_array(grantees, OIDOID, sizeof(Oid), true, TYPALIGN_INT,
					  &roles, &nulls, &nroles);
	present = palloc(Max(nroles, 1) * sizeof(Oid));
	for (int i = 0; i < nroles; i++)
	{
		if (!nulls[i])
			present[n++] = DatumGetObjectId(roles[i]);
	}
	return pool_permits(owner, present, n, RIGHT_SEE);
}

/*
 * alloc_shows(owner, grantees) RETURNS boolean
 *
 * Used by the views.
 */
Datum
alloc_shows(PG_FUNCTION_ARGS)
{
	require_argument(fcinfo, 1, "grantees");
	PG_RETURN_BOOL(pool_shows(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0),
							  PG_GETARG_ARRAYTYPE_P(1)));
}

/*
 * alloc_owner_name(owner) RETURNS text
 *
 * Used by the views.
 */
Datum
alloc_owner_name(PG_FUNCTION_ARGS)
{
	Oid			owner = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	char	   *name = role_name(effective_owner(owner));

	/* dropped while we were looking */
	if (name == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

/* Raise PT404. */
pg_noreturn void
raise_no_pool(const char *name)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "pool", name);
	ereport(ERROR,
			(errcode(ERRCODE_CAS_NOT_FOUND),
			 errmsg("pool \"%s\" does not exist", name),
			 errdetail_internal("%s", detail_end(&detail))));
}

/*
 * Return the pool of that name as it is now, or NULL if there is none.  Raises
 * 42501 if the caller does not have the right.  The result is owned by the cache
 * and valid at least until the current memory context is reset.
 */
Pool *
pool_find(Oid nsp, const char *name, PoolRight right)
{
	Pool	   *pool = cache_get(nsp, name);

	if (pool != NULL &&
		!pool_permits(pool->owner, pool->grantees, pool->ngrantees, right))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 right == RIGHT_OWN ?
				 errmsg("must be owner of pool \"%s\"", name) :
				 errmsg("permission denied for pool \"%s\"", name)));
	return pool;
}

/* The same, but raises PT404 if there is no such pool, except with RIGHT_NONE. */
Pool *
pool_open(Oid nsp, const char *name, PoolRight right)
{
	Pool	   *pool = pool_find(nsp, name, right);

	if (pool == NULL && right != RIGHT_NONE)
		raise_no_pool(name);
	return pool;
}

/*
 * Return the pool of that name as the snapshot shows it, apart from the cache,
 * for functions that only look.  Returns NULL if there is none, or the caller
 * may not see it: another pool may have got the name since pool_open().
 */
Pool *
pool_read(Oid nsp, const char *name, Snapshot snapshot)
{
	Pool	   *pool = cache_read(nsp, name, snapshot);

	return pool != NULL &&
		pool_permits(pool->owner, pool->grantees, pool->ngrantees,
					 RIGHT_SEE) ? pool : NULL;
}

/* Raise 22023 if the pool is counted, so its units have no values. */
void
pool_require_values(const Pool *pool)
{
	if (pool->counted)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pool \"%s\" has a capacity, but no values",
						pool->name),
				 errhint("See alloc_usage() and the view alloc_units.")));
}

/*
 * Begin to use the pool of that name, without locking it.  Raises the same
 * errors as pool_open().  Returns false if there is no such pool, with
 * RIGHT_NONE.
 */
bool
pool_use(PoolUse *use, Oid nsp, const char *name, PoolRight right)
{
	use->nsp = nsp;
	use->name = name;
	use->right = right;
	use->mode = NoLock;
	use->levels = NULL;
	return pool_use_again(use);
}

/* Look up the pool again, since it may have changed. */
bool
pool_use_again(PoolUse *use)
{
	use->pool = pool_open(use->nsp, use->name, use->right);
	return use->pool != NULL;
}

/*
 * Wait for the pool's lock, and read the pool as it is then.  If it was
 * dropped in between, this is the pool that has its name now; returns false if
 * there is none, with RIGHT_NONE.
 *
 * Allocations and releases hold the lock in share mode while they work and
 * release it before they return, so an idle transaction does not hold it.
 * Changes to the pool take it exclusively and keep it until the transaction
 * ends.  Hence every allocation sees a change completely or not at all, and a
 * session that changes a pool sees the rows of all earlier calls, committed or
 * not.
 */
bool
pool_lock(PoolUse *use, LOCKMODE mode)
{
	static const Patience patience = {0};

	return pool_lock_patiently(use, mode, &patience);
}

/* The same, and returns false, with use->mode NoLock, if patience is over. */
bool
pool_lock_patiently(PoolUse *use, LOCKMODE mode, const Patience *patience)
{
	for (;;)
	{
		int32		id = use->pool->id;
		LOCKTAG		tag;

		pool_locktag(&tag, use->nsp, id);
		use->mode = NoLock;
		if (!wait_for_lock_patiently(&tag, mode, patience))
			return false;

		/*
		 * The pool may have been dropped, and another one of its name created,
		 * while we waited.  Then the lock is not the one that we need.
		 */
		if (pool_use_again(use) && use->pool->id == id)
		{
			use->mode = mode;
			return true;
		}
		LockRelease(&tag, mode, false);
		if (use->pool == NULL)
			return false;
	}
}

/*
 * The same for taking something from the pool.  As long as the capacity of a
 * counted pool is lowered below what was held, what is held has to be counted
 * before anything is taken.  So the lock is exclusive then, in whatever mode
 * the caller asks for it.
 */
bool
pool_lock_to_take(PoolUse *use, LOCKMODE mode, const Patience *patience)
{
	for (;;)
	{
		if (use->pool->lowered)
			mode = ExclusiveLock;
		if (!pool_lock_patiently(use, mode, patience))
			return false;
		if (!use->pool->lowered || mode == ExclusiveLock)
			return true;
		/* it was lowered while we waited */
		pool_unlock(use);
	}
}

/*
 * Lock the pool, and read it as it is then, without waiting.  Returns false,
 * without the lock, if that is not possible.
 */
bool
pool_lock_at_once(PoolUse *use, LOCKMODE mode)
{
	int32		id = use->pool->id;
	LOCKTAG		tag;

	pool_locktag(&tag, use->nsp, id);
	if (LockAcquire(&tag, mode, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	if (pool_use_again(use) && use->pool->id == id)
	{
		use->mode = mode;
		return true;
	}
	/* not the pool that we locked; the caller will wait instead */
	LockRelease(&tag, mode, false);
	return false;
}

/* The same for taking something, in the mode that pool_lock_to_take() uses. */
bool
pool_lock_to_take_at_once(PoolUse *use, LOCKMODE mode)
{
	if (!pool_lock_at_once(use, use->pool->lowered ? ExclusiveLock : mode))
		return false;
	if (!use->pool->lowered || use->mode == ExclusiveLock)
		return true;
	/* it has just been lowered */
	pool_unlock(use);
	return pool_lock_at_once(use, ExclusiveLock);
}

/* Release the pool's lock. */
void
pool_unlock(PoolUse *use)
{
	LOCKTAG		tag;

	pool_locktag(&tag, use->nsp, use->pool->id);
	LockRelease(&tag, use->mode, false);
	use->mode = NoLock;
}
