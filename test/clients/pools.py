"""Transactions that are left open in Python's pools, without and with claims.

Run by test/t/440_request_python.pl, with libpq's environment pointing to a
database that has the guarded table "counter" (id, n) with one row.  Prints a
line for each case: its name, and what the counter was found to be, told minus
there: 0 means that what the requests were told is what is there.
"""
import logging
from contextlib import contextmanager
from itertools import count

import psycopg
import psycopg2
import sqlalchemy
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool
from sqlalchemy import event, exc, text

logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
tokens = (f"request {i}" for i in count())

BUMP = "UPDATE counter SET n = n + 1"
READ = "SELECT n FROM counter"


class Cancelled(Exception):
    """The client of a request has gone away."""


def there():
    """The counter as another session sees it."""
    with psycopg.connect("", autocommit=True) as connection:
        return connection.execute(READ).fetchone()[0]


def report(name, story):
    """Run a story, which returns how many bumps were acknowledged."""
    before = there()
    try:
        told = story()
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
        return
    print(f"{name}: {told - (there() - before)}")


# psycopg: its pool looks at the transaction's state when a connection comes
# back, and rolls back what it finds.

def psycopg_pool():
    with ConnectionPool("", min_size=1, max_size=1) as pool:
        connection = pool.getconn()
        connection.execute(BUMP)
        pool.putconn(connection)        # cancelled
        with pool.connection() as connection:
            connection.execute(BUMP)
        return 1


# What the pool does not see is a connection that never comes back because
# requests share it: kept in a global, or handed to a task.

@contextmanager
def shared(connect, claim):
    """A connection for request after request, and for each a token."""
    connections = []

    def request(work):
        while True:
            if not connections:
                connections.append(connect())
            connection = connections[0]
            try:
                if claim:
                    claim(connection, next(tokens))
            except psycopg.Error:
                connection.close()
                connections.clear()
                continue
            try:
                return work(connection)
            except Cancelled:
                return 0

    yield request
    connections[0].close()


def two_claims(connection, token):
    """Check-out where each statement is a transaction: autocommit."""
    connection.execute("SELECT request_claim('check-out')")
    connection.execute("SELECT request_claim(%s)", (token,))


def shared_story(claim):
    def cancelled(connection):
        connection.execute("BEGIN")
        raise Cancelled

    def bump(connection):
        connection.execute(BUMP)
        return 1

    def story():
        with shared(lambda: psycopg.connect("", autocommit=True), claim) as request:
            return request(cancelled) + request(bump) + request(bump)

    return story


def driver_knows():
    """What the driver itself knows of the transaction's state."""
    with psycopg.connect("", autocommit=True) as connection:
        before = connection.info.transaction_status
        connection.execute("BEGIN")
        after = connection.info.transaction_status
        connection.execute("ROLLBACK")
    return int((before, after) != (TransactionStatus.IDLE,
                                   TransactionStatus.INTRANS))


# SQLAlchemy with AUTOCOMMIT: rollback on return is one of the driver's, which
# sends nothing, as it knows of no transaction.

def sqlalchemy_engine(**options):
    return sqlalchemy.create_engine(
        "postgresql+psycopg2://", pool_size=1, max_overflow=0, **options)


def sqlalchemy_autocommit(claims):
    engine = sqlalchemy_engine(isolation_level="AUTOCOMMIT")

    if claims:
        @event.listens_for(engine, "checkout")
        def check_out(dbapi_connection, record, proxy):
            try:
                with dbapi_connection.cursor() as cursor:
                    cursor.execute("SELECT request_claim('check-out')")
                    cursor.execute("SELECT request_claim(%s)", (next(tokens),))
            except psycopg2.Error as error:
                raise exc.DisconnectionError from error     # another one, please

    with engine.connect() as connection:
        connection.execute(text("BEGIN"))                   # cancelled
    for _ in range(2):
        with engine.connect() as connection:
            connection.execute(text(BUMP))
    engine.dispose()
    return 2


# SQLAlchemy without its rollback on return: the next request's commit takes
# the cancelled one's half along.

def sqlalchemy_no_reset(claims):
    engine = sqlalchemy_engine(pool_reset_on_return=None)

    if claims:
        @event.listens_for(engine, "checkout")
        def check_out(dbapi_connection, record, proxy):
            try:
                with dbapi_connection.cursor() as cursor:   # begins a transaction
                    cursor.execute("SELECT request_claim(%s)", (next(tokens),))
            except psycopg2.Error as error:
                raise exc.DisconnectionError from error

    connection = engine.connect()
    cursor = connection.connection.cursor()
    cursor.execute(BUMP)                # cancelled before it commits
    cursor.close()
    connection.close()
    with engine.begin() as connection:
        connection.execute(text(BUMP))
    engine.dispose()
    return 1


report("psycopg_pool", psycopg_pool)
report("psycopg shared, plain", shared_story(None))
report("psycopg shared, claims", shared_story(two_claims))
report("psycopg transaction_status", driver_knows)
report("sqlalchemy autocommit, plain", lambda: sqlalchemy_autocommit(False))
report("sqlalchemy autocommit, claims", lambda: sqlalchemy_autocommit(True))
report("sqlalchemy no reset, plain", lambda: sqlalchemy_no_reset(False))
report("sqlalchemy no reset, claims", lambda: sqlalchemy_no_reset(True))
