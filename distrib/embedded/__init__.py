"""PostgreSQL and Valkey of our own, so that nothing has to be installed or configured.

Every process that needs the servers holds :func:`attach` open. The first one starts a supervisor,
which outlives it, and which stops the servers when the last one has gone, however that one ended.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distrib.embedded.layout import (
    SHARED,
    EmbeddedError,
    Layout,
    Servers,
    open_lock,
    read_json,
    try_lock,
    unlock,
)

__all__ = ["EmbeddedError", "Servers", "attach", "default_data_dir", "running", "stop"]

# of our own: the global one is a program's to seed
_chance = random.Random()
logger = logging.getLogger(__name__)


def default_data_dir() -> Path:
    """``$DISTRIB_DATA``, else ``distrib`` in the user's directory for data."""
    if named := os.environ.get("DISTRIB_DATA"):
        return Path(named)
    if base := os.environ.get("XDG_DATA_HOME"):
        return Path(base) / "distrib"
    return Path("~/.local/share/distrib").expanduser()


@contextmanager
def attach(data_dir: Path | None = None, *, wait_seconds: float = 60) -> Iterator[Servers]:
    """Have both servers up for the length of the block, starting them if need be.

    A process forked in the block counts as a user of its own for as long as it lives; one that is
    started afresh (spawn, exec) does not and has to attach itself.

    :raises EmbeddedError: when they do not answer in time, with the ends of their logs.
    """
    layout = _layout(data_dir)
    deadline = time.monotonic() + wait_seconds
    try:
        layout.create()
        users = open_lock(layout.users_lock)
    except OSError as error:
        raise EmbeddedError(
            f"The data directory {layout.path} is not usable: {error}. DISTRIB_DATA names another."
        ) from error
    try:
        while not try_lock(users, SHARED):  # a supervisor is leaving
            _sleep_until(deadline, layout, "An earlier supervisor is still stopping.")
        os.utime(users)  # so that even a short visit is noticed
        layout.stopped.unlink(missing_ok=True)
        servers = _wait_for_servers(layout, deadline)
        done, owner = threading.Event(), os.getpid()
        watcher = threading.Thread(
            target=_watch, args=(layout, done), name="distrib-embedded", daemon=True
        )
        watcher.start()
        try:
            yield servers
        finally:
            if os.getpid() == owner:  # threads do not live on in a fork
                done.set()
                watcher.join()
    finally:
        os.close(users)  # not unlocked: forks may still be using the servers


def running(data_dir: Path | None = None) -> Servers | None:
    """The servers that are up there already; nothing is started."""
    return _layout(data_dir).published()


def stop(data_dir: Path | None = None, timeout: float = 30) -> bool:
    """Stop the servers, even under their users; true if there were any.

    Users that stay attached get them back only when somebody attaches anew.

    :raises EmbeddedError: when they are still there after `timeout` seconds.
    """
    layout = _layout(data_dir)
    if layout.stopped.parent.is_dir():
        layout.stopped.touch()
    deadline = time.monotonic() + timeout
    found, told = False, ""
    while layout.supervised():
        found = True
        pid = layout.supervisor_lock.read_text()  # not written yet at first, or of a forerunner
        if pid != told:
            with suppress(ValueError, ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
            told = pid
        _sleep_until(deadline, layout, "The supervisor does not stop.")
    return found


def _layout(data_dir: Path | None) -> Layout:
    return Layout(Path(data_dir or default_data_dir()).expanduser().resolve())


def _sleep_until(deadline: float, layout: Layout, problem: str) -> None:
    if time.monotonic() > deadline:
        logs = layout.tails("supervisor", "postgres", "valkey")
        raise EmbeddedError(f"{problem} Waited in vain in {layout.path}.\n{logs}")
    time.sleep(0.03)


def _wait_for_servers(layout: Layout, deadline: float) -> Servers:
    token, problem = None, "The servers are still starting."
    while True:
        if servers := layout.published():
            if (refusal := _refusal(servers)) is None:
                return servers
            problem = f"The servers were started but cannot be reached: {refusal}"
        if not layout.supervised():
            failure = read_json(layout.failure)
            if failure and failure["token"] == token:
                raise EmbeddedError(f"The embedded servers did not start: {failure['message']}")
            token = _launch(layout) or token
        _sleep_until(deadline, layout, problem)


def _refusal(servers: Servers) -> Exception | None:
    """Try both servers for real."""
    import psycopg  # here, for the supervisor imports this package too and needs to be quick
    import redis

    try:
        address = servers.database_url.replace("+psycopg", "", 1)
        with psycopg.connect(address, connect_timeout=5) as connection:
            connection.execute("SELECT 1")
        with redis.Redis.from_url(servers.redis_url, socket_timeout=5) as client:
            client.ping()
    except (psycopg.Error, redis.RedisError) as error:
        return error
    return None


def _launch(layout: Layout) -> str | None:
    """Start a supervisor that is not our child; its failure will carry the returned token."""
    lock = open_lock(layout.launch_lock)
    try:
        if not try_lock(lock) or layout.supervised():
            return None  # another user is at it
        token = uuid.uuid4().hex
        command = [sys.executable, "-P", "-m", "distrib.embedded.supervisor"]
        # It has to import what we import, from wherever that came.
        path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
        with layout.log("supervisor").open("ab") as log:
            code = subprocess.run(
                [*command, str(layout.path), token],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,
                check=False,
            ).returncode
        if code in (1, 2):  # it could not even be imported
            raise EmbeddedError(
                f"The supervisor did not start (code {code}).\n{layout.tails('supervisor')}"
            )
        return token
    finally:
        unlock(lock)
        os.close(lock)


def _watch(layout: Layout, done: threading.Event) -> None:
    """Bring back a supervisor that was killed; with it went the servers."""
    pause = 1.0
    while not done.wait(pause * _chance.uniform(0.5, 1)):
        try:
            if layout.supervised() or layout.stopped.exists():
                pause = 1.0
                continue
            logger.warning("the supervisor of %s is gone: starting another", layout.path)
            _launch(layout)
        except Exception:
            logger.exception("no supervisor could be started for %s", layout.path)
        pause = min(pause * 2, 30)
