/*
 * pg_cas.h
 *		What all rooms share: SQLSTATEs, error details, checks of arguments,
 *		settings.
 *
 * Calls run one way: a room's functions.c checks the arguments and shapes the
 * answer, the other files of the room do the work, and below them there is
 * only this header and PostgreSQL.  Rooms do not call each other.
 */
#ifndef PG_CAS_H
#define PG_CAS_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

#include "compat.h"

/*
 * SQLSTATEs of our own.  Class PT belongs to PostgREST's convention, which
 * turns PTxyz into HTTP status xyz; the numbers mean what they mean there.
 */
#define ERRCODE_CAS_NOT_ENABLED	MAKE_SQLSTATE('P','T','4','0','0')
#define ERRCODE_CAS_NOT_FOUND	MAKE_SQLSTATE('P','T','4','0','4')
#define ERRCODE_CAS_CONFLICT	MAKE_SQLSTATE('P','T','4','0','9')
#define ERRCODE_CAS_FENCED		MAKE_SQLSTATE('P','T','4','1','2')
#define ERRCODE_CAS_KEY_REUSED	MAKE_SQLSTATE('P','T','4','2','2')
#define ERRCODE_CAS_HELD		MAKE_SQLSTATE('P','T','4','2','3')
#define ERRCODE_CAS_REQUIRED	MAKE_SQLSTATE('P','T','4','2','8')
#define ERRCODE_CAS_EXHAUSTED	MAKE_SQLSTATE('P','T','5','0','7')

/* settings (pg_cas.c) */
extern bool pg_cas_log_conflicts;
extern bool pg_cas_direct_path;
extern int	pg_cas_history_retention;	/* minutes; 0: none, -1: for ever */

/*
 * An error's DETAIL is one line of JSON, for machines.  It is put together
 * field by field; what may not be shown is simply not added (error.c).
 */
extern void detail_begin(StringInfo detail);
extern void detail_text(StringInfo detail, const char *field,
						const char *value);
extern void detail_int(StringInfo detail, const char *field, int64 value);
extern void detail_null(StringInfo detail, const char *field);
extern char *detail_end(StringInfo detail);

/* Arguments that must not be NULL raise 22004 (error.c). */
extern void require_argument(FunctionCallInfo fcinfo, int argno,
							 const char *name);

#endif							/* PG_CAS_H */
