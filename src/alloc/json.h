/*
 * json.h
 *		Declarations for functions that read JSON from their callers.
 */
#ifndef PG_CAS_ALLOC_JSON_H
#define PG_CAS_ALLOC_JSON_H

#include "utils/jsonb.h"

#include "alloc/alloc.h"

/* json.c */
pg_noreturn extern void raise_at(const char *position, const char *problem,
								 const char *hint);
extern JsonbContainer *json_array(Jsonb *json, const char *name, int *n);
extern JsonbContainer *json_element(JsonbContainer *array, int i);
extern char *json_unknown_field(JsonbContainer *object,
								const char *const *known);
extern bool json_field(JsonbContainer *object, const char *name,
					   JsonbValue *value);
extern char *json_text(const JsonbValue *value);
extern bool json_int(const JsonbValue *value, int64 *n);

/* wanted.c */
extern char *request_value(const Pool *pool, const char *text, bool lenient,
						   Request *request);

#endif							/* PG_CAS_ALLOC_JSON_H */
