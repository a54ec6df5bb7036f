/*
 * capacity.h
 *		Declarations for a counted pool's capacity and a pool's parent.
 */
#ifndef PG_CAS_ALLOC_CAPACITY_H
#define PG_CAS_ALLOC_CAPACITY_H

#include "alloc/pools.h"
#include "alloc/share.h"

extern void capacity_create(int32 pool, int64 capacity);
extern void capacity_set(Store *store, const Pool *pool, int64 capacity);
extern void capacity_rebuild(int32 pool);
extern int32 parent_argument(Oid nsp, const char *parent);
extern int32 parent_lock(Oid nsp, const char *parent);
extern int64 capacity_argument(FunctionCallInfo fcinfo, int argno,
							   PoolKind kind);
extern bool capacity_in_use(Store *store, const Pool *pool);
extern void require_no_children(const Change *change);

#endif							/* PG_CAS_ALLOC_CAPACITY_H */
