/*
 * text.c
 *		Ranges and units as text.
 */
#include "postgres.h"

#include <ctype.h>

#include "alloc/kind.h"

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

/* The mask of an address's host bits; width is not 0. */
static u128
host_bits(int width, int masklen)
{
	/* a shift by 128 would be undefined */
	return masklen == 0 && width == 128 ? U128_MAX :
		((u128) 1 << (width - masklen)) - 1;
}

/* Parse one end of a range, or a network; 22023 if it is malformed. */
static End
range_end(const Kind *kind, const char *range_text, const char *text)
{
	End			end;
	char	   *problem = kind->parse(text, &end);
	const Kind *other;
	int			length;

	if (problem == NULL)
		return end;

	/*
	 * A range of another kind: the kind was forgotten.  But twelve digits, or
	 * several dashes, are more likely a MAC address without colons.
	 */
	length = strcspn(range_text, "-");
	other = kind_of_text(pnstrdup(range_text, length));
	if (other != NULL && other != kind && length != 12 &&
		strchr(range_text, '-') == strrchr(range_text, '-'))
		raise_malformed("range", range_text, problem,
						psprintf("Ranges of %s are for pools of kind \"%s\".",
								 other->values, other->name));
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
	if (kind->print_network == NULL)
		return;
	network = first->value & ~host_bits(first->width, first->masklen);
	if (network != first->value)
		raise_malformed("range", text,
						"it has bits set to the right of its mask",
						psprintf("The network is %s.",
								 kind->print_network(first->width, network,
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
	const Kind *kind = kind_get(kind_id);
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
	family = kind_family_of_width(kind_id, from.width);
	if ((to.value - from.value) >> family->range_bits != 0)
		raise_malformed("range", text,
						psprintf("it is larger than %s", family->most),
						"Add only the parts that are needed.");
	*width = from.width;
	*first = from.value;
	*last = to.value;
}

/*
 * Find the ports at the end of a chunk's text, as unit_text() writes it.
 * Returns the colon before them, or NULL if there are none.
 */
static char *
find_ports(char *text)
{
	char	   *colon = strrchr(text, ':');

	/* before the ports there is an IPv6 address in brackets, or an IPv4 one */
	if (colon == NULL || colon == text ||
		(text[0] == '[' ? colon[-1] != ']' : strchr(text, ':') != colon))
		return NULL;
	return colon;
}

/*
 * Read ports, which are written as first-last, or as int4range prints them.
 * Returns false if they are malformed.
 */
bool
ports_parse(const char *text, int *first, int *last)
{
	bool		is_range = text[0] == '[';
	char	   *end;
	long		from;
	long		to;

	/* without a sign or blanks, which strtol() would accept */
	if (!isdigit((unsigned char) text[is_range ? 1 : 0]))
		return false;
	from = strtol(text + (is_range ? 1 : 0), &end, 10);
	if (*end != (is_range ? ',' : '-') || !isdigit((unsigned char) end[1]))
		return false;
	to = strtol(end + 1, &end, 10) - (is_range ? 1 : 0);
	if (strcmp(end, is_range ? ")" : "") != 0 || from > to || to > 65535)
		return false;
	*first = (int) from;
	*last = (int) to;
	return true;
}

/* Cut the ports behind the colon off the text, and the brackets. */
static void
cut_ports(char *text, char *colon)
{
	*colon = '\0';
	if (text[0] == '[')
	{
		colon[-1] = '\0';
		memmove(text, text + 1, colon - text - 1);
	}
}

/*
 * Read the ports at the end of a chunk's text and cut them off.  They are -1
 * if there are none.  Returns NULL, or what is wrong with them.
 */
char *
ports_split(const Pool *pool, char *text, int *first, int *last)
{
	/* ports can be named only where addresses are divided into chunks */
	char	   *colon = pool->port_chunk > 0 ? find_ports(text) : NULL;
	char	   *ports;

	*first = *last = -1;
	if (colon == NULL)
		return NULL;
	ports = colon + 1;
	/* a chunk that is one port can be named by it */
	if (pool->port_chunk == 1 && strchr(ports, '-') == NULL)
		ports = psprintf("%s-%s", ports, ports);
	if (ports[0] == '[' || !ports_parse(ports, first, last))
		return psprintf("\"%s\" is not a range of ports", colon + 1);
	cut_ports(text, colon);
	return NULL;
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
	const Kind *kind = kind_get(pool->kind);
	char	   *named = pstrdup(text);
	char	   *problem = ports_split(pool, named, first_port, last_port);
	End			end;

	if (problem != NULL)
		raise_malformed("value", text, problem,
						"Ports are from 0 to 65535, as in 10.0.0.1:0-1023.");
	problem = kind->parse(named, &end);
	if (problem != NULL)
		raise_malformed("value", text, problem, NULL);
	if (end.width != pool->width)
		raise_malformed("value", text,
						psprintf("pool \"%s\" has %s addresses", pool->name,
								 kind_family_name(pool->kind, pool->width)),
						NULL);
	*value = *last = end.value;
	if (end.width > 0)
		network_all(end.value & ~host_bits(end.width, end.masklen),
					end.width, end.masklen, value, last);
}

/* The mask length of a block; for a chunk, that of its address. */
int
unit_masklen(const Pool *pool, int order)
{
	return pool->width - Max(0, order - pool->space.chunk_bits);
}

/* A single value as text.  It has no mask, not even in a pool of prefixes. */
char *
value_text(PoolKind kind, int width, u128 value)
{
	return kind_get(kind)->print_value(width, value, width);
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

	value = kind_get(pool->kind)->print(pool->width,
										space_value(&pool->space, lo),
										unit_masklen(pool, order));
	/* a whole value; otherwise a chunk */
	if (pool->port_chunk == 0 || order >= pool->space.chunk_bits)
		return value;
	port = space_chunk(&pool->space, lo) * pool->port_chunk;
	return psprintf(pool->width == 32 ? "%s:%d-%d" : "[%s]:%d-%d",
					value, port, port + pool->port_chunk - 1);
}
