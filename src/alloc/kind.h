/*
 * kind.h
 *		What differs between kinds of pools, for kind.c and text.c.
 */
#ifndef PG_CAS_KIND_H
#define PG_CAS_KIND_H

#include "alloc/alloc.h"

/* One end of a range, or a network. */
typedef struct End
{
	int			width;
	u128		value;
	int			masklen;		/* equal to width if there is no mask */
} End;

/*
 * A family of values.  A pool has values of one family of its kind.  Each
 * kind's array of families ends with an entry without a name.
 */
typedef struct Family
{
	const char *name;
	int			code;			/* value of alloc_pool.family; 0: NULL */
	int			width;
	int			value_bits;		/* a value is less than 2^value_bits */
	int			range_bits;		/* a range has at most 2^range_bits values */
	const char *most;			/* the same, for messages */
} Family;

typedef struct Kind
{
	const char *name;			/* value of alloc_pool.kind */
	const char *example;		/* hint that shows how ranges are written */
	const char *values;			/* what ranges of another kind turn out to be,
								 * for hints; NULL: addresses */
	ValueColumn column;			/* where alloc_unit has the value */
	RequestKind request;		/* the request, unless ports are requested */
	bool		hosts;			/* a network stands for its host addresses */
	bool		sizes;			/* units are networks of any size */
	bool		counted;		/* units are shares of a capacity */
	bool		ports;			/* values can be divided into port chunks */
	bool		int8ranges;		/* a range can be written as [100,4095) */
	const Family *families;

	/* returns NULL, or what is wrong with the text */
	char	   *(*parse) (const char *text, End *end);
	/* print a unit; print a single value, such as the end of a range */
	char	   *(*print) (int width, u128 value, int masklen);
	char	   *(*print_value) (int width, u128 value, int masklen);
	/* print a network with its mask; NULL if there are none */
	char	   *(*print_network) (int width, u128 value, int masklen);
} Kind;

extern const Kind *kind_get(PoolKind kind);
extern const Kind *kind_of_text(const char *text);
extern const Family *kind_family_of_width(PoolKind kind, int width);

#endif							/* PG_CAS_KIND_H */
