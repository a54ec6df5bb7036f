/*
 * pg_cas.h
 *		SQLSTATEs and settings, for all subsystems but base.
 */
#ifndef PG_CAS_H
#define PG_CAS_H

#include "base/base.h"
#include "settings.h"

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

#endif							/* PG_CAS_H */
