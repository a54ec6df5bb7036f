/*
 * detail.c
 *		Build an error's DETAIL as one line of JSON, for programs to read.
 */
#include "base/base.h"

#include "catalog/pg_type.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/*
 * Initialize a StringInfo and begin a DETAIL in it.
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

/*
 * Add a string, or JSON's null if value is NULL.
 */
void
detail_text(StringInfo detail, const char *field, const char *value)
{
	if (value == NULL)
	{
		detail_null(detail, field);
		return;
	}
	detail_field(detail, field);
	escape_json(detail, value);
}

void
detail_int(StringInfo detail, const char *field, int64 value)
{
	detail_field(detail, field);
	appendStringInfo(detail, INT64_FORMAT, value);
}

/*
 * Add a time in ISO 8601 format, in UTC regardless of the session's time zone.
 */
void
detail_time(StringInfo detail, const char *field, TimestampTz value)
{
	char		text[MAXDATELEN + 1];
	int			utc = 0;

	detail_field(detail, field);
	JsonEncodeDateTime(text, TimestampTzGetDatum(value), TIMESTAMPTZOID, &utc);
	escape_json(detail, text);
}

void
detail_null(StringInfo detail, const char *field)
{
	detail_field(detail, field);
	appendStringInfoString(detail, "null");
}

/*
 * Complete a DETAIL and return its text, for errdetail_internal("%s", ...).
 */
char *
detail_end(StringInfo detail)
{
	appendStringInfoChar(detail, '}');
	return detail->data;
}
