"""The lists for cas_txn() of a session, for fuzz_swaps.py.

A list reads a row before and after each operation on it, so that the answer tells which
version was made of which.
"""

import json

from swaps_rows import ACCOUNTS, GOING, KEYS, Json, row_of
from swaps_work import Work

# More names than cas_txn() locks one by one.
MANY = 600
# Operations that need a comparison or a version.
COMPARED = ('update', 'patch', 'delete', 'rename', 'put')


class Lists(Work):
    """A session that also calls cas_txn()."""

    def list(self):
        r = self.random
        n = r.choice((1, 2, 2, 3, 4))
        rows = r.sample([(t, k) for t in self.run.near for k in range(ACCOUNTS, KEYS)
                         if k in self.run.keys], n)
        compare, success, failure, plan = [], [], [], []
        for table, k in rows:
            at = {'table': table.name, 'id': table.key(k)}
            failure.append({**at, 'op': 'get'})
            kind = r.choice(('known', 'known', 'absent', 'exists', 'put', 'again', 'get'))
            getattr(self, 'plan_' + kind)(table, k, at, compare, success, plan)
        renamed = {(table, new) for table, _, _, _, new in plan}
        if any(what == 'put' and (table, k) in renamed for table, k, what, _, _ in plan):
            # put would replace a row that the list itself has renamed
            return
        if r.random() < 0.3:
            success, plan = self.shuffled(rows, success, plan)
        if r.random() < self.run.many:
            compare += self.many_names(r.choice(self.run.near))
        elif r.random() < 0.2 and all('version' in op for op in success if op['op'] in COMPARED):
            compare = []
        answer = self.call(rows + [(p[0], p[4]) for p in plan if p[4] is not None],
                           'SELECT cas_txn(%s, %s, %s)', Json(compare), Json(success),
                           Json(failure), refused=self.refused(rows, compare, plan))
        if answer is not None:
            self.judge_txn(compare, success, failure, plan, answer[0], rows)
            self.done()

    def refused(self, rows, compare, plan):
        """Return the SQLSTATEs with which the list may fail.

        After a comparison has found that a row is absent, only a plain INSERT can create it.
        """
        absent = {(c['table'], c['id']) for c in compare if 'absent' in c}
        taken = any((table.name, table.key(k)) not in absent
                    for table, k, what, _, _ in plan if what in ('create', 'put'))
        taken = taken or any(table.inserted for table, _ in rows)
        return ('PT409', 'PT404') + ('23505',) * (taken or self.run.renames)

    def shuffled(self, rows, success, plan):
        """Shuffle the rows, but keep the order of the operations on each row."""
        order = {row: self.random.random() for row in rows}
        both = sorted(zip(success, plan), key=lambda x: order.get(x[1][:2], 1))
        return [b[0] for b in both], [b[1] for b in both]

    def many_names(self, table):
        """Return comparisons with rows that never exist."""
        names = [f'{n:08}-0000-0000-0000-00000000ffff' if table.key_type == 'uuid'
                 else str(n + 1000000) for n in range(MANY)]
        return [{'table': table.name, 'id': name, 'absent': True} for name in names]

    def storm(self):
        """Make many calls that lock rows in random order, each in its own transaction.

        None of them may deadlock.
        """
        r = self.random
        rows = [(t, k) for t in self.run.near for k in self.run.keys]
        calls = []
        for _ in range(30):
            some = r.sample(rows, min(len(rows), r.choice((2, 3, 5))))
            if r.random() < 0.5:
                keys = [t.key(k) for t, k in some if t is some[0][0]]
                mode = r.choice(('update', 'share'))
                calls.append(f"cas_lock('{some[0][0].name}', ARRAY{keys}, '{mode}')")
                continue
            compare = [{'table': t.name, 'id': t.key(k), 'absent': True} for t, k in some]
            # the rows of a list are locked even if it is not executed
            idle = [{'op': 'delete', 'table': t.name, 'id': t.key(k), 'version': 1}
                    for t, k in some if r.random() < 0.5]
            compare.append({'table': some[0][0].name, 'id': some[0][0].key(99), 'absent': True})
            if r.random() < self.run.many:
                compare += self.many_names(r.choice(self.run.near))
            nothing = {'table': some[0][0].name, 'id': some[0][0].key(98), 'exists': True}
            calls.append(f"cas_txn('{json.dumps(compare + [nothing])}', "
                         f"'{json.dumps(idle)}')")
        body = ' '.join(f'PERFORM {call}; COMMIT;' for call in calls)
        if self.call(rows, f'DO $$BEGIN {body} END$$', refused=()) is not None:
            self.txn = None

    # Each of these functions adds the comparisons and operations for a row to the lists,
    # and for each operation (table, key, operation, what it writes, new key) to the plan.

    def add(self, success, plan, table, k, at, op, sent=None, new=None, **more):
        success.append({**at, 'op': op, **more})
        plan.append((table, k, op, sent, new))

    def plan_known(self, table, k, at, compare, success, plan):
        r = self.random
        row = self.cache.get((table, k))
        if not row:
            return self.plan_absent(table, k, at, compare, success, plan)
        version = self.guess(table, k)
        more = {'version': version} if r.random() < 0.5 else {}
        if not more or r.random() < 0.6:
            compare.append({**at, 'version': version})
        what = r.choice(('update', 'patch', 'delete', 'rename'))
        if k not in GOING or what == 'rename' and not self.run.renames:
            what = 'patch'
        if what == 'update' and not table.update_going:
            what = 'patch'
        self.add(success, plan, table, k, at, 'get')
        if what == 'delete':
            self.add(success, plan, table, k, at, 'delete', **more)
        elif what == 'rename':
            to = r.choice([j for j in GOING if j != k])
            self.add(success, plan, table, k, at, 'rename', new=to, new_id=table.key(to), **more)
            self.add(success, plan, table, to, {**at, 'id': table.key(to)}, 'get')
        else:
            sent = self.payload(table, row.life if what == 'update' and table.document else None)
            field = 'payload' if what == 'update' else 'patch'
            self.add(success, plan, table, k, at, what, sent, **{field: sent}, **more)
            self.add(success, plan, table, k, at, 'get')
        return None

    def plan_absent(self, table, k, at, compare, success, plan):
        if self.random.random() < 0.8:
            compare.append({**at, 'absent': True})
        sent = self.payload(table, self.tag())
        self.add(success, plan, table, k, at, 'create', sent, payload=sent)
        self.add(success, plan, table, k, at, 'get')

    def plan_exists(self, table, k, at, compare, success, plan):
        if self.random.random() < 0.8:
            compare.append({**at, 'exists': True})
        if self.random.random() < 0.5:
            sent = self.payload(table, None)
            self.add(success, plan, table, k, at, 'merge', sent, patch=sent)
        else:
            sent = {'w': self.tag(), 'd': self.random.randrange(5)}
            self.add(success, plan, table, k, at, 'apply', sent, fn='plus(jsonb, jsonb)', args=sent)
        self.add(success, plan, table, k, at, 'get')

    def plan_put(self, table, k, at, compare, success, plan):
        """A put of a document begins a life, so it is done only if there is no row."""
        if table.document:
            compare.append({**at, 'absent': True})
        sent = self.payload(table, self.tag() if table.document else None)
        if not table.document:
            sent['life'] = self.tag()
            compare.append({**at, 'absent': True})
        self.add(success, plan, table, k, at, 'get')
        self.add(success, plan, table, k, at, 'put', sent, payload=sent)
        self.add(success, plan, table, k, at, 'get')
        again = self.payload(table, sent['life'])
        self.add(success, plan, table, k, at, 'put', again, payload=again)
        self.add(success, plan, table, k, at, 'get')

    def plan_again(self, table, k, at, compare, success, plan):
        """Delete a row, and create another one with its key."""
        row = self.cache.get((table, k))
        if not row or k not in GOING:
            return self.plan_exists(table, k, at, compare, success, plan)
        self.add(success, plan, table, k, at, 'get')
        self.add(success, plan, table, k, at, 'delete', version=self.guess(table, k))
        sent = self.payload(table, self.tag())
        self.add(success, plan, table, k, at, 'create', sent, payload=sent)
        self.add(success, plan, table, k, at, 'get')
        return None

    def plan_get(self, table, k, at, compare, success, plan):
        if self.random.random() < 0.3:
            compare.append({**at, self.random.choice(('exists', 'absent')): True})
        self.add(success, plan, table, k, at, 'get')

    # ---- answers ----

    def judge_txn(self, compare, success, failure, plan, answer, rows):
        says = f'{compare} {success} {failure}: {answer}'
        known = {}              # (table, key): the version that was compared
        names = {(t.name, t.key(k)): (t, k) for t, k in rows}
        for asked, got in zip(compare, answer['compare']):
            version = got['version']
            right = (asked['version'] == version if 'version' in asked
                     else (version is None) == ('absent' in asked))
            self.expect(got['ok'] == right and got['id'] == asked['id'], says)
            if (asked['table'], asked['id']) in names:
                known[names[asked['table'], asked['id']]] = version
        self.expect(answer['succeeded'] == all(c['ok'] for c in answer['compare']), says)
        for at, version in known.items():
            if version is None:
                self.saw(*at, None, True)
        if not answer['succeeded']:
            for (table, k), got in zip(rows, answer['results']):
                self.judge_get(table, k, got, known, says)
            return
        for i, ((table, k, what, sent, new), got) in enumerate(zip(plan, answer['results'])):
            later = answer['results'][i + 1:]
            if what == 'get':
                self.judge_get(table, k, got, known, says)
                continue
            self.judge_op(table, k, what, sent, new, got, later, known, says)

    def judge_get(self, table, k, got, known, says):
        row = row_of(got['version'], got['payload']) if got['outcome'] == 'found' else None
        if (table, k) in known and (table, k) not in self.txn.own:
            self.expect(known[table, k] == (row.version if row else None), says)
        self.saw(table, k, row, True)

    def judge_op(self, table, k, what, sent, new, got, later, known, says):
        before = known.get((table, k)) if (table, k) not in self.txn.own else None
        if what == 'delete':
            row = self.txn.own[table, k]
            self.expect(got['version'] == row.version, says)
            self.gone(table, k, row)
            return
        if what == 'rename':
            row = self.txn.own[table, k]
            self.wrote(table, new, row._replace(version=got['version']), 'rename', row.version,
                       key_before=k)
            return
        # the next get of this row has its new payload
        there = next(g for g in later if g['op'] == 'get'
                     and (g['table'], g['id']) == (got['table'], got['id']))
        row = row_of(there['version'], there['payload'])
        self.expect(row.version == got['version'] and row.w == sent['w']
                    and row.n == sent.get('n', row.n), says)
        if what == 'create' or what == 'put' and got['outcome'] == 'created':
            self.wrote(table, k, row, 'create')
        elif what == 'apply':
            self.wrote(table, k, row, 'add', before, delta=sent['d'])
        else:
            self.wrote(table, k, row, 'set', before)
