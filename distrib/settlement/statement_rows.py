"""What every statement is read into, whatever it is written in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import BinaryIO

from distrib.errors import DistribError, InvalidInput
from distrib.money import MAX_AMOUNT
from distrib.settlement.outcomes import AttemptKey, read_request_no
from distrib.settlement.providers.status_file import LARGEST_FILE

BLOCK = 1 << 16
"""Bytes that are read at a time."""

_EARLIEST, _LATEST = date(1970, 1, 1), date(2200, 1, 1)
_NUMBERS = re.compile(r"(?<![0-9a-z])[0-9]{1,19}p[0-9]{1,9}a[0-9]{1,4}(?![0-9a-z])", re.ASCII)
_LOOSE = re.compile(r"(?<![0-9])[0-9]{1,19}p[0-9]{1,9}a[0-9]{1,4}(?![0-9])", re.ASCII)


class BadStatement(DistribError):
    """A statement cannot be read, or is not what it should be."""

    status = 422
    title = "The statement is not valid"


@dataclass(frozen=True, slots=True)
class StatementRow:
    """A line of a statement.

    :param line: the line of a CSV file; in XML, the how manieth transaction, counted from 1.
    :param amount: minor units of the brand's currency; what went out, negative what came back.
    :param keys: the attempts it names: those of the reference, without any those of the text.
    """

    line: int
    booked_on: date
    amount: int
    reference: str
    text: str
    keys: tuple[AttemptKey, ...]


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that could not be read.

    :param text: what it says, as far as that can be told.
    """

    line: int
    reason: str
    text: str = ""


@dataclass(slots=True)
class Period:
    """The days that a statement says it is of."""

    first: date | None = None
    last: date | None = None

    def add(self, first: date, last: date) -> None:
        """Make it hold these days too."""
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)


class Limited:
    """A file that ends with an error when it is too long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = LARGEST_FILE

    def read(self, size: int = -1) -> bytes:
        """Some of it."""
        block = self._file.read(BLOCK if size < 0 else min(size, BLOCK))
        self._left -= len(block)
        if self._left < 0:
            raise BadStatement(f"the file is larger than {LARGEST_FILE:,} bytes", field="file")
        return block


def find_keys(reference: str, text: str) -> tuple[AttemptKey, ...]:
    """The attempts that a line names: in its reference or, where that names none, in its text."""
    for place in (reference, text):
        lower = place.lower()
        for form in (_NUMBERS, _LOOSE):
            found: dict[AttemptKey, None] = {}
            for match in form.finditer(lower):
                try:
                    found[read_request_no(match[0])] = None
                except InvalidInput:
                    continue
            if found:
                return tuple(found)
    return ()


def checked_amount(amount: int) -> int:
    """An amount that moves something.

    :raises InvalidInput: for none.
    """
    if not 0 < abs(amount) <= MAX_AMOUNT:
        raise InvalidInput("is zero" if amount == 0 else "is too large", field="amount")
    return amount


def checked_day(day: date) -> date:
    """A day that can be.

    :raises InvalidInput: for one that cannot.
    """
    if not _EARLIEST <= day < _LATEST:
        raise InvalidInput(f"{day} is not between 1970 and 2200", field="date")
    return day
