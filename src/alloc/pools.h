/*
 * pools.h
 *		Declarations for the files that change pools.
 */
#ifndef PG_CAS_POOLS_H
#define PG_CAS_POOLS_H

#include "alloc/alloc.h"
#include "base/entry.h"

/* A change to a pool. */
typedef struct Change
{
	OwnerScope	scope;			/* for owner_sql_begin() */
	PoolUse		use;			/* the pool, locked exclusively */
} Change;

/* A range as the caller named it: its text and its values. */
typedef struct Named
{
	char	   *text;
	u128		first;
	u128		last;
} Named;

/* change.c */
pg_noreturn extern void raise_invalid(const char *message, const char *hint);
extern uint64 pool_lock_frontiers(int32 pool, const char *option);
extern void pool_new_epoch(int32 pool);
extern void pool_forget_freed(int32 pool);
extern void pool_lock_tables(Oid nsp);
extern void change_open(FunctionCallInfo fcinfo, Change *change);
extern void change_lock(Change *change);
extern void require_values(const Change *change, const char *what);
extern void change_reload(Change *change);
extern void change_end(Change *change);
pg_noreturn extern void raise_in_use(const Change *change, const char *what,
									 const char *hint);

/* named.c */
extern void named_require_fit(const Range *range, const char *text,
							  int chunk_bits, const Range *others,
							  int nothers);
pg_noreturn extern void raise_overlap(const char *text,
									  const char *other);
extern Range *named_ranges(ArrayType *texts, PoolKind kind, int chunk_bits,
						   int *width, int *nranges);
extern void named_argument(FunctionCallInfo fcinfo, const Change *change,
						   bool whole, Named *named);
extern bool named_overlaps(const Range *range, const Named *named);
extern void named_require_overlap(const Change *change, const Named *named);

/* ranges.c */
extern void insert_ranges(int32 pool, bool mixed, int chunk_bits,
						  const Range *ranges, const u128 *frontiers,
						  int nranges);

#endif							/* PG_CAS_POOLS_H */
