/*
 * attempt.h
 *		Declarations for calls that allocate or release several units.
 */
#ifndef PG_CAS_ATTEMPT_H
#define PG_CAS_ATTEMPT_H

#include "alloc/alloc.h"

/* What keeps a try from succeeding. */
typedef enum Obstacle
{
	OBSTACLE_NONE,				/* try again, in another way */
	OBSTACLE_POOL,				/* somebody has a pool's lock */
	OBSTACLE_LOCK,				/* somebody has a key's lock */
	OBSTACLE_KEY,				/* a transaction changes what a key has */
	OBSTACLE_ROOM				/* nothing was found for a key */
} Obstacle;

/* A call that is tried as a whole, again and again; see attempt.c. */
typedef struct Attempt
{
	const char *function;
	Waiting		waiting;
	WaitSet		met;			/* OBSTACLE_ROOM: the transactions that were
								 * met; OBSTACLE_KEY: one of them */

	/* set by a try that has failed */
	Obstacle	obstacle;
	PoolUse    *use;			/* the pool, and the key, of the obstacle */
	PoolUse		level;			/* the same for a pool above */
	pg_uuid_t	key;
} Attempt;

/* One try; returns whether it has succeeded. */
typedef bool (*TryFunction) (Attempt *attempt, void *call);

extern int	attempt_round(const Attempt *attempt);
extern bool attempt_meets_lock(Attempt *attempt, PoolUse *use,
							   const pg_uuid_t *key);
extern bool attempt_meets_level_lock(Attempt *attempt, const PoolUse *use);
extern bool attempt_meets_row(Attempt *attempt, PoolUse *use,
							  const SlotRow *row);
extern bool attempt_meets_waits(Attempt *attempt, Obstacle obstacle,
								PoolUse *use, const pg_uuid_t *key,
								const WaitSet *waits);
extern void attempt_run(Attempt *attempt, const char *function,
						TryFunction try, void *call);

#endif							/* PG_CAS_ATTEMPT_H */
