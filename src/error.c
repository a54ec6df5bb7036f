/*
 * error.c
 *		The shape of our errors: a DETAIL that is one line of JSON, and the
 *		checks of arguments that every SQL function makes.
 */
#include "pg_cas.h"

#include "utils/json.h"

/*
 * Start a DETAIL, in a StringInfo that this initializes.
 */
void
detail_begin(StringInfo detail)
{
	initStringInfo(detail);
	appendStringInfoChar(detail, '{');
}

static void
detail_field(StringInfo detail, const char *field)
{
	if (detail->len > 1)
		appendStringInfoString(detail, ", ");
	escape_json(detail, field);
	appendStringInfoString(detail, ": ");
}

void
detail_text(StringInfo detail, const char *field, const char *value)
{
	detail_field(detail, field);
	escape_json(detail, value);
}

void
detail_int(StringInfo detail, const char *field, int64 value)
{
	detail_field(detail, field);
	appendStringInfo(detail, INT64_FORMAT, value);
}

void
detail_null(StringInfo detail, const char *field)
{
	detail_field(detail, field);
	appendStringInfoString(detail, "null");
}

/*
 * End a DETAIL and return its text, for errdetail_internal("%s", ...).
 */
char *
detail_end(StringInfo detail)
{
	appendStringInfoChar(detail, '}');
	return detail->data;
}

/*
 * Raise 22004 if the call's argument is NULL; name is the SQL parameter's.
 */
void
require_argument(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}
