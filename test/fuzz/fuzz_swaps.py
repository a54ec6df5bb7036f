"""Versioned rows, swapped by several sessions at once.

Sessions in threads of their own do single swaps, cas_txn lists and plain
statements to a few rows of four tables, alone and in transactions of each
level, with savepoints, while tables are vacuumed and altered, and calls are
cancelled.  Every few hundred operations they come to an end, and what they were
answered is compared with what the tables have (swaps_check.py).

The seed says what each session does, but not who comes first.
"""

import random

from fuzz import Difference, psycopg
from swaps_check import Epoch
from swaps_lists import Lists
from swaps_rows import ACCOUNTS, KEYS, Table, row_of

WORKERS = 5
STEPS = 40      # of each worker in an epoch


class Turns(Lists):
    """A session, and what it does next."""

    def step(self):
        r = self.random
        way = r.random()
        if self.txn is None and way < 0.3 and not self.run.single:
            self.begin()
        elif self.txn and way < 0.15:
            self.commit()
        elif self.txn and way < 0.2:
            self.rollback()
        elif self.txn and way < 0.3:
            if not self.txn.saved or r.random() < 0.5:
                self.save()
            else:
                r.choice((self.back, self.release))()
        elif self.txn and way < 0.31:
            self.kill()
        elif self.run.storms and way < 0.5:
            self.storm()
        else:
            r.choice((self.get, self.lock, self.scan, self.swap, self.swap, self.swap,
                      self.serve, self.plain_update, self.plain_update, self.plain_delete,
                      self.plain_insert, self.transfer, self.transfer, self.total,
                      self.list, self.list, self.list))()


class Swaps:
    """The run."""

    def __init__(self, fuzz):
        self.fuzz, self.random = fuzz, fuzz.random
        self.epoch, self.story, self.failure = 0, [], None
        self.admin = fuzz.admin
        self.admin.execute(
            'CREATE FUNCTION plus(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS '
            "$$SELECT p || jsonb_build_object('w', args -> 'w', "
            "'n', (p ->> 'n')::int + (args ->> 'd')::int)$$")
        self.tables = self.new_tables()
        self.sum = 100 * ACCOUNTS * len(self.tables)
        self.workers = [Turns(self, f's{n}', random.Random(fuzz.options.seed * 100 + n))
                        for n in range(WORKERS)]
        self.there = self.read_tables()

    def new_tables(self):
        """One of each kind, and one that is partitioned."""
        r = self.random
        shapes = [(d, v) for d in (False, True) for v in ('row', 'table')]
        parted = r.randrange(4)
        tables = [Table(f't{i}', r, d, v, i == parted, r.random() < 0.5)
                  for i, (d, v) in enumerate(shapes)]
        for table in tables:
            for statement in table.ddl():
                self.admin.execute(statement)
            for k in range(ACCOUNTS):
                payload = {'life': f'account {k}', 'w': 'first', 'n': 100}
                self.admin.execute('SELECT cas_create(%s, %s, %s)', (
                    table.name, table.key(k), psycopg.types.json.Jsonb(payload)))
        return tables

    def read_tables(self):
        return {(t, t.keys[i]): row_of(v, p) for t in self.tables
                for i, v, p in self.admin.execute(
                    f'SELECT id::text, resource_version, {t.shown} FROM {t.name}').fetchall()}

    def work(self):
        """An epoch."""
        r = self.random
        self.epoch += 1
        self.single = r.random() < 0.4      # one call, one transaction
        self.renames = r.random() < 0.5
        self.cancels = r.random() < 0.2
        self.storms = self.single and not self.renames and r.random() < 0.6
        self.many = r.choice((0, 0, 0.01, 0.1))
        # where most is done
        self.near = r.sample(self.tables, r.choice((1, 2, 4)))
        self.keys = r.choice((range(KEYS), range(ACCOUNTS, KEYS), range(4, 8)))
        self.story, self.committed, self.failed = [], [], []
        for worker in self.workers:
            worker.auto_level = r.choice(('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ',
                                          'SERIALIZABLE'))
            worker.conn.execute(f"SET default_transaction_isolation = '{worker.auto_level}'")
            worker.conn.execute(f"SET pg_cas.direct_path = {r.choice(('on', 'off'))}")
        threads = [worker.start(STEPS) for worker in self.workers]
        self.disturb(threads)
        for thread in threads:
            thread.join()
        if self.failure:
            raise self.failure
        after = self.read_tables()
        Epoch(self.tables, self.there, after, self.committed, self.failed).check()
        self.there = after
        self.fuzz.done += STEPS * WORKERS

    def disturb(self, threads):
        """Do something to the tables and sessions as long as they work."""
        r = self.random
        self.admin.execute("SET lock_timeout = '50ms'")
        while any(thread.is_alive() for thread in threads):
            threads[0].join(r.random() * 0.02)
            try:
                if self.cancels and r.random() < 0.7:
                    self.admin.execute('SELECT pg_cancel_backend(%s)',
                                       (r.choice(self.workers).pid,))
                elif r.random() < 0.1:
                    self.change(r.choice(self.tables))
            except psycopg.errors.LockNotAvailable:
                pass
            except psycopg.errors.DeadlockDetected:
                pass
        self.admin.execute('SET lock_timeout = 0')

    def change(self, table):
        what = self.random.choice(('VACUUM', 'VACUUM FULL', 'ANALYZE', 'REINDEX TABLE', 'enable',
                                   'ADD extra', 'DROP extra', 'index', 'no index'))
        if what == 'ADD extra' and table.columns < 500:
            table.columns += 1
            self.admin.execute(f'ALTER TABLE {table.name} ADD IF NOT EXISTS extra int')
        elif what == 'DROP extra':
            self.admin.execute(f'ALTER TABLE {table.name} DROP IF EXISTS extra')
        elif what == 'index':
            self.admin.execute(f'CREATE INDEX IF NOT EXISTS more_of_{table.name} ON {table.name} '
                               '(resource_version)')
        elif what == 'no index':
            self.admin.execute(f'DROP INDEX IF EXISTS more_of_{table.name}')
        elif what == 'enable':
            self.admin.execute('SELECT cas_enable(%s)', (table.name,))
        elif ' ' not in what or what in ('VACUUM FULL', 'REINDEX TABLE'):
            self.admin.execute(f'{what} {table.name}')

    def told(self, rows):
        """The calls that have to do with some rows, in the order of their answers."""
        names = [(t.name, f'{t.key(k)}') for t, k in rows]
        for begin, end, who, query, values, answer in sorted(self.story, key=lambda c: c[1]):
            text = psycopg.ClientCursor(self.admin).mogrify(query, values or None)
            if not values or not names or any(t in text and k in text for t, k in names):
                yield f'{begin} to {end} {who}: {text}\n    -- {str(answer)[:600]}'


def run(fuzz):
    swaps = Swaps(fuzz)
    try:
        while fuzz.more():
            fuzz.done -= 1
            swaps.work()
    except Difference as difference:
        fuzz.story = list(swaps.told(getattr(difference, 'rows', ())))
        raise
