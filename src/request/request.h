/*
 * request.h
 *		The room of requests: the check that every function of pg_cas makes
 *		on entry, and what the room's files share.
 *
 * claim.c knows which request the transaction works for; once.c keeps what
 * requests came to; functions.c has the SQL functions.
 */
#ifndef PG_CAS_REQUEST_H
#define PG_CAS_REQUEST_H

#include "pg_cas.h"

#include "utils/jsonb.h"

/* What a function does, for request_enter(). */
typedef enum RequestEntry
{
	REQUEST_JOINS,				/* reads, locks, or is part of a transaction */
	REQUEST_WRITES				/* a writer that is whole in itself */
} RequestEntry;

/* What pg_cas.on_leak can be. */
typedef enum LeakAction
{
	LEAK_FATAL,
	LEAK_ERROR,
	LEAK_WARNING,
	LEAK_OFF
} LeakAction;

/* settings (pg_cas.c) */
extern char *pg_cas_request;
extern int	pg_cas_on_leak;
extern bool pg_cas_require_autocommit;
extern int	pg_cas_request_retention;

/*
 * The settings' generation, and the one under which the transaction was
 * checked last.  They are equal while there is nothing to check.
 */
extern uint64 request_generation;
extern uint64 request_settled;

/* claim.c */
extern void request_init(void);
extern void request_changed(void);
extern void request_check(FunctionCallInfo fcinfo, RequestEntry entry);
extern void request_bind(const char *token);
extern bool call_is_top_level(FunctionCallInfo fcinfo);

/*
 * Every function that SQL can call begins with this, and so does the guard.
 * It makes the claim that pg_cas.request stands for, and keeps a writer out
 * of transaction blocks under pg_cas.require_autocommit; either raises 25001.
 * It costs two comparisons unless a setting has changed or the transaction is
 * new.
 */
static inline void
request_enter(FunctionCallInfo fcinfo, RequestEntry entry)
{
	if (unlikely(request_settled != request_generation ||
				 (entry == REQUEST_WRITES && pg_cas_require_autocommit)))
		request_check(fcinfo, entry);
}

/* A request as it is named: by its key in a scope. */
typedef struct RequestName
{
	text	   *scope;
	text	   *key;
} RequestName;

typedef enum RequestState
{
	REQUEST_NEW,				/* begun: the work is the caller's */
	REQUEST_DONE				/* the result is there */
} RequestState;

/* once.c */
extern RequestState request_start(FunctionCallInfo fcinfo, RequestName *name,
								  Jsonb *request, Jsonb **result);
extern void request_finish(FunctionCallInfo fcinfo, RequestName *name,
						   Jsonb *result);
extern int64 request_purge(FunctionCallInfo fcinfo, int batch);
extern void request_end_subtransaction(SubTransactionId subid,
									   SubTransactionId parent);
extern void request_check_finished(void);
extern void request_forget(void);

#endif							/* PG_CAS_REQUEST_H */
