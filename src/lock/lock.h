/*
 * lock.h
 *		What the files of this room share: rows found by name, and the
 *		patience of a call that waits for them.
 */
#ifndef PG_CAS_LOCK_H
#define PG_CAS_LOCK_H

#include "pg_cas.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/indexing.h"
#include "nodes/lockoptions.h"
#include "storage/lock.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"

/*
 * Our heavyweight locks are of the advisory class, told from one another and
 * from those of SQL's pg_advisory_lock(), which uses 1 and 2, by the tag's
 * fourth field.
 */
#define LOCK_QUEUE			0x6C01	/* before a resource's row */
#define LOCK_UPGRADE		0x6C02	/* of who upgrades a resource */
#define LEASE_QUEUE			0x6C03	/* before a lease's row */
#define LOCK_FENCE			0x6C04	/* around the sequence of fences */

/* Longest name, in bytes; an index entry must have room for it. */
#define MAX_RESOURCE_NAME	1024

/* Columns of lock_name, and the first two of lease_state. */
#define Anum_name			1
#define Anum_fence			2
#define Natts_lock_name		2

#define Anum_lease_holder	3
#define Anum_lease_owner	4
#define Anum_lease_acquired	5
#define Anum_lease_expires	6
#define Natts_lease_state	6

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
	uint16		queue;			/* class of its names' queue locks */
	Relation	rel;
	Relation	index;
	BlockNumber nblocks;		/* as it was opened */
	IndexScanDesc scan;
	CatalogIndexState indexes;	/* NULL unless opened for writing */
	TupleTableSlot *slot;		/* the row found last, */
	ItemPointerData tid;		/* and where it lies */
	Snapshot	latest;			/* registered */
	int64		drawn;			/* the last fence given out, */
	int64		drawn_last;		/* and the last one that was drawn with it */
} NameTable;

/* A resource that a call takes. */
typedef struct Resource
{
	Datum		name;
	HoldMode	mode;			/* asked for; once taken, held */
	int64		fence;			/* the row's */
	bool		fence_due;		/* taken now as the exclusive holder */
	ItemPointerData tid;		/* if so, where the row lies */
} Resource;

/* A transaction that holds a row's lock. */
typedef struct RowHolder
{
	TransactionId xid;
	HoldMode	mode;
} RowHolder;

/* How long a call waits. */
typedef struct Patience
{
	bool		limited;
	TimestampTz deadline;		/* if limited */
} Patience;

/* What asking for a lease came to. */
typedef struct LeaseGrant
{
	bool		granted;
	int64		fence;			/* if granted */
	text	   *holder;			/* who has it now */
	TimestampTz expires_at;
} LeaseGrant;

/* names.c */
extern void names_open(NameTable *names, NameKind kind, bool writing);
extern void names_close(NameTable *names);
extern void names_refresh(NameTable *names);
extern bool names_find(NameTable *names, Datum name);
extern void names_create(NameTable *names, Datum name);
extern TM_Result names_lock(NameTable *names, LockTupleMode mode,
							LockWaitPolicy policy);
extern void names_check_snapshot(NameTable *names, Datum name);
extern void names_update(NameTable *names, const Datum *values,
						 const bool *nulls, const bool *replace);
extern void names_write_fence(NameTable *names, const Resource *resource);
extern int	names_holders(NameTable *names, RowHolder **holders);
extern HoldMode names_held(NameTable *names, TransactionId *xid);
extern bool names_next(NameTable *names, TableScanDesc scan);
extern int64 names_purge(NameTable *names, int batch);
extern Datum names_get(NameTable *names, int attnum, bool *isnull);
extern int64 names_fence(NameTable *names);
extern Datum checked_name(Datum name, const char *argument);
extern void name_locktag(LOCKTAG *tag, Datum name, uint16 lock_class);

/* fence.c */
extern int64 fence_next(NameTable *names, int64 former);
extern void fence_advance(int64 by);

/* wait.c */
extern void take_locktag(NameTable *names, Datum name, HoldMode mode,
						 const LOCKTAG *tag, LOCKMODE lockmode,
						 const Patience *patience);
extern bool wait_for_row(NameTable *names, Datum name, HoldMode mode,
						 LockTupleMode tuplemode, const Patience *patience);
extern void wait_in_line(NameTable *names, Datum name, bool found,
						 HoldMode mode, LockTupleMode tuplemode,
						 const Patience *patience);
extern const char *hold_mode_name(HoldMode mode);

/* resource.c */
extern void resource_take(NameTable *names, Resource *resource,
						  const Patience *patience);
extern void resource_fence(NameTable *names, Resource *resource);

/* lease.c */
extern void lease_take(NameTable *names, Datum name, text *holder,
					   Interval *ttl, LeaseGrant *grant);
extern void lease_hold_off(NameTable *names, Datum name, int64 fence);
extern TimestampTz lease_prolong(NameTable *names, Datum name, int64 fence,
								Interval *ttl);
extern bool lease_give_up(NameTable *names, Datum name, int64 fence);

#endif							/* PG_CAS_LOCK_H */
