"""Where everything lives in a data directory, and the locks that say who is using it.

Every claim ("the supervisor runs", "I use the servers", "this server lives") is an flock: the
kernel drops it however its holder dies, so there is nothing to clean up after a kill -9.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SHARED, EXCLUSIVE = fcntl.LOCK_SH, fcntl.LOCK_EX


class EmbeddedError(RuntimeError):
    """An embedded server could not be started, reached or stopped; the message says why."""


@dataclass(frozen=True)
class Servers:
    """The running servers, and how to reach them."""

    database_url: str
    redis_url: str
    data_dir: Path
    supervisor_pid: int


class Layout:
    """The files of one data directory that processes meet at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.users_lock = path / "users.lock"  # shared by users; a leaving supervisor has it alone
        self.supervisor_lock = path / "supervisor.lock"  # the supervisor's for life; has its pid
        self.launch_lock = path / "launch.lock"  # of the user that is launching a supervisor
        self.ready = path / "run" / "ready.json"  # there while both servers answer
        self.failure = path / "run" / "failure.json"  # why the last failed supervisor did so
        self.stopped = path / "run" / "stopped"  # after a deliberate stop: watchers, let it be

    def log(self, name: str) -> Path:
        """The log file of `name`."""
        return self.path / "log" / f"{name}.log"

    def create(self) -> None:
        """Make the directories that are missing."""
        if not self.path.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            # Root's servers run as another user, which must be able to walk through.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for name in ("run", "log"):
            (self.path / name).mkdir(mode=0o700, exist_ok=True)

    def supervised(self) -> bool:
        """Whether a supervisor is alive."""
        try:
            fd = os.open(self.supervisor_lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not try_lock(fd, SHARED)
        finally:
            unlock(fd)  # not only closed: a fork at this very moment would keep it
            os.close(fd)

    def publish(self, servers: Servers, **more: Any) -> None:
        """Tell everybody that the servers answer."""
        write_json(self.ready, asdict(servers) | more)

    def published(self) -> Servers | None:
        """The servers of the supervisor that is alive now, when both answered."""
        found = read_json(self.ready)
        if not found or not self.supervised() or not alive(found["supervisor_pid"]):
            return None
        return Servers(
            database_url=found["database_url"],
            redis_url=found["redis_url"],
            data_dir=self.path,
            supervisor_pid=found["supervisor_pid"],
        )

    def tails(self, *names: str) -> str:
        """The last lines of these logs, for an error message."""
        parts = []
        for name in names:
            try:
                with self.log(name).open("rb") as file:
                    file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
                    lines = file.read().decode(errors="replace").splitlines()[-15:]
            except FileNotFoundError:
                continue
            parts.append("\n  ".join([f"The end of {self.log(name)}:", *lines]))
        return "\n".join(parts)


def open_lock(path: Path) -> int:
    """Open a lock file: closed on exec, but a plain fork shares the descriptor and its lock."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(fd: int, how: int = EXCLUSIVE) -> bool:
    """Take the lock if that needs no waiting."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Give the lock back, also for forks that share the descriptor."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a small file as a whole."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, default=str, indent=1))
    draft.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote, if it did."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None
