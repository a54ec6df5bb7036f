/*
 * wanted.c
 *		A value as text, as something that is requested from a pool.
 */
#include "postgres.h"

#include "alloc/json.h"
#include "alloc/kind.h"

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
	char	   *address = pstrdup(text);
	End			end;
	int			first;
	int			last;
	char	   *problem = ports_split(pool, address, &first, &last);

	if (problem == NULL)
		problem = kind->parse(address, &end);
	if (problem != NULL)
		return problem;
	request->exact = true;
	request->kind = first >= 0 ? REQUEST_PORTS : kind_request(pool->kind);
	request->value = end.value;
	request->width = end.width;
	request->first_port = first;
	if (first >= 0 &&
		(first % pool->port_chunk != 0 ||
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
