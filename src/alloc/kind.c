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
#include "utils/fmgrprotos.h"
#include "utils/inet.h"

#include "alloc/kind.h"

static char *address_parse(const char *text, End *end);
static char *host_print(int width, u128 value, int masklen);
static char *number_parse(const char *text, End *end);
static char *number_print(int width, u128 value, int masklen);
static char *network_print(int width, u128 value, int masklen);
static char *mac_parse(const char *text, End *end);
static char *mac8_parse(const char *text, End *end);
static char *mac_print(int width, u128 value, int masklen);
static char *mac_network_print(int width, u128 value, int masklen);

static const Family ip_families[] = {
	{"IPv4", 4, 32, 32, 24, "an IPv4 /8"},
	{"IPv6", 6, 128, 128, 96, "an IPv6 /32"},
	{0}
};

static const Family number_families[] = {
	{"number", 0, 0, 63, 63, "all of bigint"},
	{0}
};

static const Family mac_families[] = {
	{"MAC address", 0, 48, 48, 48, "all of macaddr"},
	{0}
};

static const Family mac8_families[] = {
	{"MAC address", 0, 64, 64, 64, "all of macaddr8"},
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
		.print_value = host_print,
		.print_network = network_print
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
		.print_value = host_print,
		.print_network = network_print
	},
	[POOL_INT] = {
		.name = "int",
		.example = "A range of numbers is like 100-4094.",
		.values = "numbers",
		.column = COLUMN_NUMBER,
		.request = REQUEST_INT,
		.int8ranges = true,
		.families = number_families,
		.parse = number_parse,
		.print = number_print,
		.print_value = number_print
	},
	[POOL_MAC] = {
		.name = "mac",
		.example = "A range is like 02:00:00:00:00:00-02:00:00:00:ff:ff or aa:bb:cc:00:00:00/24, with colons.",
		.values = "MAC addresses of 6 bytes",
		.column = COLUMN_MAC,
		.request = REQUEST_MAC,
		.families = mac_families,
		.parse = mac_parse,
		.print = mac_print,
		.print_value = mac_print,
		.print_network = mac_network_print
	},
	[POOL_MAC8] = {
		.name = "mac8",
		.example = "A range is like 02:00:00:00:00:00:00:00-02:00:00:00:00:00:ff:ff or aa:bb:cc:00:00:00:00:00/24, with colons.",
		.values = "MAC addresses of 8 bytes",
		.column = COLUMN_MAC,
		.request = REQUEST_MAC8,
		.families = mac8_families,
		.parse = mac8_parse,
		.print = mac_print,
		.print_value = mac_print,
		.print_network = mac_network_print
	},
	[POOL_COUNT] = {
		.name = "count",
		.example = "A counted pool has a capacity, but no ranges.",
		.column = COLUMN_NONE,
		.request = REQUEST_COUNT,
		.counted = true,
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

/*
 * The kind, other than addresses, whose values this text could be, or NULL if
 * there is none.
 */
const Kind *
kind_of_text(const char *text)
{
	for (int i = 0; i < lengthof(kinds); i++)
	{
		End			end;

		if (kinds[i].values != NULL && kinds[i].parse(text, &end) == NULL)
			return &kinds[i];
	}
	return NULL;
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

/* Does a key have a share of the pool's capacity, rather than values? */
bool
kind_is_counted(PoolKind kind)
{
	return kinds[kind].counted;
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
 * Parse a MAC address of nbytes bytes, written with colons, with or without a
 * mask length.
 */
static char *
parse_mac(const char *text, int nbytes, End *end)
{
	const char *at = text;
	int			n = 0;
	int			masklen = nbytes * 8;

	end->value = 0;
	do
	{
		int			digits = strspn(at, "0123456789abcdefABCDEF");

		if (digits < 1 || digits > 2)
			return psprintf("\"%s\" is not a MAC address with colons", text);
		if (n < nbytes)
			end->value = end->value << 8 | strtoul(at, NULL, 16);
		n++;
		at += digits;
	} while (*at == ':' && at++);

	if (*at == '/')
	{
		/* at most two digits, so it cannot overflow */
		if (strspn(at + 1, "0123456789") != strlen(at + 1) ||
			at[1] == '\0' || strlen(at + 1) > 2 || atoi(at + 1) > masklen)
			return psprintf("\"%s\" is not the length of a mask", at + 1);
		masklen = atoi(at + 1);
	}
	else if (*at != '\0')
		return psprintf("\"%s\" is not a MAC address with colons", text);
	if (n == 1)
		return psprintf("\"%s\" is not a MAC address with colons", text);
	if (n != nbytes)
		return psprintf("\"%s\" has %d bytes instead of %d", text, n, nbytes);
	end->width = nbytes * 8;
	end->masklen = masklen;
	return NULL;
}

/* Parse a macaddr. */
static char *
mac_parse(const char *text, End *end)
{
	return parse_mac(text, 6, end);
}

/* Parse a macaddr8. */
static char *
mac8_parse(const char *text, End *end)
{
	return parse_mac(text, 8, end);
}

/* A MAC address as macaddr and macaddr8 print it. */
static char *
mac_print(int width, u128 value, int masklen)
{
	char	   *text = palloc(3 * (width / 8) + 1);

	for (int i = 0; i < width / 8; i++)
		sprintf(text + 3 * i, "%02x:",
				(unsigned) (value >> (width - 8 * (i + 1))) & 0xff);
	/* no colon behind the last byte */
	text[3 * (width / 8) - 1] = '\0';
	return text;
}

/* A MAC address with a mask. */
static char *
mac_network_print(int width, u128 value, int masklen)
{
	return psprintf("%s/%d", mac_print(width, value, width), masklen);
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

/* Make a macaddr datum. */
Datum
macaddr_datum(u128 value)
{
	unsigned char *bytes = palloc(sizeof(macaddr));

	StaticAssertStmt(sizeof(macaddr) == 6, "macaddr has 6 bytes");
	u128_to_bytes(value, bytes, sizeof(macaddr));
	return PointerGetDatum(bytes);
}

/* The value of a macaddr datum. */
u128
macaddr_value(Datum address)
{
	return u128_from_bytes((unsigned char *) DatumGetPointer(address),
						   sizeof(macaddr));
}

/* Make a macaddr8 datum. */
Datum
macaddr8_datum(u128 value)
{
	unsigned char *bytes = palloc(sizeof(macaddr8));

	StaticAssertStmt(sizeof(macaddr8) == 8, "macaddr8 has 8 bytes");
	u128_to_bytes(value, bytes, sizeof(macaddr8));
	return PointerGetDatum(bytes);
}

/* The value of a macaddr8 datum. */
u128
macaddr8_value(Datum address)
{
	return u128_from_bytes((unsigned char *) DatumGetPointer(address),
						   sizeof(macaddr8));
}

/*
 * A value of a kind with MAC addresses as macaddr8.  PostgreSQL's cast puts
 * ff:fe into the middle of a macaddr.
 */
Datum
kind_macaddr8(PoolKind kind, u128 value)
{
	return kind == POOL_MAC8 ? macaddr8_datum(value) :
		DirectFunctionCall1(macaddrtomacaddr8, macaddr_datum(value));
}
