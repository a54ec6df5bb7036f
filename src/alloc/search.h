/*
 * search.h
 *		Declarations for the files that search for units, and for those that
 *		deal with several units in a row.
 */
#ifndef PG_CAS_ALLOC_SEARCH_H
#define PG_CAS_ALLOC_SEARCH_H

#include "alloc/alloc.h"

/* run.c */
extern Extent run_slots(u128 lo, int order, int n);
extern bool run_take(Search *search, u128 lo, SlotRow *worst);
extern bool row_end(Store *store, const Pool *pool, SlotRow *row,
					TimestampTz ended_at, TimestampTz ready_at,
					const char *reason);
extern bool unit_end(Store *store, const Pool *pool, SlotRow *unit,
					 TimestampTz ended_at, TimestampTz ready_at,
					 const char *reason);
extern void unit_expire(Store *store, const Pool *pool, SlotRow *unit);
extern bool unit_change(Store *store, const Pool *pool, const SlotRow *from,
						SlotRow *to, const char *reason);

/* ready.c */
extern bool run_ready(Search *search, bool *cooling, TimestampTz *ready_at);

/* saved.c */
extern bool store_frontier(Store *store, int32 range, u128 *next,
						   PendingRun *pending, int *npending);
extern void store_save_frontier(Store *store, int32 range, u128 next,
								const PendingRun *pending, int npending);

/* frontier.c */
extern uint64 frontier_rollbacks(void);
extern void frontier_ignore_rollback(void);
extern bool frontier_find_unused(Search *search, int i, bool reopened,
								 u128 *slot);
extern bool frontier_take(Search *search, int i, u128 slot);
extern void frontier_tried(Search *search, int i, u128 slot, bool taken);
extern void frontier_took(Search *search, int i, const u128 *slots, int n);

/* bulk.c */
/* One unit is not worth the subtransaction in which bulk.c inserts several. */
#define MIN_BULK 2

extern bool bulk_needs_look(Store *store, const Pool *pool);
extern void bulk_take_unused(Search *search, SlotRow *units,
							 BulkState *states, int nunits);
extern void bulk_take_each(Search *searches, bool *served, int n);

/* queue.c */
extern bool queue_take_ready(Search *search);
extern bool queue_take(Search *search);
extern bool queue_lowest(Search *search, Extent slots, SlotRow *row);

/* lowest.c */
extern bool lowest_search(Search *search);

/* What a walk has met; see mixed.c. */
typedef struct Walked
{
	u128		from;			/* what was met before this does not matter */
	u128		stop;			/* all before this was held, or too small, and
								 * alloc_freed will say when it comes free */
	u128		own_stop;		/* likewise, as long as our own transaction
								 * does not roll back */
	bool		all_held;		/* there was no gap, and nothing in the hands
								 * of another running transaction */
	u128		held;			/* as long as that was so, it came to here */
	int			nheld;			/* over so many rows */
} Walked;

/* mixed.c */
extern bool mixed_walk(Search *search, Extent slots, Walked *walked);
extern bool mixed_search(Search *search);
extern bool mixed_has_room(Search *search);

/* search.c */
extern bool search_free(Search *search);
extern Outcome search_exact(Search *search, SlotRow *holder);
extern Outcome search_reason(Search *search);

#endif							/* PG_CAS_ALLOC_SEARCH_H */
