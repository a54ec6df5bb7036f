/*
 * line.h
 *		Declarations for standing in line for counted pools.
 */
#ifndef PG_CAS_ALLOC_LINE_H
#define PG_CAS_ALLOC_LINE_H

#include "alloc/share.h"

/* The places that a call has in lines. */
typedef struct Line
{
	Oid			nsp;
	int32		pool[MAX_LEVELS];
	bool		wanted[MAX_LEVELS];
	bool		held[MAX_LEVELS];
} Line;

extern bool store_open_patiently(Store *store, Oid nsp,
								 const Patience *patience);
extern bool line_is_head(const Line *line, int level);
extern bool line_is_before(Levels *levels, const Line *line);
extern bool line_join(Line *line, Oid nsp, int level, int32 pool,
					  const Patience *patience);
extern void line_leave(Line *line);
extern bool line_wait(WaitSet *waits, TimestampTz next,
					  const Patience *patience);

#endif							/* PG_CAS_ALLOC_LINE_H */
