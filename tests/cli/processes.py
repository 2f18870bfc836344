"""Looking at processes, and killing them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATIENCE = 120


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def children(parent: int) -> list[int]:
    """The living children of a process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended while we looked
        if int(ppid) == parent and state != "Z":
            found.append(int(entry.name))
    return sorted(found)


def family(parent: int) -> list[int]:
    """All that descend from a process."""
    return [pid for child in children(parent) for pid in (child, *family(child))]


def role(pid: int) -> str:
    """``worker`` or ``sweeper``."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().split("\0")[-2]
    except (OSError, IndexError):
        return ""


def alive(pid: int) -> bool:
    """Whether the process is there, and no zombie that its parent has not buried."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(*pids: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
