/*
 * inventory.c
 *		Reads inventories of other systems: arrays of objects, of which each
 *		says what has been given out to whom.
 *
 * A row of alloc_units, as JSON, is such an object.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
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

/* What is later might be out of range once it is written. */
#define LAST_EXPIRY (END_TIMESTAMP - 7 * USECS_PER_DAY)

/* Note what is wrong with a field, unless something else is already. */
static void
note_problem(Entry *entry, const char *field, const char *problem)
{
	if (entry->problem == NULL)
		entry->problem = psprintf("%s.%s %s", entry->position, field,
								  problem);
}

/* A text to convert by a type's input function, or by alloc_key(). */
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

	conversion->value = conversion->input == alloc_key ?
		DirectFunctionCall1(alloc_key,
							CStringGetTextDatum(conversion->text)) :
		DirectFunctionCall3(conversion->input,
							CStringGetDatum(conversion->text),
							ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return true;
}

/*
 * Convert text by such a function.  Returns false if the text is no such
 * value.
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

/*
 * The key of a name.  Returns false if there is none: in some encodings a name
 * need not be valid UTF-8, or have an equivalent.
 */
static bool
entry_key_of_name(const char *name, pg_uuid_t *key)
{
	Conversion	conversion = {.input = alloc_key,.text = name};

	/* no subtransaction where it cannot fail */
	if (GetDatabaseEncoding() == PG_UTF8)
		(void) call_input(&conversion);
	else if (!convert(alloc_key, name, &conversion.value))
		return false;
	*key = *DatumGetUUIDP(conversion.value);
	return true;
}

/* Read the key, or make it of the name. */
static void
entry_key(Entry *entry, JsonbContainer *object)
{
	JsonbValue	value;
	char	   *text;
	bool		has_name = json_field(object, "name", &value);

	if (has_name)
	{
		text = json_text(&value);
		entry->has_key = text != NULL;
		if (text == NULL)
			note_problem(entry, "name", "is not a string");
		else if (!entry_key_of_name(text, &entry->key))
		{
			entry->has_key = false;
			note_problem(entry, "name", "cannot be converted to UTF-8");
		}
	}
	if (json_field(object, "key", &value))
	{
		pg_uuid_t	key_of_name = entry->key;

		text = json_text(&value);
		entry->has_key = text != NULL && entry_uuid(text, &entry->key);
		if (!entry->has_key)
			note_problem(entry, "key", "is not a UUID");
		else if (has_name &&
				 memcmp(&key_of_name, &entry->key, UUID_LEN) != 0)
			note_problem(entry, "name", "contradicts key");
	}
	else if (!has_name)
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
			/* infinity is never */
			entry->expires = !TIMESTAMP_IS_NOEND(entry->expires_at);
			if (entry->expires_at <= GetCurrentTimestamp())
				note_problem(entry, "expires_at", "is in the past");
			else if (entry->expires && entry->expires_at > LAST_EXPIRY)
				note_problem(entry, "expires_at", "is out of range");
		}
	}
	if (json_field(object, "ttl", &value))
	{
		TimestampTz now = GetCurrentTimestamp();
		bool		is_string = value.type == jbvString;

		text = json_text(&value);
		if (json_field(object, "expires_at", &value))
			note_problem(entry, "ttl", "contradicts expires_at");
		else if (!is_string || !convert(interval_in, text, &datum))
			note_problem(entry, "ttl", "is not an interval");
		else if (!interval_fits(now, DatumGetIntervalP(datum)))
			note_problem(entry, "ttl", "is out of range");
		else
		{
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
 * Let the request be for the ports that the object has in a field of their
 * own, if any.  Returns what is wrong.
 */
static char *
entry_ports(const Pool *pool, Entry *entry, JsonbContainer *object,
			const char *address)
{
	Request    *request = &entry->request;
	JsonbValue	value;
	char	   *text;
	int			first;
	int			last;

	if (!json_field(object, "ports", &value))
		return NULL;
	text = json_text(&value);
	if (text == NULL || !ports_parse(text, &first, &last))
	{
		note_problem(entry, "ports", "is not a range of ports");
		return NULL;
	}
	if (request->kind == REQUEST_PORTS)
	{
		if (first != request->first_port ||
			last != first + pool->port_chunk - 1)
			note_problem(entry, "ports", "contradicts value");
		return NULL;
	}
	/* the mask of an address is ignored */
	return request_value(pool, psprintf(pool->width == 32 ?
										"%.*s:%d-%d" : "[%.*s]:%d-%d",
										(int) strcspn(address, "/"), address,
										first, last), true, request);
}

/* Likewise: the length of a prefix's mask. */
static char *
entry_masklen(const Pool *pool, Entry *entry, JsonbContainer *object,
			  const char *text)
{
	Request    *request = &entry->request;
	JsonbValue	value;
	int64		masklen;

	if (!json_field(object, "masklen", &value))
		return NULL;
	if (!json_int(&value, &masklen) || masklen < 0 || masklen > pool->width)
		note_problem(entry, "masklen", "is not a mask length");
	else if (request->kind == REQUEST_PREFIX && strchr(text, '/') == NULL)
		return request_value(pool, psprintf("%s/%d", text, (int) masklen),
							 true, request);
	else if (request->kind == REQUEST_PREFIX && masklen != request->masklen)
		note_problem(entry, "masklen", "contradicts value");
	return NULL;
}

/*
 * Let the request be for the units in a row whose last one is named by the
 * object.  The value may be any of them.
 */
static char *
entry_last(const Pool *pool, Entry *entry, JsonbContainer *object)
{
	Request    *request = &entry->request;
	JsonbValue	value;
	u128		any = request->value;
	u128		more = request->n - 1;
	char	   *text;
	char	   *problem;

	if (more == 0 || request->kind == REQUEST_PORTS ||
		request->kind == REQUEST_PREFIX ||
		!json_field(object, "last", &value))
		return NULL;
	text = json_text(&value);
	if (text == NULL)
	{
		note_problem(entry, "last", "is neither a string nor a number");
		return NULL;
	}
	problem = request_value(pool, text, true, request);
	if (problem != NULL || any > request->value || request->value - any > more)
		note_problem(entry, "last", "contradicts value and n");
	else if (request->value < more)
		return "last is too low for n";
	else
		request->value -= more;
	return NULL;
}

/* Read how much of a counted pool is held, which n and value can say. */
static void
entry_count(Entry *entry, JsonbContainer *object)
{
	JsonbValue	value;
	int64		n = entry->n;

	if (json_field(object, "value", &value))
	{
		if (!json_int(&value, &n) || n < 1)
			note_problem(entry, "value", "is not a number from 1 on");
		else if (entry->n > 0 && n != entry->n)
			note_problem(entry, "value", "contradicts n");
		entry->text = json_text(&value);
	}
	n = Max(n, 1);
	if (entry->text == NULL)
		entry->text = psprintf(INT64_FORMAT, n);
	entry->request.kind = REQUEST_COUNT;
	entry->request.exact = entry->fits = true;
	entry->request.value = (u128) n;
}

/* Read the value, with what else says which one it is. */
static void
entry_value(const Pool *pool, Entry *entry, JsonbContainer *object)
{
	Request    *request = &entry->request;
	JsonbValue	value;
	char	   *text;
	char	   *problem;

	if (json_field(object, "n", &value) &&
		(!json_int(&value, &entry->n) || entry->n < 1 ||
		 (!pool->counted && entry->n > MAX_RUN)))
	{
		note_problem(entry, "n", "is not a possible number");
		entry->text = json_text(&value);
		entry->n = 0;
	}
	if (pool->counted)
	{
		entry_count(entry, object);
		return;
	}
	if (!json_field(object, "value", &value))
	{
		note_problem(entry, "value", "is missing");
		return;
	}
	text = entry->text = json_text(&value);
	if (text == NULL)
	{
		note_problem(entry, "value", "is neither a string nor a number");
		return;
	}
	request->n = (int) Max(1, entry->n);
	problem = request_value(pool, text, true, request);
	if (problem == NULL)
		problem = entry_ports(pool, entry, object, text);
	if (problem == NULL)
		problem = entry_last(pool, entry, object);
	if (problem == NULL)
		problem = entry_masklen(pool, entry, object, text);
	if (problem != NULL)
		note_problem(entry, "value", psprintf("is malformed: %s", problem));
	else if (request->n > 1 && (request->kind == REQUEST_PREFIX ||
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
