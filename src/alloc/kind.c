/*
 * kind.c
 *		Kinds of pools, and how their values are read and printed.
 *
 * Whatever differs between kinds is in one table, kinds.  The other files
 * treat a value as a number, u128.  An address also has a width, its number of
 * bits; the width of a number is 0.
 *
 * To add a kind, add a row to the table, and its constant to PoolKind.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "utils/builtins.h"
#include "utils/inet.h"

#include "alloc/kind.h"

static char *address_parse(const char *text, End *end);
static char *host_print(int width, u128 value, int masklen);
static char *number_parse(const char *text, End *end);
static char *number_print(int width, u128 value, int masklen);

static const Family ip_families[] = {
	{"IPv4", 4, 32, 32, 24, "an IPv4 /8"},
	{"IPv6", 6, 128, 128, 96, "an IPv6 /32"},
	{0}
};

static const Family number_families[] = {
	{"number", 0, 0, 63, 63, "all of bigint"},
	{0}
};

#define ADDRESS_EXAMPLE \
	"A range is like 10.0.0.0/24, 10.0.0.10-10.0.0.99 (both ends in full) or 2001:db8::/64."

static const Kind kinds[] = {
	[POOL_IP] = {
		.name = "ip",
		.example = ADDRESS_EXAMPLE,
		.column = COLUMN_ADDRESS,
		.request = REQUEST_IP,
		.hosts = true,
		.ports = true,
		.families = ip_families,
		.parse = address_parse,
		.print = host_print,
		.print_value = host_print
	},
	[POOL_PREFIX] = {
		.name = "prefix",
		.example = ADDRESS_EXAMPLE,
		.column = COLUMN_ADDRESS,
		.request = REQUEST_PREFIX,
		.sizes = true,
		.families = ip_families,
		.parse = address_parse,
		.print = network_print,
		.print_value = host_print
	},
	[POOL_INT] = {
		.name = "int",
		.example = "A range of numbers is like 100-4094.",
		.column = COLUMN_NUMBER,
		.request = REQUEST_INT,
		.int8ranges = true,
		.families = number_families,
		.parse = number_parse,
		.print = number_print,
		.print_value = number_print
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

/* How its ranges are written, for hints. */
const char *
kind_example(PoolKind kind)
{
	return kinds[kind].example;
}

/* Find the kind with this name. */
bool
kind_find(const char *name, PoolKind *kind)
{
	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (strcmp(kinds[i].name, name) == 0)
		{
			*kind = (PoolKind) i;
			return true;
		}
	}
	return false;
}

/* The kind with the name in a row of alloc_pool; XX001 if there is none. */
PoolKind
kind_of_name(const char *name)
{
	PoolKind	kind;

	if (!kind_find(name, &kind))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table alloc_pool holds the kind \"%s\"", name)));
	return kind;
}

/* All that differs between kinds. */
const Kind *
kind_get(PoolKind kind)
{
	return &kinds[kind];
}

/* The name of the kind whose values are numbers: they have no width. */
const char *
kind_of_numbers(void)
{
	const Kind *kind = kinds;

	while (kind->families->width > 0)
		kind++;
	return kind->name;
}

/* The column of alloc_unit that has values of this kind. */
ValueColumn
kind_column(PoolKind kind)
{
	return kinds[kind].column;
}

/* Can values of this kind be divided into port chunks? */
bool
kind_has_ports(PoolKind kind)
{
	return kinds[kind].ports;
}

/* Can units of one pool differ in size? */
bool
kind_is_mixed(PoolKind kind, int port_chunk)
{
	return kinds[kind].sizes || port_chunk > 0;
}

/* The request that alloc_many() makes, unless port chunks are requested. */
RequestKind
kind_request(PoolKind kind)
{
	return kinds[kind].request;
}

/* The family of the given width, which the caller knows to exist. */
const Family *
kind_family_of_width(PoolKind kind, int width)
{
	const Family *family = kinds[kind].families;

	while (family->name != NULL && family->width != width)
		family++;
	Assert(family->name != NULL);
	return family;
}

/* The name of the family of that width, for messages. */
const char *
kind_family_name(PoolKind kind, int width)
{
	return kind_family_of_width(kind, width)->name;
}

/*
 * The value of alloc_pool.family for values of that width; 0 stands for NULL.
 */
int
kind_family(PoolKind kind, int width)
{
	return kind_family_of_width(kind, width)->code;
}

/*
 * Find the width of the kind's values, given a value of alloc_pool.family, or
 * 0 for NULL.
 */
bool
kind_find_width(PoolKind kind, int code, int *width)
{
	for (const Family *family = kinds[kind].families; family->name != NULL;
		 family++)
	{
		if (family->code == code)
		{
			*width = family->width;
			return true;
		}
	}
	return false;
}

/* The same for a row of alloc_pool; XX001 if the kind has no such family. */
int
kind_width(PoolKind kind, int code)
{
	int			width;

	if (!kind_find_width(kind, code, &width))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table alloc_pool holds family %d with kind \"%s\"",
						code, kinds[kind].name)));
	return width;
}

/* Can alloc_range contain these values as a range of such a pool? */
bool
kind_admits(PoolKind kind, int width, u128 first, u128 last)
{
	const Family *family = kind_family_of_width(kind, width);

	if (first > last || (last - first) >> family->range_bits != 0)
		return false;
	/* a shift by 128 would be undefined */
	return family->value_bits == 128 || last >> family->value_bits == 0;
}

/*
 * Values as text: each kind's own.
 */

/* Parse an address with or without a mask length. */
static char *
address_parse(const char *text, End *end)
{
	unsigned char bytes[16] = {0};
	int			family = strchr(text, ':') ? PGSQL_AF_INET6 : PGSQL_AF_INET;
	int			bits = pg_inet_net_pton(family, text, bytes, -1);

	if (bits < 0)
	{
		const char *slash = strchr(text, '/');

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
char *
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

/* Make an inet or cidr datum. */
Datum
address_datum(int width, u128 value, int masklen)
{
	inet	   *address = palloc0(sizeof(inet));

	Assert(width == 32 || width == 128);
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
