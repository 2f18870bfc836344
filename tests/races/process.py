"""Processes that do real work and can be killed in the middle of it.

``python -m tests.races.process`` is a *nest*: it loads everything once, then forks a process for
each line of JSON it reads, so that a worker is there in an instant. What it forks is like any
other worker: it opens its own connections, and RQ forks from it a work-horse for each job.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
import rq
from rq.serializers import JSONSerializer

from distrib import clock, faults, jobs
from distrib.brands.tables import Brand
from distrib.commission.intake import take_orders
from distrib.config import Settings
from distrib.db import Database, make_engine
from distrib.orders.document import LineIn, OrderIn
from distrib.settlement import paying  # noqa: F401  # does the jobs, once imported
from distrib.settlement.batch import (
    approve_batch,
    draw_up_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.running import run_batch

SETTLE = "test_settle"
"""The kind of a job that draws up a batch, approves and runs it."""


@dataclass(frozen=True)
class Plug:
    """Where the plug is pulled, and on whom. It is pulled once: whoever makes the file does it.

    :param victim: ``horse`` is the process that does the job, ``worker`` that and its parent;
        ``parent`` dies alone, and who does the job stands still until :meth:`wake`; ``nobody``
        dies, and the job takes a second longer.
    :param file: made when it is pulled; holds the number of the process that did it, and is locked
        for as long as that lives.
    """

    point: str
    victim: str
    file: str

    def pass_by(self, name: str) -> None:
        """What :func:`distrib.faults.point` calls."""
        if name != self.point:
            return
        try:
            file = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        except FileExistsError:
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        os.write(file, f"{os.getpid()}\n".encode())
        if self.victim in ("worker", "parent"):
            os.kill(os.getppid(), signal.SIGKILL)
        if self.victim == "nobody":
            time.sleep(1)
        else:
            os.kill(os.getpid(), signal.SIGSTOP if self.victim == "parent" else signal.SIGKILL)

    def pulled(self) -> bool:
        """Whether it has been pulled."""
        path = Path(self.file)
        return path.exists() and path.read_text().endswith("\n")

    def wake(self) -> None:
        """Let who stands still go on, if it lives."""
        self._send(signal.SIGCONT)

    def clean_up(self) -> None:
        """Kill who was left behind, if it lives."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.pulled() and not self.over():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(Path(self.file).read_text()), number)

    def over(self) -> bool:
        """Whether it has been pulled, and the process that did it is gone."""
        gone = False
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            with Path(self.file).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = True
        return gone


@jobs.handler(SETTLE)
def settle(database: Database, settings: Settings, claim: jobs.Claim) -> None:
    """Draw up a batch of all that is ripe, approve it, run it."""
    with database.transaction() as session:
        brand = session.get_one(Brand, claim.brand_id)
    cutoff = mature_for_batch(database, brand=brand)
    with database.transaction() as session:
        claim.hold(session)
        batch = draw_up_batch(session, brand=brand, cutoff=cutoff, created_by="test")
        submit_batch(session, brand_id=brand.id, number=batch.number, submitted_by="test")
        approve_batch(
            session,
            brand_id=brand.id,
            number=batch.number,
            approved_by="finance",
            content_hash=batch.content_hash,
        )
        run_batch(
            session,
            brand_id=brand.id,
            number=batch.number,
            chunk_payouts=settings.chunk_payouts,
        )
        claim.finish(session)


# -- in the forked process ------------------------------------------------------------------------


def _work(settings: Settings, plug: dict[str, Any] | None) -> None:
    """Be an RQ worker until killed."""
    if plug is not None:
        faults.hook = Plug(**plug).pass_by
    jobs.serve(settings)
    connection = redis.from_url(settings.redis_url)
    queue = rq.Queue(settings.queue, connection=connection, serializer=JSONSerializer)
    worker = rq.Worker([queue], connection=connection, serializer=JSONSerializer)
    worker.work(logging_level="WARNING")


def _take(settings: Settings, brand_id: int, names: list[str], result: str) -> None:
    """Take orders of these names, five at a time, and write down what became of each."""
    engine = make_engine(settings.database_url, pool_size=1)
    database = Database(engine)
    with database.transaction() as session:
        brand = session.get_one(Brand, brand_id)
    placed_at = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    orders = [
        OrderIn("shop", name, placed_at, "CNY", (LineIn("sku", 1, 10_000),), distributor="d5")
        for name in names
    ]
    found = []
    for at in range(0, len(orders), 5):
        chunk = orders[at : at + 5]
        outcomes = database.run(
            lambda session, chunk=chunk: take_orders(session, brand=brand, orders=chunk)  # type: ignore[misc]
        )
        found += [
            (one.external_id, each.status, each.id)
            for one, each in zip(chunk, outcomes, strict=True)
        ]
    engine.dispose()
    path = Path(result)
    path.with_suffix(".part").write_text(json.dumps(found))
    path.with_suffix(".part").rename(path)


def _become(task: dict[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # RQ waits for its work-horses
    log = os.open(task["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    found = task["settings"]
    settings = Settings(**found | {"data_dir": Path(found["data_dir"])})
    if task["name"] == "work":
        _work(settings, task["plug"])
    else:
        _take(settings, task["brand_id"], task["names"], task["result"])


def main() -> None:
    """Fork a process for each line that comes in, and answer its number."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody else asks how they ended
    children: list[int] = []
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _become(json.loads(line))
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


# -- in the test ----------------------------------------------------------------------------------


class Nest:
    """The nest, as tests see it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.races.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )

    def _fork(self, settings: Settings, log: Path, **task: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        found = asdict(settings) | {"data_dir": str(settings.data_dir)}
        self._process.stdin.write(json.dumps({"settings": found, "log": str(log), **task}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @contextlib.contextmanager
    def worker(self, settings: Settings, log: Path, plug: Plug | None = None) -> Iterator[int]:
        """A worker, killed at the end of the block if it still lives."""
        pid = self._fork(settings, log, name="work", plug=plug and asdict(plug))
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def take(
        self, settings: Settings, log: Path, *, brand_id: int, names: list[str], result: Path
    ) -> int:
        """A process that takes orders of these names and writes to ``result`` what became of them:
        for each its name, status and id."""
        return self._fork(
            settings, log, name="take", brand_id=brand_id, names=names, result=str(result)
        )

    def close(self) -> None:
        """End the nest and all who live in it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


if __name__ == "__main__":
    main()
