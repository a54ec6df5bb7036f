/*
 * pg_cas.c
 *		The module: its magic, its settings, its version.
 */
#include "pg_cas.h"

#include <limits.h>

#include "utils/builtins.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

PG_FUNCTION_INFO_V1(pg_cas_version);

bool		pg_cas_log_conflicts = false;
int			pg_cas_history_retention = 90 * 24 * 60;

void
_PG_init(void)
{
	DefineCustomBoolVariable("pg_cas.log_conflicts",
							 "Writes a line to the server log for every conflict.",
							 "Conflicts answered by the try forms are included.",
							 &pg_cas_log_conflicts,
							 false,
							 PGC_SUSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("pg_cas.history_retention",
							"Sets how long the history of allocations is kept.",
							"0 writes none, -1 keeps all.",
							&pg_cas_history_retention,
							90 * 24 * 60, -1, INT_MAX,
							PGC_SUSET,
							GUC_UNIT_MIN,
							NULL, NULL, NULL);

	EmitWarningsOnPlaceholders("pg_cas");
}

/*
 * pg_cas_version() RETURNS text: the version of the loaded library.  The
 * Makefile takes it from pg_cas.control, the version's only home.
 */
Datum
pg_cas_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(PG_CAS_VERSION));
}
