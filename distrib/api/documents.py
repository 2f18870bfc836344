"""Orders and refunds as they come in: their schemas, and how a batch of them is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from marshmallow import Schema, ValidationError, fields, post_load, validate

from distrib.api.fields import Choice, Instant, Objects, PublicId, Shape, Text, Whole
from distrib.api.problems import FieldsInvalid, flatten
from distrib.api.quick import Document
from distrib.api.routes import ProblemSchema
from distrib.commission.outcome import Outcome, Status
from distrib.errors import DistribError, InvalidInput
from distrib.orders.document import LineIn, OrderIn, RefundIn, RefundLineIn

MOST_DOCUMENTS = 10_000

_MANY = validate.Length(1, MOST_DOCUMENTS)
_MINOR = "in minor units of the order's currency"


class OrderLineInSchema(Document):
    """An order line. Money in minor units of the order's currency."""

    sku = Text(required=True, metadata={"example": "TEA-100"})
    quantity = Whole(1, 1_000_000_000, required=True, metadata={"example": 2})
    unit_price = Whole(
        required=True, metadata={"description": f"Price of one, {_MINOR}.", "example": 9900}
    )
    category = Text(allow_none=True, metadata={"example": "tea"})
    discount = Whole(metadata={"description": f"Off the whole line, {_MINOR}.", "example": 1000})
    shipping = Whole(metadata={"description": f"Apart from the price, {_MINOR}; earns nothing."})
    tax = Whole(metadata={"description": f"Apart from the price, {_MINOR}; earns nothing."})
    other_paid = Whole(
        metadata={"description": f"Of the price, paid with balance, points or coupons, {_MINOR}."}
    )
    cost = Whole(
        allow_none=True, metadata={"description": f"What the goods cost the brand, {_MINOR}."}
    )
    income = Whole(
        allow_none=True,
        metadata={"description": f"What a marketplace pays for the line, {_MINOR}."},
    )

    @post_load
    def make(self, given: dict[str, Any], **_: Any) -> LineIn:
        """The document."""
        return LineIn(**given)


class OrderInSchema(Document):
    """An order as the shop reports it. `shop` and `external_id` name it within the brand."""

    shop = Text(required=True, metadata={"example": "web"})
    external_id = Text(required=True, metadata={"example": "A-1001"})
    placed_at = Instant(
        required=True,
        metadata={
            "description": "By the shop's clock, with its time zone.",
            "example": "2026-03-01T12:00:00+08:00",
        },
    )
    currency = Text(3, required=True, metadata={"description": "ISO 4217.", "example": "CNY"})
    lines = Objects(OrderLineInSchema, required=True)
    buyer = Text(allow_none=True, metadata={"example": "buyer-7"})
    distributor = Text(
        allow_none=True,
        metadata={
            "description": "External id of the referring distributor; or give a `code`.",
            "example": "anna",
        },
    )
    code = Text(allow_none=True, metadata={"description": "Referral code that was used."})
    buyer_distributor = Text(
        allow_none=True,
        metadata={"description": "External id of the buyer, if it is a distributor itself."},
    )
    channel = Text(
        allow_none=True,
        metadata={"description": "Where it was sold, such as `wechat`.", "example": "wechat"},
    )

    @post_load
    def make(self, given: dict[str, Any], **_: Any) -> OrderIn:
        """The document."""
        given["lines"] = tuple(given["lines"])
        return OrderIn(**given)


class RefundLineInSchema(Document):
    """What came back of a line."""

    line_no = Whole(
        1, 10_000, required=True, metadata={"description": "Counted from 1.", "example": 1}
    )
    quantity = Whole(
        0,
        1_000_000_000,
        required=True,
        metadata={"description": "Units; 0 when only money was given back.", "example": 1},
    )
    amount = Whole(
        allow_none=True,
        metadata={
            "description": f"Given back for the line, {_MINOR}, apart from shipping and tax. Left"
            " out: the units' share of what the line cost."
        },
    )

    @post_load
    def make(self, given: dict[str, Any], **_: Any) -> RefundLineIn:
        """The document."""
        return RefundLineIn(**given)


class RefundInSchema(Document):
    """A refund of an order, which may not have arrived yet."""

    shop = Text(required=True, metadata={"example": "web"})
    order_external_id = Text(required=True, metadata={"example": "A-1001"})
    external_id = Text(required=True, metadata={"example": "R-1"})
    refunded_at = Instant(required=True, metadata={"example": "2026-03-05T09:30:00+08:00"})
    lines = Objects(
        RefundLineInSchema,
        allow_none=True,
        metadata={"description": "Left out: all that is left of the order."},
    )
    reason = Text(allow_none=True, metadata={"example": "damaged"})

    @post_load
    def make(self, given: dict[str, Any], **_: Any) -> RefundIn:
        """The document."""
        if given.get("lines") is not None:
            given["lines"] = tuple(given["lines"])
        return RefundIn(**given)


class OrderBatchSchema(Shape):
    """Orders, 1 to 10,000 of them."""

    orders = Objects(OrderInSchema, required=True, validate=_MANY)


class RefundBatchSchema(Shape):
    """Refunds, 1 to 10,000 of them."""

    refunds = Objects(RefundInSchema, required=True, validate=_MANY)


class OrderTakenSchema(Shape):
    """What became of an order."""

    status = Choice(Status.ACCEPTED, Status.DUPLICATE, required=True)
    id = PublicId("ord", required=True)


class RefundTakenSchema(Shape):
    """What became of a refund."""

    status = Choice(Status.ACCEPTED, Status.DUPLICATE, Status.WAITING, required=True)
    id = PublicId("ref", required=True, allow_none=True)


class _ResultSchema(Shape):
    status = Choice(*Status, required=True)
    problem = fields.Nested(
        ProblemSchema, metadata={"description": "Why it was rejected; only then."}
    )


class OrderResultSchema(_ResultSchema):
    """What became of one order of a batch."""

    id = PublicId("ord", required=True, allow_none=True)


class RefundResultSchema(_ResultSchema):
    """What became of one refund of a batch."""

    id = PublicId("ref", required=True, allow_none=True)


class _CountsSchema(Shape):
    accepted = Whole(required=True, metadata={"example": 998})
    duplicate = Whole(required=True, metadata={"example": 1})
    rejected = Whole(required=True, metadata={"example": 1})


class OrderResultsSchema(_CountsSchema):
    """What became of a batch of orders: a result for each, in their order."""

    results = Objects(OrderResultSchema, required=True)


class RefundResultsSchema(_CountsSchema):
    """What became of a batch of refunds: a result for each, in their order."""

    waiting = Whole(required=True, metadata={"example": 0})
    results = Objects(RefundResultSchema, required=True)


ORDER_EXAMPLE = {
    "shop": "web",
    "external_id": "A-1001",
    "placed_at": "2026-03-01T12:00:00+08:00",
    "currency": "CNY",
    "distributor": "anna",
    "lines": [{"sku": "TEA-100", "category": "tea", "quantity": 2, "unit_price": 9900}],
}
REFUND_EXAMPLE = {
    "shop": "web",
    "order_external_id": "A-1001",
    "external_id": "R-1",
    "refunded_at": "2026-03-05T09:30:00+08:00",
    "lines": [{"line_no": 1, "quantity": 1}],
}

T = TypeVar("T")


def read_documents(body: Any, name: str, schema: Schema) -> list[Any]:
    """The documents of a batch; one that cannot be read is its :class:`FieldsInvalid`.

    :raises InvalidInput: when the batch itself is not one.
    """
    if not isinstance(body, dict):
        raise InvalidInput("must be an object", field="body")
    unknown = [{"field": key, "reason": "is not known here"} for key in body if key != name]
    if unknown:
        raise FieldsInvalid(unknown)
    given = body.get(name)
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_DOCUMENTS:
        raise InvalidInput(f"must be a list of 1 to {MOST_DOCUMENTS}", field=name)
    documents: list[Any] = []
    for each in given:
        try:
            documents.append(schema.load(each))
        except ValidationError as error:
            documents.append(FieldsInvalid(flatten(error.messages, name.removesuffix("s"))))
    return documents


def take_in_chunks(
    documents: Sequence[T | DistribError], size: int, take: Callable[[list[T]], list[Outcome]]
) -> list[Outcome]:
    """An outcome for each document; ``take`` gets those that can be read, ``size`` at a time."""
    outcomes = [
        Outcome(Status.REJECTED, error=each) if isinstance(each, DistribError) else None
        for each in documents
    ]
    readable = [i for i, outcome in enumerate(outcomes) if outcome is None]
    for start in range(0, len(readable), size):
        chunk = readable[start : start + size]
        taken = take([documents[i] for i in chunk])  # type: ignore[misc]  # errors are out
        for i, outcome in zip(chunk, taken, strict=True):
            outcomes[i] = outcome
    return [outcome for outcome in outcomes if outcome is not None]
