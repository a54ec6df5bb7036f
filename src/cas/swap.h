/*
 * swap.h
 *		Declarations of swap.c and rename.c, for the files that swap rows.
 */
#ifndef PG_CAS_SWAP_H
#define PG_CAS_SWAP_H

#include "cas.h"

/* Arguments of a swap (swap.c). */
typedef struct CasSwap
{
	CasKey	   *key;			/* NULL if create takes the key's default */
	int64		expected;		/* expected version; set to the version in the
								 * document if that is what conflicts */
	CasKey	   *new_key;		/* for rename */
	Jsonb	   *document;		/* payload, patch, or apply's args; the last
								 * may be NULL */
	Oid			fn;				/* for apply */
	int			wants;			/* CAS_WANTS_ flags of the row returned */
	bool		unlocked;		/* answer a conflict without a lock */
} CasSwap;

/* swap.c */
extern CasOutcome swap_create(CasCall *call, const CasSwap *swap,
							  CasRow *row);
extern CasOutcome swap_update(CasCall *call, CasSwap *swap, CasRow *row);
extern CasOutcome swap_patch(CasCall *call, const CasSwap *swap, CasRow *row);
extern CasOutcome swap_delete(CasCall *call, const CasSwap *swap,
							  CasRow *row);
extern CasOutcome swap_merge(CasCall *call, const CasSwap *swap, CasRow *row);
extern CasOutcome swap_apply(CasCall *call, const CasSwap *swap, CasRow *row);
extern CasOutcome swap_put(CasCall *call, CasSwap *swap, CasRow *row);
extern CasOutcome swap_no_row(CasCall *call, CasKey *key, CasOutcome outcome,
							  CasRow *row);
extern bool swap_conflicts_unlocked(CasCall *call, const CasSwap *swap,
									CasRow *row);

/* rename.c */
extern CasOutcome swap_rename(CasCall *call, const CasSwap *swap,
							  CasRow *row);

#endif							/* PG_CAS_SWAP_H */
