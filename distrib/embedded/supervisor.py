"""The process that owns one data directory's servers, for as long as somebody uses them.

Started by a user (`python -m distrib.embedded.supervisor DATA_DIR [TOKEN]`), it outlives that user.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from distrib.embedded import postgres, valkey
from distrib.embedded.child import Child
from distrib.embedded.home import find_home
from distrib.embedded.layout import Layout, Servers, open_lock, try_lock, unlock, write_json

logger = logging.getLogger("distrib.embedded")

ANOTHER_RUNS = 3  # exit code
STARTING_POLL, POLL = 0.02, 0.1


class Supervisor:
    """Starts both servers, keeps them up, and stops them when nobody is left."""

    def __init__(self, layout: Layout, lock: int) -> None:
        self.layout = layout
        self.lock = lock
        self.users = open_lock(layout.users_lock)
        self.grace = float(os.environ.get("DISTRIB_EMBEDDED_GRACE", "3"))
        self.asked_to_stop = False
        self.last_use = time.monotonic()
        self.last_stamp = 0

    def run(self) -> None:
        """Work until there is a reason to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        home = find_home(self.layout.path)
        children = [
            Child(postgres.program(home, self.layout), home, self.layout),
            Child(valkey.program(home), home, self.layout),
        ]
        servers = Servers(postgres.url(home), valkey.url(home), self.layout.path, os.getpid())
        published = was_up = False
        try:
            while not self.asked_to_stop:
                # A cluster that was there and is not must not become an empty new one.
                if self._removed() or (was_up and not postgres.has_cluster(home)):
                    logger.error("the data directory was removed")
                    break
                states = [child.step() for child in children]
                up = all(states)
                if up and not published:
                    about = {
                        child.program.name: {"pid": child.pid, "version": child.version}
                        for child in children
                    }
                    self.layout.publish(servers, **about)
                    logger.info("ready: %s", about)
                elif not up:
                    self.layout.ready.unlink(missing_ok=True)
                # Only when up: a recovery that outlasts its user's patience must end some day.
                elif self._unused():
                    logger.info("nobody is left")
                    break
                published, was_up = up, up or was_up
                time.sleep(POLL if up else STARTING_POLL)
        finally:
            self.layout.ready.unlink(missing_ok=True)
            for child in children:
                child.ask_to_stop()
            for child in children:
                child.wait_stopped()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        logger.info("got %s", signal.Signals(number).name)
        self.asked_to_stop = True

    def _unused(self) -> bool:
        """True once nobody was there for the grace period.

        The users' lock then stays ours: newcomers wait for our end and start another supervisor.
        The stamp tells of users that came and went between two looks.
        """
        now, stamp = time.monotonic(), os.fstat(self.users).st_mtime_ns
        if stamp != self.last_stamp or not try_lock(self.users):
            self.last_use, self.last_stamp = now, stamp
            return False
        if now - self.last_use >= self.grace:
            return True
        unlock(self.users)
        return False

    def _removed(self) -> bool:
        """Whether the data directory was deleted, or even replaced by a new one."""
        try:
            found = self.layout.supervisor_lock.stat()
        except FileNotFoundError:
            return True
        return found.st_ino != os.fstat(self.lock).st_ino


def main(arguments: list[str]) -> int:
    """Become the supervisor, unless there is one; return early in the process that was started.

    That one exits with 0 once the supervisor, its child and so nobody's, has the lock.
    """
    layout = Layout(Path(arguments[0]))
    token = arguments[1] if arguments[1:] else ""
    os.umask(0o077)
    # What a user ignores or blocks is inherited; we and the servers rely on the defaults.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    lock = open_lock(layout.supervisor_lock)
    for _ in range(50):  # those who merely look hold it for an instant
        if try_lock(lock):
            break
        time.sleep(0.01)
    else:
        return ANOTHER_RUNS
    os.ftruncate(lock, 0)
    layout.ready.unlink(missing_ok=True)
    if os.fork():
        os._exit(0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s [%(process)d] %(message)s")
    logger.info("supervisor of %s", layout.path)
    try:
        Supervisor(layout, lock).run()
    except Exception as error:
        logger.exception("giving up")
        message = f"{error}\n{layout.tails('postgres', 'valkey')}"
        write_json(layout.failure, {"token": token, "message": message})
        return 1
    logger.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
