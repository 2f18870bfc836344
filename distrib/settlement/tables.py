"""Maturations, batches, approvals, payouts, attempts, and the paper that goes with them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

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
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from distrib.db import Base

_OF_BATCH = (["brand_id", "batch_id"], ["settlement_batch.brand_id", "settlement_batch.id"])
_OF_DISTRIBUTOR = (["brand_id", "distributor_id"], ["distributor.brand_id", "distributor.id"])


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
    """What finance approves. Triggers hold its state to the ways that docs/settlement.md draws, and
    its approval to its content.

    ``payouts`` and ``total`` (gross) count what is or was to be paid; ``tax_total`` is withheld
    of it. ``approvals_needed`` is fixed when it is submitted; ``round`` counts submissions.
    ``pay_jobs`` and ``follow_jobs`` are the jobs of it that are not done.
    """

    __tablename__ = "settlement_batch"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id"], ["brand.id"]),
        UniqueConstraint("brand_id", "number"),
        CheckConstraint(
            "state IN ('draft', 'submitted', 'approved', 'paying', 'paused', 'settled',"
            " 'partly_failed', 'closed', 'cancelled')",
            name="state",
        ),
        CheckConstraint(
            "state IN ('draft', 'submitted', 'cancelled') OR approved_at IS NOT NULL",
            name="approved",
        ),
        CheckConstraint("approvals_needed BETWEEN 1 AND 2", name="approvals_needed"),
        CheckConstraint("pay_jobs >= 0 AND follow_jobs >= 0", name="jobs"),
        CheckConstraint("tax_total BETWEEN 0 AND total", name="tax_total"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer)
    cutoff: Mapped[date] = mapped_column(Date)
    currency: Mapped[str]
    minimum_payout: Mapped[int]
    provider: Mapped[str]
    filters: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    state: Mapped[str]
    payouts: Mapped[int] = mapped_column(Integer)
    total: Mapped[int]
    tax_total: Mapped[int] = mapped_column(server_default="0")
    # whose withholding the payouts were computed by, and for which month; none without tax
    tax_regime: Mapped[str | None]
    tax_version: Mapped[str | None]
    tax_month: Mapped[date | None] = mapped_column(Date)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    round: Mapped[int] = mapped_column(Integer, server_default="0")
    approvals_needed: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    chunk_payouts: Mapped[int | None] = mapped_column(Integer)
    pay_jobs: Mapped[int] = mapped_column(Integer, server_default="0")
    follow_jobs: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    submitted_at: Mapped[datetime | None]
    submitted_by: Mapped[str | None]
    approved_at: Mapped[datetime | None]
    approved_by: Mapped[str | None]
    paying_since: Mapped[datetime | None]
    paid_before: Mapped[int] = mapped_column(Integer, server_default="0")
    settled_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None]


class BatchApproval(Base):
    """Somebody approved a batch of exactly this content. A trigger refuses its own makers."""

    __tablename__ = "batch_approval"
    __table_args__ = (ForeignKeyConstraint(*_OF_BATCH),)

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    round: Mapped[int] = mapped_column(Integer, primary_key=True)
    approved_by: Mapped[str] = mapped_column(primary_key=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    approved_at: Mapped[datetime]


class Payout(Base):
    """What one distributor gets in a batch, and exactly what it is made of.

    ``postings[i]`` (an order, a refund or an adjustment) contributes ``amounts[i]``; they sum to
    ``amount``. ``tax`` is withheld of it, so ``amount - tax`` is paid. ``method_id`` is the payout
    method it was approved with. A trigger lets all that change in a draft only. ``attempts`` counts
    how often it was handed over, or was held when it should have been.
    """

    __tablename__ = "payout"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_BATCH),
        ForeignKeyConstraint(*_OF_DISTRIBUTOR),
        CheckConstraint("amount > 0 AND tax >= 0 AND tax < amount", name="amount"),
        CheckConstraint(
            "state IN ('reserved', 'held', 'sent', 'paid', 'failed', 'returned', 'voided',"
            " 'removed', 'cancelled')",
            name="state",
        ),
        CheckConstraint("cardinality(postings) = cardinality(amounts)", name="items"),
        Index("ix_payout_distributor", "distributor_id", "batch_id", "brand_id", unique=True),
        # each row is updated in place, all rows of a page at once: there is room for both versions
        {"postgresql_with": {"fillfactor": "50"}},
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    no: Mapped[int] = mapped_column(Integer, primary_key=True)
    distributor_id: Mapped[int]
    amount: Mapped[int]
    tax: Mapped[int] = mapped_column(server_default="0")
    method_id: Mapped[int | None]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    postings: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    amounts: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))


class PayoutAttempt(Base):
    """One try to move a payout's money. The request number is committed before the call and is
    used again by every repetition of the same attempt; only a final failure allows another.

    ``call_no`` is shared by what was handed over together, and is the posting that sent it.
    ``ask_at`` says when to ask again what became of it.
    """

    __tablename__ = "payout_attempt"
    __table_args__ = (
        ForeignKeyConstraint(
            ["brand_id", "batch_id", "no"],
            ["payout.brand_id", "payout.batch_id", "payout.no"],
        ),
        # made of the key, so unique because the key is
        CheckConstraint(
            "request_no = batch_id::text || 'p' || no::text || 'a' || attempt::text",
            name="request_no",
        ),
        CheckConstraint("state IN ('sent', 'pending', 'paid', 'failed', 'returned')", name="state"),
        Index(
            "ix_payout_attempt_reference",
            "reference",
            "brand_id",
            postgresql_where="reference IS NOT NULL",
        ),
        # each row is updated in place, all rows of a page at once: there is room for both versions
        {"postgresql_with": {"fillfactor": "50"}},
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    no: Mapped[int] = mapped_column(Integer, primary_key=True)
    attempt: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    request_no: Mapped[str]
    call_no: Mapped[int]
    created_at: Mapped[datetime]
    state: Mapped[str]
    state_at: Mapped[datetime | None]
    ask_at: Mapped[datetime | None]
    asked: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    reference: Mapped[str | None]
    code: Mapped[str | None]
    message: Mapped[str | None]
    action: Mapped[str | None]


class BatchExclusion(Base):
    """Who had something due at the cutoff and is not in the batch, and why."""

    __tablename__ = "batch_exclusion"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_BATCH),
        ForeignKeyConstraint(*_OF_DISTRIBUTOR),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    distributor_id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]
    reason: Mapped[str]


class BatchPosting(Base):
    """Which batch a posting of the ledger belongs to, and what it did there. Append-only."""

    __tablename__ = "batch_posting"
    __table_args__ = (ForeignKeyConstraint(*_OF_BATCH),)

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    posting_id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[int] = mapped_column(SmallInteger)
    first_no: Mapped[int] = mapped_column(Integer)
    payouts: Mapped[int] = mapped_column(Integer)
    total: Mapped[int]


class BatchFile(Base):
    """A payment file of a batch: the first for all of it, later ones for what was paid anew.

    ``calls`` are the call numbers whose payouts it holds, in order.
    """

    __tablename__ = "batch_file"
    __table_args__ = (ForeignKeyConstraint(*_OF_BATCH),)

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    file_no: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    name: Mapped[str]
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    payouts: Mapped[int] = mapped_column(Integer)
    total: Mapped[int]
    calls: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    created_at: Mapped[datetime]


class SettlementEvent(Base):
    """What somebody did to a batch or to one payout of it, and why. Append-only."""

    __tablename__ = "settlement_event"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_BATCH),
        CheckConstraint("btrim(actor) <> ''", name="actor"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    no: Mapped[int | None] = mapped_column(Integer)
    kind: Mapped[str]
    actor: Mapped[str]
    reason: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    at: Mapped[datetime]


class ProviderGate(Base):
    """How a brand's provider may be called: since when it has failed, and how fast.

    ``free_at`` is when the next call may begin under the rate limit; ``open_until`` ends a pause
    after failures in a row.
    """

    __tablename__ = "provider_gate"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id"], ["brand.id"]),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    open_until: Mapped[datetime | None]
    free_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
