/*
 * pool.c
 *		Pools: their lock, and who may use them.
 *
 * The pool's lock is a heavyweight lock on its id, of a class that SQL's
 * advisory locks cannot reach; names are not hashed for it, so nobody can make
 * a pool whose lock is another's.  A pool that is just being made needs none:
 * nobody else sees it, and of two of one name a unique index decides.
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

/* Our class of advisory locks; SQL's functions use 1 and 2. */
#define POOL_LOCK_CLASS 0xA110

PG_FUNCTION_INFO_V1(alloc_pool_changed);
PG_FUNCTION_INFO_V1(alloc_shows);
PG_FUNCTION_INFO_V1(alloc_owner_name);

/*
 * The trigger on alloc_pool and alloc_grantee.  Whatever changes these tables,
 * backends learn of it as they learn of changed tables: before they get a lock
 * that the change was made under, and those whose change is rolled back, too.
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

static void
pool_locktag(LOCKTAG *tag, Oid nsp, int32 id)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, nsp, id, POOL_LOCK_CLASS);
}

/*
 * May the caller do this with a pool of that owner and these grantees?
 * Members of a role may what the role may; members of pg_monitor see all
 * pools.  What a dropped role owned is the extension's owner's, and a grant to
 * one is nobody's.
 */
bool
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
		/* an oid of nobody: not even the role that this was */
		if (has_privs_of_role(caller, grantees[i]) &&
			SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(grantees[i])))
			return true;
	}
	return false;
}

/* May the caller see a pool of that owner and these grantees, some null? */
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
 * alloc_shows(owner, grantees) RETURNS boolean: serves the views.
 */
Datum
alloc_shows(PG_FUNCTION_ARGS)
{
	require_argument(fcinfo, 1, "grantees");
	PG_RETURN_BOOL(pool_shows(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0),
							  PG_GETARG_ARRAYTYPE_P(1)));
}

/*
 * alloc_owner_name(owner) RETURNS text: serves the views.
 */
Datum
alloc_owner_name(PG_FUNCTION_ARGS)
{
	Oid			owner = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	char	   *name = role_name(effective_owner(owner));

	if (name == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

pg_noreturn static void
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
 * The pool of that name as it is now, or PT404 (with RIGHT_NONE: NULL); 42501
 * if the caller may not do with it what right says.  The result belongs to the
 * cache, and lives at least until the current memory context is reset.
 */
Pool *
pool_open(Oid nsp, const char *name, PoolRight right)
{
	Pool	   *pool = cache_get(nsp, name);

	if (pool == NULL)
	{
		if (right != RIGHT_NONE)
			raise_no_pool(name);
		return NULL;
	}
	if (!pool_permits(pool->owner, pool->grantees, pool->ngrantees, right))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 right == RIGHT_OWN ?
				 errmsg("must be owner of pool \"%s\"", name) :
				 errmsg("permission denied for pool \"%s\"", name)));
	return pool;
}

/*
 * Begin to use the pool of that name, as pool_open() has it.  False if there
 * is none, with RIGHT_NONE.
 */
bool
pool_use(PoolUse *use, Oid nsp, const char *name, PoolRight right)
{
	use->nsp = nsp;
	use->name = name;
	use->right = right;
	use->mode = NoLock;
	return pool_use_again(use);
}

/* Look at the pool again, which may have changed. */
bool
pool_use_again(PoolUse *use)
{
	use->pool = pool_open(use->nsp, use->name, use->right);
	return use->pool != NULL;
}

/*
 * Wait for the pool's lock, and have the pool as it is then: if it was dropped
 * meanwhile, the one that has its name now.
 *
 * A call that allocates or releases has the lock in share mode while it works,
 * and gives it back before it returns, so an idle transaction holds none.
 * Those who change the pool have it exclusively until their transaction ends.
 * Hence each allocation sees a change wholly or not at all, and who changes a
 * pool sees the rows of all calls that came before, committed or running.
 */
bool
pool_lock(PoolUse *use, LOCKMODE mode)
{
	for (;;)
	{
		int32		id = use->pool->id;
		LOCKTAG		tag;

		pool_locktag(&tag, use->nsp, id);
		(void) LockAcquire(&tag, mode, false, false);
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

/* The same in share mode, if it can be had without waiting. */
bool
pool_lock_at_once(PoolUse *use)
{
	int32		id = use->pool->id;
	LOCKTAG		tag;

	pool_locktag(&tag, use->nsp, id);
	if (LockAcquire(&tag, ShareLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	if (pool_use_again(use) && use->pool->id == id)
	{
		use->mode = ShareLock;
		return true;
	}
	LockRelease(&tag, ShareLock, false);
	return false;
}

void
pool_unlock(PoolUse *use)
{
	LOCKTAG		tag;

	pool_locktag(&tag, use->nsp, use->pool->id);
	LockRelease(&tag, use->mode, false);
	use->mode = NoLock;
}
