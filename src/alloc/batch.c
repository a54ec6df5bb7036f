/*
 * batch.c
 *		The keys of a call for many keys: their order, and their locks.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "alloc/many.h"

/* qsort and bsearch comparator */
static int
compare_keys(const void *a, const void *b)
{
	const ManyKey *one = a;
	const ManyKey *other = b;

	if (one->hash != other->hash)
		return one->hash < other->hash ? -1 : 1;
	return memcmp(one->key.data, other->key.data, UUID_LEN);
}

/* qsort comparator of pointers: as the caller has named them */
int
many_compare_places(const void *a, const void *b)
{
	const ManyKey *one = *(ManyKey *const *) a;
	const ManyKey *other = *(ManyKey *const *) b;

	return one->at < other->at ? -1 : one->at > other->at;
}

/* Sort the keys, naming each only once. */
void
many_sort_keys(Many *many, const Datum *keys, int nkeys)
{
	ManyKey    *sorted = MemoryContextAllocHuge(CurrentMemoryContext,
												Max(nkeys, 1) *
												sizeof(ManyKey));
	int			n = 0;

	for (int i = 0; i < nkeys; i++)
	{
		sorted[i].key = *DatumGetUUIDP(keys[i]);
		sorted[i].hash = key_hash(&sorted[i].key);
		sorted[i].at = i;
	}
	qsort(sorted, nkeys, sizeof(ManyKey), compare_keys);
	for (int i = 0; i < nkeys; i++)
	{
		if (n == 0 || compare_keys(&sorted[n - 1], &sorted[i]) != 0)
			sorted[n++] = sorted[i];
		else
			sorted[n - 1].at = Min(sorted[n - 1].at, sorted[i].at);
	}
	many->keys = sorted;
	many->nkeys = n;
}

/* The unit that a key was given. */
const SlotRow *
many_unit(const Many *many, Datum key)
{
	ManyKey		wanted = {.key = *DatumGetUUIDP(key)};
	ManyKey    *found;

	wanted.hash = key_hash(&wanted.key);
	found = bsearch(&wanted, many->keys, many->nkeys, sizeof(ManyKey),
					compare_keys);
	return &many->units[found - many->keys];
}

/*
 * Lock the keys of a batch, or none of them if that takes waiting.
 */
bool
many_lock(Attempt *attempt, Many *many, int first, int n)
{
	for (int i = 0; i < n; i++)
	{
		const pg_uuid_t *key = &many->keys[first + i].key;

		if (key_lock_at_once(&many->use, key))
			continue;
		while (--i >= 0)
			key_unlock(&many->use, &many->keys[first + i].key);
		return attempt_meets_lock(attempt, &many->use, key);
	}
	return true;
}

/* Release these locks. */
void
many_unlock(Many *many, int first, int n)
{
	for (int i = 0; i < n; i++)
		key_unlock(&many->use, &many->keys[first + i].key);
}
