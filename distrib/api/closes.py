"""Closing days: what a day would sign, signing it, and what was signed."""

from __future__ import annotations

from datetime import date
from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy.orm import Session

from distrib.api.context import database
from distrib.api.fields import Day, Hex, Instant, Shape, Text, Whole
from distrib.api.idempotency import Answer, transact
from distrib.api.paging import Listing, Page, PageQuery, page_of, read_page
from distrib.api.routes import PLAIN, PREFIX, Routes
from distrib.api.settlement import actor
from distrib.brands.tables import Brand
from distrib.settlement.book_tables import DayClose
from distrib.settlement.closes import (
    CloseNotFound,
    DayFigures,
    get_close,
    prepare_close,
    sign_close,
    write_csv,
)

routes = Routes(
    "Closes",
    __name__,
    url_prefix=PREFIX,
    description="A day is closed once, in order, when it is over: what there was, what moved, what"
    " there is. Its digest is over its transfers and the digest of the day before. Nothing can be"
    " posted there afterwards without the audit naming it. Who signs is the name of the API key.",
)

_CLOSES = Listing("closes", {"day": date}, descending=True)
_ONE = "/closes/<day>"

_BALANCES = {
    "description": "Asset → kind of account → credits less debits of all such accounts, in minor"
    " units.",
    "example": {"CNY": {"commission_expense": -1700, "held": 1700}},
}
_MOVEMENTS = {
    "description": "Asset → why money moved → how many transfers, of how much together.",
    "example": {"CNY": {"accrue": {"transfers": 3, "amount": 1700}}},
}
_DIGEST = {"description": "SHA-256 of the digest of the day before and the day's transfers."}


class DayQuery(Shape):
    """Which day."""

    day = Day(
        load_default=None,
        metadata={"description": "Where the brand lives. Left out: the one that comes next."},
    )


class DayFiguresSchema(Shape):
    """A day of the books."""

    day = Day(required=True)
    first_at = Instant(required=True)
    end_at = Instant(required=True, metadata={"description": "The day's end is not of the day."})
    opening = fields.Dict(required=True, metadata=_BALANCES)
    movements = fields.Dict(required=True, metadata=_MOVEMENTS)
    closing = fields.Dict(required=True, metadata=_BALANCES)
    transfers = Whole(required=True, metadata={"example": 3})
    digest = Hex(required=True, metadata=_DIGEST)


class CloseSchema(DayFiguresSchema):
    """A day that was closed."""

    signed_by = Text(required=True, metadata={"example": "finance"})
    signed_at = Instant(required=True)


class SignatureSchema(Shape):
    """A day to close."""

    day = Day(required=True)
    digest = Hex(
        load_default=None,
        metadata={
            "description": "Of what was reviewed: should the day hold anything else, it is refused."
        },
    )


_close = CloseSchema()


@routes.operation(
    "GET",
    "/closes/next",
    {200: (DayFiguresSchema, "What closing the day would sign")},
    query=DayQuery,
    problems=(409,),
)
def show_next_close(mine: Brand, query: dict[str, Any]) -> DayFigures:
    """Show what closing a day would sign.

    Nothing is written. A day that is not over shows what there is so far.
    """
    with database().snapshot() as session:
        return prepare_close(session, brand=mine, day=query["day"])


@routes.operation(
    "POST",
    "/closes",
    {201: (CloseSchema, "The day is closed")},
    body=SignatureSchema,
    example={"day": "2026-03-01", "digest": "3f2c9a"},
    problems=(409,),
)
def sign_day(mine: Brand, given: dict[str, Any]) -> Response:
    """Close a day.

    Days are closed in order, each at least ten minutes after its end; days without movement before
    it are closed with it. Transactions that began before the day was over are waited for; when one
    goes on, it is refused with 409 and can be tried again.
    """

    def work(session: Session) -> Answer:
        made = sign_close(
            session, brand=mine, day=given["day"], digest=given["digest"], signed_by=actor()
        )
        return Answer(201, _close.dump(made))

    return transact(work)


@routes.operation(
    "GET",
    "/closes",
    {200: (page_of(CloseSchema), "A page of closed days, newest first")},
    query=PageQuery,
)
def list_day_closes(mine: Brand, query: dict[str, Any]) -> Page:
    """List the days that were closed."""
    with database().transaction() as session:
        where = [DayClose.brand_id == mine.id]
        return read_page(session, DayClose, _CLOSES, where=where, **query)


@routes.operation("GET", _ONE, {200: (CloseSchema, "The close")}, problems=(404,))
def show_close(mine: Brand, day: str) -> DayClose:
    """Show a day as it was closed."""
    with database().transaction() as session:
        return _find(session, mine, day)


@routes.operation(
    "GET",
    f"{_ONE}/export",
    {200: (PLAIN, "The close as a table")},
    content_type="text/csv",
    problems=(404,),
)
def export_close(mine: Brand, day: str) -> Response:
    """Download a day as it was closed, as CSV. Amounts in major units."""
    with database().transaction() as session:
        found = _find(session, mine, day)
    response = Response(write_csv(DayFigures.of(found)), content_type="text/csv; charset=utf-8")
    name = f"close-{mine.slug}-{found.day}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _find(session: Session, mine: Brand, day: str) -> DayClose:
    try:
        wanted = date.fromisoformat(day)
    except ValueError:
        raise CloseNotFound(f"{day[:60]!r} is no day", field="day") from None
    return get_close(session, brand_id=mine.id, day=wanted)
