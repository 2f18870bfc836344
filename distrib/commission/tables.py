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
    # channels that pay fewer levels, as decided when it was published
    channel_levels: Mapped[dict[str, int]] = mapped_column(JSONB, server_default="{}")
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    published_at: Mapped[datetime]
    published_by: Mapped[str]


class PlanDraft(Base):
    """A plan document on its way to becoming a version.

    Draft, approved by a second person, published; or discarded. An approval names the content by
    its hash, so a change ends it. Triggers hold every row to that way.
    """

    __tablename__ = "plan_draft"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id"], ["brand.id"]),
        ForeignKeyConstraint(
            ["brand_id", "version_id"], ["plan_version.brand_id", "plan_version.id"]
        ),
        UniqueConstraint("brand_id", "number"),
        CheckConstraint("state IN ('draft', 'approved', 'published', 'discarded')", name="state"),
        # who wrote it, or wrote in it last, is not the one who approves it
        CheckConstraint(
            "lower(btrim(approved_by)) <> lower(btrim(created_by))"
            " AND lower(btrim(approved_by)) <> lower(btrim(edited_by))",
            name="second_person",
        ),
        CheckConstraint(
            "CASE WHEN state IN ('approved', 'published')"
            " THEN coalesce(approved_hash = content_hash, false) AND approved_by IS NOT NULL"
            " AND approved_at IS NOT NULL"
            " ELSE approved_by IS NULL AND approved_at IS NULL AND approved_hash IS NULL END",
            name="approval",
        ),
        CheckConstraint("(state = 'published') = (version_id IS NOT NULL)", name="version"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer)
    name: Mapped[str]
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    edited_by: Mapped[str]
    edited_at: Mapped[datetime]
    approved_by: Mapped[str | None]
    approved_at: Mapped[datetime | None]
    approved_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    version_id: Mapped[int | None]


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


class OrderFacts(Base):
    """What the engine was told of an order beside its lines and the tree, when it was taken.

    Written for plans that look at ranks, volumes, caps, eligibility or first orders. Some of these
    depend on which orders had come before, so they cannot be asked for again: refunds, audit and
    explanation price with what is written here.
    """

    __tablename__ = "order_facts"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id", "order_id"], ["orders.brand_id", "orders.id"]),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(primary_key=True)
    first: Mapped[bool] = mapped_column(Boolean)
    # who earns at each level, 0 for nobody; numbers of their ranks in the plan, 0 for none
    earner1: Mapped[int]
    earner2: Mapped[int]
    earner3: Mapped[int]
    rank1: Mapped[int] = mapped_column(SmallInteger)
    rank2: Mapped[int] = mapped_column(SmallInteger)
    rank3: Mapped[int] = mapped_column(SmallInteger)
    # what each had sold in the month; what each could still get, -1 without end
    volume1: Mapped[int]
    volume2: Mapped[int]
    volume3: Mapped[int]
    room1: Mapped[int]
    room2: Mapped[int]
    room3: Mapped[int]
    # bit n: the plan's milestone number n, from 0, could still be reached in the month
    marks: Mapped[int]


class MilestoneReached(Base):
    """A month's volume that a distributor has reached, and the order that reached it: so that its
    milestone is paid once. The row leaves when refunds of that order take it back."""

    __tablename__ = "milestone_reached"

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    distributor_id: Mapped[int] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    mark: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int]


class DistributorDay(Base):
    """What one distributor sold and earned by the orders of one day where the brand lives, less
    what came back of them since. Kept while ``brand.counts_sales``."""

    __tablename__ = "distributor_day"

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    distributor_id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    orders: Mapped[int]
    volume: Mapped[int]
    earned: Mapped[int]


class Customer(Base):
    """A buyer, and its first order. Kept while ``brand.counts_sales``."""

    __tablename__ = "customer"

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    buyer: Mapped[str] = mapped_column(primary_key=True)
    first_order_id: Mapped[int]


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
