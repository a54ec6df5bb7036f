/*
 * pool.c
 *		Pools: who may use them and what they consist of; values as text.
 *
 * A pool's description is looked up by name for every call: one row, of which
 * a backend keeps a copy until a trigger on the table says that it has changed.
 * What that row does not hold, the pool's ranges and reservations, is kept
 * with what the backend has learned about the pool's fill.  All of that is
 * valid for one epoch.  Whoever changes a range or a reservation, or makes
 * slots free behind the frontier (search.c), gives the pool a new epoch, drawn
 * from a sequence, so that a number that was rolled back never comes again for
 * something else.
 *
 * The pool's lock is a heavyweight lock on its id, of a class that SQL's
 * advisory locks cannot reach; names are not hashed for it, so nobody can make
 * a pool whose lock is another's.  A pool that is just being made needs none:
 * nobody else sees it, and of two of one name a unique index decides.  A call
 * that allocates or releases has it in share mode while it works, and gives it
 * back before it returns, so an idle transaction holds none.  Those who change
 * the pool have it exclusively until their transaction ends.  Hence each
 * allocation sees a change wholly or not at all, and who changes a pool sees
 * the rows of all calls that came before, committed or running.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "alloc/alloc.h"

/* Our class of advisory locks; SQL's functions use 1 and 2. */
#define POOL_LOCK_CLASS 0xA110

/* alloc_pool's columns */
enum
{
	POOL_ID = 1,
	POOL_NAME,
	POOL_KIND,
	POOL_STRATEGY,
	POOL_COOLDOWN,
	POOL_PORT_CHUNK,
	POOL_FAMILY,
	POOL_OWNER,
	POOL_OWNER_NAME,
	POOL_EPOCH
};

/* alloc_grantee's columns */
enum
{
	GRANTEE_ID = 1,
	GRANTEE_POOL,
	GRANTEE_ROLE
};

PG_FUNCTION_INFO_V1(alloc_pool_changed);
PG_FUNCTION_INFO_V1(alloc_shows);
PG_FUNCTION_INFO_V1(alloc_owner_name);

static const char *const relation_names[] = {
	[ALLOC_POOL] = "alloc_pool",
	[ALLOC_POOL_NAME] = "alloc_pool_name_key",
	[ALLOC_GRANTEE] = "alloc_grantee",
	[ALLOC_GRANTEE_PKEY] = "alloc_grantee_pkey",
	[ALLOC_RANGE] = "alloc_range",
	[ALLOC_RANGE_POOL] = "alloc_range_pool",
	[ALLOC_RESERVED] = "alloc_reserved",
	[ALLOC_RESERVED_PKEY] = "alloc_reserved_pkey",
	[ALLOC_SLOT] = "alloc_slot",
	[ALLOC_SLOT_PKEY] = "alloc_slot_pkey",
	[ALLOC_SLOT_KEY] = "alloc_slot_key",
	[ALLOC_SLOT_RANK] = "alloc_slot_rank",
	[ALLOC_SLOT_EXPIRY] = "alloc_slot_expiry",
	[ALLOC_SLOT_SPAN] = "alloc_slot_span",
	[ALLOC_FRONTIER] = "alloc_frontier",
	[ALLOC_FRONTIER_PKEY] = "alloc_frontier_pkey",
	[ALLOC_PAST] = "alloc_past",
	[ALLOC_PAST_ENDED] = "alloc_past_ended",
	[ALLOC_GENERATION] = "alloc_generation"
};

/* Their OIDs in one schema, as far as they are known. */
static Oid	relations[ALLOC_RELATIONS];
static Oid	relations_nsp = InvalidOid;

/*
 * The pools that this backend has used.  When there are too many it starts
 * afresh: what is lost can be learned again.
 */
#define MAX_POOLS 64

typedef struct CachedPool
{
	Oid			relid;			/* of alloc_pool: the extension may be made
								 * anew */
	uint64		seen;			/* pools_changed, before its row was read */
	Pool	   *pool;
} CachedPool;

static CachedPool cached[MAX_POOLS];
static int	ncached = 0;

/* Counts what alloc_pool_changed has told this backend. */
static uint64 pools_changed = 0;

static void
forget_relations(Datum arg, int cacheid, uint32 hashvalue)
{
	relations_nsp = InvalidOid;
}

static void
forget_rows(Datum arg, Oid relid)
{
	for (int i = 0; i < ncached; i++)
	{
		if (!OidIsValid(relid) || cached[i].relid == relid)
		{
			pools_changed++;
			return;
		}
	}
}

static void
watch_changes(void)
{
	static bool watching = false;

	if (watching)
		return;
	CacheRegisterSyscacheCallback(RELOID, forget_relations, (Datum) 0);
	CacheRegisterRelcacheCallback(forget_rows, (Datum) 0);
	watching = true;
}

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

/* The schema of our tables. */
Oid
alloc_namespace(FunctionCallInfo fcinfo)
{
	return internal_schema();
}

/* One of our relations. */
Oid
alloc_relation(Oid nsp, AllocRelation which)
{
	Oid			relid;

	if (relations_nsp != nsp)
	{
		watch_changes();
		memset(relations, 0, sizeof(relations));
		relations_nsp = nsp;
	}
	if (OidIsValid(relations[which]))
		return relations[which];

	relid = get_relname_relid(relation_names[which], nsp);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" of extension pg_cas is missing",
						relation_names[which])));
	relations[which] = relid;
	return relid;
}

static void
pool_locktag(LOCKTAG *tag, Oid nsp, int32 id)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, nsp, id, POOL_LOCK_CLASS);
}

/* Wait for the pool's lock; see above. */
void
pool_lock(Oid nsp, int32 id, LOCKMODE mode)
{
	LOCKTAG		tag;

	pool_locktag(&tag, nsp, id);
	(void) LockAcquire(&tag, mode, false, false);
}

/* Take it in share mode, unless it would have to be waited for. */
bool
pool_lock_at_once(Oid nsp, int32 id)
{
	LOCKTAG		tag;

	pool_locktag(&tag, nsp, id);
	return LockAcquire(&tag, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
pool_unlock(Oid nsp, int32 id, LOCKMODE mode)
{
	LOCKTAG		tag;

	pool_locktag(&tag, nsp, id);
	LockRelease(&tag, mode, false);
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

/* The extent of slots that stands for the values first to last of a range. */
Extent
slots_of_values(const Space *space, const Range *range, u128 first, u128 last)
{
	Extent		slots;

	slots.first = space_slot(space, range, first);
	slots.last = block_last(space_slot(space, range, last),
							space->chunk_bits);
	return slots;
}

static int
compare_extents(const void *a, const void *b)
{
	u128		x = ((const Extent *) a)->first;
	u128		y = ((const Extent *) b)->first;

	return x < y ? -1 : x > y;
}

/*
 * Read a pool's ranges and reservations into its space, as the snapshot shows
 * them.
 */
static void
read_space(Oid nsp, Pool *pool, Snapshot snapshot)
{
	Space	   *space = &pool->space;
	Relation	rel;
	Relation	index;
	IndexScanDesc desc;
	ScanKeyData key;
	TupleTableSlot *slot;
	MemoryContext caller;
	int			room = 0;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(pool->id));

	rel = table_open(alloc_relation(nsp, ALLOC_RANGE), AccessShareLock);
	index = index_open(alloc_relation(nsp, ALLOC_RANGE_POOL),
					   AccessShareLock);
	slot = table_slot_create(rel, NULL);
	desc = index_beginscan(rel, index, snapshot, 1, 0);
	index_rescan(desc, &key, 1, NULL, 0);
	caller = MemoryContextSwitchTo(pool->cxt);
	while (index_getnext_slot(desc, ForwardScanDirection, slot))
	{
		Range	   *range;

		if (space->nranges == room)
		{
			room = Max(4, room * 2);
			space->ranges = space->ranges == NULL ?
				palloc(room * sizeof(Range)) :
				repalloc(space->ranges, room * sizeof(Range));
		}
		slot_getallattrs(slot);
		range = &space->ranges[space->nranges++];
		range->id = DatumGetInt32(slot->tts_values[0]);
		range->first = numeric_u128(slot->tts_values[2]);
		range->last = numeric_u128(slot->tts_values[3]);
		range->base = numeric_u128(slot->tts_values[4]);
		range->draining = DatumGetBool(slot->tts_values[5]);
	}
	pool->frontiers = palloc0(Max(1, space->nranges) * sizeof(Frontier));
	MemoryContextSwitchTo(caller);
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);

	/* a reservation may lie across several ranges */
	room = 0;
	rel = table_open(alloc_relation(nsp, ALLOC_RESERVED), AccessShareLock);
	index = index_open(alloc_relation(nsp, ALLOC_RESERVED_PKEY),
					   AccessShareLock);
	slot = table_slot_create(rel, NULL);
	desc = index_beginscan(rel, index, snapshot, 1, 0);
	index_rescan(desc, &key, 1, NULL, 0);
	caller = MemoryContextSwitchTo(pool->cxt);
	while (index_getnext_slot(desc, ForwardScanDirection, slot))
	{
		u128		first;
		u128		last;

		slot_getallattrs(slot);
		first = numeric_u128(slot->tts_values[1]);
		last = numeric_u128(slot->tts_values[2]);
		for (int i = 0; i < space->nranges; i++)
		{
			const Range *range = &space->ranges[i];

			if (last < range->first || first > range->last)
				continue;
			if (space->nreserved == room)
			{
				room = Max(4, room * 2);
				space->reserved = space->reserved == NULL ?
					palloc(room * sizeof(Extent)) :
					repalloc(space->reserved, room * sizeof(Extent));
			}
			space->reserved[space->nreserved++] =
				slots_of_values(space, range, Max(first, range->first),
								Min(last, range->last));
		}
	}
	MemoryContextSwitchTo(caller);
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);

	if (space->nreserved > 1)
		qsort(space->reserved, space->nreserved, sizeof(Extent),
			  compare_extents);
}

/* Read the roles that a pool has been granted to, into this context. */
static void
read_grantees(Oid nsp, int32 id, Snapshot snapshot, int *ngrantees,
			  Oid **grantees)
{
	Relation	rel = table_open(alloc_relation(nsp, ALLOC_GRANTEE),
								 AccessShareLock);
	Relation	index = index_open(alloc_relation(nsp, ALLOC_GRANTEE_PKEY),
								   AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc desc;
	ScanKeyData key;
	int			room = 4;

	*ngrantees = 0;
	*grantees = palloc(room * sizeof(Oid));
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	desc = index_beginscan(rel, index, snapshot, 1, 0);
	index_rescan(desc, &key, 1, NULL, 0);
	while (index_getnext_slot(desc, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum		role = slot_getattr(slot, GRANTEE_ROLE, &isnull);

		if (isnull)
			continue;			/* no role of that name in this cluster */
		if (*ngrantees == room)
		{
			room *= 2;
			*grantees = repalloc(*grantees, room * sizeof(Oid));
		}
		(*grantees)[(*ngrantees)++] = DatumGetObjectId(role);
	}
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
}

/* The pool of that name, if the backend knows its row as it is now. */
static Pool *
cache_current(Oid relid, const char *name)
{
	for (int i = 0; i < ncached; i++)
	{
		if (cached[i].seen == pools_changed && cached[i].relid == relid &&
			strcmp(cached[i].pool->name, name) == 0)
			return cached[i].pool;
	}
	return NULL;
}

/* The backend's copy of the pool, if it has the right epoch. */
static CachedPool *
cache_find(Oid relid, int32 id, int64 epoch)
{
	for (int i = 0; i < ncached; i++)
	{
		if (cached[i].relid == relid && cached[i].pool->id == id)
		{
			if (cached[i].pool->epoch == epoch)
				return &cached[i];
			MemoryContextDelete(cached[i].pool->cxt);
			cached[i] = cached[--ncached];
			return NULL;
		}
	}
	return NULL;
}

static CachedPool *
cache_add(Oid relid, Pool *pool)
{
	if (ncached == MAX_POOLS)
	{
		while (ncached > 0)
			MemoryContextDelete(cached[--ncached].pool->cxt);
	}
	MemoryContextSetParent(pool->cxt, CacheMemoryContext);
	cached[ncached].relid = relid;
	cached[ncached].pool = pool;
	return &cached[ncached++];
}

static PoolStrategy
parse_strategy(const char *strategy)
{
	switch (strategy[0])
	{
		case 'l':
			return STRATEGY_LOWEST;
		case 'r':
			return STRATEGY_RANDOM;
		default:
			return STRATEGY_ANY;
	}
}

static void pg_attribute_noreturn()
no_pool(const char *name)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "pool", name);
	ereport(ERROR,
			(errcode(ERRCODE_CAS_NOT_FOUND),
			 errmsg("pool \"%s\" does not exist", name),
			 errdetail_internal("%s", detail_end(&detail))));
}

/* Read the pool of that name into the cache; NULL if there is none. */
static Pool *
read_pool(Oid nsp, const char *name)
{
	Oid			relid = alloc_relation(nsp, ALLOC_POOL);
	Relation	rel = table_open(relid, AccessShareLock);
	Relation	index = index_open(alloc_relation(nsp, ALLOC_POOL_NAME),
								   AccessShareLock);
	uint64		seen = pools_changed;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Datum		name_datum = CStringGetTextDatum(name);
	IndexScanDesc desc;
	ScanKeyData key;
	Pool	   *pool = NULL;

	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, name_datum);
	desc = index_beginscan(rel, index, snapshot, 1, 0);
	index_rescan(desc, &key, 1, NULL, 0);
	if (index_getnext_slot(desc, ForwardScanDirection, slot))
	{
		Datum	   *values = slot->tts_values - 1;
		MemoryContext caller;
		CachedPool *place;
		int			ngrantees;
		Oid		   *grantees;
		int64		epoch;

		slot_getallattrs(slot);
		epoch = DatumGetInt64(values[POOL_EPOCH]);
		place = cache_find(relid, DatumGetInt32(values[POOL_ID]), epoch);
		if (place == NULL)
		{
			MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext,
													  "pg_cas pool",
													  ALLOCSET_SMALL_SIZES);

			pool = MemoryContextAllocZero(cxt, sizeof(Pool));
			pool->cxt = cxt;
			pool->id = DatumGetInt32(values[POOL_ID]);
			pool->epoch = epoch;
			pool->name = MemoryContextStrdup(cxt, name);
			pool->kind =
				kind_of_name(TextDatumGetCString(values[POOL_KIND]));
			pool->width =
				kind_width(pool->kind, slot->tts_isnull[POOL_FAMILY - 1] ? 0 :
						   DatumGetInt32(values[POOL_FAMILY]));
			if (!slot->tts_isnull[POOL_PORT_CHUNK - 1])
			{
				pool->port_chunk = DatumGetInt32(values[POOL_PORT_CHUNK]);
				pool->space.chunk_bits =
					16 - pg_leftmost_one_pos32(pool->port_chunk);
			}
			pool->mixed = kind_has_sizes(pool->kind) ||
				pool->port_chunk > 0;
			read_space(nsp, pool, snapshot);
			place = cache_add(relid, pool);
		}
		pool = place->pool;
		pool->strategy =
			parse_strategy(TextDatumGetCString(values[POOL_STRATEGY]));
		pool->cooldown = *DatumGetIntervalP(values[POOL_COOLDOWN]);
		pool->has_cooldown = pool->cooldown.time != 0 ||
			pool->cooldown.day != 0 || pool->cooldown.month != 0;
		pool->owner = slot->tts_isnull[POOL_OWNER - 1] ? InvalidOid :
			DatumGetObjectId(values[POOL_OWNER]);
		caller = MemoryContextSwitchTo(pool->cxt);
		read_grantees(nsp, pool->id, snapshot, &ngrantees, &grantees);
		MemoryContextSwitchTo(caller);
		if (pool->grantees != NULL)
			pfree(pool->grantees);
		pool->grantees = grantees;
		pool->ngrantees = ngrantees;
		place->seen = seen;
	}
	index_endscan(desc);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return pool;
}

/*
 * The pool of that name as it is now, or PT404 (with RIGHT_NONE: NULL); 42501
 * if the caller may not do with it what right says.  The result belongs to the
 * cache and may be gone with the next pool_open.
 */
Pool *
pool_open(Oid nsp, const char *name, PoolRight right)
{
	Pool	   *pool;

	AcceptInvalidationMessages();
	pool = cache_current(alloc_relation(nsp, ALLOC_POOL), name);
	if (pool == NULL)
		pool = read_pool(nsp, name);
	if (pool == NULL)
	{
		if (right != RIGHT_NONE)
			no_pool(name);
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
 * Take the lock of the pool of that name, and have the pool as it is then.
 * id is that of the pool that had the name when the caller looked: if it was
 * dropped meanwhile, the one that has it now counts.
 */
Pool *
pool_open_locked(Oid nsp, const char *name, int32 id, PoolRight right,
				 LOCKMODE mode)
{
	for (;;)
	{
		Pool	   *pool;

		pool_lock(nsp, id, mode);
		pool = pool_open(nsp, name, right);
		if (pool != NULL && pool->id == id)
			return pool;
		pool_unlock(nsp, id, mode);
		if (pool == NULL)
			return NULL;
		id = pool->id;
	}
}
