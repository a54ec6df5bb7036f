"""Sessions that take turns, one call at a time.

If another session's transaction blocks a call, the call waits.  The driver finds out
by pg_blocking_pids() for whom, and asks the model whether that can be.  Then it cancels
the call, or ends the other transaction, rolls it back to a savepoint, or kills its
session.  So a call is judged by the state when it returns.  The first session has a short
lock_timeout instead.
"""

import os
import select
import signal

from fuzz import Raised, Session, psycopg

HURRY = 'SET lock_timeout = 3'


class Watched(psycopg.Connection):
    """A connection that calls late() while it waits for an answer."""

    late = None

    def wait(self, gen, timeout=0.002):
        try:
            wanted = next(gen)
            while True:
                poll = select.poll()
                poll.register(self.pgconn.socket, (select.POLLIN if wanted & 1 else 0)
                              | (select.POLLOUT if wanted & 2 else 0))
                while not (events := poll.poll(timeout * 1000)):
                    if self.late:
                        self.late()
                    timeout = min(timeout * 1.5, 0.05)
                out = bool(events[0][1] & select.POLLOUT)
                wanted = gen.send(type(wanted)(2 if out and wanted & 2 else 1))
        except StopIteration as stop:
            return stop.value


class Turn(Session):
    """A session.

    level is the isolation level of its transaction, or None outside of one.  at is what the
    current call works on, for the run's in_way().  Subclasses record what the transaction
    has done, and define

    - forget(): set the attributes to those of a session outside a transaction
    - back(): roll back to the last savepoint in saved
    - committed(): make what the transaction has done visible to all
    """

    def __init__(self, run, name):
        self.run = run
        self.hurries = not run.turns
        self.stopped = self.waited = self.cancelled = self.deadline = self.calling = False
        self.at = None
        self.forget()
        super().__init__(run.fuzz, name)

    def connect(self):
        self.conn = Watched.connect(dbname=self.fuzz.dbname, autocommit=True,
                                    application_name=self.name)
        self.pid = self.conn.info.backend_pid
        self.conn.execute(HURRY if self.hurries else "SET statement_timeout = '60s'")
        self.conn.late = None if self.hurries else self.late

    def rows(self, query, *values):
        self.waited = self.cancelled = False
        self.calling = True
        try:
            return super().rows(query, *values)
        finally:
            self.calling = False

    def others(self):
        return [t for t in self.run.turns if t is not self]

    def blocked(self):
        """Whether the current call may have to wait, according to the model."""
        return any(self.run.in_way(self, other) for other in self.others())

    def gave_up(self, answer):
        """Whether an error says that the call has stopped waiting."""
        if answer.state == '57014':
            return self.cancelled
        return answer.state == '55P03' and self.hurries and self.blocked()

    def late(self):
        """If the current call waits for another session, end that wait, and return True."""
        if self.cancelled or self.deadline:
            return False
        pids, = self.fuzz.admin.execute('SELECT pg_blocking_pids(%s)', (self.pid,)).fetchone()
        others = [t for t in self.others() if t.pid in pids]
        for other in others:
            self.fuzz.say(self.name, f'-- waits for {other.name}', ())
            self.fuzz.expect(self.run.in_way(self, other),
                             f'{self.name} waits for {other.name}, which is not in its way')
        if not others:
            return False
        self.waited = True
        random, other = self.fuzz.random, others[0]
        way = random.random()
        if other.stopped:
            other.stop(False)
        if way < 0.2 or other.calling:
            self.cancel()
        elif way < 0.25:
            other.kill()
        elif way < 0.35 and other.saved:
            other.back()
        else:
            other.end(random.random() < 0.7)
        return True

    def cancel(self):
        """Cancel the current call."""
        self.fuzz.say(self.name, '-- cancelled', ())
        self.cancelled = True
        self.fuzz.admin.execute('SELECT pg_cancel_backend(%s)', (self.pid,))

    def stop(self, stopped):
        """Stop the backend by a signal, or let it continue."""
        self.fuzz.say(self.name, '-- stopped' if stopped else '-- goes on', ())
        os.kill(self.pid, signal.SIGSTOP if stopped else signal.SIGCONT)
        self.stopped = stopped

    def kill(self):
        super().kill()
        self.forget()

    # ---- transactions ----

    def end(self, commit):
        if commit:
            self.commit()
        else:
            self.rows('ROLLBACK')
        self.forget()

    def commit(self):
        answer = self.ask('COMMIT')
        if isinstance(answer, Raised):
            self.fuzz.expect(answer.state == '40001' and self.level == 'SERIALIZABLE',
                             f'COMMIT: {answer}')
        else:
            self.committed()

    def failed(self):
        """After an error: roll back to the last savepoint, or else the transaction."""
        if self.level is None:
            return
        if self.saved:
            self.back()
        else:
            self.end(False)


class Run:
    """A run of sessions that take turns.

    Subclasses define step(), in_way() and compare(), which compares the whole state with
    the model, and is called after every so many steps.
    """

    every = 100

    def __init__(self, fuzz, sessions, turn):
        self.fuzz, self.random = fuzz, fuzz.random
        self.turns = []
        for n in range(sessions):
            self.turns.append(turn(self, f's{n}'))

    def run(self):
        while self.fuzz.more():
            self.step()
            self.fuzz.done += 1
            if self.fuzz.done % self.every == 0:
                self.compare()
        self.compare()
