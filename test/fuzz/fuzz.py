"""Random operations on pg_cas, compared with a model.  See run."""

import argparse
import collections
import importlib
import os
import random
import sys
import time

import psycopg
import psycopg.types.json

import night

FAMILIES = ('alloc', 'units', 'lock', 'rows', 'swaps', 'requests')

# After so many operations the WAL is decoded, since the server keeps it until then.
DECODE_EVERY = 50_000

# Texts that must not appear in the log of a server.
BAD_LOG = ('PANIC:', 'TRAP:', 'terminated by signal', ' XX000 ', ' XX001 ',
           ' XX002 ')

CHECKS = """
SELECT 'alloc_verify: ' || v::text FROM alloc_verify() AS v
UNION ALL
SELECT format('%s: %s', c.oid::regclass, h)
FROM pg_class AS c, LATERAL verify_heapam(c.oid) AS h
WHERE c.relnamespace = 'cas_internal'::regnamespace AND c.relkind = 'r'
"""

INDEXES = """
SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_am AS a ON a.oid = relam
WHERE c.relnamespace = 'cas_internal'::regnamespace AND c.relkind = 'i'
    AND amname = 'btree'
"""


class Difference(Exception):
    """An answer differs from what the model says."""


class Session:
    """A session.  If a call raises an error, that is its answer."""

    def __init__(self, fuzz, name):
        self.fuzz = fuzz
        self.name = name
        self.connect()

    def connect(self):
        self.conn = psycopg.connect(dbname=self.fuzz.dbname, autocommit=True,
                                    application_name=self.name)
        self.pid = self.conn.info.backend_pid
        self.conn.execute("SET statement_timeout = '60s'")

    def rows(self, query, *values):
        """Execute a query and return its rows.  Raises psycopg.Error."""
        self.fuzz.say(self.name, query, values)
        cursor = self.conn.execute(query, values or None, prepare=None)
        rows = cursor.fetchall() if cursor.description else []
        if rows:
            self.fuzz.say(self.name, '-- ', rows)
        return rows

    def ask(self, query, *values):
        """Execute a query and return its first row, or None, or the error as a Raised."""
        try:
            rows = self.rows(query, *values)
            return rows[0] if rows else None
        except psycopg.Error as error:
            return self.raised(error)

    def raised(self, error):
        """Return an error as a Raised, unless the connection is lost."""
        if error.sqlstate is None:
            raise Difference(f'{self.name}: {error}') from error
        self.fuzz.say(self.name, '-- ' + error.sqlstate, ())
        return Raised(error)

    def kill(self):
        """Terminate the backend, and connect again."""
        self.fuzz.say(self.name, '-- killed', ())
        admin = self.fuzz.admin
        admin.execute('SELECT pg_terminate_backend(%s)', (self.pid,))
        self.fuzz.wait_until(
            'NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)', self.pid)
        self.conn.close()
        self.connect()


class Raised:
    """An error that is the answer of a call."""

    def __init__(self, error):
        self.state = error.sqlstate
        self.message = str(error)

    def __repr__(self):
        return f'{self.state} {self.message}'


class Fuzz:
    """A run of any family."""

    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.done = 0
        self.story = collections.deque(maxlen=max(400, options.story))
        self.dbname = f'fuzz_{options.family}_{options.seed}'
        with psycopg.connect(dbname='postgres', autocommit=True) as conn:
            conn.execute(
                'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots '
                'WHERE database = %s', (self.dbname,))
            conn.execute(f'DROP DATABASE IF EXISTS {self.dbname} WITH (FORCE)')
            conn.execute(f'CREATE DATABASE {self.dbname}')
        self.admin = psycopg.connect(dbname=self.dbname, autocommit=True)
        self.admin.execute('CREATE EXTENSION pg_cas')
        self.admin.execute('CREATE EXTENSION amcheck')
        # what is written has to be decodable
        self.slot, self.decoded = None, 0
        if self.admin.execute('SHOW wal_level').fetchone()[0] == 'logical':
            self.slot = self.dbname
            self.admin.execute(
                "SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", (self.slot,))
        self.begun = time.monotonic()
        self.log_at = os.path.getsize(options.log) if options.log else 0

    def say(self, who, query, values):
        """Remember a call or an answer, to be shown if there is a difference."""
        self.story.append((who, query, values))

    def told(self):
        """Yield the last calls and answers as lines of text."""
        for line in list(self.story)[-self.options.story:]:
            if not isinstance(line, str):
                who, query, values = line
                if query == '-- ':
                    query += str(values)[:300]
                elif values:
                    query = psycopg.ClientCursor(self.admin).mogrify(query, values)
                line = f'{who}: {query}'
            yield line

    def expect(self, true, what):
        if not true:
            raise Difference(what)

    def wait_until(self, condition, *values):
        """Wait until a condition, which is written in SQL, is true."""
        while not self.admin.execute('SELECT ' + condition, values).fetchone()[0]:
            time.sleep(0.001)

    def more(self):
        """Whether to go on.  The families count their operations in done."""
        if self.slot and self.done - self.decoded >= DECODE_EVERY:
            self.decode()
        if self.options.seconds:
            return time.monotonic() - self.begun < self.options.seconds
        return self.done < self.options.ops

    def decode(self):
        """Decode what has been written, which the server keeps until then."""
        self.admin.execute('SELECT count(*) FROM pg_logical_slot_get_changes(%s, NULL, NULL)',
                           (self.slot,))
        self.decoded = self.done

    def problems(self):
        """Return the problems that are found in the database and the log after the run."""
        self.connect_again()
        found = [row[0] for row in self.admin.execute(CHECKS)]
        for index, in self.admin.execute(INDEXES).fetchall():
            try:
                self.admin.execute('SELECT bt_index_check(%s, true)', (index,))
            except psycopg.Error as error:
                found.append(f'{index}: {error}')
        if self.slot:
            try:
                self.decode()
            except psycopg.Error as error:
                found.append(f'logical decoding: {error}')
            self.admin.execute('SELECT pg_drop_replication_slot(%s)', (self.slot,))
        if self.options.log:
            with open(self.options.log, encoding='utf-8') as log:
                log.seek(self.log_at)
                found += [line.strip() for line in log
                          if any(bad in line for bad in BAD_LOG)
                          and 'STATEMENT:' not in line]
        return found

    def connect_again(self):
        """Wait for the server, which may have crashed and be recovering."""
        for _ in range(600):
            try:
                self.admin = psycopg.connect(dbname=self.dbname, autocommit=True)
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise SystemExit('the server does not come back')

    def drop(self):
        """Drop the database."""
        self.admin.close()
        with psycopg.connect(dbname='postgres', autocommit=True) as conn:
            conn.execute(f'DROP DATABASE {self.dbname} WITH (FORCE)')

    def without(self, what):
        return what in self.options.without.split(',')


def main():
    parser = argparse.ArgumentParser(prog='test/fuzz/run')
    parser.add_argument('family', choices=(*FAMILIES, 'all'))
    parser.add_argument('--seed', type=int, default=int(time.time()))
    parser.add_argument('--ops', type=int)
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--each', type=int, help='operations with a seed, before the next')
    parser.add_argument('--jobs', type=int, default=1, help='with --each: processes')
    parser.add_argument('--drop', action='store_true', help='drop the database at the end')
    parser.add_argument('--without', default='', help='kinds of operations, separated by commas')
    parser.add_argument('--log', help="the server's log")
    parser.add_argument('--story', type=int, default=60, help='lines shown')
    options = parser.parse_args()
    if options.family == 'all' or options.each:
        options.ops = options.ops or 10_000_000
        options.each = options.each or 20_000
        families = FAMILIES if options.family == 'all' else (options.family,)
        return night.play(options, families, BAD_LOG)
    options.ops = options.ops or 2000

    print(f'{options.family}: seed {options.seed}', flush=True)
    fuzz = Fuzz(options)
    family = importlib.import_module('fuzz_' + options.family)
    status = 0
    try:
        family.run(fuzz)
    except Difference as difference:
        print('\n'.join(fuzz.told()))
        print(f'DIFFERENCE after {fuzz.done} operations, seed {options.seed}: '
              f'{difference}')
        status = 1
    problems = fuzz.problems()
    for problem in problems:
        print(f'PROBLEM: {problem}')
    print(f'{options.family}: {fuzz.done} operations, seed {options.seed}, '
          f'{status} differences, {len(problems)} problems')
    if options.drop and not problems and not status:
        fuzz.drop()
    return 1 if problems else status


if __name__ == '__main__':
    import fuzz         # the module that the families import, too
    sys.exit(fuzz.main())
