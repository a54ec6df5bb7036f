/*
 * json.c
 *		Reads the JSON of callers: an array of objects.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "alloc/json.h"

/* Raise 22023, with the position in the caller's JSON. */
pg_noreturn void
raise_at(const char *position, const char *problem, const char *hint)
{
	StringInfoData detail;

	detail_begin(&detail);
	detail_text(&detail, "position", position);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s %s", position, problem),
			 errdetail_internal("%s", detail_end(&detail)),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* The argument as an array of n elements; 22023 if it is none. */
JsonbContainer *
json_array(Jsonb *json, const char *name, int *n)
{
	if (!JB_ROOT_IS_ARRAY(json) || JB_ROOT_IS_SCALAR(json))
		raise_at(name, "is not a JSON array", "It must be an array of objects.");
	*n = JB_ROOT_COUNT(json);
	return &json->root;
}

/* An element of the array, or NULL if it is no object. */
JsonbContainer *
json_element(JsonbContainer *array, int i)
{
	JsonbValue *value = getIthJsonbValueFromContainer(array, i);

	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		return NULL;
	return value->val.binary.data;
}

/* The name of a field of the object that is not among the known ones. */
char *
json_unknown_field(JsonbContainer *object, const char *const *known)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		bool		found = false;

		if (token != WJB_KEY)
			continue;
		for (int i = 0; known[i] != NULL && !found; i++)
			found = strlen(known[i]) == value.val.string.len &&
				memcmp(known[i], value.val.string.val,
					   value.val.string.len) == 0;
		if (!found)
			return pnstrdup(value.val.string.val, value.val.string.len);
	}
	return NULL;
}

/* Get a field.  Returns false if there is none, or a null. */
bool
json_field(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name),
										value) != NULL &&
		value->type != jbvNull;
}

/* A string, or a number as text; NULL if it is neither. */
char *
json_text(const JsonbValue *value)
{
	Datum		number;

	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			number = NumericGetDatum(value->val.numeric);
			return DatumGetCString(DirectFunctionCall1(numeric_out, number));
		default:
			return NULL;
	}
}

/* A whole number, also if it is written as a string. */
bool
json_int(const JsonbValue *value, int64 *n)
{
	char	   *text = json_text(value);
	char	   *end;

	if (text == NULL || text[0] == '\0')
		return false;
	errno = 0;
	*n = strtoi64(text, &end, 10);
	return errno == 0 && *end == '\0';
}
