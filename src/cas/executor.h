/*
 * executor.h
 *		Declarations of executor.c, for direct.c.
 */
#ifndef PG_CAS_EXECUTOR_H
#define PG_CAS_EXECUTOR_H

#include "cas.h"

/* The executor's state for one row that is written. */
typedef struct Executor
{
	EState	   *estate;			/* NULL until it is needed */
	ResultRelInfo *result;
} Executor;

extern void executor_compute(CasCall *call, const CasWrite *write,
							 TupleTableSlot *slot, Executor *executor);
extern void executor_insert_entries(CasCall *call, const CasWrite *write,
									TupleTableSlot *slot,
									TU_UpdateIndexes update,
									Executor *executor);
extern void executor_end(Executor *executor);

#endif							/* PG_CAS_EXECUTOR_H */
