"""A real API server, as ``distrib serve`` starts it, to be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from distrib.brands import service as brands
from distrib.cli.keeper import environment
from tests.chaos.world import World

_HOST = "127.0.0.1"


class Server:
    """The server of a run's API: granian's parent and one process that serves."""

    def __init__(self, world: World) -> None:
        self._world = world
        with world.db.transaction() as session:
            self._key = brands.create_key(session, brand_id=world.brand.id, name="checker")
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = ""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with socket.socket() as free:
            free.bind((_HOST, 0))
            port = free.getsockname()[1]
        self.base_url = f"http://{_HOST}:{port}"
        with self._world.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "distrib.cli", "serve"),
                    *("--port", str(port), "--workers", "1", "--threads", "4"),
                ],
                cwd=Path(__file__).parents[2],
                env=os.environ
                | environment(self._world.settings)
                | {
                    "DISTRIB_PROVIDERS": str(self._world.settings.providers_file),
                    "TMPDIR": str(self._world.folder),
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._world.wait_until(self._answers, "the API server answers")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base_url}/ready", timeout=2):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def kill(self, *, all_of_it: bool) -> None:
        """SIGKILL: of both processes, or of the one that serves; the parent then starts another."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in ([pid] if all_of_it else []) + [int(child) for child in children]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        if all_of_it:
            self._process.wait(10)

    def revive(self) -> None:
        """Have it serve again: its parent starts what serves, whoever runs it starts the parent (it
        gives up when its child dies twice in some seconds)."""
        process = self._process
        assert process is not None
        self._world.wait_until(
            lambda: process.poll() is not None or self._answers(), "the API server answers again"
        )
        if process.poll() is not None:
            self.start()

    def stop(self) -> None:
        """Kill what is left."""
        if self._process is not None and self._process.poll() is None:
            self.kill(all_of_it=True)

    def post(self, path: str, *, key: str) -> int | None:
        """Send a request with an Idempotency-Key: the status of the answer, None without one."""
        request = urllib.request.Request(
            f"{self.base_url}/api/v1{path}",
            b"",
            {"Authorization": f"Bearer {self._key}", "Idempotency-Key": key},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                json.load(answer)
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                self._world.note(f"POST {path}: {error.code} {error.read()[:500]!r}")
                return error.code
        except (OSError, ValueError):
            return None

    def tell(self, path: str, headers: Mapping[str, str], body: bytes) -> int | None:
        """Send a provider's message."""
        request = urllib.request.Request(
            f"{self.base_url}/api/v1{path}", body, dict(headers), method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            time.sleep(0.02)
            return None
