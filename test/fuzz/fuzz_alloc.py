"""Allocation: a model that knows values only.

Sessions take turns, some inside transactions with savepoints, and some are
killed.  The model has each pool's open and reserved values, what is cooling,
and who has what; a transaction's changes are kept apart until it commits.  A
unit's time is over at once (a ttl of a microsecond) or never, and the same
goes for cooling, so that the clock decides nothing.

Where the contract leaves something open, the model says yes to both: what may
be cooling, and whether a prefix may lie across ranges that meet.
"""

import ipaddress
import uuid

from fuzz import Difference, Raised, Session, psycopg

SESSIONS = 4
KEYS = 14
NOW, NEVER = '1 microsecond', '1 day'


def key(n):
    return uuid.UUID(int=n)


class Unit:
    """What a key has: values first to last, over if its time has run out."""

    def __init__(self, first, last, kind, over, generation):
        self.first, self.last, self.kind = first, last, kind
        self.over, self.generation = over, generation

    def meets(self, first, last):
        return self.first <= last and first <= self.last

    def __repr__(self):
        return f'{self.kind} {self.first}-{self.last}{" over" * self.over}'


class Pool:
    """A pool.  Values are numbers from 0: addresses, or chunks of them."""

    def __init__(self, name, kind, strategy, cooldown, chunks, base, size):
        self.name, self.kind, self.strategy = name, kind, strategy
        self.cooldown, self.chunks, self.base = cooldown, chunks, base
        self.ranges = [(0, size - 1)]   # open ones, in addresses
        self.cut = []                   # what was taken from them
        self.reserved = []              # in addresses
        self.cooling = set()            # values
        self.may_cool = set()
        self.units = {}                 # key: Unit, as committed
        self.greatest = 0               # generation
        self.changes = 0

    def address(self, n):
        if self.kind == 'int':
            return str(self.base + n)
        return str(ipaddress.ip_address(self.base + n))

    def text(self, part):
        first, last = part
        if self.kind == 'prefix':
            bits = ipaddress.ip_address(self.base).max_prefixlen
            return f'{self.address(first)}/{bits - (last - first).bit_length()}'
        return f'{self.address(first)}-{self.address(last)}'

    def value(self, unit):
        """A unit as the views show it."""
        if unit.kind == 'prefix':
            return self.text((unit.first, unit.last))
        if unit.kind == 'ports':
            size = 65536 // self.chunks
            port = unit.first % self.chunks * size
            address = self.address(unit.first // self.chunks)
            if ':' in address:
                address = f'[{address}]'
            return f'{address}:{port}-{port + size - 1}'
        return self.address(unit.first // self.chunks)

    def parse(self, text, kind):
        """The values of what an answer names."""
        if kind == 'int':
            return (int(text) - self.base,) * 2
        if kind == 'prefix':
            net = ipaddress.ip_network(text)
            first = int(net.network_address) - self.base
            return first, first + net.num_addresses - 1
        if kind == 'ports':
            address, ports = text.rsplit(':', 1)
            n = int(ipaddress.ip_address(address.strip('[]'))) - self.base
            first = n * self.chunks + int(ports.split('-')[0]) * self.chunks // 65536
            return first, first
        n = int(ipaddress.ip_address(text)) - self.base
        return n * self.chunks, n * self.chunks + self.chunks - 1

    def covers(self, parts, first, last):
        """Whether each of these values lies in one of the parts."""
        return all(any(a <= v // self.chunks <= b for a, b in parts)
                   for v in range(first, last + 1))

    def touches(self, parts, first, last):
        return any(a <= v // self.chunks <= b for a, b in parts
                   for v in range(first, last + 1))

    def places(self, size):
        """The first values of all units of this size that the pool could have."""
        for a, b in self.ranges:
            for first in range(a * self.chunks, (b + 1) * self.chunks - size + 1):
                if self.aligned(first, size):
                    yield first

    def aligned(self, first, size):
        if self.kind == 'prefix':
            return (self.base + first) % size == 0
        return first % size == 0


class Turn(Session):
    """A session, with what its transaction has done."""

    def __init__(self, fuzz, name):
        self.forget()
        super().__init__(fuzz, name)

    def forget(self):
        self.effects = None     # (pool, key, Unit or None) in a transaction
        self.saved = []
        self.level = None
        self.touched = set()
        self.seen = {}

    def resting(self, pool):
        """Values that this session has released, and that cool from now on."""
        values = set()
        units = dict(pool.units)
        for of, k, unit in self.effects or ():
            if of is pool:
                was = units.get(k)
                if unit is None and was and not was.over and pool.cooldown == NEVER:
                    values.update(range(was.first, was.last + 1))
                apply(units, k, unit)
        return values

    def view(self, pool):
        """The units as this session sees them."""
        units = dict(pool.units)
        for of, k, unit in self.effects or ():
            if of is pool:
                apply(units, k, unit)
        return units

    def begin(self, level, pools):
        self.rows(f'BEGIN ISOLATION LEVEL {level}')
        self.rows('SELECT 1')
        self.effects, self.saved, self.level = [], [], level
        self.seen = {pool: pool.changes for pool in pools}

    def end(self, commit):
        if commit:
            try:
                self.rows('COMMIT')
                for pool, k, unit in self.effects:
                    settle(pool, k, unit)
            except psycopg.errors.SerializationFailure as error:
                if self.level != 'SERIALIZABLE':
                    raise Difference(f'at COMMIT: {error}') from error
        else:
            self.rows('ROLLBACK')
        self.forget()

    def did(self, pool, k, unit):
        if self.effects is None:
            settle(pool, k, unit)
        else:
            self.effects.append((pool, k, unit))

    def failed(self):
        """After an error: back to a savepoint, or the transaction is over."""
        if self.effects is None:
            return
        if self.saved:
            name, n = self.saved[-1]
            self.rows(f'ROLLBACK TO {name}')
            del self.effects[n:]
        else:
            self.end(False)

    def stale(self, pool):
        """Whether others have changed the pool since this one's snapshot."""
        return (self.level not in (None, 'READ COMMITTED')
                and self.seen.get(pool) != pool.changes)

    def kill(self):
        super().kill()
        self.forget()


def apply(units, k, unit):
    """A change of a pool's units: what is taken ends what had run out there."""
    if unit is None:
        units.pop(k, None)
        return
    for other in [o for o, u in units.items()
                  if o != k and u.over and u.meets(unit.first, unit.last)]:
        del units[other]
    units[k] = unit


def settle(pool, k, unit):
    """The same for good, with what a release leaves behind."""
    was = pool.units.get(k)
    if unit is None and was and not was.over and pool.cooldown == NEVER:
        pool.cooling.update(v for v in range(was.first, was.last + 1))
    apply(pool.units, k, unit)
    pool.changes += 1


class Alloc:
    """The run."""

    def __init__(self, fuzz):
        self.fuzz, self.random = fuzz, fuzz.random
        self.turns = [Turn(fuzz, f's{n}') for n in range(SESSIONS)]
        self.maker = Session(fuzz, 'maker')
        self.pools = []
        self.made = 0
        while len(self.pools) < 3:
            self.new_pool()

    # ---- pools ----

    def new_pool(self):
        r = self.random
        kind = r.choice(('int', 'ip', 'ports', 'prefix', 'prefix'))
        size = r.choice((4, 8, 16))
        base = (r.choice((0, 100)) if kind == 'int'
                else int(ipaddress.ip_address(r.choice(('10.0.0.0', '2001:db8::')))))
        chunks = 4 if kind == 'ports' else 1
        self.made += 1
        pool = Pool(f'p{self.made}', 'ip' if kind == 'ports' else kind,
                    r.choice(('any', 'lowest', 'random')),
                    r.choice(('0', NOW, NEVER)), chunks, base, size)
        self.maker.rows('SELECT alloc_pool_create(%s, %s, %s, %s, %s::interval, %s)',
                        pool.name, [pool.text(pool.ranges[0])], pool.kind, pool.strategy,
                        pool.cooldown, 65536 // chunks if chunks > 1 else None)
        self.pools.append(pool)

    def busy(self, pool, turn=None):
        """Whether another open transaction has had to do with the pool."""
        return any(pool in t.touched for t in self.turns if t is not turn)

    def change_pool(self, turn, pool):
        """Something that needs the pool to itself, outside a transaction."""
        r = self.random
        what = r.choice(('shrink', 'drain', 'grow', 'grow', 'reserve', 'unreserve',
                         'unreserve', 'set', 'rebuild', 'reap', 'drop'))
        function = {'drain': 'shrink'}.get(what, what)
        if what in ('shrink', 'drain'):
            first, last = r.choice(pool.ranges or [(0, 0)])
            size = r.choice((1, 1, 2, 4))
            parts = [(a, a + size - 1) for a in range(first, last - size + 2)
                     if pool.kind != 'prefix' or a % size == 0]
            if not pool.ranges or not parts:
                return
            part = r.choice(parts)
            args = (pool.text(part), what == 'drain')
            query = 'SELECT alloc_pool_shrink(%s, %s, %s)'
        elif what in ('grow', 'unreserve'):
            parts = pool.cut if what == 'grow' else pool.reserved
            if not parts:
                return
            part = r.choice(parts)
            args = (pool.text(part),)
            query = ('SELECT alloc_pool_grow(%s, %s)' if what == 'grow'
                     else 'SELECT alloc_unreserve(%s, %s)')
        elif what == 'reserve':
            first = r.randrange(16)
            part = (first, first) if pool.kind == 'prefix' else (first, first + r.randrange(3))
            args = (pool.text(part),)
            query = 'SELECT alloc_reserve(%s, %s)'
        elif what == 'set':
            pool_strategy = r.choice(('any', 'lowest', 'random'))
            args = (pool_strategy,)
            query = 'SELECT alloc_pool_set(%s, %s)'
        elif what == 'reap':
            answer = turn.ask('SELECT pg_cas_reap(100)')
            if isinstance(answer, Raised) and answer.state != '55P03':
                raise Difference(f'reap: {answer}')
            # what has run out may be nobody's now
            for other in self.pools:
                for k in [k for k, u in other.units.items() if u.over]:
                    del other.units[k]
            return
        else:
            args = ()
            query = ('SELECT alloc_rebuild(%s)' if what == 'rebuild'
                     else 'SELECT alloc_pool_drop(%s)')
        answer = turn.ask(query, pool.name, *args)
        state = answer.state if isinstance(answer, Raised) else None
        if state == '55P03':
            self.fuzz.expect(self.busy(pool, turn), f'{what}: nobody to wait for')
            return
        live = [u for u in pool.units.values() if not u.over]
        chunk = lambda p: (p[0] * pool.chunks, (p[1] + 1) * pool.chunks - 1)
        if what == 'drop':
            self.fuzz.expect(state == ('55006' if live else None), f'drop: {answer}, {live}')
            if not state:
                self.pools.remove(pool)
                self.new_pool()
        elif what in ('shrink', 'drain'):
            used = any(u.meets(*chunk(part)) for u in live)
            self.fuzz.expect(state == ('55006' if used and what == 'shrink' else None),
                             f'{what}: {answer}, {live}')
            if not state:
                self.cut(pool, part, chunk(part))
        elif what == 'grow':
            # what is drained only in part cannot be told from here
            self.fuzz.expect(state in (None, '23P01'), f'grow: {answer}')
            if not state:
                pool.cut.remove(part)
                pool.ranges.append(part)
        elif what == 'reserve':
            clash = any(a <= part[1] and part[0] <= b for a, b in pool.reserved)
            self.fuzz.expect(state == ('23P01' if clash else None)
                             or (state == '22023' and not pool.covers(pool.ranges, *chunk(part))),
                             f'reserve: {answer}')
            if not state:
                pool.reserved.append(part)
        elif what == 'unreserve':
            self.fuzz.expect(not state, f'unreserve: {answer}')
            pool.reserved.remove(part)
        else:
            self.fuzz.expect(not state, f'{what}: {answer}')
            if what == 'set':
                pool.strategy = pool_strategy
        pool.changes += 1

    def cut(self, pool, part, values):
        for a, b in [x for x in pool.ranges if x[0] <= part[0] and part[1] <= x[1]]:
            pool.ranges.remove((a, b))
            pool.ranges += [x for x in ((a, part[0] - 1), (part[1] + 1, b)) if x[0] <= x[1]]
        pool.cut.append(part)
        gone = {v for v in pool.cooling if values[0] <= v <= values[1]}
        pool.cooling -= gone
        pool.may_cool |= gone
        for k in [k for k, u in pool.units.items() if u.over and u.meets(*values)]:
            del pool.units[k]

    # ---- units ----

    def taken(self, turn, pool, k):
        """All that others have, or may have when they commit."""
        view = turn.view(pool)
        mine = {o for of, o, _ in turn.effects or () if of is pool}
        units = [u for o, u in view.items() if o != k and not u.over]
        units += [u for o, u in pool.units.items()
                  if o != k and o not in mine and not u.over]
        units += [u for t in self.turns if t is not turn
                  for of, o, u in t.effects or () if of is pool and u]
        return units

    def free(self, turn, pool, taken, first, size):
        last = first + size - 1
        resting = turn.resting(pool)
        return (not pool.touches(pool.reserved, first, last)
                and not any(v in pool.cooling or v in pool.may_cool or v in resting
                            for v in range(first, last + 1))
                and not any(u.meets(first, last) for u in taken))

    def allocate(self, turn, pool):
        r = self.random
        k = r.randrange(KEYS)
        kind = 'ports' if pool.chunks > 1 and r.random() < 0.7 else pool.kind
        size = (r.choice((1, 1, 2, 4)) if kind == 'prefix'
                else 1 if kind == 'ports' else pool.chunks)
        ttl = r.choice((None, None, NEVER, NOW))
        args, wanted = [], None
        if kind == 'prefix':
            bits = ipaddress.ip_address(pool.base).max_prefixlen
            args.append(bits - size.bit_length() + 1)
        if kind != 'ports':
            if r.random() < 0.3:
                first = r.randrange(18) * pool.chunks // size * size
                if pool.aligned(first, size):
                    wanted = (first, first + size - 1)
            args.append(pool.value(Unit(*wanted, kind, False, 0)) if wanted else None)
        casts = {'prefix': '%s, %s::cidr, ', 'ip': '%s::inet, ', 'int': '%s::bigint, ', 'ports': ''}
        answer = turn.ask(
            f'SELECT outcome, value, generation FROM alloc_try_{kind}(%s, %s, '
            f'{casts[kind]}%s::interval)', pool.name, key(k), *args, ttl)
        turn.touched.add(pool) if turn.effects is not None else None
        try:
            self.judge(turn, pool, k, kind, size, wanted, ttl, answer)
        except Difference as difference:
            raise Difference(
                f'{turn.name}, {pool.name} ({pool.kind}/{pool.chunks}, {pool.strategy}, cooldown '
                f'{pool.cooldown}), key {k}, '
                f'size {size}, wanted {wanted}: {answer}: {difference}; ranges {pool.ranges}, '
                f'reserved {pool.reserved}, cooling {sorted(pool.cooling)}, may cool '
                f'{sorted(pool.may_cool)}, units {turn.view(pool)}') from difference

    def judge(self, turn, pool, k, kind, size, wanted, ttl, answer, choice=True):
        expect = self.fuzz.expect
        view = turn.view(pool)
        mine = view.get(k)
        live = mine if mine and not mine.over else None
        taken = self.taken(turn, pool, k)
        if isinstance(answer, Raised):
            self.judge_error(turn, pool, kind, size, wanted, answer)
            turn.failed()
            return
        outcome, value, generation = answer
        if outcome in ('held', 'reused'):
            expect(live, 'the key has nothing')
            same = (live.kind == kind and live.last - live.first + 1 == size
                    and wanted in (None, (live.first, live.last)))
            expect(same == (outcome == 'held'), f'the key has {live}')
            expect(value == pool.value(live), f'the key has {pool.value(live)}')
            expect(outcome == 'reused' or generation == live.generation, 'generation')
        elif outcome == 'allocated':
            expect(not live, f'the key has {live}')
            first, last = pool.parse(value, kind)
            expect(last - first + 1 == size and pool.aligned(first, size), 'size')
            expect(wanted in (None, (first, last)), 'another value')
            expect(pool.covers(pool.ranges, first, last), 'not in the pool')
            expect(not pool.touches(pool.reserved, first, last), 'reserved')
            cooling = pool.cooling | turn.resting(pool)
            expect(not any(v in cooling for v in range(first, last + 1)), 'cooling')
            clash = [u for u in taken if u.meets(first, last)]
            expect(not clash, f'others have {clash}')
            expect(not choice or generation > pool.greatest,
                   f'generation {pool.greatest} was out')
            pool.greatest = max(pool.greatest, generation)
            if choice and not wanted and not self.busy(pool, turn):
                self.judge_choice(turn, pool, mine, taken, kind, size, first)
            turn.did(pool, k, Unit(first, last, kind, ttl == NOW, generation))
        elif outcome == 'taken':
            expect(not live and wanted, 'nothing was asked for')
            expect(any(u.meets(*wanted) for u in taken), 'nobody has it')
        elif outcome in ('exhausted', 'cooling', 'fragmented'):
            expect(not live, f'the key has {live}')
            places = [wanted[0]] if wanted else pool.places(size)
            there = [p for p in places if pool.covers(pool.ranges, p, p + size - 1)
                     and self.free(turn, pool, taken, p, size)]
            expect(not there, f'free: {there}')
            expect(outcome != 'cooling' or pool.cooling or pool.may_cool
                   or turn.resting(pool), 'nothing cools')
        else:
            expect(outcome == 'reserved' and wanted
                   and pool.touches(pool.reserved, *wanted), 'outcome')

    def judge_choice(self, turn, pool, mine, taken, kind, size, first):
        """Which of the free units was taken, with nobody else about."""
        if mine and mine.kind == kind and mine.last - mine.first + 1 == size:
            if (pool.covers([r for r in pool.ranges if r[0] <= mine.first // pool.chunks <= r[1]],
                            mine.first, mine.last)
                    and self.free(turn, pool, taken, mine.first, size)):
                self.fuzz.expect(first == mine.first, f'had {mine} before')
        elif pool.strategy == 'lowest':
            lower = [p for p in pool.places(size)
                     if p < first and self.free(turn, pool, taken, p, size)]
            self.fuzz.expect(not lower, f'lower: {lower}')

    def judge_error(self, turn, pool, kind, size, wanted, error):
        expect = self.fuzz.expect
        if error.state == '55P03':
            expect(self.busy(pool, turn), 'nobody to wait for')
        elif error.state == '40001':
            expect(turn.stale(pool), 'nothing has changed')
        elif error.state == '22023':
            expect(wanted and (pool.touches(pool.reserved, *wanted)
                               or not pool.covers(pool.ranges, *wanted)
                               or wanted[0] not in pool.places(size))
                   or not list(pool.places(size)), 'a good request')
        else:
            raise Difference('error')

    def many(self, turn, pool):
        """All or none; their values are looked at one by one."""
        keys = self.random.sample(range(KEYS), 3)
        if pool.chunks > 1 or pool.kind == 'prefix':
            kind, size = pool.kind, pool.chunks
        else:
            kind, size = pool.kind, 1
        bits = ipaddress.ip_address(pool.base).max_prefixlen if kind == 'prefix' else None
        turn.touched.add(pool) if turn.effects is not None else None
        try:
            rows = turn.rows('SELECT key, value, generation FROM alloc_many(%s, %s, %s)',
                             pool.name, [key(k) for k in keys], bits)
        except psycopg.Error as error:
            state = turn.raised(error).state
            wrong = state not in ('PT507', 'PT422', '55P03', '40001', '22023')
            self.fuzz.expect(not wrong, f'alloc_many: {error}')
            if state == '55P03':
                self.fuzz.expect(self.busy(pool, turn), 'alloc_many: nobody to wait for')
            turn.failed()
            return
        self.fuzz.expect([row[0].int for row in rows] == keys, 'alloc_many: the keys')
        for row in rows:
            k = row[0].int
            live = turn.view(pool).get(k)
            held = live and not live.over
            self.judge(turn, pool, k, kind, size, None, None,
                       ('held' if held else 'allocated', row[1], row[2]), choice=False)

    def release(self, turn, pool):
        r = self.random
        k = r.randrange(KEYS)
        mine = turn.view(pool).get(k)
        live = mine if mine and not mine.over else None
        generation = r.choice((None, None, mine.generation, mine.generation - 1)) if mine else None
        answer = turn.ask('SELECT alloc_release(%s, %s, %s)', pool.name, key(k), generation)
        turn.touched.add(pool) if turn.effects is not None else None
        if isinstance(answer, Raised):
            old = live and generation is not None and generation < live.generation
            self.fuzz.expect(
                answer.state == 'PT412' and (old or mine and mine.over)
                or answer.state == '55P03' and self.busy(pool, turn)
                or answer.state == '40001' and turn.stale(pool),
                f'release of {mine} in {pool.name}, generation {generation}: {answer}')
            turn.failed()
            return
        if not turn.stale(pool):
            self.fuzz.expect(answer[0] == bool(live) or mine and mine.over,
                             f'release of {mine} in {pool.name}: {answer}')
        if mine and (answer[0] or mine.over):
            turn.did(pool, k, None)

    def renew(self, turn, pool):
        r = self.random
        k = r.randrange(KEYS)
        mine = turn.view(pool).get(k)
        live = mine if mine and not mine.over else None
        ttl = r.choice((None, NEVER, NOW))
        answer = turn.ask('SELECT alloc_renew(%s, %s, %s::interval)', pool.name, key(k), ttl)
        turn.touched.add(pool) if turn.effects is not None else None
        if isinstance(answer, Raised):
            self.fuzz.expect(
                answer.state == 'PT404' and not live
                or answer.state == '55P03' and self.busy(pool, turn)
                or answer.state == '40001' and turn.stale(pool),
                f'renewal of {mine} in {pool.name}: {answer}')
            turn.failed()
            return
        self.fuzz.expect(live and (answer[0] is None) == (ttl is None),
                         f'renewal of {mine} in {pool.name}: {answer}')
        turn.did(pool, k, Unit(live.first, live.last, live.kind, ttl == NOW, live.generation))

    def look(self, turn, pool):
        """What a key has, and who has a value."""
        k = self.random.randrange(KEYS)
        view = turn.view(pool)
        live = {o: u for o, u in view.items() if not u.over}
        n = self.random.randrange(16)
        try:
            got = turn.rows('SELECT key, value, generation FROM alloc_get(%s, %s)',
                            pool.name, key(k))
            found = turn.rows('SELECT key FROM alloc_find(%s, %s)', pool.name,
                              pool.address(n))
        except psycopg.errors.SerializationFailure as error:
            # they take predicate locks, as docs/allocation.md says
            self.fuzz.expect(turn.level == 'SERIALIZABLE', f'look: {error}')
            turn.failed()
            return
        if turn.stale(pool):
            return
        expected = [(key(k), pool.value(live[k]), live[k].generation)] if k in live else []
        self.fuzz.expect(got == expected, f'{pool.name}: the key has {got}, not {expected}')
        values = n * pool.chunks, (n + 1) * pool.chunks - 1
        expected = {key(o) for o, u in live.items() if u.meets(*values)}
        self.fuzz.expect({row[0] for row in found} == expected,
                         f'{pool.name}: {pool.address(n)} has {found}, not {expected}')

    def compare(self):
        """With nothing going on: everything."""
        for turn in self.turns:
            if turn.effects is not None:
                turn.end(self.random.random() < 0.5)
        for pool in self.pools:
            got = {k.int: (value, generation) for k, value, generation in self.turns[0].rows(
                'SELECT key, value, generation FROM alloc_units WHERE pool = %s', pool.name)}
            live = {k: u for k, u in pool.units.items() if not u.over}
            expected = {k: (pool.value(u), u.generation) for k, u in live.items()}
            self.fuzz.expect(got == expected, f'{pool.name} has {got}, not {expected}')
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
                name, n = turn.saved[-1]
                if r.random() < 0.5:
                    turn.saved.pop()
                    turn.rows(f'RELEASE {name}')
                else:
                    turn.rows(f'ROLLBACK TO {name}')
                    del turn.effects[n:]
            else:
                name = f's{len(turn.saved)}'
                turn.rows(f'SAVEPOINT {name}')
                turn.saved.append((name, len(turn.effects)))
        elif way < 0.23:
            turn.kill()
        elif way < 0.62:
            self.allocate(turn, pool)
        elif way < 0.66 and not self.fuzz.without('many'):
            self.many(turn, pool)
        elif way < 0.82:
            self.release(turn, pool)
        elif way < 0.9:
            self.renew(turn, pool)
        else:
            self.look(turn, pool)


def run(fuzz):
    alloc = Alloc(fuzz)
    while fuzz.more():
        alloc.step()
        if fuzz.done % 100 == 0:
            alloc.compare()
    alloc.compare()
