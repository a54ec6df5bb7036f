/*
 * pg_cas.c
 *		The loadable module: initialization, version, and what is made of
 *		settinglist.h.
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

/* The variables behind the settings. */
#define SETTING(type, member, id, ...) type pg_cas_##id;
#include "settinglist.h"
#undef SETTING

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
#define SETTING(type, member, id, ...) \
	{.name = "pg_cas." #id, .member = &pg_cas_##id, __VA_ARGS__},
#include "settinglist.h"
#undef SETTING
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
