"""Valkey: its settings, and whether it answers."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from distrib.embedded.child import Program
from distrib.embedded.home import Home, private_dir


def program(home: Home) -> Program:
    """How to run this home's Valkey."""
    data = home.path / "valkey"
    path = home.sockets / "valkey.sock"
    pid_file = home.sockets / "valkey.pid"
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "pidfile": str(pid_file),
        "dir": str(data),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    command = [str(home.valkey_server)]
    for name, value in settings.items():
        command += [f"--{name}", value]

    def prepare(_lock: int) -> int:
        private_dir(data, home.account)
        return 0

    return Program(
        name="valkey",
        executable="valkey-server",
        marker=str(path),
        command=command,
        pid_file=pid_file,
        socket=path,
        kind=signal.SIGTERM,
        sure=signal.SIGTERM,
        prepare=prepare,
        ping=lambda: _ping(path),
    )


def url(home: Home) -> str:
    """The address for redis.from_url."""
    return f"unix://{home.sockets / 'valkey.sock'}?db=0"


def _ping(path: Path) -> str | None:
    """The version if it answers and has read its data. A client library takes longer to import."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(path))
            connection.sendall(b"PING\r\nINFO server\r\n")
            with connection.makefile("rb") as answer:
                if answer.readline() == b"+PONG\r\n":
                    for line in answer:
                        if line.startswith(b"valkey_version:"):
                            return line.partition(b":")[2].strip().decode()
    except OSError:
        pass
    return None
