/*
 * inventory.h
 *		Declarations for functions that read inventories of other systems.
 */
#ifndef PG_CAS_INVENTORY_H
#define PG_CAS_INVENTORY_H

#include "utils/jsonb.h"

#include "alloc/alloc.h"

/* An entry of an inventory: what another system has given out. */
typedef struct Entry
{
	char	   *position;		/* units[2] */
	char	   *text;			/* the value as it is written; NULL if none */
	bool		has_key;
	pg_uuid_t	key;
	char	   *problem;		/* what is malformed, with its position */
	int64		n;				/* the number of units; 0 if none is given */
	bool		fits;			/* the pool can have such a value */
	Request		request;		/* for this value and key */
	bool		expires;
	TimestampTz expires_at;
} Entry;

/* inventory.c */
extern Entry *inventory_read(const Pool *pool, const char *function,
							 Jsonb *json, const char *name, int *nentries);

#endif							/* PG_CAS_INVENTORY_H */
