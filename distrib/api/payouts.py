"""Single payouts: looked at, held, paid anew, given up, proved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy.orm import Session

from distrib.api import settlement_lists
from distrib.api.context import database
from distrib.api.fields import Choice, Instant, Objects, PublicId, Shape, Text, Whole
from distrib.api.idempotency import Answer, transact
from distrib.api.language import choose_language, language_field
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.routes import BINARY, PREFIX, Routes
from distrib.api.settlement import BATCH, actor
from distrib.api.settlement_records import EventSchema
from distrib.api.settlement_shapes import ReasonSchema
from distrib.brands.tables import Brand
from distrib.settlement import payouts
from distrib.settlement.batch import get_batch, remove_payout
from distrib.settlement.book_tables import PayoutTax
from distrib.settlement.looking import explain_tax, view_payout
from distrib.settlement.paper import load_paper
from distrib.settlement.payout_pdf import render_payout
from distrib.settlement.payouts import list_attempts

routes = Routes(
    "Payouts",
    __name__,
    url_prefix=PREFIX,
    description="What one distributor gets in a batch. A payout that is `held` waits; one that"
    " `failed` or was `returned` is re-issued under a new request number, or voided: then what it"
    " held is open for the next batch. Each step needs a reason, which stays on record.",
)

PAYOUT_STATES = (
    *("reserved", "held", "sent", "paid", "failed", "returned", "voided", "removed", "cancelled"),
)
_PAYOUT = f"{BATCH}/payouts/<int(max=2147483647):no>"


class PayoutSchema(Shape):
    """What one distributor gets in a batch: `amount` is gross, `net` is paid."""

    batch = Whole(required=True, metadata={"example": 1})
    no = Whole(required=True, metadata={"example": 1})
    distributor = Text(required=True, metadata={"example": "anna"})
    distributor_id = PublicId("dst", required=True)
    amount = Whole(required=True, metadata={"example": 1980})
    tax = Whole(required=True, metadata={"description": "Withheld of it.", "example": 0})
    net = Whole(required=True, metadata={"example": 1980})
    currency = Text(required=True, metadata={"example": "CNY"})
    state = Choice(*PAYOUT_STATES, required=True)
    attempts = Whole(
        required=True, metadata={"description": "How often it was handed over.", "example": 1}
    )
    items = Whole(
        required=True,
        metadata={
            "description": "Of how many orders, refunds and adjustments it is made.",
            "example": 3,
        },
    )


class AttemptSchema(Shape):
    """One try to move the money."""

    attempt = Whole(required=True, metadata={"example": 1})
    request_no = Text(
        required=True,
        metadata={"description": "What the provider knows it by.", "example": "34000000000p1a1"},
    )
    state = Choice("sent", "pending", "paid", "failed", "returned", required=True)
    created_at = Instant(required=True)
    state_at = Instant(required=True, allow_none=True)
    reference = Text(
        required=True,
        allow_none=True,
        metadata={"description": "The provider's own number for it.", "example": "2026…0017"},
    )
    code = Text(
        required=True,
        allow_none=True,
        metadata={"description": "The provider's word.", "example": "NAME_NOT_CORRECT"},
    )
    message = Text(required=True, allow_none=True, metadata={"example": None})
    action = Text(
        required=True,
        allow_none=True,
        metadata={"description": "What the payee needs to go on, if anything.", "example": None},
    )


class TaxFactsSchema(Shape):
    """What the tax was computed from, and why it is so much."""

    regime = Text(required=True, metadata={"example": "cn_labour"})
    version = Text(required=True, metadata={"example": "2019-01-01.."})
    year = Whole(required=True, metadata={"example": 2026})
    month = Whole(required=True, metadata={"example": 3})
    gross = Whole(required=True, metadata={"example": 198_000})
    tax = Whole(required=True, metadata={"example": 23_600})
    month_gross = Whole(
        required=True,
        metadata={"description": "Paid before, in the same month.", "example": 0},
    )
    month_withheld = Whole(required=True, metadata={"example": 0})
    year_gross = Whole(required=True, metadata={"example": 0})
    year_withheld = Whole(required=True, metadata={"example": 0})
    months = Whole(
        required=True,
        metadata={"description": "Consecutive months with income.", "example": 1},
    )
    has_tax_id = fields.Boolean(required=True, metadata={"example": True})
    explanation = fields.String(
        required=True, metadata={"example": "1,980.00 less 800.00 is 1,180.00; …"}
    )


class PayoutDetailSchema(PayoutSchema):
    """A payout, its attempts, and its tax."""

    name = Text(required=True, metadata={"description": "Who is paid.", "example": "Anna"})
    provider = Text(required=True, metadata={"example": "bank-file"})
    method = Text(
        required=True,
        allow_none=True,
        metadata={"description": "Kind of the payout method.", "example": "bank"},
    )
    tries = Objects(AttemptSchema, required=True)
    tax_facts = fields.Nested(TaxFactsSchema, required=True, allow_none=True)


class BatchPayoutsQuery(PageQuery):
    """Which payouts of the batch."""

    state = Choice(*PAYOUT_STATES, load_default=None)
    distributor = Text(load_default=None, metadata={"description": "External id."})


class PayoutsQuery(PageQuery):
    """Which payouts; at least one of them."""

    request_no = Text(load_default=None, metadata={"description": "Of an attempt."})
    distributor = Text(load_default=None, metadata={"description": "External id."})
    reference = Text(load_default=None, metadata={"description": "The provider's own number."})


class LanguageQuery(Shape):
    """In which language."""

    language = language_field()


class EvidenceSchema(Shape):
    """What proves it."""

    evidence = Text(
        500,
        required=True,
        metadata={"description": "Where the proof is.", "example": "receipt 2026-03-31/17"},
    )
    reference = Text(
        load_default=None,
        metadata={"description": "The provider's own number for it.", "example": "TX-0017"},
    )


_payout = PayoutSchema()
_REASON = {"reason": "the account was closed"}
_EVIDENCE = {"evidence": "receipt 2026-03-31/17", "reference": "TX-0017"}


@routes.operation(
    "GET",
    f"{BATCH}/payouts",
    {200: (page_of(PayoutSchema), "A page of its payouts")},
    query=BatchPayoutsQuery,
    problems=(404,),
)
def list_batch_payouts(mine: Brand, query: dict[str, Any], number: int) -> Page:
    """List the payouts of a batch."""
    with database().transaction() as session:
        found = get_batch(session, brand_id=mine.id, number=number)
        return settlement_lists.batch_payouts(session, batch=found, **query)


@routes.operation(
    "GET",
    "/settlement/payouts",
    {200: (page_of(PayoutSchema), "A page of payouts, the newest batch first")},
    query=PayoutsQuery,
)
def find_payouts(mine: Brand, query: dict[str, Any]) -> Page:
    """Find payouts in all batches, by request number, distributor or the provider's reference."""
    with database().transaction() as session:
        return settlement_lists.find_payouts(session, brand_id=mine.id, **query)


def _tell_tax(row: PayoutTax, currency: str, language: str) -> dict[str, Any]:
    told = {column.key: getattr(row, column.key) for column in row.__table__.columns}
    return told | {"explanation": explain_tax(row, currency=currency, language=language)}


@routes.operation(
    "GET",
    _PAYOUT,
    {200: (PayoutDetailSchema, "The payout")},
    query=LanguageQuery,
    problems=(404,),
)
def show_payout(mine: Brand, query: dict[str, Any], number: int, no: int) -> dict[str, Any]:
    """Show a payout, every attempt to pay it, and how its tax was worked out."""
    language = choose_language(query["language"])
    with database().transaction() as session:
        batch = get_batch(session, brand_id=mine.id, number=number)
        view = view_payout(session, batch=batch, no=no)
        tax = view.tax
        return settlement_lists.one_payout(session, batch=batch, no=no) | {
            "name": view.method.name if view.method else view.distributor.name,
            "provider": batch.provider,
            "method": view.method.kind if view.method else None,
            "tries": list_attempts(session, batch=batch, no=no),
            "tax_facts": None if tax is None else _tell_tax(tax, batch.currency, language),
        }


@routes.operation(
    "GET",
    f"{_PAYOUT}/events",
    {200: (page_of(EventSchema), "A page of events, oldest first")},
    query=PageQuery,
    problems=(404,),
)
def list_payout_events(mine: Brand, query: dict[str, Any], number: int, no: int) -> Page:
    """List who did what to a payout, and why."""
    with database().transaction() as session:
        batch = get_batch(session, brand_id=mine.id, number=number)
        view_payout(session, batch=batch, no=no)
        return settlement_lists.events(session, batch=batch, no=no, **query)


@routes.operation(
    "GET",
    f"{_PAYOUT}/statement.pdf",
    {200: (BINARY, "The statement, A4")},
    query=LanguageQuery,
    content_type="application/pdf",
    problems=(404, 409),
)
def download_statement(mine: Brand, query: dict[str, Any], number: int, no: int) -> Response:
    """Download a payout's statement: gross, tax and net, and each order and refund in it.

    The same payout gives the same bytes until something becomes of it.
    """
    language = choose_language(query["language"])
    with database().snapshot() as session:
        batch = get_batch(session, brand_id=mine.id, number=number)
        paper = load_paper(session, brand=mine, batch=batch, no=no, language=language)
    response = Response(render_payout(paper, language), content_type="application/pdf")
    response.headers["Content-Disposition"] = f'inline; filename="{paper.document_id}.pdf"'
    response.headers["Content-Language"] = language
    response.headers["Vary"] = "Accept-Language"
    return response


# -- what people do -------------------------------------------------------------------------------


def _change(mine: Brand, number: int, no: int, verb: Callable[..., Any], **facts: Any) -> Response:
    """Do a verb of a payout, and show the payout."""

    def work(session: Session) -> Answer:
        verb(session, brand_id=mine.id, number=number, no=no, **facts)
        batch = get_batch(session, brand_id=mine.id, number=number)
        told = settlement_lists.one_payout(session, batch=batch, no=no)
        return Answer(200, _payout.dump(told))

    return transact(work)


def _step(name: str, meaning: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a step that needs a reason."""
    return routes.operation(
        "POST",
        f"{_PAYOUT}/{name}",
        {200: (PayoutSchema, meaning)},
        body=ReasonSchema,
        example=_REASON,
        problems=(404, 409),
    )


@_step("hold", "The payout is held")
def hold_payout(mine: Brand, given: dict[str, Any], number: int, no: int) -> Response:
    """Hold a payout that has not been handed over.

    The others go on without it.
    """
    return _change(mine, number, no, payouts.hold_payout, held_by=actor(), **given)


@_step("release", "The payout goes on")
def release_payout(mine: Brand, given: dict[str, Any], number: int, no: int) -> Response:
    """Release a held payout.

    When its batch has gone past it, it is paid now.
    """
    return _change(mine, number, no, payouts.release_payout, released_by=actor(), **given)


@_step("void", "The payout is given up")
def void_payout(mine: Brand, given: dict[str, Any], number: int, no: int) -> Response:
    """Void a payout that is held, has failed or came back.

    What it held is open for the next batch.
    """
    return _change(mine, number, no, payouts.void_payout, voided_by=actor(), **given)


@_step("reissue", "The payout is being paid again")
def reissue_payout(mine: Brand, given: dict[str, Any], number: int, no: int) -> Response:
    """Re-issue a payout that failed, or whose money came back, under a new request number.

    A failure must be two minutes old: until then a call could still be on its way.
    """
    return _change(mine, number, no, payouts.reissue_payout, reissued_by=actor(), **given)


@_step("return", "The payment is undone in the ledger")
def return_payout(mine: Brand, given: dict[str, Any], number: int, no: int) -> Response:
    """Record that the money of a paid payout came back.

    Nothing is erased: a reversal is posted. The payout can be re-issued or voided then.
    """
    return _change(mine, number, no, payouts.return_payout, returned_by=actor(), **given)


@_step("remove", "The payout is no longer in the batch")
def remove_from_batch(mine: Brand, given: dict[str, Any], number: int, no: int) -> Response:
    """Take a payout out of a batch that is not being paid.

    What it held is open again. The batch is a draft again, its approvals are void.
    """
    return _change(mine, number, no, remove_payout, removed_by=actor(), **given)


def _decision(name: str, meaning: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a decision that needs evidence."""
    return routes.operation(
        "POST",
        f"{_PAYOUT}/{name}",
        {200: (PayoutSchema, meaning)},
        body=EvidenceSchema,
        example=_EVIDENCE,
        problems=(404, 409),
    )


@_decision("confirm", "The payout is paid")
def confirm_payout(mine: Brand, given: dict[str, Any], number: int, no: int) -> Response:
    """Confirm that a payout which was handed over has been paid, with what proves it.

    For what is paid outside: the provider `manual`, or a bank's file without a status report.
    """
    return _change(mine, number, no, payouts.decide_payout, paid=True, decided_by=actor(), **given)


@_decision("refuse", "The payout has failed")
def refuse_payout(mine: Brand, given: dict[str, Any], number: int, no: int) -> Response:
    """Record that a payout which was handed over has not been paid and will not be.

    It can be re-issued or voided then.
    """
    return _change(mine, number, no, payouts.decide_payout, paid=False, decided_by=actor(), **given)
