"""Maturations, batches, payouts, attempts."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from distrib.db import Base


class Maturation(Base):
    """The days of a brand from after ``previous`` up to ``through`` left the hold."""

    __tablename__ = "maturation"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id"], ["brand.id"]),
        CheckConstraint("previous < through", name="forward"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    through: Mapped[date] = mapped_column(Date, primary_key=True)
    previous: Mapped[date] = mapped_column(Date)
    posting_id: Mapped[int]
    created_at: Mapped[datetime]
    posted_at: Mapped[datetime | None]


class SettlementBatch(Base):
    """What finance approves."""

    __tablename__ = "settlement_batch"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id"], ["brand.id"]),
        UniqueConstraint("brand_id", "number"),
        CheckConstraint(
            "state IN ('draft', 'approved', 'paying', 'settled', 'cancelled')", name="state"
        ),
        CheckConstraint(
            "state IN ('draft', 'cancelled') OR approved_at IS NOT NULL", name="approved"
        ),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer)
    cutoff: Mapped[date] = mapped_column(Date)
    currency: Mapped[str]
    minimum_payout: Mapped[int]
    provider: Mapped[str]
    state: Mapped[str]
    payouts: Mapped[int] = mapped_column(Integer)
    total: Mapped[int]
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    approved_at: Mapped[datetime | None]
    approved_by: Mapped[str | None]
    settled_at: Mapped[datetime | None]
    file_name: Mapped[str | None]
    file_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)


class Payout(Base):
    """What one distributor gets in a batch, and exactly what it is made of.

    ``postings[i]`` (an order or a refund) contributes ``amounts[i]``; they sum to ``amount``.
    """

    __tablename__ = "payout"
    __table_args__ = (
        ForeignKeyConstraint(
            ["brand_id", "batch_id"], ["settlement_batch.brand_id", "settlement_batch.id"]
        ),
        ForeignKeyConstraint(
            ["brand_id", "distributor_id"], ["distributor.brand_id", "distributor.id"]
        ),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("state IN ('reserved', 'paid', 'failed', 'cancelled')", name="state"),
        CheckConstraint("cardinality(postings) = cardinality(amounts)", name="items"),
        Index("ix_payout_distributor", "distributor_id", "batch_id", "brand_id", unique=True),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    no: Mapped[int] = mapped_column(Integer, primary_key=True)
    distributor_id: Mapped[int]
    amount: Mapped[int]
    state: Mapped[str]
    postings: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    amounts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))


class PayoutAttempt(Base):
    """One try to move a payout's money. The request number is committed before the call and is
    used again by every retry of the same attempt."""

    __tablename__ = "payout_attempt"
    __table_args__ = (
        ForeignKeyConstraint(
            ["brand_id", "batch_id", "no"],
            ["payout.brand_id", "payout.batch_id", "payout.no"],
        ),
        # made of the key, so unique because the key is
        CheckConstraint(
            "request_no = batch_id::text || '-' || no::text || '-' || attempt::text",
            name="request_no",
        ),
        CheckConstraint("outcome IN ('paid', 'failed')", name="outcome"),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    no: Mapped[int] = mapped_column(Integer, primary_key=True)
    attempt: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    request_no: Mapped[str]
    created_at: Mapped[datetime]
    outcome: Mapped[str | None]
    outcome_at: Mapped[datetime | None]
