/*
 * pg_cas.c
 *		The module: its magic, its settings, its version.
 */
#include "pg_cas.h"

#include <limits.h>

#include "request/request.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

PG_FUNCTION_INFO_V1(pg_cas_version);

bool		pg_cas_log_conflicts = false;
bool		pg_cas_direct_path = true;
char	   *pg_cas_request = NULL;
int			pg_cas_on_leak = LEAK_FATAL;
bool		pg_cas_require_autocommit = false;
int			pg_cas_request_retention = 7 * SECS_PER_DAY;

static const struct config_enum_entry leak_actions[] = {
	{"fatal", LEAK_FATAL, false},
	{"error", LEAK_ERROR, false},
	{"warning", LEAK_WARNING, false},
	{"off", LEAK_OFF, false},
	{NULL, 0, false}
};

/* Assign hooks: what was checked is to be checked again (request/claim.c). */
static void
assign_request(const char *newval, void *extra)
{
	request_changed();
}

static void
assign_on_leak(int newval, void *extra)
{
	request_changed();
}
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

	/* for tests and benchmarks: both paths do the same */
	DefineCustomBoolVariable("pg_cas.direct_path",
							 "Lets swaps of plain tables go past the executor.",
							 NULL,
							 &pg_cas_direct_path,
							 true,
							 PGC_USERSET,
							 GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("pg_cas.request",
							   "The request that the session works for.",
							   "While it is set, every function of pg_cas and every write to a guarded table claims the transaction for it.",
							   &pg_cas_request,
							   "",
							   PGC_USERSET,
							   0,
							   NULL, assign_request, NULL);

	DefineCustomEnumVariable("pg_cas.on_leak",
							 "What happens when a transaction is claimed by a second request.",
							 NULL,
							 &pg_cas_on_leak,
							 LEAK_FATAL,
							 leak_actions,
							 PGC_USERSET,
							 0,
							 NULL, assign_on_leak, NULL);

	DefineCustomBoolVariable("pg_cas.require_autocommit",
							 "Keeps the writers of pg_cas out of transaction blocks.",
							 NULL,
							 &pg_cas_require_autocommit,
							 false,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("pg_cas.request_retention",
							"How long pg_cas_reap() keeps the results of requests.",
							NULL,
							&pg_cas_request_retention,
							7 * SECS_PER_DAY,
							0,
							PG_INT32_MAX,
							PGC_USERSET,
							GUC_UNIT_S,
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
	request_init();
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
