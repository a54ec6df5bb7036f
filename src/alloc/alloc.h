/*
 * alloc.h
 *		Declarations shared by the files of this folder.
 *
 * README.md lists the files, explains the terms and gives the lock order.
 */
#ifndef PG_CAS_ALLOC_H
#define PG_CAS_ALLOC_H

#include "pg_cas.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "lib/ilist.h"
#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "alloc/space.h"
#include "alloc/wait.h"

/* Arguments of owner_sql(): number and array of types; array of values. */
/* clang-format off */
#define ARGS(...) lengthof(((Oid[]) {__VA_ARGS__})), (Oid[]) {__VA_ARGS__}
#define VALUES(...) (Datum[]) {__VA_ARGS__}
/* clang-format on */

/* An address has this many ports. */
#define PORTS 65536

/* The order of the longest prefix: an IPv6 /32. */
#define MAX_PREFIX_ORDER 96

/* The order of the longest block that a row of alloc_slot can have. */
#define MAX_ORDER 112

/* The largest number of units in a row that a key can have. */
#define MAX_RUN 65536

typedef enum PoolKind
{
	POOL_IP,
	POOL_PREFIX,
	POOL_INT,
	POOL_MAC,
	POOL_MAC8,
	POOL_COUNT
} PoolKind;

/* The column of alloc_unit that has a unit's value in its own type. */
typedef enum ValueColumn
{
	COLUMN_ADDRESS,
	COLUMN_NUMBER,
	COLUMN_MAC,
	COLUMN_NONE					/* the value is the number of units */
} ValueColumn;

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
	ALLOC_POOL_PKEY,
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
	ALLOC_SLOT_AGAIN,
	ALLOC_SLOT_OVERLAP,
	ALLOC_FRONTIER,
	ALLOC_FRONTIER_PKEY,
	ALLOC_FREED,
	ALLOC_FREED_FIRST,
	ALLOC_SHARE,
	ALLOC_SHARE_KEY,
	ALLOC_SHARE_PLACE,
	ALLOC_SHARE_OVERLAP,
	ALLOC_SHARE_EXPIRY,
	ALLOC_GAP,
	ALLOC_GAP_SIZE,
	ALLOC_GAP_PLACE,
	ALLOC_PAST,
	ALLOC_PAST_ENDED,
	ALLOC_GENERATION
} AllocRelation;

#define ALLOC_RELATIONS (ALLOC_GENERATION + 1)

/* The right on a pool that a call needs. */
typedef enum PoolRight
{
	RIGHT_NONE,					/* for internal housekeeping */
	RIGHT_SEE,
	RIGHT_USE,
	RIGHT_OWN
} PoolRight;

/* Maximal number of pending runs that a backend remembers for a range. */
#define MAX_PENDING 64

/* Slots before the frontier in which a transaction was inserting rows. */
typedef struct PendingRun
{
	Extent		slots;
	TransactionId xid;			/* invalid if not known */
} PendingRun;

/* What a backend knows about the frontier of a range; see frontier.c. */
typedef struct Frontier
{
	bool		valid;
	uint64		aborts;			/* rollbacks in this backend, when read */
	u128		next;			/* the frontier: all slots before it have a
								 * row or are in a pending run */
	u128		saved;			/* the frontier that alloc_frontier has */
	bool		quiet;			/* no other backend seems to be at tip */
	u128		tip;			/* the slot to try if quiet */
	LocalTransactionId own_lxid;	/* transaction of own_first */
	u128		own_first;		/* lowest slot that it has filled */
	int			npending;
	PendingRun *pending;		/* room for MAX_PENDING, once it is needed */
} Frontier;

/* Maximal number of sizes of units for which a backend remembers what is held. */
#define MAX_KNOWN 8

/* Maximal number of rows of alloc_freed that a backend remembers to be of no use. */
#define MAX_REJECTED 512

/* Such a row. */
typedef struct Rejected
{
	ItemPointerData tid;
	TransactionId xmin;
} Rejected;

/* Before which slot a backend knows that nothing is free; see lowest.c. */
typedef struct Known
{
	int			order;			/* of the units */
	u128		from;
	u128		own_from;		/* likewise, if what our own transaction has
								 * taken is held: */
	LocalTransactionId own_lxid;	/* ... as long as it is this one */
	uint64		own_aborts;		/* ... and nothing was rolled back */
	int			nrejected;
	Oid			rejected_file;	/* relfilenode that they are in */
	Rejected   *rejected;		/* in order; room for MAX_REJECTED, once it is
								 * needed */
} Known;

/* Maximal number of ready rows that a backend remembers for a pool. */
#define MAX_READY 64

/* A waiting row that a search has seen in the queue; see queue.c. */
typedef struct ReadyRow
{
	ItemPointerData tid;
	u128		lo;
} ReadyRow;

/* A pool, as a backend has read it; see cache.c. */
typedef struct Pool
{
	int32		id;
	char	   *name;
	PoolKind	kind;
	PoolStrategy strategy;
	Interval	cooldown;
	bool		has_cooldown;
	int			width;			/* bits of an address, or 0 for numbers */
	int			port_chunk;		/* 0 if addresses are not divided */
	bool		mixed;			/* units can differ in size */
	Oid			owner;			/* may have been dropped, like grantees */
	int			ngrantees;
	Oid		   *grantees;
	int64		epoch;			/* changes with ranges and reservations */
	bool		counted;		/* has shares of a capacity, not units */
	int64		capacity;		/* if counted */
	bool		lowered;		/* more was held than capacity, when set */
	char	   *parent;			/* the pool above it; NULL if none */

	/* used by cache.c only */
	Oid			relid;			/* OID of alloc_pool; changes if the extension
								 * is created again */
	uint64		seen;			/* pools_changed when the row was read */
	bool		is_cached;
	dlist_node	by_name;		/* among those with the same hash */
	dlist_node	by_use;
	int			pins;			/* number of memory contexts that use it */
	MemoryContext pinned_in;	/* the one that pinned it last */
	Size		bytes;

	/* valid for the epoch, and local to the backend except for space */
	MemoryContext cxt;			/* contains everything that the pool has */
	Space		space;
	bool		ascending;		/* so are the slots of its ranges; without
								 * chunks they always are */
	int			nrefused;		/* the reservations that are not given out on
								 * request either */
	Extent	   *refused;
	Frontier   *frontiers;		/* one per range */
	TimestampTz queue_from;		/* ready time of the unit last taken from the
								 * queue */
	int			nready;			/* number of ready rows left */
	Oid			ready_file;		/* relfilenode that they are in */
	ReadyRow   *next_ready;
	ReadyRow   *ready;			/* room for MAX_READY, once it is needed */
	bool		ends;			/* units of it run out: this backend has given
								 * it such or has seen one */
	u128		cursor;			/* mixed pools: where to search next */
	bool		cursor_valid;
	int			nknown;			/* with strategy "lowest" */
	int			next_known;		/* to be forgotten for another one */
	Known	   *known;			/* room for MAX_KNOWN, once it is needed */
	int64		gap_first;		/* counted pools: the gap that was walked */
	int64		gap_n;			/* ... and is the largest such */
	TimestampTz gap_freed_at;
	int64		gap_from;		/* its places before this one are held */
	int64		gap_own_from;	/* likewise, some by our own transaction: */
	LocalTransactionId gap_own_lxid;	/* ... as long as it is this one */
	uint64		gap_own_forgotten;	/* ... and none of that was rolled back */
	int			gap_missed;		/* smaller ones walked since it was met */
} Pool;

/* The use that a call makes of a pool. */
typedef struct PoolUse
{
	Oid			nsp;			/* schema of our tables */
	const char *name;			/* the pool's name */
	PoolRight	right;			/* the right that the caller needs */
	LOCKMODE	mode;			/* mode of the lock held on the pool */
	Pool	   *pool;			/* the pool as it was looked up last */
	struct Levels *levels;		/* of the call, if it needs them; level.c */
} PoolUse;

/* A row of alloc_slot. */
typedef struct SlotRow
{
	u128		lo;
	int			order;
	bool		held;			/* has a key, but may have run out */
	pg_uuid_t	key;
	int			key_row;		/* distinguishes rows of the same key; usually
								 * 0, see allocate_again() */
	int64		generation;
	TimestampTz allocated_at;
	bool		expires;
	TimestampTz expires_at;		/* if not held, when it can be given out */
	Datum		note;			/* not detoasted */
	bool		has_note;
	bool		moved;			/* came from another key; see move.c */
	pg_uuid_t	moved_from;		/* that key, and its generation */
	int64		moved_generation;
	int			run_size;		/* number of units in a row that the key has;
								 * 0, like 1, for a single one */
	int			run_place;		/* place of this one among them */

	/* where the row is, and who is changing it */
	ItemPointerData tid;
	bool		own;			/* inserted by this transaction */
	TransactionId inserter;		/* another transaction that is running */
	TransactionId deleter;		/* another transaction that is running */
} SlotRow;

/* Has a held row run out, or is the cooldown of a row without key over? */
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
	BY_EXPIRY,
	BY_AGAIN
} SlotIndex;

#define SLOT_INDEXES (BY_AGAIN + 1)

/* Number of indexes of alloc_share and alloc_gap. */
#define SHARE_INDEXES 6

/* A table that is written to. */
typedef struct Writer
{
	Relation	rel;
	TupleTableSlot *row;
	MemoryContext call_cxt;		/* lasts until store_close() */
	MemoryContext cxt;			/* for the values of the row */
	bool		known;			/* has our indexes and no others */
	EState	   *estate;			/* for index entries by the executor */
	ResultRelInfo *rri;
} Writer;

/*
 * The tables of a call, opened by store_open() and closed by store_close().
 * What is needed for writing is opened with the first write.
 */
typedef struct Store
{
	Oid			nsp;
	LOCKMODE	mode;
	MemoryContext cxt;
	Relation	slot;
	Relation	index[SLOT_INDEXES];
	WaitSet		waits;			/* met since the caller emptied it */
	TupleTableSlot *look;
	Writer		slots;
	Writer		past;
	Relation	past_ended;
	int			ngenerations;	/* drawn already, and not used yet: this */
	int64		next_generation;	/* many, from this one on */
	Relation	share;
	Relation	gap;
	Relation	share_index[SHARE_INDEXES]; /* of both; see share.c */
	Writer		shares;
	Writer		gaps;
	Relation	freed;
	Relation	freed_first;	/* its index */
	Writer		frees;
} Store;

/* A row of alloc_freed; see freed.c. */
typedef struct FreedRow
{
	Extent		slots;
	ItemPointerData tid;
	TransactionId xmin;
	bool		busy;			/* a running transaction is deleting it */
} FreedRow;

/*
 * Does alloc_freed have a row for each block of the pool that comes free?  The lowest
 * value has to be the one of the lowest slot.
 */
static inline bool
pool_notes_freed(const Pool *pool)
{
	return pool->mixed && pool->strategy == STRATEGY_LOWEST && pool->ascending;
}

/* Has the key several units in a row? */
static inline bool
is_run(const SlotRow *row)
{
	return row->run_size > 1;
}

#include "alloc/scan.h"

/* The state of a block, from best to worst. */
typedef enum BlockState
{
	BLOCK_FREE,
	BLOCK_BUSY,					/* a running transaction is changing it */
	BLOCK_COOLING,
	BLOCK_HELD
} BlockState;

typedef enum RequestKind
{
	REQUEST_IP,
	REQUEST_PORTS,
	REQUEST_PREFIX,
	REQUEST_INT,
	REQUEST_MAC,
	REQUEST_MAC8,
	REQUEST_COUNT
} RequestKind;

/* Where a requested value lies. */
typedef enum Place
{
	PLACE_OUTSIDE,				/* not wholly in a range that gives out units */
	PLACE_RESERVED,
	PLACE_EXCLUDED,				/* a chunk with excluded ports */
	PLACE_OPEN
} Place;

/* What a caller requests. */
typedef struct Request
{
	const char *function;		/* name of the SQL function */
	const char *position;		/* in the caller's JSON, or NULL */
	pg_uuid_t	key;
	RequestKind kind;
	int			masklen;		/* REQUEST_PREFIX */
	int			n;				/* number of units in a row; 0, like 1, for a
								 * single one */
	bool		exact;			/* requests value and nothing else */
	bool		of_value;		/* requests any chunk of value */
	u128		value;
	int			width;			/* width of value, if there is one */
	int			first_port;		/* REQUEST_PORTS, if it is exact */
	bool		has_exclude;	/* REQUEST_PORTS: gives ports to exclude */
	Datum		exclude;
	Interval   *ttl;			/* how long it is held, and */
	TimestampTz expires_at;		/* until when; NULL and 0: for good */
	Datum		note;
	bool		has_note;
	Patience	patience;		/* REQUEST_COUNT */

	/* the same in slots of the pool; resolve.c */
	int			order;
	Place		place;			/* where value lies */
	u128		lo;
	Space		space;			/* the part of the pool that it can get */
	Range		only;			/* the only range of space, if of_value */
	uint64	   *exclude_chunks; /* a bit for each chunk in exclude, */
	uint64	   *excluded;		/* ... and those of the pool, too */
} Request;

/* Set when a unit that is allocated now runs out.  Returns false if never. */
static inline bool
request_expiry(const Request *request, TimestampTz now,
			   TimestampTz *expires_at)
{
	if (request->ttl != NULL)
		*expires_at = interval_after(now, request->ttl, "ttl");
	else if (request->expires_at != 0)
		*expires_at = Max(request->expires_at, now + 1);
	else
		return false;
	return true;
}

typedef enum Outcome
{
	OUTCOME_ALLOCATED,
	OUTCOME_HELD,				/* the key already had it */
	OUTCOME_EXHAUSTED,
	OUTCOME_COOLING,
	OUTCOME_FRAGMENTED,
	OUTCOME_TAKEN,				/* another key has the requested value */
	OUTCOME_BUSY,				/* the call has to wait; only returned if it
								 * must not */
	OUTCOME_WAITING,			/* others stand in line */
	OUTCOME_REUSED,				/* the key was used for another request */
	OUTCOME_RESERVED			/* the requested value is reserved */
} Outcome;

/* The result of an allocation. */
typedef struct Answer
{
	Outcome		outcome;
	SlotRow		unit;			/* if allocated, held or reused */
	bool		ready;			/* something will be free at ready_at */
	TimestampTz ready_at;
	const char *full;			/* the pool that has too little, if that is
								 * another one, above */
} Answer;

/* What has become of a key in bulk_take_unused(). */
typedef enum BulkState
{
	BULK_UNSERVED,
	BULK_SERVED,
	BULK_KEY_USED				/* it has a row already */
} BulkState;

/* What a key has. */
typedef enum KeyState
{
	KEY_NONE,					/* no unit */
	KEY_RAN_OUT,				/* a unit that has run out */
	KEY_HOLDS,
	KEY_BUSY					/* a running transaction is changing it */
} KeyState;

/* An allocation at work. */
typedef struct Search
{
	Store	   *store;
	Pool	   *pool;
	Request    *request;
	int			key_row;		/* for the row of the key's new unit */
	int			run_place;		/* its place among several in a row */
	int64		generation;		/* theirs, or 0 if it must be drawn */
	TimestampTz now;
	int			wanted;			/* units that are wanted at once, if many */
	SlotRow		unit;			/* the unit that was taken */
	int			stumbles;		/* failures to take a free block */
	u128		stumbled_at;	/* the last one */
	bool		ready;			/* something will be free at ready_at */
	TimestampTz ready_at;
} Search;

#include "alloc/calls.h"

#endif							/* PG_CAS_ALLOC_H */
