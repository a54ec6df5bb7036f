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
#include "utils/datum.h"

#define ABSENT_KEY		0x6301
#define ABSENT_TABLE	0x6302

/* Locks on single keys that a transaction's creations take. */
#define MAX_KEY_LOCKS	256

static void
set_table_tag(LOCKTAG *tag, CasTable *table)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, table->root, 0, ABSENT_TABLE);
}

/*
 * Keys that are equal must have the same tag, and others should not, since
 * that would put them out of order.  A type's hash alone does not see to that:
 * the one for bigint folds its halves.  So where values that are equal have
 * the same image, that is hashed, too.
 */
static void
set_key_tag(LOCKTAG *tag, CasTable *table, const CasKey *key)
{
	uint32		hash = hash_uint32(table->root);
	uint32		image = 0;

	for (int i = 0; i < table->nkeys; i++)
	{
		CasKeyColumn *column = &table->keys[i];
		Form_pg_attribute att = TupleDescAttr(table->desc,
											  column->attnum - 1);

		if (OidIsValid(column->hash))
			hash = hash_combine(hash,
								DatumGetUInt32(OidFunctionCall1Coll(column->hash,
																	column->collation,
																	key->values[i])));
		if (table->keys_equal_image)
			image = hash_combine(image,
								 datum_image_hash(key->values[i],
												  att->attbyval,
												  att->attlen));
	}
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, hash, image, ABSENT_KEY);
}

/*
 * Before a row of ours gets this key: wait for whoever decides on its being
 * absent, and keep others from it until the end of the transaction.
 */
void
absent_key_create(CasCall *call, const CasKey *key)
{
	static LocalTransactionId transaction = InvalidLocalTransactionId;
	static int	locks = 0;
	LOCKTAG		tag;

	if (call->keys_locked)
		return;
	set_key_tag(&tag, call->table, key);
	if (transaction != MyProc->lxid)
	{
		transaction = MyProc->lxid;
		locks = 0;
	}
	if (locks++ >= MAX_KEY_LOCKS)
		set_table_tag(&tag, call->table);
	(void) LockAcquire(&tag, ShareLock, false, false);
}

/*
 * Keep a key absent until the end of the transaction, but for plain INSERTs.
 * The caller looks again after this: it may have waited.
 */
void
absent_key_lock(CasTable *table, const CasKey *key)
{
	LOCKTAG		tag;

	set_table_tag(&tag, table);
	(void) LockAcquire(&tag, RowExclusiveLock, false, false);
	set_key_tag(&tag, table, key);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}
