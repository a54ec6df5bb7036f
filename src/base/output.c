/*
 * output.c
 *		Convert values to text that does not depend on the session's settings.
 *
 * Two sessions must get the same text for the same value, and read it as the
 * same value.  If a type's output function depends on settings, these are
 * changed while output functions run.  No function of a user may run under the
 * changed settings.
 */
#include "base/base.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/bytea.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"

/* From utils/pg_locale.h, which needs the headers of ICU. */
extern PGDLLIMPORT char *locale_monetary;

/* Settings that output functions depend on. */
#define OBEYS_DATESTYLE		0x01
#define OBEYS_TIMEZONE		0x02
#define OBEYS_INTERVALSTYLE	0x04
#define OBEYS_FLOAT_DIGITS	0x08
#define OBEYS_BYTEA_OUTPUT	0x10
#define OBEYS_NAMES			0x20
#define OBEYS_MONETARY		0x40
#define OBEYS_ALL			0x7f

static bool
differs(const char *setting, const char *value)
{
	return setting == NULL || strcmp(setting, value) != 0;
}

static void
change(OutputSettings *output, const char *name, const char *value)
{
	/* one nest level for all settings, ended by output_end() */
	if (output->guc_level == 0)
		output->guc_level = NewGUCNestLevel();
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Set these settings to the values that we need, until output_end(). */
static void
settle(OutputSettings *output, int settings)
{
	/* Changing a setting is slow, so do it only if the value differs. */
	settings &= ~output->settled;
	output->settled |= settings;
	if ((settings & OBEYS_DATESTYLE) && DateStyle != USE_ISO_DATES)
		change(output, "datestyle", "ISO");
	if ((settings & OBEYS_TIMEZONE) &&
		differs(pg_get_timezone_name(session_timezone), "UTC"))
		change(output, "timezone", "UTC");
	if ((settings & OBEYS_INTERVALSTYLE) &&
		IntervalStyle != INTSTYLE_POSTGRES)
		change(output, "intervalstyle", "postgres");
	if ((settings & OBEYS_FLOAT_DIGITS) && extra_float_digits <= 0)
		change(output, "extra_float_digits", "1");
	if ((settings & OBEYS_BYTEA_OUTPUT) && bytea_output != BYTEA_OUTPUT_HEX)
		change(output, "bytea_output", "hex");
	if (settings & OBEYS_NAMES)
	{
		/* without pg_temp at the end, it would be searched first */
		if (differs(namespace_search_path, "pg_catalog, pg_temp"))
			change(output, "search_path", "pg_catalog, pg_temp");
		if (quote_all_identifiers)
			change(output, "quote_all_identifiers", "off");
	}
	if ((settings & OBEYS_MONETARY) && differs(locale_monetary, "C"))
		change(output, "lc_monetary", "C");
}

/* Restore the settings. */
void
output_end(OutputSettings *output)
{
	if (output->guc_level != 0)
		AtEOXact_GUC(true, output->guc_level);
}

/*
 * Return the settings that the output function of a type depends on.  The type
 * must not be a domain.
 */
static int
obeyed(Oid type)
{
	Oid			within;

	switch (type)
	{
		case BOOLOID:
		case CHAROID:
		case NAMEOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case OIDOID:
		case XIDOID:
		case XID8OID:
		case CIDOID:
		case TIDOID:
		case UUIDOID:
		case JSONOID:
		case JSONBOID:
		case JSONPATHOID:
		case XMLOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case MACADDR8OID:
		case BITOID:
		case VARBITOID:
		case LSNOID:
		case TSVECTOROID:
		case TSQUERYOID:
		case TIMEOID:
			return 0;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMETZOID:
			return OBEYS_DATESTYLE;
		case TIMESTAMPTZOID:
			return OBEYS_DATESTYLE | OBEYS_TIMEZONE;
		case INTERVALOID:
			return OBEYS_INTERVALSTYLE;
		case FLOAT4OID:
		case FLOAT8OID:
		case POINTOID:
		case LSEGOID:
		case PATHOID:
		case BOXOID:
		case POLYGONOID:
		case LINEOID:
		case CIRCLEOID:
			return OBEYS_FLOAT_DIGITS;
		case BYTEAOID:
			return OBEYS_BYTEA_OUTPUT;
		case CASHOID:
			return OBEYS_MONETARY;
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGCOLLATIONOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
			return OBEYS_NAMES;
		default:
			break;
	}

	/* Arrays and ranges depend on what their elements depend on. */
	within = get_element_type(type);
	if (!OidIsValid(within))
		within = get_range_subtype(type);
	if (OidIsValid(within))
	{
		check_stack_depth();
		return obeyed(getBaseType(within));
	}
	if (get_typtype(type) == TYPTYPE_ENUM)
		return 0;

	/* the fields of a row type can be of any type */
	if (type_is_rowtype(type) || get_typtype(type) == TYPTYPE_MULTIRANGE)
		return OBEYS_ALL;

	/* a type of some extension: all that such types are known to depend on */
	return OBEYS_ALL & ~(OBEYS_NAMES | OBEYS_MONETARY);
}

/*
 * Convert a value to text.  The type must not be a domain.  The caller must
 * call output_end() after one or more of these calls.
 */
char *
output_text(OutputSettings *output, Oid type, Datum value)
{
	Oid			function;
	bool		is_varlena;
	char	   *text;

	/* Write floats in their shortest exact form, whatever the settings are. */
	switch (type)
	{
		case FLOAT4OID:
			text = palloc(FLOAT_SHORTEST_DECIMAL_LEN);
			float_to_shortest_decimal_buf(DatumGetFloat4(value), text);
			return text;
		case FLOAT8OID:
			text = palloc(DOUBLE_SHORTEST_DECIMAL_LEN);
			double_to_shortest_decimal_buf(DatumGetFloat8(value), text);
			return text;
		default:
			settle(output, obeyed(type));
			getTypeOutputInfo(type, &function, &is_varlena);
			return OidOutputFunctionCall(function, value);
	}
}

/* Convert one value, of any type, to text. */
char *
stable_text(Oid type, Datum value)
{
	OutputSettings output = {0};
	char	   *string;

	/* ids are mostly text: what follows would take 900 instructions for that */
	if (type == TEXTOID)
		return TextDatumGetCString(value);
	string = output_text(&output, getBaseType(type), value);
	output_end(&output);
	return string;
}
