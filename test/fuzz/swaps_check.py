"""Checks after an epoch of concurrent swaps.

- The versions of each life form a line: every version was made by one committed
  transaction from the version before it, and the last one is in the table.
- What was seen was there at that moment: it was committed by then, and not overwritten by
  a transaction that was committed before the call began.
- A transaction with one snapshot has seen nothing that depends on something that it has
  missed, and the SERIALIZABLE transactions have a serial order.
- REPEATABLE READ transactions failed with 40001 only for rows that had changed.

All times are measured by the client.  A transaction was committed at some time between
sending the COMMIT and receiving the answer.
"""

from collections import defaultdict

from fuzz import Difference
from swaps_rows import Txn


class Epoch:
    """An epoch, and all that is known about it."""

    def __init__(self, tables, before, after, txns, failed):
        self.tables, self.after, self.txns, self.failed = tables, after, txns, failed
        self.base = Txn('before', None, False)
        self.base.sent = self.base.acked = 0
        self.lives = defaultdict(dict)      # (table, life): {version: Write}
        self.ends = {}                      # (table, life): Write
        self.lines = {}                     # (table, life): versions
        self.stays = defaultdict(list)      # (table, key): (in, out)
        self.before = before

    def wrong(self, what, *places):
        raise Wrong(what, places)

    def check(self):
        self.collect()
        for at, versions in self.lives.items():
            self.check_line(at, versions)
        for (table, k), row in self.after.items():
            there = self.lives.get((table, row.life), {}).get(row.version)
            if there is None or there.row != row or there.key != k:
                self.wrong(f'{table} {k} is {row}, which nobody has written: {there}', (table, k))
        for txn in self.txns:
            for read in txn.reads:
                self.check_read(txn, read)
        self.check_graph()
        for failure in self.failed:
            self.check_failure(failure)

    # ---- lines ----

    def collect(self):
        seen = {}
        for (table, k), row in self.before.items():
            self.lives[table, row.life][row.version] = Base(self.base, table, k, row)
            seen[table, row.version] = 'before'
        for txn in self.txns:
            for write in txn.writes:
                at = write.table, write.life
                if write.row is None:
                    if at in self.ends:
                        self.wrong(f'{at} ended twice: {write} {self.ends[at]}', write)
                    self.ends[at] = write
                    continue
                version = write.row.version
                if version in self.lives[at]:
                    self.wrong(f'{at}: two made version {version}: {write} and '
                               f'{self.lives[at][version]}', write)
                self.lives[at][version] = write
                if write.table.versions == 'table':
                    if (write.table, version) in seen:
                        self.wrong(f'{write.table}: version {version} came twice', write)
                    seen[write.table, version] = txn

    def check_line(self, at, versions):
        line = self.lines[at] = sorted(versions)
        former = None
        for version in line:
            write = versions[version]
            if former is None:
                if not isinstance(write, Base) and write.how != 'create':
                    self.wrong(f'{at} begins with {write}', write)
                self.stays[write.table, write.key].append([write.txn, None])
            else:
                self.check_step(at, former, write)
            former = write
        end = self.ends.get(at)
        if end:
            if end.before != former.row.version or end.key != former.key:
                self.wrong(f'{at}: {end} is not the end of {former}', end)
            self.stays[former.table, former.key][-1][1] = end.txn
        elif self.after.get((former.table, former.key)) != former.row:
            self.wrong(f'{at}: the last is {former}, and the table has '
                       f'{self.after.get((former.table, former.key))}', former)
        lost = set(self.ends) - set(self.lives)
        if lost:
            self.wrong(f'{lost} ended, and never were')

    def check_step(self, at, former, write):
        was, row = former.row, write.row
        if write.before is not None and write.before != was.version:
            self.wrong(f'{at}: {write} was not made of {former}', write)
        if write.how == 'create' or (write.table.versions == 'row'
                                     and row.version != was.version + 1):
            self.wrong(f'{at}: after {former} comes {write}', write)
        came_from = write.key if write.key_before is None else write.key_before
        if came_from != former.key:
            self.wrong(f'{at}: {write} was elsewhere: {former}', write)
        if write.how == 'add' and row.n != was.n + write.delta:
            self.wrong(f'{at}: {write} does not add to {former}', write)
        if write.how == 'rename':
            if (row.w, row.n) != (was.w, was.n):
                self.wrong(f'{at}: {write} renamed {former}', write)
            self.stays[former.table, former.key][-1][1] = write.txn
            self.stays[write.table, write.key].append([write.txn, None])

    # ---- reads ----

    def next_write(self, table, row):
        """Return the write that replaced a version or deleted the row."""
        line = self.lines[table, row.life]
        i = line.index(row.version) + 1
        if i < len(line):
            return self.lives[table, row.life][line[i]]
        return self.ends.get((table, row.life))

    def spells(self, table, k):
        """Return when a key had a row: (transaction that created it, that removed it)."""
        spells = sorted(self.stays[table, k], key=lambda s: s[0].acked)
        for spell in list(spells):
            # deleted and created again by the same transaction
            later = [s for s in spells if s[0] is spell[1] and s is not spell]
            if later:
                spells.append([spell[0], later[0][1]])
        return spells

    def check_absent(self, txn, read):
        for came, went in self.spells(read.table, read.key):
            if txn in (came, went):
                continue
            if came.acked < read.begin and (went is None or went.sent > read.end):
                self.wrong(f'{txn} missed what was there: {read}', read)
            if read.held and read.end < came.sent and came.acked < txn.sent:
                self.wrong(f'{txn} kept this key absent, and {came} had it: {read}', read)

    def check_read(self, txn, read):
        table, k, row, begin, end, held = read
        if row is None:
            self.check_absent(txn, read)
            return
        write = self.lives.get((table, row.life), {}).get(row.version)
        if write is None or write.row != row or write.key != k:
            self.wrong(f'{txn} saw what nobody has committed: {read}; {write}', read)
        if write.txn is txn:
            return
        if write.txn.sent > end:
            self.wrong(f'{txn} saw {read} before it was committed: {write}', write)
        after = self.next_write(table, row)
        if not after or after.txn is txn:
            return
        if after.txn is write.txn:
            self.wrong(f'{txn} saw {read}, which was overwritten at once: {after}', write)
        if after.txn.acked < begin:
            self.wrong(f'{txn} saw {read}, which was no more: {after}', write)
        if held and after.txn.acked < txn.sent:
            self.wrong(f'{txn} had locked {read}, and yet came {after}', write)

    # ---- order of transactions ----

    def check_graph(self):
        """Build the graph of dependencies, and check it.

        follows: the other transaction has read or overwritten what one wrote; passes: it
        has overwritten what one read.
        """
        follows, passes = defaultdict(set), defaultdict(set)
        for versions in self.lives.values():
            for write in versions.values():
                after = self.next_write(write.table, write.row)
                if after and after.txn is not write.txn:
                    follows[write.txn].add(after.txn)
        for txn in self.txns:
            for read in txn.reads:
                self.edges_of_read(txn, read, follows, passes)
        for txn in self.txns:
            if txn.level in ('REPEATABLE READ', 'SERIALIZABLE'):
                self.check_snapshot(txn, follows, passes)
        self.check_serializable(follows, passes)

    def edges_of_read(self, txn, read, follows, passes):
        if read.row is None:
            if txn.window and read.begin > txn.window[1]:
                # a row that was created and deleted since then does not count
                return
            for came, went in self.stays[read.table, read.key]:
                if came.sent > read.end and came is not txn:
                    passes[txn].add(came)
                elif went and went.acked < read.begin and went is not txn:
                    follows[went].add(txn)
            return
        write = self.lives[read.table, read.row.life][read.row.version]
        after = self.next_write(read.table, read.row)
        if write.txn is not txn:
            follows[write.txn].add(txn)
        if after and after.txn is not txn:
            passes[txn].add(after.txn)

    def check_snapshot(self, txn, follows, passes):
        """Check that nothing that txn has seen or overwritten depends on what it missed."""
        reached, todo = {}, [(to, None) for to in passes[txn]]
        while todo:
            to, by = todo.pop()
            if to in reached:
                continue
            reached[to] = by
            if to is txn:
                continue
            todo += [(then, to) for then in follows[to]]
        if txn in reached:
            way = self.way(reached, txn)
            self.wrong('missed a part of what it saw, from last to first:\n'
                       + '\n'.join(map(self.tell, way)), *self.places(way))

    def way(self, reached, txn):
        way, at = [txn], reached[txn]
        while at is not None:
            way.append(at)
            at = reached[at]
        return way

    def places(self, txns):
        return [write for txn in txns for write in txn.writes]

    def check_serializable(self, follows, passes):
        """Check that the graph of SERIALIZABLE transactions has no cycle."""
        among = [t for t in self.txns if t.level == 'SERIALIZABLE']
        edges = {t: [u for u in follows[t] | passes[t] if u.level == 'SERIALIZABLE']
                 for t in among}
        state = {}
        for start in among:
            stack = [(start, iter(edges[start]))] if start not in state else []
            state.setdefault(start, 'open')
            while stack:
                txn, rest = stack[-1]
                to = next(rest, None)
                if to is None:
                    state[txn] = 'done'
                    stack.pop()
                elif state.get(to) == 'open':
                    cycle = [t for t, _ in stack]
                    cycle = cycle[cycle.index(to):]
                    self.wrong('not serializable:\n' + '\n'.join(map(self.tell, cycle)),
                               *self.places(cycle))
                elif to not in state:
                    state[to] = 'open'
                    stack.append((to, iter(edges[to])))

    def tell(self, txn):
        lines = [str(txn)]
        lines += [f'  saw {r.table.name} {r.key} {r.row}' for r in txn.reads]
        lines += [f'  wrote {w.table.name} {w.key} {w.row} ({w.how})' for w in txn.writes]
        return '\n'.join(lines)

    def check_failure(self, failure):
        for txn in self.txns:
            for write in txn.writes:
                keys = {(write.table, write.key), (write.table, write.key_before)}
                if (keys & set(failure.rows) and txn.acked >= failure.begin
                        and txn.sent <= failure.end):
                    return
        self.wrong(f'nothing has changed: {failure.call}', *failure.rows)


class Base:
    """A row that existed before the epoch."""

    def __init__(self, txn, table, key, row):
        self.txn, self.table, self.key, self.row = txn, table, key, row
        self.life, self.before, self.key_before, self.how = row.life, None, None, 'base'

    def __repr__(self):
        return f'{self.row}, before'


class Wrong(Difference):
    """A difference, and the rows that it concerns."""

    def __init__(self, what, places):
        super().__init__(what)
        rows = {(p.table, p.key) if hasattr(p, 'table') else p for p in places}
        self.names = [(table.name, table.key(k)) for table, k in rows]
