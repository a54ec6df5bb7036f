/*
 * inventory.c
 *		Reads inventories of other systems: arrays of objects, of which each
 *		says what has been given out to whom.
 *
 * A row of alloc_units, as JSON, is such an object.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "alloc/inventory.h"
#include "alloc/json.h"
#include "alloc/kind.h"

extern Datum alloc_key(PG_FUNCTION_ARGS);

/* The last line has columns of alloc_unit that say nothing new. */
static const char *const known_fields[] = {
	"value", "key", "name", "ttl", "expires_at", "note", "masklen", "ports",
	"n", "last",
	"pool", "address", "kind", "generation", "allocated_at", "number", "mac",
	NULL
};

/* Note what is wrong with a field, unless something else is already. */
static void
note_problem(Entry *entry, const char *field, const char *problem)
{
	if (entry->problem == NULL)
		entry->problem = psprintf("%s.%s %s", entry->position, field,
								  problem);
}

/* A text to convert by a type's input function. */
typedef struct Conversion
{
	PGFunction	input;
	const char *text;
	Datum		value;
} Conversion;

static bool
call_input(void *arg)
{
	Conversion *conversion = arg;

	conversion->value = DirectFunctionCall3(conversion->input,
											CStringGetDatum(conversion->text),
											ObjectIdGetDatum(InvalidOid),
											Int32GetDatum(-1));
	return true;
}

/*
 * Convert text by a type's input function.  Returns false if the text is no
 * such value.
 */
static bool
convert(PGFunction input, const char *text, Datum *value)
{
	Conversion	conversion = {.input = input,.text = text};
	ErrorData  *error;

	(void) in_subtransaction(call_input, &conversion, &error);
	/* class 22 is about data */
	if (error != NULL &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
		ReThrowError(error);
	*value = conversion.value;
	return error == NULL;
}

/* Is a UUID written in its usual form?  Others go through convert(). */
static bool
entry_uuid(const char *text, pg_uuid_t *key)
{
	Datum		value;

	if (strlen(text) == 36)
	{
		int			n = 0;

		for (const char *c = text; *c != '\0'; c++)
		{
			int			digit = *c >= '0' && *c <= '9' ? *c - '0' :
				*c >= 'a' && *c <= 'f' ? *c - 'a' + 10 :
				*c >= 'A' && *c <= 'F' ? *c - 'A' + 10 : -1;

			if (*c == '-' && (n == 16 || n == 8 || n == 12 || n == 20))
				continue;
			if (digit < 0 || n >= 2 * UUID_LEN)
				break;
			key->data[n / 2] = n % 2 == 0 ? digit << 4 :
				key->data[n / 2] | digit;
			n++;
		}
		if (n == 2 * UUID_LEN)
			return true;
	}
	if (!convert(uuid_in, text, &value))
		return false;
	*key = *DatumGetUUIDP(value);
	return true;
}

/* Read the key, or make it of the name. */
static void
entry_key(Entry *entry, JsonbContainer *object)
{
	JsonbValue	value;
	char	   *text;

	if (json_field(object, "key", &value))
	{
		text = json_text(&value);
		entry->has_key = text != NULL && entry_uuid(text, &entry->key);
		if (!entry->has_key)
			note_problem(entry, "key", "is not a UUID");
	}
	else if (json_field(object, "name", &value))
	{
		text = json_text(&value);
		entry->has_key = text != NULL;
		if (text == NULL)
			note_problem(entry, "name", "is not a string");
		else
		{
			Datum		name = CStringGetTextDatum(text);

			entry->key =
				*DatumGetUUIDP(DirectFunctionCall1(alloc_key, name));
		}
	}
	else
		note_problem(entry, "key", "is missing");
	entry->request.key = entry->key;
}

/* Read until when the unit is held, and the note. */
static void
entry_terms(Entry *entry, JsonbContainer *object)
{
	JsonbValue	value;
	Datum		datum;
	char	   *text;

	if (json_field(object, "expires_at", &value))
	{
		text = json_text(&value);
		entry->expires = value.type == jbvString &&
			convert(timestamptz_in, text, &datum);
		if (!entry->expires)
			note_problem(entry, "expires_at", "is not a time");
		else
		{
			entry->expires_at = DatumGetTimestampTz(datum);
			if (entry->expires_at <= GetCurrentTimestamp())
				note_problem(entry, "expires_at", "is in the past");
		}
	}
	if (json_field(object, "ttl", &value))
	{
		text = json_text(&value);
		if (entry->expires)
			note_problem(entry, "ttl", "contradicts expires_at");
		else if (value.type != jbvString ||
				 !convert(interval_in, text, &datum))
			note_problem(entry, "ttl", "is not an interval");
		else
		{
			TimestampTz now = GetCurrentTimestamp();
			Datum		end;

			end = DirectFunctionCall2(timestamptz_pl_interval,
									  TimestampTzGetDatum(now), datum);
			entry->expires = true;
			entry->expires_at = DatumGetTimestampTz(end);
			if (entry->expires_at <= now)
				note_problem(entry, "ttl", "is not positive");
		}
	}
	entry->request.has_note = json_field(object, "note", &value);
	if (entry->request.has_note)
		entry->request.note = JsonbPGetDatum(JsonbValueToJsonb(&value));
}

/*
 * The ports of a chunk as first-last, given like that or as int4range prints
 * them.
 */
static char *
entry_ports(Entry *entry, JsonbContainer *object)
{
	JsonbValue	value;
	char	   *text;
	int			first;
	int			last;

	if (!json_field(object, "ports", &value))
		return NULL;
	text = json_text(&value);
	if (text != NULL && sscanf(text, "[%d,%d)", &first, &last) == 2)
		return psprintf("%d-%d", first, last - 1);
	if (text != NULL && sscanf(text, "%d-%d", &first, &last) == 2)
		return text;
	note_problem(entry, "ports", "is not a range of ports");
	return NULL;
}

/* Read the value, with what else says which one it is. */
static void
entry_value(const Pool *pool, Entry *entry, JsonbContainer *object)
{
	Request    *request = &entry->request;
	JsonbValue	value;
	int64		n = 1;
	char	   *text;
	char	   *ports;
	char	   *problem;

	if (json_field(object, "n", &value) &&
		(!json_int(&value, &n) || n < 1 ||
		 (!pool->counted && n > MAX_RUN)))
		note_problem(entry, "n", "is not a possible number");
	if (pool->counted)
	{
		if (json_field(object, "value", &value) && !json_int(&value, &n))
			note_problem(entry, "value", "is not a number");
		entry->text = psprintf(INT64_FORMAT, n);
		request->kind = REQUEST_COUNT;
		request->exact = entry->fits = true;
		request->value = (u128) n;
		return;
	}

	/* with last, the object may be any unit of several in a row */
	if (!json_field(object, "value", &value) ||
		(text = json_text(&value)) == NULL)
	{
		note_problem(entry, "value", "is missing");
		return;
	}
	entry->text = text;
	if (n > 1 && json_field(object, "last", &value) &&
		json_text(&value) != NULL)
		text = json_text(&value);
	else
		value.type = jbvNull;
	ports = entry_ports(entry, object);
	if (ports != NULL && strchr(text, '/') == NULL &&
		(pool->width == 32 ? strchr(text, ':') == NULL : text[0] != '['))
		text = psprintf(pool->width == 32 ? "%s:%s" : "[%s]:%s", text,
						ports);
	request->n = (int) n;
	problem = request_value(pool, text, true, request);
	if (problem == NULL && value.type != jbvNull)
	{
		if (request->value < (u128) (n - 1))
			problem = "last is too low for n";
		else
			request->value -= (u128) (n - 1);
	}
	if (json_field(object, "masklen", &value) && problem == NULL)
	{
		int64		masklen;

		if (!json_int(&value, &masklen) || masklen < 0 ||
			masklen > pool->width)
			note_problem(entry, "masklen", "is not a mask length");
		else if (request->kind == REQUEST_PREFIX &&
				 strchr(text, '/') == NULL)
			problem = request_value(pool, psprintf("%s/%d", text,
												   (int) masklen),
									true, request);
	}
	if (problem != NULL)
		note_problem(entry, "value", psprintf("is malformed: %s", problem));
	else if (n > 1 && (request->kind == REQUEST_PREFIX ||
					   request->kind == REQUEST_PORTS))
		note_problem(entry, "n", "does not fit the value");
	else
		entry->fits = request->width == pool->width &&
			(request->kind != REQUEST_PREFIX ||
			 pool->width - request->masklen <= MAX_PREFIX_ORDER);
}

/*
 * Read an inventory.  Only an argument that is no array raises 22023; what is
 * wrong with an entry is noted there.
 */
Entry *
inventory_read(const Pool *pool, const char *function, Jsonb *json,
			   const char *name, int *nentries)
{
	JsonbContainer *array = json_array(json, name, nentries);
	Entry	   *entries =
		MemoryContextAllocExtended(CurrentMemoryContext,
								   Max(*nentries, 1) * sizeof(Entry),
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int i = 0; i < *nentries; i++)
	{
		Entry	   *entry = &entries[i];
		JsonbContainer *object = json_element(array, i);
		JsonbValue	value;
		char	   *unknown;

		CHECK_FOR_INTERRUPTS();
		entry->position = psprintf("%s[%d]", name, i);
		entry->request.function = function;
		if (object == NULL)
		{
			entry->problem = psprintf("%s is not a JSON object",
									  entry->position);
			continue;
		}
		unknown = json_unknown_field(object, known_fields);
		if (unknown != NULL)
			note_problem(entry, unknown, "is not a known field");
		if (json_field(object, "pool", &value) &&
			(value.type != jbvString ||
			 strcmp(json_text(&value), pool->name) != 0))
			note_problem(entry, "pool", "is another pool");
		entry_key(entry, object);
		entry_terms(entry, object);
		entry_value(pool, entry, object);
	}
	return entries;
}
