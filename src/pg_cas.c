/*
 * pg_cas.c
 *		The loadable module: initialization, version, and all settings.
 *
 * To add a setting, add a row to the table below and one to the reference in
 * docs/; a test compares that with the view pg_cas_settings.
 */
#include "pg_cas.h"

#include <limits.h>

#include "base/entry.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

PG_FUNCTION_INFO_V1(pg_cas_version);
PG_FUNCTION_INFO_V1(pg_cas_settings_read);

bool		pg_cas_log_conflicts;
bool		pg_cas_direct_path;
char	   *pg_cas_request;
char	   *pg_cas_owner;
int			pg_cas_on_leak;
bool		pg_cas_require_autocommit;
int			pg_cas_request_retention;
int			pg_cas_history_retention;

static const struct config_enum_entry leak_actions[] = {
	{"fatal", LEAK_FATAL, false},
	{"error", LEAK_ERROR, false},
	{"warning", LEAK_WARNING, false},
	{"off", LEAK_OFF, false},
	{NULL, 0, false}
};

/*
 * A setting.  Exactly one of boolean, integer, string and choice is set, and
 * determines the type.  boot is the default value, except for strings.
 */
typedef struct Setting
{
	const char *name;
	const char *meaning;
	const char *details;
	bool	   *boolean;
	int		   *integer;		/* with a range and flags for its unit */
	char	  **string;			/* its default is the empty string */
	int		   *choice;			/* one of options */
	const struct config_enum_entry *options;
	int			boot;
	int			min;
	int			max;
	GucContext	context;
	int			flags;
	bool		claims;			/* a change makes the next call check the
								 * claim again */
} Setting;

static const Setting settings[] = {
	{
		.name = "pg_cas.log_conflicts",
		.meaning = "Writes a line to the server log for every conflict.",
		.details = "Conflicts answered by the try forms are included.",
		.boolean = &pg_cas_log_conflicts,
		.context = PGC_SUSET
	},
	{
		/* for tests and benchmarks: the results do not depend on it */
		.name = "pg_cas.direct_path",
		.meaning = "Lets swaps of plain tables go past the executor.",
		.boolean = &pg_cas_direct_path,
		.boot = true,
		.context = PGC_USERSET,
		.flags = GUC_NOT_IN_SAMPLE
	},
	{
		.name = "pg_cas.request",
		.meaning = "The request that the session works for.",
		.details = "While it is set, every function of pg_cas and every write to a guarded table claims the transaction for it.",
		.string = &pg_cas_request,
		.context = PGC_USERSET,
		.claims = true
	},
	{
		.name = "pg_cas.on_leak",
		.meaning = "What happens when a transaction is claimed by a second request.",
		.choice = &pg_cas_on_leak,
		.options = leak_actions,
		.boot = LEAK_FATAL,
		.context = PGC_USERSET,
		.claims = true
	},
	{
		.name = "pg_cas.require_autocommit",
		.meaning = "Keeps the writers of pg_cas out of transaction blocks.",
		.boolean = &pg_cas_require_autocommit,
		.context = PGC_USERSET
	},
	{
		.name = "pg_cas.owner",
		.meaning = "The role that owns the pools, leases and scopes that the session makes.",
		.details = "The session's role must be a member of it. If empty, it is the current role.",
		.string = &pg_cas_owner,
		.context = PGC_USERSET
	},
	{
		.name = "pg_cas.request_retention",
		.meaning = "How long the results of requests are kept.",
		.details = "0 keeps none, -1 keeps all.",
		.integer = &pg_cas_request_retention,
		.boot = 7 * SECS_PER_DAY,
		.min = -1,
		.max = INT_MAX,
		.context = PGC_SUSET,
		.flags = GUC_UNIT_S
	},
	{
		.name = "pg_cas.history_retention",
		.meaning = "How long the history of allocations is kept.",
		.details = "0 keeps none, -1 keeps all.",
		.integer = &pg_cas_history_retention,
		.boot = 90 * SECS_PER_DAY,
		.min = -1,
		.max = INT_MAX,
		.context = PGC_SUSET,
		.flags = GUC_UNIT_S
	},
};

/* Assign hooks: make the next call check the claim again (request/claim.c). */
static void
assign_string(const char *newval, void *extra)
{
	entry_settings_changed();
}

static void
assign_choice(int newval, void *extra)
{
	entry_settings_changed();
}

static void
define_setting(const Setting *s)
{
	if (s->boolean != NULL)
		DefineCustomBoolVariable(s->name, s->meaning, s->details, s->boolean,
								 s->boot != 0, s->context, s->flags,
								 NULL, NULL, NULL);
	else if (s->integer != NULL)
		DefineCustomIntVariable(s->name, s->meaning, s->details, s->integer,
								s->boot, s->min, s->max, s->context, s->flags,
								NULL, NULL, NULL);
	else if (s->string != NULL)
		DefineCustomStringVariable(s->name, s->meaning, s->details, s->string,
								   "", s->context, s->flags, NULL,
								   s->claims ? assign_string : NULL, NULL);
	else
		DefineCustomEnumVariable(s->name, s->meaning, s->details, s->choice,
								 s->boot, s->options, s->context, s->flags,
								 NULL, s->claims ? assign_choice : NULL, NULL);
}

void
_PG_init(void)
{
	for (int i = 0; i < lengthof(settings); i++)
		define_setting(&settings[i]);
	MarkGUCPrefixReserved("pg_cas");
	entry_init();
}

/*
 * pg_cas_version() RETURNS text
 *
 * Returns the version of the loaded library, which the Makefile takes from
 * pg_cas.control.
 */
Datum
pg_cas_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(PG_CAS_VERSION));
}

/*
 * pg_cas_settings_read() RETURNS SETOF record
 *
 * Returns the rows of the view pg_cas_settings.  The view pg_settings shows
 * the settings only after the session has loaded the library; calling this
 * function loads it.
 */
Datum
pg_cas_settings_read(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < lengthof(settings); i++)
	{
		const Setting *s = &settings[i];
		Datum		values[5] = {0};
		bool		nulls[5] = {false};

		values[0] = CStringGetTextDatum(s->name);
		values[1] = CStringGetTextDatum(GetConfigOptionByName(s->name, NULL,
															  false));
		values[2] = CStringGetTextDatum(s->context == PGC_SUSET ?
										"superuser" : "user");
		values[3] = CStringGetTextDatum(s->meaning);
		if (s->details != NULL)
			values[4] = CStringGetTextDatum(s->details);
		else
			nulls[4] = true;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
