/*
 * table.c
 *		A per-backend cache of guarded tables.
 *
 * An entry is added only when it is complete; after an error, the memory is
 * freed with the context in which it was being built.  A relcache invalidation
 * marks the entry as invalid, and the next lookup builds a new one.  An outer
 * call of the same transaction may still be reading the old entry, because a
 * trigger can run DDL.  Therefore its memory is moved to the transaction's
 * memory context instead of being freed at once.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/*
 * Maximum number of tables, with their plans, that a backend keeps between
 * transactions: those used last.  Within a transaction all are kept, because
 * an outer call may be reading any of them.
 */
#define MAX_TABLES 100

typedef struct CasTableEntry
{
	Oid			relid;			/* hash key, must be first */
	bool		valid;
	uint64		used;			/* transaction that used it last */
	CasTable   *table;			/* in CacheMemoryContext */
} CasTableEntry;

/* number of relcache invalidations so far */
uint64		cas_invalidations = 0;

static HTAB *tables = NULL;
static uint64 transaction = 0;	/* number of transactions so far */

/* Relcache callback; relid is InvalidOid for all relations. */
static void
mark_invalid(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	CasTableEntry *entry;

	/* only mark the entry, which may be in use */
	cas_invalidations++;
	if (OidIsValid(relid))
	{
		entry = hash_search(tables, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&scan, tables);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entry->valid = false;
}

/*
 * Remove all invalid entries, also those of tables that were dropped.  Their
 * memory is freed at the end of the transaction.
 */
static void
remove_invalid(void)
{
	HASH_SEQ_STATUS scan;
	CasTableEntry *entry;

	hash_seq_init(&scan, tables);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (!entry->valid)
		{
			/* an outer call may use it until the transaction ends */
			MemoryContextSetParent(entry->table->mcxt, TopTransactionContext);
			hash_search(tables, &entry->relid, HASH_REMOVE, NULL);
		}
}

static int
compare_use(const void *a, const void *b)
{
	uint64		used_a = (*(CasTableEntry *const *) a)->used;
	uint64		used_b = (*(CasTableEntry *const *) b)->used;

	return used_a < used_b ? -1 : used_a > used_b ? 1 : 0;
}

/* At the end of a transaction, free the entries that were not used lately. */
static void
evict(void)
{
	int			n = hash_get_num_entries(tables);
	CasTableEntry **entries;
	HASH_SEQ_STATUS scan;
	CasTableEntry *entry;

	/* an error is not allowed at this point */
	entries = MemoryContextAllocExtended(TopMemoryContext,
										 sizeof(CasTableEntry *) * n,
										 MCXT_ALLOC_NO_OOM);
	if (entries == NULL)
		return;
	n = 0;
	hash_seq_init(&scan, tables);
	while ((entry = hash_seq_search(&scan)) != NULL)
		entries[n++] = entry;

	/* no call is running, so nobody uses the memory */
	qsort(entries, n, sizeof(CasTableEntry *), compare_use);
	for (int i = 0; i < n - MAX_TABLES; i++)
	{
		MemoryContextDelete(entries[i]->table->mcxt);
		hash_search(tables, &entries[i]->relid, HASH_REMOVE, NULL);
	}
	pfree(entries);
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			/* the end of the outermost call, so entries may be freed */
			transaction++;
			if (hash_get_num_entries(tables) > MAX_TABLES)
				evict();
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

static void
init_tables(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(CasTableEntry);
	tables = hash_create("pg_cas tables", MAX_TABLES, &ctl,
						 HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(mark_invalid, (Datum) 0);
	RegisterXactCallback(end_transaction, NULL);
}

/*
 * Fill a CasTable, allocating in the current memory context.  Raise an error
 * if the guard cannot work, so that no write gets past it.
 */
static void
load_table(CasTable *table, Relation rel, const CasTriggers *triggers)
{
	CasSettings *settings = &table->settings;
	CasProblem *problem = cas_check_guard(rel, triggers, settings);

	if (problem != NULL)
		cas_raise_problem(rel, psprintf("the guard of table \"%s\" cannot work",
										RelationGetRelationName(rel)),
						  problem);
	table->guard_enabled = triggers->guard->tgenabled;
	table->other_triggers = cas_has_other_triggers(triggers);
	table->user_triggers = cas_has_user_triggers(triggers);

	/* copies, which stay readable after an invalidation */
	table->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	table->rowtype = rel->rd_rel->reltype;
	table->root = partition_root(rel);
	table->desc->tdtypeid = table->rowtype;

	table->version = cas_find_column(rel, settings->version_column);
	table->version_type = TupleDescAttr(table->desc,
										table->version - 1)->atttypid;
	if (settings->payload_column != NULL)
		table->payload = cas_find_column(rel, settings->payload_column);
	for (int i = 0; i < settings->ignore_columns.length; i++)
	{
		const char *name = settings->ignore_columns.names[i];

		table->ignored = bms_add_member(table->ignored,
										cas_find_column(rel, name));
	}

	/* these use what was set above, and each other's results */
	cas_load_key(table, rel);
	payload_load(table);
	cas_load_directness(rel, table);
}

/* Build an entry for a table; return NULL if the table has no guard. */
static CasTable *
make_entry(Relation rel)
{
	/* Loading looks into catalogs, which can process invalidations. */
	uint64		before = cas_invalidations;
	Oid			relid = RelationGetRelid(rel);
	CasTriggers triggers;
	MemoryContext mcxt;
	MemoryContext old;
	CasTable   *table;
	CasTableEntry *entry;

	/* dropped tables are not looked up again, so clean up here */
	remove_invalid();
	cas_find_triggers(rel, &triggers);
	if (triggers.guard == NULL)
		return NULL;

	/* Until the table is complete, an error frees this with its parent. */
	mcxt = AllocSetContextCreate(CurrentMemoryContext, "pg_cas table",
								 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(mcxt);
	table = palloc0(sizeof(CasTable));
	table->relid = relid;
	table->mcxt = mcxt;
	load_table(table, rel, &triggers);
	MemoryContextSwitchTo(old);

	/*
	 * The table is complete.  If an invalidation arrived while it was being
	 * built, it serves this lookup only.
	 */
	entry = hash_search(tables, &relid, HASH_ENTER, NULL);

	/* nothing below can fail, so the entry is never incomplete */
	MemoryContextSetParent(mcxt, CacheMemoryContext);
	entry->table = table;
	entry->used = transaction;
	entry->valid = cas_invalidations == before;
	return table;
}

/*
 * Return the cached data of a guarded table, or NULL if rel has no guard.  The
 * caller holds a lock on rel that conflicts with DDL.  The result stays valid
 * memory until the end of the transaction.
 */
CasTable *
cas_table_of(Relation rel)
{
	CasTableEntry *entry;

	if (tables == NULL)
		init_tables();
	entry = hash_search(tables, &RelationGetRelid(rel), HASH_FIND, NULL);
	if (entry == NULL || !entry->valid)
		return make_entry(rel);
	entry->used = transaction;
	return entry->table;
}

/* Return whether the guard fires for the writes of this session. */
bool
cas_guard_fires(CasTable *table)
{
	/* as TriggerEnabled() decides by the firing mode */
	switch (table->guard_enabled)
	{
		case TRIGGER_FIRES_ALWAYS:
			return true;
		case TRIGGER_FIRES_ON_ORIGIN:
			return SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA;
		case TRIGGER_FIRES_ON_REPLICA:
			return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
		default:
			return false;
	}
}
