"""Requests of concurrent sessions.

The sessions use the same few keys again and again, in new scopes: by request_once(), with
a function that may fail, and by request_begin() and request_done() in transactions of
each level, with savepoints.  Some leak a transaction, so that the next request claims it;
some are killed, and some calls are cancelled.

Each execution inserts a row into a table.  After every few hundred operations

- each key has been executed once at most; if so, its result is stored, and is the answer
  of all who committed
- nobody has begun a request that had been done before, received a result before it was
  committed, or been told that it is busy when it was not
- 40001 was raised only for results that are newer than the snapshot, never under READ
  COMMITTED and never at COMMIT
- what was refused or rolled back has left nothing
"""

import random
from collections import defaultdict, namedtuple

import threads
from fuzz import Difference, Raised, psycopg
from threads import FOREVER, LEVELS, ConcurrentRun, ConcurrentSession, now

WORKERS = 5
STEPS = 40      # of each worker in an epoch
KEYS = 8
Json = psycopg.types.json.Jsonb
# An answer; result is None if there is none yet
Answer = namedtuple('Answer', 'txn key n state result begin end')


class Txn(threads.Txn):
    """A transaction, and its answers."""

    def __init__(self, *args):
        super().__init__(*args)
        self.answers = []
        self.own = {}           # key: (n, result), done in this transaction
        self.begun = None       # (key, n, tag)
        self.claim = None

    def save(self):
        self.saved.append((len(self.answers), dict(self.own), self.begun))

    def back(self):
        n, own, self.begun = self.saved[-1]
        del self.answers[n:]
        self.own = dict(own)


class Worker(ConcurrentSession):
    """A session, which chooses what to do next."""

    new_txn = Txn

    def step(self):
        r = self.random
        way = r.random()
        if self.txn is None and way < 0.4:
            self.begin()
        elif self.txn is None:
            self.once()
        elif way < 0.2:
            self.commit()
        elif way < 0.27:
            self.rollback()
        elif way < 0.37:
            self.savepoint()
        elif way < 0.4:
            r.choice((self.kill, self.give_up))()
        elif self.txn.begun and way < 0.8:
            self.finish()
        elif way < 0.7 and not self.txn.begun:
            self.start()
        else:
            self.once()

    # ---- transactions ----

    def begin(self):
        if super().begin() and self.random.random() < 0.3:
            self.txn.claim = f'{self.name} {self.end_at}'
            self.may(f"SELECT request_claim('{self.txn.claim}')")

    def commit_may_fail(self, error):
        return (error.state == '25000' and self.txn.begun
                or error.state == '57014' and self.run.cancels)

    def committed(self):
        self.expect(not self.txn.begun, f'COMMIT with {self.txn.begun} begun')
        super().committed()
        self.run.ended(self)

    def leave(self):
        """Forget the transaction.  Nobody waits for it any more."""
        super().leave()
        self.run.ended(self)

    def give_up(self):
        """Leave the transaction to the next request on this connection, which claims it."""
        if not self.txn.claim:
            return
        if not self.may("SET LOCAL pg_cas.on_leak = 'error'") or not self.may('SAVEPOINT leak'):
            return
        answer = self.ask("SELECT request_claim('somebody else')")
        leak = isinstance(answer, Raised) and answer.state == '25001'
        self.expect(leak or isinstance(answer, Raised) and answer.state == '57014'
                    and self.run.cancels, f'a claim in {self.txn.claim}: {answer}')
        if leak:
            # even if the error is caught, the transaction cannot commit
            self.must('ROLLBACK TO leak')
            answer = self.ask('COMMIT')
            self.expect(isinstance(answer, Raised) and answer.state in ('25000', '25001', '57014'),
                        f'COMMIT after a leak: {answer}')
        self.rollback()

    # ---- requests ----

    def call(self, key, query, *values):
        if self.txn is None:
            self.txn = Txn(self.name, self.auto_level, False)
        self.run.came(self, key)
        return self.ask(query, *values)

    def pick(self):
        r = self.random
        key = r.choice(self.run.scopes), f'k{r.randrange(KEYS)}'
        return key, r.choice((1, 1, 1, 1, 2)), r.choice((None, None, '0', '5 ms'))

    def once(self):
        key, n, wait = self.pick()
        request = {'id': ' '.join(key), 'n': n}
        answer = self.call(key, "SELECT request_once(%s, %s, %s, 'work(jsonb)', %s::interval)",
                           *key, Json(request), wait)
        if isinstance(answer, Raised):
            self.judge_error(key, n, answer)
            return
        self.answered(key, n, 'done', answer[0]['tag'])
        if not self.txn.explicit:
            self.committed()

    def start(self):
        key, n, wait = self.pick()
        request = {'id': ' '.join(key), 'n': n}
        answer = self.call(key, 'SELECT * FROM request_begin(%s, %s, %s, %s::interval)', *key,
                           Json(request), wait)
        if isinstance(answer, Raised):
            self.judge_error(key, n, answer)
            return
        state, result = answer
        if state == 'new':
            self.expect(key not in self.txn.own, f'{key} is done here, and new')
            tag = f'{self.name}.{self.end_at}'
            self.answered(key, n, 'new', None)
            self.txn.begun = key, n, tag
        elif state == 'busy':
            self.expect(wait is not None and key not in self.txn.own, f'{key} busy, wait {wait}')
            self.run.busy.append((self.begin_at, self.end_at, self.name, key))
        else:
            self.answered(key, n, 'done', result['tag'])

    def finish(self):
        key, n, tag = self.txn.begun
        answer = self.ask('INSERT INTO run VALUES (%s, %s, %s)', ' '.join(key), n, tag)
        if not isinstance(answer, Raised):
            answer = self.ask('SELECT request_done(%s, %s, %s)', *key, Json({'tag': tag}))
        if isinstance(answer, Raised):
            self.expect(answer.state == '57014' and self.run.cancels, f'{key} done: {answer}')
            self.failed()
            return
        self.txn.begun = None
        self.txn.own[key] = n, tag

    def answered(self, key, n, state, result):
        txn = self.txn
        if key in txn.own:
            self.expect(txn.own[key] == (n, result), f'{key} is {txn.own[key]}, not {n}, {result}')
            return
        answer = Answer(txn, key, n, state, result, *(txn.window or (self.begin_at, self.end_at)))
        txn.answers.append(answer)
        self.run.answers.append(answer)
        if state == 'done':
            txn.own[key] = n, result

    def judge_error(self, key, n, error):
        txn, state = self.txn, error.state
        says = f'{key} {n}, {txn.level}: {error}'
        begin = txn.window[0] if txn.window else self.begin_at
        if state == '40001':
            self.expect(txn.level != 'READ COMMITTED', says)
            self.run.stale.append((begin, self.end_at, key, says))
        elif state == 'PT422':
            own = txn.own.get(key)
            begun = txn.begun and txn.begun[0] == key
            self.expect(not own or own[0] != n, says)
            if not own and not begun:
                self.run.reused.append((self.end_at, key, n, says))
        elif state == 'PT425':
            self.run.busy.append((self.begin_at, self.end_at, self.name, key))
        elif state == '40P01':
            self.expect(txn.explicit, says)
        elif state == '57014':
            self.expect(self.run.cancels, says)
        elif state == '55006':
            self.expect(txn.begun and txn.begun[0] == key, says)
        else:
            self.expect(state == 'P0001', says)
        self.failed()


class Requests(ConcurrentRun):
    """A run."""

    def __init__(self, fuzz):
        super().__init__(fuzz)
        self.admin.execute('CREATE TABLE run (id text, n int, tag text)')
        self.admin.execute('''
            CREATE FUNCTION work(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
            DECLARE made text := gen_random_uuid();
            BEGIN
                INSERT INTO run VALUES (request ->> 'id', (request ->> 'n')::int, made);
                IF random() < 0.5 THEN
                    RAISE 'not this time';
                END IF;
                RETURN jsonb_build_object('tag', made);
            END $$''')
        self.workers = [Worker(self, f's{n}', random.Random(fuzz.options.seed * 100 + n))
                        for n in range(WORKERS)]

    # A session may be working on a key from its first call to the end of the
    # transaction.

    def came(self, worker, key):
        self.at[worker.name, key].append([now(), FOREVER])

    def ended(self, worker):
        for (name, _), spells in self.at.items():
            if name == worker.name:
                for spell in spells:
                    spell[1] = min(spell[1], now())

    def work(self):
        """Run an epoch."""
        r = self.random
        self.begin_epoch()
        self.scopes = [f'scope {self.epoch} {n}' for n in range(r.choice((1, 2, 3)))]
        self.answers = []
        self.busy, self.stale, self.reused = [], [], []
        self.at = {(w.name, (s, f'k{k}')): [] for w in self.workers for s in self.scopes
                   for k in range(KEYS)}
        for worker in self.workers:
            worker.auto_level = r.choice(LEVELS)
            worker.set('default_transaction_isolation', worker.auto_level)
        self.together(STEPS)
        for scope in self.scopes:
            for k in range(KEYS):
                self.check((scope, f'k{k}'))

    def disturb(self):
        if self.random.random() < 0.2:
            self.admin.execute('SELECT pg_cas_reap(10)')

    # ---- checks ----

    def check(self, key):
        ran = self.admin.execute('SELECT n, tag FROM run WHERE id = %s',
                                 (' '.join(key),)).fetchall()
        self.right(len(ran) < 2, key, f'ran as {ran}')
        self.check_stored(key, ran)
        n, tag = ran[0] if ran else (None, None)
        # it may have been committed from the first COMMIT sent by one who has the
        # result to the first one answered
        got = [t for t in self.committed if any(
            a.key == key and a.result == tag or t.own.get(key) == (n, tag) for a in t.answers)]
        sent = min([t.sent for t in got], default=FOREVER)
        acked = min([t.acked for t in got], default=FOREVER)
        self.right(not ran or got, key, f'ran as {ran}, and nobody knows')
        for answer in self.answers:
            self.right(answer.key != key or answer.state != 'new' or acked >= answer.begin, key,
                       f'new, and was done as {tag} before: {answer}')
        self.check_answers(key, n, tag, got)
        for begin, end, name, busy in self.busy:
            others = [s for (who, at), spells in self.at.items() for s in spells
                      if who != name and at == key and s[0] <= end and s[1] >= begin]
            self.right(busy != key or others, key, f'{name} was told that others are at it')
        for begin, end, at, says in self.stale:
            self.right(at != key or acked >= begin and sent <= end, key, f'not stale: {says}')
        for end, at, asked, says in self.reused:
            # the other request must have committed: had it been rolled back, the
            # caller would not have been told of it
            self.right(at != key or ran and n != asked and sent <= end, key,
                       f'not reused, ran as {ran}: {says}')

    def check_stored(self, key, ran):
        self.admin.execute('BEGIN')
        try:
            state, result = self.admin.execute(
                'SELECT * FROM request_begin(%s, %s, %s)',
                (*key, Json({'id': ' '.join(key), 'n': ran[0][0] if ran else 1}))).fetchone()
        finally:
            self.admin.execute('ROLLBACK')
        stored = ('done', {'tag': ran[0][1]}) if ran else ('new', None)
        self.right((state, result) == stored, key, f'ran as {ran}, stored {state}, {result}')

    def check_answers(self, key, n, tag, got):
        """Check that all who committed have the same result.

        One of them had it first; the others were told of it after its COMMIT was sent.
        """
        answers = [a for t in self.committed for a in t.answers
                   if a.key == key and a.state == 'done']
        for answer in answers:
            self.right((answer.n, answer.result) == (n, tag), key,
                       f'was told {answer}, and ran as {n}, {tag}')
        first = any(all(a.txn is t or t.sent <= a.end for a in answers) for t in got)
        self.right(first or not answers, key, f'told before the commit: {answers}')

    def right(self, true, key, what):
        if not true:
            difference = Difference(f'{key}: {what}')
            difference.names = [key]
            raise difference


def run(fuzz):
    Requests(fuzz).run()
