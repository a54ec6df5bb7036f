/*
 * resolve.c
 *		What a request asks for, in slots of the pool.
 */
#include "postgres.h"

#include "alloc/search.h"

/* Where n blocks in a row lie in what a request can get. */
static Place
place_of_blocks(const Space *space, u128 lo, int order, int n)
{
	const Range *range = space_range_of_slot(space, lo);
	Extent		slots = run_slots(lo, order, n);
	const Extent *reserved;

	/* one block must lie in one range */
	if (range == NULL || range->draining || slots.last < lo ||
		(n > 1 ? !space_covers(space, slots) :
		 slots.last > range_slots(range, space->chunk_bits).last))
		return PLACE_OUTSIDE;
	reserved = space_first_reserved(space, lo);
	if (reserved != NULL && reserved->first <= slots.last)
		return PLACE_RESERVED;
	return space_excluded(space, lo, order) ? PLACE_EXCLUDED : PLACE_OPEN;
}

/*
 * Set what part of the pool the request can get.  What is reserved on request
 * can be had by who names a value.
 */
static void
resolve_space(const Pool *pool, Request *request)
{
	Space	   *space = &request->space;

	*space = pool->space;
	if (request->exact || request->of_value)
	{
		space->nreserved = pool->nrefused;
		space->reserved = pool->refused;
	}
	if (!request->has_exclude)
		return;

	/*
	 * A request that waits is resolved several times.  Meanwhile the pool may
	 * have been dropped and created with other chunks, so have room for any.
	 */
	if (request->excluded == NULL)
	{
		request->exclude_chunks = ports_new(1);
		request->excluded = ports_new(1);
	}
	memset(request->exclude_chunks, 0, PORTS / 8);
	ports_exclude(request->exclude_chunks, request->exclude,
				  pool->port_chunk);
	for (int i = 0; i < Max(1, (1 << space->chunk_bits) / 64); i++)
		request->excluded[i] = request->exclude_chunks[i] |
			(space->excluded == NULL ? 0 : space->excluded[i]);
	space->excluded = request->excluded;
}

/* Set where the value lies that the request names. */
static void
resolve_place(const Pool *pool, Request *request)
{
	Space	   *space = &request->space;

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
	else if (request->of_value)
	{
		const Range *range = space_range_of_value(space, request->value);

		request->place = place_of_blocks(space, request->lo,
										 space->chunk_bits, 1);
		if (range == NULL)
			return;
		/* search in this address only */
		request->only = *range;
		request->only.first = request->only.last = request->value;
		space->ranges = &request->only;
		space->nranges = 1;
	}
	else
	{
		if (request->kind == REQUEST_PORTS)
			request->lo += request->first_port / pool->port_chunk;
		request->place = place_of_blocks(space, request->lo, request->order,
										 request->n);
	}
}

/* Raise 22023 unless a chunk begins with the port that the request names. */
static void
require_chunk(const Pool *pool, const Request *request)
{
	if (request->first_port % pool->port_chunk != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no chunk of pool \"%s\" begins with port %d",
						pool->name, request->first_port),
				 errhint("Chunks begin with multiples of %d.",
						 pool->port_chunk)));
}

/* Raise 22023: the pool is not of the kind that the request needs. */
pg_noreturn static void
raise_wrong_kind(const Pool *pool, RequestKind kind, const char *function)
{
	static const char *const wanted[] = {
		[REQUEST_IP] = "addresses",
		[REQUEST_PORTS] = "addresses divided into port chunks",
		[REQUEST_PREFIX] = "prefixes",
		[REQUEST_INT] = "numbers",
		[REQUEST_MAC] = "MAC addresses",
		[REQUEST_MAC8] = "MAC addresses of 8 bytes",
		[REQUEST_COUNT] = "kind count"
	};

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s() cannot allocate from pool \"%s\"", function,
					pool->name),
			 errhint("It needs a pool of %s.", wanted[kind])));
}

/*
 * Raise 22023 unless the pool is counted.  Who has waited for the pool's lock
 * must ask again: a pool of another kind may have got its name.
 */
void
resolve_require_counted(const Pool *pool, const char *function)
{
	if (!pool->counted)
		raise_wrong_kind(pool, REQUEST_COUNT, function);
}

/*
 * Set the request's fields that are in slots of the pool.  Raises 22023 if the
 * pool could never have such a unit.
 */
void
resolve_request(const Pool *pool, Request *request)
{
	bool		fits = request->kind == REQUEST_PORTS ? pool->port_chunk > 0 :
		request->kind == kind_request(pool->kind);

	switch (request->kind)
	{
		case REQUEST_IP:
		case REQUEST_INT:
		case REQUEST_MAC:
		case REQUEST_MAC8:
			request->order = pool->space.chunk_bits;
			break;
		case REQUEST_PORTS:
			request->order = 0;
			break;
		case REQUEST_PREFIX:
			request->order = pool->width - request->masklen;
			break;
		case REQUEST_COUNT:
			request->order = 0;
			break;
	}
	if (!fits)
		raise_wrong_kind(pool, request->kind, request->function);
	if (request->kind == REQUEST_PREFIX &&
		(request->masklen < 0 || request->order < 0 ||
		 request->order > MAX_PREFIX_ORDER))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid mask length: %d", request->masklen),
				 errhint("The pool has addresses of %d bits, and prefixes of at most %d of them for hosts.",
						 pool->width, Min(pool->width, MAX_PREFIX_ORDER))));
	if (request->kind == REQUEST_PORTS && request->exact)
		require_chunk(pool, request);
	if ((request->exact || request->of_value) &&
		request->width != pool->width)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the address requested is not of the family of pool \"%s\"",
						pool->name),
				 errhint("The pool has %s addresses.",
						 kind_family_name(pool->kind, pool->width))));
	resolve_space(pool, request);
	if (request->exact || request->of_value)
		resolve_place(pool, request);
}

/*
 * Could the request get the unit that its key had before, if nobody has it?
 */
bool
resolve_is_open(const Request *request, const SlotRow *unit)
{
	return place_of_blocks(&request->space, unit->lo, unit->order,
						   unit->run_size) == PLACE_OPEN;
}

/* Does the unit match the request? */
bool
resolve_is_same(const Request *request, const SlotRow *unit)
{
	u128		slot = unit->lo;

	if (request->order != unit->order ||
		Max(1, request->n) != Max(1, unit->run_size))
		return false;
	if (request->of_value)
		slot &= ~block_last(0, request->space.chunk_bits);
	if ((request->exact || request->of_value) && request->lo != slot)
		return false;
	if (request->exclude_chunks != NULL)
	{
		const Space its = {
			.chunk_bits = request->space.chunk_bits,
			.excluded = request->exclude_chunks
		};

		return !space_excluded(&its, unit->lo, unit->order);
	}
	return true;
}

/* The value that the request names, as text. */
char *
resolve_text(const Pool *pool, const Request *request)
{
	return unit_text(pool, request->lo, request->of_value ?
					 pool->space.chunk_bits : request->order);
}

/*
 * Raise 22023 if the pool could never have such a unit, whether its values are
 * held, reserved, draining or free: if no range is as large as the requested
 * prefix, or if all chunks are excluded.
 */
void
resolve_check_size(const Pool *pool, const Request *request)
{
	const Space unreserved = {0};
	u128		lo;

	if (request->kind == REQUEST_PORTS && space_all_excluded(&request->space))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("all chunks of pool \"%s\" have excluded ports",
						pool->name),
				 errhint("A chunk has %d ports, and is excluded if one of them is.",
						 pool->port_chunk)));
	if (request->kind != REQUEST_PREFIX)
		return;

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
			 request->position == NULL ? 0 :
			 errdetail_internal("{\"position\": \"%s.masklen\"}",
								request->position),
			 errhint("Request a larger masklen, or add a range to the pool that has room for it.")));
}
