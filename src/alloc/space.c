/*
 * space.c
 *		A pool's space: which values it holds and how they are numbered.
 *
 * A value is an address or a number.  A pool consists of ranges of values.
 * Each value is one slot, or 2^chunk_bits of them where an address is divided
 * into port chunks, and what is allocated is a block: 2^order slots, aligned.
 * A chunk has order 0, a whole address order chunk_bits, a prefix the order
 * of its host bits.  Everything that the database stores and searches is
 * about slots; values appear at the edge only.
 *
 * Slots are numbered from each range's base on.  Bases are given out nearly
 * side by side, so slots are small numbers even where the addresses are IPv6
 * ones; but a base agrees with its range's first value in as many low bits as a
 * block inside the range can have, so that a block is aligned as a value if
 * and only if it is aligned as a slot.
 *
 * Ranges stand in the order of their values, which is what "lowest" means;
 * slots ascend with values inside a range, not from one range to the next.
 *
 * No server call, no memory allocation, no static state.
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
 * Read a decimal number that is all of s: digits, nothing else.  Returns
 * false if it is not one, or too large.
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

/* The number that nbytes bytes in network order are. */
u128
u128_from_bytes(const unsigned char *bytes, int nbytes)
{
	u128		n = 0;

	for (int i = 0; i < nbytes; i++)
		n = (n << 8) | bytes[i];
	return n;
}

/* The reverse: the lowest nbytes bytes of n in network order. */
void
u128_to_bytes(u128 n, unsigned char *bytes, int nbytes)
{
	for (int i = nbytes - 1; i >= 0; i--)
	{
		bytes[i] = (unsigned char) (n & 0xff);
		n >>= 8;
	}
}

/* All values of a network; width is 32 or 128, and its host bits are zero. */
void
network_all(u128 network, int width, int masklen, u128 *first, u128 *last)
{
	int			host_bits = width - masklen;

	*first = network;
	*last = host_bits == 128 ? U128_MAX : block_last(network, host_bits);
}

/*
 * The values of a network that hosts may have: not the network and broadcast
 * addresses of an IPv4 network of /30 or shorter, not the first (the routers'
 * anycast) address of an IPv6 one of /126 or shorter.
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
 * Choose a base for the range of values first to last: the least one that is
 * not below at_least and keeps blocks aligned.  Returns false if the space of
 * slots is too small for it.
 */
bool
range_base(u128 first, u128 last, int chunk_bits, u128 at_least, u128 *base)
{
	u128		nvalues_less_one = last - first;
	u128		slots_less_one;
	u128		mask = 0;
	u128		candidate;

	if (chunk_bits > 0 && nvalues_less_one >> (128 - chunk_bits) != 0)
		return false;
	slots_less_one = (nvalues_less_one << chunk_bits) |
		(((u128) 1 << chunk_bits) - 1);

	/* mask covers the bits in which base and first slot have to agree */
	while (mask < slots_less_one)
		mask = (mask << 1) | 1;

	/* the wrap of the shift does no harm: only low bits are looked at */
	candidate = (at_least & ~mask) | ((first << chunk_bits) & mask);
	if (candidate < at_least)
	{
		if (mask == U128_MAX || candidate > U128_MAX - mask - 1)
			return false;
		candidate += mask + 1;
	}
	if (candidate > U128_MAX - slots_less_one)
		return false;
	*base = candidate;
	return true;
}

/* The slots of a range. */
Extent
range_slots(const Range *range, int chunk_bits)
{
	Extent		slots;

	slots.first = range->base;
	slots.last = range->base +
		(((range->last - range->first) << chunk_bits) |
		 (((u128) 1 << chunk_bits) - 1));
	return slots;
}

/* The range that a value is in, or NULL. */
const Range *
space_range_of_value(const Space *space, u128 value)
{
	for (int i = 0; i < space->nranges; i++)
	{
		const Range *range = &space->ranges[i];

		if (value >= range->first && value <= range->last)
			return range;
	}
	return NULL;
}

/* The range that a slot is in, or NULL. */
const Range *
space_range_of_slot(const Space *space, u128 slot)
{
	for (int i = 0; i < space->nranges; i++)
	{
		Extent		slots = range_slots(&space->ranges[i], space->chunk_bits);

		if (slot >= slots.first && slot <= slots.last)
			return &space->ranges[i];
	}
	return NULL;
}

/* The first slot of a value of the range. */
u128
space_slot(const Space *space, const Range *range, u128 value)
{
	return range->base + ((value - range->first) << space->chunk_bits);
}

/* The value that a slot of the range belongs to. */
u128
space_value(const Space *space, const Range *range, u128 slot)
{
	return range->first + ((slot - range->base) >> space->chunk_bits);
}

/* Which of its value's chunks a slot is. */
int
space_chunk(const Space *space, u128 slot)
{
	return (int) (slot & (((u128) 1 << space->chunk_bits) - 1));
}

/* The first reserved extent that ends at slot or after it, or NULL. */
static const Extent *
reserved_from(const Space *space, u128 slot)
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
	const Extent *reserved = reserved_from(space, slot);

	return reserved != NULL && reserved->first <= block_last(slot, order);
}

/*
 * Find the lowest aligned block of 2^order slots that lies in the gap and is
 * not reserved in any part.
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

		if (from > U128_MAX - mask)
			return false;
		block = (from + mask) & ~mask;
		if (block > gap.last || gap.last - block < mask)
			return false;

		reserved = reserved_from(space, block);
		if (reserved == NULL || reserved->first > block + mask)
		{
			*slot = block;
			return true;
		}
		if (reserved->last == U128_MAX)
			return false;
		from = reserved->last + 1;
	}
}
