/*
 * request.h
 *		Declarations shared by the files of src/request.  README.md lists the
 *		files.
 */
#ifndef PG_CAS_REQUEST_H
#define PG_CAS_REQUEST_H

#include "base/entry.h"
#include "pg_cas.h"

#include "lib/ilist.h"
#include "utils/jsonb.h"

/* Columns of request_scope */
enum
{
	SCOPE_SCOPE = 1,
	SCOPE_MADE_BY,
	SCOPE_OWNER,
	SCOPE_OWNER_NAME,
	SCOPE_RETENTION
};
#define SCOPE_NATTS			SCOPE_RETENTION

/* Columns of request_result */
enum
{
	RESULT_SCOPE = 1,
	RESULT_KEY,
	RESULT_REQUEST,
	RESULT_RESULT,
	RESULT_AT,
	RESULT_EXPIRES_AT,
	RESULT_RETAINED_BY
};
#define RESULT_NATTS		RESULT_RETAINED_BY

/* Value of retained_by if the row's expires_at applies. */
#define RETAINED_BY_ITSELF	""

/* The name of a request: its key in a scope.  Neither may be toasted. */
typedef struct RequestName
{
	text	   *scope;
	text	   *key;
} RequestName;

/* Are the texts equal?  Neither may be toasted. */
static inline bool
same_text(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* How long a call may wait. */
typedef struct WaitLimit
{
	bool		limited;
	TimestampTz deadline;		/* if limited */
} WaitLimit;

/* Our tables, opened. */
typedef struct RequestTables
{
	OwnTable	scopes;
	OwnTable	results;
} RequestTables;

/* A scope that the current role may use. */
typedef struct RequestScope
{
	Oid			owner;			/* effective owner */
	bool		retains;		/* it has its own retention */
} RequestScope;

typedef enum RequestState
{
	REQUEST_NEW,				/* begun: the caller has to do the work */
	REQUEST_DONE,				/* done before: the result is stored */
	REQUEST_BUSY				/* another session is working on it */
} RequestState;

/* Result of once_begin(). */
typedef struct RequestStart
{
	RequestState state;
	Jsonb	   *result;			/* if done; NULL for a null result */
	TimestampTz since;			/* if busy; 0 if not known */
} RequestStart;

typedef struct BegunRequest BegunRequest;

/* claim.c */
extern void claim_bind(const char *token);

/* begun.c */
extern void request_detail_begin(StringInfo detail, const RequestName *name);
extern int	request_errdetail(const RequestName *name);
extern BegunRequest *begun_find(const RequestName *name);
extern Oid	begun_owner(const BegunRequest *request);
extern void begun_remember(const RequestName *name, Oid owner);
extern void begun_done(BegunRequest *request);
extern void begun_end_subtransaction(bool committed);
extern void begun_check_done(void);
extern void begun_forget(void);

/* wait.c */
extern void request_limit_wait(WaitLimit *limit, Interval *wait);
extern bool request_time_is_over(const WaitLimit *limit);
extern int	request_lock_timeout(const WaitLimit *limit, int least);
extern bool request_wait_relation(Oid relid, LOCKMODE lockmode,
								  const WaitLimit *limit);
extern bool request_wait_rival(OwnTable *table, OwnRival *rival,
							   const WaitLimit *limit);

/* scope.c */
extern bool tables_open(RequestTables *tables, const WaitLimit *limit);
extern void tables_close(RequestTables *tables);
extern void scope_check_owner(text *scope, Oid owner);
extern void scope_enter(FunctionCallInfo fcinfo, RequestTables *tables,
						text *name, RequestScope *scope);
extern bool scope_retention(OwnTable *scopes, text *name,
							Interval *retention);
extern void scope_set(text *name, const char *owner, Interval *retention);

/* once.c */
extern void once_begin(FunctionCallInfo fcinfo, const RequestName *name,
					   Jsonb *request, Interval *wait, Interval *ttl,
					   RequestStart *start);
extern void once_finish(const RequestName *name, Jsonb *result);
pg_noreturn extern void
raise_in_progress(const RequestName *name,
				  TimestampTz since);

/* reap.c */
extern int64 reap_results(int batch);

#endif							/* PG_CAS_REQUEST_H */
