"""Debts of distributors, and the adjustments that correct what a distributor has."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy import select
from sqlalchemy.orm import Session

from distrib import ids
from distrib.api.context import database
from distrib.api.distributors import find
from distrib.api.fields import Amount, Choice, Day, Instant, PublicId, Shape, Text, Whole
from distrib.api.idempotency import Answer, transact
from distrib.api.paging import Listing, Page, PageQuery, Query, page_of, read_page
from distrib.api.routes import PLAIN, PREFIX, Routes
from distrib.api.settlement import actor
from distrib.brands.tables import Brand
from distrib.errors import InvalidInput
from distrib.settlement.adjustments import PREFIX as ADJUSTMENT
from distrib.settlement.adjustments import (
    AdjustmentKind,
    AdjustmentNotFound,
    AdjustmentState,
    approve_adjustment,
    get_adjustment,
    reject_adjustment,
    request_adjustment,
)
from distrib.settlement.book_tables import Adjustment
from distrib.settlement.debts import (
    BUCKET_NAMES,
    Debt,
    DebtTotals,
    list_debts,
    sum_debts,
    write_debts_csv,
)
from distrib.tree.facts import DistributorNotFound, DistributorStatus
from distrib.tree.queries import get_distributor
from distrib.tree.tables import Distributor

routes = Routes(
    "Debts",
    __name__,
    url_prefix=PREFIX,
    description="A debt is what refunds took after the payout: matured items that sum up below"
    " zero. Later earnings settle the oldest first; each remaining part is as old as its refund. An"
    " adjustment writes a debt off, or corrects what was paid too much or too little; somebody else"
    " than who asked for it approves it. Who acts is the name of the API key.",
)

_DEBTS = Listing("debts", {"amount": int, "distributor_id": int}, descending=True)
_ADJUSTMENTS = Listing("adjustments", {"id": int}, descending=True)
_ONE = "/adjustments/<adjustment>"

_AS_OF = {"description": "At the end of this day where the brand lives. Left out: now."}
_OWED = {"description": "Minor units, positive.", "example": 2800}


class DayQuery(Shape):
    """As of when."""

    as_of = Day(load_default=None, metadata=_AS_OF)


class DebtQuery(PageQuery):
    """Which debts."""

    as_of = Day(load_default=None, metadata=_AS_OF)


class AgesSchema(Shape):
    """A debt by the age of its parts, in days."""

    days_0_30 = Whole(required=True, metadata={"example": 1000})
    days_31_60 = Whole(required=True, metadata={"example": 0})
    days_61_90 = Whole(required=True, metadata={"example": 1800})
    days_over_90 = Whole(required=True, metadata={"example": 0})


class DebtSchema(Shape):
    """What a distributor owes."""

    distributor = Text(required=True, metadata={"example": "anna"})
    distributor_id = PublicId("dst", required=True)
    name = Text(required=True, metadata={"example": "Anna"})
    status = Choice(*DistributorStatus, required=True)
    amount = Whole(required=True, metadata=_OWED)
    currency = Text(required=True, metadata={"example": "CNY"})
    since = Day(required=True, metadata={"description": "Of the oldest part that is not settled."})
    ages = fields.Nested(AgesSchema, required=True)


class DebtTotalsSchema(Shape):
    """All debts together."""

    as_of = Day(required=True)
    debtors = Whole(required=True, metadata={"example": 12})
    amount = Whole(required=True, metadata=_OWED)
    currency = Text(required=True, metadata={"example": "CNY"})
    ages = fields.Nested(AgesSchema, required=True)


class NewAdjustmentSchema(Shape):
    """What to correct."""

    distributor = Text(required=True, metadata={"description": "External id or `dst_` id."})
    kind = Choice(*AdjustmentKind, required=True)
    amount = Whole(
        1,
        load_default=None,
        metadata={
            "description": "Minor units, positive whatever the kind. Left out: the whole debt, for"
            " a `write_off`.",
            "example": 2800,
        },
    )
    reason = Text(2_000, required=True, metadata={"example": "left the program in May"})


class AdjustmentSchema(Shape):
    """A correction of what a distributor has."""

    id = PublicId(ADJUSTMENT, required=True)
    distributor = Text(required=True, metadata={"example": "anna"})
    distributor_id = PublicId("dst", required=True)
    kind = Choice(*AdjustmentKind, required=True)
    amount = Amount(
        required=True,
        metadata={
            "description": "What it gives the distributor; negative when it takes.",
            "example": 2800,
        },
    )
    currency = Text(required=True, metadata={"example": "CNY"})
    reason = Text(required=True, metadata={"example": "left the program in May"})
    state = Choice(*AdjustmentState, required=True)
    requested_at = Instant(required=True)
    requested_by = Text(required=True, metadata={"example": "back office"})
    decided_at = Instant(required=True, allow_none=True)
    decided_by = Text(required=True, allow_none=True, metadata={"example": "finance"})
    available_on = Day(
        required=True,
        allow_none=True,
        metadata={"description": "From when on it counts, once it is approved."},
    )


class AdjustmentQuery(PageQuery):
    """Which adjustments."""

    state = Choice(*AdjustmentState, load_default=None)
    kind = Choice(*AdjustmentKind, load_default=None)
    distributor = Text(load_default=None, metadata={"description": "External id."})


_adjustment = AdjustmentSchema()


def _aged(found: Debt | DebtTotals, currency: str) -> dict[str, Any]:
    ages = dict(zip(BUCKET_NAMES, found.ages, strict=True))
    return asdict(found) | {"ages": ages, "currency": currency}


@routes.operation(
    "GET", "/debts", {200: (page_of(DebtSchema), "A page of debts, the largest first")},
    query=DebtQuery,
)  # fmt: skip
def list_distributor_debts(mine: Brand, query: dict[str, Any]) -> Page:
    """List who is in debt, since when, and how old the debt is."""
    limit, place = query["limit"], _DEBTS.read(query["cursor"])
    with database().snapshot() as session:
        found = list_debts(
            session,
            brand=mine,
            as_of=query["as_of"],
            after=None if place is None else (place[0], place[1]),
            limit=limit + 1,
        )
    more, found = len(found) > limit, found[:limit]
    items = [_aged(each, mine.currency) | {"distributor": each.external_id} for each in found]
    following = _DEBTS.write([found[-1].amount, found[-1].distributor_id]) if more else None
    return Page(items, following)


@routes.operation("GET", "/debts/totals", {200: (DebtTotalsSchema, "The sums")}, query=DayQuery)
def sum_distributor_debts(mine: Brand, query: dict[str, Any]) -> dict[str, Any]:
    """Sum up all debts by age."""
    with database().snapshot() as session:
        return _aged(sum_debts(session, brand=mine, **query), mine.currency)


@routes.operation(
    "GET", "/debts/csv", {200: (PLAIN, "The report")}, query=DayQuery, content_type="text/csv"
)
def export_debts(mine: Brand, query: dict[str, Any]) -> Response:
    """Download all debts for a spreadsheet, amounts in major units."""
    file = io.StringIO(newline="")
    with database().snapshot() as session:
        write_debts_csv(session, file, brand=mine, **query)
    content = file.getvalue().encode("utf-8-sig")
    response = Response(content, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="debts.csv"'
    return response


# -- adjustments ----------------------------------------------------------------------------------


def _show(adjustment: Any) -> Query:
    """Adjustments as they are told."""
    return select(
        adjustment.id,
        Distributor.external_id.label("distributor"),
        adjustment.distributor_id,
        adjustment.kind,
        adjustment.amount,
        adjustment.asset.label("currency"),
        adjustment.reason,
        adjustment.state,
        adjustment.requested_at,
        adjustment.requested_by,
        adjustment.decided_at,
        adjustment.decided_by,
        adjustment.available_on,
    ).join(
        Distributor,
        (Distributor.brand_id == adjustment.brand_id)
        & (Distributor.id == adjustment.distributor_id),
    )


def _tell(session: Session, adjustment: Adjustment) -> dict[str, Any]:
    one = _show(Adjustment).where(
        Adjustment.brand_id == adjustment.brand_id, Adjustment.id == adjustment.id
    )
    return dict(session.execute(one).one()._mapping)


def _number(public_id: str) -> int:
    try:
        return ids.parse(ADJUSTMENT, public_id)
    except ValueError as error:
        raise AdjustmentNotFound(str(error), field="adjustment") from None


@routes.operation(
    "POST",
    "/adjustments",
    {201: (AdjustmentSchema, "It is asked for, and waits for somebody else's approval")},
    body=NewAdjustmentSchema,
    example={"distributor": "anna", "kind": "write_off", "reason": "left the program in May"},
    problems=(409,),
)
def create_adjustment(mine: Brand, given: dict[str, Any]) -> Response:
    """Ask for an adjustment: a debt written off, money that was paid too much or too little."""
    ref = given.pop("distributor")

    def work(session: Session) -> Answer:
        try:
            owner = find(session, mine, ref)
        except DistributorNotFound as error:
            raise InvalidInput(error.detail, field="distributor") from None
        made = request_adjustment(
            session, brand=mine, distributor_id=owner.id, requested_by=actor(), **given
        )
        return Answer(201, _adjustment.dump(_tell(session, made)))

    return transact(work)


@routes.operation(
    "GET",
    "/adjustments",
    {200: (page_of(AdjustmentSchema), "A page of adjustments, newest first")},
    query=AdjustmentQuery,
)
def list_distributor_adjustments(mine: Brand, query: dict[str, Any]) -> Page:
    """List adjustments."""
    distributor = query.pop("distributor")
    with database().transaction() as session:
        where = [Adjustment.brand_id == mine.id]
        where += [
            getattr(Adjustment, name) == value
            for name in ("state", "kind")
            if (value := query.pop(name)) is not None
        ]
        if distributor is not None:
            try:
                owner = get_distributor(session, brand_id=mine.id, external_id=distributor)
            except DistributorNotFound as error:
                raise InvalidInput(error.detail, field="distributor") from None
            where.append(Adjustment.distributor_id == owner.id)
        return read_page(session, Adjustment, _ADJUSTMENTS, where=where, show=_show, **query)


@routes.operation("GET", _ONE, {200: (AdjustmentSchema, "The adjustment")}, problems=(404,))
def show_adjustment(mine: Brand, adjustment: str) -> dict[str, Any]:
    """Show an adjustment."""
    with database().transaction() as session:
        number = _number(adjustment)
        return _tell(session, get_adjustment(session, brand_id=mine.id, adjustment_id=number))


@routes.operation(
    "POST",
    f"{_ONE}/approve",
    {200: (AdjustmentSchema, "It is approved, and counts")},
    problems=(404, 409),
)
def approve_distributor_adjustment(mine: Brand, adjustment: str) -> Response:
    """Approve an adjustment, as somebody else than who asked for it.

    No more is written off than is owed at this moment.
    """

    def work(session: Session) -> Answer:
        done = approve_adjustment(
            session, brand_id=mine.id, adjustment_id=_number(adjustment), approved_by=actor()
        )
        return Answer(200, _adjustment.dump(_tell(session, done)))

    return transact(work)


@routes.operation(
    "POST",
    f"{_ONE}/reject",
    {200: (AdjustmentSchema, "It is turned down")},
    problems=(404, 409),
)
def reject_distributor_adjustment(mine: Brand, adjustment: str) -> Response:
    """Turn an adjustment down, or take one's own back."""

    def work(session: Session) -> Answer:
        done = reject_adjustment(
            session, brand_id=mine.id, adjustment_id=_number(adjustment), rejected_by=actor()
        )
        return Answer(200, _adjustment.dump(_tell(session, done)))

    return transact(work)
