"""Reading the values of a plan document, each with its place. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from distrib.errors import InvalidInput, unstorable
from distrib.money import MAX_AMOUNT, parse_amount, parse_rate

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PlanInvalid(InvalidInput):
    """A plan document says something that cannot be."""

    title = "The plan document is not valid"


E = TypeVar("E", bound=StrEnum)
Document = dict[str, Any]


def fail(reason: str, field: str) -> PlanInvalid:
    """What to raise of a value, with its place."""
    return PlanInvalid(reason, field=field)


def read_object(value: Any, at: str, *allowed: str) -> Document:
    """An object with none but the allowed keys."""
    if not isinstance(value, dict):
        raise fail("must be an object", at)
    unknown = sorted(set(value) - set(allowed), key=str)
    if unknown:
        names = ", ".join(sorted(allowed))
        place = f"{at}.{unknown[0]}" if at != "document" else str(unknown[0])
        raise fail(f"unknown key {unknown[0]!r}; known are {names}", place)
    return value


def read_text(value: Any, field: str) -> str:
    """A text that can be kept."""
    if not isinstance(value, str) or not value.strip():
        raise fail("must be a text that is not empty", field)
    if (reason := unstorable(value)) is not None:
        raise fail(reason, field)
    return value


def read_strings(value: Any, field: str) -> tuple[str, ...]:
    """A list of different texts."""
    if not isinstance(value, list) or not value:
        raise fail("must be a list of at least one text", field)
    for i, item in enumerate(value):
        read_text(item, f"{field}[{i}]")
    if len(set(value)) != len(value):
        raise fail("names something twice", field)
    return tuple(value)


def read_list(value: Any, field: str, most: int, what: str) -> list[Any]:
    """A list of at least one."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise fail(f"must be a list of 1 to {most} {what}", field)
    return value


def read_choice(kind: type[E], value: Any, field: str) -> E:
    """One of the names of an enumeration."""
    try:
        return kind(value)
    except ValueError:
        raise fail(f"must be one of {', '.join(kind)}", field) from None


def read_rate(value: Any, field: str) -> int:
    """A percentage, in parts per million."""
    try:
        return parse_rate(value if isinstance(value, str) else repr(value))
    except ValueError as error:
        raise fail(str(error), field) from None


def read_amount(value: Any, field: str, currency: str, *, most: int = MAX_AMOUNT) -> int:
    """An amount in major units, in minor units."""
    try:
        amount = parse_amount(value if isinstance(value, str) else repr(value), currency)
    except ValueError as error:
        raise fail(f'{error}; write an amount such as "3.00"', field) from None
    if amount < 0:
        raise fail("must not be negative", field)
    if amount > most:
        raise fail(f"is more than {most} minor units", field)
    return amount


def read_count(value: Any, field: str, most: int) -> int:
    """A whole number from 1."""
    if type(value) is not int or not 1 <= value <= most:
        raise fail(f"must be a whole number from 1 to {most}", field)
    return value


def read_instant(value: Any, field: str) -> int:
    """Microseconds since 1970."""
    try:
        found = datetime.fromisoformat(read_text(value, field))
    except ValueError:
        raise fail(
            f"{value!r} is no instant; write one such as 2026-11-11T00:00:00+08:00", field
        ) from None
    if found.tzinfo is None:
        raise fail("needs a time zone, such as 2026-11-11T00:00:00+08:00", field)
    if not 1970 <= found.year <= 2200:
        raise fail("must lie between 1970 and 2200", field)
    since = found - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def read_window(document: Document, at: str) -> tuple[int, int]:
    """From and to, half open, in microseconds since 1970."""
    for name in ("from", "to"):
        if name not in document:
            raise fail("a window of time has a from and a to", f"{at}.{name}")
    begins, ends = (
        read_instant(document["from"], f"{at}.from"),
        read_instant(document["to"], f"{at}.to"),
    )
    if begins >= ends:
        raise fail("must lie after from", f"{at}.to")
    return begins, ends
