"""Starts RQ workers and the sweeper, and keeps them running: ``python worker.py [--workers N]``.

This process is a keeper (see :mod:`distrib.cli.keeper`) and does none of the work. It starts itself
once for each worker and once for the sweeper.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import redis
import rq
from rq.serializers import JSONSerializer
from sqlalchemy import delete, exists, select
from sqlalchemy.exc import OperationalError

from distrib import clock, jobs
from distrib.api.tables import IdempotencyKey
from distrib.brands.tables import Brand
from distrib.cli.keeper import die_with_parent, follow_keeper, keep
from distrib.commission.ranks import evaluate_ranks, ranks_are_due
from distrib.commission.refunds import apply_waiting
from distrib.config import Settings, settings
from distrib.db import Database, make_engine
from distrib.embedded import EmbeddedError
from distrib.errors import DistribError
from distrib.ledger.service import fold
from distrib.ledger.tables import UnfoldedPosting
from distrib.orders.tables import WaitingRefund
from distrib.settlement import paying
from distrib.settlement.maturation import mature
from distrib.settlement.tables import Maturation

HANDLERS = (paying,)
"""The modules whose import registers job handlers; all of them before the first fork."""

SWEEP_SECONDS = 2
FORGET_EVERY = timedelta(hours=1)
REMEMBER_ANSWERS = timedelta(days=7)  # how long an Idempotency-Key may be used again

logger = logging.getLogger("distrib.worker")


# -- the worker ---------------------------------------------------------------------------------


class Worker(rq.Worker):
    """An RQ worker of one queue, whose forked children end with it."""

    max_connection_wait_time = 5.0

    def main_work_horse(self, *args: Any) -> None:
        # after a SIGKILL the lease would keep the child from writing; this keeps it from running
        if self.pid is not None:
            die_with_parent(signal.SIGKILL, self.pid)
        super().main_work_horse(*args)


def run_worker(found: Settings) -> None:
    """Do the jobs that RQ hands over, each in a forked child, until told to stop."""
    jobs.serve(found)
    connection = redis.from_url(found.redis_url)
    queue = rq.Queue(found.queue, connection=connection, serializer=JSONSerializer)
    worker = Worker(
        [queue],
        connection=connection,
        serializer=JSONSerializer,
        worker_ttl=20,  # waits for a job for 5 s at a time, so that maintenance is not held up
        maintenance_interval=30,
        job_monitoring_interval=5,
        log_job_description=False,
    )
    worker.work(logging_level="WARNING")


# -- the sweeper --------------------------------------------------------------------------------


class Sweeper:
    """Does what nobody waits for, and finds what was lost."""

    def __init__(self, database: Database, wake: Callable[[list[int]], None]) -> None:
        self._database = database
        self._wake = wake
        self._forget_at = clock.now()

    def run(self) -> None:
        """Sweep every two seconds until told to stop."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.wait(SWEEP_SECONDS):
            self.sweep()

    def sweep(self) -> None:
        """Go round once. Each step stands alone: what fails is logged, and tried next time."""
        with _logged("handing over jobs"):
            with self._database.transaction() as session:
                due = jobs.due(session)
            self._wake(due)
        with _logged("looking for work"):
            for brand, unfolded, waiting, unposted in self._brands():
                today = clock.day_of(clock.now(), brand.time_zone)
                if brand.matured_through < today or unposted:
                    with _logged(f"maturing {brand.slug}"):
                        mature(self._database, brand_id=brand.id)
                if waiting:
                    with _logged(f"applying waiting refunds of {brand.slug}"):
                        self._database.run(lambda s, brand=brand: apply_waiting(s, brand=brand))  # type: ignore[misc]
                with _logged(f"ranking the distributors of {brand.slug}"):
                    self._rank(brand)
                if unfolded:
                    with _logged(f"folding {brand.slug}"):
                        self._fold(brand.id)

        if clock.now() >= self._forget_at:
            with _logged("forgetting old answers"):
                self._forget_answers()
            self._forget_at = clock.now() + FORGET_EVERY

    def _forget_answers(self) -> None:
        """Remove answers to requests so old that nobody will send them again."""
        with self._database.transaction() as session:
            session.execute(
                delete(IdempotencyKey).where(
                    IdempotencyKey.created_at < clock.now() - REMEMBER_ANSWERS
                )
            )

    def _brands(self) -> list[tuple[Brand, bool, bool, bool]]:
        """Each brand, and whether it has unfolded postings, waiting refunds, begun maturations."""
        with self._database.transaction() as session:
            rows = session.execute(
                select(
                    Brand,
                    exists().where(UnfoldedPosting.brand_id == Brand.id),
                    exists().where(
                        WaitingRefund.brand_id == Brand.id, WaitingRefund.problem.is_(None)
                    ),
                    exists().where(Maturation.brand_id == Brand.id, Maturation.posted_at.is_(None)),
                ).order_by(Brand.id)
            )
            return [(row[0], row[1], row[2], row[3]) for row in rows]

    def _rank(self, brand: Brand) -> None:
        """Once a month, by what was sold in the last."""
        with self._database.transaction() as session:
            if ranks_are_due(session, brand=brand):
                evaluate_ranks(session, brand=brand, changed_by="sweeper")

    def _fold(self, brand_id: int) -> None:
        folded = 1
        while folded:
            with self._database.transaction() as session:
                folded = fold(session, brand_id=brand_id)


@contextmanager
def _logged(step: str) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:  # the database is away; no need for a traceback
        logger.error("%s: %s", step, error.orig)
    except Exception:
        logger.exception("%s failed", step)


# -- the program --------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this file."""
    parser = argparse.ArgumentParser(prog="worker.py", description="Start RQ workers.")
    parser.add_argument("--workers", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--no-sweeper", action="store_true", help="another host runs the sweeper")
    parser.add_argument("--only", choices=["worker", "sweeper"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error("--workers: at least 1")
    follow_keeper()
    logging.basicConfig(format="%(asctime)s %(name)s[%(process)d] %(message)s")
    logging.getLogger("distrib").setLevel(logging.INFO)
    try:
        if options.only is None:
            from distrib.cli.desk import Desk  # it looks after the schema; children need not

            with closing(Desk()) as desk:
                keep(desk.ready(), workers=options.workers, sweeper=not options.no_sweeper)
            return 0
        with settings() as found:
            if options.only == "worker":
                run_worker(found)
            else:
                database = Database(make_engine(found.database_url, pool_size=1))
                Sweeper(database, jobs.Waker(found)).run()
    except (DistribError, EmbeddedError) as error:
        logger.error(error)
        return 1
    except KeyboardInterrupt:  # before anything was started
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
