"""The database: one engine a process, one transaction a request, committed in one place."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from sqlalchemy import (
    BigInteger,
    Engine,
    MetaData,
    Text,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session

from distrib import ids


class Base(DeclarativeBase):
    """Base of every table; constraint names are spelt out so that errors and migrations can."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it as a class attribute
        int: BigInteger,
        str: Text,
        datetime: TIMESTAMP(timezone=True),
    }


class Lock(enum.IntEnum):
    """What an advisory lock of a brand guards. Taken in this order when several are needed."""

    FACTS = 1
    """The facts that price orders: tree, plan versions, what has matured. Orders share it and so
    never wait for each other; whoever changes a fact takes it alone, for an instant."""
    SETTLEMENT = 2
    """Gathering: one batch of a brand is drawn up at a time."""
    BALANCES = 3
    """Folding postings into balances."""


def lock(session: Session, brand_id: int, what: Lock, *, shared: bool = False) -> None:
    """Hold ``what`` of the brand until the transaction ends.

    What is read after this statement is what the lock protects: under READ COMMITTED each
    statement sees all that was committed when it began.
    """
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    session.execute(text(f"SELECT {function}(:key)"), {"key": brand_id * 16 + what})


def share_facts(cur: psycopg.Cursor[Any], brand_id: int) -> None:
    """Hold ``Lock.FACTS`` shared, by a bare cursor: for the path of every order."""
    cur.execute("SELECT pg_advisory_xact_lock_shared(%s)", [brand_id * 16 + Lock.FACTS])


def try_lock(session: Session, brand_id: int, what: Lock) -> bool:
    """Take ``what`` if it is free; never wait."""
    key = brand_id * 16 + what
    taken = session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key})
    return bool(taken)


def cursor(session: Session) -> psycopg.Cursor[Any]:
    """A bare psycopg cursor inside the session's transaction, for COPY and the hot path."""
    connection = session.connection().connection.driver_connection
    if not isinstance(connection, psycopg.Connection):
        raise TypeError("distrib speaks to PostgreSQL through psycopg only")
    return connection.cursor()


def make_engine(url: str, *, pool_size: int = 5) -> Engine:
    """An engine for this process. Made after a fork, never before one."""
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=False, pool_recycle=1800
    )

    @event.listens_for(engine, "connect")
    def set_session(connection: psycopg.Connection[Any], _record: object) -> None:
        # a connection keeps what it has learnt: plans of the few hot statements stay prepared
        connection.prepare_threshold = 2
        with connection.cursor() as cur:
            cur.execute("SET TIME ZONE 'UTC'")
            # A brand that is newer than the last ANALYZE looks empty to the planner, and then any
            # index that begins with brand_id looks as good as the right one. Plans that do not
            # look at the value choose the index that fits best, whatever the statistics say.
            cur.execute("SET plan_cache_mode = force_generic_plan")
        connection.commit()

    return engine


def _next_node(session: Session) -> Callable[[], int]:
    return lambda: int(session.scalar(text("SELECT nextval('id_node')")) or 0)


T = TypeVar("T")

_WORTH_ANOTHER_TRY = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


class Database:
    """What a process holds to work: an engine, and what to do after a commit."""

    def __init__(self, engine: Engine, after_commit: Callable[[list[int]], None] | None = None):
        self.engine = engine
        self._after_commit = after_commit

    def run(self, work: Callable[[Session], T], *, tries: int = 20) -> T:
        """Do ``work`` in a transaction; again if another transaction got in its way.

        Two that take the same order at once, or lock the same rows, meet here: the second starts
        over and finds what the first has done.
        """
        for left in reversed(range(tries)):
            try:
                with self.transaction() as session:
                    return work(session)
            except (psycopg.Error, DBAPIError) as error:
                cause = error.orig if isinstance(error, DBAPIError) else error
                if not left or not isinstance(cause, _WORTH_ANOTHER_TRY):
                    raise
        raise RuntimeError("unreachable: the last try returns or raises")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction: commits when the block ends well, rolls back when it raises.

        Jobs written in it (:func:`distrib.jobs.add`) are handed to the queue after the commit.
        """
        with Session(self.engine, expire_on_commit=False, autoflush=False) as session:
            ids.use_node(_next_node(session))
            yield session
            session.commit()
            wake: list[int] = session.info.pop("wake", [])
        if wake and self._after_commit is not None:
            self._after_commit(wake)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Read only, and all of it as of one moment: for reports and the audit."""
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with Session(self.engine.execution_options(**options)) as session:
            yield session
