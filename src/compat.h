/*
 * compat.h
 *		Compatibility with PostgreSQL's major versions.
 *
 * No other file depends on the version.  The code uses the newest API; this
 * file defines the newer names for older servers.
 */
#ifndef PG_CAS_COMPAT_H
#define PG_CAS_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "parser/parse_relation.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"

#if PG_VERSION_NUM < 150000
#error "pg_cas needs PostgreSQL 15 or later"
#endif
#if PG_VERSION_NUM >= 200000
#error "this version of pg_cas supports PostgreSQL 15 to 19"
#endif

/*
 * New in PostgreSQL 19
 */
#if PG_VERSION_NUM < 190000
#include "utils/jsonb.h"

#define SO_NONE 0
#define table_beginscan(rel, snapshot, nkeys, key, flags) \
	(table_beginscan) (rel, snapshot, nkeys, key)
#define table_tuple_update(rel, tid, slot, cid, options, ...) \
	(table_tuple_update) (rel, tid, slot, cid, __VA_ARGS__)
#define table_tuple_delete(rel, tid, cid, options, snapshot, crosscheck, \
						   wait, failure) \
	(table_tuple_delete) (rel, tid, cid, snapshot, crosscheck, wait, failure, \
						  false)

#define EIIT_IS_UPDATE (1 << 0)
#define EIIT_NO_DUPE_ERROR (1 << 1)
#define EIIT_ONLY_SUMMARIZING (1 << 2)
#define has_flag(flags, flag) (((flags) & (flag)) != 0)

/* A document that is being built. */
typedef struct JsonbInState
{
	JsonbValue *result;
	JsonbParseState *parseState;
} JsonbInState;

#define pushJsonbValue(state, token, value) \
	((void) ((state)->result = \
			 (pushJsonbValue) (&(state)->parseState, token, value)))

/* A lock says that a row that was deleted was updated. */
#define LOCK_REPORTS_DELETE false

#define pg_fallthrough __attribute__((fallthrough))
#define TupleDescFinalize(desc) ((void) 0)
#define prune_page(rel, buffer) heap_page_prune_opt(rel, buffer)
#else
#include "access/heapam.h"
#include "access/visibilitymap.h"
#include "utils/tuplestore.h"

#define LOCK_REPORTS_DELETE true

/* Remove dead rows from a page, which is not locked. */
static inline void
prune_page(Relation rel, Buffer buffer)
{
	Buffer		map = InvalidBuffer;

	heap_page_prune_opt(rel, buffer, &map, false);
	if (BufferIsValid(map))
		ReleaseBuffer(map);
}
#endif

/*
 * New in PostgreSQL 18
 */
#if PG_VERSION_NUM < 180000
#define index_beginscan(heap, index, snapshot, instrument, nkeys, norderbys, \
						flags) \
	(index_beginscan) (heap, index, snapshot, nkeys, norderbys)
#define RelationGetPrimaryKeyIndex(rel, deferrable_ok) \
	(RelationGetPrimaryKeyIndex) (rel)
#define pg_noreturn __attribute__((noreturn))
#define ConditionalLockTuple(rel, tid, lockmode, logfailure) \
	(ConditionalLockTuple) (rel, tid, lockmode)

/* A column that is NOT NULL contains none. */
#define has_invalid_not_null(desc, i) false

/* There are no virtual generated columns. */
#define has_virtual_columns(constr) false
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#else
#define has_invalid_not_null(desc, i) \
	(TupleDescCompactAttr(desc, i)->attnullability == ATTNULLABLE_INVALID)
#define has_virtual_columns(constr) ((constr)->has_generated_virtual)
#if PG_VERSION_NUM < 190000
#define index_beginscan(heap, index, snapshot, instrument, nkeys, norderbys, \
						flags) \
	(index_beginscan) (heap, index, snapshot, instrument, nkeys, norderbys)
#endif
#endif

/*
 * New in PostgreSQL 17
 */
#if PG_VERSION_NUM < 170000
#define my_lxid() (MyProc->lxid)
#define SearchPathMatchesCurrentEnvironment(path) \
	OverrideSearchPathMatchesCurrent(path)
#else
#define my_lxid() (MyProc->vxid.lxid)
#endif

/* Abs() was removed in PostgreSQL 17. */
#ifndef Abs
#define Abs(x) ((x) >= 0 ? (x) : -(x))
#endif

/*
 * New in PostgreSQL 16
 */
#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"

/* One function in place of the pg_xxx_ownercheck() functions. */
static inline bool
object_ownercheck(Oid classid, Oid objectid, Oid roleid)
{
	Assert(classid == RelationRelationId);
	return pg_class_ownercheck(objectid, roleid);
}

/* One function in place of the pg_xxx_aclcheck() functions. */
static inline AclResult
object_aclcheck(Oid classid, Oid objectid, Oid roleid, AclMode mode)
{
	if (classid == NamespaceRelationId)
		return pg_namespace_aclcheck(objectid, roleid, mode);
	Assert(classid == ProcedureRelationId);
	return pg_proc_aclcheck(objectid, roleid, mode);
}

/* Before 16, every member of a role can SET ROLE to it. */
#define member_can_set_role(member, role) is_member_of_role(member, role)

/* The place of a relation's files has had this name since 16. */
#define rd_locator rd_node

/* Before 16, an update needs entries in all indexes or in none. */
typedef bool TU_UpdateIndexes;
#define TU_None false
#define TU_All true
#define ExecInsertIndexTuples(rri, estate, flags, slot, arbiters, conflict) \
	(ExecInsertIndexTuples) (rri, slot, estate, \
							 has_flag(flags, EIIT_IS_UPDATE), \
							 has_flag(flags, EIIT_NO_DUPE_ERROR), conflict, \
							 arbiters)

#define make_range(type, lower, upper, empty, escontext) \
	(make_range) (type, lower, upper, empty)
#elif PG_VERSION_NUM < 190000
#define ExecInsertIndexTuples(rri, estate, flags, slot, arbiters, conflict) \
	(ExecInsertIndexTuples) (rri, slot, estate, \
							 has_flag(flags, EIIT_IS_UPDATE), \
							 has_flag(flags, EIIT_NO_DUPE_ERROR), conflict, \
							 arbiters, has_flag(flags, EIIT_ONLY_SUMMARIZING))
#endif

/* Flags of ExecInsertIndexTuples(), by what an update has changed. */
static inline uint32
update_flags(TU_UpdateIndexes update_indexes)
{
	if (update_indexes == TU_None)
		return 0;
#if PG_VERSION_NUM >= 160000
	if (update_indexes == TU_Summarizing)
		return EIIT_IS_UPDATE | EIIT_ONLY_SUMMARIZING;
#endif
	return EIIT_IS_UPDATE;
}

/*
 * Initialize an executor state's range table with one relation and the columns
 * that a statement updates.
 */
static inline void
init_single_range_table(EState *estate, RangeTblEntry *rte,
						Bitmapset *updated)
{
#if PG_VERSION_NUM < 160000
	rte->updatedCols = updated;
	ExecInitRangeTable(estate, list_make1(rte));
#else
	List	   *perminfos = NIL;

	addRTEPermissionInfo(&perminfos, rte)->updatedCols = updated;
#if PG_VERSION_NUM < 180000
	ExecInitRangeTable(estate, list_make1(rte), perminfos);
#else
	ExecInitRangeTable(estate, list_make1(rte), perminfos,
					   bms_make_singleton(1));
#endif
#endif
}

/* Early minor releases commit a pipelined statement at the pipeline's end. */
#ifndef XACT_FLAGS_NEEDIMMEDIATECOMMIT
#define XACT_FLAGS_NEEDIMMEDIATECOMMIT 0
#endif

#endif							/* PG_CAS_COMPAT_H */
