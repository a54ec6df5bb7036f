/*
 * executor.h
 *		Declarations of executor.c, for direct.c.
 */
#ifndef PG_CAS_EXECUTOR_H
#define PG_CAS_EXECUTOR_H

#include "cas.h"

extern void executor_compute(CasCall *call, const CasWrite *write,
							 TupleTableSlot *slot);
extern void executor_insert_entries(CasCall *call, const CasWrite *write,
									TupleTableSlot *slot,
									TU_UpdateIndexes update);
extern void executor_end(CasCall *call);

#endif							/* PG_CAS_EXECUTOR_H */
