"""Sets of units from several pools, and imports, for fuzz_alloc.py."""

import ipaddress
from collections import Counter

from alloc_counts import KEYS, Counts
from alloc_model import NEVER, NOW, Unit, key
from fuzz import Difference, psycopg
from psycopg.types.json import Jsonb


class Asked:
    """What a call asks for."""

    def __init__(self, kind, ttl, size=1):
        self.kind, self.ttl = kind, ttl
        self.size, self.number = size, 1    # in values; of units in a row
        self.wanted = None              # values
        self.of = None                  # of ports: the values of an address
        self.exclude = None             # of ports: a range
        self.without = set()            # of ports: the chunks in it, and those of the pool
        self.excluded = set()
        self.chunks = 1

    def __repr__(self):
        return f'asked {vars(self)}'


class Sets(Counts):
    """A run, as far as it concerns sets and imports."""

    def ask_for(self, pool, ttl, kind=None):
        """Choose what to ask a pool for, no value; return it and the fields of a member."""
        r = self.random
        kind = kind or ('ports' if pool.chunks > 1 and r.random() < 0.7 else pool.kind)
        ask = Asked(kind, ttl)
        if kind == 'count':
            ask.size = r.choice((1, 1, 2, 3, 6))
            return ask, {'n': ask.size}
        if kind == 'prefix':
            ask.size = r.choice((1, 1, 2, 4))
            return ask, {'masklen': self.bits(pool) - ask.size.bit_length() + 1}
        if kind == 'ports':
            ask.excluded, ask.chunks = pool.excluded, pool.chunks
            return ask, {'ports': True}
        ask.number = r.choice((1, 1, 1, 2, 3))
        ask.size = pool.chunks * ask.number
        return ask, {'consecutive': ask.number} if ask.number > 1 else {}

    def bits(self, pool):
        return ipaddress.ip_address(pool.base).max_prefixlen

    def like(self, pool, ask, other):
        """What is asked of another pool of the same list."""
        same = Asked(ask.kind, ask.ttl, ask.size)
        same.number = ask.number
        if ask.kind == 'ports':
            same.excluded, same.chunks = other.excluded, other.chunks
        elif ask.kind not in ('count', 'prefix'):
            same.size = other.chunks * ask.number
        return same

    # ---- what is there ----

    def needs(self, pool, ask):
        return ask.size if pool.counted else ask.number

    def places_left(self, turn, pool, k, ask):
        """Return where there is surely room for what a key asks for, but for pools above."""
        taken = self.taken(turn, pool, k)
        return [p for p in pool.places(ask.size, ask.excluded)
                if pool.covers(pool.ranges, p, p + ask.size - 1)
                and self.free(turn, pool, taken, p, ask.size)]

    def fits(self, turn, pool, k, ask, extra):
        """Whether there is room for what a key asks for, and so much more above."""
        needs = self.needs(pool, ask)
        return (all(self.room(turn, p) - extra[p] >= needs for p in pool.levels())
                and (pool.counted or bool(self.places_left(turn, pool, k, ask))))

    def many_fit(self, turn, pool, keys, ask):
        """Whether there is surely a unit for each of the keys."""
        view = turn.view(pool)
        need = [k for k in keys if k not in view or view[k].over]
        if self.busy(pool, turn) or self.in_line(turn, pool):
            return False
        room = min((self.room(turn, p) for p in pool.levels()), default=len(need))
        if not pool.counted:
            room = min(room, len(self.places_left(turn, pool, need[0], ask)) if need else 0)
        return room >= len(need)

    def set_fits(self, turn, k, members):
        """Whether there is surely room for all members, served in the order of their pools."""
        extra = Counter()
        for choices in sorted(members, key=lambda m: m[0][0].name):
            for pool, _ in choices:
                if self.busy(pool, turn) or self.in_line(turn, pool):
                    return False
            views = [turn.view(pool).get(k) for pool, _ in choices]
            if any(u and not u.over for u in views):
                continue
            for pool, ask in choices:
                if self.fits(turn, pool, k, ask, extra):
                    extra.update({p: self.needs(pool, ask) for p in pool.levels()})
                    break
            else:
                return False
        return True

    # ---- alloc_set ----

    def set_of(self, turn):
        r = self.random
        k = r.randrange(KEYS)
        ttl = r.choice((None, None, NEVER, NOW))
        members, request, left = [], [], list(self.pools)
        for _ in range(r.choice((1, 2, 2, 3))):
            pool = left.pop(r.randrange(len(left)))
            ask, fields = self.ask_for(pool, ttl)
            choices = [(pool, ask)]
            more = [p for p in left if p.kind == pool.kind and (p.chunks > 1) == (pool.chunks > 1)
                    and (ask.kind != 'prefix' or self.bits(p) == self.bits(pool))]
            while more and len(choices) < 3 and r.random() < 0.7:
                other = more.pop(r.randrange(len(more)))
                left.remove(other)
                choices.append((other, self.like(pool, ask, other)))
            names = [p.name for p, _ in choices]
            request.append({'pool': names if len(names) > 1 else names[0], **fields})
            members.append(choices)
            if not left:
                break
        pools = [pool for choices in members for pool, _ in choices]
        before = {pool: turn.view(pool).get(k) for pool in pools}
        turn.touch(*pools)
        turn.at = pools
        try:
            rows = turn.rows('SELECT pool, key, value, generation, n FROM alloc_set(%s, %s, '
                             '%s::interval)', Jsonb(request), key(k), ttl)
        except psycopg.Error as error:
            answer = turn.raised(error)
            self.fuzz.expect(self.set_may_fail(turn, k, members, answer),
                             f'alloc_set: {error}; key {k}: '
                             f'{[(p.name, turn.view(p).get(k)) for p in pools]}')
            turn.failed()
            return
        self.fuzz.expect(len(rows) == len(members), f'alloc_set: {rows}')
        chosen = [self.judge_member(turn, k, choices, row, before)
                  for choices, row in zip(members, rows)]
        # what would still fit, with all that the call has taken, would have fitted before
        for choices, n in zip(members, chosen):
            for pool, ask in choices[:n]:
                if not (turn.waited or self.busy(pool, turn) or self.in_line(turn, pool)):
                    self.fuzz.expect(not self.fits(turn, pool, k, ask, Counter()),
                                     f'{turn.name}, alloc_set, key {k}: {rows}: '
                                     f'{pool.name} has room')

    def judge_member(self, turn, k, choices, row, before):
        """Check the answer for a member: the pool that was chosen, and the unit.

        Returns how many pools were passed over since they had no room.
        """
        name, whose, value, generation, n = row
        there = [(p, a) for p, a in choices if p.name == name]
        what = f'{turn.name}, alloc_set, key {k}, {[p.name for p, _ in choices]}: {row}: '
        self.fuzz.expect(there and whose == key(k), what + 'pool or key')
        pool, ask = there[0]
        had = [(p, u) for p, _ in choices if (u := turn.view(p).get(k)) and not u.over]
        if turn.waited and not had and before[pool] and before[pool].generation == generation:
            return 0    # as in many()
        self.fuzz.expect(n == (ask.size if pool.counted else ask.number), what + 'n')
        self.fuzz.expect(not had or had[0][0] is pool, what + f'the key has {had}')
        try:
            self.judge(turn, pool, k, ask, ('held' if had else 'allocated', value, generation),
                       choice=False)
        except Difference as difference:
            raise Difference(what + str(difference)) from difference
        return 0 if had else choices.index(there[0])

    def set_may_fail(self, turn, k, members, error):
        pools = [pool for choices in members for pool, _ in choices]
        if error.state == 'PT507':
            return turn.waited or not self.set_fits(turn, k, members)
        if error.state == 'PT422':
            had = [[(u, a) for p, a in choices if (u := turn.view(p).get(k)) and not u.over]
                   for choices in members]
            return any(h and not self.same(*h[0]) for h in had)
        if error.state == '22023':
            return any(not p.counted and not list(p.places(a.size, a.excluded))
                       for choices in members for p, a in choices)
        return (error.state == '40001' and any(turn.stale(p) for p in pools)
                or turn.gave_up(error))

    def same(self, unit, ask):
        return unit.size * unit.number == ask.size if ask.kind == 'count' else self.alike(unit, ask)

    # ---- alloc_import ----

    def import_into(self, turn, pool):
        r = self.random
        entries, asked = [], []
        for k in r.sample(range(KEYS), r.choice((1, 2, 3))):
            ask, fields = self.ask_for(pool, r.choice((None, NEVER)))
            entry = {'key': str(key(k))}
            if pool.counted:
                entry['n'] = ask.size
            else:
                first = r.randrange(18 * pool.chunks)
                first -= first % (ask.size if ask.kind == 'prefix' else
                                  1 if ask.kind == 'ports' else pool.chunks)
                ask.wanted = first, first + ask.size - 1
                unit = Unit(first, first + ask.size - 1, ask.kind, False, 0)
                entry['value'] = pool.value(unit)
                if ask.number > 1:
                    entry['n'] = ask.number
            if ask.ttl:
                entry['ttl'] = ask.ttl
            entries.append(entry)
            asked.append((k, ask))
        turn.touch(pool)
        turn.at = pool
        try:
            rows = turn.rows('SELECT key, outcome FROM alloc_import(%s, %s)', pool.name,
                             Jsonb(entries))
        except psycopg.Error as error:
            answer = turn.raised(error)
            self.fuzz.expect(turn.gave_up(answer) or answer.state == '40001' and turn.stale(pool),
                             f'alloc_import: {error}')
            turn.failed()
            return
        self.fuzz.expect([row[0] for row in rows] == [key(k) for k, _ in asked],
                         'alloc_import: the keys')
        for (k, ask), (_, outcome) in zip(asked, rows):
            try:
                self.judge_import(turn, pool, k, ask, outcome)
            except Difference as difference:
                raise Difference(f'{turn.name}, alloc_import into {pool.name}, key {k}, {ask}: '
                                 f'{outcome}: {difference}; ranges {pool.ranges}, reserved '
                                 f'{pool.reserved}, cooling {pool.cooling}, units '
                                 f'{turn.view(pool)}') from difference

    def judge_import(self, turn, pool, k, ask, outcome):
        expect = self.fuzz.expect
        live = turn.view(pool).get(k)
        live = live if live and not live.over else None
        if outcome == 'imported':
            expect(not live, f'the key has {live}')
            call, values = (('%s', (ask.size,)) if pool.counted else self.call(pool, ask))
            _, value, generation = turn.ask(
                f'SELECT outcome, value, generation FROM alloc_try_{ask.kind}(%s, %s, {call})',
                pool.name, key(k), *values)
            self.judge(turn, pool, k, ask, ('allocated', value, generation), choice=False)
        elif outcome in ('held', 'reused'):
            expect(live, 'the key has nothing')
            same = self.same(live, ask) and ask.wanted in (None, (live.first, live.last))
            expect(same == (outcome == 'held'), f'the key has {live}')
        elif outcome == 'exhausted':
            expect(not live and self.may_lack(turn, pool, self.needs(pool, ask)), 'there is room')
        elif outcome == 'taken':
            cooling = pool.cooling | pool.may_cool | turn.resting(pool)
            expect(not live and not pool.counted
                   and (any(u.meets(*ask.wanted) for u in self.taken(turn, pool, k))
                        or any(v in cooling for v in range(ask.wanted[0], ask.wanted[1] + 1))),
                   'nobody has it')
        elif outcome == 'outside':
            expect(not live and not pool.counted
                   and not any(a <= ask.wanted[0] // pool.chunks
                               and ask.wanted[1] // pool.chunks <= b for a, b in pool.parts()),
                   'it is in the pool')
        else:
            excluded = ask.kind == 'ports' and ask.wanted[0] % pool.chunks in pool.excluded
            expect(outcome == 'reserved' and not live
                   and (excluded or pool.touches(pool.kept(ask.wanted), *ask.wanted)), 'outcome')
