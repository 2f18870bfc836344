"""One running house a data directory: what ``distrib up`` holds, and others look for.

The claim "it runs" is a file lock, which the kernel drops however its holder dies; the file says
who holds it and where the API answers.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from distrib.embedded.layout import open_lock, try_lock
from distrib.errors import Conflict, InvalidInput, Unavailable

Check = Callable[[], bool]

STOP_SECONDS = 40
_POLL = 0.1


class AlreadyUp(Conflict):
    """One house a data directory."""

    title = "It is running already"


class NotUp(Unavailable):
    """What was started does not answer, or does not stop."""

    title = "It does not answer"


@dataclass(frozen=True)
class House:
    """What runs: the process that keeps it, and where the API answers."""

    pid: int
    host: str
    port: int

    @property
    def address(self) -> str:
        """The API's address."""
        return f"http://{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{self.port}"

    def answers(self) -> bool:
        """Whether the API says that it is ready."""
        connection = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _lock_file(data_dir: Path) -> Path:
    return data_dir / "up.lock"


def log_file(data_dir: Path) -> Path:
    """Where a house in the background logs."""
    return data_dir / "log" / "up.log"


@contextmanager
def hold(data_dir: Path, *, host: str, port: int) -> Iterator[tuple[House, Check]]:
    """Be the house of this data directory for the length of the block.

    :returns: the house, and a function that says whether the directory was removed under it.
    :raises AlreadyUp: when another is.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    path = _lock_file(data_dir)
    lock = open_lock(path)
    try:
        if not try_lock(lock):
            refuse_second(data_dir)
            raise AlreadyUp("distrib is starting already")
        house = House(os.getpid(), host, port)
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps([house.pid, house.host, house.port]).encode(), 0)

        def removed() -> bool:
            try:
                return path.stat().st_ino != os.fstat(lock).st_ino
            except FileNotFoundError:
                return True

        yield house, removed
    finally:
        os.close(lock)


def refuse_second(data_dir: Path) -> None:
    """Check that nothing runs on this data directory.

    :raises AlreadyUp: saying where it does.
    """
    if other := find(data_dir):
        raise AlreadyUp(
            f"distrib is up already at {other.address} (pid {other.pid}); distrib stop ends it"
        )


def find(data_dir: Path) -> House | None:
    """The house that runs on this data directory."""
    path = _lock_file(data_dir)
    if not path.exists():
        return None
    lock = open_lock(path)
    try:
        if try_lock(lock):
            return None
        with suppress(ValueError, TypeError):
            return House(*json.loads(path.read_text()))
        return None  # it is just starting
    finally:
        os.close(lock)


def stop(data_dir: Path) -> bool:
    """Stop the house of this data directory; true if there was one.

    :raises NotUp: when it does not stop.
    """
    house = find(data_dir)
    if house is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(house.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while find(data_dir) is not None:
        if time.monotonic() > deadline:
            raise NotUp(f"process {house.pid} does not stop")
        time.sleep(_POLL)
    return True


def start(data_dir: Path, *, host: str, port: int, workers: int, wait_seconds: float = 60) -> House:
    """Start a house in the background, in a session of its own, and wait until it answers.

    :raises NotUp: with the end of its log, when it does not.
    """
    log_file(data_dir).parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "distrib.cli", "up", "--host", host]
    command += ["--port", str(port), "--workers", str(workers)]
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    with log_file(data_dir).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "PYTHONPATH": path, "DISTRIB_DATA": str(data_dir.resolve())},
            start_new_session=True,
        )
    # whoever started it may live on, and then has to note its end
    threading.Thread(target=process.wait, daemon=True).start()
    deadline = time.monotonic() + wait_seconds
    while True:
        house = find(data_dir)
        if house is not None and house.pid == process.pid and house.answers():
            return house
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            tail = "\n".join(log_file(data_dir).read_text(errors="replace").splitlines()[-15:])
            raise NotUp(f"distrib up did not start; the end of {log_file(data_dir)}:\n{tail}")
        time.sleep(_POLL)


def free_port(host: str, wanted: int, *, strict: bool) -> int:
    """``wanted``, or, where that is taken and ``strict`` is not set, any that is free.

    :raises InvalidInput: when it is taken.
    """
    for port in (wanted,) if strict and wanted else (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((host, port))
                return int(probe.getsockname()[1])
    raise InvalidInput(f"{wanted} is taken on {host}; 0 takes any that is free", field="--port")
