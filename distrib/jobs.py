"""Work to be done later: PostgreSQL decides, RQ only wakes.

A job is a row, written in the transaction that needs it. After the commit its id is handed to RQ;
should that be lost (Redis down, a process killed between the two) the sweeper finds the row and
hands it over again. A worker claims the row with a lease and a *fence*: a number that grows with
every claim. Whatever the worker writes later it writes in a transaction that begins with
:meth:`Claim.hold`, so a worker whose lease has passed to another can no longer change anything.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis
import rq
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer
from sqlalchemy import CheckConstraint, Index, SmallInteger, insert, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from distrib import clock, ids
from distrib.config import Settings
from distrib.db import Base, Database
from distrib.errors import DistribError


class JobState(enum.StrEnum):
    """Where a job stands."""

    READY = "ready"
    DONE = "done"
    FAILED = "failed"


class Job(Base):
    """One piece of work. ``key`` is made from the business fact: adding it twice adds it once.

    ``group_id`` names what several jobs belong to (a batch), so that they can be woken together.
    """

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint("state IN ('ready', 'done', 'failed')", name="state"),
        Index("ix_job_ready", "run_after", postgresql_where="state = 'ready'"),
        Index("ix_job_group", "group_id", postgresql_where="state <> 'done'"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    brand_id: Mapped[int]
    kind: Mapped[str]
    key: Mapped[str] = mapped_column(unique=True)
    group_id: Mapped[int | None]
    args: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(server_default=JobState.READY)
    run_after: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(server_default="0")
    failures: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class LeaseLost(DistribError):
    """Another worker has taken the job over; this one may write nothing more."""

    status = 409
    title = "The job's lease has passed to another worker"


@dataclass(frozen=True)
class Claim:
    """A job as one worker holds it."""

    job_id: int
    brand_id: int
    fence: int
    args: dict[str, Any]

    def hold(self, session: Session) -> None:
        """Begin a transaction of this job: locks its row and checks that the claim still stands.

        :raises LeaseLost: when another worker has claimed the job since, or finished it.
        """
        found = session.scalar(
            select(Job.fence)
            .where(Job.id == self.job_id, Job.fence == self.fence, Job.state == JobState.READY)
            .with_for_update()
        )
        if found is None:
            raise LeaseLost(f"job {self.job_id}: fence {self.fence} is no longer the current one")

    def finish(self, session: Session) -> None:
        """Mark the job done, in the transaction of its last effect."""
        session.execute(
            update(Job)
            .where(Job.id == self.job_id)
            .values(state=JobState.DONE, finished_at=clock.now(), lease_until=None, error=None)
        )

    def later(self, session: Session, seconds: float, *, why: str | None = None) -> None:
        """Put the job down, to be taken up again in ``seconds``, by whoever comes by then."""
        session.execute(
            update(Job)
            .where(Job.id == self.job_id)
            .values(
                run_after=clock.now() + timedelta(seconds=seconds),
                lease_until=None,
                error=why,
                failures=0,
            )
        )


Handler = Callable[[Database, Settings, Claim], None]
_handlers: dict[str, Handler] = {}


def handler(kind: str) -> Callable[[Handler], Handler]:
    """Register what does the jobs of ``kind``. It must be able to run twice."""

    def register(function: Handler) -> Handler:
        _handlers[kind] = function
        return function

    return register


def add(
    session: Session,
    *,
    brand_id: int,
    kind: str,
    key: str,
    args: dict[str, Any] | None = None,
    group_id: int | None = None,
) -> bool:
    """Write a job in this transaction; it is handed to the queue after the commit.

    :returns: whether it is new.
    """
    job_id = ids.new()
    now = clock.now()
    added = session.scalar(
        pg_insert(Job)
        .values(
            id=job_id,
            brand_id=brand_id,
            kind=kind,
            key=key,
            group_id=group_id,
            args=args or {},
            run_after=now,
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=[Job.key])
        .returning(Job.id)
    )
    if added is not None:
        session.info.setdefault("wake", []).append(job_id)
    return added is not None


def add_many(
    session: Session,
    *,
    brand_id: int,
    kind: str,
    keyed_args: list[tuple[str, dict[str, Any]]],
    group_id: int | None = None,
) -> None:
    """Write many new jobs of one kind in one statement (their keys must be new)."""
    now = clock.now()
    rows = [
        {
            "id": job_id,
            "brand_id": brand_id,
            "kind": kind,
            "key": key,
            "group_id": group_id,
            "args": args,
            "run_after": now,
            "created_at": now,
        }
        for job_id, (key, args) in zip(ids.take(len(keyed_args)), keyed_args, strict=True)
    ]
    if rows:
        session.execute(insert(Job), rows)
        session.info.setdefault("wake", []).extend(row["id"] for row in rows)


class Waker:
    """Hands job ids to RQ. A failure is no error: the sweeper comes by.

    RQ knows a job by id *and* lease period: within one period a second hand-over is refused as a
    duplicate, after it one is let through, for the first may have died with its worker. Two at
    once do no harm: only one can claim the row.
    """

    def __init__(self, settings: Settings) -> None:
        self._period = settings.lease_seconds
        self.connection = redis.from_url(
            settings.redis_url, socket_connect_timeout=2, socket_timeout=5
        )
        self.queue = rq.Queue(settings.queue, connection=self.connection, serializer=JSONSerializer)

    def __call__(self, job_ids: list[int]) -> None:
        """Wake a worker for each job."""
        try:
            for job_id in job_ids:
                self._wake(job_id)
        except redis.RedisError:
            return

    def _wake(self, job_id: int) -> None:
        try:
            self.queue.enqueue_call(
                "distrib.jobs.run_in_worker",
                args=[job_id],
                job_id=f"job-{job_id}-{int(clock.now().timestamp()) // self._period}",
                unique=True,
                timeout=3600,
                result_ttl=0,
                failure_ttl=60,
            )
        except DuplicateJobError:
            return  # it is in the queue already


def claim(session: Session, job_id: int, lease_seconds: int) -> Claim | None:
    """Take the job if it is ready and nobody's lease is running; give it a new fence.

    Never waits: a worker that is frozen inside a transaction of the job holds up nobody else.
    """
    now = clock.now()
    free = (
        select(Job.id)
        .where(
            Job.id == job_id,
            Job.state == JobState.READY,
            or_(Job.lease_until.is_(None), Job.lease_until < now),
        )
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    row = session.execute(
        update(Job)
        .where(Job.id == free)
        .values(fence=Job.fence + 1, lease_until=now + timedelta(seconds=lease_seconds))
        .returning(Job.kind, Job.brand_id, Job.fence, Job.args)
    ).one_or_none()
    if row is None:
        return None
    return Claim(job_id=job_id, brand_id=row.brand_id, fence=row.fence, args=row.args)


@contextmanager
def _kept_alive(database: Database, held: Claim, lease_seconds: int) -> Iterator[None]:
    """Renew the lease while the block runs: work may take longer than one lease."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(lease_seconds / 3):
            try:
                with database.transaction() as session:
                    mine = (
                        select(Job.id)
                        .where(
                            Job.id == held.job_id,
                            Job.fence == held.fence,
                            Job.state == JobState.READY,
                        )
                        .with_for_update(skip_locked=True)
                        .scalar_subquery()
                    )
                    session.execute(
                        update(Job)
                        .where(Job.id == mine)
                        .values(lease_until=clock.now() + timedelta(seconds=lease_seconds))
                    )
            except SQLAlchemyError:
                continue  # the database is away for a moment; the lease outlives two more tries

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def run(database: Database, settings: Settings, job_id: int) -> bool:
    """Claim the job and do it. False when there was nothing to claim.

    A handler that raises leaves the job ready: its error is kept on the row, its lease ended, and
    the sweeper tries again after a pause that doubles. Errors of input (:class:`DistribError`)
    would come again, so they end the job as failed.
    """
    with database.transaction() as session:
        held = claim(session, job_id, settings.lease_seconds)
        found = session.execute(select(Job.kind, Job.failures).where(Job.id == job_id)).first()
    if held is None or found is None:
        return False
    kind, failures = found
    try:
        with _kept_alive(database, held, settings.lease_seconds):
            _handlers[kind](database, settings, held)
    except LeaseLost:
        return False
    except Exception as error:
        final = isinstance(error, DistribError)
        pause = timedelta(seconds=min(settings.retry_seconds * 2 ** min(failures, 10), 600))
        with database.transaction() as session:
            session.execute(
                update(Job)
                .where(Job.id == job_id, Job.fence == held.fence, Job.state == JobState.READY)
                .values(
                    state=JobState.FAILED if final else JobState.READY,
                    error=f"{type(error).__name__}: {error}"[:2000],
                    lease_until=None,
                    failures=min(failures + 1, 1_000),
                    run_after=clock.now() + pause,
                )
            )
        if not final:
            raise
    return True


def revive(session: Session, *, group_id: int) -> int:
    """Have the jobs of a group that failed for good tried again. How many there are."""
    return _ready(session, group_id, JobState.FAILED)


def hasten(session: Session, *, group_id: int, kind: str | None = None) -> int:
    """Have the jobs of a group that wait for a later time looked at now. How many there are.

    One that somebody works at is left alone.
    """
    return _ready(session, group_id, JobState.READY, kind)


def _ready(session: Session, group_id: int, state: JobState, kind: str | None = None) -> int:
    now = clock.now()
    of_group = [Job.group_id == group_id, Job.state == state]
    if state == JobState.READY:
        of_group += [Job.run_after > now, or_(Job.lease_until.is_(None), Job.lease_until < now)]
    if kind is not None:
        of_group.append(Job.kind == kind)
    ready = session.scalars(
        update(Job)
        .where(*of_group)
        .values(state=JobState.READY, run_after=now, error=None)
        .returning(Job.id)
    ).all()
    session.info.setdefault("wake", []).extend(ready)
    return len(ready)


def due(session: Session, limit: int = 1_000) -> list[int]:
    """Jobs that are ready, whose time has come and that nobody holds: oldest first."""
    now = clock.now()
    return list(
        session.scalars(
            select(Job.id)
            .where(
                Job.state == JobState.READY,
                Job.run_after <= now,
                or_(Job.lease_until.is_(None), Job.lease_until < now),
            )
            .order_by(Job.run_after, Job.id)
            .limit(limit)
        )
    )


def run_all(database: Database, settings: Settings) -> int:
    """Do every due job in this process, until none is left: for tests and one-off commands."""
    done = 0
    while True:
        with database.transaction() as session:
            waiting = due(session)
        progressed = sum(run(database, settings, job_id) for job_id in waiting)
        if not progressed:
            return done
        done += progressed


class _Worker:
    """What a worker process works with; set before it forks, opened in each child."""

    settings: Settings | None = None


def serve(settings: Settings) -> None:
    """Say what :func:`run_in_worker` shall use."""
    _Worker.settings = settings


def run_in_worker(job_id: int) -> None:
    """What RQ calls, in a forked child: the engine is made here and ends with the child."""
    from distrib.db import make_engine

    settings = _Worker.settings
    if settings is None:
        raise RuntimeError("start workers with worker.py")
    engine = make_engine(settings.database_url, pool_size=1)
    try:
        run(Database(engine, Waker(settings)), settings, job_id)
    finally:
        engine.dispose()
