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

#include <sys/socket.h>

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
#include "utils/inet.h"
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
	POOL_GRANTED,
	POOL_EPOCH
};

PG_FUNCTION_INFO_V1(alloc_pool_changed);

static const char *const relation_names[] = {
	[ALLOC_POOL] = "alloc_pool",
	[ALLOC_POOL_NAME] = "alloc_pool_name_key",
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
 * The trigger on alloc_pool.  Whatever changes that table, backends learn of
 * it as they learn of changed tables: before they get a lock that the change
 * was made under, and those whose change is rolled back, too.
 */
Datum
alloc_pool_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"alloc_pool_changed\" was not called by trigger manager")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
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
 * May the caller do this with a pool of that owner and these grants?  Members
 * of a role may what the role may; members of pg_monitor see all pools.
 */
bool
pool_permits(Oid owner, Datum granted, PoolRight right)
{
	Oid			caller = GetUserId();
	Datum	   *roles;
	int			nroles;

	if (right == RIGHT_NONE || has_privs_of_role(caller, owner))
		return true;
	if (right == RIGHT_OWN)
		return false;
	if (right == RIGHT_SEE && has_privs_of_role(caller, ROLE_PG_MONITOR))
		return true;
	deconstruct_array(DatumGetArrayTypeP(granted), REGROLEOID, sizeof(Oid),
					  true, TYPALIGN_INT, &roles, NULL, &nroles);
	for (int i = 0; i < nroles; i++)
	{
		if (has_privs_of_role(caller, DatumGetObjectId(roles[i])))
			return true;
	}
	return false;
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

static PoolKind
parse_kind(const char *kind)
{
	switch (kind[0])
	{
		case 'i':
			return kind[1] == 'p' ? POOL_IP : POOL_INT;
		default:
			return POOL_PREFIX;
	}
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
		Datum		granted;
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
			pool->kind = parse_kind(TextDatumGetCString(values[POOL_KIND]));
			if (!slot->tts_isnull[POOL_FAMILY - 1])
				pool->width =
					DatumGetInt32(values[POOL_FAMILY]) == 4 ? 32 : 128;
			if (!slot->tts_isnull[POOL_PORT_CHUNK - 1])
			{
				pool->port_chunk = DatumGetInt32(values[POOL_PORT_CHUNK]);
				pool->space.chunk_bits =
					16 - pg_leftmost_one_pos32(pool->port_chunk);
			}
			pool->mixed = pool->kind == POOL_PREFIX || pool->port_chunk > 0;
			read_space(nsp, pool, snapshot);
			place = cache_add(relid, pool);
		}
		pool = place->pool;
		pool->strategy =
			parse_strategy(TextDatumGetCString(values[POOL_STRATEGY]));
		pool->cooldown = *DatumGetIntervalP(values[POOL_COOLDOWN]);
		pool->has_cooldown = pool->cooldown.time != 0 ||
			pool->cooldown.day != 0 || pool->cooldown.month != 0;
		pool->owner = DatumGetObjectId(values[POOL_OWNER]);
		caller = MemoryContextSwitchTo(pool->cxt);
		granted =
			PointerGetDatum(PG_DETOAST_DATUM_COPY(values[POOL_GRANTED]));
		MemoryContextSwitchTo(caller);
		if (DatumGetPointer(pool->granted) != NULL)
			pfree(DatumGetPointer(pool->granted));
		pool->granted = granted;
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
	if (!pool_permits(pool->owner, pool->granted, right))
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

/*
 * Values as text.
 */
static void pg_attribute_noreturn()
malformed(const char *what, const char *text, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid %s: \"%s\"", what, text),
			 errhint("%s", hint)));
}

/* An address with or without a mask length; false if it is not one. */
static bool
parse_address(const char *text, int *width, u128 *value, int *masklen)
{
	unsigned char bytes[16] = {0};
	int			family = strchr(text, ':') ? PGSQL_AF_INET6 : PGSQL_AF_INET;
	int			bits = pg_inet_net_pton(family, text, bytes, -1);

	if (bits < 0)
		return false;
	*width = family == PGSQL_AF_INET ? 32 : 128;
	*value = u128_from_bytes(bytes, *width / 8);
	*masklen = bits;
	return true;
}

/*
 * What a range of a pool covers, network and broadcast addresses left out
 * where that is due.  22023 if it is not a range of that kind.
 */
void
range_parse(PoolKind kind, const char *text, int *width,
			u128 *first, u128 *last)
{
	const char *hint = kind == POOL_INT ?
		"A range of numbers is like 100-4094." :
		"A range is like 10.0.0.0/24, 10.0.0.10-10.0.0.99 or 2001:db8::/64.";
	char	   *dash = strchr(text, '-');
	char	   *from = dash ? pnstrdup(text, dash - text) : pstrdup(text);
	const char *to = dash ? dash + 1 : from;
	int			masklen;

	if (kind == POOL_INT)
	{
		*width = 0;
		if (!u128_parse(from, first) || !u128_parse(to, last) ||
			*first > *last || *last > (u128) PG_INT64_MAX)
			malformed("range", text, hint);
		return;
	}

	if (!parse_address(from, width, first, &masklen))
		malformed("range", text, hint);
	if (dash)
	{
		int			last_width;
		int			last_masklen;

		if (strchr(text, '/') ||
			!parse_address(to, &last_width, last, &last_masklen) ||
			last_width != *width || *first > *last)
			malformed("range", text, hint);
	}
	else
	{
		u128		network = *first;

		if (kind == POOL_IP)
			network_hosts(network, *width, masklen, first, last);
		else
			network_all(network, *width, masklen, first, last);
		if (masklen == 0 ||
			(network & (((u128) 1 << (*width - masklen)) - 1)) != 0)
			malformed("range", text,
					  "A network has no bits set to the right of its mask.");
	}
	if ((*last - *first) >> (*width == 32 ? 24 : 96) != 0)
		malformed("range", text,
				  "A range is at most an IPv4 /8 or an IPv6 /32.");
}

/*
 * A value as a caller names it, or several of them: an address, a prefix, a
 * number.
 */
void
unit_parse(const Pool *pool, const char *text, u128 *value, u128 *last)
{
	if (pool->kind == POOL_INT)
	{
		if (!u128_parse(text, value))
			malformed("value", text, "A number was expected.");
		*last = *value;
	}
	else
	{
		int			width;
		int			masklen;

		if (!parse_address(text, &width, value, &masklen))
			malformed("value", text, "An address was expected.");
		if (width != pool->width)
			malformed("value", text,
					  "The pool has addresses of the other family.");
		network_all(*value, width, masklen, value, last);
		if (masklen < width)
		{
			*value &= ~(((u128) 1 << (width - masklen)) - 1);
			*last = block_last(*value, width - masklen);
		}
	}
}

/* An inet (or cidr) datum. */
Datum
address_datum(int width, u128 value, int masklen)
{
	inet	   *address = palloc0(sizeof(inet));

	ip_family(address) = width == 32 ? PGSQL_AF_INET : PGSQL_AF_INET6;
	ip_bits(address) = masklen;
	u128_to_bytes(value, ip_addr(address), width / 8);
	SET_INET_VARSIZE(address);
	return InetPGetDatum(address);
}

/* The reverse. */
u128
address_value(Datum datum, int *width, int *masklen)
{
	inet	   *address = DatumGetInetPP(datum);

	*width = ip_maxbits(address);
	*masklen = ip_bits(address);
	return u128_from_bytes(ip_addr(address), ip_addrsize(address));
}

/* The mask length of a block; a chunk has that of its address. */
int
unit_masklen(const Pool *pool, int order)
{
	return pool->width - Max(0, order - pool->space.chunk_bits);
}

/* A block as text: 10.0.0.7, 10.0.0.7:0-16383, 10.0.8.0/24, 4094. */
char *
unit_text(const Pool *pool, u128 lo, int order)
{
	const Range *range = space_range_of_slot(&pool->space, lo);
	u128		value;
	Datum		datum;
	char	   *address;

	if (range == NULL)
		return pstrdup("?");
	value = space_value(&pool->space, range, lo);
	if (pool->kind == POOL_INT)
	{
		char		buf[U128_DIGITS];

		u128_print(value, buf);
		return pstrdup(buf);
	}
	datum = address_datum(pool->width, value, unit_masklen(pool, order));
	address = DatumGetCString(DirectFunctionCall1(pool->kind == POOL_PREFIX ?
												  cidr_out : inet_out, datum));
	if (pool->kind == POOL_IP && order < pool->space.chunk_bits)
	{
		int			port = space_chunk(&pool->space, lo) * pool->port_chunk;

		return psprintf(pool->width == 32 ? "%s:%d-%d" : "[%s]:%d-%d",
						address, port, port + pool->port_chunk - 1);
	}
	return address;
}
