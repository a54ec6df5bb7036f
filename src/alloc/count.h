/*
 * count.h
 *		Declarations for allocating from counted pools.
 */
#ifndef PG_CAS_ALLOC_COUNT_H
#define PG_CAS_ALLOC_COUNT_H

#include "alloc/line.h"

/* A call at work. */
typedef struct Count
{
	Store	   *store;
	PoolUse    *use;			/* with the levels */
	const char *function;
	pg_uuid_t	key;
	Patience	patience;
	Line		line;
	TimestampTz now;

	/* waiting for room */
	WaitSet		room;			/* transactions that may make room */
	int			round;			/* see allocate() */
	int			idle;			/* rounds without anybody to wait for */
} Count;

/* count.c */
extern void count_begin(Count *count, Store *store, PoolUse *use,
						const pg_uuid_t *key, const char *function);
extern bool count_wait(Count *count, Outcome *outcome);
extern void count_take(Count *count, ShareRow *unit, int64 n, Answer *answer);
extern bool count_try(Store *store, PoolUse *use, Request *request, int round,
					  Answer *answer);
extern void count_allocate(Store *store, PoolUse *use, Request *request,
						   Answer *answer);

/* resize.c */
extern void count_resize(Store *store, PoolUse *use, const pg_uuid_t *key,
						 int64 n, const int64 *generation, Answer *answer);

#endif							/* PG_CAS_ALLOC_COUNT_H */
