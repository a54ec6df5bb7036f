"""Versioned rows, changed by concurrent sessions.

The sessions execute single swaps, cas_txn lists and plain statements on a few rows of
four tables, alone and in transactions of each level, with savepoints, while tables are
vacuumed and altered, and calls are cancelled.  After every few hundred operations all
transactions end, and the answers are compared with the tables (swaps_check.py).

The seed determines what each session does, but not the order of their calls.
"""

import random

from fuzz import psycopg
from swaps_check import Epoch
from swaps_lists import Lists
from swaps_rows import ACCOUNTS, KEYS, Table, row_of
from threads import LEVELS, ConcurrentRun

WORKERS = 5
STEPS = 40      # of each worker in an epoch


class Worker(Lists):
    """A session, which chooses what to do next."""

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
            self.savepoint()
        elif self.txn and way < 0.31:
            self.kill()
        elif self.run.storms and way < 0.5:
            self.storm()
        else:
            r.choice((self.get, self.lock, self.scan, self.swap, self.swap, self.swap,
                      self.serve, self.plain_update, self.plain_update, self.plain_delete,
                      self.plain_insert, self.transfer, self.transfer, self.total,
                      self.list, self.list, self.list))()


class Swaps(ConcurrentRun):
    """A run."""

    def __init__(self, fuzz):
        super().__init__(fuzz)
        self.admin.execute(
            'CREATE FUNCTION plus(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS '
            "$$SELECT p || jsonb_build_object('w', args -> 'w', "
            "'n', (p ->> 'n')::int + (args ->> 'd')::int)$$")
        self.tables = self.new_tables()
        self.sum = 100 * ACCOUNTS * len(self.tables)
        self.workers = [Worker(self, f's{n}', random.Random(fuzz.options.seed * 100 + n))
                        for n in range(WORKERS)]
        self.there = self.read_tables()

    def new_tables(self):
        """Create a table of each kind.  One of them is partitioned."""
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
        """Run an epoch."""
        r = self.random
        self.begin_epoch()
        self.single = r.random() < 0.4      # one call, one transaction
        self.renames = r.random() < 0.5
        self.storms = self.single and not self.renames and r.random() < 0.6
        self.many = r.choice((0, 0, 0.01, 0.1))
        # the tables and keys that most operations use
        self.near = r.sample(self.tables, r.choice((1, 2, 4)))
        self.keys = r.choice((range(KEYS), range(ACCOUNTS, KEYS), range(4, 8)))
        self.failed = []
        for worker in self.workers:
            worker.auto_level = r.choice(LEVELS)
            worker.set('default_transaction_isolation', worker.auto_level)
            worker.set('pg_cas.direct_path', r.choice(('on', 'off')))
        self.together(STEPS)
        after = self.read_tables()
        Epoch(self.tables, self.there, after, self.committed, self.failed).check()
        self.there = after

    def disturb(self):
        if self.random.random() < 0.1:
            self.change(self.random.choice(self.tables))

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


def run(fuzz):
    Swaps(fuzz).run()
