/*
 * many.h
 *		Declarations for calls for many keys.
 */
#ifndef PG_CAS_MANY_H
#define PG_CAS_MANY_H

#include "alloc/attempt.h"

/*
 * Keys that are locked at the same time.  This is the number of locks that a
 * call holds at most, apart from the pool's.
 */
#define BATCH 32

/* A key, in the order of the keys' locks. */
typedef struct ManyKey
{
	uint32		hash;
	pg_uuid_t	key;
	int			at;				/* where the caller has named it first */
	bool		held;			/* it had its unit before the call */
} ManyKey;

/* A call. */
typedef struct Many
{
	PoolUse		use;
	Request    *request;		/* of an allocation */
	int			nkeys;			/* different keys */
	ManyKey    *keys;
	Store		store;
	SlotRow    *units;			/* of an allocation: what the keys have */
	bool		held;			/* some of them had it already: then they are
								 * marked */
	bool		in_levels;		/* shares have to be taken, too */
	bool		bulk;			/* units may be taken by bulk.c, */
	int			nbulk;			/* ... which has been done so often */
	bool		careful;		/* look all keys up */
	int64		nreleased;		/* of a release */
} Many;

/* batch.c */
extern int	many_compare_places(const void *a, const void *b);
extern void many_sort_keys(Many *many, const Datum *keys, int nkeys);
extern const SlotRow *many_unit(const Many *many, Datum key);
extern bool many_lock(Attempt *attempt, Many *many, int first, int n);
extern void many_unlock(Many *many, int first, int n);

#endif							/* PG_CAS_MANY_H */
