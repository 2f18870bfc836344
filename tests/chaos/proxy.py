"""Relays that cut connections: between a worker and PostgreSQL, or a worker and a provider.

A relay shows each piece of the client's stream to a *judge*, which says what becomes of it. For
PostgreSQL a piece is a whole message of the protocol, for HTTP what came in one read.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self


class Verdict(enum.Enum):
    """What becomes of a piece of what the client says."""

    PASS = "pass"
    CUT_BEFORE = "cut before"
    """It does not reach the server; the connection ends on both sides."""
    CUT_HALF = "cut half"
    """Half of it reaches the server."""
    CUT_AFTER = "cut after"
    """All of it reaches the server, and the connection ends at once."""
    SWALLOW = "swallow"
    """The server does it and answers; of the answer nothing reaches the client."""
    CUT_ANSWER = "cut answer"
    """The server does it, half of what it answers reaches the client."""


Judge = Callable[[bytes], Verdict]
Pieces = Callable[[socket.socket], Iterator[bytes]]

_CUTS = (Verdict.CUT_BEFORE, Verdict.CUT_HALF, Verdict.CUT_AFTER)


class _Link:
    """One connection through the relay."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.answer = Verdict.PASS

    def cut(self) -> None:
        """End it on both sides."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def up(self, pieces: Pieces, judge: Judge) -> None:
        """Relay what the client says."""
        with contextlib.suppress(OSError):
            for piece in pieces(self.client):
                verdict = judge(piece)
                if verdict in (Verdict.SWALLOW, Verdict.CUT_ANSWER):
                    self.answer = verdict
                if verdict is not Verdict.CUT_BEFORE:
                    half = verdict is Verdict.CUT_HALF
                    self.server.sendall(piece[: len(piece) // 2] if half else piece)
                if verdict in _CUTS:
                    break
        self.cut()

    def down(self) -> None:
        """Relay what the server says."""
        with contextlib.suppress(OSError):
            while piece := self.server.recv(65536):
                if self.answer is Verdict.SWALLOW:
                    break
                if self.answer is Verdict.CUT_ANSWER:
                    self.client.sendall(piece[: len(piece) // 2])
                    break
                self.client.sendall(piece)
        self.cut()


class Relay:
    """Listens, and relays each connection to ``connect()``."""

    def __init__(
        self,
        listener: socket.socket,
        connect: Callable[[], socket.socket],
        pieces: Pieces,
        judge: Judge,
    ) -> None:
        self._listener, self._connect, self._pieces, self._judge = listener, connect, pieces, judge
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._listener.listen(64)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for link in self._links:
            link.cut()
        for thread in self._threads:
            thread.join(5)
        for link in self._links:
            link.client.close()
            link.server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:  # the server is away: so are we
                client.close()
                continue
            link = _Link(client, server)
            self._links.append(link)
            for target in (lambda link=link: link.up(self._pieces, self._judge), link.down):
                thread = threading.Thread(target=target, daemon=True)
                self._threads.append(thread)
                thread.start()


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = connection.recv(size - len(content))
        if not piece:
            raise ConnectionResetError
        content += piece
    return content


def _postgres_pieces(connection: socket.socket) -> Iterator[bytes]:
    """The messages of a PostgreSQL client; the first has no letter."""
    length = _exactly(connection, 4)
    yield length + _exactly(connection, int.from_bytes(length, "big") - 4)
    while True:
        head = _exactly(connection, 5)
        yield head + _exactly(connection, int.from_bytes(head[1:], "big") - 4)


def _reads(connection: socket.socket) -> Iterator[bytes]:
    while piece := connection.recv(65536):
        yield piece


def is_statement(piece: bytes) -> bool:
    """Whether a message has a statement done: a query, or the execution of a prepared one."""
    return piece[:1] in (b"Q", b"E")


def is_commit(piece: bytes) -> bool:
    """Whether a message is COMMIT, as a query or as a statement to be parsed."""
    return (piece[:1] == b"Q" and piece[5:11].upper() == b"COMMIT") or (
        piece[:1] == b"P" and b"\0COMMIT" in piece.upper()
    )


def postgres_relay(folder: Path, server: Path, judge: Judge) -> Relay:
    """A relay to the PostgreSQL socket ``server``; clients find it in ``folder``."""
    listener = socket.socket(socket.AF_UNIX)
    path = folder / server.name
    path.unlink(missing_ok=True)
    listener.bind(str(path))

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(server))
        except OSError:
            connection.close()
            raise
        return connection

    return Relay(listener, connect, _postgres_pieces, judge)


def http_relay(port: int, judge: Judge) -> tuple[Relay, str]:
    """A relay to a server on this machine, and its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return (
        Relay(listener, lambda: socket.create_connection(("127.0.0.1", port), 5), _reads, judge),
        address,
    )
