"""Statements of banks and providers: what went out and what came back, line by line.

Read are CSV, with a mapping that names the columns (written as the mappings of orders are), and
ISO 20022 camt.053 (BankToCustomerStatement), elements told by their names alone, so that every
version of it is read. A row that cannot be read is refused with a reason; none is skipped.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

from distrib import clock
from distrib.errors import InvalidInput, unstorable
from distrib.money import exponent, parse_amount
from distrib.orders.sources.columns import Part
from distrib.orders.sources.csv_rows import Broken, read_rows
from distrib.orders.sources.mapping import Field, Refusal
from distrib.orders.sources.mapping_file import (
    MappingInvalid,
    read_encoding,
    read_field,
    read_refusals,
)
from distrib.settlement.camt_053 import Camt053
from distrib.settlement.providers.status_file import LONGEST_TEXT
from distrib.settlement.statement_rows import (
    BadStatement,
    Limited,
    Period,
    RefusedLine,
    StatementRow,
    checked_amount,
    checked_day,
    find_keys,
)

COLUMNS = ("reference", "amount", "date", "amount_in", "text", "direction")
REQUIRED = ("reference", "amount", "date")
_SOME_DAY = datetime(2026, 3, 31)  # noqa: DTZ001  # of no place
_LONGEST_DATE = 60
_KEYS = {"columns", "date_formats", "decimal", "delimiter", "encoding", "outgoing", "refuse"}

_OUT = frozenset(("out", "dbit", "debit", "dr", "d", "payment", "支出", "借", "付款"))
_IN = frozenset(("in", "crdt", "credit", "cr", "c", "refund", "收入", "贷", "退款"))

_SWAPPED = str.maketrans(",.", ".,")


@dataclass(frozen=True)
class StatementMapping:
    """How a CSV statement says what a line says; :func:`read_mapping` reads one.

    :param columns: by the names of :data:`COLUMNS`; ``amount_in`` is for what came back, where
        that has a column of its own.
    :param outgoing: the sign of what went out, where no direction is given: ``positive`` or
        ``negative`` (as banks have it).
    """

    columns: Mapping[str, Field]
    date_formats: tuple[str, ...] = ("iso",)
    decimal: str = "."
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    outgoing: str = "positive"
    refusals: tuple[Refusal, ...] = ()


def load_mapping(path: Path) -> StatementMapping:
    """The mapping in a TOML file.

    :raises MappingInvalid: naming the key that is wrong.
    """
    try:
        return read_mapping(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MappingInvalid(f"{path}: {error}", field="mapping") from None


def read_mapping(document: Mapping[str, Any]) -> StatementMapping:
    """Check a mapping document.

    ::

        date_formats = ["%d.%m.%Y", "iso"]
        outgoing = "negative"

        [columns]
        reference = "Verwendungszweck"
        amount = { column = "Betrag", remove = "." }
        date = "Buchungstag"

    :raises MappingInvalid: naming the key that is wrong.
    """
    if unknown := sorted(set(document) - _KEYS):
        raise MappingInvalid(
            f"is not known; known are {', '.join(sorted(_KEYS))}", field=str(unknown[0])
        )
    columns = document.get("columns")
    if not isinstance(columns, dict):
        raise MappingInvalid("is a table", field="columns")
    if unknown := sorted(set(columns) - set(COLUMNS)):
        raise MappingInvalid(
            f"is not known; known are {', '.join(COLUMNS)}", field=f"columns.{unknown[0]}"
        )
    for name in REQUIRED:
        if name not in columns:
            raise MappingInvalid("is needed: name its column", field=f"columns.{name}")
    formats = document.get("date_formats", ["iso"])
    formats = [formats] if isinstance(formats, str) else formats
    if (
        not isinstance(formats, list)
        or not formats
        or not all(isinstance(each, str) and each for each in formats)
    ):
        raise MappingInvalid("is a text or a list of texts", field="date_formats")
    for form in formats:
        _check_form(form)
    delimiter = document.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise MappingInvalid("is one character, and no quote", field="delimiter")
    return StatementMapping(
        columns={name: read_field(spec, f"columns.{name}") for name, spec in columns.items()},
        date_formats=tuple(formats),
        decimal=_choice(document, "decimal", (".", ",")),
        delimiter=delimiter,
        encoding=read_encoding(document),
        outgoing=_choice(document, "outgoing", ("positive", "negative")),
        refusals=read_refusals(document.get("refuse", [])),
    )


def _check_form(form: str) -> None:
    """A form of dates that Python can read. That a text does not fit it is no objection."""
    if form == "iso":
        return
    try:
        known = datetime.strftime(_SOME_DAY, form)
        datetime.strptime(known, form)  # noqa: DTZ007  # only whether it can be read
    except (ValueError, re.error) as error:
        raise MappingInvalid(f"{form!r}: {error}", field="date_formats") from None


def _choice(document: Mapping[str, Any], key: str, choices: tuple[str, str]) -> str:
    value = document.get(key, choices[0])
    if value not in choices:
        raise MappingInvalid(f"is {choices[0]!r} or {choices[1]!r}", field=key)
    return str(value)


STANDARD = StatementMapping(
    columns={
        "reference": Field(("reference",)),
        "amount": Field(("amount",)),
        "date": Field(("date",)),
        "text": Field(("text",), optional=True),
        "direction": Field(("direction",), optional=True),
    }
)
"""Columns that are named as the fields are, days as in ISO 8601."""


def read_statement(
    file: BinaryIO, *, mapping: StatementMapping, currency: str, time_zone: str, period: Period
) -> Iterator[StatementRow | RefusedLine]:
    """Read a statement from where the file stands, line by line; XML is told by its first sign.

    :param currency: the brand's.
    :param time_zone: where the brand lives: the day of an instant is the day there.
    :param period: is told of the days that the statement says it is of, where it says so.
    :raises BadStatement: when it cannot be read at all; at any time while it is read.
    """
    start = file.tell()
    head = file.read(256)
    file.seek(start)
    limited = Limited(file)
    if _is_xml(head):
        return Camt053(currency, time_zone, period).read(limited)
    return _read_csv(limited, mapping, currency, time_zone)


def _is_xml(head: bytes) -> bool:
    for mark in (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"):
        head = head.removeprefix(mark)
    return head.replace(b"\x00", b"").lstrip().startswith(b"<")


# -- CSV ------------------------------------------------------------------------------------------


class _Raw:
    """What TextIOWrapper asks of a buffer."""

    closed = False

    def __init__(self, file: Limited) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def read1(self, size: int = -1) -> bytes:
        return self._file.read(size)

    read = read1

    def flush(self) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """The caller's file stays open."""


def _read_csv(
    file: Limited, mapping: StatementMapping, currency: str, time_zone: str
) -> Iterator[StatementRow | RefusedLine]:
    lines = TextIOWrapper(
        _Raw(file),  # type: ignore[type-var]  # reads, as all that is asked of it
        mapping.encoding,
        errors="surrogateescape",
        newline="",
    )
    try:
        rows = read_rows(lines, mapping.delimiter)
        _, header = next(rows, (0, []))
        if isinstance(header, Broken):
            raise BadStatement(f"the header: {header.reason}", field="file")
        if not header:
            raise BadStatement("the file is empty: it has no header", field="file")
        reader = _CsvReader(header, mapping, currency, time_zone)
        for line, row in rows:
            yield reader.read(line, row)
    except UnicodeError as error:
        raise BadStatement(f"the file is not {mapping.encoding}: {error}", field="file") from None


class _CsvReader:
    """Reads the rows below one header."""

    def __init__(
        self, header: list[str], mapping: StatementMapping, currency: str, time_zone: str
    ) -> None:
        self._width = len(header)
        self._mapping = mapping
        self._currency = currency
        self._zone = clock.zone(time_zone)
        exponent(currency)
        part = Part(header)
        try:
            for name, each in mapping.columns.items():
                part.add(name, each)
            for n, refusal in enumerate(mapping.refusals):
                part.add(f"refuse[{n}]", refusal.field)
        except InvalidInput as error:
            raise BadStatement(f"{error.field}: {error.detail}", field="mapping") from None
        self._cells = part.take() if part.columns else lambda _: ()
        self._text = {
            name: part.reader(name, lambda text, _: text, once=True)
            for name in (*COLUMNS, *(f"refuse[{n}]" for n in range(len(mapping.refusals))))
        }

    def read(self, line: int, row: list[str]) -> StatementRow | RefusedLine:
        """What a row says."""
        if isinstance(row, Broken):
            return RefusedLine(line, f"quotes: {row.reason}", _printable(row.raw))
        shown = _printable(self._mapping.delimiter.join(row))
        if len(row) != self._width:
            reason = f"row has {len(row)} columns, the header {self._width}"
            return RefusedLine(line, reason, shown)
        try:
            return self._row(line, self._cells(row))
        except InvalidInput as error:
            reason = error.detail if error.field is None else f"{error.field}: {error.detail}"
            return RefusedLine(line, reason, shown)

    def _row(self, line: int, cells: tuple[str, ...]) -> StatementRow:
        for n, refusal in enumerate(self._mapping.refusals):
            if refusal.refuses(self._text[f"refuse[{n}]"](cells)):
                raise InvalidInput(refusal.reason)
        said = {name: self._text[name](cells) for name in COLUMNS}
        reference, text = said["reference"][:LONGEST_TEXT], said["text"][:LONGEST_TEXT]
        return StatementRow(
            line,
            self._day(said["date"]),
            self._amount(said["amount"], said["amount_in"], said["direction"]),
            reference,
            text,
            find_keys(said["reference"], said["text"]),
        )

    def _amount(self, out: str, back: str, direction: str) -> int:
        """What went out, negative what came back."""
        if back and out:
            both = self._number(out, "amount"), self._number(back, "amount_in")
            if 0 not in both:
                raise InvalidInput("an amount and an amount_in are given", field="amount")
            out, back = (out, "") if both[0] else ("", back)
        if back:
            return -abs(checked_amount(self._number(back, "amount_in")))
        amount = checked_amount(self._number(out, "amount"))
        if direction:
            word = direction.strip().casefold()
            if word not in _OUT | _IN:
                raise InvalidInput(f"{direction!r} is neither out nor in", field="direction")
            return abs(amount) if word in _OUT else -abs(amount)
        if "amount_in" in self._mapping.columns:
            return abs(amount)
        return amount if self._mapping.outgoing == "positive" else -amount

    def _number(self, text: str, name: str) -> int:
        plain = text.replace("−", "-").strip()
        if not plain:
            raise InvalidInput("must not be empty", field=name)
        if self._mapping.decimal == ",":
            plain = plain.translate(_SWAPPED)
        sign = 1
        if plain.startswith("(") and plain.endswith(")"):
            sign, plain = -1, plain[1:-1]
        elif plain.endswith("-"):
            sign, plain = -1, plain[:-1]
        elif plain[0] in "+-":
            sign, plain = 1 if plain[0] == "+" else -1, plain[1:]
        plain = plain.strip()
        if plain.startswith("-") or len(plain) > 40:
            raise InvalidInput(f"{text[:60]!r} is not a decimal number", field=name)
        try:
            return sign * parse_amount(plain, self._currency)
        except ValueError as error:
            raise InvalidInput(str(error), field=name) from None

    def _day(self, text: str) -> date:
        if not text:
            raise InvalidInput("must not be empty", field="date")
        if len(text) > _LONGEST_DATE:
            raise InvalidInput("is no date", field="date")
        for form in self._mapping.date_formats:
            try:
                if form == "iso":
                    found = datetime.fromisoformat(text)
                else:
                    found = datetime.strptime(text, form)  # noqa: DTZ007  # a day, as it stands
                if found.tzinfo is not None:
                    found = found.astimezone(self._zone)
            except (ValueError, OverflowError):
                continue
            return checked_day(found.date())
        forms = " or ".join(self._mapping.date_formats)
        raise InvalidInput(f"{text[:60]!r} is no date of the form {forms}", field="date")


def _printable(text: str) -> str:
    cut = text.strip()[:LONGEST_TEXT]
    return cut if unstorable(cut) is None else ascii(cut)[1:-1][:LONGEST_TEXT]
