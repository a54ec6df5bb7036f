"""Checks after an epoch of concurrent allocation.

A unit is certainly held from the answer that returned it until others could see that it
was released or had expired, or until the allocation was rolled back.  It is possibly held
from the beginning of that call until others must have seen the release.

- No value and no key certainly has two units at the same time.
- A unit that was reported as held was possibly held, and a value or key that was reported
  as free was not certainly held.
- No value was allocated that was certainly closed, reserved or cooling.
- Generations increase, and the pool has the last units.

All times are measured by the client.  A transaction was committed at some time between
sending the COMMIT and receiving the answer.
"""

from collections import defaultdict

from fuzz import Difference
from threads import FOREVER


class Fact:
    """What a session learned from an answer.

    what is got, held, none, end (released), renewed, over (renewed, and expired), taken or
    full; of pools, it is cut, grown, reserved, unreserved, used, or tried: a call may have
    had units and given them back, since it failed or since that was not all it was to get.
    """

    def __init__(self, txn, what, pool, key, values, begin, end, generation=None, **more):
        self.txn, self.what, self.pool, self.key = txn, what, pool, key
        self.values, self.begin, self.end = values, begin, end
        self.generation = generation
        self.undone = None      # (begin, end) of the time when it was rolled back
        self.size = self.kind = self.wanted = self.of = None
        self.without = ()       # chunks of ports
        self.moved = False      # from another key
        self.on_request = False
        self.after = ()         # keys that its transaction had released by then
        self.__dict__.update(more)

    @property
    def stays(self):
        return self.undone is None and self.txn.sent < FOREVER

    def meets(self, other):
        return (self.pool is other.pool and self.values[0] <= other.values[1]
                and other.values[0] <= self.values[1])

    def covers(self, value):
        return self.values[0] <= value <= self.values[1]

    def __repr__(self):
        return (f'{self.what} {self.pool.name} key {self.key} {self.kind or ""} {self.values} '
                f'generation {self.generation}, {self.begin} to {self.end} in {self.txn}'
                + ' (undone)' * (self.undone is not None))


class Hold:
    """A unit of a key: certainly held from sure to to, possibly from perhaps to until."""

    def __init__(self, got):
        self.got = got
        self.sure, self.perhaps = got.end, got.begin
        self.to = self.until = FOREVER
        self.ended = None       # the fact that ended it
        if not got.stays:
            self.to, self.until = got.undone
        elif got.over:
            self.until, self.ended = got.txn.acked, got
        if got.over:
            self.to = got.begin

    def end(self, fact):
        if fact.txn.sent < self.to:
            self.to = fact.txn.sent
        if fact.txn.acked < self.until:
            self.until, self.ended = fact.txn.acked, fact

    def within(self, begin, end):
        """Whether it was possibly held at some time between begin and end."""
        return self.perhaps <= end and begin <= self.until

    def during(self, begin, end):
        """Whether it was certainly held from begin to end, and visible to all."""
        return self.got.stays and self.got.txn.acked < begin and end < self.to

    def __repr__(self):
        return f'[{self.got}; surely to {self.to}, perhaps until {self.until}]'


def is_same_move(first, got):
    """Whether the second of two moves was told what the first had done.

    It waited for the first to commit, so that the generation is later than what the driver
    had read before the call.
    """
    return (first.moved and got.moved and first.stays and first.txn is not got.txn
            and first.key == got.key and first.values == got.values)


class Epoch:
    """An epoch, and all that is known about it."""

    def __init__(self, facts):
        self.by = defaultdict(list)         # (pool, what): facts
        self.by_key = defaultdict(list)     # (pool, key): holds
        self.holds = defaultdict(list)      # pool: holds
        for fact in sorted(facts, key=lambda f: f.end):
            self.by[fact.pool, fact.what].append(fact)

    def right(self, true, what, *facts):
        if not true:
            difference = Difference(f'{what}: ' + '; '.join(map(str, facts)))
            difference.names = [(f.pool.name,) for f in facts[:1]]
            raise difference

    def check(self, pool, units):
        """Check a pool.  units is what it has at the end: {key: (values, generation)}."""
        self.find_holds(pool)
        self.find_ends(pool)
        self.check_generations(pool)
        self.check_alone(pool)
        for hold in self.holds[pool]:
            self.check_got(pool, hold.got)
        for what in ('held', 'renewed', 'end', 'over'):
            for fact in self.by[pool, what]:
                self.check_held(fact)
        for fact in self.by[pool, 'none']:
            sure = [h for h in self.by_key[pool, fact.key]
                    if h.during(fact.begin, fact.end)
                    and fact.generation in (None, h.got.generation)]
            self.right(not sure or fact.key in fact.after, 'the key had something', fact, *sure)
        for fact in self.by[pool, 'taken']:
            self.right(any(h.got.key != fact.key and h.got.meets(fact)
                           and h.within(fact.begin, fact.end) for h in self.holds[pool]),
                       'nobody had it', fact)
        for fact in self.by[pool, 'full']:
            self.check_full(pool, fact)
        self.check_pool(pool)
        left = {h.got.key: (h.got.values, h.got.generation) for h in self.holds[pool]
                if h.got.stays and h.until == FOREVER}
        self.right(units == left, f'{pool.name} has {units}, not {left}',
                   *[h.got for k in units.keys() | left.keys() if units.get(k) != left.get(k)
                     for h in self.by_key[pool, k]])

    # ---- holds ----

    def find_holds(self, pool):
        seen = {}
        for got in self.by[pool, 'got']:
            first = seen.get(got.generation)
            if first and is_same_move(first, got):
                got.what = 'held'
                self.by[pool, 'held'].append(got)
                continue
            self.right(not first, 'a generation came twice', got, first)
            seen[got.generation] = got
            hold = Hold(got)
            self.holds[pool].append(hold)
            self.by_key[pool, got.key].append(hold)

    def find_ends(self, pool):
        for fact in self.by[pool, 'end'] + self.by[pool, 'over']:
            holds = [h for h in self.by_key[pool, fact.key]
                     if h.got.generation == fact.generation]
            self.right(holds or not fact.stays, 'ended what nobody had', fact)
            if fact.stays:
                holds[0].end(fact)

    def check_generations(self, pool):
        """Check that a call that began after an allocation got a greater generation."""
        greatest, ended = None, sorted((h.got for h in self.holds[pool]), key=lambda f: f.end)
        n = 0
        for got in sorted(ended, key=lambda f: f.begin):
            while n < len(ended) and ended[n].end < got.begin:
                if greatest is None or ended[n].generation > greatest.generation:
                    greatest = ended[n]
                n += 1
            self.right(greatest is None or got.generation > greatest.generation,
                       'generations fall', got, greatest)

    def check_alone(self, pool):
        places = defaultdict(list)
        for hold in self.holds[pool]:
            places['key', hold.got.key].append(hold)
            for value in range(hold.got.values[0], hold.got.values[1] + 1):
                places[value].append(hold)
        for place, holds in places.items():
            last = None
            for hold in sorted((h for h in holds if h.sure < h.to), key=lambda h: h.sure):
                if (last and hold.sure < last.to and last.got.key not in hold.got.after
                        and hold.got.key not in last.got.after):
                    self.right(False, f'two at once have {place}', last.got, hold.got)
                if last is None or hold.to > last.to:
                    last = hold

    # ---- answers ----

    def check_got(self, pool, got):
        values = range(got.values[0], got.values[1] + 1)
        if got.moved:
            return
        self.right(pool.aligned(got.values[0], len(values)) and len(values) == got.size
                   and got.wanted in (None, got.values), 'not what was asked for', got)
        self.right(any(a * pool.chunks <= values[0] and values[-1] < (b + 1) * pool.chunks
                       for a, b in pool.ranges), 'not in the pool', got)
        if got.kind == 'ports':
            self.right(values[0] % pool.chunks not in pool.excluded | set(got.without),
                       'given out with excluded ports', got)
        self.right(not got.of or got.of[0] <= values[0] <= got.of[1], 'another address', got)
        for value in values:
            closed = self.surely(pool, 'cut', 'grown', value, got)
            self.right(not closed, 'given out when it was closed', got, closed)
            kept = self.surely(pool, 'reserved', 'unreserved', value, got,
                               got.wanted or got.of)
            self.right(not kept, 'given out when it was reserved', got, kept)
        if pool.cooldown != 'never':
            return
        for hold in self.holds[pool]:
            if (hold.ended and hold.ended.what == 'end' and not hold.ended.moved and hold.until < got.begin
                    and hold.got.meets(got)
                    and not any(c.meets(got) for c in self.by[pool, 'cut'])):
                self.right(False, 'given out when it was cooling', got, hold.got, hold.ended)

    def surely(self, pool, on, off, value, call, named=None):
        """Return the fact that certainly closed a value during the whole call, or None."""
        for fact in self.by[pool, on]:
            if not (named and fact.on_request) and fact.covers(value) and fact.end < call.begin and not any(
                    f.covers(value) and f.end >= fact.begin and f.begin <= call.end
                    for f in self.by[pool, off]):
                return fact
        return None

    def check_held(self, fact):
        """Check that the key had the unit that the fact reports."""
        if fact.generation:
            holds = [h for h in self.by_key[fact.pool, fact.key]
                     if h.got.generation == fact.generation]
            self.right(holds and fact.values in (None, holds[0].got.values),
                       'the key never had this', fact, *[h.got for h in holds])
        else:
            holds = self.by_key[fact.pool, fact.key]
        begin, end = fact.begin, fact.end
        if fact.snapshot and fact.txn.window:
            begin, end = fact.txn.window
        seen = [h for h in holds if h.got.txn is fact.txn and h.perhaps <= fact.end
                or h.within(begin, end) and h.got.txn.sent <= end]
        self.right(seen, 'the key had nothing', fact, *holds)

    def check_full(self, pool, fact):
        """Check that no place was free during the whole call."""
        places = [fact.wanted[0]] if fact.wanted else pool.places(
            fact.size, pool.excluded | set(fact.without) if fact.kind == 'ports' else ())
        if fact.of:
            places = [p for p in places if fact.of[0] <= p <= fact.of[1]]
        at = defaultdict(bool)
        for hold in self.holds[pool]:
            if hold.within(fact.begin, fact.end):
                for value in range(hold.got.values[0], hold.got.values[1] + 1):
                    at[value] = True
            if pool.cooldown == 'never' and hold.perhaps <= fact.end and any(
                    f.key == hold.got.key and f.begin <= fact.end
                    for f in self.by[pool, 'end']):
                for value in range(hold.got.values[0], hold.got.values[1] + 1):
                    at[value] = True
        for change in self.by[pool, 'cut'] + self.by[pool, 'reserved']:
            if change.begin <= fact.end:
                for value in range(change.values[0], change.values[1] + 1):
                    at[value] = True
        free = [p for p in places if not any(at[v] for v in range(p, p + fact.size))]
        self.right(not free, f'{free} was free', fact)

    def check_pool(self, pool):
        """Check changes of ranges.

        A range may be removed only if none of its units was certainly held, and refused
        (55006) only if one was possibly held, or had run out before, which a running
        transaction can be ending: pg_cas_reap()'s, for example.  What was tried may have
        been held, too.
        """
        for fact in self.by[pool, 'cut']:
            sure = [h for h in self.holds[pool]
                    if h.got.meets(fact) and h.during(fact.begin, fact.end)]
            self.right(fact.drain or not sure, 'cut when it was held', fact, *sure)
        for fact in self.by[pool, 'used']:
            tried = any(f.begin <= fact.end and fact.begin <= (f.undone or (0, f.end))[1]
                        for f in self.by[pool, 'tried'])
            held = any(h.got.meets(fact) and (h.within(fact.begin, fact.end) or
                                              h.got.over and h.perhaps <= fact.end)
                       for h in self.holds[pool])
            self.right(held or tried, 'nothing was held', fact)
