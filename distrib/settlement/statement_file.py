"""Statements of banks and providers: what went out and what came back, line by line.

Read are CSV, with a mapping that names the columns (written as the mappings of orders are), and
ISO 20022 camt.053 (BankToCustomerStatement), elements told by their names alone, so that every
version of it is read. A row that cannot be read is refused with a reason; none is skipped.
"""

from __future__ import annotations

import re
import tomllib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO
from xml.parsers import expat

from distrib import clock
from distrib.errors import DistribError, InvalidInput, unstorable
from distrib.money import MAX_AMOUNT, exponent, parse_amount
from distrib.orders.sources.columns import Part
from distrib.orders.sources.csv_rows import Broken, read_rows
from distrib.orders.sources.mapping import Field, Refusal
from distrib.orders.sources.mapping_file import (
    MappingInvalid,
    read_encoding,
    read_field,
    read_refusals,
)
from distrib.settlement.outcomes import AttemptKey, read_request_no
from distrib.settlement.providers.status_file import LARGEST_FILE, LONGEST_TEXT

_BLOCK = 1 << 16
_DEEPEST = 40

COLUMNS = ("reference", "amount", "date", "amount_in", "text", "direction")
REQUIRED = ("reference", "amount", "date")
_KEYS = {"columns", "date_formats", "decimal", "delimiter", "encoding", "outgoing", "refuse"}

_OUT = frozenset(("out", "dbit", "debit", "dr", "d", "payment", "支出", "借", "付款"))
_IN = frozenset(("in", "crdt", "credit", "cr", "c", "refund", "收入", "贷", "退款"))

_EARLIEST, _LATEST = date(1970, 1, 1), date(2200, 1, 1)
_NUMBERS = re.compile(r"(?<![0-9a-z])[0-9]{1,19}p[0-9]{1,9}a[0-9]{1,4}(?![0-9a-z])", re.ASCII)
_LOOSE = re.compile(r"(?<![0-9])[0-9]{1,19}p[0-9]{1,9}a[0-9]{1,4}(?![0-9])", re.ASCII)
_XML_DAY = re.compile(r"\d{4}-\d\d-\d\d(Z|[+-]\d\d:\d\d)?", re.ASCII)
_SWAPPED = str.maketrans(",.", ".,")


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


@dataclass(slots=True)
class Period:
    """The days that a statement says it is of."""

    first: date | None = None
    last: date | None = None

    def add(self, first: date, last: date) -> None:
        """Make it hold these days too."""
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)


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
    limited = _Limited(file)
    if _is_xml(head):
        return _Camt053(currency, time_zone, period).read(limited)
    return _read_csv(limited, mapping, currency, time_zone)


def _is_xml(head: bytes) -> bool:
    for mark in (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"):
        head = head.removeprefix(mark)
    return head.replace(b"\x00", b"").lstrip().startswith(b"<")


class _Limited:
    """A file that ends with an error when it is too long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = LARGEST_FILE

    def read(self, size: int = -1) -> bytes:
        """Some of it."""
        block = self._file.read(_BLOCK if size < 0 else min(size, _BLOCK))
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


def _checked_amount(amount: int) -> int:
    if not 0 < abs(amount) <= MAX_AMOUNT:
        raise InvalidInput("is zero" if amount == 0 else "is too large", field="amount")
    return amount


def _checked_day(day: date) -> date:
    if not _EARLIEST <= day < _LATEST:
        raise InvalidInput(f"{day} is not between 1970 and 2200", field="date")
    return day


# -- CSV ------------------------------------------------------------------------------------------


class _Raw:
    """What TextIOWrapper asks of a buffer."""

    closed = False

    def __init__(self, file: _Limited) -> None:
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
    file: _Limited, mapping: StatementMapping, currency: str, time_zone: str
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
            return -abs(_checked_amount(self._number(back, "amount_in")))
        amount = _checked_amount(self._number(out, "amount"))
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
            return _checked_day(found.date())
        forms = " or ".join(self._mapping.date_formats)
        raise InvalidInput(f"{text[:60]!r} is no date of the form {forms}", field="date")


def _printable(text: str) -> str:
    cut = text.strip()[:LONGEST_TEXT]
    return cut if unstorable(cut) is None else ascii(cut)[1:-1][:LONGEST_TEXT]


# -- camt.053 -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Part:
    """What an entry, or one transaction of it, says of itself."""

    amount: str = ""
    currency: str = ""
    inner_amount: str = ""
    inner_currency: str = ""
    direction: str = ""
    status: str = ""
    booked: str = ""
    refs: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)


_REFS = frozenset(("EndToEndId", "InstrId", "AcctSvcrRef", "TxId"))
_NOTHING = frozenset(("", "NOTPROVIDED"))


class _Camt053:
    """Collects as the parser goes: an entry is told when it ends, in one row a transaction."""

    def __init__(self, currency: str, time_zone: str, period: Period) -> None:
        self._currency = currency
        self._zone = clock.zone(time_zone)
        self._period = period
        self._ready: deque[StatementRow | RefusedLine] = deque()
        self._seen = False
        self._count = 0
        self._path: list[str] = []
        self._text: list[str] = []
        self._attribute = ""
        self._days: dict[str, str] = {}
        self._entry: _Part | None = None
        self._parts: list[_Part] = []
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.ExternalEntityRefHandler = self._refuse

    def read(self, file: _Limited) -> Iterator[StatementRow | RefusedLine]:
        """The rows of a file."""
        try:
            while block := file.read(_BLOCK):
                self.parser.Parse(block, False)
                while self._ready:
                    yield self._ready.popleft()
            self.parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise BadStatement(
                f"line {error.lineno}: {expat.ErrorString(error.code)}", field="file"
            ) from None
        except (ValueError, LookupError) as error:  # an encoding that the parser does not know
            raise BadStatement(str(error), field="file") from None
        yield from self._ready
        if not self._seen:
            raise BadStatement("the file holds no BkToCstmrStmt", field="file")

    def _refuse(self, *_: object) -> int:
        raise BadStatement("the file declares a document type or entities", field="file")

    def _characters(self, text: str) -> None:
        if len(self._text) < 16:  # each as long as the parser's buffer: more is cut off anyway
            self._text.append(text)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        tag = name.rpartition(" ")[2]
        if len(self._path) >= _DEEPEST:
            raise BadStatement("the file is nested too deeply", field="file")
        self._path.append(tag)
        self._text.clear()
        if tag == "BkToCstmrStmt":
            self._seen = True
        elif tag == "Ntry":
            self._entry, self._parts = _Part(), []
        elif tag == "TxDtls" and self._entry is not None:
            self._parts.append(_Part())
        if tag == "Amt":
            self._attribute = attributes.get("Ccy", "")

    def _end(self, _name: str) -> None:
        tag = self._path.pop()
        text = "".join(self._text).strip()[:LONGEST_TEXT]
        self._text.clear()
        if tag == "Ntry":
            self._close()
        elif self._entry is not None:
            inside = "TxDtls" in self._path
            self._note(self._parts[-1] if inside else self._entry, tag, text)
        elif "FrToDt" in self._path and tag in ("FrDtTm", "ToDtTm"):
            self._days[tag] = text
        elif tag == "FrToDt":
            self._note_period()

    def _note_period(self) -> None:
        try:
            first, last = (self._day(self._days[tag]) for tag in ("FrDtTm", "ToDtTm"))
        except (InvalidInput, KeyError):
            return  # the days of its lines stand for it
        # a statement up to midnight is of the day before
        if self._days["ToDtTm"][10:19] == "T00:00:00" and last > first:
            last = date.fromordinal(last.toordinal() - 1)
        if first <= last:
            self._period.add(first, last)

    def _note(self, part: _Part, tag: str, text: str) -> None:
        parent = self._path[-1]
        own = parent in ("Ntry", "TxDtls")
        match parent, tag:
            case _, "Amt" if own:
                part.amount, part.currency = text, self._attribute
            case "TxAmt", "Amt":
                part.inner_amount, part.inner_currency = text, self._attribute
            case _, "CdtDbtInd" if own:
                part.direction = text
            case "Ntry", "Sts":
                part.status = part.status or text
            case "Sts", "Cd" if self._path[-2] == "Ntry":
                part.status = text
            case "BookgDt", "Dt" | "DtTm":
                part.booked = text
            case "Refs", _ if tag in _REFS:
                part.refs[tag] = text
            case "Ntry", "AcctSvcrRef" | "NtryRef":
                part.refs[tag] = text
            case "RmtInf" | "TxDtls" | "Ntry", "Ustrd" | "AddtlTxInf" | "AddtlNtryInf":
                part.texts.append(text)
            case "CdtrRefInf", "Ref":
                part.texts.append(text)

    def _close(self) -> None:
        entry, parts = self._entry, self._parts
        self._entry, self._parts = None, []
        if entry is None:
            return
        try:
            made = self._rows(entry, parts)
        except InvalidInput as error:
            reason = error.detail if error.field is None else f"{error.field}: {error.detail}"
            made = [reason] * max(len(parts), 1)
        for n, each in enumerate(made):
            self._count += 1
            if isinstance(each, str):
                part = parts[n] if parts else entry
                self._ready.append(RefusedLine(self._count, each, _reference(part, entry)))
            else:
                booked_on, amount, part = each
                reference, text = _reference(part, entry), _joined(part, entry)
                self._ready.append(
                    StatementRow(
                        self._count, booked_on, amount, reference, text, find_keys(reference, text)
                    )
                )

    def _rows(self, entry: _Part, parts: list[_Part]) -> list[tuple[date, int, _Part] | str]:
        """The transactions of an entry, each with its day and amount, or why it is refused."""
        if entry.status != "BOOK":
            raise InvalidInput(f"the entry is {entry.status or 'without a status'}, not booked")
        booked_on = self._day(entry.booked)
        total = self._amount(entry.amount, entry.currency, entry.direction)
        if not parts:
            return [(booked_on, _checked_amount(total), entry)]
        amounts = []
        for part in parts:
            direction = part.direction or entry.direction
            if part.amount:
                amounts.append(self._amount(part.amount, part.currency, direction))
            elif part.inner_amount and part.inner_currency == self._currency:
                amounts.append(self._amount(part.inner_amount, part.inner_currency, direction))
            elif len(parts) == 1:
                amounts.append(total)
            else:
                raise InvalidInput("a transaction has no amount", field="TxDtls")
        if sum(amounts) != total:
            raise InvalidInput(
                f"the entry's transactions add up to {sum(amounts)}, the entry says {total}"
                " (minor units)"
            )
        return [
            (booked_on, _checked_amount(amount), part)
            for amount, part in zip(amounts, parts, strict=True)
        ]

    def _amount(self, text: str, currency: str, direction: str) -> int:
        if currency != self._currency:
            raise InvalidInput(
                f"is in {currency or 'no currency'}, not {self._currency}", field="Amt"
            )
        if direction not in ("DBIT", "CRDT"):
            raise InvalidInput(f"{direction!r} is neither DBIT nor CRDT", field="CdtDbtInd")
        try:
            amount = parse_amount(text[:60], self._currency)
        except ValueError as error:
            raise InvalidInput(str(error), field="Amt") from None
        if amount < 0:
            raise InvalidInput("must not be negative", field="Amt")
        return amount if direction == "DBIT" else -amount

    def _day(self, text: str) -> date:
        try:
            # a day may carry a zone as well: it is that day, wherever it is
            plain = text[:10] if _XML_DAY.fullmatch(text) else text
            found = datetime.fromisoformat(plain)
            if found.tzinfo is not None:
                found = found.astimezone(self._zone)
        except (ValueError, OverflowError):
            raise InvalidInput(f"{text[:60]!r} is no date", field="BookgDt") from None
        return _checked_day(found.date())


def _reference(part: _Part, entry: _Part) -> str:
    """A transaction's references, the one that we gave first."""
    given = {**entry.refs, **part.refs}
    texts = [given.get(tag, "") for tag in ("EndToEndId", "InstrId", "TxId", "AcctSvcrRef")]
    texts.append(given.get("NtryRef", ""))
    return " ".join(dict.fromkeys(each for each in texts if each not in _NOTHING))[:LONGEST_TEXT]


def _joined(part: _Part, entry: _Part) -> str:
    texts = part.texts if part is entry else [*part.texts, *entry.texts]
    return " ".join(dict.fromkeys(each for each in texts if each))[:LONGEST_TEXT]
