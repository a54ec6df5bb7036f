/*
 * answer.h
 *		Declarations for functions that return or report units.
 */
#ifndef PG_CAS_ALLOC_ANSWER_H
#define PG_CAS_ALLOC_ANSWER_H

#include "nodes/execnodes.h"

#include "alloc/alloc.h"

/* Number of columns of the type alloc_unit. */
#define UNIT_COLUMNS 14

/* What many_allocate() returns: the keys, sorted, and the unit of each. */
typedef struct Many
{
	int			nkeys;
	Datum	   *keys;
	SlotRow    *units;
} Many;

/* answer.c */
extern const char *alloc_outcome_name(Outcome outcome);
extern void require_unit(const Pool *pool, const Request *request,
						 const Answer *answer);
extern int	first_port(const Pool *pool, const SlotRow *unit);
extern bool is_chunk(const Pool *pool, const SlotRow *unit);
extern Datum unit_address(const Pool *pool, const SlotRow *unit);
extern void unit_columns(const Pool *pool, const SlotRow *unit, Datum *values,
						 bool *nulls);
extern void put_unit_row(ReturnSetInfo *rsinfo, const Pool *pool,
						 const SlotRow *unit);
extern Datum return_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

/* many.c */
extern void many_allocate(Many *many, Store *store, PoolUse *use,
						  Request *request, const Datum *keys, int nkeys);
extern const SlotRow *many_unit(const Many *many, Datum key);

#endif							/* PG_CAS_ALLOC_ANSWER_H */
