/*
 * ready.c
 *		When several units in a row will be free.
 *
 * A window of the requested size is moved over the pool's rows in the order of
 * their slots.  It is free once the last of its units is.  A window that begins
 * behind a free unit need not be looked at, since that one could be in it, too.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "alloc/search.h"

/* A unit that is not free yet. */
typedef struct Taken
{
	u128		lo;
	TimestampTz until;
	bool		held;			/* not only cooling */
} Taken;

/* The window, and what has been found. */
typedef struct Window
{
	Search	   *search;
	int			n;				/* its size */
	u128		first;			/* its first slot */
	int			ntaken;			/* units in it that are not free */
	int			head;			/* the first of them in taken, a ring of n */
	Taken	   *taken;
	int			nheld;			/* how many of them are held */
	int			nlatest;		/* those after which none is free later: */
	int			latest_head;	/* ... the first of them in latest */
	Taken	   *latest;

	bool		cooling;		/* one is free at cool_at, if others only cool */
	TimestampTz cool_at;
	bool		held;
	TimestampTz end_at;
} Window;

/* Record when the window is free, and move it behind its first taken unit. */
static void
window_move(Window *window)
{
	const Taken *first = &window->taken[window->head];
	TimestampTz at = window->latest[window->latest_head].until;

	if (window->nheld > 0)
	{
		window->end_at = window->held ? Min(window->end_at, at) : at;
		window->held = true;
	}
	else
	{
		window->cool_at = window->cooling ? Min(window->cool_at, at) : at;
		window->cooling = true;
	}
	window->first = block_last(first->lo, window->search->request->order) + 1;
	window->nheld -= first->held;
	if (window->latest[window->latest_head].lo == first->lo)
	{
		window->latest_head = (window->latest_head + 1) % window->n;
		window->nlatest--;
	}
	window->head = (window->head + 1) % window->n;
	window->ntaken--;
}

/*
 * Move the window as far as it does not reach beyond the slot.  Without taken
 * units in it, there is nothing to find out.
 */
static void
window_advance(Window *window, u128 last)
{
	int			order = window->search->request->order;

	while (window->ntaken > 0 && window->first <= last &&
		   run_slots(window->first, order, window->n).last <= last)
	{
		CHECK_FOR_INTERRUPTS();
		window_move(window);
	}
}

/* A unit that is not free follows. */
static void
window_add(Window *window, const Taken *unit)
{
	int			order = window->search->request->order;
	u128		reach = (u128) (window->n - 1) << order;
	int			last;

	if (unit->lo > 0)
		window_advance(window, unit->lo - 1);
	if (unit->lo - window->first > reach)
		window->first = unit->lo - reach;
	window->taken[(window->head + window->ntaken++) % window->n] = *unit;
	window->nheld += unit->held;
	/* those that are free earlier do not matter any more */
	for (; window->nlatest > 0; window->nlatest--)
	{
		last = (window->latest_head + window->nlatest - 1) % window->n;
		if (window->latest[last].until > unit->until)
			break;
	}
	last = (window->latest_head + window->nlatest++) % window->n;
	window->latest[last] = *unit;
}

/* Begin anew at this slot. */
static void
window_begin(Window *window, u128 first)
{
	window->first = first;
	window->ntaken = window->nheld = window->nlatest = 0;
	window->head = window->latest_head = 0;
}

/*
 * Move the window over slots that lie in ranges without a gap and are not
 * reserved.
 */
static void
look_at_slots(Window *window, Extent slots)
{
	Search	   *search = window->search;
	int			order = search->request->order;
	u128		mask = block_last(0, order);
	Taken		unit;
	bool		pending = false;
	BlockScan	scan;
	SlotRow		row;

	if (slots.last - slots.first < ((u128) window->n << order) - 1)
		return;
	window_begin(window, slots.first);
	block_scan_begin(&scan, search->store, search->pool, slots, NULL);
	while (block_scan_next(&scan, &row))
	{
		BlockState	state = row_state(&row, search->now);
		u128		lo = row.lo & ~mask;

		if (state == BLOCK_FREE)
			continue;
		/* chunks of an address are one unit */
		if (pending && unit.lo != lo)
		{
			window_add(window, &unit);
			pending = false;
		}
		if (state == BLOCK_BUSY || !row.expires)
		{
			/* nobody knows when this one will be free */
			pending = false;
			if (lo > window->first)
				window_advance(window, lo - 1);
			window_begin(window, Max(window->first, lo + mask + 1));
		}
		else if (lo >= window->first)
		{
			unit.held = (pending && unit.held) || state == BLOCK_HELD;
			unit.until = pending ? Max(unit.until, row.expires_at) :
				row.expires_at;
			unit.lo = lo;
			pending = true;
		}
	}
	block_scan_end(&scan);
	if (pending)
		window_add(window, &unit);
	window_advance(window, slots.last);
}

/*
 * Find out when the requested number of units in a row will be free.  If some
 * are only cooling, *cooling becomes true; otherwise keys hold some of them
 * until then, unless they renew them.  Returns false if it cannot be known.
 */
bool
run_ready(Search *search, bool *cooling, TimestampTz *ready_at)
{
	const Space *space = &search->request->space;
	Window		window = {.search = search,.n = search->request->n};
	int			next;

	window.taken = palloc(window.n * sizeof(Taken));
	window.latest = palloc(window.n * sizeof(Taken));
	for (int i = 0; i < space->nranges; i = next)
	{
		Extent		slots = space_part(space, i, &next);
		const Extent *reserved;

		if (space->ranges[i].draining)
			continue;
		/* between the reservations */
		for (reserved = space_first_reserved(space, slots.first);
			 reserved != NULL &&
			 reserved < space->reserved + space->nreserved &&
			 reserved->first <= slots.last; reserved++)
		{
			Extent		before = {slots.first, reserved->first - 1};

			if (reserved->first > slots.first)
				look_at_slots(&window, before);
			slots.first = reserved->last + 1;
		}
		if (slots.first <= slots.last)
			look_at_slots(&window, slots);
	}
	pfree(window.taken);
	pfree(window.latest);
	*cooling = window.cooling;
	*ready_at = window.cooling ? window.cool_at : window.end_at;
	return window.cooling || window.held;
}
