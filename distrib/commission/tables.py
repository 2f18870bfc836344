"""Plan versions, commissions and open items."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from distrib.db import Base


class PlanVersion(Base):
    """What a brand pays from an instant on. Published once, never changed.

    ``effective_from`` grows with ``number``, and lies after every order already taken.
    """

    __tablename__ = "plan_version"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id"], ["brand.id"]),
        UniqueConstraint("brand_id", "number"),
        UniqueConstraint("brand_id", "effective_from"),
        CheckConstraint("levels BETWEEN 1 AND 3", name="levels"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer)
    effective_from: Mapped[datetime]
    levels: Mapped[int] = mapped_column(SmallInteger)
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    published_at: Mapped[datetime]
    published_by: Mapped[str]


class Commission(Base):
    """This order line pays this distributor this amount at this level, by this rule.

    ``source_id`` is the order, or the refund that changed what the line pays; then ``amount`` is
    the (negative) difference and ``base`` what remained. The plan version is the order's.
    """

    __tablename__ = "commission"
    __table_args__ = (
        ForeignKeyConstraint(
            ["brand_id", "order_id", "line_no"],
            ["order_line.brand_id", "order_line.order_id", "order_line.line_no"],
        ),
        ForeignKeyConstraint(
            ["brand_id", "distributor_id"], ["distributor.brand_id", "distributor.id"]
        ),
        # the most that any brand can have; a trigger holds each brand to its own
        CheckConstraint("level BETWEEN 1 AND 3", name="level"),
        CheckConstraint("amount <> 0", name="amount"),
        CheckConstraint("base >= 0 AND rate_ppm >= 0", name="not_negative"),
        Index("ix_commission_distributor", "distributor_id", "earned_on", "source_id"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(primary_key=True)
    line_no: Mapped[int] = mapped_column(Integer, primary_key=True)
    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    order_id: Mapped[int]
    distributor_id: Mapped[int]
    rule_no: Mapped[int] = mapped_column(SmallInteger)
    rate_ppm: Mapped[int] = mapped_column(Integer)
    base: Mapped[int]
    amount: Mapped[int]
    earned_on: Mapped[date] = mapped_column(Date)


class OpenItem(Base):
    """What one order or refund gave one distributor and no batch has taken yet.

    A work queue, not a record: a batch removes what it takes and keeps it in its payouts. What a
    batch leaves (below the minimum, or a debt) simply stays open for the next. ``held`` says into
    which account the amount was posted: held, or, when the day had matured, available.
    """

    __tablename__ = "open_item"
    __table_args__ = (CheckConstraint("amount <> 0", name="amount"),)

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    distributor_id: Mapped[int] = mapped_column(primary_key=True)
    posting_id: Mapped[int] = mapped_column(primary_key=True)
    asset: Mapped[str]
    amount: Mapped[int]
    available_on: Mapped[date] = mapped_column(Date)
    held: Mapped[bool] = mapped_column(Boolean)
