/*
 * kind.c
 *		Kinds of pools: how their values are read and printed, as text and as
 *		datums.
 *
 * Whatever differs between kinds is in one table, kinds.  The other files
 * treat a value as a number, u128.  An address also has a width, its number of
 * bits; the width of a number is 0.
 */
#include "postgres.h"

#include <ctype.h>
#include <sys/socket.h>

#include "utils/builtins.h"
#include "utils/inet.h"

#include "alloc/alloc.h"

/* One end of a range, or a network. */
typedef struct End
{
	int			width;
	u128		value;
	int			masklen;		/* equal to width if there is no mask */
} End;

/*
 * A family of values.  A pool has values of one family of its kind.  Each
 * kind's array of families ends with an entry without a name.
 */
typedef struct Family
{
	const char *name;
	int			code;			/* value of alloc_pool.family; 0: NULL */
	int			width;
	int			range_bits;		/* a range has at most 2^range_bits values */
	const char *most;			/* the same, for messages */
} Family;

typedef struct Kind
{
	const char *name;			/* value of alloc_pool.kind */
	const char *values;			/* what a range consists of */
	const char *example;		/* hint that shows how ranges are written */
	RequestKind request;		/* the request, unless ports are requested */
	bool		hosts;			/* a network stands for its host addresses */
	bool		sizes;			/* units are networks of any size */
	bool		ports;			/* values can be divided into port chunks */
	bool		int8ranges;		/* a range can be written as [100,4095) */
	const Family *families;

	/* returns NULL, or what is wrong with the text */
	char	   *(*parse) (const char *text, End *end);
	char	   *(*print) (int width, u128 value, int masklen);
} Kind;

static char *address_parse(const char *text, End *end);
static char *number_parse(const char *text, End *end);
static char *host_print(int width, u128 value, int masklen);
static char *network_print(int width, u128 value, int masklen);
static char *number_print(int width, u128 value, int masklen);

static const Family ip_families[] = {
	{"IPv4", 4, 32, 24, "an IPv4 /8"},
	{"IPv6", 6, 128, 96, "an IPv6 /32"},
	{0}
};

static const Family number_families[] = {
	{"number", 0, 0, 63, "all of bigint"},
	{0}
};

#define ADDRESS_EXAMPLE \
	"A range is like 10.0.0.0/24, 10.0.0.10-10.0.0.99 (both ends in full) or 2001:db8::/64."

static const Kind kinds[] = {
	[POOL_IP] = {
		.name = "ip",
		.values = "addresses",
		.example = ADDRESS_EXAMPLE,
		.request = REQUEST_IP,
		.hosts = true,
		.ports = true,
		.families = ip_families,
		.parse = address_parse,
		.print = host_print
	},
	[POOL_PREFIX] = {
		.name = "prefix",
		.values = "addresses",
		.example = ADDRESS_EXAMPLE,
		.request = REQUEST_PREFIX,
		.sizes = true,
		.families = ip_families,
		.parse = address_parse,
		.print = network_print
	},
	[POOL_INT] = {
		.name = "int",
		.values = "numbers",
		.example = "A range of numbers is like 100-4094.",
		.request = REQUEST_INT,
		.int8ranges = true,
		.families = number_families,
		.parse = number_parse,
		.print = number_print
	},
};

/* The names of the kinds, as an array for word_argument(). */
const char *const *
kind_words(void)
{
	static const char *words[lengthof(kinds) + 1];

	for (int i = 0; i < lengthof(kinds); i++)
		words[i] = kinds[i].name;
	return words;
}

/* The name of a kind. */
const char *
kind_name(PoolKind kind)
{
	return kinds[kind].name;
}

/* The kind with the name in a row of alloc_pool; XX001 if there is none. */
PoolKind
kind_of_name(const char *name)
{
	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (strcmp(kinds[i].name, name) == 0)
			return (PoolKind) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("table alloc_pool holds the kind \"%s\"", name)));
}

/* Can values of this kind be divided into port chunks? */
bool
kind_has_ports(PoolKind kind)
{
	return kinds[kind].ports;
}

/* Can units of one pool differ in size, even without port chunks? */
bool
kind_has_sizes(PoolKind kind)
{
	return kinds[kind].sizes;
}

/* The request that alloc_many() makes, unless port chunks are requested. */
RequestKind
kind_request(PoolKind kind)
{
	return kinds[kind].request;
}

/* The family of the given width, which the caller knows to exist. */
static const Family *
family_of_width(PoolKind kind, int width)
{
	const Family *family = kinds[kind].families;

	while (family->name != NULL && family->width != width)
		family++;
	Assert(family->name != NULL);
	return family;
}

/*
 * The value of alloc_pool.family for values of that width; 0 stands for NULL.
 */
int
kind_family(PoolKind kind, int width)
{
	return family_of_width(kind, width)->code;
}

/* The width of a pool's values, given the value of alloc_pool.family. */
int
kind_width(PoolKind kind, int code)
{
	for (const Family *family = kinds[kind].families; family->name != NULL;
		 family++)
	{
		if (family->code == code)
			return family->width;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("table alloc_pool holds family %d with kind \"%s\"",
					code, kinds[kind].name)));
}

/* Can alloc_range contain these values as a range of such a pool? */
bool
kind_admits(PoolKind kind, int width, u128 first, u128 last)
{
	const Family *family = family_of_width(kind, width);

	if (first > last || (last - first) >> family->range_bits != 0)
		return false;
	return width == 128 || last >> (width == 0 ? 63 : width) == 0;
}

/*
 * Values as text: each kind's own.
 */

/* The mask of an address's host bits; width is not 0. */
static u128
host_bits(int width, int masklen)
{
	/* a shift by 128 would be undefined */
	return masklen == 0 && width == 128 ? U128_MAX :
		((u128) 1 << (width - masklen)) - 1;
}

/* Parse an address with or without a mask length. */
static char *
address_parse(const char *text, End *end)
{
	unsigned char bytes[16] = {0};
	int			family = strchr(text, ':') ? PGSQL_AF_INET6 : PGSQL_AF_INET;
	int			bits = pg_inet_net_pton(family, text, bytes, -1);

	if (bits < 0)
	{
		char	   *slash = strchr(text, '/');

		/* find out which part is wrong, for the message */
		if (slash != NULL &&
			pg_inet_net_pton(family, pnstrdup(text, slash - text), bytes,
							 -1) >= 0)
			return psprintf("\"%s\" is not the length of a mask", slash + 1);
		return psprintf("\"%s\" is not an IP address", text);
	}
	end->width = family == PGSQL_AF_INET ? 32 : 128;
	end->value = u128_from_bytes(bytes, end->width / 8);
	end->masklen = bits;
	return NULL;
}

/* Parse a number from 0 to the largest bigint. */
static char *
number_parse(const char *text, End *end)
{
	end->width = end->masklen = 0;
	if (text[0] == '-')
		return pstrdup("a number must not be negative");
	/* digits only: no plus sign, blanks or exponent */
	if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text))
		return psprintf("\"%s\" is not a number", text);
	if (!u128_parse(text, &end->value) ||
		end->value > (u128) PG_INT64_MAX)
		return psprintf("%s is too large for a bigint", text);
	return NULL;
}

/* An address as inet prints it: without a mask if that is full. */
static char *
host_print(int width, u128 value, int masklen)
{
	return DatumGetCString(DirectFunctionCall1(inet_out,
											   address_datum(width, value,
															 masklen)));
}

/* An address as cidr prints it: always with a mask. */
static char *
network_print(int width, u128 value, int masklen)
{
	return DatumGetCString(DirectFunctionCall1(cidr_out,
											   address_datum(width, value,
															 masklen)));
}

/* A number in decimal. */
static char *
number_print(int width, u128 value, int masklen)
{
	char		buf[U128_DIGITS];

	u128_print(value, buf);
	return pstrdup(buf);
}

/*
 * Ranges as text.
 */

/* Raise 22023 because a range or value cannot be read. */
pg_noreturn static void
raise_malformed(const char *what, const char *text, const char *problem,
				const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid %s \"%s\": %s", what, text, problem),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* Does the text contain white space? */
static bool
has_blanks(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if (isspace((unsigned char) *text))
			return true;
	}
	return false;
}

/* Parse one end of a range, or a network; 22023 if it is malformed. */
static End
range_end(const Kind *kind, const char *range_text, const char *text)
{
	End			end;
	char	   *problem = kind->parse(text, &end);

	if (problem == NULL)
		return end;
	/* A range of numbers for a pool of addresses: the kind was forgotten. */
	if (isdigit((unsigned char) range_text[0]) &&
		strspn(range_text, "0123456789-") == strlen(range_text) &&
		kind->parse != number_parse)
		raise_malformed("range", range_text, problem,
						"Ranges of numbers are for pools of kind \"int\".");
	raise_malformed("range", range_text, problem, kind->example);
}

/*
 * Parse a range as int8range prints it, such as [100,4095).  Both ends that
 * are returned are included.
 */
static void
int8range_ends(const Kind *kind, const char *text, End *first, End *last)
{
	int			length = strlen(text);
	char	   *inner = pnstrdup(text + 1, Max(length - 2, 0));
	char	   *comma = strchr(inner, ',');

	if (comma == NULL || strchr("])", text[length - 1]) == NULL)
		raise_malformed("range", text, "its brackets are not those of an int8range",
						kind->example);
	*comma = '\0';
	if (inner[0] == '\0' || comma[1] == '\0')
		raise_malformed("range", text, "it is unbounded", kind->example);
	*first = range_end(kind, text, inner);
	*last = range_end(kind, text, comma + 1);
	if (text[0] == '(')
		first->value++;
	if (text[length - 1] == ')')
	{
		/* must be tested before 1 is subtracted, since values are unsigned */
		if (last->value <= first->value)
			raise_malformed("range", text, "it is empty", kind->example);
		last->value--;
	}
}

/* Parse first-last, where both ends are given in full. */
static void
dashed_ends(const Kind *kind, const char *text, const char *dash,
			End *first, End *last)
{
	*first = range_end(kind, text, pnstrdup(text, dash - text));
	*last = range_end(kind, text, dash + 1);
	if (first->width != last->width)
		raise_malformed("range", text, "its ends are not of one address family",
						kind->example);
	if (strchr(text, '/') != NULL)
		raise_malformed("range", text, "the ends of a range have no mask",
						kind->example);
}

/*
 * Parse a network or a single value.  A network stands for its host addresses
 * where the kind says so, but for all of its addresses if whole is true.
 */
static void
network_ends(const Kind *kind, const char *text, bool whole,
			 End *first, End *last)
{
	u128		network;

	*first = *last = range_end(kind, text, text);
	/* a number has no mask */
	if (first->width == 0)
		return;
	network = first->value & ~host_bits(first->width, first->masklen);
	if (network != first->value)
		raise_malformed("range", text,
						"it has bits set to the right of its mask",
						psprintf("The network is %s.",
								 network_print(first->width, network,
											   first->masklen)));
	if (whole || !kind->hosts)
		network_all(network, first->width, first->masklen,
					&first->value, &last->value);
	else
		network_hosts(network, first->width, first->masklen,
					  &first->value, &last->value);
}

/*
 * Parse a range of a pool of this kind.  Network and broadcast addresses are
 * left out where the kind says so, unless whole is true.  Raises 22023 if the
 * range is malformed or too large.
 */
void
range_parse(PoolKind kind_id, const char *text, bool whole, int *width,
			u128 *first, u128 *last)
{
	const Kind *kind = &kinds[kind_id];
	const char *dash = text[0] == '-' ? NULL : strchr(text, '-');
	const Family *family;
	End			from;
	End			to;

	if (text[0] == '\0')
		raise_malformed("range", text, "it is empty", kind->example);
	if (has_blanks(text))
		raise_malformed("range", text, "it contains blanks", kind->example);
	/* the three ways to write a range */
	if (kind->int8ranges && (text[0] == '[' || text[0] == '('))
		int8range_ends(kind, text, &from, &to);
	else if (dash != NULL)
		dashed_ends(kind, text, dash, &from, &to);
	else
		network_ends(kind, text, whole, &from, &to);
	if (from.value > to.value)
		raise_malformed("range", text, "its end is before its beginning",
						kind->example);
	family = family_of_width(kind_id, from.width);
	if ((to.value - from.value) >> family->range_bits != 0)
		raise_malformed("range", text,
						psprintf("it is larger than %s", family->most),
						"Add only the parts that are needed.");
	*width = from.width;
	*first = from.value;
	*last = to.value;
}

/*
 * Cut the ports off the end of a chunk's text, as unit_text() writes it, and
 * return them.  Returns false and leaves the text as it is if there are none.
 */
static bool
cut_ports(char *text, int *first_port, int *last_port)
{
	char	   *colon = strrchr(text, ':');
	char		rest;

	/* before the ports there is an IPv6 address in brackets, or an IPv4 one */
	if (colon == NULL || colon == text ||
		(text[0] == '[' ? colon[-1] != ']' : strchr(text, ':') != colon))
		return false;
	if (sscanf(colon, ":%d-%d%c", first_port, last_port, &rest) != 2 ||
		*first_port < 0 || *first_port > *last_port || *last_port > 65535)
		return false;
	*colon = '\0';
	if (text[0] == '[')
	{
		/* strip the brackets */
		colon[-1] = '\0';
		memmove(text, text + 1, colon - text - 1);
	}
	return true;
}

/*
 * Parse what a caller names as a value: an address, a prefix, a number, or
 * ports of an address.  Returns the first and last value, and the ports, or -1
 * if none were named.  Raises 22023 if the text is malformed or of another
 * family than the pool.
 */
void
unit_parse(const Pool *pool, const char *text, u128 *value, u128 *last,
		   int *first_port, int *last_port)
{
	const Kind *kind = &kinds[pool->kind];
	char	   *named = pstrdup(text);
	char	   *problem;
	End			end;

	/* ports can be named only where addresses are divided into chunks */
	if (pool->port_chunk == 0 || !cut_ports(named, first_port, last_port))
		*first_port = *last_port = -1;
	problem = kind->parse(named, &end);
	if (problem != NULL)
		raise_malformed("value", text, problem, NULL);
	if (end.width != pool->width)
		raise_malformed("value", text,
						psprintf("pool \"%s\" has %s addresses", pool->name,
								 family_of_width(pool->kind,
												 pool->width)->name),
						NULL);
	*value = *last = end.value;
	if (end.width > 0)
		network_all(end.value & ~host_bits(end.width, end.masklen),
					end.width, end.masklen, value, last);
}

/* Make an inet or cidr datum. */
Datum
address_datum(int width, u128 value, int masklen)
{
	inet	   *address = palloc0(sizeof(inet));

	ip_family(address) = width == 32 ? PGSQL_AF_INET : PGSQL_AF_INET6;
	ip_bits(address) = masklen;
	u128_to_bytes(value, ip_addr(address), width / 8);
	SET_INET_VARSIZE(address);
	return InetPGetDatum(address);
}

/* The value, width and mask length of an inet or cidr datum. */
u128
address_value(Datum datum, int *width, int *masklen)
{
	inet	   *address = DatumGetInetPP(datum);

	*width = ip_maxbits(address);
	*masklen = ip_bits(address);
	return u128_from_bytes(ip_addr(address), ip_addrsize(address));
}

/* The mask length of a block; for a chunk, that of its address. */
int
unit_masklen(const Pool *pool, int order)
{
	return pool->width - Max(0, order - pool->space.chunk_bits);
}

/* A single value as text. */
char *
value_text(PoolKind kind, int width, u128 value)
{
	/* a value has no mask, so even a prefix pool's is printed as a host */
	return width == 0 ? kinds[kind].print(width, value, 0) :
		host_print(width, value, width);
}

/* A range as text that range_parse() can read. */
char *
range_text(PoolKind kind, int width, u128 first, u128 last)
{
	char	   *text = value_text(kind, width, first);

	return first == last ? text :
		psprintf("%s-%s", text, value_text(kind, width, last));
}

/* A block as text, such as 10.0.0.7, 10.0.0.7:0-16383, 10.0.8.0/24 or 4094. */
char *
unit_text(const Pool *pool, u128 lo, int order)
{
	char	   *value;
	int			port;

	value = kinds[pool->kind].print(pool->width,
									space_value(&pool->space, lo),
									unit_masklen(pool, order));
	/* a whole value; otherwise a chunk */
	if (pool->port_chunk == 0 || order >= pool->space.chunk_bits)
		return value;
	port = space_chunk(&pool->space, lo) * pool->port_chunk;
	return psprintf(pool->width == 32 ? "%s:%d-%d" : "[%s]:%d-%d",
					value, port, port + pool->port_chunk - 1);
}
