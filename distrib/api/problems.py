"""Every error as problem details (RFC 9457), whatever raised it."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from flask import Flask, Response, request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as HttpNotFound

from distrib.errors import DistribError, Unauthorized, Unavailable

CONTENT_TYPE = "application/problem+json"

_log = logging.getLogger("distrib.api")


class FieldsInvalid(DistribError):
    """Some fields of the request hold what they may not hold; all of them are named."""

    status = 422
    title = "The request is not valid"

    def __init__(self, errors: list[dict[str, str]]) -> None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{first['field']} {first['reason']}{more}", errors=errors)


def flatten(messages: Any, whole: str = "body") -> list[dict[str, str]]:
    """marshmallow's nested messages as ``{"field": "lines[0].quantity", "reason": …}``.

    :param whole: what to call the place of an error that no field of it is to blame for.
    """
    return [
        {"field": path or whole, "reason": reason} for path, reason in _reasons(messages, path="")
    ]


def _reasons(messages: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(messages, Mapping):
        for key, value in messages.items():
            if key == "_schema":
                inner = path
            elif isinstance(key, int):
                inner = f"{path}[{key}]"
            else:
                inner = f"{path}.{key}" if path else str(key)
            yield from _reasons(value, inner)
    elif isinstance(messages, list):
        for each in messages:
            yield from _reasons(each, path)
    else:
        yield path, str(messages)


def respond(problem: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A problem as a response."""
    body = json.dumps(problem, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(body, problem["status"], headers, content_type=CONTENT_TYPE)


def _distrib_error(error: DistribError) -> Response:
    headers = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Unavailable):
        headers["Retry-After"] = "1"
    if error.status >= 500 and not isinstance(error, Unavailable):
        return _fault(error)
    return respond(error.problem(), headers)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    kind = error.name.lower().replace(" ", "-")
    headers = dict(error.get_headers())
    del headers["Content-Type"]
    detail = error.description or error.name
    if isinstance(error, HttpNotFound):
        detail = f"there is nothing at {request.path}"
    elif isinstance(error, RequestEntityTooLarge):
        detail = f"the body is larger than {request.max_content_length} bytes"
    return respond(
        {
            "type": f"urn:distrib:problem:{kind}",
            "title": error.name,
            "status": status,
            "detail": detail,
        },
        headers,
    )


def _is_out_of_reach(error: Exception) -> bool:
    """Whether the database does not answer, or is too busy: no fault of the request."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, psycopg.OperationalError | PoolTimeout)


def _fault(error: Exception) -> Response:
    """Ours to mend: the caller gets an id, the log the rest."""
    if _is_out_of_reach(error):
        _log.warning("the database does not answer: %s", error)
        return _distrib_error(Unavailable("the database does not answer; try again"))
    error_id = secrets.token_hex(8)
    _log.error("error %s", error_id, exc_info=error)
    return respond(
        {
            "type": "urn:distrib:problem:internal",
            "title": "Something is wrong on our side",
            "status": 500,
            "detail": f"try again later; the log tells more under {error_id}",
            "error_id": error_id,
        }
    )


def handle_errors(app: Flask) -> None:
    """Let every error of the app end here."""
    app.register_error_handler(DistribError, _distrib_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _fault)
