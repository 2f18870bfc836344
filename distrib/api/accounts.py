"""What a distributor has: its statement, its earnings, its payouts."""

from __future__ import annotations

from datetime import date
from typing import Any

from marshmallow import fields

from distrib import ids
from distrib.api import settlement_lists
from distrib.api.context import database
from distrib.api.distributors import find
from distrib.api.fields import Amount, Choice, Day, Objects, PublicId, Shape, Text, Whole
from distrib.api.paging import Listing, Page, PageQuery, page_of
from distrib.api.payouts import PayoutSchema
from distrib.api.routes import PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.errors import InvalidInput
from distrib.settlement.statement import Statement, list_earnings, read_statement

routes = Routes(
    "Accounts",
    __name__,
    url_prefix=PREFIX,
    description="What a distributor has earned, is owed and was paid, straight from the ledger."
    " Amounts are integers in minor units of `currency`.",
)

_OF = "/distributors/<ref>"
_PREFIXES = {"order": "ord", "refund": "ref", "adjustment": "adj"}
_EARNINGS = Listing("earnings", {"day": date, "source_id": int}, descending=True)


class PeriodQuery(Shape):
    """Which days, where the brand lives."""

    first = Day(data_key="from", load_default=None, metadata={"description": "First day."})
    last = Day(data_key="to", load_default=None, metadata={"description": "Last day, counted too."})


class BalancesSchema(Shape):
    """What a distributor has at this moment."""

    earned = Amount(
        required=True, metadata={"description": "All that was ever credited.", "example": 5000}
    )
    pending = Amount(required=True, metadata={"description": "In the hold.", "example": 1500})
    available = Amount(
        required=True,
        metadata={
            "description": "Out of the hold, in no batch; negative is a debt after refunds.",
            "example": 500,
        },
    )
    reserved = Amount(required=True, metadata={"description": "In a batch.", "example": 0})
    paid = Amount(required=True, metadata={"description": "Was paid out.", "example": 2900})
    withheld = Amount(
        required=True, metadata={"description": "Tax withheld of what was paid.", "example": 0}
    )
    reversed = Amount(
        required=True, metadata={"description": "Went back by refunds.", "example": 100}
    )


class StatementDaySchema(Shape):
    """One day where the brand lives."""

    day = Day(required=True)
    earned = Amount(required=True, metadata={"example": 1980})
    reversed = Amount(required=True, metadata={"example": 0})
    paid = Amount(required=True, metadata={"example": 0})


class StatementSchema(Shape):
    """Balances now, and what happened on each day, newest first."""

    currency = Text(required=True, metadata={"example": "CNY"})
    balances = fields.Nested(BalancesSchema, required=True)
    first = Day(required=True, allow_none=True, data_key="from")
    last = Day(required=True, allow_none=True, data_key="to")
    days = Objects(StatementDaySchema, required=True)


class EarningSchema(Shape):
    """What one order, or one refund of it, or an adjustment gave a distributor."""

    day = Day(required=True)
    source_id = Text(
        required=True,
        metadata={
            "description": "The order, the refund or the adjustment.",
            "example": "ord_0000000zkz00",
        },
    )
    kind = Choice(*_PREFIXES, required=True)
    order_id = PublicId("ord", required=True, allow_none=True)
    shop = Text(required=True, allow_none=True, metadata={"example": "web"})
    order_external_id = Text(
        required=True,
        allow_none=True,
        metadata={"description": "Null for an adjustment.", "example": "A-1001"},
    )
    level = Whole(required=True, allow_none=True, metadata={"example": 1})
    amount = Amount(required=True, metadata={"example": 1980})
    currency = Text(required=True, metadata={"example": "CNY"})
    available_on = Day(required=True)
    status = Text(required=True, metadata={"example": "pending"})
    batch = Whole(
        required=True,
        allow_none=True,
        metadata={"description": "Number of the batch it is in.", "example": 1},
    )


@routes.operation(
    "GET",
    f"{_OF}/statement",
    {200: (StatementSchema, "The statement")},
    query=PeriodQuery,
    problems=(404,),
)
def show_statement(mine: Brand, query: dict[str, Any], ref: str) -> Statement:
    """Show a distributor's statement."""
    first, last = query["first"], query["last"]
    if first is not None and last is not None and last < first:
        raise InvalidInput(f"the last day lies before the first, {first}", field="to")
    with database().snapshot() as session:
        found = find(session, mine, ref)
        return read_statement(session, brand=mine, distributor_id=found.id, first=first, last=last)


@routes.operation(
    "GET",
    f"{_OF}/earnings",
    {200: (page_of(EarningSchema), "A page of earnings, newest first")},
    query=PageQuery,
    problems=(404,),
)
def list_distributor_earnings(mine: Brand, query: dict[str, Any], ref: str) -> Page:
    """List what each order, refund and adjustment gave a distributor."""
    limit = query["limit"]
    before = _EARNINGS.read(query["cursor"])
    with database().snapshot() as session:
        found = find(session, mine, ref)
        earnings = list_earnings(
            session,
            brand_id=mine.id,
            distributor_id=found.id,
            before=None if before is None else (before[0], before[1]),
            limit=limit + 1,
        )
    more = len(earnings) > limit
    earnings = earnings[:limit]
    items = []
    for each in earnings:
        told = {name: getattr(each, name) for name in each.__dataclass_fields__}
        told |= {
            "source_id": ids.public(_PREFIXES[each.kind], each.source_id),
            "currency": mine.currency,
        }
        items.append(told)
    last = earnings[-1] if more else None
    return Page(items, _EARNINGS.write([last.day, last.source_id]) if last else None)


@routes.operation(
    "GET",
    f"{_OF}/payouts",
    {200: (page_of(PayoutSchema), "A page of payouts, newest first")},
    query=PageQuery,
    problems=(404,),
)
def list_distributor_payouts(mine: Brand, query: dict[str, Any], ref: str) -> Page:
    """List a distributor's payouts."""
    with database().transaction() as session:
        found = find(session, mine, ref)
        return settlement_lists.payouts_of(
            session, brand_id=mine.id, distributor_id=found.id, **query
        )
