"""Tables, rows and transactions, for fuzz_swaps.py.

Besides a number, the payload of each row identifies its version: by its life, which
begins when the row is created and ends when it is deleted, and by the write that made
the version.
"""

import uuid
from collections import namedtuple

import threads
from fuzz import psycopg
from threads import ConcurrentSession

Json = psycopg.types.json.Jsonb

# Rows that are never deleted, and whose numbers always have the same sum.
ACCOUNTS = 3
KEYS = 9
# Rows that are also deleted.  Those between are created and never deleted.
GOING = range(5, KEYS)

Row = namedtuple('Row', 'version life w n')
# A row as it was seen between two times; held: it stays so until the transaction ends
Read = namedtuple('Read', 'table key row begin end held')
# A row as a transaction leaves it (None: deleted); before is the version that it was
# made of, if the answer tells; how: create, set, add, rename, gone
Write = namedtuple('Write', 'txn table key row life before key_before how delta')
# A call that failed with 40001
Failure = namedtuple('Failure', 'call rows begin end')


class Table:
    """A guarded table."""

    def __init__(self, name, random, document, versions, partitioned, inserted):
        self.name = name
        self.document, self.versions, self.partitioned = document, versions, partitioned
        self.inserted = inserted    # by plain INSERTs, too, which no lock prevents
        self.key_type = random.choice(('text', 'int', 'uuid', 'numeric'))
        self.keys = {self.key(n): n for n in range(KEYS)}
        self.columns = 0            # number of columns added so far
        # whole documents are written only where no version is used twice
        self.update_going = not document or versions == 'table'

    def key(self, n):
        if self.key_type == 'uuid':
            return str(uuid.UUID(int=n))
        return str(n) if self.key_type in ('int', 'numeric') else f'key {n}'

    def ddl(self):
        columns = 'doc jsonb' if self.document else 'life text, w text, n int'
        yield (f'CREATE TABLE {self.name} (id {self.key_type} PRIMARY KEY, {columns})'
               + ' PARTITION BY HASH (id)' * self.partitioned)
        for part in (0, 1) if self.partitioned else ():
            yield (f'CREATE TABLE {self.name}_{part} PARTITION OF {self.name} '
                   f'FOR VALUES WITH (MODULUS 2, REMAINDER {part})')
        yield (f"SELECT cas_enable('{self.name}'"
               + ", payload_column => 'doc'" * self.document
               + f", versions => '{self.versions}'"
               + ", writers => 'echo'" * (self.versions == 'table') + ')')

    @property
    def shown(self):
        """An expression for the payload, for SELECT and RETURNING."""
        return 'doc' if self.document else (
            "jsonb_build_object('life', life, 'w', w, 'n', n)")

    @property
    def number(self):
        return "(doc ->> 'n')::int" if self.document else 'n'

    @property
    def added(self):
        """A SET list that adds a parameter to the number."""
        if self.document:
            return ("doc = t.doc || jsonb_build_object('w', %s::text, "
                    "'n', (t.doc ->> 'n')::int + %s::int)")
        return 'w = %s, n = t.n + %s::int'

    def __repr__(self):
        return (f'{self.name} ({self.key_type}, {"document" if self.document else "columns"}, '
                f'{self.versions}{", partitioned" * self.partitioned})')


def row_of(version, payload):
    return Row(version, payload.get('life'), payload.get('w'), payload.get('n'))


class Txn(threads.Txn):
    """A transaction, and what it has seen and written."""

    def __init__(self, *args):
        super().__init__(*args)
        self.reads, self.writes, self.failures = [], [], []
        self.own = {}           # (table, key): Row or None, which nobody else can change

    def save(self):
        self.saved.append((len(self.reads), len(self.writes), dict(self.own)))

    def back(self):
        reads, writes, own = self.saved[-1]
        del self.reads[reads:]
        del self.writes[writes:]
        self.own = dict(own)


class RowSession(ConcurrentSession):
    """A session that records what it has seen and written."""

    new_txn = Txn

    def __init__(self, run, name, random):
        super().__init__(run, name, random)
        self.cache = {}         # (table, key): Row or None, as last seen
        self.writes = 0

    def tag(self):
        """Return a unique name for a write or a life."""
        self.writes += 1
        return f'{self.name}.{self.run.epoch}.{self.writes}'

    # ---- what was seen and written ----

    def saw(self, table, k, row, locked, decides=False):
        """Record that a row, or its absence (None), was seen.

        locked: it cannot change until the transaction ends; decides: it is in this state
        now, and not only according to an older snapshot.
        """
        txn = self.txn
        self.cache[table, k] = row
        if (table, k) in txn.own:
            own = txn.own[table, k]
            self.expect(own == row, f'{table} {k} is {row}, and not {own}')
            return
        held = locked and (row is not None or not table.inserted)
        times = self.begin_at, self.end_at
        txn.reads.append(Read(table, k, row, *(txn.window or times), False))
        if decides or held:
            txn.reads.append(Read(table, k, row, *times, held))
        if held:
            txn.own[table, k] = row

    def wrote(self, table, k, row, how, before=None, delta=0, key_before=None, life=None):
        txn = self.txn
        at = (table, k if key_before is None else key_before)
        own = txn.own.get(at)
        if own and before is not None:
            self.expect(own.version == before, f'{table} {at[1]} was {own}, and not {before}')
        elif own:
            before = own.version
        elif at in txn.own and not table.inserted:
            self.expect(how == 'create', f'{table} {at[1]} was not there')
        txn.writes.append(Write(txn, table, k, row, life or row.life, before, key_before,
                                how, delta))
        txn.own[at] = None
        txn.own[table, k] = row
        self.cache[at] = None
        self.cache[table, k] = row

    def gone(self, table, k, row):
        self.wrote(table, k, None, 'gone', row.version, life=row.life)

    # ---- transactions ----

    def forget(self):
        """Forget the rows that the transaction has written."""
        for write in self.txn.writes:
            self.cache.pop((write.table, write.key), None)
            self.cache.pop((write.table, write.key_before), None)

    def leave(self):
        self.forget()
        super().leave()

    def back(self):
        self.forget()
        super().back()
