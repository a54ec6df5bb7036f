"""Concurrent sessions, each in a thread of its own.

A run consists of epochs: all sessions work, end their transactions, and what they were
answered is checked.
"""

import threading
import time

from fuzz import Difference, Raised, Session, psycopg

LEVELS = ('READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
FOREVER = 1 << 63


def now():
    return time.monotonic_ns()


class Txn:
    """A transaction, and when it may have committed.

    Subclasses record what it saw and did.  save() is called for a new savepoint, and back()
    when the transaction rolls back to it.
    """

    def __init__(self, worker, level, explicit):
        self.worker, self.level, self.explicit = worker, level, explicit
        self.window = None      # when the snapshot was taken, if there is one
        self.saved = []
        self.sent = self.acked = FOREVER

    def __repr__(self):
        return f'{self.worker}, {self.level}, committed {self.sent} to {self.acked}'


class ConcurrentSession(Session):
    """A session.

    txn is its current transaction, or None.  txn.explicit is false if the transaction is a
    single call without BEGIN.
    """

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
        """Pass the settings as options, since a SET could be cancelled."""
        options = ' '.join(f'-c {name}=' + value.replace(' ', '\\ ')
                           for name, value in self.settings.items())
        self.conn = psycopg.connect(dbname=self.fuzz.dbname, autocommit=True,
                                    application_name=self.name, options=options)
        self.pid = self.conn.info.backend_pid

    def set(self, name, value):
        """Change a setting of this connection and of later ones."""
        self.settings[name] = value
        try:
            self.conn.execute(f"SET {name} = '{value}'")
        except psycopg.errors.QueryCanceled:
            # a cancel request sent during the last epoch
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
        """Treat a broken connection as 57P01 if this run kills sessions."""
        if error.sqlstate is None and self.conn.broken and self.run.kills:
            error.sqlstate = '57P01'
        return super().raised(error)

    def expect(self, true, what):
        self.fuzz.expect(true, f'{self.name}: {what}')

    def must(self, query):
        """Execute a command that must succeed; repeat it if it is cancelled."""
        while True:
            try:
                return self.rows(query)
            except psycopg.errors.QueryCanceled:
                if not self.run.cancels:
                    raise

    def may(self, query):
        """Execute a command that must succeed unless it is cancelled.

        Return whether it succeeded.  If not, the transaction or savepoint is rolled back.
        """
        answer = self.ask(query)
        if isinstance(answer, Raised):
            self.expect(answer.state == '57014' and self.run.cancels, f'{query}: {answer}')
            self.failed()
            return False
        return True

    # ---- transactions ----

    def begin(self):
        """Begin a transaction.  Return False if that was cancelled."""
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
        """Forget the transaction, which has been rolled back."""
        self.txn = None

    def rollback(self):
        self.must('ROLLBACK')
        self.leave()

    def commit(self):
        answer = self.ask('COMMIT')
        if isinstance(answer, Raised):
            self.expect(self.commit_may_fail(answer), f'COMMIT in {self.txn}: {answer}')
            self.commit_failed(answer)
        else:
            # the COMMIT of a failed transaction succeeds, but reports ROLLBACK
            self.expect(self.status == 'COMMIT', f'COMMIT: {self.status}')
            self.committed()

    def commit_may_fail(self, error):
        return (error.state == '40001' and self.txn.level == 'SERIALIZABLE'
                or error.state == '57014' and self.run.cancels)

    def commit_failed(self, error):
        self.rollback()

    def kill(self):
        begin = now()
        super().kill()
        self.end_at = now()
        self.run.story.append((begin, self.end_at, self.name, '-- killed', (), None))
        self.leave()

    def savepoint(self):
        """Set a savepoint, or roll back to the last one, or release it."""
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
        """After an error: roll back to the last savepoint, or else the transaction."""
        if self.txn.explicit and self.txn.saved:
            self.back()
        elif self.txn.explicit:
            self.rollback()
        else:
            self.leave()

    # ---- an epoch ----

    def go(self, steps):
        """Work for an epoch.  This is what the thread runs."""
        try:
            for _ in range(steps):
                if self.run.failure:
                    return
                self.step()
            if self.txn:
                self.commit()
        except Exception as error:      # together() raises it
            self.run.failure = self.run.failure or error
            self.conn.close()


class ConcurrentRun:
    """A run of concurrent sessions."""

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
        """Run epochs until the limit is reached.

        If there is a difference, tell only what concerns its names, if it has any.
        """
        try:
            while self.fuzz.more():
                self.work()
        except Difference as difference:
            self.fuzz.story = self.told(getattr(difference, 'names', ()))
            raise

    def together(self, steps):
        """Let all sessions work for an epoch, and disturb them meanwhile."""
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
        """Return the calls that concern one of the names, in the order of their answers.

        A name is a tuple of texts; a call that contains all of them concerns it.
        """
        lines = []
        for begin, end, who, query, values, answer in sorted(self.story, key=lambda c: c[1]):
            text = psycopg.ClientCursor(self.admin).mogrify(query, values or None)
            if not values or not names or any(all(n in text for n in name) for name in names):
                lines.append(f'{begin} to {end} {who}: {text}\n    -- {str(answer)[:600]}')
        return lines
