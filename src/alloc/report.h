/*
 * report.h
 *		Declarations for the functions that look at pools as a whole.
 */
#ifndef PG_CAS_ALLOC_REPORT_H
#define PG_CAS_ALLOC_REPORT_H

#include "nodes/execnodes.h"

#include "alloc/alloc.h"

/* The pool that is being looked at. */
typedef struct Look
{
	Snapshot	snapshot;
	Pool	   *pool;
	TimestampTz now;
	Store		store;
	ReturnSetInfo *rsinfo;
} Look;

/*
 * A range with its slots.  Sorted by slots, the ranges can be visited in step
 * with the pool's rows.
 */
typedef struct Part
{
	Extent		slots;
	const Range *range;
} Part;

extern Datum look_at_pools(FunctionCallInfo fcinfo, bool required,
						   void (*at) (Look *look));
extern Part *parts_of(const Pool *pool);

/* tally.c */
extern bool is_in_use(const Look *look, const SlotRow *row);
extern bool is_cooling(const Look *look, const SlotRow *row);
extern void tally(Look *look, uint64 *held, uint64 *cooling);
extern void tally_shares(Look *look, uint64 *held, uint64 *cooling);

#endif							/* PG_CAS_ALLOC_REPORT_H */
