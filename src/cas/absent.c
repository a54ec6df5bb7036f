/*
 * absent.c
 *		The lock on a key that has no row.
 *
 * cas_txn() decides under locks, and a row that is not there cannot be
 * locked.  What stands for its lock is one of the advisory class on the hash
 * of table and key, held to the end of the transaction.  Those who give a row
 * a new key, cas_create(), cas_put() and cas_rename(), take it in share mode:
 * it keeps them and cas_txn() apart, but not them from each other, between
 * whom the primary key's index decides as ever.
 *
 * Locks of that kind live in shared memory, of which there is little, so a
 * call keeps a fixed number of them.  The functions below say how.
 */
#include "cas.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/datum.h"

/*
 * The fourth field of the tag tells these locks from those that SQL's
 * pg_advisory_lock() makes, which uses 1 and 2.
 *
 *				 few names			 many names			 a new key, or many
 * ABSENT_CALLS	 RowShareLock		 ExclusiveLock		 -
 * ABSENT_TABLE	 RowExclusiveLock	 ExclusiveLock		 RowShareLock, ShareLock
 * ABSENT_KEY	 ExclusiveLock		 -					 ShareLock, -
 *
 * The first two columns are calls of cas_txn(), by the names that they find
 * missing.  Those of many names wait for all others on the table, and these
 * for them, by ABSENT_CALLS, which every call takes before it locks any row.
 * So there is no order of rows and of these locks in which two calls could
 * wait for each other: those that lock single keys, do so in the order of
 * keys, the same as that of rows.
 */
#define ABSENT_KEY		0x6301
#define ABSENT_TABLE	0x6302
#define ABSENT_CALLS	0x6303

static void
lock_table(CasTable *table, uint16 kind, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, table->root, 0, kind);
	(void) LockAcquire(&tag, mode, false, false);
}

/*
 * Keys that are equal must have the same tag, and others should not, since
 * that would put them out of order.  A type's hash alone does not see to that:
 * the one for bigint folds its halves.  So where values that are equal have
 * the same image, that is hashed, too.
 */
static void
lock_key(CasTable *table, const CasKey *key, LOCKMODE mode)
{
	LOCKTAG		tag;
	uint32		hash = hash_uint32(table->root);
	uint32		image = 0;

	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];
		Form_pg_attribute att = TupleDescAttr(table->desc,
											  column->attnum - 1);

		if (OidIsValid(column->hash))
		{
			Datum		its = OidFunctionCall1Coll(column->hash,
												   column->collation,
												   key->values[i]);

			hash = hash_combine(hash, DatumGetUInt32(its));
		}
		if (table->keys_equal_image)
			image = hash_combine(image,
								 datum_image_hash(key->values[i],
												  att->attbyval,
												  att->attlen));
	}
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, hash, image, ABSENT_KEY);
	(void) LockAcquire(&tag, mode, false, false);
}

/*
 * Before a row of ours gets this key: wait for whoever decides on its being
 * absent, and keep others from it until the end of the transaction.  Beyond so
 * many keys of a transaction, keep them from all of the table's.
 */
void
absent_key_create(CasCall *call, const CasKey *key)
{
	static LocalTransactionId transaction = InvalidLocalTransactionId;
	static int	locks = 0;

	if (call->keys_locked)
		return;
	if (transaction != my_lxid())
	{
		transaction = my_lxid();
		locks = 0;
	}
	if (locks++ < ABSENT_MAX_KEYS)
	{
		lock_table(call->table, ABSENT_TABLE, RowShareLock);
		lock_key(call->table, key, ShareLock);
	}
	else
		lock_table(call->table, ABSENT_TABLE, ShareLock);
}

/*
 * Begin a call of cas_txn() on a table, before it locks any row.  With all,
 * that keeps every missing key of the table absent.
 */
void
absent_begin(CasTable *table, bool all)
{
	lock_table(table, ABSENT_CALLS, all ? ExclusiveLock : RowShareLock);
	if (all)
		lock_table(table, ABSENT_TABLE, ExclusiveLock);
}

/*
 * Keep a key absent until the end of the transaction, but for plain INSERTs.
 * The caller looks again after this: it may have waited.
 */
void
absent_key_lock(CasTable *table, const CasKey *key)
{
	lock_table(table, ABSENT_TABLE, RowExclusiveLock);
	lock_key(table, key, ExclusiveLock);
}
