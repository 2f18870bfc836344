"""Orders and refunds as they come in, whatever brought them. Pure.

Every source (API, file, marketplace) makes these documents, and :func:`check_order` and
:func:`check_refund` say what is wrong with one before anything touches the database.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from distrib.errors import InvalidInput, unstorable
from distrib.money import MAX_AMOUNT, exponent

MAX_LINES = 10_000
MAX_QUANTITY = 1_000_000_000
_NAME_LENGTH = 200
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)*")


@dataclass(frozen=True, slots=True)
class LineIn:
    """An order line. Money in minor units of the order's currency.

    :param discount: what was taken off the whole line, at most quantity × unit price.
    :param shipping: shipping charged for the line, apart from its price.
    :param tax: tax charged for the line, apart from its price.
    :param other_paid: what of the price was paid with balance, points or coupons, not in cash.
    :param cost: what the line's goods cost the brand, if it says so.
    :param income: what a marketplace pays the operator for the line, if it does.
    """

    sku: str
    quantity: int
    unit_price: int
    category: str | None = None
    discount: int = 0
    shipping: int = 0
    tax: int = 0
    other_paid: int = 0
    cost: int | None = None
    income: int | None = None

    @property
    def net(self) -> int:
        """Price less discount."""
        return self.quantity * self.unit_price - self.discount


@dataclass(frozen=True, slots=True)
class OrderIn:
    """An order. (``shop``, ``external_id``) name it within its brand.

    :param distributor: external id of the referring distributor, or None.
    :param code: referral code used, or None; at most one of the two is given.
    :param buyer_distributor: external id of the buyer, if it is a distributor: a self-purchase.
    :param channel: where it was sold, such as ``wechat/mini`` or ``store``.
    """

    shop: str
    external_id: str
    placed_at: datetime
    currency: str
    lines: tuple[LineIn, ...]
    buyer: str | None = None
    distributor: str | None = None
    code: str | None = None
    buyer_distributor: str | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class RefundLineIn:
    """What came back of a line.

    :param line_no: the order's line, counted from 1.
    :param quantity: units returned; 0 when only money was given back.
    :param amount: money given back for the line, in minor units, net of its discount and apart
        from shipping and tax; None means the returned units' share of what the line cost.
    """

    line_no: int
    quantity: int
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class RefundIn:
    """A refund of an order, which may not have arrived yet.

    :param lines: what came back; None means all that is left of the order.
    """

    shop: str
    order_external_id: str
    external_id: str
    refunded_at: datetime
    lines: tuple[RefundLineIn, ...] | None = None
    reason: str | None = None


def content_hash(document: OrderIn | RefundIn) -> bytes:
    """16 bytes that are equal for equal content: how a repeat is told from a contradiction."""
    if isinstance(document, OrderIn):
        fields: list[Any] = [
            document.shop,
            document.external_id,
            document.placed_at.astimezone(UTC).isoformat(),
            document.currency,
            document.buyer,
            document.distributor,
            document.code,
            [
                (x.sku, x.quantity, x.unit_price, x.category, x.discount, x.shipping, x.tax)
                for x in document.lines
            ],
        ]
        rarely = [
            document.buyer_distributor,
            document.channel,
            [(x.other_paid, x.cost, x.income) for x in document.lines],
        ]
        if rarely != [None, None, [(0, None, None)] * len(document.lines)]:
            fields.append(rarely)
    else:
        fields = [
            document.shop,
            document.order_external_id,
            document.external_id,
            document.refunded_at.astimezone(UTC).isoformat(),
            document.reason,
            None
            if document.lines is None
            else [(x.line_no, x.quantity, x.amount) for x in document.lines],
        ]
    # lists, not objects: half the price, and this runs once for every order that comes in
    return hashlib.blake2b(json.dumps(fields).encode(), digest_size=16).digest()


def _check_name(value: str | None, field: str, *, required: bool = True) -> None:
    if value is None or not value.strip():
        if required or value is not None:
            raise InvalidInput("must not be empty", field=field)
        return
    if len(value) > _NAME_LENGTH:
        raise InvalidInput(f"is longer than {_NAME_LENGTH} characters", field=field)
    if (reason := unstorable(value)) is not None:
        raise InvalidInput(reason, field=field)


def wrong_channel(name: str) -> str | None:
    """What is wrong with the name of a channel; None for a good one.

    One spelling only: laws and plans go by channels, and ``WeChat`` must not slip past ``wechat``.
    """
    if len(name) <= _NAME_LENGTH and _CHANNEL.fullmatch(name):
        return None
    return "is lower-case letters, digits, -, _ and ., in parts divided by /, such as wechat/mini"


def _check_instant(value: datetime, field: str) -> None:
    if value.tzinfo is None:
        raise InvalidInput("needs a time zone, such as 2026-03-01T12:00:00+08:00", field=field)
    # well inside the calendar, so that no time zone and no hold leads out of it
    if not 1970 <= value.year <= 2200:
        raise InvalidInput(f"must lie between 1970 and 2200, it is {value.year}", field=field)


def _check_line(line: LineIn, at: str) -> int:
    _check_name(line.sku, f"{at}.sku")
    _check_name(line.category, f"{at}.category", required=False)
    if line.quantity < 1:
        raise InvalidInput(f"must be at least 1, it is {line.quantity}", field=f"{at}.quantity")
    if line.quantity > MAX_QUANTITY:
        raise InvalidInput(f"must be at most {MAX_QUANTITY}", field=f"{at}.quantity")
    for field in ("unit_price", "discount", "shipping", "tax"):
        value: int = getattr(line, field)
        if not 0 <= value <= MAX_AMOUNT:
            raise InvalidInput(f"{value} is outside 0 to {MAX_AMOUNT}", field=f"{at}.{field}")
    for field in ("other_paid", "cost", "income"):
        share: int | None = getattr(line, field)
        if share is not None and not 0 <= share <= MAX_AMOUNT:
            raise InvalidInput(f"{share} is outside 0 to {MAX_AMOUNT}", field=f"{at}.{field}")
    gross = line.quantity * line.unit_price
    if line.discount > gross:
        raise InvalidInput(
            f"a discount of {line.discount} is more than the line's price of {gross}",
            field=f"{at}.discount",
        )
    if line.other_paid > line.net:
        raise InvalidInput(
            f"{line.other_paid} is more than the {line.net} that the line cost",
            field=f"{at}.other_paid",
        )
    return gross + line.shipping + line.tax


def check_order(order: OrderIn) -> None:
    """Check what can be checked without the database.

    :raises InvalidInput: naming the first field that is wrong, as in ``lines[2].discount``.
    """
    for field in ("shop", "external_id"):
        _check_name(getattr(order, field), field)
    for field in ("buyer", "distributor", "code", "buyer_distributor"):
        _check_name(getattr(order, field), field, required=False)
    if order.channel is not None and (reason := wrong_channel(order.channel)) is not None:
        raise InvalidInput(reason, field="channel")
    _check_instant(order.placed_at, "placed_at")
    try:
        exponent(order.currency)
    except ValueError as error:
        raise InvalidInput(str(error), field="currency") from None
    if order.distributor is not None and order.code is not None:
        raise InvalidInput("give the distributor or a code, not both", field="code")
    if not order.lines:
        raise InvalidInput("an order has at least one line", field="lines")
    if len(order.lines) > MAX_LINES:
        raise InvalidInput(f"an order has at most {MAX_LINES} lines", field="lines")
    total = sum(_check_line(line, f"lines[{i}]") for i, line in enumerate(order.lines))
    if total > MAX_AMOUNT:
        raise InvalidInput(
            f"the order's total of {total} is more than {MAX_AMOUNT} minor units", field="lines"
        )


def check_refund(refund: RefundIn) -> None:
    """Check what can be checked without the order.

    :raises InvalidInput: naming the first field that is wrong.
    """
    for field in ("shop", "order_external_id", "external_id"):
        _check_name(getattr(refund, field), field)
    _check_name(refund.reason, "reason", required=False)
    _check_instant(refund.refunded_at, "refunded_at")
    if refund.lines is None:
        return
    if not refund.lines:
        raise InvalidInput(
            "name the lines that came back, or leave them out for all", field="lines"
        )
    seen = set()
    for i, line in enumerate(refund.lines):
        at = f"lines[{i}]"
        if line.line_no in seen:
            raise InvalidInput(f"line {line.line_no} is named twice", field=f"{at}.line_no")
        seen.add(line.line_no)
        if line.line_no < 1:
            raise InvalidInput("lines are counted from 1", field=f"{at}.line_no")
        if line.quantity < 0:
            raise InvalidInput("must not be negative", field=f"{at}.quantity")
        if line.amount is not None and not 0 <= line.amount <= MAX_AMOUNT:
            raise InvalidInput(f"{line.amount} is outside 0 to {MAX_AMOUNT}", field=f"{at}.amount")
        if line.quantity == 0 and not line.amount:
            raise InvalidInput("neither units nor money came back", field=f"{at}.quantity")


def refund_as_json(refund: RefundIn) -> dict[str, Any]:
    """A refund as a JSON document, for keeping one whose order has not arrived."""
    return asdict(refund) | {"refunded_at": refund.refunded_at.astimezone(UTC).isoformat()}


def refund_from_json(document: dict[str, Any]) -> RefundIn:
    """The inverse of :func:`refund_as_json`."""
    lines = document["lines"]
    return RefundIn(
        **document
        | {
            "refunded_at": datetime.fromisoformat(document["refunded_at"]),
            "lines": None if lines is None else tuple(RefundLineIn(**line) for line in lines),
        }
    )
