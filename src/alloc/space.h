/*
 * space.h
 *		A pool's space: the values that it contains, and how they are numbered
 *		as slots; see space.c.
 *
 * Nothing here needs the server, so the arithmetic can be tested separately
 * (test/unit).
 */
#ifndef PG_CAS_SPACE_H
#define PG_CAS_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#ifndef __SIZEOF_INT128__
#error "pg_cas needs a 64-bit machine: there are no 128-bit integers here"
#endif

/* Aligned to 8 bytes only, like memory from palloc(). */
typedef unsigned __int128 u128 __attribute__((aligned(8)));

#define U128_MAX	(~(u128) 0)

/* Decimal digits of the largest u128, and the terminating zero. */
#define U128_DIGITS	40

/* A run of slots: first to last, both included. */
typedef struct Extent
{
	u128		first;
	u128		last;
} Extent;

/* A range of values. */
typedef struct Range
{
	u128		first;			/* both included */
	u128		last;
	bool		draining;		/* no more units are given out */
	int32_t		id;
	int32_t		whole;			/* equal in ranges cut from one range */
} Range;

typedef struct Space
{
	int			chunk_bits;		/* log2 of the slots that each value has */
	int			nranges;
	Range	   *ranges;			/* by value, without overlap */
	int			nreserved;
	Extent	   *reserved;		/* in slots, ascending, without overlap */
	const uint64_t *excluded;	/* a bit for each chunk of an address that is
								 * not given out as a chunk; NULL: none */
} Space;

/* numbers */
extern int	u128_print(u128 n, char *buf);
extern bool u128_parse(const char *s, u128 *n);
extern u128 u128_from_bytes(const unsigned char *bytes, int nbytes);
extern void u128_to_bytes(u128 n, unsigned char *bytes, int nbytes);

/* ranges */
extern void network_hosts(u128 network, int width, int masklen,
						  u128 *first, u128 *last);
extern void network_all(u128 network, int width, int masklen,
						u128 *first, u128 *last);
extern bool range_fits(const Range *range, int chunk_bits);
extern bool ranges_collide(const Range *a, const Range *b, int chunk_bits);
extern Extent range_slots(const Range *range, int chunk_bits);

/* spaces */
extern const Range *space_range_of_value(const Space *space, u128 value);
extern const Range *space_range_of_slot(const Space *space, u128 slot);
extern u128 space_slot(const Space *space, u128 value);
extern u128 space_value(const Space *space, u128 slot);
extern Extent slots_of_values(const Space *space, u128 first, u128 last);
extern int	space_chunk(const Space *space, u128 slot);
extern bool space_reserved(const Space *space, u128 slot, int order);
extern bool space_excluded(const Space *space, u128 slot, int order);
extern bool space_all_excluded(const Space *space);
extern u128 space_chunks(const Space *space, Extent slots);
extern bool space_open(const Space *space, u128 slot, int order);
extern u128 space_unreserved(const Space *space, Extent slots);
extern bool space_fit(const Space *space, Extent gap, int order, u128 *slot);
extern bool space_fit_run(const Space *space, Extent gap, int order, int n,
						  u128 *slot);
extern Extent space_part(const Space *space, int i, int *next);
extern bool space_covers(const Space *space, Extent slots);
extern const Extent *space_first_reserved(const Space *space, u128 slot);

/* The last slot of the aligned block of 2^order slots that begins at slot. */
static inline u128
block_last(u128 slot, int order)
{
	return slot + (((u128) 1 << order) - 1);
}

#endif							/* PG_CAS_SPACE_H */
