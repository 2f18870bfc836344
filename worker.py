"""Starts RQ workers and the sweeper, and keeps them running: ``python worker.py [--workers N]``.

This process does none of the work. It starts each worker, and one sweeper, as a process of its
own, starts again what dies, and stops them all when it is told to stop. Should it be killed, the
kernel tells its children, and theirs, so nothing is left behind.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import redis
import rq
from rq.serializers import JSONSerializer
from sqlalchemy import delete, exists, select
from sqlalchemy.exc import OperationalError

from distrib import clock, jobs
from distrib.api.tables import IdempotencyKey
from distrib.brands.tables import Brand
from distrib.commission.refunds import apply_waiting
from distrib.config import Settings, settings
from distrib.db import Database, make_engine
from distrib.embedded import EmbeddedError
from distrib.embedded.child import PR_SET_PDEATHSIG
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
STOP_SECONDS = 20
CALM_SECONDS = 10
LONGEST_PAUSE = 10
FORGET_EVERY = timedelta(hours=1)
REMEMBER_ANSWERS = timedelta(days=7)  # how long an Idempotency-Key may be used again
KEEPER = "DISTRIB_KEEPER"  # in the environment of what a Keeper starts: its pid

logger = logging.getLogger("distrib.worker")
_libc = ctypes.CDLL(None)  # loaded before any fork


# -- keeping processes running ------------------------------------------------------------------


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """Get the signal when ``parent``, our parent process, has ended (Linux only)."""
    if sys.platform.startswith("linux"):
        _libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # too late to be told
            os._exit(1)


def follow_keeper() -> bool:
    """In a process that a :class:`Keeper` started (true then): end when the keeper does."""
    keeper = os.environ.pop(KEEPER, None)
    if keeper is not None:
        die_with_parent(signal.SIGTERM, int(keeper))
    return keeper is not None


@dataclass
class _Kept:
    """One process that is kept running."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    next_start: float = field(default_factory=time.monotonic)

    def step(self, environment: Mapping[str, str]) -> None:
        """Start it if it is time, or note that it died."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.next_start:
                # a group of its own: Ctrl-C is for the keeper, which then tells everybody once
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, env=environment, process_group=0
                )
                self.started = now
        elif (code := self.process.poll()) is not None:
            self.deaths = 1 if now - self.started > CALM_SECONDS else self.deaths + 1
            pause = min(0.1 * 2**self.deaths, LONGEST_PAUSE)
            logger.warning("%s ended (code %s), starts again in %.1f s", self.name, code, pause)
            self.process, self.next_start = None, now + pause

    def stop(self, deadline: float) -> None:
        """Wait until it has gone, and see to it at the deadline."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("%s does not stop and is killed", self.name)
            self.process.kill()
            self.process.wait()


class Keeper:
    """Keeps programs running until SIGTERM or SIGINT comes, then stops them all."""

    def __init__(self, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]):
        self._kept = [_Kept(name, list(command)) for name, command in commands.items()]
        self._environment = {**environment, KEEPER: str(os.getpid())}
        self._stop = False

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Keep them running; ``until`` is another reason to stop."""
        with self._signals():
            try:
                while not self._stop and not until():
                    for kept in self._kept:
                        kept.step(self._environment)
                    time.sleep(0.1)
            finally:
                for kept in self._kept:
                    if kept.process is not None:
                        kept.process.terminate()
                deadline = time.monotonic() + STOP_SECONDS
                for kept in self._kept:
                    kept.stop(deadline)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def on_signal(_number: int, _frame: FrameType | None) -> None:
            self._stop = True

        before = {n: signal.signal(n, on_signal) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def environment(found: Settings) -> dict[str, str]:
    """The environment in which another process of ours finds these settings, and our code."""
    return {
        **os.environ,
        "DATABASE_URL": found.database_url,
        "REDIS_URL": found.redis_url,
        "DISTRIB_DATA": str(found.data_dir),
        "DISTRIB_QUEUE": found.queue,
        "DISTRIB_LEASE_SECONDS": str(found.lease_seconds),
        "DISTRIB_CHUNK_PAYOUTS": str(found.chunk_payouts),
        "DISTRIB_CHUNK_ORDERS": str(found.chunk_orders),
        "PYTHONPATH": os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path),
    }


def commands(workers: int, *, sweeper: bool = True) -> dict[str, list[str]]:
    """What to keep running, by name."""
    program = [sys.executable, "-P", "-m", "worker", "--only"]
    found = {f"worker {n}": [*program, "worker"] for n in range(1, workers + 1)}
    return found | ({"sweeper": [*program, "sweeper"]} if sweeper else {})


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


def keep(found: Settings, *, workers: int, sweeper: bool = True) -> None:
    """Keep workers and the sweeper running until told to stop."""
    Keeper(commands(workers, sweeper=sweeper), environment(found)).run()


@contextmanager
def in_background(found: Settings, *, workers: int) -> Iterator[None]:
    """Have workers, and no sweeper, for the length of the block."""
    keeper = subprocess.Popen(
        [sys.executable, "-P", "-m", "worker", "--no-sweeper", "--workers", str(workers)],
        stdin=subprocess.DEVNULL,
        env=environment(found) | {KEEPER: str(os.getpid())},
        process_group=0,
    )
    try:
        yield
    finally:
        keeper.terminate()
        keeper.wait()


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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s[%(process)d] %(message)s")
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
