"""Orders and refunds as reported. Append-only: triggers refuse to change or delete a row."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from distrib.db import Base


class Order(Base):
    """An order, and what was decided about it when it was taken.

    ``placed_at`` is the shop's clock. ``effective_at`` is what decisions use: the same, but never
    later than the moment of recording. ``available_on`` is the day, in the brand's time zone, on
    which its commission leaves the hold.
    """

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("external_id", "shop", "brand_id"),
        ForeignKeyConstraint(
            ["brand_id", "distributor_id"], ["distributor.brand_id", "distributor.id"]
        ),
        ForeignKeyConstraint(
            ["brand_id", "buyer_distributor_id"], ["distributor.brand_id", "distributor.id"]
        ),
        ForeignKeyConstraint(
            ["brand_id", "referrer_id"], ["distributor.brand_id", "distributor.id"]
        ),
        CheckConstraint("referral IN ('direct', 'code', 'self', 'none')", name="referral"),
        # a distributor's own purchase may be credited to nobody: the plan says
        CheckConstraint(
            "CASE referral WHEN 'none' THEN distributor_id IS NULL WHEN 'self' THEN"
            " buyer_distributor_id IS NOT NULL ELSE distributor_id IS NOT NULL END",
            name="credited",
        ),
        Index(
            "ix_orders_effective",
            "brand_id",
            "effective_at",
            postgresql_where="effective_at > '-infinity'",
        ),
        Index(
            "ix_orders_buyer",
            "buyer",
            "brand_id",
            "placed_at",
            postgresql_where="buyer IS NOT NULL",
        ),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shop: Mapped[str]
    external_id: Mapped[str]
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    currency: Mapped[str]
    buyer: Mapped[str | None]
    referral: Mapped[str]
    referral_code: Mapped[str | None]
    distributor_id: Mapped[int | None]
    buyer_distributor_id: Mapped[int | None]
    # of a self-purchase: whom its reference or code names; it is not who is credited
    referrer_id: Mapped[int | None]
    channel: Mapped[str | None]
    plan_version_id: Mapped[int | None]
    placed_at: Mapped[datetime]
    effective_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    available_on: Mapped[date] = mapped_column(Date)


class OrderLine(Base):
    """One line: money in minor units, of the whole line but for ``unit_price``.

    Shipping and tax stand apart from the price. ``other_paid`` is what was paid with balance,
    points or coupons; ``cost`` what the goods cost the brand; ``income`` what a marketplace pays.
    """

    __tablename__ = "order_line"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id", "order_id"], ["orders.brand_id", "orders.id"]),
        CheckConstraint("quantity > 0", name="quantity"),
        CheckConstraint(
            "unit_price >= 0 AND shipping >= 0 AND tax >= 0 AND cost >= 0 AND income >= 0",
            name="not_negative",
        ),
        CheckConstraint(
            "other_paid BETWEEN 0 AND quantity * unit_price - discount", name="other_paid"
        ),
        CheckConstraint("discount BETWEEN 0 AND quantity * unit_price", name="discount"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(primary_key=True)
    line_no: Mapped[int] = mapped_column(Integer, primary_key=True)
    sku: Mapped[str]
    category: Mapped[str | None]
    quantity: Mapped[int]
    unit_price: Mapped[int]
    discount: Mapped[int]
    shipping: Mapped[int]
    tax: Mapped[int]
    other_paid: Mapped[int] = mapped_column(server_default="0")
    cost: Mapped[int | None]
    income: Mapped[int | None]


class Refund(Base):
    """Money given back on an order, in full or in part: the order's refund number ``no``.

    The number, given under the order's lock, is the order in which refunds took effect; clocks of
    different machines could not say.
    """

    __tablename__ = "refund"
    __table_args__ = (
        UniqueConstraint("order_id", "external_id", "brand_id"),
        UniqueConstraint("order_id", "no", "brand_id"),
        ForeignKeyConstraint(["brand_id", "order_id"], ["orders.brand_id", "orders.id"]),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    order_id: Mapped[int]
    no: Mapped[int] = mapped_column(Integer)
    external_id: Mapped[str]
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    reason: Mapped[str | None]
    refunded_at: Mapped[datetime]
    recorded_at: Mapped[datetime]


class RefundLine(Base):
    """What came back of one order line: units, and money net of the line's discount."""

    __tablename__ = "refund_line"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id", "refund_id"], ["refund.brand_id", "refund.id"]),
        CheckConstraint("quantity >= 0 AND amount >= 0", name="not_negative"),
        CheckConstraint("quantity > 0 OR amount > 0", name="something"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    refund_id: Mapped[int] = mapped_column(primary_key=True)
    line_no: Mapped[int] = mapped_column(Integer, primary_key=True)
    quantity: Mapped[int]
    amount: Mapped[int]


class WaitingRefund(Base):
    """A refund whose order has not arrived. The row leaves when the refund is applied."""

    __tablename__ = "waiting_refund"

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    shop: Mapped[str] = mapped_column(primary_key=True)
    order_external_id: Mapped[str] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    received_at: Mapped[datetime]
    problem: Mapped[str | None]
