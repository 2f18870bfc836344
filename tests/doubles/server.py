"""What all doubles of payment providers share: a server on this machine, its mischief, its books.

A double subclasses :class:`Double` and says how the provider answers (:meth:`Double.handle`), how
it signs, and how its messages look. Everything else is here::

    with WechatPayDouble(...) as double:                  # a thread serves double.base_url
        double.script.append(Step(Mischief.CLOSE_AFTER))  # the next request is paid, not answered
        ...
        assert double.paid == {"number": 1250}            # minor units by request number

Steps are used up one by a request; without one a request is answered properly, or as ``chaos``
draws. From another process (see :func:`main`): ``GET /_double/paid``, ``GET /_double/received``,
``POST /_double/script`` with a list of :class:`Step` as objects.
"""

from __future__ import annotations

import abc
import contextlib
import enum
import json
import random
import select
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

LONGEST_SILENCE = 60.0
"""Seconds that a request may hang when the client does not give up before."""


class Mischief(enum.StrEnum):
    """What goes wrong with a request. *Effect* is what the provider does: it pays."""

    CLOSE_BEFORE = "close_before"
    """The connection ends without an answer and without an effect."""
    CLOSE_AFTER = "close_after"
    """The effect happens, the connection ends without an answer."""
    HANG_BEFORE = "hang_before"
    """No effect and no answer until the client gives up."""
    HANG_AFTER = "hang_after"
    """The effect happens; no answer until the client gives up."""
    CUT = "cut"
    """The effect happens; half of the answer comes."""
    ERROR_BEFORE = "error_before"
    """HTTP 500 as a gateway gives it, no effect."""
    ERROR_AFTER = "error_after"
    """The effect happens, then HTTP 500 as a gateway gives it."""
    RATE_LIMITED = "rate_limited"
    """No effect; the provider's own answer to too many requests."""
    BAD_SIGNATURE = "bad_signature"
    """The effect happens, the answer's signature does not hold."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request's fate.

    :param mischief: None answers properly, after ``latency``.
    :param latency: seconds before anything happens.
    :param matching: waits for a request whose ``"METHOD /path?query body"`` contains this text;
        others pass it by.
    """

    mischief: Mischief | None = None
    latency: float = 0.0
    matching: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came. Header names are in lower case; ``path`` is with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the double says."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, document: object) -> Self:
        """An answer in JSON."""
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        return cls(status, body, {"Content-Type": "application/json; charset=utf-8"})


@dataclass(frozen=True, slots=True)
class Event:
    """Something the provider wants to tell: signed anew each time it is sent."""

    id: str
    content: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Message:
    """An event ready to be sent."""

    headers: Mapping[str, str]
    body: bytes


def chaos(rates: Mapping[Mischief, float], *, seed: int) -> Callable[[Asked], Step | None]:
    """Draw mischief at random: the probability of each for a request. Not for sure repeatable:
    threads come in any order.
    """
    dice = random.Random(seed)

    def draw(_: Asked) -> Step | None:
        point = dice.random()
        for mischief, rate in rates.items():
            point -= rate
            if point < 0:
                return Step(mischief)
        return None

    return draw


class Double(abc.ABC):
    """A provider on ``127.0.0.1``. The attributes are the test's to read and write.

    ``script`` holds the steps to come, ``chaos`` draws where it has none. ``asked`` are all
    requests, ``paid`` the minor units by request number, ``received`` by the payee's account,
    ``outbox`` the events to send. :meth:`handle` runs under one lock.
    """

    def __init__(self) -> None:
        self.script: deque[Step] = deque()
        self.chaos: Callable[[Asked], Step | None] | None = None
        self.asked: list[Asked] = []
        self.paid: dict[str, int] = {}
        self.received: Counter[str] = Counter()
        self.outbox: list[Event] = []
        self.lock = threading.RLock()
        self._server = _Server(self)
        self._thread: threading.Thread | None = None

    @abc.abstractmethod
    def handle(self, asked: Asked) -> Answer:
        """The effect and the answer, both as the provider documents them."""

    def sign(self, asked: Asked, answer: Answer, *, valid: bool) -> Answer:  # noqa: ARG002
        """Sign an answer, wrongly when not ``valid``. A provider that does not sign returns it."""
        return answer

    def rate_limited(self, asked: Asked) -> Answer:  # noqa: ARG002
        """What the provider says when it is asked too often."""
        return Answer(429)

    def message(self, event: Event, *, valid: bool = True) -> Message:
        """An event as the provider would send it now, with a wrong signature if not ``valid``."""
        raise NotImplementedError(f"{type(self).__name__} sends nothing ({event.id}, {valid})")

    def pay(self, number: str, account: str, amount: int) -> None:
        """Write a payment into the books, once for a number."""
        if number in self.paid:
            raise AssertionError(f"the double paid {number} twice")
        self.paid[number] = amount
        self.received[account] += amount

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Self:
        """Serve in a thread until :meth:`stop`."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """End all connections and the thread."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()

    def messages(
        self, *, times: int = 1, shuffled: random.Random | None = None, forged: bool = False
    ) -> list[Message]:
        """What the outbox holds, ready to send; the outbox is kept.

        :param times: how often each event comes.
        :param shuffled: puts them into any order.
        :param forged: puts a message with a wrong signature before each.
        """
        events = [event for event in self.outbox for _ in range(times)]
        if shuffled is not None:
            shuffled.shuffle(events)
        kinds = (False, True) if forged else (True,)
        return [self.message(event, valid=valid) for event in events for valid in kinds]

    def fate(self, asked: Asked) -> Step:
        """Which step befalls a request."""
        line = f"{asked.method} {asked.path} {asked.body.decode(errors='replace')}"
        with self.lock:
            self.asked.append(asked)
            for step in self.script:
                if step.matching in line:
                    self.script.remove(step)
                    return step
            return (self.chaos and self.chaos(asked)) or Step()

    def control(self, asked: Asked) -> Answer:
        """The test's own questions when it runs in another process."""
        with self.lock:
            what = asked.path.removeprefix("/_double/")
            if what == "script" and asked.method == "POST":
                for step in json.loads(asked.body):
                    mischief = step.get("mischief")
                    self.script.append(Step(**step | {"mischief": mischief and Mischief(mischief)}))
                return Answer.json(200, len(self.script))
            if what == "paid":
                return Answer.json(200, self.paid)
            if what == "received":
                return Answer.json(200, self.received)
            return Answer.json(404, what)


def deliver(messages: Sequence[Message], url: str) -> list[int]:
    """Send messages to ``url`` in turn; the HTTP status each met."""
    statuses = []
    for message in messages:
        request = urllib.request.Request(url, message.body, dict(message.headers), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                statuses.append(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                statuses.append(error.code)
    return statuses


def main(double: Double) -> None:
    """Serve in a process of its own: write the address to stdout, end when stdin does."""
    with double:
        sys.stdout.write(double.base_url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, double: Double) -> None:
        self.double = double
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_: object) -> None:
        """A client that went away is what half of the tests are about."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            sys.excepthook(*sys.exc_info())

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        self.server.open.add(self.request)
        super().setup()

    def finish(self) -> None:
        self.server.open.discard(self.request)
        super().finish()

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _serve(self) -> None:
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length or 0))
        if len(body) < int(length or 0) or (self.command == "POST" and length is None):
            self._close()  # the request was cut off, be it in its headers
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        double = self.server.double
        if asked.path.startswith("/_double/"):
            self._answer(double.control(asked))
            return
        step = double.fate(asked)
        if step.latency:
            time.sleep(step.latency)
        match step.mischief:
            case Mischief.CLOSE_BEFORE:
                self._close()
                return
            case Mischief.HANG_BEFORE:
                self._hang()
                return
            case Mischief.ERROR_BEFORE:
                self._answer(_GATEWAY_ERROR)
                return
            case Mischief.RATE_LIMITED:
                with double.lock:
                    answer = double.sign(asked, double.rate_limited(asked), valid=True)
                self._answer(answer)
                return
        with double.lock:
            valid = step.mischief is not Mischief.BAD_SIGNATURE
            answer = double.sign(asked, double.handle(asked), valid=valid)
        match step.mischief:
            case Mischief.CLOSE_AFTER:
                self._close()
            case Mischief.HANG_AFTER:
                self._hang()
            case Mischief.ERROR_AFTER:
                self._answer(_GATEWAY_ERROR)
            case Mischief.CUT:
                self._answer(answer, missing=len(answer.body) // 2 + 1)
                self._close()
            case _:
                self._answer(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _answer(self, answer: Answer, missing: int = 0) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) - missing])
        self.wfile.flush()

    def _close(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _hang(self) -> None:
        """Until the client closes: it then can be read from, and nothing is there."""
        select.select([self.connection], [], [], LONGEST_SILENCE)
        self._close()


_GATEWAY_ERROR = Answer(
    500, b"<html><body>Internal Server Error</body></html>", {"Content-Type": "text/html"}
)
