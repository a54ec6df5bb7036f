/*
 * render.c
 *		Convert values to text, for ids, and to JSON, for payloads.
 *
 * The result does not depend on the session's settings, so every session reads
 * it as the same value.  If a type's output function depends on settings,
 * these are changed while the output function runs.  No function of a user
 * runs under the changed settings, not even a cast to JSON.
 *
 * The JSON is that of to_jsonb(), with two exceptions: timestamptz is in UTC,
 * and a type that has a cast to JSON is a string that its input function
 * reads.
 */
#include "cas.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/pg_locale.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

/* Settings that output functions depend on. */
#define OBEYS_DATESTYLE		0x01
#define OBEYS_TIMEZONE		0x02
#define OBEYS_INTERVALSTYLE	0x04
#define OBEYS_FLOAT_DIGITS	0x08
#define OBEYS_BYTEA_OUTPUT	0x10
#define OBEYS_NAMES			0x20
#define OBEYS_MONETARY		0x40
#define OBEYS_ALL			0x7f

typedef struct Rendering
{
	bool		big_strings;	/* int8 and numeric are JSON strings */
	int			settled;		/* settings that have the right value */
	int			guc_level;		/* 0 if none was changed */
} Rendering;

/* ----------
 * Settings
 * ----------
 */

static bool
differs(const char *setting, const char *value)
{
	return setting == NULL || strcmp(setting, value) != 0;
}

static void
change(Rendering *rendering, const char *name, const char *value)
{
	/* one nest level for all settings, ended by end_rendering() */
	if (rendering->guc_level == 0)
		rendering->guc_level = NewGUCNestLevel();
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Set these settings to the values that we need, until end_rendering().  After
 * an error, the end of the (sub)transaction restores them.
 */
static void
settle(Rendering *rendering, int settings)
{
	/* Changing a setting is slow, so do it only if the value differs. */
	settings &= ~rendering->settled;
	rendering->settled |= settings;
	if ((settings & OBEYS_DATESTYLE) && DateStyle != USE_ISO_DATES)
		change(rendering, "datestyle", "ISO");
	if ((settings & OBEYS_TIMEZONE) &&
		differs(pg_get_timezone_name(session_timezone), "UTC"))
		change(rendering, "timezone", "UTC");
	if ((settings & OBEYS_INTERVALSTYLE) &&
		IntervalStyle != INTSTYLE_POSTGRES)
		change(rendering, "intervalstyle", "postgres");
	if ((settings & OBEYS_FLOAT_DIGITS) && extra_float_digits <= 0)
		change(rendering, "extra_float_digits", "1");
	if ((settings & OBEYS_BYTEA_OUTPUT) && bytea_output != BYTEA_OUTPUT_HEX)
		change(rendering, "bytea_output", "hex");
	if (settings & OBEYS_NAMES)
	{
		if (differs(namespace_search_path, "pg_catalog"))
			change(rendering, "search_path", "pg_catalog");
		if (quote_all_identifiers)
			change(rendering, "quote_all_identifiers", "off");
	}
	if ((settings & OBEYS_MONETARY) && differs(locale_monetary, "C"))
		change(rendering, "lc_monetary", "C");
}

static void
end_rendering(Rendering *rendering)
{
	if (rendering->guc_level != 0)
		AtEOXact_GUC(true, rendering->guc_level);
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

/* ----------
 * Text
 * ----------
 */

/* Convert a value to text.  The type must not be a domain. */
static char *
base_text(Rendering *rendering, Oid type, Datum value)
{
	Oid			output;
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
			settle(rendering, obeyed(type));
			getTypeOutputInfo(type, &output, &is_varlena);
			return OidOutputFunctionCall(output, value);
	}
}

/*
 * Convert a value to the text form that ids have.
 */
char *
render_text(Oid type, Datum value)
{
	Rendering	rendering = {0};
	char	   *text = base_text(&rendering, getBaseType(type), value);

	end_rendering(&rendering);
	return text;
}

/* ----------
 * JSON
 * ----------
 */

static void push_value(Rendering *rendering, JsonbParseState **state,
					   JsonbIteratorToken token, Oid type, Datum value,
					   bool isnull);

static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = pstrdup(name);
	v.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &v);
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, char *text)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = text;
	v.val.string.len = strlen(text);
	pushJsonbValue(state, token, &v);
}

static void
push_numeric(JsonbParseState **state, JsonbIteratorToken token, Numeric number)
{
	JsonbValue	v;

	v.type = jbvNumeric;
	v.val.numeric = number;
	pushJsonbValue(state, token, &v);
}

static void
push_document(JsonbParseState **state, JsonbIteratorToken token,
			  Jsonb *document)
{
	JsonbValue	v;

	/* a jsonb that is a scalar is stored as an array of one element */
	if (!JsonbExtractScalar(&document->root, &v))
		JsonbToJsonbValue(document, &v);
	pushJsonbValue(state, token, &v);
}

static void
push_composite(Rendering *rendering, JsonbParseState **state, Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc;
	HeapTupleData tuple;

	/* copy the descriptor, since output functions run while we use it */
	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
									   HeapTupleHeaderGetTypMod(header));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Datum		field;
		bool		isnull;

		if (att->attisdropped)
			continue;
		field = heap_getattr(&tuple, i + 1, desc, &isnull);
		push_key(state, NameStr(att->attname));
		push_value(rendering, state, WJB_VALUE, att->atttypid, field, isnull);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Push one dimension of an array, beginning with the element *next. */
static void
push_dimension(Rendering *rendering, JsonbParseState **state, Oid type,
			   int ndims, const int *dims, const Datum *elements,
			   const bool *nulls, int *next)
{
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < dims[0]; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (ndims > 1)
			push_dimension(rendering, state, type, ndims - 1, dims + 1,
						   elements, nulls, next);
		else
		{
			push_value(rendering, state, WJB_ELEM, type, elements[*next],
					   nulls[*next]);
			(*next)++;
		}
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
push_array(Rendering *rendering, JsonbParseState **state, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Oid			type = ARR_ELEMTYPE(array);
	int			none = 0;
	int			next = 0;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	deconstruct_array(array, type, typlen, typbyval, typalign, &elements,
					  &nulls, &n);

	/* an empty array has no dimensions */
	if (n == 0)
		push_dimension(rendering, state, type, 1, &none, elements, nulls,
					   &next);
	else
		push_dimension(rendering, state, type, ARR_NDIM(array),
					   ARR_DIMS(array), elements, nulls, &next);
}

/* Push a number given as text, or the text if JSON has no such number. */
static void
push_number_text(JsonbParseState **state, JsonbIteratorToken token,
				 bool finite, char *text)
{
	Datum		number;

	if (!finite)
	{
		push_text(state, token, text);
		return;
	}
	number = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
								 ObjectIdGetDatum(InvalidOid),
								 Int32GetDatum(-1));
	push_numeric(state, token, DatumGetNumeric(number));
}

/* Push a value of any type. */
static void
push_value(Rendering *rendering, JsonbParseState **state,
		   JsonbIteratorToken token, Oid type, Datum value, bool isnull)
{
	static const int utc = 0;
	JsonbValue	v;
	char		buf[MAXDATELEN + 1];

	check_stack_depth();
	type = getBaseType(type);
	if (isnull)
	{
		v.type = jbvNull;
		pushJsonbValue(state, token, &v);
		return;
	}
	switch (type)
	{
		case BOOLOID:
			v.type = jbvBool;
			v.val.boolean = DatumGetBool(value);
			pushJsonbValue(state, token, &v);
			return;
		case INT2OID:
			push_numeric(state, token,
						 int64_to_numeric(DatumGetInt16(value)));
			return;
		case INT4OID:
			push_numeric(state, token,
						 int64_to_numeric(DatumGetInt32(value)));
			return;
		case INT8OID:
			/* what is not pushed here is pushed as text below */
			if (rendering->big_strings)
				break;
			push_numeric(state, token,
						 int64_to_numeric(DatumGetInt64(value)));
			return;
		case NUMERICOID:
			if (rendering->big_strings ||
				numeric_is_nan(DatumGetNumeric(value)) ||
				numeric_is_inf(DatumGetNumeric(value)))
				break;
			push_numeric(state, token, DatumGetNumeric(value));
			return;
		case FLOAT4OID:
			push_number_text(state, token, isfinite(DatumGetFloat4(value)),
							 base_text(rendering, type, value));
			return;
		case FLOAT8OID:
			push_number_text(state, token, isfinite(DatumGetFloat8(value)),
							 base_text(rendering, type, value));
			return;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			JsonEncodeDateTime(buf, value, type,
							   type == TIMESTAMPTZOID ? &utc : NULL);
			push_text(state, token, pstrdup(buf));
			return;
		case JSONOID:
			/* json is stored as text */
			value = CStringGetDatum(TextDatumGetCString(value));
			value = DirectFunctionCall1(jsonb_in, value);
			/* FALLTHROUGH */
		case JSONBOID:
			push_document(state, token, DatumGetJsonbP(value));
			return;
		default:
			if (OidIsValid(get_element_type(type)))
			{
				push_array(rendering, state, value);
				return;
			}
			if (type_is_rowtype(type))
			{
				push_composite(rendering, state, value);
				return;
			}
			break;
	}
	push_text(state, token, base_text(rendering, type, value));
}

/*
 * Return a JSON object of these columns of a row.  values and nulls are the
 * row's, indexed by attribute number - 1.
 */
Jsonb *
render_row(TupleDesc desc, const Bitmapset *columns, const Datum *values,
		   const bool *nulls, bool big_strings)
{
	Rendering	rendering = {.big_strings = big_strings};
	JsonbParseState *state = NULL;
	int			a = -1;
	Jsonb	   *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((a = bms_next_member(columns, a)) >= 0)
	{
		Form_pg_attribute att = TupleDescAttr(desc, a - 1);

		push_key(&state, NameStr(att->attname));
		push_value(&rendering, &state, WJB_VALUE, att->atttypid, values[a - 1],
				   nulls[a - 1]);
	}
	object = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	end_rendering(&rendering);
	return object;
}
