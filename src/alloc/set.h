/*
 * set.h
 *		Declarations for alloc_set().
 */
#ifndef PG_CAS_ALLOC_SET_H
#define PG_CAS_ALLOC_SET_H

#include "utils/hsearch.h"
#include "utils/jsonb.h"

#include "alloc/attempt.h"
#include "alloc/share.h"

/* A pool from which a member can be allocated, and the request for it. */
typedef struct Choice
{
	PoolUse		use;
	Request		request;
	Answer		answer;			/* of the last try */
	bool		outside;		/* the pool does not have the value */
	Answer		reason;			/* why there is no room, if sure; lasts longer
								 * than the try, so it is kept in met.cxt */
	bool		sure;			/* there is none, and nobody was met who could
								 * make some */
} Choice;

/* A member of a set. */
typedef struct Member
{
	char	   *position;		/* request[2] */
	int			nchoices;
	Choice	   *choices;		/* in the order in which they are tried */
	int			chosen;			/* the one that has the unit */
} Member;

typedef struct Set
{
	pg_uuid_t	key;
	Interval   *ttl;
	Datum		note;
	bool		has_note;
	HTAB	   *pools;			/* the ids of those that it names */
	int			nmembers;
	Member	   *members;
	Member	  **order;			/* the order in which they are served */

	/* the search for room; see set.c */
	Member	   *bottom;			/* the member that finds none */
	int			turn;			/* which of its pools is locked exclusively */
	WaitSet		met;			/* the transactions that were met there */

	/* a pool for which the next try begins by waiting, or NULL */
	char	   *contended;
} Set;

/* Pools that a try locks exclusively before anything else. */
typedef struct Alone
{
	int			n;
	PoolUse		uses[MAX_LEVELS + 2];
} Alone;

/* set_lock.c */
extern Choice *set_exclusive_choice(const Attempt *attempt, const Set *set);
extern void set_lock_alone(const Attempt *attempt, Set *set, Alone *alone);
extern void set_unlock_alone(Alone *alone);
extern bool set_lock_choice(Attempt *attempt, Set *set, Choice *choice);
extern void set_unlock_choice(Choice *choice);

/* set_request.c */
extern void set_read(Set *set, Oid nsp, Jsonb *request);

#endif							/* PG_CAS_ALLOC_SET_H */
