/*
 * set_request.c
 *		Reads the request of alloc_set().
 *
 * Whatever is wrong with it raises 22023 with its position, such as
 * request[2].masklen.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "alloc/json.h"
#include "alloc/kind.h"
#include "alloc/set.h"

static const char *const known_fields[] = {
	"pool", "masklen", "value", "ports", "consecutive", "n", NULL
};

/* The position of a field. */
static char *
field_position(const Member *member, const char *field)
{
	return psprintf("%s.%s", member->position, field);
}

/* Add a pool to those of the member. */
static void
add_choice(Set *set, Member *member, Oid nsp, const JsonbValue *name,
		   const char *position)
{
	Choice	   *choice = &member->choices[member->nchoices];
	char	   *pool;
	bool		found;

	CHECK_FOR_INTERRUPTS();
	if (name->type != jbvString)
		raise_at(position, "is not the name of a pool", NULL);
	pool = pnstrdup(name->val.string.val, name->val.string.len);
	(void) pool_use(&choice->use, nsp, pool, RIGHT_USE);
	(void) hash_search(set->pools, &choice->use.pool->id, HASH_ENTER, &found);
	if (found)
		raise_at(position, psprintf("names pool \"%s\" again", pool),
				 "A set can name a pool only once.");
	choice->request.function = "alloc_set";
	choice->request.position = member->position;
	choice->request.key = set->key;
	choice->request.ttl = set->ttl;
	choice->request.note = set->note;
	choice->request.has_note = set->has_note;
	choice->request.kind = kind_request(choice->use.pool->kind);
	choice->request.n = 1;
	member->nchoices++;
}

/* Read the pool, or the list of pools. */
static void
read_pools(Set *set, Member *member, Oid nsp, JsonbContainer *object)
{
	char	   *position = field_position(member, "pool");
	JsonbValue	value;
	JsonbContainer *list;
	int			n;

	if (!json_field(object, "pool", &value))
		raise_at(position, "is missing", NULL);
	if (value.type != jbvBinary)
	{
		member->choices = palloc0(sizeof(Choice));
		add_choice(set, member, nsp, &value, position);
		return;
	}
	list = value.val.binary.data;
	n = JsonContainerSize(list);
	if (!JsonContainerIsArray(list) || n == 0)
		raise_at(position, "is neither a name nor a list of names", NULL);
	member->choices = MemoryContextAllocExtended(CurrentMemoryContext,
												 n * sizeof(Choice),
												 MCXT_ALLOC_HUGE |
												 MCXT_ALLOC_ZERO);
	for (int i = 0; i < n; i++)
		add_choice(set, member, nsp, getIthJsonbValueFromContainer(list, i),
				   psprintf("%s[%d]", position, i));
}

/* Read a whole number from first to last; 22023 if it is none. */
static int
read_number(const Member *member, const char *field, const JsonbValue *value,
			int first, int last)
{
	int64		n;

	if (value->type != jbvNumeric || !json_int(value, &n) ||
		n < first || n > last)
		raise_at(field_position(member, field),
				 psprintf("is not a number from %d to %d", first, last),
				 NULL);
	return (int) n;
}

/* Read how much of a counted pool is requested. */
static void
read_n_of_pool(Member *member, Choice *choice, JsonbContainer *object)
{
	static const char *const others[] = {
		"ports", "masklen", "value", "consecutive"
	};
	JsonbValue	value;
	int64		n = 1;

	for (int i = 0; i < lengthof(others); i++)
	{
		if (json_field(object, others[i], &value))
			raise_at(field_position(member, others[i]),
					 psprintf("does not fit pool \"%s\"", choice->use.name),
					 "A counted pool is asked for n.");
	}
	if (json_field(object, "n", &value) &&
		(value.type != jbvNumeric || !json_int(&value, &n) || n < 1))
		raise_at(field_position(member, "n"), "is not a number from 1 on",
				 NULL);
	choice->request.exact = true;
	choice->request.value = (u128) n;
}

/* Read the fields that are for pools of certain kinds. */
static void
read_fields(Member *member, Choice *choice, JsonbContainer *object)
{
	const Pool *pool = choice->use.pool;
	Request    *request = &choice->request;
	JsonbValue	value;

	if (pool->counted)
	{
		read_n_of_pool(member, choice, object);
		return;
	}
	if (json_field(object, "n", &value))
		raise_at(field_position(member, "n"),
				 psprintf("does not fit pool \"%s\"", pool->name),
				 "It is for counted pools.");
	if (json_field(object, "ports", &value))
	{
		if (value.type != jbvBool)
			raise_at(field_position(member, "ports"), "is not true or false",
					 NULL);
		if (value.val.boolean && pool->port_chunk == 0)
			raise_at(field_position(member, "ports"),
					 psprintf("does not fit pool \"%s\"", pool->name),
					 "Its addresses are not divided into chunks of ports.");
		if (value.val.boolean)
			request->kind = REQUEST_PORTS;
	}
	if (json_field(object, "masklen", &value))
	{
		if (request->kind != REQUEST_PREFIX)
			raise_at(field_position(member, "masklen"),
					 psprintf("does not fit pool \"%s\"", pool->name),
					 "It is for pools of prefixes.");
		request->masklen = read_number(member, "masklen", &value,
									   Max(0, pool->width - MAX_PREFIX_ORDER),
									   pool->width);
	}
	if (json_field(object, "value", &value))
	{
		RequestKind kind = request->kind;
		int			masklen = request->masklen;
		bool		has_masklen = json_field(object, "masklen", &value);
		char	   *text;
		char	   *problem;

		(void) json_field(object, "value", &value);
		text = json_text(&value);
		problem = text == NULL ? "it is neither a string nor a number" :
			request_value(pool, text, false, request);
		if (problem == NULL && request->width != pool->width)
			problem = psprintf("pool \"%s\" has %s addresses", pool->name,
							   kind_family_name(pool->kind, pool->width));
		if (problem == NULL && kind == REQUEST_PORTS &&
			request->kind != REQUEST_PORTS)
			problem = "it names no ports";
		if (problem == NULL && has_masklen && masklen != request->masklen)
			problem = psprintf("it is a /%d", request->masklen);
		if (problem != NULL)
			raise_at(field_position(member, "value"),
					 psprintf("does not fit pool \"%s\": %s", pool->name,
							  problem), NULL);
	}
	else if (request->kind == REQUEST_PREFIX &&
			 !json_field(object, "masklen", &value))
		raise_at(field_position(member, "masklen"), "is missing",
				 psprintf("Pool \"%s\" has prefixes.", pool->name));
	if (json_field(object, "consecutive", &value))
	{
		if (request->kind == REQUEST_PREFIX || request->kind == REQUEST_PORTS)
			raise_at(field_position(member, "consecutive"),
					 psprintf("does not fit pool \"%s\"", pool->name),
					 "It is for whole addresses and numbers.");
		request->n = read_number(member, "consecutive", &value, 1, MAX_RUN);
	}
}

/* qsort comparator of pointers: by the name of the first pool */
static int
compare_members(const void *a, const void *b)
{
	const Member *one = *(Member *const *) a;
	const Member *other = *(Member *const *) b;

	return strcmp(one->choices[0].use.name, other->choices[0].use.name);
}

/* Read the request into the set, whose key, ttl and note are given. */
void
set_read(Set *set, Oid nsp, Jsonb *request)
{
	int			n;
	JsonbContainer *array = json_array(request, "request", &n);
	HASHCTL		control = {.keysize = sizeof(int32)};

	control.entrysize = sizeof(int32);
	control.hcxt = CurrentMemoryContext;
	set->pools = hash_create("pools of a set", 64, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	set->members = MemoryContextAllocExtended(CurrentMemoryContext,
											  Max(n, 1) * sizeof(Member),
											  MCXT_ALLOC_HUGE |
											  MCXT_ALLOC_ZERO);
	set->order = MemoryContextAllocHuge(CurrentMemoryContext,
										Max(n, 1) * sizeof(Member *));
	for (int i = 0; i < n; i++)
	{
		Member	   *member = &set->members[i];
		JsonbContainer *object = json_element(array, i);
		char	   *unknown;

		member->position = psprintf("request[%d]", i);
		if (object == NULL)
			raise_at(member->position, "is not a JSON object", NULL);
		unknown = json_unknown_field(object, known_fields);
		if (unknown != NULL)
			raise_at(field_position(member, unknown), "is not a known field",
					 "A member has the fields pool, masklen, value, ports, consecutive and n.");
		read_pools(set, member, nsp, object);
		for (int j = 0; j < member->nchoices; j++)
			read_fields(member, &member->choices[j], object);
		set->order[i] = member;
	}
	set->nmembers = n;
	qsort(set->order, n, sizeof(Member *), compare_members);
}
