/*
 * request.h
 *		What the files of the room of requests share.
 *
 * claim.c knows which request the transaction works for; once.c keeps what
 * requests came to; functions.c has the SQL functions.
 */
#ifndef PG_CAS_REQUEST_H
#define PG_CAS_REQUEST_H

#include "base/entry.h"
#include "pg_cas.h"

#include "utils/jsonb.h"

/* claim.c */
extern void request_bind(const char *token);

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
extern int64 request_purge(int batch);
extern void request_end_subtransaction(SubTransactionId subid,
									   SubTransactionId parent);
extern void request_check_finished(void);
extern void request_forget(void);

#endif							/* PG_CAS_REQUEST_H */
