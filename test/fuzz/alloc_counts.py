"""Counted pools, and those below them, for fuzz_alloc.py.

What others have taken and not committed is known only within limits: a transaction can use
again what it has released, while for others both count.  So an allocation must fit beside
what is surely taken, and one that fails must not have fitted if no other transaction has
changed anything there.

A call can stand in line for what is held.  Then the driver lets other sessions release
something, raise the capacity, or ask for something, which they do not get.
"""

from alloc_model import NEVER, NOW, Unit, key
from alloc_pools import Pools
from fuzz import Difference, Raised

KEYS = 14
LONG = '1 day'


class Counts(Pools):
    """A run, as far as it concerns counted pools."""

    def others(self, turn):
        return [t for t in self.turns if t is not turn]

    def room(self, turn, level):
        """Return how much more a session can surely not get beyond of a counted pool."""
        return (level.capacity - turn.used(level)
                - sum(t.adds(level) for t in self.others(turn)))

    def lacks(self, turn, pool, n):
        """Return the counted pools that have no room for n."""
        return [p for p in pool.levels() if self.room(turn, p) < n]

    def disturbed(self, turn, pool):
        """Whether another open transaction has changed what is taken of these pools."""
        return any(t.changes(p) for t in self.others(turn) for p in pool.levels())

    def may_lack(self, turn, pool, n):
        """Whether it may be that one of the pools has no room for n."""
        return bool(self.lacks(turn, pool, n)) or self.disturbed(turn, pool)

    def may_rest_above(self, turn, pool):
        return any(p.cooled or turn.rests(p) for p in pool.levels())

    def in_line(self, turn, pool):
        """Whether another call may stand in line for one of the pools."""
        return any(t.patient and not set(t.patient.levels()).isdisjoint(pool.levels())
                   for t in self.others(turn))

    def must_fit(self, turn, pool, n):
        lacking = [f'{p.name}: {self.room(turn, p)} of {p.capacity}'
                   for p in self.lacks(turn, pool, n)]
        self.fuzz.expect(not lacking, f'{n} more of {pool.name}, though there are {lacking}')

    def count(self, turn, pool, k=None, wait=None):
        r = self.random
        k = r.randrange(KEYS) if k is None else k
        n = r.choice((1, 1, 1, 2, 3, 5, r.randrange(1, 20)))
        ttl = r.choice((None, None, NEVER, NOW))
        if wait is None and r.random() < 0.2:
            wait = r.choice(('0', '0', '10 ms') if turn.hurries else ('0', '0', '10 ms', LONG))
        turn.at = pool
        turn.patient, turn.key = pool if wait == LONG else None, k
        out, never = pool.greatest, any(p.capacity < n for p in pool.levels())
        answer = turn.ask(
            'SELECT outcome, value, generation FROM alloc_try_count(%s, %s, %s, %s::interval, '
            'NULL, %s::interval)', pool.name, key(k), n, ttl, wait)
        turn.patient = None
        turn.touch(pool)
        try:
            self.judge_count(turn, pool, k, n, answer, ttl, wait, out, never)
        except Difference as difference:
            levels = ', '.join(f'{p.name}: used {turn.used(p)} of {p.capacity}, others '
                               f'{[t.adds(p) for t in self.others(turn)]}' for p in pool.levels())
            raise Difference(f'{turn.name}, {pool.name}, key {k}, n {n}, wait {wait}: {answer}: '
                             f'{difference}; {levels}; units {turn.view(pool)}') from difference

    def judge_count(self, turn, pool, k, n, answer, ttl=None, wait=None, out=0,
                    never=False):
        """Check an answer.

        When the call began, out was the last generation, and never said that a capacity was
        too small.
        """
        expect = self.fuzz.expect
        mine = turn.view(pool).get(k)
        live = mine if mine and not mine.over else None
        if isinstance(answer, Raised):
            expect(turn.gave_up(answer) or answer.state == '40001' and turn.stale(pool), 'error')
            turn.failed()
            return
        outcome, value, generation = answer
        still = any(p.capacity < n for p in pool.levels())
        never = never or still
        if outcome in ('held', 'reused'):
            expect(live, 'the key has nothing')
            expect((live.size == n) == (outcome == 'held'), f'the key has {live}')
            expect(value == pool.value(live), f'the key has {pool.value(live)}')
            expect(outcome == 'reused' or generation == live.generation, 'generation')
            return
        expect(not live or outcome == 'busy', f'the key has {live}')
        # what the key has may depend on another transaction
        expect(not still or outcome == 'exhausted'
               or outcome == 'busy' and self.busy(pool, turn), 'it can never have that')
        if outcome == 'allocated':
            expect(value == str(n), 'another number')
            self.must_fit(turn, pool, n)
            expect(generation > out, f'generation {out} was out')
            pool.greatest = max(pool.greatest, generation)
            turn.did(pool, k, Unit(0, n - 1, 'count', ttl == NOW, generation))
        elif outcome in ('exhausted', 'cooling'):
            expect(never or wait in (None, '0'), 'it did not wait')
            # who stands in line may have got it, and not be judged yet
            expect(never or self.may_lack(turn, pool, n) or self.in_line(turn, pool),
                   'there is room')
            expect(outcome == 'exhausted' or self.may_rest_above(turn, pool), 'nothing cools')
        elif outcome == 'waiting':
            expect(self.in_line(turn, pool), 'nobody stands in line')
        else:
            expect(outcome == 'busy' and wait and wait != LONG, 'outcome')
            expect(self.busy(pool, turn) or self.in_line(turn, pool)
                   or wait != '0' and self.may_lack(turn, pool, n), 'nobody is in the way')

    def resize(self, turn, pool):
        r = self.random
        k, n = r.randrange(KEYS), r.choice((1, 2, 3, 4, 6, 9))
        mine = turn.view(pool).get(k)
        generation = r.choice((None, None, mine.generation, mine.generation - 1)) if mine else None
        turn.at = pool
        answer = turn.ask('SELECT alloc_resize(%s, %s, %s, %s)', pool.name, key(k), n, generation)
        turn.touch(pool)
        mine = turn.view(pool).get(k)
        live = mine if mine and not mine.over else None
        more = n - live.size if live else 0
        what = f'resize of {mine} in {pool.name} to {n}, generation {generation}: {answer}'
        if isinstance(answer, Raised):
            old = live and generation is not None and generation < live.generation
            full = live and more > 0 and (
                self.may_lack(turn, pool, more) or any(p.capacity < n for p in pool.levels())
                or self.in_line(turn, pool))
            self.fuzz.expect(
                answer.state == 'PT404' and not live
                or answer.state == 'PT412' and (old or mine and mine.over)
                or answer.state == 'PT507' and full
                or turn.gave_up(answer)
                or answer.state == '40001' and turn.stale(pool), what)
            turn.failed()
            return
        self.fuzz.expect(live and answer == (n,), what)
        if more > 0:
            self.must_fit(turn, pool, more)
        # what it has now, and its generation
        outcome, value, now = turn.ask('SELECT outcome, value, generation FROM alloc_try_count(%s, '
                                       '%s, %s)', pool.name, key(k), n)
        self.fuzz.expect(
            outcome == 'held' and value == str(n)
            and (now > live.generation if more else now == live.generation),
            f'{what}: then {outcome}, {value}, {now}')
        if more:
            pool.greatest = max(pool.greatest, now)
            turn.did(pool, k, Unit(0, n - 1, 'count', False, now))

    def compare_usage(self, turn, pool):
        """Compare a counted pool as a whole, when no transaction is open."""
        live = sum(u.live_weight for p in pool.family() for u in p.units.values())
        free = max(0, pool.capacity - live - pool.cooled)
        expected = pool.capacity, live, pool.cooled, free
        got = turn.ask('SELECT capacity, allocated, cooling, free FROM alloc_usage(%s)', pool.name)
        self.fuzz.expect(got == expected, f'{pool.name}: usage says {got}, not {expected}')

    def help(self, turn):
        """A call stands in line: let another session do something, or cancel it."""
        r = self.random
        idle = [t for t in self.others(turn)
                if t.effects is None and not t.calling and not t.hurries]
        touched = {(p, k) for t in self.turns for p, k, _ in t.effects or ()}
        # nor what the key may have: the call may be about to say so
        touched.add((turn.patient, turn.key))
        held = [(p, k) for level in turn.patient.levels() for p in level.family()
                for k, u in p.units.items() if not u.over and (p, k) not in touched]
        way = r.random()
        if way < 0.2 or not idle:
            turn.cancel()
        elif way < 0.3:
            # it may look before the next change, so none may take anything away again
            level = r.choice(turn.patient.levels())
            self.recount(idle[0], level, level.capacity + r.choice((1, 2, 4)))
        elif way < 0.5:
            # not for the key that may have it by now
            self.count(idle[0], turn.patient, (turn.key + 1) % KEYS, '0')
        elif held:
            self.release(idle[0], *r.choice(held))
