/*
 * plan.h
 *		Declarations of plan.c and sql.c, for the files that run statements.
 */
#ifndef PG_CAS_PLAN_H
#define PG_CAS_PLAN_H

#include "cas.h"

/* A saved plan of a statement (plan.c). */
typedef struct CasPlan
{
	CasStatementKind kind;
	const Bitmapset *returns;	/* columns returned, by attribute number */
	bool		compares;		/* it writes only if a column differs */
	bool		locks;			/* partitions, as for writing */
	Bitmapset  *columns;		/* columns written, by attribute number */
	char	   *arbiter;		/* constraint named in ON CONFLICT, or NULL */
	SPIPlanPtr	plan;
	MemoryContext mcxt;			/* contains this struct */
} CasPlan;

/* sql.c */
extern char *sql_build(CasCall *call, const CasPlan *plan);
extern int	sql_parameter_types(CasTable *table, const CasPlan *plan,
								Oid *types);
extern void sql_bind(CasTable *table, const CasStatement *statement,
					 Datum *values, char *nulls);
extern void sql_append_where_key(StringInfo sql, CasTable *table);

/* plan.c */
extern SPIPlanPtr plan_for(CasCall *call, const CasStatement *statement);
extern void plan_begin(CasTable *table);
extern void plan_end(CasTable *table);

#endif							/* PG_CAS_PLAN_H */
