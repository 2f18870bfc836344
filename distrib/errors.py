"""What can be wrong, each fact a class of its own.

An error knows its HTTP status, says what is wrong and, where a field is to blame, which. The API
turns it into problem details (RFC 9457), the command line into one red line, an import into a row
of the rejects file: all three say the same words.
"""

from __future__ import annotations

from typing import Any


class DistribError(Exception):
    """Base of every error a caller can cause."""

    status = 400
    title = "The request cannot be done"

    def __init__(self, detail: str, *, field: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.extra = extra

    @property
    def kind(self) -> str:
        """The error's name as a slug: ``PlanNotEffective`` is ``plan-not-effective``."""
        name = type(self).__name__
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")

    def problem(self) -> dict[str, Any]:
        """The error as an RFC 9457 object."""
        body: dict[str, Any] = {
            "type": f"urn:distrib:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.field is not None:
            body["errors"] = [{"field": self.field, "reason": self.detail}]
        return body | self.extra


def unstorable(text: str) -> str | None:
    """Why the database cannot keep ``text``, or None when it can."""
    if "\x00" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains half of a surrogate pair"
    return None


class InvalidInput(DistribError):
    """A field holds what it may not hold."""

    status = 422
    title = "A field is not valid"


class NotFound(DistribError):
    """Nothing goes by that name in this brand."""

    status = 404
    title = "Not found"


class Conflict(DistribError):
    """The request contradicts what is recorded."""

    status = 409
    title = "The request contradicts what is recorded"


class Unauthorized(DistribError):
    """No key, or not a valid one."""

    status = 401
    title = "A valid API key is needed"


class Forbidden(DistribError):
    """A valid key that may not do this."""

    status = 403
    title = "This key may not do that"


class Unavailable(DistribError):
    """A part that is needed does not answer."""

    status = 503
    title = "A needed service does not answer"
