/*
 * space.c (test)
 *		Claim: values and slots are the same thing under two names, blocks are
 *		aligned in both, a fit is the lowest one that there is; up to the last
 *		bit of 128.
 */
#include "../../src/alloc/space.c"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void
test_numbers(void)
{
	static const char *const good[] = {
		"0", "7", "18446744073709551616",
		"340282366920938463463374607431768211455"
	};
	static const char *const bad[] = {
		"", "-1", "+1", " 1", "1 ", "1.0", "x",
		"340282366920938463463374607431768211456",
		"999999999999999999999999999999999999999999"
	};
	char		buf[U128_DIGITS];
	unsigned char bytes[16];
	u128		n;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
	{
		assert(u128_parse(good[i], &n));
		assert(u128_print(n, buf) == (int) strlen(good[i]));
		assert(strcmp(buf, good[i]) == 0);
		u128_to_bytes(n, bytes, 16);
		assert(u128_from_bytes(bytes, 16) == n);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert(!u128_parse(bad[i], &n));
}

static void
test_networks(void)
{
	u128		first;
	u128		last;

	network_hosts(0x0a000000, 32, 24, &first, &last);
	assert(first == 0x0a000001 && last == 0x0a0000fe);
	network_hosts(0x0a000000, 32, 30, &first, &last);
	assert(first == 0x0a000001 && last == 0x0a000002);
	network_hosts(0x0a000000, 32, 31, &first, &last);
	assert(first == 0x0a000000 && last == 0x0a000001);
	network_hosts(0x0a000000, 32, 32, &first, &last);
	assert(first == 0x0a000000 && last == 0x0a000000);
	network_hosts(0, 128, 126, &first, &last);
	assert(first == 1 && last == 3);
	network_hosts(0, 128, 127, &first, &last);
	assert(first == 0 && last == 1);
	network_all(0, 128, 0, &first, &last);
	assert(first == 0 && last == U128_MAX);
}

/* All ranges of small numbers: slots map back, and blocks stay aligned. */
static void
test_bases(void)
{
	u128		base;

	for (unsigned first = 0; first < 20; first++)
		for (unsigned last = first; last < 40; last++)
			for (int chunk_bits = 0; chunk_bits < 3; chunk_bits++)
				for (unsigned at_least = 0; at_least < 70; at_least += 3)
				{
					Range		range = {.first = first, .last = last};
					Space		space = {.chunk_bits = chunk_bits,.nranges = 1,
					.ranges = &range};
					Extent		slots;

					assert(range_base(first, last, chunk_bits, at_least,
									  &range.base));
					assert(range.base >= at_least);
					slots = range_slots(&range, chunk_bits);
					assert(slots.last - slots.first + 1 ==
						   (u128) (last - first + 1) << chunk_bits);
					for (unsigned value = first; value <= last; value++)
					{
						u128		slot = space_slot(&space, &range, value);

						assert(slot >= slots.first && slot <= slots.last);
						assert(space_value(&space, &range, slot) == value);
						assert(space_chunk(&space, slot) == 0);
						assert(space_range_of_slot(&space, slot) == &range);
						assert(space_range_of_value(&space, value) == &range);
						/* the alignment that matters: of blocks that fit */
						for (unsigned size = 1; size <= last - first + 1; size *= 2)
							assert((value % size == 0) ==
								   (slot % ((u128) size << chunk_bits) == 0));
					}
				}

	/* to the end of the space, and not beyond */
	assert(range_base(U128_MAX, U128_MAX, 0, U128_MAX, &base));
	assert(base == U128_MAX);
	assert(range_base(0, U128_MAX, 0, 0, &base) && base == 0);
	assert(!range_base(0, U128_MAX, 0, 1, &base));
	assert(!range_base(0, U128_MAX, 1, 0, &base));
	assert(!range_base(0, 1, 0, U128_MAX, &base));
}

/* The fit against one that tries every slot. */
static void
test_fit(void)
{
	for (int round = 0; round < 20000; round++)
	{
		Extent		reserved[3];
		Space		space = {.reserved = reserved};
		unsigned	at = rand() % 8;
		Extent		gap = {rand() % 32, 0};
		int			order = rand() % 5;
		u128		found = 0;
		u128		expected = U128_MAX;

		gap.last = gap.first + rand() % 40;
		for (int i = 0; i < rand() % 4; i++)
		{
			reserved[i].first = at;
			reserved[i].last = at + rand() % 6;
			at = (unsigned) reserved[i].last + 1 + rand() % 10;
			space.nreserved = i + 1;
		}
		for (u128 slot = gap.first; slot <= gap.last; slot++)
			if (slot % ((u128) 1 << order) == 0 &&
				block_last(slot, order) <= gap.last &&
				!space_reserved(&space, slot, order))
			{
				expected = slot;
				break;
			}
		if (space_fit(&space, gap, order, &found))
			assert(found == expected);
		else
			assert(expected == U128_MAX);
	}

	{
		Space		space = {0};
		Extent		gap = {U128_MAX - 5, U128_MAX};
		u128		slot;

		assert(space_fit(&space, gap, 2, &slot) && slot == U128_MAX - 3);
		assert(!space_fit(&space, gap, 3, &slot));
	}
}

int
main(void)
{
	test_numbers();
	test_networks();
	test_bases();
	test_fit();
	puts("ok: space");
	return 0;
}
