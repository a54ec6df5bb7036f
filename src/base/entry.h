/*
 * entry.h
 *		What every SQL function of pg_cas does first.
 *
 * The one header of base whose functions a room implements: request/claim.c.
 * So the other rooms need not know that room.
 */
#ifndef PG_CAS_ENTRY_H
#define PG_CAS_ENTRY_H

#include "base/base.h"

/* What a function does. */
typedef enum EntryKind
{
	ENTRY_JOINS,				/* reads, locks, or is part of a transaction */
	ENTRY_WRITES				/* a writer that is whole in itself */
} EntryKind;

/* setting (pg_cas.c) */
extern bool pg_cas_require_autocommit;

/*
 * The settings' generation, and the one under which the transaction was
 * checked last.  They are equal while there is nothing to check.
 */
extern uint64 entry_generation;
extern uint64 entry_settled;

extern void entry_init(void);
extern void entry_settings_changed(void);
extern void entry_check(FunctionCallInfo fcinfo, EntryKind kind);
extern bool call_is_top_level(FunctionCallInfo fcinfo);
extern const char *entry_claimed(void);

/*
 * Every function that SQL can call begins with this, and so does the guard.
 * It makes the claim that pg_cas.request stands for, and keeps a writer out
 * of transaction blocks under pg_cas.require_autocommit; either raises 25001.
 * It costs two comparisons unless a setting has changed or the transaction is
 * new.
 */
static inline void
request_enter(FunctionCallInfo fcinfo, EntryKind kind)
{
	if (unlikely(entry_settled != entry_generation ||
				 (kind == ENTRY_WRITES && pg_cas_require_autocommit)))
		entry_check(fcinfo, kind);
}

#endif							/* PG_CAS_ENTRY_H */
