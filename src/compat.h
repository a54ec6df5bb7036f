/*
 * compat.h
 *		The only place that knows PostgreSQL's major versions.
 *
 * The code is written against the newest API; what an older server lacks, or
 * spells otherwise, is supplied here under the newer name.
 */
#ifndef PG_CAS_COMPAT_H
#define PG_CAS_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "parser/parse_relation.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/rangetypes.h"
#include "utils/rel.h"

#if PG_VERSION_NUM < 150000
#error "pg_cas needs PostgreSQL 15 or later"
#endif
#if PG_VERSION_NUM >= 190000
#error "this version of pg_cas knows PostgreSQL 15 to 18; a newer one may know yours"
#endif

/*
 * Since 18
 */
#if PG_VERSION_NUM < 180000
#define index_beginscan(heap, index, snapshot, instrument, nkeys, norderbys) \
	(index_beginscan) (heap, index, snapshot, nkeys, norderbys)
#define RelationGetPrimaryKeyIndex(rel, deferrable_ok) \
	(RelationGetPrimaryKeyIndex) (rel)
#define pg_noreturn __attribute__((noreturn))

/* Virtual generated columns, which are not stored. */
#define has_virtual_columns(constr) false
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#else
#define has_virtual_columns(constr) ((constr)->has_generated_virtual)
#endif

/*
 * Since 17
 */
#if PG_VERSION_NUM < 170000
#define my_lxid() (MyProc->lxid)
#else
#define my_lxid() (MyProc->vxid.lxid)
#endif

/* 17 has no Abs(). */
#ifndef Abs
#define Abs(x) ((x) >= 0 ? (x) : -(x))
#endif

/*
 * Since 16
 */
#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"

/* One function instead of many pg_xxx_ownercheck() ones. */
static inline bool
object_ownercheck(Oid classid, Oid objectid, Oid roleid)
{
	Assert(classid == RelationRelationId);
	return pg_class_ownercheck(objectid, roleid);
}

/* Likewise of the pg_xxx_aclcheck() ones. */
static inline AclResult
object_aclcheck(Oid classid, Oid objectid, Oid roleid, AclMode mode)
{
	if (classid == NamespaceRelationId)
		return pg_namespace_aclcheck(objectid, roleid, mode);
	Assert(classid == ProcedureRelationId);
	return pg_proc_aclcheck(objectid, roleid, mode);
}

/* Membership, and the right to SET ROLE, are told apart. */
#define check_can_set_role(member, role) check_is_member_of_role(member, role)

/* What an update means for indexes: with BRIN there are three answers. */
typedef bool TU_UpdateIndexes;
#define TU_None false
#define TU_All true
#define only_summarizing(update_indexes) false
#define ExecInsertIndexTuples(rri, slot, estate, update, no_dup_err, \
							  conflict, arbiters, only_summarizing) \
	(ExecInsertIndexTuples) (rri, slot, estate, update, no_dup_err, conflict, \
							 arbiters)

#define make_range(type, lower, upper, empty, escontext) \
	(make_range) (type, lower, upper, empty)
#else
#define only_summarizing(update_indexes) ((update_indexes) == TU_Summarizing)
#endif

/*
 * A range table of one relation, with the columns that a statement updates.
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

/* Early minor releases leave a pipelined statement to the pipeline's end. */
#ifndef XACT_FLAGS_NEEDIMMEDIATECOMMIT
#define XACT_FLAGS_NEEDIMMEDIATECOMMIT 0
#endif

#endif							/* PG_CAS_COMPAT_H */
