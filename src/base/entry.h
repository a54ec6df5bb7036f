/*
 * entry.h
 *		The check with which every SQL function of pg_cas begins.
 *
 * The functions are implemented in request/claim.c.  They are declared here so
 * that the other subsystems do not depend on src/request.
 */
#ifndef PG_CAS_ENTRY_H
#define PG_CAS_ENTRY_H

#include "base/base.h"
#include "settings.h"

/* The kind of function that is called. */
typedef enum EntryKind
{
	ENTRY_JOINS,				/* reads, locks, or needs other statements in
								 * its transaction */
	ENTRY_WRITES				/* a write that can be a transaction alone */
} EntryKind;

/*
 * A number that changes with each change of a setting, and its value when the
 * transaction was last checked.  While the two are equal, nothing needs to be
 * checked.
 */
extern uint64 entry_generation;
extern uint64 entry_settled;

extern void entry_init(void);
extern void entry_settings_changed(void);
extern void entry_check(FunctionCallInfo fcinfo, EntryKind kind);
extern bool call_is_top_level(FunctionCallInfo fcinfo);
extern const char *entry_claimed(void);

/*
 * Call this first in every SQL function and in the guard.  It claims the
 * transaction for pg_cas.request, if that is set, and with
 * pg_cas.require_autocommit it refuses a writer inside a transaction block.
 * Either can raise 25001.  It costs two comparisons unless a setting has
 * changed or the transaction is new.
 */
static inline void
request_enter(FunctionCallInfo fcinfo, EntryKind kind)
{
	if (unlikely(entry_settled != entry_generation ||
				 (kind == ENTRY_WRITES && pg_cas_require_autocommit)))
		entry_check(fcinfo, kind);
}

#endif							/* PG_CAS_ENTRY_H */
