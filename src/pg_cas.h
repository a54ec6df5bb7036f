/*
 * pg_cas.h
 *		SQLSTATEs and settings, for all subsystems.
 */
#ifndef PG_CAS_H
#define PG_CAS_H

#include "base/base.h"

/*
 * Our own SQLSTATEs.  They follow PostgREST's convention: it turns PTxyz into
 * HTTP status xyz, so the numbers are HTTP's.
 */
#define ERRCODE_CAS_NOT_ENABLED	MAKE_SQLSTATE('P','T','4','0','0')
#define ERRCODE_CAS_NOT_FOUND	MAKE_SQLSTATE('P','T','4','0','4')
#define ERRCODE_CAS_CONFLICT	MAKE_SQLSTATE('P','T','4','0','9')
#define ERRCODE_CAS_FENCED		MAKE_SQLSTATE('P','T','4','1','2')
#define ERRCODE_CAS_KEY_REUSED	MAKE_SQLSTATE('P','T','4','2','2')
#define ERRCODE_CAS_HELD		MAKE_SQLSTATE('P','T','4','2','3')
#define ERRCODE_CAS_IN_PROGRESS	MAKE_SQLSTATE('P','T','4','2','5')
#define ERRCODE_CAS_REQUIRED	MAKE_SQLSTATE('P','T','4','2','8')
#define ERRCODE_CAS_EXHAUSTED	MAKE_SQLSTATE('P','T','5','0','7')

/* Values of pg_cas.on_leak. */
typedef enum LeakAction
{
	LEAK_FATAL,
	LEAK_ERROR,
	LEAK_WARNING,
	LEAK_OFF
} LeakAction;

/* Settings; the table in pg_cas.c describes them. */
extern bool pg_cas_log_conflicts;
extern bool pg_cas_direct_path;
extern char *pg_cas_request;
extern int	pg_cas_on_leak;
extern int	pg_cas_request_retention;	/* in seconds; -1 for ever */
extern int	pg_cas_history_retention;	/* in seconds; -1 for ever */

#endif							/* PG_CAS_H */
