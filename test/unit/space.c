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
test_slots(void)
{
	for (unsigned first = 0; first < 20; first++)
		for (unsigned last = first; last < 40; last++)
			for (int chunk_bits = 0; chunk_bits < 3; chunk_bits++)
			{
				Range		range = {.first = first,.last = last};
				Space		space = {
					.chunk_bits = chunk_bits,
					.nranges = 1,
					.ranges = &range
				};
				Extent		slots = range_slots(&range, chunk_bits);

				assert(range_fits(&range, chunk_bits));
				assert(slots.last - slots.first + 1 ==
					   (u128) (last - first + 1) << chunk_bits);
				for (unsigned value = first; value <= last; value++)
				{
					u128		slot = space_slot(&space, value);

					assert(slot >= slots.first && slot <= slots.last);
					assert(space_value(&space, slot) == value);
					assert(space_chunk(&space, slot) == 0);
					assert(space_range_of_slot(&space, slot) == &range);
					assert(space_range_of_value(&space, value) == &range);
					/* the alignment that matters: of blocks that fit */
					for (unsigned size = 1; size <= last - first + 1;
						 size *= 2)
						assert((value % size == 0) ==
							   (slot % ((u128) size << chunk_bits) == 0));
				}
			}
}

/* Many ranges: each slot is found in the one that has it, or in none. */
static void
test_ranges(void)
{
	Range		ranges[50];
	Space		space = {.ranges = ranges,.nranges = 50};

	for (int i = 0; i < 50; i++)
	{
		ranges[i].first = 10 * i + 3;
		ranges[i].last = 10 * i + 3 + i % 7;
		ranges[i].draining = i % 5 == 4;
	}
	for (unsigned slot = 0; slot < 520; slot++)
	{
		const Range *range = space_range_of_slot(&space, slot);
		const Range *expected = NULL;

		for (int i = 0; i < 50; i++)
			if (slot >= ranges[i].first && slot <= ranges[i].last)
				expected = &ranges[i];
		assert(range == expected);
		for (int order = 0; order < 4; order++)
			assert(space_open(&space, slot, order) ==
				   (range != NULL && !range->draining &&
					block_last(slot, order) <= range->last));
	}
}

/* Where a chunk's number leaves no room for all of a value. */
static void
test_windows(void)
{
	const u128	a = (u128) 0x2001 << 112;
	const u128	b = (u128) 0xfd00 << 112;
	Range		ranges[2] = {{.first = a + 5,.last = a + 90},
	{.first = b + 91,.last = b + 99}};
	Space		space = {.chunk_bits = 16,.nranges = 2,.ranges = ranges};
	Range		wide = {.first = a - 1,.last = a};
	Range		last = {.first = U128_MAX - 1,.last = U128_MAX};

	for (int i = 0; i < 2; i++)
	{
		assert(range_fits(&ranges[i], 16));
		for (u128 value = ranges[i].first; value <= ranges[i].last; value++)
		{
			u128		slot = space_slot(&space, value);

			assert(space_value(&space, slot + 7) == value);
			assert(space_range_of_slot(&space, slot) == &ranges[i]);
		}
	}
	assert(space_range_of_slot(&space, (u128) 100 << 16) == NULL);
	assert(!ranges_collide(&ranges[0], &ranges[1], 16));
	ranges[1].first--;
	assert(ranges_collide(&ranges[0], &ranges[1], 16));
	assert(!range_fits(&wide, 16) && range_fits(&wide, 0));
	assert(!range_fits(&last, 0));
	last.last--;
	assert(range_fits(&last, 0));
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
		int			n = 1 + rand() % 4;
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

		expected = U128_MAX;
		for (u128 slot = gap.first; slot <= gap.last; slot++)
		{
			u128		last = slot + ((u128) n << order) - 1;
			int			i = 0;

			while (i < n && !space_reserved(&space, slot + ((u128) i << order),
											order))
				i++;
			if (slot % ((u128) 1 << order) == 0 && last <= gap.last && i == n)
			{
				expected = slot;
				break;
			}
		}
		if (space_fit_run(&space, gap, order, n, &found))
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
		assert(space_fit_run(&space, gap, 1, 3, &slot));
		assert(slot == U128_MAX - 5);
		assert(!space_fit_run(&space, gap, 1, 4, &slot));
	}
}

/* Chunks that are excluded, of addresses with 8 of them. */
static void
test_excluded(void)
{
	for (int round = 0; round < 20000; round++)
	{
		uint64_t	excluded = (uint64_t) rand() & 0xff;
		Space		space = {.chunk_bits = 3,.excluded = &excluded};
		Extent		gap = {rand() % 32, 0};
		u128		expected = U128_MAX;
		u128		n = 0;
		u128		found = 0;

		gap.last = gap.first + rand() % 40;
		for (u128 slot = gap.last + 1; slot-- > gap.first;)
		{
			if (excluded >> (slot % 8) & 1)
				continue;
			expected = slot;
			n++;
		}
		if (space_fit(&space, gap, 0, &found))
			assert(found == expected);
		else
			assert(expected == U128_MAX);
		assert(space_chunks(&space, gap) == n);
		assert(space_all_excluded(&space) == (excluded == 0xff));
		/* whole addresses have no excluded chunks */
		assert(!space_excluded(&space, gap.first & ~(u128) 7, 3));
	}
}

/* Ranges without a gap between them. */
static void
test_parts(void)
{
	Range		ranges[] = {
		{.first = 1,.last = 10},
		{.first = 11,.last = 20},
		{.first = 21,.last = 21,.draining = true},
		{.first = 22,.last = 29},
		{.first = 31,.last = 40}
	};
	static const int ends[] = {2, 2, 3, 4, 5};

	for (int bits = 0; bits < 2; bits++)
	{
		Space		space = {.chunk_bits = bits,.nranges = 5,.ranges = ranges};

		for (int i = 0; i < 5; i++)
		{
			int			next;
			Extent		part = space_part(&space, i, &next);

			assert(next == ends[i]);
			assert(part.first == ranges[i].first << bits);
			assert(part.last == ((ranges[next - 1].last + 1) << bits) - 1);
		}
		for (int first = 0; first < 50; first++)
			for (int last = first; last < 50; last++)
			{
				Extent		slots = {first, last};
				bool		covers = true;

				for (int slot = first; slot <= last; slot++)
				{
					int			value = slot >> bits;

					covers &= (value >= 1 && value <= 20) ||
						(value >= 22 && value <= 29) ||
						(value >= 31 && value <= 40);
				}
				assert(space_covers(&space, slots) == covers);
			}
	}
}

int
main(void)
{
	test_numbers();
	test_networks();
	test_slots();
	test_ranges();
	test_windows();
	test_fit();
	test_excluded();
	test_parts();
	puts("ok: space");
	return 0;
}
