/*
 * settings.c
 *		Settings of a guarded table.
 *
 * They are stored as arguments of the guard trigger, each as "name=value".  So
 * pg_dump saves them, and no other catalog can disagree with them.
 *
 * Each setting has a row in the table below and a field in CasSettings.  Its
 * name is also the name of an argument of cas_enable() and of a column of
 * cas_tables; the install script lists those in the same order.
 */
#include "cas.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

typedef enum SettingKind
{
	SETTING_NAME,				/* a column name; '' for none */
	SETTING_WORD,				/* one of words, by default the first */
	SETTING_NAMES,				/* column names; '{}' for none */
	SETTING_PATH,				/* object keys; '{}' for none */
	SETTING_RELATION			/* schema and name; not an argument */
} SettingKind;

typedef struct Setting
{
	const char *name;
	SettingKind kind;
	size_t		field;			/* of CasSettings */
	const char *words[3];
} Setting;

#define FIELD(name) offsetof(CasSettings, name)

static const Setting all_settings[] = {
	{"version_column", SETTING_NAME, FIELD(version_column)},
	{"payload_column", SETTING_NAME, FIELD(payload_column)},
	{"writers", SETTING_WORD, FIELD(writers), {"bump", "echo"}},
	{"unversioned", SETTING_WORD, FIELD(unversioned), {"allow", "reject"}},
	{"versions", SETTING_WORD, FIELD(versions), {"row", "table"}},
	{"ignore_columns", SETTING_NAMES, FIELD(ignore_columns)},
	{"version_path", SETTING_PATH, FIELD(version_path)},
	{"enforce", SETTING_WORD, FIELD(enforce), {"error", "warn"}},
	{"big_numbers", SETTING_WORD, FIELD(big_numbers), {"number", "string"}},
	/* settings that are not arguments come last */
	{"sequence", SETTING_RELATION, FIELD(sequence)},
};

StaticAssertDecl(lengthof(all_settings) == CAS_SETTINGS + 1,
				 "CAS_SETTINGS counts the settings that are arguments");

/* Return a setting's field in CasSettings, by the type that its kind has. */
static char **
name_field(const CasSettings *settings, const Setting *setting)
{
	return (char **) ((char *) settings + setting->field);
}

static int *
word_field(const CasSettings *settings, const Setting *setting)
{
	return (int *) ((char *) settings + setting->field);
}

static CasNames *
names_field(const CasSettings *settings, const Setting *setting)
{
	return (CasNames *) ((char *) settings + setting->field);
}

/* ----------
 * As a trigger's arguments
 * ----------
 */

/* Parse a list of names, quoted or not; return false if it is malformed. */
static bool
parse_names(const char *value, char separator, CasNames *list)
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

/*
 * Parse a value into its field; return false if it is malformed.  A guard that
 * was made by hand can have any arguments, so that is no internal error.
 */
static bool
parse_value(const char *value, const Setting *setting, CasSettings *settings)
{
	CasNames	names = {0};

	switch (setting->kind)
	{
		case SETTING_NAME:
			*name_field(settings, setting) = pstrdup(value);
			return true;
		case SETTING_WORD:
			for (int i = 0; setting->words[i] != NULL; i++)
				if (strcmp(value, setting->words[i]) == 0)
				{
					*word_field(settings, setting) = i;
					return true;
				}
			return false;
		case SETTING_NAMES:
		case SETTING_PATH:
			if (!parse_names(value, ',', &names))
				return false;
			break;
		case SETTING_RELATION:
			if (!parse_names(value, '.', &names) || names.length != 2)
				return false;
			break;
	}
	*names_field(settings, setting) = names;
	return true;
}

/* Parse one "name=value". */
static bool
parse_setting(const char *argument, CasSettings *settings)
{
	for (int i = 0; i < lengthof(all_settings); i++)
	{
		size_t		len = strlen(all_settings[i].name);

		if (strncmp(argument, all_settings[i].name, len) == 0 &&
			argument[len] == '=')
			return parse_value(argument + len + 1, &all_settings[i],
							   settings);
	}
	return false;
}

/*
 * Parse a guard trigger's arguments.  Return NULL or, for a guard that was not
 * made by cas_enable(), what is wrong with them; valid arguments are parsed in
 * that case, too.
 */
char *
cas_parse_settings(const Trigger *guard, CasSettings *settings)
{
	char	   *problem = NULL;

	memset(settings, 0, sizeof(CasSettings));

	/* continue after an error: cas_enable() reads what it can */
	for (int i = 0; i < guard->tgnargs; i++)
		if (!parse_setting(guard->tgargs[i], settings) && problem == NULL)
			problem = psprintf("the guard has an invalid argument: \"%s\"",
							   guard->tgargs[i]);

	/* the sequence alone is enough */
	if (settings->sequence.length > 0)
		settings->versions = CAS_VERSIONS_TABLE;
	if (problem != NULL)
		return problem;
	if (settings->version_column == NULL)
		return "the guard names no version column";
	if (settings->version_path.length > 0 && settings->payload_column == NULL)
		return "the guard has a version path, but no payload column";
	if (settings->versions == CAS_VERSIONS_TABLE &&
		settings->sequence.length == 0)
		return "the guard names no sequence for the table's versions";
	return NULL;
}

/* Append names to a trigger argument, each in double quotes. */
static void
append_names(StringInfo text, const CasNames *names, char separator)
{
	for (int i = 0; i < names->length; i++)
	{
		if (i > 0)
			appendStringInfoChar(text, separator);
		appendStringInfoChar(text, '"');
		for (char *c = names->names[i]; *c; c++)
		{
			/* doubled, as SplitGUCList() reads it */
			if (*c == '"')
				appendStringInfoChar(text, '"');
			appendStringInfoChar(text, *c);
		}
		appendStringInfoChar(text, '"');
	}
}

/* Return a setting as "name=value", or NULL if it is not set. */
static char *
setting_text(const CasSettings *settings, const Setting *setting)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s=", setting->name);
	switch (setting->kind)
	{
		case SETTING_NAME:
			if (*name_field(settings, setting) == NULL)
				return NULL;
			appendStringInfoString(&text, *name_field(settings, setting));
			break;
		case SETTING_WORD:
			appendStringInfoString(&text,
								   setting->words[*word_field(settings,
															  setting)]);
			break;
		case SETTING_NAMES:
		case SETTING_PATH:
		case SETTING_RELATION:
			if (names_field(settings, setting)->length == 0)
				return NULL;
			append_names(&text, names_field(settings, setting),
						 setting->kind == SETTING_RELATION ? '.' : ',');
			break;
	}
	return text.data;
}

/* Return the settings as SQL text, for the arguments of a guard trigger. */
char *
cas_settings_arguments(const CasSettings *settings)
{
	StringInfoData arguments;

	initStringInfo(&arguments);
	for (int i = 0; i < lengthof(all_settings); i++)
	{
		char	   *text = setting_text(settings, &all_settings[i]);

		/* always in this order, so that enable.c can compare the texts */
		if (text != NULL)
			appendStringInfo(&arguments, "%s%s",
							 arguments.len > 0 ? ", " : "",
							 quote_literal_cstr(text));
	}
	return arguments.data;
}

/* Return whether two lists have the same names in the same order. */
bool
cas_same_names(const CasNames *a, const CasNames *b)
{
	if (a->length != b->length)
		return false;
	for (int i = 0; i < a->length; i++)
		if (strcmp(a->names[i], b->names[i]) != 0)
			return false;
	return true;
}

/* ----------
 * As cas_enable()'s arguments
 * ----------
 */

static CasNames
names_argument(FunctionCallInfo fcinfo, int argno, const char *name)
{
	CasNames	names;
	Datum	   *elements;
	bool	   *nulls;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argno), NAMEOID, NAMEDATALEN,
					  false, TYPALIGN_CHAR, &elements, &nulls, &names.length);
	names.names = palloc(sizeof(char *) * Max(names.length, 1));
	for (int i = 0; i < names.length; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", name)));
		names.names[i] = pstrdup(NameStr(*DatumGetName(elements[i])));
	}
	return names;
}

static char *
name_argument(FunctionCallInfo fcinfo, int argno)
{
	char	   *name = pstrdup(NameStr(*PG_GETARG_NAME(argno)));

	return *name == '\0' ? NULL : name;
}

/*
 * Set the settings from the arguments of cas_enable() that follow the table.
 * NULL arguments change nothing.
 */
void
cas_settings_from_arguments(FunctionCallInfo fcinfo, CasSettings *settings)
{
	if (PG_NARGS() != CAS_SETTINGS + 1)
		elog(ERROR, "function %u does not have an argument for each setting",
			 fcinfo->flinfo->fn_oid);
	for (int i = 0; i < CAS_SETTINGS; i++)
	{
		const Setting *setting = &all_settings[i];
		int			argno = i + 1;

		if (PG_ARGISNULL(argno))
			continue;
		switch (setting->kind)
		{
			case SETTING_NAME:
				/* '' removes the name */
				*name_field(settings, setting) = name_argument(fcinfo, argno);
				break;
			case SETTING_WORD:
				*word_field(settings, setting) =
					word_argument(fcinfo, argno, setting->name,
								  setting->words);
				break;
			case SETTING_NAMES:
				*names_field(settings, setting) =
					names_argument(fcinfo, argno, setting->name);
				break;
			case SETTING_PATH:
				*names_field(settings, setting) =
					cas_path_from_array(PG_GETARG_DATUM(argno));
				break;
			case SETTING_RELATION:
				break;
		}
	}
}

/* ----------
 * As columns of cas_tables
 * ----------
 */

static Datum
names_datum(const CasNames *names, Oid type)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(names->length, 1));

	for (int i = 0; i < names->length; i++)
		elements[i] = type == NAMEOID ?
			DirectFunctionCall1(namein, CStringGetDatum(names->names[i])) :
			CStringGetTextDatum(names->names[i]);
	return PointerGetDatum(type == NAMEOID ?
						   construct_array(elements, names->length, NAMEOID,
										   NAMEDATALEN, false,
										   TYPALIGN_CHAR) :
						   construct_array(elements, names->length, TEXTOID,
										   -1, false, TYPALIGN_INT));
}

/* Return the type of a setting's column in cas_tables. */
static Oid
setting_type(const Setting *setting)
{
	switch (setting->kind)
	{
		case SETTING_NAME:
			return NAMEOID;
		case SETTING_NAMES:
			return NAMEARRAYOID;
		case SETTING_PATH:
			return TEXTARRAYOID;
		case SETTING_WORD:
		case SETTING_RELATION:
			break;
	}
	return TEXTOID;
}

/*
 * Return a tuple descriptor with a column for each setting, and room for more
 * columns after them.
 */
TupleDesc
cas_settings_desc(int more)
{
	TupleDesc	desc = CreateTemplateTupleDesc(CAS_SETTINGS + more);

	for (int i = 0; i < CAS_SETTINGS; i++)
		TupleDescInitEntry(desc, i + 1, all_settings[i].name,
						   setting_type(&all_settings[i]), -1, 0);
	return desc;
}

/* Set the values of these columns. */
void
cas_settings_values(const CasSettings *settings, Datum *values, bool *nulls)
{
	for (int i = 0; i < CAS_SETTINGS; i++)
	{
		const Setting *setting = &all_settings[i];
		char	   *name;
		int			word;

		nulls[i] = false;
		switch (setting->kind)
		{
			case SETTING_NAME:
				name = *name_field(settings, setting);
				nulls[i] = name == NULL;
				if (name != NULL)
					values[i] = DirectFunctionCall1(namein,
													CStringGetDatum(name));
				break;
			case SETTING_WORD:
				word = *word_field(settings, setting);
				values[i] = CStringGetTextDatum(setting->words[word]);
				break;
			case SETTING_NAMES:
				values[i] = names_datum(names_field(settings, setting),
										NAMEOID);
				break;
			case SETTING_PATH:
				nulls[i] = names_field(settings, setting)->length == 0;
				values[i] = names_datum(names_field(settings, setting),
										TEXTOID);
				break;
			case SETTING_RELATION:
				break;
		}
	}
}
