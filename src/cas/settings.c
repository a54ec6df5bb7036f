/*
 * settings.c
 *		A guarded table's settings, which are the arguments of its guard
 *		trigger, each "name=value".
 *
 * There pg_dump carries them along, and there is no registry beside the
 * catalogs that could fall out of step with them.
 */
#include "cas.h"

#include "utils/varlena.h"

/*
 * The value of a "name=value" argument if it is the one named, else NULL.
 */
static char *
setting_value(char *argument, const char *name)
{
	size_t		len = strlen(name);

	if (strncmp(argument, name, len) == 0 && argument[len] == '=')
		return argument + len + 1;
	return NULL;
}

/* A list of names, in double quotes or plain; false if it is malformed. */
static bool
setting_list(const char *value, char separator, CasNames *list)
{
	List	   *strings;

	if (!SplitGUCList(pstrdup(value), separator, &strings))
		return false;
	list->length = list_length(strings);
	list->names = palloc(sizeof(char *) * Max(list->length, 1));
	for (int i = 0; i < list->length; i++)
		list->names[i] = list_nth(strings, i);
	return true;
}

static bool
parse_setting(char *argument, CasSettings *settings)
{
	char	   *value;

	if ((value = setting_value(argument, "version_column")) != NULL)
		settings->version_column = pstrdup(value);
	else if ((value = setting_value(argument, "payload_column")) != NULL)
		settings->payload_column = pstrdup(value);
	else if (strcmp(argument, "writers=bump") == 0)
		settings->writers = CAS_WRITERS_BUMP;
	else if (strcmp(argument, "writers=echo") == 0)
		settings->writers = CAS_WRITERS_ECHO;
	else if (strcmp(argument, "unversioned=allow") == 0)
		settings->reject_unversioned = false;
	else if (strcmp(argument, "unversioned=reject") == 0)
		settings->reject_unversioned = true;
	else if ((value = setting_value(argument, "sequence")) != NULL)
		return setting_list(value, '.', &settings->sequence) &&
			settings->sequence.length == 2;
	else if ((value = setting_value(argument, "ignore_columns")) != NULL)
		return setting_list(value, ',', &settings->ignore_columns);
	else if ((value = setting_value(argument, "version_path")) != NULL)
		return setting_list(value, ',', &settings->version_path);
	else if (strcmp(argument, "enforce=error") == 0)
		settings->warn_only = false;
	else if (strcmp(argument, "enforce=warn") == 0)
		settings->warn_only = true;
	else
		return false;
	return true;
}

/*
 * Read a guard trigger's arguments.  cas_enable() writes them; for a guard
 * that was made by hand, the answer may be what is wrong with them, else it
 * is NULL.
 */
char *
cas_parse_settings(Trigger *trigger, CasSettings *settings)
{
	memset(settings, 0, sizeof(CasSettings));
	for (int i = 0; i < trigger->tgnargs; i++)
		if (!parse_setting(trigger->tgargs[i], settings))
			return psprintf("the guard has an invalid argument: \"%s\"",
							trigger->tgargs[i]);
	if (settings->version_column == NULL)
		return "the guard names no version column";
	if (settings->version_path.length > 0 && settings->payload_column == NULL)
		return "the guard has a version path, but no payload column";
	return NULL;
}
