"""Pools are created, changed and dropped, for fuzz_alloc.py."""

import ipaddress

from alloc_model import BYTES, NEVER, NOW, Pool, Turn
from fuzz import Difference, Raised, Session
from turns import Run

SESSIONS = 4
POOLS = 6
DEEPEST = 4     # pools above one another


class Pools(Run):
    """A run, as far as it concerns the pools themselves."""

    def __init__(self, fuzz):
        super().__init__(fuzz, SESSIONS, Turn)
        self.maker = Session(fuzz, 'maker')
        self.pools = []
        self.made = 0
        while len(self.pools) < POOLS:
            self.new_pool()

    def new_pool(self):
        r = self.random
        kind = r.choice(('int', 'ip', 'ports', 'ports', 'prefix', 'prefix', 'mac', 'mac8',
                         'count', 'count', 'count', 'count'))
        size = r.choice((4, 8, 16, 16))
        base = (0 if kind == 'count'
                else r.choice((0, 100)) if kind == 'int'
                else r.choice((0, 0xfff8, 256 ** BYTES[kind] - 32)) if kind in BYTES
                else int(ipaddress.ip_address(r.choice(('10.0.0.0', '2001:db8::')))))
        chunks = 4 if kind == 'ports' else 1
        self.made += 1
        pool = Pool(f'p{self.made}', 'ip' if kind == 'ports' else kind,
                    'any' if kind == 'count' else r.choice(('any', 'lowest', 'random')),
                    r.choice(('0', '0', NOW, NEVER)), chunks, base, size, self.new_parent())
        exclude = self.exclude(pool)
        self.maker.rows('SELECT alloc_pool_create(%s, %s, %s, %s, %s::interval, %s, '
                        'exclude_ports => %s::int4range[], parent => %s, capacity => %s)',
                        pool.name, [pool.text(part) for part in pool.ranges], pool.kind,
                        pool.strategy, pool.cooldown, 65536 // chunks if chunks > 1 else None,
                        exclude, pool.parent and pool.parent.name, pool.capacity)
        self.pools.append(pool)

    def new_parent(self):
        """Choose a parent for a new pool, or none."""
        parents = [p for p in self.pools if p.counted and len(p.chain()) < DEEPEST]
        return self.random.choice(parents) if parents and self.random.random() < 0.6 else None

    def exclude(self, pool):
        """Choose ports of a pool to exclude, in one chunk or none."""
        r = self.random
        if pool.chunks == 1 or r.random() < 0.5:
            pool.excluded = set()
            return None if pool.chunks == 1 else '{}'
        chunk = r.randrange(pool.chunks)
        size = 65536 // pool.chunks
        pool.excluded = {chunk}
        a, b = sorted(r.randrange(chunk * size, (chunk + 1) * size) for _ in range(2))
        return f'{{"[{a},{b}]"}}'

    def in_way(self, turn, other):
        """A call may have to wait for any transaction that has used the pool.

        And for what stands before it in a line.
        """
        if turn.at is None:
            return bool(other.touched)
        at = turn.at if isinstance(turn.at, list) else [turn.at]
        chain = {p for pool in at for p in pool.chain()}
        return (not chain.isdisjoint(other.touched)
                or other.patient and not chain.isdisjoint(other.patient.chain()))

    def busy(self, pool, turn=None):
        """Whether another open transaction has used the pool, or one above."""
        return any(not t.touched.isdisjoint(pool.chain()) for t in self.turns if t is not turn)

    def used(self, turn, pool, values):
        """Whether a part of a pool is in use.

        None if that is not known, because open transactions have used the pool.
        """
        if any(u.meets(*values) for u in pool.units.values() if not u.over):
            return True
        return None if self.busy(pool, turn) else False

    def change_pool(self, turn, pool):
        """Call a function that locks the whole pool, outside a transaction."""
        what = self.random.choice(
            ('recount', 'recount', 'recount', 'rebuild', 'reap', 'drop', 'refused')
            if pool.counted else
            ('shrink', 'drain', 'grow', 'grow', 'reserve', 'unreserve', 'unreserve', 'set',
             'rebuild', 'reap', 'drop'))
        if what == 'reap':
            self.reap(turn)
        elif what in ('shrink', 'drain'):
            self.shrink(turn, pool, what == 'drain')
        elif what == 'drop':
            self.drop(turn, pool)
        else:
            getattr(self, what)(turn, pool)
        pool.changes += what != 'reap'

    def state(self, turn, pool, function, *args):
        """Return the SQLSTATE of a call, or None; 'busy' if it stopped waiting."""
        marks = ', %s' * len(args)
        turn.at = pool
        answer = turn.ask(f'SELECT {function}(%s{marks})', pool.name, *args)
        if not isinstance(answer, Raised):
            return None
        return 'busy' if turn.gave_up(answer) else answer.state

    def judge_use(self, what, state, used):
        """Check that the call failed with 55006 if and only if the values are used."""
        self.fuzz.expect(state in (None, '55006')
                         and (used is None or (state is None) != used),
                         f'{what}: {state}, used: {used}')

    def reap(self, turn):
        turn.at = None
        answer = turn.ask('SELECT pg_cas_reap(100)')
        if isinstance(answer, Raised) and not turn.gave_up(answer):
            raise Difference(f'reap: {answer}')
        for pool in self.pools:
            pool.lose(-1, 2 ** 130)

    def drop(self, turn, pool):
        state = self.state(turn, pool, 'alloc_pool_drop')
        if state == 'busy':
            return
        everything = (-1, 2 ** 130)
        used = True if pool.children else self.used(turn, pool, everything)
        self.judge_use('drop', state, used)
        if not state:
            self.pools.remove(pool)
            if pool.parent:
                pool.parent.children.remove(pool)
            self.new_pool()

    def shrink(self, turn, pool, drain):
        r = self.random
        first, last = r.choice(pool.ranges or [(0, 0)])
        size = r.choice((1, 1, 2, 4))
        parts = [(a, a + size - 1) for a in range(first, last - size + 2)
                 if pool.kind != 'prefix' or a % size == 0]
        if not pool.ranges or not parts:
            return
        part = r.choice(parts)
        values = pool.values(part)
        state = self.state(turn, pool, 'alloc_pool_shrink', pool.text(part), drain)
        if state == 'busy':
            return
        used = False if drain else self.used(turn, pool, values)
        self.judge_use('drain' if drain else 'shrink', state, used)
        if not state:
            self.cut(pool, part, values)

    def cut(self, pool, part, values):
        for a, b in [x for x in pool.ranges if x[0] <= part[0] and part[1] <= x[1]]:
            pool.ranges.remove((a, b))
            pool.ranges += [x for x in ((a, part[0] - 1), (part[1] + 1, b)) if x[0] <= x[1]]
        pool.cut.append(part)
        pool.may_rest(*values)
        pool.lose(*values)

    def grow(self, turn, pool):
        if not pool.cut:
            return
        part = self.random.choice(pool.cut)
        state = self.state(turn, pool, 'alloc_pool_grow', pool.text(part))
        if state == 'busy':
            return
        # the model does not know which ranges are only partly drained
        self.fuzz.expect(state in (None, '23P01'), f'grow: {state}')
        if not state:
            pool.cut.remove(part)
            pool.ranges.append(part)
            pool.may_rest(*pool.values(part))

    def reserve(self, turn, pool):
        r = self.random
        first = r.randrange(16)
        part = (first, first) if pool.kind == 'prefix' else (first, first + r.randrange(3))
        on_request = r.random() < 0.5
        state = self.state(turn, pool, 'alloc_reserve', pool.text(part), None, on_request)
        if state == 'busy':
            return
        clash = any(a <= part[1] and part[0] <= b for a, b in pool.reserved)
        self.fuzz.expect(
            state == ('23P01' if clash else None)
            or (state == '22023' and not pool.covers(pool.ranges, *pool.values(part))),
            f'reserve: {state}')
        if not state:
            pool.reserved.append(part)
            if on_request:
                pool.on_request.add(part)

    def unreserve(self, turn, pool):
        if not pool.reserved:
            return
        part = self.random.choice(pool.reserved)
        state = self.state(turn, pool, 'alloc_unreserve', pool.text(part))
        if state != 'busy':
            self.fuzz.expect(not state, f'unreserve: {state}')
            pool.reserved.remove(part)
            pool.on_request.discard(part)

    def set(self, turn, pool):
        if pool.chunks > 1 and self.random.random() < 0.5:
            before = pool.excluded
            exclude = self.exclude(pool)
            state = self.state(turn, pool, 'alloc_pool_set', None, None, None, None, exclude)
            if state == 'busy':
                pool.excluded = before
            else:
                self.fuzz.expect(not state, f'set: {state}')
            return
        strategy = self.random.choice(('any', 'lowest', 'random'))
        state = self.state(turn, pool, 'alloc_pool_set', strategy)
        if state != 'busy':
            self.fuzz.expect(not state, f'set: {state}')
            pool.strategy = strategy

    def recount(self, turn, pool, capacity=None):
        """Raise or lower a capacity, perhaps below what is held."""
        if capacity is None:
            capacity = self.random.choice((0, 1, 2, 3, 4, 6, 8, 12, 16, 16))
        state = self.state(turn, pool, 'alloc_pool_set', None, None, None, capacity)
        if state != 'busy':
            self.fuzz.expect(not state, f'capacity: {state}')
            pool.capacity = capacity

    def refused(self, turn, pool):
        """Counted pools have no ranges."""
        function, *args = self.random.choice((
            ('alloc_pool_grow', '1-2'), ('alloc_pool_shrink', '1-2'), ('alloc_reserve', '1-2'),
            ('alloc_pool_set', 'lowest')))
        state = self.state(turn, pool, function, *args)
        self.fuzz.expect(state in ('22023', 'busy'), f'{function} of a counted pool: {state}')

    def rebuild(self, turn, pool):
        state = self.state(turn, pool, 'alloc_rebuild')
        self.fuzz.expect(state in (None, 'busy'), f'rebuild: {state}')
