/*
 * lock.h
 *		Declarations shared by the files of this folder.
 *
 * README.md lists the files, explains the terms and gives the lock order.
 */
#ifndef PG_CAS_LOCK_H
#define PG_CAS_LOCK_H

#include "pg_cas.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/indexing.h"
#include "nodes/execnodes.h"
#include "nodes/lockoptions.h"
#include "storage/lock.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

/*
 * Our heavyweight locks are of the advisory class.  The fourth field of the
 * tag distinguishes them from one another, and from those of
 * pg_advisory_lock(), which uses 1 and 2.
 */
#define LOCK_QUEUE			0x6C01	/* line for a resource's row */
#define LOCK_UPGRADE		0x6C02	/* upgrade of a resource's lock */
#define LEASE_QUEUE			0x6C03	/* line for a lease's row */

/* Maximal length of a name in bytes; limited by the size of index entries. */
#define MAX_RESOURCE_NAME	1024

/* Columns of both tables */
#define Anum_name			1
#define Anum_fence			2

/* Columns of lock_name, set by the last exclusive holder */
#define Anum_lock_since		3
#define Anum_lock_request	4
#define Natts_lock_name		4

/* Columns of lease_state */

#define Anum_lease_holder	3
#define Anum_lease_owner	4
#define Anum_lease_owner_name 5
#define Anum_lease_acquired	6
#define Anum_lease_expires	7
#define Natts_lease_state	7

typedef enum HoldMode
{
	HOLD_NONE,
	HOLD_SHARED,
	HOLD_EXCLUSIVE
} HoldMode;

typedef enum NameKind
{
	NAME_LOCK,
	NAME_LEASE
} NameKind;

/*
 * An open table of names, its index, and the row that was found last.
 */
typedef struct NameTable
{
	NameKind	kind;
	uint16		queue;			/* class of the names' queue locks */
	bool		writing;
	LOCKMODE	lockmode;		/* of the relation and the index */
	Relation	rel;
	TupleTableSlot *slot;		/* the row found last */
	ItemPointerData tid;		/* ... and its place */

	/* The next ones are NULL until needed. */
	Relation	index;
	IndexScanDesc scan;
	Snapshot	latest;			/* registered */
	TupleTableSlot *written;	/* a row that is written */
	CatalogIndexState indexes;
	EState	   *executor;		/* writes index entries */
	ResultRelInfo *executor_rel;

	int64		drawn;			/* the last fence that was used */
	int64		drawn_last;		/* the last fence of the number drawn */
	XLogRecPtr	fences_logged;	/* WAL to flush before a fence is returned */
} NameTable;

/* A resource that a call takes. */
typedef struct Resource
{
	Datum		name;
	HoldMode	mode;			/* mode requested; after taking, mode held */
	bool		fence_due;		/* taken exclusively by this call */
	int64		fence;			/* the fence in the row */
	ItemPointerData tid;		/* the row's place, if fence_due */
} Resource;

/* The fields of a row's header that say who holds it. */
typedef struct RowLocks
{
	TransactionId xmin;			/* invalid if frozen */
	TransactionId xmax;			/* invalid if not set */
	uint16		infomask;
} RowLocks;

/* A transaction that holds a row's lock. */
typedef struct RowHolder
{
	TransactionId xid;
	HoldMode	mode;
} RowHolder;

/* How long a call waits. */
typedef enum Waiting
{
	WAIT_ALWAYS,				/* no limit but lock_timeout */
	WAIT_UNTIL,					/* raises an error at the deadline */
	WAIT_NEVER					/* returns false instead of waiting */
} Waiting;

typedef struct Patience
{
	Waiting		waiting;
	TimestampTz deadline;		/* for WAIT_UNTIL */

	/* Raises the error at the deadline; if NULL, that is 55P03. */
	void		(*raise) (NameTable *names, Datum name);
} Patience;

/* The result of lease_take(). */
typedef struct LeaseGrant
{
	bool		granted;
	int64		fence;			/* if granted */
	text	   *holder;			/* the current holder; NULL if nobody holds the
								 * lease yet, or its table is locked */
	TimestampTz expires_at;		/* if there is a holder */
} LeaseGrant;

/* name.c */
extern int	names_compare(Datum left, Datum right);
extern Datum names_checked(Datum name, const char *argument);
extern uint64 names_hash(Datum name);
extern void names_locktag(LOCKTAG *tag, uint64 hash, uint16 lock_class);

/* places.c */
extern void place_remember(NameTable *names, uint64 hash, ItemPointer tid,
						   Buffer buffer);
extern bool place_visit(NameTable *names, Datum name, uint64 hash,
						HeapTuple row, Buffer *buffer);
extern bool place_make_room(NameTable *names, Buffer buffer);

/* name_rows.c */
extern Oid	names_relation(NameKind kind);
extern void names_open(NameTable *names, NameKind kind, bool writing);
extern void names_close(NameTable *names);
extern void names_refresh(NameTable *names);
extern Snapshot names_latest(NameTable *names);
extern bool names_find(NameTable *names, Datum name);
extern bool names_find_version(NameTable *names, Datum name,
							   Snapshot snapshot, TupleTableSlot *slot);
extern void names_create(NameTable *names, Datum name);
extern TM_Result names_lock(NameTable *names, LockTupleMode mode,
							LockWaitPolicy policy);
extern TM_Result names_lock_as_found(NameTable *names, LockTupleMode mode);
extern void names_update(NameTable *names, const Datum *values,
						 const bool *nulls, const bool *replace);
extern bool names_write_fence(NameTable *names, const Resource *resource,
							  TimestampTz since, Datum request,
							  bool lock_first);
extern Datum names_get(NameTable *names, int attnum, bool *isnull);
extern int64 names_fence(NameTable *names);

/* holders.c */
extern RowLocks holders_row_locks(HeapTupleHeader tuple);
extern int	holders_list(NameKind kind, RowLocks locks, RowHolder **holders);
extern TransactionId holders_running_top(TransactionId xid);
extern const char *hold_mode_name(HoldMode mode);
extern HoldMode holders_mine(NameTable *names, TransactionId *xid);
extern int	holders_running(NameTable *names, RowHolder **holders);

/* snapshots.c */
extern void snapshots_check(NameTable *names, Datum name);
extern int64 snapshots_purge(NameTable *names, int batch);

/* wait.c */
extern bool wait_to_open(NameTable *names, NameKind kind,
						 const Patience *patience);
extern bool wait_for_relation(Oid relid, LOCKMODE lockmode,
							  const Patience *patience);
extern bool wait_for_lock(NameTable *names, Datum name, HoldMode mode,
						  const LOCKTAG *tag, LOCKMODE lockmode,
						  const Patience *patience);
extern TM_Result wait_for_row(NameTable *names, Datum name, HoldMode mode,
							  LockTupleMode tuplemode,
							  const Patience *patience);
extern bool wait_for_holder(NameTable *names, Datum name,
							const Patience *patience);

/* fence.c */
extern bool fence_next(NameTable *names, int64 former,
					   const Patience *patience, int64 *fence);
extern void fence_forget(NameTable *names);
extern void fence_advance(int64 by);

/* resource.c */
extern bool resource_take(NameTable *names, Resource *resource,
						  const Patience *patience);
extern bool resource_fence(NameTable *names, Resource *resource,
						   TimestampTz since, Datum request,
						   const Patience *patience);

/* free.c */
extern bool free_take(NameTable *names, Resource *resources, int n,
					  TimestampTz since, Datum request,
					  const Patience *patience);

/* lease.c */
extern void lease_take(Datum name, text *holder, Interval *ttl, bool reenter,
					   Patience *patience, LeaseGrant *grant);
extern void lease_hold_off(NameTable *names, Datum name, int64 fence);
extern TimestampTz lease_prolong(NameTable *names, Datum name, int64 fence,
								 Interval *ttl);
extern bool lease_give_up(NameTable *names, Datum name, int64 fence);
extern void lease_give_to(NameTable *names, Datum name, const char *owner);
pg_noreturn extern void lease_raise_held(Datum name, const LeaseGrant *grant);

/* pattern.c */
extern char *pattern_of_row(const char *resource, Relation rel,
							TupleDesc desc, HeapTuple tuple);
extern char *pattern_without_row(const char *resource, Relation rel,
								 Bitmapset **columns);

#endif							/* PG_CAS_LOCK_H */
