/*
 * space.c
 *		A pool's space: the values that it contains, and how they are numbered
 *		as slots.
 *
 * A value is an address or a number.  A pool consists of ranges of values.
 * Each value is one slot, or 2^chunk_bits slots where addresses are divided
 * into port chunks.  What is allocated is a block: 2^order slots, aligned.  A
 * chunk has order 0, a whole address order chunk_bits, and a prefix the number
 * of its host bits.  The tables and the searches deal with slots; values
 * appear only in arguments and results.
 *
 * This file calls no server function, allocates no memory and has no static
 * state.
 */
#include "space.h"

#include <string.h>

/*
 * Write n in decimal, with a terminating zero, to buf, which has room for
 * U128_DIGITS characters.  Returns the length.
 */
int
u128_print(u128 n, char *buf)
{
	char		reversed[U128_DIGITS];
	int			len = 0;

	do
	{
		reversed[len++] = '0' + (char) (n % 10);
		n /= 10;
	} while (n > 0);

	for (int i = 0; i < len; i++)
		buf[i] = reversed[len - 1 - i];
	buf[len] = '\0';
	return len;
}

/*
 * Read a decimal number.  Returns false if s contains anything but digits, or
 * is empty, or if the number is too large.
 */
bool
u128_parse(const char *s, u128 *n)
{
	u128		result = 0;

	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++)
	{
		unsigned	digit = (unsigned) (*s - '0');

		if (digit > 9 || result > (U128_MAX - digit) / 10)
			return false;
		result = result * 10 + digit;
	}
	*n = result;
	return true;
}

/* Read a number from nbytes bytes in network order. */
u128
u128_from_bytes(const unsigned char *bytes, int nbytes)
{
	u128		n = 0;

	for (int i = 0; i < nbytes; i++)
		n = (n << 8) | bytes[i];
	return n;
}

/* Write the lowest nbytes bytes of n in network order. */
void
u128_to_bytes(u128 n, unsigned char *bytes, int nbytes)
{
	for (int i = nbytes - 1; i >= 0; i--)
	{
		bytes[i] = (unsigned char) (n & 0xff);
		n >>= 8;
	}
}

/*
 * The first and last address of a network.  width is 32 or 128, and the host
 * bits of the network are zero.
 */
void
network_all(u128 network, int width, int masklen, u128 *first, u128 *last)
{
	int			host_bits = width - masklen;

	*first = network;
	/* a shift by 128 would be undefined */
	*last = host_bits == 128 ? U128_MAX : block_last(network, host_bits);
}

/*
 * The first and last address that a host can have: all but the network and
 * broadcast addresses of an IPv4 network up to /30, and all but the first
 * address (the anycast address of routers) of an IPv6 network up to /126.
 */
void
network_hosts(u128 network, int width, int masklen, u128 *first, u128 *last)
{
	network_all(network, width, masklen, first, last);
	if (width - masklen < 2)
		return;
	(*first)++;
	if (width == 32)
		(*last)--;
}

/*
 * The bits of a value that its slot leaves out.
 *
 * A slot is the value, followed by the number of the chunk.  It depends on the
 * value alone, so what the constraints enforce for slots holds for values,
 * too, whatever ranges a pool had and has.
 *
 * IPv6 addresses leave no room for the number of a chunk.  So their first
 * chunk_bits bits, the window, are left out.  They are known from the range
 * that the slot is in, which is why two ranges of a pool must not differ in
 * their windows only.
 */
static u128
value_window(u128 value, int chunk_bits)
{
	return chunk_bits == 0 ? 0 : value >> (128 - chunk_bits);
}

/*
 * Can the values of the range be numbered?  They must lie in one window.  The
 * very last slot must not be used, so that every block is followed by a slot.
 */
bool
range_fits(const Range *range, int chunk_bits)
{
	return value_window(range->first, chunk_bits) ==
		value_window(range->last, chunk_bits) &&
		range_slots(range, chunk_bits).last != U128_MAX;
}

/* Do two ranges with different values have slots in common? */
bool
ranges_collide(const Range *a, const Range *b, int chunk_bits)
{
	Extent		slots = range_slots(a, chunk_bits);
	Extent		others = range_slots(b, chunk_bits);

	return slots.first <= others.last && slots.last >= others.first;
}

/* The slots of a range. */
Extent
range_slots(const Range *range, int chunk_bits)
{
	Extent		slots;

	slots.first = range->first << chunk_bits;
	slots.last = (range->last << chunk_bits) | block_last(0, chunk_bits);
	return slots;
}

/* The last range that begins at or before the value, or NULL. */
static const Range *
range_until(const Space *space, u128 value)
{
	int			low = 0;
	int			high = space->nranges;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (space->ranges[middle].first <= value)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? &space->ranges[low - 1] : NULL;
}

/* The range that a value is in, or NULL. */
const Range *
space_range_of_value(const Space *space, u128 value)
{
	const Range *range = range_until(space, value);

	return range != NULL && value <= range->last ? range : NULL;
}

/* The value of a slot, if it lies in the same window as the value near. */
static u128
value_near(const Space *space, u128 near, u128 slot)
{
	u128		value = slot >> space->chunk_bits;

	if (space->chunk_bits > 0)
		value |= value_window(near, space->chunk_bits) <<
			(128 - space->chunk_bits);
	return value;
}

/* The range that a slot is in, or NULL. */
const Range *
space_range_of_slot(const Space *space, u128 slot)
{
	const Range *range = NULL;

	/*
	 * Try the window of each range.  All pools but some of IPv6 have only one.
	 */
	for (int i = 0; i < space->nranges && range == NULL; i++)
	{
		u128		near = space->ranges[i].first;

		if (i == 0 || value_window(near, space->chunk_bits) !=
			value_window(space->ranges[i - 1].first, space->chunk_bits))
			range = space_range_of_value(space, value_near(space, near, slot));
	}
	return range;
}

/* The first slot of a value. */
u128
space_slot(const Space *space, u128 value)
{
	return value << space->chunk_bits;
}

/*
 * The value that a slot belongs to.  If the slot is in no range, assume the
 * window of the first range.
 */
u128
space_value(const Space *space, u128 slot)
{
	const Range *range = NULL;

	if (space->chunk_bits > 0 && space->nranges > 0)
	{
		range = space_range_of_slot(space, slot);
		if (range == NULL)
			range = &space->ranges[0];
	}
	return value_near(space, range == NULL ? 0 : range->first, slot);
}

/* The number of the chunk in its address. */
int
space_chunk(const Space *space, u128 slot)
{
	return (int) (slot & (((u128) 1 << space->chunk_bits) - 1));
}

/* The first reserved extent that ends at or after the slot, or NULL. */
const Extent *
space_first_reserved(const Space *space, u128 slot)
{
	int			low = 0;
	int			high = space->nreserved;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (space->reserved[middle].last < slot)
			low = middle + 1;
		else
			high = middle;
	}
	return low < space->nreserved ? &space->reserved[low] : NULL;
}

/* Is any slot of the block reserved? */
bool
space_reserved(const Space *space, u128 slot, int order)
{
	const Extent *reserved = space_first_reserved(space, slot);

	return reserved != NULL && reserved->first <= block_last(slot, order);
}

/* Is the block a chunk that is not given out, because of its ports? */
bool
space_excluded(const Space *space, u128 slot, int order)
{
	int			chunk = space_chunk(space, slot);

	return space->excluded != NULL && order < space->chunk_bits &&
		(space->excluded[chunk / 64] >> (chunk % 64) & 1) != 0;
}

/* Are all chunks excluded? */
bool
space_all_excluded(const Space *space)
{
	u128		chunk = 0;

	while (chunk <= block_last(0, space->chunk_bits) &&
		   space_excluded(space, chunk, 0))
		chunk++;
	return chunk > block_last(0, space->chunk_bits);
}

/* The number of slots of the extent that are given out as chunks. */
u128
space_chunks(const Space *space, Extent slots)
{
	u128		whole = (u128) 1 << space->chunk_bits;
	u128		n = slots.last - slots.first + 1;
	u128		excluded = 0;

	if (space->excluded == NULL)
		return n;
	for (u128 i = 0; i < (n < whole ? n : whole); i++)
	{
		/* addresses that are there as a whole have the same chunks */
		if (space_excluded(space, slots.first + i, 0))
			excluded += (n - i + whole - 1) / whole;
	}
	return n - excluded;
}

/*
 * Can the block be given out?  It must lie wholly in one range that does not
 * drain, and none of its slots may be reserved or, if it is a chunk, excluded.
 */
bool
space_open(const Space *space, u128 slot, int order)
{
	const Range *range = space_range_of_slot(space, slot);

	return range != NULL && !range->draining &&
		block_last(slot, order) <=
		range_slots(range, space->chunk_bits).last &&
		!space_reserved(space, slot, order) &&
		!space_excluded(space, slot, order);
}

/* The number of slots of the extent that are not reserved. */
u128
space_unreserved(const Space *space, Extent slots)
{
	const Extent *reserved = space_first_reserved(space, slots.first);
	u128		n = slots.last - slots.first + 1;

	for (; reserved != NULL && reserved < space->reserved + space->nreserved &&
		 reserved->first <= slots.last; reserved++)
	{
		u128		first = reserved->first;
		u128		last = reserved->last;

		n -= (last < slots.last ? last : slots.last) -
			(first > slots.first ? first : slots.first) + 1;
	}
	return n;
}

/*
 * Find the lowest aligned block of 2^order slots that lies in the gap, has no
 * reserved slot and is not excluded.
 */
bool
space_fit(const Space *space, Extent gap, int order, u128 *slot)
{
	u128		mask = ((u128) 1 << order) - 1;
	u128		from = gap.first;

	for (;;)
	{
		u128		block;
		const Extent *reserved;

		/* the next line would wrap around */
		if (from > U128_MAX - mask)
			return false;
		block = (from + mask) & ~mask;
		if (block > gap.last || gap.last - block < mask)
			return false;

		reserved = space_first_reserved(space, block);
		if (reserved == NULL || reserved->first > block + mask)
		{
			if (!space_excluded(space, block, order))
			{
				*slot = block;
				return true;
			}
			from = block + mask + 1;
			continue;
		}
		/* go on behind the reservation, if there is anything */
		if (reserved->last == U128_MAX)
			return false;
		from = reserved->last + 1;
	}
}

/*
 * Find the lowest place in the gap for n aligned blocks of 2^order slots in a
 * row, none of which has a reserved slot.
 */
bool
space_fit_run(const Space *space, Extent gap, int order, int n, u128 *slot)
{
	u128		more = ((u128) (n > 1 ? n - 1 : 0)) << order;

	while (space_fit(space, gap, order, slot))
	{
		u128		last = block_last(*slot, order);
		const Extent *reserved = space_first_reserved(space, last);

		if (gap.last - last < more)
			return false;
		if (reserved == NULL || reserved->first > last + more)
			return true;
		/* go on behind the reservation, if there is anything */
		if (reserved->last >= gap.last)
			return false;
		gap.first = reserved->last + 1;
	}
	return false;
}

/* Do the slots of range i begin where those of the range before it end? */
static bool
is_adjacent(const Space *space, int i)
{
	return !space->ranges[i - 1].draining && !space->ranges[i].draining &&
		range_slots(&space->ranges[i - 1], space->chunk_bits).last + 1 ==
		range_slots(&space->ranges[i], space->chunk_bits).first;
}

/*
 * The slots of range i and of those that follow without a gap, if none of them
 * is draining.  *next is set to the range after them.
 */
Extent
space_part(const Space *space, int i, int *next)
{
	Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

	for (*next = i + 1; *next < space->nranges && is_adjacent(space, *next);
		 (*next)++)
		slots.last = range_slots(&space->ranges[*next],
								 space->chunk_bits).last;
	return slots;
}

/* Do all slots of the extent lie in ranges that are not draining? */
bool
space_covers(const Space *space, Extent slots)
{
	const Range *range = space_range_of_slot(space, slots.first);
	int			next;

	return range != NULL && !range->draining &&
		space_part(space, (int) (range - space->ranges),
				   &next).last >= slots.last;
}

/* The slots of the values from first to last. */
Extent
slots_of_values(const Space *space, u128 first, u128 last)
{
	Extent		slots;

	slots.first = space_slot(space, first);
	slots.last = block_last(space_slot(space, last), space->chunk_bits);
	return slots;
}
