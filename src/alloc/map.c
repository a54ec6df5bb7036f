/*
 * map.c
 *		The SQL function alloc_map(), which draws how full a pool is.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "alloc/report.h"

PG_FUNCTION_INFO_V1(alloc_map);

/* Each range is drawn in up to eight lines of 64 cells. */
#define MAP_WIDTH 64
#define MAP_CELLS (8 * MAP_WIDTH)

/* The drawing of a range. */
typedef struct Drawing
{
	int			ncells;
	double		cell_size;		/* slots per cell */
	double	   *filled;			/* slots in use in each cell */
} Drawing;

/* Add the slots of a block, counted from the beginning of the range. */
static void
draw_block(Drawing *drawing, u128 first, u128 last)
{
	double		from = (double) first;
	double		to = (double) last + 1;
	int			cell = Min((int) (from / drawing->cell_size),
						   drawing->ncells - 1);

	/* A block may fill many cells, or only a part of one. */
	for (; cell < drawing->ncells && cell * drawing->cell_size < to; cell++)
		drawing->filled[cell] += Min(to, (cell + 1) * drawing->cell_size) -
			Max(from, cell * drawing->cell_size);
}

/* Add a line to the result. */
static void
put_line(Look *look, const char *line)
{
	Datum		value = CStringGetTextDatum(line);
	bool		isnull = false;

	tuplestore_putvalues(look->rsinfo->setResult, look->rsinfo->setDesc,
						 &value, &isnull);
}

/* Add the lines of a drawing to the result. */
static void
put_drawing(Look *look, const Drawing *drawing)
{
	for (int start = 0; start < drawing->ncells; start += MAP_WIDTH)
	{
		char		line[2 + MAP_WIDTH + 1] = "  ";
		int			n = Min(MAP_WIDTH, drawing->ncells - start);

		for (int i = 0; i < n; i++)
		{
			double		filled = drawing->filled[start + i];
			double		share = filled / drawing->cell_size;

			/*
			 * The sums are not exact, so a full cell may come to a little less
			 * than 1.
			 */
			line[2 + i] = share <= 0 ? '.' : share < 0.5 ? '-' :
				share < 1 - 1e-9 ? '+' : '#';
		}
		line[2 + n] = '\0';
		put_line(look, line);
	}
}

/* Draw the ranges of a pool. */
static void
map_of(Look *look)
{
	const Pool *pool = look->pool;
	const Space *space = &pool->space;
	const Part *parts = parts_of(pool);
	Drawing    *drawings = palloc_extended(sizeof(Drawing) *
										   Max(1, space->nranges),
										   MCXT_ALLOC_HUGE);
	Extent		all = {0, U128_MAX};
	SlotScan	scan;
	SlotRow		row;
	int			part = 0;

	for (int i = 0; i < space->nranges; i++)
	{
		Drawing    *drawing = &drawings[parts[i].range - space->ranges];
		u128		size = parts[i].slots.last - parts[i].slots.first + 1;

		drawing->ncells = (int) Min(size, MAP_CELLS);
		drawing->cell_size = (double) size / drawing->ncells;
		drawing->filled = palloc0(drawing->ncells * sizeof(double));
	}

	/*
	 * One scan of the pool's rows for all ranges, both in the order of slots.
	 */
	scan_by_slot(&scan, &look->store, pool->id, all, ForwardScanDirection,
				 look->snapshot);
	while (slot_scan_next(&scan, &row))
	{
		Extent		block = {row.lo, block_last(row.lo, row.order)};

		if (!is_in_use(look, &row))
			continue;
		/* skip the ranges that end before this block */
		while (part < space->nranges && parts[part].slots.last < block.first)
			part++;
		for (int i = part; i < space->nranges &&
			 parts[i].slots.first <= block.last; i++)
		{
			u128		base = parts[i].slots.first;

			draw_block(&drawings[parts[i].range - space->ranges],
					   Max(block.first, base) - base,
					   Min(block.last, parts[i].slots.last) - base);
		}
	}
	slot_scan_end(&scan);

	/* print the ranges in the order of their values */
	for (int i = 0; i < space->nranges; i++)
	{
		const Range *range = &space->ranges[i];

		put_line(look, psprintf("%s%s",
								range_text(pool->kind, pool->width,
										   range->first, range->last),
								range->draining ? " (draining)" : ""));
		put_drawing(look, &drawings[i]);
	}
}

/* Draw how much of a counted pool is held, as if it were in one piece. */
static void
map_of_shares(Look *look)
{
	Drawing		drawing;
	int64		capacity = look->pool->capacity;
	uint64		held;
	uint64		cooling;
	double		filled[MAP_CELLS] = {0};

	tally_shares(look, &held, &cooling);
	put_line(look, psprintf("%lld of %lld", (long long) held,
							(long long) capacity));
	if (capacity == 0)
		return;
	drawing.ncells = (int) Min(capacity, MAP_CELLS);
	drawing.cell_size = (double) capacity / drawing.ncells;
	drawing.filled = filled;
	if (held > 0)
		draw_block(&drawing, 0, (u128) Min(held, (uint64) capacity) - 1);
	put_drawing(look, &drawing);
}

/* Draw a pool. */
static void
map_of_any(Look *look)
{
	if (look->pool->counted)
		map_of_shares(look);
	else
		map_of(look);
}

/* alloc_map(pool) RETURNS SETOF text */
Datum
alloc_map(PG_FUNCTION_ARGS)
{
	return look_at_pools(fcinfo, true, map_of_any);
}
