"""Waiting for a batch to be paid."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import redis
import rq
from sqlalchemy import select
from sqlalchemy.orm import Session

from distrib import clock, jobs
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk
from distrib.cli.output import progress
from distrib.errors import Conflict
from distrib.settlement import paying  # noqa: F401  # does the jobs, once imported
from distrib.settlement.batch import get_batch
from distrib.settlement.progress import Progress, batch_progress
from distrib.settlement.tables import SettlementBatch

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 3
_SOON = timedelta(seconds=30)


class PayingFailed(Conflict):
    """A job of the batch failed for good."""

    title = "The batch could not be paid"


def watch_batch(desk: Desk, brand: Brand, number: int) -> SettlementBatch:
    """Show the batch's progress until there is nothing to wait for; without workers, pay it here.

    :returns: the batch: settled, partly failed, paused, or paying and waiting for somebody else.
    """

    here = _PayingHere(desk)
    if not _somebody_works(desk):
        here.go_on()
    try:
        with progress() as bar:
            task = bar.add_task(f"batch {number}", total=None)
            for batch, found in wait_for_batch(desk, brand, number, when_idle=here.go_on):
                bar.update(
                    task,
                    description=f"batch {number}{_pace(found)}",
                    total=batch.payouts,
                    completed=_done(batch, found),
                )
    except PayingFailed:
        here.join()  # the other chunks are paid all the same
        raise
    here.end()
    return batch


class _PayingHere:
    """Does the work of workers beside the bar that shows it.

    In a thread that ends with the process: to be interrupted does no harm, see
    :mod:`distrib.settlement.paying`.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def go_on(self) -> None:
        """Begin, unless it is at work. Raises what the last time ended with."""
        if self._thread is not None and self._thread.is_alive():
            return
        self.end()
        work = contextvars.copy_context().run
        self._thread = threading.Thread(target=work, args=[self._work], daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of what is at work."""
        if self._thread is not None:
            self._thread.join()

    def end(self) -> None:
        """Wait for the end of what is at work. Raises what it ended with."""
        self.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            jobs.run_all(self._desk.database, self._desk.settings)
        except BaseException as error:
            self._error = error


def _done(batch: SettlementBatch, found: Progress) -> int:
    """Payouts that are handed over, whatever became of them."""
    return batch.payouts - found.states.get("reserved", (0, 0))[0]


def _pace(found: Progress) -> str:
    """``, 1,250 a second, 12 s left``."""
    if found.rate is None or found.seconds_left is None:
        return ""
    seconds = round(found.seconds_left)
    left = f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
    return f", {found.rate:,.0f} a second, {left} left"


def _somebody_works(desk: Desk) -> bool:
    try:
        return bool(rq.Worker.count(queue=jobs.Waker(desk.settings).queue))
    except redis.RedisError:  # then nobody can be woken
        return False


def wait_for_batch(
    desk: Desk, brand: Brand, number: int, *, when_idle: Callable[[], object]
) -> Iterator[tuple[SettlementBatch, Progress]]:
    """The batch and its progress, again and again, while there is something to wait for.

    That ends when the batch is settled, partly failed or paused, and when all is handed over and
    its provider has to say more, which can take days.

    :param when_idle: called when nothing has moved for some seconds.
    :raises PayingFailed: when a job of it failed for good.
    """
    seen: object = None
    since = time.monotonic()
    while True:
        with desk.database.transaction() as session:
            batch = get_batch(session, brand_id=brand.id, number=number)
            found = batch_progress(session, batch=batch)
            failure = session.scalar(
                select(jobs.Job.error).where(
                    jobs.Job.group_id == batch.id, jobs.Job.state == jobs.JobState.FAILED
                )
            )
            over = batch.state != "paying" or _others_turn(session, batch, found)
        yield batch, found
        if failure is not None and batch.state == "paying":
            raise PayingFailed(
                f"batch {number}: {failure} (once the cause is gone: distrib settle retry {number})"
            )
        if over:
            return
        if found.states != seen:
            seen, since = found.states, time.monotonic()
        elif time.monotonic() - since > _PATIENCE_SECONDS:
            when_idle()
            since = time.monotonic()
        time.sleep(_POLL_SECONDS)


def _others_turn(session: Session, batch: SettlementBatch, found: Progress) -> bool:
    """Whether all that is left to do for us is to ask again later."""
    if "reserved" in found.states or "sent" not in found.states:
        return False
    soon = session.scalar(
        select(jobs.Job.id)
        .where(
            jobs.Job.group_id == batch.id,
            jobs.Job.state == jobs.JobState.READY,
            (jobs.Job.run_after < clock.now() + _SOON) | (jobs.Job.lease_until > clock.now()),
        )
        .limit(1)
    )
    return soon is None
