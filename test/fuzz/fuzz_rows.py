"""Versioned rows and cas_txn, each answer compared with a model.

Sessions take turns on a few guarded tables with random keys, columns and settings, which
DDL changes in between.  The model has each table's rows, as versions and payloads, and
keeps the changes of a transaction separately until it commits.  A call that finds a row
that another transaction has written waits for it.
"""

import json
import uuid

import turns
from fuzz import Raised, Session, psycopg

SESSIONS = 3
KEYS = 6
Json = psycopg.types.json.Jsonb


class Table:
    """A guarded table."""

    def __init__(self, name, random):
        self.name = name
        self.key_type = random.choice(('text', 'int', 'uuid', 'numeric', 'varchar(40)'))
        self.document = random.random() < 0.5
        self.versions = random.choice(('row', 'row', 'table'))
        self.reject = random.random() < 0.3
        self.rows = {}          # key: (version, payload), as committed
        self.changed = {}       # key: number of committed changes
        self.greatest = 0
        self.extra = False      # whether it has the column "extra"
        self.partitioned = random.random() < 0.3
        self.path = self.document and random.random() < 0.3

    def key(self, n):
        if self.key_type == 'uuid':
            return str(uuid.UUID(int=n))
        return str(n) if self.key_type in ('int', 'numeric') else f'key {n}'

    def ddl(self):
        columns = 'doc jsonb' if self.document else "n int DEFAULT 0, s text DEFAULT ''"
        yield (f'CREATE TABLE {self.name} (id {self.key_type} PRIMARY KEY, {columns})'
               + ' PARTITION BY HASH (id)' * self.partitioned)
        if self.partitioned:
            for part in (0, 1):
                yield (f'CREATE TABLE {self.name}_{part} PARTITION OF {self.name} '
                       f'FOR VALUES WITH (MODULUS 2, REMAINDER {part})')
        yield (f"SELECT cas_enable('{self.name}'"
               + ", payload_column => 'doc'" * self.document
               + ", version_path => '{meta,v}'" * self.path
               + f", versions => '{self.versions}'"
               + ", writers => 'echo'" * (self.versions == 'table')
               + ", unversioned => 'reject'" * self.reject + ')')

    def payload(self, random):
        """Return a random payload with all columns, or a random document."""
        n, s = random.randrange(4), random.choice(('', 'a', 'ü"\\'))
        return {'n': n, 's': s} if not self.document or random.random() < 0.7 else {'other': [n, s]}

    def shown(self, version, payload):
        """Return a payload as it is read."""
        shown = dict(payload)
        if self.path:
            shown['meta'] = {'v': version}
        if self.extra and not self.document:
            shown['extra'] = None
        return shown

    def written(self, was, payload):
        """Return the payload of a row after a payload has been written to it."""
        if self.document or was is None:
            return payload
        return {**was, **payload}


class Turn(turns.Turn):
    """A session, and what its transaction has written."""

    def forget(self):
        self.level = None
        self.changes = {}       # (table, key): (version, payload) or None
        self.locked = set()
        self.renamed = []       # (table, key, new key)
        self.saved = []
        self.seen = {}

    def committed(self):
        for (table, k), row in self.changes.items():
            self.run.settle(table, k, row)
        # PostgreSQL keeps a row locked that was waited for, even if it has another
        # key by then and so is not what was looked for
        for table, k, to in self.renamed:
            for other in self.others():
                if other.waited and other.at[0] is table and k in other.at[1]:
                    other.at = table, [*other.at[1], to]
                    if other.level is not None:
                        other.locked.add((table, to))

    def back(self):
        self.rows(f'ROLLBACK TO s{len(self.saved) - 1}')
        self.changes = dict(self.saved[-1])


class Rows(turns.Run):
    """A run."""

    def __init__(self, fuzz):
        super().__init__(fuzz, SESSIONS, Turn)
        fuzz.admin.execute(
            'CREATE FUNCTION with_n(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS '
            "$$SELECT p || jsonb_build_object('n', args)$$")
        self.maker = Session(fuzz, 'maker')
        self.tables = []
        self.made = 0
        for _ in range(3):
            self.new_table()

    def new_table(self):
        self.made += 1
        table = Table(f't{self.made}', self.random)
        for statement in table.ddl():
            self.maker.rows(statement)
        self.tables.append(table)

    # ---- rows ----

    def row(self, turn, table, k):
        return turn.changes.get((table, k), table.rows.get(k))

    def in_way(self, turn, other):
        table, keys = turn.at
        return any((table, k) in other.locked for k in keys)

    def stale(self, turn, table, k):
        """Whether other sessions have changed a row since the snapshot.

        A row that was created and deleted since then does not count.
        """
        times, row = turn.seen.get((table, k), (None, None))
        return (turn.level not in (None, 'READ COMMITTED')
                and times != table.changed.get(k) and (row or k in table.rows))

    def write(self, turn, table, k, row):
        if row:
            table.greatest = max(table.greatest, row[0])
        if turn.level is None:
            self.settle(table, k, row)
        else:
            turn.changes[table, k] = row
            turn.locked.add((table, k))

    def settle(self, table, k, row):
        if row is None:
            table.rows.pop(k, None)
        else:
            table.rows[k] = row
        table.changed[k] = table.changed.get(k, 0) + 1

    # ---- transactions ----

    def begin(self, turn):
        turn.level = self.random.choice(('READ COMMITTED', 'READ COMMITTED',
                                         'REPEATABLE READ', 'SERIALIZABLE'))
        turn.rows(f'BEGIN ISOLATION LEVEL {turn.level}')
        turn.rows('SELECT 1')
        turn.seen = {(t, k): (n, t.rows.get(k)) for t in self.tables
                     for k, n in t.changed.items()}

    # ---- calls ----

    def next_version(self, table, was, version, says):
        """Check the version that a write was given."""
        if table.versions == 'table':
            self.fuzz.expect(version > table.greatest, f'{table.greatest} was out: {says}')
        else:
            self.fuzz.expect(version == (was[0] + 1 if was else 1), says)

    def call(self, turn):
        r = self.random
        table = r.choice(self.tables)
        k, to = r.randrange(KEYS), r.randrange(KEYS)
        was, there = self.row(turn, table, k), self.row(turn, table, to)
        what = r.choice(('create', 'create', 'update', 'update', 'patch', 'delete', 'rename',
                         'merge', 'put', 'apply', 'get', 'lock', 'plain'))
        version = r.choice((was[0], was[0], was[0], was[0] + 1, max(was[0] - 1, 0))) if was else 1
        whole = table.payload(r)
        part = {'n': r.randrange(4)}
        args = {'create': (whole,), 'update': (version, whole), 'patch': (version, part),
                'delete': (version,), 'rename': (version, table.key(to)), 'merge': (part,),
                'put': (whole,)}
        arguments = [Json(a) if isinstance(a, dict) else a for a in args.get(what, ())]
        marks = ', %s' * len(arguments)
        # the keys that the call may lock; cas_txn and absent rows are locked by key
        keys = (k, to) if what == 'rename' else (k,)
        turn.at = table, keys
        if what in ('create', 'update', 'patch', 'delete', 'rename'):
            answer = turn.ask(
                f'SELECT outcome, version, payload FROM cas_try_{what}(%s, %s{marks})',
                table.name, table.key(k), *arguments)
        elif what in ('merge', 'put'):
            answer = turn.ask(f'SELECT cas_{what}(%s, %s{marks})', table.name, table.key(k),
                              *arguments)
        elif what == 'apply':
            answer = turn.ask("SELECT cas_apply(%s, %s, 'with_n(jsonb, jsonb)', %s)",
                              table.name, table.key(k), Json(part['n']))
        elif what == 'get':
            answer = turn.ask('SELECT version, payload FROM cas_get(%s, %s)', table.name,
                              table.key(k))
        elif what == 'lock':
            answer = turn.ask('SELECT version, payload FROM cas_lock(%s, %s)', table.name,
                              [table.key(k)])
        else:
            column, value = ('doc', Json(whole)) if table.document else ('n', part['n'])
            answer = turn.ask(f'UPDATE {table.name} SET {column} = %s WHERE id = %s '
                              'RETURNING resource_version', value, table.key(k))
            if answer is None:
                answer = ('none',)
        # a transaction for which the call waited may have changed them
        was, there = self.row(turn, table, k), self.row(turn, table, to)
        says = (f'{what} {table.name} {table.key(k)} {args.get(what, ())}, was {was}, '
                f'there {there}: {answer}')
        if isinstance(answer, Raised):
            self.judge_error(turn, table, what, keys, was, answer, says)
            turn.failed()
            return
        if turn.level is not None and what != 'get':
            turn.locked.update((table, x) for x in keys)
        if what == 'get':
            if not self.stale(turn, table, k):
                self.fuzz.expect(answer == ((was[0], table.shown(*was)) if was else None), says)
            return
        decide = keys if what != 'rename' or answer[0] in ('renamed', 'exists') else (k,)
        stale = [x for x in decide if self.stale(turn, table, x)]
        if stale and what == 'plain':
            self.fuzz.expect(answer == ('none',), says)
            return
        self.fuzz.expect(not stale, f'{stale} changed since the snapshot: {says}')
        self.judge(turn, table, what, k, to, was, there, version, whole, part, answer, says)

    def judge_error(self, turn, table, what, keys, was, answer, says):
        stale = any(self.stale(turn, table, x) for x in keys)
        self.fuzz.expect(
            turn.gave_up(answer)
            or answer.state == '40001' and stale
            or answer.state == '40001' and turn.level == 'SERIALIZABLE'
            # a row that is moved to another partition while the call waits for it
            or answer.state == '40001' and turn.waited and table.partitioned
            or answer.state == 'PT404' and what in ('merge', 'apply') and not was
            or answer.state == 'PT428' and what == 'plain' and table.reject and was, says)

    def judge(self, turn, table, what, k, to, was, there, version, whole, part, answer, says):
        expect = self.fuzz.expect
        if what == 'lock':
            expect(answer == ((was[0], table.shown(*was)) if was else None), says)
            return
        new = {'create': table.written(None, whole), 'plain': None}
        if what in ('update', 'put'):
            new = table.written(was[1] if was else None, whole)
        elif what in ('patch', 'merge', 'apply'):
            new = {**was[1], **part} if was else None
        elif what == 'plain' and was:
            new = whole if table.document else {**was[1], **part}
        elif what == 'create':
            new = whole
        if not table.document and what in ('create', 'put') and not was:
            new = {'n': 0, 's': '', **whole}
        if what in ('update', 'patch', 'delete', 'rename', 'create'):
            outcome = answer[0]
            if what == 'create':
                right = 'exists' if was else 'created'
            elif not was:
                right = 'missing'
            elif was[0] != version:
                right = 'conflict'
            elif what == 'delete':
                right = 'deleted'
            elif what == 'rename':
                right = 'exists' if there else 'renamed'
            else:
                right = 'unchanged' if new == was[1] else 'updated'
            expect(outcome == right, f'{right} is right: {says}')
            if (right in ('exists', 'conflict', 'unchanged')
                    and (right, what) != ('exists', 'rename')):
                expect(answer[1] == was[0], says)
            if right in ('exists', 'conflict') and what != 'rename':
                expect(answer[2] == table.shown(*was), says)
            if right == 'deleted':
                self.write(turn, table, k, None)
            elif right == 'renamed':
                self.next_version(table, was, answer[1], says)
                self.write(turn, table, k, None)
                self.write(turn, table, to, (answer[1], was[1]))
                turn.renamed.append((table, k, to))
            elif right in ('created', 'updated'):
                self.next_version(table, was, answer[1], says)
                self.write(turn, table, k, (answer[1], new))
            return
        # under READ COMMITTED, a plain statement that waits for a row which is deleted
        # does not find the row that replaces it
        if what == 'plain' and (not was or turn.waited and answer == ('none',)):
            expect(answer == ('none',), says)
            return
        if what == 'plain':
            expect(not table.reject or new == was[1], says)
        if was and new == was[1]:
            # a plain UPDATE that changes nothing does not advance the version, but it
            # writes the row
            expect(answer[0] == was[0], says)
            if what == 'plain':
                self.write(turn, table, k, was)
        else:
            self.next_version(table, was, answer[0], says)
            self.write(turn, table, k, (answer[0], new))

    def txn(self, turn):
        """Change some rows of one table by cas_txn, in random order."""
        r = self.random
        table = r.choice(self.tables)
        keys = r.sample(range(KEYS), 3)
        compare = []
        for k in keys[:2]:
            was = self.row(turn, table, k)
            wrong = r.random() < 0.15
            entry = {'table': table.name, 'id': table.key(k)}
            if was:
                compare.append({**entry, 'version': was[0] + wrong})
            else:
                compare.append({**entry, 'absent' if not wrong else 'exists': True})
        part = {'n': r.randrange(4)}
        there = [k for k in keys if self.row(turn, table, k)]
        ops = [{'op': 'merge', 'table': table.name, 'id': table.key(k), 'patch': part}
               for k in there]
        turn.at = table, keys
        answer = turn.ask('SELECT cas_txn(%s, %s, %s)', Json(compare), Json(ops), Json([]))
        fits = all(self.fits(self.row(turn, table, k), c) for k, c in zip(keys, compare))
        says = f'txn {compare} {ops}: {answer}'
        if isinstance(answer, Raised):
            gone = turn.waited and fits and not all(self.row(turn, table, k) for k in there)
            if answer.state != 'PT404' or not gone:
                self.judge_error(turn, table, 'txn', keys, None, answer, says)
            turn.failed()
            return
        answer = answer[0]
        looked = keys[:2] if not fits else keys[:2] + there
        stale = [k for k in looked if self.stale(turn, table, k)]
        self.fuzz.expect(not stale, f'{stale} changed since the snapshot: {says}')
        self.fuzz.expect(answer['succeeded'] == fits, says)
        if turn.level is not None:
            turn.locked.update((table, k) for k in keys)
        if not fits:
            return
        for k, result in zip(there, answer['results']):
            was = self.row(turn, table, k)
            new = {**was[1], **part}
            if new == was[1]:
                self.fuzz.expect(result['outcome'] == 'unchanged' and result['version'] == was[0],
                                 says)
            else:
                if table.versions == 'row':
                    self.next_version(table, was, result['version'], says)
                self.write(turn, table, k, (result['version'], new))

    def fits(self, row, compare):
        if 'version' in compare:
            return row is not None and row[0] == compare['version']
        return ('exists' in compare) == (row is not None)

    def change_table(self):
        """End all transactions, then execute DDL."""
        r = self.random
        for turn in self.turns:
            if turn.level is not None:
                turn.end(r.random() < 0.5)
        table = r.choice(self.tables)
        what = r.choice(('column', 'column', 'index', 'vacuum', 'enable', 'type', 'new'))
        if what == 'column':
            self.maker.rows(f'ALTER TABLE {table.name} '
                            + ('DROP extra' if table.extra else 'ADD extra text'))
            table.extra = not table.extra
        elif what == 'index':
            self.maker.rows(f'CREATE INDEX ON {table.name} (resource_version)')
        elif what == 'vacuum':
            self.maker.rows(f'VACUUM {r.choice(("", "FULL"))} {table.name}')
        elif what == 'enable':
            table.reject = not table.reject
            self.maker.rows(f"SELECT cas_enable('{table.name}'"
                            + ", payload_column => 'doc'" * table.document
                            + ", version_path => '{meta,v}'" * table.path
                            + ", writers => 'echo'" * (table.versions == 'table')
                            + f", versions => '{table.versions}', unversioned => "
                            + ("'reject')" if table.reject else "'allow')"))
        elif what == 'type':
            if not table.document:
                self.maker.rows(f'ALTER TABLE {table.name} ALTER n TYPE bigint')
        else:
            self.maker.rows(f'DROP TABLE {table.name}')
            self.tables.remove(table)
            self.new_table()

    def compare(self):
        for table in self.tables:
            columns = 'doc' if table.document else "to_jsonb(t) - 'id' - 'resource_version'"
            got = {k: (v, p) for k, v, p in self.maker.rows(
                f'SELECT id::text, resource_version, {columns} FROM {table.name} AS t')}
            expected = {table.key(k): (v, table.shown(v, p)) for k, (v, p) in table.rows.items()}
            self.fuzz.expect(got == expected, f'{table.name} has {got}, not {expected}')

    def step(self):
        r = self.random
        turn = r.choice(self.turns)
        way = r.random()
        if turn.level is None and way < 0.2:
            self.begin(turn)
        elif turn.level is not None and way < 0.12:
            turn.end(r.random() < 0.7)
        elif turn.level is not None and way < 0.2:
            if turn.saved and r.random() < 0.5:
                if r.random() < 0.5:
                    turn.back()
                else:
                    turn.saved.pop()
                    turn.rows(f'RELEASE s{len(turn.saved)}')
            else:
                turn.rows(f'SAVEPOINT s{len(turn.saved)}')
                turn.saved.append(dict(turn.changes))
        elif way < 0.21:
            turn.kill()
        elif way < 0.23:
            self.change_table()
        elif way < 0.36:
            self.txn(turn)
        else:
            self.call(turn)


def run(fuzz):
    Rows(fuzz).run()
