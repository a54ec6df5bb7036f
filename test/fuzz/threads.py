"""Sessions at work at once, each in a thread of its own, an epoch at a time."""

import threading
import time

from fuzz import Raised, Session, psycopg


def now():
    return time.monotonic_ns()


class Thread(Session):
    """A session.  Its txn is what it is in; txn.explicit is false for a call
    that is a transaction by itself."""

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
        self.cancels = False

    def begin_epoch(self):
        self.epoch += 1
        self.story = []
        self.cancels = self.random.random() < 0.2

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
