"""Reconciliation: statements, the cases they open, and what both sides say."""

from __future__ import annotations

import io
from dataclasses import asdict
from datetime import date
from typing import Any

from flask import Response, request
from marshmallow import fields
from sqlalchemy.orm import Session
from werkzeug.exceptions import UnsupportedMediaType

from distrib import ids
from distrib.api.context import context, database
from distrib.api.fields import Amount, Choice, Day, Instant, Objects, PublicId, Shape, Text, Whole
from distrib.api.idempotency import Answer, transact
from distrib.api.paging import Listing, Page, PageQuery, page_of, read_page
from distrib.api.routes import PREFIX, Routes
from distrib.api.settlement import actor
from distrib.api.settlement_records import read_body
from distrib.brands.tables import Brand
from distrib.settlement.book_tables import ReconciliationCase, StatementImport, StatementLine
from distrib.settlement.cases import (
    CASE_PREFIX,
    CaseKind,
    CaseNotFound,
    Resolution,
    case_filters,
    get_case,
    resolve_case,
    view_case,
)
from distrib.settlement.outcomes import AttemptKey, write_request_no
from distrib.settlement.reconciliation import (
    IMPORT_PREFIX,
    MISSING_AFTER_DAYS,
    ImportNotFound,
    ImportReport,
    check_provider,
    get_import,
    import_statement,
)
from distrib.settlement.reconciliation_summary import read_clearing, summarize
from distrib.settlement.statement_file import COLUMNS, read_mapping

routes = Routes(
    "Reconciliation",
    __name__,
    url_prefix=PREFIX,
    description="What the ledger says was paid, beside what the bank or provider says. Lines are"
    " matched by the request number they carry, then by amount and date. What does not agree is a"
    " case, and every case ends in what the ledger needs, or in a note. Who acts is the name of the"
    " API key.",
)

_MOST_BYTES = 64 * 1024 * 1024
_SHOWN = 100
_ENCODINGS = (
    *("utf-8", "utf-16", "iso-8859-1", "windows-1252", "gb18030", "gbk", "big5", "shift_jis"),
    "euc-kr",
)
_OF_COLUMN = {
    "reference": "the number that names the payment",
    "amount": "the amount, in major units",
    "date": "the day it was booked on",
    "amount_in": "what came back, where that has a column of its own",
    "text": "any other text",
    "direction": "the direction: out or in, DBIT or CRDT, 支出 or 收入",
}
_CSV = "reference,amount,date,text\n14786p1a1,12.34,2026-03-17,commission\n"
_XML = '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08">…</Document>'

_IMPORTS = Listing("statements", {"id": int}, descending=True)
_LINES = Listing("lines of a statement", {"line": int})
_CASES = Listing("reconciliation cases", {"id": int}, descending=True)
_STATEMENT = "/reconciliation/statements/<statement>"
_CASE = "/reconciliation/cases/<case>"


def _column(name: str) -> Text:
    words = f"CSV: the column of {_OF_COLUMN[name]}. Left out: `{name}`."
    return Text(100, load_default=None, metadata={"description": words})


class StatementQuery(Shape):
    """What a statement is of, and how a CSV file says it."""

    provider = Text(required=True, metadata={"example": "bank-file"})
    name = Text(required=True, metadata={"example": "2026-03.csv"})
    first_day = Day(
        load_default=None,
        metadata={
            "description": "First day it is of. Left out: what it says, or its first line's."
        },
    )
    last_day = Day(load_default=None)
    missing_after_days = Whole(
        0,
        90,
        strict=False,
        load_default=MISSING_AFTER_DAYS,
        metadata={"description": "How long before its last day a payment must be to be missing."},
    )
    reference = _column("reference")
    amount = _column("amount")
    date = _column("date")
    amount_in = _column("amount_in")
    text = _column("text")
    direction = _column("direction")
    date_formats = fields.List(
        Text(40),
        load_default=None,
        metadata={"description": "CSV: `iso`, or forms such as `%d.%m.%Y`; the first that fits."},
    )
    decimal = Choice(".", ",", load_default=".")
    thousands = Text(
        1, load_default=None, metadata={"description": "CSV: what groups digits.", "example": ","}
    )
    delimiter = Text(1, load_default=",")
    encoding = Choice(*_ENCODINGS, load_default="utf-8")
    outgoing = Choice(
        "positive",
        "negative",
        load_default="positive",
        metadata={"description": "CSV: the sign of what went out, where no direction is given."},
    )


class RefusedLineSchema(Shape):
    """A row that could not be read."""

    line = Whole(required=True, metadata={"example": 7})
    reason = fields.String(required=True, metadata={"example": "amount: must not be empty"})
    text = fields.String(required=True)


class BankStatementSchema(Shape):
    """A statement that was taken in."""

    id = PublicId(IMPORT_PREFIX, required=True)
    provider = Text(required=True, metadata={"example": "bank-file"})
    name = Text(required=True, metadata={"example": "2026-03.csv"})
    first_day = Day(required=True)
    last_day = Day(required=True)
    rows = Whole(required=True, metadata={"example": 1200})
    imported_by = Text(required=True, metadata={"example": "finance"})
    imported_at = Instant(required=True)


class StatementReportSchema(Shape):
    """What an import did. `accepted` and `rejected` are all rows of the file."""

    statement = fields.Nested(BankStatementSchema, required=True)
    known = fields.Boolean(
        required=True, metadata={"description": "The very file was here before; nothing is new."}
    )
    accepted = Whole(required=True, metadata={"example": 1199})
    rejected = Whole(required=True, metadata={"example": 1})
    repeated = Whole(
        required=True,
        metadata={
            "description": "Accepted lines that an earlier statement had said.",
            "example": 0,
        },
    )
    matched = Whole(required=True, metadata={"example": 1198})
    rejects = Objects(
        RefusedLineSchema, required=True, metadata={"description": f"The first {_SHOWN}."}
    )
    found = fields.Dict(
        required=True,
        metadata={"description": "New cases by kind.", "example": {"extra": 1}},
    )
    resolved = Whole(
        required=True,
        metadata={"description": "Open cases that are explained by now.", "example": 0},
    )


class BankLineSchema(Shape):
    """A line of a statement. Money in minor units of the brand's currency."""

    line = Whole(required=True, metadata={"example": 2})
    booked_on = Day(required=True)
    amount = Amount(
        required=True,
        metadata={"description": "What went out; negative what came back.", "example": 1234},
    )
    reference = fields.String(required=True)
    text = fields.String(required=True)
    request_no = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The payment that it names.", "example": "14786p1a1"},
    )


class ReconciliationCaseSchema(Shape):
    """A difference. Money in minor units of the brand's currency."""

    id = PublicId(CASE_PREFIX, required=True)
    kind = Choice(*CaseKind, required=True)
    provider = Text(required=True, metadata={"example": "bank-file"})
    request_no = fields.String(required=True, allow_none=True)
    statement = PublicId(IMPORT_PREFIX, required=True, allow_none=True, attribute="import_id")
    line = Whole(required=True, allow_none=True, metadata={"example": 2})
    expected = Amount(
        required=True, metadata={"description": "What the ledger says went out.", "example": 1234}
    )
    found = Amount(
        required=True, metadata={"description": "What the statement says.", "example": 1230}
    )
    state = Choice("open", "resolved", required=True)
    opened_at = Instant(required=True)
    opened_by = Text(required=True)
    resolution = Choice(*Resolution, required=True, allow_none=True)
    note = fields.String(required=True, allow_none=True)
    resolved_at = Instant(required=True, allow_none=True)
    resolved_by = Text(required=True, allow_none=True)


class ReconciliationCaseDetailSchema(ReconciliationCaseSchema):
    """A difference and what it is about."""

    batch = Whole(required=True, allow_none=True, metadata={"example": 1})
    no = Whole(required=True, allow_none=True, metadata={"example": 1})
    distributor = Text(required=True, allow_none=True, metadata={"example": "anna"})
    attempt_state = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "What the payment is recorded as.", "example": "paid"},
    )
    booked_on = Day(required=True, allow_none=True)
    reference = fields.String(required=True, allow_none=True)
    text = fields.String(required=True, allow_none=True)
    ways = fields.List(
        Choice(*Resolution),
        required=True,
        metadata={"description": "How it can be resolved now.", "example": ["adjust", "note"]},
    )


class CaseQuery(PageQuery):
    """Which cases."""

    state = Choice("open", "resolved", load_default=None)
    kind = Choice(*CaseKind, load_default=None)
    provider = Text(load_default=None)


class CaseResolutionSchema(Shape):
    """How a case ends."""

    resolution = Choice(
        *Resolution,
        required=True,
        metadata={
            "description": "`return` undoes the payment; `adjust` asks for an adjustment, which"
            " somebody else approves; `differ` posts money of nobody as a difference of the bank;"
            " `confirm` records the payment as paid; `note` moves nothing."
        },
    )
    note = Text(2_000, required=True, metadata={"example": "the bank sent it twice"})
    distributor = Text(
        load_default=None,
        metadata={"description": "Whose money it is, for `adjust` of a line that names nobody."},
    )


class SummaryQuery(Shape):
    """Which days."""

    first_day = Day(required=True)
    last_day = Day(required=True, metadata={"description": "Inclusive."})
    provider = Text(load_default=None)


class ReconciliationSummarySchema(Shape):
    """A provider's payments of some days, on both sides. Money in minor units."""

    provider = Text(required=True, metadata={"example": "bank-file"})
    ledger_paid = Whole(required=True, metadata={"example": 48_000})
    ledger_returned = Whole(required=True, metadata={"example": 0})
    ledger = Amount(required=True, metadata={"example": 48_000})
    lines = Whole(required=True, metadata={"example": 12})
    statement = Amount(required=True, metadata={"example": 48_100})
    matched_lines = Whole(required=True, metadata={"example": 11})
    matched = Amount(required=True, metadata={"example": 48_000})
    difference = Amount(
        required=True,
        metadata={"description": "What the statements say more.", "example": 100},
    )
    open = fields.Dict(
        required=True,
        metadata={
            "description": "Open cases by kind: how many, and what the statements say more.",
            "example": {"extra": {"cases": 1, "difference": 100}},
        },
    )
    resolved = fields.Dict(required=True, metadata={"example": {}})


class ReconciliationSummariesSchema(Shape):
    """Each provider's payments of some days."""

    currency = Text(required=True, metadata={"example": "CNY"})
    items = Objects(ReconciliationSummarySchema, required=True)


class InClearingSchema(Shape):
    """Payments of a batch that were handed over and are not decided."""

    batch = Whole(required=True, metadata={"example": 1})
    provider = Text(required=True, metadata={"example": "bank-file"})
    payouts = Whole(required=True, metadata={"example": 2})
    amount = Whole(required=True, metadata={"example": 2009})
    oldest_at = Instant(required=True)


class ClearingSchema(Shape):
    """What is on its way. Money in minor units."""

    currency = Text(required=True, metadata={"example": "CNY"})
    balance = Amount(
        required=True, metadata={"description": "Of the clearing account.", "example": 2009}
    )
    explained = Amount(
        required=True,
        metadata={"description": "What the payments on their way add up to.", "example": 2009},
    )
    batches = Objects(InClearingSchema, required=True)


_report, _case = StatementReportSchema(), ReconciliationCaseDetailSchema()


@routes.operation(
    "POST",
    "/reconciliation/statements",
    {200: (StatementReportSchema, "The statement is taken in, and differences are cases")},
    query=StatementQuery,
    uploads={"text/csv": _CSV, "application/xml": _XML},
    problems=(409,),
)
def import_bank_statement(mine: Brand, query: dict[str, Any]) -> Response:
    """Import a statement of a bank or provider.

    As `application/xml` an ISO 20022 statement (camt.053), as `text/csv` a file whose columns the
    query names; up to 64 MiB. The same file again changes nothing.
    """
    request.max_content_length = _MOST_BYTES
    if request.mimetype not in ("text/csv", "application/xml"):
        raise UnsupportedMediaType("send the file as application/xml (camt.053) or text/csv")
    content = read_body(_MOST_BYTES)
    mapping = read_mapping(_mapping(query))

    def work(session: Session) -> Answer:
        provider = check_provider(
            session, context().settings, brand=mine, provider=query["provider"]
        )
        report = import_statement(
            session,
            brand=mine,
            provider=provider,
            name=query["name"],
            file=io.BytesIO(content),
            mapping=mapping,
            first_day=query["first_day"],
            last_day=query["last_day"],
            missing_after_days=query["missing_after_days"],
            imported_by=actor(),
        )
        return Answer(200, _report.dump(_told(report)))

    return transact(work)


def _mapping(query: dict[str, Any]) -> dict[str, Any]:
    """The mapping document that a query writes."""
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        if query[name] is not None or name != "amount_in":
            spec: dict[str, Any] = {"column": query[name] or name}
            if query[name] is None and name in ("text", "direction"):
                spec["optional"] = True
            if query["thousands"] and name in ("amount", "amount_in"):
                spec["remove"] = query["thousands"]
            columns[name] = spec
    kept = {name: query[name] for name in ("decimal", "delimiter", "encoding", "outgoing")}
    return kept | {"columns": columns, "date_formats": query["date_formats"] or ["iso"]}


def _told(report: ImportReport) -> dict[str, Any]:
    return {**vars(report), "rejects": report.rejects[:_SHOWN]}


@routes.operation(
    "GET",
    "/reconciliation/statements",
    {200: (page_of(BankStatementSchema), "A page of statements, newest first")},
    query=PageQuery,
)
def list_statements(mine: Brand, query: dict[str, Any]) -> Page:
    """List the statements that were taken in."""
    with database().transaction() as session:
        where = [StatementImport.brand_id == mine.id]
        return read_page(session, StatementImport, _IMPORTS, where=where, **query)


@routes.operation("GET", _STATEMENT, {200: (BankStatementSchema, "The statement")}, problems=(404,))
def show_bank_statement(mine: Brand, statement: str) -> StatementImport:
    """Show a statement that was taken in."""
    with database().transaction() as session:
        return _statement(session, mine, statement)


@routes.operation(
    "GET",
    f"{_STATEMENT}/lines",
    {200: (page_of(BankLineSchema), "A page of its lines")},
    query=PageQuery,
    problems=(404,),
)
def list_statement_lines(mine: Brand, query: dict[str, Any], statement: str) -> Page:
    """List the lines of a statement."""
    with database().transaction() as session:
        found = _statement(session, mine, statement)
        where = [StatementLine.brand_id == mine.id, StatementLine.import_id == found.id]
        page = read_page(session, StatementLine, _LINES, where=where, **query)
    return Page([_with_request_no(each) for each in page.items], page.next)


@routes.operation(
    "GET",
    "/reconciliation/cases",
    {200: (page_of(ReconciliationCaseSchema), "A page of cases, newest first")},
    query=CaseQuery,
)
def list_reconciliation_cases(mine: Brand, query: dict[str, Any]) -> Page:
    """List differences between the ledger and statements."""
    chosen = {name: query.pop(name) for name in ("state", "kind", "provider")}
    with database().transaction() as session:
        where = case_filters(mine.id, **chosen)
        page = read_page(session, ReconciliationCase, _CASES, where=where, **query)
    return Page([_with_request_no(each) for each in page.items], page.next)


@routes.operation(
    "GET", _CASE, {200: (ReconciliationCaseDetailSchema, "The case")}, problems=(404,)
)
def show_reconciliation_case(mine: Brand, case: str) -> dict[str, Any]:
    """Show a difference, what it is about, and how it can be resolved."""
    with database().transaction() as session:
        return _tell(session, get_case(session, brand_id=mine.id, case_id=_number(case)))


@routes.operation(
    "POST",
    f"{_CASE}/resolve",
    {200: (ReconciliationCaseDetailSchema, "The case is resolved")},
    body=CaseResolutionSchema,
    example={"resolution": "note", "note": "the bank's own fee"},
    problems=(404, 409),
)
def resolve_reconciliation_case(mine: Brand, given: dict[str, Any], case: str) -> Response:
    """Resolve a difference, once, in one of its `ways`."""

    def work(session: Session) -> Answer:
        done = resolve_case(
            session, brand=mine, case_id=_number(case), resolved_by=actor(), **given
        )
        return Answer(200, _case.dump(_tell(session, done)))

    return transact(work)


@routes.operation(
    "GET",
    "/reconciliation/summary",
    {200: (ReconciliationSummariesSchema, "Both sides, by provider")},
    query=SummaryQuery,
)
def summarize_reconciliation(mine: Brand, query: dict[str, Any]) -> dict[str, Any]:
    """Show what the ledger and the statements say of some days."""
    with database().snapshot() as session:
        found = summarize(session, brand=mine, **query)
    return {
        "currency": mine.currency,
        "items": [
            asdict(each) | {"ledger": each.ledger, "difference": each.difference} for each in found
        ],
    }


@routes.operation("GET", "/reconciliation/clearing", {200: (ClearingSchema, "What is on its way")})
def show_clearing(mine: Brand) -> dict[str, Any]:
    """Show what is in clearing, by batch, oldest first.

    The account is zero, or explained by payments that were handed over and are not decided.
    """
    with database().snapshot() as session:
        found = read_clearing(session, brand=mine)
    return asdict(found) | {"currency": mine.currency}


def _number(public_id: str) -> int:
    try:
        return ids.parse(CASE_PREFIX, public_id)
    except ValueError as error:
        raise CaseNotFound(str(error), field="case") from None


def _statement(session: Session, mine: Brand, public_id: str) -> StatementImport:
    try:
        number = ids.parse(IMPORT_PREFIX, public_id)
    except ValueError as error:
        raise ImportNotFound(str(error), field="statement") from None
    return get_import(session, brand_id=mine.id, import_id=number)


def _with_request_no(row: StatementLine | ReconciliationCase) -> dict[str, Any]:
    columns = {column.key: getattr(row, column.key) for column in row.__table__.columns}
    named = row.batch_id is not None and row.no is not None and row.attempt is not None
    key = AttemptKey(row.batch_id or 0, row.no or 0, row.attempt or 0)
    return columns | {"request_no": write_request_no(key) if named else None}


def _tell(session: Session, case: ReconciliationCase) -> dict[str, Any]:
    view = view_case(session, case=case)
    booked_on: date | None = view.line.booked_on if view.line else None
    return _with_request_no(case) | {
        "batch": view.batch,
        "distributor": view.distributor,
        "attempt_state": view.attempt_state,
        "booked_on": booked_on,
        "reference": view.line.reference if view.line else None,
        "text": view.line.text if view.line else None,
        "ways": list(view.ways),
    }
