/*
 * base.h
 *		Functions that all subsystems use.  They depend on PostgreSQL only.
 *
 * detail.c		builds an error's DETAIL as one line of JSON
 * argument.c	checks arguments of SQL functions: NULLs, keywords, intervals
 * object.c		relations and functions that a caller names by OID
 * partition.c	tables that a table is a partition of; what errors may show
 * output.c		converts values to text, whatever the session's settings are
 * owner.c		our own schema and relations; SQL as the extension's owner
 * role.c		roles stored in our tables, by OID and name
 * scan.c		finds and writes single rows of our own tables
 * history.c	numbers that increase even through failovers and restores
 * subtransaction.c	calls a function in a subtransaction
 */
#ifndef PG_CAS_BASE_H
#define PG_CAS_BASE_H

#include "postgres.h"

#include "access/genam.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "storage/lockdefs.h"
#include "utils/snapshot.h"

#include "compat.h"

/*
 * detail.c.  A DETAIL is built field by field; a caller leaves out the fields
 * that the user may not see.  A NULL value becomes JSON's null, so callers
 * need not check for names of objects that have been dropped.
 */
extern void detail_begin(StringInfo detail);
extern void detail_text(StringInfo detail, const char *field,
						const char *value);
extern void detail_int(StringInfo detail, const char *field, int64 value);
extern void detail_time(StringInfo detail, const char *field,
						TimestampTz value);
extern void detail_null(StringInfo detail, const char *field);
extern char *detail_end(StringInfo detail);

/* argument.c.  These raise 22004 for NULL, and 22023 for other bad values. */
extern void require_argument(FunctionCallInfo fcinfo, int argno,
							 const char *name);
extern int	word_argument(FunctionCallInfo fcinfo, int argno, const char *name,
						  const char *const *words);
extern bool interval_fits(TimestampTz start, const Interval *interval);
extern TimestampTz interval_after(TimestampTz start, Interval *interval,
								  const char *name);
extern TimestampTz positive_interval_after(TimestampTz start,
										   Interval *interval,
										   const char *name);
extern TimestampTz interval_from_now(Interval *interval, const char *name);
extern int	batch_argument(FunctionCallInfo fcinfo, int argno);
extern void require_no_parallel_query(FunctionCallInfo fcinfo);
extern void require_writable(FunctionCallInfo fcinfo);

/* object.c.  These raise 42P01 or 42883 if there is no such object. */
extern void require_schema_usage(Oid schema);
pg_noreturn extern void raise_no_relation(Oid relid);
extern char *quoted_name(const char *schema, const char *name);
extern char *qualified_name(Oid relid);
extern void require_relation_owner(Oid relid);
extern Relation open_as_owner(Oid relid, LOCKMODE lockmode);
extern void require_execute(Oid function);
extern char *own_function(Oid function);
extern void require_jsonb_function(Oid function, int nargs,
								   const char *purpose,
								   const char *declaration);

/* partition.c */
extern Oid	partition_parent(Oid relid);
extern Oid	partition_root(Relation rel);
extern bool columns_readable(Relation rel, const Bitmapset *columns);

/*
 * output.c.  Settings that were changed for output functions; begin with {0}.
 * After an error, the end of the (sub)transaction restores them.
 */
typedef struct OutputSettings
{
	int			settled;		/* settings that have the right value */
	int			guc_level;		/* 0 if none was changed */
} OutputSettings;

extern char *output_text(OutputSettings *output, Oid type, Datum value);
extern void output_end(OutputSettings *output);
extern char *stable_text(Oid type, Datum value);

/*
 * owner.c.  The extension's tables, sequences and private functions are in the
 * schema cas_internal.  They belong to the role that ran the install script,
 * so nobody else can alter their definitions.
 */
#define INTERNAL_SCHEMA "cas_internal"

extern Oid	internal_schema(void);
extern Oid	internal_relation(const char *name);
extern Oid	extension_owner(void);
extern Oid	extension_schema(void);

/* What owner_leave() restores: the caller's role and security context. */
typedef struct OwnerScope
{
	Oid			caller;
	int			context;
	int			guc_level;
} OwnerScope;

extern void owner_enter(OwnerScope *scope);
extern void owner_leave(const OwnerScope *scope);

/* Run SQL as the owner, by default on the latest committed state. */
extern void owner_sql_begin(OwnerScope *scope);
extern void owner_sql_end(const OwnerScope *scope);
extern Snapshot latest_snapshot(void);
extern uint64 owner_sql(const char *statement, int nargs, Oid *types,
						Datum *values);
extern uint64 owner_sql_at(Snapshot snapshot, const char *statement, int nargs,
						   Oid *types, Datum *values);
extern Datum owner_sql_value(uint64 row, int column, bool *isnull);
extern Datum owner_sql_not_null(uint64 row, int column);

/*
 * role.c.  Our tables store owners and grantees as an OID and a name.  The OID
 * decides: a renamed role stays the owner, and a dropped role owns nothing any
 * more.  The name is used by restores only.
 */
extern Oid	role_argument(const char *name);
extern Oid	new_owner(const char *argument);
extern Oid	effective_owner(Oid role);
extern char *role_name(Oid role);

/*
 * scan.c.  One of our tables, the index that rows are found by, and the row
 * found last.
 */
typedef struct OwnTable
{
	Relation	rel;
	Relation	index;
	LOCKMODE	lockmode;		/* with which the table was opened */
	TupleTableSlot *slot;
	EState	   *estate;			/* NULL until the first write, as the rest */
	ResultRelInfo *writer;
	TupleTableSlot *row;
} OwnTable;

typedef struct OwnScan
{
	OwnTable   *table;
	IndexScanDesc desc;
	SnapshotData shown;			/* snapshot of the index scan itself */
	Snapshot	snapshot;		/* filter on what it returns, or NULL */
} OwnScan;

typedef enum OwnLook
{
	LOOK_NONE,
	LOOK_UNCOMMITTED,			/* another transaction is inserting it */
	LOOK_FOUND
} OwnLook;

/* Another transaction that is changing a row; xid is invalid if none is. */
typedef struct OwnRival
{
	TransactionId xid;
	uint32		token;			/* of a speculative insertion, or 0 */
	ItemPointerData tid;
} OwnRival;

extern LOCKMODE index_lock_to_release(LOCKMODE table_lock);
extern void own_open(OwnTable *table, Oid relid, LOCKMODE lockmode);
extern void own_open_by_index(OwnTable *table, Oid relid, Oid index,
							  LOCKMODE lockmode);
extern void own_close(OwnTable *table);
extern void own_text_key(ScanKey key, int column, text *value);
extern Datum own_value(OwnTable *table, int column, bool *isnull);
extern void own_scan_begin(OwnScan *scan, OwnTable *table, Relation index,
						   Snapshot snapshot, ScanKey keys, int nkeys);
extern bool own_scan_next(OwnScan *scan);
extern void own_scan_end(OwnScan *scan);
extern bool own_slot_is_ours(OwnTable *table);
extern bool own_slot_is_visible(OwnTable *table);
extern bool own_find(OwnTable *table, Snapshot snapshot, ScanKey keys,
					 int nkeys);
extern bool own_find_latest(OwnTable *table, ScanKey keys, int nkeys);
extern OwnLook own_look(OwnTable *table, ScanKey keys, int nkeys,
						OwnRival *rival);
extern void own_look_locker(OwnTable *table, OwnRival *rival);
extern bool row_lockers(TupleTableSlot *slot,
						void (*meet) (void *arg, TransactionId xid),
						void *arg);
extern bool own_insert(OwnTable *table, const Datum *values,
					   const bool *nulls);
extern bool own_update(OwnTable *table, const Datum *values,
					   const bool *nulls, const bool *replace);
extern bool own_delete(OwnTable *table);

/*
 * history.c.  history_draw() returns a number larger than all numbers drawn
 * from the sequence before, also before a failover or a restore.  It is at
 * most HISTORY_LIMIT, so that a client can store it in a double.
 */
#define HISTORY_LIMIT ((INT64CONST(1) << 53) - 1)

extern int64 history_now(void);
extern int64 history_floor(void);
extern int64 history_draw(Oid sequence);
extern int64 history_draw_ahead(Oid sequence, int64 block,
								XLogRecPtr *logged);
extern int64 history_draw_many(Oid sequence, int n);
extern int64 sequence_last(Oid sequence);
extern void sequence_raise(Oid sequence, int64 value);
extern void sequence_flush(Oid sequence);
extern void sequence_drawn(Oid sequence);

/* subtransaction.c */
extern bool in_subtransaction(bool (*function) (void *arg), void *arg,
							  ErrorData **error);

/* Where a call that tries again and again allocates its memory; see round.c. */
typedef struct Rounds
{
	MemoryContext caller;		/* that of the first try */
	MemoryContext cxt;			/* that of each later one */
} Rounds;

/* round.c */
extern void round_begin(Rounds *rounds);
extern void round_end(Rounds *rounds);

#endif							/* PG_CAS_BASE_H */
