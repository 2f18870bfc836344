"""What is recorded of orders and what they paid: lists, single orders, commissions, reasons."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from distrib import ids
from distrib.api import record_lists as lists
from distrib.api.context import database
from distrib.api.fields import (
    Amount,
    Choice,
    Day,
    Instant,
    Objects,
    PublicId,
    Rate,
    Shape,
    Text,
    Whole,
)
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.routes import PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.commission.explanation import Explanation, explain_commission, explain_order
from distrib.errors import NotFound

routes = Routes(
    "Records",
    __name__,
    url_prefix=PREFIX,
    description="What was taken and what it paid, down to the reason of every amount. Nothing"
    " here ever changes; a refund adds to it. Amounts are integers in minor units of `currency`.",
)


class OrderLineSchema(Shape):
    """A line of an order."""

    line_no = Whole(required=True, metadata={"example": 1})
    sku = Text(required=True, metadata={"example": "TEA-100"})
    category = Text(required=True, allow_none=True, metadata={"example": "tea"})
    quantity = Whole(required=True, metadata={"example": 2})
    unit_price = Whole(required=True, metadata={"example": 9900})
    discount = Whole(required=True, metadata={"example": 0})
    shipping = Whole(required=True, metadata={"example": 0})
    tax = Whole(required=True, metadata={"example": 0})


class RefundLineSchema(Shape):
    """What came back of a line."""

    line_no = Whole(required=True, metadata={"example": 1})
    quantity = Whole(required=True, metadata={"example": 1})
    amount = Whole(required=True, metadata={"example": 9900})


class RefundSchema(Shape):
    """A refund of the order."""

    id = PublicId("ref", required=True)
    external_id = Text(required=True, metadata={"example": "R-1"})
    reason = Text(required=True, allow_none=True, metadata={"example": "damaged"})
    refunded_at = Instant(required=True)
    recorded_at = Instant(required=True)
    lines = Objects(RefundLineSchema, required=True)


class OrderSchema(Shape):
    """An order."""

    id = PublicId("ord", required=True)
    shop = Text(required=True, metadata={"example": "web"})
    external_id = Text(required=True, metadata={"example": "A-1001"})
    currency = Text(required=True, metadata={"example": "CNY"})
    buyer = Text(required=True, allow_none=True, metadata={"example": "buyer-7"})
    referral = Choice("direct", "code", "none", required=True)
    referral_code = Text(required=True, allow_none=True)
    distributor = Text(
        required=True,
        allow_none=True,
        metadata={"description": "External id of the one it is credited to.", "example": "anna"},
    )
    distributor_id = PublicId("dst", required=True, allow_none=True)
    plan_version = Whole(required=True, allow_none=True, metadata={"example": 1})
    placed_at = Instant(required=True, metadata={"description": "By the shop's clock."})
    effective_at = Instant(
        required=True,
        metadata={"description": "What decisions use: as placed, but never after recording."},
    )
    recorded_at = Instant(required=True)
    available_on = Day(
        required=True, metadata={"description": "When its commission leaves the hold."}
    )


class OrderDetailSchema(OrderSchema):
    """An order with its lines and refunds."""

    lines = Objects(OrderLineSchema, required=True)
    refunds = Objects(RefundSchema, required=True)


class OrderQuery(PageQuery):
    """Which orders. `from`, `to` and `placed_at` go by `effective_at`."""

    shop = Text(load_default=None)
    external_id = Text(load_default=None, metadata={"description": "The shop's name of it."})
    distributor = Text(
        load_default=None, metadata={"description": "External id of the one credited."}
    )
    buyer = Text(load_default=None)
    first = Instant(
        data_key="from", load_default=None, metadata={"description": "Not before this instant."}
    )
    last = Instant(
        data_key="to", load_default=None, metadata={"description": "Before this instant."}
    )
    sort = Choice(
        "placed_at",
        "-placed_at",
        load_default="-placed_at",
        metadata={"description": "An order placed after it was recorded counts as of then."},
    )


class CommissionSchema(Shape):
    """This order line pays this distributor this amount at this level."""

    order_id = PublicId("ord", required=True)
    source_id = Text(
        required=True,
        metadata={
            "description": "The order, or the refund (`ref_`) that changed what the line pays.",
            "example": ids.public("ord", 34_000_000_000),
        },
    )
    line_no = Whole(required=True, metadata={"example": 1})
    level = Whole(required=True, metadata={"example": 1})
    distributor = Text(required=True, metadata={"example": "anna"})
    distributor_id = PublicId("dst", required=True)
    rule_no = Whole(required=True, metadata={"example": 1})
    rate = Rate(required=True, attribute="rate_ppm", metadata={"example": "10%"})
    base = Whole(
        required=True,
        metadata={"description": "What is left of the line, net of discount.", "example": 19800},
    )
    amount = Amount(
        required=True, metadata={"description": "Negative after a refund.", "example": 1980}
    )
    currency = Text(required=True, metadata={"example": "CNY"})
    earned_on = Day(required=True)


class CommissionQuery(PageQuery):
    """Which commissions."""

    distributor = Text(load_default=None, metadata={"description": "External id."})
    order = PublicId("ord", load_default=None)
    level = Whole(1, 3, strict=False, load_default=None)
    first = Day(
        data_key="from", load_default=None, metadata={"description": "Earned on this day or later."}
    )
    last = Day(
        data_key="to", load_default=None, metadata={"description": "Earned on this day or earlier."}
    )


class ExplanationSchema(Shape):
    """Why an amount is what it is: for programs and for people."""

    data = fields.Dict(required=True)
    words = fields.List(
        fields.String(),
        required=True,
        metadata={"example": ["Level 1 gets 10% of 198.00 CNY: 19.8 exactly."]},
    )
    words_zh = fields.List(
        fields.String(),
        required=True,
        metadata={"example": ["第 1 级得 198.00 CNY 的 10%：19.8（恰好）。"]},
    )


_commissions = page_of(CommissionSchema)


def _number(prefix: str, text: str) -> int:
    try:
        return ids.parse(prefix, text)
    except ValueError as error:
        raise NotFound(str(error)) from None


@routes.operation(
    "GET", "/orders", {200: (page_of(OrderSchema), "A page of orders")}, query=OrderQuery
)
def list_orders(mine: Brand, query: dict[str, Any]) -> Page:
    """List orders."""
    with database().transaction() as session:
        return lists.orders(session, brand_id=mine.id, **query)


@routes.operation(
    "GET", "/orders/<order>", {200: (OrderDetailSchema, "The order")}, problems=(404,)
)
def show_order(mine: Brand, order: str) -> dict[str, Any]:
    """Show an order with its lines and refunds."""
    with database().transaction() as session:
        return lists.order_detail(session, brand_id=mine.id, order_id=_number("ord", order))


@routes.operation(
    "GET",
    "/orders/<order>/commissions",
    {200: (_commissions, "A page of what its lines paid, then what refunds changed")},
    query=PageQuery,
    problems=(404,),
)
def list_order_commissions(mine: Brand, query: dict[str, Any], order: str) -> Page:
    """List what an order paid."""
    order_id = _number("ord", order)
    with database().transaction() as session:
        lists.get_order(session, brand_id=mine.id, order_id=order_id)
        return lists.commissions(session, brand=mine, order=order_id, **query)


@routes.operation(
    "GET",
    "/orders/<order>/explanation",
    {200: (ExplanationSchema, "Why")},
    problems=(404,),
)
def explain_whole_order(mine: Brand, order: str) -> Explanation:
    """Explain what an order paid, and to whom it paid nothing."""
    with database().transaction() as session:
        return explain_order(session, brand=mine, order_id=_number("ord", order))


@routes.operation(
    "GET",
    "/commissions",
    {200: (_commissions, "A page of commissions, newest first; of one order, as they came")},
    query=CommissionQuery,
)
def list_commissions(mine: Brand, query: dict[str, Any]) -> Page:
    """List commissions."""
    with database().transaction() as session:
        return lists.commissions(session, brand=mine, **query)


@routes.operation(
    "GET",
    "/commissions/<source>/<int(max=10000):line>/<int(max=3):level>/explanation",
    {200: (ExplanationSchema, "Why")},
    problems=(404,),
)
def explain_one_commission(mine: Brand, source: str, line: int, level: int) -> Explanation:
    """Explain a commission.

    `source` is the order, or the refund that changed what the line pays. The amount is computed
    again, and the answer says whether it is the one on record.
    """
    prefix = "ref" if source.startswith("ref_") else "ord"
    with database().transaction() as session:
        return explain_commission(
            session, brand=mine, source_id=_number(prefix, source), line_no=line, level=level
        )
