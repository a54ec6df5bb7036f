/*
 * pg_cas_points.c
 *		Points at which a session can be made to wait, for the tests of races
 *		inside one call.  scripts/test builds this; nobody installs it.
 *
 * A session waits where it calls a table's or an index's access method: before
 * or after it visits a row, say, or makes an index entry.  Its relcache entry
 * of the relation gets a copy of the access method's table of functions, whose
 * functions take and give back an advisory lock, and then do what they do.  So
 * who has that lock holds the session up there, and isolationtester sees it
 * wait.
 *
 * An update, a delete or a lock of a row can also be refused there, as if another
 * transaction had been faster, although there is none.
 *
 * The heap's own functions, called by their names, do not come by here.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"

/*
 * The functions of the table access method as they are since PostgreSQL 19.
 * Before, updates and deletes had no options, a delete that changes the
 * partition was told so by its last argument, and an insert's options were an
 * int.
 */
#if PG_VERSION_NUM < 190000
typedef int InsertOptions;
#define stopping_update(rel, tid, slot, cid, options, ...) \
	stopping_update(rel, tid, slot, cid, __VA_ARGS__)
#define tuple_update(rel, tid, slot, cid, options, ...) \
	tuple_update(rel, tid, slot, cid, __VA_ARGS__)
#define stopping_delete(rel, tid, cid, options, ...) \
	stopping_delete(rel, tid, cid, __VA_ARGS__, bool changing_partition)
#define tuple_delete(rel, tid, cid, options, ...) \
	tuple_delete(rel, tid, cid, __VA_ARGS__, changing_partition)
#else
typedef uint32 InsertOptions;
#endif

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(points_stop);
PG_FUNCTION_INFO_V1(points_refuse);
PG_FUNCTION_INFO_V1(points_clear);

extern void _PG_init(void);

/* Where a session can be stopped: functions of the two access methods. */
typedef enum Operation
{
	AT_FETCH,
	AT_FETCH_AGAIN,
	AT_INSERT,
	AT_INSERT_SPECULATIVE,
	AT_COMPLETE_SPECULATIVE,
	AT_UPDATE,
	AT_DELETE,
	AT_LOCK,
	AT_NEXT,
	AT_INDEX_INSERT,
	AT_INDEX_NEXT,
	AT_INDEX_RESCAN
} Operation;

static const char *const operations[] = {
	[AT_FETCH] = "index_fetch_tuple",
	[AT_FETCH_AGAIN] = "tuple_fetch_row_version",
	[AT_INSERT] = "tuple_insert",
	[AT_INSERT_SPECULATIVE] = "tuple_insert_speculative",
	[AT_COMPLETE_SPECULATIVE] = "tuple_complete_speculative",
	[AT_UPDATE] = "tuple_update",
	[AT_DELETE] = "tuple_delete",
	[AT_LOCK] = "tuple_lock",
	[AT_NEXT] = "scan_getnextslot",
	[AT_INDEX_INSERT] = "aminsert",
	[AT_INDEX_NEXT] = "amgettuple",
	[AT_INDEX_RESCAN] = "amrescan"
};

typedef struct Point
{
	Oid			relid;
	Operation	operation;
	bool		after;			/* or before */
	int			nth;			/* at this one of the calls; 0: at each */
	int			calls;
	bool		at_place;		/* the lock is that of the row's place */
	int64		lock;
	TM_Result	result;			/* what is returned instead; TM_Ok: it waits */
} Point;

#define MAX_POINTS 16

static Point points[MAX_POINTS];
static int	npoints = 0;

static ExecutorStart_hook_type next_executor_start = NULL;

/*
 * Wait for a lock that SQL takes by pg_advisory_lock(), with one number or two.
 */
static void
stop_at(const Point *point, ItemPointer tid)
{
	LOCKTAG		tag;

	if (!point->at_place)
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId,
							 (uint32) (point->lock >> 32),
							 (uint32) point->lock, 1);
	else if (tid != NULL)
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId,
							 ItemPointerGetBlockNumber(tid),
							 ItemPointerGetOffsetNumber(tid), 2);
	else
		elog(ERROR, "%s has no place to be stopped at",
			 operations[point->operation]);
	(void) LockAcquire(&tag, ShareLock, false, false);
	LockRelease(&tag, ShareLock, false);
}

/* The session is before or after an operation, on the row at tid if any. */
static void
reach(Relation rel, Operation operation, bool after, ItemPointer tid)
{
	for (int i = 0; i < npoints; i++)
	{
		Point	   *point = &points[i];

		if (point->relid == RelationGetRelid(rel) &&
			point->operation == operation && point->after == after &&
			point->result == TM_Ok &&
			(point->nth == 0 || point->nth == ++point->calls))
			stop_at(point, tid);
	}
}

/* Is the operation refused?  If so, *result is what it returns. */
static bool
is_refused(Relation rel, Operation operation, ItemPointer tid,
		   TM_Result *result, TM_FailureData *failure)
{
	for (int i = 0; i < npoints; i++)
	{
		Point	   *point = &points[i];

		if (point->relid != RelationGetRelid(rel) ||
			point->operation != operation || point->result == TM_Ok ||
			(point->nth != 0 && point->nth != ++point->calls))
			continue;
		memset(failure, 0, sizeof(*failure));
		failure->ctid = *tid;
		*result = point->result;
		return true;
	}
	return false;
}

/* ----------
 * Tables
 * ----------
 */

static TableAmRoutine stopping_heap;

static bool
stopping_fetch(struct IndexFetchTableData *scan, ItemPointer tid,
			   Snapshot snapshot, TupleTableSlot *slot, bool *call_again,
			   bool *all_dead)
{
	bool		found;

	reach(scan->rel, AT_FETCH, false, tid);
	found = GetHeapamTableAmRoutine()->index_fetch_tuple(scan, tid, snapshot,
														 slot, call_again,
														 all_dead);
	reach(scan->rel, AT_FETCH, true, tid);
	return found;
}

static bool
stopping_fetch_again(Relation rel, ItemPointer tid, Snapshot snapshot,
					 TupleTableSlot *slot)
{
	bool		found;

	reach(rel, AT_FETCH_AGAIN, false, tid);
	found = GetHeapamTableAmRoutine()->tuple_fetch_row_version(rel, tid,
															   snapshot, slot);
	reach(rel, AT_FETCH_AGAIN, true, tid);
	return found;
}

static void
stopping_insert(Relation rel, TupleTableSlot *slot, CommandId cid,
				InsertOptions options, struct BulkInsertStateData *bistate)
{
	reach(rel, AT_INSERT, false, NULL);
	GetHeapamTableAmRoutine()->tuple_insert(rel, slot, cid, options, bistate);
	reach(rel, AT_INSERT, true, &slot->tts_tid);
}

static void
stopping_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid,
							InsertOptions options,
							struct BulkInsertStateData *bistate, uint32 token)
{
	reach(rel, AT_INSERT_SPECULATIVE, false, NULL);
	GetHeapamTableAmRoutine()->tuple_insert_speculative(rel, slot, cid,
														options, bistate,
														token);
	reach(rel, AT_INSERT_SPECULATIVE, true, &slot->tts_tid);
}

static void
stopping_complete_speculative(Relation rel, TupleTableSlot *slot,
							  uint32 token, bool succeeded)
{
	reach(rel, AT_COMPLETE_SPECULATIVE, false, &slot->tts_tid);
	GetHeapamTableAmRoutine()->tuple_complete_speculative(rel, slot, token,
														  succeeded);
	reach(rel, AT_COMPLETE_SPECULATIVE, true, &slot->tts_tid);
}

static TM_Result
stopping_update(Relation rel, ItemPointer tid, TupleTableSlot *slot,
				CommandId cid, uint32 options, Snapshot snapshot,
				Snapshot crosscheck, bool wait, TM_FailureData *failure,
				LockTupleMode *mode, TU_UpdateIndexes *update_indexes)
{
	TM_Result	result;

	reach(rel, AT_UPDATE, false, tid);
	if (is_refused(rel, AT_UPDATE, tid, &result, failure))
		return result;
	result = GetHeapamTableAmRoutine()->tuple_update(rel, tid, slot, cid,
													 options, snapshot,
													 crosscheck, wait, failure,
													 mode, update_indexes);
	reach(rel, AT_UPDATE, true, tid);
	return result;
}

static TM_Result
stopping_delete(Relation rel, ItemPointer tid, CommandId cid, uint32 options,
				Snapshot snapshot, Snapshot crosscheck, bool wait,
				TM_FailureData *failure)
{
	TM_Result	result;

	reach(rel, AT_DELETE, false, tid);
	if (is_refused(rel, AT_DELETE, tid, &result, failure))
		return result;
	result = GetHeapamTableAmRoutine()->tuple_delete(rel, tid, cid, options,
													 snapshot, crosscheck,
													 wait, failure);
	reach(rel, AT_DELETE, true, tid);
	return result;
}

static TM_Result
stopping_lock(Relation rel, ItemPointer tid, Snapshot snapshot,
			  TupleTableSlot *slot, CommandId cid, LockTupleMode mode,
			  LockWaitPolicy policy, uint8 flags, TM_FailureData *failure)
{
	TM_Result	result;

	reach(rel, AT_LOCK, false, tid);
	if (is_refused(rel, AT_LOCK, tid, &result, failure))
	{
		/* the heap leaves the row in the slot then, too */
		(void) GetHeapamTableAmRoutine()->tuple_fetch_row_version(rel, tid,
																  SnapshotAny,
																  slot);
		return result;
	}
	result = GetHeapamTableAmRoutine()->tuple_lock(rel, tid, snapshot, slot,
												   cid, mode, policy, flags,
												   failure);
	reach(rel, AT_LOCK, true, tid);
	return result;
}

static bool
stopping_next(TableScanDesc scan, ScanDirection direction,
			  TupleTableSlot *slot)
{
	bool		found;

	reach(scan->rs_rd, AT_NEXT, false, NULL);
	found = GetHeapamTableAmRoutine()->scan_getnextslot(scan, direction, slot);
	reach(scan->rs_rd, AT_NEXT, true, found ? &slot->tts_tid : NULL);
	return found;
}

static void
make_stopping_heap(void)
{
	stopping_heap = *GetHeapamTableAmRoutine();
	stopping_heap.index_fetch_tuple = stopping_fetch;
	stopping_heap.tuple_fetch_row_version = stopping_fetch_again;
	stopping_heap.tuple_insert = stopping_insert;
	stopping_heap.tuple_insert_speculative = stopping_insert_speculative;
	stopping_heap.tuple_complete_speculative = stopping_complete_speculative;
	stopping_heap.tuple_update = stopping_update;
	stopping_heap.tuple_delete = stopping_delete;
	stopping_heap.tuple_lock = stopping_lock;
	stopping_heap.scan_getnextslot = stopping_next;
}

/* ----------
 * Indexes
 * ----------
 */

/* The relcache may throw away the functions that an entry came with. */
typedef struct StoppingIndex
{
	IndexAmRoutine am;
	IndexAmRoutine original;
} StoppingIndex;

static const IndexAmRoutine *
original_of(Relation index)
{
	return &((StoppingIndex *) index->rd_indam)->original;
}

static bool
stopping_index_insert(Relation index, Datum *values, bool *isnull,
					  ItemPointer tid, Relation rel, IndexUniqueCheck check,
					  bool unchanged, struct IndexInfo *info)
{
	bool		result;

	reach(index, AT_INDEX_INSERT, false, tid);
	result = original_of(index)->aminsert(index, values, isnull, tid, rel,
										  check, unchanged, info);
	reach(index, AT_INDEX_INSERT, true, tid);
	return result;
}

static bool
stopping_index_next(IndexScanDesc scan, ScanDirection direction)
{
	bool		found;

	reach(scan->indexRelation, AT_INDEX_NEXT, false, NULL);
	found = original_of(scan->indexRelation)->amgettuple(scan, direction);
	reach(scan->indexRelation, AT_INDEX_NEXT, true,
		  found ? &scan->xs_heaptid : NULL);
	return found;
}

static void
stopping_index_rescan(IndexScanDesc scan, ScanKey keys, int nkeys,
					  ScanKey orderbys, int norderbys)
{
	reach(scan->indexRelation, AT_INDEX_RESCAN, false, NULL);
	original_of(scan->indexRelation)->amrescan(scan, keys, nkeys, orderbys,
											   norderbys);
	reach(scan->indexRelation, AT_INDEX_RESCAN, true, NULL);
}

static IndexAmRoutine *
make_stopping_index(const IndexAmRoutine *original)
{
	StoppingIndex *stopping = MemoryContextAlloc(TopMemoryContext,
												 sizeof(StoppingIndex));

	stopping->original = stopping->am = *original;
	stopping->am.aminsert = stopping_index_insert;
	stopping->am.amgettuple = stopping_index_next;
	stopping->am.amrescan = stopping_index_rescan;
	return &stopping->am;
}

/* ----------
 * Putting them in
 * ----------
 */

static void
install(Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);

	if (rel == NULL)
		return;
	if (rel->rd_indam != NULL)
	{
		if (rel->rd_indam->aminsert != stopping_index_insert)
			rel->rd_indam = make_stopping_index(rel->rd_indam);
	}
	else if (rel->rd_tableam == GetHeapamTableAmRoutine())
		rel->rd_tableam = &stopping_heap;
	relation_close(rel, AccessShareLock);
}

/*
 * The relcache forgets what it was not told by the catalogs.  So it is told
 * again whenever a statement begins.
 */
static void
points_executor_start(QueryDesc *query, int eflags)
{
	for (int i = 0; i < npoints; i++)
		install(points[i].relid);
	if (next_executor_start)
		next_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

void
_PG_init(void)
{
	make_stopping_heap();
	next_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = points_executor_start;
}

/* The point that the words "before" or "after", and an operation, are for. */
static void
parse_point(const char *words, Point *point)
{
	const char *operation = strchr(words, ' ');

	point->after = strncmp(words, "after ", 6) == 0;
	if (operation == NULL ||
		(!point->after && strncmp(words, "before ", 7) != 0))
		elog(ERROR, "neither before nor after an operation: \"%s\"", words);
	for (int i = 0; i < lengthof(operations); i++)
	{
		if (strcmp(operation + 1, operations[i]) == 0)
		{
			point->operation = i;
			return;
		}
	}
	elog(ERROR, "unknown operation: \"%s\"", words);
}

/*
 * points_stop(relation, at, nth, lock): from now on, wait there for the
 * advisory lock; if lock is null, for that of the two numbers of the row's
 * place.
 */
Datum
points_stop(PG_FUNCTION_ARGS)
{
	Point		point = {.relid = PG_GETARG_OID(0),.nth = PG_GETARG_INT32(2)};

	if (npoints == MAX_POINTS)
		elog(ERROR, "too many points");
	parse_point(text_to_cstring(PG_GETARG_TEXT_PP(1)), &point);
	point.at_place = PG_ARGISNULL(3);
	if (!point.at_place)
		point.lock = PG_GETARG_INT64(3);
	points[npoints++] = point;
	install(point.relid);
	PG_RETURN_VOID();
}

/*
 * points_refuse(relation, operation, nth, result): from now on, "tuple_update",
 * "tuple_delete" or "tuple_lock" does nothing and returns this result.
 */
Datum
points_refuse(PG_FUNCTION_ARGS)
{
	static const char *const results[] = {
		[TM_Updated] = "updated",
		[TM_Deleted] = "deleted",
		[TM_WouldBlock] = "would block"
	};
	Point		point = {.relid = PG_GETARG_OID(0),.nth = PG_GETARG_INT32(2)};
	char	   *result = text_to_cstring(PG_GETARG_TEXT_PP(3));

	if (npoints == MAX_POINTS)
		elog(ERROR, "too many points");
	parse_point(psprintf("before %s",
						 text_to_cstring(PG_GETARG_TEXT_PP(1))), &point);
	if (point.operation != AT_UPDATE && point.operation != AT_DELETE &&
		point.operation != AT_LOCK)
		elog(ERROR, "%s cannot be refused", operations[point.operation]);
	for (int i = 0; i < lengthof(results); i++)
	{
		if (results[i] != NULL && strcmp(result, results[i]) == 0)
			point.result = i;
	}
	if (point.result == TM_Ok)
		elog(ERROR, "unknown result: \"%s\"", result);
	points[npoints++] = point;
	install(point.relid);
	PG_RETURN_VOID();
}

/* points_clear(): go on without waiting anywhere. */
Datum
points_clear(PG_FUNCTION_ARGS)
{
	npoints = 0;
	PG_RETURN_VOID();
}
