"""Processes to be harmed: workers, and one that draws up a batch.

Like :mod:`tests.races.process`, ``python -m tests.chaos.nest`` loads everything once and forks a
process for each line of JSON. What differs is how they work: small calls, short waits, and a
:class:`Trap` at a named point.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
import rq
from rq.serializers import JSONSerializer

from distrib import faults, jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database, make_engine
from distrib.settlement import gate, outcomes
from distrib.settlement.batch import draw_up_batch, mature_for_batch
from distrib.settlement.providers.http import HttpClient
from distrib.settlement.providers.registry import choose_provider
from worker import Worker


@dataclass(frozen=True)
class Trap:
    """What happens to the process that comes ``nth`` to ``point``; only to that one.

    :param victim: ``horse`` is killed; ``both`` it and its parent; ``parent`` alone, and it goes
        on without one; ``zombie`` stands still until told to go on; ``full`` can write files of no
        more than 16 bytes from now on.
    :param file: its children count the comers; locked by the process that is trapped.
    """

    point: str
    nth: int
    victim: str
    file: str

    def pass_by(self, name: str) -> None:
        """What :func:`distrib.faults.point` calls."""
        if name != self.point or Path(self.file).exists():
            return
        for turn in range(1, self.nth + 1):
            path = self.file if turn == self.nth else f"{self.file}.{turn}"
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
            except FileExistsError:
                continue
            if turn == self.nth:
                fcntl.flock(file, fcntl.LOCK_EX)  # open, so held, for as long as we live
                os.write(file, f"{os.getpid()}\n".encode())
                self._close()
            else:
                os.close(file)
            return

    def _close(self) -> None:
        if self.victim == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
            return
        if self.victim in ("both", "parent"):
            os.kill(os.getppid(), signal.SIGKILL)
        if self.victim in ("both", "horse"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.victim == "zombie":
            os.kill(os.getpid(), signal.SIGSTOP)

    def sprung(self) -> bool:
        """Whether somebody is or was in it."""
        path = Path(self.file)
        return path.exists() and path.read_text().endswith("\n")

    def go_on(self) -> None:
        """Let who stands still go on, if it lives."""
        self._send(signal.SIGCONT)

    def clean_up(self) -> None:
        """Kill who may be left behind."""
        self._send(signal.SIGKILL)

    def over(self) -> bool:
        """Whether who was trapped is gone."""
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            with Path(self.file).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _send(self, number: signal.Signals) -> None:
        if self.sprung() and not self.over():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(Path(self.file).read_text()), number)


@dataclass(frozen=True)
class Manner:
    """How the processes of a run work, so that a small batch takes many steps and no long waits.

    :param group: requests in one call.
    :param pace: seconds that each named point takes.
    :param read_seconds: how long a provider is waited for.
    :param ask_seconds: how long until an undecided request is asked about.
    """

    group: int = 3
    pace: float = 0.01
    read_seconds: float = 0.4
    ask_seconds: int = 1
    gate_seconds: float = 0.4


def behave(manner: Manner) -> None:
    """Take on a manner, in this process."""
    for module, name in (
        ("wechat_pay", "WechatPay"),
        ("alipay", "Alipay"),
        ("paypal", "PayPal"),
        ("stripe_connect", "StripeConnect"),
        ("bank_file", "BankFile"),
        ("pain_001", "Pain001"),
    ):
        adapter = getattr(importlib.import_module(f"distrib.settlement.providers.{module}"), name)
        adapter.group = manner.group
    defaults = HttpClient.__init__.__kwdefaults__
    assert defaults is not None
    defaults.update(read_seconds=manner.read_seconds, connect_seconds=2.0)
    outcomes.ASK_AFTER = (manner.ask_seconds,) * 7
    gate.LONGEST_PAUSE = manner.gate_seconds


class _Orphaning(rq.Worker):
    """A worker whose forked child outlives it."""

    max_connection_wait_time = 0.5


class _Guarded(Worker):
    max_connection_wait_time = 0.5


def _work(settings: Settings, trap: Trap | None) -> None:
    jobs.serve(settings)
    connection = redis.from_url(settings.redis_url)
    queue = rq.Queue(settings.queue, connection=connection, serializer=JSONSerializer)
    made = _Orphaning if trap is not None and trap.victim == "parent" else _Guarded
    worker = made([queue], connection=connection, serializer=JSONSerializer, worker_ttl=20)
    worker.work(logging_level="WARNING")


def _draw(settings: Settings, provider: str) -> None:
    """Draw up a batch, unless there is one."""
    engine = make_engine(settings.database_url, pool_size=1)
    database = Database(engine)
    with database.transaction() as session:
        brand = session.query(Brand).one()
    cutoff = mature_for_batch(database, brand=brand)
    database.run(
        lambda session: draw_up_batch(
            session,
            brand=brand,
            cutoff=cutoff,
            provider=choose_provider(settings, brand.slug, provider),
            created_by="maker",
        )
    )
    engine.dispose()


def _become(task: dict[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # RQ waits for its work-horses
    log = os.open(task["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    manner = Manner(**task["manner"])
    behave(manner)
    trap = Trap(**task["trap"]) if task["trap"] else None

    def pass_by(name: str) -> None:
        if trap is not None:
            trap.pass_by(name)
        time.sleep(manner.pace)

    faults.hook = pass_by
    settings = read_settings(task["settings"])
    if task["name"] == "work":
        _work(settings, trap)
    else:
        _draw(settings, task["provider"])


def write_settings(settings: Settings) -> dict[str, Any]:
    """Settings as JSON has them."""
    return json.loads(json.dumps(asdict(settings), default=str))  # type: ignore[no-any-return]


def read_settings(found: dict[str, Any]) -> Settings:
    """And back."""
    paths = {name: Path(found[name]) for name in ("data_dir", "providers_file")}
    return Settings(**found | paths)


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


class Nest:
    """The nest, as a run sees it. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nest"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )

    def fork(
        self,
        name: str,
        settings: Settings,
        manner: Manner,
        log: Path,
        *,
        trap: Trap | None = None,
        **task: Any,
    ) -> int:
        """A new process that does ``work`` or ``draw``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = {
            "name": name,
            "settings": write_settings(settings),
            "manner": asdict(manner),
            "log": str(log),
            "trap": trap and asdict(trap),
            **task,
        }
        with self._lock:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the nest."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


if __name__ == "__main__":
    main()
