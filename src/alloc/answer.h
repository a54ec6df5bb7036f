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

/* arguments.c */
extern void read_ttl_and_note(FunctionCallInfo fcinfo, int argno,
							  Request *request);
extern Datum *read_keys(FunctionCallInfo fcinfo, int argno, int *nkeys);

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
extern Datum return_result(FunctionCallInfo fcinfo, const Pool *pool,
						   const Request *request, const Answer *answer);
extern Datum return_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

#endif							/* PG_CAS_ALLOC_ANSWER_H */
