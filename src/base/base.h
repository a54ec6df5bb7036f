/*
 * base.h
 *		The ground that every room stands on.  It knows PostgreSQL only.
 *
 * detail.c		an error's DETAIL as one line of JSON
 * argument.c	arguments of SQL functions: NULL, one of these words, intervals
 * owner.c		our own schema and relations; SQL as the extension's owner
 * role.c		roles that are kept in our tables, by oid and name
 */
#ifndef PG_CAS_BASE_H
#define PG_CAS_BASE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"

#include "compat.h"

/*
 * detail.c.  A DETAIL is put together field by field; what must not be shown
 * is simply not added.  A value of NULL is JSON's null, so that a name that
 * has gone meanwhile needs no check at every caller.
 */
extern void detail_begin(StringInfo detail);
extern void detail_text(StringInfo detail, const char *field,
						const char *value);
extern void detail_int(StringInfo detail, const char *field, int64 value);
extern void detail_time(StringInfo detail, const char *field,
						TimestampTz value);
extern void detail_null(StringInfo detail, const char *field);
extern char *detail_end(StringInfo detail);

/* argument.c.  What is wrong raises 22004 for NULL, else 22023. */
extern void require_argument(FunctionCallInfo fcinfo, int argno,
							 const char *name);
extern int	word_argument(FunctionCallInfo fcinfo, int argno, const char *name,
						  const char *const *words);
extern int	one_of_words(const char *value, const char *name,
						 const char *const *words);
extern TimestampTz interval_after(TimestampTz start, Interval *interval,
								  const char *name);
extern TimestampTz positive_interval_after(TimestampTz start,
										   Interval *interval,
										   const char *name);
extern TimestampTz interval_from_now(Interval *interval, const char *name);
extern int	batch_argument(FunctionCallInfo fcinfo, int argno);
extern void require_writable(FunctionCallInfo fcinfo);

/*
 * owner.c.  The tables, sequences and private functions of the extension lie
 * in the schema cas_internal; they belong to the role that ran the install
 * script, so their shape is what the script made it.
 */
#define INTERNAL_SCHEMA "cas_internal"

extern Oid	internal_schema(void);
extern Oid	internal_relation(const char *name);
extern Oid	extension_owner(void);
extern Oid	extension_schema(void);

/* The role that we were called as, while we act as the extension's owner. */
typedef struct OwnerScope
{
	Oid			caller;
	int			context;
	int			guc_level;
} OwnerScope;

extern void owner_enter(OwnerScope *scope);
extern void owner_leave(const OwnerScope *scope);

/* SQL as the owner, on the latest committed state. */
extern void owner_sql_begin(OwnerScope *scope);
extern void owner_sql_end(const OwnerScope *scope);
extern uint64 owner_sql(const char *statement, int nargs, Oid *types,
						Datum *values);
extern Datum owner_sql_value(uint64 row, int column, bool *isnull);

/*
 * role.c.  Owners and grantees are rows' data, an oid and a name each.  The
 * oid decides: a role that was renamed stays the owner, one that was dropped
 * owns nothing more.  The name serves restores only.
 */
extern char *pg_cas_owner;		/* the setting pg_cas.owner (pg_cas.c) */

extern Oid	role_argument(const char *name);
extern Oid	new_owner(const char *argument);
extern Oid	effective_owner(Oid role);
extern char *role_name(Oid role);

#endif							/* PG_CAS_BASE_H */
