"""Files in which a bank says what became of payouts: pain.002 status reports, and CSV.

The meanings of pain.002 codes are those of the ISO 20022 external code sets
(ExternalPaymentTransactionStatus1Code, ExternalPaymentGroupStatus1Code, ExternalStatusReason1Code;
iso20022.org, external code sets). Elements are told by their names alone, so that all versions of
pain.002.001 are read, .03 and .10 among them.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.parsers import expat

from distrib.errors import DistribError, unstorable
from distrib.settlement.providers import Outcome, Status

LARGEST_FILE = 1 << 30
LONGEST_TEXT = 1000
_BLOCK = 1 << 16
_DEEPEST = 40

_NO_END = (
    *("RCVD", "PDNG", "PRES", "ACTC", "ACCP", "ACFC", "ACFW", "ACSP", "ACWC", "ACWP"),
    *("ACPD", "ACIS", "PATC", "BLCK"),
)
TX_STATUS: Mapping[str, Status] = {
    **dict.fromkeys(_NO_END, Status.PENDING),
    **dict.fromkeys(("ACSC", "ACCC"), Status.PAID),
    **dict.fromkeys(("RJCT", "CANC"), Status.FAILED),
}
"""PART is missing on purpose: it says nothing of any one transaction."""

DUPLICATE = frozenset({"AM05", "DUPL", "DU01", "DU02", "DU03", "DU04", "DU05", "DU07"})
"""Reasons that reject what was received before: the first may well have been paid."""

CSV_COLUMNS = ("request_no", "status", "reference", "code", "message")
CSV_STATUS: Mapping[str, Status] = {
    status.value: status for status in (Status.PAID, Status.FAILED, Status.PENDING, Status.RETURNED)
}
_REQUEST_NO = re.compile(r"[A-Za-z0-9]{1,32}")


class BadStatusFile(DistribError):
    """A status file cannot be read, or is not what it should be."""

    status = 422
    title = "The status file is not valid"


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row of a status file that says nothing usable.

    :param row: counted from 1, the header of a CSV file included; in XML, the line.
    """

    row: int
    reason: str
    text: str = ""


@dataclass(slots=True)
class StatusReport:
    """What a status file says.

    :param outcomes: of the requests it names, in its order.
    :param others: by the name of the message or payment information it speaks of as a whole
        (:func:`distrib.settlement.providers.pain_001.message_id`), what holds for the transactions
        it does not name; the request number in it is empty.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    others: dict[str, Outcome] = field(default_factory=dict)

    def complete(self, message_id: str, request_nos: Iterable[str]) -> list[Outcome]:
        """The outcomes, and those of ``request_nos`` of the message that are not named."""
        rest = self.others.get(message_id)
        if rest is None:
            return self.outcomes
        named = {outcome.request_no for outcome in self.outcomes}
        named |= {row.text for row in self.refused}
        return self.outcomes + [
            Outcome(number, rest.status, rest.reference, rest.code, rest.message)
            for number in request_nos
            if number not in named
        ]


def read_status_file(file: BinaryIO) -> StatusReport:
    """Read a status report or a CSV status file, told apart by the first sign.

    :raises BadStatusFile: when it is neither.
    """
    head = file.read(64)
    file.seek(0)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return read_pain_002(file)
    return read_status_csv(file)


def read_status_csv(file: BinaryIO) -> StatusReport:
    """Read a CSV status file; see :data:`CSV_COLUMNS`. The last three columns may be missing.

    :raises BadStatusFile: when the header is missing, or the file is not UTF-8 or too large.
    """
    report = StatusReport()
    rows = csv.reader(codecs.iterdecode(_lines(file), "utf-8-sig"), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        if not {"request_no", "status"} <= set(header) or len(set(header)) < len(header):
            raise BadStatusFile(f"the first row must name {', '.join(CSV_COLUMNS)}", field="header")
        for cells in rows:
            if not any(cells):
                continue
            found = _csv_outcome(header, cells)
            if isinstance(found, Outcome):
                report.outcomes.append(found)
            else:
                number = cells[header.index("request_no")] if len(cells) == len(header) else ""
                report.refused.append(RefusedRow(rows.line_num, found, number.strip()))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadStatusFile(f"line {rows.line_num}: {type(error).__name__}: {error}") from None
    return _without_contradictions(report)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    read = 0
    while line := file.readline(_BLOCK):
        read += len(line)
        if read > LARGEST_FILE or len(line) == _BLOCK:
            raise BadStatusFile(f"the file is over {LARGEST_FILE:,} bytes, or a line {_BLOCK:,}")
        yield line


def _csv_outcome(header: Sequence[str], cells: Sequence[str]) -> Outcome | str:
    """The outcome of a row, or why there is none."""
    if len(cells) != len(header):
        return f"has {len(cells)} cells, not {len(header)}"
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    if not _REQUEST_NO.fullmatch(row["request_no"]):
        return "request_no is not 1 to 32 letters and digits"
    status = CSV_STATUS.get(row["status"].lower())
    if status is None:
        return f"status is none of {', '.join(CSV_STATUS)}"
    texts = [row.get(name, "") for name in ("reference", "code", "message")]
    for name, text in zip(("reference", "code", "message"), texts, strict=True):
        if reason := unstorable(text):
            return f"{name} {reason}"
    reference, code, message = (text[:LONGEST_TEXT] or None for text in texts)
    return Outcome(row["request_no"], status, reference, code, message)


def read_pain_002(file: BinaryIO) -> StatusReport:
    """Read an ISO 20022 payment status report, without building a tree of it.

    :raises BadStatusFile: when it is no well-formed pain.002, declares a document type (and could
        so define entities), or is too large.
    """
    reader = _Pain002()
    read = 0
    try:
        while block := file.read(_BLOCK):
            read += len(block)
            if read > LARGEST_FILE:
                raise BadStatusFile(f"the file is larger than {LARGEST_FILE:,} bytes")
            reader.parser.Parse(block, False)
        reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise BadStatusFile(f"line {error.lineno}: {expat.ErrorString(error.code)}") from None
    except (ValueError, LookupError) as error:  # an encoding that the parser does not know
        raise BadStatusFile(str(error)) from None
    if not reader.seen:
        raise BadStatusFile("the file holds no CstmrPmtStsRpt")
    return _without_contradictions(reader.report)


@dataclass(slots=True)
class _Level:
    """What a group, a payment information or a transaction says of itself."""

    names: list[str] = field(default_factory=list)
    instruction: str = ""
    status: str = ""
    codes: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    reference: str = ""
    line: int = 0


_LEVELS = frozenset({"OrgnlGrpInfAndSts", "OrgnlPmtInfAndSts", "TxInfAndSts"})


class _Pain002:
    """Collects as the parser goes. A level's own facts are its children, not its descendants'."""

    def __init__(self) -> None:
        self.report = StatusReport()
        self.seen = False
        self._path: list[str] = []
        self._levels: list[_Level] = []
        self._text: list[str] = []
        self._message = ""
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.ExternalEntityRefHandler = self._refuse

    def _refuse(self, *_: object) -> int:
        raise BadStatusFile("the file declares a document type or entities")

    def _characters(self, text: str) -> None:
        if len(self._text) < 16:  # each as long as the parser's buffer: more is cut off anyway
            self._text.append(text)

    def _start(self, name: str, _attributes: Mapping[str, str]) -> None:
        tag = name.rpartition(" ")[2]
        if len(self._path) >= _DEEPEST:
            raise BadStatusFile("the file is nested too deeply")
        self._path.append(tag)
        self._text.clear()
        if tag == "CstmrPmtStsRpt":
            self.seen = True
        if tag in _LEVELS:
            self._levels.append(_Level(line=self.parser.CurrentLineNumber))

    def _end(self, _name: str) -> None:
        tag = self._path.pop()
        text = "".join(self._text).strip()[:LONGEST_TEXT]
        self._text.clear()
        if tag in _LEVELS:
            self._close(tag, self._levels.pop())
        elif self._levels:
            self._note(self._levels[-1], self._path[-1], tag, text)

    def _note(self, level: _Level, parent: str, tag: str, text: str) -> None:
        match parent, tag:
            case "OrgnlGrpInfAndSts", "OrgnlMsgId":
                level.names.append(text)
                self._message = text
            case "OrgnlPmtInfAndSts", "OrgnlPmtInfId":
                level.names.append(text)
            case "TxInfAndSts", "OrgnlEndToEndId":
                level.names.append(text)
            case "TxInfAndSts", "OrgnlInstrId":
                level.instruction = text
            case (
                ("OrgnlGrpInfAndSts", "GrpSts")
                | ("OrgnlPmtInfAndSts", "PmtInfSts")
                | ("TxInfAndSts", "TxSts")
            ):
                level.status = text
            case "TxInfAndSts", "AcctSvcrRef":
                level.reference = text
            case "Rsn", ("Cd" | "Prtry") if self._path[-2] == "StsRsnInf":
                level.codes.append(text)
            case "StsRsnInf", "AddtlInf":
                level.texts.append(text)

    def _close(self, tag: str, level: _Level) -> None:
        number = level.names[0] if level.names else ""
        if tag == "TxInfAndSts":
            if not _REQUEST_NO.fullmatch(number):
                number = level.instruction
            if not _REQUEST_NO.fullmatch(number):
                self._refuse_row(level, "names no request number", number)
            elif not level.status:
                # named without a status of its own: what holds for the rest holds for it
                pass
            elif found := self._outcome(level, number):
                self.report.outcomes.append(found)
            else:
                self._refuse_row(level, f"status {level.status!r} is not known", number)
        elif level.status and level.status != "PART":
            if found := self._outcome(level, ""):
                self.report.others[number or self._message] = found
            else:
                self._refuse_row(level, f"status {level.status!r} is not known", number)

    def _refuse_row(self, level: _Level, reason: str, text: str) -> None:
        self.report.refused.append(RefusedRow(level.line, reason, text))

    def _outcome(self, level: _Level, number: str) -> Outcome | None:
        status = TX_STATUS.get(level.status)
        if status is None:
            return None
        if status is Status.FAILED and DUPLICATE.intersection(level.codes):
            status = Status.UNKNOWN
        code = "/".join([level.status, *level.codes])[:LONGEST_TEXT]
        message = " ".join(level.texts)[:LONGEST_TEXT]
        return Outcome(number, status, level.reference or None, code, message or None)


def _without_contradictions(report: StatusReport) -> StatusReport:
    """Drop what a file says twice; refuse what it says in two ways: order is no answer.

    Pending is no contradiction of an end.
    """
    said: dict[str, Outcome] = {}
    two_ways: set[str] = set()
    for outcome in report.outcomes:
        before = said.setdefault(outcome.request_no, outcome)
        if before.status is Status.PENDING:
            said[outcome.request_no] = outcome
        elif outcome.status not in (before.status, Status.PENDING):
            two_ways.add(outcome.request_no)
    report.outcomes = [found for number, found in said.items() if number not in two_ways]
    report.refused += [
        RefusedRow(0, "the file says two different things of it", number)
        for number in sorted(two_ways)
    ]
    return report
