"""The operations of a session on single rows, for fuzz_swaps.py."""

from fuzz import Raised, psycopg
from swaps_rows import ACCOUNTS, GOING, KEYS, Failure, Json, RowSession, Txn, row_of

# SQLSTATEs with which a call may fail, besides those that judge_error() checks.
REFUSED = ('PT409', 'PT404', '23505')


class Work(RowSession):
    """A session that reads, locks and writes rows in all ways but cas_txn lists."""

    # ---- choices ----

    def some_row(self, keys=range(ACCOUNTS, KEYS)):
        few = [k for k in keys if k in self.run.keys]
        return self.random.choice(self.run.near), self.random.choice(few or keys)

    def guess(self, table, k):
        """Return a version that the row may have."""
        row = self.cache.get((table, k))
        if row is None:
            return self.random.choice((1, 1, 2, 3))
        # not the next one of a sequence, which any row may get meanwhile
        wrong = (1, -1) if table.versions == 'row' else (-1, -1)
        return row.version + self.random.choice((0, 0, 0, 0, 0, 0, *wrong)) * (row.version > 1)

    def payload(self, table, life):
        """Return a new payload; without a life, only the columns to change."""
        n = self.random.randrange(1000)
        row = {'w': self.tag(), 'n': n}
        return {**row, 'life': life} if life else row

    # ---- calls ----

    def call(self, rows, query, *values, refused=REFUSED):
        """Return a call's answer, or None if it failed as it may."""
        if self.txn is None:
            self.txn = Txn(self.name, self.auto_level, False)
        answer = self.ask(query, *values)
        if isinstance(answer, Raised):
            self.judge_error(rows, query, answer, refused)
            self.failed()
            return None
        return answer or ()

    def done(self):
        """The answer has been checked.  Without BEGIN, the call was a transaction."""
        if self.txn and not self.txn.explicit:
            self.committed()

    def judge_error(self, rows, query, error, refused):
        txn, state = self.txn, error.state
        says = f'{query} for {rows} in {txn}: {error}'
        if state == '40001':
            moved = any(table.partitioned for table, _ in rows)
            self.expect(txn.level != 'READ COMMITTED' or moved, says)
            if txn.level == 'REPEATABLE READ' and not moved:
                begin = txn.window[0] if txn.window else self.begin_at
                self.run.failed.append(Failure(says, rows, begin, self.end_at))
        elif state == '40P01':
            self.expect(not self.run.single or self.run.renames, says)
        elif state == '57014':
            self.expect(self.run.cancels, says)
        else:
            self.expect(state in refused, says)

    def get(self):
        table, k = self.some_row(range(KEYS))
        answer = self.call([(table, k)], 'SELECT version, payload FROM cas_get(%s, %s)',
                           table.name, table.key(k))
        if answer is not None:
            self.saw(table, k, row_of(*answer) if answer else None, False)
            self.done()

    def lock(self):
        table = self.random.choice(self.run.near)
        keys = self.random.sample(range(KEYS), self.random.choice((1, 2, 4)))
        answer = self.call([(table, k) for k in keys],
                           'SELECT array_agg(to_jsonb(c)) FROM cas_lock(%s, %s, %s) AS c',
                           table.name, [table.key(k) for k in keys],
                           self.random.choice(('update', 'share')))
        if answer is None:
            return
        found = {table.keys[c['id']]: row_of(c['version'], c['payload'])
                 for c in answer[0] or ()}
        for k in keys:
            self.saw(table, k, found.get(k), k in found, True)
        self.done()

    def scan(self):
        """Read all rows of a table in one statement."""
        table = self.random.choice(self.run.near)
        answer = self.call([(table, k) for k in range(KEYS)],
                           'SELECT jsonb_agg(jsonb_build_array(id::text, resource_version, '
                           f'{table.shown})) FROM {table.name}')
        if answer is not None:
            found = {}
            for i, v, p in answer[0]:
                if i in table.keys:
                    found.setdefault(table.keys[i], []).append(row_of(v, p))
            # an old snapshot shows a row that others have deleted since, and also the
            # one with its key that this transaction has inserted
            for k in range(KEYS):
                if len(found.get(k, ())) < 2:
                    self.saw(table, k, found[k][0] if k in found else None, False)
            self.done()

    def swap(self):
        r = self.random
        what = r.choice(('create', 'create', 'update', 'update', 'patch', 'delete', 'rename'))
        keys = {'create': range(ACCOUNTS, KEYS), 'delete': GOING, 'rename': GOING}
        table, k = self.some_row(keys.get(what, range(ACCOUNTS, KEYS)))
        if what == 'update' and k in GOING and not table.update_going:
            what = 'patch'
        if what == 'rename' and not self.run.renames:
            return
        row, version, to = self.cache.get((table, k)), self.guess(table, k), None
        if what == 'create':
            args = (Json(self.payload(table, self.tag())),)
        elif what == 'update':
            life = row.life if row and table.document else None
            if table.document and not life:
                return
            args = version, Json(self.payload(table, life))
        elif what == 'patch':
            args = version, Json(self.payload(table, None))
        elif what == 'delete':
            args = (version,)
        else:
            to = r.choice(GOING)
            args = version, table.key(to)
        marks = ', %s' * len(args)
        answer = self.call([(table, k)] + [(table, to)] * (to is not None),
                           f'SELECT outcome, version, payload FROM cas_try_{what}(%s, %s{marks})',
                           table.name, table.key(k), *args)
        if answer is not None:
            self.judge_swap(what, table, k, to, version, args, answer)
            self.done()

    def judge_swap(self, what, table, k, to, version, args, answer):
        outcome, now, payload = answer
        row = row_of(now, payload) if payload else None
        says = f'cas_try_{what} {table} {k} {args}: {answer}'
        if outcome == 'conflict':
            self.expect(what != 'create' and now != version, says)
            self.saw(table, k, row, True)
        elif outcome == 'missing':
            self.expect(what != 'create', says)
            self.saw(table, k, None, False, True)
        elif outcome == 'exists':
            self.expect(what in ('create', 'rename'), says)
            self.saw(table, k if to is None else to, row, True)
        elif outcome == 'deleted':
            self.expect(what == 'delete' and now == version, says)
            self.gone(table, k, row)
        elif outcome == 'renamed':
            self.wrote(table, to, row, 'rename', version, key_before=k)
        else:
            self.expect(outcome == {'create': 'created'}.get(what, 'updated'), says)
            sent = args[-1].obj
            self.expect(row.w == sent['w'] and row.n == sent['n'], says)
            self.wrote(table, k, row, 'create' if what == 'create' else 'set',
                       None if what == 'create' else version)

    def serve(self):
        """Call a function that needs no version, and read the row that it has written."""
        if not self.txn:
            return
        table, k = self.some_row()
        w, d = self.tag(), self.random.randrange(5)
        if self.random.random() < 0.5:
            how, d = 'set', 7
            answer = self.call([(table, k)], 'SELECT cas_merge(%s, %s, %s)', table.name,
                               table.key(k), Json({'w': w, 'n': d}))
        else:
            how = 'add'
            answer = self.call([(table, k)], "SELECT cas_apply(%s, %s, 'plus(jsonb, jsonb)', %s)",
                               table.name, table.key(k), Json({'w': w, 'd': d}))
        if answer is None:
            return
        self.read_back(table, k, answer[0], w, how, d)

    def read_back(self, table, k, version, w, how, d):
        row = self.call([(table, k)], 'SELECT version, payload FROM cas_get(%s, %s)',
                        table.name, table.key(k))
        if row is None:
            # the transaction or the savepoint has been rolled back
            return
        self.expect(row and row[0] == version and row[1]['w'] == w,
                    f'{table} {k} was given {version}, {w}, and is {row}')
        self.wrote(table, k, row_of(*row), how, delta=d)

    # ---- plain statements ----

    def plain_update(self):
        table, k = self.some_row()
        version = self.guess(table, k)
        style = self.random.choice(('none', 'where', 'set'))
        w, d = self.tag(), self.random.randrange(5)
        query = f'UPDATE {table.name} AS t SET {table.added}'
        values = [w, d]
        if style == 'set':
            query += ', resource_version = %s'
            values.append(version + (table.versions == 'row'))
        query += ' WHERE id = %s'
        values.append(table.key(k))
        if style == 'where':
            query += ' AND resource_version = %s'
            values.append(version)
        answer = self.call([(table, k)], f'{query} RETURNING resource_version, {table.shown}',
                           *values)
        if answer is None:
            return
        if answer:
            self.wrote(table, k, row_of(*answer), 'add', None if style == 'none' else version,
                       delta=d)
        elif style != 'where':
            self.missed(table, k)
        self.done()

    def missed(self, table, k):
        """Record that a plain statement has found no row.

        Under READ COMMITTED, a statement that waits for a row which is deleted does not
        find the row that replaces it.
        """
        if self.txn.level == 'READ COMMITTED':
            self.cache[table, k] = None
        else:
            self.saw(table, k, None, False)

    def plain_delete(self):
        table, k = self.some_row(GOING)
        version = self.guess(table, k)
        query, values = f'DELETE FROM {table.name} AS t WHERE id = %s', [table.key(k)]
        if self.random.random() < 0.5:
            query += ' AND resource_version = %s'
            values.append(version)
        answer = self.call([(table, k)], f'{query} RETURNING resource_version, {table.shown}',
                           *values)
        if answer is None:
            return
        if answer:
            self.gone(table, k, row_of(*answer))
        elif len(values) == 1:
            self.missed(table, k)
        self.done()

    def plain_insert(self):
        table, k = self.some_row()
        if not table.inserted:
            return
        life, w, n = self.tag(), self.tag(), self.random.randrange(1000)
        if table.document:
            query, values = '(id, doc)', [Json({'life': life, 'w': w, 'n': n})]
        else:
            query, values = '(id, life, w, n)', [life, w, n]
        marks = ', %s' * len(values)
        query = f'INSERT INTO {table.name} AS t {query} VALUES (%s{marks}) ON CONFLICT '
        upsert = self.random.random() < 0.5
        if upsert:
            query += f'(id) DO UPDATE SET {table.added}'
            values += [w, 3]
        else:
            query += 'DO NOTHING'
        answer = self.call([(table, k)], f'{query} RETURNING resource_version, {table.shown}',
                           table.key(k), *values)
        if answer is None:
            return
        if answer:
            row = row_of(*answer)
            if row.life == life:
                self.wrote(table, k, row, 'create')
            else:
                self.wrote(table, k, row, 'add', delta=3)
        self.done()

    # ---- accounts ----

    def transfer(self):
        """Move a number from one account to another, in one statement."""
        r = self.random
        (ta, a), (tb, b) = r.sample([(t, k) for t in self.run.tables for k in range(ACCOUNTS)], 2)
        d, ws = r.randrange(1, 4), (self.tag(), self.tag())
        # two plain UPDATEs lock rows in the order in which they are written
        if r.random() < 0.3 and (self.run.renames or not self.run.single):
            answer = self.call(
                [(ta, a), (tb, b)],
                f'WITH x AS (UPDATE {ta.name} AS t SET {ta.added} WHERE id = %s '
                f'RETURNING resource_version, {ta.shown} AS p), '
                f'y AS (UPDATE {tb.name} AS t SET {tb.added} WHERE id = %s '
                f'RETURNING resource_version, {tb.shown} AS p) '
                'SELECT x.resource_version, x.p, y.resource_version, y.p FROM x, y',
                ws[0], -d, ta.key(a), ws[1], d, tb.key(b))
            if answer is not None:
                self.wrote(ta, a, row_of(*answer[:2]), 'add', delta=-d)
                self.wrote(tb, b, row_of(*answer[2:]), 'add', delta=d)
                self.done()
            return
        # with the versions last seen, or without versions
        rows = [(ta, a, -d, ws[0]), (tb, b, d, ws[1])]
        known = [self.cache.get((t, k)) for t, k, _, _ in rows]
        self.txn_of_transfer(rows, known if all(known) and r.random() < 0.6 else None)

    def txn_of_transfer(self, rows, known):
        r = self.random
        compare, ops = [], []
        for (table, k, d, w), row in zip(rows, known or (None, None)):
            at = {'table': table.name, 'id': table.key(k)}
            if row is None:
                ops.append({**at, 'op': 'apply', 'fn': 'plus(jsonb, jsonb)',
                            'args': {'w': w, 'd': d}})
                continue
            payload = {'w': w, 'n': row.n + d}
            op = {**at, 'op': 'patch', 'patch': payload}
            if r.random() < 0.5:
                op = {**at, 'op': 'update', 'payload': {'life': row.life, **payload}}
            if r.random() < 0.5:
                op['version'] = row.version
            if 'version' not in op or r.random() < 0.5:
                compare.append({**at, 'version': row.version})
            ops.append(op)
        gets = [{'op': 'get', 'table': t.name, 'id': t.key(k)} for t, k, _, _ in rows]
        answer = self.call([(t, k) for t, k, _, _ in rows], 'SELECT cas_txn(%s, %s, %s)',
                           Json(compare), Json(ops + gets), Json(gets))
        if answer is None:
            return
        answer = answer[0]
        read = [row_of(g['version'], g['payload']) for g in answer['results'][-2:]]
        for i, ((table, k, d, w), row) in enumerate(zip(rows, read)):
            if not answer['succeeded']:
                self.saw(table, k, row, True)
                continue
            version = answer['results'][i]['version']
            self.expect(row.version == version and row.w == w, f'{table} {k}: {answer}')
            self.wrote(table, k, row, 'add' if known is None else 'set',
                       known[i].version if known else None, delta=d)
        for c in answer['compare']:
            version = [row.version for (t, k, _, _), row in zip(rows, known)
                       if (t.name, t.key(k)) == (c['table'], c['id'])]
            self.expect(c['ok'] == (c['version'] in version), f'{compare}: {answer}')
        self.done()

    def total(self):
        """Read the sum of all accounts in one statement."""
        parts = ' + '.join(f'(SELECT sum({t.number}) FROM {t.name} WHERE id = ANY '
                           f"('{{{','.join(t.key(k) for k in range(ACCOUNTS))}}}'))"
                           for t in self.run.tables)
        answer = self.call([(t, k) for t in self.run.tables for k in range(ACCOUNTS)],
                           f'SELECT {parts}')
        if answer is not None:
            self.expect(answer[0] == self.run.sum, f'the sum is {answer[0]}')
            self.done()
