"""Calls to providers: one way of making them, so that all tell *not sent* from *answer lost*.

No call is repeated here: what may be repeated, and under which number, is decided by whoever knows
what has been committed. Nothing of a call is logged; errors name the method, host and path, never
headers or bodies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3

from distrib.settlement.providers import BadProviderSetting, ProviderUnavailable

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
LARGEST_ANSWER = 8 << 20


class AnswerLost(Exception):
    """The request may have reached the provider; what it said did not reach us."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        :raises AnswerLost: when it is none: a gateway's error page says nothing about the request.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise AnswerLost(f"status {self.status} with a body that is not JSON") from None


class HttpClient:
    """Connections to one provider, kept open. Made after a fork, never before one.

    :param base_url: ``https://host[:port][/prefix]``; ``http`` only to this machine.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        parts = urlsplit(base_url)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if parts.hostname is None or (
            parts.scheme != "https" and not (parts.scheme == "http" and local)
        ):
            raise BadProviderSetting(f"{base_url!r} is not an https address", field="base_url")
        self._base = base_url.rstrip("/")
        self._host = parts.netloc
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=4,
            retries=False,
            timeout=urllib3.Timeout(connect=connect_seconds, read=read_seconds),
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpAnswer:
        """Make one call.

        :param path: with its query, beginning with ``/``.
        :raises ProviderUnavailable: when no connection came about: nothing was sent.
        :raises AnswerLost: when it was sent and no whole answer came.
        """
        what = f"{method} {self._host}{path.partition('?')[0]}"
        try:
            answer = self._pool.request(
                method,
                self._base + path,
                headers=dict(headers or {}),
                body=body,
                redirect=False,
                preload_content=False,
            )
            try:
                content = answer.read(LARGEST_ANSWER + 1)
            finally:
                answer.release_conn()
        except (
            urllib3.exceptions.NewConnectionError,
            urllib3.exceptions.ConnectTimeoutError,
            urllib3.exceptions.NameResolutionError,
        ) as error:
            raise ProviderUnavailable(f"{what}: no connection ({type(error).__name__})") from None
        except urllib3.exceptions.HTTPError as error:
            raise AnswerLost(f"{what}: {type(error).__name__}") from None
        if len(content) > LARGEST_ANSWER:
            raise AnswerLost(f"{what}: the answer is longer than {LARGEST_ANSWER:,} bytes")
        return HttpAnswer(
            answer.status, {name.lower(): value for name, value in answer.headers.items()}, content
        )
