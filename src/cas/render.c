/*
 * render.c
 *		Convert rows to JSON, for payloads and ids.
 *
 * The result does not depend on the session's settings, so every session reads
 * it as the same value (base/output.c).  No function of a user runs under
 * changed settings, not even a cast to JSON.
 *
 * The JSON is that of to_jsonb(), with two exceptions: timestamptz is in UTC,
 * and a type that has a cast to JSON is a string that its input function
 * reads.
 */
#include "cas.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

typedef struct Rendering
{
	bool		big_strings;	/* int8 and numeric are JSON strings */
	OutputSettings output;
} Rendering;

static void push_value(Rendering *rendering, JsonbInState *state,
					   JsonbIteratorToken token, Oid type, Datum value,
					   bool isnull);

static void
push_text(JsonbInState *state, JsonbIteratorToken token, char *text)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = text;
	v.val.string.len = strlen(text);
	pushJsonbValue(state, token, &v);
}

static void
push_numeric(JsonbInState *state, JsonbIteratorToken token, Numeric number)
{
	JsonbValue	v;

	v.type = jbvNumeric;
	v.val.numeric = number;
	pushJsonbValue(state, token, &v);
}

static void
push_document(JsonbInState *state, JsonbIteratorToken token,
			  Jsonb *document)
{
	JsonbValue	v;

	/* a jsonb that is a scalar is stored as an array of one element */
	if (!JsonbExtractScalar(&document->root, &v))
		JsonbToJsonbValue(document, &v);
	pushJsonbValue(state, token, &v);
}

static void
push_composite(Rendering *rendering, JsonbInState *state, Datum value)
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
		document_push_key(state, pstrdup(NameStr(att->attname)));
		push_value(rendering, state, WJB_VALUE, att->atttypid, field, isnull);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Push one dimension of an array, beginning with the element *next. */
static void
push_dimension(Rendering *rendering, JsonbInState *state, Oid type,
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
push_array(Rendering *rendering, JsonbInState *state, Datum value)
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
push_number_text(JsonbInState *state, JsonbIteratorToken token,
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
push_value(Rendering *rendering, JsonbInState *state,
		   JsonbIteratorToken token, Oid type, Datum value, bool isnull)
{
	static const int utc = 0;
	JsonbValue	v;
	char		buf[MAXDATELEN + 1];

	/* composite types nest, and a domain is rendered like its base type */
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
			/* JSON has neither NaN nor infinity */
			if (rendering->big_strings ||
				numeric_is_nan(DatumGetNumeric(value)) ||
				numeric_is_inf(DatumGetNumeric(value)))
				break;
			push_numeric(state, token, DatumGetNumeric(value));
			return;
		case FLOAT4OID:
			push_number_text(state, token, isfinite(DatumGetFloat4(value)),
							 output_text(&rendering->output, type, value));
			return;
		case FLOAT8OID:
			push_number_text(state, token, isfinite(DatumGetFloat8(value)),
							 output_text(&rendering->output, type, value));
			return;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			/* whatever TimeZone and DateStyle are, a row looks the same */
			JsonEncodeDateTime(buf, value, type,
							   type == TIMESTAMPTZOID ? &utc : NULL);
			push_text(state, token, pstrdup(buf));
			return;
		case JSONOID:
			/* json is stored as text */
			value = CStringGetDatum(TextDatumGetCString(value));
			value = DirectFunctionCall1(jsonb_in, value);
			pg_fallthrough;
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
	push_text(state, token, output_text(&rendering->output, type, value));
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
	JsonbInState state = {0};
	int			a = -1;
	Jsonb	   *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((a = bms_next_member(columns, a)) >= 0)
	{
		Form_pg_attribute att = TupleDescAttr(desc, a - 1);

		document_push_key(&state, pstrdup(NameStr(att->attname)));
		push_value(&rendering, &state, WJB_VALUE, att->atttypid, values[a - 1],
				   nulls[a - 1]);
	}
	object = document_end(&state);
	output_end(&rendering.output);
	return object;
}
