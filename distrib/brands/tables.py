"""Brands and API keys."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    SmallInteger,
)
from sqlalchemy.orm import Mapped, mapped_column

from distrib.db import Base


class Brand(Base):
    """A tenant: the company that runs a distribution program. Owns everything else."""

    __tablename__ = "brand"
    __table_args__ = (
        CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="slug"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
        CheckConstraint("hold_days BETWEEN 0 AND 365", name="hold_days"),
        CheckConstraint("minimum_payout >= 1", name="minimum_payout"),
        # three levels are the most that anybody has; a trigger allows fewer where the law does
        CheckConstraint("levels BETWEEN 1 AND 3", name="levels"),
        CheckConstraint("second_approval_above >= 0", name="second_approval_above"),
        CheckConstraint("method_cool_days BETWEEN 0 AND 90", name="method_cool_days"),
        CheckConstraint("jurisdiction ~ '^([A-Z]{2}|other)$'", name="jurisdiction"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    currency: Mapped[str]
    time_zone: Mapped[str]
    hold_days: Mapped[int] = mapped_column(Integer)
    minimum_payout: Mapped[int]
    # whose law it lives under; a trigger holds levels to what that allows
    jurisdiction: Mapped[str]
    levels: Mapped[int] = mapped_column(SmallInteger)
    # whether a plan is published only after a second person has approved it; a trigger sees to it
    second_person: Mapped[bool] = mapped_column(Boolean, server_default="false")
    # payouts above this in one batch need two approvals; none: one is enough for any
    second_approval_above: Mapped[int | None]
    # how long a changed payout method rests before money goes there
    method_cool_days: Mapped[int] = mapped_column(SmallInteger, server_default="3")
    # whether sales are counted by distributor and day, and customers known: some plans need it
    counts_sales: Mapped[bool] = mapped_column(Boolean, server_default="false")
    # days up to and including this one have matured: their commission is available, not held
    # the last month whose sales have given distributors their ranks
    ranks_month: Mapped[date | None] = mapped_column(Date)
    matured_through: Mapped[date] = mapped_column(Date, server_default="1970-01-01")
    created_at: Mapped[datetime]


class LegalAcknowledgement(Base):
    """Somebody answers for what the law of the brand's jurisdiction limits: who, when, and by which
    text. Append-only.

    ``levels``: more than one level earns. ``wechat_levels``: so do orders from WeChat.
    """

    __tablename__ = "legal_acknowledgement"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id"], ["brand.id"]),
        CheckConstraint("subject IN ('levels', 'wechat_levels')", name="subject"),
        CheckConstraint(
            "btrim(text_version) <> '' AND btrim(acknowledged_by) <> ''", name="stated"
        ),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    subject: Mapped[str]
    text_version: Mapped[str]
    acknowledged_by: Mapped[str]
    acknowledged_at: Mapped[datetime]


class ApiKey(Base):
    """A bearer key, kept as a hash. Without a brand it is an operator's: it may create brands."""

    __tablename__ = "api_key"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    brand_id: Mapped[int | None] = mapped_column(ForeignKey("brand.id"))
    name: Mapped[str]
    hint: Mapped[str]
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
