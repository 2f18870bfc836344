"""Distributors and their dated sponsorships."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from distrib.db import Base

_DISTRIBUTOR = ["distributor.brand_id", "distributor.id"]


class Distributor(Base):
    """A person or store that earns commission."""

    __tablename__ = "distributor"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id"], ["brand.id"]),
        UniqueConstraint("external_id", "brand_id"),
        UniqueConstraint("code", "brand_id"),
        CheckConstraint("status IN ('active', 'suspended')", name="status"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    external_id: Mapped[str]
    code: Mapped[str]
    name: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="active")
    joined_at: Mapped[datetime]
    created_at: Mapped[datetime]


class Standing(Base):
    """A distributor's status and rank from an instant on; the latest that has begun holds.

    Append-only. Who has no row is active and without a rank. ``source`` says whether the rank was
    given by ``hand`` or earned by ``volume``.
    """

    __tablename__ = "standing"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id", "distributor_id"], _DISTRIBUTOR),
        CheckConstraint("status IN ('active', 'suspended')", name="status"),
        CheckConstraint("source IN ('hand', 'volume')", name="source"),
    )

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    distributor_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    valid_from: Mapped[datetime] = mapped_column(primary_key=True)
    status: Mapped[str]
    rank: Mapped[str | None]
    source: Mapped[str]
    changed_by: Mapped[str]
    recorded_at: Mapped[datetime]


class Sponsorship(Base):
    """A dated edge of the referral tree; no sponsor means a root for that time.

    The edges of a distributor form a chain without gap or overlap, and plain B-trees prove it:
    each start is unique, each end is unique (the open end too), and each end is the start of
    another edge. The only chain that satisfies this is the one in order of time.
    """

    __tablename__ = "sponsorship"
    __table_args__ = (
        ForeignKeyConstraint(["brand_id", "distributor_id"], _DISTRIBUTOR),
        ForeignKeyConstraint(["brand_id", "sponsor_id"], _DISTRIBUTOR),
        ForeignKeyConstraint(
            ["brand_id", "distributor_id", "valid_to"],
            ["sponsorship.brand_id", "sponsorship.distributor_id", "sponsorship.valid_from"],
            name="fk_sponsorship_next",
            deferrable=True,
            initially="DEFERRED",
        ),
        UniqueConstraint(
            "brand_id", "distributor_id", "valid_to",
            name="uq_sponsorship_end", postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("sponsor_id <> distributor_id", name="not_self"),
        CheckConstraint("valid_from < valid_to", name="forward"),
        Index(
            "ix_sponsorship_downline", "brand_id", "sponsor_id",
            postgresql_where="valid_to IS NULL AND sponsor_id IS NOT NULL",
        ),
    )  # fmt: skip

    brand_id: Mapped[int] = mapped_column(primary_key=True)
    distributor_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    valid_from: Mapped[datetime] = mapped_column(primary_key=True)
    valid_to: Mapped[datetime | None]
    sponsor_id: Mapped[int | None]
