"""Sessions at work at once, each in a thread of its own, an epoch at a time."""

import threading
import time

from fuzz import Difference, Raised, Session, psycopg

LEVELS = ('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
FOREVER = 1 << 63


def now():
    return time.monotonic_ns()


class Txn:
    """A transaction: when it may have committed, and in families' own what it
    saw and did, which save() and back() keep and take back."""

    def __init__(self, worker, level, explicit):
        self.worker, self.level, self.explicit = worker, level, explicit
        self.window = None      # when the snapshot was taken, if there is one
        self.saved = []
        self.sent = self.acked = FOREVER

    def __repr__(self):
        return f'{self.worker}, {self.level}, committed {self.sent} to {self.acked}'


class Thread(Session):
    """A session.  Its txn is what it is in; txn.explicit is false for a call
    that is a transaction by itself."""

    new_txn = Txn
    auto_level = 'READ COMMITTED'

    def __init__(self, run, name, random):
        self.run, self.random = run, random
        self.txn = None
        self.settings = {'lock_timeout': '15s', 'statement_timeout': '20s',
                         'deadlock_timeout': '20ms'}
        self.status = None      # the last call's command tag
        super().__init__(run.fuzz, name)

    def connect(self):
        """By options, since nothing else is safe from a cancel."""
        options = ' '.join(f'-c {name}=' + value.replace(' ', '\\ ')
                           for name, value in self.settings.items())
        self.conn = psycopg.connect(dbname=self.fuzz.dbname, autocommit=True,
                                    application_name=self.name, options=options)
        self.pid = self.conn.info.backend_pid

    def set(self, name, value):
        """A setting that stays when the session begins anew."""
        self.settings[name] = value
        try:
            self.conn.execute(f"SET {name} = '{value}'")
        except psycopg.errors.QueryCanceled:
            # a cancel that was late
            self.conn.execute(f"SET {name} = '{value}'")

    def rows(self, query, *values):
        self.begin_at = now()
        answer = None
        try:
            cursor = self.conn.execute(query, values or None)
            self.status = cursor.statusmessage
            answer = cursor.fetchall() if cursor.description else []
            return answer
        except psycopg.Error as error:
            answer = error.sqlstate
            raise
        finally:
            self.end_at = now()
            self.run.story.append((self.begin_at, self.end_at, self.name, query, values, answer))

    def raised(self, error):
        """It may have been killed by another session."""
        if error.sqlstate is None and self.conn.broken and self.run.kills:
            error.sqlstate = '57P01'
        return super().raised(error)

    def kill(self):
        self.run.story.append((now(), now(), self.name, '-- killed', (), None))
        super().kill()

    def expect(self, true, what):
        self.fuzz.expect(true, f'{self.name}: {what}')

    def must(self, query):
        """What succeeds, if it is not cancelled."""
        while True:
            try:
                return self.rows(query)
            except psycopg.errors.QueryCanceled:
                if not self.run.cancels:
                    raise

    def may(self, query):
        """What succeeds, or is cancelled, and the transaction with it."""
        answer = self.ask(query)
        if isinstance(answer, Raised):
            self.expect(answer.state == '57014' and self.run.cancels, f'{query}: {answer}')
            self.failed()
            return False
        return True

    # ---- transactions ----

    def begin(self):
        """Whether there is one now: it may have been cancelled."""
        level = self.random.choice(LEVELS)
        self.must(f'BEGIN ISOLATION LEVEL {level}')
        self.txn = self.new_txn(self.name, level, True)
        if not self.may('SELECT 1'):
            return False
        if level != 'READ COMMITTED':
            self.txn.window = self.begin_at, self.end_at
        return True

    def committed(self):
        self.txn.sent, self.txn.acked = self.begin_at, self.end_at
        self.run.committed.append(self.txn)
        self.txn = None

    def leave(self):
        """The transaction is over, and nothing has come of it."""
        self.txn = None

    def rollback(self):
        self.must('ROLLBACK')
        self.leave()

    def kill(self):
        super().kill()
        self.end_at = now()
        self.leave()

    def savepoint(self):
        """A new one, or back to the last one, or without it."""
        if not self.txn.saved or self.random.random() < 0.4:
            if self.may(f'SAVEPOINT s{len(self.txn.saved)}'):
                self.txn.save()
        elif self.random.random() < 0.6:
            self.back()
        elif self.may(f'RELEASE s{len(self.txn.saved) - 1}'):
            self.txn.saved.pop()

    def back(self):
        self.must(f'ROLLBACK TO s{len(self.txn.saved) - 1}')
        self.txn.back()

    def failed(self):
        """After an error: back to a savepoint, or the transaction is over."""
        if self.txn.explicit and self.txn.saved:
            self.back()
        elif self.txn.explicit:
            self.rollback()
        else:
            self.leave()

    # ---- an epoch ----

    def go(self, steps):
        """An epoch's work."""
        try:
            for _ in range(steps):
                if self.run.failure:
                    return
                self.step()
            if self.txn:
                self.commit()
        except Exception as error:      # to be raised where the run is
            self.run.failure = self.run.failure or error
            self.conn.close()


class Threads:
    """A run of such sessions."""

    def __init__(self, fuzz):
        self.fuzz, self.random, self.admin = fuzz, fuzz.random, fuzz.admin
        self.epoch, self.story, self.failure = 0, [], None
        self.workers = []
        self.committed = []
        self.cancels = self.kills = False

    def begin_epoch(self):
        self.epoch += 1
        self.story, self.committed = [], []
        self.cancels = self.random.random() < 0.2

    def run(self):
        """Epoch after epoch.  A difference may know the names of what it is
        about."""
        try:
            while self.fuzz.more():
                self.work()
        except Difference as difference:
            self.fuzz.story = self.told(getattr(difference, 'names', ()))
            raise

    def together(self, steps):
        """Have all sessions work, and disturb them as long as they do."""
        r = self.random
        threads = [threading.Thread(target=worker.go, args=(steps,)) for worker in self.workers]
        for thread in threads:
            thread.start()
        self.admin.execute("SET lock_timeout = '50ms'")
        while any(thread.is_alive() for thread in threads):
            threads[0].join(r.random() * 0.02)
            try:
                if self.cancels and r.random() < 0.7:
                    self.admin.execute('SELECT pg_cancel_backend(%s)',
                                       (r.choice(self.workers).pid,))
                else:
                    self.disturb()
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                pass
        self.admin.execute('SET lock_timeout = 0')
        if self.failure:
            raise self.failure
        self.fuzz.done += steps * len(self.workers)

    def told(self, names):
        """The calls that have to do with these, in the order of their answers.
        A name is a tuple of texts that a call has."""
        lines = []
        for begin, end, who, query, values, answer in sorted(self.story, key=lambda c: c[1]):
            text = psycopg.ClientCursor(self.admin).mogrify(query, values or None)
            if not values or not names or any(all(n in text for n in name) for name in names):
                lines.append(f'{begin} to {end} {who}: {text}\n    -- {str(answer)[:600]}')
        return lines
