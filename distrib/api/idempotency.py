"""A request with an Idempotency-Key happens once, however often it is sent.

The answer is kept in the transaction of the effect, as its last statement. A request whose key is
known by then loses: its transaction is rolled back and it gets the kept answer, so the first time
costs one statement and only a repeat costs more. Two at once meet at that statement: the second
waits there for the first. Only success is kept: after an error the request may be sent again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Response, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from distrib import clock
from distrib.api.context import caller, database
from distrib.api.tables import IdempotencyKey
from distrib.db import cursor
from distrib.errors import DistribError, InvalidInput

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
MOST_LETTERS = 200

_PRINTABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


class IdempotencyKeyReused(DistribError):
    """The key came before, with another request."""

    status = 422
    title = "The Idempotency-Key belongs to another request"


class _Known(Exception):
    """Another request with this key was first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is told. ``kept`` stands in for the body where that holds a secret."""

    status: int
    body: Any
    kept: Any = None


@dataclass(frozen=True, slots=True)
class _Request:
    """The request at hand, as its key names it."""

    caller: int
    key: str
    digest: bytes


Work = Callable[[Session], Answer]


def transact(work: Work) -> Response:
    """Do the request's work in one transaction, once for its Idempotency-Key."""
    named = _named()
    if named is None:
        answer = database().run(work)
        return _respond(answer.status, _encode(answer.body))

    def once(session: Session) -> Answer:
        answer = work(session)
        _keep(session, named, answer)
        return answer

    try:
        answer = database().run(once)
    except (_Known, DistribError):
        # an error may be the shadow of the first: what it made is in the way of the second
        replayed = _replay(named)
        if replayed is None:
            raise
        return replayed
    return _respond(answer.status, _encode(answer.body))


def replay() -> Response | None:
    """The kept answer to the request's key, if there is one.

    For requests that do something ahead of their transaction.
    """
    named = _named()
    return None if named is None else _replay(named)


def _named() -> _Request | None:
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if len(key) > MOST_LETTERS or not _PRINTABLE.fullmatch(key):
        raise InvalidInput(f"must be 1 to {MOST_LETTERS} printable ASCII characters", field=HEADER)
    digest = hashlib.sha256(f"{request.method} {request.full_path}\n".encode())
    digest.update(request.get_data(cache=True))
    return _Request(caller().number, key, digest.digest())


def _encode(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


_INSERT = """
INSERT INTO idempotency_key (caller, key, request_hash, status, body, created_at)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""


def _keep(session: Session, named: _Request, answer: Answer) -> None:
    session.flush()
    body = _encode(answer.body if answer.kept is None else answer.kept)
    written = cursor(session).execute(
        _INSERT,
        [named.caller, named.key, named.digest, answer.status, body, clock.now()],
    )
    if not written.rowcount:
        raise _Known


def _replay(named: _Request) -> Response | None:
    with database().transaction() as session:
        kept = session.execute(
            select(IdempotencyKey.request_hash, IdempotencyKey.status, IdempotencyKey.body).where(
                IdempotencyKey.caller == named.caller, IdempotencyKey.key == named.key
            )
        ).one_or_none()
    if kept is None:
        return None
    if kept.request_hash != named.digest:
        raise IdempotencyKeyReused(f"{named.key!r} was sent with another request", field=HEADER)
    response = _respond(kept.status, kept.body)
    response.headers[REPLAYED] = "true"
    return response


def _respond(status: int, body: bytes) -> Response:
    return Response(body, status, content_type="application/json")
