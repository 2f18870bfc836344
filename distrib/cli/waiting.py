"""Waiting for a batch to be paid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import redis
import rq
from sqlalchemy import select

from distrib import jobs
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk
from distrib.cli.output import progress
from distrib.errors import Conflict
from distrib.settlement.batch import get_batch
from distrib.settlement.progress import batch_progress
from distrib.settlement.tables import SettlementBatch

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 3


class PayingFailed(Conflict):
    """A job of the batch failed for good."""

    title = "The batch could not be paid"


def watch_batch(desk: Desk, brand: Brand, number: int) -> SettlementBatch:
    """Show the batch's progress until it is settled; without workers, pay it here."""

    def pay_here() -> None:
        jobs.run_all(desk.database, desk.settings)

    if not _somebody_works(desk):
        pay_here()
    with progress() as bar:
        task = bar.add_task(f"batch {number}", total=None)
        for batch, paid in wait_for_batch(desk, brand, number, when_idle=pay_here):
            bar.update(task, total=batch.payouts, completed=paid)
    return batch


def _somebody_works(desk: Desk) -> bool:
    try:
        return bool(rq.Worker.count(queue=jobs.Waker(desk.settings).queue))
    except redis.RedisError:  # then nobody can be woken
        return False


def wait_for_batch(
    desk: Desk, brand: Brand, number: int, *, when_idle: Callable[[], object]
) -> Iterator[tuple[SettlementBatch, int]]:
    """The batch and the number of its paid payouts, again and again until it is settled.

    :param when_idle: called when nothing has moved for some seconds.
    :raises PayingFailed: when a job of it failed for good.
    """
    seen, since = -1, time.monotonic()
    while True:
        with desk.database.transaction() as session:
            batch = get_batch(session, brand_id=brand.id, number=number)
            paid = batch_progress(session, batch=batch).paid
            failure = session.scalar(
                select(jobs.Job.error).where(
                    jobs.Job.brand_id == brand.id,
                    jobs.Job.state == jobs.JobState.FAILED,
                    jobs.Job.args["batch"].as_string() == str(batch.id),
                )
            )
        yield batch, paid
        if batch.state == "settled":
            return
        if failure is not None:
            raise PayingFailed(
                f"batch {number}: {failure} (once the cause is gone: distrib settle retry {number})"
            )
        if paid != seen:
            seen, since = paid, time.monotonic()
        elif time.monotonic() - since > _PATIENCE_SECONDS:
            when_idle()
            since = time.monotonic()
        time.sleep(_POLL_SECONDS)
