/*
 * absent.c
 *		The lock on a key that has no row.
 *
 * cas_txn() decides under locks, and a row that is not there cannot be
 * locked.  What stands for its lock is one of the advisory class on the hash
 * of table and key, held to the end of the transaction: cas_txn() takes it
 * exclusively for the names that it finds missing, and whoever is about to
 * give a row a new key, cas_create(), cas_put() and cas_rename(), takes it in
 * share mode.  Those do not keep each other off by it; between them, the
 * primary key's index decides as ever.
 *
 * Locks of that kind live in shared memory, of which there is little.  So a
 * transaction that has taken many for new keys takes one on the whole table
 * instead, in a mode that conflicts with the one in which cas_txn() takes that
 * before it locks any missing key of the table.
 *
 * The fourth field of the tag tells these locks from those that SQL's
 * pg_advisory_lock() makes, which uses 1 and 2.
 */
#include "cas.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"

#define ABSENT_KEY		0x6301
#define ABSENT_TABLE	0x6302

/* Locks on single keys that a transaction's creations take. */
#define MAX_KEY_LOCKS	256

static void
lock_tag(uint32 key, uint16 kind, Oid relid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, relid, key, kind);
	(void) LockAcquire(&tag, mode, false, false);
}

/* Keys that are equal hash alike; where a type can't hash, all do. */
static uint32
hash_key(CasTable *table, const CasKey *key)
{
	uint32		hash = 0;

	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];

		if (OidIsValid(column->hash.fn_oid))
			hash = hash_combine(hash,
								DatumGetUInt32(FunctionCall1Coll(&column->hash,
																 column->collation,
																 key->values[i])));
	}
	return hash;
}

/*
 * Before a row of ours gets this key: wait for whoever decides on its being
 * absent, and keep others from it until the end of the transaction.
 */
void
absent_key_create(CasTable *table, const CasKey *key)
{
	static LocalTransactionId transaction = InvalidLocalTransactionId;
	static int	locks = 0;

	if (transaction != MyProc->lxid)
	{
		transaction = MyProc->lxid;
		locks = 0;
	}
	if (locks < MAX_KEY_LOCKS)
	{
		locks++;
		lock_tag(hash_key(table, key), ABSENT_KEY, table->relid, ShareLock);
	}
	else
		lock_tag(0, ABSENT_TABLE, table->relid, ShareLock);
}

/*
 * Keep a key absent until the end of the transaction, but for plain INSERTs.
 * The caller looks again after this: it may have waited.
 */
void
absent_key_lock(CasTable *table, const CasKey *key)
{
	lock_tag(0, ABSENT_TABLE, table->relid, RowExclusiveLock);
	lock_tag(hash_key(table, key), ABSENT_KEY, table->relid, ExclusiveLock);
}
