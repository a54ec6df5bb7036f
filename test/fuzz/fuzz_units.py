"""Allocation by concurrent sessions.

The sessions allocate units of a few small pools for the same few keys, also in sets, and
release, renew, move and annotate them, alone and in transactions of each level, with savepoints, while pools are shrunk,
grown, reserved, drained and rebuilt.  Some calls are cancelled, and some sessions are
killed, also while they wait.  After every few hundred operations all transactions end,
and the answers are compared with the pools (units_check.py).

No answer depends on the time: a unit expires, and a cooldown ends, immediately or never.
"""

import ipaddress
import json
import random

import psycopg
import threads
from alloc_model import BYTES, NEVER, NOW, Pool, Unit, key
from fuzz import Difference, Raised
from threads import LEVELS, ConcurrentRun, ConcurrentSession, now
from units_check import Epoch, Fact

WORKERS = 5
STEPS = 40      # of each worker in an epoch
KEYS = 10


class Txn(threads.Txn):
    """A transaction, and its answers."""

    def __init__(self, *args):
        super().__init__(*args)
        self.facts = []
        self.released = []      # (pool, key)
        self.units = {}         # (pool, key): generation, as last seen

    def save(self):
        self.saved.append(len(self.facts))

    def undo(self, n, times):
        """Mark the facts from number n on as undone between two times, and remove them."""
        for fact in self.facts[n:]:
            fact.undone = times
        del self.facts[n:]


class Worker(ConcurrentSession):
    """A session, which chooses what to do next."""

    new_txn = Txn

    def step(self):
        r = self.random
        way = r.random()
        if self.txn is None and way < 0.2 + 0.2 * self.run.long:
            self.begin()
        elif self.txn and way < 0.2 - 0.1 * self.run.long:
            self.commit()
        elif self.txn and way < 0.25:
            self.rollback()
        elif self.txn and way < 0.33:
            self.savepoint()
        elif self.txn and way < 0.34:
            self.kill()
        elif self.txn is None and way < 0.26 and self.run.changes:
            self.change_pool()
        else:
            r.choice((self.allocate, self.allocate, self.allocate, self.allocate, self.many,
                      self.set_of, self.release, self.release, self.release, self.move,
                      self.annotate, self.renew, self.look))()

    # ---- transactions ----

    def commit_may_fail(self, error):
        return super().commit_may_fail(error) or self.ended_early(error)

    def commit_failed(self, error):
        self.lost_at = self.begin_at
        if error.state == '57P01':
            self.begin_again()
        else:
            self.rollback()

    # An error undoes what was done, not the ROLLBACK after it.

    lost_at = None

    def failed(self):
        self.lost_at = self.begin_at
        super().failed()

    def kill(self):
        self.lost_at = now()
        super().kill()

    def lost(self, n):
        self.txn.undo(n, (self.lost_at or self.begin_at, self.end_at))
        self.lost_at = None

    def leave(self):
        self.lost(0)
        super().leave()

    def rollback(self):
        if self.survives('ROLLBACK'):
            self.leave()

    def back(self):
        n = self.txn.saved[-1]
        if self.survives(f'ROLLBACK TO s{len(self.txn.saved) - 1}'):
            self.lost(n)

    def ended_early(self, answer):
        return (answer.state == '57014' and self.run.cancels
                or answer.state == '57P01' and self.run.kills)

    # ---- calls ----

    def call(self, pool, query, *values, may=(), others=()):
        """Return a call's answer, or None if it failed as any call may.

        An error with an SQLSTATE in may is returned to the caller.  others are more pools
        that the call may have tried.
        """
        if self.txn is None:
            self.txn = Txn(self.name, self.auto_level, False)
        answer = self.ask(query, *values)
        for tried in others or [pool] * isinstance(answer, Raised):
            self.fact('tried', tried, None)
        if not isinstance(answer, Raised) or answer.state in may:
            return answer
        txn, state = self.txn, answer.state
        self.expect(state == '40001' and (txn.level != 'READ COMMITTED')
                    or state == '40P01' and (txn.explicit or self.run.changes)
                    or self.ended_early(answer), f'{query} {pool.name} {values}: {answer}')
        if state == '57P01':
            self.begin_again()
        else:
            self.failed()
        return None

    def may(self, query):
        """Likewise: the session may have gone on before it was killed."""
        try:
            return super().may(query)
        except Difference:
            if not self.conn.broken or not self.run.kills:
                raise
            self.begin_again()
            return False

    def must(self, query):
        """Likewise, before there is a transaction."""
        try:
            return super().must(query)
        except psycopg.OperationalError:
            if not self.conn.broken or not self.run.kills or not query.startswith('BEGIN'):
                raise
            self.conn.close()
            self.connect()
            return super().must(query)

    def survives(self, query):
        """Execute a command that must succeed unless the session is killed meanwhile.

        Return whether it was not.
        """
        try:
            self.must(query)
        except psycopg.OperationalError:
            if not self.conn.broken or not self.run.kills:
                raise
            self.begin_again()
            return False
        return True

    def begin_again(self):
        """Connect again after the session has been killed."""
        self.lost_at, self.end_at = self.lost_at or self.begin_at, now()
        self.conn.close()
        self.connect()
        self.leave()

    def fact(self, what, pool, k, values=None, generation=None, over=False, **more):
        fact = Fact(self.txn, what, pool, k, values, self.begin_at, self.end_at, generation,
                    over=over, snapshot=False, **more)
        fact.after = {k for of, k in self.txn.released if of is pool}
        if what in ('got', 'held'):
            self.cache[pool, k] = generation
        if what in ('got', 'end', 'over', 'tried'):
            self.txn.facts.append(fact)
        if what in ('end', 'over'):
            self.txn.released.append((pool, k))
        self.run.facts.append(fact)
        return fact

    def done(self):
        if self.txn and not self.txn.explicit:
            self.committed()

    def pick(self):
        return self.random.choice(self.run.pools), self.random.choice(self.run.keys)

    def request(self, pool):
        """Choose a kind and a size in values; return also the arguments for them."""
        r = self.random
        if pool.kind == 'prefix':
            size = r.choice((1, 1, 1, 2, 4))
            bits = ipaddress.ip_address(pool.base).max_prefixlen
            return 'prefix', size, [bits - size.bit_length() + 1]
        if pool.chunks > 1 and r.random() < 0.7:
            return 'ports', 1, []
        return pool.kind, pool.chunks, []

    def in_a_row(self, kind):
        """Choose a number of units."""
        r = self.random
        return r.choice((2, 2, 3)) if kind not in ('ports', 'prefix') and r.random() < 0.4 else 1

    def allocate(self):
        r = self.random
        pool, k = self.pick()
        kind, size, args = self.request(pool)
        number = self.in_a_row(kind)
        wanted = None
        if kind != 'ports':
            if r.random() < 0.3:
                first = r.randrange(pool.size) * pool.chunks // size * size
                if pool.aligned(first, size):
                    wanted = first, first + size * number - 1
            args.append(pool.value(Unit(*wanted, kind, False, 0)) if wanted else None)
        ttl = r.choice((None, None, None, NEVER, NOW))
        size *= number
        what = {'size': size, 'kind': kind, 'wanted': wanted, 'of': None, 'without': set()}
        casts = {'prefix': '%s, %s::cidr, ', 'ip': '%s::inet, ', 'int': '%s::bigint, ',
                 'mac': '%s::macaddr, ', 'mac8': '%s::macaddr8, ', 'ports': ''}
        row = f', consecutive => {number}' if number > 1 else ''
        if kind == 'ports':
            row = self.ports(pool, what)
        answer = self.call(pool, f'SELECT outcome, value, generation FROM alloc_try_{kind}(%s, '
                           f'%s, {casts[kind]}%s::interval{row})', pool.name, key(k), *args, ttl,
                           may=('22023',))
        if answer is None:
            return
        if isinstance(answer, Raised):
            self.expect(wanted or self.run.changes or not list(pool.places(size))
                        or len(what['without'] | pool.excluded) == pool.chunks,
                        f'{what}: {answer}')
            self.failed()
            return
        outcome, value, generation = answer
        if outcome == 'allocated':
            self.fact('got', pool, k, pool.parse(value, kind, number), generation, ttl == NOW, **what)
        elif outcome == 'held':
            self.fact('held', pool, k, pool.parse(value, kind, number), generation, **what)
        elif outcome == 'taken':
            self.fact('taken', pool, k, wanted, **what)
        elif outcome in ('exhausted', 'cooling', 'fragmented'):
            self.fact('none', pool, k)
            self.fact('full', pool, k, wanted, **what)
            if number > 1:
                self.fact('tried', pool, None)
        else:
            self.expect(outcome == 'reused' or outcome == 'reserved' and (wanted or what['of'])
                        and self.run.changes, f'{pool.name} {k} {what}: {answer}')
        self.done()

    def ports(self, pool, what):
        """Ask for a chunk of one address, or without some ports.  Return the arguments."""
        r = self.random
        row = ''
        if r.random() < 0.3:
            n = r.randrange(pool.size)
            what['of'] = n * pool.chunks, (n + 1) * pool.chunks - 1
            row += f", address => '{pool.address(n)}'"
        if r.random() < 0.3:
            size = 65536 // pool.chunks
            port = r.randrange(65536)
            what['without'] = {port // size}
            row += f", exclude => '[{port},{port}]'"
        return row

    def many(self):
        """Allocate for several keys.  The note tells which units are new."""
        pool, _ = self.pick()
        kind, size, args = self.request(pool)
        note = f'"{self.name} {now()}"'
        keys = self.random.sample(self.run.keys, self.random.choice((2, 3)))
        answer = self.call(pool, 'SELECT array_agg(value), array_agg(generation), '
                           'array_agg(note IS NOT DISTINCT FROM %s::jsonb) FROM '
                           'alloc_many(%s, %s, %s, ports => %s, note => %s::jsonb)', note,
                           pool.name, [key(k) for k in keys], *(args or [None]),
                           kind == 'ports', note, may=('PT507', 'PT422', '22023'))
        if isinstance(answer, Raised):
            self.failed()
        elif answer is not None:
            parts = [pool.parse(value, kind) for value in answer[0]]
            twice = [p for p in parts for q in parts
                     if p is not q and p[0] <= q[1] and q[0] <= p[1]]
            self.expect(not twice, f'{twice} came twice: {answer}')
            for k, values, generation, new in zip(keys, parts, *answer[1:]):
                self.fact('got' if new else 'held', pool, k, values, generation, size=size,
                          kind=kind)
            self.done()

    def set_of(self):
        """Allocate from several pools, or from the first of several that has room."""
        r = self.random
        k = r.choice(self.run.keys)
        pools = r.sample(self.run.pools, len(self.run.pools))
        asked, members = {}, []
        for pool in pools:
            kind, size, args = self.request(pool)
            asked[pool.name] = pool, kind, size
            members.append({'pool': pool.name, **({'masklen': args[0]} if args else {}),
                            **({'ports': True} if kind == 'ports' else {})})
        same = len({tuple(sorted((f, v) for f, v in m.items() if f != 'pool')) for m in members}) == 1
        if same and r.random() < 0.6:
            members = [{**members[0], 'pool': [pool.name for pool in pools]}]
        note = f'"{self.name} {now()}"'
        answer = self.call(pools[0], 'SELECT array_agg(pool), array_agg(value), '
                           'array_agg(generation), array_agg(note IS NOT DISTINCT FROM %s::jsonb) '
                           'FROM alloc_set(%s::jsonb, %s, note => %s::jsonb)', note,
                           json.dumps(members), key(k), note, may=('PT507', 'PT422', '22023'),
                           others=pools)
        if isinstance(answer, Raised):
            self.failed()
        elif answer is not None:
            for name, value, generation, new in zip(*answer):
                pool, kind, size = asked[name]
                self.fact('got' if new else 'held', pool, k, pool.parse(value, kind), generation,
                          size=size, kind=kind)
            self.done()

    def move(self):
        """Move what a key has to another key.

        A generation that was drawn before the call says that this has been done before.
        """
        pool, k = self.pick()
        new = self.random.choice(self.run.keys)
        generation = self.generation(pool, k)
        if self.txn is None and not self.begin():
            return
        drawn = self.call(pool, 'SELECT last_value FROM cas_internal.alloc_generation')
        if drawn is None:
            return
        answer = self.call(pool, 'SELECT value, kind, generation, n FROM alloc_move(%s, %s, %s, '
                           '%s)', pool.name, key(k), key(new), generation,
                           may=('PT404', 'PT412', 'PT422', '22023'))
        if answer is None:
            return
        if isinstance(answer, Raised):
            self.expect(generation is not None or answer.state in ('PT404', 'PT422'),
                        f'move of {k} in {pool.name}: {answer}')
            self.failed()
            return
        value, kind, moved, n = answer
        values = pool.parse(value, kind, n)
        if moved > drawn[0]:
            end = self.fact('end', pool, k, generation=generation, moved=True)
            self.fact('got', pool, new, values, moved, kind=kind, moved=True)
            if generation is None:
                answer = self.call(pool, "SELECT max(generation) FROM alloc_history WHERE "
                                   "pool = %s AND key = %s AND reason = 'moved'", pool.name, key(k))
                if answer is None:
                    return
                end.generation, = answer
        else:
            self.fact('held', pool, new, values, moved)
        self.done()

    def annotate(self):
        pool, k = self.pick()
        generation = self.generation(pool, k)
        answer = self.call(pool, 'SELECT alloc_annotate(%s, %s, %s::jsonb, %s)', pool.name,
                           key(k), self.random.choice((None, '1')), generation,
                           may=('PT404', 'PT412', '22023'))
        if answer is None:
            return
        if isinstance(answer, Raised):
            self.expect(generation is not None or answer.state == 'PT404',
                        f'annotation of {k} in {pool.name}: {answer}')
            self.fact('none', pool, k, generation=generation)
            self.failed()
            return
        self.fact('renewed', pool, k, generation=generation)
        self.done()

    def generation(self, pool, k):
        """Return None, or a generation that the key may have."""
        known = self.cache.get((pool, k))
        if known is None or self.random.random() < 0.4:
            return None
        return known - (self.random.random() < 0.1)

    def release(self):
        """Release the unit of a generation, or any unit of the key.

        In the latter case the history, as the transaction sees it, tells which it was.
        """
        pool, k = self.pick()
        generation = self.generation(pool, k)
        if generation is None and self.txn is None and not self.begin():
            return
        answer = self.call(pool, 'SELECT alloc_release(%s, %s, %s)', pool.name, key(k),
                           generation, may=('PT412', '22023'))
        if answer is None:
            return
        if isinstance(answer, Raised):
            self.expect(generation is not None, f'release of {k} in {pool.name}: {answer}')
            self.fact('none', pool, k, generation=generation)
            self.failed()
            return
        fact = self.fact('end' if answer[0] else 'none', pool, k, generation=generation)
        if answer[0] and generation is None:
            answer = self.call(pool, 'SELECT max(generation) FROM alloc_history '
                               'WHERE pool = %s AND key = %s', pool.name, key(k))
            if answer is None:
                return
            fact.generation, = answer
        self.done()

    def renew(self):
        pool, k = self.pick()
        generation = self.generation(pool, k)
        ttl = self.random.choice((None, NEVER, NOW) if generation else (None, NEVER))
        answer = self.call(pool, 'SELECT alloc_renew(%s, %s, %s::interval, %s)', pool.name,
                           key(k), ttl, generation, may=('PT404', 'PT412', '22023'))
        if answer is None:
            return
        if isinstance(answer, Raised):
            self.expect(generation is not None or answer.state == 'PT404',
                        f'renewal of {k} in {pool.name}: {answer}')
            self.fact('none', pool, k, generation=generation)
            self.failed()
            return
        self.expect((answer[0] is None) == (ttl is None), f'renewal of {k}: {answer}')
        self.fact('over' if ttl == NOW else 'renewed', pool, k, generation=generation)
        self.done()

    def look(self):
        pool, k = self.pick()
        answer = self.call(pool, 'SELECT array_agg(kind), array_agg(value), '
                           'array_agg(generation), array_agg(n) FROM alloc_get(%s, %s)',
                           pool.name, key(k))
        if answer is None:
            return
        if answer[0]:
            self.expect(len(answer[0]) == 1, f'{pool.name} {k}: {answer}')
            kind, value, generation, n = (part[0] for part in answer)
            fact = self.fact('held', pool, k, pool.parse(value, kind, n), generation)
        else:
            fact = self.fact('none', pool, k)
        fact.snapshot = True
        if self.txn.window and fact.what == 'none':
            fact.begin, fact.end = self.txn.window
        self.done()

    # ---- pools ----

    def change_pool(self):
        r = self.random
        pool = r.choice(self.run.pools)
        what = r.choice(('shrink', 'drain', 'grow', 'reserve', 'unreserve', 'set', 'rebuild'))
        first = r.randrange(pool.size)
        size = r.choice((1, 1, 2))
        part = (first // size * size, first // size * size + size - 1)
        on_request = r.random() < 0.5
        function, args = {
            'shrink': ('alloc_pool_shrink', [pool.text(part)]),
            'drain': ('alloc_pool_shrink', [pool.text(part), True]),
            'grow': ('alloc_pool_grow', [pool.text(part)]),
            'reserve': ('alloc_reserve', [pool.text(part), None, on_request]),
            'unreserve': ('alloc_unreserve', [pool.text(part)]),
            'set': ('alloc_pool_set', [r.choice(('any', 'lowest', 'random'))]),
            'rebuild': ('alloc_rebuild', [])}[what]
        # 22023, 23P01, PT404: there is nothing to be cut, grown or unreserved
        answer = self.call(pool, f'SELECT {function}(%s{", %s" * len(args)})', pool.name, *args,
                           may=('55006', '22023', '23P01', 'PT404'))
        if answer is None:
            return
        if isinstance(answer, Raised):
            if answer.state == '55006':
                self.fact('used', pool, None, pool.values(part))
            self.failed()
            return
        name = {'shrink': 'cut', 'drain': 'cut', 'grow': 'grown', 'reserve': 'reserved',
                'unreserve': 'unreserved'}.get(what)
        if name:
            self.fact(name, pool, None, pool.values(part), drain=what == 'drain',
                      on_request=what == 'reserve' and on_request)
        self.done()


class Units(ConcurrentRun):
    """A run."""

    def __init__(self, fuzz):
        super().__init__(fuzz)
        self.made = 0
        self.workers = [Worker(self, f's{n}', random.Random(fuzz.options.seed * 100 + n))
                        for n in range(WORKERS)]

    def new_pool(self):
        r = self.random
        self.made += 1
        kind = r.choice(('int', 'ip', 'ports', 'prefix', 'prefix', 'mac', 'mac8'))
        base = 100 if kind == 'int' else 0xfff8 if kind in BYTES else int(ipaddress.ip_address(
            r.choice(('10.0.0.0', '2001:db8::'))))
        chunks = 4 if kind == 'ports' else 1
        size = r.choice((2, 4) if chunks > 1 else (4, 4, 8, 16))
        pool = Pool(f'p{self.made}', 'ip' if kind == 'ports' else kind,
                    r.choice(('any', 'lowest', 'random')), r.choice(('0', 'now', 'now', 'never')),
                    chunks, base, size)
        pool.size = size
        cooldown = {'now': NOW, 'never': NEVER}.get(pool.cooldown, pool.cooldown)
        exclude = None
        if chunks > 1 and r.random() < 0.4:
            pool.excluded = {r.randrange(chunks)}
            port = r.randrange(65536 // chunks) + min(pool.excluded) * (65536 // chunks)
            exclude = f'{{"[{port},{port}]"}}'
        self.admin.execute(
            'SELECT alloc_pool_create(%s, %s, %s, %s, %s::interval, %s, '
            'exclude_ports => %s::int4range[])', (
                pool.name, [pool.text(pool.ranges[0])], pool.kind, pool.strategy, cooldown,
                65536 // chunks if chunks > 1 else None, exclude))
        return pool

    def work(self):
        """Run an epoch on new pools."""
        r = self.random
        self.begin_epoch()
        self.pools = [self.new_pool() for _ in range(r.choice((1, 1, 2)))]
        self.keys = range(r.choice((3, 6, KEYS)))
        self.changes, self.long = r.random() < 0.3, r.random() < 0.5
        self.kills = r.random() < 0.2
        self.facts = []
        for worker in self.workers:
            worker.cache = {}
            worker.auto_level = r.choice(LEVELS)
            worker.set('default_transaction_isolation', worker.auto_level)
        self.together(STEPS)
        epoch = Epoch(self.facts)
        for pool in self.pools:
            wrong = self.admin.execute('SELECT alloc_verify(%s)', (pool.name,)).fetchall()
            self.fuzz.expect(not wrong, f'alloc_verify({pool.name}): {wrong}')
            units = {k.int: (pool.parse(value, kind, n), generation)
                     for k, value, kind, generation, n in self.admin.execute(
                         'SELECT DISTINCT ON (key) key, value, kind, generation, n '
                         'FROM alloc_units WHERE pool = %s ORDER BY key, address, number, mac',
                         (pool.name,)).fetchall()}
            epoch.check(pool, units)
            self.drop(pool, units)

    def drop(self, pool, units):
        allocated = {v // pool.chunks for values, _ in units.values()
                     for v in range(values[0], values[1] + 1)}
        says, = self.admin.execute('SELECT allocated FROM alloc_usage(%s)',
                                   (pool.name,)).fetchone()
        self.fuzz.expect(says == len(allocated), f'{pool.name}: usage says {says}, not {allocated}')
        self.admin.execute('SELECT alloc_release(pool, key) FROM alloc_units WHERE pool = %s',
                           (pool.name,))
        self.admin.execute('SELECT alloc_pool_drop(%s)', (pool.name,))

    def disturb(self):
        r = self.random
        if self.kills and r.random() < 0.3:
            # not during a COMMIT or a call without BEGIN, whose result would be unknown
            self.admin.execute(
                'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND '
                "wait_event_type = 'Lock' AND xact_start < query_start AND query !~ 'COMMIT'",
                (r.choice(self.workers).pid,))
        elif r.random() < 0.1:
            self.admin.execute('SELECT pg_cas_reap(100)')
        elif r.random() < 0.02:
            self.admin.execute('VACUUM cas_internal.alloc_slot')


def run(fuzz):
    Units(fuzz).run()
