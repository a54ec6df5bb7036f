"""The model of allocation: pools, units, and the changes of sessions."""

import ipaddress
import uuid

import turns

BYTES = {'mac': 6, 'mac8': 8}
NOW, NEVER = '1 microsecond', '1 day'


def key(n):
    return uuid.UUID(int=n)


class Unit:
    """A unit of a key: the values first to last; over if it has expired.

    What a key has of a counted pool are values from 0 on, as many as it has.
    """

    def __init__(self, first, last, kind, over, generation, number=1):
        self.first, self.last, self.kind = first, last, kind
        self.number, self.size = number, (last - first + 1) // number
        self.over, self.generation = over, generation
        self.perhaps = False    # expired, and may have been removed

    @property
    def weight(self):
        """How much of the counted pools above it takes."""
        return self.size if self.kind == 'count' else self.number

    @property
    def live_weight(self):
        return 0 if self.over else self.weight

    def meets(self, first, last):
        return self.first <= last and first <= self.last

    def __repr__(self):
        return f'{self.kind} {self.first}-{self.last}{" over" * self.over}'


class Pool:
    """A pool.  Values are numbers from 0: of addresses, or of chunks of addresses.

    A counted pool has a capacity instead; its units do not exclude one another.
    """

    def __init__(self, name, kind, strategy, cooldown, chunks, base, size, parent=None):
        self.name, self.kind, self.strategy = name, kind, strategy
        self.cooldown, self.chunks, self.base = cooldown, chunks, base
        self.ranges = [(0, size - 1)]   # open ones, in addresses
        self.cut = []                   # removed ranges
        self.reserved = []              # in addresses
        self.on_request = set()         # those that are given to who names a value
        self.excluded = set()           # chunks of an address that are not given out
        self.cooling = set()            # values
        self.may_cool = set()
        self.units = {}                 # key: Unit, as committed
        self.greatest = 0               # generation
        self.changes = 0
        self.counted = kind == 'count'
        self.capacity = size if self.counted else None
        self.parent, self.children = parent, []
        self.cooled = 0                 # places that are cooling, of a counted pool
        if self.counted:
            self.ranges = []
        if parent:
            parent.children.append(self)

    def chain(self):
        """Return the pool and those above it."""
        return [self] + (self.parent.chain() if self.parent else [])

    def levels(self):
        """Return the counted pools of which a unit takes something."""
        return [p for p in self.chain() if p.counted]

    def family(self):
        """Return the pool and all those below it."""
        return [self] + [p for c in self.children for p in c.family()]

    def address(self, n):
        if self.kind == 'int':
            return str(self.base + n)
        if self.kind in BYTES:
            size = BYTES[self.kind]
            return (self.base + n).to_bytes(size, 'big').hex(':')
        return str(ipaddress.ip_address(self.base + n))

    def text(self, part):
        first, last = part
        if self.kind == 'prefix':
            bits = ipaddress.ip_address(self.base).max_prefixlen
            return f'{self.address(first)}/{bits - (last - first).bit_length()}'
        return f'{self.address(first)}-{self.address(last)}'

    def last(self, unit):
        """Return the last one of several units in a row, as the views show it, or None."""
        return None if unit.number == 1 or self.counted else self.address(unit.last // self.chunks)

    def value(self, unit):
        """Return a unit as the views show it."""
        if self.counted:
            return str(unit.size)
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

    def parse(self, text, kind, n=1):
        """Return the values of a unit, or of n in a row, that an answer names."""
        if self.counted:
            return 0, int(text) - 1
        first, last = self.parse_one(text, kind)
        return first, last + (n - 1) * self.chunks

    def parse_one(self, text, kind):
        if kind == 'int':
            return (int(text) - self.base,) * 2
        if kind in BYTES:
            return (int(text.replace(':', ''), 16) - self.base,) * 2
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

    def values(self, part):
        """Return the values of a range of addresses."""
        return part[0] * self.chunks, (part[1] + 1) * self.chunks - 1

    def may_rest(self, first, last):
        """Values there may still be cooling: that is forgotten when their range is gone."""
        gone = {v for v in self.cooling if first <= v <= last}
        self.cooling -= gone
        self.may_cool |= gone

    def lose(self, first, last):
        """Expired units there may have been removed."""
        for unit in self.units.values():
            if unit.over and unit.meets(first, last):
                unit.perhaps = True

    def covers(self, parts, first, last):
        """Whether each of these values lies in one of the parts."""
        return all(any(a <= v // self.chunks <= b for a, b in parts)
                   for v in range(first, last + 1))

    def touches(self, parts, first, last):
        return any(a <= v // self.chunks <= b for a, b in parts
                   for v in range(first, last + 1))

    def kept(self, wanted):
        """Return what is reserved for a caller, who may have named a value."""
        return [part for part in self.reserved if not (wanted and part in self.on_request)]

    def parts(self):
        """Return the ranges that a unit, or several in a row, may lie in."""
        if self.kind == 'prefix':
            return self.ranges
        parts = []
        for a, b in sorted(self.ranges):
            if parts and parts[-1][1] + 1 == a:
                parts[-1] = parts[-1][0], b
            else:
                parts.append((a, b))
        return parts

    def places(self, size, excluded=()):
        """Yield the first value of each unit of this size that the pool could have."""
        for a, b in self.parts():
            for first in range(a * self.chunks, (b + 1) * self.chunks - size + 1):
                if self.aligned(first, size) and first % self.chunks not in excluded:
                    yield first

    def aligned(self, first, size):
        if self.kind == 'prefix':
            return (self.base + first) % size == 0
        return first % min(size, self.chunks) == 0


class Turn(turns.Turn):
    """A session, and what its transaction has done."""

    def forget(self):
        self.effects = None     # [(pool, key, Unit or None)]; None outside a transaction
        self.saved = []
        self.level = None
        self.touched = set()
        self.seen = {}
        self.patient = None     # the pool in whose line the current call stands

    def touch(self, *pools):
        """Remember that the transaction has used these pools."""
        if self.effects is not None:
            self.touched.update(p for pool in pools for p in pool.chain())

    def late(self):
        if not super().late() and self.patient and not self.cancelled:
            self.run.help(self)

    def rests(self, level):
        """Return how many places of a counted pool will cool that this transaction freed."""
        n = 0
        for pool in level.family():
            units = dict(pool.units)
            for of, k, unit in self.effects or ():
                if of is pool:
                    was = units.get(k)
                    if unit is None and was and pool.cooldown == NEVER:
                        n += was.live_weight
                    apply(units, k, unit)
        return n

    def used(self, level):
        """Return how much of a counted pool is taken, as this session sees it."""
        return (level.cooled + self.rests(level)
                + sum(u.live_weight for p in level.family() for u in self.view(p).values()))

    def adds(self, level):
        """Return how much more of a counted pool this transaction surely keeps from others.

        Something that it has released it may use again, but nobody else can.
        """
        more = most = 0
        family = level.family()
        units = {pool: dict(pool.units) for pool in family}
        for pool, k, unit in self.effects or ():
            if pool in units:
                was = units[pool].get(k)
                more += (unit.live_weight if unit else 0) - (was.live_weight if was else 0)
                apply(units[pool], k, unit)
                most = max(most, more)
        return most

    def changes(self, level):
        """Whether this transaction has changed what is taken of a counted pool."""
        family = set(level.family())
        return any(pool in family for pool, _, _ in self.effects or ())

    def resting(self, pool):
        """Return the values that this transaction has released, and that will cool."""
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
        """Return the units as this session sees them."""
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

    def committed(self):
        for pool, k, unit in self.effects:
            settle(pool, k, unit)

    def did(self, pool, k, unit):
        if self.effects is None:
            settle(pool, k, unit)
        else:
            self.effects.append((pool, k, unit))

    def save(self):
        name = f's{len(self.saved)}'
        self.rows(f'SAVEPOINT {name}')
        self.saved.append((name, len(self.effects)))

    def back(self):
        name, n = self.saved[-1]
        self.rows(f'ROLLBACK TO {name}')
        del self.effects[n:]

    def release(self):
        name, _ = self.saved.pop()
        self.rows(f'RELEASE {name}')

    def stale(self, pool):
        """Whether other sessions have changed the pool since this one's snapshot."""
        return (self.level not in (None, 'READ COMMITTED')
                and self.seen.get(pool) != pool.changes)


def apply(units, k, unit):
    """Change the units of a pool.

    A new unit removes expired units with its values, and of several in a row, some.
    """
    if unit is None or unit.kind == 'count':
        units.pop(k, None)
        if unit:
            units[k] = unit
        return
    for other, was in list(units.items()):
        if other == k or not was.over or not was.meets(unit.first, unit.last):
            continue
        if was.number == 1 or unit.meets(was.first, was.first + was.size - 1):
            del units[other]
        else:
            # its key may get them again, when all of them are free
            was.perhaps = True
    units[k] = unit


def settle(pool, k, unit):
    """Change the committed units of a pool.  Released values may start to cool."""
    was = pool.units.get(k)
    if unit is None and was and not was.over and pool.cooldown == NEVER:
        if not pool.counted:
            pool.cooling.update(v for v in range(was.first, was.last + 1))
        for level in pool.levels():
            level.cooled += was.weight
    apply(pool.units, k, unit)
    pool.changes += 1
