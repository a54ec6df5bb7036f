/*
 * wanted.c
 *		A value as text, as something that is requested from a pool.
 */
#include "postgres.h"

#include "alloc/json.h"
#include "alloc/kind.h"

/*
 * The ports in the text of a chunk, such as 10.0.0.1:0-16383 or
 * [2001:db8::1]:0-16383.  Returns the text of the address alone.
 */
static char *
split_ports(const Pool *pool, const char *text, int *first, int *last)
{
	char	   *address = pstrdup(text);
	char	   *colon = strrchr(address, ':');
	char	   *end;

	*first = *last = -1;
	if (pool->port_chunk == 0 || colon == NULL ||
		(pool->width == 128 && (address[0] != '[' || colon[-1] != ']')))
		return address;
	*first = strtol(colon + 1, &end, 10);
	*last = *end == '-' ? strtol(end + 1, &end, 10) : *first;
	if (*end != '\0' || end == colon + 1)
		*first = *last = -1;	/* parsing the address will fail */
	else
	{
		*colon = '\0';
		if (address[0] == '[')
		{
			colon[-1] = '\0';
			address++;
		}
	}
	return address;
}

/*
 * Let the request be for the value that the text stands for.  Returns NULL, or
 * what is wrong with it.  If lenient, the mask of an address is ignored: many
 * inventories have an address with the mask of its network.
 */
char *
request_value(const Pool *pool, const char *text, bool lenient,
			  Request *request)
{
	const Kind *kind = kind_get(pool->kind);
	End			end;
	int			first;
	int			last;
	char	   *problem = kind->parse(split_ports(pool, text, &first, &last),
									  &end);

	if (problem != NULL)
		return problem;
	request->exact = true;
	request->kind = first >= 0 ? REQUEST_PORTS : kind_request(pool->kind);
	request->value = end.value;
	request->width = end.width;
	request->first_port = first;
	if (first >= 0 &&
		(first % pool->port_chunk != 0 || first > 65535 ||
		 last != first + pool->port_chunk - 1))
		return psprintf("ports %d-%d are not a chunk of pool \"%s\"", first,
						last, pool->name);
	if (request->kind == REQUEST_PREFIX)
	{
		/* a shift by 128 would be undefined */
		u128		host = end.masklen == 0 ? U128_MAX :
			block_last(0, end.width - end.masklen);

		if ((end.value & host) != 0)
			return psprintf("\"%s\" has bits set to the right of its mask",
							text);
		request->masklen = end.masklen;
	}
	else if (end.masklen != end.width && !lenient)
		return psprintf("\"%s\" has a mask", text);
	return NULL;
}
