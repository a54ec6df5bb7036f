/*
 * alloc.h
 *		What the files of the allocation room share.
 *
 * functions.c	the SQL functions that units come and go by
 * look.c		those that look at units
 * answer.c		what both answer
 * pools.c		those that make, change and drop pools
 * ranges.c		those that change what a pool consists of
 * report.c		those that look at a pool as a whole
 * free.c		what is free in a pool
 * reap.c		housekeeping
 * unit.c		a key's unit: allocate, renew, release
 * key.c		a key's lock, and what it has
 * search.c		finding something free, or why there is nothing
 * mixed.c		... in pools whose units differ in size
 * queue.c		... among the waiting rows of other pools
 * frontier.c	... behind all rows of these
 * block.c		a block: the rows that overlap it, how it stands, taking it
 * scan.c		reading alloc_slot
 * store.c		writing alloc_slot and alloc_past
 * wait.c		whom a call has met, and waiting for them
 * pool.c		pools: their lock, and who may use them
 * cache.c		pools as a backend has read them
 * kind.c		kinds of pools: what their values are, as text and datums
 * number.c		numbers of slots as numerics
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
/* clang-format off */
#define ARGS(...) lengthof(((Oid[]) {__VA_ARGS__})), (Oid[]) {__VA_ARGS__}
#define VALUES(...) (Datum[]) {__VA_ARGS__}
/* clang-format on */

/* The longest blocks: the prefix that an IPv6 /32 is. */
#define MAX_PREFIX_ORDER 96

/* The order of the longest block that a row may have, whatever it says. */
#define MAX_ORDER 112

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
	ALLOC_SLOT_QUEUE,
	ALLOC_SLOT_EXPIRY,
	ALLOC_SLOT_OVERLAP,
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
 * What one backend knows about the frontier of one range; see frontier.c.
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
 * follow; see queue.c.
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
	MemoryContext pinned_in;	/* the last one's memory */
	Size		bytes;

	/* backend-local: depends on the epoch */
	MemoryContext cxt;			/* everything that belongs to the pool */
	Space		space;
	Frontier   *frontiers;		/* one per range */
	TimestampTz queue_from;		/* when the last unit re-used had got free */
	int			nready;			/* still to come, the next one first */
	Oid			ready_file;		/* of alloc_slot, in which they are */
	ReadyRow   *next_ready;
	ReadyRow	ready[MAX_READY];
	u128		cursor;			/* mixed pools: where to look next */
	bool		cursor_valid;
} Pool;

/* A call's use of a pool. */
typedef struct PoolUse
{
	Oid			nsp;			/* of our tables */
	const char *name;			/* of the pool */
	PoolRight	right;			/* what the caller wants to do with it */
	LOCKMODE	mode;			/* of the lock on it; NoLock: none */
	Pool	   *pool;			/* as it was when it was looked at last */
} PoolUse;

/* One row of alloc_slot. */
typedef struct SlotRow
{
	u128		lo;
	int			order;
	bool		held;			/* by a key; not whether it has run out */
	pg_uuid_t	key;
	int			key_row;			/* tells it from other rows of the key */
	int64		generation;
	TimestampTz allocated_at;
	bool		expires;
	TimestampTz expires_at;		/* not held: given out again from then on */
	Datum		note;			/* as it is stored */
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
	BY_SLOT,
	BY_KEY,
	BY_QUEUE,
	BY_EXPIRY
} SlotIndex;

#define SLOT_INDEXES (BY_EXPIRY + 1)

/* Transactions that a call has met, and would have to wait for. */
typedef struct WaitSet
{
	MemoryContext cxt;			/* of xids */
	int			n;
	int			room;
	TransactionId *xids;
	int			waited;			/* milliseconds, for the first one */
	int			unlooked;		/* of these, since a look for deadlocks */
} WaitSet;

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
	WaitSet		waits;			/* since the caller emptied it */
	TupleTableSlot *look;
	Writer		slots;
	Writer		past;
	Relation	past_ended;
} Store;

typedef struct SlotScan
{
	Store	   *store;
	IndexScanDesc desc;
	ScanKeyData keys[3];
	int			nnumbers;		/* keys after the first one, to be freed */
	SnapshotData dirty;
	Snapshot	snapshot;
	Snapshot	picked;			/* if not NULL, whose versions are wanted */
	TupleTableSlot *slot;
	ScanDirection direction;
	bool		queue;			/* an index that nobody else reads */
	int			passed;			/* entries without a row */
	bool		bounded;		/* give up when these are many */
	bool		gave_up;
} SlotScan;

/* A scan of the rows that overlap an extent; see block.c. */
typedef enum BlockStage
{
	BLOCK_NEAR,
	BLOCK_FAR,
	BLOCK_INSIDE
} BlockStage;

typedef struct BlockScan
{
	Store	   *store;
	const Pool *pool;
	Extent		slots;
	Snapshot	snapshot;
	BlockStage	stage;
	SlotScan	rows;
	int			passed;			/* near: rows before the extent */
	bool		proven;			/* and no longer one is behind the last one */
	bool		scanning;		/* far: rows at the slot at, */
	u128		at;
	int			order;			/* where one of that order would begin */
} BlockScan;

/* How a block stands, from good to bad. */
typedef enum BlockState
{
	BLOCK_FREE,
	BLOCK_BUSY,					/* a running transaction changes that */
	BLOCK_COOLING,
	BLOCK_HELD
} BlockState;

typedef enum RequestKind
{
	REQUEST_IP,
	REQUEST_PORTS,
	REQUEST_PREFIX,
	REQUEST_INT
} RequestKind;

/* Where what is asked for lies. */
typedef enum Place
{
	PLACE_OUTSIDE,				/* not wholly in a range that is given out */
	PLACE_RESERVED,
	PLACE_OPEN
} Place;

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
	Place		place;			/* of value */
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
	OUTCOME_REUSED,				/* the key was used for another request */
	OUTCOME_RESERVED			/* what was asked for is */
} Outcome;

typedef struct Answer
{
	Outcome		outcome;
	SlotRow		unit;			/* allocated, held, reused */
	bool		ready;			/* there is something at ready_at */
	TimestampTz ready_at;
} Answer;

/* How a key stands. */
typedef enum KeyState
{
	KEY_NONE,					/* has no unit */
	KEY_RAN_OUT,				/* has one that has run out */
	KEY_HOLDS,
	KEY_BUSY					/* a running transaction is changing that */
} KeyState;

/* One allocation at work. */
typedef struct Search
{
	Store	   *store;
	Pool	   *pool;
	Request    *request;
	int			key_row;			/* of the key's new unit */
	TimestampTz now;
	SlotRow		unit;			/* what was taken */
	int			stumbles;		/* over what seemed to be free */
	bool		ready;			/* there is something at ready_at */
	TimestampTz ready_at;
} Search;

/* pool.c */
extern bool pool_permits(Oid owner, const Oid *grantees, int ngrantees,
						 PoolRight right);
extern bool pool_shows(Oid owner, ArrayType *grantees);
extern Pool *pool_open(Oid nsp, const char *name, PoolRight right);
extern bool pool_use(PoolUse *use, Oid nsp, const char *name,
					 PoolRight right);
extern bool pool_use_again(PoolUse *use);
extern bool pool_lock(PoolUse *use, LOCKMODE mode);
extern bool pool_lock_at_once(PoolUse *use);
extern void pool_unlock(PoolUse *use);

/* relation.c */
extern Oid	alloc_namespace(FunctionCallInfo fcinfo);
extern Oid	alloc_relation(Oid nsp, AllocRelation which);
extern Snapshot latest_snapshot(void);

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

/* number.c */
extern Datum u128_numeric(u128 n);
extern u128 numeric_u128(Datum numeric);
extern Datum queue_place_of_slot(u128 slot);
extern Datum queue_place_of_time(TimestampTz ready_at);

/* wait.c */
extern void wait_add_xid(WaitSet *waits, TransactionId xid);
extern void wait_add_row(WaitSet *waits, const SlotRow *row);
extern void wait_add_xmax(WaitSet *waits, TransactionId xmax, uint16 infomask);
extern void wait_for_xid(TransactionId xid);
extern bool wait_some(WaitSet *waits, int ms);

/* store.c */
extern void store_open(Store *store, Oid nsp, LOCKMODE mode);
extern void store_close(Store *store);
extern bool store_insert(Store *store, const Pool *pool, SlotRow *row);
extern TM_Result store_update(Store *store, const Pool *pool, SlotRow *row,
							  bool new_key, bool undisturbed);
extern TM_Result store_delete(Store *store, const SlotRow *row);
extern void store_history(Store *store, const Pool *pool, const SlotRow *row,
						  TimestampTz ended_at, const char *reason);
extern int64 store_next_generation(Store *store);

/* scan.c */
extern void scan_by_slot(SlotScan *scan, Store *store, int32 pool,
						 Extent slots, ScanDirection direction,
						 Snapshot snapshot);
extern void scan_by_key(SlotScan *scan, Store *store, int32 pool,
						const pg_uuid_t *key, Snapshot snapshot);
extern void scan_queue_by_slot(SlotScan *scan, Store *store, int32 pool,
							   Extent slots);
extern void scan_queue_by_time(SlotScan *scan, Store *store, int32 pool,
							   TimestampTz from, TimestampTz until);
extern void scan_by_expiry(SlotScan *scan, Store *store, int32 pool,
						   TimestampTz until);
extern void scan_to_expire(SlotScan *scan, Store *store, int32 pool,
						   TimestampTz after);
extern bool slot_scan_next(SlotScan *scan, SlotRow *row);
extern void slot_scan_end(SlotScan *scan);
extern bool row_seen_by(SlotScan *scan, Snapshot snapshot);
extern bool store_look(Store *store, const Pool *pool, ItemPointer tid,
					   SlotRow *row);

/* block.c */
extern void block_scan_begin(BlockScan *scan, Store *store, const Pool *pool,
							 Extent slots, Snapshot snapshot);
extern bool block_scan_next(BlockScan *scan, SlotRow *row);
extern void block_scan_end(BlockScan *scan);
extern BlockState row_state(const SlotRow *row, TimestampTz now);
extern BlockState block_state(Search *search, u128 lo, int order, bool sweep,
							  SlotRow *worst);
extern bool slots_in_use(Store *store, const Pool *pool, Extent slots);
extern bool put_unit(Search *search, u128 lo);
extern bool take_block(Search *search, u128 lo, SlotRow *worst);
extern bool take_row(Search *search, const SlotRow *row);
extern bool random_slot(const Search *search, u128 *slot);

/* frontier.c */
extern bool store_frontier(Store *store, int32 range, u128 *next,
						   PendingRun *pending, int *npending);
extern bool frontier_find_unused(Search *search, int i, bool reopened,
								 u128 *slot);
extern bool frontier_take(Search *search, int i, u128 slot);

/* queue.c */
extern bool queue_take_ready(Search *search);
extern bool queue_take(Search *search);
extern bool queue_lowest(Search *search, Extent slots, SlotRow *row);

/* mixed.c */
extern bool mixed_walk(Search *search, Extent slots, int order);
extern bool mixed_search(Search *search);

/* search.c */
extern bool search_free(Search *search);
extern Outcome search_exact(Search *search, SlotRow *holder);
extern Outcome search_reason(Search *search);

/* key.c */
extern void key_enter(PoolUse *use, const pg_uuid_t *key, LOCKMODE mode);
extern bool key_enter_at_once(PoolUse *use, const pg_uuid_t *key);
extern void key_leave(PoolUse *use, const pg_uuid_t *key);
extern KeyState key_look(Store *store, const Pool *pool, const pg_uuid_t *key,
						 TimestampTz now, SlotRow *row, int *key_row);
extern bool key_read(Store *store, const Pool *pool, const pg_uuid_t *key,
					 SlotRow *unit);
extern void key_wait(const SlotRow *row, const char *function);
extern void key_check_snapshot(Store *store, const Pool *pool,
							   const pg_uuid_t *key, const SlotRow *row,
							   TimestampTz now);
extern void key_check_block_snapshot(Search *search, const SlotRow *row);
extern void row_keep(SlotRow *row);
extern char *uuid_text(const pg_uuid_t *key);

/* unit.c */
extern void unit_allocate(Store *store, PoolUse *use, Request *request,
						  Answer *answer);
extern bool unit_release(Store *store, PoolUse *use, const pg_uuid_t *key,
						 const int64 *generation);
extern void unit_renew(Store *store, PoolUse *use, const pg_uuid_t *key,
					   Interval *ttl, const int64 *generation, SlotRow *unit);
extern bool unit_end(Store *store, const Pool *pool, SlotRow *row,
					 TimestampTz ended_at, TimestampTz ready_at,
					 const char *reason);

#endif							/* PG_CAS_ALLOC_H */
