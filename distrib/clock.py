"""The only place that asks what time it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

_travelled: ContextVar[datetime | None] = ContextVar("distrib_now", default=None)


def now() -> datetime:
    """The current instant, UTC."""
    return _travelled.get() or datetime.now(UTC)


@contextmanager
def travel(to: datetime) -> Iterator[None]:
    """Within the block, :func:`now` answers ``to``: for tests and for the demo's history."""
    if to.tzinfo is None:
        raise ValueError("an instant carries its time zone")
    token = _travelled.set(to.astimezone(UTC))
    try:
        yield
    finally:
        _travelled.reset(token)


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """The time zone called ``name`` (IANA).

    :raises ValueError: when there is none.
    """
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"{name!r} is not an IANA time zone, such as Asia/Shanghai") from None


def day_of(instant: datetime, time_zone: str) -> date:
    """The calendar day of ``instant`` where the brand lives."""
    return instant.astimezone(zone(time_zone)).date()
