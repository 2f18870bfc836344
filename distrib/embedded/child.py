"""One server process: started, watched, restarted, stopped; and its forerunners waited for."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from distrib.embedded.home import Home
from distrib.embedded.layout import EmbeddedError, Layout, alive, open_lock, try_lock

logger = logging.getLogger("distrib.embedded")

PR_SET_PDEATHSIG = 1
GIVE_UP = 5  # stops in a row, none of them after a calm time
CALM_SECONDS = 30
ORPHAN_SECONDS = 40
LOG_BYTES = 32 * 2**20
PASSED_ON = ("PATH", "LD_LIBRARY_PATH")  # the servers get no other setting and no secret

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


@dataclass(frozen=True)
class Program:
    """What is particular about a server."""

    name: str
    executable: str  # what the kernel calls its processes
    marker: str  # what is in the command line of each of them, and of no other server's
    command: list[str]
    pid_file: Path
    socket: Path
    kind: signal.Signals  # stops one that answers
    sure: signal.Signals  # stops it in whatever state, which may cost a recovery
    prepare: Callable[[int], int]  # gets the descriptor of the held lock, returns an exit code
    ping: Callable[[], str | None]  # its version once it answers


class Child:
    """Keeps one program running.

    Each server inherits a locked descriptor, and so does every process it forks. While that lock is
    held some process of the server is alive, whatever pid files say; once it is free all are gone,
    and only then it is safe to start another or to remove what they left behind.
    """

    def __init__(self, program: Program, home: Home, layout: Layout) -> None:
        self.program = program
        self.version: str | None = None  # set while it answers
        self._home = home
        self._lock = home.path / f"{program.name}.lock"
        self._log = layout.log(program.name)
        self._process: subprocess.Popen[bytes] | None = None
        self._stops = 0
        self._next_start = self._waiting_since = self._up_since = 0.0

    @property
    def pid(self) -> int | None:
        """The server's process, if there is one."""
        return self._process.pid if self._process else None

    def step(self) -> bool:
        """Do what is due now; true while the server answers."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next_start:
                self._start(now)
            return False
        if (code := self._process.poll()) is not None:
            self._note_stop(code, now)
            return False
        if self.version is None:
            self.version = self.program.ping()
            self._up_since = now
        elif not self.program.socket.exists():
            logger.error("%s: its socket was removed: restarting it", self.program.name)
            self._process.send_signal(self.program.sure)
            self.version = None
        elif now - self._up_since > CALM_SECONDS:
            self._up_since, self._stops = now, 0
            self._trim_log()
        return self.version is not None

    def ask_to_stop(self) -> None:
        """Send the kind signal, or the sure one if it does not answer."""
        self.version = None
        if self._process:
            answers = self.program.ping() is not None
            self._process.send_signal(self.program.kind if answers else self.program.sure)

    def wait_stopped(self) -> None:
        """Wait until it is gone, less and less patiently."""
        if self._process is None:
            return
        for seconds, next_number in ((20, self.program.sure), (5, signal.SIGKILL), (5, None)):
            try:
                code = self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                logger.error("%s does not stop within %s s", self.program.name, seconds)
                if next_number:
                    self._process.send_signal(next_number)
            else:
                logger.info("%s stopped (%s)", self.program.name, code)
                self._process = None
                return

    def _start(self, now: float) -> None:
        lock = open_lock(self._lock)
        try:
            if not try_lock(lock):
                self._hurry_orphans(now)
                return
            self._waiting_since = 0.0
            if code := self.program.prepare(lock):
                self._note_stop(code, now)
                return
            with self._log.open("ab") as log:
                self._process = spawn(
                    self.program.command, self._home, lock, log, death=self.program.sure
                )
            logger.info("%s started, pid %s", self.program.name, self._process.pid)
        finally:
            os.close(lock)  # not unlocked: the server shares it

    def _note_stop(self, code: int, now: float) -> None:
        self._process, self.version = None, None
        self._stops += 1
        what = f"{self.program.name} failed (code {code}), time {self._stops} in a row"
        logger.error(what)
        if self._stops >= GIVE_UP:
            raise EmbeddedError(what)
        self._next_start = now + (0.05 * 2**self._stops if self._stops > 1 else 0)

    def _hurry_orphans(self, now: float) -> None:
        """Get rid of a server whose supervisor was killed, or of what a killed server left.

        On Linux it knows already and we only wait; elsewhere, or if it hangs, it has to be told.
        """
        self._waiting_since = self._waiting_since or now
        waited, orphans = now - self._waiting_since, self._orphans()
        if waited > ORPHAN_SECONDS:
            raise EmbeddedError(f"An earlier {self.program.name} will not end (pids {orphans}).")
        main = [pid for pid in orphans if pid == noted_pid(self.program.pid_file)]
        patience = 10 if main else 1
        if waited < patience:
            send(main, self.program.sure)
        elif waited < patience + 5:
            send(orphans, self.program.sure)
        else:
            send(orphans, signal.SIGKILL)

    def _orphans(self) -> list[int]:
        """The processes that are certainly of this server, our child or not."""
        if not sys.platform.startswith("linux"):
            pid = noted_pid(self.program.pid_file)
            return [pid] if pid and alive(pid) else []
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                name = (entry / "comm").read_text().strip()
                if name == self.program.executable:
                    command = os.fsdecode((entry / "cmdline").read_bytes())
                    if self.program.marker in command:
                        found.append(int(entry.name))
            except OSError:
                continue  # it ended while we looked
        return found

    def _trim_log(self) -> None:
        """Keep one old log. The server appends, so that the file can be cut under it."""
        with suppress(OSError):  # a full disk is no reason to stop
            if self._log.stat().st_size > LOG_BYTES:
                shutil.copyfile(self._log, self._log.with_suffix(".log.1"))
                os.truncate(self._log, 0)


def noted_pid(pid_file: Path) -> int | None:
    """The number that a server left, if it makes sense."""
    try:
        return int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def spawn(
    command: list[str], home: Home, lock: int, log: IO[bytes], *, death: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start a process that shares the lock and gets the signal `death` if we die (Linux only)."""
    parent = os.getpid()

    def in_child() -> None:  # after the change of user, which would clear the setting
        if sys.platform.startswith("linux"):
            _libc.prctl(PR_SET_PDEATHSIG, int(death), 0, 0, 0)
            if os.getppid() != parent:  # too late to be told
                os._exit(1)

    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=home.path,
        env={"LC_ALL": "C", "TZ": "UTC"} | passed_on,
        pass_fds=(lock,),
        preexec_fn=in_child,  # noqa: PLW1509 - the supervisor has one thread
        **home.popen_args(),
    )


def send(pids: list[int], number: signal.Signals) -> None:
    """Signal those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
