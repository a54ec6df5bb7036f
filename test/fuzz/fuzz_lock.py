"""Locks, leases and requests, each answer compared with a model.

Sessions take turns, one call at a time, in transactions with savepoints.  Some are
killed, or stopped for a while with the locks that they hold.  So at most one session
waits at a time: a lock is granted if no other session holds it, or when the holder's
transaction has ended.
"""

import turns
from fuzz import Raised, psycopg

SESSIONS = 4
NAMES = ('a', 'b', 'c', 'd')
NOW, NEVER = '1 microsecond', '1 day'
STRONGER = {None: 0, 'shared': 1, 'exclusive': 2}


class Turn(turns.Turn):
    """A session, and what its transaction holds and has done."""

    def forget(self):
        self.level = None
        self.locks = {}         # name: mode
        self.touched = set()    # leases that it may have locked
        self.changes = {}       # leases and requests, as they will be
        self.begun = None       # a request that is not done
        self.saved = []
        self.released = False   # has it released a savepoint?
        self.seen = {}

    def begin(self, level, versions):
        self.rows(f'BEGIN ISOLATION LEVEL {level}')
        self.rows('SELECT 1')
        self.level, self.seen = level, dict(versions)

    def state(self):
        return dict(self.locks), dict(self.changes), self.begun

    def save(self):
        self.rows(f'SAVEPOINT s{len(self.saved)}')
        self.saved.append(self.state())

    def back(self):
        self.rows(f'ROLLBACK TO s{len(self.saved) - 1}')
        locks, changes, self.begun = self.saved[-1]
        self.locks, self.changes = dict(locks), dict(changes)

    def commit(self):
        if not self.begun:
            super().commit()
            return
        answer = self.ask('COMMIT')
        self.fuzz.expect(isinstance(answer, Raised) and answer.state == '25000',
                         f'COMMIT with {self.begun} begun: {answer}')

    def committed(self):
        for (what, name), value in self.changes.items():
            self.run.settle(what, name, value)
        for name, mode in self.locks.items():
            if mode == 'exclusive':
                self.run.versions[name] = self.run.versions.get(name, 0) + 1


class Locks(turns.Run):
    """A run."""

    def __init__(self, fuzz):
        super().__init__(fuzz, SESSIONS, Turn)
        fuzz.admin.execute('CREATE TABLE run (id text, answer text)')
        fuzz.admin.execute(
            'CREATE FUNCTION work(request jsonb) RETURNS jsonb LANGUAGE sql AS '
            "$$INSERT INTO run VALUES (request ->> 'id', gen_random_uuid()::text) "
            'RETURNING to_jsonb(answer)$$')
        self.versions = {}      # of a name's committed exclusive holders
        self.leases = {}        # name: (holder or None, fence, over)
        self.requests = {}      # (scope, key): (request, result)
        self.fence = 0

    def in_way(self, turn, other):
        """Whether a call may have to wait for another session's transaction.

        at is a function that tells this of the other session.  For what has been taken in
        a savepoint that was then released, PostgreSQL waits until the transaction ends, even
        if that is rolled back to an earlier savepoint meanwhile.
        """
        return other.level is not None and (turn.at(other) or turn.waited and other.released)

    def stale(self, turn, *what):
        """Whether other sessions have changed any of these since the snapshot."""
        return (turn.level not in (None, 'READ COMMITTED')
                and any(self.versions.get(w) != turn.seen.get(w) for w in what))

    def know(self, turn, what, name):
        return turn.changes.get((what, name), getattr(self, what).get(name))

    def change(self, turn, what, name, value):
        if turn.level is None:
            self.settle(what, name, value)
        else:
            turn.changes[what, name] = value

    def settle(self, what, name, value):
        """Make a change visible to all.  To an older snapshot, a renewal is no change."""
        was = getattr(self, what).get(name)
        getattr(self, what)[name] = value
        if what != 'leases' or not was or was[:2] != value[:2]:
            self.versions[what, name] = self.versions.get((what, name), 0) + 1

    def new_fence(self, fence):
        self.fuzz.expect(fence > self.fence, f'fence {fence}, {self.fence} was out')
        self.fence = fence

    # ---- locks ----

    def acquire(self, turn):
        r = self.random
        exclusive = r.sample(NAMES, r.choice((0, 1, 1, 2)))
        shared = r.sample(NAMES, r.choice((0, 1, 1, 2)))
        modes = {n: 'shared' for n in shared} | {n: 'exclusive' for n in exclusive}
        if not modes:
            return
        wait = r.choice(('0', '4 ms', None, None))
        turn.deadline = wait is not None
        turn.at = lambda other: self.clash(modes, [other])
        try:
            rows = turn.rows('SELECT name, mode, fence FROM lock_acquire(%s, %s, %s::interval)',
                             exclusive, shared, wait)
        except psycopg.Error as error:
            answer = turn.raised(error)
            clash = self.clash(modes, turn.others())
            self.fuzz.expect(answer.state == '55P03' and wait and clash
                             or turn.gave_up(answer)
                             or answer.state == '40001' and self.stale(turn, *modes),
                             f'{modes}, others: {clash}: {answer}')
            turn.failed()
            return
        finally:
            turn.deadline = False
        self.fuzz.expect(not self.clash(modes, turn.others()), f'{modes}: others hold it')
        held = {n: max(m, turn.locks.get(n), key=STRONGER.get) for n, m in modes.items()}
        self.fuzz.expect({n: m for n, m, _ in rows} == held, f'{held}: {rows}')
        stale = [n for n, m in modes.items() if self.stale(turn, n) and n not in turn.locks]
        self.fuzz.expect(not stale, f'{stale} had holders since the snapshot')
        for name, mode, fence in rows:
            if mode == 'exclusive':
                self.fuzz.expect(fence is not None, 'no fence')
                if turn.locks.get(name) != 'exclusive':
                    self.fence = max(self.fence, fence)
            if STRONGER[mode] > STRONGER[turn.locks.get(name)]:
                turn.locks[name] = mode

    def clash(self, modes, others):
        return [(t.name, n, t.locks[n]) for t in others for n, m in modes.items()
                if n in t.locks and 'exclusive' in (m, t.locks[n])]

    def assert_lock(self, turn):
        name, mode = self.random.choice(NAMES), self.random.choice(('shared', 'exclusive'))
        answer = turn.ask('SELECT lock_assert(%s, %s)', name, mode)
        holds = STRONGER[turn.locks.get(name)] >= STRONGER[mode]
        self.fuzz.expect(holds != isinstance(answer, Raised)
                         and (holds or answer.state == 'PT428'),
                         f'lock_assert({name}, {mode}), held {turn.locks.get(name)}: {answer}')
        if isinstance(answer, Raised):
            turn.failed()

    # ---- leases ----

    def lease(self, turn):
        r = self.random
        name, holder = r.choice(NAMES), r.choice(('x', 'y'))
        was = self.know(turn, 'leases', name)
        ttl = r.choice((NEVER, NEVER, NOW))
        what = r.choice(('try', 'renew', 'release', 'guard'))
        turn.at = lambda other: name in other.touched
        fence = was[1] - r.choice((0, 0, 1)) if was else 1
        if what == 'try':
            if turn.level is not None:
                return
            answer = turn.ask('SELECT fence, holder FROM lease_try_acquire(%s, %s, %s::interval)',
                              name, holder, ttl)
        elif what == 'renew':
            answer = turn.ask('SELECT lease_renew(%s, %s, %s::interval)', name, fence, ttl)
        elif what == 'release':
            answer = turn.ask('SELECT lease_release(%s, %s)', name, fence)
        elif turn.level is None:
            return
        else:
            answer = turn.ask('SELECT lease_guard(%s, %s)', name, fence)
        if turn.level is not None:
            turn.touched.add(name)
        was, busy = self.know(turn, 'leases', name), turn.blocked()
        held = was and was[0]
        says = f'lease {name}, {what}, {was}, fence {fence}, busy {busy}: {answer}'
        if isinstance(answer, Raised):
            state = answer.state
            self.fuzz.expect(
                turn.gave_up(answer) and what != 'try'
                or state == '40001' and self.stale(turn, ('leases', name))
                or state == 'PT412' and was and fence < was[1]
                or state == 'PT412' and what == 'guard' and not held
                or state == 'PT404' and what in ('renew', 'guard') and not held, says)
            turn.failed()
            return
        self.fuzz.expect(what == 'release' or not self.stale(turn, ('leases', name)), says)
        if what == 'try':
            free = not held or was[2] or was[0] == holder
            got = answer[0] is not None
            # a lease that another transaction is changing counts as held
            self.fuzz.expect(got == free or busy and not got, says)
            if got:
                self.new_fence(answer[0])
                self.change(turn, 'leases', name, (holder, answer[0], ttl == NOW))
            else:
                self.fuzz.expect(answer[1] == was[0], says)
        elif what == 'renew':
            self.fuzz.expect(held and fence == was[1], says)
            self.change(turn, 'leases', name, (was[0], was[1], ttl == NOW))
        elif what == 'release':
            self.fuzz.expect(answer[0] == bool(held), says)
            if answer[0]:
                self.fuzz.expect(fence == was[1], says)
                self.change(turn, 'leases', name, (None, was[1], True))
        else:
            self.fuzz.expect(held and fence == was[1], says)

    # ---- requests ----

    def request(self, turn):
        r = self.random
        # two scopes are in use at a time; after a while, new ones replace them
        scope = f'scope {self.fuzz.done // 300 + r.randrange(2)}'
        key = scope, f'k{r.randrange(12)}'
        request = {'id': ' '.join(key), 'n': r.choice((1, 1, 1, 2))}
        turn.at = lambda other: (('requests', key) in other.changes
                                 or other.begun and other.begun[0] == key)
        if turn.begun:
            if r.random() < 0.6:
                key, request = turn.begun
                result = {'by': turn.name, 'at': self.fuzz.done}
                answer = turn.ask('SELECT request_done(%s, %s, %s)', *key,
                                  psycopg.types.json.Jsonb(result))
                self.fuzz.expect(not isinstance(answer, Raised), f'done: {answer}')
                turn.begun = None
                self.change(turn, 'requests', key, (request, result))
            return
        once = turn.level is None or r.random() < 0.6
        if once:
            answer = turn.ask("SELECT request_once(%s, %s, %s, 'work(jsonb)')", *key,
                              psycopg.types.json.Jsonb(request))
        else:
            answer = turn.ask('SELECT * FROM request_begin(%s, %s, %s)', *key,
                              psycopg.types.json.Jsonb(request))
        done, busy = self.know(turn, 'requests', key), turn.blocked()
        says = f'request {key} {request}, done {done}, busy {busy}: {answer}'
        if isinstance(answer, Raised):
            stale = self.stale(turn, ('requests', key))
            self.fuzz.expect(
                turn.gave_up(answer)
                or answer.state == '40001' and stale
                or answer.state == 'PT422' and done and done[0] != request, says)
            turn.failed()
            return
        self.fuzz.expect(not done or done[0] == request, says)
        if once:
            self.fuzz.expect(not done or done[1] == answer[0], says)
            if not done:
                self.change(turn, 'requests', key, (request, answer[0]))
        else:
            self.fuzz.expect(answer == (('done', done[1]) if done else ('new', None)), says)
            if not done:
                turn.begun = (key, request)

    # ---- all ----

    def compare(self):
        for turn in self.turns:
            if turn.stopped:
                turn.stop(False)
            if turn.level is not None and self.random.random() < 0.3:
                turn.end(self.random.random() < 0.6)
        got = {(n, m, p) for n, m, p in self.fuzz.admin.execute(
            'SELECT name, mode, pid FROM lock_holders').fetchall()}
        expected = {(n, m, t.pid) for t in self.turns for n, m in t.locks.items()}
        self.fuzz.expect(got == expected, f'lock_holders: {got}, not {expected}')
        got = {n: (h, f, e) for n, h, f, e in self.fuzz.admin.execute(
            'SELECT name, holder, fence, expired FROM lease_holders').fetchall()}
        expected = {n: x for n, x in self.leases.items() if x[0]}
        self.fuzz.expect(all(got.get(n) == x for n, x in expected.items())
                         and all(n in expected for n, x in got.items()),
                         f'lease_holders: {got}, not {expected}')
        twice = self.fuzz.admin.execute(
            'SELECT id FROM run GROUP BY id HAVING count(*) > 1').fetchall()
        self.fuzz.expect(not twice, f'{twice} ran twice')

    def step(self):
        r = self.random
        turn = r.choice(self.turns)
        way = r.random()
        if turn.stopped:
            if way < 0.3:
                turn.stop(False)
            return
        if way < 0.02 and not any(t.stopped for t in self.turns):
            turn.stop(True)
        elif turn.level is None and way < 0.4:
            turn.begin(r.choice(('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ',
                                 'SERIALIZABLE')), self.versions)
        elif turn.level is not None and way < 0.12:
            turn.end(r.random() < 0.7)
        elif turn.level is not None and way < 0.2:
            if turn.saved and r.random() < 0.5:
                if r.random() < 0.5:
                    turn.back()
                else:
                    turn.saved.pop()
                    turn.rows(f'RELEASE s{len(turn.saved)}')
                    turn.released = True
            else:
                turn.save()
        elif way < 0.21:
            turn.kill()
        elif way < 0.22:
            self.fuzz.admin.execute("SELECT pg_cas_reap(100)")
        elif way < 0.5:
            if turn.level is not None:
                self.acquire(turn)
        elif way < 0.56:
            self.assert_lock(turn)
        elif way < 0.8:
            self.lease(turn)
        else:
            self.request(turn)


def run(fuzz):
    Locks(fuzz).run()
