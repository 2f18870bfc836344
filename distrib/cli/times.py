"""Days, instants and amounts as arguments."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import click

from distrib.errors import InvalidInput
from distrib.money import parse_amount


class Instant(click.ParamType[datetime]):
    """An instant with its time zone."""

    name = "instant"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """How help writes it."""
        return "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read ISO 8601."""
        try:
            instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-03-01T12:00:00+08:00", param, ctx)
        if instant.tzinfo is None:
            self.fail(f"{value!r} needs its time zone, as in 2026-03-01T12:00+08:00", param, ctx)
        return instant


class Day(click.ParamType[date]):
    """A day of the brand's calendar."""

    name = "day"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """How help writes it."""
        return "DAY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Read ISO 8601."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no day such as 2026-03-01", param, ctx)


def read_amount(text: str | None, currency: str, field: str) -> int | None:
    """An amount such as ``50.00`` in minor units; None stays None.

    :param field: to blame when it is none.
    """
    if text is None:
        return None
    try:
        return parse_amount(text, currency)
    except ValueError as error:
        raise InvalidInput(str(error), field=field) from None
