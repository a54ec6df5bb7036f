/*
 * relation.c
 *		OIDs of the tables, indexes and sequences of allocation.
 */
#include "postgres.h"

#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "alloc/alloc.h"

static const char *const relation_names[] = {
	[ALLOC_POOL] = "alloc_pool",
	[ALLOC_POOL_PKEY] = "alloc_pool_pkey",
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
	[ALLOC_SLOT_QUEUE] = "alloc_slot_queue",
	[ALLOC_SLOT_EXPIRY] = "alloc_slot_expiry",
	[ALLOC_SLOT_AGAIN] = "alloc_slot_again",
	[ALLOC_SLOT_OVERLAP] = "alloc_slot_overlap",
	[ALLOC_FRONTIER] = "alloc_frontier",
	[ALLOC_FRONTIER_PKEY] = "alloc_frontier_pkey",
	[ALLOC_FREED] = "alloc_freed",
	[ALLOC_FREED_FIRST] = "alloc_freed_first",
	[ALLOC_SHARE] = "alloc_share",
	[ALLOC_SHARE_KEY] = "alloc_share_key",
	[ALLOC_SHARE_PLACE] = "alloc_share_place",
	[ALLOC_SHARE_OVERLAP] = "alloc_share_overlap",
	[ALLOC_SHARE_EXPIRY] = "alloc_share_expiry",
	[ALLOC_GAP] = "alloc_gap",
	[ALLOC_GAP_SIZE] = "alloc_gap_size",
	[ALLOC_GAP_PLACE] = "alloc_gap_place",
	[ALLOC_PAST] = "alloc_past",
	[ALLOC_PAST_ENDED] = "alloc_past_ended",
	[ALLOC_GENERATION] = "alloc_generation"
};

const AllocRelation alloc_tables[ALLOC_TABLES] = {
	ALLOC_POOL, ALLOC_GRANTEE, ALLOC_RANGE, ALLOC_RESERVED, ALLOC_FRONTIER,
	ALLOC_SLOT, ALLOC_FREED, ALLOC_SHARE, ALLOC_GAP, ALLOC_PAST
};

/* OIDs that have been looked up, and the schema that they belong to. */
static Oid	relations[ALLOC_RELATIONS];
static Oid	relations_nsp = InvalidOid;

/*
 * Syscache callback: forget all OIDs when any relation is created or dropped.
 */
static void
forget_relations(Datum arg, int cacheid, uint32 hashvalue)
{
	relations_nsp = InvalidOid;
}

/* Register the callback, once. */
static void
watch_changes(void)
{
	static bool watching = false;

	if (watching)
		return;
	CacheRegisterSyscacheCallback(RELOID, forget_relations, (Datum) 0);
	watching = true;
}

/* The OID of the schema of our tables. */
Oid
alloc_namespace(FunctionCallInfo fcinfo)
{
	return internal_schema();
}

/* The OID of one of our relations; 42P01 if it is missing. */
Oid
alloc_relation(Oid nsp, AllocRelation which)
{
	Oid			relid;

	/* The extension may have been dropped and created again. */
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
