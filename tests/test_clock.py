"""The clock: one now, and days where the brand lives."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from distrib import clock

THEN = datetime(2026, 3, 1, 4, tzinfo=UTC)


def test_now_is_now() -> None:
    before = datetime.now(UTC)
    now = clock.now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_travelling() -> None:
    with clock.travel(THEN.astimezone(timezone(timedelta(hours=8)))):
        assert clock.now() == THEN
        assert clock.now().tzinfo is UTC
        with clock.travel(THEN + timedelta(days=1)):
            assert clock.now() == THEN + timedelta(days=1)
        assert clock.now() == THEN
    assert clock.now() > THEN + timedelta(days=2)


def test_travelling_ends_with_an_error() -> None:
    with pytest.raises(KeyError), clock.travel(THEN):
        raise KeyError
    assert clock.now() != THEN


def test_other_threads_stay_at_home() -> None:
    seen: list[datetime] = []
    with clock.travel(THEN):
        thread = threading.Thread(target=lambda: seen.append(clock.now()))
        thread.start()
        thread.join()
    assert seen[0] > THEN + timedelta(days=1)


def test_an_instant_carries_its_time_zone() -> None:
    naive = datetime(2026, 3, 1)  # noqa: DTZ001
    with pytest.raises(ValueError, match="time zone"), clock.travel(naive):
        pass


@pytest.mark.parametrize(
    "instant, zone, day",
    [
        ("2026-02-28T15:59:59.999999+00:00", "Asia/Shanghai", date(2026, 2, 28)),
        ("2026-02-28T16:00:00+00:00", "Asia/Shanghai", date(2026, 3, 1)),
        ("2026-03-01T00:30:00+09:00", "Asia/Shanghai", date(2026, 2, 28)),
        ("2026-03-08T04:59:59+00:00", "America/New_York", date(2026, 3, 7)),
        ("2026-03-08T05:00:00+00:00", "America/New_York", date(2026, 3, 8)),
        ("2026-03-09T03:59:59+00:00", "America/New_York", date(2026, 3, 8)),  # summer time now
        ("2026-03-09T04:00:00+00:00", "America/New_York", date(2026, 3, 9)),
        ("2026-10-24T21:59:59+00:00", "Europe/Berlin", date(2026, 10, 24)),
        ("2026-10-25T22:59:59+00:00", "Europe/Berlin", date(2026, 10, 25)),  # a day of 25 hours
        ("2026-10-25T23:00:00+00:00", "Europe/Berlin", date(2026, 10, 26)),
        ("2024-02-29T12:00:00+00:00", "UTC", date(2024, 2, 29)),
        ("2026-03-01T10:00:00+00:00", "Pacific/Kiritimati", date(2026, 3, 2)),
    ],
)
def test_the_day_of_an_instant(instant: str, zone: str, day: date) -> None:
    assert clock.day_of(datetime.fromisoformat(instant), zone) == day


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "Asia", "asia shanghai", "../etc/passwd", "/etc/passwd", "UTC\0"]
)
def test_zones_have_iana_names(name: str) -> None:
    with pytest.raises(ValueError, match="is not an IANA time zone"):
        clock.zone(name)
