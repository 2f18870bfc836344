"""Numbers, money and times as a shop's file writes them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact

from distrib import clock
from distrib.errors import InvalidInput
from distrib.money import exponent, parse_amount
from distrib.orders.document import MAX_QUANTITY
from distrib.orders.sources.mapping import Mapping

EXACT = Context(prec=1_000, traps=[Inexact])
"""Arithmetic that would rather fail than round."""

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_SWAPPED = str.maketrans(",.", ".,")


class Values:
    """Reads the texts of a mapping's fields.

    :param currency: the brand's; the file's amounts are in it.
    :param time_zone: of times that carry none, where the mapping names none.
    """

    def __init__(self, mapping: Mapping, *, currency: str, time_zone: str) -> None:
        self.currency = currency
        self._exponent = exponent(currency)
        self._mapping = mapping
        self._zone = clock.zone(mapping.time_zone or time_zone)

    def instant(self, text: str, field: str) -> datetime:
        """A time, in UTC. Of the two that a clock shows twice a year, the first is meant.

        :raises InvalidInput: naming the field.
        """
        if not text:
            raise InvalidInput("must not be empty", field=field)
        found = self._time(text)
        if found is None:
            forms = " or ".join(self._mapping.formats)
            raise InvalidInput(f"{text!r} is no time of the form {forms}", field=field)
        try:
            local = found if found.tzinfo is not None else found.replace(tzinfo=self._zone)
            instant = local.astimezone(UTC)
        except OverflowError:
            raise InvalidInput(f"{text!r} is at the edge of the calendar", field=field) from None
        if instant < EARLIEST:
            raise InvalidInput(f"{text!r} is before 1970", field=field)
        if found.tzinfo is None and instant.astimezone(self._zone).replace(tzinfo=None) != found:
            raise InvalidInput(f"the clocks of {self._zone} skipped {text!r}", field=field)
        return instant

    def _time(self, text: str) -> datetime | None:
        for form in self._mapping.formats:
            try:
                if form == "iso":
                    return datetime.fromisoformat(text)
                return datetime.strptime(text, form)  # noqa: DTZ007  # the zone is put in later
            except ValueError:
                continue
        return None

    def quantity(self, text: str, field: str) -> int:
        """A whole number.

        :raises InvalidInput: naming the field.
        """
        if not text:
            raise InvalidInput("must not be empty", field=field)
        if not _WHOLE.fullmatch(text):
            raise InvalidInput(f"{text!r} is no whole number", field=field)
        quantity = int(text)
        if abs(quantity) > MAX_QUANTITY:
            raise InvalidInput(f"{quantity} is more than {MAX_QUANTITY}", field=field)
        return quantity

    def amount(self, text: str, field: str) -> int:
        """An amount that is not negative, in minor units.

        :raises InvalidInput: naming the field.
        """
        if not text:
            raise InvalidInput("must not be empty", field=field)
        plain = self._plain(text)
        try:
            if not self._mapping.minor:
                amount = parse_amount(plain, self.currency)
            elif _WHOLE.fullmatch(plain):
                amount = int(plain)
            else:
                raise ValueError(f"{text!r} is no whole number of minor units")
        except ValueError as error:
            raise InvalidInput(str(error), field=field) from None
        if amount < 0:
            raise InvalidInput(f"must not be negative, it is {text}", field=field)
        return amount

    def _plain(self, text: str) -> str:
        # swapped, not replaced: a point in the wrong place stays wrong
        return text if self._mapping.decimal == "." else text.translate(_SWAPPED)

    def charge(self, text: str, field: str) -> int:
        """An amount that may be left out.

        :raises InvalidInput: naming the field.
        """
        return self.amount(text, field) if text else 0

    def optional_amount(self, text: str, field: str) -> int | None:
        """An amount, None where there is none.

        :raises InvalidInput: naming the field.
        """
        return self.amount(text, field) if text else None

    def optional_quantity(self, text: str, field: str) -> int | None:
        """A whole number, None where there is none.

        :raises InvalidInput: naming the field.
        """
        return self.quantity(text, field) if text else None

    # what a row that cannot be used says of money is added up too, if it says anything

    def loose_quantity(self, text: str, field: str) -> Decimal | None:
        """Any whole number, None where there is none.

        :raises InvalidInput: naming the field, when something else is there.
        """
        if not text:
            return None
        if not _WHOLE.fullmatch(text):
            raise InvalidInput("is no number", field=field)
        return Decimal(text)

    def loose_amount(self, text: str, field: str) -> Decimal | None:
        """Any amount in major units, None where there is none.

        :raises InvalidInput: naming the field, when something else is there.
        """
        if not text:
            return None
        plain = self._plain(text)
        if not _DECIMAL.fullmatch(plain):
            raise InvalidInput("is no number", field=field)
        return Decimal(plain).scaleb(-self._exponent if self._mapping.minor else 0, EXACT)

    def major(self, minor: int) -> Decimal:
        """Minor units as a decimal number of major ones."""
        return Decimal(minor).scaleb(-self._exponent, EXACT)
