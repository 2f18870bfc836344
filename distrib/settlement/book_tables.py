"""Payout methods, tax, adjustments, reconciliation, daily closes."""

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

_OF_BRAND = (["brand_id"], ["brand.id"])
_OF_DISTRIBUTOR = (["brand_id", "distributor_id"], ["distributor.brand_id", "distributor.id"])
_OF_PAYOUT = (
    ["brand_id", "batch_id", "no"],
    ["payout.brand_id", "payout.batch_id", "payout.no"],
)


class PayoutMethod(Base):
    """Where a distributor wants its money. A change is a new row; what it says never changes.

    It counts once it is proved, and may be used from ``usable_from`` until it is replaced. Without
    a ``proof_hash`` no code proves it: it is proved already, or was withdrawn.
    """

    __tablename__ = "payout_method"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_DISTRIBUTOR),
        CheckConstraint("kind IN ('bank', 'wechat', 'alipay', 'paypal', 'stripe')", name="kind"),
        CheckConstraint("(proved_at IS NULL) = (usable_from IS NULL)", name="proved"),
        CheckConstraint("replaced_at IS NULL OR proved_at IS NOT NULL", name="replaced"),
        Index(
            "uq_payout_method_current",
            "distributor_id",
            "brand_id",
            unique=True,
            postgresql_where="proved_at IS NOT NULL AND replaced_at IS NULL",
        ),
        Index("ix_payout_method_distributor", "distributor_id", "brand_id", "id"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    distributor_id: Mapped[int]
    kind: Mapped[str]
    name: Mapped[str]
    details: Mapped[dict[str, str]] = mapped_column(JSONB)
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    proof_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    proof_until: Mapped[datetime | None]
    proof_tries: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    proved_at: Mapped[datetime | None]
    proved_by: Mapped[str | None]
    proof_evidence: Mapped[str | None]
    usable_from: Mapped[datetime | None]
    replaced_at: Mapped[datetime | None]


class Notification(Base):
    """Something that a distributor must be told. Whoever delivers it sets ``sent_at``."""

    __tablename__ = "notification"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_DISTRIBUTOR),
        Index("ix_notification_unsent", "id", postgresql_where="sent_at IS NULL"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    distributor_id: Mapped[int]
    kind: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class BrandTax(Base):
    """By which regime a brand withholds in a tax year; the highest number of a year counts."""

    __tablename__ = "brand_tax"
    __table_args__ = (ForeignKeyConstraint(*_OF_BRAND),)

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    year: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    regime: Mapped[str]
    version: Mapped[str]
    set_by: Mapped[str]
    set_at: Mapped[datetime]
    reason: Mapped[str | None]


class TaxProfile(Base):
    """Who a distributor is to the tax office."""

    __tablename__ = "tax_profile"
    __table_args__ = (ForeignKeyConstraint(*_OF_DISTRIBUTOR),)

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    distributor_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    tax_id: Mapped[str | None]
    set_by: Mapped[str]
    set_at: Mapped[datetime]


class PayoutTax(Base):
    """From what a payout's tax was computed: enough to compute it again. Append-only."""

    __tablename__ = "payout_tax"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_PAYOUT),
        Index("ix_payout_tax_distributor", "distributor_id", "year", "brand_id"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(primary_key=True)
    no: Mapped[int] = mapped_column(Integer, primary_key=True)
    distributor_id: Mapped[int]
    year: Mapped[int] = mapped_column(SmallInteger)
    month: Mapped[int] = mapped_column(SmallInteger)
    regime: Mapped[str]
    version: Mapped[str]
    gross: Mapped[int]
    tax: Mapped[int]
    month_gross: Mapped[int]
    month_withheld: Mapped[int]
    year_gross: Mapped[int]
    year_withheld: Mapped[int]
    months: Mapped[int] = mapped_column(SmallInteger)
    has_tax_id: Mapped[bool] = mapped_column(Boolean)


class Adjustment(Base):
    """A correction of what a distributor has, by decision: a debt written off, money paid too much
    or too little. Once approved it is a posting and an open item like an order's.

    ``amount`` is what it gives the distributor, negative when it takes.
    """

    __tablename__ = "adjustment"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_DISTRIBUTOR),
        CheckConstraint("kind IN ('write_off', 'overpaid', 'underpaid')", name="kind"),
        CheckConstraint("(amount < 0) = (kind = 'overpaid') AND amount <> 0", name="amount"),
        CheckConstraint("state IN ('requested', 'approved', 'rejected')", name="state"),
        CheckConstraint(
            "(state = 'requested') = (decided_by IS NULL)"
            " AND (state <> 'approved' OR decided_by <> requested_by)",
            name="second_person",
        ),
        CheckConstraint("btrim(reason) <> ''", name="reason"),
        Index("ix_adjustment_distributor", "distributor_id", "brand_id"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    distributor_id: Mapped[int]
    kind: Mapped[str]
    amount: Mapped[int]
    asset: Mapped[str]
    reason: Mapped[str]
    case_id: Mapped[int | None]
    state: Mapped[str]
    requested_by: Mapped[str]
    requested_at: Mapped[datetime]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    available_on: Mapped[date | None] = mapped_column(Date)


class StatementImport(Base):
    """A bank's or provider's statement that was taken in."""

    __tablename__ = "statement_import"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_BRAND),
        UniqueConstraint("sha256", "provider", "brand_id"),
        CheckConstraint("first_day <= last_day", name="period"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    provider: Mapped[str]
    name: Mapped[str]
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    first_day: Mapped[date] = mapped_column(Date)
    last_day: Mapped[date] = mapped_column(Date)
    rows: Mapped[int] = mapped_column(Integer)
    imported_by: Mapped[str]
    imported_at: Mapped[datetime]


class StatementLine(Base):
    """One line of a statement. ``amount`` is what went out, negative what came back.

    ``batch_id``, ``no`` and ``attempt`` say whose money it is, where that was found.
    """

    __tablename__ = "statement_line"
    __table_args__ = (
        ForeignKeyConstraint(
            ["brand_id", "import_id"], ["statement_import.brand_id", "statement_import.id"]
        ),
        CheckConstraint("amount <> 0", name="amount"),
        Index("ix_statement_line_attempt", "batch_id", "no", "attempt", "brand_id"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    import_id: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[int] = mapped_column(Integer, primary_key=True)
    booked_on: Mapped[date] = mapped_column(Date)
    amount: Mapped[int]
    reference: Mapped[str]
    text: Mapped[str]
    batch_id: Mapped[int | None]
    no: Mapped[int | None] = mapped_column(Integer)
    attempt: Mapped[int | None] = mapped_column(SmallInteger)


class ReconciliationCase(Base):
    """A difference between the ledger and a statement, from its finding to its end.

    ``expected`` is what the ledger says went out, ``found`` what the statement says.
    """

    __tablename__ = "reconciliation_case"
    __table_args__ = (
        ForeignKeyConstraint(*_OF_BRAND),
        CheckConstraint(
            "kind IN ('missing', 'extra', 'amount_differs', 'late_return')", name="kind"
        ),
        CheckConstraint("state IN ('open', 'resolved')", name="state"),
        CheckConstraint(
            "(state = 'resolved') = (resolution IS NOT NULL)"
            " AND (resolution IS NULL OR btrim(note) <> '')",
            name="resolved",
        ),
        # the same difference is one case, however often its statement is looked at
        UniqueConstraint("subject", "kind", "brand_id"),
        # and a line is one case at most
        Index(
            "uq_reconciliation_case_line",
            "import_id",
            "line",
            "brand_id",
            unique=True,
            postgresql_where="line IS NOT NULL",
        ),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    subject: Mapped[str]
    provider: Mapped[str]
    batch_id: Mapped[int | None]
    no: Mapped[int | None] = mapped_column(Integer)
    attempt: Mapped[int | None] = mapped_column(SmallInteger)
    import_id: Mapped[int | None]
    line: Mapped[int | None] = mapped_column(Integer)
    expected: Mapped[int]
    found: Mapped[int]
    state: Mapped[str]
    opened_at: Mapped[datetime]
    opened_by: Mapped[str]
    resolution: Mapped[str | None]
    note: Mapped[str | None]
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None]
    posting_id: Mapped[int | None]


class DayClose(Base):
    """A brand's day as finance signed it: what there was, what moved by code, what there is.

    ``digest`` is over the day's transfers and the digest of the day before.
    """

    __tablename__ = "day_close"
    __table_args__ = (ForeignKeyConstraint(*_OF_BRAND),)

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    first_at: Mapped[datetime]
    end_at: Mapped[datetime]
    opening: Mapped[dict[str, Any]] = mapped_column(JSONB)
    movements: Mapped[dict[str, Any]] = mapped_column(JSONB)
    closing: Mapped[dict[str, Any]] = mapped_column(JSONB)
    transfers: Mapped[int]
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    signed_by: Mapped[str]
    signed_at: Mapped[datetime]
