/*
 * write.h
 *		Declarations of write.c, for swap.c.
 */
#ifndef PG_CAS_WRITE_H
#define PG_CAS_WRITE_H

#include "cas.h"

/* Return whether a row has the expected version. */
static inline bool
row_has_version(const CasRow *row, int64 expected)
{
	return !row->version_isnull && row->version == expected;
}

extern bool write_run(CasCall *call, const CasStatement *write, CasRow *row);
pg_noreturn extern void write_raise_suppressed(CasCall *call,
											   CasStatementKind kind);

#endif							/* PG_CAS_WRITE_H */
