/*
 * alloc.h
 *		What the files of the allocation room share.
 *
 * functions.c	the SQL functions that units come and go by
 * pools.c		those that make, change and drop pools
 * ranges.c		those that change what a pool consists of
 * report.c		those that look at a pool as a whole
 * reap.c		housekeeping
 * unit.c		a key's unit: allocate, renew, release
 * search.c		finding a block that is free
 * pool.c		pools: their lock, and who may use them
 * cache.c		pools as a backend has read them
 * store.c		the rows behind it all
 * kind.c		kinds of pools: what their values are, as text and datums
 * space.c		the arithmetic of values and slots
 */
#ifndef PG_CAS_ALLOC_H
#define PG_CAS_ALLOC_H

#include "pg_cas.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "alloc/space.h"

/* The arguments of a statement: their types, and their values. */
#define ARGS(...) lengthof(((Oid[]) {__VA_ARGS__})), (Oid[]) {__VA_ARGS__}
#define VALUES(...) (Datum[]) {__VA_ARGS__}

/* The longest blocks: the prefix that an IPv6 /32 is. */
#define MAX_PREFIX_ORDER 96

typedef enum PoolKind
{
	POOL_IP,
	POOL_PREFIX,
	POOL_INT
} PoolKind;

typedef enum PoolStrategy
{
	STRATEGY_ANY,
	STRATEGY_LOWEST,
	STRATEGY_RANDOM
} PoolStrategy;

/* Our relations. */
typedef enum AllocRelation
{
	ALLOC_POOL,
	ALLOC_POOL_NAME,
	ALLOC_GRANTEE,
	ALLOC_GRANTEE_PKEY,
	ALLOC_RANGE,
	ALLOC_RANGE_POOL,
	ALLOC_RESERVED,
	ALLOC_RESERVED_PKEY,
	ALLOC_SLOT,
	ALLOC_SLOT_PKEY,
	ALLOC_SLOT_KEY,
	ALLOC_SLOT_RANK,
	ALLOC_SLOT_EXPIRY,
	ALLOC_SLOT_SPAN,
	ALLOC_FRONTIER,
	ALLOC_FRONTIER_PKEY,
	ALLOC_PAST,
	ALLOC_PAST_ENDED,
	ALLOC_GENERATION
} AllocRelation;

#define ALLOC_RELATIONS (ALLOC_GENERATION + 1)

/* What a call does with a pool. */
typedef enum PoolRight
{
	RIGHT_NONE,					/* for our own housekeeping */
	RIGHT_SEE,
	RIGHT_USE,
	RIGHT_OWN
} PoolRight;

/*
 * What one backend knows about the frontier of one range; see search.c.
 */
#define MAX_PENDING 64

typedef struct PendingRun
{
	Extent		slots;
	TransactionId xid;			/* who inserted them */
} PendingRun;

typedef struct Frontier
{
	bool		valid;
	uint64		aborts;			/* of this backend, when it was learned */
	u128		next;			/* all slots before have a row, or are in a
								 * pending run */
	u128		saved;			/* as the database has it */
	bool		quiet;			/* nobody else seems to be at tip */
	u128		tip;			/* then, the slot to try */
	LocalTransactionId own_lxid;	/* the transaction that own_first is of */
	u128		own_first;		/* the least slot that it has filled */
	int			npending;
	PendingRun	pending[MAX_PENDING];
} Frontier;

/*
 * Waiting rows that a search has seen at the head of the queue, for those that
 * follow; see search.c.
 */
#define MAX_READY 64

typedef struct ReadyRow
{
	ItemPointerData tid;
	u128		lo;
} ReadyRow;

typedef struct Pool
{
	int32		id;
	char	   *name;
	PoolKind	kind;
	PoolStrategy strategy;
	Interval	cooldown;
	bool		has_cooldown;
	int			width;			/* 32 or 128 bits of address; 0: numbers */
	int			port_chunk;		/* 0: addresses are not divided */
	bool		mixed;			/* units of several sizes? */
	Oid			owner;			/* may have been dropped, as may grantees */
	int			ngrantees;
	Oid		   *grantees;
	int64		epoch;			/* changes with ranges and reservations */

	/* cache.c's own */
	Oid			relid;			/* of alloc_pool: the extension may be made
								 * anew */
	uint64		seen;			/* how many changes were known of when the row
								 * was read */
	bool		is_cached;
	int			pins;			/* how many callers use it */
	Size		bytes;

	/* backend-local: depends on the epoch */
	MemoryContext cxt;			/* everything that belongs to the pool */
	Space		space;
	Frontier   *frontiers;		/* one per range */
	TimestampTz queue_from;		/* when the last unit re-used had got free */
	int			nready;			/* still to come, the next one first */
	ReadyRow   *next_ready;
	ReadyRow	ready[MAX_READY];
	u128		cursor;			/* mixed pools: where to look next */
	bool		cursor_valid;
} Pool;

/* One row of alloc_slot. */
typedef struct SlotRow
{
	u128		lo;
	int			order;
	bool		held;			/* by a key; not whether it has run out */
	pg_uuid_t	key;
	int			turn;			/* tells it from other rows of the key */
	int64		generation;
	TimestampTz allocated_at;
	bool		expires;
	TimestampTz expires_at;		/* not held: given out again from then on */
	Datum		note;
	bool		has_note;

	/* where it is, and what is going on with it */
	ItemPointerData tid;
	bool		own;			/* inserted by this transaction */
	TransactionId inserter;		/* another one, still running */
	uint32		token;			/* and its insertion is speculative */
	TransactionId deleter;		/* another one, still running */
} SlotRow;

/* Is the time of a held row, or the cooldown of a waiting one, over? */
static inline bool
has_run_out(const SlotRow *row, TimestampTz now)
{
	return row->expires && row->expires_at <= now;
}

typedef enum SlotIndex
{
	BY_LO,
	BY_KEY,
	BY_RANK,
	BY_EXPIRY
} SlotIndex;

#define SLOT_INDEXES (BY_EXPIRY + 1)

/*
 * A table that is written to, and what that needs.
 */
typedef struct Writer
{
	Relation	rel;
	TupleTableSlot *row;
	MemoryContext call_cxt;		/* for what lasts until store_close */
	MemoryContext cxt;			/* for the row's values */
	bool		known;			/* it has our indexes and no others */
	EState	   *estate;			/* for making index entries by the executor */
	ResultRelInfo *rri;
} Writer;

/*
 * The tables of one call.  Opened by store_open, closed by store_close; what
 * writing needs is opened with the first write.
 */
typedef struct Store
{
	Oid			nsp;
	LOCKMODE	mode;
	MemoryContext cxt;
	Relation	slot;
	Relation	index[SLOT_INDEXES];
	TupleTableSlot *spare_slot; /* of the scan that ended last */
	MemoryContext spare_cxt;
	TupleTableSlot *look;
	Writer		slots;
	Writer		past;
	Relation	past_ended;
} Store;

typedef struct SlotScan
{
	Store	   *store;
	IndexScanDesc desc;
	SnapshotData dirty;
	Snapshot	snapshot;
	TupleTableSlot *slot;
	MemoryContext cxt;
	ScanDirection direction;
	bool		queue;			/* an index that nobody else reads */
	int			passed;			/* entries without a row */
	bool		bounded;		/* give up when these are many */
	bool		gave_up;
} SlotScan;

/* Whom a call would have to wait for. */
typedef struct WaitSet
{
	int			n;
	int			room;
	TransactionId *xids;
} WaitSet;

typedef enum RequestKind
{
	REQUEST_IP,
	REQUEST_PORTS,
	REQUEST_PREFIX,
	REQUEST_INT
} RequestKind;

/* What is asked for. */
typedef struct Request
{
	const char *function;		/* the caller's name for it */
	pg_uuid_t	key;
	RequestKind kind;
	int			masklen;		/* REQUEST_PREFIX */
	bool		exact;			/* this value and no other */
	u128		value;
	int			width;			/* of value, as an address */
	Interval   *ttl;			/* NULL: for good */
	Datum		note;
	bool		has_note;

	/* the same in slots of the pool; unit.c */
	int			order;
	bool		inside;			/* value is in the pool, not reserved */
	u128		lo;
} Request;

typedef enum Outcome
{
	OUTCOME_ALLOCATED,
	OUTCOME_HELD,				/* the key had it already */
	OUTCOME_EXHAUSTED,
	OUTCOME_COOLING,
	OUTCOME_FRAGMENTED,
	OUTCOME_TAKEN,				/* another key has what was asked for */
	OUTCOME_BUSY,				/* someone has to be waited for */
	OUTCOME_REUSED				/* the key was used for another request */
} Outcome;

typedef struct Answer
{
	Outcome		outcome;
	SlotRow		unit;			/* allocated, held, reused */
	bool		ready;
	TimestampTz ready_at;		/* cooling */
} Answer;

/* One allocation at work. */
typedef struct Search
{
	Store	   *store;
	Pool	   *pool;
	Request    *request;
	int			turn;			/* of the key's new unit */
	TimestampTz now;
	WaitSet		waits;
	SlotRow		unit;			/* what was taken */
	bool		ready;			/* something is cooling until ready_at */
	TimestampTz ready_at;
} Search;

/* pool.c */
extern Oid	alloc_namespace(FunctionCallInfo fcinfo);
extern bool pool_permits(Oid owner, const Oid *grantees, int ngrantees,
						 PoolRight right);
extern bool pool_shows(Oid owner, ArrayType *grantees);
extern Oid	alloc_relation(Oid nsp, AllocRelation which);
extern Pool *pool_open(Oid nsp, const char *name, PoolRight right);
extern Extent slots_of_values(const Space *space, const Range *range,
							  u128 first, u128 last);
extern Pool *pool_open_locked(Oid nsp, const char *name, int32 id,
							  PoolRight right, LOCKMODE mode);
extern void pool_lock(Oid nsp, int32 id, LOCKMODE mode);
extern bool pool_lock_at_once(Oid nsp, int32 id);
extern void pool_unlock(Oid nsp, int32 id, LOCKMODE mode);

/* cache.c */
extern Pool *cache_get(Oid nsp, const char *name);
extern Pool *cache_read(Oid nsp, const char *name, Snapshot snapshot);

/* kind.c */
extern const char *const *kind_words(void);
extern const char *kind_name(PoolKind kind);
extern PoolKind kind_of_name(const char *name);
extern bool kind_has_ports(PoolKind kind);
extern bool kind_has_sizes(PoolKind kind);
extern RequestKind kind_request(PoolKind kind);
extern int	kind_family(PoolKind kind, int width);
extern int	kind_width(PoolKind kind, int code);
extern bool kind_admits(PoolKind kind, int width, u128 first, u128 last);
extern void range_parse(PoolKind kind, const char *text, bool whole,
						int *width, u128 *first, u128 *last);
extern void unit_parse(const Pool *pool, const char *text, u128 *value,
					   u128 *last, int *first_port, int *last_port);
extern Datum address_datum(int width, u128 value, int masklen);
extern u128 address_value(Datum address, int *width, int *masklen);
extern char *value_text(PoolKind kind, int width, u128 value);
extern char *range_text(PoolKind kind, int width, u128 first, u128 last);
extern char *unit_text(const Pool *pool, u128 lo, int order);
extern int	unit_masklen(const Pool *pool, int order);

/* store.c */
extern void store_open(Store *store, Oid nsp, LOCKMODE mode);
extern void store_close(Store *store);
extern void scan_by_lo(SlotScan *scan, Store *store, int32 pool, Extent slots,
					   ScanDirection direction, Snapshot snapshot);
extern void scan_by_key(SlotScan *scan, Store *store, int32 pool,
						const pg_uuid_t *key, Snapshot snapshot);
extern void scan_by_rank(SlotScan *scan, Store *store, int32 pool,
						 Extent ranks);
extern void scan_by_expiry(SlotScan *scan, Store *store, int32 pool,
						   TimestampTz until);
extern void scan_cooling(SlotScan *scan, Store *store, const Pool *pool,
						 TimestampTz after);
extern bool slot_scan_next(SlotScan *scan, SlotRow *row);
extern void slot_scan_end(SlotScan *scan);
extern bool store_look(Store *store, const Pool *pool, ItemPointer tid,
					   SlotRow *row);
extern bool row_seen_by(SlotScan *scan, Snapshot snapshot);
extern bool store_insert(Store *store, const Pool *pool, SlotRow *row);
extern TM_Result store_update(Store *store, const Pool *pool, SlotRow *row,
							  bool new_key, bool undisturbed);
extern TM_Result store_delete(Store *store, const SlotRow *row);
extern void store_history(Store *store, const Pool *pool, const SlotRow *row,
						  TimestampTz ended_at, const char *reason);
extern int64 store_next_generation(Store *store);
extern bool store_frontier(Store *store, int32 range, u128 *slot,
						   PendingRun *pending, int *npending);
extern void store_save_frontier(Store *store, int32 range, u128 slot,
								const PendingRun *pending, int npending);
extern Datum u128_numeric(u128 n);
extern u128 numeric_u128(Datum numeric);

/* search.c */
extern bool search_free(Search *search);
extern Outcome search_exact(Search *search, SlotRow *holder);
extern Outcome search_reason(Search *search);
extern bool block_open(const Space *space, u128 lo, int order);

/* unit.c */
extern void check_interval(const Interval *interval, const char *name);
extern TimestampTz time_after(TimestampTz start, Interval *interval);
extern void unit_allocate(Store *store, Oid nsp, const char *pool_name,
						  Request *request, Pool **pool, Answer *answer);
extern bool unit_release(Store *store, Oid nsp, const char *pool_name,
						 const pg_uuid_t *key, const int64 *generation);
extern void unit_renew(Store *store, Oid nsp, const char *pool_name,
					   const pg_uuid_t *key, Interval *ttl,
					   const int64 *generation, SlotRow *unit);
extern bool unit_end(Store *store, const Pool *pool, SlotRow *row,
					 TimestampTz ended_at, TimestampTz ready_at,
					 const char *reason);
extern void row_keep(SlotRow *row);

#endif							/* PG_CAS_ALLOC_H */
