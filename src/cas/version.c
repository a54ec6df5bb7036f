/*
 * version.c
 *		Convert versions from and to a column's type, and read them from
 *		documents.
 */
#include "cas.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/* Return whether a type can be that of a version column. */
bool
cas_is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/* Widen a value of such a type. */
int64
cas_integer(Datum value, Oid type)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

/* Convert a stored version to int64. */
int64
cas_version_value(CasTable *table, Datum value)
{
	return cas_integer(value, table->version_type);
}

/* Convert a version to the type of the table's column. */
Datum
cas_version_datum(CasTable *table, int64 version)
{
	/* advance.c has checked the range */
	switch (table->version_type)
	{
		case INT2OID:
			return Int16GetDatum((int16) version);
		case INT4OID:
			return Int32GetDatum((int32) version);
		default:
			return Int64GetDatum(version);
	}
}

/* ----------
 * Inside a document
 * ----------
 */

/*
 * Return the value at the path in a document, or NULL.
 */
JsonbValue *
cas_value_at_path(Jsonb *document, const CasNames *path)
{
	JsonbContainer *container = &document->root;
	JsonbValue *value = NULL;

	for (int i = 0; i < path->length; i++)
	{
		if (!JsonContainerIsObject(container))
			return NULL;
		value = getKeyJsonValueFromContainer(container, path->names[i],
											 strlen(path->names[i]), NULL);
		if (value == NULL)
			return NULL;
		if (i < path->length - 1)
		{
			if (value->type != jbvBinary)
				return NULL;
			container = value->val.binary.data;
		}
	}
	return value;
}

/* Parse an integer; return false for anything else, such as leading blanks. */
static bool
parse_version(const char *text, int64 *version)
{
	char	   *end;

	/* strtoi64() skips blanks and takes a plus sign, which we refuse */
	errno = 0;
	*version = strtoi64(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' &&
		(isdigit((unsigned char) *text) || *text == '-');
}

/*
 * With writers => 'echo', return the version that a document mentions at the
 * table's version_path.  It may be a JSON number or, like Kubernetes'
 * resourceVersion, a string.
 */
CasMention
cas_document_version(const CasTable *table, Jsonb *document)
{
	CasMention	mention = {false};
	JsonbValue *value;
	Datum		number;
	char	   *text;

	if (table->settings.writers != CAS_WRITERS_ECHO ||
		table->settings.version_path.length == 0)
		return mention;
	value = cas_value_at_path(document, &table->settings.version_path);
	if (value == NULL)
		return mention;

	/* A value that is no version counts as a mention, to be refused later. */
	mention.mentioned = true;
	switch (value->type)
	{
		case jbvNumeric:
			number = NumericGetDatum(value->val.numeric);
			text = DatumGetCString(DirectFunctionCall1(numeric_out, number));
			break;
		case jbvString:
			text = pnstrdup(value->val.string.val, value->val.string.len);
			break;
		default:
			mention.malformed = true;
			return mention;
	}
	mention.malformed = !parse_version(text, &mention.version);
	return mention;
}

/*
 * Return whether a document mentions another version than the row's.  Raise
 * 22023 if the mentioned value is not a version.
 */
bool
cas_mentions_another(const CasMention *sent, int64 version)
{
	if (!sent->mentioned)
		return false;

	/* no value, such as null, may avoid the comparison */
	if (sent->malformed)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the version in the document is not an integer"),
				 errhint("Send back the value at version_path as it was read, or leave it out.")));
	return sent->version != version;
}
