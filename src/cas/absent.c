/*
 * absent.c
 *		Locks on keys that have no row.
 *
 * cas_txn() compares under locks, but a missing row cannot be locked.  Instead
 * it locks the hash of table and key, with a lock of the advisory class that
 * is held until the end of the transaction.  cas_create(), cas_put() and
 * cas_rename() take the same lock in share mode before they give a row a new
 * key.  They conflict with cas_txn() then, but not with one another; between
 * them, the primary key index decides.
 *
 * The shared lock table is small, so a call takes a limited number of these
 * locks, and beyond that locks the whole table's keys.
 */
#include "cas.h"

#include "access/tupmacs.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/datum.h"

/*
 * Fourth field of the lock tags, and the modes in which they are locked.
 * SQL's pg_advisory_lock() uses 1 and 2 in that field.
 *
 *				 cas_txn(),			 cas_txn(),		 creations:
 *				 few missing keys	 many of them	 first ones, later ones
 * ABSENT_CALLS	 RowShareLock		 ExclusiveLock	 -
 * ABSENT_TABLE	 RowExclusiveLock	 ExclusiveLock	 RowShareLock, ShareLock
 * ABSENT_KEY	 ExclusiveLock		 -				 ShareLock, -
 *
 * Two calls of cas_txn() cannot deadlock by these locks.  Calls that lock
 * single keys do so in the order of keys, which is also the order in which
 * they lock rows.  A call with many missing keys conflicts with all others on
 * the table in ABSENT_CALLS, which every call locks before it locks any row.
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

/* Hash a value so that identical ones have the same hash. */
static uint32
image_hash(Datum value, Form_pg_attribute att)
{
	Datum		bytes;

	/* the unused bytes of a Datum need not be the same */
	if (!att->attbyval)
		return datum_image_hash(value, false, att->attlen);
	store_att_byval(&bytes, value, att->attlen);
	return hash_bytes((unsigned char *) &bytes, att->attlen);
}

/*
 * Return whether single keys can be locked.  If not, all keys of the table are
 * locked at once: many keys with one lock could not be locked in their order.
 */
bool
absent_has_keys(const CasTable *table)
{
	for (int i = 0; i < table->nkeys; i++)
		if (!OidIsValid(table->keys[i].hash))
			return table->keys_equal_image;
	return true;
}

/*
 * Lock a key.  Equal keys must have the same lock tag.
 */
static void
lock_key(CasTable *table, const CasKey *key, LOCKMODE mode)
{
	LOCKTAG		tag;
	uint32		hash = hash_uint32(table->root);
	uint32		image = 0;

	/*
	 * Different keys should have different tags, because keys that share one
	 * are not locked in the order of keys.  The hash functions of types are
	 * too weak for that (the one of bigint folds its halves), so hash the
	 * image, too, where equal values have the same image.
	 */
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
			image = hash_combine(image, image_hash(key->values[i], att));
	}
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, hash, image, ABSENT_KEY);
	(void) LockAcquire(&tag, mode, false, false);
}

/* Number of keys that the transaction has created, for absent_key_create(). */
static LocalTransactionId transaction = InvalidLocalTransactionId;
static int	created = 0;

/*
 * Return whether the transaction's next new key is locked by itself.  After
 * ABSENT_MAX_KEYS, all keys of the table are locked at once, to spare the
 * shared lock table.
 */
static bool
next_has_lock(const CasTable *table)
{
	if (transaction != my_lxid())
	{
		transaction = my_lxid();
		created = 0;
	}
	return created < ABSENT_MAX_KEYS && absent_has_keys(table);
}

/*
 * Call this before locking a row that is to get a new key.  Calls of cas_txn()
 * with many missing keys lock the table's keys before they lock rows.
 */
void
absent_create_begin(CasCall *call)
{
	if (!call->keys_locked)
		lock_table(call->table, ABSENT_TABLE,
				   absent_has_keys(call->table) ? RowShareLock : ShareLock);
}

/*
 * Call this before giving a row a new key.  It waits for calls of cas_txn()
 * that found the key missing, and keeps other such calls waiting until the end
 * of the transaction.
 */
void
absent_key_create(CasCall *call, const CasKey *key)
{
	if (call->keys_locked)
		return;
	if (next_has_lock(call->table))
	{
		lock_table(call->table, ABSENT_TABLE, RowShareLock);
		lock_key(call->table, key, ShareLock);
	}
	else
		lock_table(call->table, ABSENT_TABLE, ShareLock);
	created++;
}

/*
 * Begin a call of cas_txn() on a table, before it locks any row.  If all is
 * true, lock all missing keys of the table.
 */
void
absent_begin(CasTable *table, bool all)
{
	lock_table(table, ABSENT_CALLS, all ? ExclusiveLock : RowShareLock);
	if (all)
		lock_table(table, ABSENT_TABLE, ExclusiveLock);
}

/*
 * Keep other calls from creating this key until the end of the transaction; a
 * plain INSERT can still create it.  As this may wait, the caller must look
 * for the row again afterwards.
 */
void
absent_key_lock(CasTable *table, const CasKey *key)
{
	if (!absent_has_keys(table))
	{
		/* the row was there when the call began */
		lock_table(table, ABSENT_TABLE, ExclusiveLock);
		return;
	}
	lock_table(table, ABSENT_TABLE, RowExclusiveLock);
	lock_key(table, key, ExclusiveLock);
}
