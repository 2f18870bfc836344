"""What a process of the API holds, and who is calling."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from enum import Enum
from typing import cast

import redis
from flask import current_app, g, request

from distrib.api.metrics import Metrics
from distrib.brands.service import Principal, authenticate, get_brand
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import Forbidden, Unauthorized

_REMEMBERED_SECONDS = 5.0
_REMEMBERED_KEYS = 10_000


class Access(Enum):
    """Who may call an operation."""

    OPEN = "anybody"
    BRAND = "a brand's key"
    OPERATOR = "an operator's key"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: a brand, or (without one) the operator."""

    principal: Principal
    brand: Brand | None

    @property
    def number(self) -> int:
        """The caller in numbers: the brand's id, 0 for the operator."""
        return self.principal.brand_id or 0


class Keyring:
    """Knows callers by their keys, and remembers each for some seconds.

    So a busy caller costs no query, and a revoked key ends within those seconds. Unknown keys are
    not remembered: a new key works at once, and guesses fill nothing.
    """

    def __init__(self, database: Database, seconds: float = _REMEMBERED_SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._known: dict[bytes, tuple[float, Caller]] = {}

    def admit(self, header: str | None) -> Caller:
        """Whom the ``Authorization`` header speaks for.

        :raises Unauthorized: when it is missing, not a bearer key, unknown or revoked.
        """
        scheme, _, secret = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Unauthorized("send the header Authorization: Bearer dk_…")
        name = hashlib.sha256(secret.encode()).digest()
        now = time.monotonic()
        known = self._known.get(name)
        if known is not None and known[0] > now:
            return known[1]
        caller = self._look_up(secret)
        if len(self._known) >= _REMEMBERED_KEYS:
            self._known.clear()
        self._known[name] = (now + self._seconds, caller)
        return caller

    def _look_up(self, secret: str) -> Caller:
        with self._database.transaction() as session:
            principal = authenticate(session, secret=secret)
            brand = (
                None
                if principal.brand_id is None
                else get_brand(session, brand_id=principal.brand_id)
            )
        return Caller(principal, brand)


@dataclass(frozen=True)
class Context:
    """What a process of the API works with."""

    settings: Settings
    database: Database
    keyring: Keyring
    redis: redis.Redis
    metrics: Metrics


def context() -> Context:
    """The context of the app at work."""
    return cast(Context, current_app.extensions["distrib"])


def database() -> Database:
    """The database of the app at work."""
    return context().database


def admit(access: Access) -> None:
    """Let the request in, or not; afterwards :func:`caller` answers.

    :raises Unauthorized: without a valid key.
    :raises Forbidden: with a key that is for something else.
    """
    if access is Access.OPEN:
        return
    found = context().keyring.admit(request.headers.get("Authorization"))
    if (access is Access.BRAND) != (found.brand is not None):
        raise Forbidden(f"this needs {access.value}")
    g.caller = found


def caller() -> Caller:
    """Who sent the request at hand."""
    return cast(Caller, g.caller)


def brand() -> Brand:
    """The brand that sent the request at hand. Its row may be some seconds old."""
    found = caller().brand
    if found is None:
        raise Forbidden(f"this needs {Access.BRAND.value}")
    return found
