"""Keeping processes running: workers, the sweeper and the API, each a process of its own.

The keeper does none of the work. It starts again what dies, and stops everything when it is told
to. Should it be killed, the kernel tells its children, and theirs, so nothing is left behind.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from distrib.config import Settings
from distrib.embedded.child import PR_SET_PDEATHSIG

STOP_SECONDS = 20
CALM_SECONDS = 10
LONGEST_PAUSE = 10
KEEPER = "DISTRIB_KEEPER"  # in the environment of what a Keeper starts: its pid

logger = logging.getLogger("distrib.worker")
_libc = ctypes.CDLL(None)  # loaded before any fork


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


def keep(found: Settings, *, workers: int, sweeper: bool = True) -> None:
    """Keep workers and the sweeper running until told to stop."""
    Keeper(commands(workers, sweeper=sweeper), environment(found)).run()


@contextmanager
def in_background(found: Settings, *, workers: int) -> Iterator[None]:
    """Have workers, and no sweeper, for the length of the block."""
    surroundings = environment(found) | {KEEPER: str(os.getpid())}
    processes = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, env=surroundings, process_group=0)
        for command in commands(workers, sweeper=False).values()
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
