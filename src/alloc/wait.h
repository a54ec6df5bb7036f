/*
 * wait.h
 *		Declarations for waiting.
 */
#ifndef PG_CAS_ALLOC_WAIT_H
#define PG_CAS_ALLOC_WAIT_H

#include "datatype/timestamp.h"
#include "storage/lock.h"

struct SlotRow;

/* Transactions that a call has met and may have to wait for. */
typedef struct WaitSet
{
	MemoryContext cxt;			/* memory context of xids */
	int			n;
	int			room;			/* allocated length of xids */
	TransactionId *xids;
	TransactionId awaited;		/* the one that was waited for last */
	int			waited;			/* milliseconds waited for it */
	int			unlooked;		/* ... since the deadlock detector ran */
} WaitSet;

/* How often a call may have to start again without anybody to wait for. */
#define MAX_IDLE_ROUNDS 1000

/* What a call is waiting for. */
typedef struct Waiting
{
	WaitSet		room;			/* transactions that may make room */
	int			round;			/* see unit_take() */
	int			idle;			/* rounds without anybody to wait for */
	int			pause;			/* milliseconds until the next search */
	bool		looking;		/* still waiting for room; the next search is
								 * for units that became free elsewhere */
} Waiting;

/* How long a call may wait; all zeros: without limit. */
typedef struct Patience
{
	bool		limited;		/* until deadline */
	bool		never;			/* not for transactions */
	TimestampTz deadline;
} Patience;

/* wait.c */
extern void wait_add_xid(WaitSet *waits, TransactionId xid);
extern void wait_add_row(WaitSet *waits, const struct SlotRow *row);
extern void wait_for_xid(TransactionId xid);
extern bool wait_for_lock_patiently(const LOCKTAG *tag, LOCKMODE mode,
									const Patience *patience);
extern bool wait_for_xid_patiently(TransactionId xid,
								   const Patience *patience);
extern bool wait_some(WaitSet *waits, int ms);
extern bool wait_limited(void (*wait) (void *arg), void *arg, int ms,
						 int deadlock_ms, bool is_users);
extern bool wait_patiently(void (*wait) (void *arg), void *arg,
						   const Patience *patience);
extern bool wait_for_room(Waiting *waiting, const WaitSet *met,
						  TimestampTz began);

#endif							/* PG_CAS_ALLOC_WAIT_H */
