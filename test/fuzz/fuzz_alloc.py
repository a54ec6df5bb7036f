"""Allocation, each answer compared with a model.

Sessions take turns, some of them in transactions with savepoints, and some are killed.
The model has the open, reserved and cooling values of each pool and its units, and keeps
the changes of a transaction separately until it commits.  A unit expires immediately
(after a microsecond) or never, and the same is true for cooling, so that no answer
depends on the time.

The model accepts both answers where the reference leaves it open whether a value is
cooling, or whether a prefix may extend over adjacent ranges.
"""

import ipaddress

from alloc_model import NEVER, NOW, Unit, key
from alloc_sets import KEYS, Asked, Sets
from fuzz import Difference, Raised, psycopg


class Alloc(Sets):
    """A run."""

    every = 200

    def taken(self, turn, pool, k):
        """Return the units that others have, or may have once they commit."""
        view = turn.view(pool)
        mine = {o for of, o, _ in turn.effects or () if of is pool}
        units = [u for o, u in view.items() if o != k and not u.over]
        units += [u for o, u in pool.units.items()
                  if o != k and o not in mine and not u.over]
        units += [u for t in self.turns if t is not turn
                  for of, o, u in t.effects or () if of is pool and u]
        return units

    def free(self, turn, pool, taken, first, size, wanted=None):
        last = first + size - 1
        resting = turn.resting(pool)
        return (not pool.touches(pool.kept(wanted), first, last)
                and not any(v in pool.cooling or v in pool.may_cool or v in resting
                            for v in range(first, last + 1))
                and not any(u.meets(first, last) for u in taken))

    def allocate(self, turn, pool):
        r = self.random
        k = r.randrange(KEYS)
        kind = 'ports' if pool.chunks > 1 and r.random() < 0.7 else pool.kind
        ask = Asked(kind, r.choice((None, None, NEVER, NOW)))
        ask.size = (r.choice((1, 1, 2, 4)) if kind == 'prefix'
                    else 1 if kind == 'ports' else pool.chunks)
        if kind not in ('prefix', 'ports') and r.random() < 0.4:
            ask.number = r.choice((2, 2, 3, 5))
            ask.size *= ask.number
        if r.random() < 0.3:
            first = r.randrange(18 * pool.chunks if kind == 'ports' else 18)
            if kind != 'ports':
                first *= pool.chunks
            if kind == 'prefix':
                first = first // ask.size * ask.size
            if pool.aligned(first, ask.size):
                ask.wanted = (first, first + ask.size - 1)
        if kind == 'ports':
            self.ask_ports(pool, ask)
        turn.at = pool
        call, values = self.call(pool, ask)
        answer = turn.ask(f'SELECT outcome, value, generation FROM alloc_try_{kind}(%s, %s, {call})',
                          pool.name, key(k), *values)
        turn.touch(pool)
        try:
            self.judge(turn, pool, k, ask, answer)
        except Difference as difference:
            raise Difference(
                f'{turn.name}, {pool.name} ({pool.kind}/{pool.chunks}, {pool.strategy}, cooldown '
                f'{pool.cooldown}), key {k}, {ask}: {answer}: {difference}; ranges {pool.ranges}, '
                f'reserved {pool.reserved}, on request {pool.on_request}, excluded '
                f'{pool.excluded}, cooling {sorted(pool.cooling)}, may cool '
                f'{sorted(pool.may_cool)}, units {turn.view(pool)}') from difference

    def ask_ports(self, pool, ask):
        """A chunk can be asked for by its address alone, and without some ports."""
        r = self.random
        if not ask.wanted and r.random() < 0.3:
            n = r.randrange(18)
            ask.of = (n * pool.chunks, (n + 1) * pool.chunks - 1)
        if r.random() < 0.3:
            a, b = sorted((r.randrange(65536), r.randrange(65536)))
            ask.exclude = f'[{a},{b}]'
            size = 65536 // pool.chunks
            ask.without = set(range(a // size, b // size + 1))
        ask.excluded = ask.without | pool.excluded
        ask.chunks = pool.chunks

    def call(self, pool, ask):
        """Return the arguments behind pool and key."""
        value = pool.value(Unit(*ask.wanted, ask.kind, False, 0)) if ask.wanted else None
        if ask.kind == 'prefix':
            bits = ipaddress.ip_address(pool.base).max_prefixlen
            return '%s, %s::cidr, %s::interval', (bits - ask.size.bit_length() + 1, value, ask.ttl)
        if ask.kind == 'ports':
            first, port = (ask.wanted or ask.of or (None,))[0], None
            if ask.wanted:
                port = first % pool.chunks * (65536 // pool.chunks)
            address = None if first is None else pool.address(first // pool.chunks)
            return ('%s::interval, NULL, %s::inet, %s, %s::int4range',
                    (ask.ttl, address, port, ask.exclude))
        cast = {'ip': 'inet', 'int': 'bigint', 'mac': 'macaddr', 'mac8': 'macaddr8'}[ask.kind]
        return (f'%s::{cast}, %s::interval, consecutive => %s', (value, ask.ttl, ask.number))

    def judge(self, turn, pool, k, ask, answer, choice=True):
        expect = self.fuzz.expect
        kind, size, wanted = ask.kind, ask.size, ask.wanted
        if pool.counted:
            self.judge_count(turn, pool, k, ask.size, answer, ask.ttl)
            return
        view = turn.view(pool)
        mine = view.get(k)
        live = mine if mine and not mine.over else None
        taken = self.taken(turn, pool, k)
        if isinstance(answer, Raised):
            if not turn.gave_up(answer):
                self.judge_error(turn, pool, ask, answer)
            turn.failed()
            return
        outcome, value, generation = answer
        if outcome in ('held', 'reused'):
            expect(live, 'the key has nothing')
            same = (self.alike(live, ask)
                    and wanted in (None, (live.first, live.last)))
            expect(same == (outcome == 'held'), f'the key has {live}')
            expect(value == pool.value(live), f'the key has {pool.value(live)}')
            expect(outcome == 'reused' or generation == live.generation, 'generation')
        elif outcome == 'allocated':
            expect(not live, f'the key has {live}')
            first, last = pool.parse(value, kind, ask.number)
            expect(kind != 'ports' or first % pool.chunks not in ask.excluded, 'excluded')
            expect(not ask.of or ask.of[0] <= first <= ask.of[1], 'another address')
            expect(last - first + 1 == size and pool.aligned(first, size), 'size')
            expect(wanted in (None, (first, last)), 'another value')
            expect(pool.covers(pool.ranges, first, last), 'not in the pool')
            expect(not pool.touches(pool.kept(wanted or ask.of), first, last), 'reserved')
            cooling = pool.cooling | turn.resting(pool)
            expect(not any(v in cooling for v in range(first, last + 1)), 'cooling')
            clash = [u for u in taken if u.meets(first, last)]
            expect(not clash, f'others have {clash}')
            self.must_fit(turn, pool, ask.number)
            expect(not choice or generation > pool.greatest,
                   f'generation {pool.greatest} was out')
            pool.greatest = max(pool.greatest, generation)
            if choice and not wanted and not turn.waited and not self.busy(pool, turn):
                self.judge_choice(turn, pool, mine, taken, ask, first)
            turn.did(pool, k, Unit(first, last, kind, ask.ttl == NOW, generation, ask.number))
        elif outcome == 'taken':
            expect(not live and wanted, 'nothing was asked for')
            expect(any(u.meets(*wanted) for u in taken), 'nobody has it')
        elif outcome in ('exhausted', 'cooling', 'fragmented'):
            expect(not live, f'the key has {live}')
            places = [wanted[0]] if wanted else pool.places(size, ask.excluded)
            there = [p for p in places if pool.covers(pool.ranges, p, p + size - 1)
                     and (not ask.of or ask.of[0] <= p <= ask.of[1])
                     and self.free(turn, pool, taken, p, size, wanted or ask.of)]
            lacks = self.may_lack(turn, pool, ask.number)
            expect(not there or lacks, f'free: {there}')
            cools = pool.cooling or pool.may_cool or turn.resting(pool)
            expect(outcome != 'cooling' or cools or lacks and self.may_rest_above(turn, pool),
                   'nothing cools')
            if ask.number > 1 and not (cools or wanted or turn.waited or self.busy(pool, turn)
                                       or lacks):
                room = sum(self.free(turn, pool, taken, p, 1) for p in pool.places(1))
                expect((outcome == 'fragmented') == (room >= size), f'{room} are free')
        else:
            named = wanted or ask.of
            expect(outcome == 'reserved' and named
                   and pool.touches(pool.kept(named), *named), 'outcome')

    def alike(self, unit, ask):
        """Whether a unit is of the kind and size that is asked for, and where it may be."""
        return (unit.kind == ask.kind and unit.last - unit.first + 1 == ask.size
                and (not ask.of or ask.of[0] <= unit.first <= ask.of[1])
                and not (ask.without and unit.first % ask.chunks in ask.without))

    def judge_choice(self, turn, pool, mine, taken, ask, first):
        """Check which of the free units was chosen, if no other transaction is open."""
        if mine and mine.perhaps and first == mine.first:
            return
        named = ask.of
        if (mine and not mine.perhaps and self.alike(mine, ask)
                and not (ask.kind == 'ports' and mine.first % pool.chunks in ask.excluded)):
            if (pool.covers([r for r in pool.parts() if r[0] <= mine.first // pool.chunks <= r[1]],
                            mine.first, mine.last)
                    and self.free(turn, pool, taken, mine.first, ask.size, named)):
                self.fuzz.expect(first == mine.first, f'had {mine} before')
                return
            if pool.kind == 'prefix':
                return
        if pool.strategy == 'lowest':
            lower = [p for p in pool.places(ask.size, ask.excluded)
                     if p < first and (not ask.of or ask.of[0] <= p)
                     and self.free(turn, pool, taken, p, ask.size, named)]
            self.fuzz.expect(not lower, f'lower: {lower}')

    def judge_error(self, turn, pool, ask, error):
        expect = self.fuzz.expect
        named = ask.wanted or ask.of
        if error.state == '40001':
            expect(turn.stale(pool), 'nothing has changed')
        elif error.state == '22023':
            outside = named and not any(
                a <= named[0] // pool.chunks and named[1] // pool.chunks <= b
                for a, b in pool.parts())
            excluded = ask.kind == 'ports' and (
                len(ask.excluded) == pool.chunks
                or ask.wanted and ask.wanted[0] % pool.chunks in ask.excluded)
            expect(outside or excluded or not list(pool.places(ask.size)), 'a good request')
        else:
            raise Difference('error')

    def many(self, turn, pool):
        """Allocate units for several keys, and check them one by one."""
        keys = self.random.sample(range(KEYS), 3)
        before = turn.view(pool)
        if pool.chunks > 1 or pool.kind == 'prefix':
            kind, size = pool.kind, pool.chunks
        else:
            kind, size = pool.kind, 1
        bits = ipaddress.ip_address(pool.base).max_prefixlen if kind == 'prefix' else None
        turn.touch(pool)
        turn.at = pool
        try:
            rows = turn.rows('SELECT key, value, generation FROM alloc_many(%s, %s, %s)',
                             pool.name, [key(k) for k in keys], bits)
        except psycopg.Error as error:
            answer = turn.raised(error)
            ask = Asked(kind, None, size)
            live = [u for k, u in turn.view(pool).items() if k in keys and not u.over]
            self.fuzz.expect(
                answer.state == 'PT507' and not self.many_fit(turn, pool, keys, ask)
                or answer.state == 'PT422' and any(not self.alike(u, ask) for u in live)
                or answer.state == '40001' and turn.stale(pool)
                or answer.state == '22023' and not list(pool.places(size))
                or turn.gave_up(answer), f'alloc_many: {error}')
            turn.failed()
            return
        self.fuzz.expect([row[0].int for row in rows] == keys, 'alloc_many: the keys')
        for row in rows:
            k = row[0].int
            live = turn.view(pool).get(k)
            held = live and not live.over
            was = before.get(k)
            if turn.waited and not held and was and was.generation == row[2]:
                # It had this when it was asked for it, but the transaction that has been
                # ended meanwhile had released it.
                self.fuzz.expect(row[1] == pool.value(was), f'alloc_many: {k} had {was}')
                continue
            ask = Asked(kind, None, size)
            self.judge(turn, pool, k, ask, ('held' if held else 'allocated', row[1], row[2]),
                       choice=False)

    def release(self, turn, pool, k=None):
        r = self.random
        k = r.randrange(KEYS) if k is None else k
        mine = turn.view(pool).get(k)
        generation = r.choice((None, None, mine.generation, mine.generation - 1)) if mine else None
        turn.at = pool
        answer = turn.ask('SELECT alloc_release(%s, %s, %s)', pool.name, key(k), generation)
        turn.touch(pool)
        mine = turn.view(pool).get(k)
        live = mine if mine and not mine.over else None
        if isinstance(answer, Raised):
            old = live and generation is not None and generation < live.generation
            self.fuzz.expect(
                answer.state == 'PT412' and (old or mine and mine.over)
                or turn.gave_up(answer)
                or answer.state == '40001' and turn.stale(pool),
                f'release of {mine} in {pool.name}, generation {generation}: {answer}')
            turn.failed()
            return
        if not turn.stale(pool):
            self.fuzz.expect(answer[0] == bool(live) or mine and mine.over,
                             f'release of {mine} in {pool.name}: {answer}')
        if mine and answer[0]:
            turn.did(pool, k, None)

    def release_many(self, turn, pool):
        keys = self.random.sample(range(KEYS), 3)
        turn.at = pool
        answer = turn.ask('SELECT alloc_release_many(%s, %s)', pool.name, [key(k) for k in keys])
        turn.touch(pool)
        view = turn.view(pool)
        mine = [k for k in keys if k in view]
        live = [k for k in mine if not view[k].over]
        if isinstance(answer, Raised):
            self.fuzz.expect(turn.gave_up(answer)
                             or answer.state == '40001' and turn.stale(pool),
                             f'release of {keys} in {pool.name}: {answer}')
            turn.failed()
            return
        if not turn.stale(pool):
            self.fuzz.expect(answer[0] == len(live),
                             f'release of {[view[k] for k in mine]} in {pool.name}: {answer}')
        for k in live:
            turn.did(pool, k, None)

    def move(self, turn, pool):
        """Move what a key has.  If it has nothing, that may have been moved before."""
        r = self.random
        k, new = r.randrange(KEYS), r.randrange(KEYS)
        turn.at = pool
        answer = turn.ask('SELECT value, kind, generation, n FROM alloc_move(%s, %s, %s)',
                          pool.name, key(k), key(new))
        turn.touch(pool)
        view = turn.view(pool)
        live, has = (u if u and not u.over else None for u in (view.get(k), view.get(new)))
        if isinstance(answer, Raised):
            self.fuzz.expect(
                answer.state == 'PT404' and not live
                or answer.state == 'PT422' and live and has
                or turn.gave_up(answer)
                or answer.state == '40001' and turn.stale(pool),
                f'move of {live} to {new}, which has {has}, in {pool.name}: {answer}')
            turn.failed()
            return
        value, kind, generation, n = answer
        first, last = pool.parse(value, kind, n)
        was = live or has
        self.fuzz.expect(was and (was.first, was.last) == (first, last)
                         and (generation > was.generation if live else
                              generation == was.generation),
                         f'move of {live} to {new}, which has {has}, in {pool.name}: {answer}')
        if live:
            # as if the former key's unit had expired: it does not cool
            turn.did(pool, k, Unit(live.first, live.last, live.kind, True, live.generation,
                                   live.number))
            turn.did(pool, new, Unit(live.first, live.last, live.kind, False, generation,
                                     live.number))

    def annotate(self, turn, pool):
        k = self.random.randrange(KEYS)
        turn.at = pool
        answer = turn.ask('SELECT alloc_annotate(%s, %s, %s::jsonb)', pool.name, key(k), '1')
        turn.touch(pool)
        mine = turn.view(pool).get(k)
        live = mine if mine and not mine.over else None
        if isinstance(answer, Raised):
            self.fuzz.expect(answer.state == 'PT404' and not live
                             or turn.gave_up(answer)
                             or answer.state == '40001' and turn.stale(pool),
                             f'annotation of {mine} in {pool.name}: {answer}')
            turn.failed()
            return
        self.fuzz.expect(live, f'annotation of {mine} in {pool.name}: {answer}')
        turn.did(pool, k, live)

    def renew(self, turn, pool):
        r = self.random
        k = r.randrange(KEYS)
        ttl = r.choice((None, NEVER, NOW))
        turn.at = pool
        answer = turn.ask('SELECT alloc_renew(%s, %s, %s::interval)', pool.name, key(k), ttl)
        turn.touch(pool)
        mine = turn.view(pool).get(k)
        live = mine if mine and not mine.over else None
        if isinstance(answer, Raised):
            self.fuzz.expect(
                answer.state == 'PT404' and not live
                or turn.gave_up(answer)
                or answer.state == '40001' and turn.stale(pool),
                f'renewal of {mine} in {pool.name}: {answer}')
            turn.failed()
            return
        self.fuzz.expect(live and (answer[0] is None) == (ttl is None),
                         f'renewal of {mine} in {pool.name}: {answer}')
        turn.did(pool, k, Unit(live.first, live.last, live.kind, ttl == NOW, live.generation,
                               live.number))

    def look(self, turn, pool):
        """Check alloc_get() and alloc_find()."""
        k = self.random.randrange(KEYS)
        view = turn.view(pool)
        live = {o: u for o, u in view.items() if not u.over}
        n = self.random.randrange(16)
        try:
            got = turn.rows('SELECT key, value, generation, last, n FROM alloc_get(%s, %s)',
                            pool.name, key(k))
            found = () if pool.counted else turn.rows(
                'SELECT key FROM alloc_find(%s, %s)', pool.name, pool.address(n))
        except psycopg.errors.SerializationFailure as error:
            # these functions take predicate locks (docs/allocation.md)
            self.fuzz.expect(turn.level == 'SERIALIZABLE', f'look: {error}')
            turn.failed()
            return
        if turn.stale(pool):
            return
        expected = [(key(k), pool.value(live[k]), live[k].generation, pool.last(live[k]),
                     live[k].weight)] if k in live else []
        self.fuzz.expect(got == expected, f'{pool.name}: the key has {got}, not {expected}')
        if pool.counted:
            return
        values = n * pool.chunks, (n + 1) * pool.chunks - 1
        expected = {key(o) for o, u in live.items() if u.meets(*values)}
        self.fuzz.expect({row[0] for row in found} == expected,
                         f'{pool.name}: {pool.address(n)} has {found}, not {expected}')

    def compare(self):
        """End all transactions, and compare all pools."""
        for turn in self.turns:
            if turn.effects is not None:
                turn.end(self.random.random() < 0.5)
        for pool in self.pools:
            got = {k.int: (value, *rest) for k, value, *rest in self.turns[0].rows(
                'SELECT key, (array_agg(value ORDER BY address, number, mac))[1], '
                'min(generation), min(last), max(n), count(*), count(DISTINCT (generation, '
                'last, n)) FROM alloc_units WHERE pool = %s GROUP BY key', pool.name)}
            live = {k: u for k, u in pool.units.items() if not u.over}
            expected = {k: (pool.value(u), u.generation, pool.last(u), u.weight, u.number, 1)
                        for k, u in live.items()}
            self.fuzz.expect(got == expected, f'{pool.name} has {got}, not {expected}')
            if pool.counted:
                self.compare_usage(self.turns[0], pool)
                continue
            allocated = self.turns[0].ask('SELECT allocated FROM alloc_usage(%s)', pool.name)
            addresses = {v // pool.chunks for u in live.values()
                         for v in range(u.first, u.last + 1)}
            self.fuzz.expect(allocated == (len(addresses),),
                             f'{pool.name}: usage says {allocated}, not {len(addresses)}')
        wrong = self.turns[0].rows('SELECT * FROM alloc_verify()')
        self.fuzz.expect(not wrong, f'alloc_verify: {wrong}')

    def step(self):
        r = self.random
        turn = r.choice(self.turns)
        pool = r.choice(self.pools)
        way = r.random()
        if turn.effects is None and way < 0.12:
            turn.begin(r.choice(('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ',
                                 'SERIALIZABLE')), self.pools)
        elif turn.effects is None and way < 0.22:
            self.change_pool(turn, pool)
        elif turn.effects is not None and way < 0.12:
            turn.end(r.random() < 0.7)
        elif turn.effects is not None and way < 0.2:
            if turn.saved and r.random() < 0.5:
                r.choice((turn.back, turn.release))()
            else:
                turn.save()
        elif way < 0.21:
            turn.kill()
        elif way < 0.27 and not self.fuzz.without('sets'):
            self.set_of(turn)
        elif way < 0.3 and not self.fuzz.without('import'):
            self.import_into(turn, pool)
        elif pool.counted and way < 0.4:
            self.resize(turn, pool)
        elif way < 0.62:
            (self.count if pool.counted else self.allocate)(turn, pool)
        elif way < 0.66 and not self.fuzz.without('many'):
            self.many(turn, pool)
        elif way < 0.68 and not self.fuzz.without('many'):
            self.release_many(turn, pool)
        elif way < 0.8:
            self.release(turn, pool)
        elif way < 0.84:
            self.move(turn, pool)
        elif way < 0.86:
            self.annotate(turn, pool)
        elif way < 0.91:
            self.renew(turn, pool)
        else:
            self.look(turn, pool)


def run(fuzz):
    Alloc(fuzz).run()
