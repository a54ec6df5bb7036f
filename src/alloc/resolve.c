/*
 * resolve.c
 *		What a request asks for, in slots of the pool.
 */
#include "postgres.h"

#include "alloc/alloc.h"

/* Where a block lies. */
static Place
place_of_block(const Space *space, u128 lo, int order)
{
	const Range *range = space_range_of_slot(space, lo);

	if (range == NULL || range->draining ||
		block_last(lo, order) > range_slots(range, space->chunk_bits).last)
		return PLACE_OUTSIDE;
	return space_reserved(space, lo, order) ? PLACE_RESERVED : PLACE_OPEN;
}

/*
 * Set the request's fields that are in slots of the pool.  Raises 22023 if the
 * pool could never have such a unit.
 */
void
resolve_request(const Pool *pool, Request *request)
{
	const Space *space = &pool->space;
	static const char *const wanted[] = {
		[REQUEST_IP] = "addresses",
		[REQUEST_PORTS] = "addresses divided into port chunks",
		[REQUEST_PREFIX] = "prefixes",
		[REQUEST_INT] = "numbers",
		[REQUEST_MAC] = "MAC addresses",
		[REQUEST_MAC8] = "MAC addresses of 8 bytes"
	};
	bool		fits = request->kind == REQUEST_PORTS ? pool->port_chunk > 0 :
		request->kind == kind_request(pool->kind);

	switch (request->kind)
	{
		case REQUEST_IP:
		case REQUEST_INT:
		case REQUEST_MAC:
		case REQUEST_MAC8:
			request->order = space->chunk_bits;
			break;
		case REQUEST_PORTS:
			request->order = 0;
			break;
		case REQUEST_PREFIX:
			request->order = pool->width - request->masklen;
			break;
	}
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s() cannot allocate from pool \"%s\"",
						request->function, pool->name),
				 errhint("It needs a pool of %s.", wanted[request->kind])));
	if (request->kind == REQUEST_PREFIX &&
		(request->masklen < 0 || request->order < 0 ||
		 request->order > MAX_PREFIX_ORDER))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mask length: %d", request->masklen),
				 errhint("The pool has addresses of %d bits, and prefixes of at most %d of them for hosts.",
						 pool->width, Min(pool->width, MAX_PREFIX_ORDER))));
	if (!request->exact)
		return;

	if (request->width != pool->width)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the address requested is not of the family of pool \"%s\"",
						pool->name),
				 errhint("The pool has %s addresses.",
						 kind_family_name(pool->kind, pool->width))));
	/* only now the value that is requested, if one is */
	request->lo = space_slot(space, request->value);
	if (space_value(space, request->lo) != request->value)
	{
		/*
		 * An IPv6 address of a window that the pool does not have; no unit has
		 * the last slot.
		 */
		request->lo = U128_MAX;
		request->place = PLACE_OUTSIDE;
	}
	else
		request->place = place_of_block(space, request->lo, request->order);
}

/* Does the unit match the request? */
bool
resolve_is_same(const Request *request, const SlotRow *unit)
{
	return request->order == unit->order &&
		(!request->exact || request->lo == unit->lo);
}

/*
 * Raise 22023 if no range of the pool is as large as the requested prefix,
 * whether its values are held, reserved, draining or free.
 */
void
resolve_check_size(const Pool *pool, const Request *request)
{
	const Space unreserved = {0};
	u128		lo;

	for (int i = 0; i < pool->space.nranges; i++)
	{
		if (space_fit(&unreserved,
					  range_slots(&pool->space.ranges[i],
								  pool->space.chunk_bits),
					  request->order, &lo))
			return;
	}
	/* all ranges have been removed: the pool is exhausted */
	if (pool->space.nranges == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("no range of pool \"%s\" has room for a /%d", pool->name,
					request->masklen),
			 errhint("Request a larger masklen, or add a range to the pool that has room for it.")));
}
