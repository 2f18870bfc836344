"""ISO 20022 camt.053 (BankToCustomerStatement): one row a transaction, or an entry without any.

Elements are told by their names alone, so that every version is read, camt.053.001.08 and those
around it. What is not booked, is in another currency or does not add up is refused with a reason.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from xml.parsers import expat

from distrib import clock
from distrib.errors import InvalidInput
from distrib.money import parse_amount
from distrib.settlement.providers.status_file import LONGEST_TEXT
from distrib.settlement.statement_rows import (
    BLOCK,
    BadStatement,
    Limited,
    Period,
    RefusedLine,
    StatementRow,
    checked_amount,
    checked_day,
    find_keys,
)

_DEEPEST = 40
_XML_DAY = re.compile(r"\d{4}-\d\d-\d\d(Z|[+-]\d\d:\d\d)?", re.ASCII)


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


class Camt053:
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

    def read(self, file: Limited) -> Iterator[StatementRow | RefusedLine]:
        """The rows of a file."""
        try:
            while block := file.read(BLOCK):
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
            return [(booked_on, checked_amount(total), entry)]
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
            (booked_on, checked_amount(amount), part)
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
        return checked_day(found.date())


def _reference(part: _Part, entry: _Part) -> str:
    """A transaction's references, the one that we gave first."""
    given = {**entry.refs, **part.refs}
    texts = [given.get(tag, "") for tag in ("EndToEndId", "InstrId", "TxId", "AcctSvcrRef")]
    texts.append(given.get("NtryRef", ""))
    return " ".join(dict.fromkeys(each for each in texts if each not in _NOTHING))[:LONGEST_TEXT]


def _joined(part: _Part, entry: _Part) -> str:
    texts = part.texts if part is entry else [*part.texts, *entry.texts]
    return " ".join(dict.fromkeys(each for each in texts if each))[:LONGEST_TEXT]
