/*
 * share.h
 *		Declarations for counted pools: their shares and gaps.
 */
#ifndef PG_CAS_ALLOC_SHARE_H
#define PG_CAS_ALLOC_SHARE_H

#include "storage/lock.h"

#include "alloc/alloc.h"

/* A row of alloc_share. */
typedef struct ShareRow
{
	int32		pool;
	int32		origin;			/* the pool that the unit was taken from */
	bool		held;			/* has a key, but may have run out */
	pg_uuid_t	key;
	int			part;			/* distinguishes rows of the same key */
	int64		first;			/* first place */
	int64		n;				/* number of places; 0: the wall */
	int64		total;			/* of the unit; 0 if not its first row */
	int64		generation;
	TimestampTz allocated_at;
	bool		expires;
	TimestampTz expires_at;		/* if not held, when it can be given out */
	Datum		note;			/* not detoasted */
	bool		has_note;
	bool		moved;			/* came from another key; see move.c */
	pg_uuid_t	moved_from;
	int64		moved_generation;

	/* where the row is, and who is changing it */
	ItemPointerData tid;
	bool		own;			/* inserted by this transaction */
	TransactionId inserter;		/* another transaction that is running */
	TransactionId deleter;		/* another transaction that is running */
} ShareRow;

/* The place after the last one of a row. */
static inline int64
share_end(const ShareRow *row)
{
	return row->n == 0 ? PG_INT64_MAX : row->first + row->n;
}

/* Is another running transaction inserting or deleting the row? */
static inline bool
share_is_open(const ShareRow *row)
{
	return TransactionIdIsValid(row->inserter) ||
		TransactionIdIsValid(row->deleter);
}

/* A row of alloc_gap. */
typedef struct GapRow
{
	int64		first;
	int64		n;
	TimestampTz freed_at;		/* identifies it, together with its place */
	ItemPointerData tid;
	TransactionId inserter;		/* another transaction that is running */
	TransactionId deleter;		/* another transaction that is running */
} GapRow;

/* Free places that a plan has found. */
typedef struct Piece
{
	int64		first;
	int64		n;
} Piece;

/* A gap that a plan has looked into. */
typedef struct SeenGap
{
	GapRow		row;
	int			from;			/* what was found to be free in it: pieces of */
	int			nfree;			/* plan->walked from there on */
	bool		known;			/* all of it was looked at, and no running
								 * transaction has taken any of it */
	int64		trim;			/* places before this one are held; 0: do not
								 * trim */
} SeenGap;

/* Where a level has room for a request; see gap.c. */
typedef struct SharePlan
{
	MemoryContext cxt;			/* memory context of the arrays */
	int64		total;			/* places in all pieces */
	bool		hopeful;		/* see plan_hope() */
	int			npieces;
	int			pieces_room;
	Piece	   *pieces;
	int			ngaps;
	int			gaps_room;
	SeenGap    *gaps;
	int			nwalked;
	int			walked_room;
	Piece	   *walked;			/* pieces that were free, of all gaps */
	int			nsweeps;
	int			sweeps_room;
	ShareRow   *sweeps;			/* rows that have run out, to be deleted */
} SharePlan;

/* At most so many pools are above one another. */
#define MAX_LEVELS 8

/* A counted pool from which a unit takes its share. */
typedef struct Level
{
	PoolUse		use;
	bool		exclusive;		/* lock it exclusively the next time */
	SharePlan		plan;
	int			base;			/* part of the unit's first row */
	int			nformer;		/* rows of the key that have run out */
	int			former_room;
	ShareRow   *former;
} Level;

/*
 * The levels of a unit: the counted pools from which it takes shares, from its
 * own pool, if that is counted, to the root.
 */
typedef struct Levels
{
	Store	   *store;
	PoolUse    *leaf;			/* the unit's own pool, which the caller locks */
	int			first;			/* 1 if the leaf is level 0, else 0 */
	int			n;
	Level		level[MAX_LEVELS];
	bool		takes;			/* the call takes something from the levels */
	int64		whole;			/* what the unit is to have in all */
	bool		patient;		/* the call can look again later, so it need not
								 * lock anything exclusively */
	bool		looking;		/* likewise, while it waits for transactions */
	bool		at_once;		/* it waits for nobody */
	int			full;			/* the level that has too little */
	bool		lacking[MAX_LEVELS];	/* a patient call: all that have */
	TimestampTz next_at;		/* when something runs out there; 0: never */
	int			stumbles;		/* failures to take what looked free, since
								 * the levels were locked */
	bool		begun;			/* levels_end() has ended something */
} Levels;

/* share.c */
extern void share_open(Store *store);
extern void share_scan_by_key(RowScan *scan, Store *store, int32 pool,
							  int32 origin, const pg_uuid_t *key,
							  Snapshot snapshot);
extern void share_scan_of_pool(RowScan *scan, Store *store, int32 pool,
							   Snapshot snapshot);
extern void share_scan_by_place(RowScan *scan, Store *store, int32 pool,
								int64 first, int64 last);
extern void share_scan_by_span(RowScan *scan, Store *store, int32 pool,
							   int64 first, int64 n);
extern void share_scan_by_expiry(RowScan *scan, Store *store, int32 pool,
								 TimestampTz until);
extern void share_scan_to_expire(RowScan *scan, Store *store, int32 pool,
								 TimestampTz after);
extern bool share_scan_next(RowScan *scan, ShareRow *row);
extern void gap_scan_by_size(RowScan *scan, Store *store, int32 pool,
							 int64 n, ScanDirection direction);
extern void gap_scan_by_place(RowScan *scan, Store *store, int32 pool,
							  int64 first, int64 last);
extern bool gap_scan_next(RowScan *scan, GapRow *row);
extern bool share_insert(Store *store, const ShareRow *row);
extern TM_Result share_update(Store *store, ShareRow *row);
extern TM_Result share_delete(Store *store, const ShareRow *row);
extern void gap_insert(Store *store, int32 pool, int64 first, int64 n);
extern bool gap_delete(Store *store, const GapRow *row);

/* gap.c */
extern bool plan_make(Store *store, Pool *pool, int64 n, TimestampTz now,
					  bool verify, SharePlan *plan);
extern bool plan_hope(Store *store, Pool *pool, int64 n, TimestampTz now,
					  SharePlan *plan);
extern int	compare_pieces(const void *a, const void *b);
extern void join_pieces(SharePlan *plan);
extern bool forget_gap(Store *store, Pool *pool, const GapRow *gap);

/* chosen.c */
extern void plan_choose(SharePlan *plan, int64 n);
extern void plan_finish(Store *store, Pool *pool, SharePlan *plan);

/* held.c */
extern KeyState held_look(Store *store, const Pool *pool,
						  const pg_uuid_t *key, TimestampTz now,
						  SlotRow *unit);
extern bool held_read(Store *store, const Pool *pool, const pg_uuid_t *key,
					  Snapshot snapshot, SlotRow *unit);
extern bool held_has_changed(Store *store, const Pool *pool,
							 const pg_uuid_t *key, const SlotRow *unit,
							 TimestampTz now);

/* level.c */
extern void levels_begin(Levels *levels, Store *store, PoolUse *leaf);
extern bool levels_lock(Levels *levels, const Patience *patience,
						PoolUse *busy);
extern bool levels_wait(PoolUse *busy, const Patience *patience);
extern void levels_unlock(Levels *levels);
extern Outcome levels_plan(Levels *levels, const pg_uuid_t *key, int64 n,
						   TimestampTz now, bool last, TimestampTz *ready_at);

/* taking.c */
extern bool levels_take(Levels *levels, const ShareRow *unit, int64 n,
						bool (*rest) (void *arg), void *arg);
extern bool levels_end(Levels *levels, const pg_uuid_t *key, int64 generation,
					   TimestampTz ended_at, TimestampTz ready_at,
					   const char *reason);
extern bool levels_update(Levels *levels, const pg_uuid_t *key,
						  int64 generation, const SlotRow *unit);
extern bool levels_annotate(Levels *levels, const pg_uuid_t *key,
							int64 generation, const SlotRow *unit);
extern bool levels_resize(Levels *levels, const SlotRow *unit,
						  int64 generation, int64 n, TimestampTz now);
extern int64 levels_reap(Store *store, const Pool *pool, int64 batch);
extern void share_history(Store *store, const Pool *pool, const ShareRow *row,
						  TimestampTz ended_at, const char *reason);

#endif							/* PG_CAS_ALLOC_SHARE_H */
