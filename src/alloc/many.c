/*
 * many.c
 *		Allocate a unit for each of many keys, in one call.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "alloc/answer.h"

/* qsort and bsearch comparator */
static int
compare_keys(const void *a, const void *b)
{
	return memcmp(DatumGetUUIDP(*(const Datum *) a)->data,
				  DatumGetUUIDP(*(const Datum *) b)->data, UUID_LEN);
}

/*
 * Allocate a key's unit in the current context, which is reset afterwards.
 * The unit's note is copied to another context.
 */
static Outcome
serve_key(Store *store, PoolUse *use, Request *request, Datum key,
		  MemoryContext keep, SlotRow *unit)
{
	MemoryContext cxt = CurrentMemoryContext;
	Answer		answer;

	/* the pool was pinned in the context that has been reset */
	(void) pool_use_again(use);
	request->key = *DatumGetUUIDP(key);
	unit_allocate(store, use, request, &answer);
	require_unit(use->pool, request, &answer);

	*unit = answer.unit;
	MemoryContextSwitchTo(keep);
	row_keep(unit);
	MemoryContextSwitchTo(cxt);
	MemoryContextReset(cxt);
	return answer.outcome;
}

/* qsort comparator of pointers: by block, and then in the order of allocation */
static int
compare_units(const void *a, const void *b)
{
	const SlotRow *one = *(SlotRow *const *) a;
	const SlotRow *other = *(SlotRow *const *) b;

	if (one->lo != other->lo)
		return one->lo < other->lo ? -1 : 1;
	if (one->generation != other->generation)
		return one->generation < other->generation ? -1 : 1;
	return 0;
}

/*
 * A key that has its unit is not locked.  So while the keys after it are
 * served, the unit can be released or run out, and be given to one of them.
 * Return the number of such a unit, or -1.  All units have the same size.
 */
static int
find_lost(SlotRow *units, int nunits)
{
	SlotRow   **places;
	int			lost = -1;

	places = MemoryContextAllocHuge(CurrentMemoryContext,
									nunits * sizeof(SlotRow *));
	for (int i = 0; i < nunits; i++)
		places[i] = &units[i];
	qsort(places, nunits, sizeof(SlotRow *), compare_units);
	for (int i = 1; i < nunits && lost < 0; i++)
	{
		/* a key that is named twice has its unit twice */
		if (places[i - 1]->lo == places[i]->lo &&
			places[i - 1]->generation != places[i]->generation)
			lost = places[i - 1] - units;
	}
	pfree(places);
	return lost;
}

/*
 * Allocate a unit for each key, or raise an error.  A key may be named twice.
 * What *many contains, and use->pool, are valid in the current context.
 */
void
many_allocate(Many *many, Store *store, PoolUse *use, Request *request,
			  const Datum *keys, int nkeys)
{
	bool		held = false;
	int			lost;
	MemoryContext cxt;
	MemoryContext caller;

	/*
	 * Serve the keys in one order, so that two calls that have keys in common
	 * wait for each other and cannot deadlock.
	 */
	many->nkeys = nkeys;
	many->keys = palloc(Max(nkeys, 1) * sizeof(Datum));
	memcpy(many->keys, keys, nkeys * sizeof(Datum));
	qsort(many->keys, nkeys, sizeof(Datum), compare_keys);
	many->units = MemoryContextAllocHuge(CurrentMemoryContext,
										 Max(nkeys, 1) * sizeof(SlotRow));

	/*
	 * Allocate each key's unit in a context that is reset after it: an array
	 * can have very many keys.
	 */
	cxt = AllocSetContextCreate(CurrentMemoryContext, "alloc_many",
								ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(cxt);
	for (int i = 0; i < nkeys; i++)
		held |= serve_key(store, use, request, many->keys[i], caller,
						  &many->units[i]) == OUTCOME_HELD;
	while (held && (lost = find_lost(many->units, nkeys)) >= 0)
		(void) serve_key(store, use, request, many->keys[lost], caller,
						 &many->units[lost]);

	/* pin the pool here before the context that has pinned it goes away */
	MemoryContextSwitchTo(caller);
	(void) pool_use_again(use);
	MemoryContextDelete(cxt);
}

/* The unit of one of the keys. */
const SlotRow *
many_unit(const Many *many, Datum key)
{
	Datum	   *place = bsearch(&key, many->keys, many->nkeys, sizeof(Datum),
								compare_keys);

	return &many->units[place - many->keys];
}
